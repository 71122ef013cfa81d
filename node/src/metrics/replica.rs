//! The metrics of a replica.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Registry, Unit};
use vouch_core::message::Code;

use super::families::{ByWord, Count, Figures, count, flag};
use crate::replica::repair::Repair;
use crate::replica::status::Status;
use crate::store::Usage;

/// The results of proposals to sign.
const SIGNED: &str = "signed";
const REFUSED: &str = "refused";

/// What a replica counts since its start. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaCounters {
    votes: ByWord,
    failures: ByWord,
    read: Counter,
    written: Counter,
}

impl Default for ReplicaCounters {
    fn default() -> Self {
        let (votes, failures) = (ByWord::default(), ByWord::default());
        // Begin at 0: a rate over the first event needs a value before it.
        for result in [SIGNED, REFUSED] {
            drop(votes.get_or_create(&[("result", result.to_owned())]));
        }
        for code in [Code::Storage, Code::NoSpace] {
            drop(failures.get_or_create(&[("code", code.slug())]));
        }
        Self { votes, failures, read: Counter::default(), written: Counter::default() }
    }
}

impl ReplicaCounters {
    /// A proposal was signed.
    pub(crate) fn signed(&self) {
        count(&self.votes, "result", SIGNED);
    }

    /// A proposal was not signed.
    pub(crate) fn refused(&self) {
        count(&self.votes, "result", REFUSED);
    }

    /// A request of a server has failed here.
    pub(crate) fn failed(&self, code: Code) {
        count(&self.failures, "code", &code.slug());
    }

    /// Bytes were read for a server.
    pub(crate) fn read(&self, length: usize) {
        self.read.inc_by(length as u64);
    }

    /// Bytes of a blob were received for a put.
    pub(crate) fn written(&self, length: u64) {
        self.written.inc_by(length);
    }
}

/// What is read from a replica's state for one scrape.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaFigures {
    /// When the replica was started, in seconds since 1970.
    pub(crate) started: u64,
    /// What `vouch status` shows.
    pub(crate) status: Status,
    /// The epoch of its committee; 0 without one.
    pub(crate) epoch: u64,
    /// Puts that are being received.
    pub(crate) receiving: usize,
    /// How far its clock is ahead of the other members' at least, in seconds; negative if it is behind.
    pub(crate) clock_ahead: Option<i64>,
}

impl ReplicaFigures {
    /// All metrics of the replica.
    pub(crate) fn registry(&self, counters: &ReplicaCounters) -> Registry {
        let mut all = Registry::default();
        all.program("replica", self.started);
        self.register_membership(&mut all);
        if let Some(usage) = &self.status.usage {
            register_usage(&mut all, usage);
        }
        counters.register(&mut all);
        self.register_repair(&mut all);
        self.register_log(&mut all);
        self.register_clock(&mut all);
        all
    }

    fn register_membership(&self, all: &mut Registry) {
        let status = &self.status;
        let help = "Whether it is a member of the committee: 1 or 0";
        all.gauge("vouch_replica_member", help, None, flag(status.member.is_some()));
        all.gauge("vouch_replica_epoch", "The epoch of the committee; 0 without one", None, Count(self.epoch));
        let help = "Whether it would sign now: 1 or 0; `vouch status` says why it would not";
        all.gauge("vouch_replica_signing", help, None, flag(status.signs_nothing.is_none()));
        let connected = status.servers.iter().filter(|server| server.connected).count();
        all.gauge("vouch_replica_servers", "Servers that it dials", None, Count(status.servers.len() as u64));
        all.gauge("vouch_replica_servers_connected", "Servers that are connected", None, Count(connected as u64));
        let help = "Whether storage or index has failed, so that it stores and signs nothing: 1 or 0";
        let is_failed = status.storage_failed.is_some() || status.index_failed.is_some();
        all.gauge("vouch_replica_storage_failed", help, None, flag(is_failed));
        all.gauge("vouch_replica_receiving_puts", "Puts that are being received", None, Count(self.receiving as u64));
    }

