//! The lines of a report about the epochs of the cluster.

use std::borrow::Cow;

use crate::verify::{Check, SealState, Standing};

impl Standing {
    /// Whether the bundle has nothing that the check could compare with.
    pub(super) fn says_nothing_of(&self, check: Check) -> bool {
        match check {
            Check::Closing => self.closing.is_none(),
            Check::Seal => self.seal != SealState::Sealed,
            _ => false,
        }
    }

    /// What one of the checks of epochs found.
    pub(super) fn meaning(&self, check: Check) -> Option<Cow<'static, str>> {
        match check {
            Check::Chain => Some(self.chain()),
            Check::Closing if self.closing.is_none() => {
                Some("its epoch has not ended, as far as the bundle shows".into())
            }
            Check::Seal => {
                let sealed = if self.seal == SealState::Sealed { "sealed" } else { "not sealed" };
                Some([sealed, ": ", self.seal.reason()].concat().into())
            }
            _ => None,
        }
    }

    fn chain(&self) -> Cow<'static, str> {
        let Self { epoch, trusted_epoch, handoffs, .. } = *self;
        let s = if handoffs == 1 { "" } else { "s" };
        match trusted_epoch {
            0 if epoch == 0 => "its committee is the founding one".into(),
            0 => format!("its committee follows from the founding one by {handoffs} handoff{s}").into(),
            _ if epoch == trusted_epoch => "its committee is the one that you pinned".into(),
            _ if epoch > trusted_epoch => {
                format!("its committee follows from the one of epoch {trusted_epoch}, which you pinned, by {handoffs} handoff{s}").into()
            }
            _ => {
                format!("its committee is {handoffs} handoff{s} before the one of epoch {trusted_epoch}, which you pinned").into()
            }
        }
    }
}
