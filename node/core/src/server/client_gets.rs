//! The lookups and reads of one client: which replicas the server asks, how long it waits, and what it answers.
//!
//! A state machine without IO. The client chooses its own stream numbers; the requests to replicas have the server's.

mod events;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use vouch_core::access::Authorisation;
use vouch_core::digest::Digest;
use vouch_core::message::{Code, Failed, Holder, MAX_READS, Read, Stream};
use vouch_core::quorum::tolerated_faults;

use super::health::LinkId;
use super::stream_numbers::StreamNumbers;
pub use events::{GetAction, GetAnswer, GetInput, GetOutput};

/// Timeout of a read.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// Timeout of a lookup that waits for every member. It equals the timeout of a read, because a member on a busy machine is late with
/// either. A lost link ends the wait for its member at once.
const LOCATE_DEADLINE: Duration = READ_DEADLINE;
/// Timeout of a lookup after the first holder has answered.
const LOCATE_GRACE: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Lookup {
    client: Stream,
    stream: Stream,
    digest: Digest,
    /// The members that were asked and have not answered.
    awaited: BTreeSet<u16>,
    /// The blob's length as each holder claims it.
    holders: BTreeMap<u16, u64>,
    /// From members that refused the lookup.
    refusals: Vec<Failed>,
    deadline: Duration,
    /// The lookup waits for every member. Set for a client's second lookup: all holders of the first one failed.
    waits_for_all: bool,
}

#[derive(Debug)]
struct PendingRead {
    client: Stream,
    member: u16,
    link: LinkId,
    deadline: Duration,
}

/// The lookups and reads of one client.
#[derive(Debug)]
pub struct ClientGets {
    numbers: StreamNumbers,
    /// The connected members with their links; `None` before there is a committee.
    members: Option<BTreeMap<u16, LinkId>>,
    lookup: Option<Lookup>,
    /// The blob of the last lookup.
    looked_up: Option<Digest>,
    /// The blob of the last lookup that named holders, and the holders. Only this one is read, and from them: each member checks in the lookup
    /// who may read.
    located: Option<(Digest, BTreeSet<u16>)>,
    /// Reads sent to a replica, by the server's number.
    reads: BTreeMap<Stream, PendingRead>,
    /// Reads that wait for the read budget, oldest first.
    waiting: VecDeque<Read>,
}

