//! Flags before environment variables before the file before defaults.
//!
//! The command line is parsed twice. The first time finds the command and what is given to it, and ignores mistakes. The second time, what
//! the file says stands before what the user typed, without what flags or variables replace: so clap parses all of it, and finds options
//! that exclude or need each other wherever they come from.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches};

use super::super::Failure;
use super::super::args::Cli;
use super::file::{ConfigFile, Setting};
use super::keys::{self, is_switch};

/// Names the configuration file.
const FILE_VARIABLE: &str = "VOUCH_CONFIG";

/// Where the value of an option comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SetBy {
    /// The command line.
    Flag,
    /// The environment variable of this name.
    Variable(String),
    /// The configuration file.
    File(Setting),
    /// Nobody.
    Default,
}

/// Why the arguments, or what is configured, cannot be used.
#[derive(Debug)]
pub(in crate::cli) enum Refusal {
    /// The arguments, or help. The lines say where a value comes from that was not typed.
    Usage(Box<clap::Error>, Vec<String>),
    /// The file.
    File(Failure),
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Self {
        Self::Usage(Box::new(error), Vec::new())
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::File(failure)
    }
}

/// Parses the command line, with what the environment and the file add to it.
pub(in crate::cli) fn parse(args: Vec<OsString>) -> Result<Cli, Refusal> {
    let layers = Layers::find(args, true)?;
    let (matches, mut definitions) = layers.matches()?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut definitions))?;
    cli.file.config_file = given_file(&matches);
    Ok(cli)
}

/// One option of the command, and who sets it.
#[derive(Debug)]
pub(super) struct Layered {
    pub(super) key: String,
    pub(super) arg: Arg,
    pub(super) set_by: SetBy,
}

/// A command line with what is configured for its command.
pub(super) struct Layers {
    definitions: Command,
    args: Vec<OsString>,
    /// The names of the command, without the program's.
    pub(super) path: Vec<String>,
    /// Its options that can be configured, in the order of its help.
    pub(super) options: Vec<Layered>,
    pub(super) file: ConfigFile,
}

impl Layers {
    /// `is_strict`: arguments that are missing are a mistake.
    pub(super) fn find(args: Vec<OsString>, is_strict: bool) -> Result<Self, Refusal> {
        let definitions = keys::definitions();
        // help and the version end here
        let given = definitions.clone().ignore_errors(true).try_get_matches_from(&args)?;
        let (path, matches) = leaf(&given);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let definitions = if is_strict { definitions } else { keys::at(definitions, &path, without_duties) };
        let configured = keys::of_command(&definitions, &path);
        let is_group = keys::find(&definitions, &path).is_some_and(Command::has_subcommands);
        if configured.is_empty() || is_group {
            let (file, path) = (ConfigFile { path: None, settings: Vec::new() }, owned(&path));
            return Ok(Self { definitions, args, path, options: Vec::new(), file });
        }
        let file = ConfigFile::read(given_file(&given).as_deref(), &definitions)?;
        let is_typed = |arg: &Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        let is_given = |key: &str| configured_or_not(&definitions, &path, key).is_some_and(is_typed);
        let options = configured.iter().map(|(key, arg)| {
            let variable = keys::variable(key);
            let concerns = keys::concerns(&definitions, &path, key, is_given);
            let set_by = if is_typed(arg) {
                SetBy::Flag
            } else if concerns && std::env::var_os(&variable).is_some() {
                SetBy::Variable(variable)
            } else {
                let setting = file.setting(&definitions, &path, key).filter(|_| concerns);
                setting.map_or(SetBy::Default, |setting| SetBy::File(setting.clone()))
            };
            Layered { key: (*key).to_owned(), arg: (*arg).clone(), set_by }
        });
        let options = options.collect();
        let path = owned(&path);
        Ok(Self { definitions, args, path, options, file })
    }

