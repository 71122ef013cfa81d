//! Passphrases: from a file, from a service manager, or typed at a terminal. Each is erased from memory after its use.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use console::Term;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::host::Host;
use crate::host::files::FileError;

/// The permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;
/// The permission bits of those who are neither the owner nor in the group. systemd gives a service its credentials by an access list, whose
/// mask shows up as bits of the group, in a folder that only the service can enter.
const STRANGERS: u32 = 0o007;
/// Maximum size of a file with a passphrase.
const LIMIT: usize = 4096;
/// The name of the credential with the passphrase of a node's keys.
const CREDENTIAL: &str = "vouch-passphrase";

/// Why there is no passphrase. No error shows any part of one.
#[derive(Debug, Clone, Error)]
pub enum PassphraseError {
    /// Others than the owner may read or write the file.
    #[error("{path}: expected a file that only its owner can read, got mode {mode:04o}; run: chmod 600 '{path}'")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is no text.
    #[error("{path}: expected a passphrase in UTF-8")]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// A passphrase has no characters.
    #[error("expected a passphrase, got an empty line")]
    Empty,
    /// Nobody can be asked.
    #[error("there is no terminal at which to ask for the passphrase; name a file with --passphrase-file FILE")]
    NoTerminal,
    /// The terminal failed.
    #[error("cannot read from the terminal: {0}")]
    Terminal(String),
    /// Two new ones, typed one after the other, differ.
    #[error("the two passphrases differ; nothing was changed, run the command again")]
    Differ,
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Where the passphrase of keys is from. It is read when it is needed, and not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PassphraseSource {
    /// Nobody knows it.
    #[default]
    None,
    /// The first line of a file that only its owner can read.
    File(PathBuf),
    /// The first line of a credential that a service manager gave this process.
    Credential(PathBuf),
    /// Somebody types it.
    Terminal,
}

impl PassphraseSource {
    /// The file that the user named; otherwise the credential `vouch-passphrase` of systemd, if there is one; otherwise the terminal.
    pub fn of(host: &Host, named: Option<PathBuf>) -> Self {
        Self::chosen(host, named, std::env::var_os("CREDENTIALS_DIRECTORY"))
    }

    fn chosen(host: &Host, named: Option<PathBuf>, credentials: Option<OsString>) -> Self {
        if let Some(file) = named {
            return Self::File(file);
        }
        let credential = credentials.map(|folder| Path::new(&folder).join(CREDENTIAL));
        match credential.filter(|path| matches!(host.disk().exists(path), Ok(true))) {
            Some(path) => Self::Credential(path),
            None => Self::Terminal,
        }
    }

    /// The passphrase of what `of` names. `None` if nobody knows it. Blocks while somebody types it.
    ///
    /// # Errors
    /// See [`PassphraseError`].
    pub fn read(&self, host: &Host, of: &str) -> Result<Option<Zeroizing<String>>, PassphraseError> {
        match self {
            Self::None => Ok(None),
            Self::File(path) => read(host, path, OTHERS).map(Some),
            Self::Credential(path) => read(host, path, STRANGERS).map(Some),
            Self::Terminal => ask(&format!("Passphrase of {of}: ")).map(Some),
        }
    }

    /// A new passphrase for what `of` names: typed twice, if somebody types it.
    ///
    /// # Errors
    /// See [`PassphraseError`].
    pub fn read_new(&self, host: &Host, of: &str) -> Result<Option<Zeroizing<String>>, PassphraseError> {
        if *self != Self::Terminal {
            return self.read(host, of);
        }
        ask_twice(&format!("New passphrase of {of}: ")).map(Some)
    }
}

/// The first line of a file that only its owner can read.
///
/// # Errors
/// See [`PassphraseError`].
pub fn read_file(host: &Host, path: &Path) -> Result<Zeroizing<String>, PassphraseError> {
    read(host, path, OTHERS)
}

fn read(host: &Host, path: &Path, forbidden: u32) -> Result<Zeroizing<String>, PassphraseError> {
    let (bytes, mode) = host.disk().read(path, LIMIT)?;
    let bytes = Zeroizing::new(bytes);
    if mode & forbidden != 0 {
        return Err(PassphraseError::Exposed { path: path.to_owned(), mode });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| PassphraseError::Format { path: path.to_owned() })?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Zeroizing::new(line.to_owned())),
        None => Err(PassphraseError::Empty),
    }
}

