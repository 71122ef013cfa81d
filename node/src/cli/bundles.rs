//! The file for the bundle of a put. It must not destroy an earlier proof.
//!
//! - The default is `<FILE>.vouch`. If that file holds anything but a certificate of the same bytes by the same cluster, the
//!   bundle goes to `<FILE>.2.vouch` and so on: no earlier proof is lost, and neither is the result of the put.
//! - A file named with `--bundle` is not replaced without `--force`.
//! - The bundle never replaces a file that the command reads.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::limits::MAX_BUNDLE;
use vouch_core::report::Inspection;
use vouch_core::session::Certified;

use super::{Failure, PutArgs, output, target_to_write};
use crate::host::files::{self, FileError, FileId, Target};
use crate::host::source::Source;

const MODE: u32 = 0o644;
/// Largest number in a default name.
const MAX_NUMBER: u32 = 999;

/// Every file that a put reads. A bundle must not replace any of them.
pub(super) fn inputs(args: &PutArgs) -> Vec<FileId> {
    let known_clusters = args.trust.known_clusters.as_deref().and_then(FileId::at);
    args.files.iter().filter_map(|file| Source::parse(file).id()).chain(known_clusters).collect()
}

/// The result of a put as JSON.
pub(super) fn as_json(
    certified: &Certified,
    attempts: u32,
    shown: &Inspection,
    bundle: &Path,
) -> Result<Value, Failure> {
    let mut json = serde_json::to_value(shown).map_err(Failure::new)?;
    output::put_name(&mut json, "bundle", bundle);
    json["server"] = certified.server.to_string().into();
    json["reused"] = certified.reused.into();
    json["attempts"] = attempts.into();
    // The first byte that the last attempt sent; 0 if an earlier certificate was reused.
    json["resumed_from"] = certified.resumed_from().into();
    Ok(json)
}

/// Where the bundle of one put goes.
#[derive(Debug, Clone)]
pub(super) struct BundlePlace {
    source: Source,
    named: Option<PathBuf>,
    is_forced: bool,
}

impl BundlePlace {
    pub(super) fn new(source: Source, named: Option<PathBuf>, is_forced: bool) -> Self {
        Self { source, named, is_forced }
    }

    /// Checks, before anything is sent, that the bundle can be written, as far as that is known then. `inputs`: all files that the
    /// command reads.
    pub(super) fn check(&self, inputs: &[FileId]) -> Result<(), Failure> {
        let default = match &self.source {
            Source::File(path) => Some(beside(path, 1)),
            Source::Stdin => None,
        };
        let Some(path) = self.named.as_ref().or(default.as_ref()) else { return Ok(()) };
        let target = target_to_write(path)?;
        if FileId::at(path).is_some_and(|id| inputs.contains(&id)) {
            let name = output::name(path);
            return Err(Failure::new(format_args!(
                "cannot write the bundle to {name}: that is a file to put; name another with --bundle"
            )));
        }
        let is_taken = matches!(target, Target::Regular(_)) && self.named.is_some() && !self.is_forced;
        match (is_taken, &self.source) {
            (true, Source::File(file)) if matches!(Target::at(file), Ok(Target::Regular(_))) => {
                match holder(target.path()) {
                    Some(_) => Ok(()),
                    None => Err(taken(path, "holds no bundle that this program can read")),
                }
            }
            // The digest of a stream is not known until it is sent.
            (true, _) => Err(taken(path, "may hold a certificate of other bytes")),
            (false, _) => Ok(()),
        }
    }

    /// Checks the same once the digest is known, still before anything is sent.
    pub(super) fn check_digest(&self, digest: Digest, cluster: Option<ClusterId>) -> Result<(), Failure> {
        let Some(path) = self.named.as_ref().filter(|_| !self.is_forced) else { return Ok(()) };
        let Ok(Target::Regular(target)) = Target::at(path) else { return Ok(()) };
        match holder(&target) {
            Some((held, by)) if held == digest && cluster.is_none_or(|cluster| cluster == by) => Ok(()),
            Some((held, _)) if held == digest => Err(taken(path, "holds the certificate of another cluster")),
            Some((held, _)) => Err(taken(path, format_args!("holds the certificate of other bytes ({held})"))),
            None => Err(taken(path, "holds no bundle that this program can read")),
        }
    }

    /// Writes the bundle. Returns its path.
    pub(super) fn write(&self, certified: &Certified) -> Result<PathBuf, Failure> {
        let bytes = certified.bundle.to_json();
        self.place(certified, bytes.as_bytes()).map_err(|why| {
            Failure::new(format_args!("the file is certified, but its bundle could not be written: {}", why.message))
                .with_note("Put the file again, with --bundle FILE or with --force.")
        })
    }

    /// Why the bundle's name has a number, if it has one.
    pub(super) fn kept(&self, bundle: &Path) -> Option<String> {
        let Source::File(file) = &self.source else { return None };
        let default = beside(file, 1);
        let is_numbered = self.named.is_none() && bundle != default;
        is_numbered.then(|| format!("{} is kept: it holds something else", output::name(&default)))
    }

    fn place(&self, certified: &Certified, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let digest = certified.certificate.claim.receipt.digest;
        let ours = (digest, certified.committee().cluster());
        for number in 1..=MAX_NUMBER {
            let path = match (&self.named, &self.source) {
                (Some(named), _) => named.clone(),
                (None, Source::File(file)) => beside(file, number),
                (None, Source::Stdin) => beside(Path::new(&digest.to_string()), number),
            };
            let target = target_to_write(&path)?;
            let is_free = match &target {
                Target::Regular(held) => self.is_forced || holder(held) == Some(ours),
                _ => true,
            };
            let written = match is_free {
                true => target.write(bytes, MODE),
                false => Err(FileError::Exists { path: path.clone() }),
            };
            match written {
                Ok(()) => return Ok(path),
                // Taken, perhaps by another process just now.
                Err(FileError::Exists { .. }) if self.named.is_none() => {}
                Err(FileError::Exists { .. }) => return Err(taken(&path, "holds something else by now")),
                Err(error) => return Err(Failure::new(error)),
            }
        }
        Err(Failure::new(format_args!("all names up to {MAX_NUMBER} are taken")))
    }
}

/// The digest that a bundle certifies, and its cluster. `None` if the file is not a bundle that this program can read.
fn holder(path: &Path) -> Option<(Digest, ClusterId)> {
    let bytes = files::read_all(path, MAX_BUNDLE).ok()?;
    let shown = Inspection::of_bundle(&bytes).ok()?;
    Some((shown.digest.parse().ok()?, shown.cluster))
}

fn taken(path: &Path, what: impl std::fmt::Display) -> Failure {
    let name = output::name(path);
    Failure::new(format_args!("{name} exists and {what}; name another file with --bundle, or replace it with --force"))
}

/// The bundle's default name: `<FILE>.vouch`, then `<FILE>.2.vouch` and so on.
fn beside(file: &Path, number: u32) -> PathBuf {
    let mut name: OsString = file.as_os_str().to_owned();
    match number {
        1 => name.push(".vouch"),
        number => name.push(format!(".{number}.vouch")),
    }
    name.into()
}
