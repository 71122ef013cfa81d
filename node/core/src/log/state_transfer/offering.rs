//! The side of a transfer that has the state.

use std::time::Duration;

use vouch_core::link::NodeKey;
use vouch_core::log::BlockHeader;

use super::STATE_PART;
use crate::log::applied::Applied;
use crate::log::catch_up::AnswerPace;
use crate::log::messages::VoteCertificate;
use crate::log::state_machine::StateMachine;
use crate::log::wire::LogMessage;

/// A state that nobody has asked for in this time is dropped.
const HELD_FOR: Duration = Duration::from_secs(30);

/// The state of one height, which stays the same while nodes fetch it.
#[derive(Debug)]
struct HeldState {
    header: BlockHeader,
    certificate: VoteCertificate,
    bytes: Vec<u8>,
    used: Duration,
}

#[derive(Debug, Default)]
pub(in crate::log) struct Offering {
    held: Option<HeldState>,
    pace: AnswerPace,
}

impl Offering {
    /// The offer to a node that lacks the blocks from a height on. `None` if `kept` blocks do not reach down there, so that it can have
    /// blocks, or if the last block's certificate is not at hand.
    pub(in crate::log) fn offer<M: StateMachine>(
        &mut self,
        from: u64,
        applied: &Applied<M>,
        certificate: Option<&VoteCertificate>,
        kept: u64,
        now: Duration,
    ) -> Option<LogMessage> {
        // After half of the kept blocks, a node that installs it would soon be too far behind again.
        let is_usable = |held: &HeldState| {
            let height = held.header.height;
            height >= from.saturating_add(kept) && applied.height() < height.saturating_add(kept.div_ceil(2))
        };
        if !self.held.as_ref().is_some_and(is_usable) {
            let header = applied.header().filter(|header| header.height >= from.saturating_add(kept))?.clone();
            let certificate = certificate.filter(|certificate| certificate.height == header.height)?.clone();
            self.held = Some(HeldState { header, certificate, bytes: applied.encode()?, used: now });
        }
        let held = self.held.as_mut()?;
        held.used = now;
        Some(LogMessage::StateOffer {
            header: Box::new(held.header.clone()),
            certificate: held.certificate.clone(),
            length: u32::try_from(held.bytes.len()).ok()?,
        })
    }

    /// The part that a node asks for, if it is held and was not sent to that node just now.
    pub(in crate::log) fn part(&mut self, to: NodeKey, height: u64, offset: u32, now: Duration) -> Option<LogMessage> {
        let held = self.held.as_mut().filter(|held| held.header.height == height)?;
        let rest = held.bytes.get(usize::try_from(offset).ok()?..).filter(|rest| !rest.is_empty())?;
        if !self.pace.allows(to, offset.into(), STATE_PART as u64, now) {
            return None;
        }
        held.used = now;
        let bytes = rest[..rest.len().min(STATE_PART)].to_vec();
        Some(LogMessage::StatePart { height, offset, bytes })
    }

    /// Drops a state that nobody fetches any more.
    pub(in crate::log) fn expire(&mut self, now: Duration) {
        self.held.take_if(|held| now >= held.used + HELD_FOR);
    }
}
