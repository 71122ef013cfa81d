//! The page's files, built into the program by its build script.

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::problem::Problem;
use super::reply::{self, Body, NO_CACHE, NOSNIFF};

/// A file of the page.
#[derive(Debug)]
pub(super) struct File {
    /// The path in a URL, such as `/index.html`.
    path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    /// The content in gzip, if that is smaller.
    gzip: Option<&'static [u8]>,
    /// The entity tag, which depends on the content.
    tag: &'static str,
}

// FILES: &[File], empty when the page was not built
include!(concat!(env!("OUT_DIR"), "/page.rs"));

const INDEX: &str = "/index.html";
/// Has its own policy inside, because it must also work as a saved file.
const SELF_CONTAINED: &str = "/verify.html";

/// Sent with scripts as well: a Worker has the policy of its script's response.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; img-src 'self'; \
     media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types vouch",
);
const NO_FRAMES: HeaderValue = HeaderValue::from_static("frame-ancestors 'none'");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

const NOT_BUILT: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>Vouch</title>
<h1>Vouch</h1>
<p>A server of a certified-replica store is running here. This program was built without its page: run <code>make
build</code> in the sources and start the server again.</p>
<p><code>vouch put FILE</code> and <code>vouch get DIGEST</code> work all the same.</p>
</html>
";

