//! From what the user names to a change of members.

use vouch_core::committee::CommitteeRecord;
use vouch_core::link::NodeKey;
use vouch_core::membership::{AddedMember, CommitteeChange};

use super::super::Failure;
use super::super::committee_args::JoiningReplica;

/// Who joins and who leaves, as the user names them.
pub(super) struct Wanted<'a> {
    pub(super) joins: &'a [JoiningReplica],
    /// By name or node key.
    pub(super) leaves: &'a [String],
}

impl Wanted<'_> {
    /// The change of this committee.
    pub(super) fn change(
        &self,
        committee: &CommitteeRecord,
        nonce: [u8; 16],
        is_forced: bool,
    ) -> Result<CommitteeChange, Failure> {
        let removed = self.leaves.iter().map(|text| member(committee, text)).collect::<Result<Vec<_>, _>>()?;
        let added: Vec<AddedMember> = self.joins.iter().map(|JoiningReplica(member)| *member).collect();
        let change = CommitteeChange::new(committee, nonce, is_forced, removed, added).map_err(Failure::new)?;
        check_names(committee, &change)?;
        Ok(change)
    }
}

/// The member with this name or node key. A name has at most 24 bytes, and a key at least 32 characters.
fn member(committee: &CommitteeRecord, text: &str) -> Result<NodeKey, Failure> {
    let with_name: Vec<_> = committee.members().iter().filter(|member| member.name.as_str() == text).collect();
    match with_name.as_slice() {
        [member] => return Ok(member.node_key),
        [] => {}
        several => {
            let failure = Failure::new(format_args!(
                "{text}: {} members have this name; give the node key of the one that you mean",
                several.len()
            ));
            return Err(several.iter().fold(failure, |failure, member| failure.with_note(member.node_key)));
        }
    }
    let key: Option<NodeKey> = text.parse().ok();
    key.filter(|key| committee.position(key).is_some()).ok_or_else(|| {
        let what = if key.is_some() { "node key" } else { "name" };
        let names: Vec<String> = committee.members().iter().map(|member| member.name.to_string()).collect();
        Failure::new(format_args!("{text}: no member has this {what} in epoch {}", committee.epoch()))
            .with_note(format_args!("The members are {}.", names.join(", ")))
    })
}

/// Names need not be unique, but people tell members apart by them.
fn check_names(committee: &CommitteeRecord, change: &CommitteeChange) -> Result<(), Failure> {
    let after = change.members_after(committee);
    let is_taken = |new: &AddedMember| after.iter().any(|one| one.name == new.name && one.node_key != new.node_key);
    match change.added.iter().find(|member| is_taken(member)) {
        Some(member) => Err(Failure::new(format_args!(
            "{}: two members of the next committee would have this name; choose another for {}",
            member.name, member.node_key
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use vouch_core::bls::VoteSecretKey;
    use vouch_core::committee::{Member, MemberName};
    use vouch_core::link::NodeSecretKey;

    use super::*;

    pub(in super::super) fn key(number: u8) -> NodeKey {
        NodeSecretKey::from_bytes(&[number; 32]).node_key()
    }

    pub(in super::super) fn committee(names: &[&str]) -> CommitteeRecord {
        let member = |(name, number): (&&str, u8)| Member {
            node_key: key(number),
            vote_key: VoteSecretKey::generate(&[number; 32]).unwrap().vote_key(),
            name: MemberName::new(name).unwrap(),
        };
        CommitteeRecord::genesis([0; 16], names.iter().zip(1..).map(member).collect()).unwrap()
    }

    pub(in super::super) fn four() -> CommitteeRecord {
        committee(&["one", "two", "three", "four"])
    }

    fn change(of: &CommitteeRecord, joins: &[(u8, &str)], leaves: &[&str]) -> Result<CommitteeChange, Failure> {
        let joins: Vec<_> =
            joins.iter().map(|(number, name)| format!("{}={name}", key(*number)).parse().unwrap()).collect();
        let leaves: Vec<_> = leaves.iter().map(|name| (*name).to_owned()).collect();
        Wanted { joins: &joins, leaves: &leaves }.change(of, [1; 16], false)
    }

    fn refusal(of: &CommitteeRecord, joins: &[(u8, &str)], leaves: &[&str]) -> String {
        let failure = change(of, joins, leaves).unwrap_err();
        [vec![failure.message], failure.notes].concat().join("\n")
    }

    #[test]
    fn members_are_named_by_name_or_key() {
        let (four, third) = (four(), key(3).to_string());
        for leaves in ["three", &third] {
            let change = change(&four, &[(5, "five")], &[leaves]).unwrap();
            assert_eq!((change.removed, change.added.len()), (vec![key(3)], 1));
        }
        let rotation = change(&four, &[], &[]).unwrap();
        assert!(rotation.removed.is_empty() && rotation.added.is_empty());
        // the name of a member that leaves is free
        assert!(change(&four, &[(5, "one")], &["one"]).is_ok());
    }

    #[test]
    fn who_cannot_be_meant_is_refused() {
        let four = four();
        let unknown = refusal(&four, &[], &["five"]);
        assert!(unknown.contains("five: no member has this name in epoch 0"), "{unknown}");
        assert!(unknown.contains("one") && unknown.contains("four"), "{unknown}");
        let stranger = key(9).to_string();
        assert!(refusal(&four, &[], &[&stranger]).contains("no member has this node key"));
        let twins = refusal(&committee(&["one", "twin", "twin", "four"]), &[], &["twin"]);
        assert!(twins.contains("2 members have this name"), "{twins}");
        assert!([2, 3].iter().all(|number| twins.contains(&key(*number).to_string())), "{twins}");
        assert!(refusal(&four, &[(2, "again")], &[]).contains("no member yet"));
        assert!(refusal(&four, &[], &["one", "two"]).contains("at most 1 in one change"));
        assert!(refusal(&four, &[], &["one", "one"]).contains("each once"));
        assert!(refusal(&four, &[(5, "one")], &[]).contains("one: two members"));
        assert!(refusal(&four, &[(5, "five"), (6, "five")], &[]).contains("five: two members"));
    }
}
