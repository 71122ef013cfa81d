//! The puts of one client's link: which message belongs to which put, how many there may be, and whether the client sends fast enough.
//!
//! A state machine without IO around one [`ServerPut`] per put. The client chooses the numbers on its link; the server's own numbers are
//! the same on every replica's link.

#[cfg(test)]
mod tests;
mod upload_rate;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vouch_core::message::{Code, Failed, MAX_PUTS, Message, Stream};

use super::health::LinkId;
use super::put::{PutAction, PutAnswer, PutContext, PutInput, PutOutput, PutPolicy, PutRequest, ServerPut};
use super::stream_numbers::StreamNumbers;
pub use upload_rate::UploadRate;
use upload_rate::UploadWindow;

/// The number of ended puts that a link remembers: their messages may still be under way.
const REMEMBERED: usize = 4 * MAX_PUTS;

/// What happened.
#[derive(Debug)]
pub enum LinkPutsInput {
    /// The client asked for a put under this number.
    Begin(Stream, PutRequest),
    /// The client sent bytes.
    Chunk {
        /// The client's number of the put.
        client: Stream,
        /// The position of the first of them in the blob.
        offset: u64,
        /// The number of bytes.
        length: u64,
        /// The number of parents in the proof that came with them.
        parents: usize,
    },
    /// The client declared the end of the bytes, or cancelled: an input of the put that has this number of the client's.
    OfClient(Stream, PutInput),
    /// Something happened to the put that has this number of the server's.
    OfServer(Stream, PutInput),
    /// Members connected or disconnected; these are connected now.
    Connected(BTreeMap<u16, LinkId>),
    /// Time passed.
    Tick,
    /// The link is over.
    LinkEnded,
}

/// What to do.
#[derive(Debug)]
pub enum LinkPutsOutput {
    /// Tell the client.
    Tell(Message),
    /// Tell the client what it can do without, if there is room.
    Hint(Message),
    /// Do this for the put that has this number of the server's.
    Perform(Stream, PutAction),
    /// That put is over: release what it holds.
    Over(Stream),
    /// The client broke the protocol: its link ends.
    Violation(Failed),
}

#[derive(Debug)]
struct LinkPut {
    /// The client's number for it.
    client: Stream,
    put: ServerPut,
    window: UploadWindow,
    /// Since when its bytes are being forwarded; meanwhile the link is not read.
    forwarding_since: Option<Duration>,
}

/// The puts in progress on one client's link.
#[derive(Debug)]
pub struct LinkPuts {
    policy: PutPolicy,
    rate: UploadRate,
    numbers: StreamNumbers,
    /// By the server's number.
    active: BTreeMap<Stream, LinkPut>,
    /// The server's numbers by the client's.
    by_client: BTreeMap<Stream, Stream>,
    /// The client's numbers of the last puts: messages of them that were under way when they ended are no error.
    ended: VecDeque<Stream>,
    /// The time for which the link was not read, because members had no room for earlier messages.
    blocked: Duration,
}

impl LinkPuts {
    /// A link without puts.
    pub fn new(policy: PutPolicy, rate: UploadRate, numbers: StreamNumbers) -> Self {
        let (active, by_client, ended) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Self { policy, rate, numbers, active, by_client, ended, blocked: Duration::ZERO }
    }

    /// Whether any put is in progress.
    pub fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Whether the next message may be read: not while a put waits to begin, because its bytes would have no place to go.
    pub fn takes_messages(&self) -> bool {
        !self.active.values().any(|active| active.put.is_waiting())
    }

    /// Whether a put in progress here has this number of the server's.
    pub fn has(&self, stream: Stream) -> bool {
        self.active.contains_key(&stream)
    }

    /// Takes one input.
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
                        out.push(LinkPutsOutput::Tell(cancelled));
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
        if self.active.len() >= MAX_PUTS {
            // its messages may be under way already
            self.remember(client);
            let detail = format!("expected at most {MAX_PUTS} puts at once on a link");
            return out.push(LinkPutsOutput::Tell(Message::failed(client, Code::Busy, detail)));
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

    /// As long as replicas have no room, the client may send nothing: that is not held against any of its puts.
    fn forwarded(&mut self, stream: Stream, now: Duration) {
        if let Some(since) = self.active.get_mut(&stream).and_then(|active| active.forwarding_since.take()) {
            self.blocked += now.saturating_sub(since);
        }
    }

    fn tick(&mut self, context: &PutContext, out: &mut Vec<LinkPutsOutput>) {
        // they share what the link has to bring
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

    /// Gives a put an input, and forgets the put when that ends it.
    fn put(&mut self, stream: Stream, input: PutInput, context: &PutContext, out: &mut Vec<LinkPutsOutput>) {
        let Some(active) = self.active.get_mut(&stream) else { return };
        for output in active.put.handle(input, context) {
            match &output {
                PutOutput::Action(PutAction::ForwardBytes) => active.forwarding_since = Some(context.now),
                // from now on the client may send
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
            let client = active.client;
            self.active.remove(&stream);
            self.by_client.remove(&client);
            self.remember(client);
            out.push(LinkPutsOutput::Over(stream));
        }
    }

    fn remember(&mut self, client: Stream) {
        self.ended.push_front(client);
        self.ended.truncate(REMEMBERED);
    }

    /// The put that a client's message belongs to; `None` for one that just ended.
    fn put_of(&self, client: Stream, out: &mut Vec<LinkPutsOutput>) -> Option<Stream> {
        let stream = self.by_client.get(&client).copied();
        if stream.is_none() && !self.ended.contains(&client) {
            let detail = format!("expected a frame of a put in progress, got one of stream {}", client.0);
            out.push(violation(detail));
        }
        stream
    }
}

/// An answer under the client's number.
fn under_number(stream: Stream, answer: PutAnswer) -> LinkPutsOutput {
    match answer {
        PutAnswer::Ready(offset) => LinkPutsOutput::Tell(Message::Ready { stream, offset }),
        PutAnswer::Progress(member, stage) => LinkPutsOutput::Hint(Message::Progress { stream, member, stage }),
        PutAnswer::Certified(certificate) => LinkPutsOutput::Tell(Message::Certified { stream, certificate }),
        PutAnswer::Failed(failed) => LinkPutsOutput::Tell(Message::Failed(Failed { stream, ..failed })),
    }
}

fn violation(detail: String) -> LinkPutsOutput {
    LinkPutsOutput::Violation(Failed::new(Stream::LINK, Code::Unexpected, detail))
}
