//! Performs the actions of a [`ServerPut`](vouch_node_core::server::put::ServerPut): takes its place in the budget, sends its messages to
//! members, and obtains its certificate. Each put of a client's link and each put over HTTP has a performer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use vouch_core::message::{Message, PayloadFrame, Stream};
use vouch_core::placement::Placement;
use vouch_node_core::budgets::PeerAddress;
use vouch_node_core::server::ServerInput;
use vouch_node_core::server::batch::BatchInput;
use vouch_node_core::server::fanout::FanoutInput;
use vouch_node_core::server::health::Fault;
use vouch_node_core::server::link_puts::UploadRate;
use vouch_node_core::server::put::{Forwarded, PutAction, PutInput, PutOutcome, PutPolicy};

use super::certificate_lists::CertificateLists;
use super::core_performer::{CorePerformer, Storing};
use super::founding::ServerFoundings;
use super::member_links::{MemberLinks, ReplicaHandle};
use super::member_queues::MemberQueues;
use super::reply_routing::{Reply, Route};
use super::waiting_puts::{PutInbox, send_outcome};
use crate::budgets::{Party, Permit, Pool};
use crate::host::Host;
use crate::metrics::ServerCounters;

/// What all puts use, those of links and those over HTTP.
pub(super) struct PutService {
    pub(super) host: Host,
    pub(super) core: Arc<CorePerformer>,
    pub(super) members: MemberLinks,
    pub(super) foundings: Arc<ServerFoundings>,
    pub(super) certificates: Arc<CertificateLists>,
    /// The budget of puts in progress.
    pub(super) places: Arc<Pool>,
    pub(super) counters: ServerCounters,
    pub(super) policy: PutPolicy,
    pub(super) rate: UploadRate,
}

/// The mailboxes of a put, for replies of replicas and for inputs from other parts of the server. The owner passes both to the core.
#[derive(Clone)]
pub(super) struct PutMailboxes {
    pub(super) replies: mpsc::Sender<Box<Reply>>,
    pub(super) inbox: PutInbox,
}

/// The resources of a put. Dropping it releases all of them.
pub(super) struct PutPerformer {
    service: Arc<PutService>,
    mailboxes: PutMailboxes,
    /// The server's stream number of the put.
    stream: Stream,
    /// The party that the put's budgets count for.
    party: Arc<Party>,
    place: Option<Permit>,
    /// When the put began, on the monotonic clock.
    began: Duration,
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
    pub(super) fn new(service: Arc<PutService>, mailboxes: PutMailboxes, stream: Stream, source: PeerAddress) -> Self {
        Self {
            began: service.host.monotonic(),
            service,
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

    /// Counts how the put has ended.
    pub(super) fn count(&self, outcome: PutOutcome) {
        let took = self.service.host.monotonic().saturating_sub(self.began);
        self.service.counters.put_ended(outcome, took);
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
        let (service, stream) = (&self.service, self.stream);
        match action {
            PutAction::ClaimPlace => {
                self.place = service.places.claim(&self.party, 1).ok();
                return Some(PutInput::Claimed(self.place.is_some()));
            }
            PutAction::FindCommittee => {
                let chain = service.foundings.ensure_committee(stream).await;
                return Some(PutInput::Committee(chain.map(|chain| chain.current().clone())));
            }
            PutAction::AskAdmission { has_waited } => return Some(self.ask_admission(has_waited)),
            PutAction::Open { mut members, quorum } => {
                let mut handles = std::mem::take(&mut self.connected);
                handles.retain(|member, _| members.remove(member));
                self.route = Some(service.members.open(stream, self.mailboxes.replies.clone()));
                self.queues =
                    Some(MemberQueues::new(service.host.clone(), service.core.clone(), stream, handles, quorum));
            }
            PutAction::FindEarlier(receipt) => {
                let Some(chain) = service.members.chain() else { return Some(PutInput::Earlier(None)) };
                // In a task of its own: the link's other puts continue, and the lookups of several puts share a read.
                let (service, inbox) = (service.clone(), self.mailboxes.inbox.clone());
                service.host.clone().spawn(async move {
                    let earlier = service.certificates.earlier(chain.current(), &receipt).await;
                    send_outcome(&service.host, inbox, stream, PutInput::Earlier(earlier));
                });
            }
            PutAction::ForwardPut { offer, renew, authorisation } => {
                return Some(self.forward(&Message::Put { stream, offer, renew, authorisation }.encode()).await);
            }
            PutAction::ForwardBytes(placement) => {
                let relayed = self.relayed.take()?.with_stream(stream);
                return Some(match placement {
                    Placement::Copies => self.forward(&relayed).await,
                });
            }
            PutAction::ForwardEnd(receipt, authorisation) => {
                return Some(self.forward(&Message::PutEnd { stream, receipt, authorisation }.encode()).await);
            }
            PutAction::Drop(member) => self.forward_to_queues(FanoutInput::Drop(member)),
            PutAction::LeaveOut(member, code, why) => {
                service.core.left_out(stream, member, code, &why);
                self.forward_to_queues(FanoutInput::LeaveOut(member));
            }
            PutAction::Cancel { keep } => self.forward_to_queues(FanoutInput::Cancel { keep }),
            PutAction::NoteProgress => service.places.progress(&self.party),
            PutAction::StoringBegan => {
                service.places.waits_for_us(&self.party);
                self.storing = Some(service.core.storing());
            }
            PutAction::StoringEnded => self.storing = None,
            PutAction::Submit { receipt, holders, candidates } => {
                service.core.submit(stream, receipt, (holders, candidates), self.mailboxes.inbox.clone());
            }
            PutAction::AlsoHeld(member) => {
                service.core.handle(ServerInput::Batch(BatchInput::AlsoHeld { put: stream, member }));
            }
            PutAction::NeverHeld(member) => {
                service.core.handle(ServerInput::Batch(BatchInput::NeverHeld { put: stream, member }));
            }
            PutAction::Withdraw => service.core.withdraw(stream),
            PutAction::Observe { member, link, observed } => {
                service.core.handle(ServerInput::Observed { stream, member, link, observed });
            }
            PutAction::Doubt(member) => service.core.blame(stream, member, Fault::LackedWhatItOffered),
            PutAction::EndedBefore { until } => service.core.handle(ServerInput::PutEnded { put: stream, until }),
        }
        None
    }

    fn ask_admission(&mut self, has_waited: bool) -> PutInput {
        if self.is_place_taken() {
            return PutInput::PlaceTaken;
        }
        let mut core = self.service.core.state();
        self.connected = core.roster().members();
        let is_idle = |(_, handle): &(&u16, &ReplicaHandle)| handle.data.is_empty();
        let idle = self.connected.iter().filter(is_idle).map(|(member, _)| *member).collect();
        PutInput::Admission(core.admit(&idle, has_waited, self.service.host.monotonic()))
    }

    /// Sends the same message to every member.
    async fn forward(&mut self, message: &Bytes) -> PutInput {
        let Some(queues) = &mut self.queues else { return PutInput::Forwarded(Forwarded::default()) };
        PutInput::Forwarded(queues.send(message).await)
    }

    fn forward_to_queues(&mut self, input: FanoutInput) {
        if let Some(queues) = &mut self.queues {
            queues.handle(input);
        }
    }
}
