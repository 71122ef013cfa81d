//! A get.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use js_sys::Function;
use serde::Serialize;
use vouch_core::chain::Checkpoint;
use vouch_core::session::{self, GetEvent, GetSession, Rejection, SessionError, VerifiedRange, WantedBytes};
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::WebSocket;

use super::attempts::Attempts;
use super::link::{Link, Session, SessionFailure, Step, tell};
use crate::input::{self, InputError};

/// What the links of one get deliver: each requests only what no earlier one did.
#[wasm_bindgen]
#[derive(Debug)]
pub struct ResumableGet(Rc<RefCell<session::ResumableGet>>);

#[wasm_bindgen]
impl ResumableGet {
    /// `length`: the file's length, if known. `range`: `0-1023`, `500-` or `-500`; all bytes by default.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    #[wasm_bindgen(constructor)]
    pub fn new(digest: &[u8], length: Option<f64>, range: Option<String>) -> Result<Self, InputError> {
        let wanted = WantedBytes {
            digest: input::digest(digest)?,
            length: length.map(|length| input::whole("length", length)).transpose()?,
            range: range.map(|text| input::range(&text)).transpose()?,
        };
        Ok(Self(Rc::new(RefCell::new(session::ResumableGet::new(wanted, 0)))))
    }
}

/// One link of a get, on one open socket. The listener receives the events `start`, `length`, `rejected`, `verified` and `failed` as JSON,
/// and verified bytes.
#[wasm_bindgen]
pub struct Get(Link<GetLink>);

#[wasm_bindgen]
impl Get {
    /// Sends the hello. `nonce`: 32 random bytes; `now`: seconds since 1970.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    #[wasm_bindgen(constructor)]
    pub fn new(
        socket: WebSocket,
        listener: Function,
        attempts: &Attempts,
        get: &ResumableGet,
        nonce: &[u8],
        now: f64,
    ) -> Result<Self, InputError> {
        let now = input::whole("now", now)?;
        let (attempts, get, nonce) = (attempts.share(), get.0.clone(), input::array("nonce", nonce)?);
        let (session, hello) = attempts.borrow().link_options().get_session(get.borrow().rest(), nonce, now);
        Ok(Self(Link::new(socket, listener, GetLink { session, attempts, get }, &hello)))
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
    /// The number of bytes that earlier links delivered, and those of this one before.
    offset: u64,
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
    /// Of the newest committee that the server showed.
    checkpoint: Option<Checkpoint>,
}

/// A link of a get, which reports to the get and its attempts.
struct GetLink {
    session: GetSession,
    attempts: Rc<RefCell<session::Attempts>>,
    get: Rc<RefCell<session::ResumableGet>>,
}

impl GetLink {
    fn step(&self, event: GetEvent) -> Option<Step> {
        let (mut get, mut attempts) = (self.get.borrow_mut(), self.attempts.borrow_mut());
        Some(match event {
            GetEvent::Send(message) => Step::Send(message),
            GetEvent::Start { name, length } => {
                get.started(&self.session, &mut attempts);
                tell("start", Start { name, length, offset: get.delivered() })
            }
            GetEvent::Length { length, range } => {
                let VerifiedRange { length, range: Range { start, end } } = get.length_verified(length, &range).clone();
                tell("length", Length { length, start, end })
            }
            GetEvent::Slice(_) => return None,
            // The steps of one message are performed together, so these bytes do reach the listener.
            GetEvent::Bytes(bytes) => {
                get.add_delivered(bytes.len(), &mut attempts.retry);
                Step::Bytes(bytes)
            }
            GetEvent::Rejected(Rejection { name, reason }) => tell("rejected", Rejected { name, reason }),
            GetEvent::Verified => {
                let chain = self.session.chain();
                let cluster = chain.map(|chain| chain.cluster().to_string());
                tell("verified", Verified { cluster, checkpoint: chain.map(Checkpoint::from) })
            }
        })
    }
}

impl Session for GetLink {
    fn receive(&mut self, bytes: &Bytes, _now: u64) -> Result<Vec<Step>, SessionError> {
        let received = self.session.receive(bytes);
        self.attempts.borrow_mut().heard(&self.session);
        Ok(received?.into_iter().filter_map(|event| self.step(event)).collect())
    }

    fn check_deadlines(&mut self, now: Duration, is_paused: bool) -> Result<(), Box<SessionFailure>> {
        if is_paused {
            self.session.restart_deadline();
            return Ok(());
        }
        Ok(self.session.check_deadline(now)?)
    }
}
