//! Follows the files of the TLS certificate: tools that renew it replace them.

use std::sync::Arc;
use std::time::Duration;

use super::reports::{Event, ServerReports};
use crate::host::Host;
use crate::host::signals::Hangups;
use crate::tls::{ServerTls, TlsError};

/// Interval between looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Reads the files again and again, and when the process gets SIGHUP. Never completes.
pub(super) async fn follow(host: Host, tls: Arc<ServerTls>, reports: Arc<ServerReports>) {
    let mut hangups = Hangups::listen();
    let mut said = None;
    loop {
        tokio::select! {
            biased;
            () = hangups.next() => {}
            () = host.sleep(LOOK_EVERY) => {}
        }
        let reading = tls.clone();
        let text = match host.spawn_blocking(move || reading.reload()).await {
            Ok(Ok(false)) => {
                said = None;
                continue;
            }
            Ok(Ok(true)) => {
                said = None;
                reports.report(Event::Certificate("new connections get the new certificate".into()));
                continue;
            }
            Ok(Err(error)) => trouble(&error),
            Err(panicked) => panicked.to_string(),
        };
        // Once, and not with each look.
        if said.as_ref() != Some(&text) {
            reports.report(Event::Trouble(text.clone()));
            said = Some(text);
        }
    }
}

fn trouble(error: &TlsError) -> String {
    format!("the certificate is not replaced: {error}; new connections get the one before")
}
