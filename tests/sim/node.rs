//! The simulated operating system of a node.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use vouch::host::clock::Clock;
use vouch::host::entropy::Entropy;
use vouch::host::tasks::{AbortHandle, OneThread};
use vouch::host::{Host, Parts};

use crate::network::{Node, SimulatedNetwork};
use crate::random::Random;
use crate::simulated::SimulatedDisk;

/// The beginning of every run, in seconds since 1970.
pub const BEGINNING: u64 = 1_800_000_000;

/// A machine: the part of a node that outlives its process.
#[derive(Debug)]
pub struct Machine {
    pub node: Node,
    pub disk: SimulatedDisk,
    /// How far its wall clock is ahead, in seconds; negative if it is behind.
    clock_is_off: Arc<Mutex<i64>>,
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
    starts: u64,
}

impl Machine {
    pub fn new(node: Node) -> Self {
        let disk = SimulatedDisk::default();
        Self { node, disk, clock_is_off: Arc::default(), tasks: Arc::default(), starts: 0 }
    }

    /// The host of a new process.
    pub fn start(&mut self, seed: u64, network: &SimulatedNetwork) -> Host {
        self.starts += 1;
        let random = Random::new(seed, (self.node as u64 + 1) << 32 | self.starts);
        let work = Random::new(seed, (self.node as u64 + 1) << 33 | self.starts);
        Host::new(Parts {
            clock: Box::new(SimulatedClock { is_off: self.clock_is_off.clone() }),
            entropy: Box::new(SimulatedEntropy(Mutex::new(random))),
            disk: Arc::new(self.disk.clone()),
            network: Box::new(network.of(self.node)),
            one_thread: Some(Box::new(Tasks { tasks: self.tasks.clone(), random: Mutex::new(work) })),
        })
    }

    /// Aborts every task of its process.
    pub fn abort(&self) {
        for task in std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner)) {
            task.abort();
        }
    }

    pub fn is_clock_off(&self) -> bool {
        *self.clock_is_off.lock().unwrap_or_else(PoisonError::into_inner) != 0
    }

    /// Sets its wall clock ahead by this many seconds.
    pub fn set_clock_off(&self, seconds: i64) {
        *self.clock_is_off.lock().unwrap_or_else(PoisonError::into_inner) = seconds;
    }
}

#[derive(Debug)]
struct SimulatedClock {
    is_off: Arc<Mutex<i64>>,
}

thread_local! {
    /// The beginning of this thread's run on the virtual clock.
    static BEGAN: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

/// Begins a run: every clock counts from here.
pub fn begin() {
    BEGAN.set(Some(Instant::now()));
}

/// Time since the run began.
pub fn elapsed() -> Duration {
    BEGAN.get().map_or(Duration::ZERO, |began| began.elapsed())
}

impl Clock for SimulatedClock {
    fn since_1970(&self) -> Duration {
        let off = *self.is_off.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_secs(BEGINNING.saturating_add_signed(off)) + elapsed()
    }

    fn since_boot(&self) -> Duration {
        Duration::from_secs(1000) + elapsed()
    }

    fn monotonic(&self) -> Duration {
        elapsed()
    }
}

#[derive(Debug)]
struct SimulatedEntropy(Mutex<Random>);

impl Entropy for SimulatedEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes);
    }
}

#[derive(Debug)]
struct Tasks {
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
    random: Mutex<Random>,
}

impl OneThread for Tasks {
    fn started(&self, task: AbortHandle) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    fn work_duration(&self) -> Duration {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let slow = if random.one_in(100) { random.within(0..300_000) } else { 0 };
        Duration::from_micros(random.within(50..2_000) + slow)
    }
}
