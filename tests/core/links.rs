//! Link signatures that a lenient Ed25519 verifier accepts and this one must refuse.

use vouch_core::link::{Hello, LinkSignature, NodeKey, Role, Transcript};

use support::committee::{hello_nonce, node_secret};

fn transcript(key: NodeKey) -> Transcript {
    let dialer = Hello::new(Role::Client, None, NodeKey::ANONYMOUS, hello_nonce("dialer"));
    let listener = Hello::new(Role::Server, None, key, hello_nonce("listener"));
    Transcript::new(&dialer, &listener, None)
}

/// The order of the group, 2^252 + 27742317777372353535851937790883648493, little-endian.
const ORDER: [u8; 32] = [
    0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58, 0xD6, 0x9C, 0xF7, 0xA2, 0xDE, 0xF9, 0xDE, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[test]
fn small_order_keys_are_refused() {
    // the neutral element as key and as R, with S = 0: then S·B = R + k·A holds for every message
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    let key = NodeKey(neutral);
    assert!(transcript(key).verify(&key, Role::Server, &LinkSignature(signature)).is_err());
    // the anonymous client key signs nothing either
    let key = NodeKey::ANONYMOUS;
    assert!(transcript(key).verify(&key, Role::Server, &LinkSignature([0; 64])).is_err());
}

#[test]
fn non_canonical_signature_is_refused() {
    let secret = node_secret("links");
    let transcript = transcript(secret.node_key());
    let signature = secret.sign(&transcript, Role::Server);
    assert_eq!(transcript.verify(&secret.node_key(), Role::Server, &signature), Ok(()));
    // S + order is congruent to S modulo the order
    let mut second = signature;
    let mut carry = 0;
    for (byte, order) in second.0[32..].iter_mut().zip(ORDER) {
        let [low, high] = (u16::from(*byte) + u16::from(order) + carry).to_le_bytes();
        (*byte, carry) = (low, high.into());
    }
    assert!(transcript.verify(&secret.node_key(), Role::Server, &second).is_err());
    for bit in 0..512 {
        let mut flipped = signature;
        flipped.0[bit / 8] ^= 1 << (bit % 8);
        assert!(transcript.verify(&secret.node_key(), Role::Server, &flipped).is_err(), "bit {bit}");
    }
}
