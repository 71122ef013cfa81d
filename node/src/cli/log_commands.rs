//! `vouch log`: reads the cluster's ordered log through a server, and writes notes to it. Everything that a server sends is verified
//! against the trusted identity before it is shown.

mod follow;

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use vouch_core::bundle::claimed_cluster;
use vouch_core::digest::ClusterId;
use vouch_core::limits::{Limits, MAX_BUNDLE, MAX_OP_BODY};
use vouch_core::log::{Block, Op, OpId, OpProof};
use vouch_core::report::{BlockReport, BlockView, HeadReport, HeadView, OpReport, OpView};
use vouch_core::session::SessionError;
use vouch_core::verify::{CheckError, Invalid, LogJudgement, LogVerifyOptions, Verdict, Verifier};
use vouch_node_core::backoff::Backoff;
use vouch_node_core::log::notes::Notes;

use super::args::{LogCommand, LogNoteArgs, LogProveArgs, LogServerArgs, LogShowArgs};
use super::bundle_file::BundleFile;
use super::trust::Trust;
use super::{Failure, LogCommandArgs, output, verdicts};
use crate::client::ClientError;
use crate::client::http::{HttpError, HttpRequest};
use crate::host::Host;

/// How long an answer may take: longer than a server's own deadline, so that the client receives the server's reason.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long a note may take to be decided, in seconds: its op expires then.
const NOTE_LIFETIME: u64 = 60;
/// Pauses between attempts to submit the same op, or to reach a server.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) async fn log(host: &Host, args: LogCommandArgs) -> Result<u8, Failure> {
    match args.command {
        LogCommand::Head(args) => head(host, &args).await,
        LogCommand::Show(args) => show(host, &args).await,
        LogCommand::Prove(args) => prove(host, &args).await,
        LogCommand::Follow(args) => follow::follow(host, &args).await,
        LogCommand::Note(args) => note(host, &args).await,
    }
}

async fn head(host: &Host, args: &LogServerArgs) -> Result<u8, Failure> {
    let mut client = LogClient::new(host, args)?;
    let bundle = client.get("/v1/log/head".into()).await?;
    let head = client.head(&bundle, None)?;
    match args.json {
        true => output::json(&head),
        false => verdicts::print_head(&head),
    }
    Ok(0)
}

async fn show(host: &Host, args: &LogShowArgs) -> Result<u8, Failure> {
    let mut client = LogClient::new(host, &args.server)?;
    let bundle = client.get(format!("/v1/log/blocks/{}", args.height)).await?;
    let block = client.block(&bundle, args.height)?;
    match args.server.json {
        true => output::json(&block),
        false => verdicts::print_block(&block),
    }
    Ok(0)
}

async fn prove(host: &Host, args: &LogProveArgs) -> Result<u8, Failure> {
    let place = BundleFile::new(args.output.as_deref(), args.force)?;
    let mut client = LogClient::new(host, &args.server)?;
    let bundle = client.get(format!("/v1/log/ops/{}", args.op.to_hex())).await?;
    let op = client.op(&bundle, args.op)?;
    keep(&place, &bundle)?;
    match args.server.json {
        true => output::json(&place.named(&op)?),
        false => verdicts::print_op(&op),
    }
    Ok(0)
}

/// As `vouch log note`, but says nothing about attempts before the log runs: it starts a moment after the committee is founded. Returns the
/// note's op.
pub(super) async fn note_when_ready(host: &Host, args: &LogNoteArgs) -> Result<OpId, Failure> {
    let client = LogClient { is_quiet: true, ..LogClient::new(host, &args.server)? };
    note_through(client, args).await
}

async fn note(host: &Host, args: &LogNoteArgs) -> Result<u8, Failure> {
    note_through(LogClient::new(host, &args.server)?, args).await?;
    Ok(0)
}

async fn note_through(mut client: LogClient<'_>, args: &LogNoteArgs) -> Result<OpId, Failure> {
    let place = BundleFile::new(args.output.as_deref(), args.force)?;
    let host = client.host;
    let text = args.text.as_bytes().to_vec();
    let too_long = format!("a note has at most {MAX_OP_BODY} bytes, got {}", text.len());
    let expires_at = host.unix_seconds().saturating_add(NOTE_LIFETIME);
    let op = Op::new(Notes::NOTE, host.random(), expires_at, text).map_err(|_| Failure::new(too_long))?;
    let bundle = client.submit(&op).await?;
    let cluster = client.trusted(&bundle);
    // Whatever cluster it is of: the identity of an op covers it, and `op` checks it against the trusted one.
    let wanted = cluster.map(|cluster| op.id(&cluster)).ok_or_else(|| client.not_a_bundle("an op"))?;
    let shown = client.op(&bundle, wanted)?;
    keep(&place, &bundle)?;
    let Some(effect) = &shown.effect_text else {
        return Err(Failure::new(format_args!(
            "expected a note's number as the effect of op {}, got other bytes",
            shown.id
        )));
    };
    if args.server.json {
        let mut json = place.named(&shown)?;
        json["note"] = effect.as_str().into();
        output::json(&json);
        return Ok(shown.id);
    }
    output::line(format_args!(
        "{effect}: op {}, in block {} of {}, certified by {} of {} members of cluster {}",
        shown.id,
        shown.height,
        output::time(shown.time),
        shown.signers,
        shown.members,
        shown.cluster
    ));
    Ok(shown.id)
}

/// Reads a log through one server, and verifies it.
struct LogClient<'a> {
    host: &'a Host,
    server: String,
    trust: Trust,
    /// The trusted identity; at first contact, the one that the server showed first.
    cluster: Option<ClusterId>,
    verifier: Verifier,
    /// Whether attempts that fail are not mentioned.
    is_quiet: bool,
}

