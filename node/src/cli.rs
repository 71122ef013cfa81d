//! The command line: flags in, text or JSON out, exit codes.

mod bundles;
mod demo;
mod destination;
mod get;
mod known;
mod log;
mod maintain;
mod members;
mod output;
mod put;
mod put_many;
mod serve;
mod store;
mod streams;
mod usage;
mod verify;

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::limits::MAX_SAFE_INTEGER;
use vouch_core::session::ByteRange;

use crate::durable;
use crate::expires::Expires;
use crate::host::Host;
use crate::host::files::{self, Target};
use crate::host::objects::StoreUrl;
use crate::host::signals;
use crate::server::Origin;
use log::LogFormat;

/// Certified storage: independent replicas store a file and sign for it; anyone can check their certificate.
#[derive(Debug, Parser)]
#[command(name = "vouch", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Accept replicas and clients, and certify what a quorum stored
    Server(ServerArgs),
    /// Store blobs and vote for them, as a member of a cluster
    Replica(ReplicaArgs),
    /// Put a file and print its certificate, in five lines of fixed form
    Client(ClientArgs),
    /// Put files and keep each one's certificate beside it, as <FILE>.vouch
    Put(PutArgs),
    /// Get a file back, verified byte for byte
    Get(GetArgs),
    /// Check a file against its bundle, offline: exit code 0 valid, 1 invalid, 2 could not check
    Verify(VerifyArgs),
    /// Show everything that a bundle says, unverified
    Inspect(InspectArgs),
    /// Make a replica's keys, or show the public halves of those that are there
    Keygen(KeygenArgs),
    /// Forget the identity recorded for a server
    Forget(ForgetArgs),
    /// Show what a running replica does and holds
    Status(MaintainArgs),
    /// Show what a replica holds and what the disk has left
    Du(MaintainArgs),
    /// Read every blob of a replica now, against its hashes: exit code 1 when any is damaged
    Scrub(MaintainArgs),
    /// Run a server and replicas on this machine, put a file, verify it, and go on serving
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
struct ServerArgs {
    /// Port on loopback, or ADDRESS:PORT; port 0 takes a free one
    #[arg(value_name = "PORT | ADDRESS:PORT", default_value = "9090", value_parser = address_to_listen_on)]
    listen: String,
    /// Found the committee as soon as N replicas joined [default: those connected at the first put]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    replicas: Option<u16>,
    /// Found the committee from exactly the replicas whose node keys are in this file, one a line, as `vouch keygen` prints them
    #[arg(long, value_name = "FILE", conflicts_with = "replicas")]
    members: Option<PathBuf>,
    /// Serve this cluster only, which exists already: its identity, base58 or hex
    #[arg(long, value_name = "IDENTITY", conflicts_with_all = ["replicas", "members"])]
    cluster: Option<ClusterId>,
    /// Found the committee from replicas on any machine; without, from those on this one only
    #[arg(long)]
    allow_open: bool,
    /// Let pages of this origin put and get, beside the server's own: such as https://vouch.example; may be repeated
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    allowed_origins: Vec<Origin>,
    /// Folder for the server's key, the committee and the certificates
    #[arg(long, value_name = "FOLDER", default_value = "./.vouch/server")]
    data: PathBuf,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Args)]
struct ReplicaArgs {
    /// Servers to join, HOST:PORT
    #[arg(value_name = "SERVER", required = true, value_parser = address)]
    servers: Vec<String>,
    /// Folder for keys and blobs [default: the first free ./.vouch/replica-N]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Name in the committee, at most 24 bytes [default: the folder's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where blobs of more than 64 KiB are kept: file:FOLDER, or s3://BUCKET/PREFIX?endpoint=URL&region=REGION with
    /// credentials from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY [default: where they were; at first in --data]
    #[arg(long, value_name = "URL", value_parser = store::StoreParser)]
    store: Option<StoreUrl>,
    /// Give up a founding that cannot complete: move the keys that accepted it aside and make new ones
    #[arg(long)]
    abandon_founding: bool,
    /// The most bytes of blobs that it takes, such as 100GiB [default: as the disk allows]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    quota: Option<u64>,
    #[command(flatten)]
    log: LogArgs,
}

