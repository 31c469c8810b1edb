//! The breaker against sentences, against a naive model, and under many tasks.

use super::*;
use proptest::prelude::*;

const POLICY: BreakerPolicy = BreakerPolicy { failures: 4, reset: Duration::from_secs(120) };
const SECOND: Duration = Duration::from_secs(1);

/// An instant without a runtime's clock running.
pub(crate) fn an_instant() -> Instant {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { Instant::now() })
}

fn breaker(policy: BreakerPolicy, now: Instant) -> Breaker {
    Breaker::new(policy, now)
}

/// One call from leave to record; `None` when it was not let through.
fn call(breaker: &mut Breaker, count: Count, now: Instant) -> Option<Transition> {
    let (pass, _) = breaker.enter(now).ok()?;
    Some(breaker.record(pass, count, now))
}

fn opened(now: Instant) -> Breaker {
    let mut breaker = breaker(POLICY, now);
    for _ in 0..4 {
        call(&mut breaker, Count::Hard, now);
    }
    assert_eq!(breaker.state(now), BreakerState::Open);
    breaker
}

// req: S4-BRK, S2-2.3
#[test]
fn it_opens_at_its_number_probes_once_and_closes_again() {
    let now = an_instant();
    let mut breaker = breaker(POLICY, now);
    for _ in 0..3 {
        assert_eq!(call(&mut breaker, Count::Hard, now), Some(None));
    }
    let transition = Some((BreakerState::Closed, BreakerState::Open));
    assert_eq!(call(&mut breaker, Count::Hard, now), Some(transition));
    assert_eq!(breaker.enter(now).err(), Some(POLICY.reset));
    assert_eq!(breaker.enter(now + POLICY.reset - SECOND).err(), Some(SECOND));
    let later = now + POLICY.reset;
    let (probe, transition) = breaker.enter(later).unwrap();
    assert!(probe.probe);
    assert_eq!(transition, Some((BreakerState::Open, BreakerState::HalfOpen)));
    assert!(breaker.enter(later).is_err(), "exactly one probe");
    let transition = breaker.record(probe, Count::Success, later);
    assert_eq!(transition, Some((BreakerState::HalfOpen, BreakerState::Closed)));
    assert_eq!(breaker.state(later), BreakerState::Closed);
    assert_eq!(call(&mut breaker, Count::Hard, later), Some(None), "it counts from the start again");
}

#[test]
fn a_failed_probe_opens_for_the_whole_reset_time_again() {
    for failure in [Count::Hard, Count::Soft] {
        let now = an_instant();
        let mut breaker = opened(now);
        let later = now + POLICY.reset + SECOND;
        let (probe, _) = breaker.enter(later).unwrap();
        let transition = breaker.record(probe, failure, later);
        assert_eq!(transition, Some((BreakerState::HalfOpen, BreakerState::Open)), "{failure:?}");
        assert_eq!(breaker.wait(later), POLICY.reset);
    }
}

#[test]
fn a_cancelled_probe_is_given_back_to_the_next_call() {
    let now = an_instant();
    let mut breaker = opened(now);
    let later = now + POLICY.reset;
    let (probe, _) = breaker.enter(later).unwrap();
    assert_eq!(breaker.record(probe, Count::Nothing, later), None);
    let (next, transition) = breaker.enter(later).unwrap();
    assert!(next.probe && transition.is_none());
}

#[test]
fn rate_limits_alone_never_open() {
    let now = an_instant();
    let mut breaker = breaker(POLICY, now);
    for _ in 0..1_000 {
        assert_eq!(call(&mut breaker, Count::Soft, now), Some(None));
    }
    assert_eq!(breaker.state(now), BreakerState::Closed);
}

#[test]
fn a_success_resets_the_row_and_what_says_nothing_leaves_it() {
    let now = an_instant();
    let mut breaker = breaker(POLICY, now);
    for _ in 0..6 {
        for _ in 0..3 {
            call(&mut breaker, Count::Hard, now);
        }
        for _ in 0..6 {
            call(&mut breaker, Count::Success, now);
        }
    }
    assert_eq!(breaker.state(now), BreakerState::Closed);
    for count in
        [Count::Hard, Count::Nothing, Count::Hard, Count::Soft, Count::Hard, Count::Nothing, Count::Hard]
    {
        call(&mut breaker, count, now);
    }
    assert_eq!(breaker.state(now), BreakerState::Open, "four in a row, whatever says nothing between them");
}

#[test]
fn half_of_twenty_failing_within_thirty_seconds_opens_but_old_failures_are_forgotten() {
    let start = an_instant();
    let patient = BreakerPolicy { failures: 100, ..POLICY };
    let mut old = breaker(patient, start);
    for index in 0..19 {
        let count = if index % 2 == 0 { Count::Hard } else { Count::Success };
        assert_eq!(call(&mut old, count, start), Some(None), "19 calls say nothing");
    }
    let late = start + Duration::from_secs(31);
    assert_eq!(call(&mut old, Count::Hard, late), Some(None), "the old ones no longer count");
    let mut recent = breaker(patient, start);
    for index in 0..20_u32 {
        let count = if index % 2 == 1 { Count::Hard } else { Count::Success };
        call(&mut recent, count, start + SECOND * index);
    }
    assert_eq!(recent.state(start + SECOND * 19), BreakerState::Open);
}

