//! Performs the duties: checks what is signed, makes it durable, signs, and hands the op to the log.

use std::sync::Arc;

use vouch_core::bls::{VoteSecretKey, VoteSignature};
use vouch_core::committee::KeyOffer;
use vouch_core::log::Op;
use vouch_core::membership::{MembershipOp, NodeVote};
use vouch_core::statement::{Body, Statement, Stored};
use vouch_core::verify::CLOCK_TOLERANCE;
use vouch_node_core::membership::{Duty, Membership};
use vouch_node_core::replica::Event;

use super::MembershipContext;
use crate::store::StoreError;

/// An op about members that the log has not decided within this time is made again, in seconds.
pub(super) const OP_LASTS: u64 = 60;
/// A member stops so much after its clock, in seconds, that it contradicts no vote that it is giving: it votes for statements that were
/// issued at most the tolerance after its clock.
const STOP_AHEAD: u64 = CLOCK_TOLERANCE + 1;
/// Maximum number of lost blobs that one line names.
const SHOWN: usize = 20;

impl MembershipContext {
    pub(super) async fn perform(&self, state: &Arc<Membership>, duty: Duty) -> Result<(), String> {
        let committee = state.committee().record();
        let (epoch, node_key) = (committee.epoch(), self.identity.node_key());
        let node = self.identity.keys.node.clone();
        let op = match duty {
            Duty::Approve { change, number } => {
                MembershipOp::Approve(NodeVote::Approve { change, number }.sign(committee, &node))
            }
            Duty::Offer => {
                let vote = self.identity.create_vote_key(epoch + 1).await.map_err(|error| error.to_string())?;
                let state = state.clone();
                let offer = self.on_thread(move || KeyOffer::new(state.committee().record(), &node, &vote)).await?;
                MembershipOp::Offer(Box::new(offer))
            }
            Duty::Fix { change } => MembershipOp::Fix { change },
            Duty::Accept(statement) => {
                let next = state.running().and_then(|running| running.next.as_ref());
                let next = next.ok_or("no committee waits to be accepted")?.committee.record();
                let member = next.position(&node_key).and_then(|position| next.member(position));
                let vote_key = member.ok_or("this replica is not in the next committee")?.vote_key;
                let key = self.identity.vote_key_of(&vote_key).ok_or("the vote key of the next epoch is missing")?;
                self.report_unavailable();
                let signature = self.on_thread(move || statement.sign(&key)).await?;
                MembershipOp::Accept { node_key, signature }
            }
            Duty::Stop => {
                let Some(now) = self.unix_seconds() else { return Ok(()) };
                let (storage, stops) = (self.storage.clone(), self.stops.clone());
                let stopping = self.storage.on_disk(move || {
                    let latest = storage.store.latest_signed(Stored::KIND)?.unwrap_or(0);
                    let until = latest.max(now + STOP_AHEAD);
                    Ok(stops.stop(storage.host.disk(), epoch, until)?)
                });
                let until = stopping.await.map_err(|error: StoreError| error.to_string())?;
                MembershipOp::Stop(NodeVote::Stop { until }.sign(committee, &node))
            }
            Duty::SignHandoff(statement) => {
                let signature = self.sign_once(*statement, epoch).await?;
                MembershipOp::SignHandoff { node_key, signature }
            }
            Duty::ReportCertificates { is_turn } => return self.report_certificates(state, is_turn).await,
            Duty::SignSeal(statement) => {
                self.keep_seal(state).await?;
                let signature = self.sign_once(*statement, epoch).await?;
                MembershipOp::SignSeal { node_key, signature }
            }
        };
        self.submit(&op);
        Ok(())
    }

    /// Names the blobs that the next committee is accepted without, because nobody holds them.
    fn report_unavailable(&self) {
        let lost: Vec<String> =
            self.storage.repairs.with(|blobs| blobs.unavailable().map(|digest| digest.to_string()).collect());
        if !lost.is_empty() {
            let (count, shown) = (lost.len(), lost.get(..SHOWN).unwrap_or(&lost).join(", "));
            let more = if count > SHOWN { ", …" } else { "" };
            self.reports.report(Event::Trouble(format!(
                "the next committee is accepted without {count} blobs that no member holds: {shown}{more}"
            )));
        }
    }

    pub(super) fn submit(&self, op: &MembershipOp) {
        match self.log_op(op, OP_LASTS) {
            Some(op) => self.log.submit(op),
            // Without this line, a duty that is never done would look as if it waited.
            None => self.trouble(&format!("an op of kind {} is too large for the log", op.kind())),
        }
    }

    /// The op for the log, which waits so many seconds. `None` if it is larger than the log takes.
    pub(super) fn log_op(&self, op: &MembershipOp, lasts: u64) -> Option<Op> {
        let host = &self.storage.host;
        Op::new(op.kind(), host.random(), host.unix_seconds() + lasts, op.body()).ok()
    }

    async fn on_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        self.storage.host.spawn_blocking(work).await.map_err(|error| error.to_string())
    }

    /// Signs a statement of which a member signs one in each epoch. What it says follows from the log, which this node executed.
    async fn sign_once<B: Body>(&self, statement: Statement<B>, epoch: u64) -> Result<VoteSignature, String> {
        let key: Arc<VoteSecretKey> = self.identity.vote_key(epoch).ok_or("the vote key of the epoch is missing")?;
        let journalled = self.storage.store.enter_once(statement).await.map_err(|error| error.to_string())?;
        self.on_thread(move || journalled.sign(&key)).await
    }
}
