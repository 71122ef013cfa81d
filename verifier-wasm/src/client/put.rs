//! A put.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use js_sys::Function;
use serde::Serialize;
use vouch_core::chain::Checkpoint;
use vouch_core::digest::Digest;
use vouch_core::message::{MAX_BLOB, Message, Stage, Stream};
use vouch_core::receipt::NEVER;
use vouch_core::session::{
    self, CancelReason, Milestone, NewPut, PutEvent, PutLink, PutLinkEvent, SessionError, Source,
};
use vouch_core::tree::{Outline, OutlineHasher};
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::WebSocket;

use super::CommitteeView;
use super::attempts::Attempts;
use super::link::{Link, Session, SessionFailure, Step, tell};
use crate::input::{self, InputError};

/// Hashes a file before a put: computes its digest and its outline, from which the proofs of its bytes are made. Keeps the bytes of a
/// file that is small enough for one message.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Outliner {
    hasher: OutlineHasher,
    /// All bytes so far; `None` once they are too many for one message.
    small: Option<Vec<u8>>,
}

impl Default for Outliner {
    fn default() -> Self {
        Self { hasher: OutlineHasher::new(), small: Some(Vec::new()) }
    }
}

#[wasm_bindgen]
impl Outliner {
    /// A hasher that has taken no bytes yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.small = self.small.take().filter(|small| small.len() + bytes.len() <= MAX_BLOB);
        self.small.iter_mut().for_each(|small| small.extend_from_slice(bytes));
    }

    /// The number of bytes so far.
    pub fn length(&self) -> f64 {
        // Exact up to 2^53, which is more than can be hashed in a lifetime.
        self.hasher.length() as f64
    }

    /// The digest and the outline of all bytes taken.
    pub fn finish(self) -> Outlined {
        let (digest, outline) = self.hasher.finish();
        Outlined { digest, outline, small: self.small.map(Bytes::from) }
    }
}

/// The digest and the outline of a hashed file.
#[wasm_bindgen]
#[derive(Debug, Clone)]
pub struct Outlined {
    digest: Digest,
    outline: Outline,
    /// All bytes of a file that is small enough for one message.
    small: Option<Bytes>,
}

#[wasm_bindgen]
impl Outlined {
    /// The digest, 32 bytes.
    pub fn digest(&self) -> Vec<u8> {
        self.digest.0.to_vec()
    }

    /// The number of bytes.
    pub fn length(&self) -> f64 {
        self.outline.length() as f64
    }

    /// A second handle for another [`Put`], which consumes the one it is given. Nothing is hashed or copied again.
    pub fn share(&self) -> Self {
        self.clone()
    }
}

/// One put on one open socket. The listener receives the events `committee`, `ready`, `member`, `certified` and `failed` as JSON. A small
/// file goes in one message with its offer: after `committee`, the listener receives `sent` instead of `ready`.
#[wasm_bindgen]
pub struct Put(Link<PutSession>);

/// A link for one put: the first stream number of every link.
const STREAM: Stream = Stream(1);

#[wasm_bindgen]
impl Put {
    /// Sends the hello. Without `hashed`, digest and length are declared at the end of the bytes. `expires_at` and `now`: seconds
    /// since 1970; no `expires_at` means never. `salt`: 16 random bytes; `nonce`: 32 random bytes. A retry must use the `salt` and
    /// the `now` of the first attempt, so that it accepts a certificate which that attempt obtained. Unless `renew` is set,
    /// `certified` may come without `ready`; its field `reused` then says whether the certificate is an earlier one.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    #[wasm_bindgen(constructor)]
    #[expect(clippy::too_many_arguments, reason = "JavaScript names them")]
    pub fn new(
        socket: WebSocket,
        listener: Function,
        attempts: &Attempts,
        hashed: Option<Outlined>,
        expires_at: Option<f64>,
        salt: &[u8],
        nonce: &[u8],
        now: f64,
        renew: bool,
    ) -> Result<Self, InputError> {
        let put = NewPut {
            source: match &hashed {
                Some(Outlined { digest, outline, .. }) => Source::Known { digest: *digest, length: outline.length() },
                None => Source::Streamed,
            },
            expires_at: expires_at.map_or(Ok(NEVER), |time| input::whole("expires", time))?,
            salt: input::array("salt", salt)?,
            now: input::whole("now", now)?,
            renew,
        };
        let attempts = attempts.share();
        let (mut link, hello) = attempts.borrow().link_options().put_link(input::array("nonce", nonce)?);
        let (bytes, outline) = hashed.map_or((None, None), |hashed| (hashed.small, Some(hashed.outline)));
        // Fails only for bytes of another length than that of the outline, which was made from these. A new link has room.
        let _ = link.begin(put, bytes, outline);
        let session = PutSession {
            link,
            attempts,
            passed: 0,
            sent: 0,
            is_stored: false,
            is_blob_sent: false,
            is_committee_known: false,
        };
        Ok(Self(Link::new(socket, listener, session, &hello)))
    }

