use vouch_fixture::next_random;

use super::*;

const START: u64 = 1_790_000_000;

/// A wall clock, which can be set, and a monotonic clock.
#[derive(Clone, Copy)]
struct Clocks {
    running: u64,
    /// The error of the wall clock, in seconds.
    off: i64,
}

impl Clocks {
    fn read(self) -> ClockReading {
        let wall = (START + self.running).saturating_add_signed(self.off);
        ClockReading { wall: Duration::from_secs(wall), running: Duration::from_secs(self.running) }
    }

    /// The wall clock, in seconds.
    fn shown(self) -> u64 {
        self.read().wall.as_secs()
    }

    fn pass(&mut self, seconds: u64) {
        self.running += seconds;
    }

    /// The right time, in seconds.
    fn truth(self) -> u64 {
        START + self.running
    }
}

fn name(member: u16) -> String {
    format!("replica-{member}")
}

fn start(n: u16) -> (Clocks, ClockDoubt) {
    let clocks = Clocks { running: 1000, off: 0 };
    let mut doubt = ClockDoubt::new(clocks.read());
    doubt.may_ask(n, true);
    (clocks, doubt)
}

/// Asks a question, which members answer at once with these times. Returns the changes.
fn round(doubt: &mut ClockDoubt, clocks: Clocks, number: u32, answers: &[(u16, u64)]) -> Vec<DoubtChange> {
    let mut changes: Vec<_> = doubt.ask(clocks.read(), number).into_iter().collect();
    for (member, time) in answers {
        changes.extend(doubt.answer(clocks.read(), number, *member, *time));
    }
    changes
}

