//! The signature suite's published vectors (`ethereum/bls12-381-tests`), run through this module's checks.
//!
//! They are not part of the repository: if there is no copy beside it, the tests say so and pass.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;

/// The name and content of each vector of one operation.
fn vectors(operation: &str) -> Vec<(String, Value)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/bls").join(operation);
    let Ok(entries) = std::fs::read_dir(&directory) else {
        println!("skipped: no published vectors of {operation}");
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{operation}");
    let read = |path: &PathBuf| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    paths.iter().map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), read(path))).collect()
}

fn unhex(value: &Value) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(value.as_str().unwrap().trim_start_matches("0x").as_bytes()).unwrap()
}

fn list(value: &Value) -> Vec<Vec<u8>> {
    value.as_array().unwrap().iter().map(unhex).collect()
}

/// A key, checked as for a committee. The proof is by another key: an error of the key itself is found first.
fn checked_key(bytes: &[u8]) -> Result<CheckedKey, BlsError> {
    let key = VoteKey(bytes.try_into().map_err(|_| BlsError::Encoding)?);
    let proof = VoteSecretKey::generate(&[5; 32]).unwrap().prove_possession();
    match check_possessions(&[(key, proof)]) {
        Err((None, BlsError::Mismatch)) => Ok(CheckedKey(PublicKey::from_bytes(bytes).unwrap())),
        Err((_, error)) => Err(error),
        Ok(_) => panic!("a proof by another key passed"),
    }
}

fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), BlsError> {
    let signature = VoteSignature(signature.try_into().map_err(|_| BlsError::Encoding)?);
    checked_key(key)?.verify(message, &signature)
}

#[test]
fn keys() {
    for (name, vector) in vectors("deserialization_G1") {
        let got = checked_key(&unhex(&vector["input"]["pubkey"])).map(|_| ());
        // Infinity is the one valid encoding that a key must not be.
        if name == "deserialization_succeeds_infinity_with_true_b_flag" {
            assert_eq!(got, Err(BlsError::Infinity));
        } else {
            assert_eq!(got.is_ok(), vector["output"].as_bool().unwrap(), "{name}: {got:?}");
        }
        if name.ends_with("not_in_G1") {
            assert_eq!(got, Err(BlsError::NotInSubgroup));
        }
        if name.ends_with("not_in_curve") {
            assert_eq!(got, Err(BlsError::NotOnCurve));
        }
    }
}

#[test]
fn signatures() {
    for (name, vector) in vectors("deserialization_G2") {
        let bytes = unhex(&vector["input"]["signature"]);
        let got = <[u8; 96]>::try_from(bytes).map_err(|_| BlsError::Encoding);
        let got = got.and_then(|bytes| checked_signature(&bytes)).map(|_| ());
        if name == "deserialization_succeeds_infinity_with_true_b_flag" {
            assert_eq!(got, Err(BlsError::Infinity));
        } else {
            assert_eq!(got.is_ok(), vector["output"].as_bool().unwrap(), "{name}: {got:?}");
        }
        if name.ends_with("not_in_G2") {
            assert_eq!(got, Err(BlsError::NotInSubgroup));
        }
    }
}

#[test]
fn sign() {
    for (name, vector) in vectors("sign") {
        let secret = VoteSecretKey::from_bytes(&unhex(&vector["input"]["privkey"]).try_into().unwrap());
        let got = secret.map(|secret| secret.sign(&unhex(&vector["input"]["message"])).0.to_vec());
        match &vector["output"] {
            Value::Null => assert_eq!(got, Err(BlsError::SecretKey), "{name}"),
            output => assert_eq!(got, Ok(unhex(output)), "{name}"),
        }
    }
}

#[test]
fn verify_one() {
    for (name, vector) in vectors("verify") {
        let [key, message, signature] = ["pubkey", "message", "signature"].map(|field| unhex(&vector["input"][field]));
        let got = verify(&key, &message, &signature);
        assert_eq!(got.is_ok(), vector["output"].as_bool().unwrap(), "{name}: {got:?}");
    }
}

