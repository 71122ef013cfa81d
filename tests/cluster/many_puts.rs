//! Many puts on one link share batches. A fault in one of them, or in one replica, does not fail the others.

use std::collections::BTreeMap;

use bytes::Bytes;
use support::blobs::{content, signers, verdict};
use support::fake_replica::{FakeReplica, Identity};
use support::in_process::InProcess;
use support::raw_link::RawLink;
use tokio::task::JoinSet;
use vouch::client::{ClientError, PutLink};
use vouch::host::Host;
use vouch::store::{self, Store};
use vouch_core::digest::Digest;
use vouch_core::message::{Code, Message, Stream};
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::session::Certified;
use vouch_core::verify::Verdict;

/// Puts all files at once over one link; returns the results in order.
async fn put_all(link: &PutLink, files: &[Bytes]) -> Vec<Result<Certified, ClientError>> {
    let mut puts = JoinSet::new();
    for (number, bytes) in files.iter().cloned().enumerate() {
        let link = link.clone();
        puts.spawn(async move { (number, link.put_bytes(bytes, NEVER, false).await) });
    }
    let mut done = puts.join_all().await;
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

fn small(count: u64) -> Vec<Bytes> {
    (0..count).map(|seed| content(seed, 1000).into()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_puts_share_batches_and_each_certificate_verifies_alone() {
    let mut cluster = InProcess::start(4).await;
    let link = PutLink::open(&Host::system(), cluster.address(), None).await.unwrap();
    // more files than the link's limit; among them an empty one, one of several chunks, and one file twice
    let mut files = small(100);
    files.extend([Bytes::new(), content(1000, 300 << 10).into(), content(0, 1000).into()]);
    let mut largest = 0;
    let mut all = Vec::new();
    for (result, bytes) in put_all(&link, &files).await.into_iter().zip(&files) {
        let certified = result.unwrap();
        let verdict = verdict(&certified, certified.committee().cluster(), bytes);
        assert!(matches!(verdict, Verdict::Valid(_)), "{verdict}");
        largest = largest.max(certified.certificate.claim.count);
        all.push(certified.certificate);
    }
    assert!(largest > 1, "none shared a batch");
    // a replica derived the same certificates itself, from the batch that it voted on
    let archived = |certificate: &vouch_core::certificate::Certificate, store: &Store| {
        let digest = certificate.claim.receipt.digest;
        matches!(store.certificate(&digest), Ok(Some(kept)) if kept.signature == certificate.signature)
    };
    // the last batch's certificate reaches the replica after the client
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    cluster.stop_replica(0).await;
    let store = loop {
        match Store::open(&Host::system(), &cluster.folder(0), &store::StoreConfig::default()) {
            Ok(store) => break store,
            // a stopped replica may hold its files for another moment
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    };
    // all but the file put twice, whose later certificate may be either
    for certificate in &all[1..102] {
        assert!(archived(certificate, &store), "{}", certificate.claim.receipt.digest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_that_lies_about_one_receipt_fails_no_put() {
    for lies in ["refuses one", "refuses all", "votes wrongly", "says nothing"] {
        let cluster = InProcess::start(3).await;
        let _liar = FakeReplica::join(cluster.address(), Identity::first("liar"), move |honest, question, answers| {
            let Message::Propose { stream, issued_at, receipts } = question else { return answers };
            match lies {
                "refuses one" => {
                    let failed = vouch_core::message::Failed::new(*stream, Code::NotHeld, "lost it");
                    vec![Message::Failed(failed.with_subjects(vec![0]))]
                }
                "refuses all" => vec![Message::failed(*stream, Code::Clock, "what time is it?")],
                "votes wrongly" => vec![honest.vote(*stream, issued_at + 1, receipts)],
                _ => Vec::new(),
            }
        })
        .await;
        support::until("the liar joins", || cluster.connected().contains(&"liar".into())).await;
        let link = PutLink::open(&Host::system(), cluster.address(), None).await.unwrap();
        for result in put_all(&link, &small(64)).await {
            let mut names = signers(&result.unwrap());
            names.sort();
            assert_eq!(names, ["replica-0", "replica-1", "replica-2"], "{lies}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_blob_among_valid_ones_fails_alone() {
    let cluster = InProcess::start(4).await;
    let mut link = RawLink::client(cluster.address()).await;
    let files = small(32);
    for (number, bytes) in (1..).zip(&files) {
        // file 7 differs from its receipt, and put 9 is cancelled
        let digest = if number == 7 { Digest([7; 32]) } else { Digest::of(bytes) };
        let receipt = Receipt { salt: [1; 16], digest, length: bytes.len() as u64, expires_at: NEVER };
        let stream = Stream(number);
        link.send(&Message::Blob { stream, receipt, renew: false, bytes: bytes.clone(), authorisation: None }).await;
        if number == 9 {
            link.send(&Message::Cancel { stream, keep: false }).await;
        }
    }
    let mut ended = BTreeMap::new();
    while ended.len() < 32 {
        match link.receive().await.unwrap() {
            Message::Certified { stream, .. } => drop(ended.insert(stream.0, None)),
            Message::Failed(failed) => drop(ended.insert(failed.stream.0, Some(failed.code))),
            Message::Cluster(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ended.remove(&7), Some(Some(Code::DigestDiffers)));
    assert!(matches!(ended.remove(&9), Some(None | Some(Code::Cancelled))));
    assert!(ended.values().all(Option::is_none), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_vanish_during_signing_do_not_affect_others() {
    let cluster = InProcess::start(4).await;
    let address = cluster.address().to_owned();
    cluster.put(b"first").await.unwrap();
    let vanishing = tokio::spawn(async move {
        for round in 0..20 {
            let link = PutLink::open(&Host::system(), &address, None).await.unwrap();
            let files: Vec<Bytes> = (0..16).map(|seed| content(10_000 + round * 16 + seed, 500).into()).collect();
            let puts = put_all(&link, &files);
            // some moment between the first byte and the last certificate
            let _ = tokio::time::timeout(std::time::Duration::from_millis(round), puts).await;
        }
    });
    let link = PutLink::open(&Host::system(), cluster.address(), None).await.unwrap();
    for round in 0..4 {
        let files: Vec<Bytes> = (0..64).map(|seed| content(round * 64 + seed, 1000).into()).collect();
        for result in put_all(&link, &files).await {
            result.unwrap();
        }
    }
    vanishing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_link_ends_its_puts() {
    let mut cluster = InProcess::start(4).await;
    let link = PutLink::open(&Host::system(), cluster.address(), None).await.unwrap();
    assert!(put_all(&link, &small(2)).await.iter().all(Result::is_ok));
    cluster.stop_server().await;
    assert!(put_all(&link, &small(2)).await.iter().all(Result::is_err));
    assert!(PutLink::open(&Host::system(), cluster.address(), None).await.is_err());
}
