//! A token in a file of its own, with its holder.
//!
//! The file is text: comments that say whose token it is, and the secret in a line of its own.

use std::path::{Path, PathBuf};

use thiserror::Error;
use vouch_core::access::{ParseTokenError, TokenSecret};
use vouch_core::digest::ClusterId;
use zeroize::Zeroizing;

use crate::host::Host;
use crate::host::files::FileError;

/// Only the owner may read and write.
const MODE: u32 = 0o600;
/// The permission bits of everybody else.
const OTHERS: u32 = 0o077;
/// Maximum size that is read.
const LIMIT: usize = 16_384;

/// Why a token's file cannot be used. No error shows any part of the secret.
#[derive(Debug, Clone, Error)]
pub enum TokenFileError {
    /// The file exists already. It is never replaced.
    #[error("{path} exists already, and a token is never replaced; name another file with --out")]
    Exists {
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
    /// The file does not have one secret.
    #[error(
        "{path}: expected one line with the secret of a token, got {got}; is it the file that `vouch token new` made?"
    )]
    Lines {
        /// The file.
        path: PathBuf,
        /// The number of lines that are no comments.
        got: usize,
    },
    /// The line is no secret.
    #[error("{path}: {cause}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: ParseTokenError,
    },
    /// The file could not be read or created.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Makes a token and its file, which must not exist.
///
/// # Errors
/// See [`TokenFileError`].
pub fn create(host: &Host, path: &Path, name: &str, cluster: &ClusterId) -> Result<TokenSecret, TokenFileError> {
    let random = Zeroizing::new(host.random());
    let secret = TokenSecret::from_bytes(&random);
    let line = Zeroizing::new(TokenSecret::text_of(&random));
    let text = Zeroizing::new(format!(
        "# A token of Vouch. Anyone with this file can put and read in its holder's name.\n\
         # name        {name}\n\
         # cluster     {cluster}\n\
         # public key  {}\n\
         {}\n",
        secret.key(),
        *line
    ));
    match host.disk().create_new_durably(path, text.as_bytes(), MODE) {
        Ok(()) => Ok(secret),
        Err(FileError::Exists { .. }) => Err(TokenFileError::Exists { path: path.to_owned() }),
        Err(error) => Err(error.into()),
    }
}

/// Reads a token's file.
///
/// # Errors
/// See [`TokenFileError`].
pub fn read(host: &Host, path: &Path) -> Result<TokenSecret, TokenFileError> {
    let (bytes, mode) = host.disk().read(path, LIMIT)?;
    let bytes = Zeroizing::new(bytes);
    if mode & OTHERS != 0 {
        return Err(TokenFileError::Exposed { path: path.to_owned(), mode });
    }
    let secret = |cause| TokenFileError::Secret { path: path.to_owned(), cause };
    let text = std::str::from_utf8(&bytes).map_err(|_| secret(ParseTokenError))?;
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    match lines.as_slice() {
        [line] => line.parse().map_err(secret),
        lines => Err(TokenFileError::Lines { path: path.to_owned(), got: lines.len() }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_read_from_the_file_that_was_made_and_never_replaced() {
        let (host, folder) = (Host::system(), tempfile::tempdir().unwrap());
        let path = folder.path().join("alice.token");
        let made = create(&host, &path, "alice", &ClusterId([1; 32])).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, MODE);
        assert_eq!(read(&host, &path).unwrap().key(), made.key());
        let again = create(&host, &path, "alice", &ClusterId([1; 32]));
        assert!(matches!(again, Err(TokenFileError::Exists { .. })));
        assert_eq!(read(&host, &path).unwrap().key(), made.key());
    }

    #[test]
    fn a_file_that_others_can_read_or_that_has_no_secret_is_refused_and_not_shown() {
        let (host, folder) = (Host::system(), tempfile::tempdir().unwrap());
        let path = folder.path().join("token");
        let secret = TokenSecret::text_of(&[7; 32]);
        let with = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read(&host, &path)
        };
        assert!(with(&format!("\n  {secret}\n# end"), 0o600).is_ok());
        for mode in [0o640, 0o604, 0o622] {
            assert!(matches!(with(&secret, mode), Err(TokenFileError::Exposed { mode: got, .. }) if got == mode));
        }
        let twice = format!("{secret}\n{secret}\n");
        let cut = &secret[..secret.len() - 4];
        for (text, lines) in [("", Some(0)), ("# none", Some(0)), (&twice, Some(2)), (cut, None), ("\u{e9}", None)] {
            let error = with(text, 0o600).unwrap_err();
            match lines {
                Some(lines) => assert!(matches!(error, TokenFileError::Lines { got, .. } if got == lines), "{error}"),
                None => assert!(matches!(error, TokenFileError::Secret { .. }), "{error}"),
            }
            assert!(!error.to_string().contains(&secret[12..20]), "{error}");
        }
    }
}
