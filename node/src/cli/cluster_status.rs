//! The status of a cluster through one of its servers: the first that answers. The committee and the log are verified against the trusted identity. Everything
//! about connections is the server's word, and the output says so.

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::{Value, json};
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::Member;
use vouch_core::quorum;
use vouch_core::report::HeadView;

use super::connection_args::TrustArgs;
use super::log_client::LogClient;
use super::{Failure, output};
use crate::client::Servers;
use crate::host::Host;

/// The state of a member that an older server does not tell.
const CONNECTED: &str = "connected";
const MISSING: &str = "missing";

/// Asks one server again and again.
pub(super) struct ClusterStatus<'a> {
    client: LogClient<'a>,
    /// The committees as last verified.
    chain: Option<CommitteeChain>,
    /// The newest head of the log that was verified.
    head: Option<HeadView>,
}

/// What a server says in `/v1/cluster`. Earlier versions do not say all of it.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) cluster: Option<String>,
    server: String,
    pub(super) version: Option<String>,
    pub(super) ready: bool,
    epoch: u64,
    connected: u64,
    wanted: Option<u64>,
    faults_left: Option<u64>,
    log_height: Option<u64>,
    members: Vec<MemberClaims>,
}

#[derive(Debug, Deserialize)]
struct MemberClaims {
    node_key: String,
    connected: bool,
    state: Option<String>,
    why: Option<String>,
    log_height: Option<u64>,
}

impl Claims {
    /// Where a server tells them.
    pub(super) const PATH: &str = "/v1/cluster";

    /// Reads what a server sent.
    pub(super) fn parse(answer: &[u8], server: &str) -> Result<Self, Failure> {
        serde_json::from_slice(answer).map_err(|error| {
            Failure::new(format_args!("{server} sent something else than the state of a cluster: {error}"))
        })
    }
}

impl MemberClaims {
    fn state(&self) -> &str {
        self.state.as_deref().unwrap_or(if self.connected { CONNECTED } else { MISSING })
    }
}

impl<'a> ClusterStatus<'a> {
    pub(super) fn new(host: &'a Host, servers: Servers, trust: &TrustArgs) -> Result<Self, Failure> {
        Ok(Self { client: LogClient::new(host, servers, trust)?.quiet(), chain: None, head: None })
    }

    /// Shows the status now. Returns the exit code: 0 if a put would have a quorum, as the server says.
    pub(super) async fn show(&mut self, is_json: bool) -> Result<u8, Failure> {
        let claims = self.claims().await?;
        let code = u8::from(!claims.ready);
        let Some(cluster) = &claims.cluster else {
            self.show_unfounded(&claims, is_json)?;
            return Ok(1);
        };
        // A server that knows a later epoch has to prove it; one that knows an earlier one is refused.
        if self.chain.as_ref().is_none_or(|chain| chain.current().record().epoch() != claims.epoch) {
            self.chain = Some(self.client.chain().await?);
        }
        let Some(chain) = &self.chain else { return Ok(1) };
        if *cluster != chain.cluster().to_string() {
            return Err(Failure::new(format_args!(
                "{} says that it serves cluster {cluster}, and shows the committees of {}",
                self.client.server(),
                chain.cluster()
            )));
        }
        let is_newer =
            claims.log_height.is_some_and(|height| self.head.as_ref().map_or(0, |head| head.height) < height);
        if is_newer {
            let bundle = self.client.get("/v1/log/head").await?;
            self.head = Some(self.client.head(&bundle, None).await?);
        }
        match is_json {
            true => output::json(&as_json(self.client.server(), chain, self.head.as_ref(), &claims)),
            false => self.print(chain, &claims),
        }
        Ok(code)
    }

    async fn claims(&self) -> Result<Claims, Failure> {
        Claims::parse(&self.client.get(Claims::PATH).await?, self.client.server())
    }

