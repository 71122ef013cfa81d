//! Runs the commands of README.md's `console` blocks, in order and in one folder, against a running cluster of four.
//!
//! A block is a terminal session: `$ ` begins a command, followed by its output up to the next command or the end of the
//! block. A command must end with exit code 0 and print these lines, where
//!
//! - `…` or `[..]` matches anything within a line, and alone on a line any number of lines; trailing blanks are ignored;
//! - progress lines `replica-N: …` may come in any order and number;
//! - `3 of 4` matches `4 of 4`, as timing decides how many members beyond the quorum sign;
//! - a command without output in the README may print anything.
//!
//! The test runs commands that begin with `vouch`, `cargo run` or (if installed) `curl`, in a shell where `vouch` is the built program and `$IDENTITY` the
//! cluster's identity. It does not run long-running commands (`server`, `replica`) or anything else, such as `make`. The
//! default server, 127.0.0.1:9090, is replaced by the running one. A missing file that a command puts is created, with as many bytes
//! as the README states for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::processes::isolate;

use crate::nodes::Cluster;
use crate::program::{self, binary, vouch};

const DEFAULT_SERVER: &str = "127.0.0.1:9090";

#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    expected: Vec<String>,
}

/// The commands of the `console` blocks.
fn steps(markdown: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let is_console = language.trim() == "console";
        let before = steps.len();
        for line in lines.by_ref().take_while(|line| line.trim_end() != "```") {
            match line.strip_prefix("$ ") {
                _ if !is_console => {}
                Some(command) => steps.push(Step { command: command.into(), expected: Vec::new() }),
                None if steps.len() > before => {
                    steps[before..].last_mut().unwrap().expected.push(line.trim_end().into())
                }
                None => panic!("output before any command: {line:?}"),
            }
        }
    }
    for step in &mut steps {
        while step.expected.last().is_some_and(String::is_empty) {
            step.expected.pop();
        }
    }
    steps
}

/// The program's arguments, if the command is one that the test runs.
fn arguments(command: &str) -> Option<Vec<&str>> {
    let mut words = command.split_whitespace();
    match words.next()? {
        "vouch" => {}
        "curl" if has_curl() => {}
        "cargo" if words.next()? == "run" => {}
        _ => return None,
    }
    let words: Vec<&str> = words.take_while(|word| !word.starts_with('#')).filter(|word| *word != "--").collect();
    (!matches!(words.first(), Some(&("server" | "replica")))).then_some(words)
}

fn has_curl() -> bool {
    Command::new("curl").arg("--version").output().is_ok()
}

/// Whether a line matches the pattern.
fn line_matches(pattern: &str, line: &str) -> bool {
    let pattern = pattern.replace("[..]", "…");
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(place) = rest.find(part) else { return false };
        rest = &rest[place + part.len()..];
    }
    rest.ends_with(last)
}

fn lines_match(expected: &[String], got: &[String]) -> bool {
    match expected.split_first() {
        None => got.is_empty(),
        Some((any, rest)) if ["…", "...", "[..]"].contains(&any.trim()) => {
            (0..=got.len()).any(|skipped| lines_match(rest, &got[skipped..]))
        }
        Some((line, rest)) => {
            got.split_first().is_some_and(|(first, got)| line_matches(line, first) && lines_match(rest, got))
        }
    }
}

fn is_progress(line: &str) -> bool {
    let name = line.strip_prefix("replica-").and_then(|rest| rest.split_once(": "));
    name.is_some_and(|(number, _)| number.chars().all(|c| c.is_ascii_digit()))
}

/// The lines without details in which runs may differ.
fn settled(lines: &[String]) -> Vec<String> {
    let all_signed = |line: &String| line.trim_end().replace("3 of 4", "4 of 4");
    lines.iter().filter(|line| !is_progress(line)).map(all_signed).collect()
}

fn is_as_expected(expected: &[String], got: &[String]) -> bool {
    let known = ["stored durably", "signed"];
    let is_known = |line: &String| line.rsplit_once(": ").is_some_and(|(_, did)| known.contains(&did));
    let progress = |lines: &[String]| lines.iter().filter(|line| is_progress(line)).all(is_known);
    expected.is_empty() || progress(expected) && progress(got) && lines_match(&settled(expected), &settled(got))
}

/// The length that the README states for a file: the number before ` bytes` in a line with its name.
fn length_of(file: &str, steps: &[Step]) -> usize {
    let lines = steps.iter().flat_map(|step| &step.expected).filter(|line| line.contains(file));
    let number = |line: &String| line.split(" bytes").next()?.rsplit(' ').next()?.parse().ok();
    lines.filter_map(number).next().unwrap_or(1000)
}

