//! A fake server that shows and certifies what the test decides.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use vouch::link::SUBPROTOCOL;
use vouch_core::certificate::Certificate;
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::Committee;
use vouch_core::digest::ClusterId;
use vouch_core::link::{Hello, NodeSecretKey, Role, Transcript};
use vouch_core::message::{ClusterMessage, EpochsMessage, Failed, Holder, Message};
use vouch_core::receipt::Receipt;

type Certify = dyn Fn(Receipt) -> Certificate + Send + Sync;

/// The message that a server withholds, though it answers pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// Withholds no message.
    Nothing,
    /// Withholds `Auth`.
    Auth,
    /// Withholds `Ready`.
    Ready,
    /// Withholds `Certified`.
    Certified,
    /// Withholds `Located`.
    Located,
    /// Withholds `Chunk`.
    Chunk,
}

/// A server that follows the protocol with configured contents.
#[derive(Debug)]
pub struct FakeServer {
    /// `host:port` where it listens.
    pub address: String,
    /// The lists of seals that it answers over HTTP, by epoch.
    pub seals: SealLists,
    task: JoinHandle<()>,
}

/// Lists of seals, by epoch.
pub type SealLists = Arc<Mutex<BTreeMap<u64, Vec<u8>>>>;

impl FakeServer {
    /// Announces `announced` in its hello, shows committee `shown`, and answers every put with `certify` of its receipt.
    pub async fn start(
        announced: ClusterId,
        shown: Arc<Committee>,
        certify: impl Fn(Receipt) -> Certificate + Send + Sync + 'static,
    ) -> Self {
        Self::withholding(Withheld::Nothing, announced, shown, certify).await
    }

    /// Shows these committees, announces the last epoch, and answers every put with `certify` of its receipt.
    pub async fn showing(
        chain: CommitteeChain,
        certify: impl Fn(Receipt) -> Certificate + Send + Sync + 'static,
    ) -> Self {
        Self::listening(Withheld::Nothing, chain.cluster(), chain, certify).await
    }

    /// The same, but withholds one message.
    pub async fn withholding(
        withheld: Withheld,
        announced: ClusterId,
        shown: Arc<Committee>,
        certify: impl Fn(Receipt) -> Certificate + Send + Sync + 'static,
    ) -> Self {
        Self::listening(withheld, announced, shown.into(), certify).await
    }

    async fn listening(
        withheld: Withheld,
        announced: ClusterId,
        shown: CommitteeChain,
        certify: impl Fn(Receipt) -> Certificate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let certify: Arc<Certify> = Arc::new(certify);
        let seals = SealLists::default();
        let lists = seals.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shown, certify, lists) = (shown.clone(), certify.clone(), lists.clone());
                // the test notices an unexpected end of the link
                tokio::spawn(async move {
                    match asked_for_seal(&stream).await {
                        Some(epoch) => send_seal(stream, epoch, &lists).await,
                        None => serve(stream, withheld, announced, &shown, &*certify).await,
                    }
                });
            }
        });
        Self { address, seals, task }
    }
}

/// The epoch, if the first request on a connection is for the list of a seal.
async fn asked_for_seal(stream: &TcpStream) -> Option<u64> {
    let mut start = [0; 64];
    let length = stream.peek(&mut start).await.ok()?;
    let line = std::str::from_utf8(&start[..length]).ok()?.strip_prefix("GET /v1/log/seals/")?;
    line.split(' ').next()?.parse().ok()
}

async fn send_seal(mut stream: TcpStream, epoch: u64, lists: &SealLists) -> Option<()> {
    let list = lists.lock().unwrap().get(&epoch).cloned();
    let status = if list.is_some() { "200 OK" } else { "404 Not Found" };
    let list = list.unwrap_or_default();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", list.len());
    // the request has no body, and is shorter than this
    let _ = stream.read(&mut [0; 4096]).await.ok()?;
    stream.write_all(&[head.as_bytes(), &list].concat()).await.ok()?;
    stream.shutdown().await.ok()
}

