//! A file's bytes: the visible ones, and those that survive a loss of power.

use super::shared_pages::Pages;

/// What happens to unsynced writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// All are lost.
    Lost,
    /// All are kept.
    Kept,
    /// The first half of them is kept, and half of the last kept one.
    Torn,
    /// Random pages of them are kept, by this seed.
    Mixed(u64),
    /// The lengths that they gave files are kept, and new bytes read as zero: a file system that journals only metadata does this.
    Zeroed,
}

#[derive(Debug, Clone)]
pub(super) enum FileChange {
    Write(u64, Vec<u8>),
    Resize(u64),
}

#[derive(Debug, Clone, Default)]
pub(super) struct FileContent {
    pub(super) shown: Pages,
    durable: Pages,
    /// The changes from `durable` to `shown`.
    pending: Vec<FileChange>,
    /// Number of changes, in place of a file's times.
    pub(super) changes: i64,
}

impl FileContent {
    /// A file with durable bytes.
    pub(super) fn durable(bytes: &[u8]) -> Self {
        let bytes = Pages::of(bytes);
        Self { shown: bytes.clone(), durable: bytes, pending: Vec::new(), changes: 0 }
    }

    /// A sync has failed: later ones do not write these changes either.
    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
    }

    pub(super) fn change(&mut self, change: FileChange) {
        change.apply(&mut self.shown);
        self.pending.push(change);
        self.changes += 1;
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    pub(super) fn survives(&self, writes: Writes) -> Self {
        let mut bytes = self.durable.clone();
        match writes {
            Writes::Lost => {}
            Writes::Kept => self.pending.iter().for_each(|change| change.apply(&mut bytes)),
            Writes::Torn => {
                let kept = self.pending.len().div_ceil(2);
                for (number, change) in self.pending[..kept].iter().enumerate() {
                    match change {
                        FileChange::Write(offset, data) if number + 1 == kept => {
                            FileChange::Write(*offset, data[..data.len() / 2].to_vec()).apply(&mut bytes);
                        }
                        change => change.apply(&mut bytes),
                    }
                }
            }
            Writes::Zeroed => {
                for change in &self.pending {
                    match change {
                        FileChange::Write(offset, data) => bytes.resize(bytes.len().max(index(*offset) + data.len())),
                        FileChange::Resize(_) => change.apply(&mut bytes),
                    }
                }
            }
            Writes::Mixed(mut seed) => {
                for change in &self.pending {
                    match change {
                        FileChange::Resize(_) => change.apply(&mut bytes),
                        FileChange::Write(offset, data) => {
                            for (page, piece) in data.chunks(4096).enumerate() {
                                // Knuth's MMIX generator
                                seed = seed
                                    .wrapping_mul(6_364_136_223_846_793_005)
                                    .wrapping_add(1_442_695_040_888_963_407);
                                if seed >> 63 == 1 {
                                    FileChange::Write(offset + (page * 4096) as u64, piece.to_vec()).apply(&mut bytes);
                                }
                            }
                        }
                    }
                }
            }
        }
        Self { shown: bytes.clone(), durable: bytes, pending: Vec::new(), changes: self.changes }
    }
}

impl FileChange {
    fn apply(&self, bytes: &mut Pages) {
        match self {
            Self::Resize(length) => bytes.resize(index(*length)),
            Self::Write(offset, data) => bytes.write(index(*offset), data),
        }
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("it fits into memory")
}
