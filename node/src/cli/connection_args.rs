//! How a command reaches a cluster, and what it trusts.

use std::path::PathBuf;

use clap::Args;
use vouch_core::access::TokenSecret;
use vouch_core::digest::ClusterId;

use super::Failure;
use crate::client::Servers;
use crate::host::Host;
use crate::tls::{ServerAddress, ServerAddressError};
use crate::token_file;

/// The servers through which to reach a cluster.
#[derive(Debug, Args)]
pub(super) struct ServersArgs {
    /// Server of the cluster, HOST:PORT or https://HOST. Several (again --server, or with commas between) are tried in this order: if one
    /// fails, the next goes on
    #[arg(long = "server", value_name = "SERVER", default_value = DEFAULT_SERVER, value_delimiter = ',', value_parser = address)]
    servers: Vec<String>,
}

/// The server of a command that names none.
const DEFAULT_SERVER: &str = "127.0.0.1:9090";

impl From<&ServersArgs> for Servers {
    fn from(args: &ServersArgs) -> Self {
        // There is one by default.
        Self::new(args.servers.clone()).unwrap_or_else(|| DEFAULT_SERVER.into())
    }
}

impl From<&str> for ServersArgs {
    fn from(address: &str) -> Self {
        Self { servers: vec![address.to_owned()] }
    }
}

/// The identity to trust, and where to remember it with the newest committee.
#[derive(Debug, Default, Args)]
pub(super) struct TrustArgs {
    /// Identity of the cluster to trust, base58 or hex [default: the one recorded for the server]
    #[arg(long, value_name = "IDENTITY")]
    pub(super) cluster: Option<ClusterId>,
    /// File with the recorded identity of each server, and the newest committee that was verified of its cluster: a server that
    /// shows only earlier ones is refused. If given, servers on loopback are recorded, too [default: ~/.config/vouch/known_clusters]
    #[arg(long, value_name = "FILE")]
    pub(super) known_clusters: Option<PathBuf>,
    #[command(flatten)]
    pub(super) transport: TransportArgs,
}

/// How a command about a cluster reaches it, and prints.
#[derive(Debug, Args)]
pub(super) struct ClusterArgs {
    #[command(flatten)]
    pub(super) servers: ServersArgs,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

/// What authorises a request.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct TokenFileArgs {
    /// File with the token that authorises this, as `vouch token new` made it [default: none]
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
}

impl TokenFileArgs {
    /// The token's secret, if one is named.
    pub(super) fn read(&self, host: &Host) -> Result<Option<TokenSecret>, Failure> {
        Ok(self.token_file.as_deref().map(|path| token_file::read(host, path)).transpose()?)
    }
}

/// How a server is reached.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct TransportArgs {
    /// File with the certificates of the authorities, in PEM form, that may vouch for an https:// server [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub(super) tls_ca: Option<PathBuf>,
    /// Connect to a server on another machine without TLS
    #[arg(long)]
    pub(super) insecure: bool,
}

/// Parses a server's address. The host is not resolved here.
pub(super) fn address(text: &str) -> Result<String, ServerAddressError> {
    text.parse::<ServerAddress>().map(|address| address.to_string())
}
