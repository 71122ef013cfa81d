//! Compares certificates with what is held: those of held blobs are kept, those of others say what is lacking.

use std::sync::Arc;

use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::receipt::Receipt;
use vouch_core::verify::Invalid;
use vouch_node_core::replica::repair::Learned;

use crate::listed::PageVerifier;
use crate::replica::context::Storage;
use crate::store::{Store, StoreError};

/// Certificates that were verified, as far as they matter to this replica.
#[derive(Debug, Default)]
struct Sorted {
    /// Of blobs that it does not hold.
    lacking: Vec<Certificate>,
    /// The latest expiry of those that had expired by the wall clock; 0: of none.
    passed_over_until: u64,
    /// Of blobs that it holds, better than its own.
    held: Vec<Certificate>,
    /// The last that is wrong.
    invalid: Option<Invalid>,
    /// Too many are.
    is_garbage: bool,
}

/// Verifies certificates. Keeps those of blobs that are held, and takes on their duties; gives those of blobs that are lacking.
pub(in super::super) async fn learn(
    storage: &Storage,
    committee: &Arc<Committee>,
    certificates: Vec<Certificate>,
) -> Result<Learned, StoreError> {
    if certificates.is_empty() {
        return Ok(Learned::default());
    }
    let (sorting, committee) = (storage.clone(), committee.clone());
    let sorted = storage.on_disk(move || sort(&sorting, &committee, certificates)).await?;
    let Sorted { lacking, passed_over_until, held, invalid, is_garbage } = sorted;
    // before the positions in the lists are: else these could be saved without it
    storage.repairs.with(|blobs| blobs.pass_over(passed_over_until));
    if !held.is_empty() {
        keep(storage, held).await?;
    }
    let lacking = if is_garbage { Vec::new() } else { lacking };
    Ok(Learned { lacking, invalid: invalid.map(|invalid| invalid.to_string()), is_garbage })
}

/// Only those that matter are verified; what is known already costs a look into the index. Blocks for as long as the disk takes.
fn sort(storage: &Storage, committee: &Committee, certificates: Vec<Certificate>) -> Result<Sorted, StoreError> {
    let now = storage.host.unix_seconds();
    let mut sorted = Sorted::default();
    let mut verifier = PageVerifier::new(committee);
    for certificate in certificates {
        let is_own = certificate.committee == committee.record().digest();
        let standing = standing(&storage.store, &certificate)?;
        let Receipt { expires_at, .. } = certificate.claim.receipt;
        if is_own && certificate.claim.receipt.is_expired(now) {
            sorted.passed_over_until = sorted.passed_over_until.max(expires_at);
            continue;
        }
        if !is_own
            || standing == Standing::Known
            || (standing == Standing::Lacking && storage.repairs.knows(&certificate))
        {
            continue;
        }
        match verifier.verify(&certificate) {
            Ok(()) if standing == Standing::Lacking => sorted.lacking.push(certificate),
            Ok(()) => sorted.held.push(certificate),
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
async fn keep(storage: &Storage, held: Vec<Certificate>) -> Result<(), StoreError> {
    let receipts: Vec<Receipt> = held.iter().map(|certificate| certificate.claim.receipt).collect();
    let store = storage.store.clone();
    let longer = storage.on_disk(move || {
        let mut longer = Vec::new();
        for receipt in receipts {
            if store.keep_until(&receipt.digest)?.is_some_and(|until| until < receipt.expires_at) {
                longer.push(receipt);
            }
        }
        Ok(longer)
    });
    let longer = longer.await?;
    if !longer.is_empty() {
        // a renewal that this replica missed: without its duty the blob would be deleted too early
        storage.store.keep(&longer).await?;
    }
    storage.store.archive(held).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Held, with a certificate that is no worse.
    Known,
    Held,
    Lacking,
}

fn standing(store: &Store, certificate: &Certificate) -> Result<Standing, StoreError> {
    let Receipt { digest, length, .. } = certificate.claim.receipt;
    if store.length_of(&digest)? != Some(length) {
        return Ok(Standing::Lacking);
    }
    // one that cannot be read is replaced
    let kept = store.certificate(&digest).ok().flatten();
    let is_better = kept.is_none_or(|kept| certificate.supersedes(&kept));
    Ok(if is_better { Standing::Held } else { Standing::Known })
}
