//! Requests over HTTP to a server: one connection each, bounded in time and bytes. What comes back is not verified here.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use thiserror::Error;
use vouch_core::session::progress::CONNECT_DEADLINE;

use crate::host::Host;
use crate::tls::{self, ServerStream};

/// Maximum size of a problem's text in bytes.
const MAX_PROBLEM: usize = 64 << 10;
/// Maximum length of a problem's detail in characters: it is shown to people.
const MAX_DETAIL: usize = 600;

/// A request to a server.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// The server, `host:port` or `https://host`.
    pub server: String,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The body; may be empty.
    pub body: Bytes,
    /// The longest answer to read, in bytes.
    pub limit: usize,
    /// How long the server may take from the request to the end of its answer.
    pub patience: Duration,
}

/// A successful answer.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    /// The body; empty for 204.
    pub body: Bytes,
    /// The time of the server's clock, in seconds since 1970, if the answer has it (`Date`).
    pub date: Option<u64>,
}

/// Why a request has no good answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The server cannot be reached.
    #[error("cannot connect to {server}: {error}")]
    Connect {
        /// The server.
        server: String,
        /// The system's error.
        error: io::Error,
    },
    /// The request cannot be expressed.
    #[error("cannot ask {server}: {error}")]
    Request {
        /// The server.
        server: String,
        /// Why not.
        error: hyper::http::Error,
    },
    /// The connection broke, or its other end does not speak HTTP.
    #[error("the connection to {server} broke off: {error}")]
    Broken {
        /// The server.
        server: String,
        /// What hyper found.
        error: hyper::Error,
    },
    /// The answer took too long.
    #[error("{server} did not answer within {} s", .after.as_secs())]
    Late {
        /// The server.
        server: String,
        /// How long the client waited.
        after: Duration,
    },
    /// The answer is too long.
    #[error("expected at most {limit} bytes from {server}, got more")]
    TooLarge {
        /// The server.
        server: String,
        /// The limit.
        limit: usize,
    },
    /// The server refused the request.
    #[error("{server} refused: {detail}")]
    Refused {
        /// The server.
        server: String,
        /// The status.
        status: StatusCode,
        /// The server's reason.
        detail: String,
    },
}

impl HttpError {
    /// Whether the same request may succeed later, or may have succeeded without its answer arriving.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken { .. } | Self::Late { .. } => true,
            Self::Refused { status, .. } => status.is_server_error(),
            Self::Request { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// The status of a refusal.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// The part of a problem (RFC 9457) that is shown.
#[derive(Deserialize)]
struct ProblemDetail {
    detail: String,
}

impl HttpRequest {
    /// A GET.
    pub fn get(server: &str, path: String, limit: usize, patience: Duration) -> Self {
        Self { server: server.to_owned(), method: Method::GET, path, body: Bytes::new(), limit, patience }
    }

    /// A POST of these bytes.
    pub fn post(server: &str, path: String, body: Bytes, limit: usize, patience: Duration) -> Self {
        Self { method: Method::POST, body, ..Self::get(server, path, limit, patience) }
    }

    /// Sends the request. Returns the body of a successful answer; empty for 204.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn send(self, host: &Host) -> Result<Bytes, HttpError> {
        Ok(self.answer(host).await?.body)
    }

    /// Sends the request. Returns a successful answer.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn answer(self, host: &Host) -> Result<HttpAnswer, HttpError> {
        let server = || self.server.clone();
        let connecting = host.timeout(CONNECT_DEADLINE, tls::dial(host, &self.server)).await;
        let ServerStream { io, authority, .. } = connecting
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| HttpError::Connect { server: server(), error })?;
        let request = Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, concat!("vouch/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(self.body.clone()))
            .map_err(|error| HttpError::Request { server: server(), error })?;
        let broken = |error| HttpError::Broken { server: server(), error };
        let exchange = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
            let asked = async {
                let response = sender.send_request(request).await.map_err(broken)?;
                self.read(response).await
            };
            tokio::pin!(asked, connection);
            // The connection must be polled for the answer to arrive. It ends before the answer is read if the server closes it.
            tokio::select! {
                biased;
                answer = &mut asked => answer,
                _ = &mut connection => asked.await,
            }
        };
        match host.timeout(self.patience, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::Late { server: server(), after: self.patience }),
        }
    }

    async fn read(&self, response: Response<Incoming>) -> Result<HttpAnswer, HttpError> {
        let status = response.status();
        let date = response.headers().get(header::DATE).and_then(date_of);
        let limit = if status.is_success() { self.limit } else { MAX_PROBLEM };
        let mut body = response.into_body();
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| HttpError::Broken { server: self.server.clone(), error })?;
            let data = frame.into_data().unwrap_or_default();
            if bytes.len() + data.len() > limit {
                return Err(HttpError::TooLarge { server: self.server.clone(), limit });
            }
            bytes.extend_from_slice(&data);
        }
        if status.is_success() {
            return Ok(HttpAnswer { body: bytes.freeze(), date });
        }
        let problem = serde_json::from_slice::<ProblemDetail>(&bytes).map(|problem| problem.detail);
        let detail = problem.unwrap_or_else(|_| format!("status {status}")).chars().take(MAX_DETAIL).collect();
        Err(HttpError::Refused { server: self.server.clone(), status, detail })
    }
}

/// The time in a header, in seconds since 1970; `None` if it is no date.
fn date_of(value: &HeaderValue) -> Option<u64> {
    let date = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    Some(date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_seconds_since_1970() {
        let date = |text: &'static str| date_of(&HeaderValue::from_static(text));
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for no_date in ["", "now", "Sun, 06 Nov 99999 08:49:37 GMT", "784111777"] {
            assert_eq!(date(no_date), None, "{no_date}");
        }
    }
}
