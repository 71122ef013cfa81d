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
