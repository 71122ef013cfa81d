//! Clients that write notes to the ordered log over HTTP, and what must hold of the log once all faults have ended.

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use support::ordered_log::OPS;
use tokio::time::{sleep, timeout};
use vouch::client::http::{HttpError, HttpRequest};
use vouch::host::Host;
use vouch_core::limits::MAX_BUNDLE;
use vouch_core::log::{Op, OpId};

use crate::checker::{Checker, Rule};
use crate::network::Node;
use crate::node;
use crate::random::Random;
use crate::recovery::{RECOVERY, TRY_AGAIN};
use crate::servers::address;
use crate::trace::Trace;
use crate::world::World;

/// Seconds until a note expires, at most. No member takes one that lasts for more than two minutes.
const LONGEST_LIFE: u64 = 110;
/// How long a client waits for an answer: longer than a server's own deadline.
const PATIENCE: Duration = Duration::from_secs(40);
/// A request that runs for longer never ends.
const LONGEST_REQUEST: Duration = Duration::from_secs(120);

/// Writes notes, and asks for heads, until it is aborted.
pub async fn write_notes(host: Host, mut random: Random, trace: Trace, checker: Checker) {
    let (servers, mut again) = (checker.known().shape.servers, None::<Op>);
    loop {
        host.sleep(Duration::from_millis(random.within(3_000..40_000))).await;
        let server = random.index(servers);
        if checker.cluster().is_none() {
            continue;
        }
        if random.one_in(4) {
            match get(&host, server, "/v1/log/head".into(), &checker).await {
                Ok(bundle) => checker.head_answered(&bundle),
                Err(error) => trace.note(format_args!("head: {error}")),
            }
            continue;
        }
        // A client that does not know what became of its op submits it again.
        let now = host.unix_seconds();
        let op = again.take().filter(|op| op.expires_at() > now && !random.one_in(4));
        let op = op.unwrap_or_else(|| {
            let lasts = random.within(3..LONGEST_LIFE);
            note(&mut random, now + lasts)
        });
        match submit(&host, server, &op, &checker).await {
            Ok(height) => trace.note(format_args!("op in block {height}")),
            Err(error) => {
                trace.note(format_args!("op: {error}"));
                again = Some(op);
            }
        }
    }
}

fn note(random: &mut Random, expires_at: u64) -> Op {
    let mut nonce = [0; 16];
    random.fill(&mut nonce);
    let length = usize::try_from(if random.one_in(6) { random.within(0..3_000) } else { 20 }).unwrap_or(0);
    Op::new(Op::NOTE, nonce, expires_at, random.bytes(length).into()).expect("a note")
}

/// Submits an op. Returns the height of the block that it is proved to be in.
pub async fn submit(host: &Host, server: Node, op: &Op, checker: &Checker) -> Result<u64, HttpError> {
    checker.submitted(op);
    let request = HttpRequest {
        method: Method::POST,
        body: op.encode().into(),
        ..HttpRequest::get(&address(server), OPS.into(), MAX_BUNDLE, PATIENCE)
    };
    let bundle = send(host, request, checker).await?;
    Ok(checker.op_answered(op, &bundle))
}

async fn get(host: &Host, server: Node, path: String, checker: &Checker) -> Result<Bytes, HttpError> {
    send(host, HttpRequest::get(&address(server), path, MAX_BUNDLE, PATIENCE), checker).await
}

async fn send(host: &Host, request: HttpRequest, checker: &Checker) -> Result<Bytes, HttpError> {
    let server = request.server.clone();
    let ended = timeout(LONGEST_REQUEST, request.send(host)).await.unwrap_or_else(|_| {
        checker.broken(Rule::NamedEnd, format_args!("a request about the log has no end"));
        Err(HttpError::Late { server, after: LONGEST_REQUEST })
    });
    ended.inspect_err(|error| {
        if !is_fair(error) {
            checker.broken(Rule::NamedEnd, format_args!("log: {error}"));
        }
    })
}

/// Whether a request may end with this error although no honest party breaks the protocol. An op may be refused as malformed by a replica
/// whose clock is wrong: it seems to last too long.
fn is_fair(error: &HttpError) -> bool {
    match error {
        HttpError::Connect { .. } | HttpError::Broken { .. } | HttpError::Late { .. } => true,
        HttpError::Request { .. } | HttpError::TooLarge { .. } => false,
        HttpError::Refused { status, .. } => {
            let understood = [StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND, StatusCode::REQUEST_TIMEOUT];
            status.is_server_error() || understood.contains(status)
        }
    }
}

impl World {
    /// The log decides through every server, all replicas get all of its blocks, and an earlier op is still proved.
    ///
    /// # Panics
    /// A rule is broken.
    pub(super) async fn check_log(&mut self) {
        for server in 0..self.shape.servers {
            self.write_until_decided(server).await;
        }
        self.check_logs_catch_up().await;
        self.prove_again().await;
    }

    /// Writes notes until one of them is decided.
    ///
    /// # Panics
    /// None is decided in time.
    pub(super) async fn write_until_decided(&mut self, server: Node) {
        let host = self.machines[self.shape.client(0)].start(self.seed, &self.network);
        let end = node::elapsed() + RECOVERY;
        while node::elapsed() < end {
            let op = note(&mut self.random, host.unix_seconds() + LONGEST_LIFE);
            let ended = submit(&host, server, &op, &self.checker).await;
            self.checker.assert_holds();
            match ended {
                Ok(height) => return self.trace.note(format_args!("op in block {height}")),
                Err(error) => self.trace.note(format_args!("op: not yet: {error}")),
            }
            sleep(TRY_AGAIN).await;
        }
        self.checker.broken(Rule::LogGoesOn, format_args!("server {server} gets no op decided"));
        self.checker.assert_holds();
    }

    /// Waits until every replica has every block that an op was proved to be in.
    async fn check_logs_catch_up(&mut self) {
        let height = self.checker.proved_height();
        let end = node::elapsed() + RECOVERY;
        let mut behind: Vec<Node> = self.checker.honest_members();
        while !behind.is_empty() {
            behind.retain(|node| self.checker.log_height(*node) < height);
            if node::elapsed() > end {
                self.checker
                    .broken(Rule::LogGoesOn, format_args!("expected block {height} everywhere, not at {behind:?}"));
                return self.checker.assert_holds();
            }
            if !behind.is_empty() {
                self.trace.note(format_args!("behind block {height}: {behind:?}"));
                sleep(TRY_AGAIN).await;
            }
        }
    }

    /// Asks for the proof of an op that was proved before.
    async fn prove_again(&mut self) {
        let ops: Vec<OpId> = self.checker.proved_ops();
        let op = ops[self.random.index(ops.len())];
        let server = self.random.index(self.shape.servers);
        let host = self.machines[self.shape.client(0)].start(self.seed, &self.network);
        let end = node::elapsed() + RECOVERY;
        while node::elapsed() < end {
            match get(&host, server, format!("{OPS}/{}", op.to_hex()), &self.checker).await {
                Ok(bundle) => {
                    self.checker.proof_answered(op, &bundle);
                    return self.checker.assert_holds();
                }
                Err(error) => self.trace.note(format_args!("op {op}: not yet: {error}")),
            }
            sleep(TRY_AGAIN).await;
        }
        self.checker.broken(Rule::OpKept, format_args!("{op} was proved, and server {server} finds it no more"));
        self.checker.assert_holds();
    }
}
