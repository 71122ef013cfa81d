//! A replica's part in foundings: makes each decision of [`ReplicaFounding`] durable, and then speaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};
use vouch_core::committee::Committee;
use vouch_core::digest::ClusterId;
use vouch_core::founding::{
    Founding, FoundingActions, FoundingMessage, ReplicaFounding, ReplicaFoundingEvent, ReplicaRecord,
    verify_acceptances,
};
use vouch_core::message::{Code, Message};

use super::identity;
use super::{Event, Shared};
use crate::bugs::{self, Bug};
use crate::link::{LinkError, Outgoing};

/// Messages that a link may be behind; one further behind is closed, and shows everything on its next link.
const QUEUE: usize = 64;

/// What every link of a replica must say, and the state behind it.
pub(super) struct Foundings {
    core: tokio::sync::Mutex<ReplicaFounding>,
    said: broadcast::Sender<Said>,
    next_link: AtomicU64,
}

/// A message for every link but one.
#[derive(Debug, Clone)]
struct Said {
    except: u64,
    bytes: Bytes,
}

/// One link's place among those that hear what this replica says.
pub(super) struct Listener {
    number: u64,
    said: broadcast::Receiver<Said>,
}

impl Foundings {
    pub(super) fn new(core: ReplicaFounding) -> Self {
        Self { core: tokio::sync::Mutex::new(core), said: broadcast::Sender::new(QUEUE), next_link: AtomicU64::new(0) }
    }

    /// A number for messages of a new link, and what that link shows first. Nothing said from now on is missed.
    pub(super) async fn join(&self, shared: &Shared, served: Option<ClusterId>) -> (Listener, Vec<Message>) {
        let core = self.core.lock().await;
        let number = self.next_link.fetch_add(1, Ordering::Relaxed);
        let listener = Listener { number, said: self.said.subscribe() };
        (listener, core.show(served, &shared.keys.node))
    }

    /// How many members the accepted founding has, and how many of them accepted; `None` once it is complete.
    pub(super) fn under_way(&self) -> Option<(u16, usize)> {
        // a disk that hangs while a founding is saved must not hang the status
        let core = self.core.try_lock().ok()?;
        let accepted = core.accepted().filter(|_| !core.is_founded())?;
        Some((accepted.record().n(), accepted.acceptances().len()))
    }
}

impl Listener {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Sends on what the replica says to all its servers; ends when this link is too far behind.
    pub(super) async fn pass_on(mut self, replies: mpsc::Sender<Outgoing>) {
        while let Ok(Said { except, bytes }) = self.said.recv().await {
            if except != self.number && replies.send(bytes.into()).await.is_err() {
                return;
            }
        }
    }
}

/// Deals with a message about foundings, and gives the answers for the link that it came on.
///
/// # Errors
/// The server showed what does not hold, or this replica's disk failed. The link ends.
pub(super) async fn hear(shared: &Arc<Shared>, link: u64, message: Message) -> Result<Vec<Message>, LinkError> {
    let (node, vote) = (&shared.keys.node, &shared.keys.vote);
    match message {
        Message::Founding(shown) => {
            let founding = open(shared, *shown).await?;
            let (cluster, is_complete) = (founding.record().cluster(), founding.is_complete());
            let actions = perform(shared, link, |core| core.offer(founding, node, vote)).await?;
            if actions.is_standby && is_complete && shared.committee().is_none() {
                shared.report(Event::Standby(cluster.to_string().into()));
            }
            Ok(actions.reply)
        }
        Message::Acceptances { founding, acceptances } => {
            let known = shared.foundings.core.lock().await.founding(&founding).cloned();
            let Some(known) = known else { return Ok(Vec::new()) };
            let checked = shared.host.spawn_blocking(move || verify_acceptances(&known, &acceptances)).await;
            let acceptances = checked.map_err(|error| LinkError::Broken(error.to_string()))?.map_err(refused)?;
            Ok(perform(shared, link, |core| core.accept(&acceptances, node, vote)).await?.reply)
        }
        Message::Refusals(refusals) => {
            Ok(perform(shared, link, |core| core.refuse(&refusals, node, vote)).await?.reply)
        }
        other => Err(LinkError::unexpected("a founding", &other)),
    }
}

