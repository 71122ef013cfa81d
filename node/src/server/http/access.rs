//! Who may put and read through this server, for people, pages and the command line.

use hyper::header;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use vouch_core::access::{Grant, NO_LIMIT, Rules, TokenKey, Who};

use super::reply::{self, Body, NO_CACHE};
use crate::server::cluster_view::ClusterView;

impl ClusterView {
    /// The rules of access and the tokens, as members say.
    pub(super) fn describe_access(&self) -> Response<Body> {
        let (view, cluster) = self.access();
        let Rules { put, read } = view.rules;
        let put = if self.needs_tokens { Who::Tokens } else { put };
        let tokens: Vec<_> = view.tokens.iter().map(|(key, grant)| token(*key, grant)).collect();
        let described = json!({
            "cluster": cluster,
            "changes": view.number,
            "put": put.word(),
            "read": read.word(),
            "tokens": tokens,
        });
        let mut response = reply::whole(StatusCode::OK, "application/json", format!("{described}\n"));
        response.headers_mut().insert(header::CACHE_CONTROL, NO_CACHE);
        response
    }
}

fn token(key: TokenKey, grant: &Grant) -> Value {
    let limit = |value: u64| Some(value).filter(|value| *value != NO_LIMIT);
    json!({
        "token": key.to_string(),
        "name": grant.name.as_str(),
        "max_size": limit(grant.largest),
        "rate": limit(grant.rate),
        "quota": limit(grant.quota),
        "expires_at": limit(grant.expires_at),
    })
}
