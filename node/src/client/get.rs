//! A get that resumes: after a lost link, and after verified bytes that an earlier get left in the output.

use std::io::Write;
use std::ops::Range;
use std::time::Duration;

use vouch_core::digest::{ClusterId, Digest};
use vouch_core::session::{ByteRange, GetRequest, Milestone, Rejection, Retry, SessionError, WaitLimit};
use vouch_core::slice::Slice;
use vouch_core::tree::Suspended;

use super::{ClientError, Download, DownloadEvent};
use crate::host::Host;
use crate::link::LinkError;

/// The parameters of a get.
#[derive(Debug, Clone)]
pub struct Get {
    /// The server, `host:port`.
    pub server: String,
    /// The cluster identity to trust, if any.
    pub trusted: Option<ClusterId>,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's length, if a bundle states it.
    pub length: Option<u64>,
    /// The requested range; `None` for the whole blob.
    pub range: Option<ByteRange>,
    /// The hashes of the bytes that the output holds: whole groups from the blob's beginning. Nothing is written until they are known
    /// to be the blob's. Empty for a range: use [`held_range`](super::held_range).
    pub held: Suspended,
    /// How long the get is retried without progress after the link is lost; zero: no retry.
    pub retry: Duration,
}

/// The result of a get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetResult {
    /// The cluster identity.
    pub cluster: ClusterId,
    /// The blob's length.
    pub length: u64,
    /// The bytes of the blob that the output holds now.
    pub range: Range<u64>,
    /// The number of attempts.
    pub attempts: u32,
}

/// The progress of a get.
#[derive(Debug, Clone)]
pub enum GetProgress {
    /// The get starts to read from a member: its name, and the blob's length as the member claims it.
    Start(String, u64),
    /// The number of bytes requested.
    Size(u64),
    /// The number of these that the output holds.
    Received(u64),
    /// A member failed.
    Rejected(Rejection),
    /// The link was lost. The get is retried after a pause.
    Retrying {
        /// Why the link was lost, for people.
        why: String,
        /// The pause.
        pause: Duration,
    },
}

/// Gets a blob or a range of it. Each byte is verified before it is written and is written once, so after an error the output holds a
/// correct beginning. A retry trusts only the cluster of the first attempt.
///
/// # Errors
/// See [`ClientError`]. [`ClientError::AnotherPrefix`] occurs only before anything is written.
pub async fn get(
    host: &Host,
    get: Get,
    output: &mut (dyn Write + Send),
    progress: impl Fn(GetProgress),
) -> Result<GetResult, ClientError> {
    let mut retry = Retry::new(get.retry);
    let mut transfer = Transfer {
        host: host.clone(),
        cluster: get.trusted,
        verified: None,
        received: get.held.length,
        is_prefix_verified: false,
        get,
    };
    let mut attempts = 1;
    loop {
        let error = match transfer.attempt(output, &mut retry, &progress).await {
            Ok(cluster) => {
                // Cannot fail: a session reports the length before it ends.
                let (length, range) = transfer.verified.ok_or_else(|| LinkError::Broken("no length".into()))?;
                return Ok(GetResult { cluster, length, range, attempts });
            }
            Err(error) => error,
        };
        let (pause, error) = super::pause(&mut retry, error, host)?;
        attempts += 1;
        progress(GetProgress::Retrying { why: error.to_string(), pause });
        host.sleep(pause).await;
    }
}

/// The state of a get across its attempts.
struct Transfer {
    host: Host,
    get: Get,
    cluster: Option<ClusterId>,
    /// The blob's verified length, and the requested bytes of it.
    verified: Option<(u64, Range<u64>)>,
    /// The number of bytes of the range that the output holds.
    received: u64,
    /// Whether the bytes held before the get are known to be the blob's.
    is_prefix_verified: bool,
}

impl Transfer {
    /// The range that is still to be received.
    fn rest(&self) -> Option<ByteRange> {
        match &self.verified {
            // An empty range is complete with its length, so `last` cannot precede `first` here.
            Some((_, range)) if self.received > 0 || self.get.range.is_some() => {
                Some(ByteRange::Between { first: range.start + self.received, last: range.end.saturating_sub(1) })
            }
            None if self.received > 0 => Some(ByteRange::From(self.received)),
            _ => self.get.range,
        }
    }

    async fn attempt(
        &mut self,
        output: &mut (dyn Write + Send),
        retry: &mut Retry,
        progress: &impl Fn(GetProgress),
    ) -> Result<ClusterId, ClientError> {
        let Get { server, digest, length, .. } = &self.get;
        let length = self.verified.as_ref().map(|(length, _)| *length).or(*length);
        let (trusted, digest, range) = (self.cluster, *digest, self.rest());
        let request = GetRequest { trusted, digest, length, range, nonce: self.host.random() };
        let limit = WaitLimit::new(self.get.retry);
        let mut download = Download::dial(&self.host, server, request, limit).await?;
        loop {
            match download.next().await.map_err(|error| self.prefix_too_long(error))? {
                DownloadEvent::Start { name, length } => {
                    self.cluster = self.cluster.or_else(|| download.cluster());
                    retry.reached(0, Milestone::Moved(self.received));
                    progress(GetProgress::Start(name, length));
                }
                DownloadEvent::Length { length, range } => {
                    // A later attempt requests only the rest.
                    let whole = range.start - self.received..range.end;
                    progress(GetProgress::Size(whole.end - whole.start));
                    self.verified.get_or_insert((length, whole));
                }
                DownloadEvent::Slice(slice) => self.check_held(&slice)?,
                DownloadEvent::Bytes(bytes) => {
                    let held = self.get.held.length;
                    if held > 0 && !self.is_prefix_verified {
                        return Err(ClientError::AnotherPrefix { expected: held, matching: 0 });
                    }
                    output.write_all(&bytes).map_err(|error| ClientError::Sink(error.to_string()))?;
                    self.received += bytes.len() as u64;
                    retry.reached(0, Milestone::Moved(self.received));
                    progress(GetProgress::Received(self.received));
                }
                DownloadEvent::Rejected(rejection) => progress(GetProgress::Rejected(rejection)),
                DownloadEvent::Verified(cluster) => return Ok(cluster),
            }
        }
    }

    /// Compares the hashes of the bytes held before the get with the proof of the slice that follows them.
    fn check_held(&mut self, slice: &Slice) -> Result<(), ClientError> {
        let held = &self.get.held;
        // The first slice may be the blob's end, which only proves the length.
        if self.is_prefix_verified || held.length == 0 || slice.offset != held.length {
            return Ok(());
        }
        let length = self.verified.as_ref().map_or(0, |(length, _)| *length);
        let matching = held.matching(length, slice.bytes.len() as u64, &slice.proof);
        if matching < held.length {
            return Err(ClientError::AnotherPrefix { expected: held.length, matching });
        }
        self.is_prefix_verified = true;
        Ok(())
    }

    /// If the output holds more bytes than the blob has, the range after them is unsatisfiable: they are not the blob's.
    fn prefix_too_long(&self, error: ClientError) -> ClientError {
        let held = self.get.held.length;
        match error {
            ClientError::Session(SessionError::Unsatisfiable { .. }) if held > 0 && !self.is_prefix_verified => {
                ClientError::AnotherPrefix { expected: held, matching: 0 }
            }
            error => error,
        }
    }
}
