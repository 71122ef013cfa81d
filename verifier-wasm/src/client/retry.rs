//! Decides whether a failed put is retried.

use std::time::Duration;

use vouch_core::session::{self, Fault, Milestone};
use wasm_bindgen::prelude::wasm_bindgen;

/// The attempts of one put, for the core's decision.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Retry(session::Retry);

#[wasm_bindgen]
impl Retry {
    /// Retries until there has been no progress for this many seconds.
    #[wasm_bindgen(constructor)]
    pub fn new(limit: f64) -> Self {
        Self(session::Retry::new(Duration::try_from_secs_f64(limit).unwrap_or(Duration::MAX)))
    }

    /// A server has proved its node key.
    pub fn opened(&mut self) {
        self.0.opened();
    }

    /// The server asks for the bytes from this resume offset on.
    pub fn ready(&mut self, bytes: f64) {
        self.0.reached(0, Milestone::Ready(count(bytes)));
    }

    /// The number of bytes sent so far.
    pub fn sent(&mut self, bytes: f64) {
        self.0.reached(0, Milestone::Moved(count(bytes)));
    }

    /// A member has reached a state, named as in `Put`.
    pub fn member(&mut self, state: &str) {
        match state {
            "stored" => self.0.reached(0, Milestone::Stored),
            "voted" => self.0.reached(0, Milestone::Voted),
            _ => {}
        }
    }

    /// Seconds until the next attempt; `undefined` if there is no retry. `fault`: as in a failure. `now`: milliseconds of a monotonic clock.
    /// `random`: a random byte.
    pub fn pause(&mut self, fault: &str, now: f64, random: u8) -> Option<f64> {
        let fault = match fault {
            "link" => Fault::Link,
            "refusal" => Fault::Refusal,
            "no-holder" => Fault::NoHolder,
            _ => Fault::Permanent,
        };
        let now = Duration::try_from_secs_f64(now / 1000.0).unwrap_or_default();
        self.0.pause(fault, now, random).map(|pause| pause.as_secs_f64())
    }
}

/// A number of bytes; JavaScript counts them exactly up to 2^53.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that is out of range is cut to it"
)]
fn count(bytes: f64) -> u64 {
    bytes as u64
}
