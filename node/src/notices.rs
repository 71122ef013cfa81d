//! Rate limit for log lines that unauthenticated peers can cause: at most one of each kind in ten seconds, so that a flood of links
//! does not flood the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(10);

/// The time of the last line of one kind, and the number of lines left out since.
#[derive(Debug, Default)]
pub(crate) struct Notice(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    at: Option<Duration>,
    left_out: u64,
}

impl Notice {
    /// The line to write now, with the number of lines left out before it. `None` if this line is left out.
    pub(crate) fn line(&self, now: Duration, text: &str) -> Option<String> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.at.is_some_and(|at| now < at + EVERY) {
            last.left_out += 1;
            return None;
        }
        last.at = Some(now);
        Some(match std::mem::take(&mut last.left_out) {
            0 => text.to_owned(),
            left_out => format!("{text} (and {left_out} more like it)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_in_ten_seconds() {
        let notice = Notice::default();
        let at = |seconds| notice.line(Duration::from_secs(seconds), "refused");
        assert_eq!(at(0).as_deref(), Some("refused"));
        assert_eq!((at(1), at(9)), (None, None));
        assert_eq!(at(10).as_deref(), Some("refused (and 2 more like it)"));
        assert_eq!(at(30).as_deref(), Some("refused"));
    }
}
