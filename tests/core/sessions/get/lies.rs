//! Wrong answers to reads.

use std::ops::Range;

use bytes::Bytes;
use support::blobs::proof;
use vouch_core::message::{Code, MAX_CHUNK, Message, Read, Stream};
use vouch_core::session::SessionError;
use vouch_core::tree;

use super::{Client, SMALL, chunk, place};
use support::committee::blob;

fn proof_of(range: Range<u64>) -> Vec<tree::Parent> {
    proof(&SMALL, range)
}

/// A lie of each kind about one chunk.
fn lies(honest: &Message) -> Vec<(&'static str, Message)> {
    let Message::Chunk { stream, offset, parents, bytes } = honest else { unreachable!() };
    let with = |offset: u64, parents: &[tree::Parent], bytes: &[u8]| Message::Chunk {
        stream: *stream,
        offset,
        parents: parents.to_vec(),
        bytes: Bytes::copy_from_slice(bytes),
    };
    let mut flipped = bytes.to_vec();
    flipped[bytes.len() / 2] ^= 1;
    let mut last = bytes.to_vec();
    last[bytes.len() - 1] ^= 0x80;
    let mut proof = parents.clone();
    proof[0].0[40] ^= 1;
    let longer = [&parents[..], &[tree::Parent([0; 64])]].concat();
    let other = blob(bytes.len() + 1);
    let mut lies = vec![
        ("a bit", with(*offset, parents, &flipped)),
        ("the last bit", with(*offset, parents, &last)),
        ("the proof", with(*offset, &proof, bytes)),
        ("no proof", with(*offset, &[], bytes)),
        ("a parent more", with(*offset, &longer, bytes)),
        ("other bytes under the right proof", with(*offset, parents, &other[1..])),
        ("fewer bytes", with(*offset, parents, &bytes[1..])),
        ("another place", with(*offset + 16_384, parents, bytes)),
        ("a failure", Message::failed(*stream, Code::Storage, "the disk")),
    ];
    if bytes.len() < MAX_CHUNK {
        lies.push(("more bytes", with(*offset, parents, &other)));
    }
    // valid slices of the blob that were not requested, with their proofs
    let elsewhere = if *offset == 0 { MAX_CHUNK as u64 } else { 0 };
    for (what, start, size) in [
        ("as much from elsewhere", elsewhere, bytes.len().next_multiple_of(tree::GROUP)),
        ("less from elsewhere", elsewhere, tree::GROUP),
        ("less from there", *offset, if bytes.len() > tree::GROUP { tree::GROUP } else { 0 }),
    ] {
        let end = start + size as u64;
        if size > 0 {
            lies.push((what, with(start, &proof_of(start..end), &SMALL[place(start)..place(end)])));
        }
    }
    lies
}

/// Whichever chunk a member lies about and how: verified bytes are kept, no wrong byte is output, and the next member
/// is asked for none of the verified bytes.
#[test]
fn lie_about_any_chunk_rejects_the_member_and_the_next_one_continues() {
    // one read for the length, and three for the bytes
    for number in 0..4 {
        let honest = |client: &Client| chunk(&client.reads[0], &SMALL);
        let mut client = Client::located(&SMALL, &[(0, SMALL.len()), (2, SMALL.len())]);
        (0..number).for_each(|_| client.answer(&SMALL).unwrap());
        for i in 0..lies(&honest(&client)).len() {
            let mut client = Client::located(&SMALL, &[(0, SMALL.len()), (2, SMALL.len())]);
            (0..number).for_each(|_| client.answer(&SMALL).unwrap());
            let came = (number.max(1) - 1) * MAX_CHUNK;
            assert_eq!(client.bytes.len(), came);
            let (what, lie) = lies(&honest(&client)).remove(i);
            client.reads.pop_front();
            client.receive(&lie).unwrap();
            assert_eq!(client.bytes.len(), came, "{what} of {number}");
            assert!(matches!(&client.rejected[..], [one] if one.starts_with("replica-0: ")), "{:?}", client.rejected);
            // later answers of the first holder are ignored; the next holder is read from the failed offset
            let first = client.reads.iter().find(|read| read.member == 2).map(|read| read.offset);
            let place = if number == 0 { 2 * MAX_CHUNK } else { came };
            assert_eq!(first, Some(place as u64), "{what} of {number}");
            client.answer_all(&SMALL).unwrap();
            client.assert_got(&SMALL, "replica-2");
            assert_eq!(client.rejected.len(), 1, "{what} of {number}");
        }
    }
}

#[test]
fn all_lying_members_are_named() {
    let mut other = SMALL.to_vec();
    other[300_000] ^= 1;
    let mut client = Client::located(&SMALL, &[(0, SMALL.len()), (2, SMALL.len())]);
    client.answer(&SMALL).unwrap();
    client.answer(&SMALL).unwrap();
    client.answer_all(&other).unwrap();
    let rejections = client.assert_exhausted();
    assert_eq!(rejections.iter().map(|rejection| &rejection.name[..]).collect::<Vec<_>>(), ["replica-0", "replica-2"]);
    let told = SessionError::Exhausted(rejections).to_string();
    assert!(told.contains("replica-0: the proof differs above bytes 0 to 524293: expected "), "{told}");
    // the bytes output before are correct
    assert!(client.bytes == SMALL[..MAX_CHUNK] && !client.verified);
}

#[test]
fn false_length_claim_is_detected_before_any_output() {
    for claimed in [SMALL.len() - 1, SMALL.len() + 1, SMALL.len() + tree::GROUP, 5, 4 * SMALL.len(), 1 << 40] {
        let mut client = Client::located(&SMALL, &[(0, claimed), (2, SMALL.len())]);
        // the liar's best answer: bytes of the claimed length that begin like the blob
        let held = if claimed < 1 << 30 { [&SMALL[..], &vec![0; 4 * SMALL.len()]].concat() } else { SMALL.to_vec() };
        client.answer(&held[..claimed.min(held.len())]).unwrap();
        assert_eq!((client.rejected.len(), client.bytes.len()), (1, 0), "{claimed}");
        assert_eq!(client.about, None, "{claimed}");
        client.answer_all(&SMALL).unwrap();
        client.assert_got(&SMALL, "replica-2");
    }
}

#[test]
fn answers_out_of_order_reject_the_member() {
    let mut client = Client::located(&SMALL, &[(0, SMALL.len()), (1, SMALL.len())]);
    let second = client.reads.remove(1).unwrap();
    client.receive(&chunk(&second, &SMALL)).unwrap();
    assert_eq!(client.rejected, ["replica-0: expected an answer to the oldest read, got another"]);
    client.answer_all(&SMALL).unwrap();
    client.assert_got(&SMALL, "replica-1");
    // an answer on an unused stream
    let mut client = Client::located(&SMALL, &[(0, SMALL.len()), (1, SMALL.len())]);
    let never = Read { stream: Stream(1000), ..client.reads[0] };
    client.receive(&chunk(&never, &SMALL)).unwrap();
    assert_eq!(client.rejected.len(), 1);
    client.answer_all(&SMALL).unwrap();
    client.assert_got(&SMALL, "replica-1");
}
