//! A put or a get whose link is lost is tried again, and goes on where it stopped.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use vouch_core::chain::CommitteeChain;
use vouch_core::message::{Code, Stage};
use vouch_core::session::{Certified, SessionError};

use super::{ClientError, Offer, Put, PutProgress, StallLimit, Upload, dial, put_over};
use crate::host::Host;
use crate::link::LinkError;

/// The pauses between attempts double, each by chance up to a half shorter: those who were cut off together do not come together.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
                retry.saw(0, &step);
                if let PutProgress::Cluster(chain) = &step {
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
        let (pause, error) = retry.pause(error, host.monotonic(), host.random())?;
        if !offer.is_once() {
            progress(PutProgress::Retrying { why: error.to_string(), pause });
            host.sleep(pause).await;
        }
        cut = Some(Box::new(error));
    }
}

/// How far a put or a get came; more is further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// The server proved its key, and showed its committee.
    Open,
    /// The server took the put, or located holders of what a get wants.
    Ready,
    /// So many bytes were sent, or received, or were there.
    Sent(u64),
    /// A member holds it.
    Stored,
    /// A member signed.
    Voted,
}

/// Decides whether puts that were cut off are tried again, and after which pause. The time without getting further counts from the
/// first failure.
#[derive(Debug)]
pub struct Retry {
    patience: Duration,
    /// How far each put ever got.
    reached: BTreeMap<usize, Reach>,
    is_open: bool,
    is_ready: bool,
    failing_since: Option<Duration>,
    pauses: u32,
    attempts: u32,
}

impl Retry {
    /// Tries again for so long without getting further.
    pub fn new(patience: Duration) -> Self {
        let reached = BTreeMap::new();
        Self { patience, reached, is_open: false, is_ready: false, failing_since: None, pauses: 0, attempts: 1 }
    }

    /// Takes what one of the puts is at.
    pub fn saw(&mut self, put: usize, step: &PutProgress) {
        let reach = match step {
            PutProgress::Cluster(_) => Reach::Open,
            PutProgress::Ready(0) => Reach::Ready,
            PutProgress::Ready(bytes) | PutProgress::Sent(bytes) => Reach::Sent(*bytes),
            PutProgress::Member(_, Stage::Stored) => Reach::Stored,
            PutProgress::Member(_, Stage::Voted) => Reach::Voted,
            PutProgress::Member(_, Stage::Receiving | Stage::Dropped)
            | PutProgress::Hashed(_)
            | PutProgress::Offered(..)
            | PutProgress::Retrying { .. } => return,
        };
        self.reach(put, reach);
    }

    /// Takes that a get is served, with so many bytes received so far.
    pub fn received(&mut self, bytes: u64) {
        self.reach(0, if bytes == 0 { Reach::Ready } else { Reach::Sent(bytes) });
    }

    fn reach(&mut self, put: usize, reach: Reach) {
        self.is_open = true;
        self.is_ready |= reach >= Reach::Ready;
        let reached = self.reached.entry(put).or_insert(Reach::Open);
        if reach > *reached {
            *reached = reach;
            self.got_further();
        }
    }

    /// A server proved its key.
    pub fn opened(&mut self) {
        self.is_open = true;
    }

    /// One of the puts is done.
    pub fn done(&mut self, put: usize) {
        self.reached.remove(&put);
        self.is_open = true;
        self.is_ready = true;
        self.got_further();
    }

    fn got_further(&mut self) {
        (self.failing_since, self.pauses) = (None, 0);
    }

    /// The pause after which to try again, and the error itself; `now` is monotonic.
    ///
    /// # Errors
    /// The error, where trying again is in vain, or the time is over.
    pub fn pause(
        &mut self,
        error: ClientError,
        now: Duration,
        random: [u8; 1],
    ) -> Result<(Duration, ClientError), ClientError> {
        if !self.may_pass(&error) {
            return Err(error);
        }
        let whole = FIRST_PAUSE.saturating_mul(1 << self.pauses.min(8)).min(LONGEST_PAUSE);
        let pause = whole - whole * u32::from(random[0]) / 512;
        let since = *self.failing_since.get_or_insert(now);
        if now + pause > since + self.patience {
            return Err(match self.attempts {
                1 => error,
                attempts => ClientError::GaveUp { attempts, error: Box::new(error) },
            });
        }
        self.pauses += 1;
        self.attempts += 1;
        Ok((pause, error))
    }

    /// Whether the same may go better a little later. Who never was there, refuses before it took anything, or lies, is believed.
    pub fn may_pass(&self, error: &ClientError) -> bool {
        if self.patience.is_zero() {
            return false;
        }
        match error {
            ClientError::Ended(error) => self.may_pass(error),
            ClientError::Link(LinkError::Refused(failed)) | ClientError::Session(SessionError::Refused { failed, .. }) => {
                // room does not come by waiting a minute
                self.is_ready && failed.code.is_temporary() && failed.code != Code::NoSpace
            }
            // as good as lost, though it pings
            ClientError::Session(SessionError::NoProgress(_))
            | ClientError::Link(
                LinkError::Closed(_)
                | LinkError::Broken(_)
                | LinkError::Deadline { .. }
                | LinkError::TooSlow { .. }
                | LinkError::Connect { .. }
                // what stands before a server that is down answers for it
                | LinkError::Handshake { .. },
            ) => self.is_open,
            // holders were there a moment ago: replicas take a while to come back to a server that was started again
            ClientError::Session(SessionError::NotFound(_) | SessionError::Exhausted(_)) => {
                self.is_ready && self.attempts > 1
            }
            ClientError::Link(LinkError::TooLarge(_) | LinkError::Message(_) | LinkError::Violation(_))
            | ClientError::Session(_)
            | ClientError::Source { .. }
            // the time that the user allows is over
            | ClientError::Stalled { .. }
            | ClientError::Sink(_)
            | ClientError::AnotherBeginning { .. }
            | ClientError::Once(_)
            | ClientError::GaveUp { .. } => false,
        }
    }
}
