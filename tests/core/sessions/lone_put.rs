//! One put on a link of its own, as most tests of puts need it.

use bytes::Bytes;
use vouch_core::chain::CommitteeChain;
use vouch_core::digest::ClusterId;
use vouch_core::message::{Message, Stream};
use vouch_core::session::{CancelReason, NewPut, ProgressMark, PutEvent, PutLink, PutLinkEvent, SessionError, Source};
use vouch_core::tree::Outline;

use super::put::NOW;
use support::committee::{EXPIRES, hello_nonce, salt};

/// The first stream number of a link.
pub(super) const STREAM: Stream = Stream(1);

#[derive(Debug, Clone, Copy)]
pub(super) struct LoneRequest {
    pub(super) trusted: Option<ClusterId>,
    pub(super) source: Source,
    pub(super) renew: bool,
}

#[derive(Debug)]
pub(super) struct LonePut {
    link: PutLink,
    /// The committees that the server showed.
    pub(super) chain: Option<CommitteeChain>,
}

impl LonePut {
    /// With its hello.
    pub(super) fn new(request: LoneRequest) -> (Self, Message) {
        Self::with(request, None, None, None).unwrap()
    }

    pub(super) fn with(
        request: LoneRequest,
        known: Option<CommitteeChain>,
        bytes: Option<Bytes>,
        outline: Option<Outline>,
    ) -> Result<(Self, Message), SessionError> {
        let LoneRequest { trusted, source, renew } = request;
        let put = NewPut { source, expires_at: EXPIRES, salt: salt("put"), now: NOW, renew };
        let (mut link, hello) = PutLink::knowing(trusted, known, hello_nonce("put"));
        let begun = link.begin(put, bytes, outline)?;
        assert_eq!(begun, (STREAM, None), "nothing is sent before the server proved its key");
        Ok((Self { link, chain: None }, hello))
    }

    /// An error of the put is returned as one of the link.
    pub(super) fn receive(&mut self, bytes: &Bytes, now: u64) -> Result<Vec<PutEvent>, SessionError> {
        let mut events = Vec::new();
        for event in self.link.receive(bytes, now)? {
            match event {
                PutLinkEvent::Opened => {}
                PutLinkEvent::Cluster(chain) => self.chain = Some(chain),
                PutLinkEvent::Put(STREAM, event) => events.push(event?),
                other @ PutLinkEvent::Put(..) => panic!("{other:?}"),
            }
        }
        Ok(events)
    }

    pub(super) fn progress_mark(&self) -> ProgressMark {
        self.link.progress_mark(STREAM).unwrap()
    }

    pub(super) fn chunk(&mut self, bytes: Bytes) -> Result<Message, SessionError> {
        self.link.chunk(STREAM, bytes).map(Option::unwrap)
    }

    pub(super) fn end(&mut self) -> Result<Message, SessionError> {
        self.link.end(STREAM, NOW).map(Option::unwrap)
    }

    pub(super) fn cancel(&mut self) -> Option<Message> {
        self.link.cancel(STREAM, CancelReason::Unwanted)
    }
}
