//! Looks at a server's TLS: what its certificate is for and until when it is valid, by the same rules as for every connection.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, RootCertStore, SignatureScheme,
};
use tokio_rustls::TlsConnector;

use super::clock::HostTime;
use super::dialing::explained;
use super::{CertificateFiles, ServerAddress, ServerTls, TlsError, exporter, provider};
use crate::host::Host;
use crate::host::net::Io;

/// How far ahead an end of validity is looked for, in seconds: a hundred years.
const HORIZON: u64 = 100 * 365 * 86_400;
/// Maximum number of names that are told of a certificate: its owner may put any number in.
const MAX_NAMES: usize = 8;

/// A server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExaminedCertificate {
    /// The first DNS names that it is for. It may be for IP addresses as well.
    pub names: Vec<String>,
    /// The last second at which it and those between it and its authority are valid, since 1970. `None`: later than anybody can say.
    pub valid_until: Option<u64>,
}

/// What a handshake showed.
#[derive(Debug)]
pub struct ExaminedServer {
    /// The certificate; `None` if the server showed none.
    pub certificate: Option<ExaminedCertificate>,
    /// Whether replicas can bind their links to the connection, which takes TLS 1.3; or why there is no connection.
    pub result: io::Result<bool>,
}

/// Decides as every client does, and keeps what was shown.
#[derive(Debug)]
struct RecordingVerifier {
    inner: Arc<WebPkiServerVerifier>,
    shown: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = [certificate].into_iter().chain(others).map(|one| one.clone().into_owned()).collect();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        self.inner.verify_server_cert(certificate, others, name, stapled, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn verifier(authorities: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), provider()).build();
    built.map_err(|error| TlsError::Library(error.to_string()))
}

/// Makes a handshake over a connection to a server with TLS. The caller sets a deadline.
///
/// # Errors
/// The authorities to trust cannot be used.
pub async fn examine_server(host: &Host, address: &ServerAddress, io: Box<dyn Io>) -> Result<ExaminedServer, TlsError> {
    let inner = verifier(host.dialing().authorities()?)?;
    let recording = Arc::new(RecordingVerifier { inner: inner.clone(), shown: Mutex::default() });
    let config = ClientConfig::builder_with_details(provider(), Arc::new(HostTime::of(host)))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Library(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(recording.clone())
        .with_no_client_auth();
    let name =
        ServerName::try_from(address.name().to_owned()).map_err(|_| TlsError::Name(address.name().to_owned()))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name.clone(), io);
    let result = Box::pin(connecting).await.map_err(explained).map(|stream| {
        let connection = stream.get_ref().1;
        connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) && exporter(connection).is_some()
    });
    let shown = std::mem::take(&mut *recording.shown.lock().unwrap_or_else(PoisonError::into_inner));
    let certificate = (!shown.is_empty()).then(|| examined(host, &inner, &shown, &name));
    Ok(ExaminedServer { certificate, result })
}

/// Reads a server's certificate and key as the server does, and judges the certificate as a client with the trusted authorities would. Returns
/// also why such a client would refuse it, for whatever name of it the client uses.
///
/// # Errors
/// A server could not use the files, or the authorities to trust cannot be used.
pub fn examine_files(
    host: &Host,
    files: CertificateFiles,
) -> Result<(ExaminedCertificate, Option<io::Error>), TlsError> {
    let tls = ServerTls::open(host, files)?;
    let chain = tls.chain();
    let inner = verifier(host.dialing().authorities()?)?;
    let any = "vouch.invalid";
    let name = tls.dns_name().unwrap_or_else(|| any.to_owned());
    let name = ServerName::try_from(name).map_err(|error| TlsError::Name(error.to_string()))?;
    let refused = match judged(&inner, &chain, &name, host.unix_seconds()) {
        // Names are the last that is checked.
        Ok(())
        | Err(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => None,
        Err(error) => Some(explained(io::Error::new(io::ErrorKind::InvalidData, error))),
    };
    Ok((examined(host, &inner, &chain, &name), refused))
}

fn judged(
    verifier: &WebPkiServerVerifier,
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    at: u64,
) -> Result<(), Error> {
    let (certificate, others) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
    verifier.verify_server_cert(certificate, others, name, &[], at).map(drop)
}

fn examined(
    host: &Host,
    verifier: &WebPkiServerVerifier,
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
) -> ExaminedCertificate {
    let certificate = chain.first().and_then(|first| webpki::EndEntityCert::try_from(first).ok());
    let names =
        certificate.map(|certificate| certificate.valid_dns_names().take(MAX_NAMES).map(str::to_owned).collect());
    let has_expired = |at| {
        matches!(
            judged(verifier, chain, name, at),
            Err(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }))
        )
    };
    let horizon = host.unix_seconds().saturating_add(HORIZON);
    let valid_until = has_expired(horizon).then(|| last_before(horizon, has_expired));
    ExaminedCertificate { names: names.unwrap_or_default(), valid_until }
}

