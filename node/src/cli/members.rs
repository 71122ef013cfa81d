//! The file given with `vouch server --members`: node keys, one per line, as `vouch keygen` prints them.

use std::collections::BTreeMap;
use std::path::Path;

use vouch_core::limits::MAX_MEMBERS;
use vouch_core::link::NodeKey;

use super::{Failure, output};
use crate::host::files;

/// Maximum size in bytes. A thousand outputs of `vouch keygen --json` take less.
const MAX_SIZE: usize = 1 << 20;
/// Other lines that `vouch keygen` prints. They are ignored, so that a file may hold its whole output.
const OTHER_LABELS: [&str; 3] = ["folder", "vote key", "possession"];

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<std::collections::BTreeSet<NodeKey>, Failure> {
    let name = output::name(path);
    let bytes = files::read_all(path, MAX_SIZE).map_err(Failure::new)?;
    parse(&bytes).map_err(|error| Failure::new(format_args!("{name}: {error}")))
}

/// Parses the file. A line holds a key in base58 or hex, alone or after `node key`, or JSON. Blank lines and comments after `#` are ignored.
fn parse(bytes: &[u8]) -> Result<std::collections::BTreeSet<NodeKey>, String> {
    let mut keys: BTreeMap<NodeKey, usize> = BTreeMap::new();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(format!("line {number}: expected UTF-8, got other bytes"));
        };
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() || OTHER_LABELS.iter().any(|label| line.strip_prefix(label).is_some_and(starts_blank)) {
            continue;
        }
        let key = key_of(line).map_err(|error| format!("line {number}: expected a node key: {error}"))?;
        if let Some(first) = keys.insert(key, number) {
            return Err(format!("line {number}: expected each node key once, got that of line {first} again"));
        }
    }
    match keys.len() {
        0 => Err("expected at least one node key, got none; `vouch keygen` prints a replica's".into()),
        n if n > MAX_MEMBERS.into() => Err(format!("expected at most {MAX_MEMBERS} node keys, got {n}")),
        _ => Ok(keys.into_keys().collect()),
    }
}

fn starts_blank(rest: &str) -> bool {
    rest.starts_with(char::is_whitespace)
}

fn key_of(line: &str) -> Result<NodeKey, String> {
    let text = if line.starts_with('{') {
        let object: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        object.get("node_key").and_then(|key| key.as_str()).ok_or("JSON without a string `node_key`")?.to_owned()
    } else {
        line.strip_prefix("node key").filter(|rest| starts_blank(rest)).unwrap_or(line).trim().to_owned()
    };
    let key: NodeKey = text.parse().map_err(|error: vouch_core::digest::ParseHashError| error.to_string())?;
    if key == NodeKey::ANONYMOUS { Err("all bytes are zero, which is no key".into()) } else { Ok(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> NodeKey {
        NodeKey([byte; 32])
    }

    #[test]
    fn every_form_that_keygen_prints_is_read() {
        let text = format!(
            "# members\n{}\n\n  {}  # hex\r\nfolder     /x\nnode key   {}\nvote key   abc\npossession abc\n{{\"node_key\":\"{}\"}}",
            key(1),
            "02".repeat(32),
            key(3),
            key(4)
        );
        assert_eq!(parse(text.as_bytes()), Ok([key(1), key(2), key(3), key(4)].into()));
    }

    #[test]
    fn errors_name_the_line() {
        for (text, error) in [
            (format!("{}\n{}", key(1), key(1)), "line 2: expected each node key once, got that of line 1 again"),
            (format!("{}\nxyz", key(1)), "line 2: expected a node key: expected 32 bytes"),
            (format!("{}\n{{\"node_key\":1}}", key(1)), "line 2: expected a node key: JSON without a string"),
            ("0OIl".into(), "line 1: expected a node key: expected base58"),
            (format!("\u{feff}{}", key(1)), "line 1: expected a node key"),
            ("11111111111111111111111111111111".into(), "all bytes are zero"),
            ("# nobody".into(), "expected at least one node key, got none"),
        ] {
            let got = parse(text.as_bytes()).unwrap_err();
            assert!(got.contains(error), "{got}");
        }
        assert!(parse(b"\xFF\xFE").unwrap_err().contains("line 1: expected UTF-8"));
        let many: String = (0..=1000_u16).map(|n| format!("{}\n", hex(n))).collect();
        assert!(parse(many.as_bytes()).unwrap_err().contains("expected at most 1000 node keys, got 1001"));
    }

    fn hex(n: u16) -> String {
        format!("{}{n:04x}", "01".repeat(30))
    }
}
