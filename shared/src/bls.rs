//! BLS12-381 signatures, minimal public keys, proof-of-possession suite of `draft-irtf-cfrg-bls-signature`.
//!
//! This is the only file that uses `blst`. `blst` decodes without subgroup checks, and its verification accepts a key at
//! infinity, so every point is checked by a constructor here. Three kinds of signature have three types, so that none is
//! taken for another: a [`VoteSignature`] of one member, an [`AggregateSignature`] of several, and a [`Possession`] proof.

use std::fmt;

use blst::min_pk::{AggregatePublicKey, AggregateSignature as BlstAggregate, PublicKey, SecretKey, Signature};
use blst::{BLST_ERROR, MultiPoint, Pairing, blst_p1_affine, blst_p2_affine};
use thiserror::Error;

use crate::comparison::{Comparison, display_comparison};
use crate::digest::derive;
use crate::remembered::remembered;

const STATEMENT_DST: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";
const POSSESSION_DST: &[u8] = b"BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// Size of the random weights in a batch check, in bits: a forgery passes with probability 2^-128.
const WEIGHT_BITS: usize = 128;

/// The first byte of the compressed point at infinity: flags 110, all other bits zero.
const INFINITY: u8 = 0xC0;

/// Why a key or a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BlsError {
    /// The bytes are not the canonical compressed encoding of a point.
    Encoding,
    /// The point is not on the curve.
    NotOnCurve,
    /// The point is on the curve, but outside the subgroup of prime order.
    NotInSubgroup,
    /// The point is the point at infinity.
    Infinity,
    /// The pairing equation does not hold.
    Mismatch,
    /// The secret key is not a scalar from 1 to the group order − 1.
    SecretKey,
}

impl BlsError {
    /// What a key or a signature must be, and what it is. Points and signatures are not shown: nobody can compare them by eye.
    pub fn comparison(&self) -> Comparison {
        let (expected, got) = match self {
            Self::Encoding => ("the compressed encoding of a point", "other bytes"),
            Self::NotOnCurve => ("a point on the curve", "one beside it"),
            Self::NotInSubgroup => ("a point of the prime-order subgroup", "one outside it"),
            Self::Infinity => ("a point other than infinity", "infinity"),
            Self::Mismatch => ("a signature by these keys over these bytes", "another"),
            Self::SecretKey => ("a secret key below the group order", "another value"),
        };
        Comparison::new(&"", &expected, &got)
    }
}

display_comparison!(BlsError);

impl From<BLST_ERROR> for BlsError {
    fn from(error: BLST_ERROR) -> Self {
        match error {
            BLST_ERROR::BLST_POINT_NOT_ON_CURVE => Self::NotOnCurve,
            BLST_ERROR::BLST_POINT_NOT_IN_GROUP => Self::NotInSubgroup,
            BLST_ERROR::BLST_PK_IS_INFINITY => Self::Infinity,
            BLST_ERROR::BLST_BAD_SCALAR => Self::SecretKey,
            BLST_ERROR::BLST_VERIFY_FAIL | BLST_ERROR::BLST_SUCCESS | BLST_ERROR::BLST_AGGR_TYPE_MISMATCH => {
                Self::Mismatch
            }
            BLST_ERROR::BLST_BAD_ENCODING => Self::Encoding,
        }
    }
}

fn check(error: BLST_ERROR) -> Result<(), BlsError> {
    if error == BLST_ERROR::BLST_SUCCESS { Ok(()) } else { Err(error.into()) }
}

/// A vote key's secret half. It signs only statements and its own proof of possession. It is wiped from memory when dropped.
pub struct VoteSecretKey(SecretKey);

impl VoteSecretKey {
    /// A key from 32 uniformly random bytes (the draft's KeyGen).
    ///
    /// # Errors
    /// None for 32 bytes; the library's result is passed on.
    pub fn generate(random: &[u8; 32]) -> Result<Self, BlsError> {
        Ok(Self(SecretKey::key_gen(random, &[])?))
    }

    /// A stored key: 32 bytes, big-endian.
    ///
    /// # Errors
    /// [`BlsError::SecretKey`] for zero and for values at or above the group order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, BlsError> {
        SecretKey::from_bytes(bytes).map(Self).map_err(|_| BlsError::SecretKey)
    }

    /// The key for storage: 32 bytes, big-endian.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn vote_key(&self) -> VoteKey {
        remembered!("bls vote key", [self.to_bytes()], VoteKey(self.0.sk_to_pk().to_bytes()))
    }

    /// The proof that the holder of the public key knows the secret one.
    pub fn prove_possession(&self) -> Possession {
        remembered!(
            "bls prove possession",
            [self.to_bytes()],
            Possession(self.0.sign(&self.vote_key().0, POSSESSION_DST, &[]).to_bytes())
        )
    }

    /// Signs a statement's bytes.
    pub(crate) fn sign(&self, statement: &[u8]) -> VoteSignature {
        remembered!(
            "bls sign",
            [self.to_bytes(), statement],
            VoteSignature(self.0.sign(statement, STATEMENT_DST, &[]).to_bytes())
        )
    }
}

