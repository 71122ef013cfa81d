//! The metrics listener of `vouch server` and `vouch replica`.

use std::net::SocketAddr;
use std::sync::Arc;

use super::nodes::is_on_this_machine;
use super::{Failure, output};
use crate::host::Host;
use crate::host::net::Listener;
use crate::metrics::{self, MetricsSource};
use crate::tls::ServerTls;

/// A metrics listener that serves nothing yet.
pub(super) struct MetricsListener {
    listener: Box<dyn Listener>,
    address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
}

/// What to do if the metrics would be open to other machines without TLS.
pub(super) const FOR_SERVERS: &str =
    "Give a certificate with --tls-cert and --tls-key, or listen on loopback. Or allow it with --insecure.";
pub(super) const FOR_REPLICAS: &str =
    "Listen on loopback, with a collector or a proxy on this machine. Or allow it with --insecure.";

/// Refuses an address where other machines would read the metrics without TLS, unless that is allowed. `next`: what to do then.
pub(super) fn check(address: Option<&str>, has_tls: bool, is_insecure: bool, next: &str) -> Result<(), Failure> {
    match address {
        Some(address) if !has_tls && !is_insecure && !is_on_this_machine(address) => {
            let problem = format!("--metrics {address}: without TLS, others on the way read and change the metrics");
            Err(Failure::new(problem).with_note(next))
        }
        _ => Ok(()),
    }
}

impl MetricsListener {
    /// Listens, if there is an address. On loopback, the metrics are served without TLS: a collector on this machine needs none.
    pub(super) async fn open(
        host: &Host,
        address: Option<&str>,
        tls: Option<Arc<ServerTls>>,
    ) -> Result<Option<Self>, Failure> {
        let Some(address) = address else { return Ok(None) };
        let tls = tls.filter(|_| !is_on_this_machine(address));
        let listener = host.listen(address).await.map_err(|error| {
            Failure::new(format_args!("cannot listen on {address}: {error}; choose another with --metrics ADDRESS"))
        })?;
        let address = listener.local_addr().map_err(Failure::new)?;
        Ok(Some(Self { listener, address, tls }))
    }

    /// Prints the address, and serves the metrics from now on.
    pub(super) fn serve(self, host: &Host, source: Arc<dyn MetricsSource>) {
        let Self { listener, address, tls } = self;
        let scheme = if tls.is_some() { "https" } else { "http" };
        // Programs that start a node with `--metrics 0` parse this line.
        output::line(format_args!("metrics {scheme}://{address}/metrics"));
        // It ends with the process.
        drop(host.spawn(metrics::serve(host.clone(), listener, tls, source)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_open_to_other_machines_only_over_tls_or_as_told() {
        let is_refused =
            |address, has_tls, is_insecure| check(Some(address), has_tls, is_insecure, FOR_REPLICAS).is_err();
        assert!(is_refused("0.0.0.0:9091", false, false));
        assert!(is_refused("10.0.0.1:0", false, false));
        for (address, has_tls, is_insecure) in [
            ("127.0.0.1:0", false, false),
            ("[::1]:9091", false, false),
            ("0.0.0.0:0", true, false),
            ("0.0.0.0:0", false, true),
        ] {
            assert!(!is_refused(address, has_tls, is_insecure), "{address}");
        }
        assert!(check(None, false, false, FOR_REPLICAS).is_ok());
    }
}
