//! The canonical encoding of the members' state, as part of the log's. The caller checks that a restored state has the same encoding again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vouch_core::DecodeError;
use vouch_core::bls::{VoteKey, VoteSignature};
use vouch_core::certificate::Certificate;
use vouch_core::codec::{Reader, write_count};
use vouch_core::committee::{Committee, CommitteeRecord};
use vouch_core::digest::ChangeId;
use vouch_core::limits::Limits;
use vouch_core::link::NodeKey;
use vouch_core::membership::CommitteeChange;
use vouch_core::merkle::TreeHash;
use vouch_core::seal::SealTree;
use vouch_core::statement::{Accept, Body, Handoff, Seal, Statement, StatementId};
use vouch_core::tally::Tally;

use super::approvals::{Approvals, Proposal};
use super::running_change::{DecidedSuccessor, NextCommittee, RunningChange};
use super::sealing::Sealing;
use super::state::{EpochStart, Membership};
use crate::log::state_machine::RestoreError;

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn write_option<T>(out: &mut Vec<u8>, value: Option<&T>, write: impl FnOnce(&mut Vec<u8>, &T)) {
    out.push(value.is_some().into());
    if let Some(value) = value {
        write(out, value);
    }
}

fn write_committee(out: &mut Vec<u8>, committee: &CommitteeRecord) {
    out.push((committee.epoch() > 0).into());
    write_bytes(out, &committee.encode());
}

fn write_votes<B: Body>(out: &mut Vec<u8>, tally: &Tally<B>) {
    write_count(out, tally.votes().len());
    for (member, signature) in tally.votes() {
        out.extend_from_slice(&member.to_le_bytes());
        out.extend_from_slice(&signature.0);
    }
}

impl Membership {
    /// Appends the encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_committee(out, self.committee.record());
        write_option(out, self.start.as_ref(), |out, start| {
            write_bytes(out, &start.handoff.encode());
            write_option(out, start.seal.as_ref(), |out, seal| out.extend_from_slice(&seal.0));
        });
        self.approvals.write(out);
        write_option(out, self.running.as_ref(), |out, running| running.write(out));
        write_option(out, self.sealing.as_ref(), |out, sealing| sealing.write(out));
    }

    /// Reads a state that some block commits to.
    ///
    /// # Errors
    /// The bytes are not the encoding of a state.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let committee = read_committee(reader)?;
        let start = match reader.flag("has a start")? {
            true => Some((read_certificate(reader)?, read_option(reader, "seal", read_statement)?)),
            false => None,
        };
        let approvals = Approvals::read(reader)?;
        let running = match reader.flag("has a change")? {
            true => Some(RunningChange::read(reader, &committee)?),
            false => None,
        };
        let sealing = match reader.flag("has a seal")? {
            true => Some(Sealing::read(reader, &committee)?),
            false => None,
        };
        let start = match (start, &sealing) {
            (None, _) => None,
            (Some((handoff, seal)), Some(sealing)) => {
                let identity = Statement::new(sealing.committee.record(), handoff.claim).id();
                Some(EpochStart { handoff, identity, seal })
            }
            (Some(_), None) => return Err(rule("seal", "one for the epoch before", "none")),
        };
        Ok(Self { committee, start, approvals, running, sealing })
    }
}

impl Approvals {
    fn write(&self, out: &mut Vec<u8>) {
        write_count(out, self.proposals.len());
        for proposal in self.proposals.values() {
            out.extend_from_slice(&proposal.height.to_le_bytes());
            write_option(out, proposal.operator.as_ref(), |out, signature| out.extend_from_slice(&signature.0));
            write_bytes(out, &proposal.change.encode());
        }
        write_count(out, self.approvals.len());
        for (member, (number, change)) in &self.approvals {
            out.extend_from_slice(&member.0);
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&change.0);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let mut proposals = BTreeMap::new();
        for _ in 0..reader.u32("number of proposals")? {
            let height = reader.u64("height of a proposal")?;
            let operator = read_option(reader, "operator's signature", read_signature)?;
            let change = read_change(reader)?;
            proposals.insert(change.id(), Proposal { change, operator, height });
        }
        let mut approvals = BTreeMap::new();
        for _ in 0..reader.u32("number of approvals")? {
            let member = NodeKey(reader.array("member")?);
            let number = reader.u64("number of an approval")?;
            approvals.insert(member, (number, ChangeId(reader.array("change")?)));
        }
        Ok(Self { proposals, approvals })
    }
}

