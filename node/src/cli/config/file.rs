//! The configuration file: TOML with a section for each command, whose keys are the long names of its options.
//!
//! The file comes from outside: its size is bounded, and every section, key and value is checked against the definitions of the command
//! line, also those that this command does not need. Otherwise a misspelt key of a server would show only when the server restarts.

use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::{Failure, output};
use super::keys::{self, CLIENT, Expected, is_list};
use crate::host::files::{self, FileError};
use crate::xdg;

/// Maximum size of the file in bytes.
const MAX_SIZE: usize = 64 << 10;
/// How many mistakes are reported at once.
const MAX_MISTAKES: usize = 10;
/// The file of the whole machine.
const OF_MACHINE: &str = "/etc/vouch/config.toml";
/// How similar two names must be, from 0 to 1, for one to be suggested in place of the other. clap uses the same.
const SIMILAR: f64 = 0.7;
/// From here on, one name is the other with a slip of the finger.
const NEARLY_EQUAL: f64 = 0.9;

/// What the file says about one option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The commands of the section, such as `["committee", "add"]`.
    pub(super) section: Vec<String>,
    /// The long name of the option.
    pub(super) key: String,
    /// Its values as they stand on a command line; `true` or `false` for a switch.
    pub(super) values: Vec<String>,
    /// Line in the file, from 1.
    pub(super) line: usize,
}

/// A checked configuration file.
#[derive(Debug)]
pub(super) struct ConfigFile {
    /// `None` if there is no file.
    pub(super) path: Option<PathBuf>,
    /// By place in the file.
    pub(super) settings: Vec<Setting>,
}

impl ConfigFile {
    /// Reads the given file, or the first that exists of the user's and the machine's.
    pub(super) fn read(given: Option<&Path>, definitions: &Command) -> Result<Self, Failure> {
        let found = match given {
            Some(path) => Some((path.to_owned(), files::read_all(path, MAX_SIZE).map_err(Failure::new)?)),
            None => first_of(&[user_path(), Some(OF_MACHINE.into())]).map_err(|error| {
                Failure::new(error).with_note("Correct that, or name another configuration file with --config.")
            })?,
        };
        let Some((path, bytes)) = found else { return Ok(Self { path: None, settings: Vec::new() }) };
        let settings = parse(&path, &bytes, definitions)?;
        Ok(Self { path: Some(path), settings })
    }

    /// The file and the line of a setting.
    pub(super) fn place(&self, setting: &Setting) -> String {
        format!("{}:{}", self.path.as_ref().map(output::name).unwrap_or_default(), setting.line)
    }

    /// The setting that is in effect for a key of a command, if no flag and no variable is.
    pub(super) fn setting(&self, definitions: &Command, path: &[&str], key: &str) -> Option<&Setting> {
        let sections = keys::sections_for(definitions, path, key);
        sections
            .iter()
            .find_map(|section| self.settings.iter().find(|setting| setting.key == key && setting.section == *section))
    }
}

/// The file of this user. `None` without a home folder.
pub(super) fn user_path() -> Option<PathBuf> {
    xdg::config_folder().map(|folder| folder.join("config.toml"))
}

/// The path that is read if no other is given; if neither file exists, the user's.
pub(super) fn default_path() -> Option<PathBuf> {
    let user = user_path();
    let is_machines = !user.as_deref().is_some_and(is_there) && is_there(Path::new(OF_MACHINE));
    if is_machines { Some(OF_MACHINE.into()) } else { user }
}

pub(super) fn is_there(path: &Path) -> bool {
    !matches!(files::exists(path), Ok(false))
}