#[test]
fn f_plus_one_contradictions_on_one_side_begin_a_doubt_and_f_plus_one_agreements_end_it() {
    let (mut clocks, mut doubt) = start(4);
    clocks.off = 3600;
    // the clock is wrong from the start, so there is no jump
    let mut doubt_off = ClockDoubt::new(clocks.read());
    doubt_off.may_ask(4, true);
    let truth = clocks.truth();
    assert_eq!(round(&mut doubt_off, clocks, 1, &[(1, truth)]), [], "one member may lie");
    let changes = round(&mut doubt_off, clocks, 2, &[(1, truth), (2, truth + 5), (3, truth)]);
    let [DoubtChange::Began(why)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(why.describe(name), "it is 1 h ahead of replica-1, 59 min 55 s ahead of replica-2");
    assert!(
        matches!(doubt_off.doubt(), Some(DoubtReason::Contradicted(members)) if members.len() == 3),
        "every contradicting member is named"
    );

    // neither silence nor one agreeing member ends the doubt
    for number in 3..100 {
        clocks.pass(15);
        assert_eq!(round(&mut doubt_off, clocks, number, &[(1, clocks.shown())]), []);
        assert!(doubt_off.doubt().is_some());
    }
    // setting the clock right is a jump, which does not end the doubt
    clocks.off = 0;
    assert_eq!(doubt_off.observe(clocks.read()), None);
    assert!(matches!(doubt_off.doubt(), Some(DoubtReason::Jumped(Difference::Behind(3600)))));
    let truth = clocks.truth();
    let changes = round(&mut doubt_off, clocks, 100, &[(1, truth), (2, truth + 50), (3, truth - 50)]);
    let [DoubtChange::Ended(was, agreeing)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((was.describe(name).as_str(), &agreeing[..]), ("it was set back by 1 h", &[1, 2][..]));
    assert_eq!(doubt_off.agreed(), (3, 2));

    // contradictions on different sides do not add up
    let (clocks, truth) = (clocks, clocks.truth());
    assert_eq!(round(&mut doubt, Clocks { off: 0, ..clocks }, 1, &[(1, truth - 1000), (2, truth + 1000)]), []);
}

#[test]
fn the_tolerance_is_sixty_seconds_beyond_the_time_that_the_answer_took() {
    for (asked_before, time, is_against) in [
        (0, -60_i64, false),
        (0, -61, true),
        (0, 60, false),
        (0, 61, true),
        (20, -80, false),
        (20, -81, true),
        (20, 60, false),
        (30, -91, true),
        // the answer took too long
        (31, -5000, false),
        (31, 5000, false),
    ] {
        let (mut clocks, mut doubt) = start(2);
        doubt.ask(clocks.read(), 7);
        clocks.pass(asked_before);
        let change = doubt.answer(clocks.read(), 7, 1, clocks.truth().saturating_add_signed(time));
        assert_eq!(change.is_some(), is_against, "{asked_before} {time}");
    }
}

#[test]
fn a_jump_begins_a_doubt_at_once_and_asks_at_once() {
    for (off, expected) in [(61, "it was set forward by 1 min 1 s"), (-7200, "it was set back by 2 h")] {
        let (mut clocks, mut doubt) = start(4);
        let truth = clocks.truth();
        round(&mut doubt, clocks, 1, &[(1, truth), (2, truth)]);
        clocks.pass(100);
        assert_eq!(doubt.next_question(), Some(Duration::from_secs(1600)));
        assert_eq!(doubt.observe(clocks.read()), None);
        // a question that is not answered yet
        doubt.ask(clocks.read(), 2);
        clocks.off = off;
        let Some(DoubtChange::Began(why)) = doubt.observe(clocks.read()) else { panic!() };
        assert_eq!(why.describe(name), expected);
        assert!(doubt.next_question().unwrap() <= clocks.read().running + ASK_APART);
        assert!(!doubt.is_awaited(2, 1), "the question was sent before the jump");
        clocks.pass(3);
        // the others contradict the new time
        let changes = round(&mut doubt, clocks, 3, &[(1, clocks.truth()), (2, clocks.truth())]);
        assert_eq!(changes, [], "it is in doubt already");
        assert!(matches!(doubt.doubt(), Some(DoubtReason::Contradicted(_))));
        clocks.pass(15);
        // or the others agree with the new time
        let wall = clocks.shown();
        let changes = round(&mut doubt, clocks, 4, &[(1, wall), (3, wall)]);
        assert!(matches!(changes[..], [DoubtChange::Ended(..)]), "{changes:?}");
    }
}

#[test]
fn sleep_of_the_machine_is_not_a_jump() {
    let (mut clocks, mut doubt) = start(4);
    clocks.pass(30 * 86400);
    assert_eq!(doubt.observe(clocks.read()), None);
    // small corrections add up until members agree
    for step in 1..=5 {
        clocks.off = step * 15;
        let change = doubt.observe(clocks.read());
        assert_eq!(change.is_some(), step == 5, "{step}");
    }
}

#[test]
fn a_replica_with_nobody_to_ask_trusts_a_clock_that_keeps_step() {
    for n in [0, 1] {
        let (mut clocks, mut doubt) = start(n);
        assert_eq!(doubt.next_question(), None);
        clocks.off = 3600;
        assert!(matches!(doubt.observe(clocks.read()), Some(DoubtChange::Began(_))));
        clocks.pass(599);
        assert_eq!(doubt.observe(clocks.read()), None);
        // another jump restarts the time
        clocks.off = 0;
        assert_eq!(doubt.observe(clocks.read()), None);
        clocks.pass(599);
        assert_eq!(doubt.observe(clocks.read()), None);
        assert!(doubt.doubt().is_some());
        clocks.pass(1);
        assert!(matches!(doubt.observe(clocks.read()), Some(DoubtChange::Ended(_, agreeing)) if agreeing.is_empty()));
    }
    // a replica with other members always waits for their answers
    let (mut clocks, mut doubt) = start(2);
    clocks.off = 3600;
    doubt.observe(clocks.read());
    clocks.pass(10 * 86400);
    assert_eq!(doubt.observe(clocks.read()), None);
    assert!(doubt.doubt().is_some());
}

#[test]
fn a_replica_that_left_the_members_stays_in_doubt_if_they_contradicted_it_until_it_can_ask_them_again() {
    let contradicted = || {
        let (mut clocks, mut doubt) = start(4);
        clocks.off = 3600;
        doubt = ClockDoubt { anchor: clocks.read(), ..doubt };
        let truth = clocks.truth();
        assert_eq!(round(&mut doubt, clocks, 1, &[(1, truth), (2, truth)]).len(), 1);
        (clocks, doubt)
    };
    let (mut clocks, mut doubt) = contradicted();
    doubt.may_ask_nobody();
    clocks.pass(86400);
    assert_eq!(doubt.observe(clocks.read()), None);
    assert!(doubt.doubt().is_some() && doubt.next_question().is_none());
    // It joins again: all four are others.
    doubt.may_ask(4, false);
    let time = clocks.shown();
    assert!(matches!(round(&mut doubt, clocks, 2, &[(0, time), (3, time)])[..], [DoubtChange::Ended(..)]));
    // The others left: the only member trusts its clock if it keeps step.
    let (mut clocks, mut doubt) = contradicted();
    doubt.may_ask(1, true);
    clocks.pass(86400);
    assert!(matches!(doubt.observe(clocks.read()), Some(DoubtChange::Ended(..))));
    // After a jump, it is enough outside as well that the clock keeps step.
    let (mut clocks, mut doubt) = start(4);
    clocks.off = 3600;
    assert!(matches!(doubt.observe(clocks.read()), Some(DoubtChange::Began(_))));
    doubt.may_ask_nobody();
    clocks.pass(600);
    assert!(matches!(doubt.observe(clocks.read()), Some(DoubtChange::Ended(..))));
}

#[test]
fn questions_have_a_minimum_interval_and_repeat_until_enough_agree() {
    let (mut clocks, mut doubt) = start(4);
    let at = Duration::from_secs;
    assert_eq!(doubt.next_question(), Some(Duration::ZERO), "the first question is due at once");
    round(&mut doubt, clocks, 1, &[(1, clocks.truth())]);
    assert_eq!(doubt.next_question(), Some(at(1015)), "too few have answered");
    doubt.call();
    assert_eq!(doubt.next_question(), Some(at(1003)));
    clocks.pass(3);
    round(&mut doubt, clocks, 2, &[(1, clocks.truth()), (2, clocks.truth())]);
    assert_eq!(doubt.next_question(), Some(at(1603)));
    // an answer to an earlier question counts, but a member's second answer does not
    clocks.pass(600);
    doubt.ask(clocks.read(), 3);
    doubt.ask(clocks.read(), 4);
    let truth = clocks.truth();
    assert!(doubt.is_awaited(3, 1));
    assert_eq!(doubt.answer(clocks.read(), 3, 1, truth + 999), None);
    assert!(!doubt.is_awaited(3, 1) && doubt.is_awaited(4, 1));
    assert_eq!(doubt.answer(clocks.read(), 3, 1, truth + 999), None, "once");
    assert!(matches!(doubt.answer(clocks.read(), 3, 2, truth + 999), Some(DoubtChange::Began(_))));
    // the number of open questions is bounded
    (5..1000).for_each(|number| drop(doubt.ask(clocks.read(), number)));
    assert!(doubt.questions.len() <= OPEN_QUESTIONS);
}

#[test]
fn extreme_times_do_not_panic() {
    for wall in [0, START, u64::MAX].map(Duration::from_secs) {
        for time in [0, u64::MAX] {
            let now = ClockReading { wall, running: Duration::MAX };
            let mut doubt = ClockDoubt::new(ClockReading { wall, running: Duration::ZERO });
            doubt.may_ask(1000, true);
            doubt.ask(ClockReading { wall, running: Duration::ZERO }, 1);
            doubt.answer(now, 1, 1, time);
            doubt.observe(ClockReading { wall: Duration::MAX - wall, running: Duration::ZERO });
        }
    }
    let many = (0..300).map(|member| (member, Difference::Ahead(u64::MAX))).collect();
    assert!(DoubtReason::Contradicted(many).describe(|_| "replica-123456789012345".into()).len() < 400);
}

/// A simulation under a seed: members with clocks, f of which lie, and a server that loses and delays answers.
struct ClockWorld {
    seed: u64,
    n: u16,
    /// Number of members that lie: the last ones.
    f: u16,
    clocks: Clocks,
    doubt: ClockDoubt,
    number: u32,
}

impl ClockWorld {
    fn new(seed: u64, off: i64) -> Self {
        let mut world = Self {
            seed,
            n: 1,
            f: 0,
            clocks: Clocks { running: 1000, off },
            doubt: ClockDoubt::new(Clocks { running: 1000, off }.read()),
            number: 0,
        };
        world.n = [2, 3, 4, 5, 7, 10, 13][usize::try_from(world.draw(7)).unwrap()];
        world.f = quorum::tolerated_faults(world.n);
        world.doubt.may_ask(world.n, true);
        world
    }

    fn draw(&mut self, below: u64) -> u64 {
        next_random(&mut self.seed) % below
    }

    /// One question. All honest members answer, or only some; liars answer anything.
    fn round(&mut self, all_honest_answer: bool) {
        self.number += 1;
        self.doubt.ask(self.clocks.read(), self.number);
        let mut answers: Vec<(u64, u16, Option<u64>)> = Vec::new();
        let lie = self.draw(4);
        for member in 1..self.n {
            let is_liar = member >= self.n - self.f;
            if !is_liar && !all_honest_answer && self.draw(2) == 0 {
                continue;
            }
            // an honest clock is off by up to 10 s, and the server delays answers
            let delay = self.draw(10);
            let time = match (is_liar, lie) {
                (false, _) => None,
                // the asker's own time, far ahead, far behind, or anything
                (true, 0) => Some(self.clocks.shown()),
                (true, 1) => Some(self.clocks.truth() + 100_000),
                (true, 2) => Some(self.clocks.truth() - 100_000),
                (true, _) => Some(self.draw(1 << 53)),
            };
            answers.push((delay, member, time));
        }
        answers.sort_unstable();
        let began = self.clocks.running;
        for (delay, member, time) in answers {
            let signed = began + self.draw(delay + 1);
            self.clocks.running = began + delay;
            let honest = START + signed + self.draw(21) - 10;
            self.doubt.answer(self.clocks.read(), self.number, member, time.unwrap_or(honest));
        }
        self.clocks.pass(15);
    }
}

#[test]
fn nothing_is_deleted_before_f_plus_one_others_have_confirmed_the_clock() {
    // wrong from the start, so there is no jump
    let mut clocks = Clocks { running: 1000, off: 4000 };
    let mut doubt = ClockDoubt::new(clocks.read());
    doubt.may_ask(4, true);
    round(&mut doubt, clocks, 1, &[(1, clocks.shown())]);
    assert!(doubt.doubt().is_none() && !doubt.may_delete());
    clocks.off = 0;
    clocks.pass(15);
    round(&mut doubt, clocks, 2, &[(1, clocks.truth())]);
    assert!(!doubt.may_delete());
    clocks.pass(15);
    round(&mut doubt, clocks, 3, &[(1, clocks.truth()), (2, clocks.truth())]);
    assert!(doubt.may_delete());
    clocks.pass(86_400);
    doubt.observe(clocks.read());
    assert!(doubt.may_delete(), "it keeps step");
    doubt.may_ask(4, true);
    assert!(!doubt.may_delete(), "others are asked about it now");
    round(&mut doubt, clocks, 4, &[(1, clocks.truth()), (2, clocks.truth())]);
    clocks.off = 100;
    doubt.observe(clocks.read());
    assert!(!doubt.may_delete());
    assert!(ClockDoubt::new(clocks.read()).may_delete(), "there is nobody to ask");
}

#[test]
fn f_liars_cannot_stop_a_replica_whose_clock_is_right() {
    for seed in 0..2000 {
        let mut world = ClockWorld::new(seed, 0);
        world.clocks.off = 0;
        for _ in 0..20 {
            let all = world.draw(2) == 0;
            world.round(all);
            assert_eq!(world.doubt.doubt(), None, "seed {seed}, n {}", world.n);
        }
    }
}

#[test]
fn f_liars_cannot_keep_a_replica_working_whose_clock_is_wrong() {
    for seed in 0..2000 {
        // more than the tolerance, the error of honest clocks and the delay of an answer together
        let far = 81 + i64::try_from(ClockWorld::new(seed, 0).draw(1_000_000)).unwrap();
        let off = if seed % 2 == 0 { far } else { -far };
        let mut world = ClockWorld::new(seed, off);
        world.round(true);
        let context = |world: &ClockWorld| format!("seed {seed}, n {}, off {off}", world.n);
        assert!(world.doubt.doubt().is_some(), "{}", context(&world));
        // neither silence nor lies end the doubt
        for _ in 0..20 {
            world.round(false);
            assert!(world.doubt.doubt().is_some(), "{}", context(&world));
        }
        // nor does a jump, until the others agree
        world.clocks.off = 0;
        world.doubt.observe(world.clocks.read());
        assert!(world.doubt.doubt().is_some(), "{}", context(&world));
        world.round(true);
        assert_eq!(world.doubt.doubt(), None, "{}", context(&world));
    }
}

#[test]
fn the_difference_is_the_median_of_what_the_others_say_and_a_jump_forgets_it() {
    let (mut clocks, mut doubt) = start(4);
    assert_eq!(doubt.ahead(), None, "nobody was asked");
    clocks.off = 20;
    let truth = clocks.truth();
    assert_eq!(round(&mut doubt, clocks, 1, &[(1, truth), (2, truth - 1000), (3, truth - 1)]), []);
    assert_eq!(doubt.ahead(), Some(21), "one liar does not move the median past an honest member");
    clocks.off = -7;
    clocks.pass(600);
    let truth = clocks.truth();
    doubt.ask(clocks.read(), 2);
    assert_eq!(doubt.ahead(), Some(21), "until the next answer");
    assert_eq!(doubt.answer(clocks.read(), 2, 1, truth), None);
    assert_eq!(doubt.ahead(), Some(-7));
    clocks.off = 3600;
    doubt.observe(clocks.read());
    assert_eq!(doubt.ahead(), None);
}
