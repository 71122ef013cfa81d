//! What the command line does not say: environment variables and the configuration file.
//!
//! A flag comes before its environment variable, that before the file, and that before the default. The definitions of the command
//! line are the only list of options: [`keys`] names the variable and the key of each, [`file`] checks the file against them, and
//! [`layers`] puts what the file says before what the user typed, so that clap applies the same rules to both.

mod file;
mod keys;
mod layers;
mod show;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(super) use keys::{definitions, is_variable};
pub(super) use layers::{Refusal, parse};
pub(super) use show::config;

/// The file that has no settings, for `--config`.
pub(super) const NO_FILE: &str = "/dev/null";

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    pub(super) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show the options of a command as they are in effect, or, without a command, what the file and the environment set
    Show(ConfigShowArgs),
    /// Print the path of the configuration file
    Path,
}

impl ConfigArgs {
    pub(super) fn is_json(&self) -> bool {
        matches!(&self.command, ConfigCommand::Show(args) if args.json)
    }
}

#[derive(Debug, Args)]
pub(super) struct ConfigShowArgs {
    /// Command, such as put, or committee add; after --, also its arguments
    #[arg(value_name = "COMMAND")]
    pub(super) command: Vec<std::ffi::OsString>,
    /// Say where each value comes from: a flag, an environment variable, a line of the file, or the default
    #[arg(long)]
    pub(super) origin: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

/// The option that names the configuration file, of every command.
#[derive(Debug, Args)]
pub(super) struct ConfigFileArgs {
    /// Configuration file, in TOML; /dev/null for none [default: ~/.config/vouch/config.toml, or, if that does not exist,
    /// /etc/vouch/config.toml] [env: VOUCH_CONFIG]
    #[arg(long = "config", value_name = "FILE", global = true)]
    pub(super) config_file: Option<PathBuf>,
}
