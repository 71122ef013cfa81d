//! What the holder of a token signs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::clocks::{self, Seconds};
use crate::codec::{DecodeError, Reader};
use crate::digest::{ClusterId, Digest, ParseHashError, derive, parse_32};
use crate::link::{NodeKey, NodeSecretKey};
use crate::receipt::Receipt;
use crate::verify::CLOCK_TOLERANCE;

/// The name, length first. It separates these signatures from everything else that an ed25519 key signs here.
const NAMESPACE: &[u8; 15] = b"\x0Evouch/token/v1";
/// How the text of a secret begins, so that programs that search for leaked secrets find it.
const SECRET_PREFIX: &str = "vouch-token-";

/// A token's public key. It names the token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey(pub [u8; 32]);

impl fmt::Display for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).into_string())
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({self})")
    }
}

impl FromStr for TokenKey {
    type Err = ParseHashError;

    /// Base58, or 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_32(text).map(Self)
    }
}

/// A token's secret. Wiped from memory when the last copy is dropped.
#[derive(Clone)]
pub struct TokenSecret(Arc<NodeSecretKey>);

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSecret(of {})", self.key())
    }
}

/// Why a text is not a token's secret. It shows no part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "expected the secret of a token, a text that begins with \"{SECRET_PREFIX}\", got another one, or one with a typing error"
)]
pub struct ParseTokenError;

impl FromStr for TokenSecret {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        let digits = text.strip_prefix(SECRET_PREFIX).ok_or(ParseTokenError)?;
        // decoding is quadratic; 36 bytes are at most 50 characters
        if digits.len() > 50 {
            return Err(ParseTokenError);
        }
        let mut bytes = [0; 36];
        if bs58::decode(digits).onto(&mut bytes) != Ok(bytes.len()) {
            return Err(ParseTokenError);
        }
        let mut seed = [0; 32];
        seed.copy_from_slice(&bytes[..32]);
        match bytes[32..] == checksum(&seed) {
            true => Ok(Self::from_bytes(&seed)),
            false => Err(ParseTokenError),
        }
    }
}

impl TokenSecret {
    /// A secret from 32 uniformly random bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Arc::new(NodeSecretKey::from_bytes(bytes)))
    }

    /// The text of the secret that has these bytes.
    pub fn text_of(bytes: &[u8; 32]) -> String {
        let checked = [&bytes[..], &checksum(bytes)].concat();
        format!("{SECRET_PREFIX}{}", bs58::encode(checked).into_string())
    }

    /// The public key.
    pub fn key(&self) -> TokenKey {
        TokenKey(self.0.node_key().0)
    }

    /// Authorises an action in a cluster. `now` in seconds since 1970.
    pub fn authorise(&self, cluster: &ClusterId, action: Action<'_>, now: u64) -> Authorisation {
        Authorisation::by(&self.0, cluster, action, now)
    }
}

/// A text that lost a character is another secret, which no cluster would know.
fn checksum(seed: &[u8; 32]) -> [u8; 4] {
    let [a, b, c, d, ..] = derive("vouch token checksum v1", &[seed]);
    [a, b, c, d]
}

/// What a token's holder authorises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// To store a blob until a time: one put.
    Store(&'a Receipt),
    /// To send bytes of which the digest is not known yet. The put is stored only with [`Store`](Self::Store) at its end.
    Send,
    /// To read a blob.
    Read(&'a Digest),
}

fn signed_bytes(cluster: &ClusterId, action: Action<'_>, signed_at: u64) -> Vec<u8> {
    let mut out = NAMESPACE.to_vec();
    out.extend_from_slice(&cluster.0);
    out.extend_from_slice(&signed_at.to_le_bytes());
    match action {
        Action::Store(receipt) => {
            out.push(1);
            out.extend_from_slice(&receipt.encode());
        }
        Action::Send => out.push(2),
        Action::Read(digest) => {
            out.push(3);
            out.extend_from_slice(&digest.0);
        }
    }
    out
}

/// A holder's signature for one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Authorisation {
    /// The token.
    pub key: TokenKey,
    /// When it was signed, in seconds since 1970.
    pub signed_at: u64,
    /// The signature.
    pub signature: [u8; 64],
}

impl Authorisation {
    /// Bytes of the encoding.
    pub const SIZE: usize = 104;
    /// How long it counts after it was signed, in seconds: long enough for a put that waits for its turn.
    pub const LIFETIME: u64 = 600;

    /// Authorises an action with a node's own key: members read what they need whatever the rules say. `now` in seconds since 1970.
    pub fn by(key: &NodeSecretKey, cluster: &ClusterId, action: Action<'_>, now: u64) -> Self {
        let signature = key.sign_bytes(&signed_bytes(cluster, action, now));
        Self { key: TokenKey(key.node_key().0), signed_at: now, signature }
    }

