//! A put over HTTP: passes the body of a request to the core's put piece by piece.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use vouch_core::access::{Action, Authorisation, TokenSecret};
use vouch_core::certificate::Certificate;
use vouch_core::digest::Hasher;
use vouch_core::message::{Code, Message, PayloadFrame, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::session::{Phase, ProgressMark, ProgressWatch, SessionError};
use vouch_node_core::server::put::{PutAnswer, PutInput, PutOutput, PutRequest, ServerPut};

use super::problem::Problem;
use super::upload;
use crate::host::tasks::MissedTickBehavior;
use crate::server::TICK;
use crate::server::epochs::epoch_is_over;
use crate::server::guard::Connection;
use crate::server::member_links::Snapshot;
use crate::server::put_performer::{PutMailboxes, PutPerformer, PutService};
use crate::server::reply_routing::{self, Reply};

/// A piece of at least this many bytes is hashed on a blocking thread: otherwise it would delay other requests.
const HASHED_ELSEWHERE: usize = 16 << 10;

/// What the request asks for, besides its body.
#[derive(Debug, Clone)]
pub(super) struct WantedPut {
    /// As in [`Receipt::expires_at`].
    pub(super) expires_at: u64,
    /// The token that the request names.
    pub(super) token: Option<TokenSecret>,
}

/// Puts a body. Dropping the future cancels the put.
pub(super) async fn put(
    service: Arc<PutService>,
    connection: Arc<Connection>,
    body: upload::Start,
    wanted: WantedPut,
) -> Result<Box<Certificate>, Problem> {
    let (done, result) = oneshot::channel();
    // In a task of its own: if the request is dropped, the put must still be cancelled at the replicas.
    let host = service.host.clone();
    host.spawn(Box::pin(run(service, connection, body, wanted, done)));
    result.await.unwrap_or_else(|_| Err(Problem::internal("the put was given up")))
}

/// What an attempt has to put.
enum Attempt {
    /// A body of which no byte was read.
    Body(upload::Start),
    /// A body that was read to its end. The replicas may hold it.
    Sent(Receipt),
}

async fn run(
    service: Arc<PutService>,
    connection: Arc<Connection>,
    body: upload::Start,
    wanted: WantedPut,
    mut done: oneshot::Sender<Result<Box<Certificate>, Problem>>,
) {
    let (mut next, began) = (Attempt::Body(body), service.host.monotonic());
    let outcome = loop {
        // A new committee is no reason to fail if the body is not in between.
        match attempt(&service, &connection, next, &wanted, &mut done).await {
            Ok(outcome) => break outcome,
            Err(again) => next = again,
        }
    };
    match &outcome {
        Some(Ok(certificate)) => {
            let took = service.host.monotonic().saturating_sub(began);
            service.counters.certified(certificate.claim.receipt.length, took);
        }
        Some(Err(problem)) => service.counters.put_failed(problem.code()),
        None => service.counters.put_cancelled(),
    }
    if let Some(outcome) = outcome {
        // Fails if the client has disconnected.
        let _ = done.send(outcome);
    }
}

/// Puts a body through the current committee. The outcome is `None` if the client is gone. The error is what to put through the next committee.
async fn attempt(
    service: &Arc<PutService>,
    connection: &Arc<Connection>,
    attempt: Attempt,
    wanted: &WantedPut,
    done: &mut oneshot::Sender<Result<Box<Certificate>, Problem>>,
) -> Result<Option<Result<Box<Certificate>, Problem>>, Attempt> {
    let (replies_to, mut replies) = reply_routing::mailbox(service.core.replicas());
    let (inbox, mut reported) = mpsc::channel(1);
    let mut snapshot = service.members.follow();
    let epoch = snapshot.see().epoch();
    let mailboxes = PutMailboxes { replies: replies_to, inbox };
    let (body, sent) = match attempt {
        Attempt::Body(body) => (Flow::Waiting(body), None),
        Attempt::Sent(receipt) => (Flow::Ended, Some(receipt)),
    };
    let authorisation = authorise(service, wanted, sent.as_ref().map_or(Action::Send, Action::Store));
    let request = PutRequest { offer: sent, renew: false, authorisation, whole: None };
    let stream = service.members.numbers().next();
    let mut put = BodyPut {
        put: ServerPut::new(stream, request, service.policy),
        stream,
        performer: PutPerformer::new(service.clone(), mailboxes, stream, connection.source()),
        body,
        sent,
        hasher: Hasher::new(),
        wanted: wanted.clone(),
        service: service.clone(),
        reported: BTreeSet::new(),
        watch: ProgressWatch::default(),
        outcome: None,
    };
    put.drive(PutInput::Begin).await;
    let mut ticks = service.host.interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let outcome = loop {
        if let Some(outcome) = put.outcome.take() {
            break Ok(Some(outcome));
        }
        let step = tokio::select! {
            // The body last: it is nearly always ready, and the other events are rare.
            biased;
            () = done.closed() => break Ok(None),
            () = connection.until_cut_off() => break Ok(None),
            Some(reply) = replies.recv() => Step::Reply(reply),
            Some((_, input)) = reported.recv() => Step::Told(input),
            Ok(()) = snapshot.changed() => Step::Members(snapshot.see()),
            _ = ticks.tick() => Step::Tick,
            piece = put.body.next() => Step::Piece(piece),
        };
        let is_over = match &step {
            Step::Members(snapshot) => snapshot.epoch() != epoch,
            Step::Told(PutInput::Uncertified(failed)) => failed.code == Code::NewEpoch,
            _ => false,
        };
        if is_over {
            break put.again(snapshot.see().epoch());
        }
        if let Err(problem) = put.take(step).await {
            break Ok(Some(Err(problem)));
        }
    };
    put.drive(PutInput::GiveUp { keep: true }).await;
    outcome
}

/// The body was in between when a new committee took over.
fn new_epoch(epoch: u64) -> Problem {
    SessionError::refused(epoch_is_over(epoch), None).into()
}

/// The state of reading a body: not started, in progress, or complete.
enum Flow {
    Waiting(upload::Start),
    Flowing(mpsc::Receiver<io::Result<Bytes>>),
    Ended,
}

impl Flow {
    fn start(&mut self) {
        if let Self::Waiting(start) = std::mem::replace(self, Self::Ended) {
            *self = Self::Flowing(start());
        }
    }

    /// The next piece; `None` at the end. Never completes unless reading is in progress.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        match self {
            Self::Flowing(pieces) => pieces.recv().await,
            Self::Waiting(_) | Self::Ended => std::future::pending().await,
        }
    }
}

