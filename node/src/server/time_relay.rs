//! Relays the members' questions for each other's time, and the signed answers. The server can forge neither.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use vouch_core::link::NodeKey;
use vouch_core::message::{Message, Stream};
use vouch_node_core::budgets::TokenBucket;

use super::Shared;
use super::routes::Reply;
use crate::host::tasks::JoinSet;

/// Token bucket for one member's questions: a burst, and then one per interval.
const QUESTIONS: u32 = 4;
const QUESTION_EVERY: Duration = Duration::from_secs(2);
/// Maximum number of one member's questions in progress.
const AT_ONCE: usize = 4;
/// How long the relay waits for answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The questions of one member. They end with its link.
#[derive(Debug)]
pub(super) struct TimeRelay {
    waiting: JoinSet<()>,
    allowance: TokenBucket,
}

impl Default for TimeRelay {
    fn default() -> Self {
        Self { waiting: JoinSet::new(), allowance: TokenBucket::new(QUESTIONS, QUESTION_EVERY) }
    }
}

impl TimeRelay {
    /// Relays a question to all other connected members, and their answers back. A question beyond the limits is ignored: the member asks
    /// again.
    pub(super) fn ask(&mut self, shared: &Arc<Shared>, member: u16, stream: Stream, asker: NodeKey, nonce: [u8; 32]) {
        while self.waiting.try_join_next().is_some() {}
        if self.waiting.len() < AT_ONCE && self.allowance.take(shared.host.monotonic()) {
            self.waiting.spawn(relay(shared.clone(), member, stream, asker, nonce));
        }
    }
}

async fn relay(shared: Arc<Shared>, member: u16, stream: Stream, asker: NodeKey, nonce: [u8; 32]) {
    let snapshot = shared.snapshot.get();
    let own = shared.stream();
    let (mailbox, mut answers) = mpsc::channel(snapshot.members.len().max(1));
    let _route = shared.routes.open(own, mailbox);
    let question = Message::AskTime { stream: own, asker, nonce };
    let others = snapshot.members.iter().filter(|(other, _)| **other != member);
    let mut asked: BTreeSet<u16> =
        others.filter(|(_, handle)| handle.tell(&question)).map(|(other, _)| *other).collect();
    let passing_on = async {
        while !asked.is_empty() {
            let Some(reply) = answers.recv().await else { return };
            let Reply { member: from, message, .. } = *reply;
            if let Message::SignedTime { time, signature, .. } = message
                && asked.remove(&from)
            {
                let answer = Message::SignedTime { stream, member: from, time, signature };
                let snapshot = shared.snapshot.get();
                // Fails if the asker has left.
                snapshot.members.get(&member).map(|handle| handle.tell(&answer));
            }
        }
    };
    // Members that have not answered by now are late.
    let _ = shared.host.timeout(ANSWERS_WITHIN, passing_on).await;
}
