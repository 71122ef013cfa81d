//! The attempts of a put or a get: when to retry, and what a retry keeps.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;

use vouch_core::session::progress::CONNECT_DEADLINE;
use vouch_core::session::retry::DEFAULT_LIMIT;
use vouch_core::session::{self, Fault};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::input::{self, InputError};

/// The state of the core that the attempts of one put or get share. Each [`Put`](super::put::Put) and [`Get`](super::get::Get) reports to it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Attempts(Rc<RefCell<session::Attempts>>);

#[wasm_bindgen]
impl Attempts {
    /// `cluster`: the cluster identity to trust; without it, that of the first attempt's server. `checkpoint`: the newest committee of
    /// that cluster that the caller has verified; a server that does not show it is refused before any request. `limit`: how many seconds
    /// to retry without progress, 0 for no retry; the core's default without it. `servers`: how many servers there are; 0 counts as 1.
    /// `token`: the secret that authorises every attempt, if there is one.
    ///
    /// # Errors
    /// `cluster` is not an identity, `checkpoint` is not a checkpoint, or `token` is not a secret.
    #[wasm_bindgen(constructor)]
    pub fn new(
        cluster: Option<String>,
        checkpoint: Option<String>,
        limit: Option<f64>,
        servers: usize,
        token: Option<String>,
    ) -> Result<Self, InputError> {
        let trusted = input::trust(cluster, checkpoint)?;
        let limit = limit.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
        let servers = NonZeroUsize::new(servers).unwrap_or(NonZeroUsize::MIN);
        let token = token.map(|text| input::token(&text)).transpose()?;
        let attempts = session::Attempts::new(trusted, limit.unwrap_or(DEFAULT_LIMIT)).among(servers).with_token(token);
        Ok(Self(Rc::new(RefCell::new(attempts))))
    }

    /// The server of the next attempt: its place in the caller's list, from 0.
    pub fn server(&self) -> usize {
        self.0.borrow().retry.server()
    }

    /// How long to wait for a socket to open, in milliseconds.
    #[wasm_bindgen(js_name = connectDeadline)]
    pub fn connect_deadline(&self) -> f64 {
        let longest = self.0.borrow().link_options().limit.longest();
        1000.0 * longest.map_or(CONNECT_DEADLINE, |longest| longest.min(CONNECT_DEADLINE)).as_secs_f64()
    }

    /// Seconds until the next attempt, which goes to `server()`; `undefined` if there is none. `fault`: as in a failure. `now`: milliseconds of a monotonic
    /// clock. `random`: a random byte.
    pub fn pause(&self, fault: &str, now: f64, random: u8) -> Option<f64> {
        let fault = match fault {
            "link" => Fault::Link,
            "refusal" => Fault::Refusal,
            "no-holder" => Fault::NoHolder,
            "permanent" => Fault::Permanent,
            _ => Fault::Local,
        };
        let now = Duration::try_from_secs_f64(now / 1000.0).unwrap_or_default();
        self.0.borrow_mut().retry.pause(fault, now, random).map(|pause| pause.as_secs_f64())
    }

    /// A handle for one attempt.
    pub(super) fn share(&self) -> Rc<RefCell<session::Attempts>> {
        self.0.clone()
    }
}
