//! Decides whether a replica may rely on its wall clock.
//!
//! A wall clock is in doubt if it moved against a clock that nobody sets, or if f + 1 other members of the committee contradict it
//! on the same side. One of f + 1 is honest, so f liars cannot stop a replica whose clock is right. At least
//! n − 1 − f ≥ f + 1 others are honest, so liars cannot keep a replica working whose clock is wrong.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vouch_core::clocks::Seconds;
use vouch_core::quorum;
use vouch_core::verify::CLOCK_TOLERANCE;

/// Maximum age of an answer that counts: the time that an answer takes widens the bounds that it gives.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Interval between questions while the clock is trusted.
const ASK_EVERY: Duration = Duration::from_secs(600);
/// Interval between questions while the clock is in doubt, or after too few answers.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// Minimum interval between questions: members do not answer more often.
const ASK_APART: Duration = Duration::from_secs(3);
/// After a jump, how long the clock of a replica with nobody to ask must keep step with the monotonic clock.
const KEEPS_STEP: Duration = Duration::from_secs(600);
/// Maximum number of questions whose answers count.
const OPEN_QUESTIONS: usize = 8;
/// Maximum number of members named in a message.
const NAMED: usize = 4;

/// Two clocks, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// The wall clock, since 1970. Anybody may set it.
    pub wall: Duration,
    /// A clock that nobody sets, and that also runs while the machine sleeps.
    pub running: Duration,
}

impl ClockReading {
    /// What the wall clock would show if it had kept step since then.
    fn expected(&self, now: Duration) -> Duration {
        self.wall.saturating_add(now.saturating_sub(self.running))
    }
}

/// Minimum difference of the replica's clock from another one. The exact one is unknown, because both were not read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Seconds ahead.
    Ahead(u64),
    /// Seconds behind.
    Behind(u64),
}

impl Difference {
    fn describe(self) -> String {
        match self {
            Self::Ahead(seconds) => format!("{} ahead of", Seconds(seconds)),
            Self::Behind(seconds) => format!("{} behind", Seconds(seconds)),
        }
    }
}

/// Why the clock is in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoubtReason {
    /// The clock moved against the monotonic clock.
    Jumped(Difference),
    /// These members contradict it.
    Contradicted(BTreeMap<u16, Difference>),
}

impl DoubtReason {
    /// The reason as a message.
    pub fn describe(&self, name: impl Fn(u16) -> String) -> String {
        match self {
            Self::Jumped(Difference::Ahead(seconds)) => format!("it was set forward by {}", Seconds(*seconds)),
            Self::Jumped(Difference::Behind(seconds)) => format!("it was set back by {}", Seconds(*seconds)),
            Self::Contradicted(members) => {
                let named = members.iter().take(NAMED);
                let mut parts: Vec<_> =
                    named.map(|(member, difference)| format!("{} {}", difference.describe(), name(*member))).collect();
                if members.len() > NAMED {
                    parts.push(format!("differs from {} more", members.len() - NAMED));
                }
                format!("it is {}", parts.join(", "))
            }
        }
    }
}

/// A doubt began or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoubtChange {
    /// A doubt began, for this reason.
    Began(DoubtReason),
    /// A doubt ended, with its reason, and the members that agree now; none if there is nobody to ask.
    Ended(DoubtReason, Vec<u16>),
}

/// The judgement of one member's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    Agrees,
    Contradicts(Difference),
}

#[derive(Debug)]
struct Question {
    number: u32,
    asked: ClockReading,
    answers: BTreeMap<u16, Judgement>,
    /// How far this clock is ahead of each member's at least, in seconds; negative if it is behind.
    ahead: BTreeMap<u16, i64>,
}

impl Question {
    /// How far this clock is ahead at least, in seconds: how far the member's time is outside of the time between question and answer.
    fn seconds_ahead(&self, now: ClockReading, time: u64) -> i64 {
        let (asked, now) = (self.asked.wall.as_secs(), now.wall.as_secs());
        let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        signed(asked.min(now).saturating_sub(time)) - signed(time.saturating_sub(asked.max(now)))
    }

    fn median(&self) -> Option<i64> {
        let mut ahead: Vec<i64> = self.ahead.values().copied().collect();
        ahead.sort_unstable();
        ahead.get(ahead.len().saturating_sub(1) / 2).copied()
    }

