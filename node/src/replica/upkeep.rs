//! A replica's background work: dialling, collecting expired blobs, scrubbing, watching the clock, and answering the operator.

use std::sync::Arc;
use std::time::Duration;

use vouch_core::link::HelloError;
use vouch_core::message::MessageError;
use vouch_node_core::access::Usage;
use vouch_node_core::replica::collecting::{Collection, CollectionTimer};
use vouch_node_core::replica::dialling::{DialBackoff, LinkEnd, Redial};

use super::Event;
use super::admission::ReplicaAdmission;
use super::clock_watch::{self, ClockWatch};
use super::context::Storage;
use super::control::ControlSocket;
use super::link::{self, LinkContext};
use super::status::OperatorContext;
use crate::link::LinkError;
use crate::store::Collected;

/// The background work, and its intervals.
pub(super) struct Upkeep {
    pub(super) collect_every: Duration,
    pub(super) settling: Duration,
    pub(super) grace: u64,
    pub(super) scrub_rate: u64,
    pub(super) scrub_pause: Duration,
}

impl Upkeep {
    /// Never completes.
    pub(super) async fn run(self, operator: &Arc<OperatorContext>) {
        let OperatorContext { storage, admission, reports, clock, scrubber, .. } = &**operator;
        let collecting = keep_collecting((storage, admission), clock, self.collect_every, self.settling, self.grace);
        let scrubbing = scrubber.run(self.scrub_rate, self.scrub_pause);
        let answering = async {
            match ControlSocket::open(&storage.host, storage.folder()) {
                Ok(socket) => socket.serve(operator.clone()).await,
                // Go on without it: only the operator's commands need it.
                Err(error) => reports.report(Event::Trouble(format!(
                    "`vouch status`, `du` and `scrub` cannot reach this replica: {error}"
                ))),
            }
        };
        let watching = clock_watch::run(clock);
        tokio::join!(collecting, scrubbing, answering, watching);
    }
}

/// Keeps dialling a server. Never completes.
pub(super) async fn keep_linked(context: Arc<LinkContext>, address: String) {
    let (host, mut backoff) = (&context.storage.host, DialBackoff::default());
    loop {
        let began = host.monotonic();
        let error = link::run(&context, &address).await;
        let lasted = host.monotonic().saturating_sub(began);
        let Redial { after, is_refused_for_good } = backoff.ended(end(&error), lasted);
        let event = if is_refused_for_good { Event::RefusedForGood } else { Event::Disconnected };
        context.reports.report(event(address.clone(), error.to_string()));
        host.sleep(after).await;
    }
}

fn end(error: &LinkError) -> LinkEnd {
    match error {
        LinkError::Refused(failed) | LinkError::Violation(failed) => LinkEnd::Refused(failed.code),
        LinkError::Message(MessageError::Hello(HelloError::Version { .. })) => LinkEnd::AnotherVersion,
        _ => LinkEnd::Broken,
    }
}

/// Removes expired blobs periodically.
async fn keep_collecting(
    (storage, admission): (&Storage, &ReplicaAdmission),
    clock: &ClockWatch,
    every: Duration,
    settling: Duration,
    grace: u64,
) {
    let mut timer = CollectionTimer::new(storage.host.monotonic());
    loop {
        storage.host.sleep(every).await;
        admission.set_stored(collect(storage, clock, &mut timer, settling, grace).await);
    }
}

/// Returns what tokens have stored, of those for which something ended.
async fn collect(
    storage: &Storage,
    clock: &ClockWatch,
    timer: &mut CollectionTimer,
    settling: Duration,
    grace: u64,
) -> Vec<Usage> {
    // read the clock first: if it jumps from here on, the check for doubt notices
    let wall = storage.host.unix_seconds();
    let may_delete = clock.may_delete();
    let next = timer.next(storage.host.monotonic(), may_delete, storage.repairs.progress(wall).lacking);
    let Some(Collection { ran, sweeps }) = next else { return Vec::new() };
    match storage.store.collect_settled(wall, ran, settling, grace, sweeps).await {
        Ok(Collected { blobs, bytes, usage }) => {
            if blobs > 0 {
                storage.reports.report(Event::Collected(blobs, bytes));
            }
            usage
        }
        Err(error) => {
            storage.reports.report(Event::Trouble(error.to_string()));
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use vouch_core::digest::Digest;
    use vouch_core::receipt::Receipt;

    use super::*;
    use crate::host::Host;
    use crate::replica::{Data, Replica, ReplicaConfig};
    use crate::store;

    fn config(folder: &std::path::Path) -> ReplicaConfig {
        // nobody listens there
        ReplicaConfig::new(Data::Folder(folder.join("replica")), vec!["127.0.0.1:1".into()])
    }

    #[tokio::test]
    async fn a_running_replica_deletes_expired_blobs() {
        let folder = tempfile::tempdir().unwrap();
        let settling = Duration::ZERO;
        let config = ReplicaConfig { collect_every: Duration::from_millis(10), settling, ..config(folder.path()) };
        let (events, mut reported) = tokio::sync::mpsc::unbounded_channel();
        let replica = Replica::open_blocking(Host::system(), config, Arc::new(move |event| drop(events.send(event))));
        let replica = replica.unwrap();
        let store = replica.link.storage.store.clone();
        for (bytes, expires_at) in [(b"expired".as_slice(), 1), (b"stays", Host::system().unix_seconds())] {
            let receipt = Receipt { salt: [0; 16], digest: Digest::of(bytes), length: bytes.len() as u64, expires_at };
            store.put_small(&receipt.assignment(None), bytes.to_vec().into()).await.unwrap();
        }
        let collected = async {
            loop {
                if let Some(Event::Collected(blobs, bytes)) = reported.recv().await {
                    assert_eq!((blobs, bytes), (1, 7));
                    return;
                }
            }
        };
        let running = Box::pin(replica.run(collected));
        Host::system().timeout(Duration::from_secs(30), running).await.unwrap();
        assert_eq!(store.length_of(&Digest::of(b"expired")).unwrap(), None);
        assert_eq!(store.length_of(&Digest::of(b"stays")).unwrap(), Some(5), "still in its grace period");
    }

    #[tokio::test]
    async fn a_clock_in_doubt_deletes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let replica = Replica::open_blocking(Host::system(), config(folder.path()), Arc::new(|_| {})).unwrap();
        let (storage, clock) = (&replica.link.storage, &replica.link.clock);
        let receipt = Receipt { salt: [0; 16], digest: Digest::of(b"expired"), length: 7, expires_at: 1 };
        storage.store.put_small(&receipt.assignment(None), b"expired".to_vec().into()).await.unwrap();
        let held = || storage.store.length_of(&receipt.digest).unwrap();
        let mut timer = CollectionTimer::new(storage.host.monotonic());
        clock.simulate_jump(3600);
        collect(storage, clock, &mut timer, Duration::ZERO, store::GRACE).await;
        assert_eq!(held(), Some(7));
        clock.trust();
        collect(storage, clock, &mut timer, Duration::ZERO, store::GRACE).await;
        assert_eq!(held(), None);
    }
}
