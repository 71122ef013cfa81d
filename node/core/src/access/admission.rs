//! What one replica admits by the rules that the log has decided: it checks what tokens' holders signed, and counts what each token puts.
//!
//! A state machine without IO, which all links of a replica share. The store's index counts what each token has stored; this keeps only the totals.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use vouch_core::access::{Action, Authorisation, AuthorisationError, Grant, NO_LIMIT, TokenKey, Who};
use vouch_core::clocks::Seconds;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::link::NodeKey;
use vouch_core::message::Code;
use vouch_core::receipt::Receipt;

use super::Access;

/// Maximum number of offers that are remembered until the vote on them: 8 MiB. Beyond it, the oldest are forgotten; their puts must be
/// offered again.
const MAX_OFFERS: usize = 1 << 16;
/// How long an offer is remembered, in seconds of running time: longer than a put takes from its last byte to its vote, and than a paused
/// upload keeps its place.
const OFFER_KEPT: Duration = Duration::from_secs(3600);
/// A token that has put nothing for this long may exceed its rate by what it did not use in this time.
const BURST: Duration = Duration::from_secs(60);

/// A put that counts for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The token.
    pub token: TokenKey,
    /// The blob.
    pub digest: Digest,
    /// Its length in bytes.
    pub length: u64,
    /// Until when it counts, as in [`Receipt::expires_at`].
    pub expires_at: u64,
}

/// The number of bytes that a token has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The token.
    pub token: TokenKey,
    /// Bytes of blobs that have not expired.
    pub bytes: u64,
}

/// Why something is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The rules require a token, and none is named.
    #[error("this cluster takes this only from holders of tokens; name one with --token-file")]
    NoToken,
    /// The authorisation does not count.
    #[error(transparent)]
    Authorisation(#[from] AuthorisationError),
    /// The log grants this token nothing.
    #[error("token {0} is not granted in this cluster, or is revoked")]
    NotGranted(TokenKey),
    /// The token has expired.
    #[error("token {token} expired at {at}, in seconds since 1970")]
    Expired {
        /// The token.
        token: TokenKey,
        /// Seconds since 1970.
        at: u64,
    },
    /// The blob is larger than the token's puts may be.
    #[error("this token may put blobs of at most {largest} bytes, got {length}")]
    TooLarge {
        /// The limit.
        largest: u64,
        /// The blob's length.
        length: u64,
    },
    /// The token would have more bytes stored than it may.
    #[error("this token may have {quota} bytes stored, and has {stored}; expected at most {} more, got {length}", .quota.saturating_sub(*.stored))]
    OverQuota {
        /// The limit.
        quota: u64,
        /// What it has stored, with puts in progress.
        stored: u64,
        /// The blob's length.
        length: u64,
    },
    /// The token's puts have more bytes per second than they may.
    #[error("this token may put {rate} bytes per second on average, and may put again in {}", Seconds(*.wait))]
    OverRate {
        /// The limit.
        rate: u64,
        /// Seconds until its next put is admitted.
        wait: u64,
    },
    /// This replica belongs to no cluster yet.
    #[error("there is no cluster yet that could grant a token")]
    NoCluster,
}

impl Refusal {
    /// The code to refuse with.
    pub fn code(&self) -> Code {
        match self {
            Self::OverRate { .. } => Code::Busy,
            Self::TooLarge { .. } => Code::TooLarge,
            Self::NoCluster => Code::NoCommittee,
            _ => Code::NotAdmitted,
        }
    }
}

/// An offer that was admitted.
#[derive(Debug, Clone, Copy)]
struct Offer {
    counted: Counted,
    /// Whether its bytes count until the vote; the index counts those of a blob that the token has stored already.
    is_reserved: bool,
}

