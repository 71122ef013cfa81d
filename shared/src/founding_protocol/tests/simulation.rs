//! A simulation of replicas and servers. A seed decides which link delivers its next message.

mod random;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use random::Random;

/// The replicas and servers of one simulation.
pub(super) struct World {
    replicas: usize,
    /// What each server's operator wants.
    wanted: Vec<WantedCommittee>,
    /// Which replica dials which server.
    dials: BTreeSet<(usize, usize)>,
}

impl World {
    /// One to five servers, three to six replicas. In every second world the servers' `--replicas` differ; every fifth is only partly
    /// connected.
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random(seed ^ 0x51A7);
        let (replicas, servers) = (3 + random.below(4), 1 + random.below(5));
        let n = 2 + random.below(replicas - 1);
        let wanted = (0..servers)
            .map(|_| {
                let n = if seed.is_multiple_of(2) { 2 + random.below(replicas - 1) } else { n };
                WantedCommittee { replicas: u16::try_from(n).ok(), ..WantedCommittee::default() }
            })
            .collect();
        let dials = (0..replicas)
            .flat_map(|replica| (0..servers).map(move |server| (replica, server)))
            .filter(|(replica, server)| !seed.is_multiple_of(5) || replica % servers == *server || *server == 0)
            .collect();
        Self { replicas, wanted, dials }
    }
}

struct Replica {
    keys: Keys,
    /// The durable record, and whether the committee was adopted.
    disk: (Vec<u8>, bool),
    core: Option<ReplicaFounding>,
}

/// One link, with the undelivered messages of both directions.
#[derive(Default)]
struct Link {
    number: u64,
    up: VecDeque<Message>,
    down: VecDeque<Message>,
}

pub(super) struct Simulation {
    random: Random,
    world: World,
    replicas: Vec<Replica>,
    servers: Vec<Option<ServerFounding>>,
    /// The founding on each server's disk.
    settled: Vec<Option<Founding>>,
    links: BTreeMap<(usize, usize), Link>,
    arrivals: u64,
    /// Every accepted founding, with all acceptances that ever left a replica.
    signed: BTreeMap<CommitteeDigest, Founding>,
    opened: BTreeMap<CommitteeDigest, Founding>,
    is_healed: bool,
}

impl Simulation {
    pub(super) fn new(seed: u64, world: World) -> Self {
        let replica = |number| Replica {
            keys: Keys::new(number),
            disk: (ReplicaRecord::default().encode(), false),
            core: Some(free()),
        };
        Self {
            random: Random(seed),
            replicas: (0..u8::try_from(world.replicas).unwrap()).map(replica).collect(),
            servers: world.wanted.iter().map(|wanted| Some(ServerFounding::new(wanted.clone(), None))).collect(),
            settled: vec![None; world.wanted.len()],
            links: BTreeMap::new(),
            arrivals: 0,
            signed: BTreeMap::new(),
            opened: BTreeMap::new(),
            is_healed: false,
            world,
        }
    }

