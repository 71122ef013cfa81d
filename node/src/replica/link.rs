//! A replica's link to one server: it proves its keys, joins, and answers.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use vouch_core::bls::AggregateSignature;
use vouch_core::certificate::{Certificate, Signers};
use vouch_core::digest::Digest;
use vouch_core::link::{Hello, NodeKey, Role, Transcript};
use vouch_core::message::{Code, Failed, Holder, ListFilter, ListPosition, ListSource, Message, Read, Stream};
use vouch_core::verify::Invalid;
use vouch_node_core::replica::proposals::{Proposal, Proposals};
use vouch_node_core::replica::voting;

use super::founding::{self, Listener};
use super::incoming::IncomingPuts;
use super::repair::{self, Page, Repairing};
use super::{Event, Shared};
use crate::link::{self, Handshake, LinkError, LinkReader, LinkWriter, Outgoing};
use crate::store::{Confirmed, Promise, Slice, StoreError};

/// Replies waiting to be sent.
const REPLY_QUEUE: usize = 1024;
/// Votes and certificates in work at once; the link waits with further ones.
const MAX_WORK: usize = 64;
/// Reads waiting for the disk, and chunks read waiting for the link.
const READ_QUEUE: usize = 256;
const CHUNK_QUEUE: usize = 4;
/// Bytes of certificates in a page that is shown; the last one may go beyond.
const LIST_PAGE: usize = 128 << 10;
/// Pages of a list; one is asked for at a time.
const LIST_QUEUE: usize = 2;
/// How often a replica looks at its storage and clock, to say when one fails and when both are right again.
const LOOK_AT_ITSELF: Duration = Duration::from_secs(5);

