//! Routes requests by path and method.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::mpsc;
use vouch_core::message::Stream;
use vouch_node_core::server::link_puts::shutting_down;

use super::blob_context::BlobContext;
use super::caller::Caller;
use super::certificates::CertificateContext;
use super::log::LogContext;
use super::problem::Problem;
use super::reply::{self, Body};
use super::upgrade::{self, Upgrade};
use super::upload;
use super::{blobs, certificates, log, page};
use crate::host::Host;
use crate::link;
use crate::server::cluster_view::ClusterView;
use crate::server::ending::Ending;
use crate::server::guard::Connection;
use crate::server::origin::Origin;
use crate::server::put_performer::PutService;

/// The resource that a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource<'a> {
    Link,
    /// The path for puts, under any file name.
    Blobs,
    /// A digest to get, or a file name to put, which is ignored.
    Blob(&'a str),
    /// A range of a blob, with its proof.
    Slice(&'a str),
    Certificate(&'a str),
    LogHead,
    /// The path for submissions.
    LogOps,
    LogOp(&'a str),
    LogBlock(&'a str),
    LogSeal(&'a str),
    Cluster,
    Access,
    Health,
    Readiness,
    /// A file of the page, or an unknown path.
    Page,
}

impl<'a> Resource<'a> {
    fn of(path: &'a str) -> Self {
        let between = |folder, end| path.strip_prefix(folder).and_then(|rest: &str| rest.strip_suffix(end));
        let under = |folder, end| between(folder, end).filter(|name: &&str| !name.is_empty() && !name.contains('/'));
        match path {
            link::PATH => Self::Link,
            "/v1/blobs" | "/v1/blobs/" => Self::Blobs,
            "/v1/cluster" => Self::Cluster,
            "/v1/access" => Self::Access,
            "/v1/log/head" => Self::LogHead,
            "/v1/log/ops" => Self::LogOps,
            "/healthz" => Self::Health,
            "/readyz" => Self::Readiness,
            _ => under("/v1/blobs/", "")
                .map(Self::Blob)
                .or_else(|| under("/v1/blobs/", "/slice").map(Self::Slice))
                .or_else(|| under("/v1/certificates/", "").map(Self::Certificate))
                .or_else(|| under("/v1/log/ops/", "").map(Self::LogOp))
                .or_else(|| under("/v1/log/blocks/", "").map(Self::LogBlock))
                .or_else(|| under("/v1/log/seals/", "").map(Self::LogSeal))
                .unwrap_or(Self::Page),
        }
    }

    /// The allowed methods, for `Allow` and for preflights.
    fn methods(self) -> &'static str {
        match self {
            Self::Link => "GET, OPTIONS",
            Self::Blobs => "PUT, OPTIONS",
            Self::Blob(_) => "GET, HEAD, PUT, OPTIONS",
            Self::LogOps => "POST, OPTIONS",
            Self::Slice(_)
            | Self::Certificate(_)
            | Self::Cluster
            | Self::Access
            | Self::LogHead
            | Self::LogOp(_)
            | Self::LogBlock(_)
            | Self::LogSeal(_) => "GET, HEAD, OPTIONS",
            Self::Health | Self::Readiness | Self::Page => "GET, HEAD",
        }
    }
}

/// What requests over HTTP use.
pub(in crate::server) struct RequestContext {
    pub(in crate::server) host: Host,
    pub(in crate::server) ending: Arc<Ending>,
    /// Origins whose pages may put and get, in addition to the server's own.
    pub(in crate::server) allowed_origins: Vec<Origin>,
    pub(in crate::server) puts: Arc<PutService>,
    pub(in crate::server) blobs: BlobContext,
    pub(in crate::server) certificates: CertificateContext,
    pub(in crate::server) cluster: ClusterView,
    pub(in crate::server) log: LogContext,
}

/// Answers a request. A failure is a response as well. `is_tls`: whether the request came by TLS.
pub(super) async fn answer(
    context: &RequestContext,
    request: Request<Incoming>,
    is_tls: bool,
    upgraded: &mpsc::Sender<Upgrade>,
    connection: Arc<Connection>,
) -> Response<Body> {
    connection.progress();
    let caller = Caller::of(request.headers(), is_tls, &context.allowed_origins);
    let is_for_programs = request.uri().path().starts_with("/v1/");
    let waits_for_continue = request.headers().contains_key(header::EXPECT);
    let (head, body) = request.into_parts();
    // Read the body of a refused request for a moment: otherwise its sender would never read the response.
    let body = upload::pieces(context.host.clone(), body, waits_for_continue, context.puts.rate, connection.clone());
    let answered = route(context, Request::from_parts(head, ()), body, &caller, upgraded, connection).await;
    let mut response = answered.unwrap_or_else(Problem::response);
    if is_for_programs {
        caller.let_read(response.headers_mut());
    }
    response
}

async fn route(
    context: &RequestContext,
    request: Request<()>,
    body: upload::Start,
    caller: &Caller,
    upgraded: &mpsc::Sender<Upgrade>,
    connection: Arc<Connection>,
) -> Result<Response<Body>, Problem> {
    let path = request.uri().path().to_owned();
    let resource = Resource::of(&path);
    let method = request.method().clone();
    let is_read = matches!(method, Method::GET | Method::HEAD);
    // A link is told after its hello, because a browser shows no answer to an upgrade.
    if context.ending.has_begun() && !matches!(resource, Resource::Link | Resource::Health) {
        return Err(Problem::refused(&shutting_down(Stream::LINK), Vec::new()));
    }
    match resource {
        Resource::Link if method == Method::GET => upgrade::switch(request, caller, upgraded),
        Resource::Blobs | Resource::Blob(_) if method == Method::PUT => {
            caller.admit()?;
            Box::pin(blobs::put(&context.puts, &request, body, &connection)).await
        }
        Resource::Blob(name) if is_read => {
            Box::pin(blobs::get(&context.blobs, name, &request, caller, &connection)).await
        }
        Resource::Slice(name) if is_read => {
            Box::pin(blobs::slice(&context.blobs, name, &request, caller, &connection)).await
        }
        Resource::Certificate(name) if is_read => {
            certificates::get(&context.certificates, name, request.headers()).await
        }
        Resource::LogHead if is_read => log::head(&context.log, query(&request), request.headers()).await,
        Resource::LogOp(name) if is_read => log::op(&context.log, name, request.headers(), &connection).await,
        Resource::LogBlock(name) if is_read => log::block(&context.log, name, request.headers(), &connection).await,
        Resource::LogSeal(name) if is_read => log::seal(&context.log, name, &connection).await,
        Resource::LogOps if method == Method::POST => {
            caller.admit()?;
            Box::pin(log::submit(&context.log, query(&request), body, &connection)).await
        }
        Resource::Cluster if is_read => Ok(context.cluster.describe()),
        Resource::Access if is_read => Ok(context.cluster.describe_access()),
        Resource::Health if is_read => Ok(reply::text(StatusCode::OK, "ok\n")),
        Resource::Readiness if is_read => context.cluster.readiness(request.headers()),
        Resource::Page if is_read || page::has(page::FILES, &path) => match is_read {
            true => page::get(page::FILES, &path, request.headers()),
            false => Err(Problem::method(resource.methods())),
        },
        Resource::Page => Err(Problem::not_found("there is nothing under this path")),
        _ if method == Method::OPTIONS && resource.methods().contains("OPTIONS") => {
            caller.preflight(resource.methods())
        }
        _ => Err(Problem::method(resource.methods())),
    }
}

fn query(request: &Request<()>) -> &str {
    request.uri().query().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources() {
        for (path, resource) in [
            ("/v1/link", Resource::Link),
            ("/v1/blobs", Resource::Blobs),
            ("/v1/blobs/", Resource::Blobs),
            ("/v1/blobs/report.pdf", Resource::Blob("report.pdf")),
            ("/v1/blobs/slice", Resource::Blob("slice")),
            ("/v1/blobs/abc/slice", Resource::Slice("abc")),
            ("/v1/blobs/a/b/slice", Resource::Page),
            ("/v1/blobs//slice", Resource::Page),
            ("/v1/certificates/abc", Resource::Certificate("abc")),
            ("/v1/cluster", Resource::Cluster),
            ("/v1/access", Resource::Access),
            ("/v1/log/head", Resource::LogHead),
            ("/v1/log/ops", Resource::LogOps),
            ("/v1/log/ops/abc", Resource::LogOp("abc")),
            ("/v1/log/blocks/12", Resource::LogBlock("12")),
            ("/v1/log/seals/0", Resource::LogSeal("0")),
            ("/v1/log/seals/0/1", Resource::Page),
            ("/v1/log", Resource::Page),
            ("/v1/log/blocks", Resource::Page),
            ("/v1/log/ops/a/b", Resource::Page),
            ("/healthz", Resource::Health),
            ("/readyz", Resource::Readiness),
            ("/", Resource::Page),
            ("/v1/blobs/a/b", Resource::Page),
            ("/v1/certificates/", Resource::Page),
            ("/v1/cluster/", Resource::Page),
            ("*", Resource::Page),
        ] {
            assert_eq!(Resource::of(path), resource, "{path}");
        }
    }
}
