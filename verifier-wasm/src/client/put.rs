//! A put.

use std::time::Duration;

use bytes::Bytes;
use js_sys::Function;
use serde::Serialize;
use vouch_core::digest::Digest;
use vouch_core::message::{Stage, Stream};
use vouch_core::receipt::NEVER;
use vouch_core::session::{NewPut, PutEvent, PutLink, PutLinkEvent, SessionError, Source};
use vouch_core::tree::{Outline, OutlineHasher};
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::WebSocket;

use super::CommitteeView;
use super::link::{Link, Session, Step, tell};
use crate::input::{self, InputError};

/// Hashes a file before a put: computes its digest and its outline, from which the proofs of its bytes are made.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct Outliner(OutlineHasher);

#[wasm_bindgen]
impl Outliner {
    /// A hasher that has taken no bytes yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The number of bytes so far.
    pub fn length(&self) -> f64 {
        // Exact up to 2^53, which is more than can be hashed in a lifetime.
        self.0.length() as f64
    }

    /// The digest and the outline of all bytes taken.
    pub fn finish(self) -> Outlined {
        let (digest, outline) = self.0.finish();
        Outlined { digest, outline }
    }
}

/// The digest and the outline of a hashed file.
#[wasm_bindgen]
#[derive(Debug, Clone)]
pub struct Outlined {
    digest: Digest,
    outline: Outline,
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

/// One put on one open socket. The listener receives the events `committee`, `ready`, `member`, `certified` and `failed` as JSON.
#[wasm_bindgen]
pub struct Put(Link<PutLink>);

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
        cluster: Option<String>,
        hashed: Option<Outlined>,
        expires_at: Option<f64>,
        salt: &[u8],
        nonce: &[u8],
        now: f64,
        renew: bool,
    ) -> Result<Self, InputError> {
        let trusted = cluster.map(|text| input::cluster(&text)).transpose()?;
        let put = NewPut {
            source: match &hashed {
                Some(Outlined { digest, outline }) => Source::Known { digest: *digest, length: outline.length() },
                None => Source::Streamed,
            },
            expires_at: expires_at.map_or(Ok(NEVER), |time| input::whole("expires", time))?,
            salt: input::array("salt", salt)?,
            now: input::whole("now", now)?,
            renew,
        };
        let (mut link, hello) = PutLink::new(trusted, input::array("nonce", nonce)?);
        // Fails only for bytes of another length, and none are given here. A new link has room.
        let _ = link.begin(put, None, hashed.map(|hashed| hashed.outline));
        Ok(Self(Link::new(socket, listener, link, &hello)))
    }

    /// Sends the next 1 to `maxChunk()` bytes, from the `offset` of `ready` on. For a hashed file, each chunk must have
    /// `maxChunk()` bytes, and only the last one may have fewer. Returns `false` if the put has ended.
    pub fn chunk(&self, bytes: Vec<u8>) -> bool {
        self.0.with(|link| link.chunk(STREAM, Bytes::from(bytes)))
    }

    /// Ends the bytes. Returns `false` if the put has ended.
    pub fn end(&self) -> bool {
        self.0.with(|link| link.end(STREAM))
    }

    /// Cancels the put.
    pub fn cancel(&self) {
        self.0.with(|link| Ok(link.cancel(STREAM, false)));
    }

    /// Fails the put if it made no progress for too long. Call it about once a second. `now`: milliseconds of a monotonic clock.
    pub fn look(&self, now: f64) {
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
    server: String,
    digest: String,
    length: u64,
    reused: bool,
    resumed_from: u64,
}

impl Session for PutLink {
    fn receive(&mut self, bytes: &Bytes, now: u64) -> Result<Vec<Step>, SessionError> {
        let mut steps = Vec::new();
        for event in Self::receive(self, bytes, now)? {
            steps.extend(step(event)?);
        }
        Ok(steps)
    }

    /// Nothing pauses a put.
    fn check_deadlines(&mut self, now: Duration, _is_paused: bool) -> Result<(), SessionError> {
        match self.check_deadlines(now)?.pop() {
            Some(PutLinkEvent::Put(_, Err(error))) => Err(error),
            _ => Ok(()),
        }
    }
}

/// The link's only put ends the link with it.
fn step(event: PutLinkEvent) -> Result<Option<Step>, SessionError> {
    Ok(Some(match event {
        PutLinkEvent::Opened => return Ok(None),
        PutLinkEvent::Cluster(chain) => tell("committee", CommitteeView::from(&**chain.current())),
        PutLinkEvent::Put(_, event) => match event? {
            PutEvent::Send(message) => Step::Send(message),
            PutEvent::Ready { offset } => tell("ready", Ready { offset }),
            PutEvent::Progress { member, stage } => tell("member", Member { member: member.index, state: word(stage) }),
            PutEvent::Certified(certified) => tell(
                "certified",
                Certified {
                    bundle: certified.bundle.to_json(),
                    cluster: certified.committee.cluster().to_string(),
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
