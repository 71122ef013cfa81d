//! Limits on what an accepted link may send before the other end is authenticated: few bytes before the hello, memory for one
//! unfinished message only with a permit, a minimum rate while a message is unfinished, and few control frames.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use vouch_core::message::MAX_MESSAGE;

use super::{Io, LinkError};
use crate::budgets::{Party, Permit, Pool};
use crate::host::Host;

/// Maximum number of bytes before the hello is complete, pings included. A hello has about 110.
const BEFORE_HELLO: usize = 4 << 10;
/// Bytes of an unfinished message that need no permit: twice the read buffer.
const FREE: usize = 16 << 10;
/// Bytes that one permit covers: the largest chunk with its proof. A longer message takes a second permit.
const MESSAGE: usize = 288 << 10;
/// Memory for these bytes: the socket library collects a message's frames besides the buffer of the current frame.
const MESSAGE_MEMORY: u64 = 2 * MESSAGE as u64;
/// Bytes for the headers of a message's frames.
const HEADERS: usize = 64 << 10;
/// Burst of control frames, and the interval after it. An honest end sends a ping and a pong every 15 s.
const CONTROL_FRAMES: u32 = 64;
const CONTROL_FRAME_EVERY: Duration = Duration::from_secs(1);

/// The budgets and limits of a link that is not authenticated.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// For the clock.
    pub host: Host,
    /// The holder that the link counts for.
    pub party: Arc<Party>,
    /// The budget of memory for unfinished messages.
    pub messages: Arc<Pool>,
    /// The budget of connections. A message that arrived, and bytes that the other end took, are progress.
    pub connections: Arc<Pool>,
    /// The budget of reads. Bytes that the other end took are progress.
    pub reads: Arc<Pool>,
    /// Minimum rate of an unfinished message, in bytes a second on average over `window`.
    pub rate: u64,
    /// The window over which the rate is measured.
    pub window: Duration,
}

impl Allowance {
    /// Memory in bytes for one message: the largest chunk with its proof.
    pub const MESSAGE: u64 = MESSAGE_MEMORY;
}

/// Counts the bytes of one link.
#[derive(Debug)]
pub(super) struct Meter {
    allowance: Allowance,
    state: Mutex<MeterState>,
}

type PermitFuture = Pin<Box<dyn Future<Output = Permit> + Send>>;

struct MeterState {
    peer: Peer,
    /// Number of bytes since the last complete message, without control frames.
    unfinished: usize,
    permits: Vec<Permit>,
    waiting: Option<PermitFuture>,
    /// While a message is unfinished: when the current window began, and the number of bytes in it.
    window: Option<(Duration, u64)>,
    /// When the full burst of control frames is allowed again.
    control: Duration,
    /// A message is being written. Bytes of pongs are not progress.
    is_sending: bool,
}

impl std::fmt::Debug for MeterState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeterState")
            .field("peer", &self.peer)
            .field("unfinished", &self.unfinished)
            .finish_non_exhaustive()
    }
}

/// What is known of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    BeforeHello,
    Unauthenticated,
    Member,
}

