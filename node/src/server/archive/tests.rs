//! What the archive keeps, and for how long.

use vouch_core::bls::AggregateSignature;
use vouch_core::certificate::Signers;
use vouch_core::digest::CommitteeDigest;
use vouch_core::receipt::Receipt;
use vouch_core::statement::StoredClaim;

use super::tables::{EXPIRY, KEPT_EXPIRED};
use super::*;

fn certificate(issued_at: u64) -> Certificate {
    Certificate {
        epoch: 0,
        committee: CommitteeDigest([1; 32]),
        claim: StoredClaim {
            issued_at,
            count: 1,
            index: 0,
            receipt: Receipt { salt: [2; 16], digest: Digest([3; 32]), length: 4, expires_at: NEVER },
            path: Vec::new(),
        },
        signers: Signers::new(1, [0]).unwrap(),
        signature: AggregateSignature([5; 96]),
    }
}

/// The certificate of a blob of its own.
fn short_lived(number: u64, issued_at: u64, expires_at: u64) -> Certificate {
    let mut digest = [9; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    let receipt = Receipt { digest: Digest(digest), expires_at, ..certificate(0).claim.receipt };
    let claim = StoredClaim { receipt, ..certificate(issued_at).claim };
    Certificate { claim, ..certificate(0) }
}

async fn listed(archive: &Archive) -> Vec<Certificate> {
    let (mut listed, mut from) = (Vec::new(), ListPosition::default());
    loop {
        let page = archive.page(from, ListFilter::All, 0).await.unwrap();
        listed.extend(page.certificates);
        from = page.end;
        if !page.more {
            return listed;
        }
    }
}

#[tokio::test]
async fn certificates_that_expired_a_day_before_the_newest_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
    let (start, day) = (1_000_000, KEPT_EXPIRED);
    let short = short_lived(1, start, start + 60);
    // The second certificate of its blob is kept longer.
    let prolonged = short_lived(2, start + 1, start + 10 * day);
    let forever = certificate(start);
    let first = vec![short.clone(), short_lived(2, start, start + 60), forever.clone(), prolonged.clone()];
    archive.save(Arc::new(first)).await.unwrap();
    let at = |issued_at| short_lived(issued_at, issued_at, issued_at + 10 * day);
    archive.save(Arc::new(vec![at(start + 60 + day - 1)])).await.unwrap();
    assert_eq!(archive.load(short.claim.receipt.digest).await.unwrap(), Some(short.clone()), "for a day");
    archive.save(Arc::new(vec![at(start + 60 + day)])).await.unwrap();
    assert_eq!(archive.load(short.claim.receipt.digest).await.unwrap(), None);
    let kept = [prolonged.clone(), forever, prolonged, at(start + 60 + day - 1), at(start + 60 + day)];
    assert_eq!(listed(&archive).await, kept, "the prolonged one at both of its positions");
}

#[tokio::test]
async fn short_lived_certificates_do_not_accumulate() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
    // Each day, a thousand certificates that expire at once.
    for day in 1..=20 {
        let now = day * KEPT_EXPIRED;
        let certificates = (0..1000).map(|number| short_lived(day * 1000 + number, now, now + 1)).collect();
        archive.save(Arc::new(certificates)).await.unwrap();
    }
    let rows = |archive: &Archive| {
        let count = archive.database.read(|transaction| {
            let table = transaction.open_table(CERTIFICATES)?;
            Ok((table.len()?, transaction.open_table(EXPIRY)?.len()?))
        });
        count.unwrap()
    };
    assert_eq!(rows(&archive), (2000, 2000), "those of two days");
    assert_eq!(listed(&archive).await.len(), 2000);
    drop(archive);
    let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
    assert_eq!(rows(&archive), (2000, 2000));
}

#[tokio::test]
async fn certificates_of_an_earlier_release_are_deleted_too() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
    let old = short_lived(1, 1000, 2000);
    archive.save(Arc::new(vec![old.clone(), certificate(1001)])).await.unwrap();
    let forget = |transaction: &redb::WriteTransaction| {
        transaction.delete_table(EXPIRY)?;
        transaction.delete_table(TIMES)?;
        Ok(())
    };
    archive.database.commit(forget).await.unwrap();
    drop(archive);
    let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
    assert_eq!(archive.load(old.claim.receipt.digest).await.unwrap(), Some(old.clone()));
    archive.save(Arc::new(vec![short_lived(2, 2000 + KEPT_EXPIRED, NEVER)])).await.unwrap();
    assert_eq!(archive.load(old.claim.receipt.digest).await.unwrap(), None);
    assert_eq!(listed(&archive).await.len(), 2);
}

