//! What the attempts of a put or a get have in common.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::get::{GetRequest, GetSession};
use super::one_get::WantedBytes;
use super::progress::WaitLimit;
use super::put_link::PutLink;
use super::retry::Retry;
use crate::access::TokenSecret;
use crate::chain::CommitteeChain;
use crate::message::Message;
use crate::verify::Trust;

/// The parameters of a new link.
#[derive(Debug, Clone, Default)]
pub struct LinkOptions {
    /// The cluster identity to trust; without one, the link accepts the server's, and the caller decides whether to trust it. A server
    /// whose committees do not contain the checkpoint is refused. The committees before the checkpoint are verified all the same: the
    /// caller may pass them on in a bundle, to verifiers that do not pin it.
    pub trusted: Trust,
    /// The committees that an earlier link showed. They were verified then, and are not verified again.
    pub known: Option<CommitteeChain>,
    /// The longest wait for each decision of the server.
    pub limit: WaitLimit,
    /// Authorises the requests.
    pub token: Option<TokenSecret>,
}

impl LinkOptions {
    /// A link for puts, and its first message. `nonce`: 32 random bytes.
    pub fn put_link(self, nonce: [u8; 32]) -> (PutLink, Message) {
        let Trust { cluster, checkpoint } = self.trusted;
        let (link, hello) = PutLink::knowing(cluster, self.known, nonce);
        (link.pinning(checkpoint).with_wait_limit(self.limit).with_token(self.token), hello)
    }

    /// A link for a get, and its first message. `nonce`: 32 random bytes; `now` in seconds since 1970.
    pub fn get_session(self, wanted: WantedBytes, nonce: [u8; 32], now: u64) -> (GetSession, Message) {
        let WantedBytes { digest, length, range } = wanted;
        let Trust { cluster, checkpoint } = self.trusted;
        let request = GetRequest { trusted: cluster, digest, length, range, nonce };
        let (session, hello) = GetSession::knowing(request, self.known);
        (session.pinning(checkpoint).with_wait_limit(self.limit).with_token(self.token, now), hello)
    }
}

/// The state that passes from one attempt to the next: when to retry, which cluster to trust, and its committee.
#[derive(Debug)]
pub struct Attempts {
    /// Decides about the next attempt.
    pub retry: Retry,
    options: LinkOptions,
}

impl Attempts {
    /// `trusted`: as in [`LinkOptions`]; without a cluster identity, that of the first attempt's server is accepted. `limit`: as in
    /// [`Retry::new`]; it also sets the [`WaitLimit`].
    pub fn new(trusted: impl Into<Trust>, limit: Duration) -> Self {
        let options = LinkOptions { trusted: trusted.into(), known: None, limit: WaitLimit::new(limit), token: None };
        Self { retry: Retry::new(limit), options }
    }

    /// For a client with this many servers, of one cluster.
    #[must_use]
    pub fn among(self, servers: NonZeroUsize) -> Self {
        Self { retry: self.retry.among(servers), ..self }
    }

    /// Authorises the requests of every attempt with this token.
    #[must_use]
    pub fn with_token(mut self, token: Option<TokenSecret>) -> Self {
        self.options.token = token;
        self
    }

    /// A server showed these committees, and they were verified. Later attempts accept no other cluster: otherwise a put could end
    /// with the certificate of a cluster that its caller never saw, or a get with bytes of two clusters. Nor do they accept a server that
    /// knows only an earlier epoch.
    pub fn verified(&mut self, chain: CommitteeChain) {
        self.options.trusted.cluster.get_or_insert(chain.cluster());
        let epoch = |chain: &CommitteeChain| chain.current().record().epoch();
        if self.options.known.as_ref().is_none_or(|known| epoch(&chain) > epoch(known)) {
            self.options.known = Some(chain);
        }
    }

    /// Records what the link of a get has shown until now.
    pub fn heard(&mut self, session: &GetSession) {
        if session.is_open() {
            self.retry.opened();
        }
        if let Some(chain) = session.chain() {
            self.verified(chain.clone());
        }
    }

    /// The parameters of the next attempt's link.
    pub fn link_options(&self) -> LinkOptions {
        self.options.clone()
    }
}
