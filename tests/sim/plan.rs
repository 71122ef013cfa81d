//! The plan of a run: its faults and their times. It is drawn from the seed before the run begins, so that a failing run can be
//! repeated with fewer faults.

use std::time::Duration;

use crate::network::Node;
use crate::random::Random;

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// One committee, and as many faults as fit.
    OneCommittee,
    /// The committee changes again and again, and faults come in between.
    Changes,
}

/// The nodes of a run, numbered in this order: servers, replicas, clients, the lying server. Of the replicas, those that can join later
/// are the last but one that lies.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub story: Story,
    pub servers: usize,
    /// Number of founding members.
    pub replicas: usize,
    /// Number of replicas that can join.
    pub joiners: usize,
    /// Whether an operator signs the changes of members. Otherwise members take everybody in.
    pub has_operator: bool,
    /// A factor for the delays of messages, relative to one machine.
    pub distance: u64,
    /// How the last replica lies, if it does.
    pub lie: Option<Lie>,
    /// Whether there is a lying server, which asks replicas for votes that they must not give.
    pub has_lying_server: bool,
}

/// How a replica lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Its votes sign another statement.
    FalseVotes,
    /// It sends wrong bytes.
    DamagedBytes,
    /// It votes and stores nothing.
    KeepsNothing,
}

pub const CLIENTS: usize = 2;
/// Maximum number of replicas that can join.
const MOST_JOINERS: usize = 4;

impl Shape {
    fn draw(story: Story, random: &mut Random) -> Self {
        let replicas = match random.within(0..24) {
            0..=2 => 1,
            3 => 7,
            _ => 4,
        };
        let lie = match random.within(0..6) {
            0 => Some(Lie::FalseVotes),
            1 => Some(Lie::DamagedBytes),
            2 => Some(Lie::KeepsNothing),
            _ => None,
        };
        let servers = 1 + random.index(2);
        let distance = [1, 5, 25][random.index(3)];
        let (lie, has_lying_server) = (lie.filter(|_| replicas > 1), random.one_in(2));
        let (joiners, has_operator) = match story {
            Story::OneCommittee => (0, false),
            Story::Changes => (1 + random.index(MOST_JOINERS), !random.one_in(3)),
        };
        Self { story, servers, replicas, joiners, has_operator, distance, lie, has_lying_server }
    }

    /// How long faults happen.
    pub fn trouble(&self) -> Duration {
        match self.story {
            Story::OneCommittee => Duration::from_secs(17),
            // An epoch is sealed two minutes after it closed, and only then can the next one be decided.
            Story::Changes => Duration::from_secs(500),
        }
    }

    /// How often faults happen: the longest time from one to the next, in milliseconds.
    fn calm(&self) -> u64 {
        match self.story {
            Story::OneCommittee => 2_500,
            Story::Changes => 40_000,
        }
    }

    /// The longest pause of a client between two requests, in milliseconds.
    pub fn pause(&self) -> u64 {
        match self.story {
            Story::OneCommittee => 2_000,
            Story::Changes => 40_000,
        }
    }

    /// The replicas that do not lie: those of the genesis committee and those that can join.
    pub fn honest(&self) -> std::ops::Range<Node> {
        self.servers..self.servers + self.replicas + self.joiners - usize::from(self.lie.is_some())
    }

    /// The replicas that can join.
    pub fn joiners(&self) -> std::ops::Range<Node> {
        self.honest().end - self.joiners..self.honest().end
    }

    /// The replica that lies.
    pub fn liar(&self) -> Option<Node> {
        self.lie.map(|_| self.honest().end)
    }

    /// The servers and the replicas that run the real program.
    pub fn nodes(&self) -> std::ops::Range<Node> {
        0..self.honest().end
    }

    pub fn client(&self, number: usize) -> Node {
        self.servers + self.replicas + self.joiners + number
    }

    pub fn lying_server(&self) -> Node {
        self.client(CLIENTS)
    }

    /// The number of honest members of the genesis committee that may be down.
    fn spare(&self) -> usize {
        let tolerated = tolerated(self.replicas);
        tolerated - usize::from(self.lie.is_some()).min(tolerated)
    }
}

/// The number f of so many members that may fail, by a rule written here again.
pub fn tolerated(members: usize) -> usize {
    (members - 1) / 3
}

