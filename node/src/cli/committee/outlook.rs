//! What a change of members will do, before anything is sent.

use serde_json::{Value, json};
use vouch_core::committee::{CommitteeRecord, Policy};
use vouch_core::membership::{AddedMember, CommitteeChange};
use vouch_core::quorum;

use super::super::{change_text, output};
use super::size_of;

/// A change, and the sizes before and after it.
pub(super) struct Outlook<'a> {
    change: &'a CommitteeChange,
    committee: &'a CommitteeRecord,
    before: u16,
    after: u16,
}

impl<'a> Outlook<'a> {
    /// The change must be one of this committee.
    pub(super) fn new(change: &'a CommitteeChange, committee: &'a CommitteeRecord) -> Self {
        // Cannot saturate: a change leads to at most 1000 members.
        let after = u16::try_from(change.members_after(committee).len()).unwrap_or(u16::MAX);
        Self { change, committee, before: committee.n(), after }
    }

    /// The least number of members that hold a file now and stay, whichever members leave.
    fn holders_that_stay(&self) -> u16 {
        let removed = u16::try_from(self.change.removed.len()).unwrap_or(u16::MAX);
        quorum::quorum(self.before).saturating_sub(removed)
    }

    fn name_of_leaver(&self, node_key: &vouch_core::link::NodeKey) -> String {
        self.committee.position(node_key).map(|position| self.committee.name(position)).unwrap_or_default()
    }

    /// For people, to be printed by `output`.
    pub(super) fn lines(&self) -> Vec<String> {
        let Self { change, committee, before, after } = self;
        let mut lines = vec![
            format!("change     {}", change.id()),
            format!("cluster    {}", change.cluster),
            format!("epoch      {} to {}", change.epoch, change.epoch + 1),
        ];
        let joins = |member: &AddedMember| format!("joins      {:<24} node {}", member.name, member.node_key);
        lines.extend(change.added.iter().map(joins));
        lines
            .extend(change.removed.iter().map(|key| format!("leaves     {:<24} node {key}", self.name_of_leaver(key))));
        if change.added.is_empty() && change.removed.is_empty() {
            lines.push("members    all stay, and get new vote keys".into());
        }
        lines.push(format!("now        {}", quorum::tolerance(*before)));
        lines.push(format!("then       {}", quorum::tolerance(*after)));
        let (stay, needed) = (self.holders_that_stay(), quorum::quorum(*after));
        let then = match change.is_forced {
            true => "the change does not wait until others hold them, too (--force)".to_owned(),
            false => format!("the change waits until {needed} of the next {after} hold every file"),
        };
        lines.push(format!("files      each keeps at least {stay} of its holders; {then}"));
        let operator = match committee.policy() {
            Policy::Open => "",
            Policy::Operator(_) => ", and the operator must sign it",
        };
        let of = output::count((*before).into(), "member");
        lines.push(format!("approvals  {} of {of} must approve the change{operator}", quorum::quorum(*before)));
        lines
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        let Self { change, committee, before, after } = self;
        let joins =
            |member: &AddedMember| json!({ "name": member.name.as_str(), "node_key": member.node_key.to_string() });
        let leaves = |key| json!({ "name": self.name_of_leaver(key), "node_key": key.to_string() });
        json!({
            "change": change.id(),
            "text": change_text::encode(change),
            "cluster": change.cluster,
            "policy": committee.policy().to_string(),
            "epoch": change.epoch,
            "joins": change.added.iter().map(joins).collect::<Vec<_>>(),
            "leaves": change.removed.iter().map(leaves).collect::<Vec<_>>(),
            "forced": change.is_forced,
            "before": size_of(*before),
            "after": size_of(*after),
            "holders_that_stay": self.holders_that_stay(),
        })
    }
}

#[cfg(test)]
mod tests {
    use vouch_core::committee::MemberName;

    use super::super::choosing::tests::{committee, four, key};
    use super::*;

    fn lines(of: &CommitteeRecord, joins: std::ops::Range<u8>, leaves: &[u8], is_forced: bool) -> String {
        let name = |number| MemberName::new(&format!("replica-{number}")).unwrap();
        let added = joins.map(|number| AddedMember { node_key: key(number), name: name(number) }).collect();
        let removed = leaves.iter().map(|number| key(*number)).collect();
        let change = CommitteeChange::new(of, [1; 16], is_forced, removed, added).unwrap();
        Outlook::new(&change, of).lines().join("\n")
    }

    #[test]
    fn growth_says_what_becomes_of_faults_and_quorum() {
        let text = lines(&committee(&["one"]), 5..8, &[], false);
        for part in [
            "epoch      0 to 1",
            "joins      replica-7",
            "now        1 member: tolerates no fault",
            "then       4 members: tolerates 1 dead, slow or lying; 3 must sign",
            "files      each keeps at least 1 of its holders; the change waits until 3 of the next 4 hold every file",
            "approvals  1 of 1 member must approve the change",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("operator"), "{text}");
    }

    #[test]
    fn a_removal_says_who_still_holds_files_and_what_force_gives_up() {
        let text = lines(&four(), 0..0, &[2], false);
        assert!(text.contains("leaves     two "), "{text}");
        assert!(text.contains("then       3 members: tolerates no fault"), "{text}");
        assert!(text.contains("at least 2 of its holders; the change waits until 3 of the next 3"), "{text}");
        let forced = lines(&four(), 0..0, &[2], true);
        assert!(forced.contains("does not wait") && !forced.contains("waits until"), "{forced}");
    }

    #[test]
    fn a_rotation_changes_keys_only() {
        let text = lines(&four(), 0..0, &[], false);
        assert!(text.contains("members    all stay, and get new vote keys"), "{text}");
        assert!(text.contains("at least 3 of its holders"), "{text}");
    }
}