    fn register_repair(&self, all: &mut Registry) {
        let Repair { lacking, lacking_bytes, unavailable, fetched, fetched_bytes, failed } = self.status.repair;
        // Without a value until the lists were read: 0 would say that nothing is lacking.
        if let (Some(blobs), Some(bytes)) = (lacking, lacking_bytes) {
            let help = "Certified blobs that it must keep and lacks: the backlog of the repair";
            all.gauge("vouch_replica_lacking_blobs", help, None, Count(blobs));
            all.gauge("vouch_replica_lacking", "Size of the lacking blobs", Some(Unit::Bytes), Count(bytes));
        }
        let help = "Lacking blobs that no connected member holds";
        all.gauge("vouch_replica_unavailable_blobs", help, None, Count(unavailable));
        all.counter("vouch_replica_repaired_blobs", "Blobs that the repair fetched", None, fetched);
        all.counter(
            "vouch_replica_repaired",
            "Size of the blobs that the repair fetched",
            Some(Unit::Bytes),
            fetched_bytes,
        );
        all.counter(
            "vouch_replica_repair_failures",
            "Attempts of the repair to fetch a blob that failed",
            None,
            failed,
        );
        let scrubbed = &self.status.scrubbed;
        all.counter("vouch_replica_scrubbed_blobs", "Blobs that were read and verified", None, scrubbed.blobs);
        let help = "Size of the blobs that were read and verified";
        all.counter("vouch_replica_scrubbed", help, Some(Unit::Bytes), scrubbed.bytes);
        all.counter("vouch_replica_scrub_damaged_blobs", "Damaged blobs that were found so", None, scrubbed.damaged);
    }

    fn register_log(&self, all: &mut Registry) {
        let log = &self.status.log;
        all.gauge(
            "vouch_replica_log_height",
            "Height of the log here; 0 before the first block",
            None,
            Count(log.height),
        );
        let help = "Time of the last block here, since 1970; 0 before the first";
        all.gauge("vouch_replica_log_time", help, Some(Unit::Seconds), Count(log.time));
        all.gauge("vouch_replica_log_waiting_ops", "Ops that wait to be decided", None, Count(log.waiting as u64));
        let help = "Whether it takes no part in the log, because it stopped or lost what it had signed: 1 or 0";
        let is_out = log.stopped.is_some() || log.abstains.is_some();
        all.gauge("vouch_replica_log_abstaining", help, None, flag(is_out));
    }

    fn register_clock(&self, all: &mut Registry) {
        let clock = &self.status.clock;
        let help = "Whether its clock is in doubt, so that it signs and deletes nothing: 1 or 0";
        all.gauge("vouch_replica_clock_in_doubt", help, None, flag(clock.in_doubt));
        let help = "Members that agreed with its clock when last asked";
        all.gauge("vouch_replica_clock_agreeing_members", help, None, Count(clock.agreeing as u64));
        // Without a value until a member has answered.
        if let Some(ahead) = self.clock_ahead {
            let help = "How far its clock is ahead of the other members' at least; negative if it is behind";
            let seconds = f64::from(Count(ahead.unsigned_abs()));
            let seconds = if ahead < 0 { -seconds } else { seconds };
            all.gauge("vouch_replica_clock_difference", help, Some(Unit::Seconds), seconds);
        }
    }
}

fn register_usage(all: &mut Registry, usage: &Usage) {
    let Usage { blobs, bytes, damaged, partials, partial_bytes, quota, free, .. } = *usage;
    all.gauge("vouch_replica_blobs", "Stored blobs", None, Count(blobs));
    all.gauge("vouch_replica_stored", "Size of the stored blobs", Some(Unit::Bytes), Count(bytes));
    all.gauge("vouch_replica_damaged_blobs", "Damaged blobs that are to be fetched again", None, Count(damaged));
    all.gauge("vouch_replica_partial_uploads", "Partial uploads of interrupted puts", None, Count(partials));
    let help = "Size of the partial uploads of interrupted puts";
    all.gauge("vouch_replica_partial_uploads", help, Some(Unit::Bytes), Count(partial_bytes));
    if let Some(quota) = quota {
        all.gauge("vouch_replica_quota", "Maximum size of all blobs", Some(Unit::Bytes), Count(quota));
    }
    all.gauge("vouch_replica_disk_free", "Free space of its disk", Some(Unit::Bytes), Count(free));
}

impl ReplicaCounters {
    fn register(&self, all: &mut Registry) {
        let Self { votes, failures, read, written } = self.clone();
        all.register("vouch_replica_votes", "Proposals of certificates, by whether it signed them", votes);
        let help = "Requests of servers that failed here, by their code";
        all.register("vouch_replica_failures", help, failures);
        all.register_with_unit("vouch_replica_read", "Bytes of blobs read for gets and repairs", Unit::Bytes, read);
        all.register_with_unit("vouch_replica_written", "Bytes of blobs received for puts", Unit::Bytes, written);
    }
}