    /// Judges an answer: the member signed its time between the question and the answer.
    fn judge(&self, now: ClockReading, time: u64) -> Judgement {
        let (asked, now) = (self.asked.wall.as_secs(), now.wall.as_secs());
        let (first, last) = (asked.min(now), asked.max(now));
        if time < first.saturating_sub(CLOCK_TOLERANCE) {
            Judgement::Contradicts(Difference::Ahead(first - time))
        } else if time > last.saturating_add(CLOCK_TOLERANCE) {
            Judgement::Contradicts(Difference::Behind(time - last))
        } else {
            Judgement::Agrees
        }
    }

    fn agreeing(&self) -> Vec<u16> {
        let agree = self.answers.iter().filter(|(_, judgement)| **judgement == Judgement::Agrees);
        agree.map(|(member, _)| *member).collect()
    }

    fn contradicting(&self, is_meant: impl Fn(&Difference) -> bool) -> BTreeMap<u16, Difference> {
        let contradicting = self.answers.iter().filter_map(|(member, judgement)| match judgement {
            Judgement::Contradicts(difference) if is_meant(difference) => Some((*member, *difference)),
            _ => None,
        });
        contradicting.collect()
    }
}

/// The state of a replica's wall clock.
#[derive(Debug)]
pub struct ClockDoubt {
    /// Number of members to ask: the others of the committee, or all if this replica only joins.
    others: u16,
    /// Whether the replica is a member itself.
    is_member: bool,
    /// Number of members that must agree or contradict: f + 1.
    needed: usize,
    /// The clocks when f + 1 others last agreed, or after the last jump.
    anchor: ClockReading,
    doubt: Option<DoubtReason>,
    questions: VecDeque<Question>,
    last_asked: Option<Duration>,
    /// A new link or a jump requires a question soon.
    is_called: bool,
    /// Whether enough members agreed with the last question.
    is_settled: bool,
    /// Number of members that agreed with the last question.
    agreed: usize,
    /// How far the clock was ahead at the last question, in seconds.
    ahead: Option<i64>,
    /// Whether f + 1 others have agreed since the start, and since the last jump.
    is_confirmed: bool,
}

impl ClockDoubt {
    /// A replica without other members to ask.
    pub fn new(now: ClockReading) -> Self {
        Self {
            others: 0,
            is_member: false,
            needed: 1,
            anchor: now,
            doubt: None,
            questions: VecDeque::new(),
            last_asked: None,
            is_called: false,
            is_settled: false,
            agreed: 0,
            ahead: None,
            is_confirmed: false,
        }
    }

    /// The replica may ask the members of a committee of `n` from now on: as one of them, or because it joins them.
    pub fn may_ask(&mut self, n: u16, is_member: bool) {
        (self.others, self.is_member) = (n.saturating_sub(is_member.into()), is_member);
        self.needed = usize::from(quorum::tolerated_faults(n)) + 1;
        self.is_called = true;
        self.is_confirmed = false;
    }

    /// Nobody answers this replica any more: it is not a member, and does not join.
    pub fn may_ask_nobody(&mut self) {
        (self.others, self.needed, self.is_member) = (0, 1, false);
    }

    /// Whether the doubt ends when the clock keeps step, because nobody can be asked. What members said against the clock stays true when this
    /// replica has left them; the only member of a committee has no other way.
    fn may_end_alone(&self) -> bool {
        !self.has_others() && (self.is_member || !matches!(self.doubt, Some(DoubtReason::Contradicted(_))))
    }

    /// Whether there are members to ask.
    pub fn has_others(&self) -> bool {
        usize::from(self.others) >= self.needed
    }

    /// Why the clock is in doubt, if it is.
    pub fn doubt(&self) -> Option<&DoubtReason> {
        self.doubt.as_ref()
    }

    /// Whether blobs may be deleted because they have expired. While nobody has confirmed the clock, that waits: after a start, it may be
    /// wrong without a jump, and the others may be out of reach.
    pub fn may_delete(&self) -> bool {
        self.doubt.is_none() && (self.is_confirmed || !self.has_others())
    }

    /// Number of other members that agreed with the last question, and number needed.
    pub fn agreed(&self) -> (usize, usize) {
        (self.agreed, self.needed)
    }

    /// How far the clock is ahead of the other members' at least, in seconds; negative if it is behind. The median of the answers to the last
    /// question: once all have answered, f liars cannot move it beyond what honest members say. `None` if nobody has answered since the start
    /// or the last jump.
    pub fn ahead(&self) -> Option<i64> {
        self.ahead
    }

    /// A new link has begun: ask the members behind it.
    pub fn call(&mut self) {
        self.is_called = true;
    }

