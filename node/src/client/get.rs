//! A get that resumes: after a lost link, and after verified bytes that an earlier get left in the output.

use std::io::Write;
use std::ops::Range;
use std::time::Duration;

use vouch_core::access::TokenSecret;
use vouch_core::chain::CommitteeChain;
use vouch_core::digest::Digest;
use vouch_core::session::{Attempts, ByteRange, Rejection, ResumableGet, SessionError, VerifiedRange, WantedBytes};
use vouch_core::slice::Slice;
use vouch_core::tree::Suspended;
use vouch_core::verify::Trust;

use super::{ClientError, Download, DownloadEvent, NextAttempt, ServerTrials, Servers};
use crate::host::Host;
use crate::link::LinkError;

/// The parameters of a get.
#[derive(Debug, Clone)]
pub struct Get {
    /// The servers.
    pub servers: Servers,
    /// What to trust; without a cluster identity, the server's is accepted.
    pub trusted: Trust,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's length, if a bundle states it.
    pub length: Option<u64>,
    /// The requested range; `None` for the whole blob.
    pub range: Option<ByteRange>,
    /// The hashes of the bytes that the output holds: whole groups from the blob's beginning. Nothing is written until they are known
    /// to be the blob's. Empty for a range: use [`held_range`](super::held_range).
    pub held: Suspended,
    /// Authorises the get.
    pub token: Option<TokenSecret>,
    /// How long the get is retried without progress after the link is lost; zero: every server is tried once.
    pub retry: Duration,
}

impl Get {
    /// The blob and the range.
    pub(super) fn wanted(&self) -> WantedBytes {
        let Self { digest, length, range, .. } = self;
        WantedBytes { digest: *digest, length: *length, range: *range }
    }
}

/// The result of a get.
#[derive(Debug, Clone)]
pub struct GetResult {
    /// The committees that the server showed, verified.
    pub chain: CommitteeChain,
    /// The blob's length.
    pub length: u64,
    /// The bytes of the blob that the output holds now.
    pub range: Range<u64>,
    /// The number of attempts.
    pub attempts: u32,
    /// The address of the server that sent the last bytes.
    pub server: String,
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
    /// An attempt failed. The get is retried.
    Retrying(NextAttempt),
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
    let mut transfer = Transfer {
        host: host.clone(),
        attempts: Attempts::new(get.trusted, get.retry).among(get.servers.count()).with_token(get.token.clone()),
        trials: ServerTrials::new(get.servers.clone()),
        resumable: ResumableGet::new(get.wanted(), get.held.length),
        is_prefix_verified: false,
        get,
    };
    loop {
        let error = match transfer.attempt(output, &progress).await {
            Ok(chain) => {
                // Cannot fail: a session reports the length before it ends.
                let verified = transfer.resumable.verified().cloned();
                let VerifiedRange { length, range } = verified.ok_or_else(|| LinkError::Broken("no length".into()))?;
                let retry = &transfer.attempts.retry;
                let (attempts, server) = (retry.attempts(), transfer.trials.server(retry).to_owned());
                return Ok(GetResult { chain, length, range, attempts, server });
            }
            Err(error) => error,
        };
        let next = transfer.trials.failed(&mut transfer.attempts.retry, error, host, false)?;
        let pause = next.pause;
        progress(GetProgress::Retrying(next));
        host.sleep(pause).await;
    }
}

/// The state of a get across its attempts.
struct Transfer {
    host: Host,
    get: Get,
    attempts: Attempts,
    trials: ServerTrials,
    resumable: ResumableGet,
    /// Whether the bytes held before the get are known to be the blob's.
    is_prefix_verified: bool,
}

impl Transfer {
    async fn attempt(
        &mut self,
        output: &mut (dyn Write + Send),
        progress: &impl Fn(GetProgress),
    ) -> Result<CommitteeChain, ClientError> {
        let (options, rest) = (self.attempts.link_options(), self.resumable.rest());
        let mut download = Download::dial(&self.host, self.trials.server(&self.attempts.retry), options, rest).await?;
        let result = self.receive(&mut download, output, progress).await;
        download.report_to(&mut self.attempts);
        result
    }

    async fn receive(
        &mut self,
        download: &mut Download,
        output: &mut (dyn Write + Send),
        progress: &impl Fn(GetProgress),
    ) -> Result<CommitteeChain, ClientError> {
        loop {
            match download.next().await.map_err(|error| self.prefix_too_long(error))? {
                DownloadEvent::Start { name, length } => {
                    download.started(&self.resumable, &mut self.attempts);
                    progress(GetProgress::Start(name, length));
                }
                DownloadEvent::Length { length, range } => {
                    let VerifiedRange { range, .. } = self.resumable.length_verified(length, &range);
                    progress(GetProgress::Size(range.end - range.start));
                }
                DownloadEvent::Slice(slice) => self.check_held(&slice)?,
                DownloadEvent::Bytes(bytes) => {
                    let held = self.get.held.length;
                    if held > 0 && !self.is_prefix_verified {
                        return Err(ClientError::AnotherPrefix { expected: held, matching: 0 });
                    }
                    output.write_all(&bytes).map_err(|error| ClientError::Sink(error.to_string()))?;
                    self.resumable.add_delivered(bytes.len(), &mut self.attempts.retry);
                    progress(GetProgress::Received(self.resumable.delivered()));
                }
                DownloadEvent::Rejected(rejection) => progress(GetProgress::Rejected(rejection)),
                DownloadEvent::Verified(chain) => return Ok(chain),
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
        let length = self.resumable.verified().map_or(0, |verified| verified.length);
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
