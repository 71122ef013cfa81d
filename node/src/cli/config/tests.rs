//! The file and its mistakes; what is given, and what is configured, together. Variables are tested with processes.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use clap::{ArgMatches, Command};

use super::super::Failure;
use super::super::args::Cli;
use super::file::{self, Setting};
use super::keys::{self, definitions};
use super::layers::{Layers, Refusal, SetBy, parse};

const EXAMPLE: &str = include_str!("../../../../deploy/config.toml");
const IDENTITY: &str = "3UDUyZQXNCDVRBTtTsqbfr6sdPxUAeJyH2HR7VQMjaVj";

fn settings(text: impl AsRef<[u8]>) -> Result<Vec<Setting>, Failure> {
    file::parse(Path::new("c.toml"), text.as_ref(), &definitions())
}

/// The lines of a refusal.
fn mistakes(text: impl AsRef<[u8]>) -> Vec<String> {
    let failure = settings(text).unwrap_err();
    assert_eq!(failure.code, 2);
    [failure.message].into_iter().chain(failure.notes).collect()
}

/// A command line with a configuration file of this text.
fn line(folder: &Path, text: &str, args: &[&str]) -> Vec<OsString> {
    let path = folder.join("c.toml");
    fs::write(&path, text).unwrap();
    let mut line: Vec<OsString> = vec!["vouch".into(), "--config".into(), path.into()];
    line.extend(args.iter().map(OsString::from));
    line
}

/// The options of a command and who sets them, with what clap makes of them.
fn layers(text: &str, args: &[&str]) -> (Layers, ArgMatches) {
    let folder = tempfile::tempdir().unwrap();
    let layers = Layers::find(line(folder.path(), text, args), true).unwrap();
    let (mut matches, _) = layers.matches().unwrap();
    for name in &layers.path {
        matches = matches.remove_subcommand().filter(|(of, _)| of == name).unwrap().1;
    }
    (layers, matches)
}

/// The values of an option as text, and who set it.
fn value(text: &str, args: &[&str], key: &str) -> (String, &'static str) {
    let (layers, matches) = layers(text, args);
    let option = layers.options.iter().find(|option| option.key == key).unwrap();
    let raw = matches.get_raw(option.arg.get_id().as_str()).into_iter().flatten();
    let raw: Vec<_> = raw.map(|value| value.to_str().unwrap()).collect();
    let set_by = match option.set_by {
        SetBy::Flag => "flag",
        SetBy::Variable(_) => "variable",
        SetBy::File(_) => "file",
        SetBy::Default => "default",
    };
    (raw.join(" "), set_by)
}

fn refusal(text: &str, args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml").display().to_string();
    match parse(line(folder.path(), text, args)).map(|Cli { command, .. }| command).unwrap_err() {
        Refusal::Usage(error, notes) => format!("{error}{}", notes.join("\n")).replace(&path, "c.toml"),
        Refusal::File(failure) => failure.message.replace(&path, "c.toml"),
    }
}

#[test]
fn the_definitions_are_consistent() {
    definitions().debug_assert();
}

/// Each command with its path.
fn all_commands(command: &Command, path: &[String], each: &mut dyn FnMut(&[String], &Command)) {
    each(path, command);
    for sub in command.get_subcommands() {
        all_commands(sub, &[path, &[sub.get_name().to_owned()]].concat(), each);
    }
}

#[test]
fn no_option_has_the_name_of_a_command_beside_it_and_none_takes_a_secret() {
    let mut names = vec!["help".to_owned(), "version".to_owned()];
    all_commands(&definitions(), &[], &mut |path, command| {
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            names.push(long.to_owned());
            let names: Vec<&str> = path.iter().map(String::as_str).collect();
            let is_key = keys::key(&names, arg).is_some();
            assert!(!is_key || command.find_subcommand(long).is_none(), "{path:?} {long}");
            // Others can read the variables of a process, and its command line.
            let is_secret = ["passphrase", "password", "secret", "token"].iter().any(|word| long.contains(word));
            assert!(!is_secret || long.ends_with("-file") || keys::is_switch(arg), "{path:?} {long}: name a file");
        }
    });
    for exception in keys::OF_ONE_CALL {
        assert!(names.iter().any(|name| name == exception), "{exception} is an option no more");
    }
}

