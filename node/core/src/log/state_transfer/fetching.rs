//! The side of a transfer that lacks the state.

use std::time::Duration;

use vouch_core::link::NodeKey;
use vouch_core::log::BlockHeader;

use super::STATE_PART;
use crate::log::wire::LogMessage;

/// A part is asked for again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Maximum time of a transfer, besides the time for its bytes. Without a limit, a slow node could keep this one from asking another.
const MAX_TIME: Duration = Duration::from_secs(10);
/// The rate at which a transfer must bring its bytes.
const BYTES_PER_SECOND: u32 = 256 << 10;

/// The transfer that runs: from one node, of one state.
#[derive(Debug)]
struct Transfer {
    peer: NodeKey,
    header: BlockHeader,
    length: u32,
    bytes: Vec<u8>,
    ask_at: Duration,
    until: Duration,
}

impl Transfer {
    /// The number of bytes that are here. Cannot saturate: no more are taken than `length`.
    fn offset(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn question(&mut self, now: Duration) -> LogMessage {
        self.ask_at = now + ASK_AGAIN;
        LogMessage::AskState { height: self.header.height, offset: self.offset() }
    }
}

#[derive(Debug, Default)]
pub(in crate::log) struct Fetching {
    transfer: Option<Transfer>,
}

/// What became of a part.
#[derive(Debug)]
pub(in crate::log) enum Progress {
    /// It is none that was asked for.
    Ignored,
    /// Ask the sender for the next one.
    Ask(LogMessage),
    /// The state is complete, but not checked. It should end with this block.
    Complete(Box<BlockHeader>, Vec<u8>),
    /// An honest node does not send it: the transfer is over.
    Refused(String),
}

/// What is due.
#[derive(Debug)]
pub(in crate::log) enum Due {
    /// Ask a node for a part again.
    Ask(NodeKey, LogMessage),
    /// A node took too long: the transfer is over.
    GiveUp(NodeKey, String),
}

impl Fetching {
    pub(in crate::log) fn is_running(&self) -> bool {
        self.transfer.is_some()
    }

    /// Begins a transfer whose last block was verified. Returns the first question.
    pub(in crate::log) fn begin(
        &mut self,
        peer: NodeKey,
        header: BlockHeader,
        length: u32,
        now: Duration,
    ) -> LogMessage {
        let until = now + MAX_TIME + Duration::from_secs((length / BYTES_PER_SECOND).into());
        let transfer = Transfer { peer, header, length, bytes: Vec::new(), ask_at: now, until };
        self.transfer.insert(transfer).question(now)
    }

    pub(in crate::log) fn receive(
        &mut self,
        from: NodeKey,
        height: u64,
        offset: u32,
        bytes: &[u8],
        now: Duration,
    ) -> Progress {
        // Anything else may be a repetition.
        let is_asked = |transfer: &&mut Transfer| {
            (transfer.peer, transfer.header.height, transfer.offset()) == (from, height, offset)
        };
        let Some(transfer) = self.transfer.as_mut().filter(is_asked) else { return Progress::Ignored };
        // Longer than promised would be endless, and shorter ones would take as many questions as bytes.
        let expected = STATE_PART.min((transfer.length - offset) as usize);
        if bytes.len() != expected {
            self.transfer = None;
            let got = bytes.len();
            return Progress::Refused(format!(
                "state of height {height}: expected {expected} bytes at {offset}, got {got}"
            ));
        }
        transfer.bytes.extend_from_slice(bytes);
        if transfer.offset() < transfer.length {
            return Progress::Ask(transfer.question(now));
        }
        match self.transfer.take() {
            Some(Transfer { header, bytes, .. }) => Progress::Complete(Box::new(header), bytes),
            None => Progress::Ignored,
        }
    }

    pub(in crate::log) fn due(&mut self, now: Duration) -> Option<Due> {
        let transfer = self.transfer.as_mut()?;
        if now >= transfer.until {
            let Transfer { peer, header, length, bytes, .. } = self.transfer.take()?;
            let (height, got) = (header.height, bytes.len());
            return Some(Due::GiveUp(
                peer,
                format!("state of height {height}: expected {length} bytes in time, got {got}"),
            ));
        }
        (now >= transfer.ask_at).then(|| Due::Ask(transfer.peer, transfer.question(now)))
    }

    pub(in crate::log) fn next_due(&self) -> Option<Duration> {
        self.transfer.as_ref().map(|transfer| transfer.ask_at.min(transfer.until))
    }
}
