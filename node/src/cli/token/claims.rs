//! What a server says of the rules of access. It is the server's word: replicas decide by the log.

use serde::Deserialize;
use serde_json::{Value, json};
use vouch_core::access::Rules;
use vouch_core::digest::ClusterId;

use super::super::connection_args::TrustArgs;
use super::super::log_client::LogClient;
use super::super::token_args::WhoWord;
use super::super::{Failure, output};
use crate::client::Servers;
use crate::host::Host;

const PATH: &str = "/v1/access";
/// Maximum number of characters of a text that is shown.
const SHOWN: usize = 80;

/// The answer to a request for the rules of access.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Claims {
    /// The number of changes that were made.
    pub(super) changes: u64,
    put: WhoWord,
    read: WhoWord,
    tokens: Vec<ClaimedToken>,
    #[serde(skip)]
    server: String,
    cluster: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct ClaimedToken {
    token: String,
    name: String,
    max_size: Option<u64>,
    rate: Option<u64>,
    quota: Option<u64>,
    expires_at: Option<u64>,
}

impl Claims {
    /// Asks a server whose cluster was verified.
    pub(super) async fn of(client: &LogClient<'_>, cluster: ClusterId) -> Result<Self, Failure> {
        let body = client.get(PATH).await?;
        let parsed: Result<Self, _> = serde_json::from_slice(&body);
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::new(format_args!("{} says something else than the rules of access: {why}", client.server()))
                .with_note("Is it of a release without tokens? Ask another server with --server HOST:PORT.")
        };
        let claims = parsed.map_err(|error| wrong(&error))?;
        match claims.cluster.as_deref() {
            Some(named) if named == cluster.to_string() => Ok(Self { server: client.server().to_owned(), ..claims }),
            _ => Err(wrong(&"it names another cluster")),
        }
    }

    /// Verifies the committees that a server shows, and asks it.
    pub(super) async fn verified_cluster(host: &Host, servers: Servers, trust: &TrustArgs) -> Result<Self, Failure> {
        let mut client = LogClient::new(host, servers, trust)?;
        let cluster = client.chain().await?.cluster();
        Self::of(&client, cluster).await
    }

    pub(super) fn rules(&self) -> Rules {
        Rules { put: self.put.into(), read: self.read.into() }
    }

    pub(super) fn as_json(&self) -> Value {
        let Rules { put, read } = self.rules();
        let token = |token: &ClaimedToken| {
            json!({
                "token": shown(&token.token),
                "name": shown(&token.name),
                "max_size": token.max_size,
                "rate": token.rate,
                "quota": token.quota,
                "expires_at": token.expires_at,
            })
        };
        json!({
            "server": self.server,
            "changes": self.changes,
            "put": put.word(),
            "read": read.word(),
            "tokens": self.tokens.iter().map(token).collect::<Vec<_>>(),
        })
    }

    pub(super) fn print(&self, now: u64) {
        let Rules { put, read } = self.rules();
        output::line(format_args!("By the word of {}:", self.server));
        output::line(format_args!("put        {put}"));
        output::line(format_args!("read       {read}"));
        output::line(format_args!("tokens     {}", self.tokens.len()));
        for token in &self.tokens {
            output::line(format_args!("           {:<24} {}", shown(&token.name), shown(&token.token)));
            let text = token.limits(now);
            if !text.is_empty() {
                output::line(format_args!("           {:<24} {text}", ""));
            }
        }
    }
}

impl ClaimedToken {
    fn limits(&self, now: u64) -> String {
        let mut limits = Vec::new();
        limits.extend(self.max_size.map(|size| format!("files of at most {}", output::bytes(size))));
        limits.extend(self.rate.map(|rate| format!("{} per second", output::bytes(rate))));
        limits.extend(self.quota.map(|quota| format!("at most {} stored", output::bytes(quota))));
        limits.extend(self.expires_at.map(|at| match at <= now {
            true => format!("expired {}", output::time(at)),
            false => format!("expires {}", output::time(at)),
        }));
        limits.join(", ")
    }
}

fn shown(text: &str) -> String {
    output::harmless(&text.chars().take(SHOWN).collect::<String>())
}