#[test]
fn the_example_is_valid_as_it_is_and_with_every_setting() {
    assert_eq!(settings(EXAMPLE).unwrap(), []);
    let is_setting = |line: &str| line.starts_with("#") && !line.starts_with("# ") && line.len() > 1;
    let all = EXAMPLE.lines().map(|line| if is_setting(line) { &line[1..] } else { line });
    let all = settings(all.collect::<Vec<_>>().join("\n")).unwrap();
    assert!(all.len() > 20, "{all:#?}");
    for section in ["client", "server", "replica"] {
        assert!(all.iter().any(|setting| setting.section == [section]), "{section}");
    }
}

#[test]
fn a_setting_has_its_section_values_and_line() {
    let text = "# nodes\n[replica]\nserver = [\"a:1\", \"https://b\"]\njoin = false\nquota = 0x10\n\n[committee.add]\ntimeout = 60\n";
    let expected = [
        (&["replica"][..], "server", &["a:1", "https://b"][..], 3),
        (&["replica"], "join", &["false"], 4),
        (&["replica"], "quota", &["16"], 5),
        (&["committee", "add"], "timeout", &["60"], 8),
    ];
    let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let expected = expected.map(|(section, key, values, line)| Setting {
        section: owned(section),
        key: key.to_owned(),
        values: owned(values),
        line,
    });
    assert_eq!(settings(text).unwrap(), expected);
}

#[test]
fn mistakes_name_the_place_and_what_is_expected() {
    for (text, expected) in [
        ("[replica]\nstor = \"x\"", "c.toml:2:1: unknown key `stor` in [replica]; did you mean `store`?"),
        ("[replica]\ntls_ca = \"x\"", "c.toml:2:1: unknown key `tls_ca` in [replica]; did you mean `tls-ca`?"),
        ("[replicas]\nquota = 1", "c.toml:1:2: unknown section `replicas`; did you mean `replica`?"),
        (
            "[server]\nstore = \"file:x\"",
            "c.toml:2:1: unknown key `store` in [server]; it is a key of [replica], [doctor]",
        ),
        ("cluster = \"x\"", "c.toml:1:1: unknown section `cluster`; it is a key of [client]"),
        (
            "server = \"a:1\"",
            "c.toml:1:10: `server`: expected a section, [server], got a string; `server` of clients is a key of [client]",
        ),
        ("[put]\nforce = true", "c.toml:2:1: unknown key `force` in [put]; only the command line can say --force"),
        (
            "[replica]\nqqqq = 1",
            "c.toml:2:1: unknown key `qqqq` in [replica]; `vouch config show replica` lists its keys",
        ),
        ("[put]\njobs = \"16\"", "c.toml:2:8: `jobs`: expected an integer, got a string"),
        ("[put]\n  jobs = 65", "c.toml:2:10: `jobs`: 65 is not in 1..=64"),
        ("[put]\njobs = 1.5", "c.toml:2:8: `jobs`: expected an integer, got a fraction"),
        ("[client]\ninsecure = \"yes\"", "c.toml:2:12: `insecure`: expected true or false, got a string"),
        ("[client]\ncluster = 5", "c.toml:2:11: `cluster`: expected a string, got an integer"),
        ("[client]\ncluster = [\"x\"]", "c.toml:2:11: `cluster`: expected a string, got an array"),
        (
            "[client]\nserver = [\"a:1\",\n  true]",
            "c.toml:3:3: `server`: expected a string or an integer, or an array of them, got true",
        ),
        ("[replica]\nserver = []", "c.toml:2:10: `server`: expected at least one value, got an empty array"),
        ("[server]\nlog-format = \"xml\"", "c.toml:2:14: `log-format`: expected text or json"),
        ("[server.listen]\n", "c.toml:1:1: `listen`: expected a string or an integer, got a section"),
        ("[put]\njobs = 1\njobs = 2", "c.toml:3:1: duplicate key"),
        ("[put\n", "c.toml:1:5: unclosed table, expected `]`"),
    ] {
        assert_eq!(mistakes(text), [expected], "{text}");
    }
    // the password in it is not repeated
    let store = mistakes("[replica]\nstore = \"s3://user:hidden@bucket\"");
    assert!(store[0].starts_with("c.toml:2:9: `store`: ") && !store[0].contains("hidden"), "{store:?}");
    let several = mistakes("[put]\njob = 1\nexpirse = \"never\"\n[client]\ncluster = 1");
    assert_eq!(several.len(), 3, "{several:?}");
}

