//! Documents name files and tests that exist.

use std::fs;
use std::path::Path;

const DOCUMENTS: [&str; 13] = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/ARCHITECTURE.md",
    "docs/BACKUP.md",
    "docs/CHANGING-MEMBERS.md",
    "docs/FAQ.md",
    "docs/FOUR-MACHINES.md",
    "docs/HTTP.md",
    "docs/INSTALL.md",
    "docs/METRICS.md",
    "tests/README.md",
    "shared/PROTOCOL.md",
];

/// Paths in backticks that begin with a folder of this repository.
fn named_paths(text: &str) -> impl Iterator<Item = &str> {
    let folders = ["shared/", "node/", "verifier-wasm/", "web/", "tests/", "docs/"];
    let is_path = move |word: &&str| {
        folders.iter().any(|folder| word.starts_with(folder)) && !word.contains(['<', '*', ' ', '{', '…'])
    };
    text.split('`').skip(1).step_by(2).filter(is_path)
}

/// Targets of links to files of this repository.
fn linked_paths(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let paths = targets.map(|target| target.split('#').next().unwrap_or_default());
    paths.filter(|path| !path.is_empty() && !path.contains("://"))
}

/// What a build makes.
fn is_made(path: &str) -> bool {
    ["web/dist", "verifier-wasm/npm/wasm"].iter().any(|made| path.starts_with(made))
}

#[test]
fn every_file_that_a_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut count = 0;
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let folder = Path::new(document).parent().unwrap();
        let named = named_paths(&text).filter(|path| !is_made(path)).map(|path| root.join(path));
        let linked = linked_paths(&text).map(|path| root.join(folder).join(path));
        for path in named.chain(linked) {
            count += 1;
            if !path.exists() {
                missing.push(format!("{document}: {}", path.display()));
            }
        }
    }
    assert!(count > 50, "{count}");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// A table's rows without its head.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with("| ") && !line.contains("|---")).skip(1)
}

/// In SECURITY.md, the last cell of a row has the path of a file of tests, and then the names of tests in it.
#[test]
fn every_attacker_is_answered_by_tests_that_exist() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(tests.parent().unwrap().join("SECURITY.md")).unwrap();
    let mut count = 0;
    for row in rows(&text) {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let (mut file, mut named) = (None, 0);
        for word in cell.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") || word.ends_with(".mjs") {
                file = Some((
                    word,
                    fs::read_to_string(tests.join(word)).unwrap_or_else(|error| panic!("{word}: {error}")),
                ));
                continue;
            }
            let (path, source) = file.as_ref().unwrap_or_else(|| panic!("no file is named before {word}"));
            let is_there = source.contains(&format!("fn {word}(")) || source.contains(&format!("(\"{word}\","));
            assert!(is_there, "{path} has no test {word}");
            named += 1;
        }
        assert!(named > 0, "no test is named: {row}");
        count += named;
    }
    assert!(count >= 25, "{count}");
}
