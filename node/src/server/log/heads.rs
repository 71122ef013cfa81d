//! Performs the certification of the log's heads.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use tokio::sync::mpsc;
use vouch_core::message::Message;
use vouch_node_core::server::health::Fault;
use vouch_node_core::server::log_heads::{LogHeads, LogHeadsInput, LogHeadsOutput};

use super::ServerLog;
use crate::server::member_links::Replies;

/// Has each new head certified, until the server ends.
pub(in crate::server) async fn certify_heads(log: Weak<ServerLog>, inputs: mpsc::Receiver<LogHeadsInput>) {
    let Some(committee) = committee(&log).await else { return };
    let epoch = committee.record().epoch();
    let Some(numbers) = log.upgrade().map(|log| log.members.numbers().clone()) else { return };
    let core = LogHeads::new(committee, numbers);
    let (verified, verifications) = mpsc::channel(1);
    let connected = BTreeSet::new();
    HeadsTask { log, epoch, core, inputs, verified, verifications, replies: None, connected }.run().await;
}

/// Waits for the founding.
async fn committee(log: &Weak<ServerLog>) -> Option<Arc<vouch_core::committee::Committee>> {
    let mut snapshots = log.upgrade()?.members.follow();
    loop {
        if let Some(chain) = &snapshots.see().chain {
            return Some(chain.current().clone());
        }
        snapshots.changed().await.ok()?;
    }
}

struct HeadsTask {
    log: Weak<ServerLog>,
    /// Of the committee whose members sign.
    epoch: u64,
    core: LogHeads,
    inputs: mpsc::Receiver<LogHeadsInput>,
    verified: mpsc::Sender<LogHeadsInput>,
    verifications: mpsc::Receiver<LogHeadsInput>,
    /// The answers to the current request.
    replies: Option<Replies>,
    /// The members that were connected at the last look.
    connected: BTreeSet<u16>,
}

impl HeadsTask {
    async fn run(mut self) {
        let Some((mut snapshots, connected)) =
            self.log.upgrade().map(|log| (log.members.follow(), log.members.connected()))
        else {
            return;
        };
        self.connected = connected;
        loop {
            let input = {
                let Some(log) = self.log.upgrade() else { return };
                let host = log.members.host().clone();
                // The server may end while this waits.
                drop(log);
                let tick = self.core.next_tick();
                let pause = async {
                    match tick {
                        Some(at) => host.sleep(at.saturating_sub(host.monotonic())).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    Some(verified) = self.verifications.recv() => Some(verified),
                    reply = next_reply(&mut self.replies) => {
                        Some(LogHeadsInput::of_reply(reply.stream, reply.member, reply.message))
                    }
                    changed = snapshots.changed() => match changed {
                        Ok(()) => None,
                        Err(_) => return,
                    },
                    input = self.inputs.recv() => match input {
                        Some(input) => Some(input),
                        None => return,
                    },
                    () = pause => Some(LogHeadsInput::Tick),
                }
            };
            let Some(log) = self.log.upgrade() else { return };
            let inputs = match input {
                Some(input) => vec![input],
                None => self.left(&log),
            };
            for input in inputs {
                self.decide(&log, input);
            }
        }
    }

    /// The members that have disconnected since the last look.
    fn left(&mut self, log: &ServerLog) -> Vec<LogHeadsInput> {
        let snapshot = log.members.snapshot();
        if snapshot.epoch() != self.epoch
            && let Some(chain) = &snapshot.chain
        {
            // What was known of members was by their indices. The members of the new committee sign the newest head, too.
            self.core = LogHeads::new(chain.current().clone(), log.members.numbers().clone());
            (self.epoch, self.replies, self.connected) = (snapshot.epoch(), None, BTreeSet::new());
            log.tips().clear();
        }
        let connected = log.members.connected();
        let left = self.connected.difference(&connected).map(|member| LogHeadsInput::Left(*member)).collect();
        self.connected = connected;
        left
    }

    fn decide(&mut self, log: &Arc<ServerLog>, input: LogHeadsInput) {
        let changes_tips = matches!(input, LogHeadsInput::Tip(..) | LogHeadsInput::Left(_));
        for output in self.core.handle(input, log.members.now()) {
            match output {
                LogHeadsOutput::Ask { stream, height, members } => {
                    if self.replies.as_ref().is_none_or(|replies| replies.stream() != stream) {
                        self.replies = Some(log.members.replies(stream, 2 * log.core.replicas()));
                    }
                    // Those that cannot be reached do not answer.
                    log.members.ask(&members, &Message::AskLogHead { stream, height });
                }
                LogHeadsOutput::Verify { stream, ballot, votes } => {
                    let Some(chain) = log.members.chain() else { continue };
                    let verified = self.verified.clone();
                    let committee = chain.current().clone();
                    log.members.host().spawn_blocking(move || {
                        let checked = ballot.verify_all(&committee, &votes);
                        let votes = votes.iter().map(|(member, _)| *member).zip(checked).collect();
                        // Has a place: one verification runs at a time.
                        let _ = verified.try_send(LogHeadsInput::Verified { stream, votes });
                    });
                }
                LogHeadsOutput::SignedFalsely { stream, member } => {
                    log.core.blame(stream, member, Fault::VotedFalsely);
                }
                LogHeadsOutput::Over(_) => self.replies = None,
                LogHeadsOutput::Certified(certificate) => log.head.replace(Some(Arc::from(certificate))),
            }
        }
        if changes_tips {
            log.tips().clone_from(self.core.tips());
        }
    }
}

async fn next_reply(replies: &mut Option<Replies>) -> crate::server::reply_routing::Reply {
    let reply = match replies {
        Some(replies) => replies.recv().await,
        None => None,
    };
    match reply {
        Some(reply) => reply,
        None => std::future::pending().await,
    }
}
