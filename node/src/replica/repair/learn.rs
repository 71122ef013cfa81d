//! Compares certificates with the store. Keeps those of held blobs; the others say which blobs are lacking.

use vouch_core::certificate::Certificate;
use vouch_core::chain::CommitteeChain;
use vouch_core::link::NodeKey;
use vouch_core::placement::Assignment;
use vouch_core::verify::Invalid;
use vouch_node_core::page_verifier::PageVerifier;
use vouch_node_core::replica::assigned_blob::AssignedBlob;
use vouch_node_core::replica::repair::Learned;

use crate::replica::context::Storage;
use crate::store::{Store, StoreError};

/// The certificates of a page that change something for this replica. All are verified.
#[derive(Debug, Default)]
struct Sorted {
    /// Blobs that it does not hold.
    lacking: Vec<AssignedBlob>,
    /// The latest expiry of those that had expired by the wall clock; 0: of none.
    skipped_until: u64,
    /// Certificates of blobs that it holds, each better than the one it has.
    held: Vec<AssignedBlob>,
    /// The failed check of the last wrong certificate.
    invalid: Option<Invalid>,
    /// Whether too many were wrong: the rest was not verified.
    is_garbage: bool,
}

/// Verifies certificates. Keeps those of held blobs, with their duties, and returns the lacking blobs. `own`: this replica's node key.
pub(in super::super) async fn learn(
    storage: &Storage,
    chain: &CommitteeChain,
    own: NodeKey,
    certificates: Vec<Certificate>,
) -> Result<Learned, StoreError> {
    if certificates.is_empty() {
        return Ok(Learned::default());
    }
    let (sorting, chain) = (storage.clone(), chain.clone());
    let sorted = storage.on_disk(move || sort(&sorting, &chain, own, certificates)).await?;
    let Sorted { lacking, skipped_until, held, invalid, is_garbage } = sorted;
    // Note this before the positions in the lists change: otherwise they could be saved without it.
    storage.repairs.with(|blobs| blobs.skip_expired(skipped_until));
    if !held.is_empty() {
        keep(storage, held).await?;
    }
    let lacking = if is_garbage { Vec::new() } else { lacking };
    Ok(Learned { lacking, invalid: invalid.map(|invalid| invalid.to_string()), is_garbage })
}

/// Verifies only certificates that change something: a known one costs a read of the index. Blocks until the disk has answered.
fn sort(
    storage: &Storage,
    chain: &CommitteeChain,
    own: NodeKey,
    certificates: Vec<Certificate>,
) -> Result<Sorted, StoreError> {
    let now = storage.host.unix_seconds();
    let mut sorted = Sorted::default();
    let mut verifier = PageVerifier::new(chain);
    for certificate in certificates {
        let signing = chain.record(certificate.epoch).filter(|record| record.digest() == certificate.committee);
        let is_own = signing.is_some();
        // A replica that joined later holds the blob as a member of the committee that it joined.
        let current = chain.current().record();
        let own = signing.and_then(|record| record.position(&own)).or_else(|| current.position(&own));
        let assigned = AssignedBlob::new(certificate, own);
        let AssignedBlob { certificate, assignment } = &assigned;
        let state = certificate_state(&storage.store, &assigned)?;
        if is_own && certificate.claim.receipt.is_expired(now) {
            sorted.skipped_until = sorted.skipped_until.max(assignment.expires_at);
            continue;
        }
        if !is_own
            || state == CertificateState::Known
            || (state == CertificateState::Lacking && storage.repairs.knows(certificate))
        {
            continue;
        }
        match verifier.verify(certificate) {
            Ok(()) if state == CertificateState::Lacking => sorted.lacking.push(assigned),
            Ok(()) => sorted.held.push(assigned),
            Err(why) => {
                sorted.invalid = Some(why);
                sorted.is_garbage = verifier.is_garbage();
                if sorted.is_garbage {
                    break;
                }
            }
        }
    }
    Ok(sorted)
}

/// Keeps the certificates of held blobs.
async fn keep(storage: &Storage, held: Vec<AssignedBlob>) -> Result<(), StoreError> {
    let assignments: Vec<Assignment> = held.iter().map(|assigned| assigned.assignment).collect();
    let store = storage.store.clone();
    let longer = storage.on_disk(move || {
        let mut longer = Vec::new();
        for assignment in assignments {
            if store.keep_until(&assignment.digest)?.is_some_and(|until| until < assignment.expires_at) {
                longer.push(assignment);
            }
        }
        Ok(longer)
    });
    let longer = longer.await?;
    if !longer.is_empty() {
        // This replica missed a renewal. Without its duty, the blob would be deleted too early.
        storage.store.keep(&longer).await?;
    }
    storage.store.archive(held).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CertificateState {
    /// The blob is held, with a certificate that is no worse.
    Known,
    Held,
    Lacking,
}

fn certificate_state(store: &Store, assigned: &AssignedBlob) -> Result<CertificateState, StoreError> {
    let AssignedBlob { certificate, assignment } = assigned;
    if !store.holds(assignment)? {
        return Ok(CertificateState::Lacking);
    }
    // Replace an unreadable certificate.
    let kept = store.certificate(&assignment.digest).ok().flatten();
    let is_better = kept.is_none_or(|kept| certificate.supersedes(&kept));
    Ok(if is_better { CertificateState::Held } else { CertificateState::Known })
}
