//! Web origins: the pages from which a server takes requests are configured by their origins.

use std::fmt;
use std::str::FromStr;

use hyper::http::uri::Authority;
use thiserror::Error;

/// An origin as a browser sends it (RFC 6454 section 6.2): lower case, without a default port. `null` is an origin too: that of every
/// sandboxed page and every local file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

/// The text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "expected SCHEME://HOST or SCHEME://HOST:PORT without a path, such as https://vouch.example, or null; got {0:?}"
)]
pub struct OriginError(String);

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text == "null" {
            return Ok(Self(text.into()));
        }
        let wrong = || OriginError(text.chars().take(80).collect());
        let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let authority: Authority = authority.parse().map_err(|_| wrong())?;
        let host = authority.host().to_ascii_lowercase();
        // Host and port must be the whole authority: this refuses user names and bad ports. No browser sends a wildcard.
        let is_whole = match authority.port() {
            Some(port) => port.as_u16() > 0 && authority.as_str().len() == host.len() + 1 + port.as_str().len(),
            None => authority.as_str().len() == host.len(),
        };
        if !is_scheme || host.is_empty() || !is_whole || host.contains(['*', '%']) {
            return Err(wrong());
        }
        Ok(Self(match authority.port_u16() {
            Some(port) if Some(port) != default_port(&scheme) => format!("{scheme}://{host}:{port}"),
            _ => format!("{scheme}://{host}"),
        }))
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
