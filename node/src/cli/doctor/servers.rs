//! A server, step by step: its name, its port, TLS, the link, its identity, its version and its clock. A step that fails ends the rest that needs
//! it. Every step has a deadline, and every answer a limit: a server may be hostile.

use std::time::Duration;

use vouch_core::link::LINK_VERSION;
use vouch_core::session::progress::CONNECT_DEADLINE;
use vouch_core::trust::IdentitySource;

use super::finding::{Finding, Report};
use super::{clock, tls_files};
use crate::cli::cluster_status::Claims;
use crate::cli::connection_args::TrustArgs;
use crate::cli::trust::{Trust, is_another_cluster};
use crate::cli::{Failure, output};
use crate::client::http::HttpRequest;
use crate::client::{self, ClientError};
use crate::host::Host;
use crate::host::net::Io;
use crate::link::HANDSHAKE_DEADLINE;
use crate::tls::{ExaminedServer, ServerAddress, examine_server, is_loopback};

/// How long the server may take to show its committees, or to answer a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes. It names members.
const LIMIT: usize = 1 << 20;
/// Maximum number of addresses of a name that are shown.
const SHOWN: usize = 4;
/// This program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Adds what was found of one server.
pub(super) async fn check(host: &Host, server: &str, args: &TrustArgs, report: &mut Report) {
    let address: ServerAddress = match server.parse() {
        Ok(address) => address,
        Err(error) => return report.add(Finding::failed("server", error, "correct --server")),
    };
    let Some(io) = reach(host, &address, report).await else { return };
    if address.is_tls() && !tls(host, &address, io, report).await {
        return;
    }
    let trust = match Trust::new(host, server, args) {
        Ok(trust) => trust,
        // The file of known clusters is damaged, or there is no home folder for it.
        Err(Failure { message, .. }) => {
            return report.add(Finding::failed("identity", message, "or name another file with --known-clusters"));
        }
    };
    if link(host, &trust, server, report).await {
        state(host, server, report).await;
    }
}

/// Resolves the name, and connects.
async fn reach(host: &Host, address: &ServerAddress, report: &mut Report) -> Option<Box<dyn Io>> {
    let authority = address.authority();
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let resolved = host.timeout(CONNECT_DEADLINE, host.resolve(&authority)).await.unwrap_or_else(|_| Err(late()));
    let addresses = match resolved {
        Ok(addresses) if !addresses.is_empty() => addresses,
        Ok(_) => {
            report.add(Finding::failed(
                "server",
                format_args!("{} has no address", address.name()),
                format_args!("run: getent hosts {}", output::shell_word(address.name())),
            ));
            return None;
        }
        Err(error) => {
            report.add(Finding::failed(
                "server",
                format_args!("nobody knows the name {}: {error}", address.name()),
                format_args!("correct the name, or run: getent hosts {}", output::shell_word(address.name())),
            ));
            return None;
        }
    };
    let began = host.monotonic();
    match host.timeout(CONNECT_DEADLINE, host.connect(&authority)).await.unwrap_or_else(|_| Err(late())) {
        Ok(io) => {
            let took = host.monotonic().saturating_sub(began);
            let addresses: Vec<_> = addresses.iter().take(SHOWN).map(|address| address.ip().to_string()).collect();
            report.add(Finding::ok(
                "server",
                format_args!("{address} is {} and accepts in {} ms", addresses.join(", "), took.as_millis()),
            ));
            Some(io)
        }
        Err(error) => {
            let next = match error.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    "start the server there with `vouch server`, or correct the port"
                }
                _ => "see whether a firewall is in between; run: vouch health on the server's machine",
            };
            report.add(Finding::failed("server", format_args!("cannot connect to {address}: {error}"), next));
            None
        }
    }
}

