//! The message `Epochs`: later committees on links.

use support::committee::{TestEpochs, node_secret};
use vouch_core::DecodeError;
use vouch_core::bls::VoteKey;
use vouch_core::chain::{CommitteeChain, EpochLink};
use vouch_core::committee::{CommitteeRecord, Member, MemberName};
use vouch_core::message::{EpochsMessage, MAX_MESSAGE, Message, MessageError};

fn links(n: u16, handoffs: u64) -> (CommitteeChain, Vec<EpochLink>) {
    let epochs = TestEpochs::new(n, handoffs);
    let links = epochs.chain.links(handoffs).collect();
    (epochs.chain, links)
}

fn shown(message: &Message) -> EpochsMessage {
    match Message::decode(&message.encode()) {
        Ok(Message::Epochs(epochs)) => epochs,
        other => panic!("{other:?}"),
    }
}

#[test]
fn epochs_survive_the_way_in_one_message_or_in_several() {
    let (chain, all) = links(4, 3);
    let [message] = &Message::epochs(all.clone())[..] else { panic!("they fit one message") };
    let EpochsMessage { more, links } = shown(message);
    assert_eq!((more, &links), (false, &all));
    let extended = CommitteeChain::new(chain.first().clone()).extended(links).unwrap();
    assert_eq!(extended.current().record(), chain.current().record());
    assert_eq!(Message::epochs([]), []);
}

#[test]
fn each_message_keeps_the_limit_and_only_the_last_says_that_no_other_follows() {
    // about 104 kB each
    let (_, mut large) = links(1, 2);
    let keys = |i: u16| node_secret(&format!("large {i}")).node_key();
    let members = (0..1000).map(|i| Member {
        node_key: keys(i),
        vote_key: VoteKey(std::array::from_fn(|at| if at < 2 { i.to_le_bytes()[at] } else { 9 })),
        name: MemberName::new("large").unwrap(),
    });
    let lineage = *large[1].committee.lineage().unwrap();
    let policy = large[1].committee.policy();
    large[1].committee = CommitteeRecord::later(lineage, policy, members.collect()).unwrap();
    let many = vec![large[1].clone(); 12];
    let messages = Message::epochs(many.clone());
    assert_eq!(messages.len(), 3);
    let mut rest = &many[..];
    for (at, message) in messages.iter().enumerate() {
        let Message::Epochs(EpochsMessage { more, links }) = message else { panic!("{message:?}") };
        assert_eq!(*more, at + 1 < messages.len());
        assert!(message.encode().len() <= MAX_MESSAGE);
        let (these, later) = rest.split_at(links.len());
        assert_eq!(links, these);
        rest = later;
    }
    assert_eq!(rest, []);
}

#[test]
fn no_epochs_a_gap_and_a_genesis_are_refused() {
    let (chain, all) = links(1, 3);
    let message = |links: Vec<EpochLink>| Message::Epochs(EpochsMessage { more: false, links }).encode();
    let count = |got| DecodeError::OutOfRange { field: "number of epochs", min: 1, max: 4096, got };
    assert_eq!(Message::decode(&message(Vec::new())), Err(count(0).into()));
    let gap = DecodeError::OutOfRange { field: "epoch, one above the last", min: 2, max: 2, got: 3 };
    assert_eq!(Message::decode(&message(vec![all[0].clone(), all[2].clone()])), Err(gap.into()));
    let genesis = EpochLink { committee: chain.first().record().clone(), ..all[0].clone() };
    assert!(matches!(Message::decode(&message(vec![genesis])), Err(MessageError::Committee(_))));
    // The count is believed only as far as there are bytes.
    let mut claims = message(all).to_vec();
    claims[2..4].copy_from_slice(&4096u16.to_le_bytes());
    assert!(Message::decode(&claims.into()).is_err());
}
