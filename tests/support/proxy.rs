//! A TCP proxy on loopback that counts client traffic, limits its rate, and can be cut like a cable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::until;

/// Read size in bytes: the granularity of counts and rates.
const PIECE: usize = 16 << 10;

/// A proxy to one server. It ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    state: Arc<ProxyState>,
    listening: JoinHandle<()>,
}

#[derive(Debug)]
struct ProxyState {
    sent: AtomicU64,
    open: AtomicU64,
    received: AtomicU64,
    /// Rate limit for data that clients send, in bytes per second; 0 for none.
    rate: AtomicU64,
    /// Rate limit for data that clients receive, in bytes per second; 0 for none.
    receive_rate: AtomicU64,
    /// Clients receive no more once they received so many bytes.
    receive_limit: AtomicU64,
    is_up: watch::Sender<bool>,
}

impl Proxy {
    /// Starts a proxy to this address.
    pub async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(ProxyState {
            sent: AtomicU64::new(0),
            open: AtomicU64::new(0),
            received: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            receive_rate: AtomicU64::new(0),
            receive_limit: AtomicU64::new(u64::MAX),
            is_up: watch::channel(true).0,
        });
        let (target, shared) = (target.to_owned(), state.clone());
        let listening = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connect(near, target.clone(), shared.clone()));
            }
        });
        Self { address, state, listening }
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Bytes that clients sent, over all connections.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }

    /// Bytes that clients received, over all connections.
    pub fn received(&self) -> u64 {
        self.state.received.load(Ordering::Relaxed)
    }

    /// Limits what clients receive, in bytes per second; 0 for no limit.
    pub fn set_receive_rate(&self, rate: u64) {
        self.state.receive_rate.store(rate, Ordering::Relaxed);
    }

    /// Holds everything back once clients received `bytes` bytes in total, so that a slow machine interrupts them there, too;
    /// `u64::MAX` for no limit.
    pub fn set_receive_limit(&self, bytes: u64) {
        self.state.receive_limit.store(bytes, Ordering::Relaxed);
    }

    /// Waits until clients received `bytes` bytes in total.
    pub async fn until_received(&self, bytes: u64) {
        until(&format!("{bytes} bytes are received"), || self.received() >= bytes).await;
    }

    /// Limits what clients send, in bytes per second; 0 for no limit.
    pub fn set_rate(&self, rate: u64) {
        self.state.rate.store(rate, Ordering::Relaxed);
    }

    /// Cuts all connections and refuses new ones, or lets them through again.
    pub fn set_up(&self, is_up: bool) {
        self.state.is_up.send_replace(is_up);
    }

    /// Waits until all connections have ended, with everything delivered.
    pub async fn until_idle(&self) {
        until("all connections end", || self.state.open.load(Ordering::Relaxed) == 0).await;
    }

    /// Waits until clients sent `bytes` bytes in total.
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

async fn connect(near: TcpStream, target: String, state: Arc<ProxyState>) {
    let mut is_up = state.is_up.subscribe();
    let connected = TcpStream::connect(&target).await;
    let (true, Ok(far)) = (*is_up.borrow(), connected) else { return };
    // do not delay small messages (Nagle's algorithm)
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    state.open.fetch_add(1, Ordering::Relaxed);
    let no_limit = AtomicU64::new(u64::MAX);
    tokio::select! {
        () = forward(near_in, far_out, &state.sent, &state.rate, &no_limit) => {}
        () = forward(far_in, near_out, &state.received, &state.receive_rate, &state.receive_limit) => {}
        _ = is_up.wait_for(|is_up| !is_up) => {}
    }
    state.open.fetch_sub(1, Ordering::Relaxed);
}

async fn forward(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    counted: &AtomicU64,
    rate: &AtomicU64,
    limit: &AtomicU64,
) {
    let mut piece = vec![0; PIECE];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        counted.fetch_add(read as u64, Ordering::Relaxed);
        if let Some(micros) = (read as u64 * 1_000_000).checked_div(rate.load(Ordering::Relaxed)) {
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
        while counted.load(Ordering::Relaxed) > limit.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}