/// The next event of the put.
enum Step {
    Reply(Box<Reply>),
    Told(PutInput),
    Members(Arc<Snapshot>),
    Tick,
    Piece(Option<io::Result<Bytes>>),
}

struct BodyPut {
    put: ServerPut,
    /// The server's stream number of the put.
    stream: Stream,
    performer: PutPerformer,
    body: Flow,
    /// The receipt, once the body was read to its end.
    sent: Option<Receipt>,
    /// Hashes the received pieces.
    hasher: Hasher,
    wanted: WantedPut,
    service: Arc<PutService>,
    /// The stages reported so far, by member: a repeated report is not progress.
    reported: BTreeSet<(u16, u8)>,
    watch: ProgressWatch,
    outcome: Option<Result<Box<Certificate>, Problem>>,
}

/// Signs in the place of the token's holder. Before there is a committee, no token counts.
fn authorise(service: &PutService, wanted: &WantedPut, action: Action<'_>) -> Option<Authorisation> {
    let (token, chain) = wanted.token.as_ref().zip(service.members.chain())?;
    Some(token.authorise(&chain.cluster(), action, service.host.unix_seconds()))
}

impl BodyPut {
    /// What remains to be done when a new committee has taken over.
    fn again(&mut self, epoch: u64) -> Result<Option<Result<Box<Certificate>, Problem>>, Attempt> {
        match (std::mem::replace(&mut self.body, Flow::Ended), self.sent) {
            (Flow::Waiting(body), _) => Err(Attempt::Body(body)),
            (Flow::Ended, Some(receipt)) => Err(Attempt::Sent(receipt)),
            (Flow::Flowing(_) | Flow::Ended, _) => Ok(Some(Err(new_epoch(epoch)))),
        }
    }

