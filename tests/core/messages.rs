//! Bounds of every message field: a value beyond the bound is refused, and a claimed length allocates nothing.

use bytes::Bytes;
use vouch_core::Limits;
use vouch_core::access::Authorisation;
use vouch_core::committee::CommitteeRecord;
use vouch_core::link::{HelloError, LINK_VERSION};
use vouch_core::message::{
    ListPage, ListPosition, MAX_BLOB, MAX_CHUNK, MAX_DETAIL, MAX_MESSAGE, Message, MessageError,
};
use vouch_core::tree::Parent;

use crate::golden::messages;
use support::committee::{TestCommittee, receipt};

const STREAM: [u8; 4] = [1, 0, 0, 0];
const BEYOND_SAFE: [u8; 8] = (1u64 << 53).to_le_bytes();
const SAFE: [u8; 8] = ((1u64 << 53) - 1).to_le_bytes();

/// Tag, stream and body.
fn bytes(tag: u8, parts: &[&[u8]]) -> Bytes {
    [&[tag], &STREAM[..], &parts.concat()].concat().into()
}

fn accepted(tag: u8, parts: &[&[u8]]) {
    let decoded = Message::decode(&bytes(tag, parts));
    assert!(decoded.is_ok(), "{tag:#04x}: {decoded:?}");
}

fn refused(tag: u8, parts: &[&[u8]]) {
    let decoded = Message::decode(&bytes(tag, parts));
    assert!(decoded.is_err(), "{tag:#04x}: {decoded:?}");
}

#[test]
fn truncated_and_extended_messages_are_refused() {
    for (name, message) in messages(&TestCommittee::labelled("golden", 4)) {
        let encoded = message.encode();
        // messages that end in bytes of any length: the minimum total length
        let to_the_end = match &message {
            Message::Chunk { parents, .. } => Some(14 + Parent::SIZE * parents.len() + 1),
            Message::Blob { authorisation: None, .. } => Some(71),
            Message::Blob { authorisation: Some(_), .. } => Some(71 + Authorisation::SIZE),
            Message::Peer(_) => Some(1),
            _ => None,
        };
        for end in 0..encoded.len() {
            // a shorter chunk is valid, but not an empty one
            // an authorisation that may be left out is a valid end as well
            let is_whole = end + Authorisation::SIZE == encoded.len();
            let is_shorter = is_whole && matches!(message, Message::PutEnd { .. } | Message::Locate { .. });
            if !is_shorter && to_the_end.is_none_or(|least| end < least) {
                assert!(Message::decode(&encoded.slice(..end)).is_err(), "{name}: {end} of {} bytes", encoded.len());
            }
        }
        let longer: Bytes = [&encoded[..], &[0]].concat().into();
        assert_eq!(Message::decode(&longer).is_ok(), to_the_end.is_some(), "{name}");
    }
}

#[test]
fn stream_zero_is_accepted_in_failures_only() {
    for (name, message) in messages(&TestCommittee::labelled("golden", 4)) {
        let mut encoded = message.encode().to_vec();
        if encoded.get(1..5) == Some(&[4, 3, 2, 1]) {
            encoded[1..5].fill(0);
            let is_failure = matches!(message, Message::Failed(_));
            assert_eq!(Message::decode(&encoded.into()).is_ok(), is_failure, "{name}");
        }
    }
}

