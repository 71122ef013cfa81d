//! The names of a blob's files or objects.

use vouch_core::digest::Digest;

/// Mode of the folders that a store creates.
pub(in super::super) const FOLDER_MODE: u32 = 0o700;
/// Suffix of outboards: BLAKE3's tree in post-order, in groups of 16 KiB, without a length header.
pub(super) const OUTBOARD: &str = ".obao";

/// The digest in the name of a file or object. `None` if the name is not one of this store.
pub(super) fn digest_of(name: &str) -> Option<Digest> {
    let hex = name.strip_suffix(OUTBOARD).unwrap_or(name);
    hex.parse::<Digest>().ok().filter(|digest| digest.to_hex() == hex)
}
