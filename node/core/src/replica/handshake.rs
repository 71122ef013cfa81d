//! A replica's handshake with a server: both ends send a hello, then prove their node keys, the server first.

use vouch_core::chain::CommitteeChain;
use vouch_core::digest::ClusterId;
use vouch_core::link::{Hello, NodeKey, NodeSecretKey, Role, Transcript};
use vouch_core::message::{Code, Failed, Message, Stream};

/// A handshake in progress. The replica's hello is sent.
#[derive(Debug)]
pub struct Handshake {
    own: Hello,
    exporter: Option<[u8; 32]>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    AwaitHello,
    AwaitAuth(Box<(Hello, Transcript)>),
    Over,
}

/// A server that has proved its node key. The replica's own proof is next.
#[derive(Debug)]
pub struct ProvenServer {
    /// The server's node key.
    pub node_key: NodeKey,
    /// The cluster that the server serves; `None` before the founding.
    pub cluster: Option<ClusterId>,
    /// The newest epoch of that cluster that the server knows.
    pub epoch: u64,
    transcript: Transcript,
}

impl ProvenServer {
    /// The replica's proof of its own node key.
    pub fn auth(&self, node: &NodeSecretKey) -> Message {
        Message::Auth(node.sign(&self.transcript, Role::Replica))
    }
}

impl Handshake {
    /// The handshake and the hello to send. `nonce` is fresh randomness: otherwise a recorded proof could be replayed.
    /// `chain`: the committees of the replica's cluster, if it is in one. `exporter`: of the TLS connection, if there is one that no proxy ends:
    /// both proofs are for this connection only.
    pub fn begin(
        node_key: NodeKey,
        chain: Option<&CommitteeChain>,
        nonce: [u8; 32],
        exporter: Option<[u8; 32]>,
    ) -> (Self, Message) {
        let cluster = chain.map(CommitteeChain::cluster);
        let own = Hello::new(Role::Replica, cluster, node_key, nonce).knowing(chain);
        (Self { own, exporter, stage: Stage::AwaitHello }, Message::Hello(own))
    }

