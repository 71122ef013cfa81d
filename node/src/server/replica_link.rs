//! A replica's link: verifies its node key and vote key, joins it, and routes its replies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use vouch_core::bls::ProvenVoteKey;
use vouch_core::chain::CommitteeChain;
use vouch_core::founding_protocol::Candidate;
use vouch_core::link::{Hello, NodeKey, Role};
use vouch_core::message::{Code, EpochsMessage, Failed, Message, Stream};
use vouch_core::peer_frame::PeerFrame;
use vouch_node_core::server::founding::JoinPolicy;
use vouch_node_core::server::health::LinkId;
use vouch_node_core::server::{Membership, ServerInput};

use super::access_board::AccessBoard;
use super::certificate_lists::{CertificateLists, FollowedList};
use super::core_performer::CorePerformer;
use super::epochs::{ServerEpochs, epoch_is_over};
use super::founding::{ServerFoundings, status_message};
use super::guard::{Connection, Guard};
use super::log::ServerLog;
use super::member_links::{MemberLinks, ReplicaHandle, Snapshot};
use super::replica_requests::ReplicaRequests;
use super::reply_routing::Reply;
use super::reports::{Event, ServerReports};
use super::welcome::{Welcomed, why};
use crate::budgets::Permit;
use crate::host::Host;
use crate::latest::Follower;
use crate::link::ByteBoundedQueue;
use crate::link::{self, LinkError, LinkReader};

/// Maximum size in bytes of the control messages and proposals queued for one replica. Beyond it, the link is closed.
const CONTROL_QUEUE: usize = 4 << 20;

/// What the replicas' links use.
pub(super) struct ReplicaLinkContext {
    pub(super) host: Host,
    pub(super) core: Arc<CorePerformer>,
    pub(super) members: MemberLinks,
    pub(super) foundings: Arc<ServerFoundings>,
    pub(super) epochs: Arc<ServerEpochs>,
    pub(super) certificates: Arc<CertificateLists>,
    pub(super) guard: Arc<Guard>,
    pub(super) reports: Arc<ServerReports>,
    pub(super) joins: JoinPolicy,
    pub(super) log: Arc<ServerLog>,
    pub(super) access: Arc<AccessBoard>,
    /// Size in bytes of one replica's queue of chunks.
    pub(super) data_queue: usize,
    /// Number of the next link.
    pub(super) next_link: AtomicU32,
}

pub(super) async fn run(context: &ReplicaLinkContext, mut link: Welcomed, connection: Arc<Connection>) {
    let admitted = tokio::select! {
        biased;
        () = connection.until_cut_off() => return,
        admitted = admit(context, &mut link, &connection) => admitted,
    };
    // The permit of a non-member.
    let (candidate, _place) = match admitted {
        Ok(admitted) => admitted,
        Err(error) => return link::refuse(link.reader, link.writer, why(error)).await,
    };
    let name = candidate.name.to_string();
    let node_key = link.hello.node_key;
    let mut snapshots = context.members.follow();
    if let Some(ended) = other_epoch(context, &mut link, &connection).await {
        return link::refuse(link.reader, link.writer, why(ended)).await;
    }
    let (control, control_queue) = ByteBoundedQueue::new(CONTROL_QUEUE);
    let (data, data_queue) = ByteBoundedQueue::new(context.data_queue);
    let id = LinkId { node_key, number: u64::from(context.next_link.fetch_add(1, Ordering::Relaxed)) };
    let list = FollowedList::begin(context.certificates.clone(), id);
    let handle = ReplicaHandle { link: id, control, data };
    context.core.handle(ServerInput::Joined { link: id, handle: handle.clone() });
    context.foundings.join(id, candidate, link.hello.cluster);
    let shown = tokio::select! {
        biased;
        () = connection.until_cut_off() => Err(LinkError::Closed(String::new())),
        shown = show_first(&context.foundings, &mut link) => shown,
    };
    let shown = match shown {
        // It may know later committees than the founding that it has just shown.
        Ok(()) => other_epoch(context, &mut link, &connection).await.map_or(Ok(()), Err),
        Err(error) => Err(error),
    };
    if let Err(error) = shown {
        context.leave(id);
        return link::refuse(link.reader, link.writer, why(error)).await;
    }
    let epoch = snapshots.see().epoch();
    let membership = context.core.state().roster().membership(&node_key);
    // Check after joining: a committee that forms from now on is sent to every joined replica.
    if !link.knows_committee
        && let Some(founding) = context.foundings.settled()
    {
        handle.try_send(&founding);
    }
    handle.try_send(&status_message(membership, None));
    drop(handle);
    context.core.publish();
    let connected = context.core.state().roster().count();
    // The rate is limited: otherwise non-members could fill the log by reconnecting.
    let is_told = matches!(membership, Membership::Member(_)) || context.guard.may_tell(&connection);
    if is_told {
        context.reports.report(Event::Joined(name.clone(), membership_text(membership), connected));
    } else {
        context.guard.note(connection.source(), "standbys not logged");
    }
    context.foundings.propose(false);

    let Welcomed { mut reader, mut writer, hello, .. } = link;
    let writing = link::write_queues(&mut writer, control_queue, data_queue);
    let ended = tokio::select! {
        biased;
        error = read(context, &hello, id, &mut reader, &connection) => error,
        never = list.follow() => match never {},
        () = connection.until_cut_off() => LinkError::Closed("evicted: another peer needed its place".into()),
        ended = epoch_ended(&mut snapshots, epoch) => ended,
        written = writing => match written {
            Ok(()) => LinkError::Closed("replaced by a newer link of the same replica".into()),
            Err(error) => error,
        },
    };
    context.leave(id);
    context.core.publish();
    let to_tell = ended.to_tell();
    if is_told {
        context.reports.report(Event::Left(name, ended.to_string()));
    }
    if let Some(failed) = to_tell {
        link::refuse(reader, writer, failed).await;
    }
}

