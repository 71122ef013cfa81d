//! Members, the ways between them, and relays that may do anything.

mod floods;
mod relays;
mod simulation;
mod strangers;
mod two_ends;

use std::collections::VecDeque;

use vouch_core::peer_frame::{FrameHeader, PeerSession};

use super::*;

const CLUSTER: ClusterId = ClusterId([3; 32]);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn secret(i: usize) -> Arc<NodeSecretKey> {
    Arc::new(NodeSecretKey::from_bytes(&[u8::try_from(i).unwrap() + 1; 32]))
}

fn key(i: usize) -> NodeKey {
    secret(i).node_key()
}

fn address(i: usize) -> MemberAddress {
    format!("replica-{i}.example:9091").parse().unwrap()
}

/// A process of a member, and its outputs.
struct Process {
    peers: Peers,
    delivered: Vec<(NodeKey, Bytes)>,
    up: Vec<NodeKey>,
    addresses: Vec<(NodeKey, Option<MemberAddress>)>,
    closed: Vec<(WayId, WayClosed)>,
}

/// Where a way leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    End(usize, WayId),
    Server(usize),
}

/// A frame under way: the member that gets it, and on which of its ways.
#[derive(Debug, Clone)]
struct Flying {
    to: usize,
    way: WayId,
    bytes: Bytes,
}

struct World {
    now: Duration,
    processes: Vec<Process>,
    /// By member and its way.
    ways: BTreeMap<(usize, WayId), Other>,
    flying: VecDeque<Flying>,
    /// Every frame that was ever handed to the network, with its sender.
    recorded: Vec<(usize, Bytes)>,
    next_way: u64,
    starts: u8,
}

impl World {
    /// Members without ways.
    fn new(members: usize) -> Self {
        let mut world = Self {
            now: seconds(1000),
            processes: Vec::new(),
            ways: BTreeMap::new(),
            flying: VecDeque::new(),
            recorded: Vec::new(),
            next_way: 0,
            starts: 0,
        };
        for member in 0..members {
            let process = world.process(member, members);
            world.processes.push(process);
        }
        world
    }

    fn process(&mut self, member: usize, members: usize) -> Process {
        self.starts += 1;
        let mut peers = Peers::new(secret(member), CLUSTER, [self.starts; 16], Some(address(member)));
        peers.handle(PeersInput::Members((0..members).map(key).collect()), self.now);
        Process { peers, delivered: Vec::new(), up: Vec::new(), addresses: Vec::new(), closed: Vec::new() }
    }

    fn way(&mut self) -> WayId {
        self.next_way += 1;
        WayId(self.next_way)
    }

    /// A member dials another one.
    fn dial(&mut self, from: usize, to: usize) -> (WayId, WayId) {
        let (here, there) = (self.way(), self.way());
        self.ways.insert((from, here), Other::End(to, there));
        self.ways.insert((to, there), Other::End(from, here));
        self.input(to, PeersInput::WayUp(there, WayKind::Accepted));
        self.input(from, PeersInput::WayUp(here, WayKind::Dialled(key(to))));
        (here, there)
    }

    /// A member links to a server that relays.
    fn relay(&mut self, member: usize, server: usize) -> WayId {
        let way = self.way();
        self.ways.insert((member, way), Other::Server(server));
        self.input(member, PeersInput::WayUp(way, WayKind::Relay));
        way
    }

    /// A way ends at both ends.
    fn cut(&mut self, member: usize, way: WayId) {
        if let Some(Other::End(other, there)) = self.ways.remove(&(member, way))
            && self.ways.remove(&(other, there)).is_some()
        {
            self.input(other, PeersInput::WayDown(there));
        }
        self.input(member, PeersInput::WayDown(way));
    }

    fn ways_of(&self, member: usize) -> Vec<WayId> {
        self.ways.keys().filter(|(of, _)| *of == member).map(|(_, way)| *way).collect()
    }

    /// A member's process ends, and another one starts without ways.
    fn restart(&mut self, member: usize) {
        for way in self.ways_of(member) {
            self.cut(member, way);
        }
        let members = self.processes.len();
        self.processes[member] = self.process(member, members);
    }

    fn input(&mut self, member: usize, input: PeersInput) {
        let process = &mut self.processes[member];
        let outputs = process.peers.handle(input, self.now);
        for output in outputs {
            let process = &mut self.processes[member];
            match output {
                PeersOutput::Transmit { way, bytes } => self.transmit(member, way, bytes),
                PeersOutput::Deliver { from, message } => process.delivered.push((from, message)),
                PeersOutput::PeerUp(peer) => process.up.push(peer),
                PeersOutput::Address { peer, address } => process.addresses.push((peer, address)),
                PeersOutput::Close { way, why } => {
                    process.closed.push((way, why));
                    if let Some(Other::End(other, there)) = self.ways.remove(&(member, way))
                        && self.ways.remove(&(other, there)).is_some()
                    {
                        self.input(other, PeersInput::WayDown(there));
                    }
                }
            }
        }
    }

    fn transmit(&mut self, member: usize, way: WayId, bytes: Bytes) {
        self.recorded.push((member, bytes.clone()));
        match self.ways.get(&(member, way)) {
            Some(Other::End(to, way)) => self.flying.push_back(Flying { to: *to, way: *way, bytes }),
            Some(Other::Server(server)) => self.relayed(*server, bytes),
            None => panic!("member {member} sends on {way:?}, which is down"),
        }
    }

    /// A server passes a frame on to the member that it is for.
    fn relayed(&mut self, server: usize, bytes: Bytes) {
        let (_, to) = PeerFrame::addressed(&bytes).unwrap();
        let to = (0..self.processes.len()).find(|member| key(*member) == to).unwrap();
        let ways = self.ways.iter().filter(|((member, _), other)| *member == to && **other == Other::Server(server));
        let ways: Vec<_> = ways.map(|((_, way), _)| *way).collect();
        self.flying.extend(ways.into_iter().map(|way| Flying { to, way, bytes: bytes.clone() }));
    }

    fn frame(&mut self, to: usize, way: WayId, bytes: Bytes) {
        self.input(to, PeersInput::Frame { way, bytes });
    }

    /// Delivers everything that is under way, and what follows at once.
    fn settle(&mut self) {
        while let Some(Flying { to, way, bytes }) = self.flying.pop_front() {
            self.frame(to, way, bytes);
        }
    }

    /// Lets time pass, with all ticks and frames in it.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.settle();
            let next = self.processes.iter().filter_map(|process| process.peers.next_tick()).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            for member in 0..self.processes.len() {
                if self.processes[member].peers.next_tick().is_some_and(|at| at <= self.now) {
                    self.input(member, PeersInput::Tick);
                }
            }
        }
        self.now = until;
    }

    fn send(&mut self, from: usize, to: usize, text: &str) {
        self.input(from, PeersInput::Send { to: key(to), message: Bytes::copy_from_slice(text.as_bytes()) });
    }

    fn texts(&self, member: usize) -> Vec<&str> {
        self.processes[member].delivered.iter().map(|(_, message)| std::str::from_utf8(message).unwrap()).collect()
    }

    /// Both ends can send each other messages now.
    #[track_caller]
    fn assert_linked(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let text = format!("{from} to {to} at {:?}, {}", self.now, self.recorded.len());
            self.send(from, to, &text);
            self.settle();
            let last = self.processes[to].delivered.last();
            let expected = (key(from), Bytes::from(text.clone().into_bytes()));
            assert_eq!(last, Some(&expected), "{text}");
        }
    }
}
