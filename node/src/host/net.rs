//! Sockets.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Host;

/// A byte stream: TCP, an upgraded HTTP connection, or a socket in the file system.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Connections to other processes.
pub trait Network: Debug + Send + Sync {
    /// Listens on an address, `host:port`; port 0 picks a free one.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;
    /// Connects to an address, `host:port`. Small messages are sent at once.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Io>>>;
    /// The addresses of a name, `host:port`. By default only those that need no question.
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let parsed = address.parse().map(|address| vec![address]);
        Box::pin(std::future::ready(parsed.map_err(|_| io::ErrorKind::Unsupported.into())))
    }
    /// Listens on a socket in the file system, which only its owner can use. Replaces one that an earlier process left there.
    fn listen_unix(&self, path: &Path) -> io::Result<Box<dyn Listener>>;
    /// Connects to a socket in the file system.
    fn connect_unix<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Box<dyn Io>>>;
    /// Removes a socket's name, if it exists.
    fn forget_unix(&self, path: &Path);
}

/// Accepts connections.
pub trait Listener: Debug + Send + Sync {
    /// The next connection and its peer's address; unspecified for a socket in the file system. Small messages are sent at once. Dropping
    /// the future loses no connection.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Io>, SocketAddr)>>;
    /// The address that it listens on.
    ///
    /// # Errors
    /// The system does not know it, or it is a socket in the file system.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The operating system's sockets.
#[derive(Debug)]
pub(super) struct SystemNetwork;

impl Network for SystemNetwork {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener: Box<dyn Listener> = Box::new(TcpListener::bind(address).await?);
            Ok(listener)
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream: Box<dyn Io> = Box::new(stream);
            Ok(stream)
        })
    }

    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host(address).await?.collect()) })
    }

    fn listen_unix(&self, path: &Path) -> io::Result<Box<dyn Listener>> {
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Box::new(listener))
    }

    fn connect_unix<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(async move {
            let stream: Box<dyn Io> = Box::new(UnixStream::connect(path).await?);
            Ok(stream)
        })
    }

    fn forget_unix(&self, path: &Path) {
        // if it stays, the next process replaces it
        let _ = std::fs::remove_file(path);
    }
}

impl Listener for TcpListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Io>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = TcpListener::accept(self).await?;
            // if the connection is closed already, its use will fail
            let _ = stream.set_nodelay(true);
            let stream: Box<dyn Io> = Box::new(stream);
            Ok((stream, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}

impl Listener for UnixListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Io>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, _) = UnixListener::accept(self).await?;
            let stream: Box<dyn Io> = Box::new(stream);
            Ok((stream, SocketAddr::from(([0, 0, 0, 0], 0))))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::AddrNotAvailable.into())
    }
}

impl Host {
    /// Listens on an address, `host:port`; port 0 picks a free one.
    ///
    /// # Errors
    /// The address cannot be resolved or is in use.
    pub async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.0.network.listen(address).await
    }

    /// Connects to an address, `host:port`. Small messages are sent at once.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(&self, address: &str) -> io::Result<Box<dyn Io>> {
        self.0.network.connect(address).await
    }

    /// The addresses of a name, `host:port`.
    ///
    /// # Errors
    /// Nobody knows the name.
    pub async fn resolve(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        self.0.network.resolve(address).await
    }

    /// Listens on a socket in the file system, which only its owner can use. Replaces one that an earlier process left there.
    ///
    /// # Errors
    /// The path is too long ([`io::ErrorKind::InvalidInput`]), or the folder does not permit it.
    pub fn listen_unix(&self, path: &Path) -> io::Result<Box<dyn Listener>> {
        self.0.network.listen_unix(path)
    }

    /// Connects to a socket in the file system.
    ///
    /// # Errors
    /// There is no socket, or nobody listens there any more.
    pub async fn connect_unix(&self, path: &Path) -> io::Result<Box<dyn Io>> {
        self.0.network.connect_unix(path).await
    }

    /// Removes a socket's name, if it exists.
    pub fn forget_unix(&self, path: &Path) {
        self.0.network.forget_unix(path);
    }
}
