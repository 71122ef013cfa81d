//! A bounded resource that addresses share fairly.

use std::collections::HashMap;
use std::time::Duration;

use super::PeerAddress;

/// A holder of a part of the resource: a connection, or a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder(pub u64);

#[derive(Debug, Clone, Copy)]
struct Held {
    source: PeerAddress,
    amount: u64,
    /// The time of its last progress.
    last: Duration,
    /// It was cut off, and its amount no longer counts.
    is_leaving: bool,
}

/// A resource with a limit in total and a limit for one address.
#[derive(Debug)]
pub struct FairShare {
    limit: u64,
    limit_of_one: u64,
    /// A holder without progress for this long gives way to another holder of its own address.
    stale_after: Duration,
    held: u64,
    leaving: u64,
    /// The amount held by each address, without that of leaving holders.
    by_source: HashMap<PeerAddress, u64>,
    holders: HashMap<Holder, Held>,
}

impl FairShare {
    /// `limit` in total, of which one address may hold `limit_of_one`.
    pub fn new(limit: u64, limit_of_one: u64, stale_after: Duration) -> Self {
        let (by_source, holders) = (HashMap::new(), HashMap::new());
        Self { limit, limit_of_one, stale_after, held: 0, leaving: 0, by_source, holders }
    }

    /// The amount held, without that of leaving holders.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// The amount of leaving holders: they were cut off and have not released it yet.
    pub fn leaving(&self) -> u64 {
        self.leaving
    }

    /// The amount that one address holds, without that of leaving holders.
    pub fn held_by(&self, source: PeerAddress) -> u64 {
        self.by_source.get(&source).copied().unwrap_or(0)
    }

    /// Takes an amount. `false` if a limit forbids it.
    pub fn take(&mut self, source: PeerAddress, holder: Holder, amount: u64, now: Duration) -> bool {
        if !self.has_room(source, amount) {
            return false;
        }
        let held = self.holders.entry(holder).or_insert(Held { source, amount: 0, last: now, is_leaving: false });
        if held.is_leaving {
            return false;
        }
        held.amount += amount;
        held.last = held.last.max(now);
        self.held += amount;
        *self.by_source.entry(source).or_default() += amount;
        true
    }

    fn has_room(&self, source: PeerAddress, amount: u64) -> bool {
        self.held + amount <= self.limit && self.held_by(source) + amount <= self.limit_of_one
    }

    /// Releases an amount.
    pub fn give(&mut self, holder: Holder, amount: u64) {
        let Some(held) = self.holders.get_mut(&holder) else { return };
        let amount = amount.min(held.amount);
        held.amount -= amount;
        let Held { source, is_leaving, amount: left, .. } = *held;
        if left == 0 {
            self.holders.remove(&holder);
        }
        match is_leaving {
            true => self.leaving -= amount,
            false => self.release(source, amount),
        }
    }

    fn release(&mut self, source: PeerAddress, amount: u64) {
        self.held -= amount;
        if let Some(by_source) = self.by_source.get_mut(&source) {
            *by_source -= amount;
            if *by_source == 0 {
                self.by_source.remove(&source);
            }
        }
    }

    /// A holder has made progress.
    pub fn progress(&mut self, holder: Holder, now: Duration) {
        if let Some(held) = self.holders.get_mut(&holder) {
            held.last = held.last.max(now);
        }
    }

    /// Chooses the holder that must go so that an address can hold `amount` more. The chosen holder is leaving from now on. `None` if no
    /// holder has to go: then the address waits, or is refused.
    ///
    /// The address that holds most gives way to one that would hold less. Otherwise, a holder of the same address goes if it has made no
    /// progress for a while.
    pub fn press(&mut self, source: PeerAddress, amount: u64, now: Duration) -> Option<Holder> {
        let mine = self.held_by(source) + amount;
        // Leaving holders will release their amounts, so a burst of requests must not cut off everything at once. The limit for leaving
        // amounts is lower for an address that replaces its own holders: otherwise it could keep all others from getting any.
        match self.heaviest() {
            Some((from, held)) if held > mine => {
                if self.leaving * 2 > self.limit {
                    None
                } else {
                    self.dismiss_oldest(from, |_| true)
                }
            }
            _ if self.leaving * 8 > self.limit => None,
            _ => {
                let stale_after = self.stale_after;
                self.dismiss_oldest(source, |held| held.last.saturating_add(stale_after) <= now)
            }
        }
    }

    /// The address that holds most, and its amount.
    fn heaviest(&self) -> Option<(PeerAddress, u64)> {
        self.by_source.iter().map(|(source, held)| (*source, *held)).max_by_key(|(source, held)| (*held, *source))
    }

    /// Dismisses the holder of an address that has made no progress for the longest time, among those that may go.
    fn dismiss_oldest(&mut self, source: PeerAddress, may_go: impl Fn(&Held) -> bool) -> Option<Holder> {
        let is_candidate = |held: &Held| !held.is_leaving && held.source == source && may_go(held);
        let candidates = self.holders.iter().filter(|(_, held)| is_candidate(held));
        let holder = *candidates.min_by_key(|(holder, held)| (held.last, **holder))?.0;
        self.dismiss(holder);
        Some(holder)
    }

    /// Makes a holder leave: its amount no longer counts.
    pub fn dismiss(&mut self, holder: Holder) {
        let Some(held) = self.holders.get_mut(&holder).filter(|held| !held.is_leaving) else { return };
        held.is_leaving = true;
        let Held { source, amount, .. } = *held;
        self.leaving += amount;
        self.release(source, amount);
    }

