//! An S3 server with its objects in a folder, and a proxy to it that can be cut.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The access key.
pub const KEY: &str = "vouch-tests";
/// The secret key.
pub const SECRET: &str = "a secret of the tests";
/// The bucket.
pub const BUCKET: &str = "blobs";

/// An S3 server in this process.
pub struct S3Server {
    folder: TempDir,
    address: SocketAddr,
    service: S3Service,
    running: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Starts a server with an empty bucket.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let (listener, address) = listen("127.0.0.1:0").await;
        let mut server = Self { folder, address, service: builder.build(), running: None };
        server.serve(listener);
        server
    }

    /// Its URL, `http://HOST:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value of a replica's `--store`.
    pub fn store(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint={}", self.endpoint())
    }

    /// Path of an object's file.
    pub fn file(&self, key: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(key)
    }

    /// Names of files that unfinished uploads left behind.
    pub fn leftovers(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".upload")).collect()
    }

    /// Ends its connections and stops listening.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
    }

    /// Listens again on the same port.
    pub async fn resume(&mut self) {
        let (listener, _) = listen(&self.address.to_string()).await;
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        let service = self.service.clone();
        self.running = Some(tokio::spawn(async move {
            // dropped, and so ended, with this task
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = service.clone();
                connections.spawn(async move {
                    // a client may disconnect at any time
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }));
    }
}

/// A proxy to a server that stops forwarding after a number of bytes, until it is mended.
pub struct S3Proxy {
    address: SocketAddr,
    left: Arc<AtomicU64>,
    is_cut: Arc<AtomicBool>,
    running: JoinHandle<()>,
}

impl S3Proxy {
    /// Starts a proxy that forwards everything.
    pub async fn to(server: SocketAddr) -> Self {
        let (listener, address) = listen("127.0.0.1:0").await;
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let is_cut = Arc::new(AtomicBool::new(false));
        let (proxy_left, proxy_is_cut) = (left.clone(), is_cut.clone());
        let running = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // a cut proxy drops new connections
                if !proxy_is_cut.load(Ordering::SeqCst) {
                    connections.spawn(carry(stream, server, proxy_left.clone(), proxy_is_cut.clone()));
                }
            }
        });
        Self { address, left, is_cut, running }
    }

    /// The URL to connect to, `http://HOST:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts the proxy after `bytes` more bytes to the server.
    pub fn cut_after(&self, bytes: u64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    /// Whether it is cut.
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }

    /// Forwards everything again.
    pub fn mend(&self) {
        self.left.store(u64::MAX, Ordering::SeqCst);
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for S3Proxy {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn carry(client: TcpStream, server: SocketAddr, left: Arc<AtomicU64>, is_cut: Arc<AtomicBool>) {
    let server = TcpStream::connect(server).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(size @ 1..) = from_client.read(&mut buffer).await {
            let before = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(size as u64));
            if before.is_err() || is_cut.load(Ordering::SeqCst) {
                is_cut.store(true, Ordering::SeqCst);
                return;
            }
            if to_server.write_all(&buffer[..size]).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    };
    // when one direction ends, both connections close
    tokio::select! { () = up => {}, () = down => {} }
}

/// A server that accepts every upload, stores nothing, and returns these bytes for every object. It ends with the runtime.
pub async fn lying_server(object: &'static [u8]) -> String {
    let (listener, address) = listen("127.0.0.1:0").await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = service_fn(move |request| async move { answer(request, object).await });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    format!("http://{address}")
}

async fn answer(request: Request<Incoming>, object: &'static [u8]) -> hyper::Result<Response<Full<Bytes>>> {
    let is_list = request.uri().query().is_some_and(|query| query.contains("list-type"));
    let (method, range) = (request.method().clone(), request.headers().get("range").cloned());
    request.into_body().collect().await?;
    let response = Response::builder().header("etag", "\"1\"").header("last-modified", "Sat, 21 Nov 2026 12:00:00 GMT");
    let response = match (method, range) {
        _ if is_list => response.body(Full::from(
            "<ListBucketResult><Name>blobs</Name><IsTruncated>false</IsTruncated></ListBucketResult>",
        )),
        (Method::GET, Some(range)) => {
            let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap().to_owned();
            let content_range = format!("bytes {range}/{}", object.len());
            response.status(206).header("content-range", content_range).body(Full::from(object))
        }
        (Method::GET | Method::HEAD, _) => response.body(Full::from(object)),
        _ => response.body(Full::default()),
    };
    Ok(response.unwrap())
}

async fn listen(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Writes an object's file behind the server's back.
pub fn overwrite(file: &Path, bytes: &[u8]) {
    std::fs::write(file, bytes).unwrap();
}