#[test]
fn chunk_and_read_bounds() {
    let chunk = |offset: &[u8; 8], size: usize| bytes(0x11, &[offset, &[0], &vec![7; size]]);
    for (offset, size, is_ok) in [
        (SAFE, 1, true),
        (SAFE, MAX_CHUNK, true),
        (SAFE, 0, false),
        (SAFE, MAX_CHUNK + 1, false),
        (BEYOND_SAFE, 1, false),
    ] {
        assert_eq!(Message::decode(&chunk(&offset, size)).is_ok(), is_ok, "{size}");
    }
    let with = |count: u8, there: usize, rest: &[u8]| bytes(0x11, &[&SAFE, &[count], &vec![7; 64 * there], rest]);
    for (chunk, is_ok) in [
        (with(80, 80, b"x"), true),
        (with(1, 1, &[7; MAX_CHUNK]), true),
        (with(81, 81, b"x"), false),
        (with(80, 80, b""), false),
        (with(80, 79, &[7; 63]), false),
        (with(0, 0, &[7; MAX_CHUNK + 1]), false),
    ] {
        assert_eq!(Message::decode(&chunk).is_ok(), is_ok, "{} bytes", chunk.len());
    }
    let whole = |size: usize| bytes(0x18, &[&[0], &receipt("blob").encode(), &vec![7; size]]);
    for (size, is_ok) in [(0, true), (MAX_BLOB, true), (MAX_BLOB + 1, false)] {
        assert_eq!(Message::decode(&whole(size)).is_ok(), is_ok, "{size}");
    }
    let read = |offset: [u8; 8], length: u32| [&[0; 34][..], &offset, &length.to_le_bytes()].concat();
    let last_group = ((1u64 << 53) - 16_384).to_le_bytes();
    accepted(0x22, &[&read(last_group, 1)]);
    accepted(0x22, &[&read(last_group, 262_144)]);
    refused(0x22, &[&read(last_group, 0)]);
    refused(0x22, &[&read(last_group, 262_145)]);
    refused(0x22, &[&read(BEYOND_SAFE, 1)]);
    // reads start at a group boundary, as proofs cover whole groups
    refused(0x22, &[&read(SAFE, 1)]);
    refused(0x22, &[&read(1024u64.to_le_bytes(), 1)]);
    let too_large = Bytes::from(vec![0x11; MAX_MESSAGE + 1]);
    assert_eq!(Message::decode(&too_large), Err(MessageError::TooLarge(MAX_MESSAGE + 1)));
}

#[test]
fn member_indices_are_below_1000() {
    let last = 999u16.to_le_bytes();
    let beyond = 1000u16.to_le_bytes();
    accepted(0x15, &[&last, &[1]]);
    refused(0x15, &[&beyond, &[1]]);
    let rest = [&[0; 40][..], &[1, 0, 0, 0]].concat();
    accepted(0x22, &[&last, &rest]);
    refused(0x22, &[&beyond, &rest]);
    accepted(0x21, &[&[1, 0], &last, &SAFE]);
    refused(0x21, &[&[1, 0], &beyond, &SAFE]);
}

#[test]
fn holders_are_strictly_ascending() {
    let holders = |members: &[u16]| -> Vec<u8> {
        members.iter().flat_map(|member| [&member.to_le_bytes()[..], &SAFE].concat()).collect()
    };
    let count = |count: u16| count.to_le_bytes();
    accepted(0x21, &[&count(0)]);
    accepted(0x21, &[&count(3), &holders(&[0, 1, 999])]);
    refused(0x21, &[&count(2), &holders(&[1, 1])]);
    refused(0x21, &[&count(2), &holders(&[2, 1])]);
    refused(0x21, &[&count(1), &[0, 0], &BEYOND_SAFE]);
    let all: Vec<u16> = (0..1000).collect();
    accepted(0x21, &[&count(1000), &holders(&all)]);
    refused(0x21, &[&count(1001), &holders(&all), &holders(&[1000])]);
}

#[test]
fn enumerated_values_are_bounded() {
    for (stage, is_ok) in [(0, false), (1, true), (4, true), (5, false)] {
        assert_eq!(Message::decode(&bytes(0x15, &[&[0, 0], &[stage]])).is_ok(), is_ok, "stage {stage}");
    }
    for (flags, is_ok) in [(0, false), (1, true), (2, false), (3, true), (4, false), (5, false)] {
        let put = bytes(0x10, &[&[flags], &receipt("messages").encode()]);
        assert_eq!(Message::decode(&put).is_ok(), is_ok, "flags {flags}");
    }
    let hello = |role: u8, version: u16, epoch: &[u8; 8]| -> Bytes {
        [&[0x01][..], &version.to_le_bytes(), &[role], &[0; 32], epoch, &[0; 64]].concat().into()
    };
    for role in 0..=4 {
        assert_eq!(Message::decode(&hello(role, LINK_VERSION, &SAFE)).is_ok(), (1..=3).contains(&role), "role {role}");
    }
    assert_eq!(LINK_VERSION, 3, "PROTOCOL.md and the independent implementation name it too");
    for theirs in [0, 2, 4, u16::MAX] {
        let error = Message::decode(&hello(1, theirs, &SAFE)).unwrap_err();
        assert_eq!(error, HelloError::Version { theirs }.into());
        assert!(error.to_string().contains(&format!("expected 3, got {theirs}; run the same release")), "{error}");
    }
    assert!(Message::decode(&hello(1, LINK_VERSION, &BEYOND_SAFE)).is_err());
}