    /// What the server must do next, for a timeout's text.
    pub fn awaits(&self) -> &'static str {
        match self.stage {
            Stage::AwaitHello => "say hello",
            Stage::AwaitAuth(..) | Stage::Over => "authenticate",
        }
    }

    /// Handles the server's next message. Returns the server once it has proved its key.
    ///
    /// # Errors
    /// The refusal to send before the link is closed. The handshake has then ended.
    pub fn handle(&mut self, message: &Message) -> Result<Option<ProvenServer>, Failed> {
        let refused = |code, detail: String| Err(Failed::new(Stream::LINK, code, detail));
        match (std::mem::replace(&mut self.stage, Stage::Over), message) {
            (Stage::AwaitHello, Message::Hello(hello)) if hello.role == Role::Server => {
                if let (Some(ours), Some(theirs)) = (self.own.cluster, hello.cluster)
                    && ours != theirs
                {
                    let detail = format!("this replica belongs to {ours}, the server serves {theirs}");
                    return refused(Code::AnotherCluster, detail);
                }
                self.stage = Stage::AwaitAuth(Box::new((*hello, Transcript::new(&self.own, hello, self.exporter))));
                Ok(None)
            }
            (Stage::AwaitHello, other) => {
                refused(Code::Unexpected, format!("expected Hello of a server, got {}", other.name()))
            }
            (Stage::AwaitAuth(proof), Message::Auth(signature)) => {
                let (hello, transcript) = *proof;
                match transcript.verify(&hello.node_key, Role::Server, signature) {
                    Ok(()) => {
                        let Hello { node_key, cluster, epoch, .. } = hello;
                        Ok(Some(ProvenServer { node_key, cluster, epoch, transcript }))
                    }
                    Err(error) => refused(Code::Unexpected, error.to_string()),
                }
            }
            (Stage::AwaitAuth(..), other) => refused(Code::Unexpected, format!("expected Auth, got {}", other.name())),
            (Stage::Over, other) => {
                refused(Code::Unexpected, format!("expected nothing after the handshake, got {}", other.name()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::TestEpochs;

    /// A replica's cluster of two epochs.
    fn ours() -> CommitteeChain {
        TestEpochs::new(1, 1).chain
    }

    const THEIRS: ClusterId = ClusterId([2; 32]);

    fn key(byte: u8) -> NodeSecretKey {
        NodeSecretKey::from_bytes(&[byte; 32])
    }

    fn hello(role: Role, cluster: Option<ClusterId>) -> Hello {
        Hello::new(role, cluster, key(9).node_key(), [8; 32])
    }

    fn begin(chain: Option<&CommitteeChain>) -> (Handshake, Hello) {
        match Handshake::begin(key(1).node_key(), chain, [7; 32], None) {
            (handshake, Message::Hello(own)) => (handshake, own),
            (_, other) => panic!("{other:?}"),
        }
    }

    /// The code with which the message is refused. Every later message is refused as well.
    fn refusal(handshake: &mut Handshake, message: &Message) -> Code {
        let failed = handshake.handle(message).map(drop).unwrap_err();
        assert_eq!(failed.stream, Stream::LINK);
        assert_eq!(handshake.handle(message).map(drop).unwrap_err().code, Code::Unexpected);
        failed.code
    }

    #[test]
    fn both_ends_prove_their_keys_over_both_hellos() {
        let (mut handshake, own) = begin(None);
        let theirs = Hello { epoch: 3, ..hello(Role::Server, Some(THEIRS)) };
        assert_eq!(handshake.awaits(), "say hello");
        assert!(handshake.handle(&Message::Hello(theirs)).unwrap().is_none());
        assert_eq!(handshake.awaits(), "authenticate");
        let transcript = Transcript::new(&own, &theirs, None);
        let server = handshake.handle(&Message::Auth(key(9).sign(&transcript, Role::Server))).unwrap().unwrap();
        assert_eq!((server.node_key, server.cluster, server.epoch), (key(9).node_key(), Some(THEIRS), 3));
        let Message::Auth(signature) = server.auth(&key(1)) else { panic!("expected Auth") };
        assert!(transcript.verify(&own.node_key, Role::Replica, &signature).is_ok());
    }

    #[test]
    fn the_hello_of_a_server_comes_first() {
        let auth = Message::Auth(
            key(9).sign(&Transcript::new(&hello(Role::Replica, None), &hello(Role::Server, None), None), Role::Server),
        );
        for first in [
            auth,
            Message::Hello(hello(Role::Client, None)),
            Message::Hello(hello(Role::Replica, None)),
            Message::Stored { stream: Stream(1) },
        ] {
            assert_eq!(refusal(&mut begin(None).0, &first), Code::Unexpected, "{first:?}");
        }
    }

    #[test]
    fn only_another_cluster_is_refused() {
        let chain = ours();
        let (mut handshake, own) = begin(Some(&chain));
        assert_eq!((own.cluster, own.epoch), (Some(chain.cluster()), 1));
        assert_eq!(refusal(&mut handshake, &Message::Hello(hello(Role::Server, Some(THEIRS)))), Code::AnotherCluster);
        let (known, cluster) = (Some(&chain), Some(chain.cluster()));
        for (ours, theirs) in [(known, cluster), (known, None), (None, Some(THEIRS)), (None, None)] {
            assert!(begin(ours).0.handle(&Message::Hello(hello(Role::Server, theirs))).is_ok());
        }
    }

    #[test]
    fn a_proof_by_another_key_or_role_or_over_another_nonce_is_refused() {
        let theirs = hello(Role::Server, None);
        let stale = Hello { nonce: [0; 32], ..begin(None).1 };
        let own = begin(None).1;
        for (secret, role, dialer) in
            [(key(8), Role::Server, own), (key(9), Role::Replica, own), (key(9), Role::Server, stale)]
        {
            let (mut handshake, _) = begin(None);
            handshake.handle(&Message::Hello(theirs)).unwrap();
            let auth = Message::Auth(secret.sign(&Transcript::new(&dialer, &theirs, None), role));
            assert_eq!(refusal(&mut handshake, &auth), Code::Unexpected);
        }
        let (mut handshake, _) = begin(None);
        handshake.handle(&Message::Hello(theirs)).unwrap();
        assert_eq!(refusal(&mut handshake, &Message::Hello(theirs)), Code::Unexpected, "a second hello");
    }
}