    /// Before the founding, there is nothing to verify.
    fn show_unfounded(&self, claims: &Claims, is_json: bool) -> Result<(), Failure> {
        if let Some(trusted) = self.client.trusted(&[]) {
            return Err(Failure::new(format_args!("{} serves no cluster yet, not {trusted}", self.client.server())));
        }
        if is_json {
            output::json(&json!({ "cluster": null, "claimed": claimed(self.client.server(), claims, Vec::new()) }));
            return Ok(());
        }
        let waiting = output::count(claims.connected, "replica");
        let wanted =
            claims.wanted.map_or_else(|| "the first put founds the cluster".into(), |n| format!("{n} are awaited"));
        row("cluster", "not founded yet");
        self.print_server(claims);
        row("replicas", format_args!("{waiting} connected; {wanted}"));
        Ok(())
    }

    fn print(&self, chain: &CommitteeChain, claims: &Claims) {
        let record = chain.current().record();
        row("cluster", chain.cluster());
        row("epoch", format_args!("{}, committee {}", record.epoch(), record.digest()));
        row("members", quorum::tolerance(record.n()));
        match &self.head {
            Some(head) => row("log", format_args!("height {}, certified {}", head.height, output::time(head.time))),
            None => row("log", "no block yet"),
        }
        self.print_server(claims);
        let ready = if claims.ready { "yes" } else { "no" };
        let left = claims.faults_left.map(|left| format!("; {left} more may fail")).unwrap_or_default();
        row(
            "ready",
            format_args!("{ready}: {} of {} connected, {} needed{left}", claims.connected, record.n(), record.quorum()),
        );
        match claims.epoch.cmp(&record.epoch()) {
            Ordering::Less => row("epoch", format_args!("{}: it is behind", claims.epoch)),
            Ordering::Equal => {}
            Ordering::Greater => row("epoch", format_args!("{}, which it has not proved", claims.epoch)),
        }
        for member in record.members() {
            row("", describe(member, claims));
        }
    }

    /// From here on, nothing is verified.
    fn print_server(&self, claims: &Claims) {
        output::line(format_args!("By the word of {}, unverified:", self.client.server()));
        let version = claims.version.as_deref().map(|version| format!(", version {version}")).unwrap_or_default();
        row("server", format_args!("{}{version}", claims.server));
    }
}

fn row(name: &str, value: impl std::fmt::Display) {
    output::line(format_args!("{name:<10} {value}"));
}

/// What the server says of a member of the verified committee.
fn claims_of<'c>(member: &Member, claims: &'c Claims) -> Option<&'c MemberClaims> {
    let key = member.node_key.to_string();
    claims.members.iter().find(|claimed| claimed.node_key == key)
}

fn describe(member: &Member, claims: &Claims) -> String {
    let Some(claimed) = claims_of(member, claims) else { return format!("{:<24} not mentioned", member.name) };
    let height = claimed.log_height.map(|height| format!(", log height {height}")).unwrap_or_default();
    let why = claimed.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{:<24} {}{height}{why}", member.name, claimed.state())
}

fn as_json(server: &str, chain: &CommitteeChain, head: Option<&HeadView>, claims: &Claims) -> Value {
    let record = chain.current().record();
    let member = |member: &Member| {
        let claimed = claims_of(member, claims);
        json!({
            "name": member.name.as_str(),
            "node_key": member.node_key.to_string(),
            "state": claimed.map(MemberClaims::state),
            "why": claimed.and_then(|claimed| claimed.why.as_deref()),
            "log_height": claimed.and_then(|claimed| claimed.log_height),
        })
    };
    json!({
        "cluster": chain.cluster(),
        "epoch": record.epoch(),
        "committee": record.digest(),
        "size": { "members": record.n(), "tolerated_faults": quorum::tolerated_faults(record.n()), "quorum": record.quorum() },
        "log": head.map(|head| json!({ "height": head.height, "time": head.time })),
        "claimed": claimed(server, claims, record.members().iter().map(member).collect()),
    })
}

/// What is only the server's word.
fn claimed(address: &str, claims: &Claims, members: Vec<Value>) -> Value {
    json!({
        "address": address,
        "server": claims.server,
        "version": claims.version,
        "ready": claims.ready,
        "epoch": claims.epoch,
        "connected": claims.connected,
        "wanted": claims.wanted,
        "faults_left": claims.faults_left,
        "log_height": claims.log_height,
        "members": members,
    })
}
