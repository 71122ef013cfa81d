//! The ordered log over HTTP: its newest head, ops, blocks, and the submission of ops.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::header::{self, HeaderMap};
use hyper::{Response, StatusCode};
use vouch_core::bundle::{BlockBundle, BundleType, HeadBundle};
use vouch_core::chain::CommitteeChain;
use vouch_core::limits::MAX_SAFE_INTEGER;
use vouch_core::log::{Op, OpId};
use vouch_core::message::{Code, Failed, Stream};

use super::encoded_bundle::EncodedBundle;
use super::problem::Problem;
use super::reply::{self, Body};
use super::upload;
use crate::budgets::{Permit, Pool};
use crate::host::Host;
use crate::server::guard::Connection;
use crate::server::log::{LogFailure, ServerLog};
use crate::server::member_links::MemberLinks;

/// How long a request with `after` waits for a newer head.
const HEAD_WAIT: Duration = Duration::from_secs(25);

/// What requests about the log use.
pub(in crate::server) struct LogContext {
    pub(in crate::server) host: Host,
    pub(in crate::server) members: MemberLinks,
    pub(in crate::server) log: Arc<ServerLog>,
    /// The budget of reads in progress: each asks members.
    pub(in crate::server) reads: Arc<Pool>,
    /// The budget of submissions in progress.
    pub(in crate::server) submissions: Arc<Pool>,
}

/// The newest certified head. With `after` in the query, waits for one of a greater height: 204 if there is none in time. A request that
/// waits holds nothing but its connection, which gives way to others.
pub(super) async fn head(context: &LogContext, query: &str, headers: &HeaderMap) -> Result<Response<Body>, Problem> {
    let after = after(query)?;
    let chain = context.chain()?;
    let head = match after {
        None => context.log.head().ok_or_else(|| Problem::not_found("the log has no certified head yet"))?,
        Some(after) => {
            let until = context.host.monotonic() + HEAD_WAIT;
            match context.log.head_from(after.saturating_add(1), until).await {
                Some(head) => head,
                None => {
                    let mut response = reply::empty(StatusCode::NO_CONTENT);
                    response.headers_mut().insert(header::CACHE_CONTROL, reply::NO_STORE);
                    return Ok(response);
                }
            }
        }
    };
    let name = format!("log-head-{}", head.claim.height);
    let encode = move || HeadBundle::new(&head, &chain).to_json();
    context.bundle(BundleType::LogHead, &name, headers, encode).await
}

/// The bundle of an op.
pub(super) async fn op(
    context: &LogContext,
    name: &str,
    headers: &HeaderMap,
    connection: &Connection,
) -> Result<Response<Body>, Problem> {
    let id: OpId = name.parse().map_err(|error| Problem::bad_request(format!("{name:?} is not an op: {error}")))?;
    let _permit = context.claim(&context.reads, connection)?;
    let bundle = context.log.prove(id).await?;
    context.bundle(BundleType::Op, &format!("op-{}", id.to_hex()), headers, move || bundle.to_json()).await
}

/// The bundle of a block.
pub(super) async fn block(
    context: &LogContext,
    name: &str,
    headers: &HeaderMap,
    connection: &Connection,
) -> Result<Response<Body>, Problem> {
    let height = height(name).filter(|height| *height > 0);
    let height = height.ok_or_else(|| Problem::bad_request(format!("{name:?} is not a height, which is 1 or more")))?;
    let _permit = context.claim(&context.reads, connection)?;
    let chain = context.chain()?;
    let proved = context.log.block(height).await?;
    let name = format!("block-{height}");
    let encode = move || BlockBundle::new(*proved.block, proved.path, &proved.head, &chain).to_json();
    context.bundle(BundleType::LogBlock, &name, headers, encode).await
}

/// The list of an epoch's seal: its statements, 32 bytes each. It never changes.
pub(super) async fn seal(context: &LogContext, name: &str, connection: &Connection) -> Result<Response<Body>, Problem> {
    let epoch = height(name).ok_or_else(|| Problem::bad_request(format!("{:?} is not an epoch", cut(name))))?;
    let _permit = context.claim(&context.reads, connection)?;
    let list = context.log.seal_list(epoch).await?;
    let mut response = reply::whole(StatusCode::OK, "application/octet-stream", list);
    response.headers_mut().insert(header::CACHE_CONTROL, reply::IMMUTABLE);
    Ok(response)
}

