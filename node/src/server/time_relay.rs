//! Members ask each other what time it is. The server passes questions and answers on: it reads neither, and can forge neither.

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

/// Questions of one member: so many at once, and then one every so often.
const QUESTIONS: u32 = 4;
const QUESTION_EVERY: Duration = Duration::from_secs(2);
/// Questions of one member whose answers are waited for.
const AT_ONCE: usize = 4;
/// How long answers are waited for.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The questions of one member; they end with its link.
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
    /// Passes a question on to all other members that are connected, and their answers back. A question too many is passed
    /// over: the member asks again.
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
                // one that left meanwhile hears nothing
                snapshot.members.get(&member).map(|handle| handle.tell(&answer));
            }
        }
    };
    // who has not answered by now is late
    let _ = shared.host.timeout(ANSWERS_WITHIN, passing_on).await;
}
