//! The state in place of blocks that nobody keeps any more.

use vouch_core::link::NodeKey;
use vouch_core::log::BlockHeader;

use super::{LogCore, Phase};
use crate::log::applied::{Applied, MAX_SNAPSHOT};
use crate::log::interface::{LogClock, LogOutput, LogStop, StateInstall};
use crate::log::messages::VoteCertificate;
use crate::log::state_machine::StateMachine;
use crate::log::state_transfer::{Due, HeadError, Progress};

impl<M: StateMachine> LogCore<M> {
    /// Offers the state to a node, if it lacks a block that is not kept any more. Whether it does.
    pub(super) fn offer_state(&mut self, to: NodeKey, from: u64, clock: LogClock) -> bool {
        if self.applied.height() < from.saturating_add(self.kept_blocks) {
            return false;
        }
        let certificate = self.catch_up.last_certificate();
        let offer = self.offering.offer(from, &self.applied, certificate, self.kept_blocks, clock.now);
        if let Some(message) = offer {
            self.outbox.push(LogOutput::Send { to, message });
        }
        true
    }

    pub(super) fn received_offer(
        &mut self,
        from: NodeKey,
        header: BlockHeader,
        certificate: &VoteCertificate,
        length: u32,
        clock: LogClock,
    ) {
        let next = self.next_height();
        let height = header.height;
        self.catch_up.note(from, height.saturating_add(1), next, clock.now);
        // Only the node that was asked: a liar must not be able to come before all others each time.
        if !self.catch_up.was_asked(&from) || self.fetching.is_running() || self.is_writing_blocks() || height < next {
            return;
        }
        let fault = if header.cluster != self.cluster() {
            format!("state: expected one of cluster {}, got one of {}", self.cluster(), header.cluster)
        } else if height < next.saturating_add(self.kept_blocks) {
            format!("state of height {height}: expected the blocks from {next} on, which every node keeps")
        } else if length as usize > MAX_SNAPSHOT {
            format!("state of height {height}: expected at most {MAX_SNAPSHOT} bytes, got {length}")
        } else {
            match self.verify_head(&header, certificate) {
                Ok(()) => {
                    let message = self.fetching.begin(from, header, length, clock.now);
                    self.outbox.push(LogOutput::Send { to: from, message });
                    return;
                }
                Err(error @ HeadError::OtherEpoch { .. }) => {
                    // It is not the sender's fault. Others may have blocks, so they are asked in their turn.
                    if self.unverified.as_ref() != Some(&error) {
                        self.unverified = Some(error.clone());
                        self.outbox.push(LogOutput::UnverifiedHead { peer: from, error });
                    }
                    return;
                }
                Err(error) => format!("state of height {height}: {error}"),
            }
        };
        self.refuse_state(from, fault, clock);
    }

    /// Checks that the members that this node knows decided the block of a header, although it lacks the blocks before. That is as good as
    /// their blocks one by one: the same members could have decided others.
    ///
    /// # Errors
    /// [`HeadError`]. The members of another epoch must be known by the chain of committees.
    fn verify_head(&mut self, header: &BlockHeader, certificate: &VoteCertificate) -> Result<(), HeadError> {
        let own = self.applied.members();
        let members = match &self.by_chain {
            Some(members) if header.epoch == members.epoch() => members.clone(),
            _ if header.epoch == own.epoch() => own.clone(),
            _ => return Err(HeadError::OtherEpoch { expected: own.epoch(), got: header.epoch }),
        };
        let digest = header.digest();
        if (certificate.height, certificate.block) != (header.height, digest) {
            return Err(HeadError::OtherBlock { expected: digest, got: certificate.block });
        }
        self.signing.set_epoch(members.epoch());
        let checked = self.signing.check_commit(certificate, members.keys());
        self.signing.set_epoch(own.epoch());
        Ok(checked?)
    }

    pub(super) fn asked_for_state(&mut self, from: NodeKey, height: u64, offset: u32, clock: LogClock) {
        if let Some(message) = self.offering.part(from, height, offset, clock.now) {
            self.outbox.push(LogOutput::Send { to: from, message });
        }
    }

    pub(super) fn received_state(
        &mut self,
        from: NodeKey,
        (height, offset): (u64, u32),
        bytes: &[u8],
        clock: LogClock,
    ) {
        match self.fetching.receive(from, height, offset, bytes, clock.now) {
            Progress::Ignored => {}
            Progress::Ask(message) => self.outbox.push(LogOutput::Send { to: from, message }),
            Progress::Refused(reason) => self.refuse_state(from, reason, clock),
            Progress::Complete(header, bytes) => match self.restore(&header, &bytes) {
                Ok(next) => self.install(from, *header, next, bytes),
                Err(reason) => self.refuse_state(from, format!("state of height {height}: {reason}"), clock),
            },
        }
    }

    fn restore(&self, header: &BlockHeader, bytes: &[u8]) -> Result<Applied<M>, String> {
        let restored = Applied::decode(bytes, self.cluster(), self.applied.founders().clone());
        let next: Applied<M> = restored.map_err(|error| error.to_string())?;
        match next.block() {
            got if got == header.digest() => Ok(next),
            got => Err(format!("expected block {} as the last one, got {got}", header.digest())),
        }
    }

    fn install(&mut self, from: NodeKey, header: BlockHeader, next: Applied<M>, state: Vec<u8>) {
        // Blocks came in the meantime. If they are too few, the transfer begins anew.
        if self.is_writing_blocks() || header.height < self.next_height() {
            return;
        }
        self.stop_timers();
        let before = next.tree_before().clone();
        let write = self.outbox.install(StateInstall { header, before, state });
        self.phase = Phase::Installing { write, next: Box::new(next), from };
    }

    /// The state is durable: it takes the place of the blocks up to its height.
    pub(super) fn installed(&mut self, clock: LogClock) -> Result<(), LogStop> {
        let Phase::Installing { next, from, .. } = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return Ok(());
        };
        self.applied = *next;
        self.signing.forget();
        self.signing.set_epoch(self.applied.members().epoch());
        self.pool.settle(&self.applied);
        self.early.clear();
        self.catch_up.forget_blocks();
        if let Some(head) = self.applied.head() {
            self.outbox.push(LogOutput::Installed(head));
        }
        let records = self.recovery.records();
        self.outbox.push(LogOutput::ResetWal { records });
        self.commit_received(clock)?;
        if self.catch_up.go_on(from, self.next_height(), clock.now) {
            self.ask(from);
        }
        Ok(())
    }

    /// What is due of a transfer.
    pub(super) fn go_on_with_state(&mut self, clock: LogClock) {
        self.offering.expire(clock.now);
        match self.fetching.due(clock.now) {
            None => {}
            Some(Due::Ask(to, message)) => self.outbox.push(LogOutput::Send { to, message }),
            Some(Due::GiveUp(peer, reason)) => self.refuse_state(peer, reason, clock),
        }
    }

    /// Names a node whose state is not used, and asks the next one.
    fn refuse_state(&mut self, peer: NodeKey, reason: String, clock: LogClock) {
        self.misbehaved(peer, reason);
        self.catch_up.drop_peer(&peer, clock.now);
    }
}
