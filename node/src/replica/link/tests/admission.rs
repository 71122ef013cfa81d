//! A server that passes on what the rules of access forbid.

use std::collections::BTreeSet;

use vouch_core::access::{AccessChange, AccessOp, Action, Decision, Grant, NO_LIMIT, Rules, TokenSecret, Who};
use vouch_core::bls::VoteSecretKey;
use vouch_core::committee::{CommitteeRecord, Member, MemberName};
use vouch_core::digest::ClusterId;
use vouch_core::link::NodeSecretKey;
use vouch_core::log::Op;
use vouch_node_core::access::Access;

use super::*;

fn alice() -> TokenSecret {
    TokenSecret::from_bytes(&[3; 32])
}

/// The link of a replica whose log requires tokens for everything, and grants Alice one.
fn restricted() -> (TestLink, ClusterId) {
    let (link, node) = (TestLink::open(), NodeSecretKey::from_bytes(&[1; 32]));
    let name = MemberName::new("one").unwrap();
    let vote_key = VoteSecretKey::generate(&[1; 32]).unwrap().vote_key();
    let member = Member { node_key: node.node_key(), vote_key, name };
    let record = CommitteeRecord::genesis([0; 16], vec![member]).unwrap();
    let grant = Grant { name, largest: NO_LIMIT, rate: NO_LIMIT, quota: NO_LIMIT, expires_at: NO_LIMIT };
    let rules = Rules { put: Who::Tokens, read: Who::Tokens };
    let (mut access, cluster) = (Access::default(), record.cluster());
    for (number, decision) in (1..).zip([Decision::Rules(rules), Decision::Grant(alice().key(), grant)]) {
        let op = AccessOp::approve(AccessChange { cluster, number, decision }, 1, &record, &node);
        access.apply(&record, &Op::new(op.kind(), [0; 16], 1, op.body()).unwrap());
    }
    assert_eq!(access.number(), 2);
    link.context.admission.set_access(cluster, Arc::new(access), BTreeSet::new());
    (link, cluster)
}

fn receipt(salt: u8, bytes: &[u8], expires_at: u64) -> Receipt {
    Receipt { salt: [salt; 16], digest: Digest::of(bytes), length: bytes.len() as u64, expires_at }
}

fn now() -> u64 {
    Host::system().unix_seconds()
}

/// The code with which the replica refuses a message.
async fn refusal(link: &mut TestLink, message: Message) -> (Code, Vec<u16>) {
    link.send(message).await;
    match link.reply().await {
        Message::Failed(failed) => (failed.code, failed.subjects),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_no_holder_of_a_token_asked_for_is_refused() {
    let (mut link, cluster) = restricted();
    let (stream, bytes) = (Stream(1), Bytes::from_static(b"the bytes of a put"));
    let wanted = receipt(1, &bytes, NEVER);
    let signed = |action| Some(alice().authorise(&cluster, action, now()));
    let other = receipt(2, &bytes, NEVER);
    for authorisation in [None, signed(Action::Store(&other)), signed(Action::Send)] {
        let blob = Message::Blob { stream, receipt: wanted, renew: false, authorisation, bytes: bytes.clone() };
        let put = Message::Put { stream, offer: Some(wanted), renew: false, authorisation };
        let locate = Message::Locate { stream, digest: wanted.digest, authorisation };
        for message in [blob, put, locate] {
            assert_eq!(refusal(&mut link, message).await.0, Code::NotAdmitted);
        }
    }
    let stream_of_bytes = Message::Put { stream, offer: None, renew: false, authorisation: None };
    assert_eq!(refusal(&mut link, stream_of_bytes).await.0, Code::NotAdmitted);
    // The holder's own put is stored, and found by the holder.
    let authorisation = signed(Action::Store(&wanted));
    link.send(Message::Blob { stream, receipt: wanted, renew: false, authorisation, bytes: bytes.clone() }).await;
    assert_eq!(link.reply().await, Message::Stored { stream });
    let authorisation = signed(Action::Read(&wanted.digest));
    link.send(Message::Locate { stream, digest: wanted.digest, authorisation }).await;
    assert!(link.replies.is_empty() && link.shell.running.len() == 1, "it is looked up");
}

#[tokio::test]
async fn a_stream_whose_end_is_not_authorised_is_given_up() {
    let (mut link, cluster) = restricted();
    let bytes = Bytes::from_static(b"the bytes of a put");
    let wanted = receipt(1, &bytes, NEVER);
    let signed = |action| Some(alice().authorise(&cluster, action, now()));
    for (number, authorisation) in [(1, signed(Action::Send)), (2, signed(Action::Store(&wanted)))] {
        let stream = Stream(number);
        let to_send = signed(Action::Send);
        link.send(Message::Put { stream, offer: None, renew: false, authorisation: to_send }).await;
        link.send(Message::Chunk { stream, offset: 0, parents: Vec::new(), bytes: bytes.clone() }).await;
        link.send(Message::PutEnd { stream, receipt: wanted, authorisation }).await;
        match (number, link.reply().await) {
            (1, Message::Failed(failed)) => assert_eq!((failed.stream, failed.code), (stream, Code::NotAdmitted)),
            (2, Message::Stored { stream: stored }) => assert_eq!(stored, stream),
            (_, other) => panic!("{other:?}"),
        }
        link.settle().await;
        assert_eq!(link.context.storage.store.holds(&wanted.assignment(None)).unwrap(), number == 2);
    }
}

#[tokio::test]
async fn a_server_cannot_have_signed_what_nobody_offered_with_a_token() {
    let (mut link, cluster) = restricted();
    let bytes = Bytes::from_static(b"the bytes of a put");
    let (wanted, soon) = (receipt(1, &bytes, NEVER), now() + 1000);
    let stored = receipt(2, b"stored before there were rules", soon);
    let store = &link.context.storage.store;
    store.put_small(&stored.assignment(None), Bytes::from_static(b"stored before there were rules")).await.unwrap();
    let (stream, authorisation) = (Stream(1), Some(alice().authorise(&cluster, Action::Store(&wanted), now())));
    link.send(Message::Blob { stream, receipt: wanted, renew: false, authorisation, bytes }).await;
    assert_eq!(link.reply().await, Message::Stored { stream });
    // What adds nothing may be certified again; more time, or another put of the same bytes for longer, may not.
    let longer = Receipt { expires_at: soon + 1, ..stored };
    let again = Receipt { salt: [9; 16], expires_at: soon - 1, ..stored };
    let receipts = vec![wanted, longer, stored, again];
    let (code, subjects) = refusal(&mut link, Message::Propose { stream, issued_at: now(), receipts }).await;
    assert_eq!((code, subjects), (Code::NotHeld, vec![1]));
}
