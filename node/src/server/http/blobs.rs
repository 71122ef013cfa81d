//! Blobs over HTTP. Puts and gets use the same state machines as a client's link.

use std::sync::Arc;

use http_body_util::{BodyExt, StreamBody};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use vouch_core::access::TokenSecret;
use vouch_core::bundle::{Bundle, BundleType};
use vouch_core::digest::Digest;
use vouch_core::message::Code;
use vouch_core::session::{ByteRange, WantedBytes};
use vouch_core::slice::MEDIA_TYPE;

use super::bearer;
use super::blob_context::{BlobContext, digest};
use super::caller::Caller;
use super::download::{self, Begun, Form};
use super::encoded_bundle::EncodedBundle;
use super::get::HttpGet;
use super::problem::Problem;
use super::put::{self, WantedPut};
use super::ranges;
use super::reply::{self, Body};
use super::upload;
use crate::expires::Expires;
use crate::server::guard::Connection;
use crate::server::put_performer::PutService;

/// An uploaded page must not run in the server's origin.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The bytes, or the range of them that the request is for.
pub(super) async fn get(
    context: &BlobContext,
    name: &str,
    request: &Request<()>,
    caller: &Caller,
    connection: &Arc<Connection>,
) -> Result<Response<Body>, Problem> {
    let digest = digest(name)?;
    let tag = format!("\"{}\"", digest.to_hex());
    if reply::is_known(request.headers(), &tag) {
        // The digest identifies the bytes, so no replica is asked.
        return Ok(reply::not_modified(described(reply::empty(StatusCode::OK), digest, &tag, caller)));
    }
    let range = ranges::of_header(request, &tag);
    let token = bearer::token(request.headers())?;
    let form = if request.method() == Method::HEAD { Form::Length } else { Form::Bytes };
    let begun = begin(context, (digest, token), range, form, connection).await?;
    let (length, part) = (begun.length, begun.range.clone());
    let mut response = described(body(begun, form), digest, &tag, caller);
    let headers = response.headers_mut();
    keep_private(headers, request);
    headers.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
    if form == Form::Length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    } else if range.is_some() && !part.is_empty() {
        // The last bytes of an empty blob are the whole blob, which Content-Range cannot express.
        let text = format!("bytes {}-{}/{length}", part.start, part.end - 1);
        reply::insert(headers, header::CONTENT_RANGE, &text);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// A range with its proof, for clients that verify.
pub(super) async fn slice(
    context: &BlobContext,
    name: &str,
    request: &Request<()>,
    caller: &Caller,
    connection: &Arc<Connection>,
) -> Result<Response<Body>, Problem> {
    let digest = digest(name)?;
    let range = ranges::of_query(request.uri().query().unwrap_or_default())?;
    let form = if request.method() == Method::HEAD { Form::Length } else { Form::Slices };
    let token = bearer::token(request.headers())?;
    let begun = begin(context, (digest, token), range, form, connection).await?;
    let mut response = body(begun, form);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    as_data(headers, caller);
    keep_private(headers, request);
    Ok(response)
}

/// A cache that others share must not answer them with what a token authorised.
fn keep_private(headers: &mut HeaderMap, request: &Request<()>) {
    if request.headers().contains_key(header::AUTHORIZATION) {
        headers.insert(header::CACHE_CONTROL, reply::PRIVATE);
        headers.append(header::VARY, HeaderValue::from_name(header::AUTHORIZATION));
    }
}

async fn begin(
    context: &BlobContext,
    (digest, token): (Digest, Option<TokenSecret>),
    range: Option<ByteRange>,
    form: Form,
    connection: &Arc<Connection>,
) -> Result<Begun, Problem> {
    let busy = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, Code::Busy.slug(), "too many downloads; try again");
    let permit = context.downloads.claim(connection.party(), 1).map_err(busy)?;
    // A certificate states the length, so no replica's claim is needed.
    let known = context.certificates.archived(digest).await.ok().flatten();
    let length = known.map(|certificate| certificate.claim.receipt.length);
    // The last byte proves the length.
    let range = if form == Form::Length { Some(ByteRange::Last(1)) } else { range };
    let get = HttpGet::begin(context, connection.clone(), WantedBytes { digest, length, range }, token.as_ref());
    Ok(Box::pin(download::begin(context.reports.clone(), digest, get, form, permit)).await?)
}