fn first_of(paths: &[Option<PathBuf>]) -> Result<Option<(PathBuf, Vec<u8>)>, FileError> {
    for path in paths.iter().flatten() {
        match files::read_all(path, MAX_SIZE) {
            Ok(bytes) => return Ok(Some((path.clone(), bytes))),
            Err(FileError::NotFound { .. }) => {}
            // A user without a home folder has /dev/null, or a file, in its place.
            Err(FileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotADirectory => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Something wrong in the file, at an offset in bytes.
struct Mistake(usize, String);

/// Parses and checks a file.
pub(super) fn parse(path: &Path, bytes: &[u8], definitions: &Command) -> Result<Vec<Setting>, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let place = Place::of(&bytes[..error.valid_up_to()]);
        Failure::cannot_check(format_args!("{}:{place}: expected UTF-8", output::name(path)))
    })?;
    let mut parser = Checker { definitions, text, settings: Vec::new(), mistakes: Vec::new() };
    match DeTable::parse(text) {
        Ok(table) => parser.section(table.get_ref(), &[]),
        Err(error) => {
            let offset = error.span().map_or(text.len(), |span| span.start);
            parser.mistakes.push(Mistake(offset, error.message().to_owned()));
        }
    }
    let Checker { mut settings, mut mistakes, .. } = parser;
    mistakes.sort_by_key(|Mistake(offset, _)| *offset);
    let mut lines = mistakes.iter().take(MAX_MISTAKES).map(|Mistake(offset, what)| {
        let before = text.get(..*offset).unwrap_or(text);
        format!("{}:{}: {}", output::name(path), Place::of(before.as_bytes()), output::harmless(what))
    });
    let Some(first) = lines.next() else {
        settings.sort_by_key(|setting| setting.line);
        return Ok(settings);
    };
    // what is wrong with the arguments has this exit code, too
    Err(lines.fold(Failure::cannot_check(first), Failure::with_note))
}

/// A line and a column, both from 1.
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    /// Where the text after this one begins.
    fn of(before: &[u8]) -> Self {
        let last = before.split(|byte| *byte == b'\n').next_back().unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Self { line, column: String::from_utf8_lossy(last).chars().count() + 1 }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

struct Checker<'a> {
    definitions: &'a Command,
    text: &'a str,
    settings: Vec<Setting>,
    mistakes: Vec<Mistake>,
}

impl Checker<'_> {
    fn section(&mut self, table: &DeTable<'_>, path: &[&str]) {
        let keys = keys::of_section(self.definitions, path);
        let sections = keys::sections(self.definitions, path);
        for (name, value) in table {
            let (offset, name) = (name.span().start, name.get_ref().as_ref());
            if sections.contains(&name) {
                match value.get_ref() {
                    DeValue::Table(table) => self.section(table, &[path, &[name]].concat()),
                    other => self
                        .mistakes
                        .push(Mistake(value.span().start, not_a_section(path, name, other, self.definitions))),
                }
                continue;
            }
            // the keys at the top of a file belong to no section
            let arg = keys.iter().find(|(key, _)| *key == name && !path.is_empty());
            let Some((key, arg)) = arg else {
                self.mistakes.push(Mistake(offset, unknown(self.definitions, path, name, &keys, &sections)));
                continue;
            };
            match values(value, arg) {
                Ok(values) => self.settings.push(Setting {
                    section: path.iter().map(|name| (*name).to_owned()).collect(),
                    key: (*key).to_owned(),
                    values,
                    line: Place::of(self.text.get(..offset).unwrap_or_default().as_bytes()).line,
                }),
                Err(Mistake(offset, why)) => self.mistakes.push(Mistake(offset, format!("`{key}`: {why}"))),
            }
        }
    }
}

/// The text of a section's header.
fn header(path: &[&str]) -> String {
    format!("[{}]", path.join("."))
}

fn not_a_section(path: &[&str], name: &str, got: &DeValue<'_>, definitions: &Command) -> String {
    let expected = format!("`{name}`: expected a section, {}, got {}", header(&[path, &[name]].concat()), kind(got));
    let of_clients = keys::of_section(definitions, &[CLIENT]).iter().any(|(key, _)| *key == name);
    // the mistake of somebody who configures a client
    if path.is_empty() && of_clients {
        format!("{expected}; `{name}` of clients is a key of [{CLIENT}]")
    } else {
        expected
    }
}

