//! Servers with faults.

use std::sync::Arc;
use std::time::Duration;

use super::finding::{Finding, Outcome, Report};
use super::servers;
use crate::cli::connection_args::TrustArgs;
use crate::host::Host;
use crate::host::tasks::JoinHandle;
use crate::tls::{CertificateFiles, Dialing, ServerTls, create_dev_certificates};

async fn checked(host: &Host, server: &str) -> Vec<Finding> {
    let mut report = Report::new(true);
    servers::check(host, server, &TrustArgs::default(), &mut report).await;
    report.findings().to_vec()
}

fn last(findings: &[Finding]) -> (&'static str, Outcome, &str) {
    let last = findings.last().unwrap();
    assert!(last.outcome == Outcome::Ok || last.next.is_some(), "{last:?}");
    (last.check, last.outcome, &last.found)
}

#[tokio::test]
async fn a_dead_server_and_an_unknown_name_are_told_apart() {
    let host = Host::system();
    let findings = checked(&host, "127.0.0.1:1").await;
    assert!(matches!(last(&findings), ("server", Outcome::Failed, found) if found.contains("cannot connect")));
    let findings = checked(&host, "nobody.invalid:1").await;
    assert!(matches!(last(&findings), ("server", Outcome::Failed, found) if found.contains("nobody knows the name")));
}

/// Accepts TLS and closes each connection.
async fn closing(host: &Host, folder: &std::path::Path, names: &[&str]) -> (String, JoinHandle<()>) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = create_dev_certificates(host, folder, &names).unwrap();
    let tls = ServerTls::open(host, CertificateFiles { certificate: made.certificate, key: made.key }).unwrap();
    let tls = Arc::new(tls);
    let listener = host.listen("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepting = host.spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            drop(tls.accept(io).await);
        }
    });
    (format!("https://localhost:{port}"), accepting)
}

#[tokio::test]
async fn faults_of_certificates_name_the_certificate_and_the_way_out() {
    let (host, folder, other) = (Host::system(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    create_dev_certificates(&host, other.path(), &["localhost".into()]).unwrap();
    for (names, authority, expected) in
        [(["localhost"], &other, "--tls-ca"), (["another.example"], &folder, "it is for other names")]
    {
        let (address, accepting) = closing(&host, folder.path(), &names).await;
        let dialing = Dialing::default().trusting(host.disk(), &authority.path().join("ca.pem")).unwrap();
        let findings = checked(&host.with_dialing(dialing), &address).await;
        let (check, outcome, found) = last(&findings);
        assert_eq!((check, outcome), ("tls", Outcome::Failed), "{found}");
        assert!(found.contains(expected) && found.contains(&format!("is for {}, valid until", names[0])), "{found}");
        accepting.abort();
    }
}

#[tokio::test]
async fn a_server_that_speaks_something_else_fails_at_the_link() {
    let (host, folder) = (Host::system(), tempfile::tempdir().unwrap());
    let (address, accepting) = closing(&host, folder.path(), &["localhost"]).await;
    let dialing = Dialing::default().trusting(host.disk(), &folder.path().join("ca.pem")).unwrap();
    let findings = checked(&host.with_dialing(dialing), &address).await;
    let outcomes: Vec<_> = findings.iter().map(|finding| (finding.check, finding.outcome)).collect();
    let expected = [("server", Outcome::Ok), ("tls", Outcome::Ok), ("binding", Outcome::Ok), ("link", Outcome::Failed)];
    assert_eq!(outcomes, expected, "{findings:?}");
    accepting.abort();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let host = Host::on_runtime_clock();
    let listener = host.listen("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let keeping = host.spawn(async move {
        let mut kept = Vec::new();
        loop {
            kept.push(listener.accept().await.unwrap());
        }
    });
    let folder = tempfile::tempdir().unwrap();
    create_dev_certificates(&Host::system(), folder.path(), &["localhost".into()]).unwrap();
    let dialing = Dialing::default().trusting(host.disk(), &folder.path().join("ca.pem")).unwrap();
    let trusting = host.with_dialing(dialing);
    for address in [format!("127.0.0.1:{port}"), format!("https://localhost:{port}")] {
        let began = host.monotonic();
        let findings = checked(&trusting, &address).await;
        assert_eq!(last(&findings).1, Outcome::Failed, "{findings:?}");
        assert!(host.monotonic() - began <= Duration::from_secs(60));
    }
    keeping.abort();
}

#[test]
fn a_long_text_of_a_server_is_cut_off() {
    let mut report = Report::new(true);
    report.add(Finding::failed("version", "x".repeat(1 << 20), "y".repeat(1 << 20)));
    let finding = &report.findings()[0];
    assert!(finding.found.len() <= 2000 && finding.next.as_ref().unwrap().len() <= 2000);
}

#[tokio::test]
async fn a_damaged_file_of_known_clusters_is_a_finding() {
    let (host, folder) = (Host::system(), tempfile::tempdir().unwrap());
    let file = folder.path().join("known");
    std::fs::write(&file, "no address and no identity\n").unwrap();
    let listener = host.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut report = Report::new(true);
    let trust = TrustArgs { known_clusters: Some(file), ..TrustArgs::default() };
    servers::check(&host, &address, &trust, &mut report).await;
    assert_eq!(last(report.findings()).0, "identity", "{:?}", report.findings());
}
