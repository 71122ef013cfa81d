//! The command line: flags in, text or JSON out, exit codes.

mod args;
mod bundle_file;
mod bundles;
mod certs;
mod change_text;
mod cluster_status;
mod committee;
mod committee_args;
mod compare;
mod config;
mod connection_args;
mod data_folders;
mod demo;
mod destination;
mod doctor;
mod doctor_args;
mod get;
mod health;
mod inspect;
mod keys;
mod keys_args;
mod log_args;
mod log_client;
mod log_commands;
mod log_lines;
mod maintain;
mod members;
mod metrics;
mod node_args;
mod nodes;
mod operator;
mod operator_args;
mod output;
mod packaging;
mod put;
mod put_many;
mod screen;
mod service;
mod status;
mod store_option;
mod streams;
mod token;
mod token_args;
mod trust;
mod upgrade;
mod usage;
mod verdicts;
mod verify;

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::durable;
use crate::host::files::{self, Target};
use crate::host::{Host, resources, signals};
use crate::tls::Dialing;
use args::{
    Cli, ClientArgs, Command, CompareArgs, DemoArgs, ForgetArgs, GetArgs, InspectArgs, KeygenArgs, MaintainArgs,
    PutArgs, UpgradeArgs, VerifyArgs,
};
use config::{ConfigFileArgs, Refusal};
use connection_args::{TransportArgs, TrustArgs};
use keys_args::PassphraseArgs;
use log_args::LogCommandArgs;
use node_args::{ReplicaArgs, ServerArgs};

/// Why a command failed, what to do next, and the exit code.
#[derive(Debug)]
struct Failure {
    /// The error, on one line.
    message: String,
    /// Further lines, shown after the message.
    notes: Vec<String>,
    /// The JSON form, if it has more fields than the message.
    json: Option<Box<Value>>,
    code: u8,
}

impl Failure {
    /// The command could not do its work: exit code 1.
    fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), notes: Vec::new(), json: None, code: 1 }
    }

    /// The verdict is CANNOT CHECK: exit code 2.
    fn cannot_check(message: impl fmt::Display) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// Adds a line.
    fn with_note(mut self, note: impl fmt::Display) -> Self {
        self.notes.push(note.to_string());
        self
    }

    /// The failure as JSON: an object with at least `error`.
    fn as_json(&self) -> Value {
        let mut json = self.json.as_deref().cloned().unwrap_or_else(|| json!({}));
        let lines: Vec<&str> = [&self.message].into_iter().chain(&self.notes).map(String::as_str).collect();
        json["error"] = lines.join("\n").into();
        json
    }
}

/// What exists at the path of an output file. Check it before the work: otherwise the work may be lost.
fn target_to_write(file: &Path) -> Result<Target, Failure> {
    let refused = |why: &str| Failure::new(format_args!("cannot write {}: {why}", output::name(file)));
    let target = Target::at(file).map_err(Failure::new)?;
    let is_folder = target == Target::Folder || file.as_os_str().as_bytes().ends_with(b"/");
    if is_folder {
        return Err(refused("it is a folder; name a file in it"));
    }
    if let Target::New(path) = &target {
        let folder = files::parent(path);
        if !matches!(files::exists(&folder.join(".")), Ok(true)) {
            return Err(refused(&format!("there is no folder {}; create it first", output::name(folder))));
        }
    }
    Ok(target)
}

/// How a command reports errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Errors {
    /// As text on standard error.
    Text,
    /// As text on standard error, and as JSON on standard output.
    Json,
    /// As JSON on standard error, because standard output carries the file.
    JsonOnly,
}

impl Command {
    fn errors(&self) -> Errors {
        let is_json = match self {
            Self::Put(args) => args.json,
            Self::Get(args) if args.json && args.output.as_os_str() == "-" => return Errors::JsonOnly,
            Self::Get(args) => args.json,
            Self::Verify(args) => args.json,
            Self::Log(args) => args.command.server().json,
            Self::Committee(args) => args.command.is_json(),
            Self::Inspect(args) => args.json,
            Self::Compare(args) => args.json,
            Self::Upgrade(args) => args.json,
            Self::Certs(args) => args.is_json(),
            Self::Keygen(args) => args.json,
            Self::Config(args) => args.is_json(),
            Self::Operator(args) => args.command.is_json(),
            Self::Token(args) => args.command.is_json(),
            Self::Status(args) => args.json,
            Self::Doctor(args) => args.json,
            Self::Keys(args) => args.command.folder().json,
            Self::Du(args) | Self::Scrub(args) => args.replica.json,
            Self::Server(_) | Self::Replica(_) | Self::Client(_) | Self::Forget(_) | Self::Demo(_) => false,
            Self::Health(_) | Self::Completions(_) | Self::Man(_) => false,
        };
        if is_json { Errors::Json } else { Errors::Text }
    }

    /// How it reaches servers, if it does.
    fn transport(&self) -> Option<&TransportArgs> {
        match self {
            Self::Replica(args) => Some(&args.transport),
            Self::Client(args) => Some(&args.trust.transport),
            Self::Put(args) => Some(&args.trust.transport),
            Self::Get(args) => Some(&args.trust.transport),
            Self::Upgrade(args) => Some(&args.trust.transport),
            Self::Health(args) => Some(&args.transport),
            Self::Log(args) => Some(&args.command.server().trust.transport),
            Self::Committee(args) => args.command.transport(),
            Self::Token(args) => args.command.transport(),
            Self::Status(args) => Some(&args.trust.transport),
            Self::Doctor(args) => Some(&args.trust.transport),
            _ => None,
        }
    }

