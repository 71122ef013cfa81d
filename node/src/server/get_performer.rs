//! Performs the lookups and reads of one client: sends requests to replicas, and takes room in the budget that all clients share. Its
//! owner, a client's link or an HTTP request, passes requests and replies in and takes the answers out.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use vouch_core::access::Authorisation;
use vouch_core::digest::Digest;
use vouch_core::message::{Failed, Holder, MAX_CHUNK, MAX_READS, Message, Read, Stream};
use vouch_core::tree::Parent;
use vouch_node_core::server::client_gets::{ClientGets, GetAction, GetAnswer, GetInput, GetOutput};

use super::member_links::{MemberLinks, Snapshot};
use super::reply_routing::{Reply, Route};
use crate::budgets::{Party, Permit, Pool};
use crate::host::Host;
use crate::link::Held;
use crate::metrics::{GetStep, ServerCounters};

/// Room for a read: one of its client's slots, and a part of the budget of all clients. Both are held until the answer is written:
/// otherwise answers to a client that does not read would pile up.
pub(super) struct Room(OwnedSemaphorePermit, Permit);

impl From<Room> for Held {
    fn from(Room(own, permit): Room) -> Self {
        Self::Read(own, permit)
    }
}

/// An answer to the client, under its own stream number.
pub(super) enum GetReply {
    /// The holders of the blob.
    Located(Stream, Vec<Holder>),
    /// The bytes of a read. They hold their room until they are written.
    Chunk { stream: Stream, offset: u64, parents: Vec<Parent>, bytes: Bytes, room: Room },
    /// A lookup or a read failed.
    Failed(Failed),
    /// The client broke the protocol.
    Violation(Failed),
}

/// The resources of a lookup or read in progress.
struct Open {
    _route: Route,
    /// The room of a read.
    room: Option<Room>,
}

/// The resource that comes with an input, for the action that follows.
enum Brought {
    Nothing,
    Room(Room),
    Chunk { offset: u64, parents: Vec<Parent>, bytes: Bytes },
}

type WaitForRoom = Pin<Box<dyn Future<Output = Option<Room>> + Send>>;

/// What all lookups and reads use, those of links and those over HTTP.
#[derive(Clone)]
pub(super) struct GetService {
    pub(super) host: Host,
    pub(super) members: MemberLinks,
    /// The budget of bytes that wait for readers.
    pub(super) reads: Arc<Pool>,
    pub(super) counters: ServerCounters,
}

/// The lookups and reads of one client.
pub(super) struct GetPerformer {
    service: GetService,
    /// The mailbox for replies. The owner passes each to [`reply`](Self::reply).
    mailbox: mpsc::Sender<Box<Reply>>,
    core: ClientGets,
    /// The requests in progress, by the server's number.
    open: HashMap<Stream, Open>,
    /// The requests without an answer, by the client's number, and when they came. The core bounds their number.
    asked: HashMap<Stream, (GetStep, Duration)>,
    /// The wait for room of the oldest waiting read, in the budget's queue of all clients.
    place: Option<WaitForRoom>,
    /// The client's slots for reads whose answers are not written yet.
    own: Arc<Semaphore>,
    replies: Vec<GetReply>,
}

