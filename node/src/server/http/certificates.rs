//! Certificates as bundles, from this server or from members.

use std::sync::Arc;

use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use vouch_core::bundle::{Bundle, BundleType};
use vouch_core::message::Code;

use super::blob_context::digest;
use super::encoded_bundle::EncodedBundle;
use super::problem::Problem;
use super::reply::Body;
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
    let encode = move || Bundle::new(&certificate, &chain).to_json();
    let encoded = EncodedBundle::encode(context.members.host(), encode).await?;
    Ok(encoded.response(BundleType::File, &digest.to_hex(), headers))
}
