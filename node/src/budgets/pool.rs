//! A fair share that tasks take from, and wait for.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use vouch_node_core::budgets::{FairShare, Holder, LimitReport, PeerAddress};

use crate::host::Host;

/// A task that waits for longer than this may have other holders cut off.
const PRESS_EVERY: Duration = Duration::from_millis(200);
/// Progress is noted no more often.
const NOTE_EVERY: Duration = Duration::from_millis(50);

/// A holder of parts of pools: a connection, or a put. It can be told to go.
#[derive(Debug)]
pub struct Party {
    holder: Holder,
    source: PeerAddress,
    /// Closed when it has to go.
    told: Semaphore,
}

impl Party {
    /// Another one of this address.
    pub fn new(source: PeerAddress) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self { holder: Holder(NEXT.fetch_add(1, Ordering::Relaxed)), source, told: Semaphore::new(0) })
    }

    /// Its address.
    pub fn source(&self) -> PeerAddress {
        self.source
    }

    /// Tells it to go.
    pub fn cut_off(&self) {
        self.told.close();
    }

    /// It was told to go.
    pub fn is_cut_off(&self) -> bool {
        self.told.is_closed()
    }

    /// Completes when it is told to go.
    pub async fn until_cut_off(&self) {
        // a permit is never added: this ends with the closing
        let _ = self.told.acquire().await;
    }
}

/// There is no room, and nobody has to make any.
#[derive(Debug)]
pub struct Full;

/// What one pool is about.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// In total.
    pub limit: u64,
    /// For one address.
    pub limit_of_one: u64,
    /// Without progress for so long, a holder gives way to another one of its own address.
    pub stale_after: Duration,
    /// What the operator is told when somebody is cut off: "connections closed".
    pub cut_off: &'static str,
    /// And when somebody is refused.
    pub refused: &'static str,
}

/// A resource that addresses share.
#[derive(Debug)]
pub struct Pool {
    host: Host,
    rules: Rules,
    state: Mutex<State>,
    limits: Arc<Mutex<LimitReport>>,
}

#[derive(Debug)]
struct State {
    share: FairShare,
    parties: HashMap<Holder, Known>,
    /// Who waits, by address, the oldest first.
    waiting: HashMap<PeerAddress, VecDeque<Waiting>>,
}

#[derive(Debug)]
struct Known {
    party: Arc<Party>,
    permits: usize,
    noted: Duration,
}

#[derive(Debug)]
struct Waiting {
    party: Arc<Party>,
    amount: u64,
    granted: oneshot::Sender<Permit>,
}

impl Pool {
    /// A pool of which nothing is held.
    pub fn new(host: Host, rules: Rules, limits: Arc<Mutex<LimitReport>>) -> Arc<Self> {
        let share = FairShare::new(rules.limit, rules.limit_of_one, rules.stale_after);
        let state = State { share, parties: HashMap::new(), waiting: HashMap::new() };
        Arc::new(Self { host, rules, state: Mutex::new(state), limits })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // a panic elsewhere leaves it whole: nothing in here panics between two changes
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, source: PeerAddress, what: &'static str) {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).note(source, what);
    }

    /// Takes a part at once, if need be from a holder that has to give way.
    ///
    /// # Errors
    /// Nobody has to.
    pub fn claim(self: &Arc<Self>, party: &Arc<Party>, amount: u64) -> Result<Permit, Full> {
        let now = self.host.monotonic();
        let mut state = self.state();
        loop {
            if state.take(party, amount, now) {
                return Ok(self.permit(party, amount));
            }
            let pressed = if party.is_cut_off() { None } else { state.share.press(party.source, amount, now) };
            match pressed {
                Some(holder) => self.cut_off(&state, holder),
                None => {
                    drop(state);
                    self.note(party.source, self.rules.refused);
                    return Err(Full);
                }
            }
        }
    }

