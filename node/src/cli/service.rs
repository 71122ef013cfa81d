//! How a server and a replica run as a service: they tell the service manager how they do, and end in order when they are asked to.

use std::future::Future;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{log_lines, output};
use crate::host::Host;
use crate::host::service_manager::{self, ServiceState};
use crate::host::signals::{Hangups, Terminations};
use crate::host::tasks::MissedTickBehavior;
use crate::pulse::Pulse;

/// How often the service manager is told what the service does, if that has changed.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// What the service manager and the operator are told.
pub(super) struct Service<S> {
    /// Answers while the service's own loop runs.
    pub(super) pulse: Pulse,
    /// What the service does, on one line.
    pub(super) status: S,
    /// How long the service finishes the puts in progress once it is asked to stop.
    pub(super) stop_timeout: Duration,
}

impl<S: Fn() -> String> Service<S> {
    /// Runs the service. `run` gets what completes when it is to stop. The first SIGTERM or SIGINT asks it to; the second one ends it
    /// at once. `None`: it was ended at once.
    pub(super) async fn run<F: Future>(
        self,
        host: &Host,
        run: impl FnOnce(oneshot::Receiver<()>) -> F,
    ) -> Option<F::Output> {
        let mut terminations = Terminations::listen();
        // A manager's request to read files again must not end a service that has none. Without a manager, a terminal that is closed does.
        let _hangups = service_manager::is_present().then(Hangups::listen);
        let (ask, asked) = oneshot::channel();
        let running = run(asked);
        let stopping = async {
            terminations.next().await;
            let seconds = self.stop_timeout.as_secs();
            log_lines::stopping(format_args!(
                "stopping; puts in progress have {} to finish, a second signal ends them at once",
                output::count(seconds, "second")
            ));
            tell(host, vec![ServiceState::Stopping, ServiceState::Status("finishing puts in progress".into())]).await;
            let _ = ask.send(());
            terminations.next().await;
        };
        let telling = self.keep_telling(host);
        tokio::pin!(running, stopping, telling);
        tokio::select! {
            biased;
            ended = &mut running => Some(ended),
            () = &mut stopping => None,
            () = &mut telling => None,
        }
    }

    /// Tells the service manager that the service is ready, then what it does, and twice in each period of the watchdog that its loop
    /// runs. Never completes.
    async fn keep_telling(&self, host: &Host) {
        let mut told = (self.status)();
        tell(host, vec![ServiceState::Ready, ServiceState::Status(told.clone())]).await;
        let watching = async {
            let Some(period) = service_manager::watchdog() else { return std::future::pending().await };
            let mut ticks = host.interval(period / 2);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // A loop that hangs never answers: the manager then restarts the service.
                if self.pulse.beats().await {
                    tell(host, vec![ServiceState::Alive]).await;
                }
            }
        };
        let reporting = async {
            loop {
                host.sleep(STATUS_EVERY).await;
                let status = (self.status)();
                if status != told {
                    tell(host, vec![ServiceState::Status(status.clone())]).await;
                    told = status;
                }
            }
        };
        tokio::join!(watching, reporting);
    }
}

async fn tell(host: &Host, states: Vec<ServiceState>) {
    if let Err(error) = host.tell_service_manager(states).await {
        log_lines::trouble(format_args!("the service manager cannot be told: {error}"));
    }
}