/// What the replica admits.
#[derive(Debug, Default)]
pub struct Admission {
    cluster: Option<ClusterId>,
    access: Arc<Access>,
    /// The nodes that may read whatever the rules say: the members, and those that join. They need the bytes to be members.
    nodes: BTreeSet<NodeKey>,
    offers: HashMap<Receipt, Offer>,
    /// The offers in their order.
    order: VecDeque<(Duration, Receipt)>,
    /// By token: bytes stored, as the index counts them.
    stored: BTreeMap<TokenKey, u64>,
    /// By token: the bytes of offers that were not voted for yet.
    reserved: BTreeMap<TokenKey, u64>,
    /// By token: from when on its next put is within its rate.
    rates: BTreeMap<TokenKey, Duration>,
}

impl Admission {
    /// Nothing is restricted until the log says so. `stored`: what the index has counted.
    pub fn new(stored: Vec<Usage>) -> Self {
        let mut admission = Self::default();
        admission.set_stored(stored);
        admission
    }

    /// The log has decided this.
    pub fn set_access(&mut self, cluster: ClusterId, access: Arc<Access>, nodes: BTreeSet<NodeKey>) {
        (self.cluster, self.access, self.nodes) = (Some(cluster), access, nodes);
        let is_granted = |token: &TokenKey| self.access.tokens().contains_key(token);
        self.rates.retain(|token, _| is_granted(token));
    }

    /// The index has counted this much for these tokens.
    pub fn set_stored(&mut self, usage: Vec<Usage>) {
        for Usage { token, bytes } in usage {
            match bytes {
                0 => drop(self.stored.remove(&token)),
                bytes => drop(self.stored.insert(token, bytes)),
            }
        }
    }

    /// Whether puts need a token, unless they add nothing to what is stored.
    pub fn puts_need_tokens(&self) -> bool {
        self.access.rules().put == Who::Tokens
    }

    /// Whether readers need a token.
    pub fn reads_need_tokens(&self) -> bool {
        self.access.rules().read == Who::Tokens
    }

