//! The operator's report about limited addresses: rare, and only about the ones that were limited most.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::time::Duration;

use super::PeerAddress;

/// Minimum time between two reports.
const EVERY: Duration = Duration::from_secs(10);
/// Maximum number of addresses named in one report.
const NAMED: usize = 3;
/// Maximum number of addresses counted separately. Further ones are counted together.
const COUNTED: usize = 1024;

/// Counts refusals and cut-offs, for one log line from time to time, and in total.
#[derive(Debug, Default)]
pub struct LimitReport {
    counts: HashMap<Option<PeerAddress>, BTreeMap<&'static str, u64>>,
    reported: Option<Duration>,
    totals: BTreeMap<&'static str, u64>,
}

impl LimitReport {
    /// Counts an event of an address. `what` names it in the plural: "connections closed".
    pub fn note(&mut self, source: PeerAddress, what: &'static str) {
        let is_counted = self.counts.len() < COUNTED || self.counts.contains_key(&Some(source));
        let counts = self.counts.entry(is_counted.then_some(source)).or_default();
        *counts.entry(what).or_default() += 1;
        *self.totals.entry(what).or_default() += 1;
    }

    /// Events of this kind may be counted: its total is 0 until there is one.
    pub fn expect(&mut self, what: &'static str) {
        self.totals.entry(what).or_default();
    }

    /// The number of events of each kind since the start.
    pub fn totals(&self) -> &BTreeMap<&'static str, u64> {
        &self.totals
    }

    /// A report, if there is news and the last report is long enough ago.
    pub fn report(&mut self, now: Duration) -> Option<String> {
        if self.counts.is_empty() || self.reported.is_some_and(|at| now < at + EVERY) {
            return None;
        }
        self.reported = Some(now);
        let mut counts: Vec<_> = std::mem::take(&mut self.counts).into_iter().collect();
        counts.sort_by_key(|(source, counts)| (std::cmp::Reverse(counts.values().sum::<u64>()), *source));
        let mut text = String::from("limited: ");
        for (number, (source, counts)) in counts.iter().take(NAMED).enumerate() {
            let who = source.map_or_else(|| "other addresses".into(), |source| source.to_string());
            let list: Vec<String> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
            let separator = if number == 0 { "" } else { "; " };
            // writing to a string does not fail
            let _ = write!(text, "{separator}{who}: {}", list.join(", "));
        }
        if counts.len() > NAMED {
            let _ = write!(text, "; and {} more addresses", counts.len() - NAMED);
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_rare_and_short() {
        let source = |last| PeerAddress::from(std::net::IpAddr::from([127, 0, 0, last]));
        let mut limits = LimitReport::default();
        let at = Duration::from_secs;
        assert_eq!(limits.report(at(0)), None);
        (0..300).for_each(|_| limits.note(source(2), "connections closed"));
        (0..7).for_each(|_| limits.note(source(2), "puts refused"));
        let report = "limited: 127.0.0.2: 300 connections closed, 7 puts refused";
        assert_eq!(limits.report(at(1)).as_deref(), Some(report));
        for last in 1..=9 {
            (0..last).for_each(|_| limits.note(source(last), "puts refused"));
        }
        assert_eq!(limits.report(at(10)), None, "too soon");
        let report = "limited: 127.0.0.9: 9 puts refused; 127.0.0.8: 8 puts refused; 127.0.0.7: 7 puts refused; \
                      and 6 more addresses";
        assert_eq!(limits.report(at(11)).as_deref(), Some(report));
        assert_eq!(limits.report(at(99)), None, "nothing is reported twice");
        limits.expect("puts refused");
        limits.expect("puts ended");
        let totals = [("connections closed", 300), ("puts ended", 0), ("puts refused", 7 + 45)];
        assert_eq!(limits.totals().clone(), totals.into(), "reports forget no totals");
    }

    #[test]
    fn memory_is_bounded() {
        let mut report = LimitReport::default();
        for number in 0..5000u32 {
            report.note(PeerAddress::from(std::net::IpAddr::from(number.to_be_bytes())), "puts refused");
        }
        assert_eq!(report.counts.len(), COUNTED + 1);
        assert!(report.report(Duration::ZERO).unwrap().starts_with("limited: other addresses: 3976 puts refused; "));
    }
}
