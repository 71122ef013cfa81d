//! Runs the commands of docs/BACKUP.md, docs/CHANGING-MEMBERS.md, docs/FOUR-MACHINES.md and docs/HTTP.md, block after block, in one shell and an empty folder.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use support::processes::isolate;

use crate::nodes::Cluster;
use crate::program;

/// Ends every process of the shell with it.
const CLEAN_UP: &str = "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT";

/// A block of commands, and the machine on which to run it, if the block names one.
struct Block {
    machine: String,
    commands: String,
}

/// The `sh` blocks.
fn blocks(markdown: &str) -> Vec<Block> {
    let (mut inside, mut blocks) = (false, Vec::<Block>::new());
    for line in markdown.lines() {
        let line = line.trim_end();
        match (line.strip_prefix("```sh"), blocks.last_mut()) {
            (Some(machine), _) => {
                inside = true;
                blocks.push(Block { machine: machine.trim().to_owned(), commands: String::new() });
            }
            (None, _) if line == "```" => inside = false,
            (None, Some(block)) if inside => block.commands.push_str(&format!("{line}\n")),
            _ => {}
        }
    }
    blocks
}

/// A port that nobody else uses.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An empty folder in which a document's commands run as a user would run them.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::create_dir(desk.path("bin")).unwrap();
        fs::create_dir(desk.home()).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn home(&self) -> PathBuf {
        self.path("work")
    }

    /// Puts a command in the path.
    fn add_command(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Puts the program in the path. The default server of its commands has this port.
    fn add_vouch(&self, port: u16) {
        let script = format!(
            "#!/bin/bash\ncase \"$1\" in put|get|committee|log) exec {0} \"$@\" --server 127.0.0.1:{port} ;; *) exec {0} \"$@\" ;; esac\n",
            program::path().display()
        );
        self.add_command("vouch", &script);
    }

    /// Runs a script. Returns what it printed, if it succeeded; otherwise panics with that and the logs.
    fn run(&self, script: &str, logs: &[&str]) -> String {
        let home = self.home();
        let mut shell = Command::new("bash");
        isolate(&mut shell, &home);
        let run = shell
            .args(["-c", &format!("{CLEAN_UP}\nset -exuo pipefail\n{script}")])
            .current_dir(&home)
            .env("PATH", format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap()))
            .stdin(Stdio::null())
            .process_group(0)
            .output()
            .unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        let logs = logs.iter().map(|name| fs::read_to_string(home.join(name)).unwrap_or_default());
        assert!(run.status.success(), "{stdout}\n{stderr}\n{}", logs.collect::<Vec<_>>().join("\n\n"));
        stdout.into_owned()
    }
}

fn document(name: &str) -> String {
    fs::read_to_string(program::root().join("docs").join(name)).unwrap()
}

#[test]
fn four_replicas_become_five_and_one_dies_and_is_replaced() {
    let port = free_port();
    let blocks = blocks(&document("CHANGING-MEMBERS.md"));
    let commands: String = blocks.into_iter().map(|block| block.commands).collect();
    let commands = commands.replace("9090", &port.to_string());
    assert!(commands.contains("committee replace") && commands.contains("vouch get"), "{commands}");
    let desk = Desk::new();
    desk.add_vouch(port);
    let stdout = desk.run(&commands, &["server.log", "a.log", "e.log", "f.log"]);
    assert!(stdout.contains("VALID"), "{stdout}");
    assert_eq!(fs::read(desk.home().join("again.txt")).unwrap(), b"All figures of this year\n");
}

