//! The state of the cluster, for people, pages and whoever decides where to send requests.

use hyper::header;
use hyper::{Response, StatusCode};
use serde_json::json;
use vouch_core::message::{Code, Failed, Stream};
use vouch_core::quorum;

use super::problem::Problem;
use super::reply::{self, Body, NO_CACHE};
use crate::server::Shared;
use crate::server::put::too_few;

pub(super) fn describe(shared: &Shared) -> Response<Body> {
    let snapshot = shared.snapshot.borrow().clone();
    let committee = snapshot.committee.as_deref();
    let record = committee.map(|committee| committee.record());
    let members: Vec<_> = (0..)
        .zip(record.map(|record| record.members()).unwrap_or_default())
        .map(|(number, member)| {
            json!({
                "member": number,
                "name": member.name.to_string(),
                "node_key": member.node_key.to_string(),
                "vote_key": member.vote_key.to_string(),
                "connected": snapshot.members.contains_key(&number),
            })
        })
        .collect();
    let connected = match committee {
        Some(_) => snapshot.members.len(),
        None => shared.roster().len(),
    };
    let described = json!({
        "cluster": committee.map(|committee| committee.cluster()),
        "server": shared.key.node_key().to_string(),
        "epoch": record.map_or(0, |record| record.epoch()),
        "quorum": record.map_or(0, |record| record.quorum()),
        "tolerated_faults": record.map_or(0, |record| quorum::tolerated_faults(record.n())),
        "connected": connected,
        "wanted": shared.config.replicas,
        "members": members,
    });
    let mut response = reply::whole(StatusCode::OK, "application/json", format!("{described}\n"));
    response.headers_mut().insert(header::CACHE_CONTROL, NO_CACHE);
    response
}

/// Whether a put would find its quorum: members that are connected, and whose storage did not fail the last time it was used.
pub(super) fn readiness(shared: &Shared) -> Result<Response<Body>, Problem> {
    let snapshot = shared.snapshot.borrow().clone();
    let failed = match &snapshot.committee {
        Some(committee) => {
            let can_store =
                |member| snapshot.members.get(&member).is_some_and(|handle| !handle.pace.has_failed_storage());
            let record = committee.record();
            let (able, quorum) = ((0..record.n()).filter(|member| can_store(*member)).count(), record.quorum().into());
            let is_connected = snapshot.members.len() >= quorum;
            (able < quorum).then(|| {
                let mut failed = too_few(committee, Stream::LINK, can_store);
                if is_connected {
                    failed
                        .detail
                        .push_str("; the storage of those that are connected failed: see `vouch status` there");
                }
                failed
            })
        }
        None => shared.lacks_founders(true).map(|detail| Failed::new(Stream::LINK, Code::NoCommittee, detail)),
    };
    match (failed, &snapshot.committee) {
        (None, _) => Ok(reply::text(StatusCode::OK, "ready\n")),
        (Some(failed), committee) => {
            let name = |member: &u16| committee.as_ref().map(|committee| committee.record().name(*member));
            let names = failed.subjects.iter().filter_map(name).collect();
            Err(Problem::refused(&failed, names))
        }
    }
}
