//! A TCP proxy on loopback that delays both directions.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) struct Proxy {
    pub(crate) address: String,
    delay: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts a proxy to this address, without delay at first.
    pub(crate) fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let delay = Arc::new(AtomicU64::new(0));
        let (target, shared) = (target.to_owned(), delay.clone());
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(&target) else { continue };
                // do not delay small messages (Nagle's algorithm)
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                forward(near.try_clone().unwrap(), far.try_clone().unwrap(), shared.clone());
                forward(far, near, shared.clone());
            }
        });
        Self { address, delay }
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        self.delay.store(delay.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, delay: Arc<AtomicU64>) {
    let (sender, pieces) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let due = Instant::now() + Duration::from_millis(delay.load(Ordering::Relaxed));
            if sender.send((due, buffer[..read].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, piece) in pieces {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                return;
            }
        }
    });
}
