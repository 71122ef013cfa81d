//! Performs the founding of a committee: handles the foundings that replicas show, and adopts a complete one. [`ServerFounding`] decides.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use vouch_core::bls::VoteSignature;
use vouch_core::chain::CommitteeChain;
use vouch_core::digest::{ClusterId, CommitteeDigest};
use vouch_core::founding::{Founding, FoundingMessage, Refusal, verify_acceptances, verify_refusals};
use vouch_core::founding_protocol::{Candidate, OutgoingMessages, ServerFounding, ServerFoundingEvent};
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Failed, Message, ReplicaStatus, Stream};
use vouch_node_core::server::founding::{CommitteeWait, FOUNDING_TICK, WaitingNotice};
use vouch_node_core::server::health::LinkId;
use vouch_node_core::server::{Membership, ServerInput};

use super::core_performer::CorePerformer;
use super::member_links::MemberLinks;
use super::reports::{Event, ServerReports};
use crate::committee_file::{self, CommitteeFileError};
use crate::data_dir::DataDir;
use crate::host::Host;
use crate::host::blocking::BlockingWorkError;
use crate::host::tasks::MissedTickBehavior;
use crate::link::LinkError;

/// The foundings in progress, and the one of the server's committee.
pub(super) struct ServerFoundings {
    host: Host,
    /// Locked for one call, never across an await.
    founding: Mutex<ServerFounding>,
    /// Locked while a founding that a replica shows is verified.
    checking: tokio::sync::Mutex<()>,
    /// Locked while a committee is made durable, so that only one is adopted.
    forming: tokio::sync::Mutex<()>,
    core: Arc<CorePerformer>,
    members: MemberLinks,
    reports: Arc<ServerReports>,
    /// Of the committee.
    folder: Arc<DataDir>,
}

impl ServerFoundings {
    pub(super) fn new(
        founding: ServerFounding,
        core: Arc<CorePerformer>,
        members: MemberLinks,
        reports: Arc<ServerReports>,
        folder: Arc<DataDir>,
    ) -> Self {
        let host = members.host().clone();
        let (checking, forming) = (tokio::sync::Mutex::new(()), tokio::sync::Mutex::new(()));
        Self { host, founding: Mutex::new(founding), checking, forming, core, members, reports, folder }
    }

    fn founding(&self) -> MutexGuard<'_, ServerFounding> {
        // Consistent after a panic elsewhere: every change is one call.
        self.founding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The message with the founding of the server's committee; `None` before there is one.
    pub(super) fn settled(&self) -> Option<Message> {
        self.founding().settled().map(|founding| Message::Founding(Box::new(founding.message())))
    }

    /// Why a put that starts now would get no committee; `None` if one forms by itself.
    pub(super) fn put_obstacle(&self) -> Option<String> {
        self.founding().put_obstacle()
    }

    /// A replica has joined on this link and proved its keys.
    pub(super) fn join(&self, link: LinkId, candidate: Candidate, claims: Option<ClusterId>) {
        let sends = self.founding().join(link.node_key, link.number, candidate, claims);
        self.send(sends);
    }

    /// A replica's link has ended.
    pub(super) fn leave(&self, link: LinkId) {
        self.founding().leave(&link.node_key, link.number);
    }

    /// Sends messages to replicas. A disconnected one is sent everything again when it returns.
    fn send(&self, sends: OutgoingMessages) {
        let core = self.core.state();
        for (node_key, message) in sends {
            if let Some(handle) = core.roster().handle(&node_key) {
                handle.try_send(&message);
            }
        }
    }

    /// Returns the committees; founds the first one if there is none and enough replicas are connected: the configured number or list, or,
    /// at a put, all connected ones.
    ///
    /// # Errors
    /// What is missing, for the client.
    pub(super) async fn ensure_committee(&self, stream: Stream) -> Result<CommitteeChain, Failed> {
        let wait = CommitteeWait::begin(self.host.monotonic());
        loop {
            if let Some(chain) = self.members.chain() {
                return Ok(chain);
            }
            self.propose(true);
            if let Err(error) = self.settle().await {
                self.reports.report(Event::Trouble(error.to_string()));
                return Err(Failed::new(stream, Code::Storage, "the server cannot save the committee"));
            }
            if let Some(chain) = self.members.chain() {
                return Ok(chain);
            }
            let progress = self.founding().progress();
            let pause = wait.next_look(progress, self.host.monotonic());
            let pause = pause.map_err(|why| Failed::new(stream, Code::NoCommittee, why))?;
            self.host.sleep(pause).await;
        }
    }

    /// Proposes a founding if one is due.
    pub(super) fn propose(&self, at_a_put: bool) {
        let proposed = self.founding().propose(at_a_put, self.host.random());
        match proposed {
            Ok(sends) => self.send(sends),
            // Cannot fail: members ascend, and no two have the same keys.
            Err(error) => self.reports.report(Event::Trouble(format!("cannot propose a committee: {error}"))),
        }
    }

    /// Handles a replica's message about foundings.
    pub(super) async fn handle(&self, from: &NodeKey, message: Message) -> Result<(), LinkError> {
        match message {
            Message::Founding(shown) => self.handle_founding(from, *shown).await?,
            Message::Acceptances { founding, acceptances } => {
                self.handle_acceptances(from, &founding, acceptances).await?;
            }
            Message::Refusals(refusals) => self.handle_refusals(refusals).await?,
            other => return Err(LinkError::unexpected("a founding", &other)),
        }
        self.try_settle().await;
        Ok(())
    }

