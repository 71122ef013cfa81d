//! The server's end of TLS: certificate and key from files, which may be replaced while the server runs.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::clock::HostTime;
use super::{Exporter, MAX_FILE, TlsError, exporter, provider, read_key};
use crate::host::Host;
use crate::host::net::Io;
use crate::link::HANDSHAKE_DEADLINE;

/// The first byte of TLS: the record type of a handshake.
const HANDSHAKE: u8 = 0x16;
/// How long an end without TLS may take to read why it is refused.
const TELL_TIME: Duration = Duration::from_secs(2);
/// Maximum number of bytes that are read from it.
const MAX_REFUSED: u64 = 64 << 10;

/// What a port with TLS tells somebody who speaks HTTP.
pub const SPEAKS_TLS: &str = "this port speaks TLS: use https:// in place of http://";

/// Where a server's certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by those of the authorities between it and one that clients trust, in PEM form.
    pub certificate: PathBuf,
    /// Its private key in PEM form.
    pub key: PathBuf,
}

/// What is in the files now.
#[derive(PartialEq, Eq)]
struct Content {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl CertificateFiles {
    fn read(&self, host: &Host) -> Result<Content, TlsError> {
        let certificate = host.disk().read_all(&self.certificate, MAX_FILE)?;
        Ok(Content { certificate, key: read_key(host.disk(), &self.key)? })
    }

    fn parse(&self, content: &Content) -> Result<CertifiedKey, TlsError> {
        let damaged = |path: &PathBuf, expected, got: String| TlsError::Pem { path: path.clone(), expected, got };
        let chain = CertificateDer::pem_slice_iter(&content.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| damaged(&self.certificate, "certificates", error.to_string()))?;
        if chain.is_empty() {
            return Err(damaged(&self.certificate, "certificates", "none".into()));
        }
        let key = PrivateKeyDer::from_pem_slice(&content.key)
            .map_err(|error| damaged(&self.key, "a private key", error.to_string()))?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| TlsError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            error,
        })
    }
}

/// The certificate that is presented now.
struct Presented(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presented")
    }
}

impl Presented {
    fn get(&self) -> Arc<CertifiedKey> {
        // Recover from poisoning: the value is replaced as a whole.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

/// An accepted connection.
pub struct Accepted {
    /// The bytes.
    pub io: Box<dyn Io>,
    /// To bind a replica's link to the connection.
    pub exporter: Option<Exporter>,
}

/// The TLS of a server's port.
pub struct ServerTls {
    host: Host,
    files: CertificateFiles,
    config: Arc<ServerConfig>,
    presented: Arc<Presented>,
    content: Mutex<Content>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be read, or do not hold a certificate and its key.
    pub fn open(host: &Host, files: CertificateFiles) -> Result<Self, TlsError> {
        let content = files.read(host)?;
        let presented = Arc::new(Presented(RwLock::new(Arc::new(files.parse(&content)?))));
        let mut config = ServerConfig::builder_with_details(provider(), Arc::new(HostTime::of(host)))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Library(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(presented.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { host: host.clone(), files, config: Arc::new(config), presented, content: Mutex::new(content) })
    }

    /// The same, with one version of TLS only.
    #[cfg(test)]
    pub(super) fn only(self, version: &'static rustls::SupportedProtocolVersion) -> Self {
        let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
        let config = config.with_no_client_auth().with_cert_resolver(self.presented.clone());
        Self { config: Arc::new(config), ..self }
    }

    /// Reads the files again. Whether they have changed; connections from now on get what they hold. Blocks until the disk has answered.
    ///
    /// # Errors
    /// As [`open`](Self::open); the server goes on with what it has.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let content = self.files.read(&self.host)?;
        let mut before = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        if *before == content {
            return Ok(false);
        }
        let key = self.files.parse(&content)?;
        *self.presented.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
        *before = content;
        Ok(true)
    }

    /// The certificate that is presented now, with those between it and its authority.
    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.presented.get().cert.clone()
    }

    /// A DNS name that the certificate is for.
    pub fn dns_name(&self) -> Option<String> {
        let key = self.presented.get();
        let certificate = webpki::EndEntityCert::try_from(key.cert.first()?).ok()?;
        certificate.valid_dns_names().find(|name| !name.starts_with('*')).map(str::to_owned)
    }

    /// Accepts TLS on a connection. Tells somebody who speaks HTTP what to do.
    ///
    /// # Errors
    /// The other end does not speak TLS, refuses the certificate, or takes too long.
    pub async fn accept(&self, io: Box<dyn Io>) -> io::Result<Accepted> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let accepting = self.host.timeout(HANDSHAKE_DEADLINE, Box::pin(self.handshake(io))).await;
        accepting.map_err(late)?
    }

