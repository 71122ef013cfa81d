use super::*;
use crate::log::wire::tests::{block, certificate, proposal, vote};

fn records() -> Vec<WalRecord> {
    let judged = |valid_round| JudgedBlock {
        round: 2,
        valid_round,
        proposer: NodeKey([8; 32]),
        block: BlockDigest([5; 32]),
        is_valid: valid_round.is_none(),
    };
    let timeout = |step| EngineInput::Timeout(EngineTimeout { step, round: 9 });
    let inputs = [
        EngineInput::Vote(vote(None)),
        EngineInput::Vote(vote(Some(BlockDigest([5; 32])))),
        EngineInput::Proposal(proposal(None)),
        EngineInput::Proposal(proposal(Some(1))),
        EngineInput::Polka(certificate(3)),
        timeout(TimeoutStep::Propose),
        timeout(TimeoutStep::Prevote),
        timeout(TimeoutStep::Precommit),
        EngineInput::Judged(judged(None)),
        EngineInput::Judged(judged(Some(1))),
    ];
    let mut records: Vec<_> = inputs.into_iter().map(|input| WalRecord::Input(1, input)).collect();
    records.extend([WalRecord::Block(Box::new(block())), WalRecord::Abstain(None), WalRecord::Abstain(Some(7))]);
    records
}

#[test]
fn each_record_has_one_encoding() {
    for record in records() {
        let bytes = record.encode().unwrap();
        assert_eq!(WalRecord::decode(&bytes), Ok(record.clone()));
        for length in 0..bytes.len() {
            assert!(WalRecord::decode(&bytes[..length]).is_err(), "{record:?} cut to {length}");
        }
        assert!(WalRecord::decode(&[&bytes[..], &[0]].concat()).is_err(), "{record:?}");
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[position] ^= 1 << bit;
                if let Ok(other) = WalRecord::decode(&altered) {
                    assert_ne!(other, record);
                    assert_eq!(other.encode(), Some(altered), "bit {bit} of byte {position}");
                }
            }
        }
    }
}

#[test]
fn a_record_is_of_the_height_that_it_names() {
    let mut bytes = WalRecord::Input(1, EngineInput::Vote(vote(None))).encode().unwrap();
    bytes[2] = 2;
    let error = WalRecord::decode(&bytes).unwrap_err().to_string();
    assert_eq!(error, "write-ahead log: height of the record: expected 2, got 1");
}

#[test]
fn what_other_records_say_already_is_not_recorded() {
    let propose = EngineInput::Propose { round: 0, block: BlockDigest([5; 32]) };
    assert_eq!(WalRecord::Input(1, propose).encode(), None);
}
