//! A node's secret keys, one file each: 64 hexadecimal digits and a line feed, or sealed under a passphrase.

mod epoch_keys;
mod protection;
#[cfg(test)]
mod protection_tests;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use vouch_core::bls::{BlsError, VoteSecretKey};
use vouch_core::link::NodeSecretKey;
use zeroize::Zeroizing;

use crate::age::AgeError;
use crate::host::Host;
use crate::host::disk::Disk;
use crate::host::files::FileError;
use crate::log::unused;
use crate::passphrase::PassphraseError;
pub use epoch_keys::{EpochVoteKey, VoteKeys, vote_key_name};
pub(crate) use protection::copy_protection;
use protection::{Protection, SealedKey};
pub use protection::{change_passphrase, is_protected, protect, unprotect};

pub(crate) const NODE_KEY: &str = "node.key";
pub(crate) const VOTE_KEY: &str = "vote.key";
/// Only the owner may read and write.
const MODE: u32 = 0o600;
/// The permission bits of everybody else.
const OTHERS: u32 = 0o077;
const DIGITS: usize = 64;

/// A key's bytes, which are overwritten when they are not needed any more.
type Secret = Zeroizing<[u8; 32]>;
/// Maximum size that is read: more than a key needs, so that the error can name the size of a wrong file.
const LIMIT: usize = 4096;

