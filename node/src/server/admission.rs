//! Which puts are let in: those that there is room for, and a quorum that keeps up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vouch_core::committee::Committee;
use vouch_core::message::{Code, Failed, Stream};
use vouch_core::receipt::Receipt;
use vouch_node_core::budgets::PeerAddress;
use vouch_node_core::server::put::too_few;
use vouch_node_core::server::{Admission, ServerCore};

use super::{ReplicaHandle, Shared};
use crate::budgets::{Party, Permit};

pub(super) type Members = BTreeMap<u16, ReplicaHandle>;

/// What a client asks for.
pub(super) struct PutRequest {
    pub(super) offer: Option<Receipt>,
    /// No certificate of an earlier put will do.
    pub(super) renew: bool,
    /// All its bytes, where they came with it.
    pub(super) whole: Option<Bytes>,
}

/// A put that there is room for, and that waits for a quorum.
pub(super) struct Asked {
    /// The server's number for it.
    stream: Stream,
    request: PutRequest,
    pub(super) committee: Arc<Committee>,
    until: Duration,
    place: Place,
}

/// A put that may begin.
pub(super) struct Admitted {
    pub(super) request: PutRequest,
    pub(super) committee: Arc<Committee>,
    pub(super) members: Members,
    /// Connected, and too slow to take part.
    pub(super) left_out: Vec<u16>,
    pub(super) place: Place,
}

/// A put's place among those of all clients.
pub(super) struct Place {
    pub(super) party: Arc<Party>,
    _permit: Permit,
}

impl Place {
    /// Its place is needed for somebody else's put.
    pub(super) fn is_taken(&self) -> bool {
        self.party.is_cut_off()
    }
}

/// What the client of a put is told whose place is taken.
pub(super) fn overtaken(stream: Stream) -> Failed {
    Failed::new(stream, Code::Busy, "the server is full, and your address holds most of it")
}

/// What becomes of a put that waits.
pub(super) enum Verdict {
    Wait(Asked),
    Admit(Admitted),
    Refuse(Failed),
}

impl Asked {
    /// Looks for room, and founds the committee if need be.
    pub(super) async fn admit(
        shared: &Arc<Shared>,
        source: PeerAddress,
        stream: Stream,
        request: PutRequest,
    ) -> Result<Self, Failed> {
        let party = Party::new(source);
        let permit = shared.guard.puts.claim(&party, 1);
        let permit = permit.map_err(|_| Failed::new(stream, Code::Busy, "the server takes no more puts for now"))?;
        let place = Place { party, _permit: permit };
        if let Some(offer) = request.offer.filter(|offer| offer.is_expired(shared.host.unix_seconds())) {
            return Err(expired(stream, &offer));
        }
        let committee = shared.ensure_committee(stream).await?;
        let until = shared.host.monotonic() + shared.config.quorum_wait;
        Ok(Self { stream, request, committee, until, place })
    }

    /// Looks at the members that are connected.
    pub(super) fn decide(self, core: &mut ServerCore<ReplicaHandle>, now: Duration) -> Verdict {
        if self.place.is_taken() {
            return Verdict::Refuse(overtaken(self.stream));
        }
        let mut connected = core.roster().members();
        let idle = connected.iter().filter(|(_, handle)| handle.data.is_empty()).map(|(member, _)| *member).collect();
        match core.admit(&idle, now >= self.until, now) {
            Some(Admission::Begin { members, left_out }) => {
                connected.retain(|member, _| members.contains(member));
                Verdict::Admit(self.with(connected, left_out.into_iter().collect()))
            }
            Some(Admission::TooFew) => {
                Verdict::Refuse(too_few(&self.committee, self.stream, |member| connected.contains_key(&member)))
            }
            Some(Admission::Wait) | None => Verdict::Wait(self),
        }
    }

    fn with(self, members: Members, left_out: Vec<u16>) -> Admitted {
        let Self { request, committee, place, .. } = self;
        Admitted { request, committee, members, left_out, place }
    }
}

pub(super) fn expired(stream: Stream, receipt: &Receipt) -> Failed {
    let detail = format!("expected an expiry in the future, got {}", receipt.expires_at);
    Failed::new(stream, Code::Expired, detail)
}
