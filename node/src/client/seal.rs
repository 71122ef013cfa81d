//! The statements of an epoch's seal, from a server that is not trusted.

use std::time::Duration;

use thiserror::Error;
use vouch_core::chain::CommitteeChain;
use vouch_core::seal::{MAX_SEALED, SealTree};
use vouch_core::statement::StatementId;

use super::http::{HttpError, HttpRequest};
use crate::host::Host;

/// Why the statements of a seal are not to be had from a server.
#[derive(Debug, Error)]
pub enum SealError {
    /// The server did not send a list.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The list is not that of the seal which the committees name.
    #[error("{server} sent other statements than those of the seal of epoch {epoch}")]
    Another {
        /// The server.
        server: String,
        /// The sealed epoch.
        epoch: u64,
    },
}

/// Fetches the statements of an epoch's seal, and verifies them: a committee of the chain names the seal. `patience`: how long the server may
/// take.
///
/// # Errors
/// See [`SealError`].
pub async fn fetch_seal(
    host: &Host,
    server: &str,
    chain: &CommitteeChain,
    epoch: u64,
    patience: Duration,
) -> Result<SealTree, SealError> {
    let (path, limit) = (format!("/v1/log/seals/{epoch}"), MAX_SEALED * size_of::<StatementId>());
    let list = HttpRequest::get(server, path, limit, patience).send(host).await?;
    let chain = chain.clone();
    // On a thread that may block: a full list takes some ten milliseconds to hash.
    let checking =
        host.spawn_blocking(move || SealTree::from_list(&list).filter(|seal| seal.is_of(&chain, epoch))).await;
    checking.ok().flatten().ok_or_else(|| SealError::Another { server: server.to_owned(), epoch })
}