#[test]
fn no_file_breaks_the_parser() {
    for depth in [100, 60_000] {
        let nested = [&"[".repeat(depth), "[a]\nb = ", &"[".repeat(depth), "{a={"].concat();
        assert_eq!(mistakes(nested).len(), 1);
    }
    assert_eq!(mistakes(b"[put]\njobs = 1 # \xff"), ["c.toml:2:12: expected UTF-8"]);
    assert_eq!(mistakes("a = 1\n".repeat(20)).len(), 1);
    let many: String = (0..20).map(|number| format!("[x{number}]\n")).collect();
    assert_eq!(mistakes(many).len(), 10);
    let long = mistakes(format!("[put]\n{} = 1", "k".repeat(60_000)));
    assert!(long[0].len() < 200, "{}", long[0].len());
    assert!(!mistakes("[put]\n\"\\u001b[31m\" = 1")[0].contains('\u{1b}'));
    // every beginning of a file, and every file with one byte that is another
    let bytes = "[client]\nserver = [\"a:1\", 'b:2'] # x\ninsecure = true\n[put]\njobs = 0x1\n".as_bytes();
    for length in 0..bytes.len() {
        let _ = settings(&bytes[..length]);
        for byte in [0, b'"', b'[', b'.', b'=', b'\n', 0xc3] {
            let mut changed = bytes.to_owned();
            changed[length] = byte;
            let _ = settings(changed);
        }
    }
}

#[test]
fn a_file_that_is_too_large_or_does_not_exist_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    fs::write(&path, "#\n".repeat(40_000)).unwrap();
    let read = |path: &Path| file::ConfigFile::read(Some(path), &definitions()).map(|_| ()).unwrap_err().message;
    assert!(read(&path).ends_with("large: expected at most 65536 bytes, got more"), "{}", read(&path));
    assert!(read(&folder.path().join("absent")).ends_with("absent does not exist"));
}

#[test]
fn a_flag_comes_before_the_file_and_that_before_the_default() {
    let text = "[put]\njobs = 3\n[client]\nserver = [\"a:1\", \"b:2\"]\n";
    assert_eq!(value("", &["put", "file"], "jobs"), ("16".into(), "default"));
    assert_eq!(value(text, &["put", "file"], "jobs"), ("3".into(), "file"));
    assert_eq!(value(text, &["put", "--jobs", "4", "file"], "jobs"), ("4".into(), "flag"));
    // the values of a flag replace those of the file
    assert_eq!(value(text, &["put", "file"], "server"), ("a:1 b:2".into(), "file"));
    assert_eq!(value(text, &["put", "--server=c:3", "file"], "server"), ("c:3".into(), "flag"));
    assert_eq!(value(text, &["put", "--", "--jobs"], "jobs"), ("3".into(), "file"));
    // a switch
    assert_eq!(value("[client]\ninsecure = true", &["put", "file"], "insecure"), ("true".into(), "file"));
    assert_eq!(value("[client]\ninsecure = false", &["put", "file"], "insecure"), ("false".into(), "file"));
    assert_eq!(value("[replica]\njoin = false", &["replica", "a:1"], "join"), ("false".into(), "file"));
}

#[test]
fn a_command_takes_the_most_specific_section() {
    let text = "[client]\nserver = \"a:1\"\n[log]\nserver = \"b:2\"\n[log.note]\nserver = \"c:3\"\n";
    for (args, expected) in [
        (&["get", "digest", "-o", "x"][..], "a:1"),
        (&["log", "head"], "b:2"),
        (&["log", "note", "text"], "c:3"),
        (&["upgrade", "bundle"], "a:1"),
        (&["committee", "show"], "a:1"),
    ] {
        assert_eq!(value(text, args, "server"), (expected.into(), "file"), "{args:?}");
    }
}

