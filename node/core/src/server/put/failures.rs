//! The failures of a put.

use std::time::Duration;

use vouch_core::committee::Committee;
use vouch_core::message::{Code, Failed, Stream};
use vouch_core::receipt::Receipt;

/// Why fewer than a quorum of members are left: more than f refused for one reason, or some are not connected.
pub fn why_too_few<'a>(
    committee: &Committee,
    stream: Stream,
    refusals: impl Iterator<Item = (u16, &'a Failed)>,
    is_there: impl Fn(u16) -> bool,
) -> Failed {
    let faults = usize::from(vouch_core::quorum::tolerated_faults(committee.record().n()));
    let mut by_code: Vec<(Code, Vec<(u16, &Failed)>)> = Vec::new();
    for (member, failed) in refusals {
        match by_code.iter_mut().find(|(code, _)| *code == failed.code) {
            Some((_, refusals)) => refusals.push((member, failed)),
            None => by_code.push((failed.code, vec![(member, failed)])),
        }
    }
    if let Some((code, refusals)) = by_code.into_iter().max_by_key(|(_, refusals)| refusals.len())
        && refusals.len() > faults
    {
        let members = refusals.iter().map(|(member, _)| *member).collect();
        return Failed::new(stream, code, every_reason(committee, &refusals)).with_subjects(members);
    }
    too_few(committee, stream, is_there)
}

/// The members' reasons. Different reasons are listed with their members' names: the first reason alone would not explain the others.
fn every_reason(committee: &Committee, refusals: &[(u16, &Failed)]) -> String {
    let mut by_reason: Vec<(&str, Vec<String>)> = Vec::new();
    for (member, failed) in refusals {
        let name = committee.record().name(*member);
        match by_reason.iter_mut().find(|(reason, _)| *reason == failed.detail) {
            Some((_, names)) => names.push(name),
            None => by_reason.push((&failed.detail, vec![name])),
        }
    }
    match by_reason.as_slice() {
        // The failure's subjects name the members.
        [(reason, _)] => (*reason).to_owned(),
        _ => {
            let told = by_reason.iter().map(|(reason, names)| format!("{}: {reason}", names.join(", ")));
            told.collect::<Vec<_>>().join("; ")
        }
    }
}

/// The failure that names the members that did not store or vote in time.
pub fn too_late(committee: &Committee, stream: Stream, what: &str, late: Vec<u16>) -> Failed {
    let detail = format!("{} of {} replicas did not {what} in time", late.len(), committee.record().n());
    Failed::new(stream, Code::TimedOut, detail).with_subjects(late)
}

/// The failure that names every member that is not connected.
pub fn too_few(committee: &Committee, stream: Stream, is_there: impl Fn(u16) -> bool) -> Failed {
    let record = committee.record();
    let missing: Vec<u16> = (0..record.n()).filter(|member| !is_there(*member)).collect();
    let names: Vec<String> = missing.iter().map(|member| record.name(*member)).collect();
    let there = usize::from(record.n()) - missing.len();
    let (quorum, n) = (record.quorum(), record.n());
    let detail = format!("{quorum} of {n} replicas are needed, {there} are there; missing: {}", names.join(", "));
    Failed::new(stream, Code::NotEnoughReplicas, detail).with_subjects(missing)
}

/// The failure during a change of members: too few of those that stay hold the blob.
pub fn too_few_stay(committee: &Committee, stream: Stream, missing: Vec<u16>) -> Failed {
    let names: Vec<String> = missing.iter().map(|member| committee.record().name(*member)).collect();
    let detail = format!(
        "the committee changes, and too few members that stay hold the file; it is not on {}",
        names.join(", ")
    );
    Failed::new(stream, Code::NotEnoughReplicas, detail).with_subjects(missing)
}

/// The failure of a put that expires before it can be certified.
/// The server takes no put without a token.
pub(super) fn no_token(stream: Stream) -> Failed {
    let detail = "this server takes puts only from holders of tokens; name one with --token-file. Its operator makes one with `vouch token new`";
    Failed::new(stream, Code::NotAdmitted, detail)
}

pub(super) fn expired(stream: Stream, receipt: &Receipt) -> Failed {
    let detail = format!("expected an expiry in the future, got {}", receipt.expires_at);
    Failed::new(stream, Code::Expired, detail)
}

/// The failure of a put whose client sends no bytes.
pub(super) fn silent(stream: Stream, silence: Duration) -> Failed {
    let detail = format!("expected bytes of the file within {} s, got none", silence.as_secs());
    Failed::new(stream, Code::TimedOut, detail)
}

/// The failure of a put that was evicted from the budget.
pub(super) fn place_taken(stream: Stream) -> Failed {
    Failed::new(stream, Code::Busy, "the server is full, and your address holds most of it")
}