impl fmt::Debug for VoteSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VoteSecretKey(of {:?})", self.vote_key())
    }
}

macro_rules! point_type {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $size]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&bs58::encode(self.0).into_string())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

point_type! {
    /// A vote key, 48 bytes, compressed. It is unchecked: it cannot be used until it becomes a `CheckedKey` with its proof.
    VoteKey, 48
}
point_type! {
    /// One member's signature on one statement, 96 bytes, compressed. It is unchecked until a tally accepts it.
    VoteSignature, 96
}
point_type! {
    /// The sum of several members' signatures on one statement, 96 bytes, compressed.
    AggregateSignature, 96
}
point_type! {
    /// A proof of possession of a vote key, 96 bytes, compressed.
    Possession, 96
}

/// A vote key that is a valid point and whose proof of possession was verified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckedKey(PublicKey);

/// Checks every key and its proof, with one final exponentiation for all.
///
/// # Errors
/// The position and the error of the first key or proof that is not a valid point; no position and [`BlsError::Mismatch`] if
/// the proofs fail together. The bad proof is not searched for: among a thousand this takes up to 20 s in wasm, and anyone who
/// sends a committee could make every verifier spend that time.
pub(crate) fn check_possessions(pairs: &[(VoteKey, Possession)]) -> Result<Vec<CheckedKey>, (Option<usize>, BlsError)> {
    let seed = possession_seed(pairs);
    remembered!("bls check possessions", [seed], check_weighted_possessions(pairs, &seed))
}

fn check_weighted_possessions(
    pairs: &[(VoteKey, Possession)],
    seed: &[u8; 32],
) -> Result<Vec<CheckedKey>, (Option<usize>, BlsError)> {
    let mut keys = Vec::with_capacity(pairs.len());
    let mut pairing = Pairing::new(true, POSSESSION_DST);
    for (position, (key, proof)) in pairs.iter().enumerate() {
        let at = |error: BlsError| (Some(position), error);
        let point = PublicKey::key_validate(&key.0).map_err(|error| at(error.into()))?;
        let signature = checked_signature(&proof.0).map_err(at)?;
        let weight = weight(seed, position as u64);
        let affine: &blst_p1_affine = (&point).into();
        let affine_signature: &blst_p2_affine = (&signature).into();
        check(pairing.mul_n_aggregate(affine, false, affine_signature, false, &weight, WEIGHT_BITS, &key.0, &[]))
            .map_err(at)?;
        keys.push(CheckedKey(point));
    }
    pairing.commit();
    if pairs.is_empty() || pairing.finalverify(None) { Ok(keys) } else { Err((None, BlsError::Mismatch)) }
}

/// The seed of the weights. It is hashed from all keys and all proofs: otherwise their author could know the weights in advance,
/// and choose bad proofs that cancel out.
fn possession_seed(pairs: &[(VoteKey, Possession)]) -> [u8; 32] {
    let all: Vec<&[u8]> = pairs.iter().flat_map(|(key, proof)| [&key.0[..], &proof.0[..]]).collect();
    derive("vouch possession weights v1", &all)
}

/// The weight at a position, from a seed that is hashed from everything that is weighted.
fn weight(seed: &[u8; 32], position: u64) -> [u8; WEIGHT_BITS / 8] {
    let mut weight = [0; WEIGHT_BITS / 8];
    weight.copy_from_slice(&blake3::keyed_hash(seed, &position.to_le_bytes()).as_bytes()[..WEIGHT_BITS / 8]);
    weight
}

/// A vote key with its proof of possession, which was verified. A committee of such keys needs no further pairing.
#[derive(Debug, Clone, Copy)]
pub struct ProvenVoteKey {
    key: VoteKey,
    possession: Possession,
    checked: CheckedKey,
}

impl ProvenVoteKey {
    /// Verifies a key and its proof, before the key may join a committee. Costs a pairing.
    ///
    /// # Errors
    /// What is wrong with the key or the proof.
    pub fn verify(key: VoteKey, possession: Possession) -> Result<Self, BlsError> {
        let checked = check_possessions(&[(key, possession)]).map_err(|(_, error)| error)?;
        let checked = checked.first().copied().ok_or(BlsError::Mismatch)?;
        Ok(Self { key, possession, checked })
    }

