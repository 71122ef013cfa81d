//! Brings a committee about: who may join before there is one, what replicas show, and when it is complete. The decisions are
//! [`ServerFounding`]'s.

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

/// How long a put waits for replicas that are connected to accept: each writes to its disk twice.
const FOUNDING_DEADLINE: Duration = Duration::from_secs(15);
/// How often a founding in progress is looked at while somebody waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often acceptances are passed on, and a founding that is due is begun.
const TICK: Duration = Duration::from_millis(500);
/// What a founding waits for is told when it has not changed for so many ticks.
const QUIET_TICKS: u32 = 4;

impl Shared {
    pub(super) fn founding(&self) -> MutexGuard<'_, ServerFounding> {
        // a panic elsewhere leaves it whole: every change is one call
        self.founding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends messages to replicas; one that is gone will be shown everything anew when it comes back.
    pub(super) fn send(&self, sends: OutgoingMessages) {
        let core = self.core();
        for (node_key, message) in sends {
            if let Some(handle) = core.roster().handle(&node_key) {
                handle.tell(&message);
            }
        }
    }

    /// A link of a replica ended.
    pub(super) fn leave(self: &Arc<Self>, link: LinkId) {
        self.handle(ServerInput::Left(link));
        self.founding().leave(&link.node_key, link.number);
    }

    /// Whether a replica may join at all, by where it comes from and who it is.
    ///
    /// # Errors
    /// Why not, and what to do about it.
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

    /// Founds the committee if there is none and the replicas are there: so many as the configuration says, or at a
    /// put those connected.
    ///
    /// # Errors
    /// What is missing, for the client that asked.
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

    /// Proposes a founding where one is due.
    pub(super) fn propose(&self, at_a_put: bool) {
        let proposed = self.founding().propose(at_a_put, self.host.random());
        match proposed {
            Ok(sends) => self.send(sends),
            // each proof was checked when its replica joined
            Err(error) => self.report(Event::Trouble(format!("cannot propose a committee: {error}"))),
        }
    }

    /// What a replica says about foundings.
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
        let known = self.founding().committee(&digest);
        // of a thousand members a second's work: strangers that show many keep one core busy, and no more
        let _one_at_a_time = self.checking.lock().await;
        let founding = self
            .host
            .spawn_blocking(move || Founding::open_known(message, known))
            .await
            .map_err(|error| LinkError::violation(Code::Storage, error.to_string()))?
            .map_err(|error| LinkError::violation(Code::NotAuthenticated, error.to_string()))?;
        let shown = self.founding().shown(from, founding);
        self.send(shown.map_err(|detail| LinkError::violation(Code::Unexpected, detail))?);
        Ok(())
    }

    /// A replica accepts a founding, or passes on who did.
    async fn hear_acceptances(
        &self,
        from: &NodeKey,
        founding: &CommitteeDigest,
        claimed: Vec<(u16, VoteSignature)>,
    ) -> Result<(), LinkError> {
        let Some(committee) = self.founding().committee(founding) else { return Ok(()) };
        let acceptances = self
            .host
            .spawn_blocking(move || verify_acceptances(&committee, &claimed))
            .await
            .map_err(|error| LinkError::violation(Code::Storage, error.to_string()))?
            .map_err(|error| LinkError::violation(Code::NotAuthenticated, error.to_string()))?;
        self.founding().accepted(from, &acceptances);
        Ok(())
    }

    /// Takes up a committee if there is one to take up; what fails is tried again with the next tick.
    async fn try_settle(self: &Arc<Self>) {
        if let Err(error) = self.settle().await {
            self.report(Event::Trouble(error.to_string()));
        }
    }

    /// Takes up a committee that is complete and wanted: durably, then for everybody to see.
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
        // acceptances of a committee that an earlier release founded, once the last of them is there
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

    /// Tells every replica what it is to this server.
    fn send_statuses(&self, waiting: Option<&str>) {
        let core = self.core();
        for (membership, handle) in core.roster().connected() {
            handle.tell(&status_message(membership, waiting));
        }
    }
}

/// What a replica is told that it is.
pub(super) fn status_message(membership: Membership, waiting: Option<&str>) -> Message {
    match membership {
        Membership::Member(_) => Message::replica_status(ReplicaStatus::Member, ""),
        Membership::Candidate => Message::replica_status(ReplicaStatus::Waiting, waiting.unwrap_or("")),
        Membership::Standby => {
            Message::replica_status(ReplicaStatus::Standby, "the committee is complete without this replica")
        }
    }
}

/// Keeps foundings going for as long as the server runs.
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
