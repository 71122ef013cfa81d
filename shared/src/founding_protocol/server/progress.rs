//! Why a server has no committee yet, and what its operator can do about it.

use super::ServerFounding;
use crate::founding::Founding;

/// The state of the founding that this server wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Every replica that has to act is connected: the founding completes in a moment.
    UnderWay,
    /// The founding waits for a replica or for the operator. The text says what to do.
    Waiting(String),
}

impl ServerFounding {
    /// Why a put that starts now would get no committee; `None` if one forms by itself.
    pub fn put_obstacle(&self) -> Option<String> {
        match self.progress() {
            Progress::UnderWay => None,
            Progress::Waiting(_) if self.would_propose() => None,
            Progress::Waiting(why) => Some(why),
        }
    }

    /// Why there is no committee yet, and what to do about it.
    pub fn progress(&self) -> Progress {
        let known = self.known.values().find(|founding| self.wanted.allows(founding.record()).is_ok());
        match known {
            Some(founding) => self.progress_of(founding),
            None => Progress::Waiting(self.missing_founders()),
        }
    }

    fn progress_of(&self, founding: &Founding) -> Progress {
        let record = founding.record();
        let mut waits = Vec::new();
        for member in founding.missing() {
            let Some(about) = record.members().get(usize::from(member)) else { continue };
            match self.peers.get(&about.node_key) {
                None => waits.push(format!("{}, which is not connected", about.name)),
                Some(peer) if self.is_bound(peer) => {
                    waits.push(format!("{}, which accepted another founding", about.name));
                }
                Some(_) => {}
            }
        }
        let Some(first) = waits.first() else { return Progress::UnderWay };
        let more = if waits.len() > 1 { format!(" and {} more", waits.len() - 1) } else { String::new() };
        let cluster = record.cluster();
        if self.peers.values().any(|peer| peer.claims == Some(cluster)) {
            return Progress::Waiting(format!(
                "members of cluster {cluster} are connected, but not all its acceptances are known, because an earlier release did not keep them. \
                 Start the missing members, such as {first}{more}; or start this server with --cluster {cluster}"
            ));
        }
        Progress::Waiting(format!(
            "the committee of {} forms when all its members have accepted: {} did; it waits for {first}{more}. Start that replica, or connect \
             it to this server. If it is gone for good, start the others with `vouch replica --abandon-founding`",
            record.n(),
            founding.acceptances().len(),
        ))
    }

    fn missing_founders(&self) -> String {
        let connected = self.peers.len();
        if let Some(cluster) = self.wanted.cluster {
            return format!(
                "this server serves cluster {cluster} only, and no member of it is connected; start one with `vouch replica SERVER`"
            );
        }
        if let Some(members) = &self.wanted.members {
            let missing: Vec<_> = members.iter().filter(|key| !self.peers.contains_key(key)).collect();
            if let Some(first) = missing.first() {
                return format!(
                    "{} members must join first, {} of them are not connected, such as {first}; start it with `vouch replica SERVER`",
                    members.len(),
                    missing.len(),
                );
            }
        }
        let needed = match (&self.wanted.members, self.wanted.replicas) {
            (Some(members), _) => format!("{} members", members.len()),
            (None, Some(n)) => format!("{n} replicas"),
            (None, None) => "at least 1 replica".into(),
        };
        let bound = connected - self.free().len().min(connected);
        let start = "start one with `vouch replica SERVER`";
        let contradiction = self.known.values().find_map(|known| self.wanted.allows(known.record()).err());
        match (bound, contradiction) {
            (0, _) => format!("{needed} must join first, {connected} are connected; {start}"),
            (_, Some(why)) => format!(
                "{needed} must join first, {connected} are connected, {bound} of them belong to another founding ({why}); {start}, or \
                 start this server with what they agreed on"
            ),
            (_, None) => format!(
                "{needed} must join first, {connected} are connected, {bound} of them belong to another cluster or founding; {start}"
            ),
        }
    }
}
