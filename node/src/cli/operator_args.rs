//! The arguments of `vouch operator`, and their help texts.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(super) struct OperatorArgs {
    #[command(subcommand)]
    pub(super) command: OperatorCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum OperatorCommand {
    /// Create the key with which an operator agrees to changes of members
    Init(OperatorInitArgs),
    /// Show the public key, which the servers and replicas of a new cluster need
    Show(OperatorShowArgs),
    /// Show what a change of members does, and sign it
    Sign(OperatorSignArgs),
}

impl OperatorCommand {
    pub(super) fn is_json(&self) -> bool {
        match self {
            Self::Init(OperatorInitArgs { key, .. })
            | Self::Show(OperatorShowArgs { key })
            | Self::Sign(OperatorSignArgs { key, .. }) => key.json,
        }
    }
}

/// The file of the key.
#[derive(Debug, Args)]
pub(super) struct OperatorKeyArgs {
    /// File of the operator's key
    #[arg(long, value_name = "FILE", default_value = "operator.key")]
    pub(super) key: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct OperatorInitArgs {
    #[command(flatten)]
    pub(super) key: OperatorKeyArgs,
    /// Encrypt the key under a passphrase, which is asked for
    #[arg(long)]
    pub(super) passphrase: bool,
    /// Encrypt the key under the passphrase in the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase")]
    pub(super) passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct OperatorShowArgs {
    #[command(flatten)]
    pub(super) key: OperatorKeyArgs,
}

#[derive(Debug, Args)]
pub(super) struct OperatorSignArgs {
    /// File with the change of members, one line of base64url as its proposal printed it; - is standard input
    #[arg(value_name = "CHANGE")]
    pub(super) change: OsString,
    #[command(flatten)]
    pub(super) key: OperatorKeyArgs,
    /// Read the passphrase from the first line of this file [default: ask for it if the key is encrypted]
    #[arg(long, value_name = "FILE")]
    pub(super) passphrase_file: Option<PathBuf>,
    /// Sign without asking
    #[arg(long)]
    pub(super) yes: bool,
}
