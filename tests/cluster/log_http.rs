//! The ordered log over HTTP, and on the command line, with real processes.

use std::time::Duration;

use serde_json::Value;
use support::http::{Answer, get, request};
use support::ordered_log::OPS;
use support::processes::{Processes, run};
use vouch_core::digest::ClusterId;
use vouch_core::log::Op;
use vouch_core::report::{BlockReport, HeadReport, OpReport};
use vouch_core::verify::{LogVerifyOptions, Verifier};

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn note(nonce: u8, text: &[u8]) -> Op {
    Op::new(Op::NOTE, [nonce; 16], now() + 60, text.to_vec()).unwrap()
}

fn options<W>(cluster: ClusterId, wanted: Option<W>) -> LogVerifyOptions<W> {
    LogVerifyOptions { trust: cluster.into(), wanted, now: now() }
}

async fn post(address: &str, body: &[u8], more: &[(&str, &str)]) -> Answer {
    let length = body.len().to_string();
    let headers = [&[("Content-Length", length.as_str())], more].concat();
    request(address, "POST", OPS, &headers, body).await
}

/// Starts a cluster and founds it. Returns its identity.
async fn founded(n: usize) -> (Processes, ClusterId) {
    let cluster = Processes::start(n).await;
    let identity = cluster.put(b"first").await.unwrap().committee().cluster();
    (cluster, identity)
}