/// Accepts the first replica that dials the listener, sends `said`, and returns the failure that the replica sends before it closes.
///
/// # Panics
/// If the replica closes without a reason.
pub async fn reason_of_a_replica(listener: TcpListener, said: Message) -> Failed {
    let (stream, _) = listener.accept().await.unwrap();
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose_subprotocol).await.unwrap();
    let Some(Message::Hello(hello)) = receive(&mut socket).await else { panic!("expected a Hello") };
    let key = NodeSecretKey::from_bytes(&[3; 32]);
    let own = Hello::new(Role::Server, None, key.node_key(), [4; 32]);
    let auth = Message::Auth(key.sign(&Transcript::new(&hello, &own, None), Role::Server));
    for message in [Message::Hello(own), auth, said] {
        send(&mut socket, message).await.unwrap();
    }
    loop {
        if let Message::Failed(failed) = receive(&mut socket).await.expect("a reason before the link ends") {
            return failed;
        }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers an upgrade as a server does.
///
/// # Errors
/// Never.
#[expect(clippy::result_large_err, reason = "the library's signature")]
pub fn choose_subprotocol(
    _: &Request,
    mut response: Response,
) -> Result<Response, tokio_tungstenite::tungstenite::handshake::server::ErrorResponse> {
    response.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
    Ok(response)
}

async fn serve(
    stream: TcpStream,
    withheld: Withheld,
    announced: ClusterId,
    shown: &CommitteeChain,
    certify: &Certify,
) -> Option<()> {
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose_subprotocol).await.ok()?;
    let Message::Hello(hello) = receive(&mut socket).await? else { return None };
    let key = NodeSecretKey::from_bytes(&[3; 32]);
    let own = Hello::new(Role::Server, Some(announced), key.node_key(), [4; 32]).knowing(Some(shown));
    let transcript = Transcript::new(&hello, &own, None);
    let mut welcome =
        vec![Message::Hello(own), Message::Auth(key.sign(&transcript, Role::Server)), cluster_message(shown.first())];
    let links: Vec<_> = shown.links_after(hello.epoch).collect();
    if !links.is_empty() {
        welcome.push(Message::Epochs(EpochsMessage { more: false, links }));
    }
    for message in welcome {
        if withheld == Withheld::Auth && matches!(message, Message::Auth(_)) {
            // keep reading, which answers pings
            while receive(&mut socket).await.is_some() {}
            return None;
        }
        send(&mut socket, message).await?;
    }
    loop {
        match receive(&mut socket).await? {
            Message::Put { .. } if withheld == Withheld::Ready => {}
            Message::PutEnd { .. } | Message::Blob { .. } if withheld == Withheld::Certified => {}
            Message::Locate { stream, .. } if withheld == Withheld::Chunk => {
                let holders = vec![Holder { member: 0, length: 1000 }];
                send(&mut socket, Message::Located { stream, holders }).await?;
            }
            Message::Put { stream, .. } => send(&mut socket, Message::Ready { stream, offset: 0 }).await?,
            Message::PutEnd { stream, receipt, .. } | Message::Blob { stream, receipt, .. } => {
                let certificate = Box::new(certify(receipt));
                send(&mut socket, Message::Certified { stream, certificate }).await?;
            }
            _ => {}
        }
    }
}

/// Shows a committee.
pub fn cluster_message(committee: &Committee) -> Message {
    let possessions = committee.possessions().to_vec();
    Message::Cluster(ClusterMessage { genesis: committee.record().clone(), possessions })
}

async fn receive(socket: &mut WebSocketStream<TcpStream>) -> Option<Message> {
    loop {
        match socket.next().await?.ok()? {
            Frame::Binary(bytes) => return Message::decode(&bytes).ok(),
            Frame::Close(_) => return None,
            _ => {}
        }
    }
}

async fn send(socket: &mut WebSocketStream<TcpStream>, message: Message) -> Option<()> {
    let bytes: Bytes = message.encode();
    socket.send(Frame::Binary(bytes)).await.ok()
}
