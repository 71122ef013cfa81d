//! The operator's key, in a file of its own: it signs changes of members, and lives with the operator, not with a server or a replica.
//!
//! The file is text of three parts: a line with the format's name, a line with the public key, and the secret key as 64 hexadecimal
//! digits, either in a line of its own or encrypted as in [`age`]. So the public key can be shown without the passphrase.

use std::path::{Path, PathBuf};

use thiserror::Error;
use vouch_core::bls::{BlsError, VoteKey, VoteSecretKey};
use vouch_core::committee::{OperatorKeyParseError, parse_operator_key};
use zeroize::Zeroizing;

use crate::age::{self, AgeError};
use crate::host::Host;
use crate::host::files::FileError;

const FORMAT: &str = "vouch operator key 1";
const PUBLIC: &str = "public key ";
const SECRET: &str = "secret key ";
/// Only the owner may read and write.
const MODE: u32 = 0o600;
/// The permission bits of everybody else.
const OTHERS: u32 = 0o077;
const DIGITS: usize = 64;
/// Maximum size that is read: more than a key needs, so that the error can say what is wrong with another file.
const LIMIT: usize = 16_384;

/// Why an operator's key cannot be used. No error shows any part of the secret.
#[derive(Debug, Clone, Error)]
pub enum OperatorKeyError {
    /// The file exists already. It is never replaced.
    #[error("{path} exists already, and a key is never replaced; name another file with --key")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("there is no key in {path}; name the file with --key, or create a key with `vouch operator init`")]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read or write the file.
    #[error("{path}: expected a file that only its owner can read, got mode {mode:04o}; run: chmod 600 '{path}'")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file has another format.
    #[error("{path}: expected {expected}; is it the file that `vouch operator init` made?")]
    Format {
        /// The file.
        path: PathBuf,
        /// What was expected.
        expected: String,
    },
    /// The public key in the file is malformed.
    #[error("{path}: {cause}")]
    Public {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: OperatorKeyParseError,
    },
    /// The secret key is not valid.
    #[error("{path}: {cause}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: BlsError,
    },
    /// The public key in the file is not that of the secret key.
    #[error("{path}: expected the public key {expected}, got {got}; the file was altered, restore it from a copy")]
    AnotherPublic {
        /// The file.
        path: PathBuf,
        /// That of the secret key.
        expected: VoteKey,
        /// The one in the file.
        got: VoteKey,
    },
    /// The key is encrypted, and cannot be decrypted.
    #[error("{path}: {cause}")]
    Encrypted {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: AgeError,
    },
    /// The file could not be read or created.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The secret key as the file has it.
#[derive(Debug)]
enum StoredSecret {
    /// Its digits.
    Plain(Zeroizing<String>),
    /// An armored text.
    Encrypted(String),
}

/// What the file of an operator's key holds.
#[derive(Debug)]
pub struct OperatorKeyFile {
    path: PathBuf,
    public: VoteKey,
    secret: StoredSecret,
}

impl OperatorKeyFile {
    /// Makes a new key and its file, which must not exist. With a passphrase, the secret key is encrypted.
    ///
    /// # Errors
    /// See [`OperatorKeyError`].
    pub fn create(host: &Host, path: &Path, passphrase: Option<&str>) -> Result<VoteKey, OperatorKeyError> {
        // before a passphrase is turned into a key, which takes a second
        if host.disk().exists(path)? {
            return Err(OperatorKeyError::Exists { path: path.to_owned() });
        }
        let random = Zeroizing::new(host.random());
        let secret = VoteSecretKey::generate(&random)
            .map_err(|cause| OperatorKeyError::Secret { path: path.to_owned(), cause })?;
        let public = secret.vote_key();
        let bytes = Zeroizing::new(secret.to_bytes());
        let digits = Zeroizing::new(base16ct::lower::encode_string(&*bytes));
        let last = match passphrase {
            None => Zeroizing::new(format!("{SECRET}{}\n", *digits)),
            Some(passphrase) => {
                let line = Zeroizing::new(format!("{}\n", *digits));
                let random = Zeroizing::new(host.random());
                let encrypted = age::encrypt(line.as_bytes(), passphrase, &random);
                let refused = |cause| OperatorKeyError::Encrypted { path: path.to_owned(), cause };
                Zeroizing::new(encrypted.map_err(refused)?)
            }
        };
        let text = Zeroizing::new(format!("{FORMAT}\n{PUBLIC}{public}\n{}", *last));
        match host.disk().create_new_durably(path, text.as_bytes(), MODE) {
            Err(FileError::Exists { path }) => Err(OperatorKeyError::Exists { path }),
            other => Ok(other.map(|()| public)?),
        }
    }

