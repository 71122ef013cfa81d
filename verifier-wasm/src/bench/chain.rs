//! The bare work that verifying a chain of committees needs.

use blst::min_pk::{AggregatePublicKey, PublicKey, Signature};
use blst::{BLST_ERROR, Pairing, blst_p1_affine, blst_p2_affine};
use vouch_core::bundle::Bundle;
use vouch_core::certificate::Certificate;
use vouch_core::committee::CommitteeRecord;
use vouch_core::limits::Limits;
use vouch_core::statement::Handoff;
use wasm_bindgen::prelude::wasm_bindgen;

use super::DST;

/// The handoffs of a bundle, decoded: what is left is blst's work.
#[wasm_bindgen]
#[derive(Debug)]
pub struct BareChain {
    genesis: Vec<[u8; 48]>,
    handoffs: Vec<BareHandoff>,
}

#[derive(Debug)]
struct BareHandoff {
    /// Indices of the members that signed.
    signers: Vec<usize>,
    statement: Vec<u8>,
    signature: [u8; 96],
    /// Vote keys of the next committee.
    next: Vec<[u8; 48]>,
}

#[wasm_bindgen]
impl BareChain {
    /// The handoffs of a well-formed bundle.
    ///
    /// # Errors
    /// It is not well formed.
    #[wasm_bindgen(constructor)]
    pub fn new(bundle: &str) -> Result<Self, String> {
        Self::read(bundle).ok_or_else(|| "the bundle is not well formed".to_owned())
    }

    /// Validates all vote keys, and checks all signatures with one final exponentiation.
    pub fn verify(&self) -> bool {
        self.verified().unwrap_or(false)
    }
}

impl BareChain {
    fn read(bundle: &str) -> Option<Self> {
        let limits = Limits::default();
        let chain = Bundle::parse(bundle.as_bytes(), &limits).ok()?.chain;
        let mut previous = CommitteeRecord::decode(&chain.start.committee, &limits).ok()?;
        let keys = |record: &CommitteeRecord| record.members().iter().map(|member| member.vote_key.0).collect();
        let genesis = keys(&previous);
        let mut handoffs = Vec::new();
        for epoch in &chain.epochs {
            let handoff = Certificate::<Handoff>::decode(&epoch.handoff, &limits).ok()?;
            let committee = CommitteeRecord::decode_later(&epoch.committee, &limits).ok()?;
            handoffs.push(BareHandoff {
                signers: handoff.signers.iter().map(usize::from).collect(),
                statement: handoff.statement(&previous)?.encode(),
                signature: handoff.signature.0,
                next: keys(&committee),
            });
            previous = committee;
        }
        Some(Self { genesis, handoffs })
    }

    fn verified(&self) -> Result<bool, BLST_ERROR> {
        let mut pairing = Pairing::new(true, DST);
        let mut keys = validated(&self.genesis)?;
        for BareHandoff { signers, statement, signature, next } in &self.handoffs {
            let signing: Vec<_> = signers.iter().filter_map(|member| keys.get(*member)).collect();
            let key = AggregatePublicKey::aggregate(&signing, false)?.to_public_key();
            keys = validated(next)?;
            let signature = Signature::sig_validate(signature, true)?;
            let (key, signature): (&blst_p1_affine, &blst_p2_affine) = ((&key).into(), (&signature).into());
            match pairing.aggregate(key, false, signature, false, statement, &[]) {
                BLST_ERROR::BLST_SUCCESS => {}
                error => return Err(error),
            }
        }
        pairing.commit();
        Ok(pairing.finalverify(None))
    }
}

fn validated(keys: &[[u8; 48]]) -> Result<Vec<PublicKey>, BLST_ERROR> {
    keys.iter().map(|key| PublicKey::key_validate(key)).collect()
}
