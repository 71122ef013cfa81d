//! Addresses of servers, as users give them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::http::Uri;
use thiserror::Error;

const HTTPS_PORT: u16 = 443;

/// Where a server is reached, and whether by TLS. Its text is `HOST:PORT`, or `https://HOST` and a port other than 443.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    is_tls: bool,
    /// A DNS name, an IPv4 address, or an IPv6 address in brackets.
    host: String,
    port: u16,
}

/// The text is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected HOST:PORT, such as 127.0.0.1:9090, or a URL, such as https://vouch.example")]
pub struct ServerAddressError;

impl ServerAddress {
    /// Whether the connection is by TLS.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether the server is on this machine. A name is not resolved: it could be another machine's tomorrow.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }

    /// `HOST:PORT`, to connect to.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The name or IP address that the server's certificate must be for.
    pub fn name(&self) -> &str {
        without_brackets(&self.host)
    }
}

/// A host's name or IP address. URLs have brackets around IPv6 addresses.
fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// Whether a host, as it stands before the port of an address, is this machine.
pub fn is_loopback_host(host: &str) -> bool {
    let name = without_brackets(host);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether an address is of a server on this machine. Nobody can intercept a connection to it.
pub fn is_loopback(address: &str) -> bool {
    address.parse::<ServerAddress>().is_ok_and(|address| address.is_loopback())
}

impl FromStr for ServerAddress {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, ServerAddressError> {
        let (is_tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "https" | "wss" => (true, rest),
                "http" | "ws" => (false, rest),
                _ => return Err(ServerAddressError),
            },
        };
        let has_scheme = rest.len() < text.len();
        let rest = if has_scheme { rest.strip_suffix('/').unwrap_or(rest) } else { rest };
        let uri: Uri = format!("http://{rest}").parse().map_err(|_| ServerAddressError)?;
        // Anything beside host and port is lost in them.
        let authority = uri.authority().filter(|authority| authority.as_str() == rest).ok_or(ServerAddressError)?;
        let host = authority.host();
        if host.is_empty() || rest.contains('@') {
            return Err(ServerAddressError);
        }
        let default = match (has_scheme, is_tls) {
            (false, _) => None,
            (true, true) => Some(HTTPS_PORT),
            (true, false) => Some(80),
        };
        let port = match authority.port() {
            Some(port) => port.as_str().parse().map_err(|_| ServerAddressError)?,
            None if rest.ends_with(':') => return Err(ServerAddressError),
            None => default.ok_or(ServerAddressError)?,
        };
        if port == 0 {
            return Err(ServerAddressError);
        }
        Ok(Self { is_tls, host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_tls, host, port } = self;
        match (is_tls, *port) {
            (false, port) => write!(f, "{host}:{port}"),
            (true, HTTPS_PORT) => write!(f, "https://{host}"),
            (true, port) => write!(f, "https://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_text_however_it_was_written() {
        for (text, shown, authority, name) in [
            ("127.0.0.1:9090", "127.0.0.1:9090", "127.0.0.1:9090", "127.0.0.1"),
            ("[::1]:9090", "[::1]:9090", "[::1]:9090", "::1"),
            ("Vouch.Example:9090", "vouch.example:9090", "vouch.example:9090", "vouch.example"),
            ("http://vouch.example:9090", "vouch.example:9090", "vouch.example:9090", "vouch.example"),
            ("ws://vouch.example/", "vouch.example:80", "vouch.example:80", "vouch.example"),
            ("https://vouch.example", "https://vouch.example", "vouch.example:443", "vouch.example"),
            ("HTTPS://vouch.example:443/", "https://vouch.example", "vouch.example:443", "vouch.example"),
            ("wss://vouch.example:9090", "https://vouch.example:9090", "vouch.example:9090", "vouch.example"),
            ("https://[2001:db8::1]:9090/", "https://[2001:db8::1]:9090", "[2001:db8::1]:9090", "2001:db8::1"),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.authority().as_str()), (shown, authority), "{text}");
            assert_eq!((address.name(), address.is_tls()), (name, shown.starts_with("https")), "{text}");
            assert_eq!(shown.parse(), Ok(address));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "9090",
            "127.0.0.1",
            ":9090",
            "a:",
            "a:0",
            "a:65536",
            "a:x",
            "::1:9090",
            "[::1]",
            "a:1/",
            "a:1/b",
            "https://",
            "https://:1",
            "https://a:",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://b@a",
            "b@a:1",
            "ftp://a:1",
            "https:a:1",
            "https://a b",
            "a b:1",
            "https://https://a",
        ] {
            assert_eq!(text.parse::<ServerAddress>(), Err(ServerAddressError), "{text:?}");
        }
    }

    #[test]
    fn only_what_cannot_be_another_machine_is_on_loopback() {
        for text in ["127.0.0.1:1", "127.8.0.1:1", "[::1]:1", "LOCALHOST:1", "https://localhost", "https://[::1]:2"] {
            assert!(is_loopback(text), "{text}");
        }
        for text in ["10.0.0.1:1", "[2001:db8::1]:1", "localhost.example:1", "https://127.0.0.1.example", "nothing"] {
            assert!(!is_loopback(text), "{text}");
        }
    }
}