/// The terminal at which somebody can answer.
pub fn terminal() -> Option<Term> {
    let term = Term::stderr();
    (term.is_term() && io::stdin().is_terminal()).then_some(term)
}

/// Asks for a passphrase, and does not show what is typed.
///
/// # Errors
/// [`PassphraseError::NoTerminal`], [`PassphraseError::Empty`], [`PassphraseError::Terminal`].
pub fn ask(question: &str) -> Result<Zeroizing<String>, PassphraseError> {
    let term = terminal().ok_or(PassphraseError::NoTerminal)?;
    let answer = term.write_str(question).and_then(|()| term.read_secure_line());
    let answer = answer.map(Zeroizing::new).map_err(|error| PassphraseError::Terminal(error.to_string()))?;
    if answer.is_empty() { Err(PassphraseError::Empty) } else { Ok(answer) }
}

/// Asks for a new passphrase twice: nobody sees a slip of the finger.
///
/// # Errors
/// As [`ask`], and [`PassphraseError::Differ`].
pub fn ask_twice(question: &str) -> Result<Zeroizing<String>, PassphraseError> {
    let first = ask(question)?;
    match *ask("The same again: ")? == *first {
        true => Ok(first),
        false => Err(PassphraseError::Differ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_passphrase_is_the_first_line_of_a_private_file() {
        let (folder, host) = (tempfile::tempdir().unwrap(), Host::system());
        let path = folder.path().join("passphrase");
        let with = |text: &[u8], mode: u32, source: fn(PathBuf) -> PassphraseSource| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            source(path.clone()).read(&host, "keys").map(|passphrase| passphrase.unwrap().to_string())
        };
        let file = PassphraseSource::File;
        assert_eq!(with(b"two words\nmore", 0o600, file).unwrap(), "two words");
        assert_eq!(with(b"two words", 0o400, file).unwrap(), "two words");
        assert!(matches!(with(b"\nmore", 0o600, file), Err(PassphraseError::Empty)));
        assert!(matches!(with(b"\xff", 0o600, file), Err(PassphraseError::Format { .. })));
        for mode in [0o644, 0o640, 0o620, 0o604] {
            assert!(matches!(with(b"a", mode, file), Err(PassphraseError::Exposed { mode: got, .. }) if got == mode));
        }
        // As systemd shows a credential of a user other than root.
        assert_eq!(with(b"two words", 0o440, PassphraseSource::Credential).unwrap(), "two words");
        assert!(matches!(with(b"a", 0o444, PassphraseSource::Credential), Err(PassphraseError::Exposed { .. })));
    }

    #[test]
    fn a_named_file_comes_first_and_a_credential_before_the_terminal() {
        let (folder, host) = (tempfile::tempdir().unwrap(), Host::system());
        let chosen = |named: Option<&str>| {
            PassphraseSource::chosen(&host, named.map(PathBuf::from), Some(folder.path().as_os_str().to_owned()))
        };
        assert_eq!(chosen(None), PassphraseSource::Terminal);
        let path = folder.path().join(CREDENTIAL);
        fs::write(&path, "a").unwrap();
        assert_eq!(chosen(None), PassphraseSource::Credential(path));
        assert_eq!(chosen(Some("named")), PassphraseSource::File("named".into()));
        assert_eq!(PassphraseSource::chosen(&host, None, None), PassphraseSource::Terminal);
    }

    #[test]
    fn without_a_source_nobody_knows_it() {
        assert!(PassphraseSource::None.read(&Host::system(), "keys").unwrap().is_none());
    }
}
