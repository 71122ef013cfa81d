//! Gets: from one holder or the next, and every answer that is not the blob.

use std::collections::VecDeque;
use std::sync::LazyLock;

use bytes::Bytes;
use vouch_core::digest::Digest;
use vouch_core::message::{Code, Failed, Holder, MAX_CHUNK, MAX_READS, Message, Read, Stream};
use vouch_core::session::{GetEvent, GetRequest, GetSession, Rejection, SessionError};

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
    started: Vec<String>,
    rejected: Vec<String>,
    verified: bool,
}

impl Client {
    /// Behind `Cluster`: it has asked where the blob is.
    fn new(blob: &[u8], length: Option<u64>) -> Self {
        let (trusted, digest) = (Some(identity(&CLUSTER)), Digest::of(blob));
        let (mut session, hello) = GetSession::new(GetRequest { trusted, digest, length, nonce: hello_nonce("get") });
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
        let (reads, bytes) = (VecDeque::new(), Vec::new());
        Self { session, reads, bytes, started: Vec::new(), rejected: Vec::new(), verified: false }
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
                GetEvent::Send(other) => panic!("{other:?}"),
                GetEvent::Start { name, .. } => {
                    self.started.push(name);
                    self.bytes.clear();
                }
                GetEvent::Bytes(bytes) => self.bytes.extend_from_slice(&bytes),
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
        assert_eq!(self.started.last().map(String::as_str), Some(name));
    }
}

fn located(holders: &[(u16, usize)]) -> Message {
    let holder = |(member, length): &(u16, usize)| Holder { member: *member, length: *length as u64 };
    Message::Located { stream: LOCATE, holders: holders.iter().map(holder).collect() }
}

fn chunk(read: &Read, held: &[u8]) -> Message {
    let start = usize::try_from(read.offset).unwrap();
    let bytes = Bytes::copy_from_slice(&held[start..start + read.length as usize]);
    Message::Chunk { stream: read.stream, offset: read.offset, bytes }
}

fn failed(read: &Read) -> Message {
    Message::failed(read.stream, Code::Storage, "the disk")
}

#[test]
fn a_blob_comes_from_the_first_holder() {
    for blob in [&SMALL, &LARGE] {
        let mut client = Client::located(blob, &[(1, blob.len()), (2, blob.len())]);
        for (i, read) in client.reads.iter().enumerate() {
            assert_eq!((read.member, read.digest, read.offset), (1, Digest::of(blob), (i * MAX_CHUNK) as u64));
        }
        client.answer_all(blob).unwrap();
        client.assert_got(blob, "replica-1");
        assert_eq!((client.started.len(), client.rejected.len()), (1, 0));
        let more = Message::Located { stream: LOCATE, holders: Vec::new() };
        assert_eq!(client.hear(&more), Err(unexpected("nothing more", "Located")));
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
    let early = Message::Chunk { stream: LOCATE, offset: 0, bytes: SMALL.slice(..1) };
    assert_eq!(client.hear(&early), expected("Chunk"));
    let mut client = Client::located(&SMALL, &[(0, SMALL.len())]);
    assert_eq!(client.hear(&located(&[(1, SMALL.len())])), Err(unexpected("Chunk", "Located")));
    // before the committee that gives the holders their names
    let (mut session, hello) = GetSession::new(GetRequest {
        trusted: None,
        digest: Digest::of(&SMALL),
        length: None,
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
fn other_bytes_are_laid_to_the_member_and_the_next_is_read() {
    let mut other = SMALL.to_vec();
    *other.last_mut().unwrap() ^= 1;
    let mut client = Client::located(&SMALL, &[(0, SMALL.len()), (2, SMALL.len())]);
    for _ in 0..3 {
        client.answer(&other).unwrap();
    }
    let (expected, got) = (Digest::of(&SMALL), Digest::of(&other));
    let reason = format!("the bytes differ: expected digest {expected}, got {got}");
    assert_eq!(client.rejected, [format!("replica-0: {reason}")]);
    assert!(client.bytes.is_empty() && !client.verified);
    // once more, and nobody is left
    let rejected = |name: &str| Rejection { name: name.into(), reason: reason.clone() };
    let exhausted = SessionError::Exhausted(vec![rejected("replica-0"), rejected("replica-2")]);
    let told = exhausted.to_string();
    assert!(told.contains("replica-0: the bytes differ") && told.contains("replica-2: the bytes differ"), "{told}");
    assert_eq!(client.answer_all(&other), Err(exhausted));
}

#[test]
fn a_shorter_blob_than_was_claimed_is_noticed() {
    let mut client = Client::located(&SMALL, &[(0, SMALL.len() - 1), (1, SMALL.len() + 1), (2, SMALL.len())]);
    for _ in 0..3 {
        client.answer(&SMALL).unwrap();
    }
    assert_eq!(client.rejected.len(), 1);
    let longer = [&SMALL[..], b"!"].concat();
    for _ in 0..3 {
        client.answer(&longer).unwrap();
    }
    assert_eq!(client.rejected.len(), 2);
    client.answer_all(&SMALL).unwrap();
    client.assert_got(&SMALL, "replica-2");
}

#[test]
fn chunks_that_were_not_asked_for_are_laid_to_the_member() {
    let first = |client: &Client| client.reads[0];
    let lies: [fn(&Read, &Read) -> Message; 5] = [
        // the second before the first
        |_, second| chunk(second, &SMALL),
        // fewer bytes than were asked for
        |first, _| Message::Chunk { stream: first.stream, offset: first.offset, bytes: SMALL.slice(..7) },
        // those from somewhere else
        |first, second| Message::Chunk { stream: first.stream, offset: second.offset, bytes: SMALL.slice(..MAX_CHUNK) },
        // on a stream that was never used
        |first, _| Message::Chunk { stream: Stream(1000), offset: first.offset, bytes: SMALL.slice(..MAX_CHUNK) },
        |first, _| failed(first),
    ];
    for (i, lie) in lies.into_iter().enumerate() {
        let mut client = Client::located(&SMALL, &[(0, SMALL.len()), (1, SMALL.len())]);
        let (first, second) = (first(&client), client.reads[1]);
        let message = lie(&first, &second);
        let (Message::Chunk { stream: answered, .. } | Message::Failed(Failed { stream: answered, .. })) = &message
        else {
            unreachable!()
        };
        client.reads.retain(|read| read.stream != *answered);
        client.hear(&message).unwrap();
        assert_eq!((client.rejected.len(), client.started.len()), (1, 2), "lie {i}");
        assert!(client.rejected[0].starts_with("replica-0: "), "{:?}", client.rejected);
        // what the first still sends counts for nothing
        client.answer_all(&SMALL).unwrap();
        client.assert_got(&SMALL, "replica-1");
        assert_eq!(client.rejected.len(), 1, "lie {i}");
    }
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
    let exhausted = SessionError::Exhausted(vec![Rejection { name: "member 999".into(), reason }]);
    assert_eq!(client.hear(&failed(&read)), Err(exhausted));
}