    /// Reads the file. A secret key that is not encrypted is checked, too.
    ///
    /// # Errors
    /// See [`OperatorKeyError`].
    pub fn read(host: &Host, path: &Path) -> Result<Self, OperatorKeyError> {
        let text = read_secret(host, path, LIMIT).map_err(|error| match error {
            OperatorKeyError::File(FileError::NotFound { path }) => OperatorKeyError::Absent { path },
            other => other,
        })?;
        let path = path.to_owned();
        let format = |expected: String| OperatorKeyError::Format { path: path.clone(), expected };
        let rest = text.strip_prefix(FORMAT).and_then(|rest| rest.strip_prefix('\n'));
        let rest = rest.ok_or_else(|| format(format!("the first line `{FORMAT}`")))?;
        let public = rest.strip_prefix(PUBLIC).and_then(|rest| rest.split_once('\n'));
        let (public, rest) = public.ok_or_else(|| format(format!("a second line `{PUBLIC}KEY`")))?;
        let public =
            parse_operator_key(public).map_err(|cause| OperatorKeyError::Public { path: path.clone(), cause })?;
        let secret = match rest.strip_prefix(SECRET) {
            Some(digits) => StoredSecret::Plain(Zeroizing::new(digits.to_owned())),
            None if rest.starts_with(age::BEGIN) => StoredSecret::Encrypted(rest.to_owned()),
            None => {
                return Err(format(format!("a third line `{SECRET}KEY`, or a text that begins with `{}`", age::BEGIN)));
            }
        };
        let file = Self { path, public, secret };
        if let StoredSecret::Plain(digits) = &file.secret {
            file.key_of(digits.as_bytes())?;
        }
        Ok(file)
    }

    /// The public key.
    pub fn public(&self) -> VoteKey {
        self.public
    }

    /// Whether the secret key needs a passphrase.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.secret, StoredSecret::Encrypted(_))
    }

    /// The secret key. `passphrase` is called if it is encrypted.
    ///
    /// # Errors
    /// See [`OperatorKeyError`], or that of `passphrase`.
    pub fn secret<E: From<OperatorKeyError>>(
        &self,
        passphrase: impl FnOnce() -> Result<Zeroizing<String>, E>,
    ) -> Result<VoteSecretKey, E> {
        let digits = match &self.secret {
            StoredSecret::Plain(digits) => return Ok(self.key_of(digits.as_bytes())?),
            StoredSecret::Encrypted(text) => {
                let refused = |cause| OperatorKeyError::Encrypted { path: self.path.clone(), cause };
                age::decrypt(text, &passphrase()?).map_err(refused)?
            }
        };
        Ok(self.key_of(&digits)?)
    }

    /// The key of a line of digits.
    fn key_of(&self, line: &[u8]) -> Result<VoteSecretKey, OperatorKeyError> {
        let path = || self.path.clone();
        let digits = line.strip_suffix(b"\n").unwrap_or(line);
        let mut bytes = Zeroizing::new([0; 32]);
        if digits.len() != DIGITS || base16ct::mixed::decode(digits, &mut *bytes).is_err() {
            let expected = format!("a secret key of {DIGITS} hexadecimal digits");
            return Err(OperatorKeyError::Format { path: path(), expected });
        }
        let secret =
            VoteSecretKey::from_bytes(&bytes).map_err(|cause| OperatorKeyError::Secret { path: path(), cause })?;
        let expected = secret.vote_key();
        if expected != self.public {
            return Err(OperatorKeyError::AnotherPublic { path: path(), expected, got: self.public });
        }
        Ok(secret)
    }
}

