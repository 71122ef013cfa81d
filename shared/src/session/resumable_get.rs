//! A get across its links: each link requests only the bytes that no earlier one delivered.

use std::ops::Range;

use super::attempts::Attempts;
use super::one_get::WantedBytes;
use super::retry::{Milestone, Retry};
use super::{ByteRange, GetSession};

/// A blob's verified length, and the requested bytes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRange {
    /// The blob's length.
    pub length: u64,
    /// The requested bytes, including those that were delivered before.
    pub range: Range<u64>,
}

/// What the links of one get have delivered.
#[derive(Debug)]
pub struct ResumableGet {
    wanted: WantedBytes,
    verified: Option<VerifiedRange>,
    /// The number of bytes of the range that the output has, from the first.
    delivered: u64,
}

impl ResumableGet {
    /// `held`: how many bytes the output has before the get, from the blob's beginning. Only for a whole blob: 0 for a range.
    pub fn new(wanted: WantedBytes, held: u64) -> Self {
        Self { wanted, verified: None, delivered: held }
    }

    /// What the next link requests.
    pub fn rest(&self) -> WantedBytes {
        let WantedBytes { digest, length, range } = self.wanted;
        let rest = match &self.verified {
            // An empty range is complete with its length, so `last` cannot precede `first` here.
            Some(VerifiedRange { range: whole, .. }) if self.delivered > 0 || range.is_some() => {
                Some(ByteRange::Between { first: whole.start + self.delivered, last: whole.end.saturating_sub(1) })
            }
            None if self.delivered > 0 => Some(ByteRange::From(self.delivered)),
            _ => range,
        };
        WantedBytes { digest, length: self.verified.as_ref().map(|verified| verified.length).or(length), range: rest }
    }

    /// The link of `session` reads from a holder.
    pub fn started(&self, session: &GetSession, attempts: &mut Attempts) {
        attempts.heard(session);
        attempts.retry.reached(0, Milestone::Moved(self.delivered));
    }

    /// A link has verified the length; `rest` is the range that it requested. Returns the whole range.
    pub fn length_verified(&mut self, length: u64, rest: &Range<u64>) -> &VerifiedRange {
        let range = rest.start.saturating_sub(self.delivered)..rest.end;
        self.verified.get_or_insert(VerifiedRange { length, range })
    }

    /// The output has the next `size` bytes.
    pub fn add_delivered(&mut self, size: usize, retry: &mut Retry) {
        self.delivered += size as u64;
        retry.reached(0, Milestone::Moved(self.delivered));
    }

    /// The number of bytes of the range that the output has.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The length and the whole range, once a link has verified the length.
    pub fn verified(&self) -> Option<&VerifiedRange> {
        self.verified.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Fault;
    use super::*;
    use crate::digest::Digest;

    fn wanted(range: Option<&str>) -> WantedBytes {
        let range = range.map(|text| text.parse().unwrap());
        WantedBytes { digest: Digest::of(b"blob"), length: None, range }
    }

    fn retry() -> Retry {
        Retry::new(Duration::from_secs(60))
    }

    #[test]
    fn later_link_requests_what_was_not_delivered() {
        for (range, first, rest) in
            [(None, 0..1000, "300-999"), (Some("100-899"), 100..900, "400-899"), (Some("-500"), 500..1000, "800-999")]
        {
            let mut get = ResumableGet::new(wanted(range), 0);
            let whole = VerifiedRange { length: 1000, range: first.clone() };
            assert_eq!(get.rest().range, wanted(range).range);
            assert_eq!(get.length_verified(1000, &first), &whole);
            get.add_delivered(100, &mut retry());
            get.add_delivered(200, &mut retry());
            assert_eq!((get.rest().range, get.rest().length), (Some(rest.parse().unwrap()), Some(1000)), "{range:?}");
            let later = first.start + 300..first.end;
            assert_eq!(get.length_verified(1000, &later), &whole, "{range:?}");
        }
    }

    #[test]
    fn held_bytes_are_part_of_the_whole_and_not_requested() {
        let mut get = ResumableGet::new(wanted(None), 400);
        assert_eq!(get.rest().range, Some(ByteRange::From(400)));
        assert_eq!(get.length_verified(1000, &(400..1000)).range, 0..1000);
        assert_eq!(get.rest().range, Some("400-999".parse().unwrap()));
    }

    #[test]
    fn range_is_fixed_once_its_length_is_verified() {
        let mut get = ResumableGet::new(wanted(Some("-500")), 0);
        get.length_verified(1000, &(500..1000));
        assert_eq!(get.rest().range, Some("500-999".parse().unwrap()));
        assert_eq!(get.verified().map(|verified| verified.length), Some(1000));
    }

    /// Otherwise a get that advances slowly over many links would end although it does advance.
    #[test]
    fn delivered_bytes_restart_the_limit() {
        let (mut get, mut retry) = (ResumableGet::new(wanted(None), 0), retry());
        for second in [0, 59, 118] {
            get.add_delivered(1, &mut retry);
            assert!(retry.pause(Fault::Link, Duration::from_secs(second), 0).is_some(), "{second} s");
        }
        assert_eq!(retry.pause(Fault::Link, Duration::from_secs(178), 0), None);
    }
}