    async fn handshake(&self, io: Box<dyn Io>) -> io::Result<Accepted> {
        // A buffer of one byte, to look at it: larger reads go past the buffer.
        let mut io = BufReader::with_capacity(1, io);
        if io.fill_buf().await?.first() != Some(&HANDSHAKE) {
            let _ = self.host.timeout(TELL_TIME, refuse(&mut io)).await;
            return Err(io::ErrorKind::InvalidData.into());
        }
        let stream = TlsAcceptor::from(self.config.clone()).accept(io).await?;
        let exporter = exporter(stream.get_ref().1);
        Ok(Accepted { io: Box::new(stream), exporter })
    }
}

/// Tells somebody who speaks HTTP what to do. Reads what was sent: otherwise the system discards the answer with it.
async fn refuse(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let body = json!({ "type": "about:blank", "title": "Bad Request", "status": 400, "detail": SPEAKS_TLS, "code": "tls-required", "members": [] })
        .to_string();
    let head =
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\nContent-Length";
    io.write_all(format!("{head}: {}\r\n\r\n{body}\n", body.len() + 1).as_bytes()).await?;
    io.shutdown().await?;
    tokio::io::copy(&mut io.take(MAX_REFUSED), &mut tokio::io::sink()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::create_dev_certificates;
    use super::*;

    fn made(host: &Host, folder: &std::path::Path, name: &str) -> CertificateFiles {
        let made = create_dev_certificates(host, folder, &[name.to_owned()]).unwrap();
        CertificateFiles { certificate: made.certificate, key: made.key }
    }

    #[test]
    fn files_are_read_again_and_damaged_ones_change_nothing() {
        let (host, folder) = (Host::system(), tempfile::tempdir().unwrap());
        let files = made(&host, folder.path(), "one.example");
        let tls = ServerTls::open(&host, files.clone()).unwrap();
        assert!(!tls.reload().unwrap());
        assert_eq!(tls.dns_name().as_deref(), Some("one.example"));
        let (certificate, key) = (std::fs::read(&files.certificate).unwrap(), std::fs::read(&files.key).unwrap());
        made(&host, folder.path(), "two.example");
        // A new certificate with the key before, as while a tool replaces both.
        let new = std::fs::read(&files.key).unwrap();
        std::fs::write(&files.key, &key).unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Pair { .. })));
        for damaged in [&b""[..], b"nothing", &certificate[..certificate.len() / 2]] {
            std::fs::write(&files.certificate, damaged).unwrap();
            assert!(matches!(tls.reload(), Err(TlsError::Pem { .. })));
        }
        assert_eq!(tls.dns_name().as_deref(), Some("one.example"));
        made(&host, folder.path(), "two.example");
        assert_ne!(std::fs::read(&files.key).unwrap(), new);
        assert!(tls.reload().unwrap() && !tls.reload().unwrap());
        assert_eq!(tls.dns_name().as_deref(), Some("two.example"));
    }

    #[test]
    fn a_key_that_everybody_can_read_is_refused() {
        let (host, folder) = (Host::system(), tempfile::tempdir().unwrap());
        let files = made(&host, folder.path(), "one.example");
        for (mode, is_refused) in [(0o600, false), (0o640, false), (0o644, true), (0o602, true)] {
            std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(mode)).unwrap();
            let opened = ServerTls::open(&host, files.clone());
            assert_eq!(matches!(opened, Err(TlsError::Readable { .. })), is_refused, "{mode:o}");
        }
    }

    #[tokio::test]
    async fn somebody_who_speaks_http_is_told_to_use_https() {
        let (host, folder) = (Host::system(), tempfile::tempdir().unwrap());
        let tls = ServerTls::open(&host, made(&host, folder.path(), "localhost")).unwrap();
        let (mut here, there) = tokio::io::duplex(16 << 10);
        let answered = async {
            here.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let mut text = String::new();
            here.read_to_string(&mut text).await.unwrap();
            drop(here);
            text
        };
        let (text, accepted) = tokio::join!(answered, tls.accept(Box::new(there)));
        assert!(accepted.is_err() && text.starts_with("HTTP/1.1 400 ") && text.contains("use https://"), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_does_not_say_hello_is_given_up() {
        let (host, folder) = (Host::on_runtime_clock(), tempfile::tempdir().unwrap());
        let tls = ServerTls::open(&host, made(&Host::system(), folder.path(), "localhost")).unwrap();
        for said in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00"] {
            let (mut here, there) = tokio::io::duplex(1 << 10);
            here.write_all(said).await.unwrap();
            let began = host.monotonic();
            let error = tls.accept(Box::new(there)).await.map(drop).unwrap_err();
            assert_eq!((error.kind(), host.monotonic() - began), (io::ErrorKind::TimedOut, HANDSHAKE_DEADLINE));
        }
    }
}
