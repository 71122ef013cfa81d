//! The lookups and reads of one client: passed to replicas, answered by them, bounded by a budget that all clients share. It knows no
//! link: its owner, a client's link or a request over HTTP, says what comes, and takes the answers.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use vouch_core::digest::Digest;
use vouch_core::message::{Code, Failed, Holder, MAX_CHUNK, MAX_READS, Message, Read, Stream};
use vouch_core::tree::Parent;
use vouch_node_core::server::health::LinkId;

use super::routes::{Reply, Route};
use super::{Shared, Snapshot};
use crate::budgets::{Party, Permit};
use crate::link::Held;

/// How long a lookup waits for every member, and for more once one holds the blob. As long as a read may take: a member on a busy
/// machine is late with either. One that is gone is noticed by its silence and not waited for.
const LOCATE_DEADLINE: Duration = READ_DEADLINE;
const LOCATE_GRACE: Duration = Duration::from_millis(100);
/// How long one read may take.
const READ_DEADLINE: Duration = Duration::from_secs(10);

struct Lookup {
    client: Stream,
    stream: Stream,
    waiting: BTreeSet<u16>,
    holders: BTreeMap<u16, u64>,
    deadline: Duration,
    /// Waits for every member: the client asks again, because those that were named to it did not deliver.
    waits_for_all: bool,
    _route: Route,
}

struct PendingRead {
    client: Stream,
    member: u16,
    link: LinkId,
    deadline: Duration,
    room: Room,
    _route: Route,
}

/// Room for a read: among those of its client, and in the budget of all. Both are held until the answer is written: the answers of
/// a client that does not read would else pile up.
pub(super) struct Room(OwnedSemaphorePermit, Permit);

impl From<Room> for Held {
    fn from(Room(own, permit): Room) -> Self {
        Self::Read(own, permit)
    }
}

/// What the client is told, under its own numbers.
pub(super) enum GetAnswer {
    /// Who holds what it looked for.
    Located(Stream, Vec<Holder>),
    /// The bytes of a read, which hold their room until they are written.
    Chunk { stream: Stream, offset: u64, parents: Vec<Parent>, bytes: Bytes, room: Room },
    /// A lookup or a read failed.
    Failed(Failed),
}

/// What one client waits for.
pub(super) struct GetEngine {
    shared: Arc<Shared>,
    /// What replicas say comes to its owner here, and from there to [`reply`](Self::reply).
    mailbox: mpsc::Sender<Box<Reply>>,
    lookup: Option<Lookup>,
    /// What was looked up last.
    looked_up: Option<Digest>,
    reads: HashMap<Stream, PendingRead>,
    /// Reads that wait for room in the budget, oldest first.
    waiting: VecDeque<Read>,
    /// The oldest one's place among those of all clients.
    place: Option<Pin<Box<dyn Future<Output = Option<Room>> + Send>>>,
    /// Reads of this client that are not written yet.
    own: Arc<Semaphore>,
    answers: Vec<GetAnswer>,
}