fn find(files: &'static [File], path: &str) -> Option<&'static File> {
    let path = if path == "/" { INDEX } else { path };
    files.iter().find(|file| file.path == path)
}

/// Whether a path names a file of the page.
pub(super) fn has(files: &'static [File], path: &str) -> bool {
    path == "/" || find(files, path).is_some()
}

pub(super) fn get(files: &'static [File], path: &str, headers: &HeaderMap) -> Result<Response<Body>, Problem> {
    let (mut response, tag) = match find(files, path) {
        Some(file) => file.response(accepts_gzip(headers)),
        None if path == "/" => (reply::whole(StatusCode::OK, "text/html; charset=utf-8", NOT_BUILT), String::new()),
        None => return Err(Problem::not_found("there is nothing under this path")),
    };
    let answered = response.headers_mut();
    let policy = if path == SELF_CONTAINED { NO_FRAMES } else { POLICY };
    answered.insert(header::CONTENT_SECURITY_POLICY, policy);
    answered.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    answered.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answered.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    answered.insert(header::CACHE_CONTROL, NO_CACHE);
    Ok(if reply::is_known(headers, &tag) { reply::not_modified(response) } else { response })
}

impl File {
    fn response(&self, gzip: bool) -> (Response<Body>, String) {
        let compressed = self.gzip.filter(|_| gzip);
        let bytes = Bytes::from_static(compressed.unwrap_or(self.bytes));
        let mut response = reply::whole(StatusCode::OK, self.media_type, bytes);
        let headers = response.headers_mut();
        // Other bytes are transferred, so the tag differs (RFC 9110 section 8.8.3.3).
        let tag = format!("\"{}{}\"", self.tag, if compressed.is_some() { "-gzip" } else { "" });
        reply::insert(headers, header::ETAG, &tag);
        if self.gzip.is_some() {
            headers.insert(header::VARY, HeaderValue::from_name(header::ACCEPT_ENCODING));
        }
        if compressed.is_some() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        (response, tag)
    }
}

/// Whether the client accepts gzip (RFC 9110 section 12.5.3). A named coding takes precedence over `*`.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    for part in reply::tokens(headers, header::ACCEPT_ENCODING) {
        let (coding, weight) = part.split_once(';').unwrap_or((part, "q=1"));
        let weight = weight.trim().strip_prefix(['q', 'Q']).and_then(|weight| weight.trim_start().strip_prefix('='));
        let is_welcome = weight.and_then(|weight| weight.trim().parse::<f32>().ok()).is_some_and(|weight| weight > 0.0);
        match coding.trim() {
            coding if coding.eq_ignore_ascii_case("gzip") => return is_welcome,
            "*" => any = is_welcome,
            _ => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const BUILT: &[File] = &[
        File {
            path: "/index.html",
            media_type: "text/html; charset=utf-8",
            bytes: b"<p>plain",
            gzip: Some(b"small"),
            tag: "a1",
        },
        File { path: "/verify.html", media_type: "text/html; charset=utf-8", bytes: b"v", gzip: None, tag: "b2" },
        File {
            path: "/vouch-verifier/wasm/x.wasm",
            media_type: "application/wasm",
            bytes: b"w",
            gzip: None,
            tag: "c3",
        },
    ];

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    async fn body(response: Response<Body>) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn files_are_served_as_they_are() {
        for path in ["/", "/index.html"] {
            let response = get(BUILT, path, &HeaderMap::new()).unwrap();
            let sent = response.headers();
            assert_eq!(sent["content-type"], "text/html; charset=utf-8");
            assert_eq!(sent["etag"], "\"a1\"");
            assert_eq!(sent["cache-control"], "no-cache");
            assert_eq!(sent["x-content-type-options"], "nosniff");
            assert_eq!(sent["referrer-policy"], "no-referrer");
            assert_eq!(sent["cross-origin-opener-policy"], "same-origin");
            assert_eq!(sent["vary"], "accept-encoding");
            assert_eq!(sent["content-security-policy"], POLICY);
            assert!(!sent.contains_key("content-encoding"));
            assert_eq!(body(response).await, "<p>plain");
        }
        let wasm = get(BUILT, "/vouch-verifier/wasm/x.wasm", &HeaderMap::new()).unwrap();
        assert_eq!(wasm.headers()["content-type"], "application/wasm");
        let verify = get(BUILT, "/verify.html", &HeaderMap::new()).unwrap();
        assert_eq!(verify.headers()["content-security-policy"], "frame-ancestors 'none'");
        for path in ["/nothing", "/index.html/", "//", "/../index.html", "/vouch-verifier/wasm/", ""] {
            assert!(get(BUILT, path, &HeaderMap::new()).is_err(), "{path}");
        }
    }

    #[tokio::test]
    async fn gzip_is_sent_if_accepted_and_smaller() {
        let gzip = headers(&[(header::ACCEPT_ENCODING, "gzip, br")]);
        let response = get(BUILT, "/", &gzip).unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        assert_eq!(response.headers()["etag"], "\"a1-gzip\"");
        assert_eq!(body(response).await, "small");
        assert!(!get(BUILT, "/verify.html", &gzip).unwrap().headers().contains_key("content-encoding"));
        for (value, expected) in [
            ("gzip", true),
            ("GZIP;q=0.5", true),
            ("*", true),
            ("br, gzip ; q=1.0", true),
            ("deflate", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("*;q=0", false),
            ("", false),
            ("gzip;x", false),
            ("xgzip", false),
        ] {
            let headers = headers(&[(header::ACCEPT_ENCODING, value)]);
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
    }

    #[tokio::test]
    async fn a_cached_file_is_not_sent_again() {
        let known = headers(&[(header::IF_NONE_MATCH, "\"x\", W/\"a1\"")]);
        let response = get(BUILT, "/", &known).unwrap();
        assert_eq!(response.status(), 304);
        assert_eq!(response.headers()["etag"], "\"a1\"");
        assert!(!response.headers().contains_key("content-type"));
        assert!(body(response).await.is_empty());
        let compressed = headers(&[(header::IF_NONE_MATCH, "\"a1\""), (header::ACCEPT_ENCODING, "gzip")]);
        assert_eq!(get(BUILT, "/", &compressed).unwrap().status(), 200, "the client has the other encoding");
    }

    #[tokio::test]
    async fn without_a_page_the_response_says_how_to_build_it() {
        assert!(has(&[], "/") && !has(&[], "/index.html"));
        let response = get(&[], "/", &headers(&[(header::IF_NONE_MATCH, "\"\"")])).unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-security-policy"], POLICY);
        let text = String::from_utf8(body(response).await.to_vec()).unwrap();
        assert!(text.contains("<code>make\nbuild</code>") && text.contains("start the server again"), "{text}");
        assert!(get(&[], "/index.html", &HeaderMap::new()).is_err());
    }
}
