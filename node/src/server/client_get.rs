//! A client's lookups and reads: passed to replicas, answered by them, bounded by a budget that all clients share.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vouch_core::digest::Digest;
use vouch_core::message::{Code, Failed, Holder, MAX_CHUNK, MAX_READS, Message, Read, Stream};

use super::Snapshot;
use super::client::{Client, NotReading};
use super::health::{Fault, LinkId};
use super::routes::{Reply, Route};
use crate::budgets::{Party, Permit, Pool};
use crate::link::{Held, Outgoing};

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

/// Room for a read: among those of its link, and in the budget of all. Both are held until the answer is written: the answers of
/// a link that does not read would else pile up.
pub(super) type Room = (OwnedSemaphorePermit, Permit);

/// What one client waits for.
pub(super) struct Gets {
    /// The client is in this process: its word about who failed is the server's own.
    is_own: bool,
    /// Who was read from last.
    reading: Option<u16>,
    lookup: Option<Lookup>,
    /// What was looked up last.
    looked_up: Option<Digest>,
    reads: HashMap<Stream, PendingRead>,
    /// Reads that wait for room in the budget, oldest first.
    waiting: VecDeque<Read>,
    /// The oldest one's place among those of all clients.
    place: Option<Pin<Box<dyn Future<Output = Option<Room>> + Send>>>,
    /// Reads of this link that are not written yet.
    own: Arc<Semaphore>,
}

