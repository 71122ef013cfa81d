//! One replica of four lies, in every way that the protocol permits.

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
    assert_eq!(certified.committee.record().n(), 4);
    assert!(matches!(verdict(certified, certified.committee.cluster(), bytes), Verdict::Valid(_)));
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
    let got = cluster.get(certified.committee.cluster(), Digest::of(&bytes)).await.unwrap();
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
            let identity = certified.committee.cluster();
            let got = support::blobs::get_bytes(&address, Some(identity), Digest::of(&bytes)).await.unwrap();
            assert!(got.bytes == bytes);
        })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap();
    }
}

/// Gets a file of several chunks that every member stored; the liar is asked first.
async fn get_past_liar(lie: impl FnMut(&Honest, &Message, Vec<Message>) -> Vec<Message> + Send + 'static) -> Got {
    let (cluster, _liar) = with_liar(lie).await;
    let bytes = content(7, 3 << 20);
    let certified = cluster.put(&bytes).await.unwrap();
    // wait until every honest member has stored it, also those that did not sign
    for number in 0..3 {
        cluster.until_replica(number, "stores", |event| matches!(event, vouch::replica::Event::Stored(..))).await;
    }
    let got = cluster.get(certified.committee.cluster(), Digest::of(&bytes)).await.unwrap();
    assert!(got.bytes == bytes, "the bytes come from another");
    assert_eq!(got.rejections.len(), 1, "{:?}", got.rejections);
    assert_eq!(got.rejections[0].name, LIAR);
    got
}

