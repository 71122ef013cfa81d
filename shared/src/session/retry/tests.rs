use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn open() -> Retry {
    let mut retry = Retry::new(MINUTE);
    retry.opened();
    retry
}

fn begun() -> Retry {
    let mut retry = Retry::new(MINUTE);
    retry.reached(0, Milestone::Ready(0));
    retry
}

fn pause(retry: &mut Retry, now: Duration) -> Option<Duration> {
    retry.pause(Fault::Link, now, 0)
}

#[test]
fn pauses_double_and_are_shortened_at_random() {
    let mut retry = begun();
    let pauses: Vec<Duration> = (0..7).map(|_| pause(&mut retry, ms(1000)).unwrap()).collect();
    assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000].map(ms));
    let shortest = begun().pause(Fault::Link, ms(0), 255).unwrap();
    assert!(shortest > ms(100) && shortest < ms(101), "{shortest:?}");
}

#[test]
fn time_without_progress_is_bounded() {
    let mut retry = begun();
    // The link may have been silent for long before the first failure.
    let mut now = ms(1_000_000);
    let mut attempts = 1;
    while let Some(pause) = pause(&mut retry, now) {
        // The same bytes again are not progress.
        retry.reached(0, Milestone::Ready(0));
        now += pause;
        attempts += 1;
    }
    assert!((ms(1_050_000)..=ms(1_060_000)).contains(&now), "{now:?}");
    assert_eq!(retry.attempts(), attempts);
    assert_eq!(Retry::new(Duration::ZERO).pause(Fault::Link, now, 0), None);
    let mut endless = Retry::new(Duration::MAX);
    endless.opened();
    assert!(pause(&mut endless, now).is_some());
}

#[test]
fn progress_restarts_pauses_and_limit() {
    let progress = [
        Milestone::Moved(1),
        Milestone::Moved(400_000),
        Milestone::Ready(262_144),
        Milestone::Moved(400_001),
        Milestone::Stored,
        Milestone::Voted,
    ];
    let mut retry = begun();
    let mut now = ms(0);
    for milestone in progress {
        assert_eq!(pause(&mut retry, now), Some(ms(200)), "{milestone:?}");
        retry.reached(0, milestone);
        now += MINUTE * 2;
    }
    assert_eq!(pause(&mut retry, now), Some(ms(200)));
    for milestone in [Milestone::Moved(9_000_000), Milestone::Ready(9_000_000), Milestone::Stored] {
        retry.reached(0, milestone);
        assert!(pause(&mut retry, now).is_some_and(|pause| pause > ms(200)), "{milestone:?}");
    }
    // Progress of one of several puts is enough.
    retry.reached(1, Milestone::Ready(0));
    assert_eq!(pause(&mut retry, now), Some(ms(200)));
    retry.completed(1);
    assert_eq!(pause(&mut retry, now + MINUTE), Some(ms(200)));
}

#[test]
fn a_server_that_was_never_reached_or_refused_at_once_is_not_retried() {
    let may_pass = |retry: &Retry| {
        [Fault::Link, Fault::Refusal, Fault::NoHolder, Fault::Permanent].map(|fault| retry.may_pass(fault))
    };
    assert_eq!(may_pass(&Retry::new(MINUTE)), [false; 4]);
    assert_eq!(may_pass(&open()), [true, false, false, false]);
    let mut retry = begun();
    assert_eq!(may_pass(&retry), [true, true, false, false]);
    pause(&mut retry, ms(0)).unwrap();
    assert_eq!(may_pass(&retry), [true, true, true, false]);
}

#[test]
fn refusals_are_temporary_unless_an_operator_must_act() {
    for code in [Code::Busy, Code::NoCommittee, Code::NotEnoughReplicas, Code::TimedOut, Code::ShuttingDown] {
        assert_eq!(Fault::of_refusal(code), Fault::Refusal, "{code}");
    }
    for code in [Code::NoSpace, Code::DigestDiffers, Code::AnotherCluster, Code::Unexpected, Code::Expired] {
        assert_eq!(Fault::of_refusal(code), Fault::Permanent, "{code}");
    }
}

