//! How much of a range an output holds already: found by hashing it, and by getting one group at each end of it.

use std::ops::Range;

use vouch_core::session::{ByteRange, GetRequest, Retry, SessionError, WaitLimit};
use vouch_core::slice::Slice;
use vouch_core::tree::{GROUP, HeldRange, VerifiedSlice};

use super::{ClientError, Download, Get, GetProgress, Step};
use crate::host::Host;
use crate::link::LinkError;

/// Of a range that is wanted, what an output holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The bytes of the blob that are wanted.
    pub range: Range<u64>,
    /// So many of them, from the first one, are held and are the blob's.
    pub length: u64,
}

/// Looks how many of `there` bytes are the first ones of the range that is wanted. `read` passes on so many of them. The link is
/// dialled again as by [`get`](super::get).
///
/// # Errors
/// See [`ClientError`], and those of `read`.
pub async fn held_range<E: From<ClientError>>(
    host: &Host,
    get: &Get,
    there: u64,
    progress: impl Fn(GetProgress),
    read: impl FnOnce(u64, &mut dyn FnMut(&[u8])) -> Result<(), E>,
) -> Result<Option<Held>, E> {
    let mut retry = Retry::new(get.retry);
    let around = loop {
        match around(host, get, there).await {
            Ok(around) => break around,
            Err(error) => {
                let (pause, error) = super::pause(&mut retry, error, host)?;
                progress(GetProgress::Retrying { why: error.to_string(), pause });
                host.sleep(pause).await;
            }
        }
    };
    let Some(Around { length, range, first, next }) = around else { return Ok(None) };
    let held = range.start..next.offset;
    let first = VerifiedSlice { offset: first.offset, bytes: &first.bytes, proof: &first.proof };
    let next = VerifiedSlice { offset: next.offset, bytes: &next.bytes, proof: &next.proof };
    let Some(mut check) = HeldRange::new(length, held.clone(), first, next) else { return Ok(None) };
    read(held.end - held.start, &mut |bytes| check.update(bytes))?;
    Ok(check.is_intact().then(|| Held { range, length: held.end - held.start }))
}

/// The groups at both ends of what may be held.
struct Around {
    /// The blob's.
    length: u64,
    range: Range<u64>,
    first: Slice,
    next: Slice,
}

/// `None` when nothing is held that could be checked, or no such range is there: the get itself says why.
async fn around(host: &Host, get: &Get, there: u64) -> Result<Option<Around>, ClientError> {
    let Some(wanted) = get.range else { return Ok(None) };
    let at = match wanted {
        ByteRange::Between { first, .. } | ByteRange::From(first) => ByteRange::Between { first, last: first },
        ByteRange::Last(_) => ByteRange::Last(1),
    };
    let (length, mut first) = match group(host, get, at).await {
        Err(ClientError::Session(SessionError::Unsatisfiable { .. })) => return Ok(None),
        found => found?,
    };
    let Some(range) = wanted.within(length) else { return Ok(None) };
    // the last group is got again: what is held is held against its proof
    let held = there.min(range.end - range.start);
    let end = (range.start + held).saturating_sub(1) / GROUP as u64 * GROUP as u64;
    if end < (range.start / GROUP as u64 + 1) * GROUP as u64 {
        return Ok(None);
    }
    let byte = |at| ByteRange::Between { first: at, last: at };
    if !contains(&first, range.start) {
        first = group(host, get, byte(range.start)).await?.1;
    }
    let next = group(host, get, byte(end)).await?.1;
    Ok(Some(Around { length, range, first, next }))
}

fn contains(slice: &Slice, at: u64) -> bool {
    (slice.offset..slice.offset + slice.bytes.len() as u64).contains(&at)
}

/// Gets the group that one byte is in, verified, and the blob's length.
async fn group(host: &Host, get: &Get, byte: ByteRange) -> Result<(u64, Slice), ClientError> {
    let Get { server, trusted, digest, length, retry, .. } = get;
    let (trusted, digest, length, range) = (*trusted, *digest, *length, Some(byte));
    let request = GetRequest { trusted, digest, length, range, nonce: host.random() };
    let mut download = Download::dial(host, server, request, WaitLimit::new(*retry)).await?;
    let (mut about, mut found) = (None, None);
    loop {
        match download.next().await? {
            Step::Length { length, range } => about = Some((length, range.start)),
            // before it may come the slice that shows the length
            Step::Slice(slice) if about.as_ref().is_some_and(|(_, at)| contains(&slice, *at)) => found = Some(slice),
            Step::Verified(_) => break,
            Step::Start { .. } | Step::Slice(_) | Step::Bytes(_) | Step::Rejected(_) => {}
        }
    }
    match (about, found) {
        (Some((length, _)), Some(slice)) => Ok((length, slice)),
        // a session gives both before it ends
        _ => Err(LinkError::Broken("no slice".into()).into()),
    }
}