    /// Admits the sending of bytes whose digest is not known yet. `wall`: seconds since 1970.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn send(&self, authorisation: Option<&Authorisation>, wall: u64) -> Result<(), Refusal> {
        match authorisation {
            None if self.puts_need_tokens() => Err(Refusal::NoToken),
            None => Ok(()),
            Some(authorisation) => self.grant(authorisation, Action::Send, wall).map(drop),
        }
    }

    /// Admits a put. An authorisation that is there must be valid, whatever the rules say. `is_counted`: whether the index counts this blob
    /// for the token already.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn store(
        &mut self,
        receipt: &Receipt,
        authorisation: Option<&Authorisation>,
        is_counted: bool,
        (now, wall): (Duration, u64),
    ) -> Result<(), Refusal> {
        let Some(authorisation) = authorisation else {
            return if self.puts_need_tokens() { Err(Refusal::NoToken) } else { Ok(()) };
        };
        let grant = self.grant(authorisation, Action::Store(receipt), wall)?;
        self.forget_old(now);
        if self.offers.contains_key(receipt) {
            // The same put, repeated after a broken link.
            return Ok(());
        }
        let Receipt { digest, length, expires_at, .. } = *receipt;
        let (token, largest) = (authorisation.key, grant.largest);
        if length > largest {
            return Err(Refusal::TooLarge { largest, length });
        }
        let is_reserved = !is_counted;
        if is_reserved {
            self.check_quota(token, grant.quota, length)?;
        }
        self.take_rate(token, grant.rate, length, now)?;
        if is_reserved {
            *self.reserved.entry(token).or_default() += length;
        }
        let (counted, until) = (Counted { token, digest, length, expires_at }, now + OFFER_KEPT);
        self.offers.insert(*receipt, Offer { counted, is_reserved });
        self.order.push_back((until, *receipt));
        Ok(())
    }

    /// Admits a search for a blob, after which it is read.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn read(&self, digest: &Digest, authorisation: Option<&Authorisation>, wall: u64) -> Result<(), Refusal> {
        match authorisation {
            None if self.reads_need_tokens() => Err(Refusal::NoToken),
            None => Ok(()),
            Some(authorisation) => {
                let cluster = self.cluster.ok_or(Refusal::NoCluster)?;
                if self.nodes.contains(&NodeKey(authorisation.key.0)) {
                    return Ok(authorisation.verify(&cluster, Action::Read(digest), wall)?);
                }
                self.grant(authorisation, Action::Read(digest), wall).map(drop)
            }
        }
    }

    /// The indices of the receipts for which no offer was admitted. None while anyone may put.
    pub fn not_offered(&self, receipts: &[Receipt]) -> Vec<u16> {
        if !self.puts_need_tokens() {
            return Vec::new();
        }
        let is_offered = |receipt: &Receipt| {
            let token = self.offers.get(receipt).map(|offer| offer.counted.token);
            token.is_some_and(|token| self.access.tokens().contains_key(&token))
        };
        (0..).zip(receipts).filter(|(_, receipt)| !is_offered(receipt)).map(|(index, _)| index).collect()
    }

    /// What counts for tokens if this replica votes for these receipts.
    pub fn counted(&self, receipts: &[Receipt]) -> Vec<Counted> {
        if self.offers.is_empty() {
            return Vec::new();
        }
        receipts.iter().filter_map(|receipt| self.offers.get(receipt)).map(|offer| offer.counted).collect()
    }

    /// The index has counted these receipts: their bytes are not reserved any more. `usage`: the new totals.
    pub fn voted(&mut self, receipts: &[Receipt], usage: Vec<Usage>) {
        for receipt in receipts {
            if let Some(offer) = self.offers.get_mut(receipt).filter(|offer| offer.is_reserved) {
                // It stays an offer: the vote may be asked for again.
                offer.is_reserved = false;
                let Counted { token, length, .. } = offer.counted;
                release(&mut self.reserved, token, length);
            }
        }
        self.set_stored(usage);
    }

    fn grant(&self, authorisation: &Authorisation, action: Action<'_>, wall: u64) -> Result<Grant, Refusal> {
        let cluster = self.cluster.ok_or(Refusal::NoCluster)?;
        let token = authorisation.key;
        // before the signature, which takes longer to check
        let grant = self.access.tokens().get(&token).copied().ok_or(Refusal::NotGranted(token))?;
        if grant.is_expired(wall) {
            return Err(Refusal::Expired { token, at: grant.expires_at });
        }
        authorisation.verify(&cluster, action, wall)?;
        Ok(grant)
    }

    fn check_quota(&self, token: TokenKey, quota: u64, length: u64) -> Result<(), Refusal> {
        let of = |bytes: &BTreeMap<TokenKey, u64>| bytes.get(&token).copied().unwrap_or_default();
        let stored = of(&self.stored).saturating_add(of(&self.reserved));
        match quota != NO_LIMIT && stored.saturating_add(length) > quota {
            true => Err(Refusal::OverQuota { quota, stored, length }),
            false => Ok(()),
        }
    }

    fn take_rate(&mut self, token: TokenKey, rate: u64, length: u64, now: Duration) -> Result<(), Refusal> {
        if rate == NO_LIMIT {
            return Ok(());
        }
        let free_at = self.rates.entry(token).or_default();
        if let Some(wait) = free_at.checked_sub(now).filter(|wait| !wait.is_zero()) {
            return Err(Refusal::OverRate { rate, wait: wait.as_secs() + 1 });
        }
        // A grant has no rate of 0. A length is at most 2^53.
        let takes = Duration::from_secs(length / rate.max(1));
        *free_at = (*free_at).max(now.saturating_sub(BURST)) + takes;
        Ok(())
    }

    fn forget_old(&mut self, now: Duration) {
        while let Some((until, receipt)) = self.order.front().copied()
            && (until <= now || self.offers.len() >= MAX_OFFERS)
        {
            self.order.pop_front();
            if let Some(offer) = self.offers.remove(&receipt)
                && offer.is_reserved
            {
                release(&mut self.reserved, offer.counted.token, offer.counted.length);
            }
        }
    }
}

fn release(reserved: &mut BTreeMap<TokenKey, u64>, token: TokenKey, length: u64) {
    if let Some(bytes) = reserved.get_mut(&token) {
        *bytes = bytes.saturating_sub(length);
        if *bytes == 0 {
            reserved.remove(&token);
        }
    }
}