impl GetEngine {
    pub(super) fn new(shared: Arc<Shared>, mailbox: mpsc::Sender<Box<Reply>>) -> Self {
        Self {
            shared,
            mailbox,
            lookup: None,
            looked_up: None,
            reads: HashMap::new(),
            waiting: VecDeque::new(),
            place: None,
            own: Arc::new(Semaphore::new(MAX_READS)),
            answers: Vec::new(),
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.lookup.is_some() || !self.reads.is_empty()
    }

    /// Reads that are not answered.
    pub(super) fn reads(&self) -> usize {
        self.reads.len() + self.waiting.len()
    }

    /// What the client is to be told since this was asked last.
    pub(super) fn take_answers(&mut self) -> Vec<GetAnswer> {
        std::mem::take(&mut self.answers)
    }

    fn fail(&mut self, stream: Stream, code: Code, detail: &str) {
        self.answers.push(GetAnswer::Failed(Failed::new(stream, code, detail)));
    }

    pub(super) fn locate(&mut self, client: Stream, digest: Digest) {
        let snapshot = self.shared.snapshot.get();
        if snapshot.committee.is_none() {
            let detail = "nothing was ever put here, and no member of a committee is connected";
            return self.fail(client, Code::NoCommittee, detail);
        }
        if self.lookup.is_some() {
            return self.fail(client, Code::Busy, "one lookup at a time on a link");
        }
        let stream = self.shared.stream();
        let route = self.shared.routes.open(stream, self.mailbox.clone());
        let question = Message::Locate { stream, digest };
        let asked = snapshot.members.iter().filter(|(_, handle)| handle.tell(&question));
        let waiting = asked.map(|(member, _)| *member).collect();
        let deadline = self.shared.host.monotonic() + LOCATE_DEADLINE;
        let waits_for_all = self.looked_up.replace(digest) == Some(digest);
        let holders = BTreeMap::new();
        self.lookup = Some(Lookup { client, stream, waiting, holders, deadline, waits_for_all, _route: route });
        self.finish_lookup();
    }

    /// Takes a read, for when there is [room](Self::room).
    pub(super) fn read(&mut self, read: Read) {
        self.waiting.push_back(read);
    }

    /// Room for the oldest read that waits; never, while none does. Waited for beside everything else: whoever has room
    /// already is answered meanwhile, and gives it back.
    pub(super) async fn room(&mut self, party: &Arc<Party>) -> Room {
        if !self.waiting.is_empty() {
            let place = self.place.get_or_insert_with(|| {
                let (own, budget, party) = (self.own.clone(), self.shared.guard.reads.clone(), party.clone());
                Box::pin(async move {
                    let own = own.acquire_owned().await.ok()?;
                    Some(Room(own, budget.take(party, MAX_CHUNK as u64).await))
                })
            });
            let room = place.await;
            self.place = None;
            if let Some(room) = room {
                return room;
            }
        }
        std::future::pending().await
    }

    /// Asks a replica for the oldest read that waits.
    pub(super) fn start(&mut self, room: Room) {
        let Some(read) = self.waiting.pop_front() else { return };
        let handle = self.shared.snapshot.get().members.get(&read.member).cloned();
        let Some(handle) = handle else {
            return self.fail(read.stream, Code::NotFound, "the replica is not connected");
        };
        let stream = self.shared.stream();
        let route = self.shared.routes.open(stream, self.mailbox.clone());
        if !handle.tell(&Message::Read(Read { stream, ..read })) {
            return self.fail(read.stream, Code::TimedOut, "the replica does not read");
        }
        let deadline = self.shared.host.monotonic() + READ_DEADLINE;
        let pending =
            PendingRead { client: read.stream, member: read.member, link: handle.link, deadline, room, _route: route };
        self.reads.insert(stream, pending);
    }

    pub(super) fn reply(&mut self, reply: Reply) {
        match reply.message {
            Message::Located { holders, .. } => {
                if let Some(lookup) = self.lookup.as_mut().filter(|lookup| lookup.stream == reply.stream) {
                    lookup.waiting.remove(&reply.member);
                    if let Some(holder) = holders.first() {
                        lookup.holders.insert(reply.member, holder.length);
                        if !lookup.waits_for_all {
                            lookup.deadline = lookup.deadline.min(self.shared.host.monotonic() + LOCATE_GRACE);
                        }
                    }
                }
                self.finish_lookup();
            }
            Message::Chunk { offset, parents, bytes, .. } => {
                if let Some(PendingRead { client: stream, room, .. }) = self.take(&reply.stream, reply.member) {
                    self.answers.push(GetAnswer::Chunk { stream, offset, parents, bytes, room });
                }
            }
            Message::Failed(failed) => {
                if let Some(read) = self.take(&reply.stream, reply.member) {
                    self.answers.push(GetAnswer::Failed(Failed { stream: read.client, ..failed }));
                }
            }
            _ => {}
        }
    }

    /// The read that a member answers; another member's answer counts for nothing.
    fn take(&mut self, stream: &Stream, member: u16) -> Option<PendingRead> {
        self.reads.get(stream).filter(|read| read.member == member)?;
        self.reads.remove(stream)
    }

    pub(super) fn members_changed(&mut self, snapshot: &Snapshot) {
        if let Some(lookup) = &mut self.lookup {
            lookup.waiting.retain(|member| snapshot.members.contains_key(member));
        }
        let gone = |read: &PendingRead| snapshot.members.get(&read.member).is_none_or(|now| now.link != read.link);
        self.fail_reads(gone, Code::NotFound, "the replica's link ended");
        self.finish_lookup();
    }

    pub(super) fn tick(&mut self) {
        let now = self.shared.host.monotonic();
        self.fail_reads(|read| now > read.deadline, Code::TimedOut, "the replica did not answer in time");
        self.finish_lookup();
    }

    fn fail_reads(&mut self, is_over: impl Fn(&PendingRead) -> bool, code: Code, detail: &str) {
        let failed = self.reads.extract_if(|_, read| is_over(read)).map(|(_, read)| {
            GetAnswer::Failed(Failed::new(read.client, code, detail).with_subjects(vec![read.member]))
        });
        self.answers.extend(failed);
    }

    fn finish_lookup(&mut self) {
        let is_over =
            |lookup: &mut Lookup| lookup.waiting.is_empty() || self.shared.host.monotonic() >= lookup.deadline;
        let Some(lookup) = self.lookup.take_if(is_over) else { return };
        let holders = lookup.holders.into_iter().map(|(member, length)| Holder { member, length }).collect();
        self.answers.push(GetAnswer::Located(lookup.client, holders));
    }
}