/// Each machine is a folder with an address of its own on loopback, and `scp` copies between the folders.
#[test]
fn four_machines_found_a_cluster_and_one_is_replaced() {
    let (port, peer_port) = (free_port().to_string(), free_port().to_string());
    let desk = Desk::new();
    desk.add_command("vouch", &format!("#!/bin/bash\nexec {} \"$@\"\n", program::path().display()));
    let home = desk.home();
    let place = |argument: u8| format!("$(sed -E 's|^([a-z]+)[a-z.]*:|{}/\\1/|' <<<\"${argument}\")", home.display());
    desk.add_command("scp", &format!("#!/bin/bash\ncp \"{}\" \"{}\"\n", place(1), place(2)));
    let machines = ["vouch", "laptop", "client", "a", "b", "c", "d", "e"];
    machines.iter().for_each(|machine| fs::create_dir(home.join(machine)).unwrap());
    let mut script = String::new();
    for block in blocks(&document("FOUR-MACHINES.md")) {
        let on: Vec<&str> = match block.machine.as_str() {
            "each" => vec!["a", "b", "c", "d"],
            "server" => vec!["vouch"],
            other => vec![other],
        };
        let commands = block.commands.replace("vouch.example:9090", &format!("localhost:{port}"));
        let commands = commands.replace("certs dev vouch.example", "certs dev localhost");
        let commands = commands.replace("0.0.0.0:9090", &format!("127.0.0.1:{port}")).replace("9191", &peer_port);
        for machine in on {
            let place = machines.iter().position(|name| *name == machine).expect(machine);
            script.push_str(&format!(
                "cd {}/{machine}; NAME={machine}; ADDRESS=127.0.0.{}\n",
                desk.home().display(),
                11 + place
            ));
            // What a person on that machine knows: the process that it started.
            script.push_str(&format!("REPLICA=${{REPLICA_{machine}:-}}\n{commands}REPLICA_{machine}=${{!:-}}\n"));
        }
    }
    assert!(script.contains("committee replace") && script.contains("kill -9"), "{script}");
    let stdout = desk.run(&script, &["vouch/server.log", "a/replica.log", "e/replica.log"]);
    assert_eq!(stdout.matches("VALID").count(), 2, "{stdout}");
    assert!(stdout.contains("epoch 1 is active"), "{stdout}");
    assert_eq!(fs::read(home.join("client/again.txt")).unwrap(), b"All figures of this year\n");
}

#[test]
fn scripts_speak_http() {
    let cluster = Cluster::start(4);
    let desk = Desk::new();
    desk.add_command("vouch", &format!("#!/bin/bash\nexec {} \"$@\"\n", program::path().display()));
    fs::write(desk.home().join("report.txt"), "All figures of this year\n").unwrap();
    fs::create_dir(desk.home().join("folder")).unwrap();
    let first = program::vouch(&desk.home(), &["put", "report.txt", "--server", &cluster.address]);
    first.ok();
    let commands: String = blocks(&document("HTTP.md")).into_iter().map(|block| block.commands).collect();
    let commands = commands.replace("127.0.0.1:9090", &cluster.address);
    let stdout = desk.run(&format!("IDENTITY={}\n{commands}", first.row("cluster")), &[]);
    assert_eq!(stdout.matches("VALID").count(), 5, "{stdout}");
    for expected in ["All", "ok\n", "ready: 4 of 4 replicas can store", "\"connected\":4"] {
        assert!(stdout.contains(expected), "{expected}: {stdout}");
    }
    let inspect = |bundle| program::vouch(&desk.home(), &["inspect", bundle, "--json"]).json();
    assert!(inspect("draft.txt.vouch")["expires_at"].is_u64());
    assert_eq!(inspect("folder.tar.vouch")["expires_at"], "never");
}

#[test]
fn a_replica_is_restored_from_its_keys_and_another_one_is_replaced() {
    let port = free_port();
    let commands: String = blocks(&document("BACKUP.md")).into_iter().map(|block| block.commands).collect();
    let commands = commands.replace("9090", &port.to_string());
    assert!(commands.contains("cp -p backup/*.key a/") && commands.contains("committee replace"), "{commands}");
    let desk = Desk::new();
    desk.add_vouch(port);
    let logs = ["server.log", "a.log", "b.log", "e.log"];
    let stdout = desk.run(&commands, &logs);
    assert!(stdout.contains("VALID") && stdout.contains("4 of 4 connected"), "{stdout}");
    for copy in ["again.txt", "once-more.txt"] {
        assert_eq!(fs::read(desk.home().join(copy)).unwrap(), b"All figures of this year\n");
    }
    // The keys of both epochs.
    let mut backup: Vec<_> =
        fs::read_dir(desk.home().join("backup")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    backup.sort();
    assert_eq!(backup, ["node.key", "vote-1.key", "vote.key"]);
}
