//! Keys under a passphrase. `keys.age` has a random wrapping key, encrypted under the passphrase in the age format, whose scrypt takes a second:
//! once for each start, however many keys there are. Each key file has its key sealed under the wrapping key, by XChaCha20-Poly1305 with the file's
//! name as associated data: no key can take the place of another.
//!
//! `keys.age` exists before the first key is sealed, and until the last one is plain again. So a kill at any point leaves keys that can be read, and a
//! folder with `keys.age` is protected: its next start seals what is still plain.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::{KeyError, LIMIT, MODE, Secret, StoredKey, check_folder, is_key, line_of, parse, parse_line};
use crate::age;
use crate::host::Host;
use crate::host::disk::Disk;
use crate::host::files::FileError;
use crate::passphrase::PassphraseSource;

/// The file with the wrapping key.
pub(crate) const WRAPPING: &str = "keys.age";
/// What a file with a sealed key begins with.
pub(super) const SEALED: &[u8] = b"vouch sealed key 1 ";
const NONCE: usize = 24;
const TAG: usize = 16;
/// Bytes of a sealed key: nonce, key, authentication tag.
const SIZE: usize = NONCE + 32 + TAG;
/// log2 of the cost of scrypt: what age takes. In tests of every possible crash, that would take minutes.
const COST: u8 = if cfg!(test) { 2 } else { age::COST };

/// The sealed bytes in a key file.
pub(super) type SealedKey = [u8; SIZE];

/// The key that seals the keys of a folder.
struct WrappingKey(Secret);

/// How the keys of a folder are stored.
#[derive(Clone, Default)]
pub(super) struct Protection(Option<Arc<WrappingKey>>);

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Protection(under a passphrase)" } else { "Protection(none)" })
    }
}

impl Protection {
    /// Reads the wrapping key of a folder, if it has one, with the passphrase that the host's source gives, and seals keys that are still plain.
    pub(super) fn open(host: &Host, folder: &Path) -> Result<Self, KeyError> {
        check_folder(host.disk(), folder)?;
        let Some(text) = read(host.disk(), folder)? else { return Ok(Self::default()) };
        let protection = unlocked(host, folder, &text, host.passphrase())?;
        protection.seal_all(host, folder)?;
        Ok(protection)
    }

    /// The text of a key's file.
    pub(super) fn text_of(&self, host: &Host, name: &str, key: &Secret) -> Result<Zeroizing<String>, KeyError> {
        let Some(wrapping) = &self.0 else { return Ok(line_of(key)) };
        let nonce: [u8; NONCE] = host.random();
        let payload = Payload { msg: &**key, aad: name.as_bytes() };
        let sealed = wrapping.cipher().encrypt(&XNonce::from(nonce), payload);
        // It fails only for more than 256 GiB.
        let sealed = sealed.map_err(|_| KeyError::Sealed { path: name.into() })?;
        let text = Base64UrlUnpadded::encode_string(&[&nonce[..], &sealed].concat());
        Ok(Zeroizing::new(format!("{}{text}\n", String::from_utf8_lossy(SEALED))))
    }

    /// The key in a file.
    pub(super) fn open_key(&self, path: &Path, stored: StoredKey) -> Result<Secret, KeyError> {
        let sealed = match stored {
            StoredKey::Plain(key) => return Ok(key),
            StoredKey::Sealed(sealed) => sealed,
        };
        let wrapping = self
            .0
            .as_ref()
            .ok_or_else(|| KeyError::NoWrapping { path: path.to_owned(), expected: path.with_file_name(WRAPPING) })?;
        let altered = || KeyError::Sealed { path: path.to_owned() };
        let (nonce, sealed) = sealed.split_at(NONCE);
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| altered())?;
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        let opened = wrapping.cipher().decrypt(&XNonce::from(nonce), payload).map(Zeroizing::new);
        let opened = opened.map_err(|_| altered())?;
        let mut key = Secret::new([0; 32]);
        match opened.len() == key.len() {
            true => key.copy_from_slice(&opened),
            false => return Err(altered()),
        }
        Ok(key)
    }

    /// Seals every key of a folder that is still plain. Returns the number of keys.
    fn seal_all(&self, host: &Host, folder: &Path) -> Result<usize, KeyError> {
        self.rewrite(host, folder, |stored| matches!(stored, StoredKey::Plain(_)), self)
    }

    /// Writes the keys of a folder that are to be changed, each as `to` has it. Returns the number of all keys.
    fn rewrite(
        &self,
        host: &Host,
        folder: &Path,
        is_to_change: fn(&StoredKey) -> bool,
        to: &Self,
    ) -> Result<usize, KeyError> {
        let disk = host.disk();
        let names: Vec<String> = disk
            .list(folder)?
            .into_iter()
            .filter(|name| is_key(name))
            .filter_map(|name| name.into_string().ok())
            .collect();
        for name in &names {
            let path = folder.join(name);
            let (text, mode) = disk.read(&path, LIMIT)?;
            let stored = parse(&path, &Zeroizing::new(text), mode)?;
            if is_to_change(&stored) {
                let text = to.text_of(host, name, &self.open_key(&path, stored)?)?;
                // The new form is durable before it has the name: a kill leaves one of both.
                disk.write_durably(&path, text.as_bytes(), MODE)?;
            }
        }
        Ok(names.len())
    }
}

