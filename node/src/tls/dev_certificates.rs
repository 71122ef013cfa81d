//! Certificates for development and for closed networks: an authority of one's own, and a server's certificate that it issued.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::ServerName;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::{TlsError, read_key};
use crate::host::Host;
use crate::host::files::FileError;

/// Validity of a server's certificate: browsers refuse longer ones.
const SERVER_DAYS: i64 = 397;
/// Validity of the authority.
const AUTHORITY_DAYS: i64 = 3650;
/// A clock of another machine may be behind by this much.
const BEFORE: Duration = Duration::days(1);

/// The files of a server's certificate, and of the authority that issued it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevCertificates {
    /// The authority's certificate, for all clients and replicas of the server.
    pub authority: PathBuf,
    /// The authority's key. The machines of servers do not need it.
    pub authority_key: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: PathBuf,
    /// Whether the authority was there before.
    pub is_known: bool,
}

/// Issues a new certificate for these names, in a folder that exists. Makes the authority if the folder has none.
///
/// # Errors
/// A name is neither a DNS name nor an IP address, or a file cannot be read or written.
pub fn create_dev_certificates(host: &Host, folder: &Path, names: &[String]) -> Result<DevCertificates, TlsError> {
    if let Some(name) = names.iter().find(|name| ServerName::try_from(name.as_str()).is_err()) {
        return Err(TlsError::Name(name.clone()));
    }
    let in_folder = |name: &str| folder.join(name);
    let files = DevCertificates {
        authority: in_folder("ca.pem"),
        authority_key: in_folder("ca.key"),
        certificate: in_folder("server.pem"),
        key: in_folder("server.key"),
        is_known: host.disk().exists(&in_folder("ca.key"))?,
    };
    let now = OffsetDateTime::from_unix_timestamp(i64::try_from(host.unix_seconds()).unwrap_or(i64::MAX));
    let now = now.map_err(|error| TlsError::Library(error.to_string()))?;
    let authority_key = match files.is_known {
        true => key_pair(host, &files.authority_key)?,
        false => KeyPair::generate().map_err(library)?,
    };
    let authority = authority_of(&authority_key, now);
    if !files.is_known {
        let certificate = authority.self_signed(&authority_key).map_err(library)?.pem();
        // The key last: while it is missing, a further attempt makes another authority.
        host.disk().write_durably(&files.authority, certificate.as_bytes(), 0o644)?;
        write_key(host, &files.authority_key, &authority_key)?;
    }
    let key = KeyPair::generate().map_err(library)?;
    let mut server = CertificateParams::new(names).map_err(library)?;
    server.distinguished_name.push(DnType::CommonName, "Vouch server");
    (server.not_before, server.not_after) = (now - BEFORE, now - BEFORE + Duration::days(SERVER_DAYS));
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let issued = server.signed_by(&key, &Issuer::new(authority, authority_key)).map_err(library)?;
    // A server that reads both in between keeps what it has.
    host.disk().write_durably(&files.certificate, issued.pem().as_bytes(), 0o644)?;
    write_key(host, &files.key, &key)?;
    Ok(files)
}

/// The authority with this key. Its name follows from the key, so that it can be made again.
fn authority_of(key: &KeyPair, now: OffsetDateTime) -> CertificateParams {
    let mut authority = CertificateParams::default();
    let id = blake3::hash(key.public_key_raw()).to_hex();
    authority.distinguished_name.push(DnType::CommonName, format!("Vouch development authority {}", &id[..8]));
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (authority.not_before, authority.not_after) = (now - BEFORE, now - BEFORE + Duration::days(AUTHORITY_DAYS));
    authority
}

fn key_pair(host: &Host, path: &Path) -> Result<KeyPair, TlsError> {
    let text = read_key(host.disk(), path)?;
    let damaged = |got: String| TlsError::Pem { path: path.to_owned(), expected: "a private key", got };
    let text = std::str::from_utf8(&text).map_err(|error| damaged(error.to_string()))?;
    KeyPair::from_pem(text).map_err(|error| damaged(error.to_string()))
}

fn write_key(host: &Host, path: &Path, key: &KeyPair) -> Result<(), FileError> {
    let text = Zeroizing::new(key.serialize_pem());
    host.disk().write_durably(path, text.as_bytes(), 0o600)
}

fn library(error: rcgen::Error) -> TlsError {
    TlsError::Library(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_authority_stays_and_only_names_are_taken() {
        let (host, folder) = (Host::system(), tempfile::tempdir().unwrap());
        let create = |name: &str| create_dev_certificates(&host, folder.path(), &[name.to_owned()]);
        let first = create("localhost").unwrap();
        let read = |path: &Path| std::fs::read(path).unwrap();
        let (authority, certificate) = (read(&first.authority), read(&first.certificate));
        let second = create("10.0.0.1").unwrap();
        assert!(!first.is_known && second.is_known);
        assert!(read(&second.authority) == authority && read(&second.certificate) != certificate);
        for name in ["", "a b", "a/b", "https://a", "*"] {
            assert!(matches!(create(name), Err(TlsError::Name(_))), "{name:?}");
        }
        let mode =
            |bits| std::fs::set_permissions(&first.authority_key, std::fs::Permissions::from_mode(bits)).unwrap();
        mode(0o644);
        assert!(matches!(create("localhost"), Err(TlsError::Readable { .. })));
        mode(0o600);
        std::fs::write(&first.authority_key, "nothing").unwrap();
        assert!(matches!(create("localhost"), Err(TlsError::Pem { .. })));
    }
}
