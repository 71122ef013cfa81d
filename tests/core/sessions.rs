//! Client sessions against a server in memory that may lie.
//!
//! This file has the server and the handshake; the submodules have puts and gets.

mod attempts;
mod epochs;
mod failure;
mod get;
mod lone_put;
mod progress;
mod put;
mod put_link;
mod reuse;
mod tokens;

use std::sync::LazyLock;

use bytes::Bytes;
use vouch_core::committee::{GenesisError, PossessionError};
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::link::{AuthError, Hello, HelloError, Role, Transcript};
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::session::{GetRequest, GetSession, SessionError, Source};

use lone_put::LonePut;
use support::committee::{TestCommittee, hello_nonce, node_secret};

static CLUSTER: LazyLock<TestCommittee> = LazyLock::new(|| TestCommittee::labelled("sessions", 4));
static FOREIGN: LazyLock<TestCommittee> = LazyLock::new(|| TestCommittee::labelled("sessions abroad", 4));

fn identity(cluster: &TestCommittee) -> ClusterId {
    cluster.committee.cluster()
}

/// The handshake of a server, honest by default.
struct Server {
    role: Role,
    announced: Option<ClusterId>,
    signer: &'static str,
    signs_as: Role,
    signs_nonce: [u8; 32],
}

const KEY: &str = "sessions server";

impl Server {
    fn honest() -> Self {
        let signs_nonce = hello_nonce("sessions server");
        let announced = Some(identity(&CLUSTER));
        Self { role: Role::Server, announced, signer: KEY, signs_as: Role::Server, signs_nonce }
    }

    /// Its `Hello` and its `Auth`.
    fn welcome(&self, hello: &Message) -> [Bytes; 2] {
        let Message::Hello(dialer) = hello else { panic!("expected Hello, got {hello:?}") };
        let listener =
            Hello::new(self.role, self.announced, node_secret(KEY).node_key(), hello_nonce("sessions server"));
        let transcript = Transcript::new(dialer, &Hello { nonce: self.signs_nonce, ..listener }, None);
        let auth = Message::Auth(node_secret(self.signer).sign(&transcript, self.signs_as));
        [Message::Hello(listener).encode(), auth.encode()]
    }
}

type Receive = Box<dyn FnMut(&Bytes) -> Result<(), SessionError>>;

/// A put and a get session, which share the handshake, with their first messages.
fn both(trusted: Option<ClusterId>) -> [(Receive, Message); 2] {
    let (mut put, put_hello) = LonePut::new(put::request(trusted, Source::Streamed));
    let get = GetRequest { trusted, digest: Digest::of(b""), length: None, range: None, nonce: hello_nonce("get") };
    let (mut get, get_hello) = GetSession::new(get);
    [
        (Box::new(move |bytes| put.receive(bytes, put::NOW).map(|_| ())), put_hello),
        (Box::new(move |bytes| get.receive(bytes).map(|_| ())), get_hello),
    ]
}

/// The error that both sessions end with when the server sends these messages.
fn outcome(trusted: Option<ClusterId>, server: &Server, then: &[Message]) -> SessionError {
    let [put, get] = both(trusted).map(|(mut receive, hello)| {
        let welcome = server.welcome(&hello).into_iter();
        let all = welcome.chain(then.iter().map(Message::encode));
        all.map(|bytes| receive(&bytes)).find_map(Result::err).expect("some error")
    });
    assert_eq!(put, get);
    put
}

fn unexpected(expected: &'static str, got: &'static str) -> SessionError {
    SessionError::Unexpected { expected, got }
}

#[test]
fn hello_names_only_the_trusted_cluster() {
    for trusted in [None, Some(identity(&CLUSTER))] {
        for (_, hello) in both(trusted) {
            let Message::Hello(hello) = hello else { panic!("{hello:?}") };
            assert_eq!((hello.role, hello.cluster, hello.epoch), (Role::Client, trusted, 0));
            assert_eq!(hello.node_key, vouch_core::link::NodeKey::ANONYMOUS);
        }
    }
}

