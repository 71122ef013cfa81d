//! Performs the puts of one client's link: the core decides for all of them, and each has a performer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use vouch_core::message::{Message, PayloadFrame, Stream};
use vouch_node_core::server::link_puts::{LinkPuts, LinkPutsInput, LinkPutsOutput};
use vouch_node_core::server::put::{PutInput, PutRequest};

use super::client::{Client, Ended};
use super::member_links::Snapshot;
use super::put_performer::{PutMailboxes, PutPerformer, PutService};
use super::reply_routing::Reply;
use super::waiting_puts::PutInbox;

/// The puts in progress on one client's link.
pub(super) struct ClientPuts {
    service: Arc<PutService>,
    core: LinkPuts,
    /// The performers, by the server's numbers.
    performers: BTreeMap<Stream, PutPerformer>,
    /// The inbox for inputs from other parts of the server.
    inbox: PutInbox,
}

impl ClientPuts {
    pub(super) fn new(service: Arc<PutService>, inbox: PutInbox) -> Self {
        let core = LinkPuts::new(service.policy, service.rate, service.members.numbers().clone());
        Self { service, core, performers: BTreeMap::new(), inbox }
    }

    pub(super) fn is_active(&self) -> bool {
        self.core.is_active()
    }

    pub(super) fn takes_messages(&self) -> bool {
        self.core.takes_messages()
    }

    pub(super) fn has(&self, stream: Stream) -> bool {
        self.core.has(stream)
    }

    /// Handles a client's message about a put. Returns any other message. `frame` is its encoding.
    pub(super) async fn message(
        &mut self,
        link: &mut Client,
        message: Message,
        frame: Bytes,
    ) -> Result<Option<Message>, Ended> {
        let (input, has_payload) = match message {
            Message::Put { stream, offer, renew, authorisation } => {
                (LinkPutsInput::Begin(stream, PutRequest { offer, renew, authorisation, whole: None }), false)
            }
            Message::Blob { stream, receipt, renew, authorisation, bytes } => {
                let whole = Some(bytes.len() as u64);
                (LinkPutsInput::Begin(stream, PutRequest { offer: Some(receipt), renew, authorisation, whole }), true)
            }
            Message::Chunk { stream, offset, parents, bytes } => {
                let (length, parents) = (bytes.len() as u64, parents.len());
                (LinkPutsInput::Chunk { client: stream, offset, length, parents }, true)
            }
            Message::PutEnd { stream, receipt, authorisation } => {
                (LinkPutsInput::OfClient(stream, PutInput::End(receipt, authorisation)), false)
            }
            Message::Cancel { stream, keep } => (LinkPutsInput::OfClient(stream, PutInput::GiveUp { keep }), false),
            other => return Ok(Some(other)),
        };
        // The decoded message was dropped, so the frame has no other owner and can be patched in place.
        let relayed = if has_payload { PayloadFrame::new(frame).ok() } else { None };
        self.drive(link, input, relayed).await?;
        Ok(None)
    }

    pub(super) async fn reply(&mut self, link: &mut Client, reply: Reply) -> Result<(), Ended> {
        let Reply { member, stream, message } = reply;
        match PutInput::of_reply(member, message) {
            Some(input) => self.drive(link, LinkPutsInput::OfServer(stream, input), None).await,
            None => Ok(()),
        }
    }

    /// Handles an input from another part of the server.
    pub(super) async fn told(&mut self, link: &mut Client, put: Stream, input: PutInput) -> Result<(), Ended> {
        self.drive(link, LinkPutsInput::OfServer(put, input), None).await
    }

    pub(super) async fn members_changed(&mut self, link: &mut Client, snapshot: &Snapshot) -> Result<(), Ended> {
        self.drive(link, LinkPutsInput::Connected(snapshot.links()), None).await
    }

    pub(super) async fn tick(&mut self, link: &mut Client) -> Result<(), Ended> {
        let taken = self.performers.iter().filter(|(_, performer)| performer.is_place_taken());
        for stream in taken.map(|(stream, _)| *stream).collect::<Vec<_>>() {
            self.drive(link, LinkPutsInput::OfServer(stream, PutInput::PlaceTaken), None).await?;
        }
        self.drive(link, LinkPutsInput::Tick, None).await
    }

    /// Begins no more puts: the server shuts down.
    pub(super) async fn shut_down(&mut self, link: &mut Client) -> Result<(), Ended> {
        self.drive(link, LinkPutsInput::ShutDown, None).await
    }

    /// Cancels all puts: the link has ended.
    pub(super) async fn abandon_all(&mut self, link: &mut Client) {
        // There is no client to send answers to.
        let _ = self.drive(link, LinkPutsInput::LinkEnded, None).await;
    }

    /// Gives the core an input, performs its outputs, and gives it their completions. `relayed` has the input's bytes.
    async fn drive(
        &mut self,
        link: &mut Client,
        input: LinkPutsInput,
        mut relayed: Option<PayloadFrame>,
    ) -> Result<(), Ended> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let context = self.service.core.put_context();
            let mut ended = Ok(());
            for output in self.core.handle(input, &context) {
                match output {
                    LinkPutsOutput::Perform(stream, action) => {
                        let performer = self.performer(link, stream);
                        if let Some(frame) = relayed.take() {
                            performer.relay(frame);
                        }
                        let completed = performer.perform(action).await;
                        inputs.extend(completed.map(|input| LinkPutsInput::OfServer(stream, input)));
                    }
                    LinkPutsOutput::Over(stream, outcome) => {
                        self.performers.remove(&stream).inspect(|performer| performer.count(outcome));
                    }
                    // Perform the remaining actions even if the client cannot be reached: the members must be told.
                    output => ended = ended.and_then(|()| send_output(link, output)),
                }
            }
            ended?;
        }
        Ok(())
    }

    fn performer(&mut self, link: &Client, stream: Stream) -> &mut PutPerformer {
        self.performers.entry(stream).or_insert_with(|| {
            let mailboxes = PutMailboxes { replies: link.mailbox.clone(), inbox: self.inbox.clone() };
            PutPerformer::new(self.service.clone(), mailboxes, stream, link.connection.source())
        })
    }
}

/// Sends the client an answer. Answers name members, so the client needs the committee first.
fn send_output(link: &mut Client, output: LinkPutsOutput) -> Result<(), Ended> {
    link.show_committee()?;
    match output {
        LinkPutsOutput::Send(message) => link.send_message(&message)?,
        LinkPutsOutput::Hint(message) => link.hint(&message),
        LinkPutsOutput::Violation(failed) => return Err(Ended::Refused(failed)),
        LinkPutsOutput::Perform(..) | LinkPutsOutput::Over(..) => {}
    }
    Ok(())
}
