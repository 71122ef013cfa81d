//! The end of a run: everything is right again, and what was promised must be there.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use vouch::client::ClientError;
use vouch_core::digest::Digest;
use vouch_core::receipt::NEVER;

use crate::checker::{Promise, Rule, node_of, open};
use crate::clients::{Put, get_knowing};
use crate::network::Node;
use crate::node;
use crate::plan::TROUBLE;
use crate::random::Random;
use crate::servers::{COLLECT_EVERY, GRACE, SETTLING};
use crate::trace::Trace;
use crate::world::World;

/// How long a cluster that is whole again may take until it certifies: a replica without others doubts its clock for ten minutes.
const RECOVERY: Duration = Duration::from_secs(900);
const TRY_AGAIN: Duration = Duration::from_secs(3);
/// Puts at once when all is well again: as many as a server and a replica have room for.
const AT_ONCE: usize = 4;

impl World {
    /// Everything is right again.
    pub(super) fn heal(&mut self) {
        self.trace.note(format_args!("heal"));
        self.wires.mend();
        self.cuts.clear();
        for node in self.shape.nodes() {
            self.machines[node].set_clock_off(0);
            self.machines[node].disk.no_mishap();
            if self.machines[node].disk.had_mishap() {
                self.stop(node, true, self.seed);
            }
            self.machines[node].disk.set_space(1 << 40, 1 << 40);
            self.start(node);
        }
    }

    /// Whoever signed still has the bytes: of each promise, one signer is looked at.
    pub(super) fn check_signers(&mut self) {
        let Some(committee) = self.checker.known().committee.clone() else { return };
        let mut stores = BTreeMap::new();
        for promise in self.unexpired() {
            let signers: Vec<u16> = promise.certificate.signers.iter().collect();
            let signer = signers[self.random.index(signers.len())];
            let (node, digest) = (node_of(&committee, signer), promise.digest());
            if self.checker.must_hold(node, digest, promise.certificate.claim.issued_at) {
                // opening one is what costs
                let store = stores.entry(node).or_insert_with(|| open(self.machines[node].disk.durable_part(|_| true)));
                self.checker.check_held(node, store, digest, Rule::SignerHolds);
            }
        }
        self.checker.assert_holds();
    }

    /// What everybody still has to keep.
    fn unexpired(&self) -> Vec<Promise> {
        let mut promises = self.checker.promises();
        promises.retain(|promise| !promise.is_expired());
        promises
    }

    /// What has expired goes, everywhere.
    ///
    /// # Panics
    /// When it does not.
    pub(super) async fn check_expired(&mut self) {
        let soon = node::BEGINNING + node::elapsed().as_secs() + TROUBLE.as_secs();
        let asked = self.checker.known().asked_expiry.clone();
        let expiring = self.checker.promises().into_iter().map(|promise| promise.digest());
        let expiring: BTreeMap<Digest, u64> = expiring
            .filter_map(|digest| Some((digest, *asked.get(&digest).filter(|expiry| **expiry < soon)?)))
            .collect();
        let Some(last) = expiring.values().max() else { return };
        let due = Duration::from_secs(last - node::BEGINNING) + GRACE + SETTLING + 3 * COLLECT_EVERY;
        sleep(due.saturating_sub(node::elapsed())).await;
        let end = node::elapsed() + RECOVERY;
        loop {
            let mut left = Vec::new();
            for node in self.shape.honest() {
                let store = open(self.machines[node].disk.after_kill());
                let is_there = |digest: &&Digest| !matches!(store.length_of(digest), Ok(None));
                left.extend(expiring.keys().filter(is_there).map(|digest| (node, *digest)));
            }
            if left.is_empty() {
                return;
            }
            if node::elapsed() > end {
                self.checker.broken(Rule::Collected, format_args!("expired and still there, by node: {left:?}"));
                return self.checker.assert_holds();
            }
            self.trace.note(format_args!("{} are to be deleted", left.len()));
            sleep(RECOVERY / 20).await;
        }
    }

