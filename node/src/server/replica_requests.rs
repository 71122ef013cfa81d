//! Serves the requests of one replica: lists of certificates, endorsements, and questions for the members' times.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, ListFilter, ListPosition, ListSource, Message, Stream};
use vouch_node_core::server::RequestLimits;

use super::certificate_lists::CertificateLists;
use super::core_performer::CorePerformer;
use super::endorse::Endorser;
use super::time_relay;
use crate::host::tasks::JoinSet;

/// The requests of one replica in progress. They end with its link.
pub(super) struct ReplicaRequests {
    certificates: Arc<CertificateLists>,
    core: Arc<CorePerformer>,
    endorser: Arc<Endorser>,
    limits: Arc<Mutex<RequestLimits>>,
    tasks: JoinSet<()>,
}

fn lock(limits: &Mutex<RequestLimits>) -> MutexGuard<'_, RequestLimits> {
    // Consistent after a panic elsewhere: every change is one call.
    limits.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReplicaRequests {
    /// The requests of a link that begins.
    pub(super) fn new(certificates: Arc<CertificateLists>, core: Arc<CorePerformer>) -> Self {
        let endorser = Arc::new(Endorser { certificates: certificates.clone(), core: core.clone() });
        Self { certificates, core, endorser, limits: Arc::default(), tasks: JoinSet::new() }
    }

    fn limits(&self) -> MutexGuard<'_, RequestLimits> {
        lock(&self.limits)
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(task);
    }

    /// Sends the replica a page of the server's own certificates, or of a member's.
    pub(super) fn list(
        &mut self,
        asker: NodeKey,
        stream: Stream,
        source: ListSource,
        page: (ListPosition, ListFilter),
    ) {
        let answer = self.answer(asker);
        if !self.limits().begin_list() {
            return answer(&Message::failed(stream, Code::Busy, "one list at a time"));
        }
        let (certificates, limits) = (self.certificates.clone(), self.limits.clone());
        self.spawn(async move {
            answer(&certificates.answer(stream, source, page).await);
            lock(&limits).end_list();
        });
    }

    /// Certifies blobs again with a member that holds them by now.
    pub(super) fn endorse(&mut self, member: u16, digests: Vec<Digest>) {
        let Some(first) = self.limits().begin_endorsement(digests) else { return };
        let (endorser, limits) = (self.endorser.clone(), self.limits.clone());
        self.spawn(async move {
            let mut next = Some(first);
            while let Some(digests) = next {
                endorser.endorse(member, digests).await;
                next = lock(&limits).end_endorsement();
            }
        });
    }

    /// Relays the question of a member, or of a node that the approved change adds, to all other connected members, and their answers back. Ignores
    /// other nodes: each question costs every member an answer.
    pub(super) fn ask_time(&mut self, stream: Stream, asker: NodeKey, nonce: [u8; 32]) {
        let links = self.certificates.links().clone();
        if !self.core.state().may_ask_time(&asker) || !self.limits().begin_question(links.now()) {
            return;
        }
        let (limits, answer) = (self.limits.clone(), self.answer(asker));
        self.spawn(async move {
            time_relay::relay(links, stream, asker, nonce, answer).await;
            lock(&limits).end_question();
        });
    }

    /// Sends to the replica, as long as it is connected. One that does not read gets no answer.
    fn answer(&self, asker: NodeKey) -> impl Fn(&Message) + Send + 'static {
        let core = self.core.clone();
        move |message| {
            let handle = core.state().roster().handle(&asker).cloned();
            let _ = handle.is_some_and(|handle| handle.try_send(message));
        }
    }
}
