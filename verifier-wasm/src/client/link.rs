//! One session on one socket.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use js_sys::{ArrayBuffer, Date, Function, Uint8Array};
use serde::Serialize;
use vouch_core::message::{MAX_MESSAGE, MAX_READS, Message};
use vouch_core::session::{Failure, ProgressWatch, SessionError, Standing};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{BinaryType, MessageEvent, WebSocket};

use crate::json;

/// Messages kept while the listener is busy: every unanswered read, and whatever else an honest server may say meanwhile.
const MAX_WAITING: usize = MAX_READS + 56;

/// What follows from a message.
pub(super) enum Step {
    Send(Message),
    /// For the listener, as JSON.
    Tell(String),
    /// For the listener, as they are.
    Bytes(Bytes),
}

/// A put or a get.
pub(super) trait Session {
    /// Takes one message of the server; `now` in seconds since 1970.
    fn receive(&mut self, bytes: &Bytes, now: u64) -> Result<Vec<Step>, SessionError>;

    /// Where it stands.
    fn standing(&self) -> Standing;
}

#[derive(Serialize)]
struct Event<T> {
    stage: &'static str,
    #[serde(flatten)]
    about: T,
}

/// An event for the listener.
pub(super) fn tell(stage: &'static str, about: impl Serialize) -> Step {
    Step::Tell(json(&Event { stage, about }))
}

struct Inner<S> {
    socket: WebSocket,
    listener: Function,
    /// `None` once it failed.
    session: RefCell<Option<S>>,
    waiting: RefCell<VecDeque<Bytes>>,
    is_paused: RefCell<bool>,
    watch: RefCell<ProgressWatch>,
}

/// A session that hears what its socket receives.
pub(super) struct Link<S: 'static> {
    inner: Rc<Inner<S>>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
}

impl<S: Session> Link<S> {
    /// Takes an open socket, and sends the first message.
    pub(super) fn new(socket: WebSocket, listener: Function, session: S, hello: &Message) -> Self {
        let inner = Rc::new(Inner {
            socket,
            listener,
            session: RefCell::new(Some(session)),
            waiting: RefCell::default(),
            is_paused: RefCell::new(false),
            watch: RefCell::default(),
        });
        let heard = inner.clone();
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| heard.hear(&event.data()));
        inner.socket.set_binary_type(BinaryType::Arraybuffer);
        inner.socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        inner.send(hello);
        Self { inner, _on_message: on_message }
    }

    /// Changes the session, and sends what follows from it; `false` when it is over.
    pub(super) fn with(&self, change: impl FnOnce(&mut S) -> Result<Message, SessionError>) -> bool {
        let Some(result) = self.inner.session.borrow_mut().as_mut().map(change) else { return false };
        match result {
            Ok(message) => self.inner.send(&message),
            Err(error) => {
                self.inner.fail(&error);
                return false;
            }
        }
        true
    }

    /// Bytes that have not left the socket.
    pub(super) fn buffered(&self) -> f64 {
        self.inner.socket.buffered_amount().into()
    }

    /// Looks for progress, about once a second; `now` in milliseconds of a clock that never goes back. Without any for too long, the
    /// listener hears of `failed`.
    pub(super) fn look(&self, now: f64) {
        let inner = &self.inner;
        // what came is kept back here: nobody else is waited for
        if *inner.is_paused.borrow() {
            return inner.watch.borrow_mut().restart();
        }
        let now = Duration::try_from_secs_f64(now / 1000.0).unwrap_or_default();
        let standing = inner.session.borrow().as_ref().map(S::standing);
        let looked = standing.map(|standing| inner.watch.borrow_mut().look(standing, now));
        if let Some(Err(error)) = looked {
            inner.fail(&error);
        }
    }

    /// Keeps messages back from now on.
    pub(super) fn pause(&self) {
        self.inner.is_paused.replace(true);
    }

    /// Goes on with those kept back.
    pub(super) fn resume(&self) {
        self.inner.is_paused.replace(false);
        self.inner.go_on();
    }
}

impl<S> Drop for Link<S> {
    fn drop(&mut self) {
        self.inner.socket.set_onmessage(None);
    }
}

impl<S: Session> Inner<S> {
    fn hear(&self, data: &JsValue) {
        // text is no message: the session says so of nothing as well
        let bytes = data.dyn_ref::<ArrayBuffer>().map_or_else(Bytes::new, |buffer| {
            // of one that is too long, this much is enough to say so
            let length = buffer.byte_length().min(u32::try_from(MAX_MESSAGE).unwrap_or(u32::MAX) + 1);
            Uint8Array::new_with_byte_offset_and_length(buffer, 0, length).to_vec().into()
        });
        let waiting = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push_back(bytes);
            waiting.len()
        };
        if waiting > MAX_WAITING {
            self.fail(&SessionError::Unexpected { expected: "an answer to a request", got: "messages without end" });
        }
        self.go_on();
    }

    fn go_on(&self) {
        while !*self.is_paused.borrow() {
            let Some(bytes) = self.waiting.borrow_mut().pop_front() else { return };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds since 1970")]
            let now = (Date::now() / 1000.0) as u64;
            // no borrow is held while the listener runs: it may call back
            let heard = self.session.borrow_mut().as_mut().map(|session| session.receive(&bytes, now));
            match heard {
                Some(Ok(steps)) => steps.into_iter().for_each(|step| self.perform(step)),
                Some(Err(error)) => self.fail(&error),
                None => return,
            }
        }
    }

    fn perform(&self, step: Step) {
        match step {
            Step::Send(message) => self.send(&message),
            Step::Tell(event) => self.tell(&JsValue::from_str(&event)),
            Step::Bytes(bytes) => self.tell(&Uint8Array::from(&bytes[..])),
        }
    }

    fn tell(&self, event: &JsValue) {
        // a listener that throws is JavaScript's own trouble; the session goes on
        let _ = self.listener.call1(&JsValue::NULL, event);
    }

    fn send(&self, message: &Message) {
        // refused only before the socket opens; a closed one says so by its event
        let _ = self.socket.send_with_u8_array(&message.encode());
    }

    fn fail(&self, error: &SessionError) {
        self.session.replace(None);
        self.waiting.borrow_mut().clear();
        self.perform(tell("failed", Failure::from(error)));
    }
}
