//! Puts and gets over a JavaScript WebSocket. The socket's messages go into a session of `vouch-core`; the session's messages go
//! to the socket, and its events go to a listener as JSON.

mod attempts;
mod get;
mod link;
mod put;

use serde::Serialize;
use vouch_core::chain::{Checkpoint, CommitteeChain};
use vouch_core::message::MAX_CHUNK;
use vouch_core::quorum;
use vouch_core::session::progress::{CHECK_EVERY, WRITE_DEADLINE};
use wasm_bindgen::prelude::wasm_bindgen;

/// Maximum number of a file's bytes in one message.
#[wasm_bindgen(js_name = maxChunk)]
pub fn max_chunk() -> usize {
    MAX_CHUNK
}

/// If the bytes in a socket's buffer do not leave for this many milliseconds, the link is lost.
#[wasm_bindgen(js_name = writeDeadline)]
pub fn write_deadline() -> f64 {
    1000.0 * WRITE_DEADLINE.as_secs_f64()
}

/// The interval in milliseconds at which to call a session's `checkDeadlines`.
#[wasm_bindgen(js_name = checkInterval)]
pub fn check_interval() -> f64 {
    1000.0 * CHECK_EVERY.as_secs_f64()
}

/// The last committee of a verified chain, as reported to a listener.
#[derive(Debug, Serialize)]
struct CommitteeView {
    cluster: String,
    epoch: u64,
    checkpoint: Checkpoint,
    quorum: u16,
    tolerated_faults: u16,
    members: Vec<MemberView>,
}

#[derive(Debug, Serialize)]
struct MemberView {
    member: u16,
    name: String,
    node_key: String,
    vote_key: String,
}

impl From<&CommitteeChain> for CommitteeView {
    fn from(chain: &CommitteeChain) -> Self {
        let record = chain.current().record();
        let members = (0..).zip(record.members()).map(|(member, entry)| MemberView {
            member,
            name: entry.name.to_string(),
            node_key: entry.node_key.to_string(),
            vote_key: entry.vote_key.to_string(),
        });
        Self {
            cluster: chain.cluster().to_string(),
            epoch: record.epoch(),
            checkpoint: chain.into(),
            quorum: record.quorum(),
            tolerated_faults: quorum::tolerated_faults(record.n()),
            members: members.collect(),
        }
    }
}
