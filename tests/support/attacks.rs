//! Attacks from one address against a server. An attack runs until it is dropped.

use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame as RawFrame, FrameHeader};
use vouch::link::SUBPROTOCOL;
use vouch_core::digest::Digest;
use vouch_core::link::{Hello, NodeKey, NodeSecretKey, Role, Transcript};
use vouch_core::message::{MAX_READS, Message, Read, Stream};

use crate::fake_replica::Identity;
use crate::http::{blob, head};
use crate::raw_link::RawLink;

/// Pause before an attacker reconnects after its connection ended.
const AGAIN: Duration = Duration::from_millis(100);

/// The kind of an attack.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub enum Kind {
    /// Links with `puts` puts each; every put sends one byte per period.
    SlowPuts { links: usize, puts: u32, every: Duration },
    /// Bodies of HTTP puts, at `rate` bytes per second.
    SlowBodies { count: usize, rate: usize },
    /// Links that request as many reads as permitted and read no answer.
    UnreadReads { links: usize, blob: Arc<Vec<u8>>, members: u16 },
    /// HTTP downloads that read nothing.
    UnreadGets { count: usize, blob: Arc<Vec<u8>> },
    /// Links that only say hello and answer pings.
    IdleLinks { count: usize },
    /// Connections that send half a request and reconnect when closed.
    HalfOpen { count: usize },
    /// Links with `bytes` bytes of an unfinished message each, and a ping per period.
    Fragments { count: usize, bytes: usize, ping: Duration },
    /// Links that send pings instead of a hello.
    PingsBeforeHello { count: usize, ping: Duration },
    /// Replicas that are not members.
    Standbys { count: u32 },
    /// Replicas that join and leave as fast as they can.
    Flapping { count: u32 },
    /// Connections that are opened and closed at once.
    Opening { count: usize },
}

impl Kind {
    /// The name in tables of results.
    pub fn name(&self) -> String {
        match self {
            Self::SlowPuts { links, puts, .. } => format!("{links} links x {puts} slow puts"),
            Self::SlowBodies { count, rate } => format!("{count} bodies at {rate} B/s"),
            Self::UnreadReads { links, .. } => format!("{links} links, answers not taken"),
            Self::UnreadGets { count, .. } => format!("{count} GETs that take nothing"),
            Self::IdleLinks { count } => format!("{count} links that answer pings"),
            Self::HalfOpen { count } => format!("{count} half-open, reconnecting"),
            Self::Fragments { count, bytes, .. } => format!("{count} links x {} KiB fragments", bytes >> 10),
            Self::PingsBeforeHello { count, .. } => format!("{count} links, pings, no hello"),
            Self::Standbys { count } => format!("{count} standbys"),
            Self::Flapping { count } => format!("{count} standbys, flapping"),
            Self::Opening { count } => format!("{count} sockets being opened"),
        }
    }
}

/// A running attack on its own thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Attack {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    connected: Arc<AtomicU32>,
}

