//! TLS between clients, replicas and servers, by rustls. It keeps what is sent from others on the way, and others from the links of replicas;
//! certificates of availability need none of it, because nobody trusts a server.

mod clock;
mod dev_certificates;
mod dialing;
mod examining;
mod server_address;
mod serving;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ConnectionCommon, ProtocolVersion};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::host::disk::Disk;
use crate::host::files::FileError;
pub use dev_certificates::{DevCertificates, create_dev_certificates};
pub use dialing::{Dialing, ServerStream, dial};
pub use examining::{ExaminedCertificate, ExaminedServer, examine_files, examine_server};
pub use server_address::{ServerAddress, ServerAddressError, is_loopback, is_loopback_host};
pub use serving::{Accepted, CertificateFiles, SPEAKS_TLS, ServerTls};

/// Maximum size of a file of certificates or of a key in bytes.
const MAX_FILE: usize = 1 << 20;
/// Permission bits of others than owner and group: tools for certificates give a group of their own access.
const STRANGERS: u32 = 0o007;
/// The label of the exporter that replicas' links are bound to (RFC 5705).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-vouch-link-v1";

/// The secret that both ends of a TLS connection share and nobody between them, derived for links.
pub type Exporter = [u8; 32];

/// Why certificates, keys or authorities cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file has no PEM section of this kind, or a damaged one.
    #[error("{}: expected {expected} in PEM form, got {got}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is there instead.
        got: String,
    },
    /// Others can read the key.
    #[error("{}: expected a key that only its owner and group can read, got permissions {mode:04o}; run: chmod o-rwx {}", .path.display(), .path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Certificate and key do not belong together, or are of a kind that TLS does not use.
    #[error("{} and {}: {error}", .certificate.display(), .key.display())]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of its key.
        key: PathBuf,
        /// What rustls found.
        error: rustls::Error,
    },
    /// An authority's certificate cannot be used.
    #[error("{}: {error}", .path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What rustls found.
        error: rustls::Error,
    },
    /// The system trusts nobody.
    #[error(
        "this machine has no certificates of authorities; install the package ca-certificates, or name a file with --tls-ca"
    )]
    NoAuthorities,
    /// A name that no certificate can have.
    #[error("expected a DNS name or an IP address, got {0:?}")]
    Name(String),
    /// Another failure of the library.
    #[error("TLS: {0}")]
    Library(String),
}

/// Reads the file of a private key.
fn read_key(disk: &dyn Disk, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let (key, mode) = disk.read(path, MAX_FILE)?;
    let key = Zeroizing::new(key);
    match mode & STRANGERS {
        0 => Ok(key),
        _ => Err(TlsError::Readable { path: path.to_owned(), mode }),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The exporter of a connection. `None` before TLS 1.3, where it does not always name one connection.
fn exporter<S>(connection: &ConnectionCommon<S>) -> Option<Exporter> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    connection.export_keying_material([0; 32], EXPORTER_LABEL, None).ok()
}
