//! The three commands of the first version still work as they were written then.

use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use support::processes::isolate;

use crate::nodes::Node;
use crate::program::{self, Run};

/// Where nodes keep their data, in the home folder.
const DATA: &str = ".local/share/vouch";

/// The commands name a fixed port, so only one test may run them at a time.
static PORT: Mutex<()> = Mutex::new(());

/// 9090, or the next free port, as a developer may run a server.
fn port() -> u16 {
    (9090..9190).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("no free port from 9090 on")
}

/// Runs the three commands, the second `replicas` times. `start` gives the program that takes the arguments.
fn three_commands(start: impl Fn() -> Command, replicas: usize) -> Run {
    let _alone = PORT.lock().unwrap_or_else(PoisonError::into_inner);
    let port = port();
    let address = format!("127.0.0.1:{port}");
    let mut server = Node::run(start().args(["server", &port.to_string()]));
    assert_eq!(server.line_with("listening on "), format!("listening on {address}"));
    let mut nodes: Vec<Node> = (0..replicas).map(|_| Node::run(start().args(["replica", &address]))).collect();
    server.line_with(&format!("; {replicas} connected"));

    let mut folders: Vec<String> = nodes.iter_mut().map(|node| node.line_with("data in ")).collect();
    folders.sort();
    for (number, line) in (1..).zip(&folders) {
        assert!(line.starts_with(&format!("replica replica-{number} (")), "{line}");
        assert!(line.ends_with(&format!("/{DATA}/replica-{number}")), "{line}");
    }
    let run = program::run(start().args(["client", &address, "Cargo.lock"]), b"");
    let identity = server.line_with("server identity: ");
    assert_eq!(run.ok().lines().next(), Some(identity.as_str()));
    run
}

fn assert_five_lines(run: &Run, file: &Path) {
    let text = run.ok();
    assert!(text.ends_with('\n') && text.lines().count() == 5, "{run:#?}");
    let lines: Vec<&str> = text.lines().collect();
    let base58 = |line: &str, start: &str| {
        let rest = line.strip_prefix(start).unwrap_or_else(|| panic!("expected {start:?}, got {line:?}"));
        bs58::decode(rest).into_vec().unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let digest = blake3::hash(&fs::read(file).unwrap());
    assert_eq!(base58(lines[0], "server identity: ").len(), 32);
    let stored = lines[1].strip_suffix(" stored successfully.").expect(lines[1]);
    assert_eq!(base58(stored, "file "), digest.as_bytes());
    let certificate = base58(lines[2], "certificate of availability: ");
    assert!(certificate.starts_with(b"vouch"), "{certificate:?}");
    assert!(certificate.windows(32).any(|window| window == digest.as_bytes()), "it is about this file");
    assert_eq!(base58(lines[3], "availability set identity: ").len(), 32);
    assert_eq!(lines[4], "certificate of availability is valid.");
}

fn in_a_folder(replicas: usize) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Cargo.lock");
    fs::copy(program::root().join("Cargo.lock"), &file).unwrap();
    let run = three_commands(|| program::command(folder.path()), replicas);
    assert_five_lines(&run, &file);
    assert_eq!(run.stderr, "", "nothing beside the five lines");
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".local", "Cargo.lock"], "the client keeps nothing");
}

#[test]
fn original_commands_work_with_three_replicas() {
    in_a_folder(3);
}

#[test]
fn original_commands_work_with_one_replica() {
    in_a_folder(1);
}

/// Runs `cargo run server 9090` and the others through cargo, from the repository's folder.
#[test]
fn original_commands_work_through_cargo() {
    let root = program::root();
    let own = root.join(".vouch");
    if own.exists() {
        eprintln!("skipped: somebody's own cluster may be in {}", own.display());
        return;
    }
    if !cfg!(debug_assertions) {
        eprintln!("skipped: `cargo run` would compile everything anew without --release");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let cargo = || {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&root);
        // cargo and rustup find their own files without the home folder
        let keep = |name: &str, folder: &str| {
            let default = || env::var_os("HOME").map(|home| Path::new(&home).join(folder).into_os_string());
            (name.to_owned(), env::var_os(name).or_else(default).unwrap_or_default())
        };
        command.envs([keep("CARGO_HOME", ".cargo"), keep("RUSTUP_HOME", ".rustup")]);
        isolate(&mut command, home.path());
        // remove cargo's variables of this test run: a user's cargo does not have them
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name);
            }
        }
        command
    };
    // build first, without a deadline
    let built = cargo().arg("build").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let run = three_commands(
        || {
            let mut command = cargo();
            command.arg("run");
            command
        },
        3,
    );
    assert_five_lines(&run, &root.join("Cargo.lock"));
}

#[test]
fn nodes_go_on_using_a_folder_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join(".vouch");
    let data_of = |args: &[&str]| {
        let line = Node::start(folder.path(), args).line_with("data in ");
        line.rsplit_once("data in ").unwrap().1.to_owned()
    };
    let home = folder.path().canonicalize().unwrap().join(DATA);
    assert_eq!(data_of(&["server", "0"]), home.join("server").display().to_string());
    // what a demo leaves does not count: the server finds its data again
    fs::create_dir_all(here.join("demo")).unwrap();
    assert_eq!(data_of(&["server", "0"]), home.join("server").display().to_string());
    fs::DirBuilder::new().mode(0o700).create(here.join("replica-1")).unwrap();
    let here = here.canonicalize().unwrap();
    assert_eq!(data_of(&["server", "0"]), here.join("server").display().to_string());
    assert_eq!(data_of(&["replica", "127.0.0.1:1"]), here.join("replica-1").display().to_string());
}

#[test]
fn a_service_uses_the_folder_that_systemd_gives_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let start = |args: &[&str], process: Option<&str>| {
        let mut command = program::command(folder.path());
        command.args(args).env("STATE_DIRECTORY", &state);
        process.map(|process| command.env("SYSTEMD_EXEC_PID", process));
        Node::run(&mut command).line_with("data in ")
    };
    for args in [&["server", "0"][..], &["replica", "127.0.0.1:1"]] {
        assert!(start(args, None).ends_with("/state"), "{args:?}");
        fs::remove_dir_all(&state).unwrap();
        // a terminal of another service
        assert!(start(args, Some("1")).contains(DATA), "{args:?}");
        assert!(!state.exists());
    }
}

#[test]
fn restarted_replica_reuses_a_free_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Node::start(folder.path(), &["replica", "127.0.0.1:1"]);
    let mut nodes: Vec<(String, Node)> = (0..3)
        .map(|_| {
            let mut node = start();
            (node.line_with("data in "), node)
        })
        .collect();
    for (number, (line, _)) in (1..).zip(&nodes) {
        assert!(line.starts_with(&format!("replica replica-{number} (")), "{line}");
    }
    let (before, mut second) = nodes.remove(1);
    second.kill();
    let mut again = start();
    assert_eq!(again.line_with("data in "), before, "the same folder, and the same key in it");
    let mut fourth = start();
    assert!(fourth.line_with("data in ").starts_with("replica replica-4 ("));
}
