//! The state of the cluster, for people, pages and load balancers.

use hyper::header::{self, HeaderMap};
use hyper::{Response, StatusCode};
use serde_json::json;
use vouch_core::message::{Code, Failed, Stream};
use vouch_node_core::server::health::Trouble;

use super::problem::Problem;
use super::reply::{self, Body, NO_CACHE, NO_STORE, RETRY_AFTER};
use crate::server::cluster_view::{ClusterView, MemberState, Readiness};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

impl ClusterView {
    pub(super) fn describe(&self) -> Response<Body> {
        let state = self.state();
        let members: Vec<_> = state.members.iter().enumerate().map(describe_member).collect();
        let described = json!({
            "cluster": state.cluster,
            "server": self.node_key.to_string(),
            "version": env!("CARGO_PKG_VERSION"),
            "ready": state.is_ready,
            "epoch": state.epoch,
            "quorum": state.quorum,
            "tolerated_faults": state.tolerated_faults,
            "faults_left": state.faults_left,
            "connected": state.connected,
            "wanted": self.wanted_replicas,
            "log_height": state.log_height,
            "members": members,
        });
        let mut response = reply::whole(StatusCode::OK, "application/json", format!("{described}\n"));
        response.headers_mut().insert(header::CACHE_CONTROL, NO_CACHE);
        response
    }

    /// Whether a put would have a quorum, and the trouble of each member: as text, or as JSON if the client prefers that. A failure is a
    /// problem (RFC 9457) unless the client prefers text.
    pub(super) fn readiness(&self, headers: &HeaderMap) -> Result<Response<Body>, Problem> {
        let snapshot = self.members.snapshot();
        let Some(chain) = &snapshot.chain else {
            return match self.foundings.put_obstacle() {
                Some(detail) => refused(Failed::new(Stream::LINK, Code::NoCommittee, detail), Vec::new(), headers),
                None => Ok(ready("ready: the next put founds the committee".into(), &[], headers)),
            };
        };
        let readiness = self.assess(chain.current());
        let able = readiness.able();
        let is_ready = readiness.is_ready();
        let Readiness { quorum, n, fatal, impaired } = readiness;
        let all = [&fatal[..], &impaired].concat();
        if is_ready {
            let text = format!("ready: {able} of {n} replicas can store, {quorum} are needed{}", each(&all));
            return Ok(ready(text, &all, headers));
        }
        let detail = format!("{quorum} of {n} replicas are needed for a put, {able} can store{}", each(&all));
        let mut failed = Failed::new(Stream::LINK, Code::NotEnoughReplicas, "");
        // It may be longer than a message on a link.
        failed.detail = detail + "; see the replicas' logs, and `vouch status` where they run";
        refused(failed, fatal.into_iter().map(|(name, _)| name).collect(), headers)
    }
}

fn describe_member((number, state): (usize, &MemberState)) -> serde_json::Value {
    let MemberState { member, is_connected, trouble, log_height } = state;
    json!({
        "member": number,
        "name": member.name.to_string(),
        "node_key": member.node_key.to_string(),
        "vote_key": member.vote_key.to_string(),
        "connected": is_connected,
        "state": trouble.as_ref().map_or(Trouble::NONE, Trouble::word),
        "why": trouble.as_ref().map(|trouble| format!("{} {trouble}", member.name)),
        "log_height": log_height,
    })
}

/// Maximum number of members named in a text.
const NAMED: usize = 20;

fn each(troubled: &[(String, Trouble)]) -> String {
    let mut text: String = troubled.iter().take(NAMED).map(|(name, trouble)| format!("; {name} {trouble}")).collect();
    if let Some(more) = troubled.len().checked_sub(NAMED).filter(|more| *more > 0) {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

fn ready(text: String, troubled: &[(String, Trouble)], headers: &HeaderMap) -> Response<Body> {
    let mut response = if reply::prefers(headers, JSON, TEXT) {
        let member = |(name, trouble): &(String, Trouble)| json!({ "name": name, "state": trouble.word(), "why": format!("{name} {trouble}") });
        let members: Vec<_> = troubled.iter().map(member).collect();
        let body = json!({ "ready": true, "detail": text, "members": members });
        reply::whole(StatusCode::OK, JSON, format!("{body}\n"))
    } else {
        reply::text(StatusCode::OK, format!("{text}\n"))
    };
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    response
}

fn refused(failed: Failed, names: Vec<String>, headers: &HeaderMap) -> Result<Response<Body>, Problem> {
    if !reply::prefers(headers, TEXT, JSON) {
        return Err(Problem::refused(&failed, names));
    }
    let text = format!("not ready: {}\n", failed.detail);
    let mut response = reply::text(StatusCode::SERVICE_UNAVAILABLE, text);
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    Ok(response)
}