/// Runs the steps; returns a message for each one that differs from what is expected.
fn run(steps: &[Step]) -> Vec<String> {
    let cluster = Cluster::start(4);
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("home");
    let bin = home.path().join("bin");
    fs::create_dir(&folder).unwrap();
    fs::create_dir(&bin).unwrap();
    write_wrapper(&bin.join("vouch"), &cluster.address);

    // a first put founds the cluster, so that its identity is known
    fs::write(home.path().join("first"), "first").unwrap();
    let put = vouch(home.path(), &["put", "first", "--server", &cluster.address]);
    put.ok();
    let identity = put.row("cluster");

    let mut complaints = Vec::new();
    for step in steps {
        let Some(arguments) = arguments(&step.command) else { continue };
        for file in files_to_put(&arguments).filter(|file| !folder.join(file).exists()) {
            fs::write(folder.join(file), binary(length_of(file, steps))).unwrap();
        }
        let line = step.command.replacen("cargo run", "vouch", 1).replace("vouch -- ", "vouch ");
        let line = line.replace(DEFAULT_SERVER, &cluster.address);
        let mut shell = Command::new("sh");
        // both streams interleaved, as a terminal shows them
        shell.arg("-c").arg(format!("exec 2>&1\n{line}")).current_dir(&folder);
        shell.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        isolate(&mut shell, home.path());
        shell.env("IDENTITY", &identity).env("COLUMNS", "100");
        let run = program::run(&mut shell, b"");
        let got: Vec<String> = String::from_utf8_lossy(&run.stdout).lines().map(str::to_owned).collect();
        if run.code != Some(0) || !is_as_expected(&step.expected, &got) {
            let (code, expected, got) = (run.code, step.expected.join("\n"), got.join("\n"));
            complaints.push(format!("$ {}\nexit code {code:?}\nexpected:\n{expected}\ngot:\n{got}\n", step.command));
        }
    }
    complaints
}

fn files_to_put<'a>(arguments: &[&'a str]) -> impl Iterator<Item = &'a str> {
    let file = match arguments.first() {
        Some(&("put" | "demo")) => arguments.get(1),
        Some(&"client") => arguments.get(2),
        _ => None,
    };
    file.map(|file| file.trim_matches(['\'', '"'])).filter(|file| !file.starts_with('-')).into_iter()
}

/// Writes a `vouch` wrapper that replaces the default server by the running one.
fn write_wrapper(path: &Path, address: &str) {
    let program = program::path().display().to_string();
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in\n*' --server'*) ;;\n' put '*|' get '*|' log '*) set -- \"$@\" --server {address} ;;\n\
         ' demo '*) set -- \"$@\" --once ;;\nesac\nexec '{program}' \"$@\"\n"
    );
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn readme_commands_print_what_the_readme_shows() {
    let markdown = fs::read_to_string(program::root().join("README.md")).unwrap();
    let steps = steps(&markdown);
    assert!(steps.iter().any(|step| arguments(&step.command).is_some()), "nothing to run: {steps:?}");
    let complaints = run(&steps);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

const SAMPLE: &str = "\
Some text.

```sh
vouch put ignored
```

```console
$ make demo
anything
$ vouch put 'report.pdf'
replica-1: signed
certified  report.pdf, 58211 bytes (56.85 KiB)
…
bundle     report.pdf.vouch

$ cargo run client 127.0.0.1:9090 report.pdf   # five lines
server identity: …
file [..] stored successfully.
certificate of availability: …
availability set identity: …
certificate of availability is valid.
$ vouch verify report.pdf report.pdf.vouch --cluster $IDENTITY
…
VALID: …
$ vouch get report.pdf.vouch -o copy.pdf && cmp report.pdf copy.pdf
```
";

#[test]
fn console_blocks_are_parsed_as_terminal_sessions() {
    let steps = steps(SAMPLE);
    let commands: Vec<&str> = steps.iter().map(|step| step.command.as_str()).collect();
    assert_eq!(commands.len(), 5);
    assert_eq!(arguments(commands[0]), None);
    assert_eq!(steps[1].expected.len(), 4, "the blank line at its end is none of its output");
    assert_eq!(arguments(commands[2]), Some(vec!["client", "127.0.0.1:9090", "report.pdf"]));
    assert_eq!(arguments("cargo run -- server 9090"), None);
    assert_eq!(arguments("vouch replica 127.0.0.1:9090"), None);
    assert_eq!(length_of("report.pdf", &steps), 58211);
    assert_eq!(steps[4].expected, [""; 0]);
}

#[test]
fn lines_match_as_documented() {
    for (pattern, line) in [("a … c", "a b c"), ("…", ""), ("a[..]", "a"), ("…b…", "abc"), ("a", "a")] {
        assert!(line_matches(pattern, line), "{pattern} {line}");
    }
    for (pattern, line) in [("a … c", "a b"), ("a", "ab"), ("", "a"), ("ab…b", "ab")] {
        assert!(!line_matches(pattern, line), "{pattern} {line}");
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let as_expected = |expected: &str, got: &str| is_as_expected(&lines(expected), &lines(got));
    assert!(as_expected("", "anything"));
    assert!(as_expected("a\n…\nd", "a\nb\nc\nd") && as_expected("a\n…\nd", "a\nd"));
    assert!(!as_expected("a\n…\nd", "a\nb"));
    assert!(as_expected("replica-1: signed\nby 4 of 4", "replica-2: signed\nreplica-1: signed\nby 3 of 4"));
    assert!(!as_expected("by 4 of 4", "by 2 of 4"));
    assert!(!as_expected("a", "replica-1: fell over\na"));
}

#[test]
fn correct_sample_passes_and_wrong_sample_is_detected() {
    let mut steps = steps(SAMPLE);
    steps.push(Step { command: "vouch inspect no-such-bundle".into(), expected: Vec::new() });
    steps.push(Step { command: "vouch --version".into(), expected: vec!["grouch …".into()] });
    let complaints = run(&steps);
    assert_eq!(complaints.len(), 2, "{}", complaints.join("\n"));
    assert!(complaints[0].contains("exit code Some(2)"), "{}", complaints[0]);
    assert!(complaints[1].contains("grouch") && complaints[1].contains("exit code Some(0)"), "{}", complaints[1]);
}