#[test]
fn rate_limits_lower_the_rate_that_a_hard_failure_is_judged_by() {
    let now = an_instant();
    let mut breaker = breaker(BreakerPolicy { failures: 100, ..POLICY }, now);
    for index in 0..19 {
        call(&mut breaker, if index < 9 { Count::Soft } else { Count::Success }, now);
    }
    assert_eq!(breaker.state(now), BreakerState::Closed);
    call(&mut breaker, Count::Hard, now);
    assert_eq!(breaker.state(now), BreakerState::Open, "10 of 20");
}

#[test]
fn calls_let_through_before_it_opened_say_nothing_about_the_time_after() {
    let now = an_instant();
    let mut breaker = breaker(POLICY, now);
    let hung: Vec<Pass> = (0..10).map(|_| breaker.enter(now).unwrap().0).collect();
    for _ in 0..4 {
        call(&mut breaker, Count::Hard, now);
    }
    let later = now + POLICY.reset;
    let (probe, _) = breaker.enter(later).unwrap();
    breaker.record(hung[0], Count::Success, later);
    assert_eq!(breaker.state(later), BreakerState::HalfOpen, "only the probe closes");
    breaker.record(probe, Count::Success, later);
    for pass in &hung[1..] {
        assert_eq!(breaker.record(*pass, Count::Hard, later), None);
    }
    assert_eq!(breaker.state(later), BreakerState::Closed);
}

#[test]
fn leave_given_before_it_opened_is_asked_for_anew() {
    let now = an_instant();
    let mut breaker = breaker(POLICY, now);
    let (waiting, _) = breaker.enter(now).unwrap();
    assert_eq!(breaker.renew(waiting, now), Ok((waiting, None)));
    for _ in 0..4 {
        call(&mut breaker, Count::Hard, now);
    }
    assert_eq!(breaker.renew(waiting, now), Err(POLICY.reset));
    let later = now + POLICY.reset;
    let (probe, _) = breaker.renew(waiting, later).unwrap();
    assert!(probe.probe);
    assert!(breaker.renew(waiting, later).is_err(), "one probe, whoever waited");
}

#[test]
fn a_streamed_probe_closes_at_its_first_byte_and_opens_at_once_if_it_breaks_later() {
    let now = an_instant();
    let mut breaker = opened(now);
    let later = now + POLICY.reset;
    let (mut probe, _) = breaker.enter(later).unwrap();
    let transition = breaker.begun(&mut probe, later);
    assert_eq!(transition, Some((BreakerState::HalfOpen, BreakerState::Closed)));
    assert!(breaker.enter(later).is_ok(), "others need not wait for the stream's end");
    let transition = breaker.record(probe, Count::Hard, later + SECOND);
    assert_eq!(transition, Some((BreakerState::Closed, BreakerState::Open)));
}

#[test]
fn a_streamed_probe_that_is_cancelled_after_its_first_byte_leaves_the_breaker_closed() {
    let now = an_instant();
    let mut breaker = opened(now);
    let later = now + POLICY.reset;
    let (mut probe, _) = breaker.enter(later).unwrap();
    breaker.begun(&mut probe, later);
    breaker.record(probe, Count::Nothing, later);
    assert_eq!(breaker.state(later), BreakerState::Closed);
}

#[test]
fn what_other_replicas_say_opens_at_most_for_the_reset_time_and_never_closes_by_itself() {
    let now = an_instant();
    let mut breaker = breaker(POLICY, now);
    assert_eq!(breaker.hear_open(now, now), None, "that time is over");
    let transition = breaker.hear_open(now + Duration::from_secs(86_400), now);
    assert_eq!(transition, Some((BreakerState::Closed, BreakerState::Open)));
    assert_eq!(breaker.wait(now), POLICY.reset, "a clock that is wrong elsewhere costs no more than that");
    breaker.hear_closed(now + SECOND);
    assert_eq!(breaker.state(now + SECOND), BreakerState::HalfOpen);
    assert!(breaker.enter(now + SECOND).unwrap().0.probe);
    assert_eq!(breaker.hear_open(now + POLICY.reset, now + SECOND), None, "its own probe decides");
}

#[test]
fn a_breaker_that_is_switched_off_passes_everything() {
    let now = an_instant();
    let mut breaker = breaker(BreakerPolicy { failures: 0, ..POLICY }, now);
    for _ in 0..100 {
        assert_eq!(call(&mut breaker, Count::Hard, now), Some(None));
    }
    assert_eq!(breaker.hear_open(now + SECOND, now), None);
}

/// What a breaker is, said as simply as possible: the whole history is kept and looked through each time.
struct Naive {
    policy: BreakerPolicy,
    row: u32,
    history: Vec<(u64, bool)>,
    open_until: Option<u64>,
    half_open: bool,
    probing: bool,
}

