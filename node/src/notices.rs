//! Log lines that strangers can cause: at most one of a kind in ten seconds, so that a flood of links is no flood of lines.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(10);

/// When the last line of one kind was written, and how many were left out since.
#[derive(Debug, Default)]
pub(crate) struct Notice(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    at: Option<Duration>,
    left_out: u64,
}

impl Notice {
    /// The line to write now, with the number of those left out before it; `None` when it must be left out itself.
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
