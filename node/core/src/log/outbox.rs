//! Outputs, and what must wait for the disk: a message that depends on records leaves when they are durable. Without that, a node that
//! crashes could sign against a vote that others have.

use std::collections::VecDeque;

use vouch_core::bugs::{self, Bug};

use super::interface::{DecidedBlock, LogOutput, StateInstall, WriteId};
use super::wal_record::WalRecord;
use super::wire::LogMessage;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    outputs: Vec<LogOutput>,
    /// Records that are not given to the disk yet. Received votes alone wait here for the next message that depends on them.
    records: Vec<Vec<u8>>,
    /// Messages, with the write that they wait for.
    held: VecDeque<(WriteId, LogMessage)>,
    /// The number of the latest write.
    latest: u64,
    /// The latest write that is durable.
    durable: u64,
    is_awaited: bool,
}

impl Outbox {
    pub(super) fn push(&mut self, output: LogOutput) {
        self.outputs.push(output);
    }

    pub(super) fn record(&mut self, record: &WalRecord) {
        self.records.extend(record.encode());
    }

    /// Sends a message to all when everything recorded so far is durable.
    pub(super) fn broadcast_when_durable(&mut self, message: LogMessage) {
        let needed = if self.records.is_empty() { self.latest } else { self.latest + 1 };
        if needed <= self.durable || bugs::has(Bug::LogVoteUnwritten) {
            self.outputs.push(LogOutput::Broadcast(message));
        } else {
            self.held.push_back((WriteId(needed), message));
        }
        self.is_awaited = true;
    }

    /// Stores decided blocks. Records that are not written yet belong to a decided height and are dropped; messages that wait for them
    /// wait for the blocks instead: once those are durable, this node never signs at that height again.
    pub(super) fn commit(&mut self, blocks: Vec<DecidedBlock>, state: Vec<u8>) -> WriteId {
        self.records.clear();
        let write = self.next_write();
        self.outputs.push(LogOutput::Commit { write, blocks, state });
        write
    }

    /// Stores a state in place of blocks. The rules of [`commit`](Self::commit) hold for records and messages.
    pub(super) fn install(&mut self, install: StateInstall) -> WriteId {
        self.records.clear();
        let write = self.next_write();
        self.outputs.push(LogOutput::Install { write, install: Box::new(install) });
        write
    }

    fn next_write(&mut self) -> WriteId {
        self.latest += 1;
        WriteId(self.latest)
    }

    /// A write is durable, and so are all before it.
    pub(super) fn written(&mut self, write: WriteId) {
        self.durable = self.durable.max(write.0.min(self.latest));
        let released = self.held.partition_point(|(needed, _)| needed.0 <= write.0);
        self.outputs.extend(self.held.drain(..released).map(|(_, message)| LogOutput::Broadcast(message)));
    }

    /// The outputs so far. Records are written if a message waits for them.
    pub(super) fn take(&mut self) -> Vec<LogOutput> {
        if std::mem::take(&mut self.is_awaited) && !self.records.is_empty() {
            let (write, records) = (self.next_write(), std::mem::take(&mut self.records));
            // Before the messages, which the planted bug sends at once.
            self.outputs.push(LogOutput::Append { write, records });
        }
        std::mem::take(&mut self.outputs)
    }
}
