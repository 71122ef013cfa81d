//! All access to the outside in one value: clock, randomness, tasks, sockets, disk.
//!
//! Code that performs IO gets a [`Host`] and uses nothing else. So a test can give a node its own clocks, sockets and disk, and run a whole
//! cluster in one thread under a seed. Any other access would make two runs of one seed differ.

#![allow(clippy::disallowed_methods, reason = "only this module may use them")]

use std::sync::Arc;

pub mod background;
pub mod blocking;
pub mod clock;
pub mod disk;
pub mod entropy;
pub mod file_system;
pub mod files;
pub mod net;
pub mod objects;
pub mod resources;
pub mod service_manager;
pub mod signals;
pub mod source;
pub mod tasks;

use clock::{Clock, SystemClock};
use disk::{Disk, SystemDisk};
use entropy::{Entropy, SystemEntropy};
use net::{Network, SystemNetwork};
use tasks::OneThread;

use crate::passphrase::PassphraseSource;
use crate::tls::Dialing;

/// A node's access to the outside. A clone is another handle to the same.
#[derive(Debug, Clone)]
pub struct Host(Arc<Parts>, Arc<Dialing>, Arc<PassphraseSource>);

/// The parts of a [`Host`].
#[derive(Debug)]
pub struct Parts {
    /// Time.
    pub clock: Box<dyn Clock>,
    /// Random bytes.
    pub entropy: Box<dyn Entropy>,
    /// Files and folders.
    pub disk: Arc<dyn Disk>,
    /// Sockets.
    pub network: Box<dyn Network>,
    /// `Some`: all work runs in one thread, for a simulation. `None`: blocking work has threads of its own.
    pub one_thread: Option<Box<dyn OneThread>>,
}

impl Host {
    /// The operating system.
    pub fn system() -> Self {
        Self::on_disk(Arc::new(SystemDisk))
    }

    /// A host of these parts, which dials servers as by default.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts), Arc::default(), Arc::default())
    }

    /// The same host, which dials servers in this way.
    pub fn with_dialing(&self, dialing: Dialing) -> Self {
        Self(self.0.clone(), Arc::new(dialing), self.2.clone())
    }

    /// How servers are dialled.
    pub fn dialing(&self) -> &Dialing {
        &self.1
    }

    /// The same host, on which the passphrase of keys is from there.
    pub fn with_passphrase(&self, source: PassphraseSource) -> Self {
        Self(self.0.clone(), self.1.clone(), Arc::new(source))
    }

    /// Where the passphrase of keys is from.
    pub fn passphrase(&self) -> &PassphraseSource {
        &self.2
    }

    /// The operating system, with another disk.
    pub fn on_disk(disk: Arc<dyn Disk>) -> Self {
        let clock = Box::new(SystemClock);
        Self::new(Parts {
            clock,
            entropy: Box::new(SystemEntropy),
            disk,
            network: Box::new(SystemNetwork),
            one_thread: None,
        })
    }

    /// The operating system's but for the clock, which is the runtime's: a test may pause it.
    #[cfg(test)]
    pub(crate) fn on_runtime_clock() -> Self {
        Self::new(Parts {
            clock: Box::new(clock::RuntimeClock::start()),
            entropy: Box::new(SystemEntropy),
            disk: Arc::new(SystemDisk),
            network: Box::new(SystemNetwork),
            one_thread: None,
        })
    }

    /// The disk.
    pub fn disk(&self) -> &dyn Disk {
        &*self.0.disk
    }

    /// An owned handle to the same disk.
    pub fn shared_disk(&self) -> Arc<dyn Disk> {
        self.0.disk.clone()
    }
}