    /// When the next question is due, on the monotonic clock; `None` if there is nobody to ask.
    pub fn next_question(&self) -> Option<Duration> {
        if !self.has_others() {
            return None;
        }
        let Some(last) = self.last_asked else { return Some(Duration::ZERO) };
        let after = match (self.is_called, self.is_settled && self.doubt.is_none()) {
            (true, _) => ASK_APART,
            (false, true) => ASK_EVERY,
            (false, false) => ASK_AGAIN,
        };
        Some(last.saturating_add(after))
    }

    /// A question with this number is sent now.
    pub fn ask(&mut self, now: ClockReading, number: u32) -> Option<DoubtChange> {
        let change = self.observe(now);
        self.questions.retain(|question| now.running <= question.asked.running.saturating_add(ANSWER_WITHIN));
        self.questions.push_front(Question { number, asked: now, answers: BTreeMap::new(), ahead: BTreeMap::new() });
        self.questions.truncate(OPEN_QUESTIONS);
        (self.last_asked, self.is_called, self.is_settled) = (Some(now.running), false, false);
        change
    }

    /// Whether a member's answer to a question would count. If not, its signature need not be verified.
    pub fn is_awaited(&self, number: u32, member: u16) -> bool {
        let question = self.questions.iter().find(|question| question.number == number);
        question.is_some_and(|question| !question.answers.contains_key(&member))
    }

    /// Compares both clocks, and begins a doubt after a jump.
    pub fn observe(&mut self, now: ClockReading) -> Option<DoubtChange> {
        let expected = self.anchor.expected(now.running);
        let moved = now.wall.abs_diff(expected);
        if moved > Duration::from_secs(CLOCK_TOLERANCE) {
            // round to the nearest second
            let seconds = moved.saturating_add(Duration::from_millis(500)).as_secs();
            let difference = match now.wall > expected {
                true => Difference::Ahead(seconds),
                false => Difference::Behind(seconds),
            };
            self.anchor = now;
            // answers to them would be judged by another clock
            self.questions.clear();
            self.is_called = true;
            (self.agreed, self.ahead, self.is_confirmed) = (0, None, false);
            return self.begin(DoubtReason::Jumped(difference));
        }
        let keeps_step = now.running >= self.anchor.running.saturating_add(KEEPS_STEP);
        if self.may_end_alone() && keeps_step {
            self.anchor = now;
            return self.end(Vec::new());
        }
        None
    }

    /// A member has answered a question. The signature is verified.
    pub fn answer(&mut self, now: ClockReading, number: u32, member: u16, time: u64) -> Option<DoubtChange> {
        let change = self.observe(now);
        let question = self.questions.iter_mut().find(|question| question.number == number);
        let Some(question) =
            question.filter(|question| now.running <= question.asked.running.saturating_add(ANSWER_WITHIN))
        else {
            return change;
        };
        let judgement = question.judge(now, time);
        // only a member's first answer counts: a member that sends several lies
        question.answers.entry(member).or_insert(judgement);
        let seconds_ahead = question.seconds_ahead(now, time);
        question.ahead.entry(member).or_insert(seconds_ahead);
        let median = question.median();
        let agreeing = question.agreeing();
        let ahead = question.contradicting(|difference| matches!(difference, Difference::Ahead(_)));
        let behind = question.contradicting(|difference| matches!(difference, Difference::Behind(_)));
        let is_last = self.questions.front().is_some_and(|question| question.number == number);
        if is_last {
            self.agreed = agreeing.len();
            self.ahead = median;
        }
        let against = [ahead, behind].into_iter().find(|members| members.len() >= self.needed);
        match against {
            Some(members) => self.begin(DoubtReason::Contradicted(members)),
            None if agreeing.len() >= self.needed => {
                self.is_settled |= is_last;
                // There was no jump since the question: it would have closed the question.
                self.anchor = now;
                self.is_confirmed = true;
                self.end(agreeing)
            }
            None => change,
        }
    }

    fn begin(&mut self, doubt: DoubtReason) -> Option<DoubtChange> {
        let is_new = self.doubt.is_none();
        self.doubt = Some(doubt.clone());
        is_new.then_some(DoubtChange::Began(doubt))
    }

    fn end(&mut self, agreeing: Vec<u16>) -> Option<DoubtChange> {
        self.doubt.take().map(|doubt| DoubtChange::Ended(doubt, agreeing))
    }
}

#[cfg(test)]
mod tests;
