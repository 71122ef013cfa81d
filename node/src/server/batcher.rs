//! Performs what [`Batches`] decides: one task for the whole server. It waits for nobody but itself, so no client and no
//! replica holds up the others' certificates.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::statement::{Batch, Stored};
use vouch_core::tally::Tally;
use vouch_node_core::server::batch::{BatchContext, BatchInput, BatchOutput, Batches};
use vouch_node_core::server::health::{Fault, LinkId};

use super::{Event, Shared, SharedHealth, Snapshot, member_lists};
use crate::host::Host;

/// What waits for the batcher; who has more to say waits as well.
const INBOX: usize = 4096;
/// What is taken in before anything is proposed.
const AT_ONCE: usize = 1024;
/// With nothing to do it looks up so seldom.
const IDLE: Duration = Duration::from_secs(3600);

/// What became of a put that was submitted.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The server's number of it.
    pub(super) put: Stream,
    /// The certificate, durable here.
    pub(super) result: Result<Box<Certificate>, Failed>,
}

#[derive(Debug)]
pub(super) enum Word {
    Submit {
        put: Stream,
        receipt: Receipt,
        holders: BTreeSet<u16>,
        candidates: BTreeSet<u16>,
        outcomes: mpsc::Sender<Outcome>,
    },
    Batch(BatchInput),
}

/// How to reach the batcher.
#[derive(Debug)]
pub(super) struct Batcher {
    inbox: mpsc::Sender<Word>,
    storing: Arc<AtomicUsize>,
}

/// Counts a put that is being stored, while it lives.
#[derive(Debug)]
pub(super) struct Storing(Arc<AtomicUsize>);

impl Drop for Storing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The batcher's own end, until it runs.
#[derive(Debug)]
pub(super) struct Inbox(mpsc::Receiver<Word>);

impl Batcher {
    pub(super) fn new() -> (Self, Inbox) {
        let (inbox, words) = mpsc::channel(INBOX);
        (Self { inbox, storing: Arc::default() }, Inbox(words))
    }

    /// One more put is about to be submitted.
    pub(super) fn storing(&self) -> Storing {
        self.storing.fetch_add(1, Ordering::Relaxed);
        Storing(self.storing.clone())
    }

    pub(super) async fn say(&self, word: Word) {
        // it ends with the server
        let _ = self.inbox.send(word).await;
    }
}

/// Works until the server is gone.
pub(super) async fn run(shared: Weak<Shared>, Inbox(mut inbox): Inbox) {
    let Some((host, mut snapshot)) = shared.upgrade().map(|shared| (shared.host.clone(), shared.snapshot.follow()))
    else {
        return;
    };
    let mut desk: Option<Desk> = None;
    let mut words = Vec::new();
    loop {
        let now = host.monotonic();
        let patience = desk.as_ref().and_then(Desk::next_tick).map_or(IDLE, |at| at.saturating_sub(now));
        // the timer has no finer unit; rounded down it would wake in vain
        let patience = patience.max(Duration::from_millis(1));
        let has_changed = tokio::select! {
            biased;
            changed = snapshot.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            // behind what is rare: there is always something in it under load
            received = inbox.recv_many(&mut words, AT_ONCE) => match received {
                0 => return,
                _ => false,
            },
            () = host.sleep(patience) => false,
        };
        let Some(shared) = shared.upgrade() else { return };
        // nothing is submitted before there is a committee
        let Some(committee) = shared.committee() else {
            words.clear();
            continue;
        };
        let desk = desk.get_or_insert_with(|| Desk::new(&shared, committee));
        if has_changed {
            let now = snapshot.see();
            desk.members_changed(&shared, &now);
        }
        for word in words.drain(..) {
            desk.hear(&shared, word);
        }
        desk.go_on(&shared);
    }
}

