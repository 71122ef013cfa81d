//! `vouch config`: which options are in effect, and who set them.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::super::{Failure, data_folders, output, usage};
use super::file::{self, ConfigFile, Setting};
use super::keys::{self, Expected, is_list};
use super::layers::{self, Layered, Layers, Refusal, SetBy};
use super::{ConfigArgs, ConfigCommand, ConfigShowArgs};
use crate::xdg;

/// `given`: the file that `--config` or its variable names.
pub(in crate::cli) fn config(given: Option<&Path>, args: ConfigArgs) -> Result<u8, Failure> {
    match args.command {
        ConfigCommand::Path => path(given),
        ConfigCommand::Show(args) if args.command.is_empty() => show_all(given, &args),
        ConfigCommand::Show(args) => show_command(given, &args),
    }
}

fn path(given: Option<&Path>) -> Result<u8, Failure> {
    let path = given.map(Path::to_owned).or_else(file::default_path);
    let path = path.ok_or_else(|| Failure::new("no home folder for the configuration file: set HOME"))?;
    output::line(format_args!("{}", output::name(&path)));
    if !file::is_there(&path) {
        output::error_line(format_args!("vouch: it does not exist"));
    }
    Ok(0)
}

/// A value with its origin, ready to print.
struct Row {
    /// The section, for a listing of several.
    section: Vec<String>,
    key: String,
    /// As JSON; null if nothing sets it.
    value: Value,
    /// In words.
    origin: String,
    /// The fields of the origin in JSON.
    fields: Value,
}

impl Row {
    /// The line of a configuration file. Without a value, it is a comment.
    fn line(&self) -> String {
        match &self.value {
            Value::Null => format!("# {} is not set", self.key),
            value => format!("{} = {}", self.key, toml(value)),
        }
    }

    fn json(&self, with_section: bool) -> Value {
        let mut json = json!({});
        if with_section && !self.section.is_empty() {
            json["section"] = self.section.join(".").into();
        }
        json["key"] = self.key.clone().into();
        json["value"] = self.value.clone();
        if let (Some(json), Value::Object(fields)) = (json.as_object_mut(), self.fields.clone()) {
            json.extend(fields);
        }
        json
    }
}

/// A value in TOML. Strings of JSON, arrays, numbers and booleans are the same in TOML.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("[{}]", values.iter().map(toml).collect::<Vec<_>>().join(", ")),
        value => value.to_string(),
    }
}

/// Values of an option in JSON, of the types that the file has.
fn typed(values: &[String], option: &clap::Arg) -> Value {
    let one = |text: &String| match (Expected::of(option), text.parse::<i64>(), text.parse::<bool>()) {
        (Expected::Boolean, _, Ok(is)) => is.into(),
        (Expected::Integer | Expected::TextOrInteger, Ok(number), _) if number.to_string() == *text => number.into(),
        _ => text.clone().into(),
    };
    match values {
        _ if is_list(option) && !values.is_empty() => values.iter().map(one).collect(),
        [value] => one(value),
        _ => Value::Null,
    }
}

fn print(rows: &[Row], args: &ConfigShowArgs, with_section: bool) {
    let width = rows.iter().map(|row| row.line().chars().count()).filter(|width| *width <= 60).max().unwrap_or(0);
    let mut section: &[String] = &[];
    for (number, row) in rows.iter().enumerate() {
        if with_section && row.section != section {
            section = &row.section;
            if number > 0 {
                output::line(format_args!(""));
            }
            output::line(format_args!("[{}]", section.join(".")));
        }
        match args.origin {
            true => output::line(format_args!("{:width$}  # {}", row.line(), row.origin)),
            false => output::line(format_args!("{}", row.line())),
        }
    }
}

fn print_json(rows: &[Row], path: Option<&Path>, command: Option<&str>) {
    let mut json = json!({ "file": null });
    if let Some(path) = path {
        output::put_name(&mut json, "file", path);
    }
    if let Some(command) = command {
        json["command"] = command.into();
    }
    json["options"] = rows.iter().map(|row| row.json(command.is_none())).collect();
    output::json(&json);
}

