//! Performs an endorsement: certifies blobs again that a replica holds by now.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;
use vouch_core::digest::Digest;
use vouch_core::message::{MAX_ENDORSE, Message};
use vouch_node_core::server::endorsement::{Endorsement, EndorsementContext, EndorsementInput, EndorsementOutput};

use super::certificate_lists::CertificateLists;
use super::core_performer::CorePerformer;
use super::member_links::Replies;

/// What endorsements need.
pub(super) struct Endorser {
    pub(super) certificates: Arc<CertificateLists>,
    pub(super) core: Arc<CorePerformer>,
}

impl Endorser {
    /// Proposes the receipts of blobs again, in a new statement with the current time. Completes with the outcomes.
    pub(super) async fn endorse(&self, member: u16, digests: Vec<Digest>) {
        let links = self.certificates.links();
        let (inbox, mut outcomes) = mpsc::channel(MAX_ENDORSE);
        let mut core = Endorsement::new(member, digests, links.numbers().clone());
        let mut replies: Option<Replies> = None;
        let mut inputs = VecDeque::from([EndorsementInput::Begin]);
        loop {
            while let Some(input) = inputs.pop_front() {
                for output in core.handle(input, &self.context()) {
                    match output {
                        EndorsementOutput::FindCertificate(digest) => inputs.push_back(self.find(digest).await),
                        EndorsementOutput::Offer { stream, receipt, members } => {
                            replies = Some(links.replies(stream, 2 * members.len()));
                            let offer = Message::Put { stream, offer: Some(receipt), renew: true, authorisation: None };
                            inputs.push_back(EndorsementInput::Offered(links.ask(&members, &offer)));
                        }
                        EndorsementOutput::Cancel { stream, member } => {
                            // A member that does not read gets no message.
                            links.try_send(member, &Message::Cancel { stream, keep: true });
                        }
                        EndorsementOutput::Release(_) => replies = None,
                        EndorsementOutput::Submit { put, receipt, holders } => {
                            self.core.submit(put, receipt, (holders, BTreeSet::new()), inbox.clone());
                        }
                        EndorsementOutput::Over => {
                            drop(inbox);
                            while outcomes.recv().await.is_some() {}
                            return;
                        }
                    }
                }
            }
            // Without a pending input, the core waits for replies.
            let Some((replies, until)) = replies.as_mut().zip(core.next_tick()) else { return };
            inputs.push_back(match replies.next(until).await {
                Some(reply) => EndorsementInput::of_reply(reply.stream, reply.member, &reply.message),
                None => EndorsementInput::Tick,
            });
        }
    }

    async fn find(&self, digest: Digest) -> EndorsementInput {
        let found = self.certificates.find(digest).await;
        let found = found.inspect_err(|error| self.certificates.report_trouble(error.to_string()));
        EndorsementInput::Found(found.ok().flatten().map(Box::new))
    }

    fn context(&self) -> EndorsementContext {
        let links = self.certificates.links();
        let snapshot = links.snapshot();
        let (epoch, connected) = (snapshot.epoch(), snapshot.members.keys().copied().collect());
        let quorum = snapshot.chain.as_ref().map(|chain| chain.current().record().quorum().into());
        let (now, unix_seconds) = (links.now(), links.host().unix_seconds());
        EndorsementContext { now, unix_seconds, connected, epoch, quorum }
    }
}
