//! The processes of a cluster: servers and replicas of the real program, a replica that lies, and a server that lies.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use support::fake_replica::{FakeReplica, Honest, Identity};
use support::fake_server::{choose_subprotocol, cluster_message};
use support::raw_link::RawLink;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use vouch::host::Host;
use vouch::host::net::Io;
use vouch::link::SUBPROTOCOL;
use vouch::replica::{self, Data, Replica};
use vouch::server::{self, Server};
use vouch_core::link::{Hello, NodeSecretKey, Role, Transcript};
use vouch_core::message::{Code, Message, Stream};

use crate::checker::{Checker, FOLDER};
use crate::network::Node;
use crate::node;
use crate::plan::Lie;
use crate::random::Random;
use crate::trace::Trace;

/// Where a server listens.
pub fn address(server: Node) -> String {
    format!("127.0.0.{}:9090", server + 1)
}

/// Runs a server until it ends.
pub async fn serve(host: &Host, node: Node, trace: Trace, checker: Checker) -> String {
    let mut config = server::Config::new(PathBuf::from(FOLDER));
    config.told.replicas = u16::try_from(checker.known().shape.replicas).ok();
    // so that what is never given back is missed soon
    config.replica_queue = 4;
    config.max_puts = 4;
    let reporter = move |event: server::Event| {
        match &event {
            server::Event::Certified(certificate) => checker.certified(node, certificate),
            server::Event::Formed(committee) => checker.founded(committee),
            server::Event::Founding(text) => checker.said_of_founding(text),
            _ => {}
        }
        trace.note(format_args!("server {node}: {event:?}"));
    };
    let server = match Server::open(host.clone(), config, Arc::new(reporter)) {
        Ok(server) => server,
        Err(error) => return error.to_string(),
    };
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
    let mut config = replica::Config::new(Data::Folder(FOLDER.into()), servers);
    config.name = Some(format!("node-{node}"));
    config.max_incoming = 4;
    config.store.partials.checkpoint = 1;
    let reporter = move |event: replica::Event| {
        match &event {
            replica::Event::Founding(text) => checker.said_of_founding(text),
            replica::Event::Member(committee, _) => checker.founded(committee),
            _ => {}
        }
        trace.note(format_args!("{node}: {event:?}"));
    };
    match Replica::open(host.clone(), config, Arc::new(reporter)) {
        Ok(replica) => {
            replica.run(std::future::pending()).await;
            "done".into()
        }
        Err(error) => error.to_string(),
    }
}

/// The keys of the replica that lies.
pub fn liar(seed: u64, node: Node) -> Identity {
    Identity::new(u32::try_from(seed % 1_000_000).unwrap_or(0), &format!("node-{node}"))
}

/// Joins a server again and again, and lies.
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

/// A server that is of no cluster's, shows the cluster's committee, and asks replicas for votes.
pub async fn serve_lies(host: Host, node: Node, mut random: Random, checker: Checker) {
    while checker.known().committee.is_none() {
        host.sleep(Duration::from_secs(1)).await;
    }
    let Ok(listener) = host.listen(&address(node)).await else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let (of, random, checker) = (host.clone(), Random::new(random.next(), 0), checker.clone());
        host.spawn(async move {
            let _ = ask_for_votes(stream, of, random, checker).await;
        });
    }
}

async fn ask_for_votes(stream: Box<dyn Io>, host: Host, mut random: Random, checker: Checker) -> Option<()> {
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose_subprotocol).await.ok()?;
    let Message::Hello(hello) = receive(&mut socket).await? else { return None };
    let committee = checker.known().committee.clone()?;
    let key = NodeSecretKey::from_bytes(&[3; 32]);
    let own = Hello::new(Role::Server, Some(committee.cluster()), key.node_key(), [4; 32]);
    let auth = Message::Auth(key.sign(&Transcript::new(&hello, &own, None), Role::Server));
    for message in [Message::Hello(own), auth, cluster_message(&committee)] {
        socket.send(Frame::Binary(message.encode())).await.ok()?;
    }
    let member = committee.record().position(&hello.node_key)?;
    let node = crate::checker::node_of(&committee, member);
    let mut asked = std::collections::BTreeMap::new();
    for number in 1_u32.. {
        let pause = Duration::from_millis(random.within(300..3_000));
        if let Ok(message) = host.timeout(pause, receive(&mut socket)).await {
            match message? {
                Message::Vote { stream, .. } => {
                    if let Some((digest, at)) = asked.remove(&stream) {
                        checker.voted(node, digest, at);
                    }
                }
                Message::Failed(failed) => drop(asked.remove(&failed.stream)),
                _ => {}
            }
            continue;
        }
        let receipt = {
            let known = checker.known();
            // what was spoiled, before all else
            let spoiled = known.spoiled.keys().filter(|(of, _)| *of == node).map(|(_, digest)| *digest);
            let lost: Vec<_> = spoiled.chain(known.ruined.keys().copied()).collect();
            let promised = known.promises.iter().map(|promise| promise.certificate.claim.receipt);
            let all: Vec<_> = promised.chain(known.ruined_receipts.iter().copied()).collect();
            let lost: Vec<_> = all.iter().filter(|receipt| lost.contains(&receipt.digest)).copied().collect();
            let from = if lost.is_empty() || random.one_in(3) { &all } else { &lost };
            if from.is_empty() { None } else { Some(from[random.index(from.len())]) }
        };
        let Some(mut receipt) = receipt else { continue };
        // another put of the same bytes, which did not bring any
        receipt.salt = [9; 16];
        let (stream, issued_at) = (Stream(number), node::BEGINNING + node::elapsed().as_secs());
        asked.insert(stream, (receipt.digest, node::elapsed()));
        let propose = Message::Propose { stream, issued_at, receipts: vec![receipt] };
        socket.send(Frame::Binary(propose.encode())).await.ok()?;
    }
    Some(())
}

async fn receive(socket: &mut WebSocketStream<Box<dyn Io>>) -> Option<Message> {
    loop {
        match socket.next().await?.ok()? {
            Frame::Binary(bytes) => return Message::decode(&bytes).ok(),
            Frame::Close(_) => return None,
            _ => {}
        }
    }
}
