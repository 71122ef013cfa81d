//! Performs the founding of a committee: admits replicas, handles the foundings that they show, and adopts a complete one. [`ServerFounding`]
//! decides.

use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use vouch_core::bls::VoteSignature;
use vouch_core::committee::Committee;
use vouch_core::digest::CommitteeDigest;
use vouch_core::founding::{
    Founding, FoundingMessage, OutgoingMessages, Progress, ServerFounding, ServerFoundingEvent, verify_acceptances,
};
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Failed, Message, ReplicaStatus, Stream};
use vouch_node_core::budgets::PeerAddress;
use vouch_node_core::server::health::LinkId;
use vouch_node_core::server::{Membership, ServerInput};

use super::{Event, Shared};
use crate::committee_file::{self, CommitteeFileError};
use crate::host::tasks::MissedTickBehavior;
use crate::link::LinkError;

/// How long a put waits for connected replicas to accept. Each writes to its disk twice.
const FOUNDING_DEADLINE: Duration = Duration::from_secs(15);
/// Interval between checks of a founding that a put waits for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Interval between relaying acceptances and proposing a founding that is due.
const TICK: Duration = Duration::from_millis(500);
/// The reason why a founding waits is reported once it has been the same for this number of ticks.
const QUIET_TICKS: u32 = 4;

impl Shared {
    pub(super) fn founding(&self) -> MutexGuard<'_, ServerFounding> {
        // Consistent after a panic elsewhere: every change is one call.
        self.founding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends messages to replicas. A disconnected one is sent everything again when it returns.
    pub(super) fn send(&self, sends: OutgoingMessages) {
        let core = self.core();
        for (node_key, message) in sends {
            if let Some(handle) = core.roster().handle(&node_key) {
                handle.tell(&message);
            }
        }
    }

    /// A replica's link has ended.
    pub(super) fn leave(self: &Arc<Self>, link: LinkId) {
        self.handle(ServerInput::Left(link));
        self.founding().leave(&link.node_key, link.number);
    }

    /// Checks that a replica may join, by its address and its node key.
    ///
    /// # Errors
    /// The refusal, with what to do about it.
    pub(super) fn may_join(&self, from: PeerAddress, node_key: &NodeKey) -> Result<(), Failed> {
        let refuse = |detail: String| Err(Failed::new(Stream::LINK, Code::NotAdmitted, detail));
        let wanted = &self.config.wanted;
        if let Some(members) = &wanted.members {
            return match members.contains(node_key) {
                true => Ok(()),
                false => {
                    refuse(format!("this server admits the replicas listed in its --members file only, not {node_key}"))
                }
            };
        }
        if from.is_loopback() || self.config.allow_open || wanted.cluster.is_some() || self.committee().is_some() {
            return Ok(());
        }
        refuse(
            "this server has no committee yet, and founds one from replicas on its own machine only. Start it with --members FILE, or \
             with --cluster IDENTITY for a cluster that exists, or with --allow-open to found from anybody"
                .into(),
        )
    }

    /// Returns the committee; founds it if there is none and enough replicas are connected: the configured number or list, or, at a put, all
    /// connected ones.
    ///
    /// # Errors
    /// What is missing, for the client.
    pub(super) async fn ensure_committee(self: &Arc<Self>, stream: Stream) -> Result<Arc<Committee>, Failed> {
        let refuse = |detail| Err(Failed::new(stream, Code::NoCommittee, detail));
        let deadline = self.host.monotonic() + FOUNDING_DEADLINE;
        loop {
            if let Some(committee) = self.committee() {
                return Ok(committee);
            }
            self.propose(true);
            if let Err(error) = self.settle().await {
                self.report(Event::Trouble(error.to_string()));
                return Err(Failed::new(stream, Code::Storage, "the server cannot save the committee"));
            }
            if let Some(committee) = self.committee() {
                return Ok(committee);
            }
            match self.founding().progress() {
                Progress::Waiting(why) => return refuse(why),
                Progress::UnderWay if self.host.monotonic() > deadline => {
                    return refuse(
                        "the replicas are connected and have not all accepted the committee yet; see their logs".into(),
                    );
                }
                Progress::UnderWay => {}
            }
            self.host.sleep(LOOK_EVERY).await;
        }
    }