/// A fault, or its end.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// A node that is down starts.
    Start(Node),
    /// A process ends, or its machine loses power. `anyway`: even if no more replicas may be down.
    Stop { node: Node, loses_power: bool, anyway: bool, seed: u64 },
    /// A machine loses power at one of its next operations on its disk; `all`: every other machine with it.
    PowerCut { node: Node, operations: usize, all: bool, seed: u64 },
    /// A client uploads this many bytes. All replicas lose power when one of them does the operation of this number on its partial
    /// uploads. The client puts the blob again.
    CutUpload { node: Node, size: usize, operations: usize, seed: u64 },
    /// One of the next operations on a disk fails.
    DiskFault { node: Node, operations: usize },
    /// No message gets from one node to another.
    Cut { from: Node, to: Node },
    /// Connections between two nodes break.
    Reset { one: Node, other: Node },
    /// The messages of a node take up to this many milliseconds longer.
    Slow { node: Node, milliseconds: u64 },
    /// A replica's wall clock is wrong by this many seconds.
    Clock { node: Node, seconds: i64 },
    /// A disk is full, or has space again.
    Space { node: Node, is_full: bool },
    /// A large blob is spoiled on the disk of the one replica whose disk decays, and its owner renews it.
    Decay { pick: u64 },
    /// A large blob is spoiled at every replica, which is more than the committee tolerates; its owner puts it again.
    Ruin { pick: u64 },
    /// All partitions end.
    Mend,
}

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub shape: Shape,
    pub events: Vec<(Duration, Event)>,
}

impl Plan {
    pub fn draw(story: Story, seed: u64) -> Self {
        let mut random = Random::new(seed, 0);
        let shape = Shape::draw(story, &mut random);
        let mut events = Vec::new();
        // during the founding; some runs have most of their faults here
        let most = if random.one_in(6) { 16 } else { 5 };
        for _ in 0..random.within(0..most) {
            let node = shape.honest().start + random.index(shape.honest().len());
            let at = Duration::from_millis(random.within(1..60 * (shape.distance + 4)));
            let back = at + Duration::from_millis(random.within(1..300));
            let (loses_power, seed) = (random.one_in(2), random.next());
            let event = match random.one_in(3) {
                true => {
                    let operations = usize::try_from(random.within(0..30)).unwrap_or(0);
                    Event::PowerCut { node, operations, all: false, seed }
                }
                false => Event::Stop { node, loses_power, anyway: true, seed },
            };
            events.extend([(at, event), (back, Event::Start(node))]);
        }
        let mut at = Duration::from_millis(random.within(500..4_000));
        while at < shape.trouble() {
            Self::draw_one(&shape, at, &mut random, &mut events);
            at += Duration::from_millis(random.within(50..shape.calm()));
        }
        events.sort_by_key(|(at, _)| *at);
        Self { shape, events }
    }

    fn draw_one(shape: &Shape, at: Duration, random: &mut Random, events: &mut Vec<(Duration, Event)>) {
        let server = random.index(shape.servers);
        let node = shape.honest().start + random.index(shape.honest().len());
        let later = |random: &mut Random| at + Duration::from_millis(random.within(100..8_000));
        let event = match random.within(0..20) {
            0..=2 => {
                events.push((later(random), Event::Start(node)));
                let (loses_power, anyway) = (random.one_in(2), random.one_in(8));
                Event::Stop { node, loses_power, anyway, seed: random.next() }
            }
            3 => {
                events.push((later(random), Event::Start(server)));
                Event::Stop { node: server, loses_power: random.one_in(2), anyway: true, seed: random.next() }
            }
            4..=6 => {
                let all = random.one_in(2);
                let again = later(random) + Duration::from_secs(1);
                let up = if all { shape.nodes() } else { node..node + 1 };
                events.extend(up.map(|node| (again, Event::Start(node))));
                let operations = usize::try_from(random.within(0..60)).unwrap_or(0);
                Event::PowerCut { node, operations, all, seed: random.next() }
            }
            7 => {
                let operations = usize::try_from(random.within(0..40)).unwrap_or(0);
                Event::DiskFault { node: if random.one_in(4) { server } else { node }, operations }
            }
            8 => {
                if random.one_in(2) {
                    events.push((at, Event::Cut { from: server, to: node }));
                }
                Event::Cut { from: node, to: server }
            }
            9 => Event::Cut { from: server, to: node },
            10 => {
                let other = if random.one_in(3) { shape.client(0) } else { node };
                Event::Reset { one: server, other }
            }
            11 => Event::Slow { node, milliseconds: random.within(10..4_000) },
            12 => Event::Clock { node, seconds: [-4_000, -90, -5, 0, 5, 90, 4_000, 4_000][random.index(8)] },
            13 => Event::Space { node, is_full: random.one_in(2) },
            17 => {
                let again = later(random) + Duration::from_secs(2);
                events.extend(shape.honest().map(|node| (again, Event::Start(node))));
                let size = usize::try_from(random.within(600 << 10..2_000 << 10)).unwrap_or(0);
                let operations = usize::try_from(random.within(4..20)).unwrap_or(0);
                Event::CutUpload { node, size, operations, seed: random.next() }
            }
            // Later committees may tolerate no fault, and then a blob that decayed is lost.
            14 | 15 if shape.spare() > 0 && shape.story == Story::OneCommittee => Event::Decay { pick: random.next() },
            16 => Event::Ruin { pick: random.next() },
            _ => Event::Mend,
        };
        events.push((at, event));
    }

    /// Only the events of these numbers.
    pub fn keep(&mut self, numbers: &std::collections::BTreeSet<usize>) {
        let mut number = 0..;
        self.events.retain(|_| number.next().is_some_and(|number| numbers.contains(&number)));
    }
}