/// Makes a handshake. Returns whether clients can go on.
async fn tls(host: &Host, address: &ServerAddress, io: Box<dyn Io>, report: &mut Report) -> bool {
    let late = |_| {
        let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
        Ok(ExaminedServer { certificate: None, result: Err(error) })
    };
    let examining = host.timeout(HANDSHAKE_DEADLINE, examine_server(host, address, io));
    let ExaminedServer { certificate, result } = match examining.await.unwrap_or_else(late) {
        Ok(examined) => examined,
        Err(error) => {
            report.add(Finding::of_error("tls", error, "name a file of authorities with --tls-ca"));
            return false;
        }
    };
    let now = host.unix_seconds();
    let shown = certificate
        .as_ref()
        .map(|certificate| format!("; the certificate of {address} {}", tls_files::described(certificate, now)));
    match (result, certificate) {
        (Err(error), _) => {
            let found = format!("{error}{}", shown.unwrap_or_default());
            report.add(Finding::failed(
                "tls",
                found,
                format_args!(
                    "run: openssl s_client -connect {} -servername {}",
                    output::shell_word(address.authority()),
                    output::shell_word(address.name())
                ),
            ));
            false
        }
        (Ok(is_bound), Some(certificate)) => {
            report.add(tls_files::judge("tls", &format!("the certificate of {address}"), &certificate, now));
            report.add(match is_bound {
                true => {
                    Finding::ok("binding", format_args!("{address} speaks TLS 1.3: replicas bind their links to it"))
                }
                false => Finding::warning(
                    "binding",
                    format_args!("{address} speaks only TLS 1.2, to which no replica binds its link"),
                    "let the proxy in front of it speak TLS 1.3, or start server and replicas with --no-tls-exporter",
                ),
            });
            true
        }
        (Ok(_), None) => {
            report.add(Finding::failed("tls", format_args!("{address} shows no certificate"), "ask its operator"));
            false
        }
    }
}

/// Opens a link and verifies the committees. Returns whether the server speaks Vouch.
async fn link(host: &Host, trust: &Trust, server: &str, report: &mut Report) -> bool {
    let opening = async {
        let (link, _) = client::open_known(host, &trust.servers, trust.of_link(), PATIENCE, |_| {}).await?;
        Ok::<_, ClientError>(link.known_chain().await?.clone())
    };
    let late = |_| Err(ClientError::NoCommittee { server: server.to_owned(), waited: PATIENCE });
    let chain = match host.timeout(PATIENCE + PATIENCE, Box::pin(opening)).await.unwrap_or_else(late) {
        Ok(chain) => chain,
        Err(error) => {
            let has_none = matches!(error, ClientError::NoCommittee { .. });
            let check = if is_another_cluster(&error) { "identity" } else { "link" };
            let Failure { message, notes, .. } = trust.explain(error);
            let next = if notes.is_empty() {
                "run: vouch health SERVER, and read the server's log".into()
            } else {
                notes.join(" ")
            };
            report.add(match has_none {
                true => Finding::warning(check, message, next),
                false => Finding::failed(check, message, next),
            });
            return has_none;
        }
    };
    let cluster = chain.cluster();
    report.add(Finding::ok(
        "link",
        format_args!(
            "{server} speaks link version {LINK_VERSION} and shows the committee of epoch {}, verified",
            chain.current().record().epoch()
        ),
    ));
    if let Err(Failure { message, notes, .. }) = trust.check(&chain) {
        report.add(Finding::failed("identity", message, notes.join(" ")));
        return true;
    }
    report.add(match (trust.source(), trust.pinned) {
        (Some(IdentitySource::Remembered), Some(_)) => {
            Finding::ok("identity", format_args!("{server} is of cluster {cluster}, as recorded at the first contact"))
        }
        (_, Some(_)) => Finding::ok("identity", format_args!("{server} is of cluster {cluster}, as given")),
        (_, None) if is_loopback(server) => Finding::ok(
            "identity",
            format_args!("{server} is of cluster {cluster}; servers on this machine are not recorded"),
        ),
        (_, None) => Finding::warning(
            "identity",
            format_args!("{server} says that it is of cluster {cluster}, and nothing is recorded to compare that with"),
            format_args!("get the identity from its operators; run: vouch doctor --server {server} --cluster IDENTITY"),
        ),
    });
    true
}

/// The server's version and clock, by its word.
async fn state(host: &Host, server: &str, report: &mut Report) {
    let asked = host.since_1970();
    let request = HttpRequest::get(server, Claims::PATH.into(), LIMIT, PATIENCE);
    let answer = match request.answer(host).await {
        Ok(answer) => answer,
        Err(error) => {
            report.add(Finding::failed("version", error, format_args!("run: vouch health {server}")));
            return;
        }
    };
    report.add(match Claims::parse(&answer.body, server) {
        Ok(claims) => version(server, claims.version.as_deref()),
        Err(failure) => Finding::failed("version", failure.message, "is it a server of Vouch? Correct the address"),
    });
    report.add(clock::of_server(server, (asked, host.since_1970()), answer.date));
}

fn version(server: &str, theirs: Option<&str>) -> Finding {
    match theirs {
        Some(VERSION) => Finding::ok("version", format_args!("{server} is of version {VERSION}, as this program")),
        theirs => Finding::warning(
            "version",
            format_args!(
                "{server} is of version {}, and this program of {VERSION}",
                theirs.unwrap_or("an older release that does not tell it")
            ),
            "install the same release at both ends; CHANGELOG.md says what differs",
        ),
    }
}