#[test]
fn verify_several_statements_one_by_one() {
    for (name, vector) in vectors("batch_verify") {
        let [keys, messages, signatures] = ["pubkeys", "messages", "signatures"].map(|f| list(&vector["input"][f]));
        let mut all = keys.iter().zip(&messages).zip(&signatures);
        let got = all.try_for_each(|((key, message), signature)| verify(key, message, signature));
        assert_eq!(got.is_ok(), vector["output"].as_bool().unwrap(), "{name}: {got:?}");
    }
}

#[test]
fn verify_an_aggregate() {
    for (name, vector) in vectors("fast_aggregate_verify") {
        let [message, signature] = ["message", "signature"].map(|field| unhex(&vector["input"][field]));
        let keys: Result<Vec<_>, _> = list(&vector["input"]["pubkeys"]).iter().map(|key| checked_key(key)).collect();
        // One more key that did not sign, so that the subtraction of absent members is tested as well.
        let absent = checked_key(&VoteSecretKey::generate(&[6; 32]).unwrap().vote_key().0).unwrap();
        let got = keys.and_then(|mut keys| {
            if keys.is_empty() {
                assert!(KeySum::new(Vec::new()).is_none());
                return Err(BlsError::Infinity);
            }
            let signature = AggregateSignature(signature.try_into().unwrap());
            let whole = KeySum::new(keys.clone()).unwrap().verify([].into_iter(), &message, &signature);
            keys.insert(1, absent);
            let part = KeySum::new(keys).unwrap().verify([1].into_iter(), &message, &signature);
            assert_eq!(whole, part, "{name}");
            whole
        });
        assert_eq!(got.is_ok(), vector["output"].as_bool().unwrap(), "{name}: {got:?}");
    }
}

#[test]
fn aggregate_signatures() {
    for (name, vector) in vectors("aggregate") {
        let votes: Vec<_> =
            list(&vector["input"]).into_iter().map(|bytes| VoteSignature(bytes.try_into().unwrap())).collect();
        let got = aggregate(votes.iter()).map(|sum| sum.0.to_vec());
        // Signatures are verified before they are added up, so infinity is never among them.
        if name == "aggregate_infinity_signature" {
            assert_eq!(got, Err(BlsError::Infinity));
            continue;
        }
        match &vector["output"] {
            Value::Null => assert!(got.is_err(), "{name}"),
            output => assert_eq!(got, Ok(unhex(output)), "{name}"),
        }
    }
}

/// A compressed point with an x of this pattern. It is on the curve and outside the subgroup, both as a key and as a signature.
fn outside<const N: usize>() -> [u8; N] {
    let pattern = [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF];
    let mut point = std::array::from_fn(|i| pattern[i % pattern.len()]);
    point[0] |= 0x80;
    point
}

fn infinity<const N: usize>() -> [u8; N] {
    let mut point = [0; N];
    point[0] = 0xC0;
    point
}

#[test]
fn points_outside_the_subgroup_and_infinity_are_refused() {
    let secret = VoteSecretKey::generate(&[1; 32]).unwrap();
    let (key, proof) = (secret.vote_key(), secret.prove_possession());
    let refused = |pair| check_possessions(&[pair]).map(|_| ()).map_err(|(_, error)| error);
    assert_eq!(refused((VoteKey(outside()), proof)), Err(BlsError::NotInSubgroup));
    assert_eq!(refused((VoteKey(infinity()), proof)), Err(BlsError::Infinity));
    assert_eq!(refused((key, Possession(outside()))), Err(BlsError::NotInSubgroup));
    assert_eq!(refused((key, Possession(infinity()))), Err(BlsError::Infinity));
    let checked = checked_key(&key.0).unwrap();
    let sum = KeySum::new(vec![checked]).unwrap();
    for (point, error) in [(outside(), BlsError::NotInSubgroup), (infinity(), BlsError::Infinity)] {
        assert_eq!(checked.verify(b"statement", &VoteSignature(point)), Err(error));
        assert_eq!(sum.verify([].into_iter(), b"statement", &AggregateSignature(point)), Err(error));
        assert_eq!(aggregate([VoteSignature(point)].iter()), Err(error));
    }
}

