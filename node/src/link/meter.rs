//! What an accepted link may send before the other end is trusted: few bytes before the hello, one unfinished message in memory
//! only with a permit, some progress while it is unfinished, and few control frames.

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

/// Bytes before the hello is complete, pings included. A hello has about 110.
const BEFORE_HELLO: usize = 4 << 10;
/// Bytes of an unfinished message for which no permit is needed: what a link reads at one time, twice.
const FREE: usize = 16 << 10;
/// What a permit is for: the largest chunk with its proof. A longer message takes a second one.
const MESSAGE: usize = 288 << 10;
/// Memory that it may take: the socket library collects the frames of a message beside the buffer of the present one.
const MESSAGE_MEMORY: u64 = 2 * MESSAGE as u64;
/// Beside the message: the headers of the frames that it comes in.
const HEADERS: usize = 64 << 10;
/// Control frames at once, and then one every so often: an honest end sends a ping and a pong every 15 s.
const CONTROL_FRAMES: u32 = 64;
const CONTROL_FRAME_EVERY: Duration = Duration::from_secs(1);

/// The budgets and rules that a link of a stranger is held to.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// For the time.
    pub host: Host,
    /// Who the link is counted for.
    pub party: Arc<Party>,
    /// Memory for unfinished messages.
    pub messages: Arc<Pool>,
    /// The connections: a message that came, and bytes of messages that were taken, are progress.
    pub connections: Arc<Pool>,
    /// Reads: bytes that were taken are progress.
    pub reads: Arc<Pool>,
    /// The least that an unfinished message must bring, in bytes a second on average over `window`.
    pub rate: u64,
    /// Over how long that is measured.
    pub window: Duration,
}

impl Allowance {
    /// Bytes of memory that are taken for a message: the largest chunk with its proof.
    pub const MESSAGE: u64 = MESSAGE_MEMORY;
}

/// Watches the bytes of one link.
#[derive(Debug)]
pub(super) struct Meter {
    allowance: Allowance,
    state: Mutex<State>,
}

type Waiting = Pin<Box<dyn Future<Output = Permit> + Send>>;

struct State {
    stage: Stage,
    /// Bytes since the last message was complete, without control frames.
    unfinished: usize,
    permits: Vec<Permit>,
    waiting: Option<Waiting>,
    /// When the present window began, and the bytes in it; while a message is unfinished.
    window: Option<(Duration, u64)>,
    /// When as many control frames may come again as at the beginning.
    control: Duration,
    /// A message is being written. Pongs count for nothing.
    is_sending: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("stage", &self.stage)
            .field("unfinished", &self.unfinished)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    BeforeHello,
    Stranger,
    Member,
}

impl Meter {
    pub(super) fn new(allowance: Allowance) -> Arc<Self> {
        let state = State {
            stage: Stage::BeforeHello,
            unfinished: 0,
            permits: Vec::new(),
            waiting: None,
            window: None,
            control: Duration::ZERO,
            is_sending: false,
        };
        Arc::new(Self { allowance, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hello is complete: larger messages may come.
    pub(super) fn said_hello(&self) {
        let mut state = self.state();
        if state.stage == Stage::BeforeHello {
            state.stage = Stage::Stranger;
        }
    }

    /// The other end proved that it is a member: nothing is counted any more.
    pub(super) fn is_member(&self) {
        let released = {
            let mut state = self.state();
            state.stage = Stage::Member;
            (std::mem::take(&mut state.permits), state.waiting.take())
        };
        // outside: a permit that is given back may wake this very link
        drop(released);
    }

    /// A message came.
    pub(super) fn received(&self) {
        let Allowance { party, connections, messages, .. } = &self.allowance;
        connections.progress(party);
        // while it is being dealt with, its permit is not the sender's fault
        messages.waits_for_us(party);
    }

    /// Whether what is written from now on is a message.
    pub(super) fn set_sending(&self, is_sending: bool) {
        self.state().is_sending = is_sending;
    }

    /// The last message was dealt with.
    pub(super) fn finished(&self) {
        let released = {
            let mut state = self.state();
            state.unfinished = 0;
            state.window = None;
            std::mem::take(&mut state.permits)
        };
        drop(released);
    }

    /// A control frame came; `false` when there are too many.
    pub(super) fn control_frame(&self, payload: usize, now: Duration) -> bool {
        let mut state = self.state();
        // two bytes and a mask of four before the payload
        state.unfinished = state.unfinished.saturating_sub(payload + 6);
        if state.unfinished == 0 {
            state.window = None;
        }
        state.control = state.control.max(now) + CONTROL_FRAME_EVERY;
        state.stage == Stage::Member || state.control - now <= CONTROL_FRAME_EVERY * CONTROL_FRAMES
    }

    /// When an unfinished message is looked at next.
    pub(super) fn due(&self) -> Option<Duration> {
        let state = self.state();
        let window = state.window.filter(|_| state.stage == Stage::Stranger);
        window.map(|(began, _)| began + self.allowance.window)
    }

    /// Looks whether an unfinished message brings enough.
    pub(super) fn keeps_pace(&self, now: Duration) -> Result<(), LinkError> {
        let mut state = self.state();
        let Some((began, bytes)) = state.window.filter(|_| state.stage == Stage::Stranger) else { return Ok(()) };
        let elapsed = now.saturating_sub(began);
        // while it waits for its permit it may send nothing
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

    /// Ready when more may be read.
    fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        let limit = match state.stage {
            Stage::Member => return Poll::Ready(Ok(())),
            Stage::BeforeHello => BEFORE_HELLO,
            Stage::Stranger => MAX_MESSAGE + HEADERS,
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
        if bytes == 0 || state.stage == Stage::Member {
            return;
        }
        state.unfinished += bytes;
        state.window.get_or_insert_with(|| (self.allowance.host.monotonic(), 0)).1 += bytes as u64;
    }

    /// Bytes that the other end took.
    fn wrote(&self, bytes: usize) {
        if bytes > 0 && self.state().is_sending {
            let Allowance { party, connections, reads, .. } = &self.allowance;
            connections.progress(party);
            reads.progress(party);
        }
    }
}

/// A byte stream that a meter watches.
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
