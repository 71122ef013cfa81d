//! Status endpoints: what the server reports about itself and its cluster.

use serde_json::json;
use support::http::{get, put, request};
use support::in_process::InProcess;
use vouch_core::report::Inspection;

#[tokio::test(flavor = "multi_thread")]
async fn cluster_endpoint_lists_members_and_connections() {
    let mut cluster = InProcess::start_with(1, |config| config.wanted.replicas = Some(4)).await;
    let address = cluster.address().to_owned();
    let early = get(&address, "/v1/cluster").await;
    assert_eq!(early.header("content-type"), Some("application/json"));
    assert_eq!(early.header("cache-control"), Some("no-cache"));
    let server = early.json()["server"].clone();
    let expected = json!({
        "ready": false, "cluster": null, "server": server, "version": env!("CARGO_PKG_VERSION"), "epoch": 0, "quorum": 0,
        "tolerated_faults": 0, "faults_left": 0, "connected": 1, "wanted": 4, "log_height": 0, "members": [],
    });
    assert_eq!(early.json(), expected);

    for number in 1..4 {
        cluster.start_replica(number).await;
    }
    let bundle = put(&address, b"letter").await.body;
    let inspection = Inspection::of_bundle(&bundle).unwrap();
    cluster.stop_replica(2).await;
    let described = get(&address, "/v1/cluster").await.json();
    assert_eq!((&described["ready"], &described["cluster"]), (&true.into(), &inspection.cluster.to_string().into()));
    assert_eq!(described["server"], server);
    let keys = ["epoch", "quorum", "tolerated_faults", "faults_left", "connected", "wanted"];
    assert_eq!(keys.map(|key| described[key].clone()), [0, 3, 1, 0, 3, 4]);
    let members = described["members"].as_array().unwrap();
    assert_eq!(members.len(), 4);
    for (number, (member, known)) in members.iter().zip(&inspection.members).enumerate() {
        assert_eq!(member["member"], number);
        assert_eq!(member["name"], known.name);
        assert_eq!(member["connected"], known.name != "replica-2");
        let (state, why) = match known.name.as_str() {
            "replica-2" => ("missing", "replica-2 is not connected".into()),
            _ => ("well", serde_json::Value::Null),
        };
        assert_eq!((&member["state"], &member["why"]), (&state.into(), &why));
        for key in ["node_key", "vote_key"] {
            assert!(member[key].as_str().is_some_and(|text| text.len() > 40), "{member}");
        }
    }
    let only_head = request(&address, "HEAD", "/v1/cluster", &[], b"").await;
    assert_eq!((only_head.status, only_head.body.len()), (200, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_is_ready_when_a_quorum_is_connected() {
    let mut cluster = InProcess::start(0).await;
    let address = cluster.address().to_owned();
    let nobody = get(&address, "/readyz").await;
    assert_eq!((nobody.status, nobody.problem().as_str()), (503, "no-committee-yet"));
    for number in 0..4 {
        cluster.start_replica(number).await;
        assert_eq!(get(&address, "/readyz").await.status, 200, "a committee could form");
    }
    put(&address, b"letter").await;
    for (number, status) in [(0, 200), (1, 503)] {
        cluster.stop_replica(number).await;
        let answer = get(&address, "/readyz").await;
        assert_eq!(answer.status, status);
        if status == 503 {
            assert_eq!(answer.problem(), "not-enough-replicas");
            let mut missing: Vec<_> = answer.json()["members"].as_array().unwrap().to_vec();
            missing.sort_by_key(|name| name.to_string());
            assert_eq!(missing, ["replica-0", "replica-1"]);
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("needed for a put, 2 can store; replica-"), "{detail}");
            assert!(detail.contains("replica-0 is not connected") && detail.contains("replica-1 is not connected"));
            let as_text = request(&address, "GET", "/readyz", &[("accept", "text/plain")], b"").await;
            assert_eq!((as_text.status, as_text.header("content-type")), (503, Some("text/plain; charset=utf-8")));
            assert_eq!(as_text.header("retry-after"), Some("1"));
            assert_eq!(
                as_text.text(),
                format!("not ready: {}\n", detail.strip_prefix("not enough replicas: ").unwrap())
            );
        } else {
            // on a busy machine other members may have been late for the put
            assert!(answer.text().starts_with("ready: 3 of 4 replicas can store, 3 are needed; "), "{}", answer.text());
            assert!(answer.text().contains("; replica-0 is not connected"), "{}", answer.text());
            let as_json = request(&address, "GET", "/readyz", &[("accept", "application/json")], b"").await;
            let member = json!({ "name": "replica-0", "state": "missing", "why": "replica-0 is not connected" });
            assert_eq!(as_json.json()["ready"], true);
            assert!(as_json.json()["members"].as_array().unwrap().contains(&member), "{}", as_json.text());
        }
        assert_eq!(get(&address, "/healthz").await.status, 200, "the process is healthy even if no put can succeed");
    }
    cluster.start_replica(1).await;
    assert_eq!(get(&address, "/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_is_not_ready_while_members_storage_fails() {
    let cluster = InProcess::start(4).await;
    let address = cluster.address().to_owned();
    put(&address, b"letter").await;
    let folders: Vec<_> = (0..4).map(|number| cluster.folder(number).join("partial")).collect();
    folders.iter().for_each(|folder| std::fs::remove_dir_all(folder).unwrap());
    let large = vec![1; 100_000];
    assert!(cluster.put(&large).await.is_err());
    // The put fails once a quorum is out of reach: after two failures. The others may not have been asked to store yet.
    let answer = get(&address, "/readyz").await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "not-enough-replicas"));
    let json = answer.json();
    let detail = json["detail"].as_str().unwrap();
    let failed =
        (0..4).filter(|number| detail.contains(&format!("replica-{number} is connected, but its storage failed: ")));
    let failed = failed.count();
    assert!(failed >= 2, "{detail}");
    let expected = format!("3 of 4 replicas are needed for a put, {} can store; replica-", 4 - failed);
    assert!(detail.contains(&expected), "{detail}");
    folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    cluster.put(&large).await.unwrap();
    assert_eq!(get(&address, "/readyz").await.status, 200, "they store again");
}

/// Without any put, the replicas report storage failures by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn server_is_not_ready_once_replicas_report_failed_storage() {
    let cluster = InProcess::start(4).await;
    let address = cluster.address().to_owned();
    put(&address, b"letter").await;
    let folders: Vec<_> =
        (0..2).map(|number| cluster.folder(number)).map(|data| (data.join("blobs"), data.join("away"))).collect();
    folders.iter().for_each(|(place, away)| std::fs::rename(place, away).unwrap());
    until_answer(&address, 503).await;
    let detail = get(&address, "/readyz").await.json()["detail"].as_str().unwrap().to_owned();
    for number in 0..2 {
        assert!(detail.contains(&format!("replica-{number} is connected, but its storage failed: ")), "{detail}");
    }
    assert!(!detail.contains("replica-2 ") && !detail.contains("replica-3 "), "{detail}");
    let told = |event: &vouch::server::Event| match event {
        vouch::server::Event::LeftOut(line) => line.contains(" says that its storage failed: "),
        _ => false,
    };
    assert!(cluster.server_events().iter().any(told), "reported to the operator as well");
    folders.iter().for_each(|(place, away)| std::fs::rename(away, place).unwrap());
    until_answer(&address, 200).await;
}

/// Waits until `/readyz` answers with this status.
async fn until_answer(address: &str, status: u16) {
    for _ in 0..600 {
        let answer = get(address, "/readyz").await;
        // wait for all failed replicas to recover, not only one
        if answer.status == status && (status == 503 || answer.text().starts_with("ready: 4 of 4 replicas can store")) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{:?}", get(address, "/readyz").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_with_a_configured_size_is_ready_only_with_all_founders() {
    let mut cluster = InProcess::start_with(1, |config| config.wanted.replicas = Some(2)).await;
    let address = cluster.address().to_owned();
    assert_eq!(get(&address, "/readyz").await.status, 503);
    cluster.start_replica(1).await;
    assert_eq!(get(&address, "/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn root_serves_the_page() {
    let cluster = InProcess::start(0).await;
    let answer = get(cluster.address(), "/").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "), "{policy}");
    assert!(answer.text().contains("<title>"), "{}", answer.text());
    assert_eq!(get(cluster.address(), "/../Cargo.toml").await.status, 404);
}