/// The last second before `end`, at which it has happened, at which it has not happened yet; 0 if it always had.
fn last_before(end: u64, has_happened: impl Fn(u64) -> bool) -> u64 {
    let (mut before, mut after) = (0, end);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        match has_happened(middle) {
            true => after = middle,
            false => before = middle,
        }
    }
    before
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use time::OffsetDateTime;

    use super::super::{Dialing, create_dev_certificates};
    use super::*;

    fn date(seconds: u64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds.try_into().unwrap()).unwrap()
    }

    /// Files of a certificate for `localhost` that ends at this time, and a host that trusts its authority.
    fn ending_at(folder: &std::path::Path, end: u64) -> (CertificateFiles, Host) {
        let (own, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(folder.join("ca.pem"), authority.self_signed(&own).unwrap().pem()).unwrap();
        let mut server = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (server.not_before, server.not_after) = (date(end - 86_400), date(end));
        let issued = server.signed_by(&key, &Issuer::new(authority, own)).unwrap();
        let files = CertificateFiles { certificate: folder.join("a.pem"), key: folder.join("a.key") };
        std::fs::write(&files.certificate, issued.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&files.key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let host = Host::system();
        let dialing = Dialing::default().trusting(host.disk(), &folder.join("ca.pem")).unwrap();
        (files, host.with_dialing(dialing))
    }

    #[test]
    fn the_last_valid_second_of_a_certificate_is_found_before_and_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let now = Host::system().unix_seconds();
        for (end, is_refused) in [(now + 3600, false), (now - 3600, true)] {
            let (files, host) = ending_at(folder.path(), end);
            let (certificate, refused) = examine_files(&host, files).unwrap();
            assert_eq!(certificate, ExaminedCertificate { names: vec!["localhost".into()], valid_until: Some(end) });
            assert_eq!(refused.is_some(), is_refused, "{refused:?}");
            assert!(refused.is_none_or(|why| why.to_string().contains("it has expired")));
        }
    }

    #[test]
    fn a_certificate_for_an_address_only_is_judged_and_a_strange_authority_refused() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let host = Host::system();
        let made = create_dev_certificates(&host, folder.path(), &["10.0.0.1".into()]).unwrap();
        create_dev_certificates(&host, other.path(), &["10.0.0.1".into()]).unwrap();
        for (authority, is_refused) in [(&folder, false), (&other, true)] {
            let dialing = Dialing::default().trusting(host.disk(), &authority.path().join("ca.pem")).unwrap();
            let files = CertificateFiles { certificate: made.certificate.clone(), key: made.key.clone() };
            let (certificate, refused) = examine_files(&host.with_dialing(dialing), files).unwrap();
            assert!(certificate.names.is_empty() && certificate.valid_until.is_some());
            assert_eq!(refused.is_some(), is_refused, "{refused:?}");
            assert!(refused.is_none_or(|why| why.to_string().contains("--tls-ca")));
        }
    }

    #[tokio::test]
    async fn a_handshake_shows_the_certificate_also_if_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let now = Host::system().unix_seconds();
        for (end, version, expected) in [
            (now + 3600, None, Some(true)),
            (now + 3600, Some(&rustls::version::TLS12), Some(false)),
            (now - 3600, None, None),
        ] {
            let (files, host) = ending_at(folder.path(), end);
            let mut tls = ServerTls::open(&host, files).unwrap();
            if let Some(only) = version {
                tls = tls.only(only);
            }
            let (near, far) = tokio::io::duplex(64 << 10);
            let accepting = host.spawn(async move { tls.accept(Box::new(far)).await.map(drop) });
            let address = "https://localhost:1".parse().unwrap();
            let examined = examine_server(&host, &address, Box::new(near)).await.unwrap();
            assert_eq!(examined.certificate.unwrap().valid_until, Some(end));
            assert_eq!(examined.result.ok(), expected);
            accepting.abort();
        }
    }

    #[test]
    fn the_last_second_before_an_event_is_found() {
        for end in [0, 1, 2, 1000, 1001] {
            assert_eq!(last_before(5000, |at| at > end), end);
        }
        assert_eq!(last_before(5000, |_| true), 0);
    }
}
