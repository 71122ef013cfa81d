//! The four properties, over a network in virtual time that loses, repeats, delays, reorders, alters, misdelivers and forges packets.

use vouch_core::digest::ClusterId;
use vouch_core::link::NodeKey;
use vouch_fixture::next_random;

use super::*;

const SEEDS: u64 = 20;
const ENDS: usize = 3;
const MESSAGES: usize = 100;
const SESSION: [u8; 32] = [4; 32];

/// Pseudorandom numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        next_random(&mut self.0)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

fn secret(i: usize) -> Arc<NodeSecretKey> {
    Arc::new(NodeSecretKey::from_bytes(&[u8::try_from(i).unwrap() + 1; 32]))
}

fn key(i: usize) -> NodeKey {
    secret(i).node_key()
}

fn direction(from: usize, to: usize) -> LinkDirection {
    LinkDirection { cluster: ClusterId([3; 32]), session: SESSION, from: key(from), to: key(to) }
}

/// Three processes, each with a link to each other one, and the network between them.
struct Network {
    random: Random,
    now: Duration,
    /// By sender and receiver.
    links: BTreeMap<(usize, usize), PerfectLink>,
    /// Packets under way, by arrival: the sender that the receiver takes it for, the receiver, the bytes.
    flying: BTreeMap<(Duration, u64), (usize, usize, Vec<u8>)>,
    packets: u64,
    /// Packets that the adversary recorded.
    recorded: Vec<Vec<u8>>,
    /// What was sent and delivered, by sender and receiver.
    sent: BTreeMap<(usize, usize), Vec<Vec<u8>>>,
    delivered: BTreeMap<(usize, usize), Vec<Vec<u8>>>,
}

impl Network {
    fn new(seed: u64) -> Self {
        let pairs = (0..ENDS).flat_map(|from| (0..ENDS).map(move |to| (from, to))).filter(|(from, to)| from != to);
        let links = pairs.map(|(from, to)| ((from, to), PerfectLink::new(secret(from), direction(from, to)))).collect();
        Self {
            random: Random(seed),
            now: Duration::ZERO,
            links,
            flying: BTreeMap::new(),
            packets: 0,
            recorded: Vec::new(),
            sent: BTreeMap::new(),
            delivered: BTreeMap::new(),
        }
    }

    fn run(seed: u64) -> Self {
        let mut network = Self::new(seed);
        let pairs: Vec<_> = network.links.keys().copied().collect();
        let mut left = MESSAGES;
        while left > 0 || network.flush() {
            // Several at once, so that windows fill; equal texts, so that a message is more than its bytes.
            for _ in 0..network.random.below(40) {
                let (from, to) = pairs[network.random.index(pairs.len())];
                let text = format!("{from} to {to}: {}", network.random.below(20)).into_bytes();
                if left > 0 && network.links.get_mut(&(from, to)).unwrap().send(text.clone(), network.now).is_ok() {
                    network.sent.entry((from, to)).or_default().push(text);
                    left -= 1;
                }
            }
            network.flush();
            network.step();
            assert!(network.now < Duration::from_secs(600), "seed {seed}: messages are missing");
        }
        network
    }

    /// Hands what is due to the network. `true` if something is under way, or will be.
    fn flush(&mut self) -> bool {
        let pairs: Vec<_> = self.links.keys().copied().collect();
        for (from, to) in pairs {
            for packet in self.links.get_mut(&(from, to)).unwrap().due(self.now) {
                self.transmit(from, to, packet);
            }
        }
        !self.flying.is_empty() || self.links.values().any(|link| link.next_due().is_some())
    }

    fn transmit(&mut self, from: usize, to: usize, packet: Vec<u8>) {
        if self.random.percent(10) {
            self.recorded.push(packet.clone());
        }
        self.attack(from, to, &packet);
        while !self.random.percent(40) {
            self.fly(from, to, packet.clone());
            if !self.random.percent(30) {
                break;
            }
        }
    }

    fn fly(&mut self, from: usize, to: usize, packet: Vec<u8>) {
        self.packets += 1;
        let delay = Duration::from_millis(1 + self.random.below(600));
        self.flying.insert((self.now + delay, self.packets), (from, to, packet));
    }

    /// The adversary has keys of its own, but none of the three.
    fn attack(&mut self, from: usize, to: usize, packet: &[u8]) {
        match self.random.below(20) {
            0 => {
                let mut altered = packet.to_vec();
                let position = self.random.index(altered.len());
                altered[position] ^= 1 << self.random.below(8);
                self.fly(from, to, altered);
            }
            // Back to its sender, or to the third process.
            1 => self.fly(to, from, packet.to_vec()),
            2 => self.fly(from, ENDS - from - to, packet.to_vec()),
            3 if !self.recorded.is_empty() => {
                let recorded = self.recorded[self.random.index(self.recorded.len())].clone();
                let from = self.random.index(ENDS);
                let to = (from + 1 + self.random.index(ENDS - 1)) % ENDS;
                self.fly(from, to, recorded);
            }
            4 => {
                let message = b"forged".to_vec();
                let forged = LinkPacket::Message { number: self.random.below(80), message };
                self.fly(from, to, forged.seal(&direction(from, to), &secret(9)).unwrap());
            }
            5 => {
                let forged = LinkPacket::Acknowledgement { before: self.random.below(80), later: self.random.next() };
                self.fly(from, to, forged.seal(&direction(from, to), &secret(9)).unwrap());
            }
            // The sender's own signature, from an earlier session.
            6 => {
                let earlier = LinkDirection { session: [5; 32], ..direction(from, to) };
                let old = LinkPacket::Message { number: self.random.below(80), message: b"of an old session".to_vec() };
                self.fly(from, to, old.seal(&earlier, &secret(from)).unwrap());
            }
            _ => {}
        }
    }

