//! The values of `tests/vectors/epochs.json`, written by the independent implementation.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use support::committee::{node_secret, vote_secret};
use vouch_core::Limits;
use vouch_core::bls::Possession;
use vouch_core::certificate::{Certificate, CertificateError};
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::{
    Committee, CommitteeError, CommitteeRecord, KeyOffer, KeyOfferError, KeyOfferFormatError, Lineage,
};
use vouch_core::digest::{CommitteeDigest, History};
use vouch_core::merkle::TreeHash;
use vouch_core::message::{EpochsMessage, Message};
use vouch_core::seal::{SealPath, SealPathError, SealTree};
use vouch_core::statement::{Body, Handoff, Seal, Statement, StatementId};
use vouch_core::verify::verify_signed;

use crate::vectors::{array, hex};

#[derive(Deserialize)]
struct Values {
    cluster: String,
    epochs: Vec<EpochValues>,
    messages: Vec<Vec<String>>,
    offers: Vec<OfferCase>,
    invalid: Vec<InvalidCase>,
}

#[derive(Deserialize)]
struct EpochValues {
    epoch: u64,
    committee: String,
    digest: String,
    history: String,
    pops: Vec<String>,
    handoff: Option<HandoffValues>,
    seal: Option<SealValues>,
    #[serde(default)]
    not_sealed: Vec<NotSealed>,
    statements: Vec<StatementValues>,
}

#[derive(Deserialize)]
struct NotSealed {
    about: String,
    identity: String,
    path: String,
}

#[derive(Deserialize)]
struct HandoffValues {
    closing: u64,
    next: String,
    height: u64,
    log_root: String,
    #[serde(flatten)]
    signed: SignedValues,
}

#[derive(Deserialize)]
struct SealValues {
    epoch: u64,
    committee: String,
    count: u64,
    root: String,
    #[serde(flatten)]
    signed: SignedValues,
}

#[derive(Deserialize)]
struct SignedValues {
    statement: String,
    identity: String,
    certificate: String,
}

#[derive(Deserialize)]
struct StatementValues {
    identity: String,
    path: Option<String>,
}

#[derive(Deserialize)]
struct OfferCase {
    name: String,
    offer: String,
    refused: Option<String>,
}

#[derive(Deserialize)]
struct InvalidCase {
    name: String,
    of: String,
    bytes: String,
    verdict: String,
}

