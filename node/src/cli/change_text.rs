//! A change of members as text: its encoding in base64url without padding, on one line. A whole change is up to 4,911 characters, and
//! base58 takes time that grows with the square of the length.

use std::io::Read;

use base64ct::{Base64UrlUnpadded, Encoding};
use vouch_core::membership::CommitteeChange;

use super::{Failure, output};
use crate::host::source::Source;

/// Maximum size that is read: more than any change, so that the error can say what is wrong with another file.
const LIMIT: u64 = 65_536;

/// Reads the change in a file, or on standard input.
pub(super) fn read(source: &Source) -> Result<CommitteeChange, Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(format_args!("{}: {why}", output::harmless(&source.to_string())))
            .with_note("Expected a change of members: one line of base64url, as the proposal printed it.")
    };
    let (reader, _) = source.open().map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    reader.take(LIMIT).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    decode(&bytes).map_err(|why| failed(&why))
}

/// The change as one line, without its end.
pub(super) fn encode(change: &CommitteeChange) -> String {
    Base64UrlUnpadded::encode_string(&change.encode())
}

fn decode(text: &[u8]) -> Result<CommitteeChange, String> {
    let not_base64 = || "this is not base64url".to_owned();
    let text = std::str::from_utf8(text).map_err(|_| not_base64())?.trim_ascii();
    if text.is_empty() {
        return Err("it is empty".into());
    }
    let bytes = Base64UrlUnpadded::decode_vec(text).map_err(|_| not_base64())?;
    CommitteeChange::decode(&bytes).map_err(|error| error.to_string())
}

/// What the change does, in lines for people. It comes from others, so each line must be printed by `output`.
pub(super) fn describe(change: &CommitteeChange) -> Vec<String> {
    let CommitteeChange { epoch, cluster, committee, is_forced, removed, added, nonce: _ } = change;
    let mut lines = vec![
        format!("change     {}", change.id()),
        format!("cluster    {cluster}"),
        format!("committee  of epoch {epoch}, {committee}"),
    ];
    lines.extend(removed.iter().map(|node_key| format!("leaves     {node_key}")));
    lines.extend(
        added.iter().map(|member| format!("joins      {}, which calls itself {}", member.node_key, member.name)),
    );
    if removed.is_empty() && added.is_empty() {
        lines.push("members    stay the same, and get new vote keys".into());
    }
    if *is_forced {
        lines.push("forced     yes: it takes effect before the next committee holds every file".into());
    }
    lines
}

#[cfg(test)]
mod tests {
    use vouch_core::committee::MemberName;
    use vouch_core::digest::{ClusterId, CommitteeDigest};
    use vouch_core::link::NodeKey;
    use vouch_core::membership::AddedMember;

    use super::*;

    fn change() -> CommitteeChange {
        CommitteeChange {
            epoch: 3,
            cluster: ClusterId([1; 32]),
            committee: CommitteeDigest([2; 32]),
            nonce: [3; 16],
            is_forced: true,
            removed: vec![NodeKey([4; 32])],
            added: vec![AddedMember { node_key: NodeKey([5; 32]), name: MemberName::new("five").unwrap() }],
        }
    }

    #[test]
    fn a_change_is_read_from_one_line() {
        let text = encode(&change());
        for text in [text.clone(), format!("{text}\n"), format!("  {text}\r\n")] {
            assert_eq!(decode(text.as_bytes()), Ok(change()));
        }
        let why = |text: &str| decode(text.as_bytes()).unwrap_err();
        assert_eq!(why(" \n"), "it is empty");
        for text in [format!("{text}="), format!("{text}\n{text}"), change().id().to_string()] {
            assert!(why(&text).contains("base64url") || why(&text).contains("expected"), "{text}");
        }
        assert_eq!(decode(&[0xFF]), Err("this is not base64url".into()));
        let newer = Base64UrlUnpadded::encode_string(&[&b"vouchcc\x02"[..], &change().encode()[8..]].concat());
        assert!(why(&newer).contains("expected version 1"), "{}", why(&newer));
    }

    #[test]
    fn a_description_says_who_leaves_and_joins() {
        let lines = describe(&change()).join("\n");
        let [leaves, joins] = [4, 5].map(|byte| NodeKey([byte; 32]).to_string());
        for part in [
            &format!("leaves     {leaves}"),
            &format!("joins      {joins}, which calls itself five"),
            "epoch 3",
            "forced     yes",
        ] {
            assert!(lines.contains(part), "{lines}");
        }
        let rotation = CommitteeChange { is_forced: false, removed: Vec::new(), added: Vec::new(), ..change() };
        let lines = describe(&rotation).join("\n");
        assert!(lines.contains("stay the same") && !lines.contains("forced"), "{lines}");
    }
}
