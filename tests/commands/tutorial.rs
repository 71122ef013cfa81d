//! Runs docs/CHANGING-MEMBERS.md: the commands of its blocks, in order, in one shell and an empty folder.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::program;

/// Ends every process of the shell with it.
const CLEAN_UP: &str = "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT";

/// The commands of the `sh` blocks.
fn commands(markdown: &str) -> String {
    let (mut inside, mut commands) = (false, String::new());
    for line in markdown.lines() {
        match line.trim_end() {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => commands.push_str(&format!("{line}\n")),
            _ => {}
        }
    }
    commands
}

/// A port that nobody else uses.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn four_replicas_become_five_and_one_dies_and_is_replaced() {
    let text = fs::read_to_string(program::root().join("docs/CHANGING-MEMBERS.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let commands = commands(&text).replace("9090", &port.to_string());
    assert!(commands.contains("committee replace") && commands.contains("vouch get"), "{commands}");
    fs::create_dir(folder.path().join("bin")).unwrap();
    let program = program::path();
    // The commands' default server is another one here.
    let wrapper = format!(
        "#!/bin/bash\ncase \"$1\" in put|get|committee) exec {0} \"$@\" --server 127.0.0.1:{port} ;; *) exec {0} \"$@\" ;; esac\n",
        program.display()
    );
    let wrapper_path = folder.path().join("bin/vouch");
    fs::write(&wrapper_path, wrapper).unwrap();
    fs::set_permissions(&wrapper_path, fs::Permissions::from_mode(0o755)).unwrap();
    let home = folder.path().join("work");
    fs::create_dir(&home).unwrap();
    let path = format!("{}:{}", folder.path().join("bin").display(), std::env::var("PATH").unwrap());
    let script = format!("{CLEAN_UP}\nset -exuo pipefail\n{commands}");
    let run = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&home)
        .env("HOME", &home)
        .env("PATH", path)
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null())
        .process_group(0)
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let logs =
        ["server", "a", "e", "f"].map(|name| fs::read_to_string(home.join(format!("{name}.log"))).unwrap_or_default());
    assert!(run.status.success(), "{stdout}\n{stderr}\n{}", logs.join("\n\n"));
    assert!(stdout.contains("VALID"), "{stdout}");
    assert_eq!(fs::read(home.join("again.txt")).unwrap(), b"All figures of this year\n");
}
