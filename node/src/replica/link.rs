//! A replica's link to one server: reads frames, gives them to the core, and performs its outputs.

mod context;
mod counting;
mod requests;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use vouch_core::chain::EpochLink;
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Failed, Message};
use vouch_core::statement::Stored;
use vouch_node_core::replica::handshake::{Handshake, ProvenServer};
use vouch_node_core::replica::link::{End, Input, MAX_REQUESTS, Moment, Output, READS_AT_ONCE, ReplicaLink};

use super::Event;
use super::context::{OwnIdentity, Storage};
use super::founding::FoundingSubscription;
use super::log::LogLink;
use super::own_identity::ExtendError;
use super::peers::RelayWay;
use super::put_workers::PutWorkers;
use super::repair::{Page, Reader, RepairTask};
use crate::link::{self, LinkError, LinkReader, LinkWriter, Outgoing};
use crate::store::Journalled;
pub(super) use context::LinkContext;
use requests::{Requests, Running};

/// Capacity of the queue of replies.
const REPLY_QUEUE: usize = 1024;
/// How long a server may take to take over when a replica shows it a new epoch.
const TAKE_OVER: Duration = Duration::from_secs(5);
/// Capacity of the queue of chunks that were read.
const CHUNK_QUEUE: usize = 4;
/// Capacity of the queue of list pages. One page is requested at a time.
const LIST_QUEUE: usize = 2;
/// Interval between checks of storage and clock. The server is told when one fails, and when both are right again.
const CHECK_SELF_EVERY: Duration = Duration::from_secs(5);

/// Runs one link to its end and says why it ended.
pub(super) async fn run(context: &Arc<LinkContext>, address: &str) -> LinkError {
    match open(context, address).await {
        Ok(opened) => {
            context.reports.report(Event::Connected(address.into()));
            context.reports.report_membership(&context.identity);
            serve(context, address, opened).await
        }
        Err(error) => error,
    }
}

/// A link on which both ends have proved their keys.
struct OpenedLink {
    reader: LinkReader,
    writer: LinkWriter,
    /// The server's node key.
    server: NodeKey,
    /// The current epoch when it was opened.
    epoch: u64,
    /// The messages about foundings that go to all servers.
    foundings: FoundingSubscription,
}

async fn open(context: &Arc<LinkContext>, address: &str) -> Result<OpenedLink, LinkError> {
    let (mut reader, mut writer) = link::dial(&context.storage.host, address).await?;
    match greet(context, &mut reader, &mut writer).await {
        Ok((server, epoch, foundings)) => Ok(OpenedLink { reader, writer, server, epoch, foundings }),
        Err(error) => {
            if let Some(failed) = error.to_tell() {
                link::refuse(reader, writer, failed).await;
            }
            Err(error)
        }
    }
}

/// Proves this replica's keys, verifies the server's, and shows the founding that this replica accepted.
async fn greet(
    context: &Arc<LinkContext>,
    reader: &mut LinkReader,
    writer: &mut LinkWriter,
) -> Result<(NodeKey, u64, FoundingSubscription), LinkError> {
    let OwnIdentity { keys, name, .. } = &*context.identity;
    let chain = context.identity.chain();
    let epoch = context.identity.epoch();
    let nonce = context.storage.host.random();
    let exporter = reader.exporter();
    let (mut handshake, hello) = Handshake::begin(keys.node.node_key(), chain.as_ref(), nonce, exporter);
    writer.send(hello.encode()).await?;
    let deadline = link::Handshake::begin(&context.storage.host);
    let server = loop {
        let message = reader.expect(handshake.awaits(), deadline).await?;
        let handled = handshake.handle(&message).map_err(|failed| explained(failed, &message, exporter.is_some()));
        if let Some(server) = handled? {
            break server;
        }
    };
    let Some(key) = context.identity.joining_key() else {
        return Err(LinkError::violation(Code::Storage, "this replica has no vote key"));
    };
    let (vote_key, possession) = (key.secret.vote_key(), key.possession);
    let mut messages = vec![server.auth(&keys.node), Message::Join { vote_key, possession, name: *name }];
    let ProvenServer { node_key, cluster, epoch: theirs, .. } = server;
    let (subscription, shown) = context.foundings.subscribe(cluster).await;
    messages.extend(shown);
    // A server of no cluster has the founding now, and knows no later epoch.
    messages.extend(chain.iter().flat_map(|chain| Message::epochs(chain.links_after(theirs))));
    for message in messages {
        writer.send(message.encode()).await?;
    }
    Ok((node_key, epoch, subscription))
}

