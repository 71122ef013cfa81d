//! Decides whether a replica may rely on its wall clock. No IO: times, answers and the moments of both come as arguments.
//!
//! Two things speak against a wall clock: it moved against a clock that nobody sets, or f + 1 other members of the committee show
//! another time on the same side. One of f + 1 is honest, so f liars can neither stop a replica whose clock is right nor, since
//! n − 1 − f ≥ f + 1 others are honest, keep one at work whose clock is wrong.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vouch_core::clocks::Seconds;
use vouch_core::quorum;
use vouch_core::verify::CLOCK_TOLERANCE;

/// An answer that took longer says nothing: the bounds that it gives are this much wider than the tolerance.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// From one question to the next while all is well.
const ASK_EVERY: Duration = Duration::from_secs(600);
/// The same while the clock is in doubt, or too few answered the last question.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// Between two questions, whatever happens: members answer no more often.
const ASK_APART: Duration = Duration::from_secs(3);
/// How long the clock of a replica that has nobody to ask must keep step with the monotonic one after a jump.
const KEEPS_STEP: Duration = Duration::from_secs(600);
/// Questions whose answers count.
const OPEN_QUESTIONS: usize = 8;
/// Members that are named in a sentence.
const NAMED: usize = 4;

/// What two clocks show at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// The wall clock, since 1970. Anybody may set it.
    pub wall: Duration,
    /// A clock that nobody sets, and that runs on while the machine sleeps.
    pub running: Duration,
}

impl ClockReading {
    /// What the wall clock would show if it had kept step since then.
    fn expected(&self, now: Duration) -> Duration {
        self.wall.saturating_add(now.saturating_sub(self.running))
    }
}

/// How far the own clock is from another one, at least: the two were not read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// By so many seconds.
    Ahead(u64),
    /// By so many seconds.
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

/// What speaks against the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoubtReason {
    /// It moved against the monotonic clock.
    Jumped(Difference),
    /// These members show another time.
    Contradicted(BTreeMap<u16, Difference>),
}

impl DoubtReason {
    /// What is wrong, for people.
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

/// The clock came into doubt, or is out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoubtChange {
    /// For this reason.
    Began(DoubtReason),
    /// With what spoke against it before, and the members that agree now; none where there is nobody to ask.
    Ended(DoubtReason, Vec<u16>),
}

/// What one member's answer says.
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
}

impl Question {
    /// The own clock went from what it showed at the question to what it shows at the answer; in between, the member signed.
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

/// What is known of one replica's wall clock.
#[derive(Debug)]
pub struct ClockDoubt {
    /// Other members of the committee, and how many of them it takes.
    others: u16,
    needed: usize,
    /// When the clock was known to be right, or began to keep step after a jump.
    anchor: ClockReading,
    doubt: Option<DoubtReason>,
    questions: VecDeque<Question>,
    last_asked: Option<Duration>,
    /// Something happened since the last question that calls for one.
    is_called: bool,
    /// Whether enough members agreed when they were asked last.
    is_settled: bool,
    /// Those who did.
    agreed: usize,
}

impl ClockDoubt {
    /// A replica that has nobody to ask yet.
    pub fn new(now: ClockReading) -> Self {
        Self {
            others: 0,
            needed: 1,
            anchor: now,
            doubt: None,
            questions: VecDeque::new(),
            last_asked: None,
            is_called: false,
            is_settled: false,
            agreed: 0,
        }
    }

    /// The replica is one of the `n` members of a committee.
    pub fn join(&mut self, n: u16) {
        self.others = n.saturating_sub(1);
        self.needed = usize::from(quorum::tolerated_faults(n)) + 1;
        self.is_called = true;
    }

    /// Whether there are members to ask.
    pub fn has_others(&self) -> bool {
        usize::from(self.others) >= self.needed
    }

    /// What speaks against the clock, if it is in doubt.
    pub fn doubt(&self) -> Option<&DoubtReason> {
        self.doubt.as_ref()
    }

    /// How many other members agreed when they were asked last, and how many are needed.
    pub fn agreed(&self) -> (usize, usize) {
        (self.agreed, self.needed)
    }

    /// A new link began: the members behind it have to be asked.
    pub fn call(&mut self) {
        self.is_called = true;
    }

    /// When the next question is due, by the monotonic clock; `None` when there is nobody to ask.
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

    /// A question of this number leaves now.
    pub fn ask(&mut self, now: ClockReading, number: u32) -> Option<DoubtChange> {
        let change = self.observe(now);
        self.questions.retain(|question| now.running <= question.asked.running.saturating_add(ANSWER_WITHIN));
        self.questions.push_front(Question { number, asked: now, answers: BTreeMap::new() });
        self.questions.truncate(OPEN_QUESTIONS);
        (self.last_asked, self.is_called, self.is_settled) = (Some(now.running), false, false);
        change
    }

    /// Whether the answer of a member to a question would count; else nobody needs to verify it.
    pub fn is_awaited(&self, number: u32, member: u16) -> bool {
        let question = self.questions.iter().find(|question| question.number == number);
        question.is_some_and(|question| !question.answers.contains_key(&member))
    }

    /// Looks at both clocks.
    pub fn observe(&mut self, now: ClockReading) -> Option<DoubtChange> {
        let expected = self.anchor.expected(now.running);
        let moved = now.wall.abs_diff(expected);
        if moved > Duration::from_secs(CLOCK_TOLERANCE) {
            // to the nearest second: half of one is nobody's concern
            let seconds = moved.saturating_add(Duration::from_millis(500)).as_secs();
            let difference = match now.wall > expected {
                true => Difference::Ahead(seconds),
                false => Difference::Behind(seconds),
            };
            self.anchor = now;
            // they were asked by another clock
            self.questions.clear();
            self.is_called = true;
            self.agreed = 0;
            return self.begin(DoubtReason::Jumped(difference));
        }
        let keeps_step = now.running >= self.anchor.running.saturating_add(KEEPS_STEP);
        if !self.has_others() && keeps_step {
            self.anchor = now;
            return self.end(Vec::new());
        }
        None
    }

    /// A member answered a question; its signature was verified.
    pub fn answer(&mut self, now: ClockReading, number: u32, member: u16, time: u64) -> Option<DoubtChange> {
        let change = self.observe(now);
        let question = self.questions.iter_mut().find(|question| question.number == number);
        let Some(question) =
            question.filter(|question| now.running <= question.asked.running.saturating_add(ANSWER_WITHIN))
        else {
            return change;
        };
        let judgement = question.judge(now, time);
        // the first answer counts: a member that gives several lies
        question.answers.entry(member).or_insert(judgement);
        let agreeing = question.agreeing();
        let ahead = question.contradicting(|difference| matches!(difference, Difference::Ahead(_)));
        let behind = question.contradicting(|difference| matches!(difference, Difference::Behind(_)));
        let is_last = self.questions.front().is_some_and(|question| question.number == number);
        if is_last {
            self.agreed = agreeing.len();
        }
        let against = [ahead, behind].into_iter().find(|members| members.len() >= self.needed);
        match against {
            Some(members) => self.begin(DoubtReason::Contradicted(members)),
            None if agreeing.len() >= self.needed => {
                self.is_settled |= is_last;
                // a jump since the question would have closed it
                self.anchor = now;
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