fn body(begun: Begun, form: Form) -> Response<Body> {
    match form {
        Form::Length => reply::empty(StatusCode::OK),
        Form::Bytes | Form::Slices => Response::new(BodyExt::boxed_unsync(StreamBody::new(begun.sending.frames()))),
    }
}

/// Adds the headers that a browser and a cache need for a blob.
fn described(mut response: Response<Body>, digest: Digest, tag: &str, caller: &Caller) -> Response<Body> {
    let headers = response.headers_mut();
    let disposition = format!("attachment; filename=\"{}\"", digest.to_hex());
    reply::insert(headers, header::CONTENT_DISPOSITION, &disposition);
    reply::insert(headers, header::ETAG, tag);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    as_data(headers, caller);
    response
}

/// A blob's bytes are data that never change: no browser runs them in the page's origin.
fn as_data(headers: &mut HeaderMap, caller: &Caller) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, reply::NOSNIFF);
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    headers.insert(header::CACHE_CONTROL, reply::IMMUTABLE);
    headers.insert(RESOURCE_POLICY, caller.resource_policy());
}

pub(super) async fn put(
    service: &Arc<PutService>,
    request: &Request<()>,
    body: upload::Start,
    connection: &Arc<Connection>,
) -> Result<Response<Body>, Problem> {
    let expires_at = expires_at(request.uri().query().unwrap_or_default(), service.host.unix_seconds())?;
    // RFC 9110 section 14.5: refuse a partial put, because storing a part as the whole blob is never what the client meant.
    if request.headers().contains_key(header::CONTENT_RANGE) {
        return Err(Problem::bad_request("a blob is put whole; expected no Content-Range"));
    }
    let wanted = WantedPut { expires_at, token: bearer::token(request.headers())? };
    let certificate = put::put(service.clone(), connection.clone(), body, wanted).await?;
    let chain = service.members.chain().ok_or_else(|| Problem::internal("a certificate without a committee"))?;
    let location = format!("/v1/blobs/{}", certificate.claim.receipt.digest.to_hex());
    let encode = move || Bundle::new(&certificate, &chain).to_json();
    let encoded = EncodedBundle::encode(&service.host, encode).await?;
    let mut response = reply::whole(StatusCode::CREATED, BundleType::File.media_type(), encoded.json);
    reply::insert(response.headers_mut(), header::LOCATION, &location);
    response.headers_mut().insert(header::CACHE_CONTROL, reply::NO_STORE);
    Ok(response)
}

/// `expires_at` from a query such as `expires=30d`; never, without one.
fn expires_at(query: &str, now: u64) -> Result<u64, Problem> {
    let mut expires = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (key, expires) {
            ("expires", None) => {
                // In a query, a space may be encoded as a plus sign.
                let value = value.replace('+', " ");
                let value = percent_decode_str(&value).decode_utf8_lossy();
                let parsed = value.parse::<Expires>();
                expires = Some(parsed.map_err(|error| Problem::bad_request(format!("expires: {error}")))?);
            }
            ("expires", Some(_)) => return Err(Problem::bad_request("expires: expected once, got twice")),
            _ => {
                let key: String = key.chars().take(80).collect();
                return Err(Problem::bad_request(format!("expected the query key expires, got {key:?}")));
            }
        }
    }
    let at = expires.unwrap_or(Expires::Never).at(now);
    at.map_err(|error| Problem::bad_request(format!("expires: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouch_core::receipt::NEVER;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn queries_set_the_expiry() {
        for query in ["", "&", "expires=never"] {
            assert_eq!(expires_at(query, NOW), Ok(NEVER), "{query}");
        }
        for (query, seconds) in [("expires=30d", 30 * 86_400), ("expires=1h+30m", 5400), ("expires=1h%2030m", 5400)] {
            assert_eq!(expires_at(query, NOW), Ok(NOW + seconds), "{query}");
        }
        for query in [
            "expires",
            "expires=",
            "expires=0s",
            "expires=soon",
            "expires=1d&expires=1d",
            "expire=1d",
            "x",
            "expires=999999999999days",
            "Expires=1d",
            "expires=%ff",
            "expires[]=1d",
        ] {
            assert!(expires_at(query, NOW).is_err(), "{query}");
        }
    }
}