impl GetPerformer {
    pub(super) fn new(service: GetService, mailbox: mpsc::Sender<Box<Reply>>) -> Self {
        let members = &service.members;
        let core = ClientGets::new(members.numbers().clone(), members.snapshot().committee_links());
        let own = Arc::new(Semaphore::new(MAX_READS));
        Self {
            service,
            mailbox,
            core,
            open: HashMap::new(),
            asked: HashMap::new(),
            place: None,
            own,
            replies: Vec::new(),
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.core.is_active()
    }

    /// The answers since the last call.
    pub(super) fn take_replies(&mut self) -> Vec<GetReply> {
        std::mem::take(&mut self.replies)
    }

    pub(super) fn locate(&mut self, client: Stream, digest: Digest, authorisation: Option<Authorisation>) {
        self.asked.insert(client, (GetStep::Lookup, self.service.host.monotonic()));
        self.drive(GetInput::Locate(client, digest, authorisation), Brought::Nothing);
    }

    /// Queues a read until there is [room](Self::room) for it.
    pub(super) fn read(&mut self, read: Read) {
        self.asked.insert(read.stream, (GetStep::Read, self.service.host.monotonic()));
        self.drive(GetInput::Read(read), Brought::Nothing);
    }

    /// Completes with room for the oldest waiting read; never, if none waits. The owner must handle other events meanwhile: answered reads
    /// release the room that this one waits for.
    pub(super) async fn room(&mut self, party: &Arc<Party>) -> Room {
        if self.core.wants_room() {
            let place = self.place.get_or_insert_with(|| {
                let (own, budget, party) = (self.own.clone(), self.service.reads.clone(), party.clone());
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

    /// Starts the oldest waiting read, which has room now.
    pub(super) fn start(&mut self, room: Room) {
        self.drive(GetInput::Room, Brought::Room(room));
    }

    pub(super) fn reply(&mut self, Reply { member, message, .. }: Reply) {
        let Some(input) = GetInput::of_reply(member, &message) else { return };
        let brought = match message {
            Message::Chunk { offset, parents, bytes, .. } => Brought::Chunk { offset, parents, bytes },
            _ => Brought::Nothing,
        };
        self.drive(input, brought);
    }

    pub(super) fn members_changed(&mut self, snapshot: &Snapshot) {
        self.drive(GetInput::Connected(snapshot.committee_links()), Brought::Nothing);
    }

    pub(super) fn tick(&mut self) {
        self.drive(GetInput::Tick, Brought::Nothing);
    }

    /// Gives the core an input, performs its outputs, and gives it their completions.
    fn drive(&mut self, input: GetInput, mut brought: Brought) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.core.handle(input, self.service.host.monotonic()) {
                match output {
                    GetOutput::Answer(GetAnswer::Located(client, holders)) => {
                        self.answer(GetReply::Located(client, holders));
                    }
                    GetOutput::Answer(GetAnswer::Failed(failed)) => self.answer(GetReply::Failed(failed)),
                    GetOutput::Violation(failed) => self.answer(GetReply::Violation(failed)),
                    GetOutput::Action(action) => inputs.extend(self.perform(action, &mut brought)),
                }
            }
        }
    }

    /// Performs an action. Returns the input that completes it, if there is one.
    fn perform(&mut self, action: GetAction, brought: &mut Brought) -> Option<GetInput> {
        match action {
            GetAction::AskHolders { stream, digest, authorisation, members } => {
                self.open(stream, None);
                let question = Message::Locate { stream, digest, authorisation };
                let snapshot = self.service.members.snapshot();
                let is_asked =
                    |member: &u16| snapshot.members.get(member).is_some_and(|replica| replica.try_send(&question));
                return Some(GetInput::Asked(stream, members.into_iter().filter(is_asked).collect()));
            }
            GetAction::AskForRead(read) => {
                let room = match std::mem::replace(brought, Brought::Nothing) {
                    Brought::Room(room) => Some(room),
                    _ => None,
                };
                self.open(read.stream, room);
                let snapshot = self.service.members.snapshot();
                let is_asked =
                    snapshot.members.get(&read.member).is_some_and(|replica| replica.try_send(&Message::Read(read)));
                return (!is_asked).then_some(GetInput::NotReading(read.stream));
            }
            GetAction::Relay { stream, client } => {
                let room = self.open.remove(&stream).and_then(|open| open.room);
                if let (Brought::Chunk { offset, parents, bytes }, Some(room)) =
                    (std::mem::replace(brought, Brought::Nothing), room)
                {
                    self.answer(GetReply::Chunk { stream: client, offset, parents, bytes, room });
                }
            }
            GetAction::Release(stream) => drop(self.open.remove(&stream)),
        }
        None
    }

    /// Passes an answer on, and counts it.
    fn answer(&mut self, reply: GetReply) {
        let counters = &self.service.counters;
        let (GetReply::Located(stream, _)
        | GetReply::Chunk { stream, .. }
        | GetReply::Failed(Failed { stream, .. })
        | GetReply::Violation(Failed { stream, .. })) = &reply;
        // A client that uses a number twice at once is counted once.
        if let Some((step, asked)) = self.asked.remove(stream) {
            let took = self.service.host.monotonic().saturating_sub(asked);
            match &reply {
                GetReply::Located(_, holders) => counters.looked_up(!holders.is_empty(), took),
                GetReply::Chunk { bytes, .. } => counters.read(bytes.len(), took),
                GetReply::Failed(failed) | GetReply::Violation(failed) => {
                    counters.get_failed(step, &failed.code.slug());
                }
            }
        }
        self.replies.push(reply);
    }

    fn open(&mut self, stream: Stream, room: Option<Room>) {
        let route = self.service.members.open(stream, self.mailbox.clone());
        self.open.insert(stream, Open { _route: route, room });
    }
}
