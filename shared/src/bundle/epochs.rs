//! The committees in a bundle: the first one, and those that follow from it.

use serde_json::{Value, json};

use super::json::{Json, Object};
use super::{Base64UrlUnpadded, BundleError, Encoding, base64url, possession};
use crate::bls::Possession;
use crate::chain::{CommitteeChain, EpochLink};
use crate::limits::MAX_EPOCHS;
use crate::statement::StatementId;

/// The committee by which a bundle begins. Nothing is decoded but the proofs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleStart {
    /// The encoded committee.
    pub committee: Vec<u8>,
    /// Proofs of possession, one for each member.
    pub possessions: Vec<Possession>,
    /// The statement that handed over to this committee. `None` for a genesis.
    pub handed_by: Option<StatementId>,
}

/// A later epoch in a bundle, not decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleEpoch {
    /// The encoded certificate of the handoff to it.
    pub handoff: Vec<u8>,
    /// Its encoded committee.
    pub committee: Vec<u8>,
    /// The seal that the committee's history names. `None` in epoch 1.
    pub seal: Option<StatementId>,
}

/// The committees in a bundle: the keys `genesis` or `checkpoint`, and `epochs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleChain {
    /// The first committee.
    pub start: BundleStart,
    /// The epochs after it, in order.
    pub epochs: Vec<BundleEpoch>,
}

impl BundleChain {
    /// The committees of a chain up to an epoch.
    pub fn new(chain: &CommitteeChain, epoch: u64) -> Self {
        let first = chain.first();
        let start = BundleStart {
            committee: first.record().encode(),
            possessions: first.possessions().to_vec(),
            handed_by: chain.handed_by(),
        };
        let encode = |EpochLink { handoff, committee, seal }: EpochLink| BundleEpoch {
            handoff: handoff.encode(),
            committee: committee.encode(),
            seal,
        };
        Self { start, epochs: chain.links(epoch).map(encode).collect() }
    }

    /// The keys, in the object of a bundle.
    pub(super) fn write(&self, bundle: &mut Value) {
        let BundleStart { committee, possessions, handed_by } = &self.start;
        let mut start = json!({
            "committee": Base64UrlUnpadded::encode_string(committee),
            "pops": possessions.iter().map(Possession::to_string).collect::<Vec<_>>(),
        });
        let key = match handed_by {
            None => "genesis",
            Some(handoff) => {
                start["handoff"] = Base64UrlUnpadded::encode_string(&handoff.0).into();
                "checkpoint"
            }
        };
        bundle[key] = start;
        let epoch = |BundleEpoch { handoff, committee, seal }: &BundleEpoch| {
            let mut epoch = json!({
                "handoff": Base64UrlUnpadded::encode_string(handoff),
                "committee": Base64UrlUnpadded::encode_string(committee),
            });
            if let Some(seal) = seal {
                epoch["seal"] = Base64UrlUnpadded::encode_string(&seal.0).into();
            }
            epoch
        };
        bundle["epochs"] = self.epochs.iter().map(epoch).collect();
    }
}

/// The committees of a bundle. The first one is still text: a verifier that has seen the same text before need not decode its proofs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChainText {
    pub(crate) start: StartText,
    pub(crate) epochs: Vec<BundleEpoch>,
}

/// The text of the first committee. Each value has only one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartText {
    committee: String,
    pops: Vec<String>,
    handoff: Option<String>,
}

impl ChainText {
    /// The keys that bundles of every type have, and no others.
    pub(super) fn read(mut bundle: Object) -> Result<Self, BundleError> {
        let (start, is_genesis) = match bundle.take_if_there("checkpoint") {
            Some(checkpoint) => (checkpoint, false),
            None => (bundle.take("genesis")?, true),
        };
        let start = StartText::read(start.object()?, is_genesis)?;
        let later = bundle.take("epochs")?.array()?;
        if later.len() > MAX_EPOCHS {
            let got = later.len().to_string();
            return Err(BundleError::Field { field: "epochs", expected: "at most 4096 epochs", got });
        }
        let mut epochs = Vec::new();
        for epoch in later {
            // Epoch 1 has no seal to name.
            let has_seal = !is_genesis || !epochs.is_empty();
            epochs.push(BundleEpoch::read(epoch.object()?, has_seal)?);
        }
        bundle.finish()?;
        Ok(Self { start, epochs })
    }

    /// Decodes the text of the first committee.
    pub(crate) fn decode(self) -> Result<BundleChain, BundleError> {
        Ok(BundleChain { start: self.start.decode()?, epochs: self.epochs })
    }
}

impl StartText {
    fn read(mut start: Object, is_genesis: bool) -> Result<Self, BundleError> {
        let committee = start.take("committee")?.text()?;
        let pops = start.take("pops")?.array()?.into_iter().map(Json::text).collect::<Result<_, _>>()?;
        let handoff = if is_genesis { None } else { Some(start.take("handoff")?.text()?) };
        start.finish()?;
        Ok(Self { committee, pops, handoff })
    }

    pub(crate) fn decode(&self) -> Result<BundleStart, BundleError> {
        let committee = base64url("committee", &self.committee)?;
        let possessions = self.pops.iter().map(|text| possession(text)).collect::<Result<_, _>>()?;
        let handed_by = self.handoff.as_ref().map(|text| statement_id("handoff", text)).transpose()?;
        Ok(BundleStart { committee, possessions, handed_by })
    }
}

impl BundleEpoch {
    fn read(mut epoch: Object, has_seal: bool) -> Result<Self, BundleError> {
        let (handoff, committee) = (epoch.bytes("handoff")?, epoch.bytes("committee")?);
        let seal = if has_seal { Some(statement_id("seal", &epoch.take("seal")?.text()?)?) } else { None };
        epoch.finish()?;
        Ok(Self { handoff, committee, seal })
    }
}

fn statement_id(field: &'static str, text: &str) -> Result<StatementId, BundleError> {
    let bytes = base64url(field, text)?;
    let size = bytes.len();
    let wrong = |_| BundleError::Field { field, expected: "base64url of 32 bytes", got: format!("{size} bytes") };
    bytes.try_into().map(StatementId).map_err(wrong)
}
