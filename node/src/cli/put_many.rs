//! `vouch put` of several files: over one link, several at once. A failure of one file does not affect the others.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vouch_core::report::Inspection;
use vouch_core::session::{Attempts, Certified, Fault};

use super::bundles::BundlePlace;
use super::trust::Trust;
use super::{Failure, PutArgs, bundles, output};
use crate::client::{self, ClientError, Item, NextAttempt, Prepared, PutLink, ServerTrials};
use crate::host::Host;
use crate::host::source::Source;
use crate::host::tasks::JoinSet;

/// A file that is being put or waits for its turn.
struct FilePut {
    number: usize,
    file: OsString,
    place: BundlePlace,
    attempts: u32,
    /// Set by the first attempt, which hashes the file.
    prepared: Option<Prepared>,
}

/// A file, and the result of one attempt to put it.
type Attempt = (FilePut, Result<SavedBundle, PutFailure>);

/// A file's certificate, and the path of its bundle.
type SavedBundle = (Box<Certified>, PathBuf);

/// Why an attempt failed.
enum PutFailure {
    /// The put failed. It may be retried.
    Client(ClientError),
    /// The bundle must not or could not be written. This is final.
    Bundle(Failure),
}

/// The puts of one command.
struct Puts {
    host: Host,
    args: PutArgs,
    trust: Trust,
    expires_at: u64,
    link: PutLink,
    /// The address of the link's server.
    server: String,
    trials: ServerTrials,
    queue: VecDeque<FilePut>,
    running: JoinSet<Attempt>,
    attempts: Arc<Mutex<Attempts>>,
    /// The backoff before the interrupted files are put again.
    pause: Option<Duration>,
    /// The epoch of the newest committee that was recorded, if any was.
    recorded: Option<u64>,
    code: u8,
}

pub(super) async fn put(host: &Host, args: PutArgs, trust: Trust, expires_at: u64) -> Result<u8, Failure> {
    if args.bundle.is_some() {
        return Err(Failure::new("--bundle takes one file; with several files, each bundle is saved beside its file"));
    }
    let inputs = bundles::inputs(&args);
    let (mut queue, mut code) = (VecDeque::new(), 0);
    for (number, file) in args.files.iter().enumerate() {
        let place = BundlePlace::new(Source::parse(file), None, args.force);
        match place.check(&inputs) {
            Ok(()) => queue.push_back(FilePut { number, file: file.clone(), place, attempts: 0, prepared: None }),
            Err(failure) => {
                code = 1;
                print_failure(file, &failure, args.json);
            }
        }
    }
    if queue.is_empty() {
        return Ok(code);
    }
    let attempts = Attempts::new(trust.of_link(), args.retry).among(trust.servers.count());
    let attempts = Arc::new(Mutex::new(attempts.with_token(args.token.read(host)?)));
    let mut trials = ServerTrials::new(trust.servers.clone());
    let opened = dial(host, &attempts, &mut trials, args.json).await;
    let (link, server) = opened.map_err(|error| trust.explain(error))?;
    let puts = Puts {
        host: host.clone(),
        args,
        trust,
        expires_at,
        link,
        server,
        trials,
        queue,
        running: JoinSet::new(),
        attempts,
        pause: None,
        recorded: None,
        code,
    };
    puts.run().await
}

impl Puts {
    async fn run(mut self) -> Result<u8, Failure> {
        loop {
            while self.pause.is_none() && self.running.len() < self.args.jobs.into() {
                let Some(file) = self.queue.pop_front() else { break };
                self.start(file);
            }
            if let Some(ended) = self.running.join_next().await {
                let (file, result) = ended.map_err(Failure::new)?;
                self.ended(file, result).await?;
            } else if let Some(pause) = self.pause.take() {
                self.host.sleep(pause).await;
                self.dial_again().await;
            } else {
                return Ok(self.code);
            }
        }
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&mut self, mut file: FilePut) {
        file.attempts += 1;
        let item = Item { source: Source::parse(&file.file), expires_at: self.expires_at, renew: self.args.renew };
        let (host, link, attempts) = (self.host.clone(), self.link.clone(), self.attempts.clone());
        let trust = self.trust.clone();
        self.running.spawn(async move {
            let put = attempt(&host, &link, &mut file, item, attempts).await;
            let result = match put {
                Ok(certified) => match trust.check(&certified.chain) {
                    Ok(()) => save(&host, file.place.clone(), certified).await.map_err(PutFailure::Bundle),
                    Err(failure) => Err(PutFailure::Bundle(failure)),
                },
                Err(error) => Err(PutFailure::Client(error)),
            };
            (file, result)
        });
    }

    async fn ended(&mut self, file: FilePut, result: Result<SavedBundle, PutFailure>) -> Result<(), Failure> {
        self.link.chain().cloned().into_iter().for_each(|chain| self.attempts().verified(chain));
        let failure = match result {
            Ok((certified, bundle)) => {
                self.attempts().retry.completed(file.number);
                let epoch = Some(certified.certificate.epoch);
                if self.recorded < epoch {
                    self.recorded = epoch;
                    self.trust.record(&self.server, &certified.chain).await?;
                }
                match print(&file, &certified, &bundle, self.args.json) {
                    Ok(()) => return Ok(()),
                    Err(failure) => failure,
                }
            }
            Err(PutFailure::Bundle(failure)) => failure,
            Err(PutFailure::Client(error)) => match self.plan_retry(&file, error) {
                Ok(()) => {
                    self.queue.push_front(file);
                    return Ok(());
                }
                Err(error) => self.trust.explain(error),
            },
        };
        self.failed(&file, &failure);
        Ok(())
    }

