//! Proxies in front of the server, and what they say about the requests that they pass on.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use hyper::header::{HeaderMap, HeaderName};
use ipnet::IpNet;
use thiserror::Error;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// An address of a proxy, or a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyAddress(IpNet);

/// The text is no address and no range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected an IP address or a range of them, such as 10.0.0.7 or 10.0.0.0/24")]
pub struct ProxyAddressError;

impl FromStr for ProxyAddress {
    type Err = ProxyAddressError;

    fn from_str(text: &str) -> Result<Self, ProxyAddressError> {
        let range = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        range.map(Self).map_err(|_| ProxyAddressError)
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The proxies whose word counts.
#[derive(Debug, Clone, Default)]
pub(super) struct TrustedProxies(Vec<ProxyAddress>);

/// What a trusted proxy says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// Who sent it to the proxy; `None` if the proxy does not say.
    pub(super) client: Option<IpAddr>,
    /// Whether it came to the proxy by TLS.
    pub(super) is_tls: bool,
}

impl TrustedProxies {
    pub(super) fn new(proxies: Vec<ProxyAddress>) -> Self {
        Self(proxies)
    }

    /// Whether a connection from this address is from one of them.
    pub(super) fn include(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|proxy| proxy.0.contains(&address))
    }

    /// What the headers of a request from a trusted proxy say. Each proxy appends whom it got the request from, so that the last address that
    /// is none of theirs is the client's. What is before it, the client may have made up.
    pub(super) fn forwarded(&self, headers: &HeaderMap) -> Forwarded {
        let last_first = |name: HeaderName| {
            let values: Vec<_> = headers.get_all(name).iter().rev().collect();
            values.into_iter().flat_map(|value| {
                let parts: Vec<&str> = value.to_str().unwrap_or_default().rsplit(',').map(str::trim).collect();
                parts
            })
        };
        let mut client = None;
        for part in last_first(FORWARDED_FOR) {
            // The addresses before a malformed one say nothing: the client may have made them up.
            let Some(address) = address_in(part) else { break };
            client = Some(address);
            if !self.include(address) {
                break;
            }
        }
        let is_tls = last_first(FORWARDED_PROTO).next().is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        Forwarded { client, is_tls }
    }
}

/// An address, perhaps with a port.
fn address_in(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn trusted(texts: &[&str]) -> TrustedProxies {
        TrustedProxies::new(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn ranges_and_addresses_are_trusted_and_nothing_else() {
        let proxies = trusted(&["10.0.0.0/24", "192.0.2.7", "2001:db8::/32"]);
        for address in ["10.0.0.0", "10.0.0.255", "192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"] {
            assert!(proxies.include(address.parse().unwrap()), "{address}");
        }
        for address in ["10.0.1.0", "192.0.2.8", "2001:db9::1", "127.0.0.1"] {
            assert!(!proxies.include(address.parse().unwrap()), "{address}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0", "localhost", "10.0.0.1:80", "::1/129"] {
            assert!(text.parse::<ProxyAddress>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_last_address_that_is_no_proxys_is_the_clients() {
        let proxies = trusted(&["10.0.0.0/24"]);
        for (values, client) in [
            (&["192.0.2.1"][..], Some("192.0.2.1")),
            // What the client made up comes before its own address.
            (&["127.0.0.1, 192.0.2.1"], Some("192.0.2.1")),
            (&["127.0.0.1", "192.0.2.1 ,10.0.0.2"], Some("192.0.2.1")),
            (&["192.0.2.1:5678"], Some("192.0.2.1")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["[2001:db8::1]:5678"], Some("2001:db8::1")),
            (&["::ffff:192.0.2.1"], Some("192.0.2.1")),
            // A client that is in the range of the proxies.
            (&["10.0.0.9"], Some("10.0.0.9")),
            (&["192.0.2.1, unknown, 10.0.0.9"], Some("10.0.0.9")),
            (&["unknown"], None),
            (&["192.0.2.1,"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
            }
            let forwarded = proxies.forwarded(&headers);
            assert_eq!(forwarded.client, client.map(|client| client.parse().unwrap()), "{values:?}");
            assert!(!forwarded.is_tls);
        }
        for (proto, is_tls) in [("https", true), ("HTTPS", true), ("http, https", true), ("https, http", false)] {
            let headers = HeaderMap::from_iter([(FORWARDED_PROTO, HeaderValue::from_static(proto))]);
            assert_eq!(proxies.forwarded(&headers), Forwarded { client: None, is_tls }, "{proto}");
        }
    }
}