/// Says what may be wrong if the server's proof is of another connection than this one.
fn explained(failed: Failed, message: &Message, is_bound: bool) -> LinkError {
    if !is_bound || !matches!(message, Message::Auth(_)) {
        return LinkError::Violation(failed);
    }
    let detail =
        format!("{}; if a proxy ends TLS on the way to the server, both need --no-tls-exporter", failed.detail);
    LinkError::violation(failed.code, detail)
}

async fn serve(context: &Arc<LinkContext>, address: &str, opened: OpenedLink) -> LinkError {
    let OpenedLink { mut reader, mut writer, server, epoch, foundings } = opened;
    let (replies, reply_queue) = mpsc::channel(REPLY_QUEUE);
    let (chunks, chunk_queue) = mpsc::channel(CHUNK_QUEUE);
    let (pages, listed) = mpsc::channel(LIST_QUEUE);
    // Capacity for a completion of each request and read, and a check of the storage. Workers of puts wait for a free place.
    let (inputs, mut events) = mpsc::channel(MAX_REQUESTS + READS_AT_ONCE + 1);
    let subscription = foundings.number();
    let forwarding = foundings.forward(replies.clone());
    let repairing = {
        let LinkContext { storage, identity, admission, repair, .. } = &**context;
        let reader = Reader { identity: identity.clone(), admission: admission.clone() };
        RepairTask::new(storage.clone(), reader, *repair, (address.into(), server), replies.clone(), listed)
    };
    let number = repairing.number();
    let repairing = Box::pin(repairing.run());
    let watching = watch_storage(&context.storage, inputs.clone());
    let log = Arc::new(context.log.link(replies.clone()));
    let peers = context.peers.relay(replies.clone());
    let telling = log.clone().tell();
    let leaving = epoch_ended(context, epoch, replies.clone());
    let _asking = context.clock.link(replies.clone());
    let mut link = LinkShell {
        core: ReplicaLink::new(context.identity.node_key(), context.max_incoming),
        context: context.clone(),
        address: Arc::from(address),
        epoch,
        subscription,
        puts: PutWorkers::new(context.storage.clone(), context.receiving.clone(), inputs.clone()),
        replies,
        chunks: chunks.clone(),
        pages,
        requests: Requests {
            identity: context.identity.clone(),
            storage: context.storage.clone(),
            admission: context.admission.clone(),
            server,
            number,
            epoch,
            chunks,
            inputs,
        },
        running: FuturesUnordered::new(),
        number,
        log,
        peers,
    };
    let serving = async {
        loop {
            let handled = tokio::select! {
                biased;
                // The link keeps a sender, so the queue never closes.
                Some(event) = events.recv() => link.decide(event).await,
                Some((number, done)) = link.running.next() => link.decide(Input::Done(number, done)).await,
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
        () = forwarding => LinkError::Closed(String::new()),
        ended = leaving => ended,
        () = watching => LinkError::Closed(String::new()),
        () = telling => LinkError::Closed(String::new()),
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

/// Completes when the current epoch is another one: the server then knows this replica by another key. It shows the server the epoch before, so
/// that the server takes over. If the members left first, puts would fail for lack of members.
async fn epoch_ended(context: &LinkContext, epoch: u64, replies: mpsc::Sender<Outgoing>) -> LinkError {
    let identity = &context.identity;
    let mut committees = identity.committees.follow();
    let ended = loop {
        if let Err(ended) = check_epoch(identity, epoch) {
            break ended;
        }
        if committees.changed().await.is_err() {
            return std::future::pending().await;
        }
        committees.see();
    };
    for message in identity.chain().iter().flat_map(|chain| Message::epochs(chain.links_after(epoch))) {
        if replies.send(message.encode().into()).await.is_err() {
            return ended;
        }
    }
    // The server ends the link when it has taken over.
    context.storage.host.sleep(TAKE_OVER).await;
    ended
}

fn check_epoch(identity: &OwnIdentity, epoch: u64) -> Result<(), LinkError> {
    match identity.epoch() {
        current if current == epoch => Ok(()),
        current => Err(LinkError::violation(Code::NewEpoch, format!("epoch {current} of the cluster has begun"))),
    }
}

/// Checks the storage periodically.
async fn watch_storage(storage: &Storage, inputs: mpsc::Sender<Input<Journalled<Stored>>>) {
    loop {
        let checked = storage.clone();
        let found = storage.host.spawn_blocking(move || checked.failure()).await;
        let failure = found.unwrap_or_else(|panicked| Some(panicked.to_string()));
        if inputs.send(Input::Storage(failure)).await.is_err() {
            return;
        }
        storage.host.sleep(CHECK_SELF_EVERY).await;
    }
}

struct LinkShell {
    core: ReplicaLink<Journalled<Stored>>,
    context: Arc<LinkContext>,
    /// The server's address, as dialled.
    address: Arc<str>,
    /// The epoch in which the link began.
    epoch: u64,
    /// The link's number among the subscriptions to foundings.
    subscription: u64,
    puts: PutWorkers,
    replies: mpsc::Sender<Outgoing>,
    chunks: mpsc::Sender<Bytes>,
    /// Pages of the server's lists, for the repair.
    pages: mpsc::Sender<Page>,
    requests: Requests,
    /// The requests that run in the link's own task.
    running: FuturesUnordered<Running>,
    /// The link's number in the repair queue.
    number: u64,
    log: Arc<LogLink>,
    /// The way to other members through this server.
    peers: RelayWay,
}

impl LinkShell {
    /// Handles one message.
    ///
    /// # Errors
    /// Why the link ends.
    async fn handle(&mut self, bytes: &Bytes) -> Result<(), LinkError> {
        let message = Message::decode(bytes)?;
        if let Err(failed) = self.context.admission.admit(&self.context.storage, &message).await {
            return self.not_admitted(message, failed).await;
        }
        self.decide(Input::Message(message)).await
    }

    /// Refuses a message. A put whose end is not admitted keeps nothing.
    async fn not_admitted(&mut self, message: Message, failed: Failed) -> Result<(), LinkError> {
        if let Message::PutEnd { stream, .. } = message {
            self.decide(Input::Message(Message::Cancel { stream, keep: false })).await?;
        }
        self.context.reports.report(Event::Refused(failed.to_string()));
        reply(&self.replies, &Message::Failed(failed)).await;
        Ok(())
    }

    /// Gives the core an input, and performs the outputs.
    async fn decide(&mut self, input: Input<Journalled<Stored>>) -> Result<(), LinkError> {
        counting::input(&self.context.counters, &input);
        if let Input::Incoming(id, result) = &input
            && result.is_last()
        {
            self.puts.forget(*id);
        }
        // Members are numbered, and votes are made, for the committee of the epoch in which the link began.
        // The link ends soon: until then, the server is only shown the new epoch.
        if check_epoch(&self.context.identity, self.epoch).is_err() {
            return Ok(());
        }
        let (chain, doubt) = (self.context.identity.chain(), self.context.clock.doubt());
        let wall = self.context.storage.host.unix_seconds();
        let stops_at = chain.as_ref().and_then(|chain| self.context.stops.of_epoch(chain.current().record().epoch()));
        let moment = Moment { wall, clock_doubt: doubt.as_deref(), chain: chain.as_ref(), stops_at };
        for output in self.core.handle(input, &moment) {
            self.perform(output).await?;
        }
        Ok(())
    }

    async fn perform(&mut self, output: Output<Journalled<Stored>>) -> Result<(), LinkError> {
        counting::output(&self.context.counters, &output);
        let now = || self.context.storage.host.unix_seconds();
        match output {
            Output::Send(message) => reply(&self.replies, &message).await,
            // Fails only if the link is ending.
            Output::SendData(message) => drop(self.chunks.send(message.encode()).await),
            Output::Request(number, request) => self.running.extend(self.requests.start(number, request)),
            Output::Incoming(id, task) => self.puts.give(id, task),
            Output::Report(event) => self.context.reports.report(event),
            Output::Damaged(digest, what) => self.context.storage.report_damaged(digest, what),
            Output::ReplicaStatus(status, detail) => {
                self.context.reports.report(Event::ReplicaStatus(self.address.to_string(), status, detail));
            }
            Output::LeftOut(why) => self.context.report_left_out(&self.address, &why),
            Output::Voted(proposal) => {
                self.context.votes.voted(now());
                self.context.receiving.voted(self.context.storage.host.monotonic());
                self.context.reports.report(Event::Voted(proposal));
            }
            Output::RefusedVote(why) => self.context.votes.refused(now(), why),
            // A page that nobody waits for is dropped.
            Output::Listed(stream, page) => drop(self.pages.try_send((stream, page))),
            Output::ListsDoubtful => self.context.storage.repairs.read_lists_again(self.number),
            Output::AnswerTime(stream, asker, nonce) => {
                if let Some(answer) = self.context.clock.answer(stream, asker, nonce) {
                    reply(&self.replies, &answer).await;
                }
            }
            Output::TimeAnswer(stream, member, time, signature) => {
                self.context.clock.handle_answer(stream, member, time, &signature);
            }
            Output::Founding(message) => {
                for answer in self.context.foundings.handle(self.subscription, message).await? {
                    reply(&self.replies, &answer).await;
                }
            }
            Output::Epochs(links) => self.extend(links).await?,
            Output::PeerFrame(frame) => self.peers.frame(frame),
            Output::LogCall(stream, call) => {
                if let Some(refusal) = self.log.call(stream, call) {
                    reply(&self.replies, &refusal).await;
                }
            }
            Output::End(End::Refused(failed)) => return Err(LinkError::Refused(failed)),
            Output::End(End::Violation(failed)) => return Err(LinkError::Violation(failed)),
        }
        Ok(())
    }
}

impl LinkShell {
    /// Reports that the current committee names this replica with a key that is not here: it cannot vote.
    fn report_missing_key(&self) {
        let identity = &self.context.identity;
        let Some(chain) = identity.chain() else { return };
        let epoch = chain.current().record().epoch();
        if identity.position(chain.current()).is_some() && identity.vote_key(epoch).is_none() {
            let text =
                format!("the committee of epoch {epoch} names this replica with a vote key that its folder lacks");
            self.context.reports.report(Event::Trouble(format!("{text}; restore the vote keys from a copy")));
        }
    }

    /// Takes in the epochs that the server shows. If some are new, the link ends.
    async fn extend(&mut self, links: Vec<EpochLink>) -> Result<(), LinkError> {
        match self.context.identity.extend(links).await {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.context.reports.report_membership(&self.context.identity);
                self.report_missing_key();
                check_epoch(&self.context.identity, self.epoch)
            }
            // A server may show them to a standby, which belongs to no cluster.
            Err(ExtendError::NoCluster) => Ok(()),
            Err(error) => {
                self.context.reports.report(Event::Trouble(format!("{} shows {error}", self.address)));
                let code = match &error {
                    ExtendError::Fork { .. } => Code::NotAdmitted,
                    ExtendError::Chain(_) | ExtendError::NoCluster => Code::NotAuthenticated,
                    ExtendError::File(_) | ExtendError::Task(_) => Code::Storage,
                };
                Err(LinkError::violation(code, error.to_string()))
            }
        }
    }
}

async fn reply(replies: &mpsc::Sender<Outgoing>, message: &Message) {
    // fails only if the link is ending
    let _ = replies.send(message.encode().into()).await;
}

impl Drop for LinkShell {
    /// Keeps the partial uploads of its puts, also if the link is dropped because the replica shuts down.
    fn drop(&mut self) {
        for (id, task) in self.core.close() {
            self.puts.give(id, task);
        }
    }
}