    /// Sends the next 1 to `maxChunk()` bytes, from the `offset` of `ready` on. For a hashed file, each chunk must have
    /// `maxChunk()` bytes, and only the last one may have fewer. Returns `false` if the put has ended.
    pub fn chunk(&self, bytes: Vec<u8>) -> bool {
        self.0.with(|session| {
            let size = bytes.len() as u64;
            let message = session.link.chunk(STREAM, Bytes::from(bytes)).map_err(|error| session.changed(error))?;
            session.passed += size;
            Ok(message)
        })
    }

    /// Ends the bytes. `now`: seconds since 1970. Returns `false` if the put has ended.
    pub fn end(&self, now: f64) -> bool {
        // A time that is no number authorises nothing.
        let now = input::whole("now", now).unwrap_or_default();
        self.0.with(|session| session.link.end(STREAM, now).map_err(|error| session.changed(error)))
    }

    /// Cancels the put: because its file cannot be read any further, or else because nobody wants it any more.
    pub fn cancel(&self, is_unreadable: bool) {
        let reason = if is_unreadable { CancelReason::SourceUnreadable } else { CancelReason::Unwanted };
        self.0.with(|session| Ok(session.link.cancel(STREAM, reason)));
    }

    /// The offset in the file up to which its bytes have left the socket's buffer. It never goes back.
    pub fn sent(&self) -> f64 {
        let buffered = self.0.buffered();
        self.0.ask(|session| session.sent(buffered)).unwrap_or_default() as f64
    }

    /// Fails the put if it made no progress for too long. Call it every `checkInterval()`. `now`: milliseconds of a monotonic clock.
    #[wasm_bindgen(js_name = checkDeadlines)]
    pub fn check_deadlines(&self, now: f64) {
        self.0.check_deadlines(now);
    }

    /// Number of bytes in the socket's buffer.
    pub fn buffered(&self) -> f64 {
        self.0.buffered()
    }
}

#[derive(Serialize)]
struct Ready {
    offset: u64,
}

#[derive(Serialize)]
struct Member {
    member: u16,
    state: &'static str,
}

#[derive(Serialize)]
struct Certified {
    bundle: String,
    cluster: String,
    /// Of the newest committee that the server showed.
    checkpoint: Checkpoint,
    server: String,
    digest: String,
    length: u64,
    reused: bool,
    resumed_from: u64,
}

/// A link with one put, which reports to the put's attempts.
struct PutSession {
    link: PutLink,
    attempts: Rc<RefCell<session::Attempts>>,
    /// The offset after the last byte passed to the link.
    passed: u64,
    /// The offset up to which the bytes have left the socket's buffer.
    sent: u64,
    /// A member has stored the whole file.
    is_stored: bool,
    /// All bytes were sent with the offer. This is no milestone: the server has not accepted the put.
    is_blob_sent: bool,
    /// The server has shown its committees.
    is_committee_known: bool,
}

