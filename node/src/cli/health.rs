//! `vouch health`: whether a server runs, for scripts and for health checks of containers.

use std::time::Duration;

use clap::Args;

use super::connection_args::{TransportArgs, address};
use super::{Failure, output};
use crate::client::http::HttpRequest;
use crate::host::Host;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes. It names members.
const LIMIT: usize = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Server to ask, HOST:PORT or https://HOST
    #[arg(value_name = "SERVER", default_value = "127.0.0.1:9090", value_parser = address)]
    pub(super) server: String,
    /// Ask whether a put would find enough replicas, not only whether the server runs
    #[arg(long)]
    pub(super) ready: bool,
    #[command(flatten)]
    pub(super) transport: TransportArgs,
}

pub(super) async fn health(host: &Host, args: HealthArgs) -> Result<u8, Failure> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let request = HttpRequest::get(&args.server, path.into(), LIMIT, PATIENCE);
    let answer = request.send(host).await.map_err(Failure::new)?;
    String::from_utf8_lossy(&answer).lines().for_each(|line| output::line(format_args!("{line}")));
    Ok(0)
}