    /// Delivers the next packet, or advances to the next retransmission.
    fn step(&mut self) {
        let retransmission = self.links.values().filter_map(PerfectLink::next_due).min();
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let Some(next) = retransmission.into_iter().chain(arrival).min() else { return };
        self.now = self.now.max(next);
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (from, to, packet) = entry.remove();
            // The receiver's end of the link with the process that the network says is the sender.
            let link = self.links.get_mut(&(to, from)).unwrap();
            if let Ok(Some(message)) = link.receive(&packet) {
                self.delivered.entry((from, to)).or_default().push(message);
            }
            assert!(link.under_way() <= usize::try_from(LINK_WINDOW).unwrap());
        }
    }

    fn count(messages: Option<&Vec<Vec<u8>>>, message: &[u8]) -> usize {
        messages.into_iter().flatten().filter(|other| *other == message).count()
    }
}

#[test]
fn reliable_delivery() {
    for seed in 0..SEEDS {
        let network = Network::run(seed);
        for (pair, sent) in &network.sent {
            for message in sent {
                let (sent, delivered) = (Some(sent), network.delivered.get(pair));
                assert!(Network::count(delivered, message) >= Network::count(sent, message), "seed {seed}: {pair:?}");
            }
        }
        // Nothing is under way any more, so an idle link costs nothing.
        assert!(network.links.values().all(|link| link.under_way() == 0 && link.next_due().is_none()), "seed {seed}");
    }
}

#[test]
fn no_duplication() {
    for seed in 0..SEEDS {
        let network = Network::run(seed);
        for (pair, delivered) in &network.delivered {
            for message in delivered {
                let (sent, delivered) = (network.sent.get(pair), Some(delivered));
                assert!(Network::count(delivered, message) <= Network::count(sent, message), "seed {seed}: {pair:?}");
            }
        }
    }
}

#[test]
fn no_creation() {
    for seed in 0..SEEDS {
        let network = Network::run(seed);
        let sent: Vec<_> = network.sent.values().flatten().collect();
        for message in network.delivered.values().flatten() {
            assert!(sent.contains(&message), "seed {seed}: {}", String::from_utf8_lossy(message));
        }
    }
}

#[test]
fn authenticity() {
    for seed in 0..SEEDS {
        let network = Network::run(seed);
        for ((from, to), delivered) in &network.delivered {
            for message in delivered {
                let expected = format!("{from} to {to}: ");
                let text = String::from_utf8_lossy(message);
                assert!(text.starts_with(&expected), "seed {seed}: {to} took it for {from}'s: {text}");
            }
        }
    }
}

#[test]
fn the_window_bounds_what_is_under_way_in_both_directions() {
    let (mut sender, mut receiver) =
        (PerfectLink::new(secret(0), direction(0, 1)), PerfectLink::new(secret(1), direction(1, 0)));
    for number in 0..64u8 {
        assert_eq!(sender.send(vec![number], Duration::ZERO), Ok(()));
    }
    assert_eq!(sender.send(vec![64], Duration::ZERO), Err(SendError::WindowFull));
    let packets = sender.due(Duration::ZERO);
    // All but the first arrive, last first.
    for (packet, number) in packets.iter().zip(0..64u8).skip(1).rev() {
        assert_eq!(receiver.receive(packet), Ok(Some(vec![number])));
        assert_eq!(receiver.receive(packet), Ok(None));
    }
    let acknowledgement = receiver.due(Duration::ZERO);
    assert_eq!((acknowledgement.len(), receiver.due(Duration::ZERO).len()), (1, 0), "one for all");
    assert_eq!(sender.receive(&acknowledgement[0]), Ok(None));
    assert_eq!(sender.under_way(), 1);
    assert_eq!(sender.send(vec![64], Duration::ZERO), Err(SendError::WindowFull), "the first is still missing");
    assert_eq!(receiver.receive(&packets[0]), Ok(Some(vec![0])));
    assert_eq!((receiver.before, receiver.later), (64, 0));
    let again = receiver.due(Duration::ZERO);
    assert_eq!(sender.receive(&again[0]), Ok(None));
    assert_eq!(sender.under_way(), 0);
    assert_eq!(sender.receive(&acknowledgement[0]), Ok(None), "a late acknowledgement changes nothing");
    assert_eq!(sender.send(vec![64], Duration::ZERO), Ok(()));

    let beyond = LinkPacket::Message { number: 128, message: Vec::new() };
    let beyond = beyond.seal(&direction(0, 1), &secret(0)).unwrap();
    assert_eq!(receiver.receive(&beyond), Err(ReceiveError::BeyondWindow { limit: 128, got: 128 }));
    for (before, later, got) in [(66, 0, 66), (64, 1, 66), (0, 1 << 63, 65)] {
        let claim = LinkPacket::Acknowledgement { before, later }.seal(&direction(1, 0), &secret(1)).unwrap();
        let expected = if got <= 65 { Ok(None) } else { Err(ReceiveError::NeverSent { sent: 65, got }) };
        assert_eq!(sender.receive(&claim), expected, "{before} {later}");
    }
    assert_eq!(sender.send(vec![0; MAX_LINK_MESSAGE + 1], Duration::ZERO), Err(SendError::TooLarge { got: 131_073 }));
}

#[test]
fn pauses_between_retransmissions_grow() {
    let mut link = PerfectLink::new(secret(0), direction(0, 1));
    assert_eq!(link.next_due(), None);
    link.send(vec![1], Duration::from_secs(9)).unwrap();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let now = link.next_due().unwrap();
        assert_eq!(link.due(now).len(), 1);
        assert_eq!(link.due(now).len(), 0);
        pauses.push((link.next_due().unwrap() - now).as_millis());
    }
    assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
}
