//! Which options the environment and the configuration file may set, and under which names.

use std::any::TypeId;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Arg, ArgAction, Command, CommandFactory};

use super::super::args::Cli;

/// The section with what all commands have in common that reach a server: it may set the options of `vouch client`.
pub(super) const CLIENT: &str = "client";
/// A command that reaches a server, with the option that names it.
const PUT: &str = "put";
/// The section with the data folder that the commands about a replica use, too.
const REPLICA: &str = "replica";
/// The option of that folder.
const DATA: &str = "data";
/// The option that names servers: it makes `vouch status` ask one.
pub(super) const SERVER: &str = "server";

/// Options that are about one call. If a file could set them, a command would do what nobody asked for: overwrite files, sign without
/// asking, or print another format than the script that calls it reads.
pub(super) const OF_ONE_CALL: [&str; 28] = [
    "abandon-founding",
    "add",
    "bundle",
    "config",
    "digest",
    "dry-run",
    "force",
    "height",
    "help",
    "json",
    "no-wait",
    "now",
    "op",
    "operator-signature",
    "out",
    "output",
    "passphrase",
    "range",
    "ready",
    "recover-log",
    "remove",
    "renew",
    "require-sealed",
    "version",
    "waive-expiry",
    "watch",
    "yes",
    "once",
];

/// Commands without settings. A demo is the same everywhere, and the others must work whatever the file says.
const UNCONFIGURED: [&str; 5] = ["demo", "config", "completions", "man", "help"];

/// Commands that run a node. They take nothing from `[client]`.
const NODES: [&str; 2] = [SERVER, REPLICA];

/// Arguments without a flag that can be set, with their commands. Their key is their identifier.
const POSITIONAL: [(&str, &str); 2] = [(SERVER, "listen"), (REPLICA, SERVER)];

/// The key of an option of a command. `None` if only the command line may give it.
pub(super) fn key<'a>(path: &[&str], arg: &'a Arg) -> Option<&'a str> {
    let first = *path.first()?;
    // The option changes what the command does, and excludes others.
    if UNCONFIGURED.contains(&first) || (path == ["status"] && arg.get_long() == Some(SERVER)) {
        return None;
    }
    match arg.get_long() {
        Some(long) => (!OF_ONE_CALL.contains(&long)).then_some(long),
        None => Some(arg.get_id().as_str()).filter(|id| path.len() == 1 && POSITIONAL.contains(&(first, id))),
    }
}

/// The environment variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("VOUCH_{}", key.replace('-', "_").to_uppercase())
}

/// Whether an environment variable may set an option.
pub(in crate::cli) fn is_variable(name: &str) -> bool {
    name.starts_with("VOUCH_")
}

/// The definitions of the command line, with an environment variable for each option that has a key.
pub(in crate::cli) fn definitions() -> Command {
    with_variables(Cli::command(), &[])
}

fn with_variables(command: Command, path: &[&str]) -> Command {
    let command = command.mut_args(|arg| match key(path, &arg).map(variable) {
        // The value stays hidden: help is copied into reports of bugs.
        Some(name) => arg.env(name).hide_env_values(true),
        None => arg,
    });
    command.mut_subcommands(|sub| {
        let name = sub.get_name().to_owned();
        with_variables(sub, &[path, &[name.as_str()]].concat())
    })
}

/// Takes the environment variable from an argument.
pub(super) fn without_variable(arg: Arg) -> Arg {
    arg.env(Resettable::Reset)
}

/// Changes the definition of the command at this path.
pub(super) fn at(command: Command, path: &[&str], change: impl FnOnce(Command) -> Command) -> Command {
    match path {
        [] => change(command),
        [name, rest @ ..] => command.mut_subcommand(*name, |sub| at(sub, rest, change)),
    }
}

/// The command at this path.
pub(super) fn find<'a>(definitions: &'a Command, path: &[&str]) -> Option<&'a Command> {
    path.iter().try_fold(definitions, |command, name| command.find_subcommand(name))
}

