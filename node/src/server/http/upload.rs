//! Reads the body of a put in pieces, once the server is ready for them.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{mpsc, oneshot};
use vouch_core::message::MAX_CHUNK;
use vouch_node_core::server::link_puts::{UploadRate, UploadWindow};

use crate::budgets::Permit;
use crate::host::Host;
use crate::link::Held;
use crate::server::guard::Connection;

/// The first bytes of a piece, which take no memory from the budget, because a slow body brings no more before the piece is passed on.
/// The queues between here and the replicas bound the number of such pieces.
const FREE: usize = 4 << 10;
/// Number of pieces read ahead.
const QUEUE: usize = 1;
/// A piece that is not full is passed on this long after its first byte, so that slow progress is noticed.
const LINGER: Duration = Duration::from_millis(100);
/// How much of a refused body is read, and for how long, so that its sender reads the response.
const DRAIN_BYTES: usize = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Starts to read a body, and returns the channel of its pieces. If it is dropped instead, the body is discarded.
pub(super) type Start = Box<dyn FnOnce() -> mpsc::Receiver<io::Result<Bytes>> + Send>;

/// Prepares to read a body.
pub(super) fn pieces(
    host: Host,
    body: Incoming,
    waits_for_continue: bool,
    rate: UploadRate,
    connection: Arc<Connection>,
) -> Start {
    if body.is_end_stream() {
        // The sender was dropped, so the channel ends at once.
        return Box::new(|| mpsc::channel(QUEUE).1);
    }
    let (start, started) = oneshot::channel();
    host.clone().spawn(async move {
        match started.await {
            Ok(pieces) => flow(&host, body, &pieces, rate, &connection).await,
            // The client still waits for 100 Continue. Do not read: hyper would send it.
            Err(_) if waits_for_continue => {}
            Err(_) => drain(&host, body).await,
        }
    });
    Box::new(move || {
        let (sender, receiver) = mpsc::channel(QUEUE);
        // Fails only when the runtime shuts down.
        let _ = start.send(sender);
        receiver
    })
}

/// Sends pieces until the body's end, an error, or until the receiver is dropped.
async fn flow(
    host: &Host,
    mut body: Incoming,
    pieces: &mpsc::Sender<io::Result<Bytes>>,
    rate: UploadRate,
    connection: &Connection,
) {
    let mut piece = Piece::default();
    let mut began = Duration::ZERO;
    // On a clock that counts only the time spent waiting for the client: the server may wait for replicas meanwhile.
    let mut waited = Duration::ZERO;
    let mut window = UploadWindow::begin(waited, Duration::ZERO);
    loop {
        let asked = host.monotonic();
        let patience = if piece.bytes.is_empty() { None } else { Some((began + LINGER).saturating_sub(asked)) };
        let frame = tokio::select! {
            biased;
            () = pieces.closed() => return drain(host, body).await,
            frame = body.frame() => Some(frame),
            () = waits(host, patience) => None,
        };
        let now = host.monotonic();
        let mut data = match frame {
            Some(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            // The piece has waited long enough.
            None => Bytes::new(),
            Some(Some(Err(error))) => return drop(pieces.send(Err(io::Error::other(error))).await),
            Some(None) => {
                if !piece.bytes.is_empty() {
                    let _ = pieces.send(Ok(piece.take())).await;
                }
                return;
            }
        };
        waited += now.saturating_sub(asked);
        window.add(data.len() as u64);
        if let Some(reason) = window.is_slow(rate, waited, Duration::ZERO, 1) {
            return drop(pieces.send(Err(io::Error::new(ErrorKind::TimedOut, reason))).await);
        }
        if !data.is_empty() {
            connection.progress();
        }
        if piece.bytes.is_empty() {
            began = now;
        }
        let is_due = data.is_empty();
        while data.has_remaining() || (is_due && !piece.bytes.is_empty()) {
            if piece.wants_memory(data.len()) {
                tokio::select! {
                    biased;
                    () = pieces.closed() => return drain(host, body).await,
                    permit = connection.memory_for_piece() => piece.grow(permit),
                }
            }
            let taken = data.split_to(data.len().min(MAX_CHUNK - piece.bytes.len()));
            piece.bytes.extend_from_slice(&taken);
            if (piece.bytes.len() == MAX_CHUNK || is_due) && pieces.send(Ok(piece.take())).await.is_err() {
                return drain(host, body).await;
            }
        }
    }
}

/// The piece being gathered, with its memory from the budget of all clients. A slow body is passed on before it needs any.
#[derive(Default)]
struct Piece {
    bytes: BytesMut,
    permit: Option<Permit>,
}

impl Piece {
    fn wants_memory(&self, more: usize) -> bool {
        self.permit.is_none() && self.bytes.len() + more > FREE
    }

    fn grow(&mut self, permit: Permit) {
        self.permit = Some(permit);
        // Allocate at once: growing by doubling takes more memory than the permit covers.
        self.bytes.reserve(MAX_CHUNK - self.bytes.len());
    }

    fn take(&mut self) -> Bytes {
        let bytes = self.bytes.split().freeze();
        match self.permit.take() {
            Some(permit) => Held::Message(permit).by(bytes),
            None => bytes,
        }
    }
}

async fn waits(host: &Host, patience: Option<Duration>) {
    match patience {
        Some(patience) => host.sleep(patience).await,
        None => std::future::pending().await,
    }
}

async fn drain(host: &Host, mut body: Incoming) {
    let drained = async {
        let mut left = DRAIN_BYTES;
        while left > 0
            && let Some(Ok(frame)) = body.frame().await
        {
            left = left.saturating_sub(frame.into_data().map_or(0, |data| data.len()));
        }
    };
    // After the time limit, stop as if the body had ended.
    let _ = host.timeout(DRAIN_TIME, drained).await;
}