    /// A member's key in a committee, whose proofs were verified.
    pub(crate) fn of_member(key: VoteKey, possession: Possession, checked: CheckedKey) -> Self {
        Self { key, possession, checked }
    }

    /// The vote key.
    pub fn vote_key(&self) -> VoteKey {
        self.key
    }

    /// The proof of possession.
    pub fn possession(&self) -> Possession {
        self.possession
    }

    pub(crate) fn checked(&self) -> CheckedKey {
        self.checked
    }
}

fn checked_signature(bytes: &[u8; 96]) -> Result<Signature, BlsError> {
    // The library's error for infinity names a public key; it becomes `BlsError::Infinity` here as well.
    remembered!("bls signature point", [bytes], Signature::sig_validate(bytes, true).map_err(BlsError::from))
}

/// Checks a signature by the owner of one key, or of a sum of keys.
fn verify_point(key: &PublicKey, statement: &[u8], signature: &Signature) -> Result<(), BlsError> {
    remembered!(
        "bls verify",
        [key.to_bytes(), statement, signature.to_bytes()],
        check(signature.verify(false, statement, STATEMENT_DST, &[], key, false))
    )
}

/// Checks that a vote key is a valid point. It is used without a proof of possession only for a committee that a quorum of another one has
/// signed: those members have checked the proof.
pub(crate) fn vouched_key(key: &VoteKey) -> Result<CheckedKey, BlsError> {
    remembered!("bls key point", [key.0], PublicKey::key_validate(&key.0).map(CheckedKey).map_err(BlsError::from))
}

impl CheckedKey {
    /// Checks one member's signature.
    ///
    /// # Errors
    /// What is wrong with the point, or [`BlsError::Mismatch`].
    pub(crate) fn verify(&self, statement: &[u8], signature: &VoteSignature) -> Result<(), BlsError> {
        let signature = checked_signature(&signature.0)?;
        verify_point(&self.0, statement, &signature)
    }
}

/// Checks the signatures of several members over one statement at little more than the cost of one. It adds them up, each with
/// its own weight: without weights, two bad signatures could cancel out.
///
/// # Errors
/// What is wrong with one of the points, or [`BlsError::Mismatch`]. The error does not say which signature is bad.
pub(crate) fn verify_together(
    statement: &[u8],
    votes: &[(&VoteKey, &CheckedKey, &VoteSignature)],
) -> Result<(), BlsError> {
    if votes.is_empty() {
        return Ok(());
    }
    // As with proofs of possession, the authors of the signatures must not know the weights in advance.
    let mut all: Vec<&[u8]> = vec![statement];
    all.extend(votes.iter().flat_map(|(key, _, vote)| [&key.0[..], &vote.0[..]]));
    let seed = derive("vouch vote weights v1", &all);
    remembered!("bls verify together", [seed], verify_weighted(statement, votes, &seed))
}

fn verify_weighted(
    statement: &[u8],
    votes: &[(&VoteKey, &CheckedKey, &VoteSignature)],
    seed: &[u8; 32],
) -> Result<(), BlsError> {
    let signatures: Vec<Signature> =
        votes.iter().map(|(_, _, vote)| checked_signature(&vote.0)).collect::<Result<_, _>>()?;
    let keys: Vec<PublicKey> = votes.iter().map(|(_, key, _)| key.0).collect();
    let weights: Vec<u8> = (0..votes.len() as u64).flat_map(|position| weight(seed, position)).collect();
    let key = keys.mult(&weights, WEIGHT_BITS).to_public_key();
    let signature = signatures.mult(&weights, WEIGHT_BITS).to_signature();
    // Sums at infinity would pass. They occur with probability 2^-128; the caller then checks the signatures one by one.
    if key.to_bytes()[0] == INFINITY || signature.to_bytes()[0] == INFINITY {
        return Err(BlsError::Infinity);
    }
    verify_point(&key, statement, &signature)
}

/// The keys of a committee with their sum, so that verifying a certificate costs one pairing check and few additions.
#[derive(Debug, Clone)]
pub(crate) struct KeySum {
    keys: Vec<CheckedKey>,
    sum: AggregatePublicKey,
}

impl KeySum {
    /// `None` for no keys.
    pub(crate) fn new(keys: Vec<CheckedKey>) -> Option<Self> {
        let (first, rest) = keys.split_first()?;
        let mut sum = AggregatePublicKey::from_public_key(&first.0);
        for key in rest {
            // Fails only if validation is requested.
            sum.add_public_key(&key.0, false).ok()?;
        }
        Some(Self { keys, sum })
    }

