//! Connections to servers: by TLS where the address says so, with authorities of the system or of a file.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio_rustls::TlsConnector;

use super::clock::HostTime;
use super::{Exporter, MAX_FILE, ServerAddress, TlsError, exporter, provider};
use crate::host::Host;
use crate::host::disk::Disk;
use crate::host::net::Io;

const ONLY_TLS_1_3: &[&SupportedProtocolVersion] = &[&TLS13];

/// How servers are dialled.
#[derive(Debug)]
pub struct Dialing {
    /// `None`: those that the system trusts.
    authorities: Option<RootCertStore>,
    allows_plain: bool,
    binds_links: bool,
    /// Made for the first connection by TLS.
    config: OnceLock<Arc<ClientConfig>>,
}

impl Default for Dialing {
    /// With the system's authorities; without TLS only on this machine.
    fn default() -> Self {
        Self { authorities: None, allows_plain: false, binds_links: false, config: OnceLock::new() }
    }
}

impl Dialing {
    /// Trusts the authorities in a PEM file, and not those of the system.
    ///
    /// # Errors
    /// The file cannot be read, or holds no certificate.
    pub fn trusting(self, disk: &dyn Disk, path: &Path) -> Result<Self, TlsError> {
        let bytes = disk.read_all(path, MAX_FILE)?;
        let pem = |got: String| TlsError::Pem { path: path.to_owned(), expected: "certificates", got };
        let mut authorities = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            let certificate = certificate.map_err(|error| pem(error.to_string()))?;
            authorities.add(certificate).map_err(|error| TlsError::Authority { path: path.to_owned(), error })?;
        }
        if authorities.is_empty() {
            return Err(pem("none".into()));
        }
        Ok(Self { authorities: Some(authorities), ..self })
    }

    /// Lets connections without TLS leave this machine.
    pub fn allowing_plain(self) -> Self {
        Self { allows_plain: true, ..self }
    }

    /// Binds links to the TLS connection, as replicas must unless a proxy ends it. That takes TLS 1.3.
    pub fn binding_links(self) -> Self {
        Self { binds_links: true, ..self }
    }

    /// The authorities whose certificates are trusted.
    pub(super) fn authorities(&self) -> Result<RootCertStore, TlsError> {
        self.authorities.clone().map_or_else(of_system, Ok)
    }

    fn config(&self, host: &Host) -> Result<Arc<ClientConfig>, TlsError> {
        if let Some(config) = self.config.get() {
            return Ok(config.clone());
        }
        let authorities = self.authorities()?;
        let versions = if self.binds_links { ONLY_TLS_1_3 } else { rustls::DEFAULT_VERSIONS };
        let config = ClientConfig::builder_with_details(provider(), Arc::new(HostTime::of(host)))
            .with_protocol_versions(versions)
            .map_err(|error| TlsError::Library(error.to_string()))?
            .with_root_certificates(authorities)
            .with_no_client_auth();
        Ok(self.config.get_or_init(|| Arc::new(config)).clone())
    }
}

fn of_system() -> Result<RootCertStore, TlsError> {
    let mut authorities = RootCertStore::empty();
    // A file of the system that is damaged must not make the others useless.
    authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if authorities.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(authorities) }
}

/// A connection to a server.
pub struct ServerStream {
    /// The bytes.
    pub io: Box<dyn Io>,
    /// The server as in HTTP's `Host`.
    pub authority: String,
    /// To bind a replica's link to the connection; `None` without TLS, or if a proxy ends it.
    pub exporter: Option<Exporter>,
}

/// Connects to a server, `HOST:PORT` or `https://HOST`.
///
/// # Errors
/// It is no address, nobody listens there, the server's certificate is not valid for the name, or a connection without TLS would leave this
/// machine.
pub async fn dial(host: &Host, address: &str) -> io::Result<ServerStream> {
    let address: ServerAddress = address.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let (dialing, authority) = (host.dialing(), address.authority());
    if !address.is_tls() && !address.is_loopback() && !dialing.allows_plain {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "without TLS, anybody on the way reads and changes what is sent; use https://{authority}, or allow it with --insecure"
            ),
        ));
    }
    let config = match address.is_tls() {
        true => Some(dialing.config(host).map_err(io::Error::other)?),
        false => None,
    };
    let io = host.connect(&authority).await?;
    let Some(config) = config else { return Ok(ServerStream { io, authority, exporter: None }) };
    let name = ServerName::try_from(address.name().to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = Box::pin(TlsConnector::from(config).connect(name, io)).await.map_err(explained)?;
    let exporter = if dialing.binds_links { exporter(stream.get_ref().1) } else { None };
    // A server's URL may leave out the port, and so does `Host`.
    let authority = address.to_string().trim_start_matches("https://").to_owned();
    Ok(ServerStream { io: Box::new(stream), authority, exporter })
}

