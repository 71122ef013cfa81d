//! The metrics of a server.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use vouch_core::link::Role;
use vouch_node_core::server::health::Trouble;
use vouch_node_core::server::put::PutOutcome;

use super::families::{ByWord, Count, Figures, Label, Traffic, count, flag, seconds};

/// The result of a put that got a certificate.
const CERTIFIED: &str = "certified";
/// The result of a put or a get that its client gave up.
const CANCELLED: &str = "cancelled";
/// The results of a lookup that was answered.
const FOUND: &str = "found";
const NOT_FOUND: &str = "not-found";
/// The result of a read that returned bytes.
const READ: &str = "read";

/// A step of a get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GetStep {
    /// The replicas are asked which of them hold the blob.
    Lookup,
    /// One replica is asked for a part of it.
    Read,
}

impl GetStep {
    fn word(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Read => "read",
        }
    }
}

/// What a server counts since its start. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct ServerCounters {
    puts: ByWord,
    put_seconds: Histogram,
    put_bytes: Counter,
    gets: ByWord,
    reads: ByWord,
    get_seconds: Family<Label<&'static str>, Histogram, fn() -> Histogram>,
    get_bytes: Counter,
    links: Family<Label<&'static str>, Gauge>,
    traffic: Traffic,
}

impl Default for ServerCounters {
    fn default() -> Self {
        let counters = Self {
            puts: ByWord::default(),
            put_seconds: seconds(),
            put_bytes: Counter::default(),
            gets: ByWord::default(),
            reads: ByWord::default(),
            get_seconds: Family::new_with_constructor(seconds),
            get_bytes: Counter::default(),
            links: Family::default(),
            traffic: Traffic::default(),
        };
        // Begin at 0: a rate over the first event needs a value before it.
        drop(counters.puts.get_or_create(&[("result", CERTIFIED.to_owned())]));
        drop(counters.gets.get_or_create(&[("result", FOUND.to_owned())]));
        drop(counters.reads.get_or_create(&[("result", READ.to_owned())]));
        for step in [GetStep::Lookup, GetStep::Read] {
            drop(counters.get_seconds.get_or_create(&[("step", step.word())]));
        }
        for role in [Role::Client, Role::Replica] {
            drop(counters.links.get_or_create(&[("role", role_word(role))]));
        }
        counters
    }
}

impl ServerCounters {
    /// A put on a link has ended.
    pub(crate) fn put_ended(&self, outcome: PutOutcome, took: Duration) {
        match outcome {
            PutOutcome::Certified(length) => self.certified(length, took),
            PutOutcome::Failed(code) => self.put_failed(&code.slug()),
            PutOutcome::GivenUp => self.put_failed(CANCELLED),
        }
    }

    /// A put was answered with a certificate of a blob of this many bytes.
    pub(crate) fn certified(&self, length: u64, took: Duration) {
        count(&self.puts, "result", CERTIFIED);
        self.put_bytes.inc_by(length);
        self.put_seconds.observe(took.as_secs_f64());
    }

    /// A put over HTTP was given up by its client.
    pub(crate) fn put_cancelled(&self) {
        self.put_failed(CANCELLED);
    }

    /// A put has failed with this code.
    pub(crate) fn put_failed(&self, code: &str) {
        count(&self.puts, "result", code);
    }

    /// A lookup was answered.
    pub(crate) fn looked_up(&self, is_found: bool, took: Duration) {
        count(&self.gets, "result", if is_found { FOUND } else { NOT_FOUND });
        self.observe(GetStep::Lookup, took);
    }

    /// A read returned this many bytes.
    pub(crate) fn read(&self, length: usize, took: Duration) {
        count(&self.reads, "result", READ);
        self.get_bytes.inc_by(length as u64);
        self.observe(GetStep::Read, took);
    }

    /// A step of a get has failed with this code.
    pub(crate) fn get_failed(&self, step: GetStep, code: &str) {
        let family = match step {
            GetStep::Lookup => &self.gets,
            GetStep::Read => &self.reads,
        };
        count(family, "result", code);
    }

    fn observe(&self, step: GetStep, took: Duration) {
        self.get_seconds.get_or_create(&[("step", step.word())]).observe(took.as_secs_f64());
    }

    /// A link was opened. It counts until the guard is dropped.
    pub(crate) fn link_opened(&self, role: Role) -> OpenLink {
        let gauge = self.links.get_or_create_owned(&[("role", role_word(role))]);
        gauge.inc();
        OpenLink(gauge)
    }

    /// Counts the bytes of connections.
    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Replica => "replica",
        Role::Client | Role::Server => "client",
    }
}

