//! Options from the environment and from a file, as users set them. What is configured for each option is tested in the program.

use std::fs;
use std::path::Path;

use crate::nodes::{Cluster, Node};
use crate::program::{self, Run};

/// Runs a command with these variables; the file of the user counts.
fn configured(folder: &Path, variables: &[(&str, &str)], args: &[&str]) -> Run {
    let mut command = program::command(folder);
    command.env_remove("VOUCH_CONFIG").args(args);
    program::run(command.envs(variables.iter().copied()), b"")
}

fn write_file(folder: &Path, text: &str) {
    fs::create_dir_all(folder.join(".config/vouch")).unwrap();
    fs::write(folder.join(".config/vouch/config.toml"), text).unwrap();
}

/// The value of one option of a command, and where it comes from.
fn shown(folder: &Path, variables: &[(&str, &str)], command: &[&str], key: &str) -> (String, String) {
    let args = [&["config", "show", "--json", "--"], command].concat();
    let run = configured(folder, variables, &args);
    run.ok();
    let json = run.json();
    let options = json["options"].as_array().unwrap();
    let option = options.iter().find(|option| option["key"] == key).unwrap_or_else(|| panic!("no {key}: {json}"));
    (option["value"].to_string(), option["origin"].as_str().unwrap().to_owned())
}

