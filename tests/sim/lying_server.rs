//! A lying server to which every replica dials. It proposes spoiled blobs, proposes twice, and replays messages of one link on
//! another.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use support::fake_server::choose_subprotocol;
use support::raw_link::RawLink;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use vouch::host::Host;
use vouch::host::net::Io;
use vouch::link::SUBPROTOCOL;
use vouch_core::certificate::Certificate;
use vouch_core::link::{Hello, NodeKey, NodeSecretKey, Role, Transcript};
use vouch_core::message::{Message, Stream};
use vouch_core::receipt::Receipt;

use crate::checker::{Checker, Rule};
use crate::network::Node;
use crate::node;
use crate::random::Random;
use crate::servers::address;

/// How long it waits for an answer to replayed messages.
const ANSWER: Duration = Duration::from_secs(20);
const FOR_EVER: Duration = Duration::from_secs(1 << 20);

pub type Socket = WebSocketStream<Box<dyn Io>>;

/// Serves replicas once there is a committee.
pub async fn serve_lies(host: Host, node: Node, mut random: Random, checker: Checker) {
    while checker.cluster().is_none() {
        host.sleep(Duration::from_secs(1)).await;
    }
    let Ok(listener) = host.listen(&address(node)).await else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let (of, random, checker) = (host.clone(), Random::new(random.next(), 0), checker.clone());
        host.spawn(async move {
            let _ = serve_replica(stream, of, random, checker).await;
        });
    }
}

async fn serve_replica(stream: Box<dyn Io>, host: Host, mut random: Random, checker: Checker) -> Option<()> {
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose_subprotocol).await.ok()?;
    let first = receive_bytes(&mut socket).await?;
    let Message::Hello(hello) = Message::decode(&first).ok()? else { return None };
    let committees = checker.committees();
    let committee = committees.all().find(|committee| committee.record().position(&hello.node_key).is_some())?;
    if random.one_in(8) {
        return replay_server(socket, &host, &mut random, &checker).await;
    }
    let key = NodeSecretKey::from_bytes(&[3; 32]);
    let own = Hello::new(Role::Server, Some(committee.cluster()), key.node_key(), host.random());
    let auth = key.sign(&Transcript::new(&hello, &own, None), Role::Server);
    send(&mut socket, &Message::Hello(own)).await?;
    send(&mut socket, &Message::Auth(auth)).await?;
    let (auth, join) = (receive_bytes(&mut socket).await?, receive_bytes(&mut socket).await?);
    if random.one_in(3) {
        let server = random.index(checker.known().shape.servers);
        host.spawn(replay_replica(host.clone(), server, [first, auth, join], checker.clone()));
    }
    let member = committee.record().position(&hello.node_key)?;
    let node = crate::checker::node_of(committee, member);
    Asker { socket, host, node, random, checker, open: BTreeMap::new() }.ask().await
}

/// Replays a server's first messages to a replica. The replica must end the link.
async fn replay_server(mut socket: Socket, host: &Host, random: &mut Random, checker: &Checker) -> Option<()> {
    let (servers, cluster) = {
        let known = checker.known();
        (known.shape.servers, known.committees.cluster())
    };
    let mut link = dial(host, random.index(servers)).await?;
    link.send(&Message::Hello(Hello::new(Role::Client, cluster, NodeKey::ANONYMOUS, host.random()))).await;
    for _ in ["hello", "auth"] {
        let message = host.timeout(ANSWER, link.next()).await.ok()??;
        send(&mut socket, &message).await?;
    }
    let answer = Message::decode(&receive_bytes(&mut socket).await?).ok()?;
    if !matches!(answer, Message::Failed(_)) {
        checker
            .broken(Rule::NotReplayed, format_args!("a replica answers another link's hello with {}", answer.name()));
    }
    None
}

/// Replays a replica's messages to a server. The server must not take it for the replica.
async fn replay_replica(host: Host, server: usize, said: [Bytes; 3], checker: Checker) -> Option<()> {
    let mut link = dial(&host, server).await?;
    for bytes in said {
        link.send_bytes(bytes).await;
    }
    loop {
        match host.timeout(ANSWER, link.next()).await.ok()?? {
            // a server sends these before the replica has proved anything
            Message::Hello(_) | Message::Auth(_) | Message::Founding(_) | Message::Epochs(_) => {}
            Message::Failed(_) => return None,
            other => {
                let name = other.name();
                checker.broken(Rule::NotReplayed, format_args!("a server answers another link's join with {name}"));
                return None;
            }
        }
    }
}

