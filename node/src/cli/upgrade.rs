//! `vouch upgrade`: a bundle with the committees that followed since it was made. Nothing that a server says is believed: the committees must
//! be a chain from the identity that the user trusts.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use vouch_core::Limits;
use vouch_core::bundle::{Bundle, BundleChain};
use vouch_core::chain::{ChainComparison, CommitteeChain};
use vouch_core::verify::{Trust, Verdict, Verifier};

use super::trust::Trust as ServerTrust;
use super::verify::read_bundle;
use super::{Failure, UpgradeArgs, output, target_to_write};
use crate::client::PutLink;
use crate::host::Host;

const BUNDLE_MODE: u32 = 0o644;
/// How long the server may take to show its committees.
const PATIENCE: Duration = Duration::from_secs(30);

/// Exit code 0: the bundle is written, or has nothing to gain. 1: the server's committees contradict it. 2: the bundle cannot be checked.
pub(super) async fn upgrade(host: &Host, args: UpgradeArgs) -> Result<u8, Failure> {
    let path = args.output.as_deref().unwrap_or(&args.bundle);
    let target = target_to_write(path)?;
    let text = read_bundle(&args.bundle)?;
    let mut server_trust = ServerTrust::new(host, &args.server, &args.trust)?;
    let bundle = Bundle::parse(&text, &Limits::default()).map_err(|error| Failure::cannot_check(error.to_string()))?;
    let cluster = server_trust.pinned.ok_or_else(|| {
        Failure::cannot_check("no cluster identity is trusted").with_note("Name it with --cluster IDENTITY.")
    })?;
    let trust = Trust { cluster: Some(cluster), checkpoint: None };
    let old = chain_of(&text, &trust, &args.bundle)?;
    let link = PutLink::open(host, &args.server, server_trust.of_link()).await;
    let link = link.map_err(|error| server_trust.explain(error))?;
    let shown =
        host.timeout(PATIENCE, link.known_chain()).await.map_err(|_| Failure::new("the server shows no committee"))?;
    let shown = shown.map_err(|error| server_trust.explain(error))?;
    if let ChainComparison::Fork(_) = old.compare(shown) {
        let note =
            "Get a bundle of a newer file from that server and run `vouch compare` on both: it writes the evidence.";
        return Err(Failure::new("the server's committees contradict those of the bundle").with_note(note));
    }
    let [before, after] = [&old, shown].map(|chain| chain.current().record().epoch());
    if after > before {
        let chain = BundleChain::new(shown, after);
        let upgraded = Bundle { chain, ..bundle }.to_json();
        // What is written is what a verifier of it will say.
        chain_of(upgraded.as_bytes(), &trust, path)?;
        target.write(upgraded.as_bytes(), BUNDLE_MODE).map_err(Failure::new)?;
    }
    server_trust.record(shown).await?;
    report(&args, path, before, after.max(before));
    Ok(0)
}

fn chain_of(text: &[u8], trust: &Trust, path: &Path) -> Result<CommitteeChain, Failure> {
    Verifier::new().verify_chain(text, trust).map_err(|error| {
        let message = format!("{}: {}", output::name(path), Verdict::from(error));
        Failure { code: 2, ..Failure::new(message) }
    })
}

fn report(args: &UpgradeArgs, path: &Path, before: u64, after: u64) {
    if args.json {
        let mut json = json!({ "from_epoch": before, "to_epoch": after, "written": after > before });
        output::put_name(&mut json, "bundle", path);
        return output::json(&json);
    }
    match after > before {
        true => output::line(format_args!(
            "{} proves itself up to epoch {after} now; it ended at epoch {before}.",
            output::name(path)
        )),
        false => output::line(format_args!(
            "{} has all committees that the server knows, up to epoch {before}.",
            output::name(&args.bundle)
        )),
    }
}
