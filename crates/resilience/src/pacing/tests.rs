//! The bounds hold over any run, against a naive model; waiting as told succeeds.

use super::*;
use crate::breaker::tests::an_instant;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(30);

fn calls(per_min: u32) -> Pacer {
    Pacer::new(PacePolicy { per_min: Some(per_min), tokens_per_min: None })
}

fn pass(pacer: &mut Pacer, tokens: u32, now: Instant) -> Result<Ticket, Duration> {
    pacer.reserve(tokens, now).map(|reserved| pacer.send(reserved, now))
}

/// What the provider would see: calls and tokens of the 60 s that end now.
fn seen(sent: &[(Instant, u32)], now: Instant) -> (u32, u32) {
    let recent = sent.iter().filter(|(at, _)| now - *at < WINDOW);
    recent.fold((0, 0), |(calls, sum), (_, tokens)| (calls + 1, sum + tokens))
}

proptest! {
    // req: S0-03
    #[test]
    fn no_sixty_seconds_of_any_run_hold_more_calls_or_tokens_than_allowed(
        per_min in 1_u32..12,
        tokens_per_min in 50_u32..200,
        steps in prop::collection::vec((0_u64..20_000, 1_u32..40, 0_u8..4), 1..250),
    ) {
        let mut now = an_instant();
        let policy = PacePolicy { per_min: Some(per_min), tokens_per_min: Some(tokens_per_min) };
        let (mut pacer, mut sent, mut waiting) = (Pacer::new(policy), Vec::new(), VecDeque::new());
        for (wait, tokens, what) in steps {
            now += Duration::from_millis(wait);
            match what {
                // Reserves and waits elsewhere, as behind a bulkhead.
                0 | 1 => {
                    if let Ok(reserved) = pacer.reserve(tokens, now) {
                        waiting.push_back((reserved, tokens));
                    }
                }
                // Somebody who waited gets a place, or goes away.
                2 => {
                    if let Some((reserved, tokens)) = waiting.pop_front() {
                        pacer.send(reserved, now);
                        sent.push((now, tokens));
                    }
                }
                _ => {
                    if let Some((reserved, _)) = waiting.pop_back() {
                        pacer.give_back(reserved);
                    }
                }
            }
            let (calls, sum) = seen(&sent, now);
            prop_assert!(calls <= per_min && sum <= tokens_per_min, "{calls} calls, {sum} tokens");
        }
    }

    // req: S0-03
    #[test]
    fn who_waits_as_long_as_told_is_let_through_and_no_sooner(
        per_min in 1_u32..12,
        tokens_per_min in 50_u32..200,
        steps in prop::collection::vec((0_u64..20_000, 1_u32..40), 1..200),
    ) {
        let mut now = an_instant();
        let policy = PacePolicy { per_min: Some(per_min), tokens_per_min: Some(tokens_per_min) };
        let (mut pacer, mut sent) = (Pacer::new(policy), Vec::new());
        for (gap, tokens) in steps {
            now += Duration::from_millis(gap);
            if let Err(wait) = pass(&mut pacer, tokens, now) {
                prop_assert!(wait > Duration::ZERO && wait <= WINDOW);
                let (calls, sum) = seen(&sent, now + wait.saturating_sub(GRAIN));
                prop_assert!(calls + 1 > per_min || sum + tokens > tokens_per_min, "told to wait for nothing");
                now += wait;
                prop_assert!(pass(&mut pacer, tokens, now).is_ok(), "waiting as told succeeds");
            }
            sent.push((now, tokens));
        }
    }
}

#[test]
fn calls_that_were_reserved_early_and_sent_late_still_keep_the_bound() {
    let now = an_instant();
    let mut pacer = calls(3);
    let early: Vec<Reserved> = (0..3).map(|_| pacer.reserve(1, now).unwrap()).collect();
    let late = now + SECOND * 59;
    for reserved in early {
        pacer.send(reserved, late);
    }
    assert_eq!(pacer.reserve(1, now + WINDOW), Err(SECOND * 59), "60 s from the sending");
    assert!(pacer.reserve(1, late + WINDOW).is_ok());
}

#[test]
fn what_was_never_sent_costs_nothing() {
    let now = an_instant();
    let mut pacer = calls(1);
    let reserved = pacer.reserve(1, now).unwrap();
    assert_eq!(pacer.reserve(1, now), Err(WINDOW));
    pacer.give_back(reserved);
    assert!(pacer.reserve(1, now).is_ok());
}