async fn dial(host: &Host, server: usize) -> Option<RawLink<Box<dyn Io>>> {
    let address = address(server);
    let stream = host.connect(&address).await.ok()?;
    let opened = RawLink::open_over(stream, &address, &[("sec-websocket-protocol", SUBPROTOCOL)]).await;
    opened.ok().map(|(link, _)| link)
}

/// The link to one replica.
struct Asker {
    socket: Socket,
    host: Host,
    node: Node,
    random: Random,
    checker: Checker,
    /// Number of proposals without an answer.
    open: BTreeMap<Stream, usize>,
}

impl Asker {
    async fn ask(mut self) -> Option<()> {
        let trouble = self.checker.known().shape.trouble();
        for number in 1.. {
            let end = node::elapsed() + Duration::from_millis(self.random.within(1_500..8_000));
            // then stay silent: do not disturb the recovery
            while node::elapsed() < end || node::elapsed() >= trouble {
                let left = if node::elapsed() < trouble { end - node::elapsed() } else { FOR_EVER };
                if let Ok(bytes) = self.host.timeout(left, receive_bytes(&mut self.socket)).await {
                    self.receive(Message::decode(&bytes?).ok()?);
                }
            }
            for message in self.next_request(Stream(number)) {
                if let Message::Propose { stream, issued_at, receipts } = &message {
                    *self.open.entry(*stream).or_default() += 1;
                    let now = node::BEGINNING + node::elapsed().as_secs();
                    let asked = receipts.iter().map(|receipt| ((self.node, *issued_at, receipt.digest), now));
                    self.checker.known().proposed_by_liar.extend(asked);
                }
                send(&mut self.socket, &message).await?;
            }
        }
        None
    }

    fn receive(&mut self, message: Message) {
        let (stream, is_vote) = match message {
            Message::Vote { stream, .. } => (stream, true),
            Message::Failed(failed) => (failed.stream, false),
            _ => return,
        };
        match self.open.get_mut(&stream) {
            Some(open @ 1..) => *open -= 1,
            _ if is_vote => {
                let node = self.node;
                self.checker.broken(Rule::NamedEnd, format_args!("{node} votes again for what was proposed once"));
            }
            _ => {}
        }
    }

    /// The next proposal or request, if there is a blob for one.
    fn next_request(&mut self, stream: Stream) -> Vec<Message> {
        let known = self.checker.known();
        // spoiled blobs first
        let spoiled = known.spoiled.keys().filter(|(of, _)| *of == self.node).map(|(_, digest)| *digest);
        let lost: Vec<_> = spoiled.chain(known.ruined.keys().copied()).collect();
        let all: Vec<&Certificate> =
            known.promises.iter().map(|promise| &promise.certificate).chain(&known.ruined_certificates).collect();
        let lost: Vec<_> = all.iter().filter(|of| lost.contains(&of.claim.receipt.digest)).copied().collect();
        let from = if lost.is_empty() || self.random.one_in(3) { &all } else { &lost };
        if from.is_empty() {
            return Vec::new();
        }
        let certificate = from[self.random.index(from.len())].clone();
        drop(known);
        let claim = &certificate.claim;
        // to the replica, another put of the same bytes, which brings none
        let receipt = Receipt { salt: [9; 16], ..claim.receipt };
        let issued_at = node::BEGINNING + node::elapsed().as_secs();
        let messages = match self.random.within(0..8) {
            0 => vec![Message::Missed { certificates: vec![certificate] }],
            1 if claim.count == 1 => {
                let (issued_at, receipts) = (claim.issued_at, vec![claim.receipt]);
                let archive =
                    Message::Archive { stream, signers: certificate.signers, signature: certificate.signature };
                vec![Message::Propose { stream, issued_at, receipts }, archive]
            }
            _ => vec![Message::Propose { stream, issued_at, receipts: vec![receipt] }],
        };
        match self.random.one_in(3) {
            true => messages.iter().flat_map(|message| [message.clone(), message.clone()]).collect(),
            false => messages,
        }
    }
}

pub async fn send(socket: &mut Socket, message: &Message) -> Option<()> {
    socket.send(Frame::Binary(message.encode())).await.ok()
}

pub async fn receive_bytes(socket: &mut Socket) -> Option<Bytes> {
    loop {
        match socket.next().await?.ok()? {
            Frame::Binary(bytes) => return Some(bytes),
            Frame::Close(_) => return None,
            _ => {}
        }
    }
}
