//! `vouch put` and `vouch client`.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::ProgressBar;
use vouch_core::chain::{CommitteeChain, MemberId};
use vouch_core::message::Stage;
use vouch_core::receipt::NEVER;
use vouch_core::report::Inspection;
use vouch_core::session::retry::DEFAULT_LIMIT;

use super::bundles::BundlePlace;
use super::trust::Trust;
use super::{ClientArgs, Failure, PutArgs, bundles, output};
use crate::client::{self, PutProgress, PutResult};
use crate::host::Host;
use crate::host::files;
use crate::host::source::Source;

pub(super) async fn put(host: &Host, args: PutArgs) -> Result<u8, Failure> {
    let mut trust = Trust::new(host, &args.servers, &args.trust)?;
    let expires_at = args.expires.at(host.unix_seconds());
    let expires_at = expires_at.map_err(|error| Failure::new(format_args!("--expires is {error}")))?;
    let [file] = args.files.as_slice() else {
        return super::put_many::put(host, args, trust, expires_at).await;
    };
    let source = Source::parse(file);
    let place = BundlePlace::new(source.clone(), args.bundle.clone(), args.force);
    place.check(&bundles::inputs(&args))?;
    let put = client::Put {
        servers: trust.servers.clone(),
        trusted: trust.of_link(),
        source: source.clone(),
        expires_at,
        renew: args.renew,
        token: args.token.read(host)?,
        retry: args.retry,
    };
    let PutResult { certified, server, attempts } = run(host, put, &trust, !args.json, Some(&place)).await?;
    trust.check(&certified.chain)?;
    let bundle = place.write(&certified)?;
    if let Some(kept) = place.kept(&bundle).filter(|_| !args.json) {
        output::error_line(format_args!("{kept}"));
    }
    trust.record(&server, &certified.chain).await?;

    let shown = Inspection::of_certified(&certified.certificate, &certified.chain);
    if args.json {
        output::json(&bundles::as_json(&certified, attempts, &shown, &bundle)?);
    } else {
        describe(file, &shown, certified.reused, &bundle);
    }
    Ok(0)
}

fn describe(file: &OsStr, shown: &Inspection, reused: bool, bundle: &Path) {
    let signers: Vec<&str> =
        shown.members.iter().filter(|member| member.signed).map(|member| member.name.as_str()).collect();
    let n = shown.members.len();
    output::line(format_args!("certified  {}, {}", output::name(file), output::bytes(shown.length)));
    if reused {
        let at = output::time(shown.issued_at);
        output::line(format_args!("reused     certified already on {at}; --renew gets a new certificate"));
    }
    output::line(format_args!("digest     {}", shown.digest_base58));
    output::line(format_args!("cluster    {}", shown.cluster));
    output::line(format_args!(
        "signed by  {} of {n} ({}), {} needed, {} may fail",
        signers.len(),
        signers.join(", "),
        shown.quorum,
        shown.tolerated_faults
    ));
    output::line(format_args!("kept       {}", output::kept(shown.expires_at)));
    output::line(format_args!("bundle     {}", output::name(bundle)));
}

pub(super) async fn client(host: &Host, args: ClientArgs) -> Result<u8, Failure> {
    let mut trust = Trust::new(host, args.server.as_str(), &args.trust)?;
    let put = client::Put {
        servers: trust.servers.clone(),
        trusted: trust.of_link(),
        source: Source::File(args.file),
        expires_at: NEVER,
        renew: false,
        token: args.token.read(host)?,
        // `vouch client` has no flag for it.
        retry: DEFAULT_LIMIT,
    };
    let PutResult { certified, server, .. } = run(host, put, &trust, false, None).await?;
    trust.check(&certified.chain)?;
    trust.record(&server, &certified.chain).await?;
    let certificate = bs58::encode(certified.certificate.encode()).into_string();
    output::line(format_args!("server identity: {}", certified.server));
    output::line(format_args!("file {} stored successfully.", certified.certificate.claim.receipt.digest));
    output::line(format_args!("certificate of availability: {certificate}"));
    output::line(format_args!("availability set identity: {}", certified.committee().cluster()));
    // the session has verified it
    output::line(format_args!("certificate of availability is valid."));
    Ok(0)
}