#[test]
fn a_variable_is_between_a_flag_and_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = |variables: &[(&str, &str)], command: &[&str]| shown(folder, variables, command, "server");
    let variable = ("VOUCH_SERVER", "b:2,c:3");
    let is = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(server(&[], &["put"]), is(r#"["127.0.0.1:9090"]"#, "default"));
    write_file(folder, "[client]\nserver = \"a:1\"\n");
    assert_eq!(server(&[], &["put"]), is(r#"["a:1"]"#, "file"));
    assert_eq!(server(&[variable], &["put"]), is(r#"["b:2","c:3"]"#, "environment"));
    assert_eq!(server(&[variable], &["put", "--server", "d:4"]), is(r#"["d:4"]"#, "flag"));
    // what a replica joins, and where a server listens, have no flag
    assert_eq!(server(&[variable], &["replica"]), is(r#"["b:2","c:3"]"#, "environment"));
    assert_eq!(shown(folder, &[("VOUCH_LISTEN", "7")], &["server"], "listen"), is("7", "environment"));
    // a variable turns a switch of the file off
    write_file(folder, "[client]\ninsecure = true\n[server]\ninsecure = true\n");
    let insecure = |value| shown(folder, &[("VOUCH_INSECURE", value)], &["put"], "insecure");
    assert_eq!(insecure("true"), is("true", "environment"));
    assert_eq!(insecure("false"), is("false", "environment"));
    // and then it excludes nothing
    let tls = ["config", "show", "--", "server", "--tls-cert", "x", "--tls-key", "y"];
    assert!(configured(folder, &[], &tls).fails_with(2).contains("--insecure is set by "));
    configured(folder, &[("VOUCH_INSECURE", "false")], &tls).ok();
}

#[test]
fn the_first_file_that_exists_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let jobs = |variables: &[(&str, &str)], command: &[&str]| shown(folder, variables, command, "jobs").0;
    write_file(folder, "[put]\njobs = 1\n");
    fs::create_dir_all(folder.join("xdg/vouch")).unwrap();
    fs::write(folder.join("xdg/vouch/config.toml"), "[put]\njobs = 2\n").unwrap();
    fs::write(folder.join("three"), "[put]\njobs = 3\n").unwrap();
    fs::write(folder.join("four"), "[put]\njobs = 4\n").unwrap();
    let xdg = ("XDG_CONFIG_HOME", folder.join("xdg").display().to_string());
    let xdg = (xdg.0, xdg.1.as_str());
    assert_eq!(jobs(&[], &["put"]), "1");
    assert_eq!(jobs(&[xdg], &["put"]), "2");
    assert_eq!(jobs(&[xdg, ("VOUCH_CONFIG", "three")], &["put"]), "3");
    let path = |variables: &[(&str, &str)], more: &[&str]| {
        configured(folder, variables, &[&["config", "path"], more].concat()).ok().trim_end().to_owned()
    };
    assert_eq!(path(&[], &[]), folder.join(".config/vouch/config.toml").display().to_string());
    assert_eq!(path(&[xdg], &[]), folder.join("xdg/vouch/config.toml").display().to_string());
    assert_eq!(path(&[("VOUCH_CONFIG", "three")], &[]), "three");
    assert_eq!(path(&[("VOUCH_CONFIG", "three")], &["--config", "four"]), "four");
    let run = configured(folder, &[("VOUCH_CONFIG", "three")], &["config", "show", "put", "--config", "four"]);
    assert!(run.ok().contains("jobs = 4\n"), "{run:#?}");
    let run = configured(folder, &[("VOUCH_CONFIG", "/dev/null")], &["config", "show"]);
    assert_eq!(run.ok(), "# nothing is configured\n");
    configured(folder, &[("VOUCH_CONFIG", "absent")], &["du"]).fails_with(1);
}

#[test]
fn nodes_and_clients_run_with_a_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_file(folder, "[server]\nlisten = 0\ndata = \"s\"\nreplicas = 1\n");
    let start = |args: &[&str]| Node::run(program::command(folder).env_remove("VOUCH_CONFIG").args(args));
    let mut server = start(&["server"]);
    let address = server.line_with("listening on ").replace("listening on ", "");
    assert!(server.line_with("data in ").ends_with("/s"));
    let text =
        format!("[replica]\nserver = \"{address}\"\ndata = \"r\"\nname = \"one\"\n[client]\nserver = \"{address}\"\n");
    write_file(folder, &text);
    let mut replica = start(&["replica"]);
    assert!(replica.line_with("data in ").starts_with("replica one ("));
    server.line_with("; 1 connected");
    fs::write(folder.join("letter"), "a letter\n").unwrap();
    let run = configured(folder, &[], &["put", "letter"]);
    run.ok();
    let identity = run.row("cluster");
    // `status` is about the replica, although a server is configured for clients
    let status = configured(folder, &[("VOUCH_SERVER", &address), ("VOUCH_CLUSTER", &identity)], &["status"]);
    assert!(status.ok().starts_with("one: member 1 of cluster "), "{status:#?}");
    let verify = |variables: &[(&str, &str)]| configured(folder, variables, &["verify", "letter", "letter.vouch"]);
    verify(&[]).fails_with(2);
    assert!(verify(&[("VOUCH_CLUSTER", &identity)]).ok().contains("VALID"));
    write_file(folder, &format!("[client]\ncluster = \"{identity}\"\n"));
    assert!(verify(&[]).ok().contains("VALID"));
    let other = verify(&[("VOUCH_CLUSTER", &"1".repeat(32))]);
    other.fails_with(1);
    assert!(other.text().contains("INVALID"), "{other:#?}");
}

#[test]
fn a_demo_takes_nothing_from_the_environment_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_file(folder, "[server]\nreplicas = 9\n[replica]\nquota = \"1B\"\n[client]\nserver = \"127.0.0.1:1\"\n");
    fs::write(folder.join("letter"), "a letter\n").unwrap();
    let variables =
        [("VOUCH_REPLICAS", "9"), ("VOUCH_DATA", "d"), ("VOUCH_QUOTA", "1B"), ("VOUCH_SERVER", "127.0.0.1:1")];
    configured(folder, &variables, &["demo", "letter", "--once", "--replicas", "1"]).ok();
    assert!(!folder.join("d").exists() && folder.join(".vouch/demo").exists());
}

#[test]
fn an_invalid_variable_is_named() {
    let cluster = Cluster::start(0);
    let run = configured(cluster.root.path(), &[("VOUCH_JOBS", "0")], &["put", "file", "--json"]);
    let message = run.fails_with(2);
    assert!(message.starts_with("error: invalid value '0' for '--jobs <N>'"), "{message}");
    assert!(message.ends_with("--jobs is set by the environment variable VOUCH_JOBS\n"), "{message}");
    assert!(run.json()["error"].as_str().unwrap().contains("VOUCH_JOBS"));
}