    /// Plans another attempt, one for all files that were interrupted together. Fails with the error if it is final.
    fn plan_retry(&mut self, file: &FilePut, error: ClientError) -> Result<(), ClientError> {
        let fault = client::fault(&error);
        let is_of_link = matches!(error, ClientError::Ended(_));
        // A server that refuses one file for good may be right, and the other files are not to suffer from it.
        if fault == Fault::Permanent && !is_of_link {
            return Err(error);
        }
        let is_spent = file.prepared.as_ref().is_some_and(Prepared::is_spent);
        if self.pause.is_some() && !is_spent && (is_of_link || self.attempts().retry.may_pass(fault)) {
            return Ok(());
        }
        let attempts = self.attempts.clone();
        let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.trials.failed(&mut attempts.retry, error, &self.host, is_spent)?;
        announce(&next, self.args.json);
        self.pause = Some(next.pause);
        Ok(())
    }

    /// Dials again if the link is lost, or if it is the turn of another server. If the retries are used up, all files that are left fail.
    async fn dial_again(&mut self) {
        if !self.link.is_closed() && self.server == self.trials.server(&self.attempts().retry) {
            return;
        }
        let attempts = self.attempts.clone();
        match dial(&self.host, &attempts, &mut self.trials, self.args.json).await {
            Ok((link, server)) => (self.link, self.server) = (link, server),
            Err(error) => {
                let failure = self.trust.explain(error);
                for file in std::mem::take(&mut self.queue) {
                    self.failed(&file, &failure);
                }
            }
        }
    }

    fn failed(&mut self, file: &FilePut, failure: &Failure) {
        self.code = 1;
        print_failure(&file.file, failure, self.args.json);
    }
}

/// Opens a link to the server whose turn it is, or to one after it.
async fn dial(
    host: &Host,
    attempts: &Mutex<Attempts>,
    trials: &mut ServerTrials,
    is_json: bool,
) -> Result<(PutLink, String), ClientError> {
    let locked = || attempts.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let (options, server) = {
            let attempts = locked();
            (attempts.link_options(), trials.server(&attempts.retry).to_owned())
        };
        let error = match PutLink::open_with(host, &server, options).await {
            Ok(link) => {
                locked().retry.opened();
                return Ok((link, server));
            }
            Err(error) => error,
        };
        let next = trials.failed(&mut locked().retry, error, host, false)?;
        announce(&next, is_json);
        host.sleep(next.pause).await;
    }
}

fn announce(next: &NextAttempt, is_json: bool) {
    if !is_json {
        output::error_line(format_args!("{}", output::retrying(next)));
    }
}

fn print_failure(file: &OsStr, failure: &Failure, is_json: bool) {
    if is_json {
        let mut json = failure.as_json();
        output::put_name(&mut json, "file", file);
        output::json(&json);
    }
    output::error_line(format_args!("vouch: {}: {}", output::name(file), failure.message));
    failure.notes.iter().for_each(|note| output::error_line(format_args!("{note}")));
}

/// Puts a file over a link, which may break.
async fn attempt(
    host: &Host,
    link: &PutLink,
    file: &mut FilePut,
    item: Item,
    attempts: Arc<Mutex<Attempts>>,
) -> Result<Box<Certified>, ClientError> {
    let prepared = match &mut file.prepared {
        Some(prepared) => prepared,
        None => file.prepared.insert(Prepared::new(host, item).await?),
    };
    let number = file.number;
    let saw = move |step| {
        if let Some(milestone) = client::milestone(&step) {
            attempts.lock().unwrap_or_else(PoisonError::into_inner).retry.reached(number, milestone);
        }
    };
    Ok(Box::new(link.put_again(prepared, saw).await?))
}

/// Writes the bundle.
async fn save(host: &Host, place: BundlePlace, certified: Box<Certified>) -> Result<SavedBundle, Failure> {
    let writing = host.spawn_blocking(move || place.write(&certified).map(|bundle| (certified, bundle)));
    writing.await.map_err(Failure::new)?
}

fn print(file: &FilePut, certified: &Certified, bundle: &Path, is_json: bool) -> Result<(), Failure> {
    let shown = Inspection::of_certified(&certified.certificate, &certified.chain);
    if is_json {
        let mut json = bundles::as_json(certified, file.attempts, &shown, bundle)?;
        output::put_name(&mut json, "file", &file.file);
        output::json(&json);
        return Ok(());
    }
    let signers = shown.members.iter().filter(|member| member.signed).count();
    let (n, length) = (shown.members.len(), output::bytes(shown.length));
    let already = if certified.reused {
        format!(", certified already on {}", output::time(shown.issued_at))
    } else {
        String::new()
    };
    let (name, bundle_name) = (output::name(&file.file), output::name(bundle));
    output::line(format_args!("certified  {name}, {length}, by {signers} of {n}{already}: {bundle_name}"));
    if let Some(kept) = file.place.kept(bundle) {
        output::error_line(format_args!("{kept}"));
    }
    Ok(())
}
