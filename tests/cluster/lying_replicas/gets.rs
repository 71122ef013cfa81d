//! Lies that a get survives.

use super::*;

/// Gets a file of several chunks that every member stored; the liar is asked first.
async fn get_past_liar(lie: impl FnMut(&Honest, &Message, Vec<Message>) -> Vec<Message> + Send + 'static) -> Got {
    let (cluster, _liar) = with_liar(lie).await;
    let bytes = content(7, 3 << 20);
    let certified = cluster.put(&bytes).await.unwrap();
    // wait until every honest member has stored it, also those that did not sign
    for number in 0..3 {
        cluster.until_replica(number, "stores", |event| matches!(event, vouch::replica::Event::Stored(..))).await;
    }
    let got = cluster.get(certified.committee().cluster(), Digest::of(&bytes)).await.unwrap();
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
    let (trusted, digest) = (certified.committee().cluster().into(), Digest::of(&bytes));
    let servers = cluster.address().into();
    let (held, retry) = (Suspended::default(), Duration::ZERO);
    let request = vouch::client::Get { servers, trusted, digest, length: None, range: None, held, token: None, retry };
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
    let got = cluster.get(certified.committee().cluster(), Digest::of(&bytes)).await.unwrap();
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
        let got = cluster.get(certified.committee().cluster(), Digest::of(&bytes)).await.unwrap();
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
    let got = cluster.get(certified.committee().cluster(), Digest::of(b"bytes")).await.unwrap();
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
    let got = cluster.get(certified.committee().cluster(), Digest::of(&bytes)).await.unwrap();
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
    let failed = cluster.get(certified.committee().cluster(), Digest::of(&bytes)).await.unwrap_err().to_string();
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
    let got = cluster.get(certified.committee().cluster(), Digest::of(b"bytes")).await.unwrap();
    assert!(got.bytes == b"bytes" && got.rejections.is_empty());
}