impl Gets {
    pub(super) fn new(is_own: bool) -> Self {
        Self {
            is_own,
            reading: None,
            lookup: None,
            looked_up: None,
            reads: HashMap::new(),
            waiting: VecDeque::new(),
            place: None,
            own: Arc::new(Semaphore::new(MAX_READS)),
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.lookup.is_some() || !self.reads.is_empty()
    }

    pub(super) fn reads(&self) -> usize {
        self.reads.len() + self.waiting.len()
    }

    pub(super) fn locate(&mut self, link: &mut Client, client: Stream, digest: Digest) -> Result<(), NotReading> {
        let fail = |code, detail: &str| link.tell(&Message::failed(client, code, detail));
        let snapshot = link.snapshot.get();
        if snapshot.committee.is_none() {
            let detail = "nothing was ever put here, and no member of a committee is connected";
            return fail(Code::NoCommittee, detail);
        }
        if self.lookup.is_some() {
            return fail(Code::Busy, "one lookup at a time on a link");
        }
        link.show_committee()?;
        let stream = link.shared.stream();
        let route = link.shared.routes.open(stream, link.mailbox.clone());
        let question = Message::Locate { stream, digest };
        let asked = snapshot.members.iter().filter(|(_, handle)| handle.tell(&question));
        let waiting = asked.map(|(member, _)| *member).collect();
        let deadline = link.shared.host.monotonic() + LOCATE_DEADLINE;
        let waits_for_all = self.looked_up.replace(digest) == Some(digest);
        let holders = BTreeMap::new();
        self.lookup = Some(Lookup { client, stream, waiting, holders, deadline, waits_for_all, _route: route });
        self.finish_lookup(link)
    }

    /// Takes a read, for when there is [room](Self::room).
    pub(super) fn read(&mut self, link: &Client, read: Read) {
        // a session goes over to the next member when the last one failed
        let given_up = self.reading.replace(read.member).filter(|last| self.is_own && *last != read.member);
        if let Some(member) = given_up {
            link.shared.blame(read.stream, member, Fault::FailedGet);
        }
        self.waiting.push_back(read);
    }

    /// Room for the oldest read that waits; never, while none does. Waited for beside everything else: whoever has room
    /// already is answered meanwhile, and gives it back.
    pub(super) async fn room(&mut self, budget: &Arc<Pool>, party: &Arc<Party>) -> Room {
        if !self.waiting.is_empty() {
            let place = self.place.get_or_insert_with(|| {
                let (own, budget, party) = (self.own.clone(), budget.clone(), party.clone());
                Box::pin(async move {
                    let own = own.acquire_owned().await.ok()?;
                    Some((own, budget.take(party, MAX_CHUNK as u64).await))
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
    pub(super) fn start(&mut self, link: &Client, room: Room) -> Result<(), NotReading> {
        let Some(read) = self.waiting.pop_front() else { return Ok(()) };
        let handle = link.snapshot.get().members.get(&read.member).cloned();
        let Some(handle) = handle else {
            return link.tell(&Message::failed(read.stream, Code::NotFound, "the replica is not connected"));
        };
        let stream = link.shared.stream();
        let route = link.shared.routes.open(stream, link.mailbox.clone());
        if !handle.tell(&Message::Read(Read { stream, ..read })) {
            return link.tell(&Message::failed(read.stream, Code::TimedOut, "the replica does not read"));
        }
        let deadline = link.shared.host.monotonic() + READ_DEADLINE;
        let pending =
            PendingRead { client: read.stream, member: read.member, link: handle.link, deadline, room, _route: route };
        self.reads.insert(stream, pending);
        Ok(())
    }

    pub(super) fn reply(&mut self, link: &Client, reply: Reply) -> Result<(), NotReading> {
        match reply.message {
            Message::Located { holders, .. } => {
                if let Some(lookup) = self.lookup.as_mut().filter(|lookup| lookup.stream == reply.stream) {
                    lookup.waiting.remove(&reply.member);
                    if let Some(holder) = holders.first() {
                        lookup.holders.insert(reply.member, holder.length);
                        if !lookup.waits_for_all {
                            lookup.deadline = lookup.deadline.min(link.shared.host.monotonic() + LOCATE_GRACE);
                        }
                    }
                }
                self.finish_lookup(link)
            }
            Message::Chunk { offset, parents, bytes, .. } => match self.take(&reply.stream, reply.member) {
                Some(read) => {
                    let bytes = Message::Chunk { stream: read.client, offset, parents, bytes }.encode();
                    let (own, permit) = read.room;
                    link.send(Outgoing { bytes, permit: Some(Held::Read(own, permit)) })
                }
                None => Ok(()),
            },
            Message::Failed(failed) => match self.take(&reply.stream, reply.member) {
                Some(read) => link.tell(&Message::Failed(Failed { stream: read.client, ..failed })),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The read that a member answers; another member's answer counts for nothing.
    fn take(&mut self, stream: &Stream, member: u16) -> Option<PendingRead> {
        self.reads.get(stream).filter(|read| read.member == member)?;
        self.reads.remove(stream)
    }

    pub(super) fn members_changed(&mut self, link: &Client, snapshot: &Snapshot) -> Result<(), NotReading> {
        if let Some(lookup) = &mut self.lookup {
            lookup.waiting.retain(|member| snapshot.members.contains_key(member));
        }
        let gone = |read: &PendingRead| snapshot.members.get(&read.member).is_none_or(|now| now.link != read.link);
        self.fail_reads(link, gone, Code::NotFound, "the replica's link ended")?;
        self.finish_lookup(link)
    }

    pub(super) fn tick(&mut self, link: &Client) -> Result<(), NotReading> {
        let now = link.shared.host.monotonic();
        self.fail_reads(link, |read| now > read.deadline, Code::TimedOut, "the replica did not answer in time")?;
        self.finish_lookup(link)
    }

    fn fail_reads(
        &mut self,
        link: &Client,
        is_over: impl Fn(&PendingRead) -> bool,
        code: Code,
        detail: &str,
    ) -> Result<(), NotReading> {
        for (_, read) in self.reads.extract_if(|_, read| is_over(read)) {
            let failed = Failed::new(read.client, code, detail).with_subjects(vec![read.member]);
            link.tell(&Message::Failed(failed))?;
        }
        Ok(())
    }

    fn finish_lookup(&mut self, link: &Client) -> Result<(), NotReading> {
        let is_over =
            |lookup: &mut Lookup| lookup.waiting.is_empty() || link.shared.host.monotonic() >= lookup.deadline;
        let Some(lookup) = self.lookup.take_if(is_over) else { return Ok(()) };
        let holders = lookup.holders.into_iter().map(|(member, length)| Holder { member, length }).collect();
        link.tell(&Message::Located { stream: lookup.client, holders })
    }
}
