//! Writing objects: in one request, or in parts, of which only a few are in memory.

use std::collections::VecDeque;
use std::time::Duration;

use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::sync::OwnedSemaphorePermit;

use super::{ObjectError, Objects, RequestKind, S3Client, Timeouts, Underway};

/// Minimum size of a part in bytes. Parts of a large object have a ten-thousandth of it if that is more.
const PART: u64 = 8 << 20;
const MAX_PARTS: u64 = 10_000;
/// 5 TiB, a limit of S3. The largest part then has 525 MiB, of the 5 GiB that S3 allows.
const MAX_OBJECT: u64 = 5 << 40;
/// Maximum number of parts of one object in flight.
const PARTS_AT_ONCE: usize = 2;
/// Maximum number of parts of all objects in flight: at most 64 MiB wait for the network, with parts of minimum size.
/// Parts take turns, so a small object waits only for a part of a large one.
pub(super) const TURNS: usize = 8;

impl Objects {
    /// Makes an object durable. Replaces one with the same name. `read` fills a buffer with the bytes from an offset. At
    /// most two parts are in memory at once.
    ///
    /// # Errors
    /// Those of `read`; [`ObjectError::NoSpace`], [`ObjectError::TooLarge`], [`ObjectError::LengthDiffers`]; see
    /// [`ObjectError`]. Afterwards there may be no object with that name, the earlier one, or the complete new one, but never a
    /// part of it.
    pub fn put<E: From<ObjectError>>(
        &self,
        name: &str,
        length: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let size = self.inner.part_size(name, length)?;
        if length <= size {
            let turn = self.turn(name)?;
            let payload = next_part(0, length, &mut read)?;
            let (inner, name) = (self.inner.clone(), name.to_owned());
            self.wait(self.inner.timeouts.part, async move {
                let _turn = turn;
                inner.put_whole(&name, payload).await
            })?;
        } else {
            self.put_parts(name, length, size, &mut read)?;
        }
        match self.length(name)? {
            Some(got) if got == length => Ok(()),
            got => Err(self.inner.differs(name, length, got.unwrap_or(0)).into()),
        }
    }

    fn turn(&self, name: &str) -> Result<OwnedSemaphorePermit, ObjectError> {
        let (inner, name) = (self.inner.clone(), name.to_owned());
        self.wait(Duration::MAX, async move {
            let timeout = inner.timeouts.part;
            let turn = tokio::time::timeout(timeout, inner.turns.clone().acquire_owned()).await;
            turn.ok().and_then(Result::ok).ok_or_else(|| ObjectError::Busy {
                server: inner.url.server().into(),
                object: inner.location(&name),
                timeout,
            })
        })
    }

    fn put_parts<E: From<ObjectError>>(
        &self,
        name: &str,
        length: u64,
        size: u64,
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let timeouts = self.inner.timeouts;
        let failed = |inner: &S3Client, name: &str, error| inner.error(RequestKind::Write, name, &error);
        let (inner, owned) = (self.inner.clone(), name.to_owned());
        let mut upload = self.wait(timeouts.question, async move {
            inner.s3.put_multipart(&inner.path(&owned)).await.map_err(|error| failed(&inner, &owned, error))
        })?;
        let mut underway = VecDeque::new();
        let started = self.start_parts(&mut upload, name, length, size, read, &mut underway);
        // Wait for all parts: one that arrives after the upload was aborted would stay. Each has its own timeout.
        let ended: Vec<_> = underway.iter().map(|part| self.end_of(part)).collect();
        let sent = started.and_then(|()| Ok(ended.into_iter().collect::<Result<(), _>>()?));
        let (inner, owned) = (self.inner.clone(), name.to_owned());
        match sent {
            // the store assembles a large object within this time
            Ok(()) => Ok(self.wait(timeouts.part, async move {
                match upload.complete().await {
                    Ok(_) => Ok(()),
                    Err(error) => {
                        abort(&mut upload, timeouts).await;
                        Err(failed(&inner, &owned, error))
                    }
                }
            })?),
            Err(error) => {
                self.wait(Duration::MAX, async move {
                    abort(&mut upload, timeouts).await;
                    Ok(())
                })?;
                Err(error)
            }
        }
    }

    fn start_parts<E: From<ObjectError>>(
        &self,
        upload: &mut Box<dyn MultipartUpload>,
        name: &str,
        length: u64,
        size: u64,
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
        underway: &mut VecDeque<Underway<()>>,
    ) -> Result<(), E> {
        let mut offset = 0;
        while offset < length {
            if underway.len() == PARTS_AT_ONCE
                && let Some(part) = underway.pop_front()
            {
                self.end_of(&part)?;
            }
            let turn = self.turn(name)?;
            let payload = next_part(offset, size.min(length - offset), read)?;
            offset += payload.content_length() as u64;
            let (part, inner, name) = (upload.put_part(payload), self.inner.clone(), name.to_owned());
            underway.push_back(self.start(self.inner.timeouts.part, async move {
                let _turn = turn;
                part.await.map_err(|error| inner.error(RequestKind::Write, &name, &error))
            }));
        }
        Ok(())
    }
}

impl S3Client {
    fn part_size(&self, name: &str, length: u64) -> Result<u64, ObjectError> {
        if length > MAX_OBJECT {
            return Err(ObjectError::TooLarge { object: self.location(name), limit: MAX_OBJECT, got: length });
        }
        Ok(part_size(length))
    }

    async fn put_whole(&self, name: &str, payload: PutPayload) -> Result<(), ObjectError> {
        let put = self.s3.put(&self.path(name), payload).await;
        put.map(|_| ()).map_err(|error| self.error(RequestKind::Write, name, &error))
    }
}

async fn abort(upload: &mut Box<dyn MultipartUpload>, timeouts: Timeouts) {
    // If the upload cannot be aborted, its parts take space until the bucket's own rule removes them. They are not readable
    // under any name.
    let _ = tokio::time::timeout(timeouts.question, upload.abort()).await;
}

fn next_part<E>(
    offset: u64,
    size: u64,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<PutPayload, E> {
    let mut part = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    read(offset, &mut part)?;
    Ok(part.into())
}

/// The part size, in whole MiB, so that there are at most [`MAX_PARTS`] parts.
fn part_size(length: u64) -> u64 {
    length.div_ceil(MAX_PARTS).next_multiple_of(1 << 20).max(PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_object_has_more_parts_than_s3_allows() {
        let gib = 1 << 30;
        for length in [0, 1, PART, 20 * gib, 78 * gib, 79 * gib, 80 * gib, 1000 * gib, MAX_OBJECT] {
            let size = part_size(length);
            assert!(length.div_ceil(size) <= MAX_PARTS && (PART..=5 * gib).contains(&size), "{length}: {size}");
        }
        assert_eq!((part_size(78 * gib), part_size(79 * gib)), (PART, PART + (1 << 20)));
    }
}