/// Submits the op in the body, and answers its bundle once it is decided and certified. The same op again has the same result.
pub(super) async fn submit(
    context: &LogContext,
    query: &str,
    body: upload::Start,
    connection: &Connection,
) -> Result<Response<Body>, Problem> {
    no_query(query)?;
    let _permit = context.claim(&context.submissions, connection)?;
    let op = Op::decode(&whole(body).await?)
        .map_err(|error| Problem::bad_request(format!("the body is not an op: {error}")))?;
    let id = op.id(&context.chain()?.cluster());
    let bundle = context.log.submit(op).await?;
    let encoded = EncodedBundle::encode(&context.host, move || bundle.to_json()).await?;
    let mut response = reply::whole(StatusCode::CREATED, BundleType::Op.media_type(), encoded.json);
    let answered = response.headers_mut();
    reply::insert(answered, header::LOCATION, &format!("/v1/log/ops/{}", id.to_hex()));
    answered.insert(header::CACHE_CONTROL, reply::NO_STORE);
    Ok(response)
}

impl LogContext {
    fn chain(&self) -> Result<CommitteeChain, Problem> {
        let no_committee = || Failed::new(Stream::LINK, Code::NoCommittee, "there is no committee yet");
        self.members.chain().ok_or_else(|| Problem::refused(&no_committee(), Vec::new()))
    }

    fn claim(&self, pool: &Arc<Pool>, connection: &Connection) -> Result<Permit, Problem> {
        let busy = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, Code::Busy.slug(), "too many requests; try again");
        pool.claim(connection.party(), 1).map_err(busy)
    }

    async fn bundle(
        &self,
        bundle_type: BundleType,
        name: &str,
        headers: &HeaderMap,
        encode: impl FnOnce() -> String + Send + 'static,
    ) -> Result<Response<Body>, Problem> {
        Ok(EncodedBundle::encode(&self.host, encode).await?.response(bundle_type, name, headers))
    }
}

/// The body of a submission, which is no longer than an op.
async fn whole(body: upload::Start) -> Result<Bytes, Problem> {
    let mut pieces = body();
    let mut bytes = BytesMut::new();
    while let Some(piece) = pieces.recv().await {
        let piece = piece.map_err(|error| Problem::of_body(&error))?;
        if bytes.len() + piece.remaining() > Op::MAX_SIZE {
            let detail = format!("an op has at most {} bytes", Op::MAX_SIZE);
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge.slug(), detail));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// A height, written in digits.
fn height(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|height| is_number && *height <= MAX_SAFE_INTEGER)
}

/// The height in a query, `after=12`.
fn after(query: &str) -> Result<Option<u64>, Problem> {
    let mut after = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key != "after" {
            return Err(unknown_key(key, "expected the query key after"));
        }
        let height = height(value)
            .ok_or_else(|| Problem::bad_request(format!("after: expected a height, got {:?}", cut(value))))?;
        if after.replace(height).is_some() {
            return Err(Problem::bad_request("after: expected once, got twice"));
        }
    }
    Ok(after)
}

fn no_query(query: &str) -> Result<(), Problem> {
    match query {
        "" => Ok(()),
        query => Err(unknown_key(query, "expected no query")),
    }
}

fn unknown_key(key: &str, expected: &str) -> Problem {
    Problem::bad_request(format!("{expected}, got {:?}", cut(key)))
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

impl From<LogFailure> for Problem {
    fn from(LogFailure { code, detail }: LogFailure) -> Self {
        match code {
            // The members were late, not the client.
            Code::TimedOut => Self::new(StatusCode::GATEWAY_TIMEOUT, code.slug(), detail),
            // A member refused the op.
            Code::Malformed => Self::bad_request(detail),
            _ => Self::refused(&Failed::new(Stream::LINK, code, detail), Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_head_has_at_most_one_height() {
        assert_eq!(after(""), Ok(None));
        assert_eq!(after("after=0"), Ok(Some(0)));
        assert_eq!(after("&after=9007199254740991&"), Ok(Some(MAX_SAFE_INTEGER)));
        for query in
            ["after", "after=", "after=-1", "after=+1", "after=9007199254740992", "after=1&after=1", "before=1"]
        {
            assert!(after(query).is_err(), "{query}");
        }
        assert!(no_query("").is_ok() && no_query("after=1").is_err());
    }
}