#[tokio::test]
async fn a_damaged_certificate_does_not_end_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
    archive.save(Arc::new(vec![certificate(10)])).await.unwrap();
    let damage = |transaction: &redb::WriteTransaction| {
        let mut table = transaction.open_table(CERTIFICATES)?;
        for number in 0..3 {
            table.insert(&[number; 32], [7; PAGE].as_slice())?;
        }
        Ok(())
    };
    archive.database.commit(damage).await.unwrap();
    let note = |transaction: &redb::WriteTransaction| {
        listing::note(transaction, (0..3).map(|number| [number; 32]), 0).map(drop)
    };
    archive.database.commit(note).await.unwrap();
    archive.save(Arc::new(vec![certificate(11)])).await.unwrap();
    let (mut listed, mut from) = (Vec::new(), ListPosition::default());
    loop {
        let page = archive.page(from, ListFilter::NotSignedBy(1), 0).await.unwrap();
        listed.extend(page.certificates);
        from = page.end;
        if !page.more {
            break;
        }
    }
    assert_eq!(listed, [certificate(11), certificate(11)], "at both of its positions");
    let page = archive.page(ListPosition::default(), ListFilter::NotSignedBy(0), 0).await.unwrap();
    assert_eq!((page.certificates, page.more), (Vec::new(), false), "it signed all of them");
}

#[tokio::test]
async fn a_superseding_certificate_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
    let owner = NodeKey([7; 32]);
    assert_eq!(archive.new_among(vec![certificate(10)]).await.unwrap(), [certificate(10)]);
    assert_eq!(archive.list_read(owner).await.unwrap(), ListPosition::default());
    let position = ListPosition { list: 5, after: 1 };
    archive.save_listed(Arc::new(vec![certificate(10)]), owner, position).await.unwrap();
    let new = archive.new_among(vec![certificate(9), certificate(10), certificate(11)]).await.unwrap();
    assert_eq!(new, [certificate(11)]);
    drop(archive);
    let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
    assert_eq!(archive.list_read(owner).await.unwrap(), position);
}

#[tokio::test]
async fn the_newest_certificate_of_a_blob_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
    assert_eq!(archive.load(Digest([3; 32])).await.unwrap(), None);
    for (issued_at, kept) in [(10, 10), (20, 20), (15, 20), (21, 21)] {
        archive.save(Arc::new(vec![certificate(issued_at)])).await.unwrap();
        assert_eq!(archive.load(Digest([3; 32])).await.unwrap(), Some(certificate(kept)));
    }
    assert_eq!(archive.load(Digest([4; 32])).await.unwrap(), None);
    drop(archive);
    let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
    assert_eq!(archive.load(Digest([3; 32])).await.unwrap(), Some(certificate(21)));
}

#[tokio::test]
async fn a_newer_certificate_that_expires_earlier_does_not_replace_a_longer_promise() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
    let kept = async |number| archive.load(short_lived(number, 0, 0).claim.receipt.digest).await.unwrap();
    for (issued_at, expires_at, expected) in [(10, 500, (10, 500)), (20, 400, (10, 500)), (15, 600, (15, 600))] {
        archive.save(Arc::new(vec![short_lived(1, issued_at, expires_at)])).await.unwrap();
        assert_eq!(kept(1).await, Some(short_lived(1, expected.0, expected.1)));
    }
    assert_eq!(archive.new_among(vec![short_lived(1, 30, 500)]).await.unwrap(), []);
}

#[tokio::test]
async fn a_certificate_that_would_be_deleted_at_once_is_not_new() {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
    let (expired_long_ago, expired) = (short_lived(1, 10, 1000), short_lived(2, 10, 1001));
    let listed = vec![expired_long_ago.clone(), expired.clone()];
    assert_eq!(archive.new_among(listed.clone()).await.unwrap(), listed);
    archive.save(Arc::new(vec![short_lived(3, 1000 + KEPT_EXPIRED, NEVER)])).await.unwrap();
    assert_eq!(archive.new_among(listed).await.unwrap(), [expired]);
}
