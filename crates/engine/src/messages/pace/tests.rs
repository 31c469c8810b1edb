//! The pace in time that is passed in: a random crowd, a restart, and the whole flood of news.md's list.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const PACE: Pace = Pace {
    chat_interval: Duration::from_millis(800),
    per_sec: 5,
    reserve_per_sec: 2,
    group_per_min: Some(4),
    is_group: |chat| chat.starts_with('g'),
    warn_delay: MINUTE,
};

proptest! {
    #[test]
    fn no_second_holds_too_many_no_chat_is_too_fast_and_no_group_too_loud(
        calls in prop::collection::vec((0..6_u8, any::<bool>(), 0..700_u64, 0..900_u64, 0..=100_u64), 1..200),
    ) {
        let (mut pacer, mut now, mut given) = (Pacer::new(PACE), Instant::now(), Vec::new());
        let mut under_way: BTreeMap<(Instant, usize), String> = BTreeMap::new();
        for (chat, patient, gap, takes, seen) in calls {
            now += Duration::from_millis(gap);
            while let Some(entry) = under_way.first_entry().filter(|entry| entry.key().0 <= now) {
                let ((ended, _), chat) = entry.remove_entry();
                pacer.arrived(&chat, ended);
            }
            let chat = if chat < 2 { format!("g{chat}") } else { chat.to_string() };
            if under_way.values().any(|other| *other == chat) {
                continue;
            }
            match pacer.admit(Some(&chat), patient, now) {
                Ok(()) => {
                    let takes = Duration::from_millis(takes);
                    under_way.insert((now + takes, given.len()), chat.clone());
                    // The other side sees it somewhere between.
                    given.push((chat, patient, now + takes * u32::try_from(seen).unwrap() / 100));
                }
                Err(at) => {
                    prop_assert!(at > now);
                    let wakes = pacer.wakes_at(now);
                    prop_assert!(wakes.is_some_and(|wakes| wakes <= at) || !under_way.is_empty());
                }
            }
        }
        let within = |from: Instant, time: Duration, of: &dyn Fn(&(String, bool, Instant)) -> bool| {
            given.iter().filter(|one| one.2 >= from && one.2 < from + time && of(one)).count()
        };
        for (index, (chat, _, at)) in given.iter().enumerate() {
            let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
            prop_assert!(within(*at, second, &|_| true) <= 5);
            prop_assert!(within(*at, second, &|one| one.1) <= 3);
            if chat.starts_with('g') {
                prop_assert!(within(*at, minute, &|one| one.0 == *chat) <= 4);
            }
            let same = given[..index].iter().rfind(|one| one.0 == *chat);
            prop_assert!(same.is_none_or(|one| *at >= one.2 + PACE.chat_interval));
        }
    }
}

/// Lets go of everything that is under way.
fn arrive(pacer: &mut Pacer, chats: &[&str], now: Instant) {
    for chat in chats {
        pacer.arrived(chat, now);
    }
}

#[test]
fn what_may_wait_leaves_room_for_what_may_not() {
    let (mut pacer, mut now) = (Pacer::new(PACE), Instant::now());
    let start = now;
    for chat in ["a", "b", "c"] {
        assert_eq!(pacer.admit(Some(chat), true, now), Ok(()));
        pacer.arrived(chat, now);
        now += Duration::from_millis(200);
    }
    assert!(pacer.admit(Some("d"), true, now).is_err());
    assert_eq!(pacer.room(now), [1, 0]);
    assert_eq!(pacer.admit(Some("d"), false, now), Ok(()));
    now += Duration::from_millis(200);
    assert_eq!(pacer.admit(None, false, now), Ok(()));
    assert!(pacer.admit(None, false, now + Duration::from_millis(199)).is_err());
    assert_eq!(pacer.wakes_at(now), Some(start + SECOND));
    arrive(&mut pacer, &["d"], now);
    assert_eq!(pacer.room(now + SECOND), [1, 1]);
}

#[test]
fn a_second_is_used_evenly_and_its_whole_room() {
    let pace = Pace { per_sec: 30, chat_interval: Duration::ZERO, ..PACE };
    let (mut pacer, start) = (Pacer::new(pace), Instant::now());
    let mut left = Vec::new();
    for milli in 0..10_000 {
        let now = start + Duration::from_millis(milli);
        let chat = left.len().to_string();
        while pacer.admit(Some(&chat), false, now).is_ok() {
            pacer.arrived(&chat, now);
            left.push(milli);
        }
    }
    assert_eq!(left.len(), 300, "30 in each of ten seconds");
    for tenth in 1..100 {
        let count = left.iter().filter(|milli| **milli / 100 == tenth).count();
        assert!(count <= 7, "{count} in a tenth of a second: a burst, and what is even");
    }
}

#[test]
fn a_chat_that_was_told_to_be_quiet_is() {
    let (mut pacer, now) = (Pacer::new(PACE), Instant::now());
    pacer.hold("a", now + Duration::from_secs(7));
    assert_eq!(pacer.admit(Some("a"), false, now), Err(now + Duration::from_secs(7)));
    assert_eq!(pacer.admit(Some("b"), false, now), Ok(()));
}

