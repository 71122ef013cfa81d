//! Differences between clocks, as text.

use std::fmt;

/// A number of seconds, displayed in its two largest units: `3 min 10 s`, `2 days 4 h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, hours, minutes, seconds) = (self.0 / 86400, self.0 / 3600 % 24, self.0 / 60 % 60, self.0 % 60);
        let day = if days == 1 { "day" } else { "days" };
        let parts = [(days, day), (hours, "h"), (minutes, "min"), (seconds, "s")];
        let first = parts.iter().position(|(number, _)| *number > 0).unwrap_or(parts.len() - 1);
        let (number, unit) = parts[first];
        write!(f, "{number} {unit}")?;
        match parts.get(first + 1) {
            Some((number, unit)) if *number > 0 => write!(f, " {number} {unit}"),
            _ => Ok(()),
        }
    }
}

/// The difference between two clocks: `3 min 10 s ahead of`, `2 h behind`. Both times are in seconds since 1970.
pub fn describe_difference(one: u64, other: u64) -> String {
    let direction = if one >= other { "ahead of" } else { "behind" };
    format!("{} {direction}", Seconds(one.abs_diff(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_displayed_in_two_units() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (190, "3 min 10 s"),
            (3600, "1 h"),
            (3661, "1 h 1 min"),
            (86400, "1 day"),
            (30 * 86400 + 7200, "30 days 2 h"),
        ] {
            assert_eq!(Seconds(seconds).to_string(), words);
        }
        assert_eq!(describe_difference(1190, 1000), "3 min 10 s ahead of");
        assert_eq!(describe_difference(1000, 1190), "3 min 10 s behind");
        assert!(describe_difference(u64::MAX, 0).ends_with(" ahead of"));
    }
}
