//! Counts for the metrics what passes between a link and its core. Everything that a server asks of a replica does.

use vouch_core::message::Message;
use vouch_node_core::replica::incoming::{IncomingResult, IncomingTask};
use vouch_node_core::replica::link::{Completion, Input, Output};

use crate::metrics::ReplicaCounters;

pub(super) fn input<J>(counters: &ReplicaCounters, input: &Input<J>) {
    match input {
        Input::Incoming(_, IncomingResult::Failed(code, _)) | Input::Done(_, Completion::Failed(code, _)) => {
            counters.failed(*code);
        }
        _ => {}
    }
}

pub(super) fn output<J>(counters: &ReplicaCounters, output: &Output<J>) {
    match output {
        Output::Voted(_) => counters.signed(),
        Output::RefusedVote(_) => counters.refused(),
        Output::SendData(Message::Chunk { bytes, .. }) => counters.read(bytes.len()),
        Output::Incoming(_, IncomingTask::Write(chunks)) => {
            counters.written(chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum());
        }
        Output::Incoming(_, IncomingTask::Whole(_, bytes)) => counters.written(bytes.len() as u64),
        _ => {}
    }
}
