//! Sockets.

use std::io;

pub use tokio::net::{TcpListener, TcpStream};

/// Listens on an address, `host:port`; port 0 takes a free one.
///
/// # Errors
/// When the address cannot be resolved or is in use.
pub async fn listen(address: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Connects to an address, `host:port`. Small messages leave at once.
///
/// # Errors
/// When nobody listens there.
pub async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