fn membership_text(membership: Membership) -> &'static str {
    match membership {
        Membership::Member(_) => "member",
        Membership::Candidate => "waiting for the committee to form",
        Membership::Standby => "standby: the committee is complete",
    }
}

impl ReplicaLinkContext {
    /// Passes a frame on to the replica that it is for. It is dropped if that replica is not connected or does not read: senders of frames
    /// send again what matters. A replica that joins exchanges frames before it is a member; who else may is for the receivers to decide.
    fn relay(&self, sender: &NodeKey, frame: Bytes) {
        // A member sends in its own name only, so that it cannot spend the queues of others in the name of a third.
        let Some(to) = PeerFrame::addressed(&frame).ok().filter(|(from, _)| from == sender).map(|(_, to)| to) else {
            return;
        };
        let handle = self.core.state().roster().handle(&to).cloned();
        if let Some(handle) = handle {
            // Only if half of the queue is free: the rest is for what cannot wait.
            handle.control.try_send_spare(&Message::Peer(frame).encode());
        }
    }

    /// A replica's link has ended.
    fn leave(&self, link: LinkId) {
        self.access.leave(link);
        self.core.handle(ServerInput::Left(link));
        self.foundings.leave(link);
    }
}

/// Verifies that the replica holds both its keys.
async fn admit(
    context: &ReplicaLinkContext,
    link: &mut Welcomed,
    connection: &Connection,
) -> Result<(Candidate, Option<Permit>), LinkError> {
    let refuse = |code, detail: String| Err(LinkError::Refused(Failed::new(Stream::LINK, code, detail)));
    match link.reader.expect("authenticate", link.handshake).await? {
        Message::Auth(signature) => {
            if let Err(error) = link.transcript.verify(&link.hello.node_key, Role::Replica, &signature) {
                return refuse(Code::NotAuthenticated, error.to_string());
            }
        }
        other => return refuse(Code::Unexpected, format!("expected Auth, got {}", other.name())),
    }
    let chain = context.members.chain();
    let member = chain.as_ref().and_then(|chain| chain.current().record().position(&link.hello.node_key));
    let place = if member.is_some() {
        connection.exempt();
        link.reader.is_member();
        None
    } else {
        let detail = "too many replicas that are not members, from this address or in total; try again later";
        let failed = |_| Failed::new(Stream::LINK, Code::Busy, detail);
        Some(context.guard.join(connection).map_err(failed)?)
    };
    let (vote_key, possession, name) = match link.reader.expect("join", link.handshake).await? {
        Message::Join { vote_key, possession, name } => (vote_key, possession, name),
        other => return refuse(Code::Unexpected, format!("expected Join, got {}", other.name())),
    };
    context.joins.check(connection.source(), &link.hello.node_key, context.members.chain().is_some())?;
    // The committee has this key's proof, verified when the committee was founded: skip the pairing.
    let known = chain.zip(member).and_then(|(chain, member)| chain.current().proven_key(member));
    if let Some(known) = known.filter(|known| known.vote_key() == vote_key) {
        return Ok((Candidate { vote_key: known, name }, place));
    }
    let proving = context.host.spawn_blocking(move || ProvenVoteKey::verify(vote_key, possession));
    match proving.await.map_err(|error| LinkError::violation(Code::Storage, error.to_string()))? {
        Ok(vote_key) => Ok((Candidate { vote_key, name }, place)),
        Err(error) => refuse(Code::NotAuthenticated, format!("vote key: {error}")),
    }
}

/// Receives a founding before the join, if the replica shows one and this server has no committee. So the server has the committee before
/// the join is reported.
async fn show_first(foundings: &ServerFoundings, link: &mut Welcomed) -> Result<(), LinkError> {
    if link.hello.cluster.is_none() || link.knows_committee {
        return Ok(());
    }
    match link.reader.expect("show its founding", link.handshake).await? {
        shown @ Message::Founding(_) => foundings.handle(&link.hello.node_key, shown).await,
        other => Err(LinkError::unexpected("Founding", &other)),
    }
}

