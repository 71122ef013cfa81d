//! The state of the cluster, for people, pages and load balancers.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{self, HeaderMap};
use hyper::{Response, StatusCode};
use serde_json::json;
use vouch_core::committee::Committee;
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Failed, Stream};
use vouch_core::quorum;
use vouch_node_core::server::ServerCore;
use vouch_node_core::server::health::Trouble;

use super::problem::Problem;
use super::reply::{self, Body, NO_CACHE, NO_STORE};
use crate::server::core_performer::CorePerformer;
use crate::server::founding::ServerFoundings;
use crate::server::member_links::{MemberLinks, ReplicaHandle};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// What the cluster's state is read from.
pub(in crate::server) struct ClusterView {
    pub(in crate::server) core: Arc<CorePerformer>,
    pub(in crate::server) members: MemberLinks,
    pub(in crate::server) foundings: Arc<ServerFoundings>,
    /// The server's.
    pub(in crate::server) node_key: NodeKey,
    /// The number of members that the operator wants.
    pub(in crate::server) wanted_replicas: Option<u16>,
}

impl ClusterView {
    pub(super) fn describe(&self) -> Response<Body> {
        let snapshot = self.members.snapshot();
        let committee = snapshot.chain.as_ref().map(|chain| &**chain.current());
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
            None => self.core.state().roster().count(),
        };
        let is_ready = match committee {
            Some(committee) => self.assess(committee).is_ready(),
            None => self.foundings.put_obstacle().is_none(),
        };
        let described = json!({
            "cluster": committee.map(|committee| committee.cluster()),
            "server": self.node_key.to_string(),
            "ready": is_ready,
            "epoch": record.map_or(0, |record| record.epoch()),
            "quorum": record.map_or(0, |record| record.quorum()),
            "tolerated_faults": record.map_or(0, |record| quorum::tolerated_faults(record.n())),
            "connected": connected,
            "wanted": self.wanted_replicas,
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

    fn assess(&self, committee: &Committee) -> Readiness {
        Readiness::of(&self.core.state(), committee, self.members.host().monotonic())
    }
}

/// The members of the committee that a put can count on.
struct Readiness {
    quorum: usize,
    n: usize,
    /// Members that a put cannot count on, by name.
    fatal: Vec<(String, Trouble)>,
    /// Members that take part, but slowly.
    impaired: Vec<(String, Trouble)>,
}

impl Readiness {
    fn of(core: &ServerCore<ReplicaHandle>, committee: &Committee, now: Duration) -> Self {
        let record = committee.record();
        let members = record.members().iter();
        let troubled =
            members.filter_map(|member| Some((member.name.to_string(), core.health().trouble(&member.node_key, now)?)));
        let (fatal, impaired) = troubled.partition(|(_, trouble)| trouble.is_fatal());
        Self { quorum: record.quorum().into(), n: record.n().into(), fatal, impaired }
    }

    fn able(&self) -> usize {
        self.n - self.fatal.len()
    }

    /// Whether a put would have a quorum.
    fn is_ready(&self) -> bool {
        self.able() >= self.quorum
    }
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
    Ok(response)
}
