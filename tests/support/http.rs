//! HTTP/1.1 requests written by hand, and their responses, complete or truncated.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vouch_core::digest::Digest;

/// Timeout of one exchange.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A response, parsed after the connection ended.
#[derive(Debug)]
pub struct Answer {
    /// 0 without a response.
    pub status: u16,
    /// Header names are in lower case.
    pub headers: Vec<(String, String)>,
    /// As much as arrived.
    pub body: Vec<u8>,
}

impl Answer {
    /// Parses all bytes received on a connection.
    pub fn parse(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(bytes);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Self { status: 0, headers: Vec::new(), body: bytes.to_vec() };
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        };
        Self { status, headers: lines.map(header).collect(), body: bytes[end + 4..].to_vec() }
    }

    /// A header's value; it must not occur twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} twice: {:?}", self.headers);
        value
    }

    /// Whether the body has the announced length.
    pub fn is_complete(&self) -> bool {
        self.header("content-length").is_some_and(|length| length == self.body.len().to_string())
    }

    /// Decodes a chunked body (RFC 9112 section 7.1); it must be complete.
    pub fn unchunked(&self) -> Vec<u8> {
        assert_eq!(self.header("transfer-encoding"), Some("chunked"));
        let (mut rest, mut body) = (&self.body[..], Vec::new());
        loop {
            let end = rest.windows(2).position(|window| window == b"\r\n").expect("a chunk's size");
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
            rest = &rest[end + 2..];
            if size == 0 {
                assert_eq!(rest, b"\r\n");
                return body;
            }
            body.extend_from_slice(&rest[..size]);
            rest = rest[size..].strip_prefix(b"\r\n").expect("a chunk's end");
        }
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that this is a well-formed problem (RFC 9457); returns its code.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        let problem = self.json();
        let keys: Vec<&str> = problem.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["type", "title", "status", "detail", "code", "members"]);
        assert_eq!((&problem["type"], &problem["status"]), (&"about:blank".into(), &self.status.into()));
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()));
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        problem["code"].as_str().unwrap().into()
    }
}

/// The head of a request with `Connection: close`. `Host` is the address unless among the headers.
pub fn head(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

/// Sends bytes; returns everything received until the connection ends.
pub async fn exchange(address: &str, request: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let mut answer = Vec::new();
    // the server may answer and close before everything was sent: write errors do not matter, the answer does
    let both = async { tokio::join!(writer.write_all(request), reader.read_to_end(&mut answer)) };
    let _ = tokio::time::timeout(TIMEOUT, both).await.expect("the server closes");
    answer
}

/// Sends one request; returns the response.
pub async fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let length = body.len().to_string();
    let mut headers = headers.to_vec();
    if method == "PUT" {
        headers.push(("Content-Length", &length));
    }
    let head = head(address, method, path, &headers);
    Answer::parse(&exchange(address, &[head.as_bytes(), body].concat()).await)
}

/// Gets a path.
pub async fn get(address: &str, path: &str) -> Answer {
    request(address, "GET", path, &[], b"").await
}

/// Puts bytes.
pub async fn put(address: &str, bytes: &[u8]) -> Answer {
    request(address, "PUT", "/v1/blobs", &[], bytes).await
}

/// A blob's path.
pub fn blob(bytes: &[u8]) -> String {
    format!("/v1/blobs/{}", Digest::of(bytes).to_hex())
}
