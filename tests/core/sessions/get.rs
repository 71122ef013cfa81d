//! Gets: from one holder or the next, whole or in part.

mod lies;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Failed, Holder, MAX_CHUNK, MAX_READS, Message, Read, Stream};
use vouch_core::session::{ByteRange, GetEvent, GetRequest, GetSession, Rejection, SessionError};
use vouch_core::slice::Slice;
use vouch_core::tree;

use support::blobs::proof;

use super::{CLUSTER, Server, identity, unexpected};
use crate::world::{blob, hello_nonce};

const LOCATE: Stream = Stream(1);

/// Two full reads and a small one.
static SMALL: LazyLock<Bytes> = LazyLock::new(|| blob(2 * MAX_CHUNK + 5));
/// More reads than may be unanswered.
static LARGE: LazyLock<Bytes> = LazyLock::new(|| blob((MAX_READS + 3) * MAX_CHUNK + 1));

/// A client, and what it has shown and asked so far.
struct Client {
    session: GetSession,
    /// Reads not answered yet, oldest first.
    reads: VecDeque<Read>,
    bytes: Vec<u8>,
    /// The length and the range, once they are certain.
    about: Option<(u64, Range<u64>)>,
    slices: Vec<Slice>,
    started: Vec<String>,
    rejected: Vec<String>,
    verified: bool,
    /// It asked a second time who holds the blob.
    asked_again: bool,
}

impl Client {
    /// Behind `Cluster`: it has asked where the blob is.
    fn new(blob: &[u8], length: Option<u64>) -> Self {
        Self::wanting(blob, length, None)
    }

    fn wanting(blob: &[u8], length: Option<u64>, range: Option<ByteRange>) -> Self {
        let (trusted, digest) = (Some(identity(&CLUSTER)), Digest::of(blob));
        let request = GetRequest { trusted, digest, length, range, nonce: hello_nonce("get") };
        let (mut session, hello) = GetSession::new(request);
        let [listener, auth] = Server::honest().welcome(&hello);
        assert!(session.receive(&listener).unwrap().is_empty());
        let events = session.receive(&auth).unwrap();
        let [GetEvent::Send(Message::Locate { stream: LOCATE, digest: asked })] = events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(asked, digest);
        assert_eq!(session.cluster(), None);
        assert!(session.receive(&CLUSTER.message().encode()).unwrap().is_empty());
        assert_eq!(session.cluster(), trusted);
        Self {
            session,
            reads: VecDeque::new(),
            bytes: Vec::new(),
            about: None,
            slices: Vec::new(),
            started: Vec::new(),
            rejected: Vec::new(),
            verified: false,
            asked_again: false,
        }
    }

    /// These members say that they hold the blob, with these lengths.
    fn located(blob: &[u8], holders: &[(u16, usize)]) -> Self {
        let mut client = Self::new(blob, None);
        client.hear(&located(holders)).unwrap();
        client
    }

    fn hear(&mut self, message: &Message) -> Result<(), SessionError> {
        for event in self.session.receive(&message.encode())? {
            assert!(!self.verified, "{event:?} after the end");
            match event {
                GetEvent::Send(Message::Read(read)) => self.reads.push_back(read),
                GetEvent::Send(Message::Locate { stream: LOCATE, .. }) => {
                    assert!(!std::mem::replace(&mut self.asked_again, true), "once");
                }
                GetEvent::Send(other) => panic!("{other:?}"),
                GetEvent::Start { name, .. } => self.started.push(name),
                GetEvent::Length { length, range } => assert_eq!(self.about.replace((length, range)), None, "once"),
                GetEvent::Slice(slice) => {
                    assert!(self.about.is_some(), "a slice before the length");
                    self.slices.push(slice);
                }
                GetEvent::Bytes(bytes) => {
                    assert!(self.about.is_some(), "bytes before the length");
                    self.bytes.extend_from_slice(&bytes);
                }
                GetEvent::Rejected(rejection) => self.rejected.push(rejection.to_string()),
                GetEvent::Verified => self.verified = true,
            }
        }
        assert!(self.reads.len() <= MAX_READS, "{} reads unanswered", self.reads.len());
        Ok(())
    }

    /// Answers the oldest read from these bytes.
    fn answer(&mut self, held: &[u8]) -> Result<(), SessionError> {
        let read = self.reads.pop_front().expect("a read");
        self.hear(&chunk(&read, held))
    }

