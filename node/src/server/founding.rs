//! Brings a committee about: who may join before there is one, what replicas show, and when it is complete. The decisions are
//! [`ServerFounding`]'s.

use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use vouch_core::committee::Committee;
use vouch_core::founding::{Acceptance, Founding, FoundingMessage, Progress, Sends, ServerFounding, ServerNote};
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Failed, Message, Standing, Stream};

use super::{Event, Shared};
use crate::budgets::PeerAddress;
use crate::committee_file::{self, CommitteeFileError};
use crate::host::tasks::MissedTickBehavior;
use crate::host::{clock, entropy, tasks};
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
    pub(super) fn send(&self, sends: Sends) {
        let roster = self.roster();
        for (node_key, message) in sends {
            if let Some(handle) = roster.handle(&node_key) {
                handle.tell(&message);
            }
        }
    }

    /// Whether a replica may join at all, by where it comes from and who it is.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    pub(super) fn may_join(&self, from: PeerAddress, node_key: &NodeKey) -> Result<(), Failed> {
        let refuse = |detail: String| Err(Failed::new(Stream::LINK, Code::NotAdmitted, detail));
        let told = &self.config.told;
        if let Some(members) = &told.members {
            return match members.contains(node_key) {
                true => Ok(()),
                false => {
                    refuse(format!("this server admits the replicas listed in its --members file only, not {node_key}"))
                }
            };
        }
        if from.is_loopback() || self.config.allow_open || told.cluster.is_some() || self.committee().is_some() {
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
    pub(super) async fn ensure_committee(&self, stream: Stream) -> Result<Arc<Committee>, Failed> {
        let refuse = |detail| Err(Failed::new(stream, Code::NoCommittee, detail));
        let deadline = clock::monotonic() + FOUNDING_DEADLINE;
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
                Progress::UnderWay if clock::monotonic() > deadline => {
                    return refuse(
                        "the replicas are connected and have not all accepted the committee yet; see their logs".into(),
                    );
                }
                Progress::UnderWay => {}
            }
            tasks::sleep(LOOK_EVERY).await;
        }
    }

    /// Proposes a founding where one is due.
    pub(super) fn propose(&self, at_a_put: bool) {
        let proposed = self.founding().propose(at_a_put, entropy::array());
        match proposed {
            Ok(sends) => self.send(sends),
            // each proof was checked when its replica joined
            Err(error) => self.report(Event::Trouble(format!("cannot propose a committee: {error}"))),
        }
    }

    /// A replica shows a founding.
    pub(super) async fn shown(&self, from: &NodeKey, message: FoundingMessage) -> Result<(), LinkError> {
        let refuse = |code, detail: String| Err(LinkError::Refused(Failed::new(Stream::LINK, code, detail)));
        let digest = message.genesis.digest();
        if !self.founding().concerns(&digest) {
            return Ok(());
        }
        let known = self.founding().committee(&digest);
        // of a thousand members a second's work: strangers that show many keep one core busy, and no more
        let _one_at_a_time = self.checking.lock().await;
        let opened = tasks::spawn_blocking(move || match known {
            // its proofs were checked
            Some(committee) => Founding::with(committee, message.acceptances),
            None => Founding::open(message),
        });
        let founding = match opened.await {
            Ok(Ok(founding)) => founding,
            Ok(Err(error)) => return refuse(Code::NotAuthenticated, error.to_string()),
            Err(error) => return refuse(Code::Storage, error.to_string()),
        };
        let shown = self.founding().shown(from, founding);
        match shown {
            Ok(sends) => self.send(sends),
            Err(detail) => return refuse(Code::Unexpected, detail),
        }
        self.after_a_change().await
    }

    /// A replica accepts a founding, or passes on who did.
    pub(super) async fn accepted(
        &self,
        from: &NodeKey,
        claimed: (vouch_core::digest::CommitteeDigest, Vec<(u16, vouch_core::bls::VoteSignature)>),
    ) -> Result<(), LinkError> {
        let Some(committee) = self.founding().committee(&claimed.0) else { return Ok(()) };
        let checked = tasks::spawn_blocking(move || Acceptance::check_all(&committee, &claimed.1)).await;
        match checked {
            Ok(Ok(acceptances)) => self.founding().accepted(from, &acceptances),
            Ok(Err(error)) => {
                return Err(Failed::new(Stream::LINK, Code::NotAuthenticated, error.to_string()).into());
            }
            Err(error) => return Err(LinkError::Broken(error.to_string())),
        }
        self.after_a_change().await
    }

    /// A replica refuses foundings, or passes on who did.
    pub(super) async fn refused(&self, refusals: &[vouch_core::founding::Refusal]) -> Result<(), LinkError> {
        let sends = self.founding().refused(refusals);
        self.send(sends);
        self.after_a_change().await
    }

    async fn after_a_change(&self) -> Result<(), LinkError> {
        if let Err(error) = self.settle().await {
            // tried again with the next tick
            self.report(Event::Trouble(error.to_string()));
        }
        Ok(())
    }

    /// Takes up a committee that is complete and wanted: durably, then for everybody to see.
    async fn settle(&self) -> Result<(), CommitteeFileError> {
        self.tell_notes();
        let _one_at_a_time = self.forming.lock().await;
        let complete = self.founding().complete();
        if let Some(founding) = complete {
            self.save(founding.clone()).await?;
            let committee = founding.committee().clone();
            self.roster().adopt(committee.clone());
            let sends = self.founding().settle(founding);
            self.send(sends);
            self.publish();
            self.report(Event::Formed(committee));
            self.tell_standings(None);
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
        let saved = tasks::spawn_blocking(move || committee_file::save_founding(&path, &founding)).await;
        saved.map_err(|error| CommitteeFileError::Task(error.to_string()))?
    }

    fn tell_notes(&self) {
        let notes = self.founding().take_notes();
        for note in notes {
            self.report(Event::Founding(match note {
                ServerNote::Refused(refusal) => format!(
                    "founding {} is over: {} accepted {} instead, and the least of rival foundings wins",
                    refusal.refused, refusal.node_key, refusal.accepted
                ),
                ServerNote::Evidence(refusal, _) => format!(
                    "replica {} is faulty: it accepted and refused the same founding, {}",
                    refusal.node_key, refusal.refused
                ),
            }));
        }
    }

    /// Tells every replica what it is to this server.
    fn tell_standings(&self, waiting: Option<&str>) {
        let roster = self.roster();
        for (standing, handle) in roster.connected() {
            handle.tell(&standing_message(standing, waiting));
        }
    }
}

/// What a replica is told that it is.
pub(super) fn standing_message(standing: super::roster::Standing, waiting: Option<&str>) -> Message {
    use super::roster::Standing as Is;
    match standing {
        Is::Member(_) => Message::standing(Standing::Member, ""),
        Is::Candidate => Message::standing(Standing::Waiting, waiting.unwrap_or("")),
        Is::Standby => Message::standing(Standing::Standby, "the committee is complete without this replica"),
    }
}

/// Keeps foundings going for as long as the server runs.
pub(super) async fn run(shared: Weak<Shared>) {
    let mut ticks = tasks::interval(TICK);
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
        let _ = shared.after_a_change().await;
        let progress = shared.founding().progress();
        let Progress::Waiting(why) = progress else { continue };
        quiet = if why == last { quiet + 1 } else { 0 };
        last.clone_from(&why);
        if quiet >= QUIET_TICKS && why != told && shared.committee().is_none() {
            shared.report(Event::Founding(why.clone()));
            shared.tell_standings(Some(&why));
            told = why;
        }
    }
}