    /// Gives the core an input, performs its outputs, and gives it their completions.
    async fn drive(&mut self, input: PutInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.put.handle(input, &self.service.core.put_context()) {
                match output {
                    PutOutput::Answer(PutAnswer::Ready(offset))
                        if self.sent.is_some_and(|receipt| offset == receipt.length) =>
                    {
                        // It was offered, and authorised then.
                        inputs.extend(self.sent.map(|receipt| PutInput::End(receipt, None)));
                    }
                    PutOutput::Answer(answer) => self.answer(answer),
                    PutOutput::Action(action) => inputs.extend(self.performer.perform(action).await),
                }
            }
        }
    }

    fn answer(&mut self, answer: PutAnswer) {
        match answer {
            // Of a body that is gone, no byte can be sent again.
            PutAnswer::Ready(offset) if self.sent.is_some_and(|receipt| offset != receipt.length) => {
                self.outcome = Some(Err(new_epoch(self.service.members.snapshot().epoch())));
            }
            PutAnswer::Ready(_) => self.body.start(),
            PutAnswer::Progress(member, stage) => drop(self.reported.insert((member, stage as u8))),
            PutAnswer::Certified(certificate) => self.outcome = Some(Ok(certificate)),
            PutAnswer::Failed(failed) => {
                let chain = self.service.members.chain();
                self.outcome = Some(Err(SessionError::refused(failed, chain.as_ref()).into()));
            }
        }
    }

    async fn take(&mut self, step: Step) -> Result<(), Problem> {
        match step {
            Step::Reply(reply) => {
                if let Some(input) = PutInput::of_reply(reply.member, reply.message) {
                    self.drive(input).await;
                }
            }
            Step::Told(input) => self.drive(input).await,
            Step::Members(snapshot) => self.drive(PutInput::Connected(snapshot.links())).await,
            Step::Tick => {
                self.watch.check_deadline(self.progress_mark(), self.service.host.monotonic())?;
                // The minimum rate is checked where the body is read.
                let is_place_taken = self.performer.is_place_taken();
                self.drive(if is_place_taken { PutInput::PlaceTaken } else { PutInput::Tick }).await;
            }
            Step::Piece(piece) => self.piece(piece).await?,
        }
        Ok(())
    }

    async fn chunk(&mut self, offset: u64, bytes: Bytes) {
        let length = bytes.len() as u64;
        let chunk = Message::Chunk { stream: self.stream, offset, parents: Vec::new(), bytes };
        if let Ok(frame) = PayloadFrame::new(chunk.encode()) {
            self.performer.relay(frame);
        }
        self.drive(PutInput::Chunk { offset, length }).await;
    }

    fn progress_mark(&self) -> ProgressMark {
        let phase = match self.body {
            Flow::Waiting(_) => Some(Phase::Offered),
            Flow::Flowing(_) => None,
            Flow::Ended => Some(Phase::Certifying),
        };
        ProgressMark { phase, steps: self.reported.len() as u64 }
    }

    async fn piece(&mut self, piece: Option<io::Result<Bytes>>) -> Result<(), Problem> {
        match piece {
            Some(Ok(bytes)) if bytes.len() < HASHED_ELSEWHERE => {
                let offset = self.hasher.length();
                self.hasher.update(&bytes);
                self.chunk(offset, bytes).await;
            }
            Some(Ok(bytes)) => {
                let offset = self.hasher.length();
                let (mut hasher, hashed) = (std::mem::take(&mut self.hasher), bytes.clone());
                let hashing = self.service.host.spawn_blocking(move || {
                    hasher.update(&hashed);
                    hasher
                });
                self.chunk(offset, bytes).await;
                self.hasher = hashing.await.map_err(|error| Problem::internal(error.to_string()))?;
            }
            Some(Err(error)) => return Err(Problem::of_body(&error)),
            None => {
                self.body = Flow::Ended;
                let (salt, digest, length) = (self.service.host.random(), self.hasher.digest(), self.hasher.length());
                let expires_at = self.wanted.expires_at;
                let receipt = Receipt { salt, digest, length, expires_at };
                self.sent = Some(receipt);
                let authorisation = authorise(&self.service, &self.wanted, Action::Store(&receipt));
                self.drive(PutInput::End(receipt, authorisation)).await;
            }
        }
        Ok(())
    }
}
