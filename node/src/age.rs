//! Bytes under a passphrase, as armored text: version 1 of the age format (C2SP `age.md`) with one scrypt recipient. So
//! `age --decrypt` reads what this module writes, and this module reads what `age --passphrase --armor` writes.
//!
//! Only short texts, such as a key: the payload is one chunk.

use base64ct::{Base64, Base64Unpadded, Encoding};
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use scrypt::Params;
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

/// The first line of an armored text.
pub const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";
/// Columns of an armored text.
const COLUMNS: usize = 64;
const VERSION: &str = "age-encryption.org/v1\n";
const RECIPIENT: &str = "-> scrypt ";
const MAC_LINE: &str = "--- ";
/// Before the salt of scrypt, so that its output is of no use elsewhere.
const SALT_LABEL: &[u8] = b"age-encryption.org/v1/scrypt";
/// log2 of the cost: about a second and 256 MiB, as `age` takes it.
pub(crate) const COST: u8 = 18;
/// The greatest cost that is paid to open a text: 1 GiB of memory.
const MAX_COST: u8 = 20;
/// scrypt's block size and parallelism, fixed by the format.
const R: u32 = 8;
const P: u32 = 1;
const SALT: usize = 16;
const FILE_KEY: usize = 16;
const NONCE: usize = 16;
/// The authentication tag of ChaCha20-Poly1305.
const TAG: usize = 16;
/// Maximum size of the plain text: one chunk of the payload.
const CHUNK: usize = 65_536;

/// Number of random bytes that [`encrypt`] needs.
pub const RANDOM: usize = SALT + FILE_KEY + NONCE;

/// Why a text cannot be decrypted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AgeError {
    /// It does not follow the format.
    #[error("expected {expected}")]
    Format {
        /// What was expected.
        expected: &'static str,
    },
    /// To derive the key would take too much memory.
    #[error("expected an scrypt cost of at most 2^{MAX_COST}, got 2^{got}")]
    Cost {
        /// log2 of the cost.
        got: u8,
    },
    /// The passphrase does not open it.
    #[error("the passphrase is wrong")]
    Passphrase,
    /// The passphrase opens the header, and then the text is not the one that was encrypted.
    #[error("the encrypted text was altered")]
    Altered,
    /// The plain text does not fit one chunk.
    #[error("expected at most {CHUNK} bytes to encrypt, got {got}")]
    TooLarge {
        /// Its size.
        got: usize,
    },
}

/// Encrypts a short text under a passphrase. `random` must be fresh.
///
/// # Errors
/// [`AgeError::TooLarge`].
pub fn encrypt(plain: &[u8], passphrase: &str, random: &[u8; RANDOM]) -> Result<String, AgeError> {
    encrypt_at(COST, plain, passphrase, random)
}

/// As [`encrypt`], with another cost.
pub(crate) fn encrypt_at(cost: u8, plain: &[u8], passphrase: &str, random: &[u8; RANDOM]) -> Result<String, AgeError> {
    if plain.len() > CHUNK {
        return Err(AgeError::TooLarge { got: plain.len() });
    }
    let (salt, rest) = random.split_at(SALT);
    let (file_key, nonce) = rest.split_at(FILE_KEY);
    let wrapped = seal(&wrapping_key(passphrase, salt, cost)?, Chunk::Only, file_key)?;
    let (salt, body) = (Base64Unpadded::encode_string(salt), Base64Unpadded::encode_string(&wrapped));
    let header = format!("{VERSION}{RECIPIENT}{salt} {cost}\n{body}\n---");
    let mac = Base64Unpadded::encode_string(&header_mac(file_key, header.as_bytes())?.finalize().into_bytes());
    let mut file = format!("{header} {mac}\n").into_bytes();
    file.extend_from_slice(nonce);
    file.extend(seal(&payload_key(file_key, nonce)?, Chunk::Last, plain)?);
    Ok(armored(&file))
}