impl ClientGets {
    /// A client without requests.
    pub fn new(numbers: StreamNumbers, members: Option<BTreeMap<u16, LinkId>>) -> Self {
        Self {
            numbers,
            members,
            lookup: None,
            looked_up: None,
            located: None,
            reads: BTreeMap::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Whether a lookup or a read has a deadline: then give [`GetInput::Tick`] regularly.
    pub fn is_active(&self) -> bool {
        self.lookup.is_some() || !self.reads.is_empty()
    }

    /// Whether a read waits for the budget: then give [`GetInput::Room`] once there is room.
    pub fn wants_room(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Handles one input.
    pub fn handle(&mut self, input: GetInput, now: Duration) -> Vec<GetOutput> {
        let mut out = Vec::new();
        match input {
            GetInput::Locate(client, digest, authorisation) => {
                self.locate(client, (digest, authorisation), now, &mut out);
            }
            GetInput::Asked(stream, asked) => {
                if let Some(lookup) = self.lookup.as_mut().filter(|lookup| lookup.stream == stream) {
                    lookup.awaited = asked;
                }
            }
            GetInput::Read(read) => self.read(read, &mut out),
            GetInput::Room => self.start_read(now, &mut out),
            GetInput::NotReading(stream) => {
                if let Some(read) = self.reads.remove(&stream) {
                    out.push(GetAction::Release(stream).into());
                    fail(Failed::new(read.client, Code::TimedOut, "the replica does not read"), &mut out);
                }
            }
            GetInput::Holds { member, stream, length } => self.holds(member, stream, length, now),
            GetInput::Bytes { member, stream } => {
                if let Some(read) = self.take_read(stream, member) {
                    out.push(GetAction::Relay { stream, client: read.client }.into());
                }
            }
            GetInput::Refused(member, failed) => {
                self.refused(member, &failed);
                if let Some(read) = self.take_read(failed.stream, member) {
                    out.push(GetAction::Release(failed.stream).into());
                    fail(Failed { stream: read.client, ..failed }, &mut out);
                }
            }
            GetInput::Connected(members) => self.connected(members, &mut out),
            GetInput::Tick => {
                self.end_reads(
                    |read| now > read.deadline,
                    Code::TimedOut,
                    "the replica did not answer in time",
                    &mut out,
                );
            }
        }
        self.finish_lookup(now, &mut out);
        out
    }

    fn locate(
        &mut self,
        client: Stream,
        (digest, authorisation): (Digest, Option<Authorisation>),
        now: Duration,
        out: &mut Vec<GetOutput>,
    ) {
        let Some(members) = &self.members else {
            let detail = "nothing was ever put here, and no member of a committee is connected";
            return fail(Failed::new(client, Code::NoCommittee, detail), out);
        };
        if self.lookup.is_some() {
            return fail(Failed::new(client, Code::Busy, "one lookup at a time on a link"), out);
        }
        let awaited: BTreeSet<u16> = members.keys().copied().collect();
        let stream = self.numbers.next();
        out.push(GetAction::AskHolders { stream, digest, authorisation, members: awaited.clone() }.into());
        let waits_for_all = self.looked_up.replace(digest) == Some(digest);
        let (holders, deadline) = (BTreeMap::new(), now + LOCATE_DEADLINE);
        let refusals = Vec::new();
        self.lookup = Some(Lookup { client, stream, digest, awaited, holders, refusals, deadline, waits_for_all });
    }

    fn read(&mut self, read: Read, out: &mut Vec<GetOutput>) {
        if self.reads.len() + self.waiting.len() >= MAX_READS {
            let detail = format!("expected at most {MAX_READS} unanswered reads");
            return out.push(GetOutput::Violation(Failed::new(Stream::LINK, Code::Unexpected, detail)));
        }
        let is_located =
            |(digest, holders): &(Digest, BTreeSet<u16>)| *digest == read.digest && holders.contains(&read.member);
        if !self.located.as_ref().is_some_and(is_located) {
            let detail = "no lookup on this link has found this blob at this member; look it up first";
            return fail(Failed::new(read.stream, Code::NotFound, detail), out);
        }
        self.waiting.push_back(read);
    }

    /// A member refused the lookup.
    fn refused(&mut self, member: u16, failed: &Failed) {
        if let Some(lookup) = self.lookup.as_mut().filter(|lookup| lookup.stream == failed.stream)
            && lookup.awaited.remove(&member)
        {
            lookup.refusals.push(failed.clone());
        }
    }

    /// Sends the oldest waiting read to its member.
    fn start_read(&mut self, now: Duration, out: &mut Vec<GetOutput>) {
        let Some(read) = self.waiting.pop_front() else { return };
        let (client, member) = (read.stream, read.member);
        let Some(link) = self.members.as_ref().and_then(|members| members.get(&member).copied()) else {
            return fail(Failed::new(client, Code::NotFound, "the replica is not connected"), out);
        };
        let stream = self.numbers.next();
        self.reads.insert(stream, PendingRead { client, member, link, deadline: now + READ_DEADLINE });
        out.push(GetAction::AskForRead(Read { stream, ..read }).into());
    }

    fn holds(&mut self, member: u16, stream: Stream, length: Option<u64>, now: Duration) {
        let Some(lookup) = self.lookup.as_mut().filter(|lookup| lookup.stream == stream) else { return };
        if !lookup.awaited.remove(&member) {
            return;
        }
        if let Some(length) = length {
            lookup.holders.insert(member, length);
            if !lookup.waits_for_all {
                lookup.deadline = lookup.deadline.min(now + LOCATE_GRACE);
            }
        }
    }

    /// The read that a member answers. An answer by another member is ignored.
    fn take_read(&mut self, stream: Stream, member: u16) -> Option<PendingRead> {
        self.reads.get(&stream).filter(|read| read.member == member)?;
        self.reads.remove(&stream)
    }

    fn connected(&mut self, members: Option<BTreeMap<u16, LinkId>>, out: &mut Vec<GetOutput>) {
        let links = members.clone().unwrap_or_default();
        self.members = members;
        if let Some(lookup) = &mut self.lookup {
            lookup.awaited.retain(|member| links.contains_key(member));
        }
        let is_gone = |read: &PendingRead| links.get(&read.member) != Some(&read.link);
        self.end_reads(is_gone, Code::NotFound, "the replica's link ended", out);
    }

    fn end_reads(
        &mut self,
        is_over: impl Fn(&PendingRead) -> bool,
        code: Code,
        detail: &str,
        out: &mut Vec<GetOutput>,
    ) {
        let over: Vec<Stream> =
            self.reads.iter().filter(|(_, read)| is_over(read)).map(|(stream, _)| *stream).collect();
        for stream in over {
            let Some(read) = self.reads.remove(&stream) else { continue };
            out.push(GetAction::Release(stream).into());
            fail(Failed::new(read.client, code, detail).with_subjects(vec![read.member]), out);
        }
    }

    fn finish_lookup(&mut self, now: Duration, out: &mut Vec<GetOutput>) {
        let is_over = |lookup: &mut Lookup| lookup.awaited.is_empty() || now >= lookup.deadline;
        let Some(lookup) = self.lookup.take_if(is_over) else { return };
        out.push(GetAction::Release(lookup.stream).into());
        if !lookup.holders.is_empty() {
            let mut holders: BTreeSet<u16> = lookup.holders.keys().copied().collect();
            // A second lookup of the same blob adds to the first.
            if let Some((digest, before)) = self.located.take()
                && digest == lookup.digest
            {
                holders.extend(before);
            }
            self.located = Some((lookup.digest, holders));
        } else if let Some(refusal) = self.common_refusal(&lookup) {
            return fail(Failed { stream: lookup.client, ..refusal }, out);
        }
        let holders = lookup.holders.into_iter().map(|(member, length)| Holder { member, length }).collect();
        out.push(GetAnswer::Located(lookup.client, holders).into());
    }

    /// Why more members than may be faulty refused a lookup, if they did.
    fn common_refusal(&self, lookup: &Lookup) -> Option<Failed> {
        let n = u16::try_from(self.members.as_ref().map_or(0, BTreeMap::len)).unwrap_or(u16::MAX);
        let enough = usize::from(tolerated_faults(n)) + 1;
        let has_code = |failed: &&Failed| failed.code == Code::NotAdmitted;
        let mut refusals = lookup.refusals.iter().filter(has_code);
        let first = refusals.next()?.clone();
        (1 + refusals.count() >= enough).then_some(first)
    }
}

fn fail(failed: Failed, out: &mut Vec<GetOutput>) {
    out.push(GetAnswer::Failed(failed).into());
}
