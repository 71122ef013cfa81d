//! Every chain of `tests/vectors/chains.json`, written by the independent implementation: the core refuses the same ones, by the same check.

use std::sync::Arc;

use serde::Deserialize;
use vouch_core::Limits;
use vouch_core::bls::Possession;
use vouch_core::certificate::Certificate;
use vouch_core::chain::{ChainError, CommitteeChain, EpochLink};
use vouch_core::committee::{Committee, CommitteeRecord};
use vouch_core::statement::StatementId;

use crate::vectors::{array, hex};

#[derive(Deserialize)]
struct Case {
    name: String,
    genesis: String,
    pops: Vec<String>,
    links: Vec<Link>,
    refused: Option<Refused>,
}

#[derive(Deserialize)]
struct Link {
    handoff: String,
    committee: String,
    seal: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Refused {
    check: String,
    epoch: u64,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(crate::vectors::directory().join("chains.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(file["cases"].clone()).unwrap()
}

impl Case {
    fn genesis(&self) -> CommitteeChain {
        let record = CommitteeRecord::decode(&hex(&self.genesis), &Limits::default()).unwrap();
        let possessions = self.pops.iter().map(|pop| Possession(array(pop))).collect();
        CommitteeChain::new(Arc::new(Committee::proven(record, possessions).unwrap()))
    }

    fn links(&self) -> impl Iterator<Item = EpochLink> {
        self.links.iter().map(|link| EpochLink {
            handoff: Certificate::decode(&hex(&link.handoff), &Limits::default()).unwrap(),
            committee: CommitteeRecord::decode_later(&hex(&link.committee), &Limits::default()).unwrap(),
            seal: link.seal.as_ref().map(|seal| StatementId(array(seal))),
        })
    }
}

fn refused(error: &ChainError) -> Refused {
    let (check, epoch) = match error {
        ChainError::Epoch { expected, .. } => ("epoch", *expected),
        ChainError::Cluster { epoch, .. } => ("cluster", *epoch),
        ChainError::Previous { epoch, .. } => ("previous", *epoch),
        ChainError::Policy { epoch, .. } => ("policy", *epoch),
        ChainError::Seal { epoch } => ("seal", *epoch),
        ChainError::History { epoch, .. } => ("history", *epoch),
        ChainError::Next { epoch, .. } => ("next", *epoch),
        ChainError::Height { epoch, .. } => ("height", *epoch),
        ChainError::Closing { epoch, .. } => ("closing", *epoch),
        ChainError::Handoff { epoch, .. } => ("handoff", *epoch),
        ChainError::VoteKey { epoch, .. } => ("vote-key", *epoch),
    };
    Refused { check: check.to_owned(), epoch }
}

#[test]
fn every_chain_is_judged_as_expected() {
    let cases = cases();
    assert!(cases.len() >= 30, "{}", cases.len());
    for case in &cases {
        let extended = case.genesis().extended(case.links());
        let got = extended.as_ref().err().map(refused);
        assert_eq!(got, case.refused, "{}: {:?}", case.name, extended.err());
    }
}

#[test]
fn every_check_refuses_a_chain() {
    let cases = cases();
    for check in [
        "epoch", "cluster", "previous", "policy", "seal", "history", "next", "height", "closing", "handoff", "vote-key",
    ] {
        let refuses = |case: &Case| case.refused.as_ref().is_some_and(|refused| refused.check == check);
        assert!(cases.iter().any(refuses), "{check}");
    }
}

#[test]
fn a_chain_has_every_committee_and_the_closing_of_all_but_the_last() {
    let case = cases().into_iter().find(|case| case.name == "ten_handoffs").unwrap();
    let genesis = case.genesis();
    let chain = genesis.extended(case.links()).unwrap();
    assert_eq!((chain.cluster(), chain.current().record().epoch()), (genesis.cluster(), 10));
    for (epoch, link) in (0..).zip(case.links()) {
        assert_eq!(chain.closing(epoch), Some(link.handoff.claim.closing));
        let committee = chain.of_epoch(epoch + 1).unwrap();
        assert_eq!(*committee.record(), link.committee);
        assert!(Arc::ptr_eq(committee, chain.with_digest(&link.committee.digest()).unwrap()));
    }
    assert_eq!((chain.closing(10), chain.of_epoch(11).map(|_| ())), (None, None));
    // one by one, as a program learns of them
    let mut grown = genesis;
    for link in case.links() {
        grown = grown.extended([link]).unwrap();
    }
    assert_eq!(grown.current().record(), chain.current().record());
}

#[test]
fn an_error_says_what_was_expected_and_what_was_found() {
    let find = |name: &str| cases().into_iter().find(|case| case.name == name).unwrap();
    let error = |name| find(name).genesis().extended(find(name).links()).unwrap_err().to_string();
    assert_eq!(error("skipped_epoch"), "epoch of the next committee: expected 1, got 2");
    assert_eq!(error("below_quorum"), "handoff to epoch 2: signers: expected at least 3, got 2");
    assert_eq!(error("height_not_above"), "committee of epoch 2: log height of the handoff: expected above 10, got 10");
    assert_eq!(error("seal_missing"), "committee of epoch 2: seal that its history names: expected one, got none");
}
