//! Speaks TLS for those that do not: passes on what is sent to it in plain to a server with TLS, from the same address.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// A relay on loopback. It ends when dropped.
#[derive(Debug)]
pub struct TlsRelay {
    address: String,
    listening: JoinHandle<()>,
}

impl TlsRelay {
    /// Starts a relay to a server whose certificate is for `localhost`, and which this authority issued.
    pub async fn start(target: &str, authority: &Path) -> Self {
        let mut authorities = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(authority).unwrap() {
            authorities.add(certificate.unwrap()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(authorities)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let target = target.to_owned();
        let listening = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(pass_on(near, target.clone(), connector.clone()));
            }
        });
        Self { address, listening }
    }

    /// `host:port` of the relay.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for TlsRelay {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn pass_on(mut near: TcpStream, target: String, connector: TlsConnector) -> Option<()> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind((near.peer_addr().ok()?.ip(), 0).into()).ok()?;
    let far = socket.connect(target.parse().ok()?).await.ok()?;
    near.set_nodelay(true).ok()?;
    far.set_nodelay(true).ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    let mut far = connector.connect(name, far).await.ok()?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await.ok().map(drop)
}
