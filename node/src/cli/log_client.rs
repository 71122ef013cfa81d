//! A client of a server's HTTP interface to the ordered log. What it returns was verified against the trusted identity.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use vouch_core::bundle::claimed_cluster;
use vouch_core::chain::CommitteeChain;
use vouch_core::digest::ClusterId;
use vouch_core::limits::{Limits, MAX_BUNDLE};
use vouch_core::log::{Block, Op, OpId, OpProof};
use vouch_core::report::{BlockReport, BlockView, HeadReport, HeadView, OpReport, OpView};
use vouch_core::session::SessionError;
use vouch_core::verify::{CheckError, Invalid, LogJudgement, LogVerifyOptions, Verdict, Verifier};
use vouch_node_core::backoff::Backoff;

use super::connection_args::TrustArgs;
use super::trust::Trust;
use super::{Failure, output};
use crate::client::http::{HttpError, HttpRequest};
use crate::client::{self, ClientError, Servers};
use crate::host::Host;

/// How long an answer may take: longer than a server's own deadline, so that the client receives the server's reason.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);
/// How long a server may take to show its committees, and the client to verify them.
const PATIENCE_FOR_COMMITTEES: Duration = Duration::from_secs(15);
/// How long an op may take to be decided, in seconds: it expires then.
pub(super) const OP_LIFETIME: u64 = 60;
/// Pauses between attempts to submit the same op, or to reach a server.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(500);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Reads a log through one server, and verifies it.
pub(super) struct LogClient<'a> {
    pub(super) host: &'a Host,
    /// The place of the server that is asked first, among those that are trusted.
    place: AtomicUsize,
    trust: Trust,
    verifier: Verifier,
    /// Whether attempts that fail are not mentioned.
    is_quiet: bool,
}

impl<'a> LogClient<'a> {
    pub(super) fn new(host: &'a Host, servers: Servers, trust: &TrustArgs) -> Result<Self, Failure> {
        let trust = Trust::new(host, servers, trust)?;
        Ok(Self { host, place: AtomicUsize::new(0), trust, verifier: Verifier::new(), is_quiet: false })
    }

    /// The server that is asked.
    pub(super) fn server(&self) -> &str {
        self.trust.servers.at(self.place.load(Ordering::Relaxed))
    }

    /// Asks the next server from now on.
    fn fall_over(&self) {
        let place = self.place.load(Ordering::Relaxed) + 1;
        self.place.store(place % self.trust.servers.count(), Ordering::Relaxed);
    }

    /// Asks the servers for a path, from the one that answered last on, until one of them answers.
    pub(super) async fn ask(&self, path: &str) -> Result<Bytes, HttpError> {
        let mut left = self.trust.servers.count().get();
        loop {
            let request = HttpRequest::get(self.server(), path.to_owned(), MAX_BUNDLE, PATIENCE);
            let error = match request.send(self.host).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            left -= 1;
            if !error.is_passing() || left == 0 {
                return Err(error);
            }
            self.fall_over();
            if !self.is_quiet {
                output::error_line(format_args!("{error}; trying {}", self.server()));
            }
        }
    }