/// Decrypts an armored text.
///
/// # Errors
/// See [`AgeError`].
pub fn decrypt(text: &str, passphrase: &str) -> Result<Zeroizing<Vec<u8>>, AgeError> {
    let file = dearmored(text)?;
    let mut rest = &file[..];
    if line(&mut rest)? != VERSION.trim_end() {
        return Err(AgeError::Format { expected: "version 1 of the age format" });
    }
    let recipient = line(&mut rest)?.strip_prefix(RECIPIENT);
    let expected = "a passphrase as the only recipient of the age text";
    let (salt, cost) = recipient.and_then(|both| both.split_once(' ')).ok_or(AgeError::Format { expected })?;
    let salt = bytes::<SALT>(salt, "a salt of 16 bytes in the age text")?;
    let expected = "an scrypt cost in the age text";
    // Only digits, and no zero before them: otherwise one value has two texts.
    let is_number = cost.bytes().all(|byte| byte.is_ascii_digit()) && !cost.starts_with('0');
    let cost = cost.parse().ok().filter(|_| is_number).ok_or(AgeError::Format { expected })?;
    if cost > MAX_COST {
        return Err(AgeError::Cost { got: cost });
    }
    let wrapped = bytes::<{ FILE_KEY + TAG }>(line(&mut rest)?, "a wrapped key of 32 bytes in the age text")?;
    let header_size = file.len() - rest.len() + MAC_LINE.trim_end().len();
    let mac = line(&mut rest)?.strip_prefix(MAC_LINE).ok_or(AgeError::Format { expected })?;
    let mac = bytes::<32>(mac, "an authentication code in the age text")?;
    let (nonce, payload) = rest.split_at_checked(NONCE).ok_or(AgeError::Altered)?;

    let file_key = open(&wrapping_key(passphrase, &salt, cost)?, Chunk::Only, &wrapped).ok_or(AgeError::Passphrase)?;
    header_mac(&file_key, &file[..header_size])?.verify_slice(&mac).map_err(|_| AgeError::Altered)?;
    open(&payload_key(&file_key, nonce)?, Chunk::Last, payload).ok_or(AgeError::Altered)
}

/// What a nonce is for.
#[derive(Debug, Clone, Copy)]
enum Chunk {
    /// The wrapped file key: all zero.
    Only,
    /// The last chunk of the payload, which is its first: counter 0, and a 1.
    Last,
}

impl Chunk {
    fn nonce(self) -> Nonce {
        let mut nonce = Nonce::default();
        nonce[11] = matches!(self, Self::Last).into();
        nonce
    }
}

fn seal(key: &Zeroizing<[u8; 32]>, chunk: Chunk, plain: &[u8]) -> Result<Vec<u8>, AgeError> {
    let cipher = ChaCha20Poly1305::new(&Key::from(**key));
    // fails only for more than 256 GiB
    cipher.encrypt(&chunk.nonce(), plain).map_err(|_| AgeError::TooLarge { got: plain.len() })
}

fn open(key: &Zeroizing<[u8; 32]>, chunk: Chunk, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = ChaCha20Poly1305::new(&Key::from(**key));
    cipher.decrypt(&chunk.nonce(), sealed).ok().map(Zeroizing::new)
}

fn wrapping_key(passphrase: &str, salt: &[u8], cost: u8) -> Result<Zeroizing<[u8; 32]>, AgeError> {
    let mut key = Zeroizing::new([0; 32]);
    let salt = [SALT_LABEL, salt].concat();
    let params = Params::new(cost, R, P).map_err(|_| AgeError::Cost { got: cost })?;
    scrypt::scrypt(passphrase.as_bytes(), &salt, &params, &mut *key).map_err(|_| AgeError::Cost { got: cost })?;
    Ok(key)
}

fn derived(file_key: &[u8], salt: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, AgeError> {
    let mut key = Zeroizing::new([0; 32]);
    // fails only for a longer key
    Hkdf::<Sha256>::new(Some(salt), file_key).expand(info, &mut *key).map_err(|_| AgeError::Altered)?;
    Ok(key)
}

fn payload_key(file_key: &[u8], nonce: &[u8]) -> Result<Zeroizing<[u8; 32]>, AgeError> {
    derived(file_key, nonce, b"payload")
}

fn header_mac(file_key: &[u8], header: &[u8]) -> Result<Hmac<Sha256>, AgeError> {
    let key = derived(file_key, &[], b"header")?;
    // takes keys of any length
    let mut mac = Hmac::<Sha256>::new_from_slice(&*key).map_err(|_| AgeError::Altered)?;
    mac.update(header);
    Ok(mac)
}

/// Takes the next line of the header.
fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a str, AgeError> {
    let broken = AgeError::Format { expected: "a complete header of the age text" };
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or(broken.clone())?;
    let line = std::str::from_utf8(&rest[..end]).map_err(|_| broken)?;
    *rest = &rest[end + 1..];
    Ok(line)
}

fn bytes<const N: usize>(text: &str, expected: &'static str) -> Result<[u8; N], AgeError> {
    let mut bytes = [0; N];
    match Base64Unpadded::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == N => Ok(bytes),
        _ => Err(AgeError::Format { expected }),
    }
}

fn armored(file: &[u8]) -> String {
    let text = Base64::encode_string(file);
    let mut out = format!("{BEGIN}\n");
    for line in text.as_bytes().chunks(COLUMNS) {
        // Base64 is ASCII.
        out.push_str(std::str::from_utf8(line).unwrap_or_default());
        out.push('\n');
    }
    out + END + "\n"
}

