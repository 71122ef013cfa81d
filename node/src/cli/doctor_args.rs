//! Options of `vouch doctor`.

use std::path::PathBuf;

use clap::Args;

use super::args::address_to_listen_on;
use super::connection_args::{TrustArgs, address};
use super::store_option::StoreParser;
use crate::host::objects::StoreUrl;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Data folder of a replica or a server to check, which need not exist yet; may be repeated [default: server and every
    /// replica-N in ~/.local/share/vouch, or in ./.vouch if that exists]
    #[arg(long = "data", value_name = "FOLDER")]
    pub(super) folders: Vec<PathBuf>,
    /// Where the replica keeps its large blobs, or will: as for `vouch replica` [default: what the data folder records]
    #[arg(long, value_name = "URL", value_parser = StoreParser)]
    pub(super) store: Option<StoreUrl>,
    /// Port of this machine or ADDRESS:PORT on which a server or a replica listens, or will; may be repeated [default: none]
    #[arg(long = "listen", value_name = "PORT | ADDRESS:PORT", value_parser = address_to_listen_on)]
    pub(super) listens: Vec<String>,
    /// Certificate of the server on this machine, as for `vouch server`
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(super) tls_cert: Option<PathBuf>,
    /// Private key of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,
    /// Server to reach, HOST:PORT or https://HOST; again --server, or with commas between, for several [default: none]
    #[arg(long = "server", value_name = "SERVER", value_delimiter = ',', value_parser = address)]
    pub(super) servers: Vec<String>,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}
