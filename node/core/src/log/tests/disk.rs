//! A disk that makes writes durable in their order, one after the other, and loses a random part of the rest in a crash.

use std::collections::VecDeque;

use vouch_core::log::{Block, BlockDigest};

use super::random::Random;
use crate::log::interface::{DecidedBlock, StateInstall, WalState, WriteId};
use crate::log::messages::VoteCertificate;

#[derive(Debug)]
pub(super) enum Write {
    Append(WriteId, Vec<Vec<u8>>),
    Reset(Vec<Vec<u8>>),
    Commit(WriteId, Vec<DecidedBlock>, Vec<u8>),
    Install(WriteId, Box<StateInstall>),
}

#[derive(Debug)]
pub(super) struct Disk {
    /// The number of blocks that are kept.
    kept: usize,
    wal: Option<Vec<Vec<u8>>>,
    blocks: Vec<(Block, VoteCertificate)>,
    state: Option<Vec<u8>>,
    /// The height of the last block.
    height: u64,
    /// The last block of a state that was installed.
    installed: Option<(u64, BlockDigest)>,
    /// Write-ahead log and block store are different files: neither waits for the other.
    wal_queue: VecDeque<Write>,
    store_queue: VecDeque<Write>,
}

impl Disk {
    pub(super) fn new(kept: u64) -> Self {
        Self {
            kept: usize::try_from(kept).unwrap(),
            wal: None,
            blocks: Vec::new(),
            state: None,
            height: 0,
            installed: None,
            wal_queue: VecDeque::new(),
            store_queue: VecDeque::new(),
        }
    }

    /// Takes a write. Whether it goes to the write-ahead log.
    pub(super) fn queue(&mut self, write: Write) -> bool {
        let is_wal = !matches!(write, Write::Commit(..) | Write::Install(..));
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
                self.blocks.drain(..self.blocks.len().saturating_sub(self.kept));
                self.state = Some(state);
                self.height = self.blocks.last().map_or(self.height, |(block, _)| block.header().height);
                Some(write)
            }
            Write::Install(write, install) => {
                self.blocks.clear();
                self.state = Some(install.state);
                self.height = install.header.height;
                self.installed = Some((self.height, install.header.digest()));
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

    pub(super) fn height(&self) -> u64 {
        self.height
    }

    pub(super) fn installed(&self) -> Option<(u64, BlockDigest)> {
        self.installed
    }

    pub(super) fn read(&self, from: u64, count: u64) -> Vec<(Block, VoteCertificate)> {
        let first = self.blocks.first().map_or(u64::MAX, |(block, _)| block.header().height);
        let Some(skipped) = from.checked_sub(first) else { return Vec::new() };
        let (skipped, count) = (usize::try_from(skipped).unwrap(), usize::try_from(count).unwrap());
        self.blocks.iter().skip(skipped).take(count).cloned().collect()
    }
}
