//! The end of a run: all faults end, and every promise is checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use vouch::client::ClientError;
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::receipt::NEVER;

use crate::checker::{Promise, Rule, open};
use crate::clients::{ClientLink, LONGEST_PUT, Put, get_knowing};
use crate::network::Node;
use crate::node;
use crate::random::Random;
use crate::servers::{COLLECT_EVERY, GRACE, SETTLING};
use crate::trace::Trace;
use crate::world::World;

/// Time limit until a healed cluster certifies: a replica that reaches no others doubts its clock for ten minutes.
pub const RECOVERY: Duration = Duration::from_secs(900);
pub const TRY_AGAIN: Duration = Duration::from_secs(5);
/// Time limit until nothing is held after the last request.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// Number of concurrent puts after healing: as many as a server and a replica have room for.
const AT_ONCE: usize = 4;

impl World {
    /// Ends all faults.
    pub(super) fn heal(&mut self) {
        self.trace.note(format_args!("heal"));
        self.network.mend();
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

    /// Checks one signer of each promise: it still has the bytes.
    pub(super) fn check_signers(&mut self) {
        if self.checker.known().is_repeat {
            return;
        }
        let committees = self.checker.committees();
        let members = committees.members();
        // a separate stream: a repeat draws none of these numbers
        let (mut random, mut stores) = (Random::new(self.seed, 3), BTreeMap::new());
        for promise in self.unexpired() {
            // What a member signed for that left, the others keep.
            let signers: Vec<Node> = committees.signers(&promise.certificate).intersection(&members).copied().collect();
            if signers.is_empty() {
                continue;
            }
            let (node, digest) = (signers[random.index(signers.len())], promise.digest());
            if self.checker.must_hold(node, digest, promise.certificate.claim.issued_at) {
                // opening a store takes most of the time
                let store = stores.entry(node).or_insert_with(|| open(self.machines[node].disk.durable_part(|_| true)));
                self.checker.check_held(node, store, digest, Rule::SignerHolds);
            }
        }
        self.checker.assert_holds();
    }

    /// The promises that have not expired.
    fn unexpired(&self) -> Vec<Promise> {
        let mut promises = self.checker.promises();
        promises.retain(|promise| !promise.is_expired());
        promises
    }

    /// Waits until every replica has deleted the expired blobs.
    ///
    /// # Panics
    /// A blob stays.
    pub(super) async fn check_expired(&mut self) {
        let soon = node::BEGINNING + node::elapsed().as_secs() + self.shape.trouble().as_secs();
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
            for node in self.checker.honest_members() {
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

    /// Waits until every member has fetched the blobs that it missed.
    ///
    /// # Panics
    /// A member still lacks a blob in the end.
    pub(super) async fn check_repair(&mut self) {
        let mut promises = self.checker.promises();
        // a replica notices a spoiled file only when it reads it, which takes longer than a run
        let ruined = self.checker.known().ruined.clone();
        promises.retain(|promise| !ruined.contains_key(&promise.digest()));
        let mut lacking = Vec::new();
        let end = node::elapsed() + RECOVERY;
        while node::elapsed() < end {
            lacking.clear();
            for node in self.checker.honest_members().into_iter().filter(|node| *node != self.decaying) {
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
            sleep(RECOVERY / 60).await;
        }
        self.checker.broken(Rule::Repaired, format_args!("never fetched, by node: {lacking:?}"));
        self.checker.assert_holds();
    }

    /// Every server certifies again within [`RECOVERY`]: one large blob, and then as many others at once as there is room for. One of
    /// them is renewed, if there is one that decayed.
    ///
    /// # Panics
    /// A server does not certify.
    pub(super) async fn check_recovery(&mut self) {
        let mut link = ClientLink::knowing(self.checker.committees().of_epoch(0).map(Into::into));
        for server in 0..self.shape.servers {
            // larger than a replica's queue: an interrupted upload, if there is one
            let large = self.cut_uploads.pop().unwrap_or_else(|| self.random.bytes(5 << 18));
            let large = Put { bytes: large, expires_at: NEVER, renew: false };
            let renewed = self.checker.take_decayed().map(|bytes| Put { bytes, expires_at: NEVER, renew: true });
            let small = || Put { bytes: self.random.bytes(40), expires_at: NEVER, renew: false };
            let others: Vec<Put> = renewed.into_iter().chain(std::iter::repeat_with(small)).take(AT_ONCE).collect();
            link = ClientLink::knowing(link.known);
            for puts in [vec![large], others] {
                let puts: Vec<_> =
                    puts.into_iter().map(|put| self.put_until_recovered(server, link.clone(), put)).collect();
                for put in futures_util::future::join_all(puts).await {
                    self.checker.assert_holds();
                    let Some((promise, committee, used)) = put else {
                        self.checker.broken(Rule::NothingHeld, format_args!("a healed cluster does not certify"));
                        return self.checker.assert_holds();
                    };
                    self.checker.adopted(&committee);
                    link = used;
                    let mut known = self.checker.known();
                    known.asked_expiry.insert(promise.digest(), NEVER);
                    known.promises.push(promise);
                }
            }
        }
    }

    /// Retries a put until the blob is certified.
    fn put_until_recovered(
        &mut self,
        server: Node,
        mut link: ClientLink,
        put: Put,
    ) -> impl Future<Output = Option<(Promise, Arc<Committee>, ClientLink)>> + use<> {
        let host = self.machines[self.shape.client(0)].start(self.seed, &self.network);
        let trusted = self.checker.cluster();
        let (trace, checker) = (self.trace.clone(), self.checker.clone());
        async move {
            let put = async || {
                let ended = timeout(LONGEST_PUT, put.over(&host, server, trusted, &mut link)).await;
                ended.unwrap_or_else(|_| {
                    checker.broken(Rule::NamedEnd, format_args!("a put to a healed cluster has no end"));
                    Err(ClientError::Stalled { after: LONGEST_PUT, what: "putting" })
                })
            };
            let (promise, committee) = until_recovered(&trace, put).await?;
            Some((promise, committee, link))
        }
    }

    /// Checks that a certified blob comes back byte for byte.
    ///
    /// # Panics
    /// It does not.
    async fn check_readable(&mut self, promise: &Promise) {
        if promise.is_expired() {
            return;
        }
        let host = self.machines[self.shape.client(0)].start(self.seed, &self.network);
        let Some(committee) = self.checker.committees().of_epoch(0) else { return };
        let server = self.random.index(self.shape.servers);
        let digest = promise.digest();
        let got = until_recovered(&self.trace, async || get_knowing(&host, server, &committee, digest).await).await;
        if got.is_none_or(|got| got != promise.bytes) && !promise.is_expired() {
            self.checker.broken(Rule::Readable, format_args!("{digest} was certified and cannot be read"));
            self.checker.assert_holds();
        }
    }

    /// Cuts the power of as many replicas as may fail, and checks that every certified blob is still available.
    pub(super) async fn check_without_some(&mut self) {
        for _ in 0..self.checker.spare() {
            let members = self.checker.honest_members().into_iter();
            let up: Vec<Node> = members.filter(|node| self.is_up(*node)).collect();
            let (node, seed) = (up[self.random.index(up.len())], self.random.next());
            self.stop(node, true, seed);
        }
        for promise in self.unexpired() {
            self.check_readable(&promise).await;
        }
    }

    /// Checks that nothing is held for good once there are no requests. What a replica reserves to fetch a blob that nobody has, it releases
    /// between two attempts; so each process must hold nothing at some moment, but not all at the same one.
    ///
    /// # Panics
    /// A process held something all the time.
    pub(super) async fn check_nothing_held(&mut self) {
        let end = node::elapsed() + SETTLED_WITHIN;
        let mut busy = self.checker.held();
        while !busy.is_empty() {
            if node::elapsed() > end {
                self.checker.broken(Rule::NothingHeld, format_args!("by node: {busy:?}"));
                return self.checker.assert_holds();
            }
            self.trace.note(format_args!("still held: {busy:?}"));
            sleep(TRY_AGAIN).await;
            let held = self.checker.held();
            busy.retain(|(node, _)| held.iter().any(|(other, _)| other == node));
        }
    }
}

/// Retries for as long as a recovery may take.
async fn until_recovered<T>(trace: &Trace, mut attempt: impl AsyncFnMut() -> Result<T, ClientError>) -> Option<T> {
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