    async fn handle_founding(&self, from: &NodeKey, message: FoundingMessage) -> Result<(), LinkError> {
        let digest = message.genesis.digest();
        if !self.founding().concerns(&digest) {
            return Ok(());
        }
        let known = self.founding().founding_or_other(&digest).cloned();
        // One at a time: a founding of a thousand members takes a second, so strangers can keep only one core busy.
        let _one_at_a_time = self.checking.lock().await;
        let founding = self
            .host
            .spawn_blocking(move || Founding::open_known(message, known.as_ref()))
            .await
            .map_err(broken)?
            .map_err(|error| LinkError::violation(Code::NotAuthenticated, error.to_string()))?;
        let shown = self.founding().shown(from, founding);
        self.send(shown.map_err(|detail| LinkError::violation(Code::Unexpected, detail))?);
        Ok(())
    }

    /// Handles acceptances, of the replica itself or of others.
    async fn handle_acceptances(
        &self,
        from: &NodeKey,
        founding: &CommitteeDigest,
        claimed: Vec<(u16, VoteSignature)>,
    ) -> Result<(), LinkError> {
        let Some(known) = self.founding().founding(founding).cloned() else { return Ok(()) };
        let acceptances = self
            .host
            .spawn_blocking(move || verify_acceptances(&known, &claimed))
            .await
            .map_err(broken)?
            .map_err(|error| LinkError::violation(Code::NotAuthenticated, error.to_string()))?;
        self.founding().accepted(from, &acceptances);
        Ok(())
    }

    /// Handles refusals. They are verified without the lock: a thousand signatures would delay every other link.
    async fn handle_refusals(&self, claimed: Vec<Refusal>) -> Result<(), LinkError> {
        let committees = self.founding().refused_committees(&claimed);
        if committees.is_empty() {
            return Ok(());
        }
        let verifying = self.host.spawn_blocking(move || verify_refusals(&committees, &claimed));
        let refusals = verifying.await.map_err(broken)?;
        let sends = self.founding().refused(&refusals);
        self.send(sends);
        Ok(())
    }

    /// Adopts a committee if one is complete. A failure is retried at the next tick.
    async fn try_settle(&self) {
        if let Err(error) = self.settle().await {
            self.reports.report(Event::Trouble(error.to_string()));
        }
    }

    /// Adopts a complete committee that the operator wants: makes it durable, then visible.
    async fn settle(&self) -> Result<(), CommitteeFileError> {
        self.report_events();
        let _one_at_a_time = self.forming.lock().await;
        let complete = self.founding().complete();
        if let Some(founding) = complete {
            self.save(founding.clone()).await?;
            let committee = founding.committee().clone();
            self.core.handle(ServerInput::Adopted(committee.clone().into()));
            let sends = self.founding().settle(founding);
            self.send(sends);
            self.core.publish();
            self.reports.report(Event::Formed(committee));
            self.send_statuses(None);
        }
        // An earlier release founded this committee without keeping acceptances: save them once all have arrived.
        let completed = self.founding().newly_completed();
        if let Some(founding) = completed {
            self.save(founding).await?;
        }
        Ok(())
    }

    async fn save(&self, founding: Founding) -> Result<(), CommitteeFileError> {
        let (disk, folder) = (self.host.shared_disk(), self.folder.clone());
        let saving = self.host.spawn_blocking(move || committee_file::save_founding(&*disk, folder.path(), &founding));
        saving.await.map_err(|error| CommitteeFileError::Task(error.to_string()))?
    }

    fn report_events(&self) {
        let events = self.founding().take_events();
        for event in events {
            self.reports.report(Event::Founding(match event {
                ServerFoundingEvent::Refused(refusal) => format!("{refusal}, and the least of rival foundings wins"),
                ServerFoundingEvent::Evidence(evidence) => evidence.to_string(),
            }));
        }
    }

    /// Sends every replica its status.
    fn send_statuses(&self, waiting: Option<&str>) {
        let core = self.core.state();
        for (membership, handle) in core.roster().connected() {
            handle.try_send(&status_message(membership, waiting));
        }
    }

    /// Relays acceptances, and proposes and adopts a founding that is due.
    async fn tick(&self, notice: &mut WaitingNotice) {
        let sends = self.founding().flush();
        self.send(sends);
        if self.members.chain().is_some() {
            return;
        }
        self.propose(false);
        self.try_settle().await;
        let progress = self.founding().progress();
        if let Some(why) = notice.tick(progress).filter(|_| self.members.chain().is_none()) {
            self.reports.report(Event::Founding(why.clone()));
            self.send_statuses(Some(&why));
        }
    }
}

/// The thread that verified something failed.
fn broken(error: BlockingWorkError) -> LinkError {
    LinkError::violation(Code::Storage, error.to_string())
}

/// The message with a replica's status.
pub(super) fn status_message(membership: Membership, waiting: Option<&str>) -> Message {
    match membership {
        Membership::Member(_) => Message::replica_status(ReplicaStatus::Member, ""),
        Membership::Candidate => Message::replica_status(ReplicaStatus::Waiting, waiting.unwrap_or("")),
        Membership::Standby => {
            Message::replica_status(ReplicaStatus::Standby, "the committee is complete without this replica")
        }
    }
}

/// Drives foundings as long as the server runs.
pub(super) async fn run(foundings: Weak<ServerFoundings>) {
    let Some(mut ticks) = foundings.upgrade().map(|foundings| foundings.host.interval(FOUNDING_TICK)) else { return };
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut notice = WaitingNotice::default();
    loop {
        ticks.tick().await;
        let Some(foundings) = foundings.upgrade() else { return };
        foundings.tick(&mut notice).await;
    }
}