    /// Everyone who was named has failed, and nobody else answers the second lookup.
    fn hear_of_nobody_else(&mut self) -> Vec<Rejection> {
        assert!(self.asked_again, "rejected: {:?}", self.rejected);
        match self.hear(&located(&[])) {
            Err(SessionError::Exhausted(rejections)) => rejections,
            other => panic!("{other:?}"),
        }
    }

    /// Answers until nothing is asked any more.
    fn answer_all(&mut self, held: &[u8]) -> Result<(), SessionError> {
        while !self.reads.is_empty() {
            self.answer(held)?;
        }
        Ok(())
    }

    /// The blob has arrived from `name`.
    fn assert_got(&self, blob: &[u8], name: &str) {
        assert!(self.verified, "rejected: {:?}", self.rejected);
        assert!(self.bytes == blob, "{} bytes, {} expected", self.bytes.len(), blob.len());
        assert_eq!(self.about, Some((blob.len() as u64, 0..blob.len() as u64)));
        assert_eq!(self.started.last().map(String::as_str), Some(name));
    }
}

fn located(holders: &[(u16, usize)]) -> Message {
    let holder = |(member, length): &(u16, usize)| Holder { member: *member, length: *length as u64 };
    Message::Located { stream: LOCATE, holders: holders.iter().map(holder).collect() }
}

