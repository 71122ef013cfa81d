//! The sessions of a peer that were adopted, and how far each was read.

use vouch_core::peer_frame::PeerSession;

/// Maximum number of sessions of one peer that are remembered. A peer draws one at each start.
const REMEMBERED: usize = 64;

/// No more sessions can be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

/// Sessions with the greatest number that was accepted of each. A session is never forgotten while frames of it could still be accepted:
/// otherwise they could be accepted a second time.
#[derive(Debug, Default)]
pub(super) struct AdoptedSessions {
    greatest: Vec<(PeerSession, u64)>,
    /// The session of the last frame that was accepted: messages to the peer are signed for it.
    current: Option<PeerSession>,
}

impl AdoptedSessions {
    pub(super) fn current(&self) -> Option<PeerSession> {
        self.current
    }

    /// The greatest number accepted of a session. `None`: it is not adopted.
    pub(super) fn greatest(&self, session: &PeerSession) -> Option<u64> {
        self.greatest.iter().find(|(adopted, _)| adopted == session).map(|(_, number)| *number)
    }

    /// Accepts the number of an authentic frame of an adopted session. `false` if it is not new.
    pub(super) fn accept(&mut self, session: PeerSession, number: u64) -> bool {
        let Some((_, greatest)) = self.greatest.iter_mut().find(|(adopted, _)| *adopted == session) else {
            return false;
        };
        if number <= *greatest {
            return false;
        }
        *greatest = number;
        self.current = Some(session);
        true
    }

    /// Adopts a session, with the number of the hello that proved it fresh.
    pub(super) fn adopt(&mut self, session: PeerSession, number: u64) -> Result<(), NoRoom> {
        if self.greatest.len() >= REMEMBERED {
            return Err(NoRoom);
        }
        self.greatest.push((session, number));
        self.current = Some(session);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(i: u8) -> PeerSession {
        PeerSession([i; 16])
    }

    #[test]
    fn numbers_only_grow_in_each_session_also_after_another_one() {
        let mut sessions = AdoptedSessions::default();
        assert!(!sessions.accept(session(1), 1), "it is not adopted");
        sessions.adopt(session(1), 3).unwrap();
        assert!(!sessions.accept(session(1), 3) && sessions.accept(session(1), 5) && !sessions.accept(session(1), 4));
        sessions.adopt(session(2), 1).unwrap();
        assert_eq!(sessions.current(), Some(session(2)));
        assert!(!sessions.accept(session(1), 5) && sessions.accept(session(1), 6));
        assert_eq!(sessions.current(), Some(session(1)));
        assert_eq!((sessions.greatest(&session(1)), sessions.greatest(&session(2))), (Some(6), Some(1)));
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_forgotten() {
        let mut sessions = AdoptedSessions::default();
        for i in 0..64 {
            sessions.adopt(session(i), 1).unwrap();
        }
        assert_eq!(sessions.adopt(session(64), 1), Err(NoRoom));
        assert!((0..64).all(|i| sessions.greatest(&session(i)) == Some(1)));
    }
}