/// Shows the options of one command.
fn show_command(given: Option<&Path>, args: &ConfigShowArgs) -> Result<u8, Failure> {
    let mut line: Vec<OsString> = vec!["vouch".into()];
    if let Some(path) = given {
        line.extend(["--config".into(), path.into()]);
    }
    line.extend(args.command.iter().cloned());
    let refused = |refusal| match refusal {
        Refusal::File(failure) => failure,
        Refusal::Usage(error, notes) => usage::failure(*error, notes),
    };
    let layers = Layers::find(line, false).map_err(refused)?;
    let path: Vec<&str> = layers.path.iter().map(String::as_str).collect();
    let command = path.join(" ");
    let below = keys::sections(&keys::definitions(), &path).join(", ");
    if !path.is_empty() && !below.is_empty() {
        return Err(Failure::new(format_args!("`vouch {command}` has several commands; add one of: {below}")));
    }
    let (matches, _) = layers.matches().map_err(refused)?;
    if layers.options.is_empty() {
        return Err(Failure::new(format_args!("`vouch {command}` has no options that can be configured")));
    }
    let (_, found) = layers::leaf(&matches);
    let rows: Vec<Row> = layers.options.iter().map(|option| row_of(&layers, &path, option, found)).collect();
    match args.json {
        true => print_json(&rows, layers.file.path.as_deref(), Some(&command)),
        false => print(&rows, args, false),
    }
    Ok(0)
}

fn row_of(layers: &Layers, path: &[&str], option: &Layered, matches: &clap::ArgMatches) -> Row {
    let id = option.arg.get_id().as_str();
    let raw = matches.get_raw(id).into_iter().flatten();
    let mut value = typed(&raw.map(|text| text.to_string_lossy().into_owned()).collect::<Vec<_>>(), &option.arg);
    if keys::is_switch(&option.arg) {
        value = matches.get_flag(id).into();
    }
    if value.is_null() && option.set_by == SetBy::Default {
        value = computed_default(path, &option.key).map_or(Value::Null, |path| output::name(path).into());
    }
    let (origin, fields) = match &option.set_by {
        SetBy::Flag => ("command line".to_owned(), json!({ "origin": "flag" })),
        SetBy::Variable(name) => of_variable(name),
        SetBy::File(setting) => of_setting(layers, setting),
        SetBy::Default => ("default".to_owned(), json!({ "origin": "default" })),
    };
    Row { section: Vec::new(), key: option.key.clone(), value, origin, fields }
}

fn of_variable(name: &str) -> (String, Value) {
    (format!("environment variable {name}"), json!({ "origin": "environment", "variable": name }))
}

fn of_setting(layers: &Layers, setting: &Setting) -> (String, Value) {
    (layers.file.place(setting), json!({ "origin": "file", "line": setting.line }))
}

/// Defaults that depend on the environment, so that the definitions do not have them.
fn computed_default(path: &[&str], key: &str) -> Option<std::path::PathBuf> {
    match (path, key) {
        (_, "known-clusters") => xdg::config_folder().map(|folder| folder.join("known_clusters")),
        (["server"], "data") => data_folders::server().ok(),
        (["keygen"], "data") => data_folders::first_replica().ok(),
        (_, "data") => data_folders::replicas().ok(),
        _ => None,
    }
}

/// Shows what the file and the environment set, for whichever command.
fn show_all(given: Option<&Path>, args: &ConfigShowArgs) -> Result<u8, Failure> {
    let definitions = keys::definitions();
    let file = ConfigFile::read(given, &definitions)?;
    let mut known: Vec<&str> = Vec::new();
    let mut rows = Vec::new();
    for section in keys::sections(&definitions, &[]) {
        for (key, _) in keys::of_section(&definitions, &[section]) {
            if !known.contains(&key) {
                known.push(key);
            }
        }
    }
    for key in &known {
        let name = keys::variable(key);
        if let Some(value) = std::env::var_os(&name) {
            let fields = json!({ "origin": "environment", "variable": name });
            let value = value.to_string_lossy().into_owned().into();
            rows.push(Row { section: Vec::new(), key: name, value, origin: "environment".into(), fields });
        }
    }
    for setting in &file.settings {
        let section: Vec<&str> = setting.section.iter().map(String::as_str).collect();
        let all = keys::of_section(&definitions, &section);
        let Some((_, arg)) = all.iter().find(|(key, _)| *key == setting.key) else { continue };
        let mut origin = file.place(setting);
        let variable = keys::variable(&setting.key);
        let mut fields = json!({ "origin": "file", "line": setting.line });
        if std::env::var_os(&variable).is_some() {
            // writing to a string never fails
            let _ = write!(origin, ", replaced by {variable}");
            fields["replaced_by"] = variable.into();
        }
        let value = typed(&setting.values, arg);
        rows.push(Row { section: setting.section.clone(), key: setting.key.clone(), value, origin, fields });
    }
    if args.json {
        print_json(&rows, file.path.as_deref(), None);
        return Ok(0);
    }
    if rows.is_empty() {
        output::line(format_args!("# nothing is configured"));
    }
    let (variables, settings): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.section.is_empty());
    for row in &variables {
        output::line(format_args!("# {}={}", row.key, output::shell_word(row.value.as_str().unwrap_or_default())));
    }
    print(&settings, args, true);
    Ok(0)
}