/// The keys of one command with the arguments that they set.
pub(super) fn of_command<'a>(definitions: &'a Command, path: &[&str]) -> Vec<(&'a str, &'a Arg)> {
    let args = find(definitions, path).into_iter().flat_map(Command::get_arguments);
    args.filter_map(|arg| Some((key(path, arg)?, arg))).collect()
}

/// The keys of a section with the arguments that they set: those of the command, or of all below it.
pub(super) fn of_section<'a>(definitions: &'a Command, path: &[&str]) -> Vec<(&'a str, &'a Arg)> {
    let Some(command) = find(definitions, path) else { return Vec::new() };
    let mut keys: Vec<(&str, &Arg)> = Vec::new();
    if path == [CLIENT] {
        // `vouch client` itself always names its server, a single one; the section names those of all other commands.
        let put = definitions.find_subcommand(PUT).into_iter().flat_map(Command::get_arguments);
        keys.extend(put.filter(|arg| arg.get_long() == Some(SERVER)).map(|arg| (SERVER, arg)));
    }
    collect(command, path, &mut keys);
    keys
}

fn collect<'a>(command: &'a Command, path: &[&str], keys: &mut Vec<(&'a str, &'a Arg)>) {
    for arg in command.get_arguments() {
        if let Some(key) = key(path, arg)
            && keys.iter().all(|(known, _)| *known != key)
        {
            keys.push((key, arg));
        }
    }
    for sub in command.get_subcommands() {
        collect(sub, &[path, &[sub.get_name()]].concat(), keys);
    }
}

/// The names of the sections in a section: commands that have keys.
pub(super) fn sections<'a>(definitions: &'a Command, path: &[&str]) -> Vec<&'a str> {
    let Some(command) = find(definitions, path) else { return Vec::new() };
    let names = command.get_subcommands().map(Command::get_name);
    names.filter(|name| !of_section(definitions, &[path, &[*name]].concat()).is_empty()).collect()
}

/// The sections that may set a key of a command, the most specific one first.
pub(super) fn sections_for<'a>(definitions: &Command, path: &[&'a str], key: &str) -> Vec<Vec<&'a str>> {
    let mut sections: Vec<Vec<&str>> = (1..=path.len()).rev().map(|length| path[..length].to_vec()).collect();
    let is_node = path.first().is_some_and(|first| NODES.contains(first));
    if !is_node && is_of_client(definitions, key) && !sections.contains(&vec![CLIENT]) {
        sections.push(vec![CLIENT]);
    }
    if !is_node && key == DATA {
        sections.push(vec![REPLICA]);
    }
    sections
}

/// Whether a key is about how to reach a server.
fn is_of_client(definitions: &Command, key: &str) -> bool {
    of_section(definitions, &[CLIENT]).iter().any(|(known, _)| *known == key)
}

/// Whether what is configured for a key concerns this call. `vouch status` is about a server only if it is given one: otherwise the
/// options of connections mean nothing, and are refused; with one, the data folder is.
pub(super) fn concerns(definitions: &Command, path: &[&str], key: &str, is_given: impl Fn(&str) -> bool) -> bool {
    path != ["status"] || if is_given(SERVER) { key != DATA } else { !is_of_client(definitions, key) }
}

/// What the file may have as the value of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// Text, or a whole number, such as a port, or seconds.
    TextOrInteger,
    /// Text.
    Text,
}

impl Expected {
    /// What an argument takes, by the type that clap parses it to.
    pub(super) fn of(arg: &Arg) -> Self {
        let parsed = arg.get_value_parser().type_id();
        let is = |all: &[TypeId]| all.iter().any(|one| parsed == *one);
        if is_switch(arg) || is(&[TypeId::of::<bool>()]) {
            Self::Boolean
        } else if is(&[TypeId::of::<u8>(), TypeId::of::<u16>()]) {
            Self::Integer
        } else if is(&[TypeId::of::<u64>(), TypeId::of::<Duration>(), TypeId::of::<String>()]) {
            Self::TextOrInteger
        } else {
            Self::Text
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Integer => "an integer",
            Self::TextOrInteger => "a string or an integer",
            Self::Text => "a string",
        }
    }
}

/// Whether an option has no value on the command line.
pub(super) fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Whether an option may have several values.
pub(super) fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}