#[test]
fn keys_that_cancel_out_verify_nothing() {
    let secret = VoteSecretKey::generate(&[1; 32]).unwrap();
    let key = secret.vote_key();
    let mut negated = key;
    // The sign flag.
    negated.0[0] ^= 0x20;
    let keys = [key, negated].map(|key| checked_key(&key.0).unwrap());
    let sum = KeySum::new(keys.to_vec()).unwrap();
    let signature = AggregateSignature(secret.sign(b"statement").0);
    assert_eq!(sum.verify([].into_iter(), b"statement", &signature), Err(BlsError::Infinity));
    assert_eq!(sum.verify([1].into_iter(), b"statement", &signature), Ok(()));
    let nothing = AggregateSignature(infinity());
    assert_eq!(sum.verify([].into_iter(), b"statement", &nothing), Err(BlsError::Infinity));
    // No signer is left.
    assert_eq!(sum.verify([0, 1].into_iter(), b"statement", &signature), Err(BlsError::Infinity));
}

#[test]
fn a_bad_proof_among_good_ones_is_detected_but_not_named() {
    let secrets: Vec<_> = (1..6).map(|i| VoteSecretKey::generate(&[i; 32]).unwrap()).collect();
    let honest: Vec<_> = secrets.iter().map(|secret| (secret.vote_key(), secret.prove_possession())).collect();
    assert_eq!(check_possessions(&honest).map(|keys| keys.len()), Ok(5));
    assert_eq!(check_possessions(&[]).map(|keys| keys.len()), Ok(0));
    let refused = |pairs: &[_]| check_possessions(pairs).map(|_| ());
    for bad in 0..5 {
        // Another member's proof, a signature on a statement, and a point that is not on the curve.
        let other = secrets[(bad + 1) % 5].prove_possession();
        let statement = Possession(secrets[bad].sign(&secrets[bad].vote_key().0).0);
        for proof in [other, statement] {
            let mut pairs = honest.clone();
            pairs[bad].1 = proof;
            assert_eq!(refused(&pairs), Err((None, BlsError::Mismatch)));
        }
        // An invalid point is named without extra cost.
        let mut pairs = honest.clone();
        pairs[bad].1.0[1] ^= 1;
        assert!(matches!(refused(&pairs), Err((Some(position), _)) if position == bad));
    }
    // Two bad proofs whose sum equals that of the honest ones.
    let mut pairs = honest;
    let exchanged = (pairs[1].1, pairs[3].1);
    (pairs[3].1, pairs[1].1) = exchanged;
    assert_eq!(refused(&pairs), Err((None, BlsError::Mismatch)));
}

#[test]
fn the_weights_depend_on_every_key_and_every_proof() {
    let secrets = [1, 2].map(|i| VoteSecretKey::generate(&[i; 32]).unwrap());
    let honest = secrets.map(|secret| (secret.vote_key(), secret.prove_possession()));
    let seed = possession_seed(&honest);
    for member in 0..2 {
        let (mut other_key, mut other_proof) = (honest, honest);
        other_key[member].0.0[47] ^= 1;
        other_proof[member].1.0[95] ^= 1;
        assert_ne!(possession_seed(&other_key), seed);
        assert_ne!(possession_seed(&other_proof), seed);
    }
    let weights = [0, 1].map(|position| weight(&seed, position));
    assert_ne!(weights[0], weights[1]);
}

#[test]
fn two_bad_proofs_that_cancel_out_are_detected() {
    let secrets = [1, 2].map(|i| VoteSecretKey::generate(&[i; 32]).unwrap());
    let d = secrets[0].sign(b"any point");
    let mut minus_d = d;
    minus_d.0[0] ^= 0x20;
    let bad: Vec<_> = [d, minus_d]
        .into_iter()
        .zip(&secrets)
        .map(|(d, secret)| {
            let votes = [VoteSignature(secret.prove_possession().0), d];
            (secret.vote_key(), Possession(aggregate(votes.iter()).unwrap().0))
        })
        .collect();
    assert_eq!(check_possessions(&bad).map(|_| ()), Err((None, BlsError::Mismatch)));
}
