//! Reproducible file contents, and helpers to put, get and verify them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use vouch::client::{self, ClientError, GetProgress, PutProgress};
use vouch::host::Host;
use vouch::host::source::Source;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::message::Stage;
use vouch_core::receipt::NEVER;
use vouch_core::session::{ByteRange, Certified, Rejection};
use vouch_core::tree::{self, Parent, Suspended, TreeHasher};
use vouch_core::verify::{Subject, Verdict, Verifier, VerifyOptions};
use vouch_fixture::next_random;

use crate::unix_seconds;

/// Pseudorandom bytes from a seed.
pub fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next_random(&mut state).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Writes a file of such bytes without holding it in memory.
///
/// # Errors
/// The disk.
pub fn write_content(path: &Path, seed: u64, length: u64) -> io::Result<()> {
    let mut state = seed;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut left = length;
    while left > 0 {
        let piece = next_random(&mut state).to_le_bytes();
        let size = usize::try_from(left.min(8)).unwrap();
        file.write_all(&piece[..size])?;
        left -= size as u64;
    }
    file.flush()
}

/// Puts bytes as `vouch put --renew --retry 0 FILE` does.
///
/// # Errors
/// The put's error.
pub async fn put_bytes(server: &str, trusted: Option<ClusterId>, bytes: &[u8]) -> Result<Certified, ClientError> {
    put_bytes_patiently(server, trusted, bytes, Duration::ZERO).await
}

/// The same, retried for this long without progress.
///
/// # Errors
/// The put's error.
pub async fn put_bytes_patiently(
    server: &str,
    trusted: Option<ClusterId>,
    bytes: &[u8],
    retry: Duration,
) -> Result<Certified, ClientError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    put_file_patiently(server, trusted, &path, retry, |_| {}).await
}

/// Puts a file with `--renew` semantics and reports progress.
///
/// # Errors
/// The put's error.
pub async fn put_file(
    server: &str,
    trusted: Option<ClusterId>,
    path: &Path,
    progress: impl Fn(PutProgress) + Clone + Send + 'static,
) -> Result<Certified, ClientError> {
    put_file_patiently(server, trusted, path, Duration::ZERO, progress).await
}

async fn put_file_patiently(
    server: &str,
    trusted: Option<ClusterId>,
    path: &Path,
    retry: Duration,
    progress: impl Fn(PutProgress) + Clone + Send + 'static,
) -> Result<Certified, ClientError> {
    let source = Source::File(path.into());
    let trusted = trusted.into();
    let put =
        client::Put { servers: server.into(), trusted, source, expires_at: NEVER, renew: true, token: None, retry };
    client::put(&Host::system(), put, progress).await
}

/// A downloaded blob, and the members that failed before one delivered it.
#[derive(Debug)]
pub struct Got {
    /// The verified bytes.
    pub bytes: Vec<u8>,
    /// The length of the whole blob.
    pub length: u64,
    /// The range of these bytes within the blob.
    pub range: Range<u64>,
    /// The members that did not deliver.
    pub rejections: Vec<Rejection>,
    /// The cluster it came from.
    pub cluster: ClusterId,
}

/// Gets a blob.
///
/// # Errors
/// The get's error.
pub async fn get_bytes(server: &str, trusted: Option<ClusterId>, digest: Digest) -> Result<Got, ClientError> {
    get_range(server, trusted, digest, None).await
}

/// Gets a range of a blob, or all of it.
///
/// # Errors
/// The get's error.
pub async fn get_range(
    server: &str,
    trusted: Option<ClusterId>,
    digest: Digest,
    range: Option<ByteRange>,
) -> Result<Got, ClientError> {
    let mut bytes = Vec::new();
    let rejections = Mutex::new(Vec::new());
    let (servers, trusted, held) = (server.into(), trusted.into(), Suspended::default());
    let request =
        client::Get { servers, trusted, digest, length: None, range, held, token: None, retry: Duration::ZERO };
    let got = client::get(&Host::system(), request, &mut bytes, |progress| {
        if let GetProgress::Rejected(rejection) = progress {
            rejections.lock().unwrap().push(rejection);
        }
    })
    .await?;
    let rejections = rejections.into_inner().unwrap();
    Ok(Got { bytes, rejections, cluster: got.chain.cluster(), length: got.length, range: got.range })
}

/// The proof of a range of a blob, widened to whole groups.
pub fn proof(blob: &[u8], range: Range<u64>) -> Vec<Parent> {
    let mut outboard = Vec::new();
    let mut hasher = TreeHasher::new();
    hasher.update(blob, &mut |parent| outboard.push(*parent));
    hasher.finish(&mut |parent| outboard.push(*parent));
    let read = |offset: u64| outboard.get(usize::try_from(offset).unwrap() / Parent::SIZE).copied().ok_or(offset);
    tree::proof(range, blob.len() as u64, read).unwrap()
}

/// The verdict of a verifier that has the bytes, the bundle and the identity.
pub fn verdict(certified: &Certified, trusted: ClusterId, bytes: &[u8]) -> Verdict {
    judge(certified.bundle.to_json().as_bytes(), trusted, bytes)
}

/// The same for a bundle's text.
pub fn judge(bundle: &[u8], trusted: ClusterId, bytes: &[u8]) -> Verdict {
    let subject = Subject { digest: Digest::of(bytes), length: Some(bytes.len() as u64) };
    let options = VerifyOptions {
        trust: trusted.into(),
        require_sealed: false,
        subject: Some(subject),
        now: unix_seconds(),
        waive_expiry: false,
    };
    Verifier::new().verify(bundle, &options)
}

/// Names of the signers.
pub fn signers(certified: &Certified) -> Vec<String> {
    let record = certified.committee().record();
    certified.certificate.signers.iter().map(|member| record.name(member)).collect()
}

/// Puts until `count` members sign. On a busy machine a member may miss a certificate and sign the next one. What
/// `put` puts must not reuse a certificate.
///
/// # Panics
/// If that takes minutes: then they cannot sign.
pub async fn until_signed_by(count: usize, put: impl AsyncFnMut() -> Certified) -> Certified {
    until_signed(&format!("{count} members"), |signers| signers.len() == count, put).await
}

/// The same, until the signers satisfy a condition.
///
/// # Panics
/// If that takes minutes.
pub async fn until_signed(
    whom: &str,
    is_enough: impl Fn(&[String]) -> bool,
    mut put: impl AsyncFnMut() -> Certified,
) -> Certified {
    let began = Instant::now();
    loop {
        let certified = put().await;
        let signers = signers(&certified);
        if is_enough(&signers) {
            return certified;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "expected signatures of {whom}, got {signers:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether a put's progress has this stage of this member.
pub fn reached(progress: &[PutProgress], member: u16, stage: Stage) -> bool {
    progress.iter().any(|step| matches!(step, PutProgress::Member(m, s) if m.index == member && *s == stage))
}
