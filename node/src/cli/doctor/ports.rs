//! An address to listen on: free, used by Vouch, or by another program.

use std::io::ErrorKind;
use std::time::Duration;

use super::finding::Finding;
use crate::cli::cluster_status::Claims;
use crate::client::http::{HttpError, HttpRequest};
use crate::host::Host;

/// Timeout of the request that finds out which program listens.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer, in bytes. It names members.
const LIMIT: usize = 1 << 20;

pub(super) async fn check(host: &Host, address: &str) -> Finding {
    let error = match host.listen(address).await {
        Ok(_) => return Finding::ok("port", format_args!("{address} is free")),
        Err(error) => error,
    };
    let found = format!("cannot listen on {address}: {error}");
    let port = address.rsplit_once(':').map_or(address, |(_, port)| port);
    match error.kind() {
        ErrorKind::AddrInUse if is_vouch(host, address).await => {
            Finding::ok("port", format_args!("a Vouch server listens on {address}"))
        }
        ErrorKind::AddrInUse => Finding::failed(
            "port",
            format_args!("{address} is in use, by a replica or another program"),
            format_args!("choose another port, or see which program it is; run: ss -ltnp 'sport = :{port}'"),
        ),
        ErrorKind::PermissionDenied => Finding::failed(
            "port",
            found,
            "choose a port from 1024 on, or run: setcap cap_net_bind_service=+ep \"$(command -v vouch)\"",
        ),
        ErrorKind::AddrNotAvailable => {
            Finding::failed("port", found, "choose an address of this machine; run: ip -brief address")
        }
        _ => Finding::failed("port", found, "choose another ADDRESS:PORT"),
    }
}

/// Whether a server of Vouch listens on an address of this machine, with or without TLS.
async fn is_vouch(host: &Host, address: &str) -> bool {
    let (host_name, port) = address.rsplit_once(':').unwrap_or(("", address));
    let everywhere = ["0.0.0.0", "[::]", "[::0]"].contains(&host_name);
    let here = if everywhere { format!("127.0.0.1:{port}") } else { address.to_owned() };
    match HttpRequest::get(&here, Claims::PATH.into(), LIMIT, PATIENCE).send(host).await {
        Ok(answer) => Claims::parse(&answer, &here).is_ok(),
        // What its port answers in plain HTTP if it speaks TLS.
        Err(HttpError::Refused { detail, .. }) => detail == crate::tls::SPEAKS_TLS,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;
    use crate::tls::{CertificateFiles, ServerTls, create_dev_certificates};

    #[tokio::test]
    async fn a_port_of_another_program_fails_and_a_free_one_does_not() {
        let host = Host::system();
        let other = host.listen("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap().to_string();
        // It closes whatever connects.
        let closing = host.spawn(async move {
            loop {
                drop(other.accept().await);
            }
        });
        let used = check(&host, &address).await;
        assert!(used.outcome == Outcome::Failed && used.next.unwrap().contains("run: ss -ltnp"), "{}", used.found);
        closing.abort();
        assert!(closing.await.unwrap_err().is_cancelled());
        assert_eq!(check(&host, &address).await.outcome, Outcome::Ok);
    }

    #[tokio::test]
    async fn a_server_of_vouch_with_tls_is_recognized() {
        let (host, folder) = (Host::system(), tempfile::tempdir().unwrap());
        let made = create_dev_certificates(&host, folder.path(), &["localhost".into()]).unwrap();
        let files = CertificateFiles { certificate: made.certificate, key: made.key };
        let tls = ServerTls::open(&host, files).unwrap();
        let listener = host.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepting = host.spawn(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                drop(tls.accept(io).await);
            }
        });
        let used = check(&host, &address).await;
        assert!(used.outcome == Outcome::Ok && used.found.contains("a Vouch server"), "{used:?}");
        accepting.abort();
    }

    #[tokio::test]
    async fn an_address_of_another_machine_fails() {
        let found = check(&Host::system(), "192.0.2.1:9090").await;
        assert!(found.outcome == Outcome::Failed && found.next.unwrap().contains("run: ip"), "{}", found.found);
    }
}