fn dearmored(text: &str) -> Result<Vec<u8>, AgeError> {
    let framed = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_prefix('\n'));
    let framed = framed.and_then(|rest| rest.trim_end_matches('\n').strip_suffix(END));
    let body = framed.ok_or(AgeError::Format { expected: "an armored age text, from its first to its last line" })?;
    let expected = "lines of base64 in the age text, all of 64 characters but the last";
    let lines: Vec<_> = body.split_terminator('\n').collect();
    let is_full = |(at, line): (usize, &&str)| line.len() == COLUMNS || (at + 1 == lines.len() && line.len() < COLUMNS);
    if !body.ends_with('\n') || !lines.iter().enumerate().all(is_full) {
        return Err(AgeError::Format { expected });
    }
    Base64::decode_vec(&lines.concat()).map_err(|_| AgeError::Format { expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `age 1.1.1 --passphrase --armor` from the text `a key` and a line feed.
    const BY_AGE: &str = "-----BEGIN AGE ENCRYPTED FILE-----\n\
        YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCB3VHVYZUVDRlVEUXc3WWlO\n\
        WWxoRzdRIDE4CjI0TmZnTTltaWlEdnE5U3EwanNTR2ZYMXlUOTBBTS9nckloWlh0\n\
        TkVYTDgKLS0tIGhrYTRaQWdWM1RURXJHbEp4TE5pQ0xEMitYdlFyZWFEME84eGZz\n\
        R203ZWsKI2O5f8SIfP9EB50LiqZUN87w7R1C8lD8Wai4kYiSjdMnPbKo81U=\n\
        -----END AGE ENCRYPTED FILE-----\n";
    const PASSPHRASE: &str = "correct horse battery staple";

    fn encrypted(plain: &[u8]) -> String {
        encrypt_at(1, plain, PASSPHRASE, &std::array::from_fn(|i| u8::try_from(i).unwrap())).unwrap()
    }

    /// The file with other bytes, armored again.
    fn altered(alter: impl FnOnce(&mut Vec<u8>)) -> Result<Zeroizing<Vec<u8>>, AgeError> {
        let mut file = dearmored(&encrypted(b"a key\n")).unwrap();
        alter(&mut file);
        decrypt(&armored(&file), PASSPHRASE)
    }

    fn replaced(from: &str, to: &str) -> Result<Zeroizing<Vec<u8>>, AgeError> {
        altered(|file| {
            let at = file.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
            file.splice(at..at + from.len(), to.bytes());
        })
    }

    #[test]
    fn what_is_encrypted_is_decrypted_by_its_passphrase_only() {
        for plain in [&b""[..], b"a key\n", &[7; 1000]] {
            assert_eq!(decrypt(&encrypted(plain), PASSPHRASE).as_deref().map(Vec::as_slice), Ok(plain));
        }
        assert_eq!(decrypt(&encrypted(b"a key\n"), "correct horse"), Err(AgeError::Passphrase));
        let refused = encrypt_at(1, &vec![0; CHUNK + 1], PASSPHRASE, &[0; RANDOM]);
        assert_eq!(refused, Err(AgeError::TooLarge { got: CHUNK + 1 }));
    }

    #[test]
    fn a_text_of_the_age_program_is_decrypted() {
        assert_eq!(decrypt(BY_AGE, PASSPHRASE).as_deref().map(Vec::as_slice), Ok(&b"a key\n"[..]));
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let size = dearmored(&encrypted(b"a key\n")).unwrap().len();
        for at in 0..size {
            altered(|file| file[at] ^= 1).unwrap_err();
        }
        for length in 0..size {
            altered(|file| file.truncate(length)).unwrap_err();
        }
        altered(|file| file.push(0)).unwrap_err();
    }

    #[test]
    fn headers_are_read_strictly() {
        let format = |result: Result<_, AgeError>| match result.unwrap_err() {
            AgeError::Format { expected } => expected,
            other => panic!("{other}"),
        };
        assert!(format(replaced("org/v1", "org/v2")).contains("version 1"));
        assert!(format(replaced("-> scrypt", "-> X25519")).contains("only recipient"));
        for cost in ["", " 0", " 01", " +1", " 1 "] {
            format(replaced(" 1\n", &format!("{cost}\n")));
        }
        assert_eq!(replaced(" 1\n", " 21\n"), Err(AgeError::Cost { got: 21 }));
        // A second recipient: the format allows none beside a passphrase.
        format(replaced("\n---", "\n-> other\n\n---"));
    }

    #[test]
    fn the_armor_is_read_strictly() {
        let text = encrypted(b"a key\n");
        let lines: Vec<_> = text.lines().collect();
        let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat().join("\n");
        for wrong in [
            without(0),
            without(lines.len() - 1),
            text.replace('\n', "\r\n"),
            text.replacen('\n', "\n\n", 1),
            text.replacen(lines[1], &format!("{}\n{}", &lines[1][..60], &lines[1][60..]), 1),
            format!("{text}more"),
            format!("more\n{text}"),
            String::new(),
        ] {
            assert!(matches!(decrypt(&wrong, PASSPHRASE), Err(AgeError::Format { .. })), "{wrong}");
        }
        assert!(decrypt(text.trim_end(), PASSPHRASE).is_ok(), "the last line feed may be missing");
    }
}