fn refused(error: impl std::fmt::Display) -> LinkError {
    LinkError::violation(Code::Unexpected, error.to_string())
}

/// Verifies a founding that a server shows; of one that is known, only the acceptances that are new.
async fn open(shared: &Arc<Shared>, shown: FoundingMessage) -> Result<Founding, LinkError> {
    let digest = shown.genesis.digest();
    let known = shared.foundings.core.lock().await.founding_or_other(&digest).cloned();
    shared
        .host
        .spawn_blocking(move || Founding::open_known(shown, known.as_ref()))
        .await
        .map_err(|error| LinkError::Broken(error.to_string()))?
        .map_err(refused)
}

/// Decides, makes the decision durable, and only then lets it count and be heard.
async fn perform(
    shared: &Arc<Shared>,
    link: u64,
    decide: impl FnOnce(&mut ReplicaFounding) -> FoundingActions,
) -> Result<FoundingActions, LinkError> {
    let mut core = shared.foundings.core.lock().await;
    let mut next = core.clone();
    if bugs::has(Bug::TwoFoundings) && !next.is_founded() {
        next = ReplicaFounding::new(ReplicaRecord::default(), false);
    }
    let actions = decide(&mut next);
    let mut founded = None;
    if actions.save && (next.is_founded() || !bugs::has(Bug::FoundingUnsaved)) {
        founded = save(shared, &next).await?;
    }
    *core = next;
    for message in &actions.to_others {
        // nobody listens when no other server is connected
        let _ = shared.foundings.said.send(Said { except: link, bytes: message.encode() });
    }
    drop(core);
    for event in &actions.events {
        tell(shared, event);
    }
    if let Some(committee) = founded {
        shared.committee.replace(Some(committee));
        shared.report_membership();
    }
    Ok(actions)
}

/// Saves the record, then the committee once it counts, which is given back when it is new.
async fn save(shared: &Arc<Shared>, core: &ReplicaFounding) -> Result<Option<Arc<Committee>>, LinkError> {
    let founded = core.accepted().filter(|_| core.is_founded() && shared.committee().is_none());
    let founded = founded.map(|accepted| accepted.committee().clone());
    let (folder, record, committee) = (shared.data.path().to_owned(), core.record().clone(), founded.clone());
    let disk = shared.host.shared_disk();
    let saved =
        shared.host.spawn_blocking(move || identity::save(&*disk, &folder, &record, committee.as_deref())).await;
    if let Err(error) = saved.map_err(|error| LinkError::Broken(error.to_string()))? {
        shared.report(Event::Trouble(error.to_string()));
        return Err(LinkError::violation(Code::Storage, error.to_string()));
    }
    Ok(founded)
}

fn tell(shared: &Shared, event: &ReplicaFoundingEvent) {
    let text = match event {
        ReplicaFoundingEvent::Accepted(digest, n) => {
            format!("accepted the founding of a committee of {n}, {digest}; it counts when all of them did")
        }
        // reported as its membership
        ReplicaFoundingEvent::Founded(_) => return,
        ReplicaFoundingEvent::Refused(digest) => {
            format!("refused the founding {digest}: another one was accepted before")
        }
        ReplicaFoundingEvent::Released(refusal) => format!("the {refusal}; waiting for that one or another"),
        ReplicaFoundingEvent::Evidence(evidence) => evidence.to_string(),
        ReplicaFoundingEvent::AnotherVoteKey(digest) => format!(
            "the founding {digest} names this replica's node key with another vote key; a copy of its node.key may be in use elsewhere"
        ),
        ReplicaFoundingEvent::AcceptedBefore(digest) => format!(
            "this replica accepted the founding {digest} before it lost its `founding` file, and another one since; if neither is \
             completed, start it with --abandon-founding"
        ),
    };
    shared.report(Event::Founding(text));
}
