//! Parts of responses.

use std::io;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

/// The body of a response. An error closes the connection, so that no client takes a part for the whole.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(super) const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
/// For responses that never change.
pub(super) const PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
pub(super) const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// For responses that may change at any time.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Of 503 Service Unavailable, in seconds.
pub(super) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
pub(super) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Bytes with a media type. Browsers must not guess another one.
pub(super) fn whole(status: StatusCode, media_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}

pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    whole(status, "text/plain; charset=utf-8", text)
}

/// A header with an ASCII value.
pub(super) fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    // Cannot fail: all callers pass ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether a header, which may occur several times, has this item in its comma-separated list.
pub(super) fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|part| part.eq_ignore_ascii_case(token))
}

/// The comma-separated items of a header, which may occur several times.
pub(super) fn tokens(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether a client prefers the first of two media types: it names that one, and not the other one before it (RFC 9110 section 12.5.1,
/// without weights).
pub(super) fn prefers(headers: &HeaderMap, media_type: &str, to: &str) -> bool {
    let accepted = tokens(headers, header::ACCEPT).map(|range| range.split(';').next().unwrap_or_default().trim());
    let first = accepted.into_iter().find(|range| [media_type, to].iter().any(|one| range.eq_ignore_ascii_case(one)));
    first.is_some_and(|first| first.eq_ignore_ascii_case(media_type))
}

/// Whether the client has the content with this quoted tag (RFC 9110 section 13.1.2). `*` is not supported: it is meant for writing.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    tokens(headers, header::IF_NONE_MATCH).any(|known| known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// Turns a response into 304 Not Modified, with the headers that a cache needs.
pub(super) fn not_modified(response: Response<Body>) -> Response<Body> {
    let (mut parts, _) = response.into_parts();
    for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING] {
        parts.headers.remove(name);
    }
    let mut response = empty(StatusCode::NOT_MODIFIED);
    *response.headers_mut() = parts.headers;
    response
}
