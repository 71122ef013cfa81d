//! Options of `vouch server` and `vouch replica`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use vouch_core::bls::VoteKey;
use vouch_core::committee::parse_operator_key;
use vouch_core::digest::ClusterId;
use vouch_core::peer_frame::MemberAddress;

use super::args::{address_to_listen_on, seconds, size};
use super::connection_args::{TransportArgs, address};
use super::keys_args::PassphraseArgs;
use super::log_lines::LogFormat;
use super::store_option::StoreParser;
use super::token_args::WhoWord;
use crate::host::objects::StoreUrl;
use crate::server::{Origin, ProxyAddress};

#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Port on loopback, or ADDRESS:PORT; port 0 picks a free one
    #[arg(value_name = "PORT | ADDRESS:PORT", default_value = "9090", value_parser = address_to_listen_on)]
    pub(super) listen: String,
    /// Found the committee once N replicas have joined [default: the replicas connected at the first put]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) replicas: Option<u16>,
    /// Found the committee from exactly the replicas whose node keys are in this file, one per line, as `vouch keygen` prints them
    #[arg(long, value_name = "FILE", conflicts_with = "replicas")]
    pub(super) members: Option<PathBuf>,
    /// Serve only this existing cluster: its identity, base58 or hex
    #[arg(long, value_name = "IDENTITY", conflicts_with_all = ["replicas", "members"])]
    pub(super) cluster: Option<ClusterId>,
    /// Found a committee whose members change only with the agreement of this operator: the public key that `vouch operator init`
    /// printed. Each replica needs the same option
    #[arg(long, value_name = "KEY", conflicts_with = "cluster", value_parser = parse_operator_key)]
    pub(super) operator: Option<VoteKey>,
    /// Found the committee from replicas on any machine, not only on this one
    #[arg(long)]
    pub(super) allow_open: bool,
    /// Who may put through this server: anyone whom the cluster's own rules allow, or only holders of tokens. The rules of the cluster,
    /// which `vouch token rules` decides, hold in any case [default: anyone on loopback, tokens on any other address]
    #[arg(long, value_name = "WHO")]
    pub(super) put: Option<WhoWord>,
    /// Let pages of this origin put and get, such as https://vouch.example, besides the server's own; may be repeated
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub(super) allowed_origins: Vec<Origin>,
    /// Speak TLS with the certificate in this file, followed by those between it and an authority, in PEM form. Read again when it
    /// changes, and on SIGHUP; `vouch certs dev` makes one
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(super) tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM form
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,
    /// Accept connections without TLS from other machines
    #[arg(long, conflicts_with = "tls_cert")]
    pub(super) insecure: bool,
    /// Trust a proxy at this IP address, or in a range such as 10.0.0.0/24, to say for whom it passes on a request
    /// (X-Forwarded-For) and whether that came by TLS (X-Forwarded-Proto): limits then count for each client, and the page works
    /// under the proxy's name; may be repeated
    #[arg(long = "trust-forwarded-from", value_name = "ADDRESS")]
    pub(super) trusted_proxies: Vec<ProxyAddress>,
    /// Do not bind the links of replicas to their TLS connections, because a proxy ends these. Each replica needs the same option
    #[arg(long, requires = "tls_cert")]
    pub(super) no_tls_exporter: bool,
    /// Serve metrics for Prometheus at http://ADDRESS/metrics, on this port of this machine or this ADDRESS:PORT. From other machines,
    /// they are read over TLS with the server's certificate, or without it if --insecure is given [default: none]
    #[arg(long, value_name = "ADDRESS", value_parser = address_to_listen_on)]
    pub(super) metrics: Option<String>,
    /// Folder for the server's key, the committee and the certificates [default: server in ~/.local/share/vouch, or in ./.vouch
    /// if that exists; a service of systemd has its own]
    #[arg(long, value_name = "FOLDER")]
    pub(super) data: Option<PathBuf>,
    #[command(flatten)]
    pub(super) service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(super) struct ReplicaArgs {
    /// Servers to join, HOST:PORT or https://HOST
    #[arg(id = "server", value_name = "SERVER", required = true, value_delimiter = ',', value_parser = address)]
    pub(super) servers: Vec<String>,
    #[command(flatten)]
    pub(super) transport: TransportArgs,
    /// Do not bind links to their TLS connections, because a proxy ends these on the way to the server. The operator of the proxy can
    /// then act as this replica towards the server. The server needs the same option, unless it has no TLS
    #[arg(long)]
    pub(super) no_tls_exporter: bool,
    /// Folder for keys and blobs [default: the first free replica-N in ~/.local/share/vouch, or in ./.vouch if that exists; a
    /// service of systemd has its own]
    #[arg(long, value_name = "FOLDER")]
    pub(super) data: Option<PathBuf>,
    /// Name in the committee, at most 24 bytes [default: the folder's]
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Where blobs of more than 64 KiB are kept: file:FOLDER, or s3://BUCKET/PREFIX?endpoint=URL&region=REGION with
    /// credentials from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY [default: where they were before; for a new replica, in --data]
    #[arg(long, value_name = "URL", value_parser = StoreParser)]
    pub(super) store: Option<StoreUrl>,
    /// Accept connections of other members, on this port of this machine or this ADDRESS:PORT
    /// [default: none; servers relay what members send each other]
    #[arg(long, value_name = "ADDRESS", value_parser = address_to_listen_on)]
    pub(super) listen: Option<String>,
    /// Where other members reach this replica, HOST:PORT [default: the address of --listen]
    #[arg(long, value_name = "ADDRESS", requires = "listen")]
    pub(super) advertise: Option<MemberAddress>,
    /// Serve metrics for Prometheus at http://ADDRESS/metrics, on this port of this machine or this ADDRESS:PORT. Other machines can
    /// read them only with --insecure, because this listener has no TLS [default: none]
    #[arg(long, value_name = "ADDRESS", value_parser = address_to_listen_on)]
    pub(super) metrics: Option<String>,
    /// Help to found only a cluster with this operator, and no other: the public key that `vouch operator init` printed
    /// [default: only a cluster without an operator]
    #[arg(long, value_name = "KEY", value_parser = parse_operator_key)]
    pub(super) operator: Option<VoteKey>,
    /// Leave a founding that cannot complete: move the keys that accepted it aside, and create new ones
    #[arg(long)]
    pub(super) abandon_founding: bool,
    /// Vote in the ordered log again although this replica lost what it had signed there. Only for a committee of up to three members,
    /// which tolerates no fault, and only once
    #[arg(long)]
    pub(super) recover_log: bool,
    /// Join the cluster if it was founded without this replica: follow its log, fetch its blobs, and, without an operator, propose to
    /// join; a member that left is not proposed again. True or false [default: true if every SERVER is a loopback address; otherwise
    /// false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) join: Option<bool>,
    /// Approve every change in which replicas only join, without being asked: true or false [default: true if every SERVER is a
    /// loopback address, as everybody on this machine is its owner; otherwise false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) approve_joins: Option<bool>,
    /// Maximum size of all blobs together, such as 100GiB [default: the space on the disk]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) quota: Option<u64>,
    #[command(flatten)]
    pub(super) service: ServiceArgs,
}

/// Options that a server and a replica share.
#[derive(Debug, Args)]
pub(super) struct ServiceArgs {
    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
    /// How long to finish puts in progress after SIGTERM or Ctrl-C; a second signal ends them at once
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = seconds)]
    pub(super) stop_timeout: Duration,
    /// Format of the log on standard error: text or json; RUST_LOG sets the level, such as warn
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_possible_values = true)]
    pub(super) log_format: LogFormat,
}