    /// Takes a part once there is room. Light addresses come first; after a moment, a holder that has to give way is cut off.
    pub async fn take(self: Arc<Self>, party: Arc<Party>, amount: u64) -> Permit {
        let mut granted = {
            let now = self.host.monotonic();
            let mut state = self.state();
            // behind those of the same address that wait already
            let is_next = state.waiting.get(&party.source).is_none_or(VecDeque::is_empty);
            if is_next && state.take(&party, amount, now) {
                return self.permit(&party, amount);
            }
            let (granted, receiver) = oneshot::channel();
            let waiting = Waiting { party: party.clone(), amount, granted };
            state.waiting.entry(party.source).or_default().push_back(waiting);
            receiver
        };
        loop {
            match self.host.timeout(PRESS_EVERY, &mut granted).await {
                Ok(Ok(permit)) => return permit,
                // who was told to go waits for nothing
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => self.press(&party, amount),
            }
        }
    }

    fn press(self: &Arc<Self>, party: &Party, amount: u64) {
        let mut state = self.state();
        if let Some(holder) = state.share.press(party.source, amount, self.host.monotonic()) {
            self.cut_off(&state, holder);
        }
        self.grant(state);
    }

    fn cut_off(&self, state: &State, holder: Holder) {
        if let Some(known) = state.parties.get(&holder) {
            known.party.cut_off();
            self.note(known.party.source, self.rules.cut_off);
        }
    }

    /// Cuts off one holder of the heaviest address: the system has no more of what this pool counts.
    pub fn shed(&self) {
        let mut state = self.state();
        if let Some(holder) = state.share.shed() {
            self.cut_off(&state, holder);
        }
    }

    /// How much is held by those that were told to go, and are not gone yet.
    pub fn leaving(&self) -> u64 {
        self.state().share.leaving()
    }

    /// A holder did what it holds its part for.
    pub fn progress(&self, party: &Party) {
        let now = self.host.monotonic();
        let mut state = self.state();
        let Some(known) = state.parties.get_mut(&party.holder).filter(|known| now >= known.noted + NOTE_EVERY) else {
            return;
        };
        known.noted = now;
        state.share.progress(party.holder, now);
    }

    /// From now on a holder waits for the server: it is never idle.
    pub fn waits_for_us(&self, party: &Party) {
        self.state().share.progress(party.holder, Duration::MAX);
    }

    fn permit(self: &Arc<Self>, party: &Party, amount: u64) -> Permit {
        Permit { pool: self.clone(), holder: party.holder, amount }
    }

    fn give(self: &Arc<Self>, holder: Holder, amount: u64) {
        let mut state = self.state();
        state.share.give(holder, amount);
        if let Some(known) = state.parties.get_mut(&holder) {
            known.permits -= 1;
            if known.permits == 0 {
                state.parties.remove(&holder);
            }
        }
        self.grant(state);
    }

    /// Grants to those that wait as much as there is room for, the lightest address first.
    fn grant(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let now = self.host.monotonic();
        let mut gone = Vec::new();
        while let Some((waiting, permit)) = state.next(self, now) {
            // who gave up waiting gives it back, once the pool is not held any more
            gone.extend(waiting.granted.send(permit).err());
        }
        drop(state);
        drop(gone);
    }
}

impl State {
    fn take(&mut self, party: &Arc<Party>, amount: u64, now: Duration) -> bool {
        let is_taken = !party.is_cut_off() && self.share.take(party.source, party.holder, amount, now);
        if is_taken {
            let known = Known { party: party.clone(), permits: 0, noted: now };
            self.parties.entry(party.holder).or_insert(known).permits += 1;
        }
        is_taken
    }

