//! `vouch upgrade` adds the proof that a certificate is in the seal of its epoch, and believes no server.

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::fake_server::FakeServer;
use support::processes::{Processes, run};
use support::unix_seconds;
use tempfile::TempDir;
use vouch_core::Limits;
use vouch_core::bundle::Bundle;
use vouch_core::certificate::Certificate;
use vouch_core::digest::Digest;
use vouch_core::seal::SealTree;
use vouch_core::statement::StatementId;
use vouch_core::verify::{Subject, Trust, Verdict, Verifier, VerifyOptions};
use vouch_fixture::{ISSUED, TestEpochs, receipt};

/// A cluster of some epochs, its server, and a folder with a bundle that was made in epoch 0.
struct Upgraded {
    epochs: TestEpochs,
    server: FakeServer,
    folder: TempDir,
}

impl Upgraded {
    /// `label`: of the file. Only the file labelled `epochs` is in the seals.
    async fn new(handoffs: u64, label: &str) -> Self {
        let epochs = TestEpochs::sealed(4, handoffs);
        let folder = tempfile::tempdir().unwrap();
        let old = epochs.certify(0, ISSUED, receipt(label));
        fs::write(folder.path().join("old.vouch"), Bundle::new(&old, &epochs.up_to(0)).to_json()).unwrap();
        let server = FakeServer::showing(epochs.chain.clone(), |_| unreachable!("nothing is put")).await;
        Self { epochs, server, folder }
    }

    fn serve(&self, epoch: u64, list: Vec<u8>) {
        self.server.seals.lock().unwrap().insert(epoch, list);
    }

    /// Runs the command. Returns its exit code, what it reports, and what it says besides.
    async fn upgrade(&self, flags: &[&str]) -> (Option<i32>, Value, String) {
        let identity = self.epochs.chain.cluster().to_string();
        let command = ["upgrade", "old.vouch", "--server", &self.server.address, "--cluster", &identity, "--json"];
        let output = run(self.folder.path(), &[&command[..], flags].concat()).await;
        let shown = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), shown, String::from_utf8(output.stderr).unwrap())
    }

    fn text(&self) -> String {
        fs::read_to_string(self.folder.path().join("old.vouch")).unwrap()
    }

    /// The verdict on the bundle for who pins the last committee and demands a seal.
    fn is_sealed(&self, label: &str) -> bool {
        let trust = Trust { cluster: Some(self.epochs.chain.cluster()), checkpoint: Some(self.epochs.checkpoint()) };
        let subject = Some(Subject { digest: receipt(label).digest, length: None });
        let options = VerifyOptions { trust, require_sealed: true, subject, now: ISSUED, waive_expiry: false };
        matches!(Verifier::new().verify(self.text().as_bytes(), &options), Verdict::Valid(_))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_bundle_gets_the_proof_of_its_seal_once() {
    let upgraded = Upgraded::new(3, "epochs").await;
    upgraded.serve(0, upgraded.epochs.seal(0).to_list());
    assert!(!upgraded.is_sealed("epochs"));
    let (code, shown, said) = upgraded.upgrade(&[]).await;
    assert_eq!((code, &shown["seal"], &shown["to_epoch"]), (Some(0), &"added".into(), &3.into()), "{said}");
    assert!(upgraded.is_sealed("epochs"));
    let text = upgraded.text();
    // The server is not needed any more.
    upgraded.server.seals.lock().unwrap().clear();
    let (code, shown, said) = upgraded.upgrade(&[]).await;
    assert_eq!((code, &shown["seal"], &shown["written"]), (Some(0), &"had".into(), &false.into()), "{said}");
    assert_eq!(upgraded.text(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_seal_lacks_is_said_and_lies_are_refused() {
    // No committee names the seal yet.
    let upgraded = Upgraded::new(1, "epochs").await;
    upgraded.serve(0, upgraded.epochs.seal(0).to_list());
    let (code, shown, said) = upgraded.upgrade(&[]).await;
    assert_eq!((code, &shown["seal"], &shown["to_epoch"]), (Some(0), &"not-yet".into(), &1.into()), "{said}");

    let upgraded = Upgraded::new(2, "another").await;
    upgraded.serve(0, upgraded.epochs.seal(0).to_list());
    let (code, shown, said) = upgraded.upgrade(&[]).await;
    assert_eq!((code, &shown["seal"], &shown["written"]), (Some(0), &"missing".into(), &true.into()), "{said}");
    assert!(!upgraded.is_sealed("another"));

    let upgraded = Upgraded::new(2, "another").await;
    // A list that has the statement, but is not the seal's.
    let old = certificate(&upgraded.folder.path().join("old.vouch"));
    let statement = old.statement(upgraded.epochs.chain.first().record()).unwrap().id();
    let right = upgraded.epochs.seal(0);
    let forged = SealTree::new(right.identities().iter().copied().chain([statement])).unwrap().to_list();
    let unsorted = [right.to_list(), right.to_list()].concat();
    for list in [Some(forged), Some(unsorted), Some(vec![1]), Some(StatementId([9; 32]).0.to_vec()), None] {
        upgraded.server.seals.lock().unwrap().clear();
        if let Some(list) = list {
            upgraded.serve(0, list);
        }
        let (code, shown, said) = upgraded.upgrade(&[]).await;
        assert_eq!((code, &shown["seal"]), (Some(0), &"unavailable".into()), "{said}");
        assert!(said.contains("try again later, or with another server"), "{said}");
        assert!(!upgraded.is_sealed("another"));
    }
}

/// The members have the file, so that its certificate is renewed without it.
#[tokio::test(flavor = "multi_thread")]
async fn the_members_certify_anew_what_they_hold() {
    let nodes = Processes::start(4).await;
    for (name, bytes) in [("small", b"all of it".to_vec()), ("large", vec![7; 3_000_000])] {
        let path = nodes.root().join(name);
        fs::write(&path, &bytes).unwrap();
        let at = ["--server", nodes.address()];
        let put = run(nodes.root(), &[&["put", name][..], &at].concat()).await;
        assert_eq!(put.status.code(), Some(0));
        fs::remove_file(&path).unwrap();
        let bundle = format!("{name}.vouch");
        let before = certificate(&nodes.root().join(&bundle));
        let (identity, started) = (nodes.put(b"").await.unwrap().chain.cluster().to_string(), unix_seconds());
        let command = ["upgrade", &bundle, "--renew", "--cluster", &identity, "--json"];
        let output = run(nodes.root(), &[&command[..], &at].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&shown["renewed"], &shown["written"]), (&true.into(), &true.into()));
        let after = certificate(&nodes.root().join(&bundle));
        assert_eq!(after.claim.receipt.digest, Digest::of(&bytes));
        assert!(after.claim.receipt.salt != before.claim.receipt.salt && after.claim.issued_at >= started);
    }
    // The fake server asks for the bytes.
    let upgraded = Upgraded::new(1, "epochs").await;
    let before = upgraded.text();
    let (code, _, said) = upgraded.upgrade(&["--renew"]).await;
    assert!(code == Some(1) && said.contains("the members do not hold all of its bytes any more"), "{said}");
    assert_eq!(upgraded.text(), before);
}

fn certificate(path: &Path) -> Certificate {
    let bundle = Bundle::parse(&fs::read(path).unwrap(), &Limits::default()).unwrap();
    Certificate::decode(&bundle.certificate, &Limits::default()).unwrap()
}