impl RunningChange {
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(out, &self.change.encode());
        out.extend_from_slice(&self.since.to_le_bytes());
        write_count(out, self.offers.len());
        for (member, vote_key) in &self.offers {
            out.extend_from_slice(&member.0);
            out.extend_from_slice(&vote_key.0);
        }
        write_option(out, self.next.as_ref(), |out, next| {
            write_committee(out, next.committee.record());
            write_option(out, next.seal.as_ref(), |out, seal| out.extend_from_slice(&seal.0));
            write_votes(out, &next.accepts);
            write_option(out, next.decided.as_ref(), |out, decided| decided.write(out));
        });
    }

    fn read(reader: &mut Reader<'_>, committee: &Committee) -> Result<Self, RestoreError> {
        let change = read_change(reader)?;
        let since = reader.u64("time of the change")?;
        let mut offers = BTreeMap::new();
        for _ in 0..reader.u32("number of offers")? {
            offers.insert(NodeKey(reader.array("member")?), VoteKey(reader.array("vote key")?));
        }
        let id = change.id();
        let next = match reader.flag("has a next committee")? {
            true => {
                let next = read_committee(reader)?;
                let seal = read_option(reader, "seal", read_statement)?;
                let accepts = read_votes(reader, &next, Accept { proposal: id.0 })?;
                let decided = match reader.flag("has a decision")? {
                    true => Some(DecidedSuccessor::read(reader, committee)?),
                    false => None,
                };
                Some(NextCommittee { committee: next, seal, accepts, decided })
            }
            false => None,
        };
        Ok(Self { change, id, since, offers, next })
    }
}

impl DecidedSuccessor {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.height.to_le_bytes());
        write_option(out, self.log_root.as_ref(), |out, root| out.extend_from_slice(&root.0));
        write_count(out, self.stops.len());
        for (member, until) in &self.stops {
            out.extend_from_slice(&member.0);
            out.extend_from_slice(&until.to_le_bytes());
        }
        write_option(out, self.handoff.as_ref(), |out, handoff| {
            handoff.statement().body().write(out);
            write_votes(out, handoff);
        });
    }

    fn read(reader: &mut Reader<'_>, committee: &Committee) -> Result<Self, RestoreError> {
        let height = reader.u64("height of the decision")?;
        let log_root = read_option(reader, "log root", |reader| Ok(TreeHash(reader.array("log root")?)))?;
        let mut stops = BTreeMap::new();
        for _ in 0..reader.u32("number of stops")? {
            stops.insert(NodeKey(reader.array("member")?), reader.u64("time of a stop")?);
        }
        let handoff = match reader.flag("has a handoff")? {
            true => {
                let claim = Handoff::read_claim(reader, &Limits::default());
                let claim = claim.map_err(|error| rule("handoff", "a body", error))?;
                Some(read_votes(reader, committee, claim)?)
            }
            false => None,
        };
        Ok(Self { height, log_root, stops, handoff })
    }
}

impl Sealing {
    fn write(&self, out: &mut Vec<u8>) {
        write_committee(out, self.committee.record());
        out.extend_from_slice(&self.closing.to_le_bytes());
        write_count(out, self.statements.len());
        self.statements.iter().for_each(|identity| out.extend_from_slice(&identity.0));
        write_count(out, self.ready.len());
        self.ready.iter().for_each(|member| out.extend_from_slice(&member.0));
        write_option(out, self.tally.as_ref(), write_votes);
        write_option(out, self.seal.as_ref(), |out, seal| out.extend_from_slice(&seal.0));
    }

