//! The body of a put, in pieces, from the moment that the server is ready for them.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{mpsc, oneshot};
use vouch_core::message::MAX_CHUNK;

use crate::budgets::Permit;
use crate::host::Host;
use crate::link::Held;
use crate::server::guard::Connection;

/// Bytes of a piece that take nothing from the budget: what a slow body brings before the piece goes off. There are as many such
/// pieces as places in the queues from here to the replicas.
const FREE: usize = 4 << 10;
/// Pieces read ahead.
const QUEUE: usize = 1;
/// A piece that is not full goes off so long after its first byte: whoever counts a client's silence sees what came.
const LINGER: Duration = Duration::from_millis(100);
/// How much and how long is read of a body that nobody wants any more, so that its sender comes to read why.
const DRAIN_BYTES: usize = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The least that a body must bring while the server waits for it. What it waits for replicas is not counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Bytes a second, on average over a window.
    pub(super) rate: u64,
    pub(super) window: Duration,
}

/// Starts to read a body, and gives its pieces. Dropped instead, it lets the body go.
pub(super) type Start = Box<dyn FnOnce() -> mpsc::Receiver<io::Result<Bytes>> + Send>;

/// Prepares to read a body.
pub(super) fn pieces(
    host: Host,
    body: Incoming,
    waits_for_continue: bool,
    pace: Pace,
    connection: Arc<Connection>,
) -> Start {
    if body.is_end_stream() {
        // nobody sends: it ends at once
        return Box::new(|| mpsc::channel(QUEUE).1);
    }
    let (start, started) = oneshot::channel();
    host.clone().spawn(async move {
        match started.await {
            Ok(pieces) => flow(&host, body, &pieces, pace, &connection).await,
            // it was not told to go on, so nothing comes; reading would tell it
            Err(_) if waits_for_continue => {}
            Err(_) => drain(&host, body).await,
        }
    });
    Box::new(move || {
        let (sender, receiver) = mpsc::channel(QUEUE);
        // fails only when the runtime ends
        let _ = start.send(sender);
        receiver
    })
}

/// Sends pieces until the body's end, an error, or until nobody takes them.
async fn flow(
    host: &Host,
    mut body: Incoming,
    pieces: &mpsc::Sender<io::Result<Bytes>>,
    pace: Pace,
    connection: &Connection,
) {
    let mut piece = Piece::default();
    let mut began = Duration::ZERO;
    let mut window = Window::new(pace);
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
            // its time has come
            None => Bytes::new(),
            Some(Some(Err(error))) => return drop(pieces.send(Err(io::Error::other(error))).await),
            Some(None) => {
                if !piece.bytes.is_empty() {
                    let _ = pieces.send(Ok(piece.take())).await;
                }
                return;
            }
        };
        if let Err(error) = window.note(now.saturating_sub(asked), data.len()) {
            return drop(pieces.send(Err(error)).await);
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

/// What is gathered, with its memory in the budget of all clients. A body that comes slowly is passed on before it needs any.
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
        // at once: growing by doubling takes more than the permit is for
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

/// Holds the body to its pace.
struct Window {
    pace: Pace,
    waited: Duration,
    received: u64,
}

impl Window {
    fn new(pace: Pace) -> Self {
        Self { pace, waited: Duration::ZERO, received: 0 }
    }

    fn note(&mut self, waited: Duration, received: usize) -> io::Result<()> {
        self.waited += waited;
        self.received += received as u64;
        if self.waited < self.pace.window {
            return Ok(());
        }
        let (rate, got, seconds) = (self.pace.rate, self.received, self.waited.as_secs_f64());
        *self = Self::new(self.pace);
        #[expect(clippy::cast_precision_loss, reason = "an average")]
        let is_slow = (got as f64) < rate as f64 * seconds;
        match is_slow {
            true => {
                let reason = format!("expected at least {rate} bytes a second, got {got} in {seconds:.1} s");
                Err(io::Error::new(ErrorKind::TimedOut, reason))
            }
            false => Ok(()),
        }
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
    // out of time is as good as done
    let _ = host.timeout(DRAIN_TIME, drained).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_keeps_its_pace_over_every_window() {
        let pace = Pace { rate: 1000, window: Duration::from_secs(30) };
        let mut window = Window::new(pace);
        let second = Duration::from_secs(1);
        // nothing for a while is no matter, as long as the average is right
        for received in [0, 0, 30_000].into_iter().chain([0; 27]) {
            window.note(second, received).unwrap();
        }
        // what came before does not count for ever
        for _ in 0..29 {
            window.note(second, 999).unwrap();
        }
        let error = window.note(second, 999).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "expected at least 1000 bytes a second, got 29970 in 30.0 s");
    }
}