    pub(crate) fn key(&self, member: usize) -> Option<&CheckedKey> {
        self.keys.get(member)
    }

    /// Checks the sum of the signatures of all members except `absent`.
    ///
    /// # Errors
    /// What is wrong with the signature's point; [`BlsError::Infinity`] if the keys cancel out; [`BlsError::Mismatch`].
    pub(crate) fn verify(
        &self,
        absent: impl Iterator<Item = usize>,
        statement: &[u8],
        signature: &AggregateSignature,
    ) -> Result<(), BlsError> {
        let AggregateClaim { key, signature } = self.claim(absent, signature)?;
        verify_point(&key, statement, &signature)
    }

    /// The sum of the keys of all members except `absent`, with their signature, which is not verified yet.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify), except [`BlsError::Mismatch`].
    pub(crate) fn claim(
        &self,
        absent: impl Iterator<Item = usize>,
        signature: &AggregateSignature,
    ) -> Result<AggregateClaim, BlsError> {
        let signature = checked_signature(&signature.0)?;
        let mut sum = self.sum;
        let missing: Vec<PublicKey> = absent.filter_map(|member| self.key(member)).map(|key| key.0).collect();
        if !missing.is_empty() {
            // Adding many at once shares the field inversions.
            sum.sub_aggregate(&missing.add());
        }
        let key = sum.to_public_key();
        if key.to_bytes()[0] == INFINITY {
            return Err(BlsError::Infinity);
        }
        Ok(AggregateClaim { key, signature })
    }
}

/// Valid points that claim to be the signers' key and their signature. They must still be verified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AggregateClaim {
    key: PublicKey,
    signature: Signature,
}

/// The position of the first claim that is not a signature on its statement. The cost is one final exponentiation if all are, and at most
/// twice the work otherwise: a sender of many claims must not be able to make a verifier check each one alone.
pub(crate) fn first_mismatch(claims: &[(&AggregateClaim, &[u8])]) -> Option<usize> {
    if all_hold(claims) {
        return None;
    }
    let (mut from, mut rest) = (0, claims);
    while rest.len() > 1 {
        let (low, high) = rest.split_at(rest.len() / 2);
        if all_hold(low) {
            from += low.len();
            rest = high;
        } else {
            rest = low;
        }
    }
    Some(from)
}

/// Checks signatures on different statements together, each with its own weight.
///
/// Even without weights, all statements must have been signed: that is what an aggregate of signatures on different statements proves. But
/// two of them could be wrong by opposite errors, and a verifier that checks each one alone would disagree. Half the usual bits are enough for that.
fn all_hold(claims: &[(&AggregateClaim, &[u8])]) -> bool {
    // As with proofs of possession, the authors of the signatures must not know the weights in advance.
    let points: Vec<_> = claims.iter().map(|(claim, _)| (claim.key.to_bytes(), claim.signature.to_bytes())).collect();
    let mut all: Vec<&[u8]> = Vec::with_capacity(3 * claims.len());
    for ((key, signature), (_, statement)) in points.iter().zip(claims) {
        all.extend([&key[..], &signature[..], statement]);
    }
    let seed = derive("vouch aggregate weights v1", &all);
    let mut pairing = Pairing::new(true, STATEMENT_DST);
    for (position, (claim, statement)) in claims.iter().enumerate() {
        let weight = weight(&seed, position as u64);
        let (key, signature): (&blst_p1_affine, &blst_p2_affine) = ((&claim.key).into(), (&claim.signature).into());
        let added = pairing.mul_n_aggregate(key, false, signature, false, &weight, WEIGHT_BITS / 2, statement, &[]);
        if added != BLST_ERROR::BLST_SUCCESS {
            return false;
        }
    }
    pairing.commit();
    claims.is_empty() || pairing.finalverify(None)
}

/// Adds up signatures. Each must have been verified; the tally is the only caller.
///
/// # Errors
/// [`BlsError::Encoding`] if there are none; the error of a signature that is not a valid point.
pub(crate) fn aggregate<'a>(verified: impl Iterator<Item = &'a VoteSignature>) -> Result<AggregateSignature, BlsError> {
    let mut sum: Option<BlstAggregate> = None;
    for vote in verified {
        let signature = checked_signature(&vote.0)?;
        match &mut sum {
            None => sum = Some(BlstAggregate::from_signature(&signature)),
            Some(sum) => sum.add_signature(&signature, false)?,
        }
    }
    let sum = sum.ok_or(BlsError::Encoding)?;
    Ok(AggregateSignature(sum.to_signature().to_bytes()))
}

#[cfg(test)]
mod tests;
