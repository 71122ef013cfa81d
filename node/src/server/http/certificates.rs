//! Certificates as bundles, from this server or from members.

use std::sync::Arc;

use hyper::header::{self, HeaderMap};
use hyper::{Response, StatusCode};
use vouch_core::bundle::{Bundle, BundleType};
use vouch_core::certificate::Certificate;
use vouch_core::chain::CommitteeChain;
use vouch_core::message::Code;

use super::blob_context::digest;
use super::problem::Problem;
use super::reply::{self, Body, NO_CACHE};
use crate::host::Host;
use crate::server::certificate_lists::CertificateLists;
use crate::server::member_links::MemberLinks;
use crate::server::reports::{Event, ServerReports};

/// What requests for certificates use.
pub(in crate::server) struct CertificateContext {
    pub(in crate::server) members: MemberLinks,
    pub(in crate::server) certificates: Arc<CertificateLists>,
    pub(in crate::server) reports: Arc<ServerReports>,
}

pub(super) async fn get(
    context: &CertificateContext,
    name: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, Problem> {
    let digest = digest(name)?;
    let found = context.certificates.find(digest).await.map_err(|error| {
        context.reports.report(Event::Trouble(error.to_string()));
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Storage.slug(), "the server cannot read the certificate")
    })?;
    let (Some(certificate), Some(chain)) = (found, context.members.chain()) else {
        return Err(Problem::not_found(format!(
            "neither this server nor a connected replica has a certificate for {digest}"
        )));
    };
    let EncodedBundle { json, tag } =
        EncodedBundle::encode(context.members.host(), Box::new(certificate), chain).await?;
    let mut response = reply::whole(StatusCode::OK, BundleType::File.media_type(), json);
    let answered = response.headers_mut();
    let disposition = format!("attachment; filename=\"{}.vouch\"", digest.to_hex());
    reply::insert(answered, header::CONTENT_DISPOSITION, &disposition);
    reply::insert(answered, header::ETAG, &tag);
    // Do not cache for long: a newer certificate may follow.
    answered.insert(header::CACHE_CONTROL, NO_CACHE);
    Ok(if reply::is_known(headers, &tag) { reply::not_modified(response) } else { response })
}

/// A bundle's text, and its entity tag.
pub(super) struct EncodedBundle {
    pub(super) json: String,
    pub(super) tag: String,
}

impl EncodedBundle {
    /// Encodes a certificate with its committee on a blocking thread: a committee of a thousand members is 270 KB of text.
    pub(super) async fn encode(
        host: &Host,
        certificate: Box<Certificate>,
        chain: CommitteeChain,
    ) -> Result<Self, Problem> {
        let encoding = host.spawn_blocking(move || {
            let json = Bundle::new(&certificate, chain.current()).to_json();
            let tag = format!("\"{}\"", &blake3::hash(json.as_bytes()).to_hex()[..32]);
            Self { json, tag }
        });
        encoding.await.map_err(|error| Problem::internal(error.to_string()))
    }
}