/// Why a key cannot be used. No error shows any part of the key.
#[derive(Debug, Clone, Error)]
pub enum KeyError {
    /// Others than the owner may read or write the file.
    #[error("{path}: expected a key that only its owner can read, got mode {mode:04o}; run: chmod 600 '{path}'")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others than the owner may enter the folder.
    #[error(
        "{path}: expected a folder that only its owner can enter, because it holds keys; got mode {mode:04o}; run: chmod 700 '{path}'"
    )]
    ExposedFolder {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not one line of the right length.
    #[error("{path}: expected {DIGITS} hexadecimal digits and a line feed, got {got} bytes")]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes, without the line feed.
        got: usize,
    },
    /// A character is not a hexadecimal digit.
    #[error("{path}: expected a hexadecimal digit at position {position}, got another character")]
    NotHex {
        /// The file.
        path: PathBuf,
        /// Position of the character, from 0.
        position: usize,
    },
    /// The digits are not a valid key.
    #[error("{path}: {cause}")]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: BlsError,
    },
    /// The wrapping key cannot be decrypted.
    #[error("{path}: {cause}")]
    Wrapping {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: AgeError,
    },
    /// A sealed key is not what was sealed under this name.
    #[error(
        "{path}: the encrypted key was altered, or is another folder's; restore it from a backup, together with keys.age"
    )]
    Sealed {
        /// The file.
        path: PathBuf,
    },
    /// A key is sealed, and the wrapping key is not here.
    #[error("{path}: the key is encrypted, and {expected} is missing; restore it from a backup")]
    NoWrapping {
        /// The file.
        path: PathBuf,
        /// The file with the wrapping key.
        expected: PathBuf,
    },
    /// Nobody knows the passphrase.
    #[error("the keys in {folder} are under a passphrase; name a file that holds it with --passphrase-file FILE")]
    NoPassphrase {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder's keys are plain.
    #[error("the keys in {folder} are under no passphrase; put them under one with `vouch keys protect`")]
    NotProtected {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The file could not be read or created.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The secret keys of a replica.
#[derive(Debug)]
pub struct ReplicaKeys {
    /// The node key, for links.
    pub node: Arc<NodeSecretKey>,
    /// The vote key of the genesis, `vote.key`. If it was erased, the oldest one.
    pub vote: VoteSecretKey,
    /// All vote keys, for statements.
    pub votes: VoteKeys,
}

impl ReplicaKeys {
    /// Reads `node.key` and the vote keys in `folder`. Creates a missing `node.key`, and `vote.key` if there is no vote key. A new node key gets the mark that its log was never used.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn open_or_create(host: &Host, folder: &Path) -> Result<Self, KeyError> {
        let protection = Protection::open(host, folder)?;
        let bytes = read_or_create(host, &protection, folder, NODE_KEY, || {
            let bytes = Secret::new(host.random());
            unused::mark(host.disk(), folder, &NodeSecretKey::from_bytes(&bytes).node_key())?;
            Ok(bytes)
        })?;
        let node = Arc::new(NodeSecretKey::from_bytes(&bytes));
        let votes = VoteKeys::open_or_create(host, protection, folder)?;
        let path = folder.join(VOTE_KEY);
        // There is always one.
        let oldest = Secret::new(votes.oldest().map_or([0; 32], |oldest| oldest.secret.to_bytes()));
        Ok(Self { node, vote: read_vote_key(&path, &oldest)?, votes })
    }
}

/// Reads `node.key` in `folder`, or creates it.
///
/// # Errors
/// See [`KeyError`].
pub fn open_or_create_node_key(host: &Host, folder: &Path) -> Result<NodeSecretKey, KeyError> {
    let protection = Protection::open(host, folder)?;
    let bytes = read_or_create(host, &protection, folder, NODE_KEY, || Ok(Secret::new(host.random())))?;
    Ok(NodeSecretKey::from_bytes(&bytes))
}

fn read_vote_key(path: &Path, bytes: &[u8; 32]) -> Result<VoteSecretKey, KeyError> {
    VoteSecretKey::from_bytes(bytes).map_err(|cause| KeyError::Value { path: path.to_owned(), cause })
}

fn read_or_create(
    host: &Host,
    protection: &Protection,
    folder: &Path,
    name: &str,
    make: impl FnOnce() -> Result<Secret, KeyError>,
) -> Result<Secret, KeyError> {
    let disk = host.disk();
    check_folder(disk, folder)?;
    let path = &folder.join(name);
    match disk.read(path, LIMIT) {
        Ok((text, mode)) => {
            let bytes = protection.open_key(path, parse(path, &Zeroizing::new(text), mode)?)?;
            // The process that created it may have ended before its name was durable.
            disk.sync_folder(folder)?;
            Ok(bytes)
        }
        Err(FileError::NotFound { .. }) => {
            let bytes = make()?;
            let line = protection.text_of(host, name, &bytes)?;
            // A node must never use a key that a loss of power may take away.
            disk.create_new_durably(path, line.as_bytes(), MODE)?;
            Ok(bytes)
        }
        Err(error) => Err(error.into()),
    }
}

/// Checks that nobody but its owner can enter a folder with keys.
///
/// # Errors
/// [`KeyError::ExposedFolder`], [`KeyError::File`].
pub fn check_folder(disk: &dyn Disk, folder: &Path) -> Result<(), KeyError> {
    let mode = disk.mode(folder)?;
    if mode & OTHERS != 0 {
        return Err(KeyError::ExposedFolder { path: folder.to_owned(), mode });
    }
    Ok(())
}

/// A key file that was checked.
#[derive(Debug)]
pub struct CheckedKey {
    /// The file.
    pub path: PathBuf,
    /// Why it cannot be used, if it cannot.
    pub result: Result<(), KeyError>,
}

/// The key files in a folder, each checked as at a start. Makes none.
///
/// # Errors
/// The folder cannot be read.
pub fn check_keys(disk: &dyn Disk, folder: &Path) -> Result<Vec<CheckedKey>, FileError> {
    let names = disk.list(folder)?.into_iter().filter(|name| is_key(name));
    Ok(names
        .map(|name| {
            let path = folder.join(name);
            let checked = disk.read(&path, LIMIT).map_err(KeyError::from);
            let checked = checked.and_then(|(text, mode)| parse(&path, &Zeroizing::new(text), mode).map(drop));
            CheckedKey { path, result: checked }
        })
        .collect())
}

/// A key as its file has it.
enum StoredKey {
    Plain(Secret),
    Sealed(Box<SealedKey>),
}

/// The line of a plain key.
fn line_of(key: &Secret) -> Zeroizing<String> {
    let digits = Zeroizing::new(base16ct::lower::encode_string(&**key));
    Zeroizing::new(format!("{}\n", *digits))
}

/// Whether a file of this name is a key.
fn is_key(name: &OsStr) -> bool {
    name == NODE_KEY || epoch_keys::epoch_of(name).is_some()
}

fn parse(path: &Path, text: &[u8], mode: u32) -> Result<StoredKey, KeyError> {
    if mode & OTHERS != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    match text.strip_prefix(protection::SEALED) {
        None => parse_line(path, text).map(StoredKey::Plain),
        Some(sealed) => {
            let sealed = protection::sealed_of(sealed).ok_or_else(|| KeyError::Sealed { path: path.to_owned() })?;
            Ok(StoredKey::Sealed(sealed))
        }
    }
}

/// The key in a line of digits.
fn parse_line(path: &Path, text: &[u8]) -> Result<Secret, KeyError> {
    let path = || path.to_owned();
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    if digits.len() != DIGITS {
        return Err(KeyError::Size { path: path(), got: digits.len() });
    }
    let mut bytes = Secret::new([0; 32]);
    let not_hex = |position| KeyError::NotHex { path: path(), position };
    if let Some(position) = digits.iter().position(|byte| !byte.is_ascii_hexdigit()) {
        return Err(not_hex(position));
    }
    base16ct::mixed::decode(digits, &mut *bytes).map_err(|_| not_hex(0))?;
    Ok(bytes)
}

/// A folder that keys can be in.
#[cfg(test)]
pub(crate) fn private_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;

    let mode = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(mode).tempdir().expect("a folder")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with_node_key(text: &[u8], mode: u32) -> KeyError {
        let folder = private_folder();
        let path = folder.path().join(NODE_KEY);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = ReplicaKeys::open_or_create(&Host::system(), folder.path()).unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert_eq!(fs::read(&path).unwrap(), text, "a key that is refused is left as it is");
        error
    }

    #[test]
    fn keys_are_created_once_and_found_again() {
        let folder = private_folder();
        let made = ReplicaKeys::open_or_create(&Host::system(), folder.path()).unwrap();
        let found = ReplicaKeys::open_or_create(&Host::system(), folder.path()).unwrap();
        assert_eq!(made.node.node_key(), found.node.node_key());
        assert_eq!(made.vote.vote_key(), found.vote.vote_key());
        let node = open_or_create_node_key(&Host::system(), folder.path()).unwrap();
        assert_eq!(node.node_key(), made.node.node_key());
    }

    #[test]
    fn a_server_creates_only_a_node_key() {
        let folder = private_folder();
        open_or_create_node_key(&Host::system(), folder.path()).unwrap();
        assert_eq!(Host::system().disk().list(folder.path()).unwrap(), [NODE_KEY]);
    }

    #[test]
    fn the_files_have_one_line_and_only_the_owner_can_read_them() {
        let folder = private_folder();
        ReplicaKeys::open_or_create(&Host::system(), folder.path()).unwrap();
        assert_eq!(Host::system().disk().list(folder.path()).unwrap(), [unused::UNUSED, NODE_KEY, VOTE_KEY]);
        for name in [NODE_KEY, VOTE_KEY] {
            let path = folder.path().join(name);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.len() == 65 && text.ends_with('\n'), "{text:?}");
        }
    }

    #[test]
    fn keys_that_others_can_read_or_write_are_refused() {
        let text = format!("{}\n", "11".repeat(32));
        for mode in [0o640, 0o604, 0o620, 0o644] {
            let error = with_node_key(text.as_bytes(), mode);
            assert!(matches!(error, KeyError::Exposed { mode: got, .. } if got == mode));
            assert!(error.to_string().contains("chmod 600 '"), "{error}");
        }
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused_before_a_key_is_made_or_read() {
        for mode in [0o750, 0o705, 0o711, 0o755] {
            let folder = private_folder();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = open_or_create_node_key(&Host::system(), folder.path()).map(drop).unwrap_err();
            assert!(matches!(error, KeyError::ExposedFolder { mode: got, .. } if got == mode), "{error}");
            assert!(error.to_string().contains("chmod 700 '"), "{error}");
            assert_eq!(Host::system().disk().list(folder.path()).unwrap(), [""; 0]);
        }
    }

    #[test]
    fn malformed_keys_are_refused() {
        let size = |text: &[u8]| match with_node_key(text, 0o600) {
            KeyError::Size { got, .. } => got,
            other => panic!("{other}"),
        };
        assert_eq!(size(b""), 0);
        assert_eq!(size("1".repeat(63).as_bytes()), 63);
        assert_eq!(size(format!("{}\n\n", "1".repeat(64)).as_bytes()), 65);
        assert_eq!(size(&[b'1'; 128]), 128);
        assert!(matches!(with_node_key(&[b'1'; 5000], 0o600), KeyError::File(FileError::TooLarge { .. })));
        let garbage = format!("{}g{}\n", "1".repeat(7), "1".repeat(56));
        assert!(matches!(with_node_key(garbage.as_bytes(), 0o600), KeyError::NotHex { position: 7, .. }));
        assert!(matches!(with_node_key(&[0xFF; 64], 0o600), KeyError::NotHex { position: 0, .. }));
    }

    #[test]
    fn a_vote_key_must_be_below_the_group_order() {
        let folder = private_folder();
        let path = folder.path().join(VOTE_KEY);
        Host::system().disk().create_new_durably(&path, &[b'f'; 64], MODE).unwrap();
        let error = ReplicaKeys::open_or_create(&Host::system(), folder.path()).unwrap_err();
        assert!(matches!(error, KeyError::Value { cause: BlsError::SecretKey, path: got } if got == path));
    }
}
