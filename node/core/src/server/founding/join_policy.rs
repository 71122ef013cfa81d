//! Which replicas a server admits.

use vouch_core::founding::WantedCommittee;
use vouch_core::link::NodeKey;
use vouch_core::message::{Code, Failed, Stream};

use crate::budgets::PeerAddress;

/// The operator's rule for replicas that join.
#[derive(Debug, Clone)]
pub struct JoinPolicy {
    /// The committee that the operator wants.
    pub wanted: WantedCommittee,
    /// Accept replicas from any machine as founding members, not only from this one.
    pub allow_open: bool,
}

impl JoinPolicy {
    /// Checks that a replica may join, by its address and its node key. Until there is a committee, a list alone decides; without one, a server
    /// takes only replicas of its own machine: otherwise a stranger could become a founding member. Once there is a committee, it alone decides
    /// who becomes a member. Then anybody may wait, within the budgets: a node that is to replace a member is in no list of the founders.
    ///
    /// # Errors
    /// The refusal, with what to do about it.
    pub fn check(&self, from: PeerAddress, node_key: &NodeKey, has_committee: bool) -> Result<(), Failed> {
        if has_committee {
            return Ok(());
        }
        let refuse = |detail: String| Err(Failed::new(Stream::LINK, Code::NotAdmitted, detail));
        if let Some(members) = &self.wanted.members {
            return match members.contains(node_key) {
                true => Ok(()),
                false => refuse(format!(
                    "this server founds its committee from the replicas in its --members file only, not from {node_key}; once it has, \
                     others may join as well"
                )),
            };
        }
        if from.is_loopback() || self.allow_open || self.wanted.cluster.is_some() {
            return Ok(());
        }
        refuse(
            "this server has no committee yet, and founds one from replicas on its own machine only. Start it with --members FILE, or \
             with --cluster IDENTITY for a cluster that exists, or with --allow-open to found from anybody"
                .into(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use vouch_core::digest::ClusterId;

    use super::*;
    use crate::fixture::node_key;

    fn policy(wanted: WantedCommittee) -> JoinPolicy {
        JoinPolicy { wanted, allow_open: false }
    }

    fn address(text: &str) -> PeerAddress {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_founding_server_admits_only_its_own_machine() {
        let anything = policy(WantedCommittee::default());
        for own in ["127.0.0.1", "::1"] {
            assert_eq!(anything.check(address(own), &node_key(1), false), Ok(()), "{own}");
        }
        for other in ["192.0.2.1", "2001:db8::1"] {
            let failed = anything.check(address(other), &node_key(1), false).unwrap_err();
            assert_eq!((failed.stream, failed.code), (Stream::LINK, Code::NotAdmitted));
            assert!(failed.detail.contains("--members FILE") && failed.detail.contains("--allow-open"), "{failed}");
            assert_eq!(anything.check(address(other), &node_key(1), true), Ok(()), "the committee is complete");
            let open = JoinPolicy { allow_open: true, ..anything.clone() };
            assert_eq!(open.check(address(other), &node_key(1), false), Ok(()));
            let named = policy(WantedCommittee { cluster: Some(ClusterId([7; 32])), ..WantedCommittee::default() });
            assert_eq!(named.check(address(other), &node_key(1), false), Ok(()), "it founds none");
        }
    }

    #[test]
    fn until_the_founding_a_list_alone_decides() {
        let members = Some(BTreeSet::from([node_key(1)]));
        let listed = JoinPolicy { wanted: WantedCommittee { members, ..WantedCommittee::default() }, allow_open: true };
        for from in ["127.0.0.1", "192.0.2.1"] {
            assert_eq!(listed.check(address(from), &node_key(1), false), Ok(()));
            let failed = listed.check(address(from), &node_key(2), false).unwrap_err();
            assert!(failed.detail.contains(&format!("not from {}", node_key(2))), "{failed}");
            assert_eq!(listed.check(address(from), &node_key(2), true), Ok(()), "it may wait to replace a member");
        }
    }
}