#[tokio::test(flavor = "multi_thread")]
async fn get_survives_wrong_bytes() {
    for (at, place) in
        [(200 << 10, "0 to 262144"), (1_048_577, "1048576 to 1310720"), (LENGTH - 1, "3129344 to 3145728")]
    {
        let got = get_past_liar(flip(at)).await;
        let reason = &got.rejections[0].reason;
        assert!(reason.starts_with(&format!("the bytes {place} differ: expected ")), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn get_survives_another_file_with_its_own_proof() {
    let other = content(8, 3 << 20);
    let got = get_past_liar(move |_, question, answers| match question {
        Message::Read(read) => {
            let (offset, end) = (read.offset, read.offset + u64::from(read.length));
            let bytes = other[usize::try_from(offset).unwrap()..usize::try_from(end).unwrap()].to_vec().into();
            vec![Message::Chunk { stream: read.stream, offset, parents: proof(&other, offset..end), bytes }]
        }
        _ => answers,
    })
    .await;
    let reason = &got.rejections[0].reason;
    assert!(reason.starts_with("the proof differs above bytes 0 to 3145728: expected "), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn get_survives_a_missing_proof() {
    let got = get_past_liar(|_, _, mut answers| {
        if let Some(Message::Chunk { parents, .. }) = answers.first_mut() {
            parents.clear();
        }
        answers
    })
    .await;
    assert!(got.rejections[0].reason.starts_with("expected a proof of "), "{:?}", got.rejections);
}

#[tokio::test(flavor = "multi_thread")]
async fn get_survives_a_replica_that_stops_midway() {
    let mut answered = 0;
    let got = get_past_liar(move |_, question, answers| match question {
        Message::Read(_) if answered == 4 => Vec::new(),
        Message::Read(_) => {
            answered += 1;
            answers
        }
        _ => answers,
    })
    .await;
    assert!(got.rejections[0].reason.starts_with("timed out: "), "{:?}", got.rejections);
}

/// Verified bytes are kept and not requested again.
#[tokio::test(flavor = "multi_thread")]
async fn get_survives_a_replica_that_disconnects_midway_without_sending_bytes_twice() {
    let (sender, mut reads) = tokio::sync::mpsc::unbounded_channel();
    let (cluster, _liar) = with_liar(move |_, question, answers| match question {
        Message::Read(read) if read.offset == 2 << 20 => {
            vec![Message::failed(read.stream, Code::ShuttingDown, "good night")]
        }
        Message::Read(read) => {
            sender.send(read.offset).unwrap();
            answers
        }
        _ => answers,
    })
    .await;
    let bytes = content(7, 3 << 20);
    let certified = cluster.put(&bytes).await.unwrap();
    cluster.until_replica(0, "stores", |event| matches!(event, vouch::replica::Event::Stored(..))).await;
    let mut received = Vec::new();
    let (trusted, digest) = (Some(certified.committee.cluster()), Digest::of(&bytes));
    let server = cluster.address().into();
    let (held, retry) = (Suspended::default(), Duration::ZERO);
    let request = vouch::client::Get { server, trusted, digest, length: None, range: None, held, retry };
    vouch::client::get(&Host::system(), request, &mut received, |_| {}).await.unwrap();
    // two replicas delivered it, and together sent no byte twice
    assert!(received == bytes, "{} bytes", received.len());
    reads.close();
    assert!(reads.recv().await.is_some(), "the liar delivered the beginning");
}

#[tokio::test(flavor = "multi_thread")]
async fn get_survives_short_chunks() {
    get_past_liar(|_, _, mut answers| {
        if let Some(Message::Chunk { bytes, .. }) = answers.first_mut() {
            *bytes = bytes.slice(1..);
        }
        answers
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_survives_bytes_of_another_offset() {
    get_past_liar(|_, _, mut answers| {
        if let Some(Message::Chunk { offset, .. }) = answers.first_mut() {
            *offset += 1;
        }
        answers
    })
    .await;
}

/// Asserts that a get reads nothing from a member that alone claims another length.
async fn get_around_false_length(claimed: u64) {
    let (cluster, _liar) = with_liar(move |_, question, mut answers| {
        assert!(!matches!(question, Message::Read(_)), "it is asked for bytes");
        if let Some(Message::Located { holders, .. }) = answers.first_mut() {
            holders.iter_mut().for_each(|holder| holder.length = claimed);
        }
        answers
    })
    .await;
    let bytes = content(7, 3 << 20);
    let certified = cluster.put(&bytes).await.unwrap();
    for number in 0..3 {
        cluster.until_replica(number, "stores", |event| matches!(event, vouch::replica::Event::Stored(..))).await;
    }
    let got = cluster.get(certified.committee.cluster(), Digest::of(&bytes)).await.unwrap();
    assert!(got.bytes == bytes && got.rejections.is_empty(), "{:?}", got.rejections);
    support::until("the liar is still there", || cluster.connected().contains(&LIAR.into())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_survives_a_claim_of_a_smaller_length() {
    get_around_false_length(1 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_survives_a_claim_of_the_largest_length() {
    get_around_false_length((1 << 53) - 1).await;
}

/// With one claim against one, the liar is asked first, and exposed before a byte is output.
#[tokio::test(flavor = "multi_thread")]
async fn false_length_claim_against_one_honest_holder_is_detected() {
    for claimed in [LENGTH - 1, LENGTH + 1, 5, (1 << 53) - 1] {
        let cluster = InProcess::start(1).await;
        let lie = move |_: &Honest, _: &Message, mut answers: Vec<Message>| {
            if let Some(Message::Located { holders, .. }) = answers.first_mut() {
                holders.iter_mut().for_each(|holder| holder.length = claimed);
            }
            answers
        };
        let _liar = FakeReplica::join(cluster.address(), Identity::first(LIAR), lie).await;
        support::until("the liar joins", || cluster.connected().contains(&LIAR.into())).await;
        let bytes = content(7, 3 << 20);
        let certified = cluster.put(&bytes).await.unwrap();
        let got = cluster.get(certified.committee.cluster(), Digest::of(&bytes)).await.unwrap();
        assert!(got.bytes == bytes && got.length == LENGTH, "{claimed}");
        assert!(matches!(&got.rejections[..], [one] if one.name == LIAR), "{claimed}: {:?}", got.rejections);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn get_survives_a_replica_that_never_answers_reads() {
    let began = Instant::now();
    get_past_liar(|_, question, answers| match question {
        Message::Read(_) => Vec::new(),
        _ => answers,
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn get_survives_a_replica_that_never_answers_lookups() {
    let (cluster, _liar) = with_liar(|_, question, answers| match question {
        Message::Locate { .. } => Vec::new(),
        _ => answers,
    })
    .await;
    let certified = cluster.put(b"bytes").await.unwrap();
    let got = cluster.get(certified.committee.cluster(), Digest::of(b"bytes")).await.unwrap();
    assert!(got.bytes == b"bytes" && got.rejections.is_empty());
}

/// Three members that serve wrong bytes at once, and one that answers lookups late: 1 s is beyond the grace period that a lookup
/// gives the others once a member holds the blob.
async fn with_late(
    cluster: &InProcess,
    lie: impl FnMut(&Honest, &Message, Vec<Message>) -> Vec<Message> + Send + 'static,
) -> Vec<FakeReplica> {
    let mut fakes = Vec::new();
    for (number, name) in (1..).zip(["liar-1", "liar-2", "liar-3"]) {
        fakes.push(FakeReplica::join(cluster.address(), Identity::new(number, name), flip(200 << 10)).await);
    }
    let (identity, late) = (Identity::new(4, "late"), Duration::from_secs(1));
    fakes.push(FakeReplica::join_late(cluster.address(), identity, late, lie).await);
    support::until("all four join", || cluster.connected().len() == 4).await;
    fakes
}

/// As on a busy machine: the only honest holder answers the lookup after the liars.
#[tokio::test(flavor = "multi_thread")]
async fn get_continues_with_a_holder_that_answered_late() {
    let cluster = InProcess::start(0).await;
    let _fakes = with_late(&cluster, |_, _, answers| answers).await;
    let bytes = content(7, 300 << 10);
    let certified = cluster.put(&bytes).await.unwrap();
    let got = cluster.get(certified.committee.cluster(), Digest::of(&bytes)).await.unwrap();
    assert!(got.bytes == bytes);
    let mut named: Vec<_> = got.rejections.iter().map(|rejection| &rejection.name[..]).collect();
    named.sort_unstable();
    assert_eq!(named, ["liar-1", "liar-2", "liar-3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn get_names_the_late_holder_too_when_all_lie() {
    let cluster = InProcess::start(0).await;
    let _fakes = with_late(&cluster, flip(200 << 10)).await;
    let bytes = content(7, 300 << 10);
    let certified = cluster.put(&bytes).await.unwrap();
    let failed = cluster.get(certified.committee.cluster(), Digest::of(&bytes)).await.unwrap_err().to_string();
    for name in ["liar-1", "liar-2", "liar-3", "late"] {
        assert!(failed.contains(name), "{name}: {failed}");
    }
}

/// "Not found" is reported only after every member had the full read deadline to answer.
#[tokio::test(flavor = "multi_thread")]
async fn blob_is_found_at_a_holder_that_answers_last() {
    let cluster = InProcess::start(0).await;
    let mut fakes = Vec::new();
    for number in 1..=4 {
        let late = Duration::from_secs(if number == 4 { 4 } else { 0 });
        let lacks = move |_: &Honest, _: &Message, mut answers: Vec<Message>| {
            if let Some(Message::Located { holders, .. }) = answers.first_mut()
                && number < 4
            {
                holders.clear();
            }
            answers
        };
        let identity = Identity::new(number, &format!("member-{number}"));
        fakes.push(FakeReplica::join_late(cluster.address(), identity, late, lacks).await);
    }
    support::until("all four join", || cluster.connected().len() == 4).await;
    let certified = cluster.put(b"bytes").await.unwrap();
    let got = cluster.get(certified.committee.cluster(), Digest::of(b"bytes")).await.unwrap();
    assert!(got.bytes == b"bytes" && got.rejections.is_empty());
}