impl Naive {
    fn admits(&mut self, now: u64) -> bool {
        if let Some(until) = self.open_until {
            if now < until {
                return false;
            }
            (self.open_until, self.half_open, self.probing) = (None, true, false);
        }
        let admitted = !self.probing;
        self.probing = self.half_open;
        admitted
    }

    fn record(&mut self, count: Count, now: u64) {
        if self.half_open {
            self.probing = false;
            match count {
                Count::Success => self.half_open = false,
                Count::Hard | Count::Soft => self.open(now),
                Count::Nothing => {}
            }
            return;
        }
        match count {
            Count::Success => self.row = 0,
            Count::Hard => self.row += 1,
            Count::Soft | Count::Nothing => {}
        }
        if count != Count::Nothing {
            self.history.push((now, count != Count::Success));
        }
        let recent = self.history.iter().filter(|(at, _)| at + 30 > now);
        let (calls, failures) = recent.fold((0, 0), |(c, f), (_, failed)| (c + 1, f + u32::from(*failed)));
        if count == Count::Hard
            && (self.row >= self.policy.failures || (calls >= 20 && failures * 2 >= calls))
        {
            self.open(now);
        }
    }

    fn open(&mut self, now: u64) {
        self.open_until = Some(now + self.policy.reset.as_secs());
        (self.row, self.half_open) = (0, false);
        self.history.clear();
    }

    fn state(&self, now: u64) -> BreakerState {
        match self.open_until {
            Some(until) if now < until => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
            None if self.half_open => BreakerState::HalfOpen,
            None => BreakerState::Closed,
        }
    }
}

proptest! {
    // req: S4-BRK
    #[test]
    fn it_does_what_the_naive_model_does(
        failures in 1_u32..30,
        reset in 1_u64..60,
        steps in prop::collection::vec((0_u64..8, 0_usize..6), 1..400),
    ) {
        let start = an_instant();
        let policy = BreakerPolicy { failures, reset: Duration::from_secs(reset) };
        let mut real = breaker(policy, start);
        let mut naive =
            Naive { policy, row: 0, history: vec![], open_until: None, half_open: false, probing: false };
        let mut secs = 0;
        for (wait, kind) in steps {
            secs += wait;
            let now = start + Duration::from_secs(secs);
            // Failures twice as often, so that long runs of them are seen.
            let count = [Count::Success, Count::Hard, Count::Hard, Count::Soft, Count::Nothing, Count::Success][kind];
            prop_assert_eq!(real.state(now), naive.state(secs));
            let admitted = naive.admits(secs);
            let Ok((pass, _)) = real.enter(now) else {
                prop_assert!(!admitted);
                continue;
            };
            prop_assert!(admitted);
            if pass.probe {
                prop_assert!(real.enter(now).is_err(), "a second probe");
            }
            real.record(pass, count, now);
            naive.record(count, secs);
            prop_assert_eq!(real.state(now), naive.state(secs));
        }
    }

    #[test]
    fn with_many_calls_under_way_there_is_never_more_than_one_probe_and_it_never_gets_lost(
        steps in prop::collection::vec((0_u64..40, any::<bool>(), 0_usize..4, any::<prop::sample::Index>()), 1..400),
    ) {
        let start = an_instant();
        let policy = BreakerPolicy { failures: 3, reset: Duration::from_secs(50) };
        let mut breaker = breaker(policy, start);
        let (mut now, mut under_way) = (start, Vec::<Pass>::new());
        for (wait, ends, kind, which) in steps {
            now += Duration::from_secs(wait);
            if ends && !under_way.is_empty() {
                let pass = under_way.swap_remove(which.index(under_way.len()));
                breaker.record(pass, [Count::Success, Count::Hard, Count::Soft, Count::Nothing][kind], now);
            } else if let Ok((pass, _)) = breaker.enter(now) {
                under_way.push(pass);
            }
            let probes = under_way.iter().filter(|pass| pass.probe && pass.epoch == breaker.epoch).count();
            prop_assert!(probes <= 1);
            if matches!(breaker.state, State::HalfOpen { probing: true }) {
                prop_assert_eq!(probes, 1, "somebody holds the probe");
            }
        }
    }
}

// req: S4-BRK
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_tasks_that_find_it_half_open_exactly_one_passes() {
    use parking_lot::Mutex;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    let past = Instant::now();
    let reset = Duration::from_millis(1);
    let mut breaker = Breaker::new(BreakerPolicy { failures: 1, reset }, past);
    call(&mut breaker, Count::Hard, past);
    let (breaker, passed) = (Arc::new(Mutex::new(breaker)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(tokio::sync::Barrier::new(1_000));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let (breaker, passed, gate) = (breaker.clone(), passed.clone(), gate.clone());
        tasks.spawn(async move {
            gate.wait().await;
            let entered = breaker.lock().enter(past + reset);
            if entered.is_ok_and(|(pass, _)| pass.probe) {
                passed.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(passed.load(Ordering::SeqCst), 1);
}
