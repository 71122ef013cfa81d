//! Retries a put whose link is lost, and maps errors to what the core's `Retry` decides by.

#[cfg(test)]
mod tests;

use std::time::Duration;

use vouch_core::chain::CommitteeChain;
use vouch_core::message::Stage;
use vouch_core::session::{Certified, Fault, Milestone, Retry};

use super::{ClientError, Offer, Put, PutProgress, StallLimit, Upload, dial, put_over};
use crate::host::Host;
use crate::link::LinkError;

/// Puts a blob and returns its certificate, checked. While it is tried again, the cluster of the first attempt is trusted and no
/// other, the receipt is the same, and the file is not hashed again.
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

/// Hashes what is put, before anything is sent.
///
/// # Errors
/// It cannot be read.
pub async fn offer(
    host: &Host,
    put: &Put,
    progress: impl Fn(PutProgress) + Send + 'static,
) -> Result<Offer, ClientError> {
    let failed = |error| ClientError::Source { source_name: put.source.to_string(), error };
    Offer::of(host, put.source.clone(), progress).await.map_err(failed)
}

/// As [`put`], given its [`offer`].
///
/// # Errors
/// See [`ClientError`].
pub async fn put_offer(
    host: &Host,
    put: Put,
    mut offer: Offer,
    progress: impl Fn(PutProgress) + Clone + Send + 'static,
) -> Result<Certified, ClientError> {
    let Put { server, trusted, source, expires_at, renew, retry } = put;
    let name = source.to_string();
    let (salt, began) = (host.random(), host.unix_seconds());
    let stall = StallLimit::new(retry);
    let (mut retry, mut known) = (Retry::new(retry), None::<CommitteeChain>);
    let mut cut = None;
    loop {
        let Some(content) = offer.content(host) else {
            return Err(ClientError::Once(cut.unwrap_or_else(|| Box::new(LinkError::Closed(String::new()).into()))));
        };
        let upload = Upload {
            name: name.clone(),
            trusted: trusted.or_else(|| known.as_ref().map(CommitteeChain::cluster)),
            known: known.clone(),
            source: offer.source,
            outline: offer.outline.clone(),
            expires_at,
            renew,
            salt,
            began,
            content,
            stall,
        };
        let attempt = async {
            let link = dial(host, &server, stall).await?;
            put_over(host, link, upload, |step| {
                if let Some(milestone) = milestone(&step) {
                    retry.reached(0, milestone);
                }
                if let PutProgress::Cluster(chain) = &step {
                    retry.opened();
                    known = Some(chain.clone());
                }
                progress(step);
            })
            .await
        };
        let error = match attempt.await {
            Ok(certified) => return Ok(certified),
            Err(error) => error,
        };
        let (pause, error) = pause(&mut retry, error, host)?;
        if !offer.is_once() {
            progress(PutProgress::Retrying { why: error.to_string(), pause });
            host.sleep(pause).await;
        }
        cut = Some(Box::new(error));
    }
}

/// The point that a put reached with this step, if it is one.
pub fn milestone(step: &PutProgress) -> Option<Milestone> {
    match step {
        PutProgress::Ready(bytes) => Some(Milestone::Ready(*bytes)),
        PutProgress::Sent(bytes) => Some(Milestone::Moved(*bytes)),
        PutProgress::Member(_, Stage::Stored) => Some(Milestone::Stored),
        PutProgress::Member(_, Stage::Voted) => Some(Milestone::Voted),
        PutProgress::Member(_, Stage::Receiving | Stage::Dropped)
        | PutProgress::Cluster(_)
        | PutProgress::Hashed(_)
        | PutProgress::Offered(..)
        | PutProgress::Retrying { .. } => None,
    }
}

/// What an error means for another try.
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
            // a proxy in front of a server that is down answers in its place
            | LinkError::Handshake { .. },
        ) => Fault::Link,
        ClientError::Link(LinkError::TooLarge(_) | LinkError::Message(_) | LinkError::Violation(_))
        | ClientError::Source { .. }
        // the time that the user allows is over
        | ClientError::Stalled { .. }
        | ClientError::Sink(_)
        | ClientError::AnotherBeginning { .. }
        | ClientError::Once(_)
        | ClientError::GaveUp { .. } => Fault::Permanent,
    }
}

/// The pause before the next try, and the error itself.
///
/// # Errors
/// The error, when there is no other try; [`ClientError::GaveUp`] after several.
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
