use std::sync::Mutex;

use vouch_core::link::NodeSecretKey;
use vouch_fixture::TestCommittee;

use super::*;
use crate::host::Host;
use crate::keys::ReplicaKeys;
use crate::replica::identity::committee_with;
use crate::replica::link::LinkContext;
use crate::replica::{Data, Replica, ReplicaConfig};

/// A replica in a committee of four, with the other members' keys, a link, and the reported events.
struct WatchedReplica {
    context: Arc<LinkContext>,
    others: Vec<(u16, NodeSecretKey)>,
    requests: mpsc::Receiver<Outgoing>,
    sender: mpsc::Sender<Outgoing>,
    events: Arc<Mutex<Vec<Event>>>,
    _folder: tempfile::TempDir,
}

impl WatchedReplica {
    fn new() -> Self {
        Self::of(|keys| committee_with(keys, 1..4))
    }

    /// A replica that is no member; all four of the committee are others.
    fn outside() -> Self {
        Self::of(|_| TestCommittee::of(1..=4))
    }

    fn of(committee: impl FnOnce(&ReplicaKeys) -> TestCommittee) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = ReplicaConfig::new(Data::Folder(folder.path().join("replica")), Vec::new());
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let reported = events.clone();
        let context =
            Replica::open_blocking(Host::system(), config, Arc::new(move |event| reported.lock().unwrap().push(event)))
                .unwrap()
                .link;
        let TestCommittee { committee, .. } = committee(&context.identity.keys);
        context.identity.committees.replace(Some(committee.clone().into()));
        let position = |key: &NodeSecretKey| committee.record().position(&key.node_key());
        let others = (1..=4u8).map(|number| NodeSecretKey::from_bytes(&[number; 32]));
        let others = others.filter_map(|key| Some((position(&key)?, key))).collect();
        let (sender, requests) = mpsc::channel(16);
        Self { context, others, requests, sender, events, _folder: folder }
    }

    /// The question that the replica sends now.
    fn asked(&mut self) -> (Stream, TimeQuestion) {
        self.context.clock.check();
        let request = self.requests.try_recv().expect("a question");
        let Message::AskTime { stream, asker, nonce } = Message::decode(&request.bytes).unwrap() else { panic!() };
        assert_eq!(asker, self.context.identity.node_key());
        (stream, TimeQuestion { cluster: self.context.identity.chain().unwrap().cluster(), asker, nonce })
    }

    /// Another member answers a question with this time.
    fn answer(&self, (stream, question): &(Stream, TimeQuestion), other: usize, time: u64) {
        let (member, key) = &self.others[other];
        self.context.clock.handle_answer(*stream, *member, time, &question.answer(key, time));
    }

    fn doubt(&self) -> Option<String> {
        self.context.clock.doubt()
    }

    /// A further question, sent at once as after a new link.
    fn ask_again(&mut self) -> (Stream, TimeQuestion) {
        self.context.clock.trust();
        self.asked()
    }
}

#[test]
fn only_answers_signed_by_their_members_count() {
    let mut watched = WatchedReplica::new();
    let context = watched.context.clone();
    let sender = watched.sender.clone();
    let _link = context.clock.link(sender);
    let first = watched.asked();
    let far = Host::system().unix_seconds() + 7200;
    // one member of four may lie
    watched.answer(&first, 0, far);
    watched.answer(&first, 0, far);
    assert_eq!(watched.doubt(), None);
    let (stream, question) = first;
    let (member, key) = &watched.others[1];
    let forged = [
        // signed for another time, by another member, for another nonce, for no question, by the asker, by nobody
        (stream, *member, question.answer(key, far - 1)),
        (stream, *member, question.answer(&watched.others[2].1, far)),
        (stream, *member, TimeQuestion { nonce: [0; 32], ..question }.answer(key, far)),
        (Stream(7), *member, question.answer(key, far)),
        (
            stream,
            context.identity.position(context.identity.chain().unwrap().current()).unwrap(),
            question.answer(&context.identity.keys.node, far),
        ),
        (stream, 999, question.answer(key, far)),
    ];
    for (stream, member, signature) in forged {
        context.clock.handle_answer(stream, member, far, &signature);
        assert_eq!(watched.doubt(), None);
    }
    assert!(watched.events.lock().unwrap().is_empty());

    watched.answer(&first, 1, far);
    let doubt = watched.doubt().unwrap();
    let name = |other: usize| format!("replica-{}", watched.others[other].0);
    for part in ["it is ", "2 h behind ", &name(0), &name(1)] {
        assert!(doubt.contains(part), "{part}: {doubt}");
    }
    assert!(context.clock.status().in_doubt);
    assert!(context.clock.status().reason.unwrap().contains("2 h behind"));
    // an answer to an earlier question does not count for a later one
    let second = watched.ask_again();
    assert_ne!(second.1.nonce, first.1.nonce);
    for other in 0..2 {
        let (member, key) = &watched.others[other];
        context.clock.handle_answer(second.0, *member, far, &first.1.answer(key, far));
    }
    assert_eq!(watched.doubt(), None);
}

