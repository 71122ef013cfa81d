//! A replica's part in foundings: makes each decision of [`ReplicaFounding`] durable, and only then sends it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};
use vouch_core::committee::{Committee, Policy};
use vouch_core::digest::{ClusterId, CommitteeDigest};
use vouch_core::founding::{Founding, FoundingMessage, ReplicaRecord, verify_acceptances};
use vouch_core::founding_protocol::{FoundingActions, ReplicaFounding, ReplicaFoundingEvent};
use vouch_core::message::{Code, Message};

use super::Event;
use super::context::{OwnIdentity, Reports};
use super::identity;
use crate::bugs::{self, Bug};
use crate::host::Host;
use crate::keys::ReplicaKeys;
use crate::link::{LinkError, Outgoing};

/// Maximum number of messages that a link may lag behind. A link that lags further is closed; the next one sends everything.
const QUEUE: usize = 64;

/// The state of foundings, and the messages about it for every link.
pub(super) struct Foundings {
    host: Host,
    /// The folder in which decisions are made durable.
    folder: PathBuf,
    identity: Arc<OwnIdentity>,
    reports: Arc<Reports>,
    core: tokio::sync::Mutex<ReplicaFounding>,
    /// Whether the replica follows a cluster that was founded without it.
    joins: bool,
    broadcasts: broadcast::Sender<Broadcast>,
    next_link: AtomicU64,
}

/// A message for every link except one.
#[derive(Debug, Clone)]
struct Broadcast {
    except: u64,
    bytes: Bytes,
}

/// One link's subscription to this replica's messages about foundings.
pub(super) struct FoundingSubscription {
    number: u64,
    broadcasts: broadcast::Receiver<Broadcast>,
}

impl Foundings {
    pub(super) fn new(
        host: Host,
        folder: PathBuf,
        identity: Arc<OwnIdentity>,
        reports: Arc<Reports>,
        (core, joins): (ReplicaFounding, bool),
    ) -> Self {
        let (core, broadcasts) = (tokio::sync::Mutex::new(core), broadcast::Sender::new(QUEUE));
        Self { host, folder, identity, reports, core, joins, broadcasts, next_link: AtomicU64::new(0) }
    }

    /// Subscribes a new link. Returns the messages to send first; the subscription has all later ones.
    pub(super) async fn subscribe(&self, served: Option<ClusterId>) -> (FoundingSubscription, Vec<Message>) {
        let core = self.core.lock().await;
        let number = self.next_link.fetch_add(1, Ordering::Relaxed);
        let subscription = FoundingSubscription { number, broadcasts: self.broadcasts.subscribe() };
        (subscription, core.show(served, &self.identity.keys.node))
    }

    /// The number of members of the accepted founding, and how many of them have accepted. `None` once it is complete.
    pub(super) fn progress(&self) -> Option<(u16, usize)> {
        // Do not wait for the lock: if the disk hangs while a founding is saved, the status must still be available.
        let core = self.core.try_lock().ok()?;
        let accepted = core.accepted().filter(|_| !core.is_founded())?;
        Some((accepted.record().n(), accepted.acceptances().len()))
    }

    /// Handles a message about foundings. Returns the answers for its link.
    ///
    /// # Errors
    /// The server sent an invalid founding, acceptance or refusal, or this replica's disk failed. The link ends.
    pub(super) async fn handle(&self, link: u64, message: Message) -> Result<Vec<Message>, LinkError> {
        if self.is_bound_by_later_committees(&message).await {
            return Ok(Vec::new());
        }
        match message {
            Message::Founding(shown) => {
                let founding = self.open(*shown).await?;
                let (cluster, is_complete) = (founding.record().cluster(), founding.is_complete());
                let committee = founding.committee().clone();
                let actions = self.perform(link, |core, keys| core.offer(founding, &keys.node, &keys.vote)).await?;
                if actions.is_standby && is_complete && self.identity.chain().is_none() {
                    self.join(committee).await?;
                    self.reports.report(Event::Standby(cluster.to_string().into()));
                }
                Ok(actions.reply)
            }
            Message::Acceptances { founding, acceptances } => {
                let known = self.core.lock().await.founding(&founding).cloned();
                let Some(known) = known else { return Ok(Vec::new()) };
                let checked = self.host.spawn_blocking(move || verify_acceptances(&known, &acceptances));
                let acceptances = checked.await.map_err(broken)?.map_err(refused)?;
                let accept = move |core: &mut ReplicaFounding, keys: &ReplicaKeys| {
                    core.accept(&acceptances, &keys.node, &keys.vote)
                };
                Ok(self.perform(link, accept).await?.reply)
            }
            Message::Refusals(refusals) => {
                let refuse = move |core: &mut ReplicaFounding, keys: &ReplicaKeys| {
                    core.refuse(&refusals, &keys.node, &keys.vote)
                };
                Ok(self.perform(link, refuse).await?.reply)
            }
            other => Err(LinkError::unexpected("a founding", &other)),
        }
    }