/// Puts, with progress on standard error. Sends nothing if the bundle cannot be written.
async fn run(
    host: &Host,
    put: client::Put,
    trust: &Trust,
    shows_messages: bool,
    place: Option<&BundlePlace>,
) -> Result<PutResult, Failure> {
    let length = match &put.source {
        Source::File(path) => files::length(path).ok(),
        Source::Stdin => None,
    };
    let display = Arc::new(Mutex::new(Display::new(length, shows_messages)));
    let shown = display.clone();
    let progress = move |progress| shown.lock().unwrap_or_else(PoisonError::into_inner).show(progress);
    let offer = client::offer(host, &put, progress.clone()).await.map_err(|error| trust.explain(error))?;
    if let (Some(place), Some(digest)) = (place, offer.digest()) {
        place.check_digest(digest, trust.pinned)?;
    }
    let result = client::put_offer(host, put, offer, progress).await;
    let display = display.lock().unwrap_or_else(PoisonError::into_inner);
    display.bar.finish_and_clear();
    result.map_err(|error| trust.explain(error))
}

/// Shows the progress of a put: a bar for each phase, and a line for each step of a member.
struct Display {
    bar: ProgressBar,
    length: Option<u64>,
    is_sending: bool,
    shows_messages: bool,
    chain: Option<CommitteeChain>,
}

impl Display {
    fn new(length: Option<u64>, shows_messages: bool) -> Self {
        Self { bar: output::bar("hashing", length), length, is_sending: false, shows_messages, chain: None }
    }

    fn show(&mut self, progress: PutProgress) {
        match progress {
            PutProgress::Hashed(done) => self.bar.set_position(done),
            PutProgress::Offered(_, length) => self.length = Some(length),
            PutProgress::Ready(offset) => self.resume_at(offset),
            PutProgress::Retrying(next) => self.say(format_args!("{}", output::retrying(&next))),
            PutProgress::Cluster(chain) => self.chain = Some(chain),
            PutProgress::Sent(done) => self.bar.set_position(done),
            PutProgress::Member(member, stage) => self.member(member, stage),
        }
    }

    /// The server is ready for the bytes from the resume offset on.
    fn resume_at(&mut self, offset: u64) {
        if !self.is_sending {
            self.is_sending = true;
            self.bar.finish_and_clear();
            self.bar = output::bar("sending", self.length);
        }
        self.bar.set_position(offset);
        // Bytes that the replicas already hold would distort the estimated speed.
        self.bar.reset_eta();
        match self.length {
            Some(length) if offset > 0 && offset == length => {
                self.say(format_args!("the replicas already hold the file: nothing is sent"));
            }
            Some(length) if offset > 0 => {
                let percent = u128::from(offset) * 100 / u128::from(length.max(1));
                let (done, all) = (output::short_bytes(offset), output::short_bytes(length));
                self.say(format_args!("resuming at {percent} % ({done} of {all})"));
            }
            _ => {}
        }
    }

    fn say(&self, text: std::fmt::Arguments<'_>) {
        if self.shows_messages {
            self.bar.suspend(|| output::error_line(text));
        }
    }

    fn member(&self, member: MemberId, stage: Stage) {
        let name = self.chain.as_ref().map_or_else(String::new, |chain| chain.name(member));
        let text = match stage {
            Stage::Receiving => return,
            Stage::Stored => format!("{name}: stored durably"),
            Stage::Voted => format!("{name}: signed"),
            Stage::Dropped => format!("{name}: dropped from this put"),
        };
        self.say(format_args!("{text}"));
    }
}