#[test]
fn batch_size_is_bounded() {
    let one = receipt("messages").encode();
    let propose = |issued_at: &[u8; 8], count: u16, there: usize| {
        bytes(0x31, &[issued_at, &count.to_le_bytes(), &one.repeat(there)])
    };
    assert!(Message::decode(&propose(&SAFE, 4096, 4096)).is_ok());
    for refused in [propose(&SAFE, 0, 0), propose(&SAFE, 4097, 4097), propose(&SAFE, 2, 1), propose(&BEYOND_SAFE, 1, 1)]
    {
        assert!(Message::decode(&refused).is_err());
    }
}

#[test]
fn failure_fields_are_bounded() {
    let failed = |code: u16, subjects: u16, detail: &[u8]| {
        let size = u16::try_from(detail.len()).unwrap();
        let listed = vec![0; 2 * usize::from(subjects)];
        bytes(0x04, &[&code.to_le_bytes(), &subjects.to_le_bytes(), &listed, &size.to_le_bytes(), detail])
    };
    let is_ok = |bytes: Bytes| Message::decode(&bytes).is_ok();
    assert!(is_ok(failed(20, 4096, &[b'x'; MAX_DETAIL])));
    assert!(!is_ok(failed(0, 0, b"")) && !is_ok(failed(22, 0, b"")));
    assert!(!is_ok(failed(1, 4097, b"")));
    assert!(!is_ok(failed(1, 0, &[b'x'; MAX_DETAIL + 1])));
    assert!(!is_ok(failed(1, 0, b"\xFF")));
    // a detail that is too long is truncated at a character boundary
    let made = Message::failed(vouch_core::message::Stream(1), vouch_core::message::Code::Busy, "ü".repeat(300));
    assert_eq!(Message::decode(&made.encode()), Ok(made));
}

#[test]
fn committee_message_requires_every_possession_proof() {
    let Message::Cluster(cluster) = TestCommittee::labelled("golden", 4).message() else { unreachable!() };
    let committee = cluster.genesis.encode();
    let message = |size: usize, proofs: usize| -> Bytes {
        let size = u32::try_from(size).unwrap().to_le_bytes();
        [&[0x03][..], &size, &committee, &[0; 96].repeat(proofs)].concat().into()
    };
    assert!(Message::decode(&message(committee.len(), 4)).is_ok());
    for (size, proofs) in [(0, 4), (committee.len() - 1, 4), (committee.len() + 1, 4), (1 << 31, 4), (564, 3), (564, 5)]
    {
        assert!(Message::decode(&message(size, proofs)).is_err(), "{size}, {proofs}");
    }
}

/// Sets each count field to its maximum, with no items behind it.
#[test]
fn claimed_counts_allocate_nothing() {
    let max = |count: u16| count.to_le_bytes();
    let header = &TestCommittee::labelled("golden", 4).record().encode()[..148];
    let mut committee = header.to_vec();
    committee[98..100].copy_from_slice(&max(1000));
    let size = u32::try_from(committee.len()).unwrap().to_le_bytes();
    let claims = [
        bytes(0x11, &[&SAFE, &[80]]),
        bytes(0x21, &[&max(1000)]),
        bytes(0x31, &[&SAFE, &max(4096)]),
        bytes(0x04, &[&[1, 0], &max(4096)]),
        [&[0x03][..], &size, &committee].concat().into(),
        // the message with later epochs: their number, and the size of the first committee
        [&[0x44, 0][..], &max(4096)].concat().into(),
        [&[0x44, 0, 1, 0][..], &104_180_u32.to_le_bytes(), &[7; 64]].concat().into(),
        [&[0x03][..], &(MAX_MESSAGE as u64).to_le_bytes()[..4], header].concat().into(),
    ];
    for claim in claims {
        let peak = allocation_counter::measure(|| assert!(Message::decode(&claim).is_err())).bytes_max;
        assert!(peak < 256, "{:#04x}: {peak} bytes", claim[0]);
    }
    let peak =
        allocation_counter::measure(|| assert!(CommitteeRecord::decode(&committee, &Limits::default()).is_err()))
            .bytes_max;
    assert!(peak < 256, "{peak} bytes");
}

