//! Performs the actions of a [`ServerPut`](vouch_node_core::server::put::ServerPut): takes its place in the budget, sends its messages to
//! members, and obtains its certificate. Each put of a client's link and each put over HTTP has a performer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use vouch_core::message::{Message, PayloadFrame, Stream};
use vouch_node_core::budgets::PeerAddress;
use vouch_node_core::server::ServerInput;
use vouch_node_core::server::batch::BatchInput;
use vouch_node_core::server::fanout::FanoutInput;
use vouch_node_core::server::health::{Fault, LinkId};
use vouch_node_core::server::link_puts::UploadRate;
use vouch_node_core::server::put::{Forwarded, PutAction, PutContext, PutInput, PutPolicy};

use super::batcher::{PutInbox, Storing, tell};
use super::member_queues::MemberQueues;
use super::routes::{Reply, Route};
use super::{ReplicaHandle, Shared, Snapshot};
use crate::budgets::{Party, Permit};

/// The mailboxes of a put, for replies of replicas and for inputs from other parts of the server. The owner passes both to the core.
#[derive(Clone)]
pub(super) struct PutMailboxes {
    pub(super) replies: mpsc::Sender<Box<Reply>>,
    pub(super) inbox: PutInbox,
}

/// The resources of a put. Dropping it releases all of them.
pub(super) struct PutPerformer {
    shared: Arc<Shared>,
    mailboxes: PutMailboxes,
    /// The server's stream number of the put.
    stream: Stream,
    /// The party that the put's budgets count for.
    party: Arc<Party>,
    place: Option<Permit>,
    /// The client's message with bytes, to be forwarded.
    relayed: Option<PayloadFrame>,
    /// The members that were connected at the last request for admission.
    connected: BTreeMap<u16, ReplicaHandle>,
    route: Option<Route>,
    queues: Option<MemberQueues>,
    storing: Option<Storing>,
}

impl PutPerformer {
    /// A performer without resources yet. `source`: the client's address.
    pub(super) fn new(shared: Arc<Shared>, mailboxes: PutMailboxes, stream: Stream, source: PeerAddress) -> Self {
        Self {
            shared,
            mailboxes,
            stream,
            party: Party::new(source),
            place: None,
            relayed: None,
            connected: BTreeMap::new(),
            route: None,
            queues: None,
            storing: None,
        }
    }

    /// Completes when the put is evicted.
    pub(super) fn is_place_taken(&self) -> bool {
        self.party.is_cut_off()
    }

    /// Keeps a client's message with bytes until the put forwards or refuses it.
    pub(super) fn relay(&mut self, frame: PayloadFrame) {
        self.relayed = Some(frame);
    }

