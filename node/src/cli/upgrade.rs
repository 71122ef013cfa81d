//! `vouch upgrade`: a bundle with the committees that followed since it was made, and the proof that its certificate is in the seal of its
//! epoch; or with a new certificate. Nothing that a server says is believed: the committees must be a chain from the identity that the user
//! trusts, and the chain names the seal.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use vouch_core::Limits;
use vouch_core::bundle::{Bundle, BundleChain};
use vouch_core::certificate::Certificate;
use vouch_core::chain::{ChainComparison, CommitteeChain};
use vouch_core::digest::ClusterId;
use vouch_core::seal::SealPath;
use vouch_core::verify::{Verdict, Verifier, VerifyOptions};

use super::trust::Trust;
use super::verify::read_bundle;
use super::{Failure, UpgradeArgs, output, target_to_write};
use crate::client::seal::fetch_seal;
use crate::client::{self, PutLink, Servers};
use crate::host::Host;

const BUNDLE_MODE: u32 = 0o644;
/// How long the server may take to show its committees, to send the list of a seal, or to have a certificate made.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of the proof that the certificate is in the seal of its epoch.
enum Sealing {
    /// No committee is known that names the seal.
    NotYet,
    /// The bundle had it.
    Had,
    /// The bundle gets it.
    Added(SealPath),
    /// The seal does not have the certificate.
    Missing,
    /// No server gave the list of the seal.
    Unavailable(String),
}

impl Sealing {
    /// Of a certificate whose bundle lacks the proof.
    async fn of(host: &Host, server: &str, old: &Verified, shown: &CommitteeChain) -> Self {
        let epoch = old.certificate.epoch;
        let statement = old.chain.record(epoch).and_then(|committee| old.certificate.statement(committee));
        let Some(statement) = statement.filter(|_| shown.seal_of(epoch).is_some()) else { return Self::NotYet };
        match fetch_seal(host, server, shown, epoch, PATIENCE).await {
            Ok(seal) => seal.path(&statement.id()).map_or(Self::Missing, Self::Added),
            Err(error) => Self::Unavailable(error.to_string()),
        }
    }