    /// Checks that the token's holder authorised this action lately.
    ///
    /// # Errors
    /// See [`AuthorisationError`].
    pub fn verify(&self, cluster: &ClusterId, action: Action<'_>, now: u64) -> Result<(), AuthorisationError> {
        let signed_at = self.signed_at;
        if signed_at > now.saturating_add(CLOCK_TOLERANCE) || signed_at.saturating_add(Self::LIFETIME) < now {
            return Err(AuthorisationError::Time { signed_at, now });
        }
        match NodeKey(self.key.0).has_signed(&signed_bytes(cluster, action, signed_at), &self.signature) {
            true => Ok(()),
            false => Err(AuthorisationError::Signature(self.key)),
        }
    }

    /// The canonical encoding.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[..32].copy_from_slice(&self.key.0);
        out[32..40].copy_from_slice(&self.signed_at.to_le_bytes());
        out[40..].copy_from_slice(&self.signature);
        out
    }

    /// Decodes exactly one authorisation. Whether it counts is not checked.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let authorisation = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(authorisation)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let key = TokenKey(reader.array("token key")?);
        let signed_at = reader.safe_u64("time of the authorisation")?;
        Ok(Self { key, signed_at, signature: reader.array("signature of the authorisation")? })
    }
}

/// Why an authorisation does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AuthorisationError {
    /// It was signed too long ago, or in the future.
    #[error(
        "authorisation: expected one signed at most {} ago, got one signed {} this clock",
        Seconds(Authorisation::LIFETIME),
        clocks::describe_difference(*.signed_at, *.now)
    )]
    Time {
        /// Seconds since 1970.
        signed_at: u64,
        /// The time of the check, in seconds since 1970.
        now: u64,
    },
    /// The token's key did not sign this.
    #[error("authorisation: expected a signature by token {0} over this request, got another")]
    Signature(TokenKey),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::NEVER;

    fn receipt() -> Receipt {
        Receipt { salt: [5; 16], digest: Digest::of(b"blob"), length: 4, expires_at: NEVER }
    }

    #[test]
    fn an_authorisation_counts_for_one_action_in_one_cluster_for_ten_minutes() {
        let secret = TokenSecret::from_bytes(&[1; 32]);
        let (cluster, receipt) = (ClusterId([2; 32]), receipt());
        let signed = secret.authorise(&cluster, Action::Store(&receipt), 1000);
        let check = |action, now| signed.verify(&cluster, action, now);
        for now in [940, 1000, 1600] {
            assert_eq!(check(Action::Store(&receipt), now), Ok(()), "{now}");
        }
        for now in [939, 1601] {
            let refused = AuthorisationError::Time { signed_at: 1000, now };
            assert_eq!(check(Action::Store(&receipt), now), Err(refused), "{now}");
        }
        let others = [Receipt { salt: [6; 16], ..receipt }, Receipt { expires_at: 5, ..receipt }];
        let actions =
            [Action::Send, Action::Read(&receipt.digest), Action::Store(&others[0]), Action::Store(&others[1])];
        for action in actions {
            assert_eq!(check(action, 1000), Err(AuthorisationError::Signature(secret.key())), "{action:?}");
            let own = secret.authorise(&cluster, action, 1000);
            assert_eq!(own.verify(&cluster, action, 1000), Ok(()));
            assert!(own.verify(&cluster, Action::Store(&receipt), 1000).is_err());
        }
        assert!(signed.verify(&ClusterId([3; 32]), Action::Store(&receipt), 1000).is_err());
        let later = Authorisation { signed_at: 1001, ..signed };
        assert!(later.verify(&cluster, Action::Store(&receipt), 1000).is_err());
        let other = Authorisation { key: TokenSecret::from_bytes(&[2; 32]).key(), ..signed };
        assert!(other.verify(&cluster, Action::Store(&receipt), 1000).is_err());
    }

    #[test]
    fn a_secret_has_one_text_and_errors_show_nothing_of_it() {
        let text = TokenSecret::text_of(&[7; 32]);
        let secret: TokenSecret = text.parse().unwrap();
        assert_eq!(secret.key(), TokenSecret::from_bytes(&[7; 32]).key());
        assert!(!format!("{secret:?}").contains(&text[12..]));
        let long = format!("{SECRET_PREFIX}{}", "1".repeat(51));
        let unchecked = format!("{SECRET_PREFIX}{}", bs58::encode([7; 32]).into_string());
        for wrong in
            ["", "vouch-token-", &text[12..], &text[..40], &format!("{text}1"), &format!("{text} "), &long, &unchecked]
        {
            let refused = wrong.parse::<TokenSecret>().unwrap_err().to_string();
            assert!(wrong.len() < 13 || !refused.contains(&wrong[12..]), "{refused}");
        }
    }
}
