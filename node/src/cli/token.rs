//! `vouch token`: who may put and read.

mod claims;
mod deciding;

use std::path::{Path, PathBuf};

use serde_json::json;
use vouch_core::MAX_SAFE_INTEGER;
use vouch_core::access::{Decision, Grant, NO_LIMIT, Rules, TokenKey};
use vouch_core::receipt::NEVER;

use super::connection_args::ClusterArgs;
use super::token_args::{TokenApproveArgs, TokenArgs, TokenCommand, TokenNewArgs, TokenRevokeArgs, TokenRulesArgs};
use super::{Failure, output};
use crate::host::Host;
use crate::token_file::{self, TokenFileError};
use claims::Claims;
use deciding::Deciding;

impl From<TokenFileError> for Failure {
    fn from(error: TokenFileError) -> Self {
        Self::new(error)
    }
}

pub(super) async fn token(host: &Host, args: TokenArgs) -> Result<u8, Failure> {
    match args.command {
        TokenCommand::New(args) => new(host, &args).await,
        TokenCommand::List(args) => list(host, &args).await,
        TokenCommand::Revoke(args) => revoke(host, &args).await,
        TokenCommand::Rules(args) => rules(host, &args).await,
        TokenCommand::Approve(args) => approve(host, &args).await,
    }
}

async fn new(host: &Host, args: &TokenNewArgs) -> Result<u8, Failure> {
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.token", args.name)));
    if args.out.is_none() && args.name.as_str().contains('/') {
        return Err(Failure::new("a name with a slash names no file; name the token's file with --out"));
    }
    // before anybody types a passphrase
    if host.disk().exists(&path).map_err(Failure::new)? {
        return Err(TokenFileError::Exists { path }.into());
    }
    let expires_at = args.expires.at(host.unix_seconds());
    let expires_at = expires_at.map_err(|error| Failure::new(format_args!("--expires is {error}")))?;
    let expires_at = if expires_at == NEVER { NO_LIMIT } else { expires_at };
    let limit = |value: Option<u64>| value.filter(|value| *value <= MAX_SAFE_INTEGER).unwrap_or(NO_LIMIT);
    let grant = Grant {
        name: args.name,
        largest: limit(args.max_size),
        rate: limit(args.rate),
        quota: limit(args.quota),
        expires_at,
    };
    let mut deciding = Deciding::begin(host, &args.decide).await?;
    // The file comes first: a token that the cluster accepts and nobody has would have to be revoked.
    let secret = token_file::create(host, &path, args.name.as_str(), &deciding.cluster())?;
    let mut json = json!({ "token": secret.key().to_string(), "name": args.name.as_str() });
    output::put_name(&mut json, "file", &path);
    if !args.decide.json {
        output::line(format_args!("token      {}", secret.key()));
        output::line(format_args!("file       {}", output::name(&path)));
    }
    let code = deciding.decide(Decision::Grant(secret.key(), grant), json).await?;
    if code == 0 && !args.decide.json {
        let path = output::shell_word(&path);
        output::line(format_args!("Its holder puts with: vouch put FILE --token-file {path}"));
    }
    Ok(code)
}

async fn revoke(host: &Host, args: &TokenRevokeArgs) -> Result<u8, Failure> {
    let key = named_token(host, &args.token)?;
    let mut deciding = Deciding::begin(host, &args.decide).await?;
    deciding.decide(Decision::Revoke(key), json!({ "token": key.to_string() })).await
}

/// A token's public key, or that of its file.
fn named_token(host: &Host, text: &Path) -> Result<TokenKey, Failure> {
    let parsed = text.to_str().and_then(|text| text.parse::<TokenKey>().ok());
    match parsed {
        Some(key) => Ok(key),
        None => Ok(token_file::read(host, text)?.key()),
    }
}

async fn rules(host: &Host, args: &TokenRulesArgs) -> Result<u8, Failure> {
    let mut deciding = Deciding::begin(host, &args.decide).await?;
    let Rules { put, read } = deciding.claims().rules();
    let rules = Rules { put: args.put.map_or(put, Into::into), read: args.read.map_or(read, Into::into) };
    deciding.decide(Decision::Rules(rules), json!({})).await
}

async fn approve(host: &Host, args: &TokenApproveArgs) -> Result<u8, Failure> {
    let change = deciding::parse_change(&args.change)?;
    let folders = deciding::folders(host, &args.data)?;
    deciding::approve_with(host, &folders, &change, args.json).await
}

async fn list(host: &Host, args: &ClusterArgs) -> Result<u8, Failure> {
    let claims = Claims::verified_cluster(host, (&args.servers).into(), &args.trust).await?;
    match args.json {
        true => output::json(&claims.as_json()),
        false => claims.print(host.unix_seconds()),
    }
    Ok(0)
}
