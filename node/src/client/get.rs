//! A get that goes on where it stopped: after a link that was lost, and after bytes that an earlier one left.

use std::io::Write;
use std::ops::Range;
use std::time::Duration;

use vouch_core::digest::{ClusterId, Digest};
use vouch_core::session::{ByteRange, GetRequest, Milestone, Rejection, Retry, SessionError, WaitLimit};
use vouch_core::slice::Slice;
use vouch_core::tree::Suspended;

use super::{ClientError, Download, Step};
use crate::host::Host;
use crate::link::LinkError;

/// What to get from where.
#[derive(Debug, Clone)]
pub struct Get {
    /// The server, `host:port`.
    pub server: String,
    /// The identity to trust, where one is.
    pub trusted: Option<ClusterId>,
    /// The blob.
    pub digest: Digest,
    /// Its length, where a bundle tells it.
    pub length: Option<u64>,
    /// The bytes wanted; `None` for all.
    pub range: Option<ByteRange>,
    /// What the output holds already, by its hashes: whole groups from the beginning. Nothing is written before they are found to
    /// be the blob's. Empty when a range is wanted: [`held_range`](super::held_range) is for that.
    pub held: Suspended,
    /// For how long it is tried again without getting further, once the link was open and is lost; zero for not at all.
    pub retry: Duration,
}

/// What a get gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// The cluster's identity.
    pub cluster: ClusterId,
    /// The blob's length.
    pub length: u64,
    /// The bytes of it that the output holds now.
    pub range: Range<u64>,
    /// How often it was tried.
    pub attempts: u32,
}

/// What a get is at.
#[derive(Debug, Clone)]
pub enum GetProgress {
    /// A member is read from, by its word so many bytes.
    Start(String, u64),
    /// So many bytes are wanted.
    Size(u64),
    /// So many of them are there.
    Received(u64),
    /// A member failed.
    Rejected(Rejection),
    /// The link was lost; the get is tried again after this pause.
    Retrying {
        /// How it was lost, for people.
        why: String,
        /// Until then.
        pause: Duration,
    },
}

/// Gets a blob or a range of it. Every byte is verified before it is written, and none is written twice; on an error, what was
/// written is right as far as it goes. While it is tried again, the cluster of the first attempt is trusted and no other.
///
/// # Errors
/// See [`ClientError`]; [`ClientError::AnotherBeginning`] before anything is written.
pub async fn get(
    host: &Host,
    get: Get,
    output: &mut (dyn Write + Send),
    progress: impl Fn(GetProgress),
) -> Result<Got, ClientError> {
    let mut retry = Retry::new(get.retry);
    let mut transfer = Transfer {
        host: host.clone(),
        cluster: get.trusted,
        about: None,
        received: get.held.length,
        is_held: false,
        get,
    };
    let mut attempts = 1;
    loop {
        let error = match transfer.attempt(output, &mut retry, &progress).await {
            Ok(cluster) => {
                // a session tells the length before it ends
                let (length, range) = transfer.about.ok_or_else(|| LinkError::Broken("no length".into()))?;
                return Ok(Got { cluster, length, range, attempts });
            }
            Err(error) => error,
        };
        let (pause, error) = super::pause(&mut retry, error, host)?;
        attempts += 1;
        progress(GetProgress::Retrying { why: error.to_string(), pause });
        host.sleep(pause).await;
    }
}

/// What is known and done over all attempts.
struct Transfer {
    host: Host,
    get: Get,
    cluster: Option<ClusterId>,
    /// The blob's length and the bytes of it that are wanted, both verified.
    about: Option<(u64, Range<u64>)>,
    /// The bytes of the range that the output holds.
    received: u64,
    /// Whether what was there before is the blob's.
    is_held: bool,
}

impl Transfer {
    /// What is still wanted.
    fn rest(&self) -> Option<ByteRange> {
        match &self.about {
            // an empty range came whole, with its length
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
        let length = self.about.as_ref().map(|(length, _)| *length).or(*length);
        let (trusted, digest, range) = (self.cluster, *digest, self.rest());
        let request = GetRequest { trusted, digest, length, range, nonce: self.host.random() };
        let limit = WaitLimit::new(self.get.retry);
        let mut download = Download::dial(&self.host, server, request, limit).await?;
        loop {
            match download.next().await.map_err(|error| self.beyond(error))? {
                Step::Start { name, length } => {
                    self.cluster = self.cluster.or_else(|| download.cluster());
                    retry.reached(0, Milestone::Moved(self.received));
                    progress(GetProgress::Start(name, length));
                }
                Step::Length { length, range } => {
                    // of later attempts, the rest alone
                    let whole = range.start - self.received..range.end;
                    progress(GetProgress::Size(whole.end - whole.start));
                    self.about.get_or_insert((length, whole));
                }
                Step::Slice(slice) => self.check_held(&slice)?,
                Step::Bytes(bytes) => {
                    let held = self.get.held.length;
                    if held > 0 && !self.is_held {
                        return Err(ClientError::AnotherBeginning { expected: held, matching: 0 });
                    }
                    output.write_all(&bytes).map_err(|error| ClientError::Sink(error.to_string()))?;
                    self.received += bytes.len() as u64;
                    retry.reached(0, Milestone::Moved(self.received));
                    progress(GetProgress::Received(self.received));
                }
                Step::Rejected(rejection) => progress(GetProgress::Rejected(rejection)),
                Step::Verified(cluster) => return Ok(cluster),
            }
        }
    }

    /// Holds what was there before against the proof of what follows it.
    fn check_held(&mut self, slice: &Slice) -> Result<(), ClientError> {
        let held = &self.get.held;
        // the first slice may be the blob's end, which shows the length
        if self.is_held || held.length == 0 || slice.offset != held.length {
            return Ok(());
        }
        let length = self.about.as_ref().map_or(0, |(length, _)| *length);
        let matching = held.matching(length, slice.bytes.len() as u64, &slice.proof);
        if matching < held.length {
            return Err(ClientError::AnotherBeginning { expected: held.length, matching });
        }
        self.is_held = true;
        Ok(())
    }

    /// More bytes were there than the blob has.
    fn beyond(&self, error: ClientError) -> ClientError {
        let held = self.get.held.length;
        match error {
            ClientError::Session(SessionError::Unsatisfiable { .. }) if held > 0 && !self.is_held => {
                ClientError::AnotherBeginning { expected: held, matching: 0 }
            }
            error => error,
        }
    }
}
