//! The processes of a cluster: servers and replicas of the real program, and a replica that lies.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use support::fake_replica::{FakeReplica, Honest, Identity};
use support::raw_link::RawLink;
use vouch::host::Host;
use vouch::link::SUBPROTOCOL;
use vouch::replica::{self, Data, Replica, ReplicaConfig};
use vouch::server::{self, BatchPolicy, Server};
use vouch_core::bls::VoteSecretKey;
use vouch_core::message::{Code, Message};

use crate::checker::{Checker, FOLDER, Gauge};
use crate::network::Node;
use crate::plan::{Lie, Shape};
use crate::trace::Trace;

/// Before a blob is deleted, the wall clock must have said for this long that it expired, and this long ago.
pub const SETTLING: Duration = Duration::from_secs(8);
pub const GRACE: Duration = Duration::from_secs(121);
pub const COLLECT_EVERY: Duration = Duration::from_secs(3);

/// Where a server listens.
pub fn address(server: Node) -> String {
    format!("127.0.0.{}:9090", server + 1)
}

/// Runs a server until it ends.
pub async fn serve(host: &Host, node: Node, trace: Trace, checker: Checker) -> String {
    let mut config = server::ServerConfig::new(PathBuf::from(FOLDER));
    let shape = checker.known().shape;
    config.wanted.replicas = u16::try_from(shape.replicas).ok();
    config.wanted.operator = operator(shape).map(|key| key.vote_key());
    // small, so that a leak shows soon
    config.replica_queue = 4;
    config.max_puts = 4;
    // concurrent puts share a batch, however far away the replicas are
    let distance = u32::try_from(shape.distance).unwrap_or(1);
    let policy = config.batching;
    config.batching = BatchPolicy { linger: policy.linger * 3 * distance, wait: policy.wait * distance, ..policy };
    let known = checker.clone();
    let reporter = move |event: server::Event| {
        match &event {
            server::Event::Certified(certificate) => checker.certified(node, certificate),
            server::Event::Formed(committee) | server::Event::NewEpoch(committee) => {
                checker.known().serving.insert(node);
                checker.adopted(committee);
            }
            server::Event::Founding(text) => checker.founding_reported(node, text),
            _ => {}
        }
        trace.note(format_args!("server {node}: {event:?}"));
    };
    let server = match Server::open(host.clone(), config, Arc::new(reporter)) {
        Ok(server) => server,
        Err(error) => return error.to_string(),
    };
    if server.chain().is_some() {
        known.known().serving.insert(node);
    }
    known.known().gauges.insert(node, Gauge::Server(server.gauge()));
    let listener = match host.listen(&address(node)).await {
        Ok(listener) => listener,
        Err(error) => return error.to_string(),
    };
    match server.run(listener, std::future::pending()).await {
        Ok(()) => "done".into(),
        Err(error) => error.to_string(),
    }
}

/// Runs a replica until it ends.
pub async fn replicate(host: &Host, node: Node, trace: Trace, checker: Checker) -> String {
    let shape = checker.known().shape;
    let mut servers: Vec<String> = (0..shape.servers).map(address).collect();
    if shape.has_lying_server {
        servers.push(address(shape.lying_server()));
    }
    let mut config = ReplicaConfig::new(Data::Folder(FOLDER.into()), servers);
    config.name = Some(format!("node-{node}"));
    config.max_incoming = 4;
    config.store.partials.checkpoint = 1;
    config.operator = operator(shape).map(|key| key.vote_key());
    config.joins = shape.joiners().contains(&node);
    config.takes_joiners = true;
    if config.joins {
        // It must not found a cluster, not even with a server that does not know of this one yet.
        while checker.known().serving.len() < shape.servers {
            host.sleep(Duration::from_secs(1)).await;
        }
    }
    (config.settling, config.grace, config.collect_every) = (SETTLING, GRACE.as_secs(), COLLECT_EVERY);
    let known = checker.clone();
    let reporter = move |event: replica::Event| {
        match &event {
            replica::Event::Voted(proposal) => checker.voted(node, proposal.issued_at, &proposal.receipts),
            replica::Event::Founding(text) => checker.founding_reported(node, text),
            replica::Event::Collected(..) => checker.collected(node),
            replica::Event::ClockInDoubt(_) => drop(checker.known().unaware.remove(&node)),
            replica::Event::Member(committee, _) => checker.adopted(committee),
            replica::Event::Log(text) => checker.log_reported(text),
            _ => {}
        }
        trace.note(format_args!("{node}: {event:?}"));
    };
    match Replica::open(host.clone(), config, Arc::new(reporter)).await {
        Ok(replica) => {
            known.known().gauges.insert(node, Gauge::Replica(replica.gauge()));
            replica.run(std::future::pending()).await;
            "done".into()
        }
        Err(error) => error.to_string(),
    }
}

/// The key of the operator, if there is one.
pub fn operator(shape: Shape) -> Option<VoteSecretKey> {
    shape.has_operator.then(|| VoteSecretKey::generate(&[7; 32]).expect("a key"))
}

/// The keys of the replica that lies.
pub fn liar(seed: u64, node: Node) -> Identity {
    Identity::new(u32::try_from(seed % 1_000_000).unwrap_or(0), &format!("node-{node}"))
}

/// Joins a server, and lies; joins again after each link.
pub async fn lie_to(host: Host, server: Node, identity: Identity, lie: Lie) {
    let identity = Arc::new(identity);
    loop {
        host.sleep(Duration::from_secs(1)).await;
        let Ok(stream) = host.connect(&address(server)).await else { continue };
        let headers = [("sec-websocket-protocol", SUBPROTOCOL)];
        let Ok((link, _)) = RawLink::open_over(stream, &address(server), &headers).await else { continue };
        let answer =
            move |honest: &Honest, message: &Message, answers: Vec<Message>| lie_of(lie, honest, message, answers);
        FakeReplica::run_over(link, identity.clone(), |_| Duration::ZERO, answer).await;
    }
}

fn lie_of(lie: Lie, honest: &Honest, message: &Message, mut answers: Vec<Message>) -> Vec<Message> {
    match (lie, message) {
        (Lie::FalseVotes, Message::Propose { stream, issued_at, receipts }) => {
            vec![honest.vote(*stream, issued_at + 1, receipts)]
        }
        (Lie::DamagedBytes, Message::Read(_)) => {
            if let Some(Message::Chunk { bytes, .. }) = answers.first_mut()
                && !bytes.is_empty()
            {
                let mut other = bytes.to_vec();
                other[0] ^= 1;
                *bytes = other.into();
            }
            answers
        }
        (Lie::KeepsNothing, Message::Read(read)) => vec![Message::failed(read.stream, Code::NotHeld, "nothing is")],
        _ => answers,
    }
}
