//! Finds out how much of a range an output holds already. It gets one group at each end of the held bytes: their proofs have the
//! hashes of everything between.

use std::ops::Range;

use vouch_core::session::{Attempts, ByteRange, SessionError, WantedBytes};
use vouch_core::slice::Slice;
use vouch_core::tree::{GROUP, HeldRange, VerifiedSlice};

use super::{ClientError, Download, DownloadEvent, Get, GetProgress, ServerTrials};
use crate::host::Host;
use crate::link::LinkError;

/// The part of a requested range that an output holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPrefix {
    /// The requested bytes of the blob.
    pub range: Range<u64>,
    /// The number of these, from the first, that the output holds and that are the blob's.
    pub length: u64,
}

/// Checks whether the `there` bytes of an output are the first ones of the requested range. `read` passes that many of them to its
/// callback. A lost link is retried as in [`get`](super::get). `None` if they are not, or if there are too few to check.
///
/// # Errors
/// See [`ClientError`], and those of `read`.
pub async fn held_range<E: From<ClientError>>(
    host: &Host,
    get: &Get,
    there: u64,
    progress: impl Fn(GetProgress),
    read: impl FnOnce(u64, &mut dyn FnMut(&[u8])) -> Result<(), E>,
) -> Result<Option<HeldPrefix>, E> {
    let mut attempts = Attempts::new(get.trusted, get.retry).among(get.servers.count()).with_token(get.token.clone());
    let mut trials = ServerTrials::new(get.servers.clone());
    let groups = loop {
        let server = trials.server(&attempts.retry).to_owned();
        match boundary_groups(host, &server, get, there, &mut attempts).await {
            Ok(groups) => break groups,
            Err(error) => {
                let next = trials.failed(&mut attempts.retry, error, host, false)?;
                let pause = next.pause;
                progress(GetProgress::Retrying(next));
                host.sleep(pause).await;
            }
        }
    };
    let Some(BoundaryGroups { length, range, first, next }) = groups else { return Ok(None) };
    let held = range.start..next.offset;
    let first = VerifiedSlice { offset: first.offset, bytes: &first.bytes, proof: &first.proof };
    let next = VerifiedSlice { offset: next.offset, bytes: &next.bytes, proof: &next.proof };
    let Some(mut check) = HeldRange::new(length, held.clone(), first, next) else { return Ok(None) };
    read(held.end - held.start, &mut |bytes| check.update(bytes))?;
    Ok(check.is_intact().then(|| HeldPrefix { range, length: held.end - held.start }))
}

/// The groups at both ends of the held bytes.
struct BoundaryGroups {
    /// The blob's length.
    length: u64,
    range: Range<u64>,
    first: Slice,
    next: Slice,
}

/// `None` if there are too few bytes to check, or if the blob does not have the range: then the get itself reports the error.
async fn boundary_groups(
    host: &Host,
    server: &str,
    get: &Get,
    there: u64,
    attempts: &mut Attempts,
) -> Result<Option<BoundaryGroups>, ClientError> {
    let Some(wanted) = get.range else { return Ok(None) };
    let at = match wanted {
        ByteRange::Between { first, .. } | ByteRange::From(first) => ByteRange::Between { first, last: first },
        ByteRange::Last(_) => ByteRange::Last(1),
    };
    let (length, mut first) = match group(host, server, get, at, attempts).await {
        Err(ClientError::Session(SessionError::Unsatisfiable { .. })) => return Ok(None),
        found => found?,
    };
    let Some(range) = wanted.within(length) else { return Ok(None) };
    // The last held group is received again: its proof has the hashes of everything before it.
    let held = there.min(range.end - range.start);
    let end = (range.start + held).saturating_sub(1) / GROUP as u64 * GROUP as u64;
    if end < (range.start / GROUP as u64 + 1) * GROUP as u64 {
        return Ok(None);
    }
    let byte = |at| ByteRange::Between { first: at, last: at };
    if !contains(&first, range.start) {
        first = group(host, server, get, byte(range.start), attempts).await?.1;
    }
    let next = group(host, server, get, byte(end), attempts).await?.1;
    Ok(Some(BoundaryGroups { length, range, first, next }))
}

fn contains(slice: &Slice, at: u64) -> bool {
    (slice.offset..slice.offset + slice.bytes.len() as u64).contains(&at)
}

/// Gets the verified group that contains one byte, and the blob's length.
async fn group(
    host: &Host,
    server: &str,
    get: &Get,
    byte: ByteRange,
    attempts: &mut Attempts,
) -> Result<(u64, Slice), ClientError> {
    let wanted = WantedBytes { range: Some(byte), ..get.wanted() };
    let mut download = Download::dial(host, server, attempts.link_options(), wanted).await?;
    let found = receive_group(&mut download).await;
    download.report_to(attempts);
    found
}

async fn receive_group(download: &mut Download) -> Result<(u64, Slice), ClientError> {
    let (mut about, mut found) = (None, None);
    loop {
        match download.next().await? {
            DownloadEvent::Length { length, range } => about = Some((length, range.start)),
            // A slice before it only proves the length.
            DownloadEvent::Slice(slice) if about.as_ref().is_some_and(|(_, at)| contains(&slice, *at)) => {
                found = Some(slice)
            }
            DownloadEvent::Verified(_) => break,
            DownloadEvent::Start { .. }
            | DownloadEvent::Slice(_)
            | DownloadEvent::Bytes(_)
            | DownloadEvent::Rejected(_) => {}
        }
    }
    match (about, found) {
        (Some((length, _)), Some(slice)) => Ok((length, slice)),
        // Cannot fail: a session reports both before it ends.
        _ => Err(LinkError::Broken("no slice".into()).into()),
    }
}