    /// Everybody fetches what it missed.
    ///
    /// # Panics
    /// When a member still lacks something in the end.
    pub(super) async fn check_repair(&mut self) {
        let mut promises = self.checker.promises();
        // a replica of whose files one was spoiled knows only once it reads it, which takes longer than a run
        let ruined = self.checker.known().ruined.clone();
        promises.retain(|promise| !ruined.contains_key(&promise.digest()));
        let mut lacking = Vec::new();
        for _ in 0..20 {
            sleep(RECOVERY / 20).await;
            lacking.clear();
            for node in self.shape.honest().filter(|node| *node != self.decaying) {
                let store = open(self.machines[node].disk.after_kill());
                let lacks = promises.iter().filter(|promise| !promise.is_expired()).map(Promise::digest);
                lacking.extend(
                    lacks.filter(|digest| !matches!(store.length_of(digest), Ok(Some(_)))).map(|digest| (node, digest)),
                );
            }
            if lacking.is_empty() {
                return;
            }
            self.trace.note(format_args!("{} are lacking", lacking.len()));
        }
        self.checker.broken(Rule::Repaired, format_args!("never fetched, by node: {lacking:?}"));
        self.checker.assert_holds();
    }

    /// As many puts at once as there is room for are certified again, in time, by every server.
    pub(super) async fn check_recovery(&mut self) {
        for server in 0..self.shape.servers {
            let puts = (0..AT_ONCE).map(|number| {
                let host = self.machines[self.shape.client(0)].start(self.seed, &self.wires);
                let trusted = self.checker.known().committee.as_ref().map(|committee| committee.cluster());
                // one is larger than the queue of a replica
                let size = if number == 0 { 5 << 18 } else { 40 };
                let mut bytes = vec![0; size];
                Random::new(self.seed, (server * AT_ONCE + number) as u64 + 1000).fill(&mut bytes);
                let (bytes, trace) = (Bytes::from(bytes), self.trace.clone());
                async move {
                    let put = Put { bytes, expires_at: NEVER, renew: false };
                    let attempt = async || put.over(&host, server, trusted, &mut None).await;
                    until_recovered(&trace, attempt).await
                }
            });
            for put in futures_util::future::join_all(puts).await {
                self.checker.assert_holds();
                let Some((promise, committee)) = put else {
                    self.checker.broken(Rule::NothingHeld, format_args!("a whole cluster does not certify"));
                    return self.checker.assert_holds();
                };
                self.checker.founded(&committee);
                self.checker.known().promises.push(promise);
            }
        }
    }

    /// A blob that was certified comes back byte for byte.
    ///
    /// # Panics
    /// When it does not.
    async fn check_readable(&mut self, promise: &Promise) {
        if promise.is_expired() {
            return;
        }
        let host = self.machines[self.shape.client(0)].start(self.seed, &self.wires);
        let Some(committee) = self.checker.known().committee.clone() else { return };
        let server = self.random.index(self.shape.servers);
        let digest = promise.digest();
        let got = until_recovered(&self.trace, async || get_knowing(&host, server, &committee, digest).await).await;
        if got.is_none_or(|got| got != promise.bytes) && !promise.is_expired() {
            self.checker.broken(Rule::Readable, format_args!("{digest} was certified and cannot be had"));
            self.checker.assert_holds();
        }
    }

    /// As many as may fail lose their power: everything that was certified is there all the same.
    pub(super) async fn check_without_some(&mut self) {
        for _ in 0..self.shape.spare() {
            let up: Vec<Node> = self.shape.honest().filter(|node| self.is_up(*node)).collect();
            let (node, seed) = (up[self.random.index(up.len())], self.random.next());
            self.stop(node, true, seed);
        }
        for promise in self.unexpired() {
            self.check_readable(&promise).await;
        }
    }
}

/// Tries again and again for as long as a recovery may take.
async fn until_recovered<T>(trace: &Trace, attempt: impl AsyncFn() -> Result<T, ClientError>) -> Option<T> {
    let end = node::elapsed() + RECOVERY;
    while node::elapsed() < end {
        match attempt().await {
            Ok(done) => return Some(done),
            Err(error) => trace.note(format_args!("not yet: {error}")),
        }
        sleep(TRY_AGAIN).await;
    }
    None
}
