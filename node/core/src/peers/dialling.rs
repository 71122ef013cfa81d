//! Decides when a peer is dialled: while its address is known and no connection to it works.

use std::collections::BTreeMap;
use std::time::Duration;

use vouch_core::link::NodeKey;
use vouch_core::peer_frame::MemberAddress;

use crate::backoff::Backoff;

/// Pauses between attempts double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A connection that lasted this long resets the backoff.
const STABLE: Duration = Duration::from_secs(10);
/// How long the end with the greater key leaves dialling to the other one: otherwise both would dial.
const LEAVES_IT: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Dialled {
    address: MemberAddress,
    backoff: Backoff,
    next: Duration,
    is_wanted: bool,
    is_under_way: bool,
}

/// The plan of one member.
#[derive(Debug)]
pub struct DialPlan {
    own: NodeKey,
    peers: BTreeMap<NodeKey, Dialled>,
}

impl DialPlan {
    /// A plan without peers. `own`: this end's node key.
    pub fn new(own: NodeKey) -> Self {
        Self { own, peers: BTreeMap::new() }
    }

    /// The peers to dial now. `wanted`: all peers to which no connection works, with their addresses.
    pub fn due(&mut self, wanted: Vec<(NodeKey, MemberAddress)>, now: Duration) -> Vec<(NodeKey, MemberAddress)> {
        let mut before = std::mem::take(&mut self.peers);
        for (key, address) in wanted {
            let wait = if self.own > key { LEAVES_IT } else { Duration::ZERO };
            let new = |address| {
                let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
                Dialled { address, backoff, next: now + wait, is_wanted: true, is_under_way: false }
            };
            let peer = match before.remove(&key) {
                Some(mut peer) if peer.address == address => {
                    if !peer.is_wanted {
                        peer.is_wanted = true;
                        peer.next = peer.next.max(now + wait);
                    }
                    peer
                }
                Some(peer) => Dialled { is_under_way: peer.is_under_way, ..new(address) },
                None => new(address),
            };
            self.peers.insert(key, peer);
        }
        // Of the others, the backoff is kept until it does not matter any more.
        for (key, mut peer) in before {
            peer.is_wanted = false;
            if peer.is_under_way || peer.next + LONGEST_PAUSE > now {
                self.peers.insert(key, peer);
            }
        }
        let is_due = |peer: &&mut Dialled| peer.is_wanted && !peer.is_under_way && peer.next <= now;
        let due = self.peers.iter_mut().filter(|(_, peer)| is_due(peer));
        due.map(|(key, peer)| {
            peer.is_under_way = true;
            (*key, peer.address.clone())
        })
        .collect()
    }

    /// The connection to a peer has ended, or could not be made. `lasted`: the time since it was dialled.
    pub fn ended(&mut self, key: &NodeKey, lasted: Duration, now: Duration) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if lasted > STABLE {
            peer.backoff.reset();
        }
        peer.is_under_way = false;
        peer.next = now + peer.backoff.pause();
    }

    /// When a peer is due next. `None`: not before something changes.
    pub fn next(&self) -> Option<Duration> {
        self.peers.values().filter(|peer| peer.is_wanted && !peer.is_under_way).map(|peer| peer.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: NodeKey = NodeKey([5; 32]);
    const GREATER: NodeKey = NodeKey([6; 32]);
    const LESS: NodeKey = NodeKey([4; 32]);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn at(port: u16) -> MemberAddress {
        format!("a:{port}").parse().unwrap()
    }

    #[test]
    fn of_two_ends_the_one_with_the_lesser_key_dials_first() {
        let mut plan = DialPlan::new(OWN);
        let wanted = || vec![(LESS, at(4)), (GREATER, at(6))];
        assert_eq!(plan.due(wanted(), ms(0)), [(GREATER, at(6))]);
        assert_eq!(plan.next(), Some(ms(500)));
        assert!(plan.due(wanted(), ms(499)).is_empty());
        assert_eq!(plan.due(wanted(), ms(500)), [(LESS, at(4))]);
        assert_eq!(plan.next(), None, "both are under way");
    }

    #[test]
    fn pauses_double_to_thirty_seconds_and_reset_after_a_stable_connection() {
        let mut plan = DialPlan::new(OWN);
        let mut now = ms(0);
        let mut pause = |lasted| {
            assert_eq!(plan.due(vec![(GREATER, at(6))], now), [(GREATER, at(6))]);
            assert!(plan.due(vec![(GREATER, at(6))], now).is_empty(), "it is under way");
            plan.ended(&GREATER, ms(lasted), now);
            let pause = plan.next().unwrap() - now;
            now += pause;
            pause.as_millis()
        };
        let pauses: Vec<_> = (0..10).map(|_| pause(10_000)).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(pause(10_001), 200);
    }

    #[test]
    fn a_peer_with_a_connection_is_not_dialled_and_its_backoff_is_kept() {
        let mut plan = DialPlan::new(OWN);
        let wanted = || vec![(GREATER, at(6))];
        for now in [0, 1000] {
            plan.due(wanted(), ms(now));
            plan.ended(&GREATER, ms(0), ms(now));
        }
        assert_eq!(plan.next(), Some(ms(1400)));
        assert!(plan.due(Vec::new(), ms(1100)).is_empty());
        assert_eq!(plan.next(), None);
        assert!(plan.due(wanted(), ms(1200)).is_empty());
        assert_eq!(plan.next(), Some(ms(1400)));
        plan.due(Vec::new(), ms(60_000));
        assert!(plan.peers.is_empty(), "the memory is bounded by the members");
    }

    #[test]
    fn a_new_address_is_dialled_at_once() {
        let mut plan = DialPlan::new(OWN);
        for now in [0, 1000, 2000] {
            plan.due(vec![(GREATER, at(6))], ms(now));
            plan.ended(&GREATER, ms(0), ms(now));
        }
        assert_eq!(plan.due(vec![(GREATER, at(7))], ms(2001)), [(GREATER, at(7))]);
        assert!(
            plan.due(vec![(GREATER, at(8))], ms(2002)).is_empty(),
            "not before the attempt at the old one has ended"
        );
        plan.ended(&GREATER, ms(0), ms(2003));
        assert_eq!(plan.due(vec![(GREATER, at(8))], ms(2203)), [(GREATER, at(8))]);
    }
}