#[test]
fn only_a_server_may_answer_the_hello() {
    for role in [Role::Client, Role::Replica] {
        let server = Server { role, ..Server::honest() };
        assert_eq!(outcome(None, &server, &[]), unexpected("Hello of a server", "Hello"));
    }
}

#[test]
fn other_link_version_is_refused() {
    for (mut receive, hello) in both(None) {
        let [mut listener, _] = Server::honest().welcome(&hello).map(Vec::from);
        listener[1] = 1;
        let error = HelloError::Version { theirs: 1 };
        assert_eq!(receive(&listener.into()), Err(SessionError::Malformed(error.into())));
    }
}

#[test]
fn messages_out_of_order_are_refused() {
    let ready = Message::Ready { stream: Stream(1), offset: 0 };
    for (mut receive, hello) in both(None) {
        let [_, auth] = Server::honest().welcome(&hello);
        assert_eq!(receive(&auth), Err(unexpected("Hello of a server", "Auth")));
    }
    for (mut receive, hello) in both(None) {
        let [listener, _] = Server::honest().welcome(&hello);
        assert_eq!(receive(&listener), Ok(()));
        assert_eq!(receive(&listener), Err(unexpected("Auth", "Hello")));
    }
    for (mut receive, hello) in both(None) {
        let [listener, _] = Server::honest().welcome(&hello);
        assert_eq!(receive(&listener), Ok(()));
        assert_eq!(receive(&CLUSTER.message().encode()), Err(unexpected("Auth", "Cluster")));
    }
    for (mut receive, _) in both(None) {
        assert_eq!(receive(&ready.encode()), Err(unexpected("Hello of a server", "Ready")));
    }
}

#[test]
fn server_must_prove_its_key() {
    let honest = Server::honest;
    let lies = [
        Server { signer: "another", ..honest() },
        Server { signs_as: Role::Replica, ..honest() },
        Server { signs_nonce: [0; 32], ..honest() },
    ];
    let refused = AuthError { role: Role::Server, key: node_secret(KEY).node_key() };
    for lie in lies {
        assert_eq!(outcome(None, &lie, &[]), SessionError::Auth(refused));
    }
}

#[test]
fn server_must_belong_to_the_trusted_cluster() {
    let (trusted, abroad) = (identity(&CLUSTER), identity(&FOREIGN));
    for announced in [None, Some(abroad)] {
        let server = Server { announced, ..Server::honest() };
        let expected = SessionError::AnotherCluster { expected: trusted, got: announced };
        assert_eq!(outcome(Some(trusted), &server, &[]), expected);
    }
}

#[test]
fn committee_must_match_the_trusted_or_announced_identity() {
    let home = identity(&CLUSTER);
    let expected = SessionError::AnotherCluster { expected: home, got: Some(identity(&FOREIGN)) };
    for trusted in [None, Some(home)] {
        assert_eq!(outcome(trusted, &Server::honest(), &[FOREIGN.message()]), expected);
    }
}

#[test]
fn client_without_trust_accepts_the_committee_shown() {
    let server = Server { announced: None, ..Server::honest() };
    for (mut receive, hello) in both(None) {
        for bytes in server.welcome(&hello) {
            assert_eq!(receive(&bytes), Ok(()));
        }
        assert_eq!(receive(&FOREIGN.message().encode()), Ok(()));
    }
}

#[test]
fn committee_must_prove_its_keys() {
    let mut possessions = CLUSTER.committee.possessions().to_vec();
    possessions[2] = possessions[1];
    let error = outcome(None, &Server::honest(), &[CLUSTER.message_with(possessions)]);
    let SessionError::Committee(GenesisError::Possession(error)) = error else { panic!("{error:?}") };
    assert_eq!(error, PossessionError::Together { members: 4 });
}

