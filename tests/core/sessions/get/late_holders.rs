//! The second lookup, and late answers of holders that failed.

use super::*;

/// The second lookup names a holder that answered the first too late, and the get resumes at its offset.
#[test]
fn late_holders_are_asked_after_all_others_failed() {
    let length = SMALL.len();
    let mut client = Client::located(&SMALL, &[(0, length), (2, length)]);
    (0..2).for_each(|_| client.answer(&SMALL).unwrap());
    let of_first: Vec<_> = client.reads.drain(..).collect();
    client.receive(&failed(&of_first[0])).unwrap();
    let of_second: Vec<_> = client.reads.drain(..).collect();
    assert!(!client.asked_again);
    client.receive(&failed(&of_second[0])).unwrap();
    assert!(client.asked_again && client.reads.is_empty());
    // answers to abandoned reads may still arrive
    client.receive(&chunk(&of_first[1], &SMALL)).unwrap();
    client.receive(&failed(&of_second[1])).unwrap();
    // no holder is asked twice, whatever it claims now
    client.receive(&located(&[(0, length + 1), (2, length), (3, length)])).unwrap();
    let next = client.reads.front().map(|read| (read.member, read.offset));
    assert_eq!((next, client.started.len()), (Some((3, MAX_CHUNK as u64)), 3));
    client.answer_all(&SMALL).unwrap();
    client.assert_got(&SMALL, "replica-3");
    assert_eq!(client.rejected.len(), 2);
}

#[test]
fn second_lookup_without_new_holders_names_the_failed_ones() {
    let failing = || {
        let mut client = Client::located(&SMALL, &[(1, SMALL.len())]);
        let read = client.reads.pop_front().unwrap();
        client.reads.clear();
        client.receive(&failed(&read)).unwrap();
        assert!(client.asked_again);
        client
    };
    let expected = [Rejection { name: "replica-1".into(), reason: "storage fault: the disk".into() }];
    assert_eq!(failing().assert_exhausted(), expected);
    // the second lookup names only holders that failed already
    let exhausted = Err(SessionError::Exhausted(expected.to_vec()));
    assert_eq!(failing().receive(&located(&[(1, SMALL.len())])), exhausted);
    // the server refuses the second lookup
    assert_eq!(failing().receive(&Message::failed(LOCATE, Code::Busy, "one lookup at a time")), exhausted);
    // a late holder that fails is named with the others, and there is no third lookup
    let mut client = failing();
    client.receive(&located(&[(1, SMALL.len()), (2, SMALL.len())])).unwrap();
    let read = client.reads.pop_front().unwrap();
    let Err(SessionError::Exhausted(rejections)) = client.receive(&failed(&read)) else { panic!() };
    let named: Vec<_> = rejections.into_iter().map(|rejection| rejection.name).collect();
    assert_eq!(named, ["replica-1", "replica-2"]);
}

#[test]
fn late_answers_of_an_abandoned_holder_are_ignored() {
    let mut client = Client::located(&SMALL, &[(0, SMALL.len()), (1, SMALL.len())]);
    let late: Vec<_> = client.reads.drain(..).collect();
    client.receive(&failed(&late[0])).unwrap();
    let own: Vec<_> = client.reads.drain(..).collect();
    let garbage = vec![0; SMALL.len()];
    // late chunks and failures arrive between the next holder's answers
    client.receive(&chunk(&late[1], &garbage)).unwrap();
    client.receive(&chunk(&own[0], &SMALL)).unwrap();
    client.receive(&failed(&late[2])).unwrap();
    client.receive(&chunk(&late[2], &garbage)).unwrap();
    client.receive(&chunk(&own[1], &SMALL)).unwrap();
    client.receive(&chunk(&own[2], &SMALL)).unwrap();
    client.receive(&chunk(&own[3], &SMALL)).unwrap();
    client.assert_got(&SMALL, "replica-1");
    assert_eq!(client.rejected.len(), 1);
}

/// The server closes a link with more unanswered reads; those of an abandoned holder count until they are answered.
#[test]
fn at_most_eight_reads_are_unanswered() {
    let length = LARGE.len();
    let mut client = Client::located(&LARGE, &[(0, length), (1, length), (2, length)]);
    assert_eq!(client.reads.len(), MAX_READS);
    client.answer(&LARGE).unwrap();
    assert_eq!(client.reads.len(), MAX_READS);
    for member in 0..2 {
        let oldest = client.reads.iter().position(|read| read.member == member).unwrap();
        let first = client.reads.remove(oldest).unwrap();
        client.receive(&failed(&first)).unwrap();
        assert_eq!(client.reads.len(), MAX_READS, "{member}");
        // one read may be sent for the one that was answered
        assert_eq!(client.reads.iter().filter(|read| read.member == member + 1).count(), 1);
    }
    // a duplicate answer frees one slot only
    let late = client.reads.pop_front().unwrap();
    client.receive(&failed(&late)).unwrap();
    client.receive(&failed(&late)).unwrap();
    assert_eq!(client.reads.len(), MAX_READS);
    client.answer_all(&LARGE).unwrap();
    client.assert_got(&LARGE, "replica-2");
    assert_eq!(client.rejected.len(), 2);
}