fn values() -> Values {
    let text = std::fs::read_to_string(crate::vectors::directory().join("epochs.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The committee of an epoch.
fn record(of: &EpochValues) -> CommitteeRecord {
    let decode = if of.epoch == 0 { CommitteeRecord::decode } else { CommitteeRecord::decode_later };
    decode(&hex(&of.committee), &Limits::default()).unwrap()
}

/// Checks a statement and a certificate of it. Returns the statement's identity.
fn check<B: Body<Claim = B>>(committee: &CommitteeRecord, body: B, expected: &SignedValues) -> StatementId {
    let statement = Statement::new(committee, body);
    assert_eq!(statement.encode(), hex(&expected.statement));
    assert_eq!(statement.id(), StatementId(array(&expected.identity)));
    let certificate = Certificate::<B>::decode(&hex(&expected.certificate), &Limits::default()).unwrap();
    assert_eq!(certificate.encode(), hex(&expected.certificate));
    assert_eq!(certificate.statement(committee), Some(statement));
    assert_eq!(certificate.signers.n(), committee.n());
    statement.id()
}

#[test]
fn messages_with_the_epochs_match_the_vectors() {
    let values = values();
    let (genesis, later) = values.epochs.split_first().unwrap();
    let pops = genesis.pops.iter().map(|pop| Possession(array(pop))).collect();
    let genesis = CommitteeChain::new(Arc::new(Committee::proven(record(genesis), pops).unwrap()));
    assert_eq!(values.messages.len(), 2);
    for shown in &values.messages {
        let mut chain = genesis.clone();
        for (at, bytes) in shown.iter().enumerate() {
            let bytes: Bytes = hex(bytes).into();
            let message = Message::decode(&bytes).unwrap();
            assert_eq!(message.encode(), bytes);
            let Message::Epochs(EpochsMessage { more, links }) = message else { panic!("{message:?}") };
            assert_eq!(more, at + 1 < shown.len());
            chain = chain.extended(links).unwrap();
        }
        assert_eq!(*chain.current().record(), record(later.last().unwrap()));
        let last = chain.current().record().epoch();
        if let [whole] = &shown[..] {
            assert_eq!(
                Message::epochs(chain.links(last)).iter().map(Message::encode).collect::<Vec<_>>(),
                [hex(whole)]
            );
        }
    }
}

#[test]
fn committees_handoffs_and_seals_match_the_vectors() {
    let Values { cluster, epochs, .. } = values();
    let records: Vec<_> = epochs.iter().map(record).collect();
    let (mut handoffs, mut seals, mut history) = (Vec::new(), Vec::new(), History::NONE);
    for (epoch, of) in epochs.iter().enumerate() {
        let record = &records[epoch];
        assert_eq!(record.encode(), hex(&of.committee));
        assert_eq!((record.epoch(), record.digest().to_hex()), (of.epoch, of.digest.clone()));
        assert_eq!(record.cluster().to_hex(), cluster);
        if epoch >= 2 {
            history = history.next(&handoffs[epoch - 2], &seals[epoch - 2]);
        }
        assert_eq!(history.to_hex(), of.history);
        let lineage = (epoch > 0).then(|| {
            let previous = records[epoch - 1].digest();
            Lineage { epoch: of.epoch, cluster: record.cluster(), previous, history }
        });
        assert_eq!(record.lineage(), lineage.as_ref());
        let (Some(handoff), Some(seal)) = (&of.handoff, &of.seal) else { continue };
        let next = &records[epoch + 1];
        assert_eq!(next.digest().to_hex(), handoff.next);
        let body = Handoff {
            closing: handoff.closing,
            next: next.digest(),
            height: handoff.height,
            log_root: TreeHash(array(&handoff.log_root)),
        };
        handoffs.push(check(record, body, &handoff.signed));
        let (sealed, root) = (CommitteeDigest(array(&seal.committee)), TreeHash(array(&seal.root)));
        let body = Seal { epoch: seal.epoch, committee: sealed, count: seal.count, root };
        assert_eq!((seal.epoch, sealed), (of.epoch, record.digest()));
        seals.push(check(next, body, &seal.signed));
        let identities: Vec<_> = of.statements.iter().map(|one| StatementId(array(&one.identity))).collect();
        let tree = SealTree::new(identities.iter().copied()).unwrap();
        assert_eq!((tree.count(), tree.root()), (seal.count, root));
        for (identity, one) in identities.iter().zip(&of.statements) {
            let path = SealPath::decode(&hex(one.path.as_ref().unwrap())).unwrap();
            assert_eq!(tree.path(identity), Some(path.clone()));
            assert_eq!(path.seal(record, identity), Some(body));
        }
        for NotSealed { about, identity, path } in &of.not_sealed {
            let path = SealPath::decode(&hex(path)).unwrap();
            assert_ne!(path.seal(record, &StatementId(array(identity))), Some(body), "epoch {epoch}: {about}");
        }
    }
    assert_eq!((epochs.len(), handoffs.len(), seals.len()), (4, 3, 3));
}

#[test]
fn the_genesis_committee_signed_its_handoff() {
    let Values { epochs, .. } = values();
    let possessions = epochs[0].pops.iter().map(|pop| Possession(array(pop))).collect();
    let committee = Committee::proven(record(&epochs[0]), possessions).unwrap();
    let handoff = epochs[0].handoff.as_ref().unwrap();
    let certificate = Certificate::<Handoff>::decode(&hex(&handoff.signed.certificate), &Limits::default()).unwrap();
    assert_eq!(verify_signed(&certificate, &committee), Ok(()));
    let another = Certificate { claim: Handoff { closing: handoff.closing + 1, ..certificate.claim }, ..certificate };
    assert!(verify_signed(&another, &committee).is_err());
}

#[test]
fn key_offers_are_judged_as_expected() {
    let Values { epochs, offers, .. } = values();
    let genesis = record(&epochs[0]);
    for OfferCase { name, offer, refused } in &offers {
        let decoded = KeyOffer::decode(&hex(offer)).unwrap();
        assert_eq!(decoded.encode(), hex(offer), "{name}");
        let got = decoded.verify(&genesis).map(|key| assert_eq!(key.vote_key(), decoded.offered.vote_key));
        let check = got.as_ref().err().map(|error| match error {
            KeyOfferError::AnotherCommittee { .. } => "committee",
            KeyOfferError::NodeSignature(_) => "node-signature",
            KeyOfferError::Possession(_) => "possession",
            KeyOfferError::VoteSignature(_) => "vote-signature",
        });
        assert_eq!(check, refused.as_deref(), "{name}: {got:?}");
    }
    for check in ["committee", "node-signature", "possession", "vote-signature"] {
        assert!(offers.iter().any(|case| case.refused.as_deref() == Some(check)), "{check}");
    }
    // what is made here is what the vectors have
    let (node, vote) = (node_secret("joiner"), vote_secret("joiner, offered"));
    let own = KeyOffer::new(&genesis, &node, &vote);
    assert_eq!(own.encode(), hex(&offers.iter().find(|case| case.name == "of_a_joiner").unwrap().offer));
}

#[test]
fn invalid_bytes_are_refused() {
    let certificate = |error| match error {
        CertificateError::UnknownVersion(_) | CertificateError::AnotherKind { .. } => "cannot-check",
        _ => "invalid",
    };
    let Values { invalid, .. } = values();
    assert!(invalid.len() >= 30, "{}", invalid.len());
    for InvalidCase { name, of, bytes, verdict } in invalid {
        let (bytes, limits) = (hex(&bytes), Limits::default());
        let got = match &*of {
            "committee" => match CommitteeRecord::decode_later(&bytes, &limits).unwrap_err() {
                CommitteeError::UnknownVersion(_) | CommitteeError::UnknownPolicy(_) => "cannot-check",
                _ => "invalid",
            },
            "handoff" => certificate(Certificate::<Handoff>::decode(&bytes, &limits).unwrap_err()),
            "seal" => certificate(Certificate::<Seal>::decode(&bytes, &limits).unwrap_err()),
            "path" => match SealPath::decode(&bytes).unwrap_err() {
                SealPathError::UnknownVersion(_) => "cannot-check",
                SealPathError::Decode(_) => "invalid",
            },
            "offer" => match KeyOffer::decode(&bytes).unwrap_err() {
                KeyOfferFormatError::UnknownVersion(_) => "cannot-check",
                KeyOfferFormatError::Decode(_) => "invalid",
            },
            other => panic!("{name} is of {other}"),
        };
        assert_eq!(got, verdict, "{name}");
    }
}