struct Desk {
    host: Host,
    committee: Arc<Committee>,
    batches: Batches,
    storing: Arc<AtomicUsize>,
    health: SharedHealth,
    /// Who waits for which put.
    outcomes: HashMap<Stream, mpsc::Sender<Outcome>>,
    /// The link of each member that was there last.
    links: BTreeMap<u16, LinkId>,
}

impl Desk {
    fn new(shared: &Arc<Shared>, committee: Arc<Committee>) -> Self {
        let streams = Arc::downgrade(shared);
        let next = move || streams.upgrade().map_or(Stream(1), |shared| shared.stream());
        let batches = Batches::new(committee.clone(), shared.config.batching, shared.config.deadlines.voting, next);
        let storing = shared.batcher.storing.clone();
        let snapshot = shared.snapshot.get();
        let health = shared.health.clone();
        let host = shared.host.clone();
        Self { host, committee, batches, storing, health, outcomes: HashMap::new(), links: links(&snapshot) }
    }

    fn context(&self) -> BatchContext {
        let (now, storing, record) =
            (self.host.monotonic(), self.storing.load(Ordering::Relaxed), self.committee.record());
        let health = self.health.lock();
        let not_awaited = health.not_awaited_to_vote(record, now);
        let verified_apart = health.verified_apart(record, now);
        BatchContext { now, unix_now: self.host.unix_seconds(), storing, not_awaited, verified_apart }
    }

    fn next_tick(&self) -> Option<Duration> {
        self.batches.next_tick(&self.context())
    }

    fn hear(&mut self, shared: &Arc<Shared>, word: Word) {
        let input = match word {
            Word::Submit { put, receipt, holders, candidates, outcomes } => {
                self.outcomes.insert(put, outcomes);
                BatchInput::Submit { put, receipt, holders, candidates }
            }
            Word::Batch(input) => input,
        };
        if let BatchInput::Withdraw(put) = &input {
            self.outcomes.remove(put);
        }
        self.handle(shared, input);
    }

    fn handle(&mut self, shared: &Arc<Shared>, input: BatchInput) {
        let outputs = self.batches.handle(input, &self.context());
        self.perform(shared, outputs);
    }

    fn go_on(&mut self, shared: &Arc<Shared>) {
        self.handle(shared, BatchInput::Tick);
        let outputs = self.batches.verify(&self.context());
        self.perform(shared, outputs);
        let outputs = self.batches.propose(&self.context());
        self.perform(shared, outputs);
    }

    fn members_changed(&mut self, shared: &Arc<Shared>, now: &Snapshot) {
        let before = std::mem::replace(&mut self.links, links(now));
        for (member, link) in before {
            if self.links.get(&member) != Some(&link) {
                self.handle(shared, BatchInput::Lost(member));
            }
        }
    }

    fn perform(&mut self, shared: &Arc<Shared>, outputs: Vec<BatchOutput>) {
        for output in outputs {
            match output {
                BatchOutput::Propose { members, proposal } => self.propose(shared, &members, &proposal),
                BatchOutput::Verify { batch, ballot, votes } => {
                    let (shared, committee) = (shared.clone(), self.committee.clone());
                    self.host.spawn(async move {
                        let verifying = shared.host.spawn_blocking(move || {
                            let verified = ballot.verify_all(&committee, &votes);
                            votes.into_iter().map(|(member, _)| member).zip(verified).collect()
                        });
                        if let Ok(votes) = verifying.await {
                            shared.batcher.say(Word::Batch(BatchInput::Verified { batch, votes })).await;
                        }
                    });
                }
                BatchOutput::Certify { batch, receipts, tally, puts, asked } => {
                    let outcomes = puts.into_iter().map(|put| (put, self.outcomes.remove(&put))).collect();
                    let certifying = Certifying { batch, receipts, tally, outcomes, asked };
                    shared.host.spawn(certifying.run(shared.clone()));
                }
                BatchOutput::Observed { batch, member, observed } => {
                    if let Some(link) = self.links.get(&member) {
                        shared.observe(batch, member, link, observed);
                    }
                }
                BatchOutput::VotedFalsely { batch, member } => shared.blame(batch, member, Fault::VotedFalsely),
                BatchOutput::Fail(put, failed) => {
                    if let Some(outcomes) = self.outcomes.remove(&put) {
                        tell(&self.host, outcomes, Outcome { put, result: Err(failed) });
                    }
                }
            }
        }
    }