/// Brings this server and a replica to the same epoch. `None` if they know the same, or the replica belongs to no cluster yet. Otherwise the
/// link ends, and the replica joins the new committee with its next one: it names another vote key there.
async fn other_epoch(context: &ReplicaLinkContext, link: &mut Welcomed, connection: &Connection) -> Option<LinkError> {
    let chain = context.members.chain()?;
    let (own, theirs) = (chain.current().record().epoch(), link.hello.epoch);
    if link.hello.cluster != Some(chain.cluster()) || own == theirs {
        return None;
    }
    if theirs > own {
        let caught_up = tokio::select! {
            biased;
            () = connection.until_cut_off() => Err(LinkError::Closed(String::new())),
            caught_up = catch_up(context, link) => caught_up,
        };
        if let Err(error) = caught_up {
            return Some(error);
        }
    }
    // The welcome had what the replica lacks.
    Some(LinkError::Violation(epoch_is_over(own.max(theirs))))
}

/// Receives the epochs that the replica knows and this server does not.
async fn catch_up(context: &ReplicaLinkContext, link: &mut Welcomed) -> Result<(), LinkError> {
    loop {
        match link.reader.expect("show its epochs", link.handshake).await? {
            Message::Epochs(EpochsMessage { more, links }) => {
                context.epochs.learn(links).await?;
                if !more {
                    return Ok(());
                }
            }
            about @ (Message::Founding(_) | Message::Acceptances { .. } | Message::Refusals(_)) => {
                context.foundings.handle(&link.hello.node_key, about).await?;
            }
            other => return Err(LinkError::unexpected("Epochs", &other)),
        }
    }
}

/// Completes when the current epoch is another one.
async fn epoch_ended(snapshots: &mut Follower<Arc<Snapshot>>, epoch: u64) -> LinkError {
    loop {
        let current = snapshots.see().epoch();
        if current != epoch {
            return LinkError::Violation(epoch_is_over(current));
        }
        if snapshots.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Routes replies until the link ends.
async fn read(
    context: &ReplicaLinkContext,
    hello: &Hello,
    link: LinkId,
    reader: &mut LinkReader,
    connection: &Connection,
) -> LinkError {
    let mut requests = ReplicaRequests::new(context.certificates.clone(), context.core.clone());
    loop {
        let message = match reader.next().await {
            Ok(bytes) => match Message::decode(&bytes) {
                Ok(message) => message,
                Err(error) => return error.into(),
            },
            Err(error) => return error,
        };
        let stream = match &message {
            Message::Failed(failed) if failed.stream == Stream::LINK => return failed.clone().into(),
            Message::Failed(failed) => failed.stream,
            Message::Ready { stream, .. }
            | Message::Stored { stream }
            | Message::Vote { stream, .. }
            | Message::Located { stream, .. }
            | Message::Chunk { stream, .. }
            | Message::Listed { stream, .. }
            | Message::SignedTime { stream, .. }
            | Message::FoundCertificate { stream, .. }
            | Message::OpDecided { stream, .. }
            | Message::LogHead { stream, .. }
            | Message::OpProof { stream, .. }
            | Message::LogBlock { stream, .. }
            | Message::SealPart { stream, .. } => *stream,
            Message::Founding(_) | Message::Acceptances { .. } | Message::Refusals(_) => {
                if let Err(error) = context.foundings.handle(&hello.node_key, message).await {
                    return error;
                }
                continue;
            }
            Message::Epochs(EpochsMessage { links, .. }) => {
                if let Err(error) = context.epochs.learn(links.clone()).await {
                    return error;
                }
                continue;
            }
            // Not an answer to a put or a get.
            Message::List { .. }
            | Message::Endorse { .. }
            | Message::AskTime { .. }
            | Message::LogTip { .. }
            | Message::NextMembers { .. }
            | Message::Access(_)
            | Message::Peer(_) => Stream::LINK,
            other => return LinkError::unexpected("a reply", other),
        };
        // A replica that joins follows the log, fetches what members hold, and compares its clock with theirs, before it is one.
        let message = match message {
            Message::Peer(frame) => {
                context.relay(&hello.node_key, frame);
                continue;
            }
            Message::List { stream, source, from, filter } => {
                requests.list(hello.node_key, stream, source, (from, filter));
                continue;
            }
            // A replica may ask only in its own name: the answers are signed for the asker that is named.
            Message::AskTime { stream, asker, nonce } => {
                if asker == hello.node_key {
                    requests.ask_time(stream, asker, nonce);
                }
                continue;
            }
            message => message,
        };
        // A standby is sent no requests: ignore its answers.
        let position = |chain: CommitteeChain| chain.current().record().position(&hello.node_key);
        let Some(member) = context.members.chain().and_then(position) else {
            continue;
        };
        // Sent before the committee was founded.
        connection.exempt();
        reader.is_member();
        match message {
            Message::Endorse { digests } => requests.endorse(member, digests),
            Message::LogTip { height, .. } => context.log.tip(member, height),
            Message::NextMembers { members } => {
                context.core.handle(ServerInput::NextMembers(link, members.into_iter().collect()));
            }
            Message::Access(view) => context.access.note(link, *view),
            // The core routes it: a vote to its batch, any other reply to its put or get.
            message => context.core.handle(ServerInput::Reply(link, Reply { member, stream, message })),
        }
    }
}
