//! The web pages that may open links and put: the server's own, and those of origins that its operator allowed.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Response, StatusCode};

use super::problem::Problem;
use super::reply::{self, Body};
use crate::server::origin::Origin;

/// How long a browser may cache a preflight response, in seconds.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origin of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// Not a browser's page, which would send an origin.
    Program,
    /// A page of this server.
    Own,
    /// A page of an allowed origin.
    Allowed(HeaderValue),
    /// Any other page.
    Foreign(String),
}

impl Caller {
    /// `is_tls`: whether the request came by TLS.
    pub(super) fn of(headers: &HeaderMap, is_tls: bool, allowed: &[Origin]) -> Self {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(value) = origins.next() else { return Self::Program };
        let foreign = || Self::Foreign(String::from_utf8_lossy(value.as_bytes()).chars().take(80).collect());
        let (Ok(text), None) = (value.to_str(), origins.next()) else { return foreign() };
        let Ok(origin) = text.parse::<Origin>() else { return foreign() };
        match () {
            () if allowed.contains(&origin) => Self::Allowed(value.clone()),
            () if own(headers, is_tls).is_some_and(|own| own == origin) => Self::Own,
            () => foreign(),
        }
    }

    /// # Errors
    /// A page of a foreign origin: its visitor did not ask for this request.
    pub(super) fn admit(&self) -> Result<(), Problem> {
        let Self::Foreign(origin) = self else { return Ok(()) };
        let detail = format!(
            "pages of {origin:?} may not do this here; the operator of the server can allow it with --allow-origin, \
             and its own pages do it under an IP address or localhost"
        );
        Err(Problem::new(StatusCode::FORBIDDEN, "origin-not-allowed", detail))
    }

    /// Lets an allowed page read the response (CORS, in the Fetch standard). Credentials are never allowed: there are none.
    pub(super) fn let_read(&self, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_name(header::ORIGIN));
        if let Self::Allowed(origin) = self {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            let exposed = HeaderValue::from_static("ETag, Location, Content-Length, Content-Range, Accept-Ranges");
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// The pages that may embed a blob (the Fetch standard's Cross-Origin-Resource-Policy).
    pub(super) fn resource_policy(&self) -> HeaderValue {
        HeaderValue::from_static(if matches!(self, Self::Allowed(_)) { "cross-origin" } else { "same-origin" })
    }

    /// Answers a browser's preflight request.
    ///
    /// # Errors
    /// A page of a foreign origin.
    pub(super) fn preflight(&self, methods: &'static str) -> Result<Response<Body>, Problem> {
        self.admit()?;
        let mut response = reply::empty(StatusCode::NO_CONTENT);
        let headers = response.headers_mut();
        headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        if matches!(self, Self::Allowed(_)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
            let sent = HeaderValue::from_static("Authorization, Content-Type, If-None-Match, Range, If-Range");
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, sent);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
        }
        Ok(response)
    }
}

