//! Tokens: who may put and read, as the log decides and the replicas check.

use std::time::Duration;

use serde_json::Value;
use support::http;
use support::processes::{Processes, run};
use vouch_core::access::TokenSecret;

/// Runs the program in the cluster's folder. Its standard output, or the error.
async fn vouch(cluster: &Processes, arguments: &[&str]) -> Result<String, String> {
    let server = ["--server", cluster.address()];
    let output = run(cluster.root(), &[arguments, &server].concat()).await;
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    if output.status.success() { Ok(out) } else { Err(err) }
}

async fn rules(cluster: &Processes) -> Value {
    serde_json::from_slice(&http::get(cluster.address(), "/v1/access").await.body).unwrap()
}

/// Has the replicas of the cluster decide.
async fn decide(cluster: &Processes, arguments: &[&str]) -> String {
    let folders: Vec<_> =
        cluster.replicas.iter().map(|replica| replica.folder().to_str().unwrap().to_owned()).collect();
    let data: Vec<_> = folders.iter().flat_map(|folder| ["--data", folder]).collect();
    vouch(cluster, &[arguments, &data].concat()).await.unwrap()
}

fn write(cluster: &Processes, name: &str, bytes: &[u8]) {
    std::fs::write(cluster.root().join(name), bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_holders_of_tokens_put_and_read_until_they_are_revoked() {
    let cluster = Processes::start(4).await;
    write(&cluster, "before", b"before there were rules");
    vouch(&cluster, &["put", "before"]).await.unwrap();
    let told = decide(&cluster, &["token", "rules", "--put", "tokens", "--read", "tokens"]).await;
    assert!(told.contains("decided    change 1"), "{told}");
    let told = decide(&cluster, &["token", "new", "alice", "--max-size", "1MiB"]).await;
    assert!(told.contains("decided    change 2"), "{told}");
    let token = ["--token-file", "alice.token"];

    // puts: of a small and a large file, of a stream, and of several
    let large = support::blobs::content(1, 300_000);
    write(&cluster, "small", b"a small file");
    write(&cluster, "large", &large);
    write(&cluster, "too-large", &support::blobs::content(2, (1 << 20) + 1));
    for name in ["small", "large"] {
        let refused = vouch(&cluster, &["put", name, "--retry", "0"]).await.unwrap_err();
        assert!(refused.contains("only from holders of tokens"), "{refused}");
        vouch(&cluster, &[&["put", name][..], &token].concat()).await.unwrap();
    }
    let refused = vouch(&cluster, &[&["put", "too-large", "--retry", "0"][..], &token].concat()).await.unwrap_err();
    assert!(refused.contains("at most 1048576 bytes"), "{refused}");
    write(&cluster, "one", b"one of two");
    write(&cluster, "two", b"two of two");
    vouch(&cluster, &[&["put", "one", "two"][..], &token].concat()).await.unwrap();

    // gets
    let refused = vouch(&cluster, &["get", "large.vouch", "-o", "stranger", "--retry", "0"]).await.unwrap_err();
    assert!(refused.contains("only from holders of tokens"), "{refused}");
    for (bundle, bytes) in [("large.vouch", &large[..]), ("before.vouch", b"before there were rules")] {
        let got = format!("{bundle}.got");
        vouch(&cluster, &[&["get", bundle, "-o", &got][..], &token].concat()).await.unwrap();
        assert_eq!(std::fs::read(cluster.root().join(&got)).unwrap(), bytes);
    }

    // over HTTP, where the server signs
    let text = std::fs::read_to_string(cluster.root().join("alice.token")).unwrap();
    let secret = text.lines().find(|line| !line.starts_with('#')).unwrap();
    secret.parse::<TokenSecret>().unwrap();
    let bearer = format!("Bearer {secret}");
    let headers: &[(&str, &str)] = &[("Authorization", &bearer)];
    let address = cluster.address();
    let put = |headers, body: &'static [u8]| http::request(address, "PUT", "/v1/blobs", headers, body);
    assert_eq!(put(&[], b"a stranger's stream").await.status, 403);
    assert_eq!(put(headers, b"a stream of the holder").await.status, 201);
    let path = http::blob(b"a stream of the holder");
    assert_eq!(http::request(address, "GET", &path, &[], b"").await.status, 403);
    let answer = http::request(address, "GET", &path, headers, b"").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"a stream of the holder"[..]));
    let control = answer.headers.iter().find(|(name, _)| name == "cache-control").map(|(_, value)| value.as_str());
    assert_eq!(control, Some("private, max-age=31536000, immutable"));
    assert_eq!(http::request(address, "GET", &path, &[("Authorization", "Bearer other")], b"").await.status, 400);

    // the holder of a revoked token is a stranger
    let listed = vouch(&cluster, &["token", "list"]).await.unwrap();
    assert!(listed.contains("alice") && listed.contains("files of at most 1048576 bytes"), "{listed}");
    decide(&cluster, &["token", "revoke", "alice.token"]).await;
    write(&cluster, "late", b"after the revocation");
    let refused = vouch(&cluster, &[&["put", "late", "--retry", "0"][..], &token].concat()).await.unwrap_err();
    assert!(refused.contains("is not granted in this cluster, or is revoked"), "{refused}");
    assert_eq!(rules(&cluster).await["tokens"], Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_after_every_replica_restarted() {
    let mut cluster = Processes::start(4).await;
    write(&cluster, "first", &support::blobs::content(1, 90_000));
    vouch(&cluster, &["put", "first"]).await.unwrap();
    decide(&cluster, &["token", "new", "bob", "--quota", "100kB"]).await;
    decide(&cluster, &["token", "rules", "--put", "tokens"]).await;
    let put = ["put", "--retry", "0", "--token-file", "bob.token"];
    write(&cluster, "most", &support::blobs::content(2, 80_000));
    write(&cluster, "more", &support::blobs::content(3, 30_000));
    vouch(&cluster, &[&put[..], &["most"]].concat()).await.unwrap();
    for _ in 0..2 {
        let refused = vouch(&cluster, &[&put[..], &["more"]].concat()).await.unwrap_err();
        assert!(refused.contains("may have 100000 bytes stored, and has 80000"), "{refused}");
        for replica in &mut cluster.replicas {
            replica.kill();
            replica.start();
        }
        cluster.until_connected().await;
        let server = cluster.address().to_owned();
        // the rules are told with each new link
        let told = || http::get(&server, "/v1/access");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !String::from_utf8_lossy(&told().await.body).contains("\"put\":\"tokens\"") {
            assert!(tokio::time::Instant::now() < deadline, "no rules after the restart");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    // what is stored already counts no second time
    vouch(&cluster, &[&put[..], &["most", "--renew", "--force"]].concat()).await.unwrap();
}
