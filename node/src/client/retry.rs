//! Retries a put whose link is lost, and maps errors to what the core's `Retry` decides by.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vouch_core::session::{Attempts, Certified, Fault, Milestone, Retry};

use super::{ClientError, Offer, Prepared, Put, PutLink, PutProgress};
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
    put_offer(host, put, offer, progress).await
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

/// As [`put`], for a source that [`offer`] has hashed.
///
/// # Errors
/// See [`ClientError`].
pub async fn put_offer(
    host: &Host,
    put: Put,
    offer: Offer,
    progress: impl Fn(PutProgress) + Clone + Send + 'static,
) -> Result<Certified, ClientError> {
    let Put { server, trusted, source, expires_at, renew, retry } = put;
    let attempts = Arc::new(Mutex::new(Attempts::new(trusted, retry)));
    let locked = || attempts.lock().unwrap_or_else(PoisonError::into_inner);
    let mut prepared = Prepared::offered(host, source.to_string(), offer, expires_at, renew);
    let mut lost = None;
    loop {
        if let Some(error) = lost.take().filter(|_| prepared.is_once()) {
            return Err(ClientError::ReadOnce(Box::new(error)));
        }
        let options = locked().link_options();
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
            Ok(certified) => return Ok(certified),
            Err(error) => error,
        };
        let (pause, error) = pause(&mut locked().retry, error, host)?;
        if !prepared.is_once() {
            progress(PutProgress::Retrying { why: error.to_string(), pause });
            host.sleep(pause).await;
        }
        lost = Some(error);
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
        PutProgress::Cluster(_) | PutProgress::Hashed(_) | PutProgress::Offered(..) | PutProgress::Retrying { .. } => {
            None
        }
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
        ) => Fault::Link,
        ClientError::Link(LinkError::TooLarge(_) | LinkError::Message(_) | LinkError::Violation(_))
        | ClientError::Source { .. }
        // The time that the user allows has passed.
        | ClientError::Stalled { .. }
        | ClientError::Sink(_)
        | ClientError::AnotherPrefix { .. }
        | ClientError::ReadOnce(_)
        | ClientError::GaveUp { .. } => Fault::Permanent,
    }
}

/// The pause before the next attempt, with the error.
///
/// # Errors
/// The error, if there is no retry; [`ClientError::GaveUp`] after several attempts.
pub fn pause(retry: &mut Retry, error: ClientError, host: &Host) -> Result<(Duration, ClientError), ClientError> {
    let fault = fault(&error);
    let [random] = host.random();
    match retry.pause(fault, host.monotonic(), random) {
        Some(pause) => Ok((pause, error)),
        None if retry.attempts() > 1 && retry.may_pass(fault) => {
            Err(ClientError::GaveUp { attempts: retry.attempts(), error: Box::new(error) })
        }
        None => Err(error),
    }
}
