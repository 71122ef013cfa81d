//! Takes over to a later committee that replicas show: verifies it, makes it durable, and ends everything of the epoch before.

use std::sync::Arc;

use vouch_core::chain::{ChainUpdate, EpochLink};
use vouch_core::message::{Code, Failed, Stream};
use vouch_node_core::server::ServerInput;

use super::core_performer::CorePerformer;
use super::member_links::MemberLinks;
use super::reports::{Event, ServerReports};
use crate::data_dir::DataDir;
use crate::epoch_files;
use crate::host::Host;
use crate::link::LinkError;

/// Keeps the server's committees up to date.
pub(super) struct ServerEpochs {
    host: Host,
    core: Arc<CorePerformer>,
    members: MemberLinks,
    reports: Arc<ServerReports>,
    folder: Arc<DataDir>,
    /// Locked while committees are verified and made durable: the next ones then only have to follow.
    learning: tokio::sync::Mutex<()>,
}

impl ServerEpochs {
    pub(super) fn new(
        core: Arc<CorePerformer>,
        members: MemberLinks,
        reports: Arc<ServerReports>,
        folder: Arc<DataDir>,
    ) -> Self {
        let host = members.host().clone();
        Self { host, core, members, reports, folder, learning: tokio::sync::Mutex::new(()) }
    }

    /// Takes in the epochs that a replica shows. If some are new, the last one becomes the current one; the links of clients and replicas end
    /// then, and they connect again.
    ///
    /// # Errors
    /// The committees are no chain with those of this server, or they are a fork of it. The link that brought them ends.
    pub(super) async fn learn(&self, links: Vec<EpochLink>) -> Result<(), LinkError> {
        let _one_at_a_time = self.learning.lock().await;
        let Some(chain) = self.members.chain() else {
            return Err(LinkError::violation(Code::NoCommittee, "expected Founding before Epochs"));
        };
        let saved = chain.current().record().epoch();
        let verifying = self.host.spawn_blocking(move || chain.updated(links));
        let update = verifying.await.map_err(|error| LinkError::violation(Code::Storage, error.to_string()))?;
        let chain = match update {
            Err(error) => return Err(LinkError::violation(Code::NotAuthenticated, error.to_string())),
            Ok(ChainUpdate::Known) => return Ok(()),
            Ok(ChainUpdate::Fork { epoch, known, shown }) => {
                let why = format!(
                    "a replica shows another committee of epoch {epoch}, signed by a quorum as well: expected {known}, got {shown}. This server \
                     keeps the one that it learned first; compare bundles of both with `vouch compare`"
                );
                self.reports.report(Event::Trouble(why.clone()));
                return Err(LinkError::violation(Code::NotAdmitted, why));
            }
            Ok(ChainUpdate::Extended(chain)) => chain,
        };
        let (disk, folder, extended) = (self.host.shared_disk(), self.folder.clone(), chain.clone());
        let saving = self.host.spawn_blocking(move || epoch_files::save(&*disk, folder.path(), &extended, saved));
        let saved = match saving.await {
            Ok(saved) => saved.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = saved {
            self.reports.report(Event::Trouble(format!("cannot save a later committee: {error}")));
            return Err(LinkError::violation(Code::Storage, "the server cannot save the committee"));
        }
        let committee = chain.current().clone();
        self.core.handle(ServerInput::Adopted(chain));
        self.core.publish();
        self.reports.report(Event::NewEpoch(committee));
        Ok(())
    }
}

/// The end of a link of an epoch that is over.
pub(super) fn epoch_is_over(epoch: u64) -> Failed {
    Failed::new(Stream::LINK, Code::NewEpoch, format!("epoch {epoch} of the cluster has begun; connect again"))
}
