//! Clients, replicas and a server over TLS, and what somebody between them can do.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use support::processes::{Processes, is_connected, run};
use support::until;
use tokio::task::JoinHandle;
use vouch::client::http::{HttpError, HttpRequest};
use vouch::host::Host;
use vouch::tls::{CertificateFiles, Dialing, ServerTls, create_dev_certificates, dial};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server with a certificate for `localhost`, of an authority of its own.
struct Secured {
    nodes: Processes,
    certificates: tempfile::TempDir,
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

fn path_of(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

impl Secured {
    async fn start(more: &[&str]) -> Self {
        let certificates = tempfile::tempdir().unwrap();
        let folder = certificates.path();
        let made = run(folder, &["certs", "dev", "localhost", "--out", folder.to_str().unwrap()]).await;
        assert!(made.status.success(), "{}", text(&made));
        let (certificate, key) = (path_of(folder, "server.pem"), path_of(folder, "server.key"));
        let arguments = [&["--tls-cert", &certificate, "--tls-key", &key], more].concat();
        Self { nodes: Processes::start_server_with(&arguments).await, certificates }
    }

    fn authority(&self) -> String {
        path_of(self.certificates.path(), "ca.pem")
    }

    fn files(&self) -> CertificateFiles {
        let path = |name| self.certificates.path().join(name);
        CertificateFiles { certificate: path("server.pem"), key: path("server.key") }
    }

    fn port(&self) -> &str {
        self.nodes.address().rsplit_once(':').unwrap().1
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port())
    }

    /// A host that trusts the authority.
    fn host(&self) -> Host {
        let host = Host::system();
        let dialing = Dialing::default().trusting(host.disk(), self.authority().as_ref()).unwrap();
        host.with_dialing(dialing)
    }

    fn add_replica(&mut self, number: usize, dialled: &str, more: &[&str]) {
        let authority = self.authority();
        let arguments = [&["--tls-ca", &authority], more].concat();
        self.nodes.add_replica_through(dialled, number, &arguments, &[]);
    }

    /// Runs a command that reaches the server.
    async fn run(&self, arguments: &[&str]) -> Output {
        let (url, authority) = (self.url(), self.authority());
        let all = [arguments, &["--server", &url, "--tls-ca", &authority]].concat();
        run(self.nodes.root(), &all).await
    }

    async fn answer(&self, path: &str) -> Result<String, HttpError> {
        let request = HttpRequest::get(&self.url(), path.into(), 1 << 20, PATIENCE);
        request.send(&self.host()).await.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_put_certified_and_got_over_tls() {
    let mut cluster = Secured::start(&[]).await;
    for number in 0..4 {
        cluster.add_replica(number, &cluster.url(), &[]);
    }
    cluster.nodes.until_connected().await;
    let file = cluster.nodes.root().join("file");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    let put = cluster.run(&["put", "file", "--json"]).await;
    assert!(put.status.success(), "{}", text(&put));
    let certified: serde_json::Value = serde_json::from_slice(&put.stdout).unwrap();
    let identity = certified["cluster"].as_str().unwrap().to_owned();
    for arguments in [
        &["get", "file.vouch", "--output", "again", "--cluster", &identity][..],
        &["committee", "show", "--cluster", &identity],
        &["upgrade", "file.vouch", "--cluster", &identity],
    ] {
        let output = cluster.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    }
    assert!(std::fs::read(cluster.nodes.root().join("again")).unwrap() == bytes);
    let verified = run(cluster.nodes.root(), &["verify", "file", "file.vouch", "--cluster", &identity]).await;
    assert!(verified.status.success(), "{}", text(&verified));
    assert_eq!(cluster.answer("/healthz").await.unwrap().trim(), "ok");
    assert!(cluster.nodes.server.log().contains(&format!("page https://localhost:{}/", cluster.port())));

    // Without the authority, with another name, and without TLS.
    let (url, port) = (cluster.url(), cluster.port().to_owned());
    let put = ["put", "file", "--retry", "0", "--server"];
    let untrusted = run(cluster.nodes.root(), &[&put[..], &[&url]].concat()).await;
    assert!(!untrusted.status.success() && text(&untrusted).contains("--tls-ca FILE"), "{}", text(&untrusted));
    let (address, authority) = (format!("https://127.0.0.1:{port}"), cluster.authority());
    let misnamed = run(cluster.nodes.root(), &[&put[..], &[&address, "--tls-ca", &authority]].concat()).await;
    assert!(text(&misnamed).contains("it is for other names"), "{}", text(&misnamed));
    let plain = run(cluster.nodes.root(), &[&put[..], &[&format!("localhost:{port}")]].concat()).await;
    assert!(!plain.status.success() && text(&plain).contains("if it speaks TLS, use https://"), "{}", text(&plain));
    let plain = HttpRequest::get(&format!("localhost:{port}"), "/healthz".into(), 1 << 10, PATIENCE);
    let refused = plain.send(&Host::system()).await.unwrap_err().to_string();
    assert!(refused.contains("this port speaks TLS: use https://"), "{refused}");
}

/// Somebody between replicas and a server who has a certificate that the replicas accept: ends TLS, and passes everything on.
fn interpose(cluster: &Secured) -> (PathBuf, JoinHandle<()>, std::sync::mpsc::Receiver<String>) {
    let (host, files, target) = (cluster.host(), cluster.files(), cluster.url());
    let (told, address) = std::sync::mpsc::channel();
    let task = tokio::spawn(async move {
        let tls = std::sync::Arc::new(ServerTls::open(&host, files.clone()).unwrap());
        let listener = host.listen("127.0.0.1:0").await.unwrap();
        told.send(format!("https://localhost:{}", listener.local_addr().unwrap().port())).unwrap();
        while let Ok((io, _)) = listener.accept().await {
            let (tls, host, target) = (tls.clone(), host.clone(), target.clone());
            tokio::spawn(async move {
                let mut near = tls.accept(io).await.ok()?.io;
                let mut far = dial(&host, &target).await.ok()?.io;
                tokio::io::copy_bidirectional(&mut near, &mut far).await.ok()
            });
        }
    });
    (cluster.files().certificate, task, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_through_somebody_who_ends_tls_is_refused_unless_both_ends_allow_it() {
    for is_allowed in [false, true] {
        let allowed = if is_allowed { &["--no-tls-exporter"][..] } else { &[] };
        let mut cluster = Secured::start(allowed).await;
        let (_, between, address) = interpose(&cluster);
        let through = address.recv().unwrap();
        // A put over the same way succeeds in both cases: clients trust no server, and browsers cannot bind a link.
        for number in 0..2 {
            cluster.add_replica(number, &through, allowed);
        }
        let is_joined = |cluster: &Secured| is_connected(&cluster.nodes.server, "replica-0");
        if is_allowed {
            until("the replica joins", || is_joined(&cluster)).await;
        } else {
            let log = |cluster: &Secured| cluster.nodes.replicas[0].log();
            until("the link is refused", || log(&cluster).contains("expected a signature")).await;
            assert!(!is_joined(&cluster));
            assert!(log(&cluster).contains("--no-tls-exporter"), "{}", log(&cluster));
            // One end alone does not suffice.
            cluster.add_replica(2, &through, &["--no-tls-exporter"]);
            let log = |cluster: &Secured| cluster.nodes.replicas[2].log();
            until("the link is refused", || log(&cluster).contains("expected a signature")).await;
            cluster.add_replica(3, &cluster.url(), &[]);
            until("a direct link is accepted", || is_connected(&cluster.nodes.server, "replica-3")).await;
            std::fs::write(cluster.nodes.root().join("file"), "bytes").unwrap();
            let authority = cluster.authority();
            let put = ["put", "file", "--server", &through, "--tls-ca", &authority];
            let put = run(cluster.nodes.root(), &put).await;
            assert!(put.status.success(), "{}", text(&put));
        }
        between.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_presented_without_a_restart() {
    let cluster = Secured::start(&[]).await;
    assert!(cluster.answer("/healthz").await.is_ok());
    let folder = cluster.certificates.path();
    // A damaged one changes nothing.
    let before = std::fs::read(folder.join("server.pem")).unwrap();
    std::fs::write(folder.join("server.pem"), "nothing").unwrap();
    cluster.nodes.server.hang_up();
    until("it is said", || cluster.nodes.server.log().contains("the certificate is not replaced: ")).await;
    assert!(cluster.answer("/healthz").await.is_ok());
    std::fs::write(folder.join("server.pem"), before).unwrap();
    // One for another name shows that it is another one.
    create_dev_certificates(&Host::system(), folder, &["127.0.0.1".into()]).unwrap();
    cluster.nodes.server.hang_up();
    until("it is replaced", || cluster.nodes.server.log().contains("new connections get the new certificate")).await;
    let refused = cluster.answer("/healthz").await.unwrap_err().to_string();
    assert!(refused.contains("it is for other names"), "{refused}");
    let request = HttpRequest::get(&format!("https://127.0.0.1:{}", cluster.port()), "/healthz".into(), 64, PATIENCE);
    assert_eq!(request.send(&cluster.host()).await.unwrap(), "ok\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_beyond_this_machine_needs_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9090"] {
        let refused = run(folder.path(), &["server", address]).await;
        assert_eq!(refused.status.code(), Some(1), "{address}");
        assert!(text(&refused).contains("--tls-cert") && text(&refused).contains("--insecure"), "{}", text(&refused));
    }
    // Allowed: it fails later, because this machine does not have the address.
    let allowed = run(folder.path(), &["server", "192.0.2.1:9090", "--insecure"]).await;
    assert!(text(&allowed).contains("cannot listen on 192.0.2.1:9090"), "{}", text(&allowed));
    let missing = run(folder.path(), &["server", "0", "--tls-cert", "no.pem", "--tls-key", "no.key"]).await;
    assert!(text(&missing).contains("no.pem"), "{}", text(&missing));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_served_over_tls_to_other_machines_and_in_plain_on_loopback() {
    let metrics_at = |log: String, scheme: &str| {
        let line = log.lines().find_map(|line| line.strip_prefix(&format!("metrics {scheme}://"))).unwrap().to_owned();
        line.strip_suffix("/metrics").unwrap().rsplit_once(':').unwrap().1.to_owned()
    };
    let secured = Secured::start(&["--metrics", "0.0.0.0:0"]).await;
    until("the metrics are served", || secured.nodes.server.log().contains("/metrics\n")).await;
    let port = metrics_at(secured.nodes.server.log(), "https");
    let request = HttpRequest::get(&format!("https://localhost:{port}"), "/metrics".into(), 1 << 20, PATIENCE);
    let page = request.send(&secured.host()).await.unwrap();
    assert!(String::from_utf8(page.to_vec()).unwrap().contains("\nvouch_server_ready "));
    let plain = support::http::get(&format!("127.0.0.1:{port}"), "/metrics").await;
    assert!(plain.status != 200 && !plain.body.windows(6).any(|part| part == b"vouch_"), "{plain:?}");

    let secured = Secured::start(&["--metrics", "127.0.0.1:0"]).await;
    until("the metrics are served", || secured.nodes.server.log().contains("/metrics\n")).await;
    let port = metrics_at(secured.nodes.server.log(), "http");
    assert_eq!(support::http::get(&format!("127.0.0.1:{port}"), "/metrics").await.status, 200);
}
