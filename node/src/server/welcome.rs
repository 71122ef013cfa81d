//! The first messages of every link: both hellos, the server's proof of its node key, and the committee.

use vouch_core::link::{Hello, HelloError, Role, Transcript};
use vouch_core::message::{Code, Failed, Message, MessageError, Stream};

use super::{Event, Shared};
use crate::committee_file;
use crate::link::{self, Handshake, LinkError, LinkReader, LinkWriter};

/// A link after the exchange of hellos.
pub(super) struct Welcomed {
    pub(super) reader: LinkReader,
    pub(super) writer: LinkWriter,
    pub(super) hello: Hello,
    /// The handshake's deadline: a replica must prove its keys within it.
    pub(super) handshake: Handshake,
    pub(super) transcript: Transcript,
    /// Whether the server has sent its committee.
    pub(super) knows_committee: bool,
}

/// Exchanges hellos. `None` if the link broke, or was refused and sent the reason. A link from a browser (`has_origin`) must be a client's.
pub(super) async fn welcome(
    shared: &Shared,
    (mut reader, mut writer): (LinkReader, LinkWriter),
    has_origin: bool,
) -> Option<Welcomed> {
    let handshake = Handshake::begin(&shared.host);
    let hello = match reader.expect("say hello", handshake).await.and_then(|message| allow(shared, message, has_origin))
    {
        Ok(hello) => hello,
        Err(error) => {
            if let LinkError::Message(MessageError::Hello(HelloError::Version { .. })) = &error
                && let Some(line) =
                    shared.other_versions.line(shared.host.monotonic(), &format!("refused a link: {error}"))
            {
                shared.report(Event::Refused(line));
            }
            link::refuse(reader, writer, why(error)).await;
            return None;
        }
    };
    reader.said_hello();
    let committee = shared.committee();
    let cluster = committee.as_ref().map(|committee| committee.cluster());
    let own = Hello::new(Role::Server, cluster, shared.key.node_key(), shared.host.random());
    let transcript = Transcript::new(&hello, &own, None);
    let signature = shared.key.sign(&transcript, Role::Server);
    let mut messages = vec![Message::Hello(own), Message::Auth(signature)];
    // A replica adopts a committee only with all its acceptances, so it gets the founding. A client has no use for acceptances.
    messages.extend(match hello.role {
        Role::Replica => shared.founding().settled().map(|founding| Message::Founding(Box::new(founding.message()))),
        Role::Client | Role::Server => committee.as_deref().map(committee_file::message),
    });
    for message in messages {
        writer.send(message.encode()).await.ok()?;
    }
    Some(Welcomed { reader, writer, hello, handshake, transcript, knows_committee: committee.is_some() })
}

fn allow(shared: &Shared, message: Message, has_origin: bool) -> Result<Hello, LinkError> {
    let refuse = |code, detail: String| Err(Failed::new(Stream::LINK, code, detail).into());
    let Message::Hello(hello) = message else {
        return refuse(Code::Unexpected, format!("expected Hello, got {}", message.name()));
    };
    if hello.role == Role::Server || (has_origin && hello.role != Role::Client) {
        return refuse(Code::Unexpected, format!("expected a client or a replica, got a {}", hello.role));
    }
    let own = shared.committee().map(|committee| committee.cluster());
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
