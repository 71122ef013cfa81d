//! A client's link with its puts, lookups and reads. A client's fault ends only its own link.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use vouch_core::message::{MAX_PUTS, Message, Stream};
use vouch_node_core::server::link_puts::shutting_down;

use super::TICK;
use super::client::{Client, Ended, ROOM_FOR_ANSWERS, unexpected};
use super::client_put::ClientPuts;
use super::core_performer::CorePerformer;
use super::ending::Ending;
use super::get_performer::{GetPerformer, GetReply, GetService};
use super::guard::Connection;
use super::member_links::MemberLinks;
use super::put_performer::PutService;
use super::reply_routing::{self, Reply};
use super::welcome::{Welcomed, why};
use crate::host::Host;
use crate::host::tasks::MissedTickBehavior;
use crate::link::{self, LinkError, LinkReader, Outgoing};

/// Base size of a client's queue in messages. It has three more for each member, and those reserved for answers.
const CLIENT_QUEUE: usize = 64;
/// Capacity of the queue of inputs for puts.
const PUT_INBOX: usize = 2 * MAX_PUTS;

/// What the clients' links use.
pub(super) struct ClientLinkContext {
    pub(super) host: Host,
    pub(super) core: Arc<CorePerformer>,
    pub(super) members: MemberLinks,
    pub(super) puts: Arc<PutService>,
    pub(super) gets: GetService,
    pub(super) ending: Arc<Ending>,
}

pub(super) async fn run(context: &ClientLinkContext, welcomed: Welcomed, connection: Arc<Connection>) {
    let Welcomed { mut reader, mut writer, knows_committee, epoch, .. } = welcomed;
    let replicas = context.core.replicas();
    let (outgoing, queue) = mpsc::channel(ROOM_FOR_ANSWERS + CLIENT_QUEUE + 3 * replicas);
    let (data, no_data) = mpsc::channel::<Bytes>(1);
    drop(data);
    let (mailbox, replies) = reply_routing::mailbox(replicas);
    let (members, snapshot) = (context.members.clone(), context.members.follow());
    let connection_of_link = connection.clone();
    let link = Client { members, snapshot, outgoing, mailbox, knows_committee, epoch, connection: connection_of_link };
    let writing = context.host.spawn(async move {
        // The reader returns the same error.
        let _ = link::write_queues(&mut writer, queue, no_data).await;
        writer
    });
    serve(context, link, &mut reader, replies).await;
    if connection.is_cut_off() {
        // The eviction needs the connection at once: send nothing more.
        writing.abort();
        return;
    }
    // `serve` has closed the queue: the writer sends the last message and the close frame, and ends.
    if let Ok(writer) = writing.await {
        link::drain(reader, writer).await;
    }
}

/// Serves the client until the link ends. Queues the reason as the last message.
async fn serve(
    context: &ClientLinkContext,
    mut link: Client,
    reader: &mut LinkReader,
    mut replies: mpsc::Receiver<Box<Reply>>,
) {
    let (inbox, mut told) = mpsc::channel(PUT_INBOX);
    let connection = link.connection.clone();
    let mut puts = ClientPuts::new(context.puts.clone(), inbox);
    let mut gets = GetPerformer::new(context.gets.clone(), link.mailbox.clone());
    let mut ticks = context.host.interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ending = context.ending.follow();
    let ended = loop {
        if context.ending.has_begun() && !puts.is_active() {
            break Ended::Refused(shutting_down(Stream::LINK));
        }
        let busy = puts.is_active() || gets.is_active();
        // Rare events first: a client that always has a message waiting must not delay them.
        let step = tokio::select! {
            biased;
            () = connection.until_cut_off() => Err(Ended::CutOff),
            Ok(()) = ending.changed() => puts.shut_down(&mut link).await,
            _ = ticks.tick(), if busy => tick(&mut link, &mut puts, &mut gets).await,
            Ok(()) = link.snapshot.changed() => changed(&mut link, &mut puts, &mut gets).await,
            Some((put, input)) = told.recv() => puts.told(&mut link, put, input).await,
            Some(reply) = replies.recv() => reply_of_member(&mut link, &mut puts, &mut gets, *reply).await,
            room = gets.room(connection.party()) => {
                gets.start(room);
                Ok(())
            }
            frame = reader.next(), if puts.takes_messages() => match frame {
                Ok(bytes) => client_message(&mut link, &mut puts, &mut gets, bytes).await,
                Err(error) => Err(Ended::Link(error)),
            },
        };
        if let Err(ended) = step.and_then(|()| send_replies(&mut link, &mut gets)) {
            break ended;
        }
    };
    puts.abandon_all(&mut link).await;
    let failed = match ended {
        Ended::NotReading | Ended::CutOff | Ended::Link(LinkError::Closed(_)) => return,
        Ended::Refused(failed) => failed,
        Ended::Link(error) => why(error),
    };
    // A client that does not read gets no reason.
    let _ = link.send_message(&Message::Failed(failed));
}

async fn client_message(
    link: &mut Client,
    puts: &mut ClientPuts,
    gets: &mut GetPerformer,
    frame: Bytes,
) -> Result<(), Ended> {
    let message = Message::decode(&frame).map_err(|error| Ended::Link(error.into()))?;
    let Some(message) = puts.message(link, message, frame).await? else { return Ok(()) };
    match message {
        Message::Locate { stream, digest, authorisation } => {
            gets.locate(stream, digest, authorisation);
            Ok(())
        }
        Message::Read(read) => {
            gets.read(read);
            Ok(())
        }
        other => Err(unexpected(format!("expected a request, got {}", other.name()))),
    }
}

async fn reply_of_member(
    link: &mut Client,
    puts: &mut ClientPuts,
    gets: &mut GetPerformer,
    reply: Reply,
) -> Result<(), Ended> {
    if puts.has(reply.stream) {
        return puts.reply(link, reply).await;
    }
    gets.reply(reply);
    Ok(())
}

async fn changed(link: &mut Client, puts: &mut ClientPuts, gets: &mut GetPerformer) -> Result<(), Ended> {
    link.show_committee()?;
    let snapshot = link.snapshot.see();
    gets.members_changed(&snapshot);
    puts.members_changed(link, &snapshot).await
}

async fn tick(link: &mut Client, puts: &mut ClientPuts, gets: &mut GetPerformer) -> Result<(), Ended> {
    gets.tick();
    puts.tick(link).await
}

/// Sends the client the answers to its lookups and reads.
fn send_replies(link: &mut Client, gets: &mut GetPerformer) -> Result<(), Ended> {
    for reply in gets.take_replies() {
        match reply {
            GetReply::Located(stream, holders) => {
                // The answer names members, so the client needs the committee first.
                link.show_committee()?;
                link.send_message(&Message::Located { stream, holders })?;
            }
            GetReply::Chunk { stream, offset, parents, bytes, room } => {
                let bytes = Message::Chunk { stream, offset, parents, bytes }.encode();
                link.send(Outgoing { bytes, permit: Some(room.into()) })?;
            }
            GetReply::Failed(failed) => link.send_message(&Message::Failed(failed))?,
            GetReply::Violation(failed) => return Err(Ended::Refused(failed)),
        }
    }
    Ok(())
}