    /// Whether a message says nothing to this replica: its cluster has changed its committee, and the message shows that cluster's founding, which was
    /// complete long ago; or the replica follows a cluster that was founded without it, and accepts no founding any more.
    async fn is_bound_by_later_committees(&self, message: &Message) -> bool {
        let Some(chain) = self.identity.chain() else { return false };
        let is_own = match message {
            Message::Founding(shown) => shown.genesis.digest() == chain.first().record().digest(),
            _ => false,
        };
        let is_later = chain.current().record().epoch() > 0;
        (is_own && is_later) || self.core.lock().await.accepted().is_none()
    }

    /// Follows a cluster that was founded without this replica, if the operator wants that: a later committee may name it. From then on it belongs
    /// to that cluster.
    async fn join(&self, genesis: Arc<Committee>) -> Result<(), LinkError> {
        let core = self.core.lock().await;
        if !self.joins || core.accepted().is_some() || self.identity.chain().is_some() {
            return Ok(());
        }
        let (disk, folder, record, saved) =
            (self.host.shared_disk(), self.folder.clone(), core.record().clone(), genesis.clone());
        // The record says that this replica accepted nothing: without it, the folder would look like one of a founder.
        let saving = self.host.spawn_blocking(move || identity::save(&*disk, &folder, &record, Some(&saved)));
        if let Err(error) = saving.await.map_err(broken)? {
            self.reports.report(Event::Trouble(error.to_string()));
            return Err(LinkError::violation(Code::Storage, error.to_string()));
        }
        self.identity.committees.replace(Some(genesis.into()));
        Ok(())
    }

    /// Verifies a founding that a server sent. If the founding is known, only its new acceptances are verified.
    async fn open(&self, shown: FoundingMessage) -> Result<Founding, LinkError> {
        let known = self.core.lock().await.founding_or_other(&shown.genesis.digest()).cloned();
        let opening = self.host.spawn_blocking(move || Founding::open_known(shown, known.as_ref()));
        opening.await.map_err(broken)?.map_err(refused)
    }

    /// Decides, makes the decision durable, and only then applies and sends it.
    async fn perform(
        &self,
        link: u64,
        decide: impl FnOnce(&mut ReplicaFounding, &ReplicaKeys) -> FoundingActions + Send + 'static,
    ) -> Result<FoundingActions, LinkError> {
        let mut core = self.core.lock().await;
        let mut next = core.clone();
        if bugs::has(Bug::TwoFoundings) && !next.is_founded() {
            next = ReplicaFounding::new(ReplicaRecord::default(), false, next.policy());
        }
        let identity = self.identity.clone();
        // Accepting signs with the vote key, which takes milliseconds.
        let deciding = self.host.spawn_blocking(move || {
            let actions = decide(&mut next, &identity.keys);
            (next, actions)
        });
        let (next, actions) = deciding.await.map_err(broken)?;
        let mut founded = None;
        if actions.save && (next.is_founded() || !bugs::has(Bug::FoundingUnsaved)) {
            founded = self.save(&next).await?;
        }
        *core = next;
        for message in &actions.to_others {
            // Fails if no other server is connected.
            let _ = self.broadcasts.send(Broadcast { except: link, bytes: message.encode() });
        }
        drop(core);
        for event in &actions.events {
            self.report(event);
        }
        if let Some(committee) = founded {
            self.identity.committees.replace(Some(committee.into()));
            self.reports.report_membership(&self.identity);
        }
        Ok(actions)
    }

