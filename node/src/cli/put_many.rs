//! `vouch put` of several files: over one link, some at once, and what fails for one is no matter for the others.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vouch_core::digest::ClusterId;
use vouch_core::report::Inspection;
use vouch_core::session::{Certified, Retry};

use super::bundles::BundlePlace;
use super::known::Trust;
use super::{Failure, PutArgs, bundles, output};
use crate::client::{self, ClientError, Item, Prepared, PutLink, StallLimit};
use crate::host::Host;
use crate::host::source::Source;
use crate::host::tasks::JoinSet;

/// A file that is put, or waits for it.
struct Todo {
    number: usize,
    file: OsString,
    place: BundlePlace,
    attempts: u32,
    /// Hashed at the first attempt.
    prepared: Option<Prepared>,
}

/// What an attempt came to.
type Attempt = (Todo, Result<Put, Trouble>);

/// A file's certificate, and where its bundle is.
type Put = (Box<Certified>, PathBuf);

/// Why there is no bundle.
enum Trouble {
    Client(ClientError),
    Here(Failure),
}

/// The puts of one command.
struct Puts {
    host: Host,
    args: PutArgs,
    trust: Trust,
    expires_at: u64,
    /// What the first link showed holds for all.
    trusted: Option<ClusterId>,
    link: PutLink,
    todo: VecDeque<Todo>,
    running: JoinSet<Attempt>,
    retry: Arc<Mutex<Retry>>,
    /// Until the files that were cut off are put again.
    pause: Option<Duration>,
    is_known: bool,
    code: u8,
}

pub(super) async fn put(host: &Host, args: PutArgs, trust: Trust, expires_at: u64) -> Result<u8, Failure> {
    if args.bundle.is_some() {
        return Err(Failure::new("--bundle names the bundle of a single file; several get theirs beside them"));
    }
    let inputs = bundles::inputs(&args);
    let (mut todo, mut code) = (VecDeque::new(), 0);
    for (number, file) in args.files.iter().enumerate() {
        let place = BundlePlace::new(Source::parse(file), None, args.force);
        match place.check(&inputs) {
            Ok(()) => todo.push_back(Todo { number, file: file.clone(), place, attempts: 0, prepared: None }),
            Err(failure) => {
                code = 1;
                tell_failure(file, &failure, args.json);
            }
        }
    }
    if todo.is_empty() {
        return Ok(code);
    }
    let stall = StallLimit::new(args.retry);
    let link =
        PutLink::open_with(host, &trust.server, trust.pinned, stall).await.map_err(|error| trust.explain(error))?;
    let mut retry = Retry::new(args.retry);
    retry.opened();
    let puts = Puts {
        host: host.clone(),
        trusted: trust.pinned,
        args,
        trust,
        expires_at,
        link,
        todo,
        running: JoinSet::new(),
        retry: Arc::new(Mutex::new(retry)),
        pause: None,
        is_known: false,
        code,
    };
    puts.run().await
}

impl Puts {
    async fn run(mut self) -> Result<u8, Failure> {
        loop {
            // a file is begun when there is a place for it, and told of when it is done
            while self.pause.is_none() && self.running.len() < self.args.jobs.into() {
                let Some(todo) = self.todo.pop_front() else { break };
                self.start(todo);
            }
            if let Some(done) = self.running.join_next().await {
                let (todo, result) = done.map_err(Failure::new)?;
                self.ended(todo, result)?;
            } else if let Some(pause) = self.pause.take() {
                self.host.sleep(pause).await;
                self.dial().await;
            } else {
                return Ok(self.code);
            }
        }
    }