    fn path(&self) -> Option<&SealPath> {
        match self {
            Self::Added(path) => Some(path),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::NotYet => "not-yet",
            Self::Had => "had",
            Self::Added(_) => "added",
            Self::Missing => "missing",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

/// A bundle that was verified.
struct Verified {
    text: String,
    certificate: Certificate,
    chain: CommitteeChain,
}

impl Verified {
    /// Verifies a bundle as a certificate of the file that it names itself, in force or not.
    fn new(text: String, cluster: ClusterId, host: &Host, path: &Path) -> Result<Self, Failure> {
        let (subject, now) = (None, host.unix_seconds());
        let options = VerifyOptions { trust: cluster.into(), require_sealed: false, subject, now, waive_expiry: true };
        let judgement = Verifier::new().judge(text.as_bytes(), &options);
        match (judgement.genuine(), judgement.chain()) {
            (Ok(certificate), Some(chain)) => Ok(Self { certificate: certificate.clone(), chain: chain.clone(), text }),
            (Err(error), _) => {
                let verdict = Verdict::from(error.clone());
                let message = format!("{}: {verdict}", output::name(path));
                Err(Failure { code: verdict.exit_code(), ..Failure::new(message) })
            }
            (Ok(_), None) => Err(Failure::cannot_check(format_args!("{} has no committees", output::name(path)))),
        }
    }

    fn last_epoch(&self) -> u64 {
        self.chain.current().record().epoch()
    }
}

/// Exit code 0: the bundle is written, or has nothing to gain. 1: the server's committees contradict it, or no new certificate is to be had. 2:
/// the bundle cannot be checked.
pub(super) async fn upgrade(host: &Host, args: UpgradeArgs) -> Result<u8, Failure> {
    let path = args.output.as_deref().unwrap_or(&args.bundle);
    let target = target_to_write(path)?;
    let text = String::from_utf8(read_bundle(&args.bundle)?)
        .map_err(|error| Failure::cannot_check(format_args!("{} is not text: {error}", output::name(&args.bundle))))?;
    // There is one: the argument is required.
    let servers = Servers::new(args.servers.clone()).ok_or_else(|| Failure::cannot_check("no server is named"))?;
    let mut trust = Trust::new(host, servers, &args.trust)?;
    let bundle =
        Bundle::parse(text.as_bytes(), &Limits::default()).map_err(|error| Failure::cannot_check(error.to_string()))?;
    let cluster = trust.pinned.ok_or_else(|| {
        Failure::cannot_check("no cluster identity is trusted").with_note("Name it with --cluster IDENTITY.")
    })?;
    let old = Verified::new(text, cluster, host, &args.bundle)?;
    let tell = |next: &_| output::error_line(format_args!("{}", output::retrying(next)));
    let opened = client::open_known(host, &trust.servers, trust.of_link(), PATIENCE, tell).await;
    let (link, server) = opened.map_err(|error| trust.explain(error))?;
    let shown = link.known_chain().await.map_err(|error| trust.explain(error))?;
    if let ChainComparison::Fork(_) = old.chain.compare(shown) {
        let note =
            "Get a bundle of a newer file from that server and run `vouch compare` on both: it writes the evidence.";
        return Err(Failure::new("the server's committees contradict those of the bundle").with_note(note));
    }
    trust.check(shown)?;
    trust.record(&server, shown).await?;
    let (upgraded, sealing) = match args.renew {
        true => (renewed(host, &link, &old.certificate, &trust).await?, Sealing::NotYet),
        false => {
            let epoch = shown.current().record().epoch();
            let chain = if epoch > old.last_epoch() { BundleChain::new(shown, epoch) } else { bundle.chain };
            let sealing = match bundle.sealed {
                Some(_) => Sealing::Had,
                None => Sealing::of(host, &server, &old, shown).await,
            };
            let sealed = sealing.path().map(SealPath::encode).or(bundle.sealed);
            (Bundle { chain, sealed, ..bundle }, sealing)
        }
    };
    // What is written is what a verifier of it will say.
    let new = Verified::new(upgraded.to_json(), cluster, host, path)?;
    let gains = args.renew || new.last_epoch() > old.last_epoch() || sealing.path().is_some();
    if gains {
        target.write(new.text.as_bytes(), BUNDLE_MODE).map_err(Failure::new)?;
    }
    report(&args, path, (&old, &new), &sealing, gains);
    if let Sealing::Unavailable(why) = &sealing {
        output::error_line(format_args!(
            "the proof that the seal of epoch {} has it is not there: {why}; try again later, or with another server of the cluster",
            new.certificate.epoch
        ));
    }
    Ok(0)
}

/// A bundle of the same file, certified by the current committee.
async fn renewed(host: &Host, link: &PutLink, old: &Certificate, trust: &Trust) -> Result<Bundle, Failure> {
    let receipt = &old.claim.receipt;
    let renewing = link.renew(receipt.digest, receipt.length, receipt.expires_at);
    let certified = host.timeout(PATIENCE, renewing).await;
    let late = |_| Failure::new(format_args!("the cluster certified nothing within {} s", PATIENCE.as_secs()));
    Ok(certified.map_err(late)?.map_err(|error| trust.explain(error))?.bundle)
}

fn report(args: &UpgradeArgs, path: &Path, (old, new): (&Verified, &Verified), sealing: &Sealing, gains: bool) {
    let (before, after) = (old.last_epoch(), new.last_epoch());
    let (epoch, renewed) = (new.certificate.epoch, args.renew);
    if args.json {
        let mut json = json!({ "from_epoch": before, "to_epoch": after, "renewed": renewed, "written": gains });
        (json["epoch"], json["seal"]) = (epoch.into(), sealing.name().into());
        output::put_name(&mut json, "bundle", path);
        return output::json(&json);
    }
    let name = output::name(path);
    if renewed {
        let time = output::time(new.certificate.claim.issued_at);
        return output::line(format_args!(
            "{name} has a new certificate, of epoch {epoch}, certified {time}; the old one was of epoch {}.",
            old.certificate.epoch
        ));
    }
    match after > before {
        true => output::line(format_args!("{name} proves itself up to epoch {after} now; it ended at epoch {before}.")),
        false => output::line(format_args!(
            "{} has all committees that the server knows, up to epoch {before}.",
            output::name(&args.bundle)
        )),
    }
    match sealing {
        Sealing::Added(_) => output::line(format_args!("It proves that the seal of epoch {epoch} has it.")),
        Sealing::Had => output::line(format_args!("It proved already that the seal of epoch {epoch} has it.")),
        Sealing::NotYet => output::line(format_args!(
            "Epoch {epoch}, which certified it, has no seal yet that a committee names: the one of epoch {} will.",
            epoch.saturating_add(2)
        )),
        Sealing::Missing => output::line(format_args!(
            "The seal of epoch {epoch} does not have it, so it will never count as sealed. With --renew, the members certify the file anew."
        )),
        // Said on standard error.
        Sealing::Unavailable(_) => {}
    }
}