#[test]
fn the_beginning_and_the_end_of_a_doubt_are_reported_once() {
    let mut watched = WatchedReplica::new();
    let context = watched.context.clone();
    let sender = watched.sender.clone();
    let link = context.clock.link(sender);
    watched.asked();
    context.clock.simulate_jump(3600);
    for _ in 0..3 {
        assert!(watched.doubt().unwrap().ends_with("it was set forward by 1 h"));
    }
    let question = watched.asked();
    let now = Host::system().unix_seconds();
    for other in 0..3 {
        watched.answer(&question, other, now);
    }
    assert_eq!(watched.doubt(), None);
    let status = context.clock.status();
    assert_eq!((status.in_doubt, status.reason, status.agreeing), (false, None, 3));
    let events = watched.events.lock().unwrap().clone();
    let [Event::ClockInDoubt(began), Event::ClockTrusted(ended)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(began, "it was set forward by 1 h");
    assert!(
        ended.starts_with("it agrees with replica-") && ended.ends_with("before, it was set forward by 1 h"),
        "{ended}"
    );
    // no question is sent without a link
    drop(link);
    context.clock.simulate_jump(0);
    context.clock.check();
    assert!(watched.requests.try_recv().is_err());
}

#[test]
fn strangers_are_not_answered_and_members_not_too_often() {
    let watched = WatchedReplica::new();
    let context = &watched.context;
    let cluster = context.identity.chain().unwrap().cluster();
    let own = context.identity.node_key();
    let stranger = NodeSecretKey::from_bytes(&[77; 32]).node_key();
    for asker in [own, stranger, NodeKey::ANONYMOUS] {
        assert_eq!(context.clock.answer(Stream(1), asker, [5; 32]), None);
    }
    let (asker, other) = (watched.others[0].1.node_key(), watched.others[1].1.node_key());
    let answered = (0..100).filter_map(|_| context.clock.answer(Stream(3), asker, [5; 32])).collect::<Vec<_>>();
    // on a busy machine this takes long enough for further tokens
    assert!((4..20).contains(&answered.len()), "{}", answered.len());
    assert!(context.clock.answer(Stream(3), other, [5; 32]).is_some(), "each asker has its own limit");
    let Message::SignedTime { stream, member, time, signature } = &answered[0] else { panic!() };
    assert_eq!(
        (*stream, Some(*member)),
        (Stream(3), context.identity.chain().unwrap().current().record().position(&own))
    );
    assert!(time.abs_diff(Host::system().unix_seconds()) < 60);
    TimeQuestion { cluster, asker, nonce: [5; 32] }.verify(&own, *time, signature).unwrap();
}

#[test]
fn a_node_that_joins_asks_all_members_and_f_plus_one_can_contradict_it() {
    let mut watched = WatchedReplica::outside();
    let context = watched.context.clone();
    let sender = watched.sender.clone();
    let _link = context.clock.link(sender);
    context.clock.check();
    assert!(watched.requests.try_recv().is_err(), "nobody answers a node that does not join");
    context.clock.set_joining([context.identity.node_key()].into());
    let question = watched.asked();
    let wrong = Host::system().unix_seconds() - 7200;
    watched.answer(&question, 0, wrong);
    assert_eq!(watched.doubt(), None);
    watched.answer(&question, 1, wrong);
    assert!(watched.doubt().unwrap().contains("2 h ahead of"));
    // The change is given up, and another one adds the node again: what members said stays true.
    for joining in [BTreeSet::new(), [context.identity.node_key()].into()] {
        context.clock.set_joining(joining);
        context.clock.check();
        assert!(watched.doubt().is_some());
    }
}

#[test]
fn nodes_that_an_approved_change_adds_are_answered() {
    let watched = WatchedReplica::new();
    let clock = &watched.context.clock;
    let joining = NodeSecretKey::from_bytes(&[77; 32]).node_key();
    let answer = || clock.answer(Stream(1), joining, [5; 32]);
    assert_eq!(answer(), None);
    clock.set_joining([joining].into());
    assert!(matches!(answer(), Some(Message::SignedTime { .. })));
    clock.set_joining(BTreeSet::new());
    assert_eq!(answer(), None);
}
