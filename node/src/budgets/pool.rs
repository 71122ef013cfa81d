//! A fair share from which tasks take permits, and for which they wait.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use vouch_node_core::budgets::{FairShare, Holder, LimitReport, PeerAddress};

use crate::host::Host;

/// How often a waiting task may have another holder cut off.
const PRESS_EVERY: Duration = Duration::from_millis(200);
/// Minimum interval between two notes of progress.
const NOTE_EVERY: Duration = Duration::from_millis(50);

/// A holder of permits: a connection, or a put. It can be cut off.
#[derive(Debug)]
pub struct Party {
    holder: Holder,
    source: PeerAddress,
    /// Closed when the party is cut off.
    told: Semaphore,
}

impl Party {
    /// A new party of this address.
    pub fn new(source: PeerAddress) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self { holder: Holder(NEXT.fetch_add(1, Ordering::Relaxed)), source, told: Semaphore::new(0) })
    }

    /// The party's address.
    pub fn source(&self) -> PeerAddress {
        self.source
    }

    /// Cuts the party off: it must end.
    pub fn cut_off(&self) {
        self.told.close();
    }

    /// Whether the party was cut off.
    pub fn is_cut_off(&self) -> bool {
        self.told.is_closed()
    }

    /// Completes when the party is cut off.
    pub async fn until_cut_off(&self) {
        // The semaphore never gets a permit, so this completes only when it is closed.
        let _ = self.told.acquire().await;
    }
}

/// The pool is full, and no holder has to give way.
#[derive(Debug)]
pub struct Full;

/// The limits of one pool.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Limit in total.
    pub limit: u64,
    /// Limit for one address.
    pub limit_of_one: u64,
    /// A holder without progress for this long gives way to another holder of its own address.
    pub stale_after: Duration,
    /// The words in the operator's log for cut-off holders: "connections closed".
    pub cut_off: &'static str,
    /// The words in the operator's log for refused ones.
    pub refused: &'static str,
}

/// A resource that addresses share.
#[derive(Debug)]
pub struct Pool {
    host: Host,
    rules: Rules,
    state: Mutex<PoolState>,
    limits: Arc<Mutex<LimitReport>>,
}

#[derive(Debug)]
struct PoolState {
    share: FairShare,
    holders: HashMap<Holder, HolderState>,
    /// The waiting tasks by address, the oldest first.
    waiting: HashMap<PeerAddress, VecDeque<Waiter>>,
}

#[derive(Debug)]
struct HolderState {
    party: Arc<Party>,
    permits: usize,
    /// When progress was last noted.
    noted: Duration,
}

#[derive(Debug)]
struct Waiter {
    party: Arc<Party>,
    amount: u64,
    granted: oneshot::Sender<Permit>,
}

impl Pool {
    /// A pool without holders.
    pub fn new(host: Host, rules: Rules, limits: Arc<Mutex<LimitReport>>) -> Arc<Self> {
        let share = FairShare::new(rules.limit, rules.limit_of_one, rules.stale_after);
        let state = PoolState { share, holders: HashMap::new(), waiting: HashMap::new() };
        {
            let mut limits = limits.lock().unwrap_or_else(PoisonError::into_inner);
            limits.expect(rules.cut_off);
            limits.expect(rules.refused);
        }
        Arc::new(Self { host, rules, state: Mutex::new(state), limits })
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        // Recover from poisoning: no code panics between two changes, so the state is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, source: PeerAddress, what: &'static str) {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).note(source, what);
    }

    /// Takes a permit at once. If the pool is full, cuts off a holder that has to give way.
    ///
    /// # Errors
    /// The pool is full, and no holder has to give way.
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

