//! Snapshots of the state, which a node may get from a peer that it does not trust.

use super::*;

fn decode(bytes: &[u8]) -> Result<Applied<Recorder>, SnapshotError> {
    Applied::decode(bytes, CLUSTER, founders())
}

fn snapshot() -> (Applied<Recorder>, Vec<u8>) {
    let mut state = genesis();
    for height in 1..=5 {
        state = build(&state, &[add(height)], TIME + u64::from(height)).next;
    }
    let bytes = state.encode().unwrap();
    (state, bytes)
}

#[test]
fn a_restored_state_goes_on_as_the_original() {
    let (state, bytes) = snapshot();
    let restored = decode(&bytes).unwrap();
    assert_same(&state, &restored);
    let (left, right) = (build(&state, &[add(9)], TIME + 9), build(&restored, &[add(9)], TIME + 9));
    assert_eq!(left.block, right.block);
    assert_same(&left.next, &right.next);
    assert!(restored.build(&[add(3)], member(1), TIME + 9).unwrap().is_none(), "an op is not applied again");
    assert_eq!(genesis().encode(), None);
}

#[test]
fn every_byte_of_a_snapshot_is_what_its_last_block_commits_to() {
    let (state, bytes) = snapshot();
    for position in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[position] ^= 1;
        // Of the header, another one may be well formed: its block is then another one, which nobody decided.
        let decoded = decode(&altered);
        assert!(decoded.as_ref().map_or(true, |other| other.block() != state.block()), "{position}");
        assert!(decoded.is_err() || position < 268, "{position}");
    }
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "{length}");
    }
    assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
    let mut version = bytes.clone();
    version[7] = 2;
    assert_eq!(decode(&version).err(), Some(SnapshotError::UnknownVersion { expected: 1, got: 2 }));
    let large = vec![0; MAX_SNAPSHOT + 1];
    assert_eq!(decode(&large).err(), Some(SnapshotError::TooLarge { got: MAX_SNAPSHOT + 1 }));
    let other = Applied::<Recorder>::decode(&bytes, ClusterId([8; 32]), founders()).err();
    assert_eq!(other, Some(SnapshotError::Cluster { expected: ClusterId([8; 32]), got: CLUSTER }));
}

/// A snapshot whose header commits to what is in it, as a quorum of liars could make it.
fn consistent(state: &[u8], before: &LogTree) -> Vec<u8> {
    let mut header = snapshot().0.header().unwrap().clone();
    header.state = StateDigest::of(state);
    header.log_root = before.root();
    let mut out = b"vouchls\x01".to_vec();
    header.write(&mut out);
    before.write(&mut out);
    out.extend_from_slice(state);
    out
}

#[test]
fn a_snapshot_is_refused_by_the_rule_that_it_breaks() {
    let (state, bytes) = snapshot();
    let before = state.before.clone();
    let size = bytes.len();
    let mut shorter = LogTree::new();
    shorter.append(&BlockDigest([1; 32]));
    let with_tree = |tree: &LogTree| {
        let mut out = bytes[..268].to_vec();
        tree.write(&mut out);
        out.extend_from_slice(&bytes[268 + 8 + 32..]);
        decode(&out).err()
    };
    assert_eq!(with_tree(&before), None);
    assert_eq!(with_tree(&shorter), Some(SnapshotError::TreeSize { expected: 4, got: 1 }));
    let mut others = shorter.clone();
    (0..3).for_each(|_| drop(others.append(&BlockDigest([1; 32]))));
    let expected = SnapshotError::LogRoot { expected: before.root(), got: others.root() };
    assert_eq!(with_tree(&others), Some(expected));
    let mut altered = bytes.clone();
    altered[size - 1] ^= 1;
    assert!(matches!(decode(&altered).err(), Some(SnapshotError::State { .. })));

    let encoded = |machine: &[u8]| super::snapshot::encode_state(&state.recent, machine);
    assert!(decode(&consistent(&encoded(&[1, 2]), &before)).is_ok());
    assert!(matches!(decode(&consistent(&encoded(&[1, 250]), &before)).err(), Some(SnapshotError::Machine(_))));
    assert_eq!(decode(&consistent(&encoded(&[1, 251]), &before)).err(), Some(SnapshotError::MachineEncoding));
    let trailing = [&encoded(&[1, 2])[..], &[0]].concat();
    let trailing = decode(&consistent(&trailing, &before)).err();
    assert!(matches!(trailing, Some(SnapshotError::Decode(DecodeError::Trailing { .. }))));
    let mut recent = RecentOps::default();
    recent.insert(TIME, OpId([1; 32]), member(1));
    let expired = super::snapshot::encode_state(&recent, &[]);
    let expired = decode(&consistent(&expired, &before)).err();
    assert!(
        matches!(expired, Some(SnapshotError::Decode(DecodeError::OutOfRange { .. }))),
        "TIME is over: {expired:?}"
    );
    assert!(RecentOps::read(&mut Reader::new(&encoded(&[])), TIME + 5).is_ok());
}
