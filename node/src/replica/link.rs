//! A replica's link to one server: reads frames, has the core decide, and performs what comes out.

mod requests;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use vouch_core::link::NodeKey;
use vouch_core::message::Message;
use vouch_core::statement::Stored;
use vouch_node_core::replica::handshake::{Handshake, ProvenServer};
use vouch_node_core::replica::link::{End, Input, MAX_REQUESTS, Moment, Output, ReplicaLink};

use super::founding::{self, Listener};
use super::put_workers::PutWorkers;
use super::repair::{Page, Repairing};
use super::{Event, Shared};
use crate::link::{self, LinkError, LinkReader, LinkWriter, Outgoing};
use crate::store::Journalled;
use requests::Requests;

/// Replies waiting to be sent.
const REPLY_QUEUE: usize = 1024;
/// Chunks read waiting for the link.
const CHUNK_QUEUE: usize = 4;
/// Pages of a list; one is asked for at a time.
const LIST_QUEUE: usize = 2;
/// How often a replica looks at its storage and clock, to say when one fails and when both are right again.
const LOOK_AT_ITSELF: Duration = Duration::from_secs(5);

/// Runs one link to its end and says why it ended.
pub(super) async fn run(shared: &Arc<Shared>, address: &str) -> LinkError {
    match open(shared, address).await {
        Ok(opened) => {
            shared.report(Event::Connected(address.into()));
            shared.report_membership();
            serve(shared, address, opened).await
        }
        Err(error) => error,
    }
}

/// A link on which both ends proved their keys.
struct Opened {
    reader: LinkReader,
    writer: LinkWriter,
    /// The server's node key.
    server: NodeKey,
    /// What the replica says about foundings to all its servers.
    listener: Listener,
}

async fn open(shared: &Arc<Shared>, address: &str) -> Result<Opened, LinkError> {
    let (mut reader, mut writer) = link::dial(&shared.host, address).await?;
    match greet(shared, &mut reader, &mut writer).await {
        Ok((server, listener)) => Ok(Opened { reader, writer, server, listener }),
        Err(error) => {
            if let Some(failed) = error.to_tell() {
                link::refuse(reader, writer, failed).await;
            }
            Err(error)
        }
    }
}

/// Proves the keys, has the server prove its own, and shows the founding that this replica accepted.
async fn greet(
    shared: &Arc<Shared>,
    reader: &mut LinkReader,
    writer: &mut LinkWriter,
) -> Result<(NodeKey, Listener), LinkError> {
    let cluster = shared.committee().map(|committee| committee.cluster());
    let (mut handshake, hello) = Handshake::begin(shared.keys.node.node_key(), cluster, shared.host.random());
    writer.send(hello.encode()).await?;
    let deadline = link::Handshake::begin(&shared.host);
    let server = loop {
        let message = reader.expect(handshake.awaits(), deadline).await?;
        if let Some(server) = handshake.handle(&message).map_err(LinkError::Violation)? {
            break server;
        }
    };
    let (vote_key, possession) = shared.proved_vote_key;
    let mut messages = vec![server.auth(&shared.keys.node), Message::Join { vote_key, possession, name: shared.name }];
    let ProvenServer { node_key, cluster, .. } = server;
    let (listener, shown) = shared.foundings.join(shared, cluster).await;
    messages.extend(shown);
    for message in messages {
        writer.send(message.encode()).await?;
    }
    Ok((node_key, listener))
}

