//! A TCP proxy on loopback that counts what clients send and receive, slows it down, and may be cut like a cable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::until;

/// Bytes read at a time: how finely it counts.
const PIECE: usize = 16 << 10;

/// In front of one server. It ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    wire: Arc<Wire>,
    listening: JoinHandle<()>,
}

#[derive(Debug)]
struct Wire {
    sent: AtomicU64,
    open: AtomicU64,
    received: AtomicU64,
    /// Bytes a second that a client may send; 0 for all.
    rate: AtomicU64,
    /// Bytes a second that a client may receive; 0 for all.
    receive_rate: AtomicU64,
    is_up: watch::Sender<bool>,
}

impl Proxy {
    /// In front of this address.
    pub async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let wire = Arc::new(Wire {
            sent: AtomicU64::new(0),
            open: AtomicU64::new(0),
            received: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            receive_rate: AtomicU64::new(0),
            is_up: watch::channel(true).0,
        });
        let (target, shared) = (target.to_owned(), wire.clone());
        let listening = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connect(near, target.clone(), shared.clone()));
            }
        });
        Self { address, wire, listening }
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Bytes that clients sent, over all connections.
    pub fn sent(&self) -> u64 {
        self.wire.sent.load(Ordering::Relaxed)
    }

    /// Bytes that clients received, over all connections.
    pub fn received(&self) -> u64 {
        self.wire.received.load(Ordering::Relaxed)
    }

    /// Lets a client receive so many bytes a second; 0 for all.
    pub fn set_receive_rate(&self, rate: u64) {
        self.wire.receive_rate.store(rate, Ordering::Relaxed);
    }

    /// Waits until clients received so many bytes.
    pub async fn until_received(&self, bytes: u64) {
        until(&format!("{bytes} bytes are received"), || self.received() >= bytes).await;
    }

    /// Lets a client send so many bytes a second; 0 for all.
    pub fn set_rate(&self, rate: u64) {
        self.wire.rate.store(rate, Ordering::Relaxed);
    }

    /// Cuts every connection, and any new one, or lets them through again.
    pub fn set_up(&self, is_up: bool) {
        self.wire.is_up.send_replace(is_up);
    }

    /// Waits until everything that clients left behind is delivered.
    pub async fn until_idle(&self) {
        until("all connections end", || self.wire.open.load(Ordering::Relaxed) == 0).await;
    }

    /// Waits until clients sent so many bytes.
    pub async fn until_sent(&self, bytes: u64) {
        until(&format!("{bytes} bytes are sent"), || self.sent() >= bytes).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.set_up(false);
    }
}

async fn connect(near: TcpStream, target: String, wire: Arc<Wire>) {
    let mut is_up = wire.is_up.subscribe();
    let connected = TcpStream::connect(&target).await;
    let (true, Ok(far)) = (*is_up.borrow(), connected) else { return };
    // small messages are not held back for larger ones
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    wire.open.fetch_add(1, Ordering::Relaxed);
    tokio::select! {
        () = forward(near_in, far_out, &wire.sent, &wire.rate) => {}
        () = forward(far_in, near_out, &wire.received, &wire.receive_rate) => {}
        _ = is_up.wait_for(|is_up| !is_up) => {}
    }
    wire.open.fetch_sub(1, Ordering::Relaxed);
}

async fn forward(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    counted: &AtomicU64,
    rate: &AtomicU64,
) {
    let mut piece = vec![0; PIECE];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        counted.fetch_add(read as u64, Ordering::Relaxed);
        if let Some(micros) = (read as u64 * 1_000_000).checked_div(rate.load(Ordering::Relaxed)) {
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}
