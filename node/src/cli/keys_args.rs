//! The arguments of `vouch keys`, and the option for the passphrase of a node's keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::MaintainArgs;
use crate::host::Host;
use crate::passphrase::PassphraseSource;

/// Where the passphrase of a node's keys is from.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct PassphraseArgs {
    /// File whose first line is the passphrase of the keys, if they are under one (`vouch keys protect`); only its owner may read it
    /// [default: the credential vouch-passphrase of systemd, or ask for it]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    pub(super) fn source(&self, host: &Host) -> PassphraseSource {
        PassphraseSource::of(host, self.passphrase_file.clone())
    }
}

/// The arguments of commands about a replica that may not run.
#[derive(Debug, Args)]
pub(super) struct AtRestArgs {
    #[command(flatten)]
    pub(super) replica: MaintainArgs,
    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
}

#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    pub(super) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Put the keys of a stopped replica or server, and those that it makes later, under a passphrase
    Protect(KeyFolderArgs),
    /// Take the keys of a stopped replica or server out from under their passphrase
    Unprotect(KeyFolderArgs),
    /// Change the passphrase of the keys of a stopped replica or server
    Passphrase(ChangePassphraseArgs),
}

impl KeysCommand {
    pub(super) fn folder(&self) -> &KeyFolderArgs {
        match self {
            Self::Protect(args)
            | Self::Unprotect(args)
            | Self::Passphrase(ChangePassphraseArgs { folder: args, .. }) => args,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct KeyFolderArgs {
    /// Data folder of the replica or the server
    #[arg(long, value_name = "FOLDER", default_value = "./.vouch/replica-1")]
    pub(super) data: PathBuf,
    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ChangePassphraseArgs {
    #[command(flatten)]
    pub(super) folder: KeyFolderArgs,
    /// File whose first line is the new passphrase [default: ask for it]
    #[arg(long, value_name = "FILE")]
    pub(super) new_passphrase_file: Option<PathBuf>,
}