    /// What clap makes of it, and the definitions it used.
    pub(super) fn matches(&self) -> Result<(ArgMatches, Command), Refusal> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        // A switch that its variable turns off is as if it were not there: otherwise it would exclude other options.
        let is_off = |option: &Layered| match &option.set_by {
            SetBy::Variable(name) => is_switch(&option.arg) && std::env::var_os(name).is_some_and(|is| is == "false"),
            SetBy::File(_) | SetBy::Default => true,
            SetBy::Flag => false,
        };
        let ignored: Vec<&Layered> = self.options.iter().filter(|option| is_off(option)).collect();
        let mut definitions = keys::at(self.definitions.clone(), &path, |command| {
            command.mut_args(|arg| match ignored.iter().any(|option| option.arg.get_id() == arg.get_id()) {
                true => keys::without_variable(arg),
                false => arg,
            })
        });
        let at = place_of_options(&self.definitions, &self.args);
        let mut args = self.args.clone();
        args.splice(at..at, self.options.iter().flat_map(configured_args));
        match definitions.try_get_matches_from_mut(args) {
            Ok(matches) => Ok((matches, definitions)),
            Err(error) => {
                let notes = self.notes(&error);
                Err(Refusal::Usage(Box::new(error), notes))
            }
        }
    }

    /// Says of each option that a mistake is about, and that nobody typed, where it comes from.
    fn notes(&self, error: &clap::Error) -> Vec<String> {
        if !error.use_stderr() {
            return Vec::new();
        }
        let text = error.to_string();
        // usage, further down, shows all options
        let about = text.split("\n\n").next().unwrap_or_default();
        let is_missing = error.kind() == clap::error::ErrorKind::MissingRequiredArgument;
        let is_meant = |option: &&Layered| is_missing || is_about(about, &option.arg);
        let note = |option: &Layered| {
            let dashes = if option.arg.is_positional() { "" } else { "--" };
            self.origin(option).map(|origin| format!("{dashes}{} is set by {origin}", option.key))
        };
        self.options.iter().filter(is_meant).filter_map(note).collect()
    }

    /// The variable, or the line of the file, that sets an option.
    pub(super) fn origin(&self, option: &Layered) -> Option<String> {
        match &option.set_by {
            SetBy::Variable(name) => Some(format!("the environment variable {name}")),
            SetBy::File(setting) => Some(self.file.place(setting)),
            SetBy::Flag | SetBy::Default => None,
        }
    }
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|name| (*name).to_owned()).collect()
}

/// The path of the command that was called, and what was given to it.
pub(super) fn leaf(matches: &ArgMatches) -> (Vec<String>, &ArgMatches) {
    let (mut path, mut matches) = (Vec::new(), matches);
    while let Some((name, below)) = matches.subcommand() {
        path.push(name.to_owned());
        matches = below;
    }
    (path, matches)
}

/// An argument of a command by its long name or key, whether it can be configured or not.
fn configured_or_not<'a>(definitions: &'a Command, path: &[&str], key: &str) -> Option<&'a Arg> {
    keys::find(definitions, path)?.get_arguments().find(|arg| arg.get_long() == Some(key))
}

/// The file that the command line or the environment names. clap does not read the variable: if it were set, `vouch` alone would not
/// print its help.
fn given_file(matches: &ArgMatches) -> Option<PathBuf> {
    let typed = matches.try_get_one::<PathBuf>("config_file").ok().flatten().cloned();
    typed.or_else(|| std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from))
}

/// Whether a message is about an argument: it quotes the argument as usage shows it.
fn is_about(message: &str, arg: &Arg) -> bool {
    let begins =
        |name: &str| message.match_indices(name).any(|(at, _)| !message[at + name.len()..].starts_with(['-', '_']));
    match (arg.get_long(), arg.get_value_names()) {
        (Some(long), _) => begins(&format!("'--{long}")),
        (None, Some([name, ..])) => [format!("'<{name}>"), format!("'[{name}]")].iter().any(|shown| begins(shown)),
        (None, _) => false,
    }
}

/// A command none of whose arguments has to be given.
fn without_duties(command: Command) -> Command {
    let groups: Vec<String> = command.get_groups().map(|group| group.get_id().to_string()).collect();
    let command = command.mut_args(|arg| arg.required(false));
    groups.iter().fold(command, |command, group| command.mut_group(group, |group| group.required(false)))
}

/// The place after the last name of a command: before it, only `--config` has a value.
fn place_of_options(definitions: &Command, args: &[OsString]) -> usize {
    let (mut command, mut at, mut end) = (definitions, 1, 1.min(args.len()));
    while let Some(arg) = args.get(at) {
        at += 1;
        if arg == OsStr::new("--config") {
            at += 1;
        } else if let Some(sub) = arg.to_str().and_then(|name| command.find_subcommand(name)) {
            (command, end) = (sub, at);
            if !sub.has_subcommands() {
                break;
            }
        }
    }
    end
}

/// What the file says about an option, as arguments.
fn configured_args(option: &Layered) -> Vec<OsString> {
    let SetBy::File(setting) = &option.set_by else { return Vec::new() };
    let with_name = |value: &String| OsString::from(format!("--{}={value}", option.key));
    match option.arg.get_long() {
        Some(name) if is_switch(&option.arg) => {
            let is_on = setting.values.first().is_some_and(|value| value == "true");
            is_on.then(|| OsString::from(format!("--{name}"))).into_iter().collect()
        }
        Some(_) => setting.values.iter().map(with_name).collect(),
        None => setting.values.iter().map(OsString::from).collect(),
    }
}