    /// Waits for a permit. Addresses that hold least come first. Every [`PRESS_EVERY`], a holder that has to give way is cut off.
    pub async fn take(self: Arc<Self>, party: Arc<Party>, amount: u64) -> Permit {
        let mut granted = {
            let now = self.host.monotonic();
            let mut state = self.state();
            // wait behind earlier tasks of the same address
            let is_next = state.waiting.get(&party.source).is_none_or(VecDeque::is_empty);
            if is_next && state.take(&party, amount, now) {
                return self.permit(&party, amount);
            }
            let (granted, receiver) = oneshot::channel();
            let waiter = Waiter { party: party.clone(), amount, granted };
            state.waiting.entry(party.source).or_default().push_back(waiter);
            receiver
        };
        loop {
            match self.host.timeout(PRESS_EVERY, &mut granted).await {
                Ok(Ok(permit)) => return permit,
                // the party was cut off: it never gets a permit
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

    fn cut_off(&self, state: &PoolState, holder: Holder) {
        if let Some(held) = state.holders.get(&holder) {
            held.party.cut_off();
            self.note(held.party.source, self.rules.cut_off);
        }
    }

    /// Cuts off one holder of the address that holds most, because the system is out of this resource.
    pub fn shed(&self) {
        let mut state = self.state();
        if let Some(holder) = state.share.shed() {
            self.cut_off(&state, holder);
        }
    }

    /// The limit in total.
    pub fn limit(&self) -> u64 {
        self.rules.limit
    }

    /// The amount held, by holders that were cut off as well.
    pub fn held(&self) -> u64 {
        let state = self.state();
        state.share.held() + state.share.leaving()
    }

    /// The amount held by holders that were cut off and have not ended yet.
    pub fn leaving(&self) -> u64 {
        self.state().share.leaving()
    }

    /// A holder has made progress.
    pub fn progress(&self, party: &Party) {
        let now = self.host.monotonic();
        let mut state = self.state();
        let Some(held) = state.holders.get_mut(&party.holder).filter(|held| now >= held.noted + NOTE_EVERY) else {
            return;
        };
        held.noted = now;
        state.share.progress(party.holder, now);
    }

    /// A holder waits for the server. From now on, it does not count as idle.
    pub fn waits_for_us(&self, party: &Party) {
        self.state().share.progress(party.holder, Duration::MAX);
    }

    fn permit(self: &Arc<Self>, party: &Party, amount: u64) -> Permit {
        Permit { pool: self.clone(), holder: party.holder, amount }
    }

    fn give(self: &Arc<Self>, holder: Holder, amount: u64) {
        let mut state = self.state();
        state.share.give(holder, amount);
        if let Some(held) = state.holders.get_mut(&holder) {
            held.permits -= 1;
            if held.permits == 0 {
                state.holders.remove(&holder);
            }
        }
        self.grant(state);
    }

    /// Grants permits to waiting tasks as far as the pool allows, those of the address that holds least first.
    fn grant(self: &Arc<Self>, mut state: MutexGuard<'_, PoolState>) {
        let now = self.host.monotonic();
        let mut gone = Vec::new();
        while let Some((waiter, permit)) = state.next(self, now) {
            // The permit of a task that has stopped waiting is released below, without the lock.
            gone.extend(waiter.granted.send(permit).err());
        }
        drop(state);
        drop(gone);
    }
}

impl PoolState {
    fn take(&mut self, party: &Arc<Party>, amount: u64, now: Duration) -> bool {
        let is_taken = !party.is_cut_off() && self.share.take(party.source, party.holder, amount, now);
        if is_taken {
            let held = HolderState { party: party.clone(), permits: 0, noted: now };
            self.holders.entry(party.holder).or_insert(held).permits += 1;
        }
        is_taken
    }

    /// The next waiting task that can get its permit.
    fn next(&mut self, pool: &Arc<Pool>, now: Duration) -> Option<(Waiter, Permit)> {
        for queue in self.waiting.values_mut() {
            queue.retain(|waiter| !waiter.granted.is_closed() && !waiter.party.is_cut_off());
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
                let waiter = self.waiting.get_mut(&source)?.pop_front()?;
                return Some((waiter, pool.permit(&party, amount)));
            }
        }
        None
    }
}

/// A part of a pool. Dropping it releases the part.
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
    async fn a_holder_that_has_to_give_way_is_cut_off_and_counted() {
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
    async fn waiting_tasks_are_served_in_turn_and_light_addresses_first() {
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
    async fn a_task_that_stops_waiting_holds_nothing() {
        let pool = pool(1, 1);
        let held = pool.claim(&Party::new(source(1)), 1).unwrap();
        let mut waits = Box::pin(pool.clone().take(Party::new(source(1)), 1));
        assert!(futures_util::poll!(&mut waits).is_pending());
        // granted, but never received
        drop(held);
        drop(waits);
        let mut waits = Box::pin(pool.clone().take(Party::new(source(1)), 1));
        assert!(futures_util::poll!(&mut waits).is_ready(), "the permit was released");
    }

    #[tokio::test]
    async fn a_waiting_task_has_a_heavier_address_cut_off() {
        let pool = pool(2, 2);
        let heavy = Party::new(source(2));
        let (_one, _two) = (pool.claim(&heavy, 1).unwrap(), pool.claim(&heavy, 1).unwrap());
        // these permits are never released: a holder that is cut off no longer counts
        drop(pool.clone().take(Party::new(source(1)), 1).await);
        assert!(heavy.is_cut_off());
    }
}