    /// Dismisses, of the address that holds most, the holder that has made no progress for the longest time.
    pub fn shed(&mut self) -> Option<Holder> {
        let (source, _) = self.heaviest()?;
        self.dismiss_oldest(source, |_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Duration = Duration::from_secs(5);

    fn source(last: u8) -> PeerAddress {
        PeerAddress::from(std::net::IpAddr::from([127, 0, 0, last]))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Adds `count` holders of one address, numbered from `from`, with one unit each, one second apart.
    fn fill(share: &mut FairShare, by: u8, from: u64, count: u64) {
        for number in from..from + count {
            assert!(share.take(source(by), Holder(number), 1, seconds(number)), "{number}");
        }
    }

    #[test]
    fn one_address_may_hold_everything_until_another_one_comes() {
        let mut share = FairShare::new(10, 10, STALE);
        fill(&mut share, 2, 0, 10);
        assert!(!share.take(source(1), Holder(100), 1, seconds(10)));
        // the oldest holder of the address that holds most gives way
        assert_eq!(share.press(source(1), 1, seconds(10)), Some(Holder(0)));
        assert!(share.take(source(1), Holder(100), 1, seconds(10)));
        assert_eq!((share.held(), share.leaving()), (10, 1));
        share.give(Holder(0), 1);
        assert_eq!((share.held(), share.leaving()), (10, 0));
        // a holder that made progress is no longer the oldest
        share.progress(Holder(1), seconds(11));
        assert_eq!(share.press(source(3), 1, seconds(11)), Some(Holder(2)));
    }

    #[test]
    fn an_address_that_replaces_its_own_holders_keeps_no_lighter_one_out() {
        let mut share = FairShare::new(16, 16, Duration::ZERO);
        fill(&mut share, 2, 0, 16);
        let mut replaced = 0;
        for number in 100..116 {
            if share.press(source(2), 1, seconds(number)).is_some() {
                assert!(share.take(source(2), Holder(number), 1, seconds(number)));
                replaced += 1;
            }
        }
        assert_eq!(replaced, 3, "none of them has released its part yet");
        assert!(share.press(source(1), 1, seconds(200)).is_some());
        assert!(share.take(source(1), Holder(200), 1, seconds(200)));
    }

    #[test]
    fn an_address_does_not_take_from_one_that_holds_less() {
        let mut share = FairShare::new(4, 4, Duration::MAX);
        fill(&mut share, 1, 0, 1);
        fill(&mut share, 2, 10, 3);
        assert_eq!(share.press(source(2), 1, seconds(13)), None, "it holds most itself");
        assert_eq!(share.press(source(1), 1, seconds(13)), Some(Holder(10)));
        assert!(share.take(source(1), Holder(1), 1, seconds(13)));
        share.give(Holder(10), 1);
        // with two each, neither holds less
        assert_eq!(share.press(source(1), 1, seconds(13)), None);
        assert_eq!(share.press(source(2), 1, seconds(13)), None);
        // a third address does
        assert_eq!(share.press(source(3), 1, seconds(13)), Some(Holder(11)));
    }

    #[test]
    fn within_an_address_only_idle_holders_give_way() {
        let mut share = FairShare::new(2, 2, STALE);
        fill(&mut share, 1, 0, 2);
        assert_eq!(share.press(source(1), 1, seconds(4)), None);
        assert_eq!(share.press(source(1), 1, seconds(5)), Some(Holder(0)));
        share.progress(Holder(1), Duration::MAX);
        assert_eq!(
            share.press(source(1), 1, seconds(1_000_000)),
            None,
            "a holder that waits for the server is not idle"
        );
    }

    #[test]
    fn each_address_has_its_own_limit() {
        let mut share = FairShare::new(10, 6, STALE);
        fill(&mut share, 1, 0, 6);
        fill(&mut share, 2, 10, 2);
        assert!(!share.take(source(1), Holder(6), 1, seconds(6)), "beyond its own limit, although there is room");
        assert_eq!(share.press(source(1), 1, seconds(5)), Some(Holder(0)), "only its own idle holders give way");
    }

    #[test]
    fn leaving_amounts_are_bounded_and_released_once() {
        let mut share = FairShare::new(8, 8, Duration::ZERO);
        fill(&mut share, 2, 0, 8);
        let pressed: Vec<_> = (0..8).map_while(|_| share.press(source(1), 1, seconds(8))).collect();
        assert_eq!(pressed.len(), 5, "half of them, and one more");
        for holder in pressed {
            assert!(!share.take(source(2), holder, 1, seconds(8)), "a holder that was dismissed takes nothing more");
            share.give(holder, 1);
            share.give(holder, 1);
        }
        assert_eq!((share.held(), share.leaving(), share.held_by(source(2))), (3, 0, 3));
    }

    #[test]
    fn a_holder_is_shed_when_the_system_runs_out() {
        let mut share = FairShare::new(10, 10, STALE);
        fill(&mut share, 1, 0, 1);
        fill(&mut share, 2, 10, 3);
        assert_eq!(share.shed(), Some(Holder(10)));
        assert_eq!(share.shed(), Some(Holder(11)));
        assert_eq!(FairShare::new(1, 1, STALE).shed(), None);
    }

    #[test]
    fn amounts_of_one_holder_add_up() {
        let mut share = FairShare::new(10, 10, STALE);
        assert!(share.take(source(1), Holder(1), 4, seconds(0)) && share.take(source(1), Holder(1), 4, seconds(1)));
        assert!(!share.take(source(1), Holder(1), 4, seconds(2)));
        share.give(Holder(1), 4);
        assert_eq!((share.held(), share.held_by(source(1))), (4, 4));
        share.dismiss(Holder(1));
        assert_eq!((share.held(), share.leaving()), (0, 4));
        share.give(Holder(1), 4);
        assert_eq!((share.held(), share.leaving()), (0, 0));
    }
}
