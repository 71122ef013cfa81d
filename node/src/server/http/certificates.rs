//! Certificates as bundles, from this server or from members.

use std::sync::Arc;

use hyper::header::{self, HeaderMap};
use hyper::{Response, StatusCode};
use vouch_core::bundle::{Bundle, MEDIA_TYPE};
use vouch_core::message::Code;

use super::blobs::digest;
use super::problem::Problem;
use super::reply::{self, Body, NO_CACHE};
use crate::server::{Event, Shared};

pub(super) async fn get(shared: &Arc<Shared>, name: &str, headers: &HeaderMap) -> Result<Response<Body>, Problem> {
    let digest = digest(name)?;
    let found = shared.certificates.find(digest).await.map_err(|error| {
        shared.report(Event::Trouble(error.to_string()));
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Storage.slug(), "the server cannot read the certificate")
    })?;
    let (Some(certificate), Some(committee)) = (found, shared.committee()) else {
        return Err(Problem::not_found(format!(
            "neither this server nor a connected replica has a certificate for {digest}"
        )));
    };
    let bundle = Bundle::new(&certificate, &committee).to_json();
    let tag = format!("\"{}\"", &blake3::hash(bundle.as_bytes()).to_hex()[..32]);
    let mut response = reply::whole(StatusCode::OK, MEDIA_TYPE, bundle);
    let answered = response.headers_mut();
    let disposition = format!("attachment; filename=\"{}.vouch\"", digest.to_hex());
    reply::insert(answered, header::CONTENT_DISPOSITION, &disposition);
    reply::insert(answered, header::ETAG, &tag);
    // Do not cache for long: a newer certificate may follow.
    answered.insert(header::CACHE_CONTROL, NO_CACHE);
    Ok(if reply::is_known(headers, &tag) { reply::not_modified(response) } else { response })
}
