//! Random members, ways, restarts and networks, under seeds. Whatever happens: what is delivered was sent by that peer to this process in a
//! session that both had, once, in order. When the network is good again, all members reach each other.

use vouch_fixture::next_random;

use super::*;

const SEEDS: u64 = 40;
const MEMBERS: usize = 4;
const SERVERS: usize = 2;
const STEPS: u64 = 400;

/// A generator of pseudorandom numbers, and its state.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(next_random(&mut self.0) % bound as u64).unwrap()
    }
}

struct Simulation {
    seed: u64,
    random: Random,
    world: World,
    /// How often each member started.
    runs: Vec<usize>,
    sent: usize,
    /// How many of the messages delivered to each member were checked.
    checked: Vec<usize>,
    /// The last message of each run of a sender that each member got.
    last: BTreeMap<(usize, usize, usize, usize), usize>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            random: Random(seed),
            world: World::new(MEMBERS),
            runs: vec![0; MEMBERS],
            sent: 0,
            checked: vec![0; MEMBERS],
            last: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        let (member, other) = (self.random.below(MEMBERS), self.random.below(MEMBERS));
        match self.random.below(100) {
            0..3 if member != other => {
                self.world.dial(member, other);
            }
            3..6 => {
                let server = self.random.below(SERVERS);
                self.world.relay(member, server);
            }
            6..9 => {
                let ways = self.world.ways_of(member);
                if !ways.is_empty() {
                    let way = ways[self.random.below(ways.len())];
                    self.world.cut(member, way);
                }
            }
            9 => self.restart(member),
            10..15 => {
                // A frame that was seen before comes again, to whom it was for or not, on any way.
                if !self.world.recorded.is_empty() {
                    let bytes = self.world.recorded[self.random.below(self.world.recorded.len())].1.clone();
                    let ways = self.world.ways_of(member);
                    if !ways.is_empty() {
                        let way = ways[self.random.below(ways.len())];
                        self.world.flying.push_back(Flying { to: member, way, bytes });
                    }
                }
            }
            15..60 if member != other => {
                self.sent += 1;
                let text = format!("{member} {} {other} {} {}", self.runs[member], self.runs[other], self.sent);
                self.world.send(member, other, &text);
            }
            60..70 => self.world.pass_time(Duration::from_millis(self.random.below(3000) as u64)),
            _ => self.network(),
        }
        self.check();
    }

    fn restart(&mut self, member: usize) {
        self.world.restart(member);
        self.runs[member] += 1;
        self.checked[member] = 0;
        // Frames under way to the old process reach the new one only by a relay.
    }

    /// Some frames arrive, in any order; some get lost, are repeated or altered.
    fn network(&mut self) {
        for _ in 0..self.random.below(20) {
            if self.world.flying.is_empty() {
                break;
            }
            let place = self.random.below(self.world.flying.len().min(5));
            let Some(mut frame) = self.world.flying.remove(place) else { break };
            match self.random.below(20) {
                0 => continue,
                1 => self.world.flying.push_back(frame.clone()),
                2 => {
                    let mut bytes = frame.bytes.to_vec();
                    let position = self.random.below(bytes.len());
                    bytes[position] ^= 1 << self.random.below(8);
                    frame.bytes = bytes.into();
                }
                3 => {
                    // To another member or another way.
                    frame.to = self.random.below(MEMBERS);
                    let Some(way) = self.world.ways_of(frame.to).first().copied() else { continue };
                    frame.way = way;
                }
                _ => {}
            }
            self.world.frame(frame.to, frame.way, frame.bytes);
        }
    }

    fn check(&mut self) {
        for to in 0..MEMBERS {
            let delivered = &self.world.processes[to].delivered;
            for (from, message) in &delivered[self.checked[to]..] {
                let text = std::str::from_utf8(message).unwrap();
                let fields: Vec<usize> = text.split(' ').map(|field| field.parse().unwrap()).collect();
                let [sender, run, receiver, receiver_run, number] = fields[..] else { panic!("{text}") };
                assert_eq!((key(sender), receiver), (*from, to), "seed {}: {text}", self.seed);
                // The receiver's run as the world knew it: a message that was sent before a restart is for the process before.
                assert_eq!(receiver_run, self.runs[to], "seed {}: {text}: for an earlier process", self.seed);
                let last = self.last.insert((sender, run, to, receiver_run), number);
                assert!(last.is_none_or(|last| last < number), "seed {}: {text} after {last:?}", self.seed);
            }
            self.checked[to] = delivered.len();
        }
    }

    fn run(mut self) -> usize {
        for _ in 0..STEPS {
            self.step();
        }
        // Now the network is good.
        self.world.flying.clear();
        for member in 0..MEMBERS {
            self.world.relay(member, 0);
        }
        for a in 0..MEMBERS {
            for b in 0..a {
                // What is lost here tells both ends that their sessions changed.
                for _ in 0..3 {
                    self.world.send(a, b, &format!("{a} {} {b} {} {}", self.runs[a], self.runs[b], self.sent + 1));
                    self.world.send(b, a, &format!("{b} {} {a} {} {}", self.runs[b], self.runs[a], self.sent + 2));
                    self.sent += 2;
                    self.world.pass(seconds(5));
                }
                self.check();
                for (from, to) in [(a, b), (b, a)] {
                    let last = self.last.get(&(from, self.runs[from], to, self.runs[to]));
                    assert!(
                        last.is_some_and(|last| *last > self.sent - 2),
                        "seed {}: {from} does not reach {to}",
                        self.seed
                    );
                }
            }
        }
        self.world.pass(seconds(60));
        let frames = self.world.recorded.len();
        self.world.pass(seconds(3600));
        assert_eq!(self.world.recorded.len(), frames, "seed {}: frames while idle", self.seed);
        self.last.len()
    }
}

impl World {
    /// Time passes, and timers run, but no frame arrives.
    fn pass_time(&mut self, time: Duration) {
        self.now += time;
        for member in 0..self.processes.len() {
            self.input(member, PeersInput::Tick);
        }
    }
}

#[test]
fn whatever_the_network_does_only_what_was_sent_is_delivered_once_and_in_order() {
    let pairs: usize = (0..SEEDS).map(|seed| Simulation::new(seed).run()).sum();
    assert!(
        pairs > usize::try_from(SEEDS).unwrap() * MEMBERS * (MEMBERS - 1),
        "messages were delivered, also between restarts"
    );
}