    /// Performs an action. Returns the input that completes it, if there is one.
    pub(super) async fn perform(&mut self, action: PutAction) -> Option<PutInput> {
        let (shared, stream) = (&self.shared, self.stream);
        match action {
            PutAction::ClaimPlace => {
                self.place = shared.guard.puts.claim(&self.party, 1).ok();
                return Some(PutInput::Claimed(self.place.is_some()));
            }
            PutAction::FindCommittee => return Some(PutInput::Committee(shared.ensure_committee(stream).await)),
            PutAction::AskAdmission { has_waited } => return Some(self.ask_admission(has_waited)),
            PutAction::Open { mut members, quorum } => {
                let mut handles = std::mem::take(&mut self.connected);
                handles.retain(|member, _| members.remove(member));
                self.route = Some(shared.routes.open(stream, self.mailboxes.replies.clone()));
                self.queues = Some(MemberQueues::new(shared.clone(), stream, handles, quorum));
            }
            PutAction::FindEarlier(receipt) => {
                let Some(committee) = shared.committee() else { return Some(PutInput::Earlier(None)) };
                // In a task of its own: the link's other puts continue, and the lookups of several puts share a read.
                let (shared, inbox) = (shared.clone(), self.mailboxes.inbox.clone());
                shared.host.clone().spawn(async move {
                    let earlier = shared.certificates.earlier(&committee, &receipt).await;
                    tell(&shared.host, inbox, stream, PutInput::Earlier(earlier));
                });
            }
            PutAction::ForwardPut { offer, renew } => {
                return Some(self.forward(&Message::Put { stream, offer, renew }.encode()).await);
            }
            PutAction::ForwardBytes => {
                let relayed = self.relayed.take()?.with_stream(stream);
                return Some(self.forward(&relayed).await);
            }
            PutAction::ForwardEnd(receipt) => {
                return Some(self.forward(&Message::PutEnd { stream, receipt }.encode()).await);
            }
            PutAction::Drop(member) => self.tell_queues(FanoutInput::Drop(member)),
            PutAction::LeaveOut(member, code, why) => {
                shared.left_out(stream, member, code, &why);
                self.tell_queues(FanoutInput::LeaveOut(member));
            }
            PutAction::Cancel { keep } => self.tell_queues(FanoutInput::Cancel { keep }),
            PutAction::NoteProgress => shared.guard.puts.progress(&self.party),
            PutAction::StoringBegan => {
                shared.guard.puts.waits_for_us(&self.party);
                self.storing = Some(shared.storing());
            }
            PutAction::StoringEnded => self.storing = None,
            PutAction::Submit { receipt, holders, candidates } => {
                shared.submit(stream, receipt, (holders, candidates), self.mailboxes.inbox.clone());
            }
            PutAction::AlsoHeld(member) => {
                shared.handle(ServerInput::Batch(BatchInput::AlsoHeld { put: stream, member }));
            }
            PutAction::NeverHeld(member) => {
                shared.handle(ServerInput::Batch(BatchInput::NeverHeld { put: stream, member }));
            }
            PutAction::Withdraw => shared.withdraw(stream),
            PutAction::Observe { member, link, observed } => {
                shared.handle(ServerInput::Observed { stream, member, link, observed });
            }
            PutAction::Doubt(member) => shared.blame(stream, member, Fault::LackedWhatItOffered),
            PutAction::EndedBefore { until } => shared.handle(ServerInput::PutEnded { put: stream, until }),
        }
        None
    }

    fn ask_admission(&mut self, has_waited: bool) -> PutInput {
        if self.is_place_taken() {
            return PutInput::PlaceTaken;
        }
        let mut core = self.shared.core();
        self.connected = core.roster().members();
        let is_idle = |(_, handle): &(&u16, &ReplicaHandle)| handle.data.is_empty();
        let idle = self.connected.iter().filter(is_idle).map(|(member, _)| *member).collect();
        PutInput::Admission(core.admit(&idle, has_waited, self.shared.host.monotonic()))
    }

    async fn forward(&mut self, message: &Bytes) -> PutInput {
        let Some(queues) = &mut self.queues else { return PutInput::Forwarded(Forwarded::default()) };
        PutInput::Forwarded(queues.send(message).await)
    }

    fn tell_queues(&mut self, input: FanoutInput) {
        if let Some(queues) = &mut self.queues {
            queues.tell(input);
        }
    }
}

impl Shared {
    /// The state outside the put that its decisions depend on. Read it for each input: another put may have changed it.
    pub(super) fn put_context(&self) -> PutContext {
        let clock = self.clock();
        self.core().put_context(clock)
    }

    pub(super) fn upload_rate(&self) -> UploadRate {
        UploadRate { bytes_per_second: self.config.upload_rate, window: self.config.upload_window }
    }

    pub(super) fn put_policy(&self) -> PutPolicy {
        let config = &self.config;
        PutPolicy {
            quorum_wait: config.quorum_wait,
            client_silence: config.client_silence,
            deadlines: config.deadlines,
        }
    }
}

impl Snapshot {
    /// The connected members with their links.
    pub(super) fn links(&self) -> BTreeMap<u16, LinkId> {
        self.members.iter().map(|(member, handle)| (*member, handle.link)).collect()
    }
}
