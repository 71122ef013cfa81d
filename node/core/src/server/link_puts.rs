//! The puts on one client's link: maps the client's stream numbers to puts, bounds their number, and checks the client's upload rate.
//!
//! A state machine without IO around one [`ServerPut`] per put. The client chooses the stream numbers on its link; the server's own
//! numbers are the same on every replica's link.

#[cfg(test)]
mod tests;
mod upload_rate;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vouch_core::message::{Code, Failed, MAX_PUTS, Message, Stream};

use super::health::LinkId;
use super::put::{PutAction, PutAnswer, PutContext, PutInput, PutOutcome, PutOutput, PutPolicy, PutRequest, ServerPut};
use super::stream_numbers::StreamNumbers;
pub use upload_rate::{UploadRate, UploadWindow};

/// Maximum number of ended puts that a link remembers, because messages of them may still arrive.
const REMEMBERED: usize = 4 * MAX_PUTS;

/// An input of a link's puts.
#[derive(Debug)]
pub enum LinkPutsInput {
    /// The client requested a put under this number.
    Begin(Stream, PutRequest),
    /// The client sent bytes.
    Chunk {
        /// The client's number.
        client: Stream,
        /// The offset of the bytes in the blob.
        offset: u64,
        /// The number of bytes.
        length: u64,
        /// The number of parents in their proof.
        parents: usize,
    },
    /// The client declared the end of the bytes, or cancelled: an input for the put with this client's number.
    OfClient(Stream, PutInput),
    /// An input for the put with this server's number.
    OfServer(Stream, PutInput),
    /// Members have connected or disconnected. The connected ones.
    Connected(BTreeMap<u16, LinkId>),
    /// Time has passed.
    Tick,
    /// The server shuts down: it finishes the puts that have begun, and begins no other.
    ShutDown,
    /// The link has ended.
    LinkEnded,
}

/// An output of a link's puts.
#[derive(Debug)]
pub enum LinkPutsOutput {
    /// Send the client a message.
    Send(Message),
    /// Send the client a message only if its queue has room. The message is not essential.
    Hint(Message),
    /// Perform an action of the put with this server's number.
    Perform(Stream, PutAction),
    /// The put with this server's number has ended: release its resources.
    Over(Stream, PutOutcome),
    /// The client broke the protocol: close its link.
    Violation(Failed),
}

#[derive(Debug)]
struct LinkPut {
    /// The client's number.
    client: Stream,
    put: ServerPut,
    window: UploadWindow,
    /// The time since which its bytes are being forwarded. The link is not read meanwhile.
    forwarding_since: Option<Duration>,
}

/// The puts in progress on one client's link.
#[derive(Debug)]
pub struct LinkPuts {
    policy: PutPolicy,
    rate: UploadRate,
    numbers: StreamNumbers,
    /// The puts, by the server's numbers.
    active: BTreeMap<Stream, LinkPut>,
    /// The server's numbers, by the client's.
    by_client: BTreeMap<Stream, Stream>,
    /// The client's numbers of the last puts that have ended: messages of them that still arrive are not an error.
    ended: VecDeque<Stream>,
    /// The total time for which the link was not read because members had no room.
    blocked: Duration,
    /// Whether the server shuts down.
    is_shutting_down: bool,
}

impl LinkPuts {
    /// A link without puts.
    pub fn new(policy: PutPolicy, rate: UploadRate, numbers: StreamNumbers) -> Self {
        let (active, by_client, ended) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self { policy, rate, numbers, active, by_client, ended, blocked: Duration::ZERO, is_shutting_down: false }
    }

    /// Whether any put is in progress.
    pub fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Whether the next message may be read. Not while a put waits to begin: there is no queue for its bytes yet.
    pub fn takes_messages(&self) -> bool {
        !self.active.values().any(|active| active.put.is_waiting())
    }

    /// Whether a put on this link has this server's number.
    pub fn has(&self, stream: Stream) -> bool {
        self.active.contains_key(&stream)
    }

    /// Handles one input.
    pub fn handle(&mut self, input: LinkPutsInput, context: &PutContext) -> Vec<LinkPutsOutput> {
        let mut out = Vec::new();
        match input {
            LinkPutsInput::Begin(client, request) => self.begin(client, request, context, &mut out),
            LinkPutsInput::Chunk { client, offset, length, parents } => {
                if let Some(stream) = self.put_of(client, &mut out) {
                    self.chunk(stream, (offset, length), parents, context, &mut out);
                }
            }
            LinkPutsInput::OfClient(client, input) => {
                if let Some(stream) = self.put_of(client, &mut out) {
                    let is_cancelled = matches!(input, PutInput::GiveUp { .. });
                    self.put(stream, input, context, &mut out);
                    if is_cancelled {
                        let cancelled = Message::failed(client, Code::Cancelled, "as the client asked");
                        out.push(LinkPutsOutput::Send(cancelled));
                    }
                }
            }
            LinkPutsInput::OfServer(stream, input) => {
                if matches!(input, PutInput::Forwarded(_)) {
                    self.forwarded(stream, context.now);
                }
                self.put(stream, input, context, &mut out);
            }
            LinkPutsInput::Connected(connected) => {
                for stream in self.streams() {
                    self.put(stream, PutInput::Connected(connected.clone()), context, &mut out);
                }
            }
            LinkPutsInput::Tick => self.tick(context, &mut out),
            LinkPutsInput::ShutDown => self.is_shutting_down = true,
            LinkPutsInput::LinkEnded => {
                for stream in self.streams() {
                    self.put(stream, PutInput::GiveUp { keep: true }, context, &mut out);
                }
            }
        }
        out
    }