    fn read(reader: &mut Reader<'_>, sealing: &Committee) -> Result<Self, RestoreError> {
        let committee = read_committee(reader)?;
        let closing = reader.u64("closing")?;
        let mut statements = BTreeSet::new();
        for _ in 0..reader.u32("number of statements")? {
            statements.insert(read_statement(reader)?);
        }
        let mut ready = BTreeSet::new();
        for _ in 0..reader.u32("number of ready members")? {
            ready.insert(NodeKey(reader.array("member")?));
        }
        let tally = match reader.flag("has votes on the seal")? {
            true => {
                let tree = SealTree::new(statements.iter().copied());
                let tree = tree.ok_or_else(|| rule("seal", "fewer statements", statements.len()))?;
                let (epoch, digest) = (committee.record().epoch(), committee.record().digest());
                let seal = Seal { epoch, committee: digest, count: tree.count(), root: tree.root() };
                Some(read_votes(reader, sealing, seal)?)
            }
            false => None,
        };
        let seal = read_option(reader, "seal", read_statement)?;
        Ok(Self { committee, closing, statements: Arc::new(statements), ready, tally, seal })
    }
}

fn rule(field: &'static str, expected: &'static str, got: impl ToString) -> RestoreError {
    RestoreError::Rule { field, expected, got: got.to_string() }
}

fn read_bytes<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], DecodeError> {
    let length = reader.u32(field)?;
    reader.take(field, length as usize)
}

fn read_option<T>(
    reader: &mut Reader<'_>,
    field: &'static str,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if reader.flag(field)? { read(reader).map(Some) } else { Ok(None) }
}

fn read_statement(reader: &mut Reader<'_>) -> Result<StatementId, DecodeError> {
    Ok(StatementId(reader.array("statement")?))
}

fn read_signature(reader: &mut Reader<'_>) -> Result<VoteSignature, DecodeError> {
    Ok(VoteSignature(reader.array("signature")?))
}

fn read_change(reader: &mut Reader<'_>) -> Result<CommitteeChange, RestoreError> {
    CommitteeChange::decode(read_bytes(reader, "change")?).map_err(|error| rule("change", "a committee change", error))
}

fn read_certificate(reader: &mut Reader<'_>) -> Result<Certificate<Handoff>, RestoreError> {
    let bytes = read_bytes(reader, "handoff")?;
    Certificate::decode(bytes, &Limits::default()).map_err(|error| rule("handoff", "a certificate", error))
}

fn read_committee(reader: &mut Reader<'_>) -> Result<Arc<Committee>, RestoreError> {
    let is_later = reader.flag("is a later committee")?;
    let bytes = read_bytes(reader, "committee")?;
    let record = match is_later {
        true => CommitteeRecord::decode_later(bytes, &Limits::default()),
        false => CommitteeRecord::decode(bytes, &Limits::default()),
    };
    let record = record.map_err(|error| rule("committee", "a committee", error))?;
    let committee = Committee::handed_over(Arc::new(record));
    Ok(Arc::new(committee.map_err(|(_, error)| rule("vote key", "a valid point", error))?))
}

fn read_votes<B: Body>(reader: &mut Reader<'_>, committee: &Committee, body: B) -> Result<Tally<B>, RestoreError> {
    let mut tally = Tally::new(committee.record(), body);
    let mut votes = Vec::new();
    for _ in 0..reader.u32("number of votes")? {
        votes.push((reader.u16("voter")?, read_signature(reader)?));
    }
    for vote in tally.ballot().verify_all(committee, &votes) {
        let counted = vote.and_then(|vote| tally.count(vote));
        counted.map_err(|error| rule("vote", "a valid one", error))?;
    }
    Ok(tally)
}
