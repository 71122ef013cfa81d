//! Clients that put and get, give up half-way, and retry failed puts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use vouch::client::{self, ClientError, DownloadEvent, PutLink};
use vouch::host::Host;
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::Committee;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::message::Code;
use vouch_core::receipt::NEVER;
use vouch_core::session::{GetRequest, LinkOptions, SessionError, WaitLimit};
use vouch_core::tree::Suspended;
use vouch_core::verify::Invalid;

use crate::checker::{Checker, Promise, Rule};
use crate::node;
use crate::plan::Shape;
use crate::random::Random;
use crate::servers::address;
use crate::trace::Trace;

/// A put that runs for longer than this never ends: it exceeds the sum of all deadlines of a client.
pub const LONGEST_PUT: Duration = Duration::from_secs(180);

/// Puts and gets until it is aborted.
pub async fn use_cluster(host: Host, mut random: Random, trace: Trace, checker: Checker) {
    let (mut link, mut again) = (ClientLink::default(), None::<Bytes>);
    let shape = checker.known().shape;
    let Shape { servers, distance, .. } = shape;
    for number in 0_u64.. {
        host.sleep(Duration::from_millis(random.within(10..shape.pause()))).await;
        let server = random.index(servers);
        let (trusted, promises, wanted) = {
            let mut known = checker.known();
            let trusted = known.committees.cluster();
            (trusted, known.promises.clone(), known.to_put.pop_front())
        };
        let decayed = if wanted.is_none() { checker.take_decayed() } else { None };
        if wanted.is_none() && decayed.is_none() && !promises.is_empty() && random.one_in(4) {
            let promise = &promises[random.index(promises.len())];
            let committee = checker.committees().of_epoch(0).filter(|_| !random.one_in(8));
            let got = match committee {
                Some(committee) => get_knowing(&host, server, &committee, promise.digest()).await,
                None => get(&host, server, trusted, promise.digest()).await,
            };
            match got {
                Ok(bytes) if bytes == promise.bytes => {}
                Ok(_) => checker.broken(Rule::Readable, format_args!("{}: other bytes", promise.digest())),
                Err(error) => trace.note(format_args!("get: {error}")),
            }
            continue;
        }
        let renewed = promises.last().filter(|_| random.one_in(6)).map(|promise| promise.bytes.clone());
        let renewed = decayed.or(renewed);
        let renew = wanted.is_none() && renewed.is_some();
        // mostly retry a failed put, which resumes where it stopped
        let bytes = wanted.or(renewed).or_else(|| again.take().filter(|_| !random.one_in(6)));
        let bytes = bytes.unwrap_or_else(|| {
            let size = usize::try_from(size(&mut random)).unwrap_or(0);
            random.bytes(size)
        });
        if random.one_in(5) {
            link.open = None;
        }
        let put = Put { bytes, expires_at: expiry(&mut random, host.unix_seconds()), renew };
        {
            let mut known = checker.known();
            let latest = known.asked_expiry.entry(Digest::of(&put.bytes)).or_default();
            *latest = put.expires_at.max(*latest);
        }
        let gives_up = random.one_in(4).then(|| Duration::from_millis(random.within(1..40 * (distance + 4))));
        let limit = gives_up.unwrap_or(LONGEST_PUT);
        // an impatient user starts the same put over a second link
        let second = random.one_in(8).then(|| random.index(servers));
        let mut second_link = ClientLink::knowing(link.known.clone());
        let twice = async {
            let server = second?;
            host.sleep(Duration::from_millis(random.within(0..20 * (distance + 4)))).await;
            Some(timeout(LONGEST_PUT, put.over(&host, server, trusted, &mut second_link)).await)
        };
        let first = timeout(limit, put.over(&host, server, trusted, &mut link));
        let (first, twice) = tokio::join!(first, twice);
        let ended: Vec<_> = [Some((first, gives_up)), twice.map(|ended| (ended, None))].into_iter().flatten().collect();
        for (ended, gives_up) in ended {
            match ended {
                Ok(Ok((promise, committee))) => {
                    trace.note(format_args!("put {number}: {}", promise.digest()));
                    checker.adopted(&committee);
                    checker.is_genuine(&promise.certificate, &committee);
                    keep(&checker, promise);
                }
                Ok(Err(error)) => {
                    trace.note(format_args!("put {number}: {error}"));
                    if !is_fair(&error) {
                        checker.broken(Rule::NamedEnd, format_args!("{error}"));
                    }
                    checker.known().failures += 1;
                    again = Some(put.bytes.clone());
                }
                Err(_) if gives_up.is_some() => {
                    trace.note(format_args!("put {number}: given up"));
                    again = Some(put.bytes.clone());
                }
                Err(_) => return checker.broken(Rule::NamedEnd, format_args!("put {number} has no end")),
            }
        }
    }
}

/// Mostly never; else within the run, or later, when a wrong clock may say that it is expired.
fn expiry(random: &mut Random, now: u64) -> u64 {
    match random.within(0..6) {
        0 => now + random.within(5..60),
        1 => now + random.within(1_500..3_500),
        _ => NEVER,
    }
}

