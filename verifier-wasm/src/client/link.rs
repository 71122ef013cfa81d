//! One session on one socket.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use js_sys::{ArrayBuffer, Date, Function, Uint8Array};
use serde::Serialize;
use vouch_core::message::{MAX_MESSAGE, MAX_READS, Message};
use vouch_core::session::{Failure, SessionError};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{BinaryType, MessageEvent, WebSocket};

use crate::json;

/// Maximum number of messages held back while the listener is busy: the answer to every unanswered read, and any other messages
/// that an honest server may send meanwhile.
const MAX_WAITING: usize = MAX_READS + 56;

/// What to do after a message.
pub(super) enum Step {
    Send(Message),
    /// An event for the listener, as JSON.
    Tell(String),
    /// Bytes for the listener, unchanged.
    Bytes(Bytes),
}

/// A session has failed.
pub(super) struct SessionFailure {
    pub(super) error: SessionError,
    /// Tells the server.
    pub(super) last_message: Option<Message>,
}

impl From<SessionError> for Box<SessionFailure> {
    fn from(error: SessionError) -> Self {
        Self::new(SessionFailure { error, last_message: None })
    }
}

/// A put or a get.
pub(super) trait Session {
    /// Takes one message of the server; `now` in seconds since 1970.
    fn receive(&mut self, bytes: &Bytes, now: u64) -> Result<Vec<Step>, SessionError>;

    /// Fails if the session made no progress for too long. While it is paused, messages are held back here, so the server is not
    /// late.
    fn check_deadlines(&mut self, now: Duration, is_paused: bool) -> Result<(), Box<SessionFailure>>;
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
    /// `None` once the session has failed.
    session: RefCell<Option<S>>,
    waiting: RefCell<VecDeque<Bytes>>,
    is_paused: RefCell<bool>,
}

/// A session that receives its socket's messages.
pub(super) struct Link<S: 'static> {
    inner: Rc<Inner<S>>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
}

impl<S: Session> Link<S> {
    /// Attaches the session to an open socket, and sends the first message.
    pub(super) fn new(socket: WebSocket, listener: Function, session: S, hello: &Message) -> Self {
        let inner = Rc::new(Inner {
            socket,
            listener,
            session: RefCell::new(Some(session)),
            waiting: RefCell::default(),
            is_paused: RefCell::new(false),
        });
        let receiver = inner.clone();
        let on_message =
            Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| receiver.receive_frame(&event.data()));
        inner.socket.set_binary_type(BinaryType::Arraybuffer);
        inner.socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        inner.send(hello);
        Self { inner, _on_message: on_message }
    }

    /// Changes the session, and sends the resulting message. Returns `false` if the session has ended: it then has no message.
    pub(super) fn with(&self, change: impl FnOnce(&mut S) -> Result<Option<Message>, Box<SessionFailure>>) -> bool {
        let result = self.inner.session.borrow_mut().as_mut().map_or(Ok(None), change);
        self.inner.send_result(result)
    }

    /// Asks the session; `None` if it has failed.
    pub(super) fn ask<T>(&self, question: impl FnOnce(&mut S) -> T) -> Option<T> {
        self.inner.session.borrow_mut().as_mut().map(question)
    }

    /// Number of bytes in the socket's buffer.
    pub(super) fn buffered(&self) -> f64 {
        self.inner.socket.buffered_amount().into()
    }

    /// Fails the session if it made no progress for too long: the listener then receives `failed`. Call it about once a second.
    /// `now`: milliseconds of a monotonic clock.
    pub(super) fn check_deadlines(&self, now: f64) {
        let inner = &self.inner;
        let now = Duration::try_from_secs_f64(now / 1000.0).unwrap_or_default();
        let is_paused = *inner.is_paused.borrow();
        let checked = inner.session.borrow_mut().as_mut().map(|session| session.check_deadlines(now, is_paused));
        if let Some(Err(failed)) = checked {
            inner.fail(&failed);
        }
    }

    /// Holds back messages from now on.
    pub(super) fn pause(&self) {
        self.inner.is_paused.replace(true);
    }

    /// Processes the messages held back, and continues.
    pub(super) fn resume(&self) {
        self.inner.is_paused.replace(false);
        self.inner.process_waiting();
    }
}

impl<S> Drop for Link<S> {
    fn drop(&mut self) {
        self.inner.socket.set_onmessage(None);
    }
}

impl<S: Session> Inner<S> {
    fn receive_frame(&self, data: &JsValue) {
        // A text frame becomes an empty message, which the session refuses.
        let bytes = data.dyn_ref::<ArrayBuffer>().map_or_else(Bytes::new, |buffer| {
            // Copy at most one byte above the limit, which is enough to see that the message is too long.
            let length = buffer.byte_length().min(u32::try_from(MAX_MESSAGE).unwrap_or(u32::MAX) + 1);
            Uint8Array::new_with_byte_offset_and_length(buffer, 0, length).to_vec().into()
        });
        let waiting = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push_back(bytes);
            waiting.len()
        };
        if waiting > MAX_WAITING {
            let (expected, got) = ("an answer to a request", "messages without end");
            self.fail(&Box::from(SessionError::Unexpected { expected, got }));
        }
        self.process_waiting();
    }

    /// Passes the waiting messages to the session, unless paused.
    fn process_waiting(&self) {
        while !*self.is_paused.borrow() {
            let Some(bytes) = self.waiting.borrow_mut().pop_front() else { return };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds since 1970")]
            let now = (Date::now() / 1000.0) as u64;
            // Hold no borrow while the listener runs: it may call methods of this link.
            let received = self.session.borrow_mut().as_mut().map(|session| session.receive(&bytes, now));
            match received {
                Some(Ok(steps)) => steps.into_iter().for_each(|step| self.perform(step)),
                Some(Err(error)) => self.fail(&Box::from(error)),
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
        // Ignore an exception of the listener; the session continues.
        let _ = self.listener.call1(&JsValue::NULL, event);
    }

    fn send(&self, message: &Message) {
        // Throws only before the socket is open. A closed socket reports itself with its own event.
        let _ = self.socket.send_with_u8_array(&message.encode());
    }

    /// Returns whether there was a message.
    fn send_result(&self, result: Result<Option<Message>, Box<SessionFailure>>) -> bool {
        match result {
            Ok(Some(message)) => {
                self.send(&message);
                true
            }
            Ok(None) => false,
            Err(failed) => {
                self.fail(&failed);
                false
            }
        }
    }

    fn fail(&self, SessionFailure { error, last_message }: &SessionFailure) {
        self.session.replace(None);
        self.waiting.borrow_mut().clear();
        last_message.iter().for_each(|message| self.send(message));
        self.perform(tell("failed", Failure::from(error)));
    }
}