/// An open link.
#[derive(Debug)]
pub(crate) struct OpenLink(Gauge);

impl Drop for OpenLink {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What is read from a server's state for one scrape.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerFigures {
    /// When the server was started, in seconds since 1970.
    pub(crate) started: u64,
    /// Whether a put would have a quorum.
    pub(crate) is_ready: bool,
    /// 0 before the founding.
    pub(crate) epoch: u64,
    /// 0 before the founding.
    pub(crate) quorum: u16,
    /// 0 before the founding.
    pub(crate) tolerated_faults: u16,
    /// The size of the committee; before the founding, the number of replicas that it waits for, if the operator said one.
    pub(crate) wanted: u64,
    /// Connected members; before the founding, connected replicas.
    pub(crate) connected: usize,
    /// The members of the committee, in its order.
    pub(crate) members: Vec<MemberFigures>,
    /// The height of the newest certified head of the log; 0 before the first.
    pub(crate) log_height: u64,
    /// Requests to replicas without an answer.
    pub(crate) requests: usize,
    /// What is held of each budget, and its limit.
    pub(crate) budgets: Vec<(&'static str, u64, u64)>,
    /// Events at the limits since the start, by their name for the log.
    pub(crate) limited: BTreeMap<&'static str, u64>,
}

/// A member of the committee.
#[derive(Debug, Clone)]
pub(crate) struct MemberFigures {
    pub(crate) name: String,
    /// See [`Trouble::word`]; `None` without trouble.
    pub(crate) trouble: Option<&'static str>,
    /// The height of its log as it claims, if it is connected and has told one.
    pub(crate) log_height: Option<u64>,
}

/// The labels of a member. Names need not be unique, so the number is one as well: two series with equal labels would make the scrape fail.
type MemberLabels = [(&'static str, String); 2];
type MemberStateLabels = [(&'static str, String); 3];

impl ServerFigures {
    /// All metrics of the server.
    pub(crate) fn registry(&self, counters: &ServerCounters) -> Registry {
        let mut all = Registry::default();
        all.program("server", self.started);
        counters.register(&mut all);
        self.register_cluster(&mut all);
        self.register_members(&mut all);
        self.register_limits(&mut all);
        all
    }

    fn register_cluster(&self, all: &mut Registry) {
        all.gauge("vouch_server_ready", "Whether a put would have a quorum now: 1 or 0", None, flag(self.is_ready));
        all.gauge("vouch_server_epoch", "The epoch of the committee", None, Count(self.epoch));
        all.gauge("vouch_server_quorum", "Members that a put needs; 0 before the founding", None, self.quorum);
        let help = "Members that may be faulty; 0 before the founding";
        all.gauge("vouch_server_tolerated_faults", help, None, self.tolerated_faults);
        let help = "Members of the committee; before the founding, the replicas that it waits for, or 0";
        all.gauge("vouch_server_members_wanted", help, None, Count(self.wanted));
        let help = "Connected members; before the founding, connected replicas";
        all.gauge("vouch_server_members_connected", help, None, Count(self.connected as u64));
        let help = "Height of the newest head of the log that a quorum certified; 0 before the first";
        all.gauge("vouch_server_log_height", help, None, Count(self.log_height));
        let help = "Requests to replicas that are not answered yet";
        all.gauge("vouch_server_open_requests", help, None, Count(self.requests as u64));
    }

    fn register_members(&self, all: &mut Registry) {
        let (states, heights) =
            (Family::<MemberStateLabels, Gauge>::default(), Family::<MemberLabels, Gauge>::default());
        for (number, member) in self.members.iter().enumerate() {
            let (number, name) = (number.to_string(), member.name.clone());
            for state in [Trouble::NONE].into_iter().chain(Trouble::WORDS) {
                let labels = [("member", number.clone()), ("name", name.clone()), ("state", state.to_owned())];
                states.get_or_create(&labels).set(i64::from(member.trouble.unwrap_or(Trouble::NONE) == state));
            }
            if let Some(height) = member.log_height {
                let height = i64::try_from(height).unwrap_or(i64::MAX);
                heights.get_or_create(&[("member", number), ("name", name)]).set(height);
            }
        }
        all.register("vouch_server_member_state", "Whether a member is in this state: 1 for one of them", states);
        let help = "Height of the log of a connected member, as it claims";
        all.register("vouch_server_member_log_height", help, heights);
    }

    fn register_limits(&self, all: &mut Registry) {
        let used = Family::<Label<&'static str>, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
        for (budget, held, limit) in &self.budgets {
            let share = f64::from(Count(*held)) / f64::from(Count((*limit).max(1)));
            used.get_or_create(&[("budget", *budget)]).set(share);
        }
        let help = "Used part of a budget that all clients share, 0 to 1";
        all.register_with_unit("vouch_server_budget_used", help, Unit::Other("ratio".into()), used);
        let limited = ByWord::default();
        for (event, total) in &self.limited {
            limited.get_or_create(&[("event", event.replace(' ', "-"))]).inc_by(*total);
        }
        let help = "Peers that were refused or cut off because a budget was used up";
        all.register("vouch_server_limited", help, limited);
    }
}

impl ServerCounters {
    fn register(&self, all: &mut Registry) {
        let Self { puts, put_seconds, put_bytes, gets, reads, get_seconds, get_bytes, links, traffic } = self.clone();
        all.register("vouch_server_puts", "Puts that have ended, by their result", puts);
        let help = "Time from the request of a put to its certificate";
        all.register_with_unit("vouch_server_put_duration", help, Unit::Seconds, put_seconds);
        let help = "Size of the blobs for which puts got a certificate";
        all.register_with_unit("vouch_server_put", help, Unit::Bytes, put_bytes);
        all.register("vouch_server_gets", "Lookups of blobs, with which gets begin, by their result", gets);
        all.register("vouch_server_get_reads", "Reads of parts of blobs from replicas, by their result", reads);
        let help = "Time of a successful step of a get";
        all.register_with_unit("vouch_server_get_duration", help, Unit::Seconds, get_seconds);
        all.register_with_unit(
            "vouch_server_get",
            "Bytes of blobs that replicas sent for gets",
            Unit::Bytes,
            get_bytes,
        );
        all.register("vouch_server_links", "Open links, by the role of the other end", links);
        let Traffic { received, sent } = traffic;
        let help = "Bytes received on all connections of clients and replicas, without TLS";
        all.register_with_unit("vouch_server_received", help, Unit::Bytes, received);
        let help = "Bytes sent on all connections of clients and replicas, without TLS";
        all.register_with_unit("vouch_server_sent", help, Unit::Bytes, sent);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    fn page(figures: &ServerFigures, counters: &ServerCounters) -> String {
        let mut page = String::new();
        text::encode(&mut page, &figures.registry(counters)).unwrap();
        page
    }

    #[test]
    fn names_of_members_are_escaped_and_need_not_be_unique() {
        let member = |name: &str| MemberFigures { name: name.into(), trouble: Some("late"), log_height: Some(7) };
        let members = vec![member("a\"} 1\\"), member("twin"), member("twin")];
        let figures = ServerFigures { members, ..ServerFigures::default() };
        let page = page(&figures, &ServerCounters::default());
        let line = r#"vouch_server_member_state{member="0",name="a\"} 1\\",state="late"} 1"#;
        assert!(page.lines().any(|known| known == line), "{page}");
        let twins: Vec<_> = page.lines().filter(|line| line.contains("log_height{") && line.contains("twin")).collect();
        assert!(twins.len() == 2 && twins[0] != twins[1], "{twins:?}");
    }

    #[test]
    fn a_link_counts_while_it_is_open() {
        let (figures, counters) = (ServerFigures::default(), ServerCounters::default());
        let clients = |count: u32| format!("vouch_server_links{{role=\"client\"}} {count}\n");
        let open = [counters.link_opened(Role::Client), counters.link_opened(Role::Client)];
        assert!(page(&figures, &counters).contains(&clients(2)));
        drop(open);
        assert!(page(&figures, &counters).contains(&clients(0)));
    }

    #[test]
    fn each_end_of_a_put_is_one_result() {
        use vouch_core::message::Code;
        let (figures, counters) = (ServerFigures::default(), ServerCounters::default());
        let took = Duration::from_millis(300);
        for outcome in [
            PutOutcome::Certified(7),
            PutOutcome::Failed(Code::NotEnoughReplicas),
            PutOutcome::Failed(Code::Cancelled),
            PutOutcome::GivenUp,
        ] {
            counters.put_ended(outcome, took);
        }
        let page = page(&figures, &counters);
        for line in [
            "vouch_server_puts_total{result=\"certified\"} 1",
            "vouch_server_puts_total{result=\"not-enough-replicas\"} 1",
            "vouch_server_puts_total{result=\"cancelled\"} 2",
            "vouch_server_put_bytes_total 7",
            "vouch_server_put_duration_seconds_bucket{le=\"0.25\"} 0",
            "vouch_server_put_duration_seconds_bucket{le=\"0.5\"} 1",
        ] {
            assert!(page.lines().any(|known| known == line), "{line}:\n{page}");
        }
    }
}
