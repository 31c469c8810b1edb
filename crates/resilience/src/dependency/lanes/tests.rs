//! Lanes against a naive model: what each provider's account would see.

use super::*;
use crate::breaker::tests::an_instant;
use crate::pacing::{Told, WINDOW};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const ASKS: Asks = Asks { others: false, every: Duration::from_secs(30) };

fn lanes(count: usize, per_min: u32) -> Lanes {
    let pace = PacePolicy { per_min: Some(per_min), tokens_per_min: None };
    Lanes::new(count, pace, Learn::Lower)
}

/// Sends one call now, if there is room.
fn pass(lanes: &mut Lanes, now: Instant) -> Result<usize, Duration> {
    let trial = lanes.check(ASKS, now)?;
    let room = lanes.reserve(1, trial, ASKS, now)?;
    Ok(lanes.send(room, trial, now).lane)
}

fn says(limit: u32) -> Learned {
    Learned { requests: Told { limit: Some(limit), ..Told::default() }, ..Learned::default() }
}

proptest! {
    // req: S0-03
    #[test]
    fn no_lane_exceeds_its_own_limit_and_a_held_one_receives_nothing_while_another_is_free(
        count in 1_usize..5,
        per_min in 2_u32..8,
        steps in prop::collection::vec((0_u64..8_000, 0_usize..5, 0_u8..12), 1..300),
    ) {
        let mut now = an_instant();
        let mut all = lanes(count, per_min);
        let mut sent = vec![Vec::<Instant>::new(); count];
        let mut waiting: Vec<Room> = Vec::new();
        for (wait, lane, what) in steps {
            now += Duration::from_millis(wait);
            let lane = lane % count;
            let trial = all.check(ASKS, now);
            let mut used = None;
            match what {
                // A call that finds a place at once.
                0..=4 => used = pass(&mut all, now).ok(),
                // One that waits for its place with its room.
                5 | 6 => if let Ok(trial) = trial && let Ok(room) = all.reserve(1, trial, ASKS, now) {
                    waiting.push(room);
                },
                7 | 8 => if let Ok(trial) = trial && let Some(room) = waiting.pop() {
                    let mut room = Some(room);
                    match all.confirm(&mut room, 1, trial, ASKS, now) {
                        Ok(()) => used = room.map(|room| all.send(room, trial, now).lane),
                        Err(_) => waiting.extend(room),
                    }
                },
                9 => all.learn(lane, &says(per_min - 1), now),
                10 => { all.all[lane].account.hold(SECOND * 40, now); }
                _ => all.all[lane].pacer.slow_down(Some(SECOND * 5), now),
            }
            if let Some(lane) = used {
                let free = (0..count).any(|other| all.all[other].account.held(now).is_none());
                let held = all.all[lane].account.held(now).is_some();
                prop_assert!(!(held && free), "lane {lane} is held and another is free");
                sent[lane].push(now);
            }
            for (lane, sent) in sent.iter().enumerate() {
                let recent = sent.iter().filter(|at| now - **at < WINDOW).count();
                prop_assert!(recent <= per_min as usize, "lane {lane}: {recent} calls");
            }
        }
        for room in waiting {
            all.give_back(room);
        }
        prop_assert!(all.are_at_rest());
    }

    // req: S0-03
    #[test]
    fn a_lower_limit_that_was_learned_counts_from_the_next_call_on(
        per_min in 4_u32..20,
        lower in 1_u32..20,
        early in 0_usize..20,
        gaps in prop::collection::vec(0_u64..6_000, 1..150),
    ) {
        let mut now = an_instant();
        let mut all = lanes(1, per_min);
        let mut sent: Vec<Instant> = (0..early).filter_map(|_| pass(&mut all, now).ok().map(|_| now)).collect();
        let most = per_min.min((lower * 95 / 100).max(1)) as usize;
        for gap in gaps {
            now += Duration::from_millis(gap);
            all.learn(0, &says(lower), now);
            if pass(&mut all, now).is_ok() {
                sent.push(now);
                let recent = sent.iter().filter(|at| now - **at < WINDOW).count();
                prop_assert!(recent <= most, "{recent} of {most}");
            }
        }
    }
}

#[test]
fn the_turn_goes_round_the_lanes_that_have_room() {
    let now = an_instant();
    let mut all = lanes(3, 2);
    let order: Vec<usize> = (0..6).map(|_| pass(&mut all, now).unwrap()).collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    assert_eq!(pass(&mut all, now), Err(WINDOW), "every lane is full");
}

#[test]
fn a_paused_lane_is_passed_by_and_all_paused_ones_wait_for_the_first() {
    let now = an_instant();
    let mut all = lanes(2, 10);
    all.all[0].pacer.slow_down(Some(SECOND * 20), now);
    assert!((0..5).all(|_| pass(&mut all, now) == Ok(1)));
    all.all[1].pacer.slow_down(Some(SECOND * 7), now);
    assert_eq!(pass(&mut all, now), Err(SECOND * 7));
    assert_eq!((all.held(now), all.paused(now)), (None, Some(SECOND * 7)));
}

#[test]
fn room_in_a_lane_that_is_held_by_now_is_changed_for_anothers() {
    let now = an_instant();
    let mut all = lanes(2, 1);
    let mut room = Some(all.reserve(1, false, ASKS, now).unwrap());
    all.all[0].account.hold(SECOND * 900, now);
    assert_eq!(all.confirm(&mut room, 1, false, ASKS, now), Ok(()));
    assert_eq!(room.as_ref().map(|room| room.lane), Some(1));
    all.all[1].account.hold(SECOND * 900, now);
    assert_eq!(all.check(Asks { others: true, ..ASKS }, now), Err(SECOND * 900));
    assert_eq!(all.held_count(now), 2);
    assert!(all.release(now) && !all.release(now));
    assert_eq!(all.check(ASKS, now), Ok(false));
    all.give_back(room.unwrap());
    assert!(all.are_at_rest());
}

#[test]
fn fewer_keys_after_a_reload_leave_calls_under_way_where_they_are() {
    let now = an_instant();
    let mut all = lanes(3, 5);
    let rooms: Vec<Room> = (0..3).map(|_| all.reserve(1, false, ASKS, now).unwrap()).collect();
    all.set_policy(1, PacePolicy { per_min: Some(5), tokens_per_min: None }, Learn::Off);
    assert!((0..3).all(|_| pass(&mut all, now) == Ok(0)));
    rooms.into_iter().for_each(|room| all.give_back(room));
    assert!(all.are_at_rest());
    all.set_policy(2, PacePolicy::default(), Learn::Off);
    assert_eq!([pass(&mut all, now), pass(&mut all, now)].map(Result::unwrap).iter().sum::<usize>(), 1);
}