#[test]
fn endorsed_blob_count_is_bounded() {
    let endorse = |count: u16| {
        let digests = vec![7; 32 * usize::from(count)];
        Message::decode(&[&[0x36][..], &count.to_le_bytes(), &digests].concat().into()).is_ok()
    };
    assert!(endorse(1) && endorse(256));
    assert!(!endorse(0) && !endorse(257));
}

#[test]
fn signed_time_fields_are_bounded() {
    let signed = |member: u16, time: &[u8; 8]| [&member.to_le_bytes()[..], time, &[7; 64]].concat();
    accepted(0x38, &[&signed(999, &SAFE)]);
    refused(0x38, &[&signed(1000, &SAFE)]);
    refused(0x38, &[&signed(0, &BEYOND_SAFE)]);
    accepted(0x37, &[&[7; 64]]);
    refused(0x37, &[&[7; 63]]);
    refused(0x37, &[&[7; 65]]);
}

#[test]
fn listed_certificates_are_bounded() {
    let certificate = TestCommittee::labelled("golden", 4).certify_one(1_790_000_000, receipt("golden")).encode();
    let size = u16::try_from(certificate.len()).unwrap();
    let listed = |count: u16, size: u16| [&count.to_le_bytes()[..], &size.to_le_bytes(), &certificate].concat();
    // the fields before the certificates, in a list and in a notice
    for (tag, head) in [(0x35, [&SAFE[..], &SAFE, &[1]].concat()), (0x3c, Vec::new())] {
        let is_ok = |rest: &[u8]| {
            let message = bytes(tag, &[&head, rest]);
            // a notice has no stream field
            let message = if tag == 0x3c { [&[tag], &message[5..]].concat().into() } else { message };
            Message::decode(&message).is_ok()
        };
        assert!(is_ok(&[0, 0]));
        assert!(is_ok(&listed(1, size)));
        for (count, size) in [(0, size), (2, size), (u16::MAX, size), (1, size - 1), (1, u16::MAX)] {
            assert!(!is_ok(&listed(count, size)), "{tag:#04x}: {count} of {size} bytes");
        }
    }
    refused(0x35, &[&SAFE, &SAFE, &[2], &[0, 0]]);
    refused(0x35, &[&BEYOND_SAFE, &SAFE, &[1], &[0, 0]]);
    refused(0x35, &[&SAFE, &BEYOND_SAFE, &[1], &[0, 0]]);
}

#[test]
fn list_filters_are_bounded() {
    for (whose, is_ok) in [(0_u16, true), (999, true), (1000, false), (u16::MAX - 1, false), (u16::MAX, true)] {
        let list = [&whose.to_le_bytes()[..], &SAFE, &SAFE, &[0, 0]];
        if is_ok { accepted(0x34, &list) } else { refused(0x34, &list) }
    }
    for (filter, is_ok) in [(0_u16, true), (999, true), (1000, false), (u16::MAX - 1, true), (u16::MAX, true)] {
        let list = [&[0, 0], &SAFE[..], &SAFE, &filter.to_le_bytes()];
        if is_ok { accepted(0x34, &list) } else { refused(0x34, &list) }
    }
    refused(0x34, &[&[0, 0], &BEYOND_SAFE, &SAFE, &[0, 0]]);
    refused(0x34, &[&[0, 0], &SAFE, &BEYOND_SAFE, &[0, 0]]);
    accepted(0x3b, &[&[0]]);
    refused(0x3b, &[&[1]]);
    refused(0x3b, &[&[2]]);
    refused(0x3b, &[&[0, 0]]);
}

#[test]
fn page_that_announces_more_must_advance() {
    let at = |list, after| ListPosition { list, after };
    let page = |end, more| ListPage { end, more, certificates: Vec::new() };
    assert!(page(at(7, 5), true).advances_beyond(at(7, 4)));
    assert!(page(at(8, 1), true).advances_beyond(at(7, 4)), "another list begins anew");
    for stuck in [4, 3] {
        assert!(!page(at(7, stuck), true).advances_beyond(at(7, 4)));
        assert!(page(at(7, stuck), false).advances_beyond(at(7, 4)), "nothing more is asked for");
    }
}
