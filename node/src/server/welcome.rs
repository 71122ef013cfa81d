//! The first messages of every link: both hellos, the server's proof of its node key, and the committees.

use std::sync::Arc;

use vouch_core::chain::CommitteeChain;
use vouch_core::link::{Hello, HelloError, NodeSecretKey, Role, Transcript};
use vouch_core::message::{Code, Failed, Message, MessageError, Stream};
use vouch_node_core::server::link_puts::shutting_down;

use super::ending::Ending;
use super::founding::ServerFoundings;
use super::member_links::MemberLinks;
use super::reports::{Event, ServerReports};
use crate::committee_file;
use crate::host::Host;
use crate::link::{self, Handshake, LinkError, LinkReader, LinkWriter};
use crate::notices::Notice;

/// What the handshakes of all links use.
pub(super) struct HandshakeContext {
    pub(super) host: Host,
    pub(super) key: NodeSecretKey,
    /// Whether replicas' links are bound to their TLS connections.
    pub(super) binds_links: bool,
    pub(super) members: MemberLinks,
    pub(super) foundings: Arc<ServerFoundings>,
    pub(super) reports: Arc<ServerReports>,
    pub(super) ending: Arc<Ending>,
    /// Limits the log lines about links of other protocol versions.
    pub(super) other_versions: Notice,
}

/// A link after the exchange of hellos.
pub(super) struct Welcomed {
    pub(super) reader: LinkReader,
    pub(super) writer: LinkWriter,
    pub(super) hello: Hello,
    /// The handshake's deadline: a replica must prove its keys within it.
    pub(super) handshake: Handshake,
    pub(super) transcript: Transcript,
    /// Whether the server has sent its committees.
    pub(super) knows_committee: bool,
    /// The server's epoch when it did.
    pub(super) epoch: u64,
}

/// Exchanges hellos. `None` if the link broke, or was refused and sent the reason. A link from a browser (`has_origin`) must be a client's.
pub(super) async fn welcome(
    context: &HandshakeContext,
    (mut reader, mut writer): (LinkReader, LinkWriter),
    has_origin: bool,
) -> Option<Welcomed> {
    let handshake = Handshake::begin(&context.host);
    let hello = match reader.expect("say hello", handshake).await.and_then(|message| match context.ending.has_begun() {
        true => Err(shutting_down(Stream::LINK).into()),
        false => allow(&context.members, message, has_origin),
    }) {
        Ok(hello) => hello,
        Err(error) => {
            if let LinkError::Message(MessageError::Hello(HelloError::Version { .. })) = &error
                && let Some(line) =
                    context.other_versions.line(context.host.monotonic(), &format!("refused a link: {error}"))
            {
                context.reports.report(Event::Refused(line));
            }
            link::refuse(reader, writer, why(error)).await;
            return None;
        }
    };
    reader.said_hello();
    let chain = context.members.chain();
    let cluster = chain.as_ref().map(|chain| chain.cluster());
    let own = Hello::new(Role::Server, cluster, context.key.node_key(), context.host.random()).knowing(chain.as_ref());
    // A browser cannot know the exporter, so clients' links are never bound. Nothing depends on it: clients trust no server.
    let exporter = reader.exporter().filter(|_| context.binds_links && hello.role == Role::Replica);
    let transcript = Transcript::new(&hello, &own, exporter);
    let signature = context.key.sign(&transcript, Role::Server);
    let mut messages = vec![Message::Hello(own), Message::Auth(signature)];
    // A replica adopts a committee only with all its acceptances, so it gets the founding. A client has no use for acceptances.
    messages.extend(match hello.role {
        Role::Replica => context.foundings.settled(),
        Role::Client | Role::Server => chain.as_ref().map(|chain| committee_file::message(chain.first())),
    });
    messages.extend(chain.iter().flat_map(|chain| later_epochs(chain, &hello)));
    for message in messages {
        writer.send(message.encode()).await.ok()?;
    }
    Some(Welcomed { reader, writer, hello, handshake, transcript, knows_committee: chain.is_some(), epoch: own.epoch })
}

/// The messages with the epochs that the other end does not know.
fn later_epochs(chain: &CommitteeChain, theirs: &Hello) -> Vec<Message> {
    // Only the epoch of this cluster counts: a client that trusts none yet may know others.
    let known = if theirs.cluster == Some(chain.cluster()) { theirs.epoch } else { 0 };
    Message::epochs(chain.links_after(known))
}

fn allow(members: &MemberLinks, message: Message, has_origin: bool) -> Result<Hello, LinkError> {
    let refuse = |code, detail: String| Err(Failed::new(Stream::LINK, code, detail).into());
    let Message::Hello(hello) = message else {
        return refuse(Code::Unexpected, format!("expected Hello, got {}", message.name()));
    };
    if hello.role == Role::Server || (has_origin && hello.role != Role::Client) {
        return refuse(Code::Unexpected, format!("expected a client or a replica, got a {}", hello.role));
    }
    let own = members.chain().map(|chain| chain.cluster());
    if let (Some(theirs), Some(ours)) = (hello.cluster, own)
        && theirs != ours
    {
        return refuse(Code::AnotherCluster, format!("this server serves {ours}, the {} named {theirs}", hello.role));
    }
    Ok(hello)
}

/// The failure to send to the other end.
pub(super) fn why(error: LinkError) -> Failed {
    match error {
        LinkError::Refused(failed) => failed,
        error => error.to_tell().unwrap_or_else(|| Failed::new(Stream::LINK, Code::Malformed, error.to_string())),
    }
}