    fn streams(&self) -> Vec<Stream> {
        self.active.keys().copied().collect()
    }

    fn begin(&mut self, client: Stream, request: PutRequest, context: &PutContext, out: &mut Vec<LinkPutsOutput>) {
        if self.by_client.contains_key(&client) {
            let detail = format!("expected a new put, got stream {} a second time", client.0);
            return out.push(violation(detail));
        }
        let refusal = match self.active.len() {
            _ if self.is_shutting_down => Some(shutting_down(client)),
            MAX_PUTS.. => {
                let detail = format!("expected at most {MAX_PUTS} puts at once on a link");
                Some(Failed::new(client, Code::Busy, detail))
            }
            _ => None,
        };
        if let Some(failed) = refusal {
            // Messages of the refused put may follow: ignore them.
            self.remember(client);
            return out.push(LinkPutsOutput::Send(Message::Failed(failed)));
        }
        let stream = self.numbers.next();
        let put = ServerPut::new(stream, request, self.policy);
        let window = UploadWindow::begin(context.now, self.blocked);
        self.active.insert(stream, LinkPut { client, put, window, forwarding_since: None });
        self.by_client.insert(client, stream);
        self.put(stream, PutInput::Begin, context, out);
    }

    fn chunk(
        &mut self,
        stream: Stream,
        (offset, length): (u64, u64),
        parents: usize,
        context: &PutContext,
        out: &mut Vec<LinkPutsOutput>,
    ) {
        let Some(active) = self.active.get_mut(&stream) else { return };
        if parents > 0 && !active.put.is_offered() {
            let detail = format!("expected a put's bytes without a proof, got {parents} parents");
            return out.push(violation(detail));
        }
        active.window.add(length);
        self.put(stream, PutInput::Chunk { offset, length }, context, out);
    }

    /// A message has been forwarded. The time for which replicas had no room does not count against the client's upload rate.
    fn forwarded(&mut self, stream: Stream, now: Duration) {
        if let Some(since) = self.active.get_mut(&stream).and_then(|active| active.forwarding_since.take()) {
            self.blocked += now.saturating_sub(since);
        }
    }

    fn tick(&mut self, context: &PutContext, out: &mut Vec<LinkPutsOutput>) {
        // All receiving puts share the link's minimum rate.
        let receiving = self.active.values().filter(|active| active.put.is_receiving()).count() as u64;
        for stream in self.streams() {
            let Some(active) = self.active.get_mut(&stream) else { continue };
            let slow = match active.put.is_receiving() {
                true => active.window.is_slow(self.rate, context.now, self.blocked, receiving),
                false => None,
            };
            let input = slow.map_or(PutInput::Tick, PutInput::TooSlow);
            self.put(stream, input, context, out);
        }
    }

    /// Gives a put an input. Forgets the put if it has ended.
    fn put(&mut self, stream: Stream, input: PutInput, context: &PutContext, out: &mut Vec<LinkPutsOutput>) {
        let Some(active) = self.active.get_mut(&stream) else { return };
        for output in active.put.handle(input, context) {
            match &output {
                PutOutput::Action(PutAction::ForwardBytes(_)) => active.forwarding_since = Some(context.now),
                // The client may send from now on.
                PutOutput::Answer(PutAnswer::Ready(_)) => {
                    active.window = UploadWindow::begin(context.now, self.blocked)
                }
                _ => {}
            }
            out.push(match output {
                PutOutput::Action(action) => LinkPutsOutput::Perform(stream, action),
                PutOutput::Answer(answer) => under_number(active.client, answer),
            });
        }
        if active.put.is_over() {
            let (client, outcome) = (active.client, active.put.outcome());
            self.active.remove(&stream);
            self.by_client.remove(&client);
            self.remember(client);
            out.push(LinkPutsOutput::Over(stream, outcome));
        }
    }

    fn remember(&mut self, client: Stream) {
        self.ended.push_front(client);
        self.ended.truncate(REMEMBERED);
    }

    /// The put that a client's message belongs to; `None` for a put that has just ended.
    fn put_of(&self, client: Stream, out: &mut Vec<LinkPutsOutput>) -> Option<Stream> {
        let stream = self.by_client.get(&client).copied();
        if stream.is_none() && !self.ended.contains(&client) {
            let detail = format!("expected a frame of a put in progress, got one of stream {}", client.0);
            out.push(violation(detail));
        }
        stream
    }
}

/// What a server refuses while it shuts down: a put, or a whole link. The client may come again.
pub fn shutting_down(stream: Stream) -> Failed {
    Failed::new(stream, Code::ShuttingDown, "the server takes no new links and puts; try again later")
}

/// A put's answer as a message with the client's number.
fn under_number(stream: Stream, answer: PutAnswer) -> LinkPutsOutput {
    match answer {
        PutAnswer::Ready(offset) => LinkPutsOutput::Send(Message::Ready { stream, offset }),
        PutAnswer::Progress(member, stage) => LinkPutsOutput::Hint(Message::Progress { stream, member, stage }),
        PutAnswer::Certified(certificate) => LinkPutsOutput::Send(Message::Certified { stream, certificate }),
        PutAnswer::Failed(failed) => LinkPutsOutput::Send(Message::Failed(Failed { stream, ..failed })),
    }
}

fn violation(detail: String) -> LinkPutsOutput {
    LinkPutsOutput::Violation(Failed::new(Stream::LINK, Code::Unexpected, detail))
}
