//! One replica of four lies, in every way that the protocol permits. Here, about puts.

mod gets;

use std::time::{Duration, Instant};

use support::blobs::{Got, content, proof, signers, until_signed_by, verdict};
use support::fake_replica::{FakeReplica, Honest, Identity, flip};
use support::in_process::InProcess;
use vouch::host::Host;
use vouch_core::bls::VoteSignature;
use vouch_core::digest::Digest;
use vouch_core::message::{Code, Message};
use vouch_core::session::Certified;
use vouch_core::tree::Suspended;
use vouch_core::verify::Verdict;

const LIAR: &str = "liar";
/// Deadline longer than a put takes on a busy machine.
const LONG_DEADLINE: Duration = Duration::from_secs(120);
/// Length of the files that are downloaded.
const LENGTH: u64 = 3 << 20;

/// A committee of three honest members and a liar that is the first member.
async fn with_liar(
    lie: impl FnMut(&Honest, &Message, Vec<Message>) -> Vec<Message> + Send + 'static,
) -> (InProcess, FakeReplica) {
    // long deadlines: no put is certified merely because the liar's deadline passed
    let cluster = InProcess::start_with(3, |config| {
        (config.deadlines.storing, config.deadlines.voting) = (LONG_DEADLINE, LONG_DEADLINE);
    })
    .await;
    let liar = FakeReplica::join(cluster.address(), Identity::first(LIAR), lie).await;
    support::until("the liar joins", || cluster.connected().contains(&LIAR.into())).await;
    (cluster, liar)
}

/// Asserts that two puts are certified without the liar.
async fn assert_certified_without_liar(
    lie: impl FnMut(&Honest, &Message, Vec<Message>) -> Vec<Message> + Send + 'static,
) {
    let (cluster, _liar) = with_liar(lie).await;
    for seed in 0..2 {
        let bytes = content(seed, 300 << 10);
        let began = Instant::now();
        let certified = cluster.put(&bytes).await.unwrap();
        assert_honest(&certified, &bytes);
        assert!(began.elapsed() < LONG_DEADLINE / 2, "{:?}", began.elapsed());
    }
}

fn assert_honest(certified: &Certified, bytes: &[u8]) {
    assert_eq!(certified.committee().record().n(), 4);
    assert!(matches!(verdict(certified, certified.committee().cluster(), bytes), Verdict::Valid(_)));
    let mut names = signers(certified);
    names.sort();
    assert_eq!(names, ["replica-0", "replica-1", "replica-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_fake_replica_signs_with_the_others() {
    let (cluster, _fake) = with_liar(|_, _, answers| answers).await;
    let bytes = content(1, 300 << 10);
    // the control: without a lie the fake replica signs, so the lies below are what excludes it
    let certified = until_signed_by(4, async || cluster.put(&bytes).await.unwrap()).await;
    let got = cluster.get(certified.committee().cluster(), Digest::of(&bytes)).await.unwrap();
    assert!(got.bytes == bytes && got.rejections.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_vote_signatures_do_not_count() {
    assert_certified_without_liar(|_, question, answers| match question {
        Message::Propose { stream, .. } => {
            vec![Message::Vote { stream: *stream, signature: VoteSignature([0x5A; 96]) }]
        }
        _ => answers,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_for_another_statement_do_not_count() {
    assert_certified_without_liar(|honest, question, answers| match question {
        Message::Propose { stream, issued_at, receipts } => vec![honest.vote(*stream, issued_at + 1, receipts)],
        _ => answers,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_for_another_file_do_not_count() {
    assert_certified_without_liar(|honest, question, answers| match question {
        Message::Propose { stream, issued_at, receipts } => {
            let mut receipt = receipts[0];
            receipt.digest = Digest([1; 32]);
            vec![honest.vote(*stream, *issued_at, &[receipt])]
        }
        _ => answers,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vote_before_the_proposal_does_not_count() {
    // it sends `Stored` and a vote before any byte arrived, then nothing
    assert_certified_without_liar(|_, question, answers| match question {
        Message::Put { stream, .. } => vec![
            Message::Stored { stream: *stream },
            Message::Vote { stream: *stream, signature: VoteSignature([0x5A; 96]) },
        ],
        Message::PutEnd { .. } | Message::Propose { .. } => Vec::new(),
        _ => answers,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_succeeds_when_a_replica_stores_and_never_votes() {
    assert_certified_without_liar(|_, question, answers| match question {
        Message::Propose { .. } => Vec::new(),
        _ => answers,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_succeeds_when_a_replica_never_answers_stored() {
    assert_certified_without_liar(|_, question, answers| match question {
        Message::PutEnd { .. } => Vec::new(),
        _ => answers,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_succeeds_when_a_replica_refuses_everything() {
    assert_certified_without_liar(|_, question, answers| match question {
        Message::Put { stream, .. } => vec![Message::failed(*stream, Code::DigestDiffers, "your file is broken")],
        _ => answers,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_succeeds_when_a_replica_fails_after_storing() {
    assert_certified_without_liar(|_, question, answers| match question {
        Message::Propose { stream, .. } => vec![Message::failed(*stream, Code::NotHeld, "lost it").clone()],
        _ => answers,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unexpected_replica_message_ends_only_its_link() {
    // the link ends, the put continues
    let (cluster, _liar) = with_liar(|_, question, answers| match question {
        Message::Blob { stream, .. } => vec![Message::Cancel { stream: *stream, keep: true }],
        _ => answers,
    })
    .await;
    let certified = cluster.put(b"bytes").await.unwrap();
    assert_honest(&certified, b"bytes");
    support::until("the liar is out", || !cluster.connected().contains(&LIAR.into())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_on_foreign_streams_are_ignored() {
    // votes and failures on the stream numbers of other clients' requests
    let (cluster, _liar) = with_liar(|_, question, mut answers| {
        if let Message::Propose { .. } | Message::Locate { .. } = question {
            for number in 1..200 {
                let stream = vouch_core::message::Stream(number);
                answers.push(Message::failed(stream, Code::Storage, "no"));
                answers.push(Message::Vote { stream, signature: VoteSignature([1; 96]) });
                answers.push(Message::Located { stream, holders: Vec::new() });
            }
        }
        answers
    })
    .await;
    let puts = (0..8).map(|seed| {
        let bytes = content(seed, 100 << 10);
        let address = cluster.address().to_owned();
        tokio::spawn(async move {
            let certified = support::blobs::put_bytes(&address, None, &bytes).await.unwrap();
            let identity = certified.committee().cluster();
            let got = support::blobs::get_bytes(&address, Some(identity), Digest::of(&bytes)).await.unwrap();
            assert!(got.bytes == bytes);
        })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap();
    }
}
