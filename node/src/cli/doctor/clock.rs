//! The clock of this machine, against what others say: signed times of the members, which a running replica compares with, or the date in a
//! server's answer, which is only the server's word.

use std::path::Path;
use std::time::Duration;

use vouch_core::verify::CLOCK_TOLERANCE;

use super::finding::{Finding, Report};
use crate::cli::output;
use crate::host::Host;
use crate::replica::control::{self, Reply, Request};

const SET_IT: &str = "set the clock of this machine; run: timedatectl set-ntp true";

/// What a running replica found out about the clock. Says nothing if none runs on the folder.
pub(super) async fn of_replica(host: &Host, folder: &Path, report: &mut Report) {
    let Ok(Reply::Status(status)) = control::ask(host, folder, Request::Status, drop).await else { return };
    let name = output::name(folder);
    report.add(match status.clock.reason {
        Some(why) => Finding::failed("clock", format_args!("the replica on {name} signs nothing: {why}"), SET_IT),
        None => Finding::ok(
            "clock",
            format_args!(
                "agrees with the signed times of {}, by the replica on {name}",
                output::count(status.clock.agreeing as u64, "member")
            ),
        ),
    });
}

/// Compares the clock with the date in an answer of a server, which has whole seconds. `asked` and `answered`: wall clock times of this machine
/// since 1970.
pub(super) fn of_server(server: &str, (asked, answered): (Duration, Duration), date: Option<u64>) -> Finding {
    let Some(date) = date else {
        return Finding::skipped("clock", format_args!("{server} sent no date"), "ask another server with --server");
    };
    let ahead = asked.as_secs().saturating_sub(date + 1);
    let behind = date.saturating_sub(answered.as_secs());
    let (off, how) = if ahead > 0 { (ahead, "ahead of") } else { (behind, "behind") };
    let found = format!("{} {how} that of {server}, by its word", output::age(off));
    match off {
        0 => Finding::ok("clock", format_args!("agrees with that of {server}, by its word")),
        off if off > CLOCK_TOLERANCE => Finding::failed(
            "clock",
            format_args!("{found}: more than {CLOCK_TOLERANCE} s, so votes and certificates are refused"),
            format_args!("{SET_IT}. If it is right, the server's is wrong"),
        ),
        off if off > CLOCK_TOLERANCE / 2 => Finding::warning(
            "clock",
            format_args!("{found}: at more than {CLOCK_TOLERANCE} s, votes are refused"),
            SET_IT,
        ),
        _ => Finding::ok("clock", found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn a_clock_beyond_the_tolerance_fails_in_both_directions() {
        let of = |own: u64, date: u64| {
            of_server(
                "a:1",
                (Duration::from_millis(own * 1000 - 200), Duration::from_millis(own * 1000 + 200)),
                Some(date),
            )
        };
        let now = 2_000_000_000;
        for (date, outcome) in [
            (now, Outcome::Ok),
            (now + 20, Outcome::Ok),
            (now - 20, Outcome::Ok),
            (now + 40, Outcome::Warning),
            (now - 40, Outcome::Warning),
            (now + 61, Outcome::Failed),
            (now - 63, Outcome::Failed),
            (0, Outcome::Failed),
            (u64::from(u32::MAX), Outcome::Failed),
        ] {
            let found = of(now, date);
            assert_eq!(found.outcome, outcome, "{found:?}");
            assert_eq!(found.next.is_some_and(|next| next.contains("run: timedatectl")), outcome != Outcome::Ok);
        }
        assert!(of(now, now + 100).found.starts_with("1m 40s behind"), "{}", of(now, now + 100).found);
        let none = of_server("a:1", (Duration::ZERO, Duration::ZERO), None);
        assert_eq!(none.outcome, Outcome::Skipped);
    }
}
