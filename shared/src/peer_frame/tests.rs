use super::*;

const CLUSTER: ClusterId = ClusterId([3; 32]);
const MINE: PeerSession = PeerSession([4; 16]);
const THEIRS: PeerSession = PeerSession([5; 16]);

fn secret(i: u8) -> NodeSecretKey {
    NodeSecretKey::from_bytes(&[i; 32])
}

/// A frame from member 1 to member 2.
fn header(number: u64) -> FrameHeader {
    FrameHeader { from: secret(1).node_key(), to: secret(2).node_key(), session: THEIRS, number }
}

fn hellos() -> Vec<PeerHello> {
    let mut hellos = Vec::new();
    for echo in [None, Some(MINE)] {
        for asks in [false, true] {
            for address in [None, Some("replica-1.example:9091".parse().unwrap())] {
                hellos.push(PeerHello { echo, asks, address });
            }
        }
    }
    hellos
}

fn messages() -> [Vec<u8>; 3] {
    [Vec::new(), b"a message".to_vec(), vec![7; MAX_PEER_MESSAGE]]
}

fn seal_message(number: u64, message: &[u8]) -> Result<Vec<u8>, DecodeError> {
    header(number).seal_message(message, &MINE, &CLUSTER, &secret(1))
}

fn frames() -> Vec<Vec<u8>> {
    let hellos = hellos();
    let hellos = hellos.iter().map(|hello| header(7).seal_hello(hello, &CLUSTER, &secret(1)).unwrap());
    hellos.chain(messages().iter().map(|message| seal_message(8, message).unwrap())).collect()
}

fn open(bytes: &[u8]) -> Result<OpenedFrame<'_>, PeerFrameError> {
    PeerFrame::decode(bytes)?.open(&CLUSTER, &MINE)
}

#[test]
fn frames_have_one_encoding() {
    for hello in hellos() {
        let bytes = header(1).seal_hello(&hello, &CLUSTER, &secret(1)).unwrap();
        assert_eq!(bytes.len(), 173 + hello.address.as_ref().map_or(0, |address| address.as_str().len()));
        assert_eq!(PeerFrame::decode(&bytes).unwrap().header(), &header(1));
        assert_eq!(open(&bytes), Ok(OpenedFrame::Hello(hello)));
    }
    for message in messages() {
        let bytes = seal_message(MAX_SAFE_INTEGER, &message).unwrap();
        assert_eq!(bytes.len(), 154 + message.len());
        assert_eq!(PeerFrame::decode(&bytes).unwrap().header(), &header(MAX_SAFE_INTEGER));
        assert_eq!(open(&bytes), Ok(OpenedFrame::Message(&message)));
    }
}

#[test]
fn a_relay_reads_the_ends_without_a_key() {
    let ends = (secret(1).node_key(), secret(2).node_key());
    for mut bytes in frames() {
        assert_eq!(PeerFrame::addressed(&bytes), Ok(ends));
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(PeerFrame::addressed(&bytes), Ok(ends), "the signature is the receiver's to check");
        assert!(PeerFrame::addressed(&bytes[..150]).is_err());
    }
}

#[test]
fn a_frame_opens_only_in_its_cluster_and_a_message_only_in_its_session() {
    for bytes in frames() {
        let frame = PeerFrame::decode(&bytes).unwrap();
        let refused = PeerFrameError::Signature { from: secret(1).node_key() };
        assert_eq!(frame.clone().open(&ClusterId([9; 32]), &MINE), Err(refused.clone()));
        let elsewhere = frame.clone().open(&CLUSTER, &PeerSession([9; 16]));
        match frame.is_hello() {
            true => assert_eq!(elsewhere, open(&bytes)),
            false => assert_eq!(elsewhere, Err(refused)),
        }
    }
    let hello = &hellos()[0];
    let by_another = header(7).seal_hello(hello, &CLUSTER, &secret(3)).unwrap();
    assert!(open(&by_another).is_err(), "the sender that it names must have signed it");
}