    fn retry(&self) -> MutexGuard<'_, Retry> {
        self.retry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&mut self, mut todo: Todo) {
        todo.attempts += 1;
        let item = Item { source: Source::parse(&todo.file), expires_at: self.expires_at, renew: self.args.renew };
        let (host, link, retry) = (self.host.clone(), self.link.clone(), self.retry.clone());
        self.running.spawn(async move {
            let put = attempt(&host, &link, &mut todo, item, &retry).await;
            let result = match put {
                Ok(certified) => save(&host, todo.place.clone(), certified).await.map_err(Trouble::Here),
                Err(error) => Err(Trouble::Client(error)),
            };
            (todo, result)
        });
    }

    fn ended(&mut self, todo: Todo, result: Result<Put, Trouble>) -> Result<(), Failure> {
        self.trusted = self.trusted.or_else(|| self.link.cluster());
        let failure = match result {
            Ok((certified, bundle)) => {
                self.retry().completed(todo.number);
                if !self.is_known {
                    self.is_known = true;
                    self.trust.learn(certified.committee.cluster())?;
                }
                match tell(&todo, &certified, &bundle, self.args.json) {
                    Ok(()) => return Ok(()),
                    Err(failure) => failure,
                }
            }
            Err(Trouble::Here(failure)) => failure,
            Err(Trouble::Client(error)) => match self.may_go_on(&todo, error) {
                Ok(()) => {
                    self.todo.push_front(todo);
                    return Ok(());
                }
                Err(error) => self.trust.explain(error),
            },
        };
        self.tell_failure(&todo, &failure);
        Ok(())
    }

    /// Plans another attempt; one for all that were cut off together.
    fn may_go_on(&mut self, todo: &Todo, error: ClientError) -> Result<(), ClientError> {
        let is_once = todo.prepared.as_ref().is_some_and(Prepared::is_once);
        if is_once && self.retry().may_pass(client::fault(&error)) {
            return Err(ClientError::Once(Box::new(error)));
        }
        if self.pause.is_some() && self.retry().may_pass(client::fault(&error)) {
            return Ok(());
        }
        let (pause, error) = client::pause(&mut self.retry(), error, &self.host)?;
        self.announce(&error, pause);
        self.pause = Some(pause);
        Ok(())
    }

    fn announce(&self, error: &ClientError, pause: Duration) {
        if !self.args.json {
            output::error_line(format_args!("{}", output::trying_again(error, pause)));
        }
    }

    /// Dials again where the link is lost. When that is given up, all that is left fails.
    async fn dial(&mut self) {
        if !self.link.is_closed() {
            return;
        }
        let error =
            match PutLink::open_with(&self.host, &self.trust.server, self.trusted, StallLimit::new(self.args.retry))
                .await
            {
                Ok(link) => {
                    self.link = link;
                    return;
                }
                Err(error) => error,
            };
        let planned = client::pause(&mut self.retry(), error, &self.host);
        match planned {
            Ok((pause, error)) => {
                self.announce(&error, pause);
                self.pause = Some(pause);
            }
            Err(error) => {
                let failure = self.trust.explain(error);
                for todo in std::mem::take(&mut self.todo) {
                    self.tell_failure(&todo, &failure);
                }
            }
        }
    }

    fn tell_failure(&mut self, todo: &Todo, failure: &Failure) {
        self.code = 1;
        tell_failure(&todo.file, failure, self.args.json);
    }
}

fn tell_failure(file: &OsStr, failure: &Failure, is_json: bool) {
    if is_json {
        let mut json = failure.as_json();
        output::put_name(&mut json, "file", file);
        output::json(&json);
    }
    output::error_line(format_args!("vouch: {}: {}", output::name(file), failure.message));
    failure.notes.iter().for_each(|note| output::error_line(format_args!("{note}")));
}

/// Puts a file over a link, which may be lost.
async fn attempt(
    host: &Host,
    link: &PutLink,
    todo: &mut Todo,
    item: Item,
    retry: &Mutex<Retry>,
) -> Result<Box<Certified>, ClientError> {
    let prepared = match &mut todo.prepared {
        Some(prepared) => prepared,
        None => todo.prepared.insert(Prepared::new(host, item).await?),
    };
    let number = todo.number;
    let saw = |step| {
        if let Some(milestone) = client::milestone(&step) {
            retry.lock().unwrap_or_else(PoisonError::into_inner).reached(number, milestone);
        }
    };
    Ok(Box::new(link.put_again(prepared, saw).await?))
}

/// Writes the bundle.
async fn save(host: &Host, place: BundlePlace, certified: Box<Certified>) -> Result<Put, Failure> {
    let writing = host.spawn_blocking(move || place.write(&certified).map(|bundle| (certified, bundle)));
    writing.await.map_err(Failure::new)?
}

fn tell(todo: &Todo, certified: &Certified, bundle: &Path, is_json: bool) -> Result<(), Failure> {
    let shown = Inspection::of(&certified.certificate, certified.committee.record());
    if is_json {
        let mut json = bundles::as_json(certified, todo.attempts, &shown, bundle)?;
        output::put_name(&mut json, "file", &todo.file);
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
    let (file, bundle_name) = (output::name(&todo.file), output::name(bundle));
    output::line(format_args!("certified  {file}, {length}, by {signers} of {n}{already}: {bundle_name}"));
    if let Some(kept) = todo.place.kept(bundle) {
        output::error_line(format_args!("{kept}"));
    }
    Ok(())
}
