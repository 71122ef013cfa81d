//! Shows a text again and again in one place of a terminal.

use std::io;

use super::output;

/// Width of the names before the values. A value that goes on in the next line stays right of it.
const INDENT: usize = 11;
/// Begins a frame: the terminal breaks no line by itself, and the cursor goes to the top left corner. A line whose characters are wider
/// than they were counted is cut then; otherwise it would push all others down.
const BEGIN: &str = "\x1b[?7l\x1b[H";
/// Erases the screen. What was shown before stays in the terminal's history.
const ERASE_ALL: &str = "\x1b[2J";
/// Erases what an earlier frame has in this line. It comes before the text: behind a line as wide as the window, the cursor is still on the last
/// character, which would be erased.
const ERASE_LINE: &str = "\x1b[K";
/// Ends a frame: erases what an earlier one has below.
const END: &str = "\x1b[J\x1b[?7h";

/// The terminal on standard output.
#[derive(Debug)]
pub(super) struct Screen {
    is_first: bool,
}

/// In characters.
#[derive(Debug, Clone, Copy)]
struct Size {
    columns: usize,
    rows: usize,
}

impl Screen {
    /// `None` if standard output is not a terminal.
    pub(super) fn open() -> Option<Self> {
        output::is_terminal().then_some(Self { is_first: true })
    }

    /// Shows a text in place of the last one. It is written at once: otherwise the screen would be empty for a moment, and flicker.
    pub(super) fn show(&mut self, text: &str) {
        let is_first = std::mem::take(&mut self.is_first);
        output::text(frame(text, Size::now(), is_first).as_bytes());
    }
}

impl Size {
    fn now() -> Self {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        // Some terminals do not know.
        let or = |given: u16, usual| if given == 0 { usual } else { usize::from(given) };
        size.map_or(Self { columns: 80, rows: 24 }, |size| Self {
            columns: or(size.ws_col, 80),
            rows: or(size.ws_row, 24),
        })
    }
}

fn frame(text: &str, Size { columns, rows }: Size, is_first: bool) -> String {
    let mut lines: Vec<String> = text.lines().flat_map(|line| broken(line, columns)).collect();
    // The cursor is in the line below the last one. Beyond the last line, the terminal would scroll, and keep lines of each frame.
    let room = rows.saturating_sub(1).max(1);
    if lines.len() > room {
        let left_out = lines.len() - room + 1;
        lines.truncate(room - 1);
        lines.push(format!("… {left_out} more lines; make the window higher").chars().take(columns).collect());
    }
    let mut frame = String::from(BEGIN);
    if is_first {
        frame.push_str(ERASE_ALL);
    }
    for line in lines {
        frame.push_str(ERASE_LINE);
        frame.push_str(&line);
        frame.push('\n');
    }
    frame + END
}

/// A line, broken between words to this width.
fn broken(line: &str, columns: usize) -> Vec<String> {
    let mut rest: Vec<char> = line.chars().collect();
    let is_row = rest.get(INDENT - 1) == Some(&' ') && columns >= 3 * INDENT;
    let indent = if is_row { INDENT } else { 0 };
    let mut lines = Vec::new();
    // What the first word must not begin before.
    let mut start = indent;
    while rest.len() > columns {
        let blank = (start + 1..=columns).rev().find(|at| rest[*at] == ' ');
        let mut after = rest.split_off(blank.unwrap_or(columns));
        if blank.is_some() {
            after.remove(0);
        }
        lines.push(rest.into_iter().collect());
        rest = [vec![' '; indent], after].concat();
        start = indent;
    }
    lines.push(rest.into_iter().collect());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { columns: 40, rows: 6 };

    #[test]
    fn lines_are_broken_between_words_under_their_values() {
        for (line, expected) in [
            ("", &[""][..]),
            ("ready      yes", &["ready      yes"]),
            (
                "ready      yes: 4 of 4 connected, 3 needed; 1 more may fail",
                &["ready      yes: 4 of 4 connected, 3", "           needed; 1 more may fail"],
            ),
            // Nothing to break at.
            (
                "cluster    9ctJBbdRQYGf7twKysdX2DN9NtW83frSGnmPXQmryCx5",
                &["cluster    9ctJBbdRQYGf7twKysdX2DN9NtW83", "           frSGnmPXQmryCx5"],
            ),
            ("By the word of vouch.example:9090, unverified:", &["By the word of vouch.example:9090,", "unverified:"]),
            (
                "           replica-3 lagging: replica-3 takes bytes more slowly",
                &["           replica-3 lagging: replica-3", "           takes bytes more slowly"],
            ),
        ] {
            assert_eq!(broken(line, 40), expected, "{line}");
        }
        let long = "a line of several words ".repeat(9);
        for columns in 1..100 {
            let lines = broken(&long, columns);
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{columns}");
            let kept = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(kept(&lines.concat()), kept(&long), "{columns}");
        }
    }

    #[test]
    fn a_frame_is_no_higher_than_the_window_and_leaves_nothing_of_the_last_one() {
        assert_eq!(frame("a\nb\n", SIZE, false), "\x1b[?7l\x1b[H\x1b[Ka\n\x1b[Kb\n\x1b[J\x1b[?7h");
        assert!(frame("a\n", SIZE, true).starts_with("\x1b[?7l\x1b[H\x1b[2J\x1b[Ka"));
        let high = frame(&"line\n".repeat(20), SIZE, false);
        assert_eq!(high.matches('\n').count(), SIZE.rows - 1);
        assert!(high.contains("… 16 more lines; make the window higher"), "{high}");
        for rows in 0..3 {
            assert_eq!(frame("a\nb\nc\n", Size { rows, ..SIZE }, false).matches('\n').count(), rows.max(2) - 1);
        }
    }
}