impl<'a> LogClient<'a> {
    fn new(host: &'a Host, args: &LogServerArgs) -> Result<Self, Failure> {
        let trust = Trust::new(host, &args.server, &args.trust)?;
        let (server, cluster) = (args.server.clone(), trust.pinned);
        Ok(Self { host, server, trust, cluster, verifier: Verifier::new(), is_quiet: false })
    }

    async fn get(&self, path: String) -> Result<Bytes, Failure> {
        let request = HttpRequest::get(&self.server, path, MAX_BUNDLE, PATIENCE);
        request.send(self.host).await.map_err(|error| explain(&error))
    }

    /// Has an op decided. Submitting it again does no harm, so that a lost answer costs only time.
    async fn submit(&self, op: &Op) -> Result<Bytes, Failure> {
        let request = HttpRequest {
            method: Method::POST,
            body: op.encode().into(),
            ..HttpRequest::get(&self.server, "/v1/log/ops".into(), MAX_BUNDLE, PATIENCE)
        };
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut was_sent = false;
        loop {
            let error = match request.clone().send(self.host).await {
                Ok(bundle) => return Ok(bundle),
                Err(error) => error,
            };
            was_sent |= !matches!(error, HttpError::Connect { .. });
            let pause = backoff.pause();
            let is_over = self.host.unix_seconds().saturating_add(pause.as_secs()) >= op.expires_at();
            if !error.is_passing() || !was_sent || is_over {
                let failure = explain(&error);
                return Err(match self.cluster.filter(|_| was_sent && error.is_passing()) {
                    Some(cluster) => failure.with_note(format_args!(
                        "The log may have the note. See with: vouch log prove {} --server {}",
                        op.id(&cluster),
                        self.server
                    )),
                    None => failure,
                });
            }
            if !self.is_quiet {
                output::error_line(format_args!("{error}; trying again in {:.1} s", pause.as_secs_f64()));
            }
            self.host.sleep(pause).await;
        }
    }

    /// The identity to verify a bundle against: the trusted one; at first contact, the bundle's own.
    fn trusted(&self, bundle: &[u8]) -> Option<ClusterId> {
        self.cluster.or_else(|| claimed_cluster(bundle, &Limits::default()))
    }

    fn options<W>(&self, bundle: &[u8], wanted: Option<W>) -> LogVerifyOptions<W> {
        LogVerifyOptions { trust: self.trusted(bundle).into(), wanted, now: self.host.unix_seconds() }
    }

    /// The verified head in a bundle, of at least this height.
    fn head(&mut self, bundle: &[u8], least: Option<u64>) -> Result<HeadView, Failure> {
        let options = self.options(bundle, least);
        let judgement: LogJudgement<()> = self.verifier.judge_head(bundle, &options);
        let view = HeadReport::new(&judgement).head;
        self.proved(judgement.proved().map(drop).map_err(Clone::clone), options.trust.cluster, view, "a log head")
    }

    /// The verified block of this height in a bundle.
    fn block(&mut self, bundle: &[u8], height: u64) -> Result<BlockView, Failure> {
        let options = self.options(bundle, Some(height));
        let judgement: LogJudgement<Block> = self.verifier.judge_block(bundle, &options);
        let view = BlockReport::new(&judgement).block;
        self.proved(judgement.proved().map(drop).map_err(Clone::clone), options.trust.cluster, view, "a block")
    }

    /// The verified op of this identity in a bundle.
    fn op(&mut self, bundle: &[u8], op: OpId) -> Result<OpView, Failure> {
        let options = self.options(bundle, Some(op));
        let judgement: LogJudgement<OpProof> = self.verifier.judge_op(bundle, &options);
        let view = OpReport::new(&judgement).op;
        self.proved(judgement.proved().map(drop).map_err(Clone::clone), options.trust.cluster, view, "an op")
    }

    /// What a judgement proved. Records the cluster at first contact.
    fn proved<T>(
        &mut self,
        verdict: Result<(), CheckError>,
        cluster: Option<ClusterId>,
        view: Option<T>,
        what: &str,
    ) -> Result<T, Failure> {
        match (verdict, view, cluster) {
            (Ok(()), Some(view), Some(cluster)) => {
                if self.cluster.is_none() {
                    self.trust.record(cluster)?;
                    self.cluster = Some(cluster);
                }
                Ok(view)
            }
            (Err(CheckError::Invalid(Invalid::AnotherCluster { expected, got })), ..) => {
                let got = Some(got);
                Err(self.trust.explain(ClientError::Session(SessionError::AnotherCluster { expected, got })))
            }
            (Err(error), ..) => Err(Failure::new(format_args!(
                "{} sent a bundle of {what} that does not prove it: {}",
                self.server,
                Verdict::from(error)
            ))
            .with_note("Do not rely on this server; ask another one of the cluster with --server.")),
            (Ok(()), ..) => Err(self.not_a_bundle(what)),
        }
    }

    fn not_a_bundle(&self, what: &str) -> Failure {
        Failure::new(format_args!("{} sent something else than a bundle of {what}", self.server))
    }
}

/// A request's error, with what to do next.
fn explain(error: &HttpError) -> Failure {
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

/// Writes the bundle of an op, if the user named a file.
fn keep(place: &BundleFile<'_>, bundle: &[u8]) -> Result<(), Failure> {
    place.write(bundle).map_err(|error| {
        Failure::new(format_args!("the op is in the log, but its bundle could not be written: {error}"))
            .with_note("Get it again with: vouch log prove OP -o FILE")
    })
}