impl WrappingKey {
    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(*self.0))
    }

    /// The text of `keys.age`.
    fn encrypted(&self, host: &Host, path: &Path, passphrase: &str) -> Result<String, KeyError> {
        let random = Zeroizing::new(host.random());
        let encrypted = age::encrypt_at(COST, line_of(&self.0).as_bytes(), passphrase, &random);
        encrypted.map_err(|cause| KeyError::Wrapping { path: path.to_owned(), cause })
    }
}

/// The text of `keys.age`; `None` if the folder is not protected.
fn read(disk: &dyn Disk, folder: &Path) -> Result<Option<String>, KeyError> {
    let path = folder.join(WRAPPING);
    match disk.read_all(&path, LIMIT) {
        // What is no text is no armored text either, and refused as such.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(FileError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn unlocked(host: &Host, folder: &Path, text: &str, source: &PassphraseSource) -> Result<Protection, KeyError> {
    let path = folder.join(WRAPPING);
    let passphrase = source.read(host, &path.display().to_string())?;
    let passphrase = passphrase.ok_or_else(|| KeyError::NoPassphrase { folder: folder.to_owned() })?;
    let opened = age::decrypt(text, &passphrase).map_err(|cause| KeyError::Wrapping { path: path.clone(), cause })?;
    Ok(Protection(Some(Arc::new(WrappingKey(parse_line(&path, &opened)?)))))
}

/// Whether the keys of a folder are under a passphrase.
///
/// # Errors
/// The folder cannot be read.
pub fn is_protected(disk: &dyn Disk, folder: &Path) -> Result<bool, FileError> {
    disk.exists(&folder.join(WRAPPING))
}

/// Puts the keys of a folder, and those made there later, under a passphrase. If they are already, it must be the same one: what a kill left plain is
/// sealed. Returns the number of keys.
///
/// # Errors
/// See [`KeyError`]. Whatever was changed can be read with the passphrase.
pub fn protect(host: &Host, folder: &Path, source: &PassphraseSource) -> Result<usize, KeyError> {
    check_folder(host.disk(), folder)?;
    let path = folder.join(WRAPPING);
    let protection = match read(host.disk(), folder)? {
        Some(text) => unlocked(host, folder, &text, source)?,
        None => {
            let passphrase = source.read_new(host, &path.display().to_string())?;
            let passphrase = passphrase.ok_or_else(|| KeyError::NoPassphrase { folder: folder.to_owned() })?;
            let wrapping = WrappingKey(Secret::new(host.random()));
            let text = wrapping.encrypted(host, &path, &passphrase)?;
            host.disk().create_new_durably(&path, text.as_bytes(), MODE)?;
            Protection(Some(Arc::new(wrapping)))
        }
    };
    protection.seal_all(host, folder)
}

/// Makes the keys of a folder plain again. Returns their number.
///
/// # Errors
/// See [`KeyError`]. Whatever was changed can be read with the passphrase.
pub fn unprotect(host: &Host, folder: &Path, source: &PassphraseSource) -> Result<usize, KeyError> {
    check_folder(host.disk(), folder)?;
    let text = read(host.disk(), folder)?.ok_or_else(|| KeyError::NotProtected { folder: folder.to_owned() })?;
    let protection = unlocked(host, folder, &text, source)?;
    let is_sealed = |stored: &StoredKey| matches!(stored, StoredKey::Sealed(_));
    let count = protection.rewrite(host, folder, is_sealed, &Protection::default())?;
    host.disk().remove(&folder.join(WRAPPING))?;
    host.disk().sync_folder(folder)?;
    Ok(count)
}

/// Puts the keys of a protected folder under another passphrase. Only `keys.age` changes, at once.
///
/// # Errors
/// See [`KeyError`]; nothing has changed then.
pub fn change_passphrase(
    host: &Host,
    folder: &Path,
    old: &PassphraseSource,
    new: &PassphraseSource,
) -> Result<(), KeyError> {
    check_folder(host.disk(), folder)?;
    let text = read(host.disk(), folder)?.ok_or_else(|| KeyError::NotProtected { folder: folder.to_owned() })?;
    let Protection(Some(wrapping)) = unlocked(host, folder, &text, old)? else {
        return Err(KeyError::NotProtected { folder: folder.to_owned() });
    };
    let path = folder.join(WRAPPING);
    let passphrase = new.read_new(host, &path.display().to_string())?;
    let passphrase = passphrase.ok_or_else(|| KeyError::NoPassphrase { folder: folder.to_owned() })?;
    let text = wrapping.encrypted(host, &path, &passphrase)?;
    Ok(host.disk().write_durably(&path, text.as_bytes(), MODE)?)
}

/// Copies the wrapping key to a folder that keys are moved to, if there is one: otherwise they could not be read there.
///
/// # Errors
/// The folders cannot be read or written.
pub(crate) fn copy_protection(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), FileError> {
    let path: PathBuf = from.join(WRAPPING);
    match disk.read_all(&path, LIMIT) {
        Ok(text) => disk.write_durably(&to.join(WRAPPING), &text, MODE),
        Err(FileError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The bytes of a sealed key in a line; `None` if it is none.
pub(super) fn sealed_of(line: &[u8]) -> Option<Box<SealedKey>> {
    let mut bytes = Box::new([0; SIZE]);
    let text = std::str::from_utf8(line.strip_suffix(b"\n").unwrap_or(line)).ok()?;
    let decoded = Base64UrlUnpadded::decode(text, &mut *bytes).ok()?;
    (decoded.len() == SIZE).then_some(bytes)
}