/// Submits a note, until the log runs: it starts once the founding is complete. Returns the answer.
async fn submitted(address: &str, op: &Op) -> Answer {
    for _ in 0..60 {
        let answer = post(address, &op.encode(), &[]).await;
        if answer.status != 503 {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("the log takes no op");
}

/// The height of the block that an answer proves the op to be in.
fn proved(answer: &Answer, cluster: ClusterId, op: &Op) -> u64 {
    let judged = Verifier::new().judge_op(&answer.body, &options(cluster, Some(op.id(&cluster))));
    let report = OpReport::new(&judged);
    assert_eq!(report.report.verdict, "valid", "{}: {}", answer.status, answer.text());
    report.op.unwrap().height
}

async fn ops_heads_and_blocks_are_proved(n: usize) {
    let (cluster, identity) = founded(n).await;
    let address = cluster.address();
    let op = note(1, b"hello");
    let id = op.id(&identity).to_hex();
    let answer = submitted(address, &op).await;
    assert_eq!((answer.status, answer.header("location")), (201, Some(format!("{OPS}/{id}").as_str())));
    assert_eq!(answer.header("content-type"), Some("application/vnd.vouch.op-proof+json"));
    let height = proved(&answer, identity, &op);
    // the same op again is decided once
    let again = submitted(address, &op).await;
    assert_eq!((again.status, proved(&again, identity, &op)), (201, height));

    let found = get(address, &format!("{OPS}/{id}")).await;
    assert_eq!((found.status, proved(&found, identity, &op)), (200, height));
    let tag = found.header("etag").unwrap();
    assert_eq!(request(address, "GET", &format!("{OPS}/{id}"), &[("If-None-Match", tag)], b"").await.status, 304);

    let head = get(address, "/v1/log/head").await;
    assert_eq!(head.header("content-type"), Some("application/vnd.vouch.log-head+json"));
    let judged = Verifier::new().judge_head(&head.body, &options(identity, Some(height)));
    let reached = HeadReport::new(&judged).head.unwrap_or_else(|| panic!("{}", head.text())).height;
    assert!(reached >= height);

    let block = get(address, &format!("/v1/log/blocks/{height}")).await;
    let judged = Verifier::new().judge_block(&block.body, &options(identity, Some(height)));
    let block = BlockReport::new(&judged).block.unwrap_or_else(|| panic!("{}", block.text()));
    assert!(block.ops.iter().any(|op| op.body == data_encoding::HEXLOWER.encode(b"hello")));

    // who waits for a newer head gets the next one
    let (path, other) = (format!("/v1/log/head?after={reached}"), note(2, b"another"));
    let (waited, answer) = tokio::join!(get(address, &path), submitted(address, &other));
    let next = proved(&answer, identity, &other);
    assert!(next > height);
    let judged = Verifier::new().judge_head(&waited.body, &options(identity, Some(reached + 1)));
    assert!(judged.proved().is_ok(), "{}: {}", waited.status, waited.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_has_a_log() {
    ops_heads_and_blocks_are_proved(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_replicas_have_a_log() {
    ops_heads_and_blocks_are_proved(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_about_the_log_that_make_no_sense_are_refused() {
    let cluster = Processes::start_server_with(&[]).await;
    assert_eq!(get(cluster.address(), "/v1/log/head").await.problem(), "no-committee-yet");
    drop(cluster);

    let (cluster, identity) = founded(1).await;
    let address = cluster.address();
    let op = note(1, b"hello");
    let id = op.id(&identity).to_hex();
    assert_eq!(get(address, &format!("{OPS}/{id}")).await.problem(), "not-found");
    submitted(address, &op).await;
    let foreign = [("Origin", "https://evil.example")];
    assert_eq!(post(address, &op.encode(), &foreign).await.problem(), "origin-not-allowed");
    let longer = [&op.encode()[..], &[0]].concat();
    let unknown = Op::new(0x7777, [3; 16], now() + 60, Vec::new()).unwrap().encode();
    for body in [&b""[..], &b"no op"[..], &longer, &unknown] {
        let refused = post(address, body, &[]).await;
        assert_eq!((refused.status, refused.problem()), (400, "bad-request".to_owned()), "{}", refused.text());
    }
    let expired = Op::new(Op::NOTE, [4; 16], now() - 1000, Vec::new()).unwrap().encode();
    assert_eq!(post(address, &expired, &[]).await.problem(), "expired");
    let large = post(address, &[0; 8000], &[]).await;
    assert_eq!((large.status, large.problem()), (413, "too-large".to_owned()));
    for path in
        ["/v1/log/head?after=x", "/v1/log/head?before=1", "/v1/log/ops/0", "/v1/log/blocks/0", "/v1/log/blocks/x"]
    {
        assert_eq!(get(address, path).await.problem(), "bad-request", "{path}");
    }
    assert_eq!(get(address, "/v1/log/blocks/9007199254740991").await.problem(), "not-found");
    let wrong_method = request(address, "DELETE", OPS, &[], b"").await;
    assert_eq!((wrong_method.status, wrong_method.header("allow")), (405, Some("POST, OPTIONS")));
    let head = request(address, "HEAD", "/v1/log/head", &[], b"").await;
    assert!(head.status == 200 && head.body.is_empty());
    assert_eq!(request(address, "OPTIONS", "/v1/log/head", &[], b"").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_go_on_while_a_replica_is_down_and_after_the_server_restarts() {
    let (mut cluster, identity) = founded(4).await;
    let first = note(1, b"with four");
    let height = proved(&submitted(cluster.address(), &first).await, identity, &first);
    cluster.replicas[3].kill();
    cluster.until_left(3).await;
    let second = note(2, b"with three");
    assert!(proved(&submitted(cluster.address(), &second).await, identity, &second) > height);
    cluster.restart_server().await;
    cluster.until_connected().await;
    // the new process of the server certifies the head again: it keeps none
    let third = note(3, b"through a new server");
    let next = proved(&submitted(cluster.address(), &third).await, identity, &third);
    assert!(next > height + 1);
    let found = get(cluster.address(), &format!("{OPS}/{}", first.id(&identity).to_hex())).await;
    assert_eq!(proved(&found, identity, &first), height);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_writes_and_reads_notes() {
    let (cluster, identity) = founded(4).await;
    let (identity, address) = (identity.to_string(), cluster.address());
    let log = async |args: &[&str]| {
        let all = [&["log"], args, &["--server", address, "--cluster", &identity]].concat();
        let output = run(cluster.root(), &all).await;
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let json: Value = serde_json::from_str(&log(&["note", "first note", "-o", "note.vouch", "--json"]).await).unwrap();
    assert_eq!((&json["note"], &json["bundle"]), (&"note 1".into(), &"note.vouch".into()));
    let (op, height) = (json["id"].as_str().unwrap(), json["height"].as_u64().unwrap().to_string());
    let said = log(&["note", "second note"]).await;
    assert!(said.starts_with("note 2: op ") && said.contains(" of 4 members of cluster "), "{said}");

    assert!(log(&["head"]).await.starts_with("VALID: log head of height "));
    let shown = log(&["show", &height]).await;
    assert!(shown.contains(&format!("{op}, note \"first note\"")), "{shown}");
    assert!(log(&["prove", op]).await.contains(&format!("VALID: op {op}, ")));
    let checked = run(cluster.root(), &["verify", "--op", op, "note.vouch", "--cluster", &identity]).await;
    assert!(checked.status.success(), "{checked:?}");

    // an existing file is not replaced, and nothing is sent
    let refused = run(cluster.root(), &["log", "note", "third", "-o", "note.vouch", "--server", address]).await;
    assert!(String::from_utf8(refused.stderr).unwrap().contains("note.vouch exists"));
    // another cluster's log is not shown
    let other = ClusterId([7; 32]).to_string();
    let refused = run(cluster.root(), &["log", "head", "--server", address, "--cluster", &other]).await;
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
}
