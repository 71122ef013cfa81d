//! Relays a replica's question for the members' times, and their answers.

use vouch_core::link::NodeKey;
use vouch_core::message::{Message, Stream};
use vouch_node_core::server::time_relay::{TimeRelay, TimeRelayInput, TimeRelayOutput};

use super::member_links::MemberLinks;

/// Relays the question of the replica with this node key, which has the number `stream` on its link. `answer` sends to it.
pub(super) async fn relay(
    links: MemberLinks,
    stream: Stream,
    asker: NodeKey,
    nonce: [u8; 32],
    answer: impl Fn(&Message),
) {
    let own = links.numbers().next();
    let member = links.chain().and_then(|chain| chain.current().record().position(&asker));
    let mut core = TimeRelay::new(member, stream, links.connected(), links.now());
    let mut replies = links.replies(own, core.awaited().len());
    let asked = links.ask(core.awaited(), &Message::AskTime { stream: own, asker, nonce });
    let mut input = Some(TimeRelayInput::Asked(asked));
    loop {
        let outputs = input.map(|input| core.handle(input, links.now())).unwrap_or_default();
        for output in outputs {
            match output {
                TimeRelayOutput::Answer(message) => answer(&message),
                TimeRelayOutput::Over => return,
            }
        }
        input = match replies.next(core.next_tick()).await {
            Some(reply) => TimeRelayInput::of_reply(reply.member, &reply.message),
            None => Some(TimeRelayInput::Tick),
        };
    }
}
