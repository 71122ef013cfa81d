//! What a package installs beside the program: completions and manual pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program;

/// Runs a tool on a file. `None`, with a line that names the tool, if this machine does not have it.
fn output_of(tool: &str, arguments: &[&str], file: &Path) -> Option<String> {
    let run = Command::new(tool).args(arguments).arg(file).stdin(Stdio::null()).output();
    let Ok(output) = run else {
        eprintln!("skipped: {tool} is not installed");
        return None;
    };
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success(), "{tool} {}: {text}", file.display());
    Some(text)
}

#[test]
fn completions_are_valid_scripts_that_complete_commands_and_options() {
    let folder = tempfile::tempdir().unwrap();
    let scripts: Vec<_> = ["bash", "zsh", "fish", "elvish", "powershell"]
        .into_iter()
        .map(|shell| {
            let script = program::vouch(folder.path(), &["completions", shell]);
            let path = folder.path().join(shell);
            fs::write(&path, script.ok()).unwrap();
            assert!(script.text().contains("known-clusters"), "{shell} has no options");
            path
        })
        .collect();
    for (shell, script) in ["bash", "zsh", "fish"].into_iter().zip(&scripts) {
        output_of(shell, &["-n"], script);
    }
    let test = folder.path().join("test");
    let complete =
        "COMP_WORDS=(vouch \"$@\"); COMP_CWORD=$#; _vouch vouch \"${!#}\" \"${@: -2:1}\"; echo \"${COMPREPLY[@]}\"";
    let text =
        format!("source ./bash; complete() {{ {complete}; }}\ncomplete comm\ncomplete put --exp\ncomplete log no\n");
    fs::write(&test, text).unwrap();
    let mut bash = Command::new("bash");
    match bash.arg(&test).current_dir(folder.path()).stdin(Stdio::null()).output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "committee\n--expires\nnote\n", "{output:?}"),
        Err(_) => eprintln!("skipped: bash is not installed"),
    }
    program::vouch(folder.path(), &["completions", "tcsh"]).fails_with(2);
}

#[test]
fn every_command_has_a_manual_page_without_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("pages");
    program::vouch(folder.path(), &["man", "--out", "pages"]).ok();
    let names = |folder: &Path, end: &str| -> BTreeSet<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_suffix(end).map(str::to_owned)).collect()
    };
    // There is a transcript of every command's help.
    let mut expected = names(&program::root().join("tests/commands/help"), ".toml");
    for no_command in ["help", "none", "version"] {
        assert!(expected.remove(no_command));
    }
    let expected: BTreeSet<String> = expected.into_iter().map(|name| format!("vouch-{name}")).collect();
    let mut found = names(&pages, ".1");
    assert!(found.remove("vouch"));
    assert_eq!(found, expected);
    for name in found.iter().map(String::as_str).chain(["vouch"]) {
        let page = pages.join(format!("{name}.1"));
        let text = fs::read_to_string(&page).unwrap();
        let command: Vec<&str> = name.split('-').skip(1).collect();
        assert_eq!(program::vouch(folder.path(), &[&["man"], &*command].concat()).ok(), text, "{name}");
        let warnings = output_of("groff", &["-man", "-Tutf8", "-ww", "-z", "-Kutf8"], &page);
        assert_eq!(warnings.unwrap_or_default(), "", "{name}");
    }
    let refused = program::vouch(folder.path(), &["man", "committee", "nothing"]);
    assert!(refused.fails_with(1).contains("vouch committee has no command nothing"), "{refused:?}");
}
