//! `vouch completions` and `vouch man`: what a package installs beside the program, made from the same definitions as the help texts.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;
use clap_mangen::Man;

use super::config::definitions;
use super::{Failure, output};
use crate::host::Host;

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Shell that reads them
    #[arg(value_name = "SHELL")]
    pub(super) shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Command whose page is printed, such as: committee add [default: the page of vouch itself]
    #[arg(value_name = "COMMAND")]
    pub(super) command: Vec<String>,
    /// Write the pages of all commands to this folder, for a package
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    pub(super) out: Option<PathBuf>,
}

/// Prints the completions of a shell.
pub(super) fn completions(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definitions(), "vouch", &mut script);
    output::text(&script);
    Ok(0)
}

/// Prints the page of one command, or writes those of all.
pub(super) fn man(host: &Host, args: &ManArgs) -> Result<u8, Failure> {
    // `help` repeats every command: its pages would say nothing.
    let mut root = definitions().disable_help_subcommand(true);
    root.build();
    if let Some(folder) = &args.out {
        host.disk().create_folder_durably(folder, 0o755).map_err(Failure::new)?;
        for command in with_subcommands(&root) {
            let (name, page) = page(command)?;
            host.disk().write_durably(&folder.join(name), &page, 0o644).map_err(Failure::new)?;
        }
        return Ok(0);
    }
    let mut command = &root;
    for name in &args.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            let of = command.get_bin_name().unwrap_or("vouch");
            Failure::new(format_args!("{of} has no command {}; `{of} --help` lists them", output::harmless(name)))
        })?;
    }
    output::text(&page(command)?.1);
    Ok(0)
}

/// A command with all below it.
fn with_subcommands(command: &clap::Command) -> Vec<&clap::Command> {
    [command].into_iter().chain(command.get_subcommands().flat_map(with_subcommands)).collect()
}

/// The name of a command's file, and its page.
fn page(command: &clap::Command) -> Result<(String, Vec<u8>), Failure> {
    let source = format!("vouch {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("Vouch");
    let mut page = Vec::new();
    man.render(&mut page).map_err(Failure::new)?;
    Ok((man.get_filename(), page))
}