async fn serve(shared: &Arc<Shared>, address: &str, opened: Opened) -> LinkError {
    let Opened { mut reader, mut writer, server, listener } = opened;
    let (replies, reply_queue) = mpsc::channel(REPLY_QUEUE);
    let (chunks, chunk_queue) = mpsc::channel(CHUNK_QUEUE);
    let (pages, listed) = mpsc::channel(LIST_QUEUE);
    // a completion of each request, those of a read and of a look at the storage included; workers of puts wait for room
    let (inputs, mut events) = mpsc::channel(MAX_REQUESTS + 2);
    let listener_number = listener.number();
    let announcing = listener.pass_on(replies.clone());
    let repairing = Repairing::new(shared.clone(), (address.into(), server), replies.clone(), listed);
    let number = repairing.number();
    let repairing = repairing.run();
    let watching = watch_storage(shared, inputs.clone());
    let _asking = shared.clock.link(replies.clone());
    let mut link = LinkShell {
        core: ReplicaLink::new(shared.keys.node.node_key(), shared.max_incoming),
        shared: shared.clone(),
        address: Arc::from(address),
        listener: listener_number,
        puts: PutWorkers::new(shared.clone(), inputs.clone()),
        replies,
        chunks: chunks.clone(),
        pages,
        requests: Requests { shared: shared.clone(), server, number, chunks, inputs },
        number,
    };
    let serving = async {
        loop {
            let handled = tokio::select! {
                biased;
                // the link keeps a sender, so the queue does not end
                Some(event) = events.recv() => link.decide(event).await,
                received = reader.next(), if !link.core.is_full() => match received {
                    Ok(bytes) => link.handle(&bytes).await,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = handled {
                return error;
            }
        }
    };
    let ended = tokio::select! {
        biased;
        error = serving => error,
        () = announcing => LinkError::Closed(String::new()),
        () = watching => LinkError::Closed(String::new()),
        () = repairing => LinkError::Closed(String::new()),
        written = link::write_queues(&mut writer, reply_queue, chunk_queue) => match written {
            Ok(()) => LinkError::Closed(String::new()),
            Err(error) => error,
        },
    };
    if let Some(failed) = ended.to_tell() {
        link::refuse(reader, writer, failed).await;
    }
    ended
}

/// Looks at the storage again and again.
async fn watch_storage(shared: &Arc<Shared>, inputs: mpsc::Sender<Input<Journalled<Stored>>>) {
    loop {
        let looking = shared.clone();
        let found = shared.host.spawn_blocking(move || looking.storage_failure()).await;
        let failure = found.unwrap_or_else(|panicked| Some(panicked.to_string()));
        if inputs.send(Input::Storage(failure)).await.is_err() {
            return;
        }
        shared.host.sleep(LOOK_AT_ITSELF).await;
    }
}

struct LinkShell {
    core: ReplicaLink<Journalled<Stored>>,
    shared: Arc<Shared>,
    /// Of the server, as it was dialled.
    address: Arc<str>,
    /// By which the foundings know the link.
    listener: u64,
    puts: PutWorkers,
    replies: mpsc::Sender<Outgoing>,
    chunks: mpsc::Sender<Bytes>,
    /// What the server lists, for the repair.
    pages: mpsc::Sender<Page>,
    requests: Requests,
    /// By which the repairer knows the link.
    number: u64,
}

impl LinkShell {
    /// Takes one message.
    ///
    /// # Errors
    /// The link is over.
    async fn handle(&mut self, bytes: &Bytes) -> Result<(), LinkError> {
        self.decide(Input::Message(Message::decode(bytes)?)).await
    }

    /// Has the core decide what an event leads to, and performs it.
    async fn decide(&mut self, input: Input<Journalled<Stored>>) -> Result<(), LinkError> {
        if let Input::Incoming(id, result) = &input
            && result.is_last()
        {
            self.puts.forget(*id);
        }
        let (committee, doubt) = (self.shared.committee(), self.shared.clock_doubt());
        let moment = Moment {
            wall: self.shared.host.unix_seconds(),
            clock_doubt: doubt.as_deref(),
            committee: committee.as_ref(),
        };
        for output in self.core.handle(input, &moment) {
            self.perform(output).await?;
        }
        Ok(())
    }

    async fn perform(&mut self, output: Output<Journalled<Stored>>) -> Result<(), LinkError> {
        let now = || self.shared.host.unix_seconds();
        match output {
            Output::Send(message) => self.reply(&message).await,
            // fails only when the link is ending
            Output::SendData(message) => drop(self.chunks.send(message.encode()).await),
            Output::Request(number, request) => self.requests.start(number, request),
            Output::Incoming(id, task) => self.puts.give(id, task),
            Output::Report(event) => self.shared.report(event),
            Output::Lost(digest, what) => self.shared.lost(digest, what),
            Output::ReplicaStatus(status, detail) => {
                self.shared.report(Event::ReplicaStatus(self.address.to_string(), status, detail));
            }
            Output::LeftOut(why) => self.shared.left_out(&self.address, &why),
            Output::Voted(proposal) => {
                self.shared.signing.voted(now());
                self.shared.report(Event::Voted(proposal));
            }
            Output::RefusedVote(why) => self.shared.signing.refused(now(), why),
            // a page that nobody asked for, or asks for any more, is not kept
            Output::Listed(stream, page) => drop(self.pages.try_send((stream, page))),
            Output::ListsDoubtful => self.shared.repairer.doubt(self.number),
            Output::AnswerTime(stream, asker, nonce) => {
                if let Some(answer) = self.shared.answer_time(stream, asker, nonce) {
                    self.reply(&answer).await;
                }
            }
            Output::HearTime(stream, member, time, signature) => {
                self.shared.hear_time(stream, member, time, &signature);
            }
            Output::Founding(message) => {
                for answer in founding::hear(&self.shared, self.listener, message).await? {
                    self.reply(&answer).await;
                }
            }
            Output::End(End::Refused(failed)) => return Err(LinkError::Refused(failed)),
            Output::End(End::Violation(failed)) => return Err(LinkError::Violation(failed)),
        }
        Ok(())
    }

    async fn reply(&self, message: &Message) {
        // fails only when the link is ending
        let _ = self.replies.send(message.encode().into()).await;
    }
}

impl Drop for LinkShell {
    /// What its puts brought is kept, also when the link is dropped because the replica shuts down.
    fn drop(&mut self) {
        for (id, task) in self.core.close() {
            self.puts.give(id, task);
        }
    }
}