/// The origin of this server's own pages, from the request's `Host`. Without TLS, only for an IP address or `localhost`: a page of evil.example
/// can make its own name resolve to this server (DNS rebinding). With TLS, the browser has seen that the server's certificate is for the name.
fn own(headers: &HeaderMap, is_tls: bool) -> Option<Origin> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
    let authority: Authority = host.to_str().ok()?.parse().ok()?;
    if is_tls {
        return format!("https://{authority}").parse().ok();
    }
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_address = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok(),
    };
    if !is_address && !name.eq_ignore_ascii_case("localhost") {
        return None;
    }
    format!("http://{authority}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: &[&str], host: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in origin {
            headers.append(header::ORIGIN, HeaderValue::from_str(value).unwrap());
        }
        for value in host {
            headers.append(header::HOST, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn caller(origin: &str, host: &str) -> Caller {
        let allowed = ["https://vouch.example".parse().unwrap(), "http://10.0.0.1:80".parse().unwrap()];
        Caller::of(&headers(&[origin], &[host]), false, &allowed)
    }

    fn is_foreign(caller: &Caller) -> bool {
        matches!(caller, Caller::Foreign(_))
    }

    #[test]
    fn origins_are_as_browsers_send_them() {
        for (text, expected) in [
            ("https://Vouch.Example", "https://vouch.example"),
            ("https://vouch.example:443", "https://vouch.example"),
            ("http://vouch.example:443", "http://vouch.example:443"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("http://[::1]:9090", "http://[::1]:9090"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
            ("null", "null"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), expected);
        }
        for text in [
            "",
            "*",
            "vouch.example",
            "vouch.example:9090",
            "https://",
            "://vouch.example",
            "https://vouch.example/",
            "https://vouch.example/page",
            "https://vouch.example?",
            "https://*",
            "https://*.example",
            "https://a b",
            "https://user@vouch.example",
            "https://vouch.example:",
            "https://vouch.example:0",
            "https://a:99999",
            "https://:9090",
            "1http://a",
            "ht tp://a",
            "https://a%2fb",
            "https://é.example",
            "Null",
            " null",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_servers_own_pages() {
        for host in ["127.0.0.1:9090", "192.168.1.7", "[::1]:9090", "[2001:db8::1]", "localhost:9090", "LOCALHOST"] {
            assert_eq!(caller(&format!("http://{host}").to_lowercase(), host), Caller::Own, "{host}");
            assert!(is_foreign(&caller(&format!("https://{host}"), host)), "another scheme: {host}");
            assert!(is_foreign(&caller(&format!("http://{host}1"), host)), "another host or port: {host}");
        }
        assert_eq!(caller("http://127.0.0.1", "127.0.0.1:80"), Caller::Own);
    }

    #[test]
    fn with_tls_the_certificate_shows_that_a_host_name_is_the_servers_own() {
        let caller = |origin: &str, host: &str| Caller::of(&headers(&[origin], &[host]), true, &[]);
        for host in ["vouch.example", "vouch.example:9090", "127.0.0.1:9090", "[::1]"] {
            assert_eq!(caller(&format!("https://{host}"), host), Caller::Own, "{host}");
            assert!(is_foreign(&caller(&format!("http://{host}"), host)), "without TLS: {host}");
        }
        assert_eq!(caller("https://vouch.example", "vouch.example:443"), Caller::Own);
        for origin in ["https://evil.example", "https://vouch.example:9090", "https://a.vouch.example", "null"] {
            assert!(is_foreign(&caller(origin, "vouch.example")), "{origin}");
        }
    }

    #[test]
    fn a_host_name_is_never_the_servers_own_without_tls() {
        for host in [
            "evil.example:9090",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1.",
            "localhost.",
            "0x7f000001",
            "2130706433",
            "127.1",
            "[evil]",
            "",
            "user@127.0.0.1",
            "127.0.0.1:x",
        ] {
            assert!(is_foreign(&caller(&format!("http://{host}"), host)), "{host}");
        }
    }

    #[test]
    fn other_origins_are_foreign_unless_allowed() {
        let allowed = |text| Caller::Allowed(HeaderValue::from_static(text));
        assert_eq!(caller("https://vouch.example", "10.1.1.1"), allowed("https://vouch.example"));
        assert_eq!(caller("https://vouch.example", "vouch.example"), allowed("https://vouch.example"));
        assert_eq!(caller("http://10.0.0.1", "10.1.1.1"), allowed("http://10.0.0.1"));
        for origin in
            ["http://vouch.example", "https://vouch.example:9090", "https://vouch.example.evil", "null", "", "*"]
        {
            assert!(is_foreign(&caller(origin, "10.1.1.1")), "{origin}");
        }
        let null = ["null".parse().unwrap()];
        assert_eq!(Caller::of(&headers(&["null"], &["a"]), false, &null), allowed("null"));
        assert_eq!(Caller::of(&headers(&[], &["a"]), false, &[]), Caller::Program);
    }

    #[test]
    fn a_repeated_header_is_foreign() {
        let own = "http://127.0.0.1";
        assert!(is_foreign(&Caller::of(&headers(&[own, own], &["127.0.0.1"]), false, &[])));
        assert!(is_foreign(&Caller::of(&headers(&[own], &["127.0.0.1", "127.0.0.1"]), false, &[])));
        assert!(is_foreign(&Caller::of(&headers(&[own], &[]), false, &[])));
    }
}