    /// Proposes a founding if one is due.
    pub(super) fn propose(&self, at_a_put: bool) {
        let proposed = self.founding().propose(at_a_put, self.host.random());
        match proposed {
            Ok(sends) => self.send(sends),
            // Cannot fail: members ascend, and no two have the same keys.
            Err(error) => self.report(Event::Trouble(format!("cannot propose a committee: {error}"))),
        }
    }

    /// Handles a replica's message about foundings.
    pub(super) async fn hear_founding(self: &Arc<Self>, from: &NodeKey, message: Message) -> Result<(), LinkError> {
        match message {
            Message::Founding(shown) => self.hear_shown(from, *shown).await?,
            Message::Acceptances { founding, acceptances } => {
                self.hear_acceptances(from, &founding, acceptances).await?;
            }
            Message::Refusals(refusals) => {
                let sends = self.founding().refused(&refusals);
                self.send(sends);
            }
            other => return Err(LinkError::unexpected("a founding", &other)),
        }
        self.try_settle().await;
        Ok(())
    }

    async fn hear_shown(self: &Arc<Self>, from: &NodeKey, message: FoundingMessage) -> Result<(), LinkError> {
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
            .map_err(|error| LinkError::violation(Code::Storage, error.to_string()))?
            .map_err(|error| LinkError::violation(Code::NotAuthenticated, error.to_string()))?;
        let shown = self.founding().shown(from, founding);
        self.send(shown.map_err(|detail| LinkError::violation(Code::Unexpected, detail))?);
        Ok(())
    }

    /// Handles acceptances, of the replica itself or of others.
    async fn hear_acceptances(
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
            .map_err(|error| LinkError::violation(Code::Storage, error.to_string()))?
            .map_err(|error| LinkError::violation(Code::NotAuthenticated, error.to_string()))?;
        self.founding().accepted(from, &acceptances);
        Ok(())
    }

    /// Adopts a committee if one is complete. A failure is retried at the next tick.
    async fn try_settle(self: &Arc<Self>) {
        if let Err(error) = self.settle().await {
            self.report(Event::Trouble(error.to_string()));
        }
    }

    /// Adopts a complete committee that the operator wants: makes it durable, then visible.
    async fn settle(self: &Arc<Self>) -> Result<(), CommitteeFileError> {
        self.tell_notes();
        let _one_at_a_time = self.forming.lock().await;
        let complete = self.founding().complete();
        if let Some(founding) = complete {
            self.save(founding.clone()).await?;
            let committee = founding.committee().clone();
            self.handle(ServerInput::Founded(committee.clone().into()));
            let sends = self.founding().settle(founding);
            self.send(sends);
            self.publish();
            self.report(Event::Formed(committee));
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
        let path = self.data.path().to_owned();
        let disk = self.host.shared_disk();
        let saved = self.host.spawn_blocking(move || committee_file::save_founding(&*disk, &path, &founding)).await;
        saved.map_err(|error| CommitteeFileError::Task(error.to_string()))?
    }

    fn tell_notes(&self) {
        let events = self.founding().take_events();
        for event in events {
            self.report(Event::Founding(match event {
                ServerFoundingEvent::Refused(refusal) => format!("{refusal}, and the least of rival foundings wins"),
                ServerFoundingEvent::Evidence(evidence) => evidence.to_string(),
            }));
        }
    }

    /// Sends every replica its status.
    fn send_statuses(&self, waiting: Option<&str>) {
        let core = self.core();
        for (membership, handle) in core.roster().connected() {
            handle.tell(&status_message(membership, waiting));
        }
    }
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
pub(super) async fn run(shared: Weak<Shared>) {
    let Some(mut ticks) = shared.upgrade().map(|shared| shared.host.interval(TICK)) else { return };
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut quiet, mut told) = (String::new(), 0, String::new());
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let sends = shared.founding().flush();
        shared.send(sends);
        if shared.committee().is_some() {
            continue;
        }
        shared.propose(false);
        shared.try_settle().await;
        let progress = shared.founding().progress();
        let Progress::Waiting(why) = progress else { continue };
        quiet = if why == last { quiet + 1 } else { 0 };
        last.clone_from(&why);
        if quiet >= QUIET_TICKS && why != told && shared.committee().is_none() {
            shared.report(Event::Founding(why.clone()));
            shared.send_statuses(Some(&why));
            told = why;
        }
    }
}
