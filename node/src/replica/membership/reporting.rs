//! Hands the log the certificates of an epoch that ended, until its seal can have all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vouch_core::membership::{CertifiedStatement, MembershipOp, NodeVote};
use vouch_core::message::{ListFilter, ListPosition};
use vouch_core::statement::{Statement, StatementId};
use vouch_node_core::membership::Membership;

use super::MembershipContext;
use super::performing::OP_LASTS;
use crate::store::StoreError;

/// Size in bytes of the pages in which the certificates of an epoch are read.
const PAGE: usize = 1 << 20;
/// Maximum number of statements that wait in the log. Every member verifies a signature for each before it votes for the block: with more,
/// that would take longer than its round.
const WAITING: usize = 256;

/// The statements that were handed to the log lately, and when.
#[derive(Debug, Default)]
pub(in crate::replica) struct Reporting(Mutex<BTreeMap<StatementId, Duration>>);

impl Reporting {
    /// The statements to hand to the log now, of those that it lacks: none that may still wait there.
    fn next(&self, missing: Vec<(StatementId, CertifiedStatement)>, now: Duration) -> Vec<CertifiedStatement> {
        let mut handed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        handed.retain(|_, at| now < *at + Duration::from_secs(OP_LASTS));
        let (waiting, others): (Vec<_>, Vec<_>) = missing.into_iter().partition(|(id, _)| handed.contains_key(id));
        let room = WAITING.saturating_sub(waiting.len());
        let next: Vec<_> = others.into_iter().take(room).collect();
        handed.extend(next.iter().map(|(id, _)| (*id, now)));
        next.into_iter().map(|(_, statement)| statement).collect()
    }
}

impl MembershipContext {
    /// Hands the log the certificates of the ended epoch that it lacks, if it is this member's turn, or says that none is missing.
    pub(super) async fn report_certificates(&self, state: &Arc<Membership>, is_turn: bool) -> Result<(), String> {
        let Some(sealing) = state.sealing() else { return Ok(()) };
        let (sealed, known) = (sealing.committee.clone(), sealing.statements.clone());
        let (store, own) = (self.storage.store.clone(), self.identity.node_key());
        let reading = self.storage.on_disk(move || {
            let (mut missing, mut seen) = (Vec::new(), BTreeSet::new());
            let mut from = ListPosition::default();
            loop {
                let page = store.list(from, (ListFilter::All, 0), &own, PAGE)?;
                for certificate in page.certificates.iter().filter(|one| one.committee == sealed.record().digest()) {
                    if let Some(statement) = CertifiedStatement::of(certificate, sealed.record()) {
                        let id = Statement::new(sealed.record(), statement.body).id();
                        if !known.contains(&id) && seen.insert(id) {
                            missing.push((id, statement));
                        }
                    }
                }
                if !page.more {
                    return Ok(missing);
                }
                from = page.end;
            }
        });
        let missing = reading.await.map_err(|error: StoreError| error.to_string())?;
        if missing.is_empty() {
            let vote = NodeVote::SealReady.sign(state.committee().record(), &self.identity.keys.node);
            self.submit(&MembershipOp::SealReady(vote));
        } else if is_turn {
            let next = self.reporting.next(missing, self.storage.host.monotonic());
            MembershipOp::certified(next).iter().for_each(|op| self.submit(op));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use vouch_core::bls::AggregateSignature;
    use vouch_core::certificate::Signers;
    use vouch_core::merkle::TreeHash;
    use vouch_core::statement::Stored;

    use super::*;

    fn missing(numbers: std::ops::Range<u64>) -> Vec<(StatementId, CertifiedStatement)> {
        let statement = |number: u64| {
            let body = Stored { issued_at: number, count: 1, root: TreeHash([0; 32]) };
            let signers = Signers::new(1, [0]).unwrap();
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_le_bytes());
            (StatementId(id), CertifiedStatement { body, signers, signature: AggregateSignature([0; 96]) })
        };
        numbers.map(statement).collect()
    }

    fn times(statements: &[CertifiedStatement]) -> Vec<u64> {
        statements.iter().map(|statement| statement.body.issued_at).collect()
    }

    #[test]
    fn few_statements_wait_at_a_time_and_each_is_handed_over_once_until_its_op_expires() {
        let (reporting, second) = (Reporting::default(), Duration::from_secs(1));
        assert_eq!(times(&reporting.next(missing(0..1000), second)), (0..256).collect::<Vec<_>>());
        assert!(reporting.next(missing(0..1000), 2 * second).is_empty(), "they still wait");
        // the log has taken a hundred
        assert_eq!(times(&reporting.next(missing(100..1000), 3 * second)), (256..356).collect::<Vec<_>>());
        // the first ops have expired
        assert_eq!(times(&reporting.next(missing(100..300), 61 * second)), (100..256).collect::<Vec<_>>());
    }
}
