//! A client's link: some puts, lookups and reads at once. Everything a client does wrong ends this link only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use vouch_core::message::{MAX_PUTS, MAX_READS, Message};

use super::Shared;
use super::client::{Client, Ended, ROOM_FOR_ANSWERS, unexpected};
use super::client_get::Gets;
use super::client_put::ClientPuts;
use super::guard::Connection;
use super::routes::Reply;
use super::welcome::{Welcomed, why};
use crate::host::tasks::MissedTickBehavior;
use crate::link::{self, LinkError, LinkReader};

/// Messages waiting for one client, beside three for each member of the committee and those kept free for answers.
const CLIENT_QUEUE: usize = 64;
/// What replicas may answer at once: that they stored each put, or not.
const ANSWERS: usize = 2 * MAX_PUTS;
/// How often deadlines are looked at while something is in progress.
const TICK: Duration = Duration::from_millis(20);

pub(super) async fn run(shared: Arc<Shared>, welcomed: Welcomed, connection: Arc<Connection>) {
    let Welcomed { mut reader, mut writer, knows_committee, .. } = welcomed;
    // before a committee is formed its size is bounded by the replicas that are there
    let members = shared.committee().map_or_else(|| shared.roster().len(), |c| c.record().n().into());
    let members = members.max(16);
    let (outgoing, queue) = mpsc::channel(ROOM_FOR_ANSWERS + CLIENT_QUEUE + 3 * members);
    let (data, no_data) = mpsc::channel::<Bytes>(1);
    drop(data);
    let (mailbox, replies) = mpsc::channel(CLIENT_QUEUE + ANSWERS * members);
    let snapshot = shared.snapshot.follow();
    let link = Client { shared, snapshot, outgoing, mailbox, knows_committee, connection: connection.clone() };
    let writing = link.shared.host.spawn(async move {
        // why it ended, the reader knows as well
        let _ = link::write_queues(&mut writer, queue, no_data).await;
        writer
    });
    serve(link, &mut reader, replies).await;
    if connection.is_cut_off() {
        // the connection is what is needed: nothing more is said on it
        writing.abort();
        return;
    }
    // the queue closes with `serve`: the writer ends after the last message with the close frame
    if let Ok(writer) = writing.await {
        link::drain(reader, writer).await;
    }
}

/// Serves until the link ends; the reason is the last message queued.
async fn serve(mut link: Client, reader: &mut LinkReader, mut replies: mpsc::Receiver<Box<Reply>>) {
    let (outcomes, mut certified) = mpsc::channel(ANSWERS);
    let (connection, reads) = (link.connection.clone(), link.shared.guard.reads.clone());
    let mut puts = ClientPuts::new(outcomes, reader.is_local());
    let mut gets = Gets::new(reader.is_local());
    let mut ticks = link.shared.host.interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        let busy = puts.is_active() || gets.is_active();
        // what is rare comes first: a client that always has a message waiting holds up none of it
        let step = tokio::select! {
            biased;
            () = connection.until_cut_off() => Err(Ended::CutOff),
            _ = ticks.tick(), if busy => tick(&mut link, &mut puts, &mut gets).await,
            Ok(()) = link.snapshot.changed() => changed(&mut link, &mut puts, &mut gets).await,
            Some(outcome) = certified.recv() => puts.outcome(&link, outcome).await,
            Some(reply) = replies.recv() => reply_of_member(&mut link, &mut puts, &mut gets, *reply).await,
            room = gets.room(&reads, connection.party()) => gets.start(&link, room).map_err(Ended::from),
            frame = reader.next(), if puts.takes_frames() => match frame {
                Ok(bytes) => client_message(&mut link, &mut puts, &mut gets, &bytes).await,
                Err(error) => Err(Ended::Link(error)),
            },
        };
        if let Err(ended) = step {
            break ended;
        }
    };
    puts.abandon_all(&link).await;
    let failed = match ended {
        Ended::NotReading | Ended::CutOff | Ended::Link(LinkError::Closed(_)) => return,
        Ended::Refused(failed) => failed,
        Ended::Link(error) => why(error),
    };
    // a client that does not read hears nothing
    let _ = link.tell(&Message::Failed(failed));
}

async fn client_message(link: &mut Client, puts: &mut ClientPuts, gets: &mut Gets, bytes: &Bytes) -> Result<(), Ended> {
    let message = Message::decode(bytes).map_err(|error| Ended::Link(error.into()))?;
    match message {
        Message::Put { stream, offer, renew } => puts.begin(link, stream, offer, renew, None).await,
        Message::Blob { stream, receipt, renew, bytes } => {
            puts.begin(link, stream, Some(receipt), renew, Some(bytes)).await
        }
        Message::Chunk { stream, offset, parents, bytes } => puts.chunk(link, stream, offset, parents, bytes).await,
        Message::PutEnd { stream, receipt } => puts.end(link, stream, receipt).await,
        Message::Cancel { stream, keep } => puts.cancel(link, stream, keep).await,
        Message::Locate { stream, digest } => Ok(gets.locate(link, stream, digest)?),
        Message::Read(read) if gets.reads() < MAX_READS => {
            gets.read(link, read);
            Ok(())
        }
        Message::Read(_) => Err(unexpected(format!("expected at most {MAX_READS} unanswered reads"))),
        other => Err(unexpected(format!("expected a request, got {}", other.name()))),
    }
}

async fn reply_of_member(link: &mut Client, puts: &mut ClientPuts, gets: &mut Gets, reply: Reply) -> Result<(), Ended> {
    if puts.has(reply.stream) { puts.reply(link, reply).await } else { Ok(gets.reply(link, reply)?) }
}

async fn changed(link: &mut Client, puts: &mut ClientPuts, gets: &mut Gets) -> Result<(), Ended> {
    link.show_committee()?;
    let snapshot = link.snapshot.see();
    gets.members_changed(link, &snapshot)?;
    puts.members_changed(link, &snapshot).await
}

async fn tick(link: &mut Client, puts: &mut ClientPuts, gets: &mut Gets) -> Result<(), Ended> {
    gets.tick(link)?;
    puts.tick(link).await
}