    /// Saves the record, and then the committee once it is founded. Returns the committee if it is new.
    async fn save(&self, core: &ReplicaFounding) -> Result<Option<Arc<Committee>>, LinkError> {
        let founded = core.accepted().filter(|_| core.is_founded() && self.identity.chain().is_none());
        let founded = founded.map(|accepted| accepted.committee().clone());
        let (folder, record, committee) = (self.folder.clone(), core.record().clone(), founded.clone());
        let disk = self.host.shared_disk();
        let saving = self.host.spawn_blocking(move || identity::save(&*disk, &folder, &record, committee.as_deref()));
        if let Err(error) = saving.await.map_err(broken)? {
            self.reports.report(Event::Trouble(error.to_string()));
            return Err(LinkError::violation(Code::Storage, error.to_string()));
        }
        Ok(founded)
    }

    fn report(&self, event: &ReplicaFoundingEvent) {
        let text = match event {
            ReplicaFoundingEvent::Accepted(digest, n) => {
                format!(
                    "accepted the founding of a committee of {n}, {digest}; the committee is valid once all members have accepted"
                )
            }
            // reported by `report_membership`
            ReplicaFoundingEvent::Founded(_) => return,
            ReplicaFoundingEvent::Refused(digest) => {
                format!("refused the founding {digest}, because this replica accepted another one before")
            }
            ReplicaFoundingEvent::Released(refusal) => format!("the {refusal}; waiting for that one or another"),
            ReplicaFoundingEvent::Evidence(evidence) => evidence.to_string(),
            ReplicaFoundingEvent::AnotherVoteKey(digest) => format!(
                "the founding {digest} names this replica's node key with another vote key; a copy of its node.key may be in use elsewhere"
            ),
            ReplicaFoundingEvent::AnotherPolicy { founding, expected, got } => {
                another_policy(founding, *expected, *got)
            }
            ReplicaFoundingEvent::AcceptedBefore(digest) => format!(
                "this replica accepted the founding {digest} before it lost its `founding` file, and another one since; if neither is \
                 completed, start it with --abandon-founding"
            ),
            ReplicaFoundingEvent::AcceptedAgain(digest) => format!(
                "this replica accepted the founding {digest} before it lost its files; it signs nothing in the log until it cannot contradict what \
                 it may have signed then"
            ),
        };
        self.reports.report(Event::Founding(text));
    }
}

impl FoundingSubscription {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Forwards the replica's messages to this link's server. Ends if the link is too far behind.
    pub(super) async fn forward(mut self, replies: mpsc::Sender<Outgoing>) {
        while let Ok(Broadcast { except, bytes }) = self.broadcasts.recv().await {
            if except != self.number && replies.send(bytes.into()).await.is_err() {
                return;
            }
        }
    }
}

/// Why a founding is not accepted, and what to do if it should be.
fn another_policy(founding: &CommitteeDigest, expected: Policy, got: Policy) -> String {
    let begin = format!("did not accept the founding {founding}");
    match (expected, got) {
        (Policy::Open, Policy::Operator(got)) => format!(
            "{begin}: it has the operator {got}, and this replica was told of none; if that is the operator of your cluster, start it with \
             --operator {got}"
        ),
        (Policy::Operator(expected), Policy::Operator(got)) => {
            format!(
                "{begin}: --operator: expected {expected}, got {got}; ask the cluster's operator which key is right"
            )
        }
        (Policy::Operator(expected), Policy::Open) => format!(
            "{begin}: --operator: expected {expected}, got a founding without an operator; start the server with --operator {expected}, or this \
             replica without"
        ),
        (Policy::Open, Policy::Open) => begin,
    }
}

fn refused(error: impl std::fmt::Display) -> LinkError {
    LinkError::violation(Code::Unexpected, error.to_string())
}

/// Blocking work failed.
fn broken(error: impl std::fmt::Display) -> LinkError {
    LinkError::Broken(error.to_string())
}