#[test]
fn known_committee_is_reused_for_itself_only() {
    let known = CLUSTER.committee.clone();
    let receive = |shown: Message| {
        let request = put::request(None, Source::Streamed);
        let (mut session, hello) = LonePut::with(request, Some(known.clone().into()), None, None).unwrap();
        let server = Server { announced: None, ..Server::honest() };
        for bytes in server.welcome(&hello) {
            session.receive(&bytes, put::NOW).unwrap();
        }
        session.receive(&shown.encode(), put::NOW)?;
        Ok::<_, SessionError>(session.chain.unwrap().current().clone())
    };
    assert!(std::sync::Arc::ptr_eq(&receive(CLUSTER.message()).unwrap(), &known), "its proofs were checked");
    assert_eq!(receive(FOREIGN.message()).unwrap().cluster(), identity(&FOREIGN));
    // the same members with other proofs are verified like an unknown committee
    let mut possessions = CLUSTER.committee.possessions().to_vec();
    possessions.swap(0, 1);
    assert!(matches!(receive(CLUSTER.message_with(possessions)), Err(SessionError::Committee(_))));
}

#[test]
fn second_committee_is_refused() {
    for (mut receive, hello) in both(None) {
        for bytes in Server::honest().welcome(&hello) {
            receive(&bytes).unwrap();
        }
        receive(&CLUSTER.message().encode()).unwrap();
        assert!(matches!(receive(&CLUSTER.message().encode()), Err(SessionError::Unexpected { got: "Cluster", .. })));
    }
}

#[test]
fn malformed_message_ends_the_session() {
    let broken = [vec![], vec![0xFF], vec![0x14, 1, 0, 0], vec![0x14, 0, 0, 0, 0], vec![0x14, 1, 0, 0, 0, 0]];
    let steps = |hello: &Message| {
        let [listener, auth] = Server::honest().welcome(hello);
        [listener, auth, CLUSTER.message().encode()]
    };
    for taken in 0..=3 {
        for bytes in &broken {
            for (mut receive, hello) in both(None) {
                for step in &steps(&hello)[..taken] {
                    receive(step).unwrap();
                }
                let outcome = receive(&Bytes::copy_from_slice(bytes));
                assert!(matches!(outcome, Err(SessionError::Malformed(_))), "{bytes:?} after {taken}: {outcome:?}");
            }
        }
    }
}

#[test]
fn failure_names_its_members_once_the_committee_is_known() {
    let about = |code| Message::Failed(Failed::new(Stream::LINK, code, "detail").with_subjects(vec![1, 3, 7]));
    let names = |then: &[Message]| match outcome(None, &Server::honest(), then) {
        SessionError::Refused { names, .. } => names,
        other => panic!("{other:?}"),
    };
    let none: [&str; 0] = [];
    for code in [Code::NotEnoughReplicas, Code::TimedOut] {
        assert_eq!(names(&[CLUSTER.message(), about(code)]), ["replica-1", "replica-3", "member 7"]);
        assert_eq!(names(&[about(code)]), none);
    }
    // for this code the subjects are receipts, not members
    assert_eq!(names(&[CLUSTER.message(), about(Code::NotHeld)]), none);
    // a failure may come at any time, even before the hello
    for (mut receive, _) in both(None) {
        let failed = Failed::new(Stream::LINK, Code::Busy, "full");
        let refused = SessionError::Refused { failed: failed.clone(), names: Vec::new() };
        assert_eq!(receive(&Message::Failed(failed).encode()), Err(refused));
    }
}

/// Every message at every step: the session ends or ignores it, and never panics.
#[test]
fn any_message_at_any_step_causes_no_panic() {
    let strange = crate::golden::messages(&FOREIGN);
    for taken in 0..=3 {
        for (name, message) in &strange {
            for (mut receive, hello) in both(Some(identity(&CLUSTER))) {
                let [listener, auth] = Server::honest().welcome(&hello);
                for step in &[listener, auth, CLUSTER.message().encode()][..taken] {
                    receive(step).unwrap();
                }
                let outcome = receive(&message.encode());
                assert!(outcome.is_err(), "{name} after {taken}: {outcome:?}");
            }
        }
    }
}