#[test]
fn problem_over_http_means_the_same_as_on_a_link() {
    for code in Code::ALL.into_iter().filter(|code| *code != Code::NotFound) {
        assert_eq!(Fault::of_problem(&code.slug()), Fault::of_refusal(code), "{code}");
    }
    for code in ["not-found", "exhausted"] {
        assert_eq!(Fault::of_problem(code), Fault::NoHolder, "{code}");
    }
    for code in ["", "internal", "bad-request", "Busy"] {
        assert_eq!(Fault::of_problem(code), Fault::Permanent, "{code}");
    }
}

/// A client of `count` servers.
fn among(count: usize) -> Retry {
    Retry::new(MINUTE).among(count.try_into().unwrap())
}

/// The server of the next attempt after a fault, and the pause in milliseconds before it.
fn next(retry: &mut Retry, fault: Fault) -> Option<(usize, u128)> {
    let pause = retry.pause(fault, ms(1000), 0)?;
    Some((retry.server(), pause.as_millis()))
}

#[test]
fn each_server_is_tried_before_there_is_a_pause() {
    let mut retry = among(3);
    assert_eq!(next(&mut retry, Fault::Link), Some((1, 0)), "the first was never reached");
    assert_eq!(next(&mut retry, Fault::Refusal), Some((2, 0)));
    retry.opened();
    assert_eq!(next(&mut retry, Fault::Link), Some((0, 200)));
    assert_eq!(next(&mut retry, Fault::Link), Some((1, 0)));
    assert_eq!(next(&mut retry, Fault::NoHolder), Some((2, 0)));
    assert_eq!(next(&mut retry, Fault::Link), Some((0, 400)));
    assert_eq!(retry.attempts(), 7);
    // progress at one server makes the others worth a try
    retry.reached(0, Milestone::Ready(0));
    assert_eq!(next(&mut retry, Fault::Link), Some((1, 0)));
}

#[test]
fn servers_that_none_reached_end_the_attempts_after_one_round() {
    let mut retry = among(2);
    assert_eq!(next(&mut retry, Fault::Link), Some((1, 0)));
    assert_eq!(next(&mut retry, Fault::Link), None);
    assert_eq!(retry.attempts(), 2);
}

#[test]
fn a_server_that_would_fail_again_is_not_tried_again() {
    let mut retry = among(3);
    retry.opened();
    assert_eq!(next(&mut retry, Fault::Permanent), Some((1, 0)));
    assert_eq!(next(&mut retry, Fault::Link), Some((2, 0)));
    assert_eq!(next(&mut retry, Fault::Link), Some((1, 200)), "not the first");
    retry.reached(0, Milestone::Ready(0));
    assert_eq!(next(&mut retry, Fault::Permanent), Some((2, 0)));
    assert_eq!(next(&mut retry, Fault::Permanent), None);
}

#[test]
fn no_server_helps_against_a_fault_of_the_client() {
    let mut retry = among(2);
    retry.reached(0, Milestone::Ready(0));
    assert_eq!(next(&mut retry, Fault::Local), None);
    assert_eq!(retry.server(), 0);
}

#[test]
fn a_client_that_does_not_retry_tries_each_server_once() {
    let mut retry = Retry::new(Duration::ZERO).among(2.try_into().unwrap());
    retry.reached(0, Milestone::Ready(0));
    assert_eq!(next(&mut retry, Fault::Link), Some((1, 0)));
    assert_eq!(next(&mut retry, Fault::Link), None);
}

#[test]
fn the_limit_holds_for_all_servers_together() {
    let mut retry = among(2);
    retry.opened();
    let mut now = ms(0);
    let mut attempts = 1;
    while let Some(pause) = retry.pause(Fault::Link, now, 0) {
        now += pause;
        attempts += 1;
    }
    assert!((ms(50_000)..=ms(60_000)).contains(&now), "{now:?}");
    assert_eq!(retry.attempts(), attempts);
}