/// How a server or a replica logs.
#[derive(Debug, Args)]
struct LogArgs {
    /// Form of the log on standard error, text or json; RUST_LOG sets the level, such as warn
    #[arg(long, value_name = "FORM", default_value = "text", hide_possible_values = true)]
    log_format: LogFormat,
}

#[derive(Debug, Args)]
struct ClientArgs {
    /// Server to put to, HOST:PORT
    #[arg(value_name = "SERVER", value_parser = address)]
    server: String,
    /// File to put
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Whom to trust.
#[derive(Debug, Args)]
struct TrustArgs {
    /// Identity of the cluster to trust, base58 or hex [default: the one recorded for the server]
    #[arg(long, value_name = "IDENTITY")]
    cluster: Option<ClusterId>,
    /// File of the identities of servers met before; when given, servers on loopback are recorded as well
    /// [default: ~/.config/vouch/known_clusters]
    #[arg(long, value_name = "FILE")]
    known_clusters: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct PutArgs {
    /// Files to put; - is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<OsString>,
    /// Of several files, so many at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Server to put to, HOST:PORT
    #[arg(long, value_name = "SERVER", default_value = "127.0.0.1:9090", value_parser = address)]
    server: String,
    /// How long the replicas must keep it: a duration such as 30d, or never
    #[arg(long, value_name = "DURATION", default_value = "never")]
    expires: Expires,
    /// Where the bundle of a single file goes [default: <FILE>.vouch, <DIGEST>.vouch for standard input; where that holds
    /// the bundle of other bytes or anything else, <FILE>.2.vouch and so on]
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Replace what is where a bundle goes, whatever it is
    #[arg(long)]
    force: bool,
    /// Have it certified anew, though an earlier certificate may promise as much
    #[arg(long)]
    renew: bool,
    /// When the connection is lost, try again for so long without getting further; 0 for not at all. The put waits as long for a
    /// server that does not decide. The replicas keep what they received for a day, and the same put continues from there, also
    /// after it was interrupted
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = seconds)]
    retry: Duration,
    #[command(flatten)]
    trust: TrustArgs,
    /// Print one JSON object instead of text, of several files one on each line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct GetArgs {
    /// Digest of the file (base58 or hex), or its bundle
    #[arg(value_name = "DIGEST | BUNDLE")]
    what: OsString,
    /// Server to get from, HOST:PORT
    #[arg(long, value_name = "SERVER", default_value = "127.0.0.1:9090", value_parser = address)]
    server: String,
    /// Where the file goes, once it is whole; until then its verified bytes are in <FILE>.part, and a get that was interrupted
    /// goes on there. Standard output (-), pipes and devices get every byte as soon as it is verified
    #[arg(short, long, value_name = "FILE", required = true)]
    output: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    /// When the connection is lost, try again for so long without getting further; 0 for not at all. The get waits as long for a
    /// server that does not decide
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = seconds)]
    retry: Duration,
    /// Bytes wanted, the first being 0: 0-1023 with the end included, 500- to the end, -500 for the last 500
    #[arg(long, value_name = "START-END", allow_hyphen_values = true)]
    range: Option<ByteRange>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Print one JSON object instead of text (on standard error with -o -)
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    allow_missing_positional = true,
    override_usage = "vouch verify [OPTIONS] <FILE> <BUNDLE>\n       vouch verify [OPTIONS] --digest <DIGEST> <BUNDLE>"
)]
struct VerifyArgs {
    /// File to check; - is standard input
    #[arg(value_name = "FILE", required_unless_present = "digest")]
    file: Option<OsString>,
    /// Its bundle
    #[arg(value_name = "BUNDLE", required = true)]
    bundle: PathBuf,
    /// Check that the bundle certifies this digest (base58 or hex) instead of a file
    #[arg(long, value_name = "DIGEST", conflicts_with = "file")]
    digest: Option<Digest>,
    /// Identity of the cluster to trust, base58 or hex; have it from its operators, not from a server
    #[arg(long, value_name = "IDENTITY")]
    cluster: Option<ClusterId>,
    /// Time to judge at, in whole seconds since 1970, 0 to 9007199254740991 [default: the clock]
    #[arg(long, value_name = "SECONDS", value_parser = unix_time, allow_negative_numbers = true)]
    now: Option<u64>,
    /// Accept an expired certificate: replicas need no longer keep the file
    #[arg(long)]
    waive_expiry: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// Bundle to show
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct KeygenArgs {
    /// Folder for the keys
    #[arg(long, value_name = "FOLDER", default_value = "./.vouch/replica-1")]
    data: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ForgetArgs {
    /// Server as it was named, HOST:PORT
    #[arg(value_name = "SERVER")]
    server: String,
    /// File of the identities of servers met before [default: ~/.config/vouch/known_clusters]
    #[arg(long, value_name = "FILE")]
    known_clusters: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct MaintainArgs {
    /// Data folder of the replica [default: every replica-N in ./.vouch]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Print one JSON object for each replica instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// File to put
    #[arg(value_name = "FILE", default_value = "README.md")]
    file: PathBuf,
    /// Stop after the verification; always so when standard output is no terminal
    #[arg(long)]
    once: bool,
    /// Replicas to start
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=32))]
    replicas: u16,
    /// Folder for the data and logs of all of them
    #[arg(long, value_name = "FOLDER", default_value = "./.vouch/demo")]
    data: PathBuf,
    /// Also verify with this command, called with FILE BUNDLE --cluster IDENTITY
    #[arg(long, value_name = "COMMAND")]
    verify_with: Option<String>,
}