/// What is wrong with an unknown name, and the name that was probably meant.
fn unknown(definitions: &Command, path: &[&str], name: &str, keys: &[(&str, &Arg)], sections: &[&str]) -> String {
    // Nobody types a longer name by mistake, and finding similar names takes time.
    let shown: String = name.chars().take(64).collect();
    let what = match path {
        [] => format!("unknown section `{shown}`"),
        _ => format!("unknown key `{shown}` in {}", header(path)),
    };
    let own = keys.iter().map(|(key, _)| *key).filter(|_| !path.is_empty()).chain(sections.iter().copied());
    let nearest = own.map(|known| (strsim::jaro(&shown, known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    let all = keys::sections(definitions, &[]);
    let elsewhere = |known: &str| -> Vec<String> {
        let has = |section: &&str| keys::of_section(definitions, &[*section]).iter().any(|(key, _)| *key == known);
        all.iter().filter(|section| has(section)).map(|section| format!("[{section}]")).collect()
    };
    let of_command = keys::find(definitions, path).is_some_and(|command| is_option(command, &shown));
    if of_command && !path.is_empty() {
        return format!("{what}; only the command line can say --{shown}");
    }
    match (elsewhere(&shown), nearest) {
        (_, Some((similarity, known))) if similarity > NEARLY_EQUAL => format!("{what}; did you mean `{known}`?"),
        (others, _) if others.contains(&format!("[{CLIENT}]")) => format!("{what}; it is a key of [{CLIENT}]"),
        (others, _) if !others.is_empty() => format!("{what}; it is a key of {}", others.join(", ")),
        (_, Some((similarity, known))) if similarity > SIMILAR => format!("{what}; did you mean `{known}`?"),
        _ if path.is_empty() => format!("{what}; the sections are {}", all.join(", ")),
        _ => format!("{what}; `vouch config show {}` lists its keys", path.join(" ")),
    }
}

/// Whether the command, or one below it, has an option of this name.
fn is_option(command: &Command, name: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some(name))
        || command.get_subcommands().any(|sub| is_option(sub, name))
}

/// The kind of a value, with its article.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(true) => "true",
        DeValue::Boolean(false) => "false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a section",
    }
}

/// The values of an option, each checked by the parser that reads the command line.
fn values(value: &Spanned<DeValue<'_>>, arg: &Arg) -> Result<Vec<String>, Mistake> {
    let expected = Expected::of(arg);
    let all: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
        DeValue::Array(array) if is_list(arg) => array.iter().collect(),
        _ => vec![value],
    };
    if all.is_empty() {
        return Err(Mistake(value.span().start, "expected at least one value, got an empty array".into()));
    }
    let one = |value: &Spanned<DeValue<'_>>| {
        let mistake = |why| Mistake(value.span().start, why);
        let text = text_of(value.get_ref(), expected).ok_or_else(|| {
            let or_several = if is_list(arg) { ", or an array of them" } else { "" };
            mistake(format!("expected {}{or_several}, got {}", expected.name(), kind(value.get_ref())))
        })?;
        check(&text, arg).map_err(mistake)?;
        Ok(text)
    };
    all.into_iter().map(one).collect()
}

/// A value as it stands on the command line. `None` if an option takes no such value.
fn text_of(value: &DeValue<'_>, expected: Expected) -> Option<String> {
    match (value, expected) {
        (DeValue::Boolean(is), Expected::Boolean) => Some(is.to_string()),
        (DeValue::String(text), Expected::Text | Expected::TextOrInteger) => Some(text.as_ref().to_owned()),
        (DeValue::Integer(number), Expected::Integer | Expected::TextOrInteger) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        _ => None,
    }
}

/// Parses a value as the command line does. The reason of a refusal does not repeat the value, which may be long or hold a password.
fn check(text: &str, arg: &Arg) -> Result<(), String> {
    let mut lone =
        Arg::new("value").long("value").action(ArgAction::Append).value_parser(arg.get_value_parser().clone());
    if let Some(delimiter) = arg.get_value_delimiter() {
        lone = lone.value_delimiter(delimiter);
    }
    let command = Command::new("value").no_binary_name(true).disable_help_flag(true).arg(lone);
    let Err(error) = command.try_get_matches_from([format!("--value={text}")]) else { return Ok(()) };
    if let Some(why) = std::error::Error::source(&error) {
        return Err(why.to_string());
    }
    if let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue)
        && !valid.is_empty()
    {
        return Err(format!("expected {}", valid.join(" or ")));
    }
    let text = error.to_string();
    let why = text.trim_start_matches("error: ").lines().next().unwrap_or_default();
    // `--store` has a message of its own
    Err(why.rsplit_once(">': ").map_or(why, |(_, why)| why).to_owned())
}