/// The honest answer of who holds these bytes.
fn chunk(read: &Read, held: &[u8]) -> Message {
    let end = read.offset + u64::from(read.length);
    let bytes = held.get(place(read.offset)..place(end)).map(Bytes::copy_from_slice);
    // of what is not there, the proof is empty as well
    let bytes = bytes.unwrap_or_else(|| vec![0; read.length as usize].into());
    Message::Chunk { stream: read.stream, offset: read.offset, parents: proof(held, read.offset..end), bytes }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

fn failed(read: &Read) -> Message {
    Message::failed(read.stream, Code::Storage, "the disk")
}

#[test]
fn a_blob_comes_from_the_first_holder() {
    for blob in [&SMALL, &LARGE] {
        let mut client = Client::located(blob, &[(1, blob.len()), (2, blob.len())]);
        let last_group = (blob.len() - 1) / tree::GROUP * tree::GROUP;
        // what shows the length comes first
        let places = std::iter::once(last_group).chain((0..).map(|i| i * MAX_CHUNK));
        for (place, read) in places.zip(&client.reads) {
            assert_eq!((read.member, read.digest, read.offset), (1, Digest::of(blob), place as u64));
        }
        assert_eq!(client.about, None);
        client.answer_all(blob).unwrap();
        client.assert_got(blob, "replica-1");
        assert_eq!((client.started.len(), client.rejected.len()), (1, 0));
        for slice in &client.slices {
            let Slice { offset, proof, bytes } = slice;
            assert_eq!(tree::verify(&Digest::of(blob), blob.len() as u64, *offset, bytes, proof), Ok(()));
        }
        let more = Message::Located { stream: LOCATE, holders: Vec::new() };
        assert_eq!(client.hear(&more), Err(unexpected("nothing more", "Located")));
    }
}

#[test]
fn a_blob_of_one_chunk_is_one_read() {
    for length in [1, 5, tree::GROUP, MAX_CHUNK - 1, MAX_CHUNK] {
        let blob = blob(length);
        let mut client = Client::located(&blob, &[(0, length)]);
        assert_eq!(client.reads.len(), 1, "{length}");
        client.answer_all(&blob).unwrap();
        client.assert_got(&blob, "replica-0");
    }
}

#[test]
fn an_empty_blob_is_verified_without_a_read() {
    let client = Client::located(b"", &[(3, 0)]);
    client.assert_got(b"", "replica-3");
    assert!(client.reads.is_empty());
    // and another blob is not taken for empty
    let mut client = Client::located(&SMALL, &[(0, 0), (3, SMALL.len())]);
    assert_eq!(client.rejected.len(), 1);
    client.answer_all(&SMALL).unwrap();
    client.assert_got(&SMALL, "replica-3");
}

#[test]
fn every_range_gives_exactly_its_bytes() {
    let length = LARGE.len() as u64;
    let chunk = MAX_CHUNK as u64;
    let cases = [
        ("0-0", 0..1, 2),
        ("0-16383", 0..16_384, 2),
        ("16383-16384", 16_383..16_385, 2),
        ("100000-900000", 100_000..900_001, 5),
        ("262144-524287", chunk..2 * chunk, 2),
        ("262143-524288", chunk - 1..2 * chunk + 1, 4),
        // the last group shows the length and has the bytes
        ("-1", length - 1..length, 1),
        ("-300000", length - 300_000..length, 4),
        ("0-", 0..length, 13),
        ("5-99999999999999999999", 5..length, 13),
        ("-99999999999999999999", 0..length, 13),
    ];
    for (text, expected, reads) in cases {
        let mut client = Client::wanting(&LARGE, None, Some(text.parse().unwrap()));
        client.hear(&located(&[(0, LARGE.len())])).unwrap();
        let mut asked = client.reads.len();
        while !client.reads.is_empty() {
            let before = client.reads.len();
            client.answer(&LARGE).unwrap();
            asked += client.reads.len() + 1 - before;
        }
        assert!(client.verified, "{text}: {:?}", client.rejected);
        assert_eq!(asked, reads, "{text}");
        assert!(client.bytes == LARGE[place(expected.start)..place(expected.end)], "{text}");
        assert_eq!(client.about, Some((length, expected)), "{text}");
    }
}

#[test]
fn a_range_beyond_the_end_is_one_only_of_a_verified_length() {
    let length = SMALL.len();
    let beyond: ByteRange = format!("{length}-").parse().unwrap();
    // who claims less does not decide; nor does who claims more
    let mut client = Client::wanting(&SMALL, None, Some(beyond));
    client.hear(&located(&[(0, 5), (1, length + 1), (2, length)])).unwrap();
    client.answer(&SMALL[..5]).unwrap();
    let longer = [&SMALL[..], b"!"].concat();
    client.answer(&longer).unwrap();
    assert_eq!((client.rejected.len(), &client.about), (2, &None));
    let unsatisfiable = SessionError::Unsatisfiable { range: beyond, length: length as u64 };
    assert_eq!(unsatisfiable.to_string(), format!("expected a range within the blob's {length} bytes, got {length}-"));
    assert_eq!(client.answer_all(&SMALL), Err(unsatisfiable));
    // of an empty blob there is no first byte, and the last ones are all of it
    let mut client = Client::wanting(b"", None, Some(ByteRange::From(0)));
    let unsatisfiable = SessionError::Unsatisfiable { range: ByteRange::From(0), length: 0 };
    assert_eq!(client.hear(&located(&[(0, 0)])), Err(unsatisfiable));
    let mut client = Client::wanting(b"", None, Some(ByteRange::Last(7)));
    client.hear(&located(&[(0, 0)])).unwrap();
    client.assert_got(b"", "replica-0");
}

#[test]
fn nobody_holds_it() {
    let mut client = Client::new(&SMALL, None);
    assert_eq!(client.hear(&located(&[])), Err(SessionError::NotFound(Digest::of(&SMALL))));
}

#[test]
fn the_answer_is_to_the_question() {
    let expected = |got| Err(unexpected("Cluster, then Located", got));
    let mut client = Client::new(&SMALL, None);
    assert_eq!(client.hear(&Message::Located { stream: Stream(2), holders: Vec::new() }), expected("Located"));
    let mut client = Client::new(&SMALL, None);
    let early = Message::Chunk { stream: LOCATE, offset: 0, parents: Vec::new(), bytes: SMALL.slice(..1) };
    assert_eq!(client.hear(&early), expected("Chunk"));
    let mut client = Client::located(&SMALL, &[(0, SMALL.len())]);
    assert_eq!(client.hear(&located(&[(1, SMALL.len())])), Err(unexpected("Chunk", "Located")));
    // before the committee that gives the holders their names
    let (mut session, hello) = GetSession::new(GetRequest {
        trusted: None,
        digest: Digest::of(&SMALL),
        length: None,
        range: None,
        nonce: hello_nonce("get"),
    });
    for bytes in Server::honest().welcome(&hello) {
        session.receive(&bytes).unwrap();
    }
    assert_eq!(session.receive(&located(&[(0, 5)]).encode()).map(|_| ()), expected("Located"));
}

#[test]
fn a_lookup_that_fails_is_told() {
    let failed = Failed::new(LOCATE, Code::NotEnoughReplicas, "nobody").with_subjects(vec![2]);
    let mut client = Client::new(&SMALL, None);
    let refused = SessionError::Refused { failed: failed.clone(), names: vec!["replica-2".into()] };
    assert_eq!(client.hear(&Message::Failed(failed)), Err(refused));
}

#[test]
fn a_claim_of_another_length_than_the_bundle_tells_is_not_tried() {
    let length = SMALL.len();
    let mut client = Client::new(&SMALL, Some(length as u64));
    client.hear(&located(&[(0, length - 1), (1, length + 1), (2, length)])).unwrap();
    // who agrees with nobody comes after: all three stand alone here, so in their order
    assert_eq!(
        client.rejected,
        [
            format!("replica-0: expected {length} bytes, got a claim of {}", length - 1),
            format!("replica-1: expected {length} bytes, got a claim of {}", length + 1),
        ]
    );
    assert_eq!(client.started, ["replica-2"]);
    client.answer_all(&SMALL).unwrap();
    client.assert_got(&SMALL, "replica-2");
}

#[test]
fn the_length_that_most_claim_is_tried_first() {
    let length = SMALL.len();
    let mut client = Client::located(&SMALL, &[(0, length + 1), (1, length), (2, length + 2), (3, length)]);
    assert_eq!(client.started, ["replica-1"]);
    client.answer_all(&SMALL).unwrap();
    client.assert_got(&SMALL, "replica-1");
    // once it is certain, nobody with another claim is asked for anything
    let mut client = Client::located(&SMALL, &[(0, length + 1), (1, length), (2, length + 2), (3, length)]);
    client.answer(&SMALL).unwrap();
    let oldest = client.reads.drain(..).next().unwrap();
    client.hear(&failed(&oldest)).unwrap();
    assert_eq!(client.started, ["replica-1", "replica-3"]);
    let oldest = client.reads.drain(..).next().unwrap();
    // all four were tried: there is nobody else to ask for
    let Err(SessionError::Exhausted(rejections)) = client.hear(&failed(&oldest)) else { panic!() };
    let reasons: Vec<_> = rejections[2..].iter().map(ToString::to_string).collect();
    let claim = |name: &str, claimed: usize| format!("{name}: expected {length} bytes, got a claim of {claimed}");
    assert_eq!(reasons, [claim("replica-0", length + 1), claim("replica-2", length + 2)]);
}

fn node_key(member: usize) -> NodeKey {
    CLUSTER.record().members()[member].node_key
}

#[test]
fn suspects_are_tried_last_and_named_like_everyone_who_failed() {
    let mut client = Client::new(&SMALL, None);
    client.session.try_last([0, 2].map(node_key).into());
    client.hear(&located(&[0, 1, 2, 3].map(|member| (member, SMALL.len())))).unwrap();
    let mut end = Ok(());
    while end.is_ok() {
        let read = client.reads.pop_back().expect("a read");
        client.reads.clear();
        end = client.hear(&failed(&read));
    }
    let Err(SessionError::Exhausted(rejections)) = end else { panic!("{end:?}") };
    let named: Vec<_> = rejections.into_iter().map(|rejection| rejection.name).collect();
    assert_eq!(named, ["replica-1", "replica-3", "replica-0", "replica-2"]);
    // alone with the bytes, a suspect is asked
    let mut client = Client::new(&SMALL, None);
    client.session.try_last([1].map(node_key).into());
    client.hear(&located(&[(1, SMALL.len())])).unwrap();
    client.answer_all(&SMALL).unwrap();
    client.assert_got(&SMALL, "replica-1");
}

/// A holder that answered the lookup late is named by the second one, and the get goes on where it stopped.
#[test]
fn holders_that_were_late_are_asked_when_all_others_failed() {
    let length = SMALL.len();
    let mut client = Client::located(&SMALL, &[(0, length), (2, length)]);
    (0..2).for_each(|_| client.answer(&SMALL).unwrap());
    let of_first: Vec<_> = client.reads.drain(..).collect();
    client.hear(&failed(&of_first[0])).unwrap();
    let of_second: Vec<_> = client.reads.drain(..).collect();
    assert!(!client.asked_again);
    client.hear(&failed(&of_second[0])).unwrap();
    assert!(client.asked_again && client.reads.is_empty());
    // answers to reads that were given up may still come
    client.hear(&chunk(&of_first[1], &SMALL)).unwrap();
    client.hear(&failed(&of_second[1])).unwrap();
    // nobody is asked twice, whatever it claims now
    client.hear(&located(&[(0, length + 1), (2, length), (3, length)])).unwrap();
    let next = client.reads.front().map(|read| (read.member, read.offset));
    assert_eq!((next, client.started.len()), (Some((3, MAX_CHUNK as u64)), 3));
    client.answer_all(&SMALL).unwrap();
    client.assert_got(&SMALL, "replica-3");
    assert_eq!(client.rejected.len(), 2);
}

#[test]
fn a_second_lookup_that_brings_nobody_names_those_who_failed() {
    let failing = || {
        let mut client = Client::located(&SMALL, &[(1, SMALL.len())]);
        let read = client.reads.pop_front().unwrap();
        client.reads.clear();
        client.hear(&failed(&read)).unwrap();
        assert!(client.asked_again);
        client
    };
    let expected = [Rejection { name: "replica-1".into(), reason: "storage fault: the disk".into() }];
    assert_eq!(failing().hear_of_nobody_else(), expected);
    // the same again, which failed already
    let exhausted = Err(SessionError::Exhausted(expected.to_vec()));
    assert_eq!(failing().hear(&located(&[(1, SMALL.len())])), exhausted);
    // a server that does not answer the second one
    assert_eq!(failing().hear(&Message::failed(LOCATE, Code::Busy, "one lookup at a time")), exhausted);
    // a late holder that fails as well is named with the others, and nobody is asked a third time
    let mut client = failing();
    client.hear(&located(&[(1, SMALL.len()), (2, SMALL.len())])).unwrap();
    let read = client.reads.pop_front().unwrap();
    let Err(SessionError::Exhausted(rejections)) = client.hear(&failed(&read)) else { panic!() };
    let named: Vec<_> = rejections.into_iter().map(|rejection| rejection.name).collect();
    assert_eq!(named, ["replica-1", "replica-2"]);
}

#[test]
fn late_answers_of_a_holder_given_up_are_ignored() {
    let mut client = Client::located(&SMALL, &[(0, SMALL.len()), (1, SMALL.len())]);
    let late: Vec<_> = client.reads.drain(..).collect();
    client.hear(&failed(&late[0])).unwrap();
    let own: Vec<_> = client.reads.drain(..).collect();
    let garbage = vec![0; SMALL.len()];
    // in between the answers of the next one, bytes and failures alike
    client.hear(&chunk(&late[1], &garbage)).unwrap();
    client.hear(&chunk(&own[0], &SMALL)).unwrap();
    client.hear(&failed(&late[2])).unwrap();
    client.hear(&chunk(&late[2], &garbage)).unwrap();
    client.hear(&chunk(&own[1], &SMALL)).unwrap();
    client.hear(&chunk(&own[2], &SMALL)).unwrap();
    client.hear(&chunk(&own[3], &SMALL)).unwrap();
    client.assert_got(&SMALL, "replica-1");
    assert_eq!(client.rejected.len(), 1);
}

/// The server closes a link with more: the reads of a holder given up count until they are answered.
#[test]
fn never_more_than_eight_reads_are_unanswered() {
    let length = LARGE.len();
    let mut client = Client::located(&LARGE, &[(0, length), (1, length), (2, length)]);
    assert_eq!(client.reads.len(), MAX_READS);
    client.answer(&LARGE).unwrap();
    assert_eq!(client.reads.len(), MAX_READS);
    for member in 0..2 {
        let oldest = client.reads.iter().position(|read| read.member == member).unwrap();
        let first = client.reads.remove(oldest).unwrap();
        client.hear(&failed(&first)).unwrap();
        assert_eq!(client.reads.len(), MAX_READS, "{member}");
        // for the one that was answered
        assert_eq!(client.reads.iter().filter(|read| read.member == member + 1).count(), 1);
    }
    // an answer that comes twice makes room once
    let late = client.reads.pop_front().unwrap();
    client.hear(&failed(&late)).unwrap();
    client.hear(&failed(&late)).unwrap();
    assert_eq!(client.reads.len(), MAX_READS);
    client.answer_all(&LARGE).unwrap();
    client.assert_got(&LARGE, "replica-2");
    assert_eq!(client.rejected.len(), 2);
}

#[test]
fn a_member_beyond_the_committee_is_named_by_its_number() {
    let mut client = Client::located(&SMALL, &[(999, SMALL.len())]);
    assert_eq!(client.started, ["member 999"]);
    let read = client.reads.pop_front().unwrap();
    let reason = "storage fault: the disk".into();
    client.hear(&failed(&read)).unwrap();
    assert_eq!(client.hear_of_nobody_else(), [Rejection { name: "member 999".into(), reason }]);
}