    pub(super) fn run_with_faults(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.random.below(100) {
                0..55 => drop(self.deliver_one()),
                55..75 => self.dial_one(),
                75..87 => self.propose_and_flush(),
                87..93 => self.break_one(),
                93..95 => {
                    let replica = self.random.below(self.replicas.len());
                    self.crash_replica(replica);
                }
                95 | 96 => {
                    let server = self.random.below(self.servers.len());
                    self.crash_server(server);
                }
                _ => self.start_all(),
            }
        }
    }

    /// From now on, every process is up and no link breaks.
    pub(super) fn heal(&mut self) {
        self.is_healed = true;
        self.start_all();
        for (replica, server) in self.world.dials.clone() {
            self.dial(replica, server);
        }
    }

    pub(super) fn run_to_rest(&mut self) {
        for _ in 0..200 {
            while self.deliver_one() {}
            self.propose_and_flush();
            if self.links.values().all(|link| link.up.is_empty() && link.down.is_empty()) {
                return;
            }
        }
        panic!("the messages do not end");
    }

    fn start_all(&mut self) {
        for replica in &mut self.replicas {
            let (record, founded) = &replica.disk;
            replica.core.get_or_insert_with(|| {
                ReplicaFounding::new(ReplicaRecord::decode(record, None).unwrap(), *founded, Policy::Open)
            });
        }
        for (server, settled) in self.settled.iter().enumerate() {
            let wanted = self.world.wanted[server].clone();
            self.servers[server].get_or_insert_with(|| ServerFounding::new(wanted, settled.clone()));
        }
    }

    fn crash_replica(&mut self, number: usize) {
        self.replicas[number].core = None;
        self.break_links(|(replica, _)| replica == number);
    }

    fn crash_server(&mut self, number: usize) {
        self.servers[number] = None;
        self.links.retain(|(_, server), _| *server != number);
    }

    fn break_one(&mut self) {
        let open: Vec<_> = self.links.keys().copied().collect();
        if !open.is_empty() {
            let broken = open[self.random.below(open.len())];
            self.break_links(|link| link == broken);
        }
    }

    fn break_links(&mut self, is_broken: impl Fn((usize, usize)) -> bool) {
        for link in self.links.keys().copied().filter(|link| is_broken(*link)).collect::<Vec<_>>() {
            let number = self.links.remove(&link).unwrap().number;
            if let Some(server) = &mut self.servers[link.1] {
                server.leave(&self.replicas[link.0].keys.node.node_key(), number);
            }
        }
    }

    fn dial_one(&mut self) {
        let dials: Vec<_> = self.world.dials.iter().copied().collect();
        let (replica, server) = dials[self.random.below(dials.len())];
        self.dial(replica, server);
    }

    /// Opens a link: what `Join` and the messages after it do.
    fn dial(&mut self, replica: usize, server: usize) {
        let Replica { keys, core: Some(core), .. } = &self.replicas[replica] else { return };
        let Some(serving) = self.servers[server].as_mut().filter(|_| !self.links.contains_key(&(replica, server)))
        else {
            return;
        };
        let claims = core.accepted().filter(|_| core.is_founded()).map(|accepted| accepted.record().cluster());
        let served = serving.settled().map(|settled| settled.record().cluster());
        if claims.is_some() && served.is_some() && claims != served {
            return;
        }
        self.arrivals += 1;
        let number = self.arrivals;
        let sends = serving.join(keys.node.node_key(), number, keys.candidate(replica), claims);
        let mut down = VecDeque::new();
        if let Some(settled) = serving.settled() {
            down.push_back(Message::Founding(Box::new(settled.message())));
        }
        let up = core.show(served, &keys.node).into();
        self.links.insert((replica, server), Link { number, up, down });
        self.send_down(server, sends);
    }

    fn send_down(&mut self, server: usize, sends: OutgoingMessages) {
        for (node_key, message) in sends {
            let replica = self.replicas.iter().position(|replica| replica.keys.node.node_key() == node_key).unwrap();
            if let Some(link) = self.links.get_mut(&(replica, server)) {
                link.down.push_back(message);
            }
        }
    }

    /// Delivers the next message of a random link. `false` if no message waits.
    fn deliver_one(&mut self) -> bool {
        let mut waiting: Vec<_> = Vec::new();
        for (key, link) in &self.links {
            waiting.extend((!link.up.is_empty()).then_some((*key, true)));
            waiting.extend((!link.down.is_empty()).then_some((*key, false)));
        }
        if waiting.is_empty() {
            return false;
        }
        let (key, is_up) = waiting[self.random.below(waiting.len())];
        let link = self.links.get_mut(&key).unwrap();
        let message = if is_up { link.up.pop_front() } else { link.down.pop_front() }.unwrap();
        if is_up {
            self.at_server(key, message)
        } else {
            self.at_replica(key, message)
        }
        true
    }

    /// Opens a founding. Each is verified only once: a simulation sends it a thousand times.
    fn open(&mut self, message: &FoundingMessage) -> Founding {
        let digest = message.genesis.digest();
        let known = self.opened.entry(digest).or_insert_with(|| {
            let bare = FoundingMessage { acceptances: BTreeMap::new(), ..message.clone() };
            Founding::open(bare).unwrap()
        });
        let mut founding = Founding::new(known.committee().clone());
        let acceptances = message.acceptances.iter().map(|(member, signature)| (*member, *signature));
        for acceptance in Self::unchecked(&self.opened, digest, acceptances.collect()) {
            founding.add(acceptance);
        }
        founding
    }

    /// Acceptances without verification. The founding was opened before, because nobody accepts a founding that it was not sent.
    fn unchecked(
        opened: &BTreeMap<CommitteeDigest, Founding>,
        founding: CommitteeDigest,
        acceptances: Vec<(u16, VoteSignature)>,
    ) -> Vec<VerifiedVote<Accept>> {
        let statement = accept_statement(opened[&founding].record());
        let unchecked = |(member, signature)| VerifiedVote::unchecked(statement, member, signature);
        acceptances.into_iter().map(unchecked).collect()
    }

    fn at_replica(&mut self, (number, server): (usize, usize), message: Message) {
        let opened = match &message {
            Message::Founding(message) => Some(self.open(message)),
            _ => None,
        };
        let Replica { keys, core, disk } = &mut self.replicas[number];
        let Some(core) = core else { return };
        let was_bound: Option<CommitteeDigest> = core.accepted().map(Founding::digest);
        let actions = match message {
            Message::Founding(_) => core.offer(opened.unwrap(), &keys.node, &keys.vote),
            Message::Acceptances { founding, acceptances } => {
                core.accept(&Self::unchecked(&self.opened, founding, acceptances), &keys.node, &keys.vote)
            }
            Message::Refusals(refusals) => core.refuse(&refusals, &keys.node, &keys.vote),
            other => panic!("{}", other.name()),
        };
        let evidence = actions.events.iter().find(|event| {
            matches!(event, ReplicaFoundingEvent::Evidence(..) | ReplicaFoundingEvent::AcceptedBefore(_))
        });
        assert!(evidence.is_none(), "honest replicas do not accept and refuse the same: {evidence:?}");
        let is_bound = core.accepted().map(Founding::digest);
        assert!(was_bound == is_bound || actions.save, "a promise must be saved");
        // A crash may come before the record is saved, or between saving and sending.
        match self.random.below(50) {
            0 if !self.is_healed => return self.crash_replica(number),
            crash => {
                if actions.save {
                    *disk = (core.record().encode(), core.is_founded());
                }
                if let Some(accepted) = core.accepted() {
                    let accepted = accepted.clone();
                    self.sign(&accepted);
                }
                if crash == 1 && !self.is_healed {
                    return self.crash_replica(number);
                }
            }
        }
        for ((_, to), link) in self.links.iter_mut().filter(|((replica, _), _)| *replica == number) {
            link.up.extend(if *to == server { &actions.reply } else { &actions.to_others }.iter().cloned());
        }
    }

    /// Keeps every acceptance that ever left a replica, and checks that no two complete foundings share a member.
    fn sign(&mut self, accepted: &Founding) {
        let signed =
            self.signed.entry(accepted.digest()).or_insert_with(|| Founding::new(accepted.committee().clone()));
        if !signed.merge(accepted) || !signed.is_complete() {
            return;
        }
        let mut members = BTreeSet::new();
        for founding in self.signed.values().filter(|founding| founding.is_complete()) {
            for member in founding.record().members() {
                assert!(members.insert(member.node_key), "two complete foundings share {}", member.node_key);
            }
        }
    }

    fn at_server(&mut self, (replica, number): (usize, usize), message: Message) {
        let opened = match &message {
            Message::Founding(message) => Some(self.open(message)),
            _ => None,
        };
        let from = self.replicas[replica].keys.node.node_key();
        let Some(server) = &mut self.servers[number] else { return };
        let sends = match message {
            Message::Founding(_) => server.shown(&from, opened.unwrap()).unwrap(),
            Message::Acceptances { founding, acceptances } => {
                server.accepted(&from, &Self::unchecked(&self.opened, founding, acceptances));
                OutgoingMessages::new()
            }
            Message::Refusals(refusals) => {
                let verified = verify_refusals(&server.refused_committees(&refusals), &refusals);
                server.refused(&verified)
            }
            other => panic!("{}", other.name()),
        };
        assert!(!server.take_events().iter().any(|event| matches!(event, ServerFoundingEvent::Evidence(..))));
        self.send_down(number, sends);
        self.settle(number);
    }

    fn settle(&mut self, number: usize) {
        let Some(server) = &mut self.servers[number] else { return };
        if let Some(complete) = server.complete() {
            self.settled[number] = Some(complete.clone());
            let sends = server.settle(complete);
            self.send_down(number, sends);
        }
    }

    fn propose_and_flush(&mut self) {
        let one = self.random.below(self.servers.len());
        // One at a time: otherwise the second server already knows what the first one proposed.
        let all = if self.is_healed { 0..self.servers.len() } else { one..one + 1 };
        for number in all {
            let mut nonce = [0; 16];
            nonce[..8].copy_from_slice(&self.random.next().to_le_bytes());
            let Some(server) = &mut self.servers[number] else { continue };
            let mut sends = server.propose(false, nonce).unwrap();
            sends.extend(server.flush());
            self.send_down(number, sends);
            self.settle(number);
        }
    }

    /// Checks that nobody waits for a replica that could act. If a founding is not complete, no server connects the waiting replica with a
    /// missing one.
    pub(super) fn check_convergence(&self) {
        for (number, replica) in self.replicas.iter().enumerate() {
            let core = replica.core.as_ref().unwrap();
            let Some(accepted) = core.accepted().filter(|_| !core.is_founded()) else { continue };
            for member in accepted.missing() {
                let node_key = accepted.record().members()[usize::from(member)].node_key;
                let missing = self.replicas.iter().position(|other| other.keys.node.node_key() == node_key).unwrap();
                let meet = |server: &usize| {
                    // a server of another cluster refuses the link
                    self.links.contains_key(&(number, *server)) && self.links.contains_key(&(missing, *server))
                };
                let shared: Vec<_> = (0..self.servers.len()).filter(meet).collect();
                assert!(
                    shared.is_empty(),
                    "replica-{number} waits for replica-{missing}, which it meets at {shared:?}"
                );
            }
        }
        for (number, server) in self.servers.iter().enumerate() {
            let server = server.as_ref().unwrap();
            let free = self.replicas.iter().zip(0..).filter(|(replica, index)| {
                self.world.dials.contains(&(*index, number)) && replica.core.as_ref().unwrap().accepted().is_none()
            });
            let wanted = self.world.wanted[number].replicas.unwrap();
            let is_idle = server.settled().is_none() && free.count() >= wanted.into();
            assert!(!is_idle, "server-{number} founds nothing, though enough replicas are free");
        }
    }
}
