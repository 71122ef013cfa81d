//! Get sessions: whole blobs and ranges, from one holder or the next.

mod late_holders;
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
use support::committee::{blob, hello_nonce};

const LOCATE: Stream = Stream(1);

/// A blob of two full reads and a small one.
static SMALL: LazyLock<Bytes> = LazyLock::new(|| blob(2 * MAX_CHUNK + 5));
/// A blob of more reads than may be unanswered at once.
static LARGE: LazyLock<Bytes> = LazyLock::new(|| blob((MAX_READS + 3) * MAX_CHUNK + 1));

/// A client session with its events so far.
struct Client {
    session: GetSession,
    /// Unanswered reads, oldest first.
    reads: VecDeque<Read>,
    bytes: Vec<u8>,
    /// The length and the range, once verified.
    about: Option<(u64, Range<u64>)>,
    slices: Vec<Slice>,
    started: Vec<String>,
    rejected: Vec<String>,
    verified: bool,
    /// It sent a second lookup.
    asked_again: bool,
}

impl Client {
    /// A client after `Cluster`, which has sent its lookup.
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
        let [GetEvent::Send(Message::Locate { stream: LOCATE, digest: asked, authorisation: None })] = events[..]
        else {
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

    /// A client whose lookup was answered with these holders and lengths.
    fn located(blob: &[u8], holders: &[(u16, usize)]) -> Self {
        let mut client = Self::new(blob, None);
        client.receive(&located(holders)).unwrap();
        client
    }

    fn receive(&mut self, message: &Message) -> Result<(), SessionError> {
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

    /// Answers the oldest read honestly from these bytes.
    fn answer(&mut self, held: &[u8]) -> Result<(), SessionError> {
        let read = self.reads.pop_front().expect("a read");
        self.receive(&chunk(&read, held))
    }

    /// All named holders have failed: answers the second lookup with none; returns the rejections.
    fn assert_exhausted(&mut self) -> Vec<Rejection> {
        assert!(self.asked_again, "rejected: {:?}", self.rejected);
        match self.receive(&located(&[])) {
            Err(SessionError::Exhausted(rejections)) => rejections,
            other => panic!("{other:?}"),
        }
    }

    /// Answers until no read is left.
    fn answer_all(&mut self, held: &[u8]) -> Result<(), SessionError> {
        while !self.reads.is_empty() {
            self.answer(held)?;
        }
        Ok(())
    }

    /// Asserts that the blob arrived from `name`.
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

/// The honest answer of a holder of these bytes.
fn chunk(read: &Read, held: &[u8]) -> Message {
    let end = read.offset + u64::from(read.length);
    let bytes = held.get(place(read.offset)..place(end)).map(Bytes::copy_from_slice);
    // beyond the end: zeros, with an empty proof
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
fn blob_is_read_from_the_first_holder() {
    for blob in [&SMALL, &LARGE] {
        let mut client = Client::located(blob, &[(1, blob.len()), (2, blob.len())]);
        let last_group = (blob.len() - 1) / tree::GROUP * tree::GROUP;
        // the last group, which proves the length, is read first
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
        assert_eq!(client.receive(&more), Err(unexpected("nothing more", "Located")));
    }
}

#[test]
fn blob_of_one_chunk_needs_one_read() {
    for length in [1, 5, tree::GROUP, MAX_CHUNK - 1, MAX_CHUNK] {
        let blob = blob(length);
        let mut client = Client::located(&blob, &[(0, length)]);
        assert_eq!(client.reads.len(), 1, "{length}");
        client.answer_all(&blob).unwrap();
        client.assert_got(&blob, "replica-0");
    }
}

#[test]
fn empty_blob_is_verified_without_a_read() {
    let client = Client::located(b"", &[(3, 0)]);
    client.assert_got(b"", "replica-3");
    assert!(client.reads.is_empty());
    // a nonempty blob is not accepted as empty
    let mut client = Client::located(&SMALL, &[(0, 0), (3, SMALL.len())]);
    assert_eq!(client.rejected.len(), 1);
    client.answer_all(&SMALL).unwrap();
    client.assert_got(&SMALL, "replica-3");
}

#[test]
fn every_range_yields_exactly_its_bytes() {
    let length = LARGE.len() as u64;
    let chunk = MAX_CHUNK as u64;
    let cases = [
        ("0-0", 0..1, 2),
        ("0-16383", 0..16_384, 2),
        ("16383-16384", 16_383..16_385, 2),
        ("100000-900000", 100_000..900_001, 5),
        ("262144-524287", chunk..2 * chunk, 2),
        ("262143-524288", chunk - 1..2 * chunk + 1, 4),
        // the last group proves the length and has the bytes
        ("-1", length - 1..length, 1),
        ("-300000", length - 300_000..length, 4),
        ("0-", 0..length, 13),
        ("5-99999999999999999999", 5..length, 13),
        ("-99999999999999999999", 0..length, 13),
    ];
    for (text, expected, reads) in cases {
        let mut client = Client::wanting(&LARGE, None, Some(text.parse().unwrap()));
        client.receive(&located(&[(0, LARGE.len())])).unwrap();
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
fn range_is_beyond_the_end_only_of_a_verified_length() {
    let length = SMALL.len();
    let beyond: ByteRange = format!("{length}-").parse().unwrap();
    // an unverified claim decides nothing, smaller or larger
    let mut client = Client::wanting(&SMALL, None, Some(beyond));
    client.receive(&located(&[(0, 5), (1, length + 1), (2, length)])).unwrap();
    client.answer(&SMALL[..5]).unwrap();
    let longer = [&SMALL[..], b"!"].concat();
    client.answer(&longer).unwrap();
    assert_eq!((client.rejected.len(), &client.about), (2, &None));
    let unsatisfiable = SessionError::Unsatisfiable { range: beyond, length: length as u64 };
    assert_eq!(unsatisfiable.to_string(), format!("expected a range within the blob's {length} bytes, got {length}-"));
    assert_eq!(client.answer_all(&SMALL), Err(unsatisfiable));
    // an empty blob has no first byte; a suffix range of it is the whole blob
    let mut client = Client::wanting(b"", None, Some(ByteRange::From(0)));
    let unsatisfiable = SessionError::Unsatisfiable { range: ByteRange::From(0), length: 0 };
    assert_eq!(client.receive(&located(&[(0, 0)])), Err(unsatisfiable));
    let mut client = Client::wanting(b"", None, Some(ByteRange::Last(7)));
    client.receive(&located(&[(0, 0)])).unwrap();
    client.assert_got(b"", "replica-0");
}

#[test]
fn get_without_holders_fails() {
    let mut client = Client::new(&SMALL, None);
    assert_eq!(client.receive(&located(&[])), Err(SessionError::NotFound(Digest::of(&SMALL))));
}

#[test]
fn only_the_awaited_message_is_accepted() {
    let expected = |got| Err(unexpected("Cluster, then Located", got));
    let mut client = Client::new(&SMALL, None);
    assert_eq!(client.receive(&Message::Located { stream: Stream(2), holders: Vec::new() }), expected("Located"));
    let mut client = Client::new(&SMALL, None);
    let early = Message::Chunk { stream: LOCATE, offset: 0, parents: Vec::new(), bytes: SMALL.slice(..1) };
    assert_eq!(client.receive(&early), expected("Chunk"));
    let mut client = Client::located(&SMALL, &[(0, SMALL.len())]);
    assert_eq!(client.receive(&located(&[(1, SMALL.len())])), Err(unexpected("Chunk", "Located")));
    // before `Cluster`, which names the members
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
fn failed_lookup_is_reported() {
    let failed = Failed::new(LOCATE, Code::NotEnoughReplicas, "nobody").with_subjects(vec![2]);
    let mut client = Client::new(&SMALL, None);
    let refused = SessionError::Refused { failed: failed.clone(), names: vec!["replica-2".into()] };
    assert_eq!(client.receive(&Message::Failed(failed)), Err(refused));
}

#[test]
fn holder_claiming_another_length_than_the_bundle_is_not_tried() {
    let length = SMALL.len();
    let mut client = Client::new(&SMALL, Some(length as u64));
    client.receive(&located(&[(0, length - 1), (1, length + 1), (2, length)])).unwrap();
    // all three claims differ, so they are considered in member order
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
fn most_claimed_length_is_tried_first() {
    let length = SMALL.len();
    let mut client = Client::located(&SMALL, &[(0, length + 1), (1, length), (2, length + 2), (3, length)]);
    assert_eq!(client.started, ["replica-1"]);
    client.answer_all(&SMALL).unwrap();
    client.assert_got(&SMALL, "replica-1");
    // once the length is verified, holders with another claim are not asked
    let mut client = Client::located(&SMALL, &[(0, length + 1), (1, length), (2, length + 2), (3, length)]);
    client.answer(&SMALL).unwrap();
    let oldest = client.reads.drain(..).next().unwrap();
    client.receive(&failed(&oldest)).unwrap();
    assert_eq!(client.started, ["replica-1", "replica-3"]);
    let oldest = client.reads.drain(..).next().unwrap();
    // all four were tried: a second lookup is pointless
    let Err(SessionError::Exhausted(rejections)) = client.receive(&failed(&oldest)) else { panic!() };
    let reasons: Vec<_> = rejections[2..].iter().map(ToString::to_string).collect();
    let claim = |name: &str, claimed: usize| format!("{name}: expected {length} bytes, got a claim of {claimed}");
    assert_eq!(reasons, [claim("replica-0", length + 1), claim("replica-2", length + 2)]);
}

fn node_key(member: usize) -> NodeKey {
    CLUSTER.record().members()[member].node_key
}

#[test]
fn suspects_are_tried_last_and_named_on_failure() {
    let mut client = Client::new(&SMALL, None);
    client.session.try_last([0, 2].map(node_key).into());
    client.receive(&located(&[0, 1, 2, 3].map(|member| (member, SMALL.len())))).unwrap();
    let mut end = Ok(());
    while end.is_ok() {
        let read = client.reads.pop_back().expect("a read");
        client.reads.clear();
        end = client.receive(&failed(&read));
    }
    let Err(SessionError::Exhausted(rejections)) = end else { panic!("{end:?}") };
    let named: Vec<_> = rejections.into_iter().map(|rejection| rejection.name).collect();
    assert_eq!(named, ["replica-1", "replica-3", "replica-0", "replica-2"]);
    // a suspect is asked if it is the only holder
    let mut client = Client::new(&SMALL, None);
    client.session.try_last([1].map(node_key).into());
    client.receive(&located(&[(1, SMALL.len())])).unwrap();
    client.answer_all(&SMALL).unwrap();
    client.assert_got(&SMALL, "replica-1");
}

#[test]
fn holder_beyond_the_committee_is_named_by_its_number() {
    let mut client = Client::located(&SMALL, &[(999, SMALL.len())]);
    assert_eq!(client.started, ["member 999"]);
    let read = client.reads.pop_front().unwrap();
    let reason = "storage fault: the disk".into();
    client.receive(&failed(&read)).unwrap();
    assert_eq!(client.assert_exhausted(), [Rejection { name: "member 999".into(), reason }]);
}