/// For how long a put that was cut off is tried again, unless the user says otherwise.
const RETRY: Duration = Duration::from_secs(60);

/// `HOST:PORT`, before it is used.
fn address(text: &str) -> Result<String, String> {
    let is_complete = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_one_host = host.starts_with('[') && host.ends_with(']') || !host.contains(':');
        !host.is_empty() && is_one_host && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_complete { Ok(text.into()) } else { Err("expected HOST:PORT, such as 127.0.0.1:9090".into()) }
}

/// A number of bytes, such as `500MB` or `100GiB`.
fn size(text: &str) -> Result<u64, String> {
    let parsed: Result<bytesize::ByteSize, _> = text.parse();
    parsed.map(|size| size.as_u64()).map_err(|_| "expected a number of bytes, such as 500MB or 100GiB".into())
}

/// A duration such as `60s` or `5m`, or a number of seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let parsed = text.parse().map(Duration::from_secs).or_else(|_| humantime::parse_duration(text));
    parsed.map_err(|error| format!("expected a number of seconds, or a duration such as 60s or 5m ({error})"))
}

/// Seconds since 1970, in the one range of all verifiers; digits only, as the others read them.
fn unix_time(text: &str) -> Result<u64, String> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|seconds| is_digits && *seconds <= MAX_SAFE_INTEGER);
    seconds.ok_or_else(|| format!("expected whole seconds since 1970, 0 to {MAX_SAFE_INTEGER}"))
}

/// A port on loopback, or an address of this machine with a port.
fn address_to_listen_on(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
    match port.parse::<u16>() {
        Ok(port) if !host.is_empty() => Ok(format!("{host}:{port}")),
        _ => Err("expected a port, 0 to 65535, or ADDRESS:PORT, such as 0.0.0.0:9090".into()),
    }
}

/// What a command failed with: a message that says what to do next, and the exit code.
#[derive(Debug)]
struct Failure {
    /// One line.
    message: String,
    /// Further lines of text.
    notes: Vec<String>,
    /// What a program is told, where that is more than the message.
    json: Option<Box<Value>>,
    code: u8,
}