#[test]
fn what_left_before_a_restart_counts_as_if_there_had_been_none() {
    let (mut pacer, start) = (Pacer::new(PACE), Instant::now());
    let now = start + Duration::from_secs(59);
    for secs in [0, 20, 40] {
        pacer.recall("g1", false, start + Duration::from_secs(secs), now);
    }
    for milli in [300, 350, 400, 450] {
        pacer.recall("a", true, now - Duration::from_millis(milli), now);
    }
    assert_eq!(pacer.room(now), [1, 0]);
    assert_eq!(pacer.admit(Some("a"), false, now), Err(now + Duration::from_millis(500)));
    assert_eq!(pacer.admit(Some("g1"), false, now), Ok(()), "the fourth of its minute");
    pacer.arrived("g1", now);
    let later = now + Duration::from_millis(900);
    assert_eq!(pacer.admit(Some("g1"), false, later), Err(start + MINUTE), "the fifth waits for the first");
}

#[test]
fn what_never_arrives_takes_no_room_for_ever() {
    let (mut pacer, start) = (Pacer::new(PACE), Instant::now());
    for number in 0..5 {
        let now = start + Duration::from_millis(200 * number);
        assert_eq!(pacer.admit(Some(&number.to_string()), false, now), Ok(()));
    }
    assert_eq!(pacer.room(start + LOST - SECOND), [0, 0]);
    assert!(pacer.room(start + LOST + SECOND)[0] > 0);
}

/// One message on its way out, in a model of the outbox whose time is made up.
struct Waiting {
    chat: usize,
    number: usize,
}

const CHATS: usize = 200;
const GROUPS: usize = 10;

/// What came of the flood.
struct Flood {
    /// Chat, number within it, and the millisecond of each that arrived, in the order of time.
    arrivals: Vec<(usize, usize, u64)>,
    /// The chat that was told to wait seven seconds, and when.
    limited: (usize, u64),
}

/// A thousand messages at once; one chat is told to wait, and in the middle everything that is not kept is forgotten.
fn flood() -> Flood {
    let name = |chat: usize| if chat < GROUPS { format!("g{chat}") } else { format!("p{chat}") };
    let pace =
        Pace { chat_interval: SECOND, per_sec: 30, reserve_per_sec: 10, group_per_min: Some(20), ..PACE };
    let start = Instant::now();
    let (mut pacer, mut queue) = (Pacer::new(pace), Vec::new());
    // 25 to each group, so that its minute is full, and the rest to people, all at once.
    let mut numbers = [0; CHATS];
    for index in 0..1000 {
        let chat = if index < 250 { index % GROUPS } else { GROUPS + index % (CHATS - GROUPS) };
        queue.push(Waiting { chat, number: numbers[chat] });
        numbers[chat] += 1;
    }
    let mut arrivals: Vec<(usize, usize, u64)> = Vec::new();
    let mut under_way: Vec<(usize, u64)> = Vec::new();
    let (mut limited_at, mut restarted) = (None, false);
    for milli in (0..200_000_u64).step_by(5) {
        let now = start + Duration::from_millis(milli);
        under_way.retain(|(chat, ends)| {
            let over = *ends <= milli;
            if over {
                pacer.arrived(&name(*chat), now);
            }
            !over
        });
        // Killed in the middle: what left, and who waits, is read anew.
        if arrivals.len() > 500 && !restarted && under_way.is_empty() {
            restarted = true;
            pacer = Pacer::new(pace);
            for (chat, _, at) in &arrivals {
                if milli - at < 60_050 {
                    pacer.recall(&name(*chat), false, start + Duration::from_millis(*at), now);
                }
            }
            if let Some((chat, at)) = limited_at {
                pacer.hold(&name(chat), start + Duration::from_millis(at + 7000));
            }
        }
        let mut tried = [false; CHATS];
        let mut index = 0;
        while index < queue.len() {
            let chat = queue[index].chat;
            let busy = under_way.iter().any(|(other, _)| *other == chat);
            if tried[chat] || busy || pacer.admit(Some(&name(chat)), false, now).is_err() {
                tried[chat] = true;
                index += 1;
                continue;
            }
            let latency = 3 + (index as u64 * 7) % 40;
            under_way.push((chat, milli + latency));
            if limited_at.is_none() && arrivals.len() > 300 && chat >= GROUPS {
                limited_at = Some((chat, milli));
                pacer.hold(&name(chat), now + Duration::from_millis(latency + 7000));
                index += 1;
                continue;
            }
            let gone = queue.remove(index);
            arrivals.push((gone.chat, gone.number, milli + latency));
        }
        if queue.is_empty() && under_way.is_empty() {
            break;
        }
    }
    arrivals.sort_by_key(|(_, _, at)| *at);
    assert!(restarted);
    Flood { arrivals, limited: limited_at.unwrap() }
}

// news.md, must show 6
#[test]
fn a_thousand_messages_to_two_hundred_chats_leave_as_telegram_allows() {
    let Flood { arrivals, limited: (silenced, silent_from) } = flood();
    assert_eq!(arrivals.len(), 1000);
    for window in arrivals.windows(31) {
        assert!(window[30].2 - window[0].2 >= 1000, "31 within a second: {:?}", &window[0]);
    }
    for chat in 0..CHATS {
        let own: Vec<_> = arrivals.iter().filter(|one| one.0 == chat).collect();
        assert!(own.iter().enumerate().all(|(index, one)| one.1 == index), "in order");
        assert!(own.windows(2).all(|two| two[1].2 - two[0].2 >= 1000));
        if chat < GROUPS {
            assert!(own.windows(21).all(|many| many[20].2 - many[0].2 >= 60_000));
        }
    }
    let during = |at: u64| at > silent_from + 50 && at < silent_from + 7000;
    assert!(!arrivals.iter().any(|one| one.0 == silenced && during(one.2)));
    let others = arrivals.iter().filter(|one| during(one.2)).count();
    assert!(others > 150, "the others go on: {others}");
}
