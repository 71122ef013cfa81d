//! A get as the body of a response. Each byte is verified before it is sent. If no replica can continue, the connection is closed.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use hyper::body::Frame;
use vouch_core::digest::Digest;
use vouch_core::session::{GetEvent, SessionError};
use vouch_core::slice::{Head, Slice};

use super::get::HttpGet;
use crate::budgets::Permit;
use crate::server::reports::{Event, ServerReports};

/// The form of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// No body: only the length is requested.
    Length,
    /// The bytes of the range.
    Bytes,
    /// Slices with their proofs, for clients that verify.
    Slices,
}

/// A get whose length and first piece are verified, so the response can begin.
pub(super) struct Begun {
    pub(super) length: u64,
    pub(super) range: Range<u64>,
    pub(super) sending: Box<Sending>,
}

/// A get in progress.
pub(super) struct Sending {
    reports: Arc<ServerReports>,
    digest: Digest,
    get: HttpGet,
    form: Form,
    /// Verified pieces to send before the get continues.
    ready: VecDeque<Bytes>,
    is_over: bool,
    _permit: Permit,
}

/// Begins a get, up to its first verified piece.
pub(super) async fn begin(
    reports: Arc<ServerReports>,
    digest: Digest,
    get: HttpGet,
    form: Form,
    permit: Permit,
) -> Result<Begun, SessionError> {
    let ready = VecDeque::new();
    let mut sending = Box::new(Sending { reports, digest, get, form, ready, is_over: false, _permit: permit });
    let mut about = None;
    loop {
        let told = sending.step().await?;
        if let Some((length, range)) = about.take().or(told) {
            if form == Form::Length || sending.is_over || !sending.ready.is_empty() {
                return Ok(Begun { length, range, sending });
            }
            about = Some((length, range));
        }
    }
}

impl Sending {
    /// Takes one step of the get. Returns length and range once they are verified.
    async fn step(&mut self) -> Result<Option<(u64, Range<u64>)>, SessionError> {
        match self.get.next().await? {
            GetEvent::Length { length, range } => {
                if self.form == Form::Slices {
                    self.ready.push_back(Head { length, range: range.clone() }.encode());
                }
                return Ok(Some((length, range)));
            }
            GetEvent::Bytes(bytes) if self.form == Form::Bytes => self.ready.push_back(bytes),
            GetEvent::Slice(slice) if self.form == Form::Slices => {
                self.ready.push_back(slice.encode_head());
                let Slice { bytes, .. } = slice;
                self.ready.push_back(bytes);
            }
            GetEvent::Send(_) | GetEvent::Start { .. } | GetEvent::Bytes(_) | GetEvent::Slice(_) => {}
            GetEvent::Rejected(rejection) => self.report_trouble(&rejection),
            GetEvent::Verified => self.is_over = true,
        }
        Ok(None)
    }

    fn report_trouble(&self, trouble: &dyn std::fmt::Display) {
        self.reports.report(Event::Trouble(format!("reading {}: {trouble}", self.digest)));
    }

    /// The verified pieces as a stream. An error is the last item, and ends the transfer early.
    pub(super) fn frames(self: Box<Self>) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
        stream::unfold(Some(self), |sending| async move {
            let mut sending = sending?;
            match sending.next().await {
                Ok(bytes) => bytes.map(|bytes| (Ok(Frame::data(bytes)), Some(sending))),
                Err(error) => {
                    sending.report_trouble(&error);
                    Some((Err(io::Error::other(error)), None))
                }
            }
        })
    }

    /// The next piece; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, SessionError> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Ok(Some(bytes));
            }
            if self.is_over {
                return Ok(None);
            }
            self.step().await?;
        }
    }
}