#[test]
fn a_node_takes_only_its_own_section_and_its_address_may_be_there() {
    let text = "[client]\nserver = \"a:1\"\ninsecure = true\n[replica]\nserver = [\"b:2\", \"c:3\"]\ndata = \"d\"\n\
                [server]\nlisten = 7000\n";
    assert_eq!(value(text, &["replica"], "server"), ("b:2 c:3".into(), "file"));
    assert_eq!(value(text, &["replica", "x:1,y:2"], "server"), ("x:1 y:2".into(), "flag"));
    assert_eq!(value(text, &["replica"], "insecure").1, "default");
    assert_eq!(value(text, &["server"], "listen"), ("7000".into(), "file"));
    assert_eq!(value(text, &["server", "0"], "listen"), ("0".into(), "flag"));
    // those who ask about a replica find its folder
    for args in [&["du"][..], &["scrub"], &["keygen"], &["status"], &["committee", "pending"]] {
        assert_eq!(value(text, args, "data"), ("d".into(), "file"), "{args:?}");
    }
    assert_eq!(value(text, &["server"], "data").1, "default");
}

#[test]
fn vouch_client_always_names_its_server() {
    let text = "[client]\nserver = \"a:1\"\n";
    assert!(refusal(text, &["client", "a:1"]).contains("not provided:\n  <FILE>"));
    let (_, matches) = layers(text, &["client", "b:2", "file"]);
    assert_eq!(matches.get_one::<String>("server").unwrap(), "b:2");
}

#[test]
fn a_status_of_replicas_is_not_about_a_server() {
    let text = format!("[client]\nserver = \"a:1\"\ncluster = \"{IDENTITY}\"\n[replica]\ndata = \"d\"\n");
    assert_eq!(value(&text, &["status"], "data").1, "file");
    assert_eq!(value(&text, &["status"], "cluster").1, "default");
    assert_eq!(value(&text, &["status", "--server", "a:1"], "cluster").1, "file");
    assert_eq!(value(&text, &["status", "--server", "a:1"], "data").1, "default");
}

#[test]
fn rules_between_options_hold_for_the_file_and_the_refusal_says_where_a_value_is() {
    let text = format!("[server]\ncluster = \"{IDENTITY}\"\n");
    let refused = refusal(&text, &["server", "--replicas", "3"]);
    assert!(refused.contains("'--cluster <IDENTITY>' cannot be used with"), "{refused}");
    assert!(refused.ends_with("--cluster is set by c.toml:2"), "{refused}");
    let refused = refusal("[server]\ntls-cert = \"x\"\n", &["server"]);
    assert!(refused.contains("--tls-key <FILE>") && refused.ends_with("--tls-cert is set by c.toml:2"), "{refused}");
    // what the user typed is told as before
    let refused = refusal("[put]\njobs = 3\n", &["put", "--jobs", "0", "file"]);
    assert!(
        refused.starts_with("error: invalid value '0' for '--jobs <N>'") && !refused.contains("c.toml"),
        "{refused}"
    );
    let refused = refusal("[put]\njobs = 3\n", &["put", "--unknown", "--jobs", "4", "file"]);
    assert!(refused.starts_with("error: unexpected argument '--unknown'"), "{refused}");
}

#[test]
fn the_file_is_named_before_or_after_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    fs::write(&path, "[put]\njobs = 3\n").unwrap();
    let path = path.to_str().unwrap();
    let with_sign = format!("--config={path}");
    for args in [
        &["--config", path, "put", "file"][..],
        &["put", "--config", path, "file"],
        &[&with_sign, "put", "file"],
        &["put", "file", &with_sign],
    ] {
        let all = [&["vouch"], args].concat().iter().map(OsString::from).collect();
        let layers = Layers::find(all, true).unwrap();
        layers.matches().unwrap();
        assert!(layers.options.iter().any(|option| matches!(option.set_by, SetBy::File(_))), "{args:?}");
    }
    // a file whose name is that of a command
    fs::write(folder.path().join("put"), "").unwrap();
    let named = folder.path().join("put");
    let all = vec!["vouch".into(), "--config".into(), named.into(), "put".into(), "file".into()];
    assert!(Layers::find(all, true).unwrap().matches().is_ok());
}

#[test]
fn a_mistake_in_any_section_stops_every_command_that_reads_the_file() {
    let text = "[server]\nlisten = 70000\n";
    assert!(refusal(text, &["put", "file"]).starts_with("c.toml:2:10: `listen`: "));
    // these say what is wrong, or do not need it
    let folder = tempfile::tempdir().unwrap();
    for args in [&["config", "path"][..], &["completions", "bash"], &["demo"]] {
        assert!(parse(line(folder.path(), text, args)).is_ok(), "{args:?}");
    }
}
