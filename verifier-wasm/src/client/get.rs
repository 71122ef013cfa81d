//! A get.

use std::time::Duration;

use bytes::Bytes;
use js_sys::Function;
use serde::Serialize;
use vouch_core::session::{GetEvent, GetRequest, GetSession, SessionError};
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::WebSocket;

use super::link::{Link, Session, SessionFailure, Step, tell};
use crate::input::{self, InputError};

/// One get on one open socket. The listener receives the events `start`, `length`, `rejected`, `verified` and `failed` as JSON,
/// and verified bytes.
#[wasm_bindgen]
pub struct Get(Link<GetSession>);

#[wasm_bindgen]
impl Get {
    /// Sends the hello. `length`: the file's length, if known. `range`: `0-1023`, `500-` or `-500`; all bytes by default. `nonce`:
    /// 32 random bytes.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    #[wasm_bindgen(constructor)]
    pub fn new(
        socket: WebSocket,
        listener: Function,
        cluster: Option<String>,
        digest: &[u8],
        length: Option<f64>,
        range: Option<String>,
        nonce: &[u8],
    ) -> Result<Self, InputError> {
        let request = GetRequest {
            trusted: cluster.map(|text| input::cluster(&text)).transpose()?,
            digest: input::digest(digest)?,
            length: length.map(|length| input::whole("length", length)).transpose()?,
            range: range.map(|text| input::range(&text)).transpose()?,
            nonce: input::array("nonce", nonce)?,
        };
        let (session, hello) = GetSession::new(request);
        Ok(Self(Link::new(socket, listener, session, &hello)))
    }

    /// Fails the get if it made no progress for too long. Call it every `checkInterval()`. `now`: milliseconds of a monotonic clock.
    #[wasm_bindgen(js_name = checkDeadlines)]
    pub fn check_deadlines(&self, now: f64) {
        self.0.check_deadlines(now);
    }

    /// Holds back what arrives, while the last bytes are still being written. Memory is bounded, because unanswered reads are.
    pub fn pause(&self) {
        self.0.pause();
    }

    /// Processes what was held back, and continues.
    pub fn resume(&self) {
        self.0.resume();
    }
}

#[derive(Serialize)]
struct Start {
    name: String,
    length: u64,
}

#[derive(Serialize)]
struct Length {
    length: u64,
    start: u64,
    end: u64,
}

#[derive(Serialize)]
struct Rejected {
    name: String,
    reason: String,
}

#[derive(Serialize)]
struct Verified {
    cluster: Option<String>,
}

impl Session for GetSession {
    fn receive(&mut self, bytes: &Bytes, _now: u64) -> Result<Vec<Step>, SessionError> {
        let events = Self::receive(self, bytes)?;
        let cluster = self.cluster().map(|cluster| cluster.to_string());
        let step = |event| match event {
            GetEvent::Send(message) => Some(Step::Send(message)),
            GetEvent::Start { name, length } => Some(tell("start", Start { name, length })),
            GetEvent::Length { length, range } => {
                Some(tell("length", Length { length, start: range.start, end: range.end }))
            }
            GetEvent::Slice(_) => None,
            GetEvent::Bytes(bytes) => Some(Step::Bytes(bytes)),
            GetEvent::Rejected(rejection) => {
                Some(tell("rejected", Rejected { name: rejection.name, reason: rejection.reason }))
            }
            GetEvent::Verified => Some(tell("verified", Verified { cluster: cluster.clone() })),
        };
        Ok(events.into_iter().filter_map(step).collect())
    }

    fn check_deadlines(&mut self, now: Duration, is_paused: bool) -> Result<(), Box<SessionFailure>> {
        if is_paused {
            self.restart_deadline();
            return Ok(());
        }
        Ok(self.check_deadline(now)?)
    }
}