    /// The same client, which does not mention attempts that fail.
    pub(super) fn quiet(self) -> Self {
        Self { is_quiet: true, ..self }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Bytes, Failure> {
        self.ask(path).await.map_err(|error| explain(&error))
    }

    /// The committees of the cluster, verified, as far as the server knows them. A link shows them also while the log is empty.
    pub(super) async fn chain(&mut self) -> Result<CommitteeChain, Failure> {
        let tell = |next: &_| {
            if !self.is_quiet {
                output::error_line(format_args!("{}", output::retrying(next)));
            }
        };
        let trusted = self.trust.of_link();
        let opened = client::open_known(self.host, &self.trust.servers, trusted, PATIENCE_FOR_COMMITTEES, tell).await;
        let (link, server) = opened.map_err(|error| self.trust.explain(error))?;
        let chain = link.known_chain().await.map_err(|error| self.trust.explain(error))?.clone();
        self.trust.check(&chain)?;
        self.trust.record(&server, &chain).await?;
        Ok(chain)
    }

    /// Has an op decided. Submitting it again does no harm, so that a lost answer costs only time.
    pub(super) async fn submit(&self, op: &Op) -> Result<Bytes, Failure> {
        let body = Bytes::from(op.encode());
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut was_sent = false;
        // Servers that were not asked yet.
        let mut left = self.trust.servers.count().get();
        loop {
            let path = "/v1/log/ops".to_owned();
            let request = HttpRequest::post(self.server(), path, body.clone(), MAX_BUNDLE, PATIENCE);
            let error = match request.send(self.host).await {
                Ok(bundle) => return Ok(bundle),
                Err(error) => error,
            };
            was_sent |= !matches!(error, HttpError::Connect { .. });
            left = left.saturating_sub(1);
            let pause = if left > 0 { Duration::ZERO } else { backoff.pause() };
            let is_over = self.host.unix_seconds().saturating_add(pause.as_secs()) >= op.expires_at();
            if !error.is_passing() || !was_sent && left == 0 || is_over {
                let failure = explain(&error);
                return Err(match self.trust.pinned.filter(|_| was_sent && error.is_passing()) {
                    Some(cluster) => failure.with_note(format_args!(
                        "The log may have the op. See with: vouch log prove {} --server {}",
                        op.id(&cluster),
                        self.server()
                    )),
                    None => failure,
                });
            }
            let before = self.server().to_owned();
            self.fall_over();
            if !self.is_quiet {
                let next = Some(self.server()).filter(|server| *server != before).unwrap_or("again");
                output::error_line(format_args!("{error}; trying {next} in {:.1} s", pause.as_secs_f64()));
            }
            self.host.sleep(pause).await;
        }
    }

    /// Has a new op decided, and verifies what the log of this cluster decided.
    pub(super) async fn decide(&mut self, cluster: &ClusterId, kind: u16, body: Vec<u8>) -> Result<OpView, Failure> {
        let expires_at = self.host.unix_seconds().saturating_add(OP_LIFETIME);
        let op = Op::new(kind, self.host.random(), expires_at, body).map_err(Failure::new)?;
        let bundle = self.submit(&op).await?;
        self.op(&bundle, op.id(cluster)).await
    }

    /// The identity to verify a bundle against: the trusted one; at first contact, the bundle's own.
    pub(super) fn trusted(&self, bundle: &[u8]) -> Option<ClusterId> {
        self.trust.pinned.or_else(|| claimed_cluster(bundle, &Limits::default()))
    }

    fn options<W>(&self, bundle: &[u8], wanted: Option<W>) -> LogVerifyOptions<W> {
        LogVerifyOptions { trust: self.trusted(bundle).into(), wanted, now: self.host.unix_seconds() }
    }

    /// The verified head in a bundle, of at least this height.
    pub(super) async fn head(&mut self, bundle: &[u8], least: Option<u64>) -> Result<HeadView, Failure> {
        self.head_and_chain(bundle, least).await.map(|(head, _)| head)
    }

    /// The verified head in a bundle, of at least this height, and the committees of its cluster.
    pub(super) async fn head_and_chain(
        &mut self,
        bundle: &[u8],
        least: Option<u64>,
    ) -> Result<(HeadView, CommitteeChain), Failure> {
        let options = self.options(bundle, least);
        let judgement: LogJudgement<()> = self.verifier.judge_head(bundle, &options);
        // A block or an op may be proved by the last head of an earlier epoch, but the newest head is of the newest.
        if let (Ok(_), Some(chain)) = (judgement.proved(), judgement.chain()) {
            self.trust.check(chain)?;
        }
        let chain = judgement.chain().cloned();
        let view = self.proved(&judgement, HeadReport::new(&judgement).head, "a log head").await?;
        Ok((view, chain.ok_or_else(|| self.not_a_bundle("a log head"))?))
    }

    /// The verified block of this height in a bundle.
    pub(super) async fn block(&mut self, bundle: &[u8], height: u64) -> Result<BlockView, Failure> {
        let options = self.options(bundle, Some(height));
        let judgement: LogJudgement<Block> = self.verifier.judge_block(bundle, &options);
        self.proved(&judgement, BlockReport::new(&judgement).block, "a block").await
    }

    /// The verified op of this identity in a bundle.
    pub(super) async fn op(&mut self, bundle: &[u8], op: OpId) -> Result<OpView, Failure> {
        let options = self.options(bundle, Some(op));
        let judgement: LogJudgement<OpProof> = self.verifier.judge_op(bundle, &options);
        self.proved(&judgement, OpReport::new(&judgement).op, "an op").await
    }

    /// What a judgement proved. Records the cluster at first contact, and its newest committee.
    async fn proved<P, T>(&mut self, judgement: &LogJudgement<P>, view: Option<T>, what: &str) -> Result<T, Failure> {
        match (judgement.proved(), view, judgement.chain()) {
            (Ok(_), Some(view), Some(chain)) => {
                let server = self.server().to_owned();
                self.trust.record(&server, chain).await?;
                Ok(view)
            }
            (Err(CheckError::Invalid(Invalid::AnotherCluster { expected, got })), ..) => {
                let (expected, got) = (*expected, Some(*got));
                Err(self.trust.explain(ClientError::Session(SessionError::AnotherCluster { expected, got })))
            }
            (Err(error), ..) => Err(Failure::new(format_args!(
                "{} sent a bundle of {what} that does not prove it: {}",
                self.server(),
                Verdict::from(error.clone())
            ))
            .with_note("Do not rely on this server; ask another one of the cluster with --server.")),
            (Ok(_), ..) => Err(self.not_a_bundle(what)),
        }
    }

    pub(super) fn not_a_bundle(&self, what: &str) -> Failure {
        Failure::new(format_args!("{} sent something else than a bundle of {what}", self.server()))
    }
}

/// A request's error, with what to do next.
pub(super) fn explain(error: &HttpError) -> Failure {
    let failure = Failure::new(error);
    match error {
        HttpError::Connect { .. } => failure.with_note("Start a server, or name another one with --server HOST:PORT."),
        HttpError::Refused { status: StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, .. } => failure
            .with_note(
                "Members may be missing: see which with `vouch status`, or ask the server's /readyz; then try again.",
            ),
        HttpError::Late { .. } | HttpError::Broken { .. } => {
            failure.with_note("Try again, or name another server with --server HOST:PORT.")
        }
        HttpError::Refused { .. } | HttpError::Request { .. } | HttpError::TooLarge { .. } => failure,
    }
}
