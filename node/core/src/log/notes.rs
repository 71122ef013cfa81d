//! A state machine that numbers notes.

use vouch_core::codec::Reader;
use vouch_core::log::{Effect, Op};

use super::state_machine::{BlockContext, RestoreError, StateMachine};

/// Numbers notes. A note's text stays in its block, and its effect is its number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notes {
    count: u64,
}

impl Notes {
    /// The kind of a note: the body is any bytes.
    pub const NOTE: u16 = Op::NOTE;

    /// Size of the encoding in bytes.
    pub const SIZE: usize = 8;

    /// The number of notes so far.
    pub fn count(&self) -> u64 {
        self.count
    }
}

impl StateMachine for Notes {
    fn knows(&self, kind: u16) -> bool {
        kind == Self::NOTE
    }

    /// The effect is the text `note ` and the number, from 1.
    fn apply(&mut self, _: &BlockContext, _: &Op) -> Effect {
        self.count += 1;
        Effect::new(format!("note {}", self.count).into_bytes()).unwrap_or_default()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.count.to_le_bytes().to_vec()
    }

    fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut reader = Reader::new(bytes);
        let count = reader.safe_u64("number of notes")?;
        reader.finish()?;
        Ok(Self { count })
    }
}

#[cfg(test)]
mod tests {
    use vouch_core::merkle::TreeHash;

    use super::*;

    const BLOCK: BlockContext = BlockContext { height: 1, time: 0, log_root: TreeHash([0; 32]) };

    #[test]
    fn notes_are_numbered_from_one_and_survive_a_snapshot() {
        let mut notes = Notes::default();
        let note = Op::new(Notes::NOTE, [1; 16], 0, b"hello".to_vec()).unwrap();
        assert_eq!(notes.apply(&BLOCK, &note).bytes(), b"note 1");
        assert_eq!(notes.apply(&BLOCK, &note).bytes(), b"note 2");
        let mut restored = Notes::restore(&notes.snapshot()).unwrap();
        assert_eq!((restored.clone(), restored.count()), (notes, 2));
        assert_eq!(restored.apply(&BLOCK, &note).bytes(), b"note 3");
        assert!(restored.knows(0) && !restored.knows(1));
    }

    #[test]
    fn only_a_snapshot_is_restored() {
        assert!(Notes::restore(&[0; 7]).is_err());
        assert!(Notes::restore(&[0; 9]).is_err());
        assert!(Notes::restore(&[0xFF; 8]).is_err());
    }
}