/// Runs one link to its end and says why it ended.
pub(super) async fn run(shared: &Arc<Shared>, address: &str) -> LinkError {
    match open(shared, address).await {
        Ok(opened) => {
            shared.report(Event::Connected(address.into()));
            shared.report_standing();
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
    let committee = shared.committee();
    let cluster = committee.as_ref().map(|committee| committee.cluster());
    let own = Hello::new(Role::Replica, cluster, shared.keys.node.node_key(), shared.host.random());
    writer.send(Message::Hello(own).encode()).await?;

    let refused = |code, detail: String| LinkError::violation(code, detail);
    let handshake = Handshake::begin(&shared.host);
    let hello = match reader.expect("say hello", handshake).await? {
        Message::Hello(hello) if hello.role == Role::Server => hello,
        other => return Err(refused(Code::Unexpected, format!("expected Hello of a server, got {}", other.name()))),
    };
    if let (Some(ours), Some(theirs)) = (cluster, hello.cluster)
        && ours != theirs
    {
        let detail = format!("this replica belongs to {ours}, the server serves {theirs}");
        return Err(refused(Code::AnotherCluster, detail));
    }
    let transcript = Transcript::new(&own, &hello, None);
    match reader.expect("authenticate", handshake).await? {
        Message::Auth(signature) => transcript
            .verify(&hello.node_key, Role::Server, &signature)
            .map_err(|error| refused(Code::Unexpected, error.to_string()))?,
        other => return Err(refused(Code::Unexpected, format!("expected Auth, got {}", other.name()))),
    }
    let vote = &shared.keys.vote;
    let mut messages = vec![
        Message::Auth(shared.keys.node.sign(&transcript, Role::Replica)),
        Message::Join { vote_key: vote.vote_key(), possession: vote.prove_possession(), name: shared.name },
    ];
    let (listener, shown) = shared.foundings.join(shared, hello.cluster).await;
    messages.extend(shown);
    for message in messages {
        writer.send(message.encode()).await?;
    }
    Ok((hello.node_key, listener))
}

async fn serve(shared: &Arc<Shared>, address: &str, opened: Opened) -> LinkError {
    let Opened { mut reader, mut writer, server, listener } = opened;
    let (replies, reply_queue) = mpsc::channel(REPLY_QUEUE);
    let (chunks, chunk_queue) = mpsc::channel(CHUNK_QUEUE);
    let (reads, read_queue) = mpsc::channel(READ_QUEUE);
    let puts = IncomingPuts::new(shared.clone(), replies.clone());
    let work = Arc::new(Semaphore::new(MAX_WORK));
    let listener_number = listener.number();
    let announcing = listener.pass_on(replies.clone());
    let proposals = Proposals::default();
    let (pages, listed) = mpsc::channel(LIST_QUEUE);
    let repairing = Repairing::new(shared.clone(), (address.into(), server), replies.clone(), listed);
    let number = repairing.number();
    let repairing = repairing.run();
    let watching = watch_itself(shared.clone(), replies.clone());
    let _asking = shared.clock.link(replies.clone());
    let mut link = ReplicaLink {
        shared: shared.clone(),
        address: Arc::from(address),
        listener: listener_number,
        puts,
        proposals,
        replies,
        reads,
        pages,
        work,
        number,
        server,
    };
    let serving = async {
        loop {
            let handled = match reader.next().await {
                Ok(bytes) => link.handle(&bytes).await,
                Err(error) => Err(error),
            };
            if let Err(error) = handled {
                return error;
            }
        }
    };
    let ended = tokio::select! {
        biased;
        error = serving => error,
        () = answer_reads(shared, read_queue, &chunks) => LinkError::Closed(String::new()),
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

/// Tells the server when the storage failed or the clock is in doubt, and when both are right again. Otherwise the server would
/// learn of it with the next put, and until then a load balancer would send it puts.
async fn watch_itself(shared: Arc<Shared>, replies: mpsc::Sender<Outgoing>) {
    let mut told = None;
    loop {
        let looking = shared.clone();
        let found = shared.host.spawn_blocking(move || looking.storage_failure()).await;
        let failed = found.unwrap_or_else(|panicked| Some(panicked.to_string()));
        let failed = failed.map(|why| Failed::new(Stream::REPLICA, Code::Storage, why));
        let failed = failed.or_else(|| shared.check_clock(Stream::REPLICA).err());
        if failed != told {
            let word = match &failed {
                Some(failed) => Message::Failed(failed.clone()),
                None => Message::Stored { stream: Stream::REPLICA },
            };
            // fails only when the link is ending
            let _ = replies.send(word.encode().into()).await;
            told = failed;
        }
        shared.host.sleep(LOOK_AT_ITSELF).await;
    }
}

struct ReplicaLink {
    shared: Arc<Shared>,
    /// Of the server, as it was dialled.
    address: Arc<str>,
    /// By which the foundings know the link.
    listener: u64,
    puts: IncomingPuts,
    proposals: Proposals,
    replies: mpsc::Sender<Outgoing>,
    reads: mpsc::Sender<Read>,
    /// What the server lists, for the repair.
    pages: mpsc::Sender<Page>,
    work: Arc<Semaphore>,
    /// By which the repairer knows the link.
    number: u64,
    /// The server's node key.
    server: NodeKey,
}

impl ReplicaLink {
    async fn handle(&mut self, bytes: &Bytes) -> Result<(), LinkError> {
        let message = Message::decode(bytes)?;
        let failed = match message {
            Message::Failed(failed) if failed.stream == Stream::LINK => return Err(failed.into()),
            // about this replica itself: a put or a batch of the server's goes on without it
            Message::Failed(failed) if self.is_about_itself(&failed) => {
                self.shared.left_out(&self.address, &failed.detail);
                Ok(())
            }
            // to a list, which is all that is asked of a server: its number is the replica's own, and no put's
            Message::Failed(failed) => {
                let _ = self.pages.try_send((failed.stream, Err(failed)));
                Ok(())
            }
            Message::Founding(_) | Message::Acceptances { .. } | Message::Refusals(_) => {
                for answer in founding::hear(&self.shared, self.listener, message).await? {
                    self.reply(&answer).await;
                }
                Ok(())
            }
            Message::Standing { standing, detail } => {
                self.shared.report(Event::Standing(self.address.to_string(), standing, detail));
                Ok(())
            }
            Message::Put { stream, offer, .. } => self.puts.begin(stream, offer),
            Message::Blob { stream, receipt, bytes, .. } => self.puts.whole(stream, receipt, bytes),
            Message::Chunk { stream, offset, parents, bytes } => self.puts.chunk(stream, offset, parents, bytes).await,
            Message::PutEnd { stream, receipt } => {
                self.puts.end(stream, receipt).await;
                Ok(())
            }
            Message::Cancel { stream, keep } => {
                self.puts.cancel(stream, keep);
                Ok(())
            }
            Message::Propose { stream, issued_at, receipts } => {
                let proposal = Proposal { issued_at, receipts };
                self.proposals.add(stream, proposal.clone());
                self.start(vote(self.shared.clone(), stream, proposal, self.replies.clone())).await;
                Ok(())
            }
            Message::Locate { stream, digest } => {
                let holders = self.locate(digest).await;
                self.reply(&Message::Located { stream, holders }).await;
                Ok(())
            }
            Message::Read(read) => {
                self.reads.try_send(read).map_err(|_| Failed::new(read.stream, Code::Busy, "too many reads at once"))
            }
            Message::Archive { stream, signers, signature } => {
                // one that is not remembered can be had from another member
                if let Some(proposal) = self.proposals.take(stream) {
                    self.start(archive(self.shared.clone(), self.server, proposal, signers, signature)).await;
                }
                Ok(())
            }
            Message::Listed { stream, page } => {
                // one that nobody asked for, or asks for any more, is not kept
                let _ = self.pages.try_send((stream, Ok(page)));
                Ok(())
            }
            Message::List { stream, source: ListSource::Own, from, filter } => {
                let asked = (from, filter, self.server);
                self.start(list(self.shared.clone(), stream, asked, self.replies.clone())).await;
                Ok(())
            }
            Message::List { stream, source: ListSource::Member(_), .. } => {
                Err(Failed::new(stream, Code::Unexpected, "a replica lists its own certificates only"))
            }
            Message::FindCertificate { stream, digest } => {
                let store = self.shared.store.clone();
                let certificate =
                    self.shared.on_disk(move || store.certificate(&digest)).await.unwrap_or_else(|error| {
                        self.shared.report(Event::Trouble(error.to_string()));
                        None
                    });
                self.reply(&Message::FoundCertificate { stream, certificate: certificate.map(Box::new) }).await;
                Ok(())
            }
            Message::AskTime { stream, asker, nonce } => {
                if let Some(answer) = self.shared.answer_time(stream, asker, nonce) {
                    self.reply(&answer).await;
                }
                Ok(())
            }
            Message::SignedTime { stream, member, time, signature } => {
                self.shared.hear_time(stream, member, time, &signature);
                Ok(())
            }
            Message::Missed { certificates } if certificates.is_empty() => {
                self.shared.repairer.doubt(self.number);
                Ok(())
            }
            Message::Missed { certificates } => {
                self.start(missed(self.shared.clone(), self.number, certificates)).await;
                Ok(())
            }
            other => return Err(LinkError::unexpected("a request", &other)),
        };
        if let Err(failed) = failed {
            self.shared.report(Event::Refused(failed.to_string()));
            self.reply(&Message::Failed(failed)).await;
        }
        Ok(())
    }

    /// A list of its own is not what a replica asks a server for, so this is no answer to a list.
    fn is_about_itself(&self, failed: &Failed) -> bool {
        let position = self.shared.committee().and_then(|committee| self.shared.position(&committee));
        position.is_some_and(|position| failed.subjects == [position])
    }

    /// Starts work beside the link, once there is room for it.
    async fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Ok(permit) = self.work.clone().acquire_owned().await else { return };
        self.shared.host.spawn(async move {
            work.await;
            drop(permit);
        });
    }

    async fn reply(&self, message: &Message) {
        // fails only when the link is ending
        let _ = self.replies.send(message.encode().into()).await;
    }

    async fn locate(&self, digest: Digest) -> Vec<Holder> {
        let position = self.shared.committee().and_then(|committee| self.shared.position(&committee));
        let store = self.shared.store.clone();
        match (position, self.shared.on_disk(move || store.length_of(&digest)).await) {
            (Some(member), Ok(Some(length))) => vec![Holder { member, length }],
            (_, Err(error)) => {
                self.shared.report(Event::Trouble(error.to_string()));
                Vec::new()
            }
            _ => Vec::new(),
        }
    }
}

/// Answers reads one by one, waiting for the link to take each.
async fn answer_reads(shared: &Arc<Shared>, mut queue: mpsc::Receiver<Read>, chunks: &mpsc::Sender<Bytes>) {
    while let Some(Read { stream, digest, offset, length, .. }) = queue.recv().await {
        let reader = shared.clone();
        let read = shared.host.spawn_blocking(move || reader.store.read(&digest, offset, length)).await;
        if let Ok(Err(error @ StoreError::Damaged { .. })) = &read {
            shared.met_damage(digest, error).await;
        }
        let reply = match read {
            Ok(Ok(Slice { bytes, proof })) => Message::Chunk { stream, offset, parents: proof, bytes },
            Ok(Err(error)) => Message::failed(stream, error.code(), error.to_string()),
            Err(error) => Message::failed(stream, Code::Storage, error.to_string()),
        };
        if chunks.send(reply.encode()).await.is_err() {
            return;
        }
    }
}

/// Lists certificates that are kept here.
async fn list(
    shared: Arc<Shared>,
    stream: Stream,
    (from, filter, server): (ListPosition, ListFilter, NodeKey),
    replies: mpsc::Sender<Outgoing>,
) {
    let reader = shared.clone();
    let reading = shared.host.spawn_blocking(move || reader.store.list(from, filter, &server, LIST_PAGE));
    let reply = match reading.await {
        Ok(Ok(page)) => Message::Listed { stream, page },
        Ok(Err(error)) => Message::failed(stream, error.code(), error.to_string()),
        Err(error) => Message::failed(stream, Code::Storage, error.to_string()),
    };
    // fails only when the link is ending
    let _ = replies.send(reply.encode().into()).await;
}

/// Takes note of certificates that the server says this replica missed, and has the blobs fetched that it lacks.
async fn missed(shared: Arc<Shared>, link: u64, certificates: Vec<Certificate>) {
    let Some(committee) = shared.committee() else { return };
    let kept = async {
        let news = repair::sort(&shared, &committee, certificates).await?;
        if let Some(invalid) = news.invalid() {
            shared.report(Event::Refused(format!("a certificate of the server's: {invalid}")));
        }
        news.keep(&shared).await
    };
    match kept.await {
        Ok(lacking) => shared.repairer.missed(link, lacking.unwrap_or_default()),
        Err(error) => {
            shared.report(Event::Trouble(error.to_string()));
            shared.repairer.doubt(link);
        }
    }
}

/// Keeps the certificates of a batch, of those blobs that are held.
async fn archive(
    shared: Arc<Shared>,
    server: NodeKey,
    proposal: Proposal,
    signers: Signers,
    signature: AggregateSignature,
) {
    let Some(committee) = shared.committee() else { return };
    let store = shared.clone();
    let checked = shared.host.spawn_blocking(move || {
        let mut certificates = proposal.certificates(&committee, &signers, &signature)?;
        certificates.retain(|certificate| {
            matches!(store.store.length_of(&certificate.claim.receipt.digest), Ok(Some(held)) if held == certificate.claim.receipt.length)
        });
        Ok::<_, Invalid>(certificates)
    });
    let archived = match checked.await {
        Ok(Ok(certificates)) if certificates.is_empty() => return,
        Ok(Ok(certificates)) => shared.store.archive_from(&server, certificates).await,
        Ok(Err(invalid)) => return shared.report(Event::Refused(format!("a certificate of the server's: {invalid}"))),
        Err(error) => return shared.report(Event::Trouble(error.to_string())),
    };
    if let Err(error) = archived {
        shared.report(Event::Trouble(error.to_string()));
    }
}

/// Votes, or says why not: first the clock, then the bytes, then the duty to keep on disk, then the signature.
async fn vote(shared: Arc<Shared>, stream: Stream, proposal: Proposal, replies: mpsc::Sender<Outgoing>) {
    let reply = match try_vote(&shared, stream, proposal).await {
        Ok(vote) => {
            shared.signing.voted(shared.host.unix_seconds());
            vote
        }
        Err(failed) => {
            shared.signing.refused(shared.host.unix_seconds(), failed.to_string());
            // the log says once that a doubt began
            if failed.code != Code::ClockInDoubt {
                shared.report(Event::Refused(failed.to_string()));
            }
            Message::Failed(failed)
        }
    };
    let _ = replies.send(reply.encode().into()).await;
}

async fn try_vote(shared: &Arc<Shared>, stream: Stream, proposal: Proposal) -> Result<Message, Failed> {
    let Proposal { issued_at, receipts } = proposal;
    let Some(committee) = shared.committee() else {
        return Err(Failed::new(stream, Code::NoCommittee, "this replica is in no committee"));
    };
    shared.check_clock(stream)?;
    voting::check(stream, issued_at, &receipts, shared.host.unix_seconds())?;
    let failed = |error: StoreError| Failed::new(stream, error.code(), error.to_string());
    let Confirmed { lacking, damaged } = shared.store.confirm(&receipts).await.map_err(failed)?;
    for (digest, error) in damaged {
        shared.lost(digest, error.to_string());
    }
    let not_held = |lacking: Vec<u16>, count: usize| {
        let detail = format!("{} of {count} blobs are not held", lacking.len());
        Failed::new(stream, Code::NotHeld, detail).with_subjects(lacking)
    };
    let count = receipts.len();
    if !lacking.is_empty() {
        return Err(not_held(lacking, count));
    }
    let lost = |error: tokio::task::JoinError| Failed::new(stream, Code::Storage, error.to_string());
    let stating = shared.host.spawn_blocking(move || {
        let statement = voting::statement(&committee, issued_at, &receipts);
        (statement, receipts)
    });
    let (Some(statement), receipts) = stating.await.map_err(lost)? else {
        return Err(Failed::new(stream, Code::Unexpected, "a batch of a forbidden size"));
    };
    let statement = match shared.store.promise(&receipts, statement).await.map_err(failed)? {
        Promise::Journalled(statement) => statement,
        Promise::Lacking(lacking) => return Err(not_held(lacking, count)),
    };
    // to read a large blob takes minutes
    shared.check_clock(stream)?;
    let signer = shared.clone();
    let signed = shared.host.spawn_blocking(move || statement.sign(&signer.keys.vote)).await;
    signed.map(|signature| Message::Vote { stream, signature }).map_err(lost)
}