/// Notes a promise, unless the blob was spoiled everywhere during the put.
fn keep(checker: &Checker, promise: Promise) {
    let (is_ruined, is_reused) = {
        let known = checker.known();
        let issued = promise.certificate.claim.issued_at - node::BEGINNING;
        let is_ruined = known.ruined.get(&promise.digest()).is_some_and(|ruined| *ruined >= promise.began);
        (is_ruined, issued + 1 < promise.began.as_secs())
    };
    if is_ruined {
        checker.known().to_put.push_back(promise.bytes);
        return;
    }
    if is_reused {
        checker.check_reused(&promise);
    }
    checker.known().promises.push(promise);
}

/// Whether a put may end with this error although no honest party breaks the protocol.
fn is_fair(error: &ClientError) -> bool {
    match error {
        ClientError::Session(SessionError::Refused { failed, .. }) => !matches!(
            failed.code,
            Code::Malformed
                | Code::Version
                | Code::AnotherCluster
                | Code::Unexpected
                | Code::TooLarge
                | Code::DigestDiffers
                | Code::LengthDiffers
        ),
        // the server may learn of it later than the client
        ClientError::Session(SessionError::AnotherCluster { got, .. }) => got.is_none(),
        // a put that ends after its expiry
        ClientError::Session(SessionError::Invalid(Invalid::Expired { .. })) => true,
        ClientError::Session(error) => matches!(error, SessionError::NoProgress(_)),
        ClientError::Link(_) | ClientError::Stalled { .. } | ClientError::Ended(_) | ClientError::GaveUp { .. } => true,
        _ => false,
    }
}

/// Mostly small blobs, sometimes one of several blocks.
fn size(random: &mut Random) -> u64 {
    match random.within(0..6) {
        0 => random.within(0..3),
        1 => random.within(60 << 10..70 << 10),
        2..=3 => random.within(100 << 10..1_300 << 10),
        _ => random.within(1..5_000),
    }
}

/// A client's link, and the committees that its links have shown, so that their proofs of possession are verified once.
#[derive(Debug, Clone, Default)]
pub struct ClientLink {
    open: Option<PutLink>,
    pub known: Option<CommitteeChain>,
}

impl ClientLink {
    /// A client that has verified these committees.
    pub fn knowing(known: Option<CommitteeChain>) -> Self {
        Self { open: None, known }
    }
}

/// A client's put.
#[derive(Debug, Clone)]
pub struct Put {
    pub bytes: Bytes,
    /// Seconds since 1970, or never.
    pub expires_at: u64,
    /// Whether it requests a new certificate although there may be an earlier one.
    pub renew: bool,
}

impl Put {
    /// Puts over the open link, or over a new one, which stays open.
    pub async fn over(
        &self,
        host: &Host,
        server: usize,
        trusted: Option<ClusterId>,
        link: &mut ClientLink,
    ) -> Result<(Promise, Arc<Committee>), ClientError> {
        let began = node::elapsed();
        let open = match link.open.take().filter(|link| !link.is_closed()) {
            Some(open) => open,
            None => {
                let (trusted, known, limit) =
                    (trusted.into(), link.known.clone(), WaitLimit::new(Duration::from_secs(30)));
                PutLink::open_with(host, &address(server), LinkOptions { trusted, known, limit, token: None }).await?
            }
        };
        let open = link.open.insert(open);
        let put = open.put_bytes(self.bytes.clone(), self.expires_at, self.renew).await;
        link.known = open.chain().cloned().or(link.known.take());
        let certified = put?;
        let (committee, certificate) = (certified.committee().clone(), certified.certificate);
        Ok((Promise { bytes: self.bytes.clone(), certificate, began, ended: node::elapsed() }, committee))
    }
}

pub async fn get(
    host: &Host,
    server: usize,
    trusted: Option<ClusterId>,
    digest: Digest,
) -> Result<Vec<u8>, ClientError> {
    let (servers, trusted, held, retry) =
        (address(server).into(), trusted.into(), Suspended::default(), Duration::from_secs(5));
    let request = client::Get { servers, trusted, digest, length: None, range: None, held, token: None, retry };
    let mut bytes = Vec::new();
    client::get(host, request, &mut bytes, drop).await?;
    Ok(bytes)
}

/// The same for a client that knows the committee: it does not verify proofs of possession, which take most of the time.
pub async fn get_knowing(
    host: &Host,
    server: usize,
    committee: &Arc<Committee>,
    digest: Digest,
) -> Result<Vec<u8>, ClientError> {
    let trusted = Some(committee.cluster());
    let request = GetRequest { trusted, digest, length: None, range: None, nonce: host.random() };
    let link = vouch::link::dial(host, &address(server)).await?;
    let mut download = client::Download::begin(host, link, request, Some(committee.clone().into()), None).await;
    let mut got = Vec::new();
    loop {
        match download.next().await? {
            DownloadEvent::Bytes(bytes) => got.extend_from_slice(&bytes),
            DownloadEvent::Verified(_) => return Ok(got),
            _ => {}
        }
    }
}