impl PutSession {
    fn heard(&mut self, event: &PutLinkEvent) {
        let mut attempts = self.attempts.borrow_mut();
        match event {
            PutLinkEvent::Opened => attempts.retry.opened(),
            PutLinkEvent::Cluster(chain) => {
                self.is_committee_known = true;
                attempts.verified(chain.clone());
            }
            PutLinkEvent::Put(_, Ok(PutEvent::Ready { offset })) => {
                (self.passed, self.sent) = (*offset, *offset);
                attempts.retry.reached(0, Milestone::Ready(*offset));
            }
            PutLinkEvent::Put(_, Ok(PutEvent::Progress { stage, .. })) => {
                self.is_stored |= matches!(stage, Stage::Stored | Stage::Voted);
                if let Some(milestone) = Milestone::of_stage(*stage) {
                    attempts.retry.reached(0, milestone);
                }
            }
            PutLinkEvent::Put(_, Ok(PutEvent::Send(Message::Blob { .. }))) => self.is_blob_sent = true,
            PutLinkEvent::Put(..) => {}
        }
    }

    /// `buffered`: the number of bytes in the socket's buffer. It also holds headers and proofs, so a chunk adds more to it than to the
    /// file: without the maximum, progress would go back.
    fn sent(&mut self, buffered: f64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of bytes in memory")]
        let buffered = if self.is_stored { 0 } else { buffered as u64 };
        self.sent = self.sent.max(self.passed.saturating_sub(buffered));
        self.attempts.borrow_mut().retry.reached(0, Milestone::Moved(self.sent));
        self.sent
    }

    /// The file has changed since it was hashed.
    fn changed(&mut self, error: SessionError) -> Box<SessionFailure> {
        Box::new(SessionFailure { error, last_message: self.link.cancel(STREAM, CancelReason::SourceChanged) })
    }
}

impl Session for PutSession {
    fn receive(&mut self, bytes: &Bytes, now: u64) -> Result<Vec<Step>, SessionError> {
        let mut steps = Vec::new();
        // The offer comes before the committees or, if one is pinned, after them.
        let is_sent = |session: &Self| session.is_committee_known && session.is_blob_sent;
        let was_sent = is_sent(self);
        for event in self.link.receive(bytes, now)? {
            self.heard(&event);
            steps.extend(step(event)?);
        }
        if is_sent(self) && !was_sent {
            steps.push(tell("sent", ()));
        }
        Ok(steps)
    }

    /// Nothing pauses a put.
    fn check_deadlines(&mut self, now: Duration, _is_paused: bool) -> Result<(), Box<SessionFailure>> {
        let mut last_message = None;
        for event in self.link.check_deadlines(now)? {
            match event {
                PutLinkEvent::Put(_, Ok(PutEvent::Send(cancel))) => last_message = Some(cancel),
                PutLinkEvent::Put(_, Err(error)) => return Err(Box::new(SessionFailure { error, last_message })),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The link's only put ends the link with it.
fn step(event: PutLinkEvent) -> Result<Option<Step>, SessionError> {
    Ok(Some(match event {
        PutLinkEvent::Opened => return Ok(None),
        PutLinkEvent::Cluster(chain) => tell("committee", CommitteeView::from(&chain)),
        PutLinkEvent::Put(_, event) => match event? {
            PutEvent::Send(message) => Step::Send(message),
            PutEvent::Ready { offset } => tell("ready", Ready { offset }),
            PutEvent::Progress { member, stage } => tell("member", Member { member: member.index, state: word(stage) }),
            PutEvent::Certified(certified) => tell(
                "certified",
                Certified {
                    bundle: certified.bundle.to_json(),
                    cluster: certified.chain.cluster().to_string(),
                    checkpoint: (&certified.chain).into(),
                    server: certified.server.to_string(),
                    digest: certified.certificate.claim.receipt.digest.to_hex(),
                    length: certified.certificate.claim.receipt.length,
                    reused: certified.reused,
                    resumed_from: certified.resumed_from(),
                },
            ),
        },
    }))
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Receiving => "receiving",
        Stage::Stored => "stored",
        Stage::Voted => "voted",
        Stage::Dropped => "dropped",
    }
}
