//! A server that lies: `vouch put` rejects its answer, and every verifier rejects the bundle that would have resulted.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::blobs::judge;
use support::committee::TestCommittee;
use support::fake_server::{FakeServer, Withheld};
use support::processes::run;
use support::unix_seconds;
use tempfile::TempDir;
use tokio::net::TcpListener;
use vouch_core::bundle::Bundle;
use vouch_core::certificate::{Certificate, Signers};
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::receipt::Receipt;
use vouch_core::session::Phase;
use vouch_core::verify::{Check, Verdict};

const FILE: &[u8] = b"what the client has\n";

/// A folder with the file.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), FILE).unwrap();
    folder
}

/// Asserts that `vouch put` exits with code 1, prints all of `texts` and leaves no bundle.
async fn assert_put_refuses(server: &FakeServer, trusted: ClusterId, texts: &[&str]) {
    let folder = folder();
    let trusted = trusted.to_string();
    let put = run(folder.path(), &["put", "file", "--server", &server.address, "--cluster", &trusted]).await;
    let said = String::from_utf8(put.stderr).unwrap();
    assert_eq!(put.status.code(), Some(1), "{said}");
    for text in texts {
        assert!(said.contains(text), "expected {text:?} in {said}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["file"]);
}

/// Asserts that the library, `vouch verify` and the verifier for Node.js reject a bundle with the same check.
async fn assert_verifiers_refuse(bundle: &str, trusted: ClusterId, check: Check) {
    let verdict = judge(bundle.as_bytes(), trusted, FILE);
    assert!(matches!(&verdict, Verdict::Invalid(invalid) if invalid.check() == check), "{verdict}");
    let folder = folder();
    std::fs::write(folder.path().join("file.vouch"), bundle).unwrap();
    let trusted = trusted.to_string();
    let verified = run(folder.path(), &["verify", "file", "file.vouch", "--cluster", &trusted]).await;
    let said = String::from_utf8(verified.stdout).unwrap();
    assert_eq!(verified.status.code(), Some(1), "{said}");
    let failed = format!("\nBAD  {} ", check.name());
    assert!(said.contains(&failed) && said.contains("\nINVALID: "), "expected {failed:?} in {said}");

    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifier-wasm/npm");
    if !package.join("wasm").is_dir() {
        println!("skipped: the verifier for Node.js was not built");
        return;
    }
    let mut command = Command::new("node");
    command.arg(package.join("bin/vouch-verify.js")).args(["file", "file.vouch", "--cluster", &trusted]);
    let verified = command.current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(1), "{said}{}", String::from_utf8_lossy(&verified.stderr));
    assert!(said.contains(&failed) && said.contains("\nINVALID: "), "expected {failed:?} in {said}");
}

/// Asserts that a lie is caught. The server's committee is the trusted one; `lie` makes the certificate for a receipt.
async fn assert_caught(lie: fn(&TestCommittee, Receipt) -> Certificate, check: Check, texts: &[&str]) {
    let honest = TestCommittee::labelled("honest", 4);
    let trusted = honest.cluster();
    let receipt = Receipt { salt: [1; 16], digest: Digest::of(FILE), length: FILE.len() as u64, expires_at: u64::MAX };
    let bundle = Bundle::new(&lie(&honest, receipt), &honest.committee.clone().into()).to_json();
    assert_verifiers_refuse(&bundle, trusted, check).await;
    let shown = TestCommittee::labelled("honest", 4).committee;
    let server = FakeServer::start(trusted, shown, move |receipt| lie(&honest, receipt)).await;
    assert_put_refuses(&server, trusted, texts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_fake_server_is_accepted() {
    let honest = TestCommittee::labelled("honest", 4);
    let trusted = honest.cluster();
    let shown = TestCommittee::labelled("honest", 4).committee;
    let server = FakeServer::start(trusted, shown, move |receipt| honest.certify_by_all(unix_seconds(), receipt)).await;
    let (folder, identity) = (folder(), trusted.to_string());
    let put = run(folder.path(), &["put", "file", "--server", &server.address, "--cluster", &identity]).await;
    assert!(put.status.success(), "the lies below are what is caught: {put:?}");
    let bundle = std::fs::read(folder.path().join("file.vouch")).unwrap();
    assert!(matches!(judge(&bundle, trusted, FILE), Verdict::Valid(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_committee_is_rejected() {
    let (trusted, other) = (TestCommittee::labelled("honest", 4).cluster(), TestCommittee::labelled("foreign", 4));
    let identities = [trusted.to_string(), other.cluster().to_string()];
    let texts = [&identities[0], &identities[1], "another cluster: expected "];
    // announced honestly, and under the trusted identity
    for announced in [other.cluster(), trusted] {
        let certifying = TestCommittee::labelled("foreign", 4);
        let certify = move |receipt| certifying.certify_by_all(unix_seconds(), receipt);
        let server = FakeServer::start(announced, TestCommittee::labelled("foreign", 4).committee, certify).await;
        assert_put_refuses(&server, trusted, &texts).await;
    }
    let receipt = Receipt { salt: [1; 16], digest: Digest::of(FILE), length: FILE.len() as u64, expires_at: u64::MAX };
    let bundle = Bundle::new(&other.certify_by_all(unix_seconds(), receipt), &other.committee.clone().into()).to_json();
    assert_verifiers_refuse(&bundle, trusted, Check::Identity).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_by_another_committee_is_rejected() {
    let foreign =
        |_: &TestCommittee, receipt| TestCommittee::labelled("foreign", 4).certify_by_all(unix_seconds(), receipt);
    assert_caught(foreign, Check::Epoch, &["INVALID", "committee of the certificate: expected "]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_for_another_file_is_rejected() {
    let lie = |honest: &TestCommittee, receipt: Receipt| {
        honest.certify_by_all(unix_seconds(), Receipt { digest: Digest::of(b"another"), ..receipt })
    };
    assert_caught(lie, Check::Digest, &["INVALID", "digest: expected "]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_for_another_length_is_rejected() {
    let lie = |honest: &TestCommittee, receipt: Receipt| {
        honest.certify_by_all(unix_seconds(), Receipt { length: receipt.length + 1, ..receipt })
    };
    assert_caught(lie, Check::Length, &["INVALID", "length: expected 21 bytes, got 20"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_below_quorum_is_rejected() {
    let lie = |honest: &TestCommittee, receipt| {
        let signers = Signers::new(4, [0, 1]).unwrap();
        Certificate { signers, ..honest.certify_by_all(unix_seconds(), receipt) }
    };
    assert_caught(lie, Check::Signers, &["INVALID", "signers: expected at least 3, got 2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_naming_members_that_did_not_sign_is_rejected() {
    let lie = |honest: &TestCommittee, receipt| {
        let signers = Signers::new(4, [0, 1, 2]).unwrap();
        Certificate { signers, ..honest.certify_by_all(unix_seconds(), receipt) }
    };
    assert_caught(lie, Check::Signature, &["INVALID", "signature: "]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edited_certificate_is_rejected() {
    let later = |honest: &TestCommittee, receipt| {
        let mut certificate = honest.certify_by_all(unix_seconds(), receipt);
        certificate.claim.issued_at += 1;
        certificate
    };
    assert_caught(later, Check::Signature, &["INVALID", "signature: "]).await;
    let salted = |honest: &TestCommittee, receipt| {
        let mut certificate = honest.certify_by_all(unix_seconds(), receipt);
        certificate.claim.receipt.salt = [9; 16];
        certificate
    };
    assert_caught(salted, Check::Signature, &["INVALID", "signature: "]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_from_the_future_is_rejected() {
    let lie = |honest: &TestCommittee, receipt| honest.certify_by_all(unix_seconds() + 3600, receipt);
    assert_caught(
        lie,
        Check::Time,
        &["INVALID", "issued_at: expected at most ", "ahead of this computer's: check this computer's clock"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_certificate_is_rejected() {
    let lie = |honest: &TestCommittee, receipt| {
        honest.certify_by_all(unix_seconds(), Receipt { expires_at: unix_seconds() - 1, ..receipt })
    };
    assert_caught(lie, Check::Expiry, &["INVALID", "(expired)"]).await;
}

/// Valid certificates of another put: a verifier accepts them, the client must not.
async fn assert_client_refuses(lie: fn(&TestCommittee, Receipt) -> Certificate, text: &str) {
    let honest = TestCommittee::labelled("honest", 4);
    let trusted = honest.cluster();
    let server = FakeServer::start(trusted, TestCommittee::labelled("honest", 4).committee, move |receipt| {
        lie(&honest, receipt)
    })
    .await;
    assert_put_refuses(&server, trusted, &[text]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_of_an_earlier_put_is_rejected() {
    let old = |honest: &TestCommittee, receipt| honest.certify_by_all(unix_seconds() - 120, receipt);
    assert_client_refuses(old, "this computer's: check this computer's clock first").await;
    // another put's receipt would do if it expired no earlier
    let of_another = |honest: &TestCommittee, receipt| {
        let expires_at = unix_seconds() + 1000;
        honest.certify_by_all(unix_seconds(), Receipt { salt: [9; 16], expires_at, ..receipt })
    };
    assert_client_refuses(of_another, "certificate for another put: expected ").await;
    let shorter_duty = |honest: &TestCommittee, receipt| {
        honest.certify_by_all(unix_seconds(), Receipt { expires_at: unix_seconds() + 1000, ..receipt })
    };
    assert_client_refuses(shorter_duty, "certificate for another put: expected ").await;
}

/// Runs a command against a server that answers pings but withholds one message. Asserts exit code 1 and `text`.
async fn assert_times_out(withheld: Withheld, command: &[&str], text: &str) {
    let committee = TestCommittee::labelled("honest", 4);
    let trusted = committee.cluster();
    let shown = TestCommittee::labelled("honest", 4).committee;
    let certify = move |receipt| committee.certify_by_all(unix_seconds(), receipt);
    let server = FakeServer::withholding(withheld, trusted, shown, certify).await;
    assert_ends_saying(&server.address, trusted, command, text).await;
}

async fn assert_ends_saying(address: &str, trusted: ClusterId, command: &[&str], text: &str) {
    let folder = folder();
    // too large for a `Blob` message, so it is offered first
    std::fs::write(folder.path().join("large"), vec![1; 100_000]).unwrap();
    let trusted = trusted.to_string();
    let command = [command, &["--server", address, "--cluster", &trusted]].concat();
    let given_up = tokio::time::timeout(Duration::from_secs(240), run(folder.path(), &command)).await;
    let given_up = given_up.expect("a server that pings holds nobody for ever");
    let said = String::from_utf8(given_up.stderr).unwrap();
    assert_eq!(given_up.status.code(), Some(1), "{said}");
    assert!(said.contains(text), "expected {text:?} in {said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes: the deadlines are real ones"]
async fn server_that_only_answers_pings_times_out() {
    let digest = Digest::of(FILE).to_string();
    let get = ["get", &digest, "-o", "copy"];
    let (once, large) = (["put", "file", "--retry", "0"], ["put", "large", "--retry", "0"]);
    let given_up = async |withheld, command: &[&str], phase: Phase| {
        let (seconds, what, expected) = (phase.deadline().as_secs(), phase.what(), phase.expected());
        let text =
            format!("the server made no progress for {seconds} s while {what}: expected {expected}, got nothing");
        assert_times_out(withheld, command, &text).await;
    };
    tokio::join!(
        given_up(Withheld::Auth, &once, Phase::Opening),
        given_up(Withheld::Ready, &large, Phase::Offered),
        given_up(Withheld::Certified, &once, Phase::Certifying),
        given_up(Withheld::Certified, &large, Phase::Certifying),
        given_up(Withheld::Certified, &["put", "file", "large", "--retry", "0"], Phase::Certifying),
        given_up(Withheld::Located, &get, Phase::Locating),
        given_up(Withheld::Chunk, &get, Phase::Reading),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn withheld_answer_times_out_at_the_users_limit() {
    let digest = Digest::of(FILE).to_string();
    let get = ["get", &digest, "-o", "copy", "--retry", "1s"];
    let once = ["put", "file", "--retry", "1s"];
    let large = ["put", "large", "--retry", "1s"];
    let many = ["put", "file", "large", "--retry", "1s"];
    let said = |phase: Phase| format!(" s while {}, and `--retry` allows no more", phase.what());
    let given_up = async |withheld, command: &[&str], phase| assert_times_out(withheld, command, &said(phase)).await;
    // accepts connections into its backlog and never answers, not even the upgrade
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let not_opened = async |command: &[&str]| {
        assert_ends_saying(&address, TestCommittee::labelled("honest", 4).cluster(), command, &said(Phase::Opening))
            .await;
    };
    tokio::join!(
        not_opened(&once),
        not_opened(&many),
        not_opened(&get),
        given_up(Withheld::Auth, &once, Phase::Opening),
        given_up(Withheld::Auth, &many, Phase::Opening),
        given_up(Withheld::Auth, &get, Phase::Opening),
        given_up(Withheld::Ready, &large, Phase::Offered),
        given_up(Withheld::Ready, &["put", "large", "large", "--retry", "1s"], Phase::Offered),
        given_up(Withheld::Certified, &once, Phase::Certifying),
        given_up(Withheld::Certified, &large, Phase::Certifying),
        given_up(Withheld::Located, &get, Phase::Locating),
    );
}