impl Failure {
    /// The work could not be done.
    fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), notes: Vec::new(), json: None, code: 1 }
    }

    /// Nothing could be judged: exit code 2.
    fn cannot_check(message: impl fmt::Display) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// The same with one more line.
    fn with_note(mut self, note: impl fmt::Display) -> Self {
        self.notes.push(note.to_string());
        self
    }

    /// As a program reads it: an object with at least `error`.
    fn as_json(&self) -> Value {
        let mut json = self.json.as_deref().cloned().unwrap_or_else(|| json!({}));
        let lines: Vec<&str> = [&self.message].into_iter().chain(&self.notes).map(String::as_str).collect();
        json["error"] = lines.join("\n").into();
        json
    }
}

/// What stands where a file is going to be written. Asked before the work, which would be in vain.
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

/// Where a command's errors go beside standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Errors {
    /// To people alone.
    Text,
    /// Also to a program that reads standard output.
    Json,
    /// To a program that reads standard error, since standard output carries a file.
    JsonOnly,
}

impl Command {
    fn errors(&self) -> Errors {
        let is_json = match self {
            Self::Put(args) => args.json,
            Self::Get(args) if args.json && args.output.as_os_str() == "-" => return Errors::JsonOnly,
            Self::Get(args) => args.json,
            Self::Verify(args) => args.json,
            Self::Inspect(args) => args.json,
            Self::Keygen(args) => args.json,
            Self::Status(args) | Self::Du(args) | Self::Scrub(args) => args.json,
            Self::Server(_) | Self::Replica(_) | Self::Client(_) | Self::Forget(_) | Self::Demo(_) => false,
        };
        if is_json { Errors::Json } else { Errors::Text }
    }

    /// Whether it is a service: what it prints is a log, and who reads that may come and go.
    fn is_service(&self) -> bool {
        matches!(self, Self::Server(_) | Self::Replica(_))
    }
}

/// Parses the arguments, runs the command and gives the exit code.
pub fn main() -> ExitCode {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // it is told as damage of a file
        if !durable::is_catching() {
            usual(panic);
        }
    }));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::report(error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::new(format!("cannot start: {error}")), Errors::Text),
    };
    let (errors, is_service) = (cli.command.errors(), cli.command.is_service());
    let result = runtime.block_on(Box::pin(run(cli.command)));
    // a thread may hang in a read of standard input
    runtime.shutdown_background();
    let code = match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => report(&failure, errors),
    };
    streams::flush();
    match output::finish() {
        Err(why) if !is_service => {
            let failed = report(&Failure::new(why), Errors::Text);
            // a failure of the work says more
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
    if errors != Errors::JsonOnly && !log::failure(&failure.message) {
        output::error_line(format_args!("vouch: {}", failure.message));
        failure.notes.iter().for_each(|note| output::error_line(format_args!("{note}")));
    }
    ExitCode::from(failure.code)
}

async fn run(command: Command) -> Result<u8, Failure> {
    signals::survive_size_limits().map_err(|error| Failure::new(format_args!("cannot start: {error}")))?;
    let host = &Host::system();
    match command {
        Command::Server(args) => serve::server(host, args).await,
        Command::Replica(args) => serve::replica(host, args).await,
        Command::Client(args) => put::client(host, args).await,
        Command::Put(args) => put::put(host, args).await,
        Command::Get(args) => get::get(host, args).await,
        Command::Verify(args) => verify::verify(host, args),
        Command::Inspect(args) => verify::inspect(&args),
        Command::Keygen(args) => serve::keygen(host, &args),
        Command::Forget(args) => known::forget(host, args),
        Command::Status(args) => maintain::status(host, args).await,
        Command::Du(args) => maintain::du(host, args).await,
        Command::Scrub(args) => maintain::scrub(host, args).await,
        Command::Demo(args) => demo::demo(host, args).await,
    }
}