#[test]
fn every_altered_or_shorter_frame_is_refused() {
    for bytes in frames().into_iter().filter(|bytes| bytes.len() < 1000) {
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[position] ^= 1 << bit;
                assert!(open(&altered).is_err(), "{position}, {bit}");
            }
            assert!(open(&bytes[..position]).is_err(), "{position}");
        }
        assert!(open(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn a_hello_is_not_a_message_nor_the_other_way_round() {
    // The sender's signature over a message whose bytes look like the rest of a hello, and the sessions that an attacker would like.
    let hello = header(7).seal_hello(&hellos()[3], &CLUSTER, &secret(1)).unwrap();
    let inner = &hello[90..hello.len() - 64];
    let mut message = seal_message(7, inner).unwrap();
    message[1] = HELLO;
    assert!(PeerFrame::decode(&message).is_ok_and(|frame| frame.is_hello()));
    assert!(open(&message).is_err());
    let mut swapped = hello;
    swapped[1] = MESSAGE;
    assert!(open(&swapped).is_err());
}

#[test]
fn sizes_and_numbers_are_bounded() {
    let refused = |field, min, max, got| DecodeError::OutOfRange { field, min, max, got };
    let longer = vec![7; MAX_PEER_MESSAGE + 1];
    assert_eq!(seal_message(1, &longer), Err(refused("message length", 0, 196_608, 196_609)));
    let largest = seal_message(1, &longer[1..]).unwrap();
    assert_eq!(largest.len(), PeerFrame::MAX_SIZE);
    // Refused for its size, before anything is verified.
    let longer = [&largest[..], &[0]].concat();
    assert_eq!(PeerFrame::decode(&longer), Err(refused("message length", 0, 196_608, 196_609)));
    for number in [0, MAX_SAFE_INTEGER + 1] {
        assert!(seal_message(number, b"").is_err());
        assert!(header(number).seal_hello(&hellos()[0], &CLUSTER, &secret(1)).is_err());
        let mut bytes = seal_message(1, b"").unwrap();
        bytes[82..90].copy_from_slice(&number.to_le_bytes());
        assert!(matches!(PeerFrame::decode(&bytes), Err(DecodeError::OutOfRange { field: "number", .. })), "{number}");
    }
}

#[test]
fn an_echo_that_is_none_is_zero() {
    let mut bytes = header(7).seal_hello(&hellos()[0], &CLUSTER, &secret(1)).unwrap();
    bytes[91] = 1;
    assert!(matches!(PeerFrame::decode(&bytes), Err(DecodeError::WrongTag { field: "echo", .. })));
}

#[test]
fn addresses_cannot_change_a_url_or_a_line() {
    for good in ["a:1", "replica-1.example:9091", "127.0.0.1:65535", "[::1]:9091", "[fe80::1%eth0]:9", "under_score:80"]
    {
        assert_eq!(good.parse::<MemberAddress>().map(|address| address.to_string()), Ok(good.to_owned()));
    }
    let longest = format!("{}:1", "a".repeat(253));
    assert!(longest.parse::<MemberAddress>().is_ok());
    let longer = format!("a{longest}");
    let bad = [
        "", "a", ":1", "a:", "a:0", "a:01", "a:+1", "a:65536", "a/b:1", "a@b:1", "a b:1", "a\n:1", "ä:1", "a?:1",
        "a#:1", &longer,
    ];
    for bad in bad {
        assert!(bad.parse::<MemberAddress>().is_err(), "{bad:?}");
        let mut encoded = vec![u8::try_from(bad.len()).unwrap_or(255)];
        encoded.extend_from_slice(bad.as_bytes());
        if !bad.is_empty() && bad != longer {
            assert!(MemberAddress::read(&mut Reader::new(&encoded)).is_err(), "{bad:?}");
        }
    }
    assert_eq!(MemberAddress::read(&mut Reader::new(&[0])), Ok(None));
    assert!(MemberAddress::read(&mut Reader::new(&[1, 0xFF])).is_err());
}
