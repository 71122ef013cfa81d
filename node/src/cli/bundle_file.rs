//! The file for a bundle that a command makes, if the user named one.

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Failure, output, target_to_write};
use crate::host::files::{FileError, Target};

const BUNDLE_MODE: u32 = 0o644;

/// The file, if there is to be one.
pub(super) struct BundleFile<'a>(Option<(&'a Path, Target)>);

impl<'a> BundleFile<'a> {
    /// Checks before the work that the file can be written.
    pub(super) fn new(path: Option<&'a Path>, is_forced: bool) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self(None)) };
        let target = target_to_write(path)?;
        if matches!(target, Target::Regular(_)) && !is_forced {
            let name = output::name(path);
            return Err(Failure::new(format_args!(
                "{name} exists; name another file with -o, or replace it with --force"
            )));
        }
        Ok(Self(Some((path, target))))
    }

    pub(super) fn write(&self, bundle: &[u8]) -> Result<(), FileError> {
        self.0.as_ref().map_or(Ok(()), |(_, target)| target.write(bundle, BUNDLE_MODE))
    }

    /// What the bundle is of, as JSON, with the file's name.
    pub(super) fn named(&self, shown: &impl Serialize) -> Result<Value, Failure> {
        let mut json = serde_json::to_value(shown).map_err(Failure::new)?;
        json["bundle"] = json!(null);
        if let Some((path, _)) = &self.0 {
            output::put_name(&mut json, "bundle", path);
        }
        Ok(json)
    }
}
