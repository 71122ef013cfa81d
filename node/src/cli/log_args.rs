//! Options of `vouch log`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vouch_core::digest::OpId;
use vouch_core::limits::MAX_SAFE_INTEGER;

use super::connection_args::{ServersArgs, TrustArgs};

#[derive(Debug, Args)]
pub(super) struct LogCommandArgs {
    #[command(subcommand)]
    pub(super) command: LogCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Show how far the log is: its newest certified head
    Head(LogServerArgs),
    /// Show the block of a height, with its ops
    Show(LogShowArgs),
    /// Show an op, its effect and its place in the log
    Prove(LogProveArgs),
    /// Print each new head of the log and its ops, until interrupted
    Follow(LogServerArgs),
    /// Write a note to the log, and wait until a quorum has certified it
    Note(LogNoteArgs),
}

impl LogCommand {
    /// The options that all of them have.
    pub(super) fn server(&self) -> &LogServerArgs {
        match self {
            Self::Head(args) | Self::Follow(args) => args,
            Self::Show(args) => &args.server,
            Self::Prove(args) => &args.server,
            Self::Note(args) => &args.server,
        }
    }
}

/// The server through which to reach the log.
#[derive(Debug, Args)]
pub(super) struct LogServerArgs {
    #[command(flatten)]
    pub(super) servers: ServersArgs,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    /// Print one JSON object instead of text; for follow, one per line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct LogShowArgs {
    /// Height of the block, from 1
    #[arg(value_name = "HEIGHT", value_parser = clap::value_parser!(u64).range(1..=MAX_SAFE_INTEGER))]
    pub(super) height: u64,
    #[command(flatten)]
    pub(super) server: LogServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct LogProveArgs {
    /// Identity of the op, base58 or hex
    #[arg(value_name = "OP")]
    pub(super) op: OpId,
    /// File for the op's bundle, which vouch verify --op checks offline
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) server: LogServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct LogNoteArgs {
    /// Text of the note, at most 4096 bytes
    #[arg(value_name = "TEXT")]
    pub(super) text: String,
    /// File for the bundle of the note's op, which vouch verify --op checks offline
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) server: LogServerArgs,
}
