//! Retries a put whose link is lost, and maps errors to what the core's `Retry` decides by.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use vouch_core::session::{Attempts, Certified, Fault, Milestone};

use super::{ClientError, Offer, Prepared, Put, PutLink, PutProgress, ServerTrials};
use crate::host::Host;
use crate::link::LinkError;

/// Puts a blob and returns its verified certificate. A retry trusts only the cluster of the first attempt, keeps the receipt, and does
/// not hash the file again.
///
/// # Errors
/// See [`ClientError`].
pub async fn put(
    host: &Host,
    put: Put,
    progress: impl Fn(PutProgress) + Clone + Send + 'static,
) -> Result<Certified, ClientError> {
    let offer = offer(host, &put, progress.clone()).await?;
    put_offer(host, put, offer, progress).await.map(|result| result.certified)
}

/// Hashes the source of a put.
///
/// # Errors
/// The source cannot be read.
pub async fn offer(
    host: &Host,
    put: &Put,
    progress: impl Fn(PutProgress) + Send + 'static,
) -> Result<Offer, ClientError> {
    let failed = |error| ClientError::Source { source_name: put.source.to_string(), error };
    Offer::of(host, put.source.clone(), progress).await.map_err(failed)
}

/// The result of a put.
#[derive(Debug)]
pub struct PutResult {
    /// The certificate, verified.
    pub certified: Certified,
    /// The address of the server that sent it.
    pub server: String,
    /// The number of attempts.
    pub attempts: u32,
}

/// As [`put`], for a source that [`offer`] has hashed.
///
/// # Errors
/// See [`ClientError`].
pub async fn put_offer(
    host: &Host,
    put: Put,
    offer: Offer,
    progress: impl Fn(PutProgress) + Clone + Send + 'static,
) -> Result<PutResult, ClientError> {
    let Put { servers, trusted, source, expires_at, renew, token, retry } = put;
    let attempts = Arc::new(Mutex::new(Attempts::new(trusted, retry).among(servers.count()).with_token(token)));
    let locked = || attempts.lock().unwrap_or_else(PoisonError::into_inner);
    let mut trials = ServerTrials::new(servers);
    let mut prepared = Prepared::offered(host, source.to_string(), offer, expires_at, renew);
    loop {
        let (options, server) = {
            let attempts = locked();
            (attempts.link_options(), trials.server(&attempts.retry).to_owned())
        };
        let attempt = async {
            let (link, opened) = PutLink::connect(host, &server, options).await?;
            let (seen, shown) = (attempts.clone(), progress.clone());
            let result = link.put_again(&mut prepared, move |step| {
                if let Some(milestone) = milestone(&step) {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).retry.reached(0, milestone);
                }
                shown(step);
            });
            let (opened, result) = tokio::join!(opened, result);
            opened?;
            locked().retry.opened();
            link.chain().cloned().into_iter().for_each(|chain| locked().verified(chain));
            drop(link);
            result.map_err(only_cause)
        };
        let error = match attempt.await {
            Ok(certified) => return Ok(PutResult { certified, server, attempts: locked().retry.attempts() }),
            Err(error) => error,
        };
        let next = trials.failed(&mut locked().retry, error, host, prepared.is_spent())?;
        let pause = next.pause;
        progress(PutProgress::Retrying(next));
        host.sleep(pause).await;
    }
}

/// The error that ended the link of a single put. No other put shares it, so it need not stay in its `Arc`.
fn only_cause(error: ClientError) -> ClientError {
    match error {
        ClientError::Ended(error) => Arc::try_unwrap(error).unwrap_or_else(ClientError::Ended),
        error => error,
    }
}

/// The milestone that a put has reached, if this progress is one.
pub fn milestone(step: &PutProgress) -> Option<Milestone> {
    match step {
        PutProgress::Ready(bytes) => Some(Milestone::Ready(*bytes)),
        PutProgress::Sent(bytes) => Some(Milestone::Moved(*bytes)),
        PutProgress::Member(_, stage) => Milestone::of_stage(*stage),
        PutProgress::Cluster(_) | PutProgress::Hashed(_) | PutProgress::Offered(..) | PutProgress::Retrying(_) => None,
    }
}

/// What an error means for a retry.
pub fn fault(error: &ClientError) -> Fault {
    match error {
        ClientError::Ended(error) => fault(error),
        ClientError::Link(LinkError::Refused(failed)) => Fault::of_refusal(failed.code),
        ClientError::Session(error) => Fault::from(error),
        ClientError::Link(
            LinkError::Closed(_)
            | LinkError::Broken(_)
            | LinkError::Deadline { .. }
            | LinkError::TooSlow { .. }
            | LinkError::Connect { .. }
            // A proxy answers in place of a server that is down.
            | LinkError::Handshake { .. },
        )
        | ClientError::NoCommittee { .. } => Fault::Link,
        ClientError::Link(LinkError::TooLarge(_) | LinkError::Message(_) | LinkError::Violation(_))
        // This server has used up the time that the user allows.
        | ClientError::Stalled { .. } => Fault::Permanent,
        ClientError::Source { .. }
        | ClientError::Sink(_)
        | ClientError::AnotherPrefix { .. }
        | ClientError::ReadOnce(_)
        | ClientError::GaveUp { .. }
        | ClientError::EveryServer(_) => Fault::Local,
    }
}
