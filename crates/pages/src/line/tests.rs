//! The line alone, in time that is passed in; a random crowd holds every bound.

use super::*;
use proptest::prelude::*;

fn policy() -> LinePolicy {
    LinePolicy::from(&PagesConfig::default())
}

fn host(name: &str) -> Arc<str> {
    name.into()
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test(start_paused = true)]
async fn a_host_that_has_to_wait_holds_up_nobody_else() {
    let (mut line, now) = (Line::new(policy()), Instant::now());
    let (slow, quick) = (host("slow"), host("quick"));
    line.pause(&slow, secs(100), now);
    let first = line.join(&slow, false, now).unwrap();
    let second = line.join(&quick, false, now).unwrap();
    assert_eq!(line.turn(first, now), Turn::Wait(Some(now + secs(100))));
    assert_eq!(line.turn(second, now), Turn::Go);
    assert_eq!(line.turn(first, now + secs(100)), Turn::Go);
}

#[tokio::test(start_paused = true)]
async fn who_may_start_is_served_in_order_and_urgent_ones_first() {
    let (mut line, now) = (Line::new(policy()), Instant::now());
    let ids: Vec<_> = ["a", "b"].map(|name| line.join(&host(name), false, now).unwrap()).into();
    let urgent = line.join(&host("c"), true, now).unwrap();
    assert_eq!(line.turn(ids[0], now), Turn::Wait(None));
    assert_eq!(line.turn(urgent, now), Turn::Go);
    assert_eq!(line.turn(ids[1], now), Turn::Wait(None));
    line.leave(ids[0]);
    assert_eq!(line.turn(ids[1], now), Turn::Go);
}

// req: S0-09
#[tokio::test(start_paused = true)]
async fn a_burst_is_delayed_to_sixty_a_minute_and_none_is_refused() {
    let (mut line, mut now) = (Line::new(policy()), Instant::now());
    let start = now;
    let mut starts = Vec::new();
    for n in 0..200 {
        let host = host(&format!("h{n}"));
        let id = line.join(&host, false, now).unwrap();
        loop {
            match line.turn(id, now) {
                Turn::Go => break,
                Turn::Wait(at) => now = at.unwrap(),
            }
        }
        starts.push(now);
        line.end(&host);
    }
    for pair in starts.windows(61) {
        assert!(pair[60] - pair[0] >= WINDOW);
    }
    assert_eq!(now - start, secs(180));
}

// req: S0-08
#[tokio::test(start_paused = true)]
async fn a_backlog_is_told_by_depth_or_by_wait_and_at_most_once_in_ten_seconds() {
    let (mut line, now) = (Line::new(LinePolicy { queue: 25, ..policy() }), Instant::now());
    let one = host("one");
    assert_eq!(line.backlog(now), None);
    let join = |line: &mut Line, now| line.join(&one, false, now);
    join(&mut line, now).unwrap();
    assert_eq!(line.backlog(now + secs(9)), None);
    let late = now + secs(10);
    assert_eq!(line.backlog(late), Some(Backlog { depth: 1, oldest: secs(10) }));
    for _ in 1..25 {
        join(&mut line, late).unwrap();
    }
    assert_eq!(line.backlog(late + secs(9)), None);
    assert_eq!(line.backlog(late + secs(10)), Some(Backlog { depth: 25, oldest: secs(20) }));
    assert_eq!(join(&mut line, late), Err(secs(26)));
}

#[tokio::test(start_paused = true)]
async fn a_site_sets_its_own_pace_within_our_bounds() {
    let (mut line, mut now) = (Line::new(policy()), Instant::now());
    let site = host("site");
    let mut wait = |line: &mut Line| {
        let id = line.join(&site, false, now).unwrap();
        let begun = now;
        while let Turn::Wait(at) = line.turn(id, now) {
            now = at.unwrap();
        }
        line.end(&site);
        (now - begun, now)
    };
    assert_eq!(wait(&mut line).0, secs(0));
    assert_eq!(wait(&mut line).0, secs(1));
    let at = wait(&mut line).1;
    line.slow(&site, at);
    assert_eq!(wait(&mut line).0, secs(2));
    line.delay(&site, secs(500), at);
    assert_eq!(wait(&mut line).0, secs(60));
    line.delay(&site, secs(0), at);
    line.pause(&site, secs(900), at + secs(700));
    assert_eq!(wait(&mut line).0, at + secs(1600) - (at + secs(62)));
}

