//! A disk that makes writes durable in their order, one after the other, and loses a random part of the rest in a crash.

use std::collections::VecDeque;

use vouch_core::log::Block;

use super::random::Random;
use crate::log::interface::{DecidedBlock, WalState, WriteId};
use crate::log::messages::VoteCertificate;

#[derive(Debug)]
pub(super) enum Write {
    Append(WriteId, Vec<Vec<u8>>),
    Reset(Vec<Vec<u8>>),
    Commit(WriteId, Vec<DecidedBlock>, Vec<u8>),
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    wal: Option<Vec<Vec<u8>>>,
    blocks: Vec<(Block, VoteCertificate)>,
    state: Option<Vec<u8>>,
    /// Write-ahead log and block store are different files: neither waits for the other.
    wal_queue: VecDeque<Write>,
    store_queue: VecDeque<Write>,
}

impl Disk {
    /// Takes a write. Whether it goes to the write-ahead log.
    pub(super) fn queue(&mut self, write: Write) -> bool {
        let is_wal = !matches!(write, Write::Commit(..));
        if is_wal {
            self.wal_queue.push_back(write)
        } else {
            self.store_queue.push_back(write)
        }
        is_wal
    }

    /// Makes the next write of a queue durable.
    pub(super) fn perform(&mut self, is_wal: bool) -> Option<WriteId> {
        let queue = if is_wal { &mut self.wal_queue } else { &mut self.store_queue };
        match queue.pop_front()? {
            Write::Append(write, records) => {
                self.wal.get_or_insert_default().extend(records);
                Some(write)
            }
            Write::Reset(records) => {
                self.wal = Some(records);
                None
            }
            Write::Commit(write, blocks, state) => {
                self.blocks.extend(blocks.into_iter().map(|decided| (decided.block, decided.certificate)));
                self.state = Some(state);
                Some(write)
            }
        }
    }

    /// A crash: any number of the pending writes is durable, and of the last one any number of its records. The store commits whole
    /// transactions.
    pub(super) fn crash(&mut self, random: &mut Random) {
        for _ in 0..random.index(self.wal_queue.len() + 1) {
            self.perform(true);
        }
        if let Some(Write::Append(_, records)) = self.wal_queue.pop_front() {
            let kept = random.index(records.len() + 1);
            self.wal.get_or_insert_default().extend(records.into_iter().take(kept));
        }
        for _ in 0..random.index(self.store_queue.len() + 1) {
            self.perform(false);
        }
        self.wal_queue.clear();
        self.store_queue.clear();
    }

    pub(super) fn lose_wal(&mut self) {
        self.wal = None;
    }

    /// What a start finds. A new node makes its write-ahead log before it opens the log, and remembers elsewhere that it did.
    pub(super) fn wal(&mut self, is_new: bool) -> WalState {
        if is_new {
            self.wal = Some(Vec::new());
            return WalState::Fresh;
        }
        self.wal.clone().map_or(WalState::Lost, WalState::Records)
    }

    pub(super) fn state(&self) -> Option<&[u8]> {
        self.state.as_deref()
    }

    pub(super) fn blocks(&self) -> &[(Block, VoteCertificate)] {
        &self.blocks
    }

    pub(super) fn read(&self, from: u64, count: u64) -> Vec<(Block, VoteCertificate)> {
        let skipped = usize::try_from(from - 1).unwrap();
        self.blocks.iter().skip(skipped).take(usize::try_from(count).unwrap()).cloned().collect()
    }
}
