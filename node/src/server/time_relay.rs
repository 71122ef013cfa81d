//! Relays a member's question for the others' times, and their answers.

use vouch_core::link::NodeKey;
use vouch_core::message::{Message, Stream};
use vouch_node_core::server::time_relay::{TimeRelay, TimeRelayInput, TimeRelayOutput};

use super::member_links::MemberLinks;

/// Relays the question of a member with this node key, which has the number `stream` on its link.
pub(super) async fn relay(links: MemberLinks, member: u16, stream: Stream, asker: NodeKey, nonce: [u8; 32]) {
    let own = links.numbers().next();
    let mut core = TimeRelay::new(member, stream, links.connected(), links.now());
    let mut replies = links.replies(own, core.awaited().len());
    let asked = links.ask(core.awaited(), &Message::AskTime { stream: own, asker, nonce });
    let mut input = Some(TimeRelayInput::Asked(asked));
    loop {
        let outputs = input.map(|input| core.handle(input, links.now())).unwrap_or_default();
        for output in outputs {
            match output {
                // Fails if the asker has left.
                TimeRelayOutput::Answer(answer) => drop(links.try_send(member, &answer)),
                TimeRelayOutput::Over => return,
            }
        }
        input = match replies.next(core.next_tick()).await {
            Some(reply) => TimeRelayInput::of_reply(reply.member, &reply.message),
            None => Some(TimeRelayInput::Tick),
        };
    }
}