    /// Somebody who waits and for whom there is room.
    fn next(&mut self, pool: &Arc<Pool>, now: Duration) -> Option<(Waiting, Permit)> {
        for queue in self.waiting.values_mut() {
            queue.retain(|waiting| !waiting.granted.is_closed() && !waiting.party.is_cut_off());
        }
        self.waiting.retain(|_, queue| !queue.is_empty());
        let mut sources: Vec<PeerAddress> = self.waiting.keys().copied().collect();
        sources.sort_by_key(|source| (self.share.held_by(*source), *source));
        for source in sources {
            let Some((party, amount)) = self
                .waiting
                .get(&source)
                .and_then(|queue| queue.front())
                .map(|first| (first.party.clone(), first.amount))
            else {
                continue;
            };
            if self.take(&party, amount, now) {
                let waiting = self.waiting.get_mut(&source)?.pop_front()?;
                return Some((waiting, pool.permit(&party, amount)));
            }
        }
        None
    }
}

/// A part that is held; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    pool: Arc<Pool>,
    holder: Holder,
    amount: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.give(self.holder, self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> PeerAddress {
        PeerAddress::from(std::net::IpAddr::from([127, 0, 0, last]))
    }

    fn pool(limit: u64, limit_of_one: u64) -> Arc<Pool> {
        let stale_after = Duration::from_secs(3600);
        let rules = Rules { limit, limit_of_one, stale_after, cut_off: "cut off", refused: "refused" };
        Pool::new(Host::system(), rules, Arc::default())
    }

    #[tokio::test]
    async fn who_has_to_give_way_is_told_and_counted() {
        let pool = pool(2, 2);
        let parties: Vec<_> = (0..2).map(|_| Party::new(source(2))).collect();
        let held: Vec<_> = parties.iter().map(|party| pool.claim(party, 1).unwrap()).collect();
        assert!(pool.claim(&Party::new(source(2)), 1).is_err());
        let honest = Party::new(source(1));
        let _permit = pool.claim(&honest, 1).unwrap();
        parties[0].until_cut_off().await;
        assert!(!parties[1].is_cut_off() && !honest.is_cut_off());
        assert_eq!(pool.leaving(), 1);
        drop(held);
        assert_eq!(pool.leaving(), 0);
        let report = pool.limits.lock().unwrap().report(Duration::ZERO);
        assert_eq!(report.as_deref(), Some("limited: 127.0.0.2: 1 cut off, 1 refused"));
    }

    #[tokio::test]
    async fn who_waits_is_served_in_turn_and_light_addresses_first() {
        let pool = pool(2, 2);
        let heavy = Party::new(source(2));
        let held = [pool.claim(&heavy, 1).unwrap(), pool.claim(&heavy, 1).unwrap()];
        let mut heavy_waits = Box::pin(pool.clone().take(heavy.clone(), 1));
        let mut light_waits = Box::pin(pool.clone().take(Party::new(source(1)), 1));
        assert!(futures_util::poll!(&mut heavy_waits).is_pending());
        assert!(futures_util::poll!(&mut light_waits).is_pending());
        let [first, second] = held;
        drop(first);
        let light = light_waits.await;
        assert!(futures_util::poll!(&mut heavy_waits).is_pending());
        drop(second);
        drop((heavy_waits.await, light));
        assert_eq!(pool.state().share.held(), 0);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_holds_nothing() {
        let pool = pool(1, 1);
        let held = pool.claim(&Party::new(source(1)), 1).unwrap();
        let mut waits = Box::pin(pool.clone().take(Party::new(source(1)), 1));
        assert!(futures_util::poll!(&mut waits).is_pending());
        // granted, and never picked up
        drop(held);
        drop(waits);
        let mut waits = Box::pin(pool.clone().take(Party::new(source(1)), 1));
        assert!(futures_util::poll!(&mut waits).is_ready(), "it was given back");
    }

    #[tokio::test]
    async fn who_waits_has_a_heavier_address_cut_off() {
        let pool = pool(2, 2);
        let heavy = Party::new(source(2));
        let (_one, _two) = (pool.claim(&heavy, 1).unwrap(), pool.claim(&heavy, 1).unwrap());
        // they are never given back: a holder that is told to go counts no more
        drop(pool.clone().take(Party::new(source(1)), 1).await);
        assert!(heavy.is_cut_off());
    }
}