impl Attack {
    /// Starts the attack.
    pub fn start(kind: Kind, address: &str, from: Ipv4Addr) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let connected = Arc::new(AtomicU32::new(0));
        let attacker = Attacker { address: address.into(), from, connected: connected.clone() };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut tasks = JoinSet::new();
                attacker.run(&kind, &mut tasks);
                let _ = stopped.await;
            });
        });
        Self { stop: Some(stop), thread: Some(thread), connected }
    }

    /// Number of connections and links opened so far.
    pub fn connections(&self) -> u32 {
        self.connected.load(Ordering::Relaxed)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Connects from a given loopback address.
///
/// # Errors
/// The connection was refused.
pub async fn connect(address: &str, from: Ipv4Addr) -> io::Result<TcpStream> {
    connect_with(address, from, None).await
}

async fn connect_with(address: &str, from: Ipv4Addr, receive: Option<u32>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind((from, 0).into())?;
    socket.connect(address.parse().unwrap()).await
}

/// Opens a link from a given loopback address, without a hello.
pub async fn link(address: &str, from: Ipv4Addr) -> Option<RawLink> {
    let stream = connect(address, from).await.ok()?;
    let opened = RawLink::open_over(stream, address, &[("sec-websocket-protocol", SUBPROTOCOL)]).await;
    Some(opened.ok()?.0)
}

#[derive(Debug, Clone)]
struct Attacker {
    address: String,
    from: Ipv4Addr,
    connected: Arc<AtomicU32>,
}

impl Attacker {
    fn run(self, kind: &Kind, tasks: &mut JoinSet<()>) {
        match kind.clone() {
            Kind::SlowPuts { links, puts, every } => {
                self.again(tasks, links, move |it, _| async move { it.slow_puts(puts, every).await });
            }
            Kind::SlowBodies { count, rate } => {
                self.again(tasks, count, move |it, _| async move { it.slow_body(rate).await });
            }
            Kind::UnreadReads { links, blob, members } => {
                let (digest, length) = (Digest::of(&blob), blob.len() as u64);
                self.again(tasks, links, move |it, _| async move { it.unread_reads(digest, length, members).await });
            }
            Kind::UnreadGets { count, blob: bytes } => {
                let path = blob(&bytes);
                self.again(tasks, count, move |it, _| {
                    let path = path.clone();
                    async move { it.unread_get(&path).await }
                });
            }
            Kind::IdleLinks { count } => self.again(tasks, count, |it, _| async move { it.idle_link().await }),
            Kind::HalfOpen { count } => self.again(tasks, count, |it, _| async move { it.half_open().await }),
            Kind::Fragments { count, bytes, ping } => {
                let bytes = Bytes::from(vec![0x11; bytes]);
                self.again(tasks, count, move |it, _| {
                    let bytes = bytes.clone();
                    async move { it.fragments(bytes, ping).await }
                });
            }
            Kind::PingsBeforeHello { count, ping } => {
                self.again(tasks, count, move |it, _| async move { it.pings(ping).await });
            }
            Kind::Standbys { count } => {
                let vote = Arc::new(Identity::new(1, "standby"));
                self.again(tasks, count as usize, move |it, number| {
                    let vote = vote.clone();
                    async move {
                        if let Some(mut link) = it.standby(number, &vote).await {
                            while link.next().await.is_some() {}
                        }
                    }
                });
            }
            Kind::Flapping { count } => {
                let vote = Arc::new(Identity::new(1, "flapping"));
                for number in 0..count {
                    let (it, vote) = (self.clone(), vote.clone());
                    tasks.spawn(async move {
                        loop {
                            drop(it.standby(number, &vote).await);
                            tokio::task::yield_now().await;
                        }
                    });
                }
            }
            Kind::Opening { count } => {
                for _ in 0..count {
                    let it = self.clone();
                    tasks.spawn(async move {
                        loop {
                            drop(it.connect().await);
                            tokio::time::sleep(Duration::from_millis(500)).await;
                        }
                    });
                }
            }
        }
    }

    /// Spawns `count` attackers, each of which retries when its connection ended.
    fn again<F: Future<Output = ()> + Send + 'static>(
        self,
        tasks: &mut JoinSet<()>,
        count: usize,
        attack: impl Fn(Self, u32) -> F + Clone + Send + 'static,
    ) {
        for number in 0..u32::try_from(count).unwrap() {
            let (it, attack) = (self.clone(), attack.clone());
            tasks.spawn(async move {
                loop {
                    attack(it.clone(), number).await;
                    tokio::time::sleep(AGAIN).await;
                }
            });
        }
    }

    async fn connect(&self) -> Option<TcpStream> {
        let stream = connect(&self.address, self.from).await.ok()?;
        self.connected.fetch_add(1, Ordering::Relaxed);
        Some(stream)
    }

    async fn link(&self) -> Option<RawLink> {
        let link = link(&self.address, self.from).await?;
        self.connected.fetch_add(1, Ordering::Relaxed);
        Some(link)
    }

    /// A link whose hello was answered. Later messages are not read here.
    async fn client(&self) -> Option<RawLink> {
        let mut link = self.link().await?;
        link.send(&Message::Hello(Hello::new(Role::Client, None, NodeKey::ANONYMOUS, [7; 32]))).await;
        link.next().await?;
        Some(link)
    }

    async fn slow_puts(&self, puts: u32, every: Duration) {
        let Some(mut link) = self.client().await else { return };
        for number in 1..=puts {
            link.send(&Message::Put { stream: Stream(number), offer: None, renew: false, authorisation: None }).await;
        }
        let mut offset = 0;
        loop {
            for number in 1..=puts {
                let bytes = Bytes::from_static(b"x");
                link.send(&Message::Chunk { stream: Stream(number), offset, parents: Vec::new(), bytes }).await;
            }
            offset += 1;
            let pause = tokio::time::sleep(every);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    message = link.next() => match message {
                        // a put was refused or ended: start all of them again
                        None | Some(Message::Failed(_)) => return,
                        Some(_) => {}
                    }
                }
            }
        }
    }

    async fn slow_body(&self, rate: usize) {
        let Some(mut stream) = self.connect().await else { return };
        let head = head(&self.address, "PUT", "/v1/blobs", &[("Content-Length", "100000000")]);
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        let (mut reader, mut writer) = stream.into_split();
        let write = async {
            while writer.write_all(&vec![b'x'; rate]).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let mut answer = [0; 1];
        tokio::select! {
            () = write => {}
            _ = reader.read(&mut answer) => {}
        }
    }

    async fn unread_reads(&self, digest: Digest, length: u64, members: u16) {
        let Ok(stream) = connect_with(&self.address, self.from, Some(4096)).await else { return };
        let opened = RawLink::open_over(stream, &self.address, &[("sec-websocket-protocol", SUBPROTOCOL)]).await;
        let Ok((mut link, _)) = opened else { return };
        self.connected.fetch_add(1, Ordering::Relaxed);
        link.send(&Message::Hello(Hello::new(Role::Client, None, NodeKey::ANONYMOUS, [7; 32]))).await;
        if link.locate(digest).await.is_err() {
            return;
        }
        let pieces = length >> 18;
        for number in 1u32.. {
            let offset = (u64::from(number) % pieces) << 18;
            let member = u16::try_from(number % u32::from(members)).unwrap();
            let read = Read { stream: Stream(number), member, digest, offset, length: 1 << 18 };
            if link.send_frame(Frame::Binary(Message::Read(read).encode())).await.is_err() {
                return;
            }
            // more unanswered reads would end the link, but a few answers fit into the socket buffers
            let pause = if number < u32::try_from(MAX_READS).unwrap() { 10 } else { 1000 };
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn unread_get(&self, path: &str) {
        let Ok(mut stream) = connect_with(&self.address, self.from, Some(4096)).await else { return };
        self.connected.fetch_add(1, Ordering::Relaxed);
        if stream.write_all(head(&self.address, "GET", path, &[]).as_bytes()).await.is_err() {
            return;
        }
        // nothing is read: a failed write shows that the connection is gone
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            if stream.write_all(b"\r\n").await.is_err() {
                return;
            }
        }
    }

    async fn idle_link(&self) {
        if let Some(mut link) = self.client().await {
            while link.next().await.is_some() {}
        }
    }

    async fn half_open(&self) {
        let Some(mut stream) = self.connect().await else { return };
        if stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.is_ok() {
            let _ = stream.read(&mut [0; 1]).await;
        }
    }

    async fn fragments(&self, bytes: Bytes, ping: Duration) {
        let Some(mut link) = self.client().await else { return };
        let header = FrameHeader { is_final: false, opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
        if link.send_frame(Frame::Frame(RawFrame::from_payload(header, bytes))).await.is_ok() {
            self.ping_until_closed(&mut link, ping).await;
        }
    }

    async fn pings(&self, ping: Duration) {
        if let Some(mut link) = self.link().await {
            self.ping_until_closed(&mut link, ping).await;
        }
    }

    async fn ping_until_closed(&self, link: &mut RawLink, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        loop {
            tokio::select! {
                _ = ticks.tick() => if link.send_frame(Frame::Ping(Bytes::new())).await.is_err() {
                    return;
                },
                frame = link.next_frame() => if !matches!(frame, Some(Ok(Frame::Binary(_) | Frame::Ping(_) | Frame::Pong(_)))) {
                    return;
                },
            }
        }
    }

    /// A link of a replica that joined or was refused.
    async fn standby(&self, number: u32, vote: &Identity) -> Option<RawLink> {
        let mut link = self.link().await?;
        let node = NodeSecretKey::from_bytes(blake3_of(number).as_bytes().first_chunk()?);
        let own = Hello::new(Role::Replica, None, node.node_key(), [7; 32]);
        link.send(&Message::Hello(own)).await;
        let Message::Hello(server) = link.next().await? else { return None };
        let transcript = Transcript::new(&own, &server, None);
        link.send(&Message::Auth(node.sign(&transcript, Role::Replica))).await;
        link.send(&vote.join()).await;
        // the server's `Auth`
        link.next().await?;
        Some(link)
    }
}

/// Seed of a node key for each number.
fn blake3_of(number: u32) -> String {
    Digest::of(&number.to_le_bytes()).to_hex()
}