    /// Where the passphrase of a node's keys is from, if it needs them.
    fn passphrase(&self) -> Option<&PassphraseArgs> {
        match self {
            Self::Server(args) => Some(&args.service.passphrase),
            Self::Replica(args) => Some(&args.service.passphrase),
            Self::Keygen(args) => Some(&args.passphrase),
            Self::Du(args) | Self::Scrub(args) => Some(&args.passphrase),
            Self::Keys(args) => Some(&args.command.folder().passphrase),
            _ => None,
        }
    }

    /// Whether the command is a service. The reader of a service's output may come and go, so a failed write is no error.
    fn is_service(&self) -> bool {
        matches!(self, Self::Server(_) | Self::Replica(_))
    }
}

/// Parses the arguments, runs the command, and returns the exit code.
pub fn main() -> ExitCode {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // a caught panic is reported as a damaged file
        if !durable::is_catching() {
            usual(panic);
        }
    }));
    let Cli { command, file } = match config::parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(Refusal::Usage(error, notes)) => return usage::report(*error, &notes),
        Err(Refusal::File(failure)) => return report(&failure, usage::errors()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::new(format!("cannot start: {error}")), Errors::Text),
    };
    let (errors, is_service) = (command.errors(), command.is_service());
    let result = runtime.block_on(Box::pin(run(command, file)));
    // Do not wait for threads: one may block in a read of standard input.
    runtime.shutdown_background();
    let code = match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => report(&failure, errors),
    };
    streams::flush();
    match output::finish() {
        Err(why) if !is_service => {
            let failed = report(&Failure::new(why), Errors::Text);
            // the command's own failure says more
            if code == ExitCode::SUCCESS { failed } else { code }
        }
        _ => code,
    }
}

fn report(failure: &Failure, errors: Errors) -> ExitCode {
    match errors {
        Errors::JsonOnly => output::error_json(&failure.as_json()),
        Errors::Json => output::json(&failure.as_json()),
        Errors::Text => {}
    }
    if errors != Errors::JsonOnly && !log_lines::failure(&failure.message) {
        output::error_line(format_args!("vouch: {}", failure.message));
        failure.notes.iter().for_each(|note| output::error_line(format_args!("{note}")));
    }
    ExitCode::from(failure.code)
}

/// The operating system, where servers are dialled as the arguments say.
fn host(command: &Command) -> Result<Host, Failure> {
    let (mut host, mut dialing) = (Host::system(), Dialing::default());
    if let Some(passphrase) = command.passphrase() {
        host = host.with_passphrase(passphrase.source(&host));
    }
    let Some(TransportArgs { tls_ca, insecure }) = command.transport() else { return Ok(host) };
    if let Some(file) = tls_ca {
        dialing = dialing.trusting(host.disk(), file).map_err(Failure::new)?;
    }
    if *insecure {
        dialing = dialing.allowing_plain();
    }
    if matches!(command, Command::Replica(args) if !args.no_tls_exporter) {
        dialing = dialing.binding_links();
    }
    Ok(host.with_dialing(dialing))
}

async fn run(command: Command, file: ConfigFileArgs) -> Result<u8, Failure> {
    let cannot_start = |error| Failure::new(format_args!("cannot start: {error}"));
    signals::survive_size_limits().map_err(cannot_start)?;
    resources::forbid_core_dumps().map_err(cannot_start)?;
    let host = &host(&command)?;
    match command {
        Command::Server(args) => nodes::server(host, args).await,
        Command::Replica(args) => nodes::replica(host, args).await,
        Command::Client(args) => put::client(host, args).await,
        Command::Put(args) => put::put(host, args).await,
        Command::Get(args) => get::get(host, args).await,
        Command::Verify(args) => verify::verify(host, args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Upgrade(args) => upgrade::upgrade(host, args).await,
        Command::Log(args) => Box::pin(log_commands::log(host, args)).await,
        Command::Committee(args) => Box::pin(committee::committee(host, args)).await,
        Command::Certs(args) => certs::certs(host, &args),
        Command::Keys(args) => keys::keys(host, &args),
        Command::Keygen(args) => nodes::keygen(host, &args),
        Command::Operator(args) => operator::operator(host, &args),
        Command::Token(args) => Box::pin(token::token(host, args)).await,
        Command::Forget(args) => trust::forget(host, args).await,
        Command::Status(args) => Box::pin(status::status(host, args)).await,
        Command::Doctor(args) => Box::pin(doctor::doctor(host, args)).await,
        Command::Health(args) => health::health(host, args).await,
        Command::Du(args) => maintain::du(host, args.replica).await,
        Command::Scrub(args) => maintain::scrub(host, args.replica).await,
        Command::Config(args) => config::config(file.config_file.as_deref(), args),
        Command::Demo(args) => demo::demo(host, args).await,
        Command::Completions(args) => packaging::completions(&args),
        Command::Man(args) => packaging::man(host, &args),
    }
}