#[tokio::test(start_paused = true)]
async fn hosts_at_rest_are_forgotten_and_busy_ones_are_not() {
    let (mut line, now) = (Line::new(LinePolicy { max_hosts: 10, ..policy() }), Instant::now());
    let mut busy = Vec::new();
    for n in 0..10 {
        let id = line.join(&host(&format!("h{n}")), false, now).unwrap();
        if n < 5 {
            busy.push(id);
        } else {
            line.leave(id);
        }
    }
    assert!(line.join(&host("more"), false, now).is_ok());
    assert_eq!(line.hosts.len(), 6);
    for n in 0..4 {
        line.join(&host(&format!("x{n}")), false, now).unwrap();
    }
    assert!(line.join(&host("too many"), false, now).is_err());
    assert!(line.join(&host("h0"), false, now).is_ok());
}

proptest! {
    #[test]
    fn a_random_crowd_holds_every_bound_and_everybody_is_served(
        crowd in prop::collection::vec((0..4_u64, 0..3_000_u64, any::<bool>(), 0..5_000_u64), 1..120),
        concurrency in 1..6_usize, per_min in 1..40_usize, host_concurrency in 1..4_usize,
    ) {
        let policy = LinePolicy { concurrency, per_min, host_concurrency, ..policy() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let zero = runtime.block_on(async { Instant::now() });
        let (mut line, mut now) = (Line::new(policy), zero);
        let mut arrivals: Vec<_> = crowd.iter().map(|row| (zero + Duration::from_millis(row.1), row)).collect();
        arrivals.sort_by_key(|(at, _)| *at);
        let mut arrivals: VecDeque<_> = arrivals.into();
        let mut waiting: Vec<(u64, u64, Duration)> = Vec::new();
        let mut ends: Vec<(Instant, u64)> = Vec::new();
        let mut starts: Vec<(Instant, u64)> = Vec::new();
        while !arrivals.is_empty() || !waiting.is_empty() {
            ends.retain(|(at, name)| { if *at <= now { line.end(&host(&name.to_string())); } *at > now });
            while arrivals.front().is_some_and(|(at, _)| *at <= now) {
                let (_, (name, _, urgent, took)) = arrivals.pop_front().unwrap();
                let id = line.join(&host(&name.to_string()), *urgent, now).unwrap();
                waiting.push((id, *name, Duration::from_millis(*took)));
            }
            let mut wakes = vec![];
            let mut again = true;
            while again {
                again = false;
                wakes.clear();
                for index in 0..waiting.len() {
                    match line.turn(waiting[index].0, now) {
                        Turn::Go => {
                            let (_, name, took) = waiting.remove(index);
                            starts.push((now, name));
                            ends.push((now + took, name));
                            again = true;
                            break;
                        }
                        Turn::Wait(at) => wakes.extend(at),
                    }
                }
            }
            prop_assert!(ends.iter().filter(|(at, _)| *at > now).count() <= concurrency);
            let next = wakes.into_iter().chain(ends.iter().map(|end| end.0)).chain(arrivals.iter().map(|a| a.0));
            // Whoever waits has something to wait for: nothing stands still for ever.
            let next = next.filter(|at| *at > now).min();
            prop_assert!(next.is_some() || ends.iter().any(|end| end.0 <= now) || (waiting.is_empty() && arrivals.is_empty()));
            now = next.unwrap_or(now);
        }
        for window in starts.windows(per_min + 1) {
            prop_assert!(window[per_min].0 - window[0].0 >= WINDOW);
        }
        for name in 0..4 {
            let own: Vec<_> = starts.iter().filter(|start| start.1 == name).collect();
            prop_assert!(own.windows(2).all(|pair| pair[1].0 - pair[0].0 >= policy.host_interval));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_of_many_channels_has_a_pace_of_its_own_and_gets_half_of_it_when_it_asks() {
    let (mut line, now) = (Line::new(policy()), Instant::now());
    let (open, other) = (host("channels"), host("other"));
    for name in [&open, &other, &open, &other] {
        line.join(name, false, now).unwrap();
    }
    line.open(&open, now);
    assert_eq!([line.turn(0, now), line.turn(1, now)], [Turn::Go, Turn::Go]);
    assert_eq!(line.turn(2, now), Turn::Wait(Some(now + Duration::from_millis(200))));
    assert_eq!(line.turn(3, now), Turn::Wait(Some(now + secs(1))));
    line.slow(&open, now);
    assert_eq!(line.turn(2, now), Turn::Wait(Some(now + Duration::from_millis(400))));
}