/// The text of a file that only its owner can read.
fn read_secret(host: &Host, path: &Path, limit: usize) -> Result<Zeroizing<String>, OperatorKeyError> {
    let (bytes, mode) = host.disk().read(path, limit)?;
    let bytes = Zeroizing::new(bytes);
    if mode & OTHERS != 0 {
        return Err(OperatorKeyError::Exposed { path: path.to_owned(), mode });
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(OperatorKeyError::Format { path: path.to_owned(), expected: "text in UTF-8".into() }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PASSPHRASE: &str = "correct horse battery staple";

    fn never() -> Result<Zeroizing<String>, OperatorKeyError> {
        panic!("the key is not encrypted")
    }

    fn with(text: &str, mode: u32) -> Result<OperatorKeyFile, OperatorKeyError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let read = OperatorKeyFile::read(&Host::system(), &path);
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "the file is left as it is");
        read
    }

    /// A key's file without encryption.
    fn plain(secret: u8, public: u8) -> String {
        let [secret, public] = [secret, public].map(|seed| VoteSecretKey::generate(&[seed; 32]).unwrap());
        let digits = base16ct::lower::encode_string(&secret.to_bytes());
        format!("{FORMAT}\n{PUBLIC}{}\n{SECRET}{digits}\n", public.vote_key())
    }

    #[test]
    fn a_key_is_created_once_and_found_again() {
        let (folder, host) = (tempfile::tempdir().unwrap(), Host::system());
        for (name, passphrase) in [("plain", None), ("encrypted", Some(PASSPHRASE))] {
            let path = folder.path().join(name);
            let public = OperatorKeyFile::create(&host, &path, passphrase).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
            let file = OperatorKeyFile::read(&host, &path).unwrap();
            assert_eq!((file.public(), file.is_encrypted()), (public, passphrase.is_some()));
            let right = || Ok::<_, OperatorKeyError>(Zeroizing::new(PASSPHRASE.to_owned()));
            let secret = if passphrase.is_some() { file.secret(right) } else { file.secret(never) }.unwrap();
            assert_eq!(secret.vote_key(), public);
            let digits = base16ct::lower::encode_string(&secret.to_bytes());
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text.contains(&digits), passphrase.is_none(), "{text}");
            let again = OperatorKeyFile::create(&host, &path, passphrase).unwrap_err();
            assert!(matches!(again, OperatorKeyError::Exists { .. }), "{again}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let file = OperatorKeyFile::read(&host, &folder.path().join("encrypted")).unwrap();
        let refused =
            file.secret(|| Ok::<_, OperatorKeyError>(Zeroizing::new("correct horse".to_owned()))).unwrap_err();
        assert!(matches!(refused, OperatorKeyError::Encrypted { cause: AgeError::Passphrase, .. }), "{refused}");
    }

    #[test]
    fn a_file_that_others_can_read_or_write_is_refused() {
        assert!(with(&plain(1, 1), 0o400).is_ok());
        for wide in [0o640, 0o604, 0o620, 0o644] {
            let error = with(&plain(1, 1), wide).unwrap_err();
            assert!(matches!(error, OperatorKeyError::Exposed { mode, .. } if mode == wide), "{error}");
            assert!(error.to_string().contains("chmod 600 '"), "{error}");
        }
    }

    #[test]
    fn malformed_files_are_refused() {
        let good = plain(1, 1);
        let format = |text: &str| match with(text, 0o600).unwrap_err() {
            OperatorKeyError::Format { expected, .. } => expected,
            other => panic!("{other}"),
        };
        assert!(format("").contains("first line"));
        assert!(format(&good.replace("key 1", "key 2")).contains("first line"));
        assert!(format(&good.replace("public", "other")).contains("second line"));
        assert!(format(&good.replace("secret", "other")).contains("third line"));
        assert!(format(&good[..good.len() - 2]).contains("64 hexadecimal digits"));
        assert!(format(&format!("{good}more")).contains("64 hexadecimal digits"));
        let bad_public = with(&good.replace(PUBLIC, "public key 0"), 0o600).unwrap_err();
        assert!(matches!(bad_public, OperatorKeyError::Public { .. }), "{bad_public}");
        let above_order = format!("{}{}\n", &good[..good.len() - 65], "f".repeat(64));
        let cause = with(&above_order, 0o600).unwrap_err();
        assert!(matches!(cause, OperatorKeyError::Secret { cause: BlsError::SecretKey, .. }), "{cause}");
    }

    #[test]
    fn another_public_key_in_the_file_is_noticed() {
        let error = with(&plain(1, 2), 0o600).unwrap_err();
        assert!(matches!(error, OperatorKeyError::AnotherPublic { .. }), "{error}");
        // of an encrypted key, once it is decrypted
        let (folder, host) = (tempfile::tempdir().unwrap(), Host::system());
        let path = folder.path().join("operator.key");
        let public = OperatorKeyFile::create(&host, &path, Some(PASSPHRASE)).unwrap();
        let other = VoteSecretKey::generate(&[2; 32]).unwrap().vote_key();
        let text = fs::read_to_string(&path).unwrap().replace(&public.to_string(), &other.to_string());
        fs::write(&path, text).unwrap();
        let file = OperatorKeyFile::read(&host, &path).unwrap();
        let error = file.secret(|| Ok::<_, OperatorKeyError>(Zeroizing::new(PASSPHRASE.to_owned()))).unwrap_err();
        assert!(matches!(error, OperatorKeyError::AnotherPublic { got, .. } if got == other), "{error}");
    }
}
