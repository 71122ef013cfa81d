//! What a seed stands for.

use super::liar::Lie;
use super::random::Random;
use crate::log::state_transfer::KEPT_BLOCKS;

/// What node 0 loses once. In a committee that tolerates faults, it is one of the f. Alone, it never loses its disk: nobody else would have
/// the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The write-ahead log.
    Wal,
    /// Everything but its key.
    Disk,
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) founders: u64,
    /// Who lies, and how.
    pub(super) lies: Vec<(u64, Lie)>,
    /// Whether the committee changes: 1 → 4 → 3 → 4, and then four others.
    pub(super) changes: bool,
    pub(super) loss: Option<Loss>,
    /// The number of blocks that every node keeps.
    pub(super) kept_blocks: u64,
    /// Whether node 1 is away for longer than blocks are kept. It is one of the f.
    pub(super) is_away: bool,
    /// Whether ops fill whole blocks.
    pub(super) fills_blocks: bool,
    /// Whether node 0 is cut off and no proposal arrives, so that the others are many rounds ahead, and then need it.
    pub(super) parts_rounds: bool,
    /// In seconds.
    pub(super) chaos: u64,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random(seed ^ 0x10C);
        let changes = seed % 5 == 4;
        let founders: u64 =
            if changes { 1 } else { [4, 1, 4, 2, 7, 4, 3, 4][usize::try_from(seed / 5 * 4 + seed % 5).unwrap() % 8] };
        // A node that lacks the blocks of a change cannot verify a state after it.
        let keeps_few = !changes && random.is(400);
        let kept_blocks = if keeps_few { random.between(3, 5) } else { KEPT_BLOCKS };
        let loss = (!changes && random.is(200)).then(|| match random.is(500) {
            false if founders > 1 => Loss::Disk,
            _ => Loss::Wal,
        });
        let any = |random: &mut Random| Lie::ALL[random.index(Lie::ALL.len())];
        let (mut lies, mut is_away) = (Vec::new(), false);
        if changes && random.is(500) {
            // Never two of one committee. A twin would be another node, and the changes count nodes.
            lies.extend([3, 7].map(|node| (node, any(&mut random))).into_iter().filter(|(_, lie)| *lie != Lie::Twin));
        } else if !changes {
            let liars = ((founders - 1) / 3).saturating_sub(u64::from(loss.is_some()));
            is_away = keeps_few && liars > 0;
            let liars = liars - u64::from(is_away);
            // The last ones, so that node 0 never lies.
            lies.extend((0..liars).map(|i| (founders - 1 - i, any(&mut random))));
        }
        let chaos = if changes { 60 } else { random.between(20, 50) };
        let fills_blocks = random.is(150);
        Self { founders, lies, changes, loss, kept_blocks, is_away, fills_blocks, parts_rounds: false, chaos }
    }

    /// 31 members, of which ten lie: as many as they tolerate.
    pub(super) fn of_many_members(seed: u64) -> Self {
        let mut random = Random(seed ^ 0x31);
        let lies = (21..31).map(|node| (node, Lie::ALL[random.index(Lie::ALL.len())])).collect();
        Self {
            founders: 31,
            lies,
            changes: false,
            loss: None,
            kept_blocks: KEPT_BLOCKS,
            is_away: false,
            fills_blocks: false,
            parts_rounds: false,
            chaos: 20,
        }
    }

    /// Four members that are more than ten rounds apart when the fourth of them dies.
    pub(super) fn of_far_rounds() -> Self {
        Self {
            founders: 4,
            lies: Vec::new(),
            changes: false,
            loss: None,
            kept_blocks: KEPT_BLOCKS,
            is_away: false,
            fills_blocks: false,
            parts_rounds: true,
            chaos: 60,
        }
    }
}
