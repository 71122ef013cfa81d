//! The commands, their arguments, and the help texts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use vouch_core::chain::Checkpoint;
use vouch_core::digest::{ClusterId, Digest, OpId, ParseHashError};
use vouch_core::limits::MAX_SAFE_INTEGER;
use vouch_core::session::ByteRange;
use vouch_core::verify::Trust;

use super::committee_args::CommitteeArgs;
use super::config::{ConfigArgs, ConfigFileArgs};
use super::connection_args::{ServersArgs, TokenFileArgs, TrustArgs, address};
use super::doctor_args::DoctorArgs;
use super::health::HealthArgs;
use super::keys_args::{AtRestArgs, KeysArgs, PassphraseArgs};
use super::log_args::LogCommandArgs;
use super::node_args::{ReplicaArgs, ServerArgs};
use super::operator_args::OperatorArgs;
use super::packaging::{CompletionsArgs, ManArgs};
use super::token_args::TokenArgs;
use crate::expires::Expires;

/// Certified storage: independent replicas store a file and sign for it; anyone can check their certificate.
#[derive(Debug, Parser)]
#[command(name = "vouch", version, max_term_width = 100, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
    #[command(flatten)]
    pub(super) file: ConfigFileArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Accept replicas and clients, and certify what a quorum has stored
    Server(ServerArgs),
    /// Store blobs and vote for them, as a member of a cluster
    Replica(ReplicaArgs),
    /// Put a file and print its certificate, in five lines with a fixed format
    Client(ClientArgs),
    /// Put files, and save the certificate of each beside it, as <FILE>.vouch
    Put(PutArgs),
    /// Get a file back, verified byte for byte
    Get(GetArgs),
    /// Check a file against its bundle, offline: exit code 0 valid, 1 invalid, 2 could not check
    Verify(VerifyArgs),
    /// Show the content of a bundle, without verifying it
    Inspect(InspectArgs),
    /// Find out whether the committees in two bundles contradict each other
    Compare(CompareArgs),
    /// Add to a bundle the committees and the seal that followed
    Upgrade(UpgradeArgs),
    /// Read the cluster's ordered log, verified, or write a note to it
    Log(LogCommandArgs),
    /// Show the members of a cluster, and change them
    Committee(CommitteeArgs),
    /// Create a replica's keys, or show the public keys if they exist
    Keygen(KeygenArgs),
    /// Put the keys of a replica or a server under a passphrase, or change it
    Keys(KeysArgs),
    /// Create the key of a cluster's operator, or sign a change of members with it
    Operator(OperatorArgs),
    /// Decide who may put and read: tokens, and the rules
    Token(TokenArgs),
    /// Forget the identity recorded for a server
    Forget(ForgetArgs),
    /// Show the state of running replicas on this machine, or of the whole cluster through a server
    Status(StatusArgs),
    /// Check this machine, its data folders and its servers, and say what to do about each fault: exit code 1 if a check failed
    Doctor(DoctorArgs),
    /// Ask a server whether it runs: exit code 1 if it does not
    Health(HealthArgs),
    /// Show the space that a replica uses, and what is free
    Du(AtRestArgs),
    /// Verify every blob of a replica now: exit code 1 if any is damaged
    Scrub(AtRestArgs),
    /// Show what is configured, and where
    Config(ConfigArgs),
    /// Make TLS certificates for servers of a closed network
    Certs(CertsArgs),
    /// Run a server and replicas on this machine, put a file, verify it, and keep serving
    Demo(DemoArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Print the manual page of a command, or write the pages of all
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub(super) struct ClientArgs {
    /// Server to put to, HOST:PORT or https://HOST
    #[arg(value_name = "SERVER", value_parser = address)]
    pub(super) server: String,
    /// File to put
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    #[command(flatten)]
    pub(super) token: TokenFileArgs,
}

#[derive(Debug, Args)]
pub(super) struct PutArgs {
    /// Files to put; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<OsString>,
    /// Number of files to put at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) jobs: u8,
    #[command(flatten)]
    pub(super) servers: ServersArgs,
    /// How long the replicas must keep the files: a duration such as 30d, or never
    #[arg(long, value_name = "DURATION", default_value = "never")]
    pub(super) expires: Expires,
    /// File for the bundle, if a single file is put [default: <FILE>.vouch, or <DIGEST>.vouch for standard input; if that
    /// exists and holds anything but a bundle of the same bytes, <FILE>.2.vouch and so on]
    #[arg(long, value_name = "FILE")]
    pub(super) bundle: Option<PathBuf>,
    /// Replace the file at the bundle's path, whatever it holds
    #[arg(long)]
    pub(super) force: bool,
    /// Get a new certificate even if an earlier one promises as much
    #[arg(long)]
    pub(super) renew: bool,
    /// How long to retry without progress after the connection is lost, and how long to wait for a server that does not answer;
    /// 0 does not retry. The replicas keep a partial upload for a day: run the same command again to resume an interrupted put
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = seconds)]
    pub(super) retry: Duration,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    #[command(flatten)]
    pub(super) token: TokenFileArgs,
    /// Print one JSON object instead of text; for several files, one per line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// Digest of the file (base58 or hex), or its bundle
    #[arg(value_name = "DIGEST | BUNDLE")]
    pub(super) what: OsString,
    #[command(flatten)]
    pub(super) servers: ServersArgs,
    /// File to write. Until it is complete, its verified bytes are in <FILE>.part; run the same command again to resume an
    /// interrupted get. Standard output (-), pipes and devices receive each byte as soon as it is verified
    #[arg(short, long, value_name = "FILE", required = true)]
    pub(super) output: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    pub(super) force: bool,
    /// How long to retry without progress after the connection is lost, and how long to wait for a server that does not answer;
    /// 0 does not retry
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = seconds)]
    pub(super) retry: Duration,
    /// Get only these bytes, counted from 0: 0-1023 includes byte 1023, 500- goes to the end, -500 is the last 500
    #[arg(long, value_name = "START-END", allow_hyphen_values = true)]
    pub(super) range: Option<ByteRange>,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    #[command(flatten)]
    pub(super) token: TokenFileArgs,
    /// Print one JSON object instead of text (on standard error with -o -)
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(
    allow_missing_positional = true,
    override_usage = "vouch verify [OPTIONS] <FILE> <BUNDLE>\n       vouch verify [OPTIONS] --digest <DIGEST> <BUNDLE>\n       vouch verify [OPTIONS] --op <OP> <BUNDLE>\n       vouch verify [OPTIONS] [--height <HEIGHT>] <BUNDLE>"
)]
pub(super) struct VerifyArgs {
    /// File to check; - is standard input
    #[arg(value_name = "FILE")]
    pub(super) file: Option<OsString>,
    /// Its bundle; or, without a file, the bundle of a log head, of a block of the log, or of evidence against a member
    #[arg(value_name = "BUNDLE", required = true)]
    pub(super) bundle: PathBuf,
    /// Check that the bundle certifies this digest (base58 or hex) instead of a file
    #[arg(long, value_name = "DIGEST", conflicts_with = "file")]
    pub(super) digest: Option<Digest>,
    /// Check that the cluster's log has this op (base58 or hex), by the op's bundle; any: whichever op the bundle is of
    #[arg(long, value_name = "OP", conflicts_with_all = ["file", "digest", "waive_expiry", "require_sealed"], value_parser = wanted_op)]
    pub(super) op: Option<WantedOp>,
    /// Check that the bundle is of the block of this height; or, of a log head, that the log has this height
    #[arg(long, value_name = "HEIGHT", conflicts_with_all = ["file", "digest", "op", "waive_expiry"], value_parser = clap::value_parser!(u64).range(1..=MAX_SAFE_INTEGER))]
    pub(super) height: Option<u64>,
    /// Identity of the cluster to trust, base58 or hex; get it from the cluster's operators, not from a server
    #[arg(long, value_name = "IDENTITY")]
    pub(super) cluster: Option<ClusterId>,
    /// A committee of the cluster to trust as well, from the same source: its epoch, a colon and its digest
    #[arg(long, value_name = "EPOCH:DIGEST", requires = "cluster")]
    pub(super) checkpoint: Option<Checkpoint>,
    /// Accept only a certificate that is sealed under the checkpoint: nobody who got hold of old keys can have made it
    #[arg(long)]
    pub(super) require_sealed: bool,
    /// Time to verify at, in whole seconds since 1970, 0 to 9007199254740991 [default: now]
    #[arg(long, value_name = "SECONDS", value_parser = unix_time, allow_negative_numbers = true)]
    pub(super) now: Option<u64>,
    /// Accept an expired certificate, though replicas need no longer keep the file
    #[arg(long)]
    pub(super) waive_expiry: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

impl VerifyArgs {
    /// What the user trusts.
    pub(super) fn trust(&self) -> Trust {
        Trust { cluster: self.cluster, checkpoint: self.checkpoint }
    }
}

/// The op that a bundle must be of; `None` for any.
#[derive(Debug, Clone, Copy)]
pub(super) struct WantedOp(pub(super) Option<OpId>);

fn wanted_op(text: &str) -> Result<WantedOp, ParseHashError> {
    if text == "any" { Ok(WantedOp(None)) } else { text.parse().map(|op| WantedOp(Some(op))) }
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Bundle to show
    #[arg(value_name = "BUNDLE")]
    pub(super) bundle: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// A bundle of any type
    #[arg(value_name = "BUNDLE")]
    pub(super) first: PathBuf,
    /// Another one
    #[arg(value_name = "OTHER")]
    pub(super) second: PathBuf,
    /// Identity of the cluster that both are to be of, base58 or hex
    #[arg(long, value_name = "IDENTITY")]
    pub(super) cluster: ClusterId,
    /// A committee of the cluster that both must contain: its epoch, a colon and its digest
    #[arg(long, value_name = "EPOCH:DIGEST")]
    pub(super) checkpoint: Option<Checkpoint>,
    /// File for the evidence if they contradict each other, which vouch verify checks
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    pub(super) force: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct UpgradeArgs {
    /// Bundle of a file
    #[arg(value_name = "BUNDLE")]
    pub(super) bundle: PathBuf,
    /// Server of its cluster, HOST:PORT or https://HOST. It need not be trusted. Of several, the first that answers is asked
    #[arg(short, long = "server", value_name = "SERVER", required = true, value_delimiter = ',', value_parser = address)]
    pub(super) servers: Vec<String>,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    /// Get a new certificate from the current members, which must still hold the file. Its time is later than that of the old one
    #[arg(long)]
    pub(super) renew: bool,
    /// Where to write the bundle [default: in place of the old one]
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct KeygenArgs {
    /// Folder for the keys [default: replica-1 in ~/.local/share/vouch, or in ./.vouch if that exists]
    #[arg(long, value_name = "FOLDER")]
    pub(super) data: Option<PathBuf>,
    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CertsArgs {
    #[command(subcommand)]
    pub(super) command: CertsCommand,
}

impl CertsArgs {
    pub(super) fn is_json(&self) -> bool {
        let CertsCommand::Dev(args) = &self.command;
        args.json
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum CertsCommand {
    /// Make an authority of your own, unless the folder has one, and a certificate that it issues for a server
    Dev(DevCertsArgs),
}

#[derive(Debug, Args)]
pub(super) struct DevCertsArgs {
    /// DNS names and IP addresses under which the server is reached
    #[arg(value_name = "NAME", default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])]
    pub(super) names: Vec<String>,
    /// Folder for ca.pem, ca.key, server.pem and server.key. A server's certificate that is there is replaced
    #[arg(long, value_name = "FOLDER", default_value = "./.vouch/certs")]
    pub(super) out: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ForgetArgs {
    /// Server as it was given to put or get, HOST:PORT or https://HOST
    #[arg(value_name = "SERVER", value_parser = address)]
    pub(super) server: String,
    /// File with the recorded identity of each server [default: ~/.config/vouch/known_clusters]
    #[arg(long, value_name = "FILE")]
    pub(super) known_clusters: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct MaintainArgs {
    /// Data folder of the replica [default: every replica-N in ~/.local/share/vouch, or in ./.vouch if that exists]
    #[arg(long, value_name = "FOLDER")]
    pub(super) data: Option<PathBuf>,
    /// Print one JSON object for each replica instead of text
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Data folder of the replica [default: every replica-N in ~/.local/share/vouch, or in ./.vouch if that exists]
    #[arg(long, value_name = "FOLDER", conflicts_with = "servers")]
    pub(super) data: Option<PathBuf>,
    /// Show the whole cluster through this server instead, HOST:PORT or https://HOST: its committee and log, verified, and what the
    /// server says of its members. Exit code 1 unless a put would have a quorum. Of several (again --server, or with commas between),
    /// the first that answers is asked
    #[arg(long = "server", value_name = "SERVER", value_delimiter = ',', value_parser = address)]
    pub(super) servers: Vec<String>,
    /// Show it again every two seconds, until interrupted
    #[arg(long)]
    pub(super) watch: bool,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    /// Print one JSON object instead of text, on one line: for each replica, or for the cluster
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// File to put
    #[arg(value_name = "FILE", default_value = "README.md")]
    pub(super) file: PathBuf,
    /// Stop after the note; implied if standard output is not a terminal
    #[arg(long)]
    pub(super) once: bool,
    /// Replicas to start
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(super) replicas: u16,
    /// Folder for the data and logs of all processes
    #[arg(long, value_name = "FOLDER", default_value = "./.vouch/demo")]
    pub(super) data: PathBuf,
    /// Also verify with this command; it is called with FILE BUNDLE --cluster IDENTITY
    #[arg(long, value_name = "COMMAND")]
    pub(super) verify_with: Option<String>,
}

/// Parses a number of bytes, such as `500MB` or `100GiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let parsed: Result<bytesize::ByteSize, _> = text.parse();
    parsed.map(|size| size.as_u64()).map_err(|_| "expected a number of bytes, such as 500MB or 100GiB".into())
}

/// Parses a duration such as `60s` or `5m`, or a number of seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let parsed = text.parse().map(Duration::from_secs).or_else(|_| humantime::parse_duration(text));
    parsed.map_err(|error| format!("expected a number of seconds, or a duration such as 60s or 5m ({error})"))
}

/// Parses seconds since 1970. Range and digits are the same in every verifier.
fn unix_time(text: &str) -> Result<u64, String> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|seconds| is_digits && *seconds <= MAX_SAFE_INTEGER);
    seconds.ok_or_else(|| format!("expected whole seconds since 1970, 0 to {MAX_SAFE_INTEGER}"))
}

/// Parses a port on loopback, or an address of this machine with a port.
pub(super) fn address_to_listen_on(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
    match port.parse::<u16>() {
        Ok(port) if !host.is_empty() => Ok(format!("{host}:{port}")),
        _ => Err("expected a port, 0 to 65535, or ADDRESS:PORT, such as 0.0.0.0:9090".into()),
    }
}