impl Meter {
    pub(super) fn new(allowance: Allowance) -> Arc<Self> {
        let state = MeterState {
            peer: Peer::BeforeHello,
            unfinished: 0,
            permits: Vec::new(),
            waiting: None,
            window: None,
            control: Duration::ZERO,
            is_sending: false,
        };
        Arc::new(Self { allowance, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, MeterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hello is complete: messages may now have the maximum size.
    pub(super) fn said_hello(&self) {
        let mut state = self.state();
        if state.peer == Peer::BeforeHello {
            state.peer = Peer::Unauthenticated;
        }
    }

    /// The other end has proved that it is a member: nothing is counted any more.
    pub(super) fn is_member(&self) {
        let released = {
            let mut state = self.state();
            state.peer = Peer::Member;
            (std::mem::take(&mut state.permits), state.waiting.take())
        };
        // Drop permits without the lock: a released permit may wake this very link.
        drop(released);
    }

    /// A message has arrived.
    pub(super) fn received(&self) {
        let Allowance { party, connections, messages, .. } = &self.allowance;
        connections.progress(party);
        // While this end handles the message, the sender is not idle.
        messages.waits_for_us(party);
    }

    /// Sets whether a message is being written.
    pub(super) fn set_sending(&self, is_sending: bool) {
        self.state().is_sending = is_sending;
    }

    /// The last message has been handled.
    pub(super) fn finished(&self) {
        let released = {
            let mut state = self.state();
            state.unfinished = 0;
            state.window = None;
            std::mem::take(&mut state.permits)
        };
        drop(released);
    }

    /// A control frame has arrived. `false` if there are too many.
    pub(super) fn control_frame(&self, payload: usize, now: Duration) -> bool {
        let mut state = self.state();
        // a header of two bytes and a mask of four precede the payload
        state.unfinished = state.unfinished.saturating_sub(payload + 6);
        if state.unfinished == 0 {
            state.window = None;
        }
        state.control = state.control.max(now) + CONTROL_FRAME_EVERY;
        state.peer == Peer::Member || state.control - now <= CONTROL_FRAME_EVERY * CONTROL_FRAMES
    }

    /// When the rate of an unfinished message is checked next.
    pub(super) fn due(&self) -> Option<Duration> {
        let state = self.state();
        let window = state.window.filter(|_| state.peer == Peer::Unauthenticated);
        window.map(|(began, _)| began + self.allowance.window)
    }

    /// Checks the rate of an unfinished message.
    pub(super) fn keeps_pace(&self, now: Duration) -> Result<(), LinkError> {
        let mut state = self.state();
        let Some((began, bytes)) = state.window.filter(|_| state.peer == Peer::Unauthenticated) else { return Ok(()) };
        let elapsed = now.saturating_sub(began);
        // while the link waits for a permit, the other end cannot send
        if elapsed < self.allowance.window || state.waiting.is_some() {
            return Ok(());
        }
        state.window = Some((now, 0));
        let needed = u128::from(self.allowance.rate) * elapsed.as_millis() / 1000;
        match u128::from(bytes) < needed {
            true => Err(LinkError::TooSlow { got: bytes, after: elapsed }),
            false => Ok(()),
        }
    }

    /// Ready if more bytes may be read.
    fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        let limit = match state.peer {
            Peer::Member => return Poll::Ready(Ok(())),
            Peer::BeforeHello => BEFORE_HELLO,
            Peer::Unauthenticated => MAX_MESSAGE + HEADERS,
        };
        if state.unfinished > limit {
            let text = format!("expected a message of at most {limit} bytes, got {} and no end", state.unfinished);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        let needed = if state.unfinished < FREE { 0 } else { state.unfinished.div_ceil(MESSAGE) };
        while state.permits.len() < needed {
            let Allowance { party, messages, .. } = &self.allowance;
            let waiting =
                state.waiting.get_or_insert_with(|| Box::pin(messages.clone().take(party.clone(), MESSAGE_MEMORY)));
            match waiting.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(permit) => {
                    state.waiting = None;
                    state.permits.push(permit);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn read(&self, bytes: usize) {
        let mut state = self.state();
        if bytes == 0 || state.peer == Peer::Member {
            return;
        }
        state.unfinished += bytes;
        state.window.get_or_insert_with(|| (self.allowance.host.monotonic(), 0)).1 += bytes as u64;
    }

    /// The other end has taken bytes.
    fn wrote(&self, bytes: usize) {
        if bytes > 0 && self.state().is_sending {
            let Allowance { party, connections, reads, .. } = &self.allowance;
            connections.progress(party);
            reads.progress(party);
        }
    }
}

/// A byte stream with a meter.
pub(super) struct Metered {
    pub(super) io: Box<dyn Io>,
    pub(super) meter: Arc<Meter>,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.meter.poll_room(context))?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        self.meter.read(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        if let Poll::Ready(Ok(bytes)) = written {
            self.meter.wrote(bytes);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