/// Says what to do about an error of TLS.
pub(super) fn explained(error: io::Error) -> io::Error {
    use rustls::CertificateError as Certificate;
    let Some(rustls::Error::InvalidCertificate(why)) = error.get_ref().and_then(|error| error.downcast_ref()) else {
        return match error.kind() {
            io::ErrorKind::InvalidData => {
                io::Error::new(error.kind(), format!("TLS: {error}; does the server speak TLS?"))
            }
            _ => error,
        };
    };
    let unknown;
    let text = match why {
        Certificate::UnknownIssuer => "its authority is not trusted here; name the authority's file with --tls-ca FILE",
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            "it is for other names; use one of them in the server's address"
        }
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            "it has expired; its operator must renew it, unless the clock of this machine is wrong"
        }
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            "it is not valid yet; is the clock of this machine right?"
        }
        why => {
            unknown = why.to_string();
            &unknown
        }
    };
    io::Error::new(error.kind(), format!("the server's certificate is refused: {text}"))
}

#[cfg(test)]
mod tests {
    use super::super::{CertificateFiles, ServerTls, create_dev_certificates};
    use super::*;

    fn files(host: &Host, folder: &Path, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = create_dev_certificates(host, folder, &names).unwrap();
        CertificateFiles { certificate: made.certificate, key: made.key }
    }

    /// Accepts one connection, and gives its exporter.
    async fn accepting(host: &Host, tls: ServerTls) -> (String, crate::host::tasks::JoinHandle<Option<Exporter>>) {
        let listener = host.listen("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = host.spawn(async move {
            let (io, _) = listener.accept().await.unwrap();
            tls.accept(io).await.ok().and_then(|accepted| accepted.exporter)
        });
        (format!("https://localhost:{port}"), task)
    }

    #[tokio::test]
    async fn both_ends_have_the_same_exporter_and_clients_have_none() {
        let (host, folder) = (Host::system(), tempfile::tempdir().unwrap());
        let files = files(&host, folder.path(), &["localhost"]);
        let authority = folder.path().join("ca.pem");
        let trusting = || Dialing::default().trusting(host.disk(), &authority).unwrap();
        let (address, accepted) = accepting(&host, ServerTls::open(&host, files.clone()).unwrap()).await;
        let stream = dial(&host.with_dialing(trusting().binding_links()), &address).await.unwrap();
        assert!(stream.exporter.is_some());
        assert_eq!(stream.exporter, accepted.await.unwrap());
        let (address, accepted) = accepting(&host, ServerTls::open(&host, files).unwrap()).await;
        let stream = dial(&host.with_dialing(trusting()), &address).await.unwrap();
        assert!(stream.exporter.is_none() && accepted.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_link_is_not_bound_to_tls_1_2() {
        let (host, folder) = (Host::system(), tempfile::tempdir().unwrap());
        let tls =
            ServerTls::open(&host, files(&host, folder.path(), &["localhost"])).unwrap().only(&rustls::version::TLS12);
        let (address, _task) = accepting(&host, tls).await;
        let dialing = Dialing::default().trusting(host.disk(), &folder.path().join("ca.pem")).unwrap();
        let error = dial(&host.with_dialing(dialing.binding_links()), &address).await.map(drop).unwrap_err();
        assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    }

    #[tokio::test]
    async fn a_refused_certificate_says_what_to_do() {
        let (host, folder, other) = (Host::system(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority_of = |folder: &tempfile::TempDir| folder.path().join("ca.pem");
        create_dev_certificates(&host, other.path(), &["localhost".into()]).unwrap();
        for (names, authority, expected) in
            [(["localhost"], &other, "--tls-ca"), (["another.example"], &folder, "it is for other names")]
        {
            let tls = ServerTls::open(&host, files(&host, folder.path(), &names)).unwrap();
            let (address, _task) = accepting(&host, tls).await;
            let dialing = Dialing::default().trusting(host.disk(), &authority_of(authority)).unwrap();
            let error = dial(&host.with_dialing(dialing), &address).await.map(drop).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn without_tls_nothing_leaves_this_machine_unless_allowed() {
        let host = Host::system();
        // An address for documentation, where nobody listens.
        let error = dial(&host, "192.0.2.1:9090").await.map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("https://192.0.2.1:9090") && error.to_string().contains("--insecure"));
        let refused = dial(&host, "localhost:1").await.map(drop).unwrap_err();
        assert_ne!(refused.kind(), io::ErrorKind::PermissionDenied);
        // It is dialled: the system says that nobody listens on that port of this machine's own address.
        let allowing = host.with_dialing(Dialing::default().allowing_plain());
        let error = dial(&allowing, "0.0.0.0:1").await.map(drop).unwrap_err();
        assert_ne!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        assert_eq!(dial(&host, "0.0.0.0:1").await.map(drop).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_file_without_authorities_is_refused() {
        let (host, folder) = (Host::system(), tempfile::tempdir().unwrap());
        let path = folder.path().join("ca.pem");
        let trusting = || Dialing::default().trusting(host.disk(), &path);
        assert!(matches!(trusting(), Err(TlsError::File(_))));
        for text in [
            "",
            "nothing",
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(trusting(), Err(TlsError::Pem { .. } | TlsError::Authority { .. })), "{text:?}");
        }
    }
}
