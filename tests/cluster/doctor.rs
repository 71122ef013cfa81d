//! `vouch doctor` on the machine of a cluster with TLS.

use std::process::Output;

use serde_json::Value;
use support::processes::{Processes, run};
use support::wrong_clock::WrongClock;

/// A server with a certificate of an authority of its own, and three replicas.
struct Secured {
    nodes: Processes,
    certificates: tempfile::TempDir,
}

impl Secured {
    async fn start() -> Self {
        let certificates = tempfile::tempdir().unwrap();
        let path = |name: &str| certificates.path().join(name).to_str().unwrap().to_owned();
        let made = run(certificates.path(), &["certs", "dev", "localhost", "--out", "."]).await;
        assert!(made.status.success());
        let tls = ["--tls-cert", &path("server.pem"), "--tls-key", &path("server.key")];
        let mut nodes = Processes::start_server_with(&tls).await;
        let (url, authority) = (url(&nodes), path("ca.pem"));
        for number in 0..3 {
            nodes.add_replica_through(&url, number, &["--tls-ca", &authority], &[]);
        }
        nodes.until_connected().await;
        Self { nodes, certificates }
    }

    fn path(&self, name: &str) -> String {
        self.certificates.path().join(name).to_str().unwrap().to_owned()
    }
}

fn url(nodes: &Processes) -> String {
    format!("https://localhost:{}", nodes.address().rsplit_once(':').unwrap().1)
}

/// The results of a check, and all of the output.
fn results<'a>(report: &'a Value, check: &str) -> Vec<(&'a str, &'a str)> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    checks.map(|finding| (finding["result"].as_str().unwrap(), finding["found"].as_str().unwrap())).collect()
}

fn report(output: &Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(output.status.code(), Some(i32::from(report["ok"] == false)), "{report}");
    for finding in report["checks"].as_array().unwrap() {
        assert_eq!(finding["next"].is_null(), finding["result"] == "ok", "{finding}");
    }
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_machine_passes_and_each_fault_fails_with_what_to_do() {
    let cluster = Secured::start().await;
    let (root, url, authority) = (cluster.nodes.root(), url(&cluster.nodes), cluster.path("ca.pem"));
    std::fs::write(root.join("file"), "bytes").unwrap();
    let reach = ["--server", &url, "--tls-ca", &authority];
    let put = run(root, &[&["put", "file", "--json"], &reach[..]].concat()).await;
    let put: Value = serde_json::from_slice(&put.stdout).unwrap();
    let identity = put["cluster"].as_str().unwrap();

    let doctor = |more: &[&str]| {
        let arguments: Vec<String> =
            ["doctor", "--json", "--server", &url].iter().chain(more).map(|text| (*text).to_owned()).collect();
        async move { report(&run(root, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await) }
    };
    let (certificate, key) = (cluster.path("server.pem"), cluster.path("server.key"));
    let trusting = ["--tls-ca", &authority, "--cluster", identity];
    let files = ["--tls-cert", &certificate, "--tls-key", &key];
    let here = ["--data", "server", "--data", "replica-0", "--listen", cluster.nodes.address()];
    let sound = doctor(&[&trusting[..], &files, &here].concat()).await;
    assert_eq!(sound["ok"], true, "{sound}");
    for check in
        ["folder", "sync", "port", "certificate", "server", "tls", "binding", "link", "identity", "version", "clock"]
    {
        let found = results(&sound, check);
        assert!(!found.is_empty() && found.iter().all(|(result, _)| *result == "ok"), "{check}: {found:?}");
    }
    assert_eq!(results(&sound, "folder").len(), 2, "of the server and of a replica");
    let clocks = results(&sound, "clock");
    assert!(
        clocks.len() == 2 && clocks[0].1.contains("signed times") && clocks[1].1.contains("by its word"),
        "{clocks:?}"
    );
    assert!(results(&sound, "identity")[0].1.ends_with(&format!("of cluster {identity}, as given")));

    let of_server = ["server", "tls", "link", "identity", "clock"];
    for (more, failing, found) in [
        (vec![], "tls", "its authority is not trusted here"),
        (
            vec!["--tls-ca", &authority, "--cluster", "11111111111111111111111111111111"],
            "identity",
            "belongs to another cluster",
        ),
    ] {
        let faulty = doctor(&more).await;
        let failed: Vec<_> = of_server
            .iter()
            .flat_map(|check| results(&faulty, check))
            .filter(|(result, _)| *result == "failed")
            .collect();
        assert_eq!(failed.len(), 1, "{faulty}");
        assert!(
            failed
                == results(&faulty, failing).into_iter().filter(|(result, _)| *result == "failed").collect::<Vec<_>>()
        );
        assert!(failed[0].1.contains(found), "{failed:?}");
    }
    // First contact over the network is not on loopback: `localhost` is, so nothing is to be recorded.
    let first = doctor(&["--tls-ca", &authority]).await;
    assert!(results(&first, "identity")[0].1.contains("not recorded"), "{first}");

    // This machine's clock is 100 s ahead.
    let clock = WrongClock::new(cluster.certificates.path(), "clock");
    clock.set(100);
    let late = tokio::process::Command::new(support::processes::program())
        .args(["doctor", "--json", "--server", &url, "--tls-ca", &authority])
        .current_dir(root)
        .env("HOME", root)
        .envs(clock.environment())
        .output()
        .await
        .unwrap();
    let late = report(&late);
    let clock = results(&late, "clock");
    assert!(clock[0].0 == "failed" && clock[0].1.contains("ahead of that of"), "{late}");
}
