//! Bundles as responses.

use hyper::header::{self, HeaderMap};
use hyper::{Response, StatusCode};
use vouch_core::bundle::BundleType;

use super::problem::Problem;
use super::reply::{self, Body, NO_CACHE};
use crate::host::Host;

/// A bundle's text, and its entity tag.
pub(super) struct EncodedBundle {
    pub(super) json: String,
    tag: String,
}

impl EncodedBundle {
    /// Encodes a bundle on a blocking thread: with a committee of a thousand members, it is 270 KB of text.
    pub(super) async fn encode(host: &Host, encode: impl FnOnce() -> String + Send + 'static) -> Result<Self, Problem> {
        let encoding = host.spawn_blocking(move || {
            let json = encode();
            let tag = format!("\"{}\"", &blake3::hash(json.as_bytes()).to_hex()[..32]);
            Self { json, tag }
        });
        encoding.await.map_err(|error| Problem::internal(error.to_string()))
    }

    /// The response to a request with these headers. `name`: of the file, without its ending.
    pub(super) fn response(self, bundle_type: BundleType, name: &str, headers: &HeaderMap) -> Response<Body> {
        let mut response = reply::whole(StatusCode::OK, bundle_type.media_type(), self.json);
        let answered = response.headers_mut();
        reply::insert(answered, header::CONTENT_DISPOSITION, &format!("attachment; filename=\"{name}.vouch\""));
        reply::insert(answered, header::ETAG, &self.tag);
        // Do not cache for long: a newer certificate may follow.
        answered.insert(header::CACHE_CONTROL, NO_CACHE);
        if reply::is_known(headers, &self.tag) { reply::not_modified(response) } else { response }
    }
}
