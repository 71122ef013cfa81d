//! `vouch status`: of the replicas on this machine, or of a cluster through a server; once, or again and again.

use std::time::Duration;

use serde_json::json;

use super::args::{MaintainArgs, StatusArgs};
use super::cluster_status::ClusterStatus;
use super::connection_args::{TransportArgs, TrustArgs};
use super::screen::Screen;
use super::{Failure, maintain, output};
use crate::client::Servers;
use crate::host::Host;

/// Interval between two states with `--watch`.
const EVERY: Duration = Duration::from_secs(2);

pub(super) async fn status(host: &Host, args: StatusArgs) -> Result<u8, Failure> {
    let StatusArgs { data, servers, watch, trust, json } = args;
    let mut shown = match Servers::new(servers) {
        Some(servers) => Shown::Cluster(Box::new(ClusterStatus::new(host, servers, &trust)?)),
        None if is_given(&trust) => {
            return Err(Failure::new(
                "--cluster, --known-clusters, --tls-ca and --insecure are about a server; name it with --server",
            ));
        }
        None => Shown::Replicas(MaintainArgs { data, json }),
    };
    if !watch {
        return shown.show(host, json).await;
    }
    let mut screen = if json { None } else { Screen::open() };
    let mut is_first = true;
    loop {
        if screen.is_some() {
            output::hold();
        }
        if !json {
            if !std::mem::take(&mut is_first) && screen.is_none() {
                output::line(format_args!(""));
            }
            output::line(format_args!("at {}, every {} s", output::time(host.unix_seconds()), EVERY.as_secs()));
        }
        // Go on after a failure: a server or a replica that restarts is back in a moment.
        if let Err(failure) = shown.show(host, json).await {
            match json {
                true => output::json(&json!({ "error": failure.message })),
                false => output::line(format_args!("{}", failure.message)),
            }
        }
        if let Some(screen) = &mut screen {
            screen.show(&output::release());
        }
        // The reader of a pipe has gone.
        if output::finish().is_err() {
            return Ok(0);
        }
        host.sleep(EVERY).await;
    }
}

/// What is shown.
enum Shown<'a> {
    Replicas(MaintainArgs),
    Cluster(Box<ClusterStatus<'a>>),
}

impl Shown<'_> {
    async fn show(&mut self, host: &Host, json: bool) -> Result<u8, Failure> {
        match self {
            Self::Replicas(args) => maintain::status(host, args).await,
            Self::Cluster(status) => status.show(json).await,
        }
    }
}

fn is_given(trust: &TrustArgs) -> bool {
    let TrustArgs { cluster, known_clusters, transport: TransportArgs { tls_ca, insecure, .. }, .. } = trust;
    cluster.is_some() || known_clusters.is_some() || tls_ca.is_some() || *insecure
}