#[test]
fn a_rate_limit_pauses_everything_and_shrinks_the_window_for_a_minute() {
    let now = an_instant();
    let mut pacer = calls(10);
    pacer.slow_down(Some(SECOND * 7), now);
    assert_eq!(pacer.reserve(1, now), Err(SECOND * 7));
    let after = now + SECOND * 7;
    assert_eq!((0..20).filter(|_| pass(&mut pacer, 1, after).is_ok()).count(), 9);
    assert_eq!((0..20).filter(|_| pass(&mut pacer, 1, after + WINDOW).is_ok()).count(), 10);
}

#[test]
fn a_paused_dependency_is_tried_by_the_very_next_call_and_then_once_in_a_while() {
    let now = an_instant();
    let mut pacer = Pacer::new(PacePolicy::default());
    assert_eq!(pacer.probe(1, EVERY, now), None, "nothing is paused");
    pacer.slow_down(Some(SECOND * 300), now);
    let probe = pacer.probe(1, EVERY, now).unwrap();
    pacer.send(probe, now);
    assert_eq!(pacer.probe(1, EVERY, now), None);
    pacer.slow_down(Some(SECOND * 300), now + SECOND);
    assert_eq!(pacer.probe(1, EVERY, now + SECOND), None, "the probe failed: not at once again");
    let probe = pacer.probe(1, EVERY, now + EVERY).unwrap();
    let ticket = pacer.send(probe, now + EVERY);
    pacer.worked(&ticket);
    assert_eq!(pacer.paused(now + EVERY), None, "it works again");
}

#[test]
fn a_cancelled_probe_is_given_back() {
    let now = an_instant();
    let mut pacer = Pacer::new(PacePolicy::default());
    pacer.slow_down(Some(SECOND * 300), now);
    let probe = pacer.probe(1, EVERY, now).unwrap();
    pacer.give_back(probe);
    assert!(pacer.probe(1, EVERY, now).is_some());
}

#[test]
fn absurd_waits_are_not_believed() {
    let now = an_instant();
    let mut pacer = calls(10);
    pacer.slow_down(Some(Duration::MAX), now);
    assert_eq!(pacer.paused(now), Some(DEFAULT_PAUSE));
}

#[test]
fn settling_frees_what_was_reserved_too_much_and_charges_what_was_too_little() {
    let now = an_instant();
    let mut pacer = Pacer::new(PacePolicy { per_min: None, tokens_per_min: Some(100) });
    let mut first = pass(&mut pacer, 90, now).unwrap();
    assert_eq!(pacer.reserve(20, now), Err(WINDOW));
    pacer.settle(&mut first, 10);
    let mut second = pass(&mut pacer, 80, now).unwrap();
    pacer.settle(&mut second, 1_000);
    assert_eq!(pass(&mut pacer, 1, now + SECOND), Err(SECOND * 59));
    pacer.settle(&mut first, 5);
    assert!(pass(&mut pacer, 1, now + WINDOW).is_ok());
    pacer.settle(&mut first, 7);
}

#[test]
fn a_call_larger_than_the_window_passes_alone_and_no_limit_is_no_limit() {
    let now = an_instant();
    let mut pacer = Pacer::new(PacePolicy { per_min: None, tokens_per_min: Some(100) });
    assert!(pass(&mut pacer, 5_000, now).is_ok());
    assert!(pass(&mut pacer, 1, now).is_err());
    let mut free = Pacer::new(PacePolicy::default());
    for _ in 0..1_000 {
        assert!(pass(&mut free, u32::MAX, now).is_ok());
    }
    assert!(free.sent.is_empty(), "nothing to remember");
}

#[test]
fn however_many_calls_there_are_the_memory_is_bounded() {
    let (start, mut pacer) = (an_instant(), calls(u32::MAX));
    for index in 0..200_000_u32 {
        assert!(pass(&mut pacer, 1, start + Duration::from_micros(500) * index).is_ok());
    }
    assert!(pacer.sent.len() <= 6_001, "{}", pacer.sent.len());
}

fn says(limit: Option<u32>, remaining: Option<u64>, resets_in: Option<Duration>) -> Learned {
    Learned { requests: Told { limit, remaining, resets_in }, ..Learned::default() }
}

