//! The arguments of `vouch token`, and their help texts.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use vouch_core::access::Who;
use vouch_core::committee::MemberName;

use super::args::size;
use super::connection_args::{ClusterArgs, ServersArgs, TransportArgs, TrustArgs};
use crate::expires::Expires;

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    pub(super) command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token, and have the cluster accept it
    New(TokenNewArgs),
    /// List the tokens of a cluster, and who may put and read
    List(ClusterArgs),
    /// Have the cluster accept a token no more
    Revoke(TokenRevokeArgs),
    /// Decide who may put and who may read: anyone, or holders of tokens
    Rules(TokenRulesArgs),
    /// Approve a change that was begun on another member's machine, in a cluster without an operator
    Approve(TokenApproveArgs),
}

impl TokenCommand {
    pub(super) fn is_json(&self) -> bool {
        match self {
            Self::New(args) => args.decide.json,
            Self::List(args) => args.json,
            Self::Revoke(args) => args.decide.json,
            Self::Rules(args) => args.decide.json,
            Self::Approve(args) => args.json,
        }
    }

    pub(super) fn transport(&self) -> Option<&TransportArgs> {
        match self {
            Self::New(args) => Some(&args.decide.trust.transport),
            Self::List(args) => Some(&args.trust.transport),
            Self::Revoke(args) => Some(&args.decide.trust.transport),
            Self::Rules(args) => Some(&args.decide.trust.transport),
            Self::Approve(_) => None,
        }
    }
}

/// How a change is decided.
#[derive(Debug, Args)]
pub(super) struct DecideArgs {
    #[command(flatten)]
    pub(super) servers: ServersArgs,
    /// File of the operator's key, for a cluster with an operator: it decides alone
    #[arg(long, value_name = "FILE")]
    pub(super) operator_key: Option<PathBuf>,
    /// Read the passphrase of the operator's key from the first line of this file [default: ask for it if the key is encrypted]
    #[arg(long, value_name = "FILE", requires = "operator_key")]
    pub(super) passphrase_file: Option<PathBuf>,
    /// Data folder of a running replica that approves, for a cluster without an operator; may be repeated
    /// [default: every replica-N that runs in
    /// ~/.local/share/vouch, or in ./.vouch if that exists]
    #[arg(long, value_name = "FOLDER", conflicts_with = "operator_key")]
    pub(super) data: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct TokenNewArgs {
    /// Name of the holder, at most 24 bytes
    #[arg(value_name = "NAME", value_parser = name)]
    pub(super) name: MemberName,
    /// File for the token [default: <NAME>.token]
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Size of the largest file that it may put, such as 100MiB [default: any]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) max_size: Option<u64>,
    /// Bytes per second that its puts may have on average, such as 10MiB [default: any]
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    pub(super) rate: Option<u64>,
    /// Bytes that it may have stored at the same time, such as 100GiB [default: any]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) quota: Option<u64>,
    /// How long it is accepted: a duration such as 90d, or never
    #[arg(long, value_name = "DURATION", default_value = "never")]
    pub(super) expires: Expires,
    #[command(flatten)]
    pub(super) decide: DecideArgs,
}

#[derive(Debug, Args)]
pub(super) struct TokenRevokeArgs {
    /// Public key of the token, as `vouch token list` shows it, or its file
    #[arg(value_name = "TOKEN | FILE")]
    pub(super) token: PathBuf,
    #[command(flatten)]
    pub(super) decide: DecideArgs,
}

#[derive(Debug, Args)]
pub(super) struct TokenRulesArgs {
    /// Who may put [default: as before]
    #[arg(long, value_name = "WHO", required_unless_present = "read")]
    pub(super) put: Option<WhoWord>,
    /// Who may read [default: as before]
    #[arg(long, value_name = "WHO")]
    pub(super) read: Option<WhoWord>,
    #[command(flatten)]
    pub(super) decide: DecideArgs,
}

#[derive(Debug, Args)]
pub(super) struct TokenApproveArgs {
    /// The change, as the command that began it printed it
    #[arg(value_name = "CHANGE")]
    pub(super) change: String,
    /// Data folder of a running replica that approves; may be repeated [default: every replica-N that runs in
    /// ~/.local/share/vouch, or in ./.vouch if that exists]
    #[arg(long, value_name = "FOLDER")]
    pub(super) data: Vec<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

/// Who may do something, as a word of an option and of a server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WhoWord {
    /// Everybody who can reach a server
    Anyone,
    /// Holders of tokens
    Tokens,
}

impl From<WhoWord> for Who {
    fn from(who: WhoWord) -> Self {
        match who {
            WhoWord::Anyone => Self::Anyone,
            WhoWord::Tokens => Self::Tokens,
        }
    }
}

fn name(text: &str) -> Result<MemberName, String> {
    MemberName::new(text).map_err(|error| error.to_string())
}

fn rate(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err("expected at least one byte per second".into()),
        rate => Ok(rate),
    }
}