    /// The same bytes for every member.
    fn propose(&mut self, shared: &Arc<Shared>, members: &[u16], proposal: &Message) {
        let bytes = proposal.encode();
        let snapshot = shared.snapshot.get();
        for member in members {
            if snapshot.members.get(member).is_none_or(|handle| !handle.control.try_send(&bytes)) {
                self.handle(shared, BatchInput::Lost(*member));
            }
        }
    }
}

fn links(snapshot: &Snapshot) -> BTreeMap<u16, LinkId> {
    snapshot.members.iter().map(|(member, handle)| (*member, handle.link)).collect()
}

/// Tells a client's link; one that is busy hears of it as soon as it listens again, and holds nobody up.
fn tell(host: &Host, outcomes: mpsc::Sender<Outcome>, outcome: Outcome) {
    if let Err(mpsc::error::TrySendError::Full(outcome)) = outcomes.try_send(outcome) {
        host.spawn(async move {
            // a client that is gone wants nothing any more
            let _ = outcomes.send(outcome).await;
        });
    }
}

/// A batch that a quorum signed.
struct Certifying {
    batch: Stream,
    receipts: Box<Batch>,
    tally: Box<Tally<Stored>>,
    outcomes: Vec<(Stream, Option<mpsc::Sender<Outcome>>)>,
    asked: Vec<u16>,
}

impl Certifying {
    /// Makes the certificates, makes them durable in one commit, and only then tells anybody.
    async fn run(self, shared: Arc<Shared>) {
        let Self { batch, receipts, tally, outcomes, asked } = self;
        let made = shared.host.spawn_blocking(move || tally.certificates(receipts.claims())).await;
        let certified = match made {
            Ok(Ok(certificates)) => {
                let certificates = Arc::new(certificates);
                match shared.archive.save(certificates.clone()).await {
                    Ok(()) => Ok(certificates),
                    Err(error) => {
                        shared.report(Event::Trouble(format!("cannot save certificates: {error}")));
                        Err((Code::Storage, "the server cannot save the certificate".to_owned()))
                    }
                }
            }
            Ok(Err(below)) => Err((Code::NotEnoughReplicas, below.to_string())),
            Err(panicked) => Err((Code::Storage, panicked.to_string())),
        };
        let certificates = match certified {
            Ok(certificates) => certificates,
            Err((code, detail)) => {
                for (put, outcomes) in outcomes {
                    if let Some(outcomes) = outcomes {
                        tell(
                            &shared.host,
                            outcomes,
                            Outcome { put, result: Err(Failed::new(put, code, detail.clone())) },
                        );
                    }
                }
                return;
            }
        };
        for ((put, outcomes), certificate) in outcomes.into_iter().zip(certificates.iter()) {
            shared.report(Event::Certified(Box::new(certificate.clone())));
            if let Some(outcomes) = outcomes {
                tell(&shared.host, outcomes, Outcome { put, result: Ok(Box::new(certificate.clone())) });
            }
        }
        let Some(first) = certificates.first() else { return };
        let (signers, signature) = (first.signers.clone(), first.signature);
        let archive = Message::Archive { stream: batch, signers, signature }.encode();
        let snapshot = shared.snapshot.get();
        for handle in asked.iter().filter_map(|member| snapshot.members.get(member)) {
            // who does not read gets it from another, later
            handle.control.try_send(&archive);
        }
        member_lists::notify(&shared, &certificates, &asked);
    }
}