fn learning(per_min: Option<u32>, learn: Learn) -> Pacer {
    let mut pacer = Pacer::new(PacePolicy { per_min, tokens_per_min: None });
    pacer.set_learn(learn);
    pacer
}

fn passed(pacer: &mut Pacer, now: Instant) -> usize {
    (0..200).filter(|_| pass(pacer, 1, now).is_ok()).count()
}

// req: S0-03
#[test]
fn a_learned_limit_lowers_with_a_little_to_spare_and_raises_only_where_it_may() {
    let now = an_instant();
    for (configured, learn, limit, most) in [
        (Some(100), Learn::Lower, 40, 38),
        (Some(100), Learn::Lower, 150, 100),
        (Some(100), Learn::Raise, 150, 142),
        (Some(100), Learn::Raise, 40, 38),
        (Some(100), Learn::Off, 40, 100),
        (None, Learn::Lower, 40, 38),
        (Some(100), Learn::Lower, 1, 1),
    ] {
        let mut pacer = learning(configured, learn);
        pacer.learn(&says(Some(limit), None, None), now);
        assert_eq!(passed(&mut pacer, now), most, "{configured:?} {learn:?} {limit}");
    }
}

// req: S0-03
#[test]
fn what_is_learned_fades_after_ten_minutes_and_the_lowest_confirmed_word_counts() {
    let now = an_instant();
    let mut pacer = learning(Some(100), Learn::Lower);
    pacer.learn(&says(Some(20), None, None), now);
    pacer.learn(&says(Some(60), None, None), now + SECOND);
    assert_eq!(pacer.learned_per_min(now + SECOND), Some(20), "another model's higher limit is no news");
    pacer.learn(&says(Some(20), None, None), now + SECOND * 590);
    assert_eq!(pacer.learned_per_min(now + SECOND * 1_189), Some(20), "confirmed");
    let later = now + SECOND * 1_190;
    assert_eq!((pacer.learned_per_min(later), passed(&mut pacer, later)), (None, 100));
    pacer.learn(&says(Some(60), None, None), later);
    assert_eq!(pacer.learned_per_min(later), Some(60), "the account has grown");
}

// req: S0-03
#[test]
fn nothing_left_pauses_until_the_reset_and_a_probe_that_works_ends_it() {
    let now = an_instant();
    let mut pacer = learning(Some(100), Learn::Lower);
    pacer.learn(&says(None, Some(0), Some(SECOND * 40)), now);
    assert_eq!(pacer.reserve(1, now), Err(SECOND * 40));
    let probe = pacer.probe(1, EVERY, now).unwrap();
    let ticket = pacer.send(probe, now);
    pacer.worked(&ticket);
    assert!(pass(&mut pacer, 1, now).is_ok());
    pacer.learn(&says(None, Some(1), Some(SECOND * 40)), now);
    assert!(pass(&mut pacer, 1, now).is_ok(), "something is left");
}

// req: S0-03
#[test]
fn absurd_words_change_nothing() {
    let now = an_instant();
    let mut pacer = learning(Some(10), Learn::Raise);
    for absurd in [
        says(Some(0), None, None),
        says(None, Some(0), None),
        says(None, Some(0), Some(Duration::ZERO)),
        says(None, Some(0), Some(MAX_PAUSE + SECOND)),
        says(None, Some(0), Some(Duration::MAX)),
        Learned::default(),
    ] {
        pacer.learn(&absurd, now);
        assert_eq!((pacer.paused(now), pacer.learned_per_min(now)), (None, None), "{absurd:?}");
    }
    assert_eq!(passed(&mut pacer, now), 10);
}

#[test]
fn room_that_was_reserved_under_a_higher_limit_waits_under_the_lower_one() {
    let now = an_instant();
    let mut pacer = learning(Some(10), Learn::Lower);
    let early: Vec<Reserved> = (0..6).map(|_| pacer.reserve(1, now).unwrap()).collect();
    pacer.learn(&says(Some(4), None, None), now);
    let mut waits = Vec::new();
    for reserved in early {
        match pacer.must_wait(&reserved, now) {
            None => drop(pacer.send(reserved, now)),
            Some(wait) => waits.push((wait, reserved)),
        }
    }
    assert_eq!(waits.iter().map(|(wait, _)| *wait).collect::<Vec<_>>(), [WINDOW; 3]);
    for (_, reserved) in waits {
        assert_eq!(pacer.must_wait(&reserved, now + WINDOW), None);
        pacer.give_back(reserved);
    }
}
