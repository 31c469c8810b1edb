//! The gate in paused time and under many tasks.

use super::*;
use futures_util::{FutureExt as _, StreamExt as _, future::join_all, stream::FuturesUnordered};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

fn gate(concurrency: usize, queue: usize) -> Bulkhead {
    Bulkhead::new("t", BulkheadPolicy { concurrency, queue }, &Metrics::new())
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(600))
}

fn who(name: &str) -> Arc<str> {
    name.into()
}

// req: S0-02
#[tokio::test(start_paused = true)]
async fn of_81_slow_calls_16_run_64_wait_and_one_is_refused() {
    let (gate, caller) = (gate(16, 64), who("a"));
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(gate.enter(&caller, 1, soon()).await.ok().unwrap());
    }
    let mut seventeenth = Box::pin(gate.enter(&caller, 1, soon()));
    assert!(futures_util::poll!(&mut seventeenth).is_pending(), "the 17th waits");
    let mut waiting = join_all((0..63).map(|_| Box::pin(gate.enter(&caller, 1, soon()))));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    assert_eq!(gate.usage(), (16, 64, 16));
    let refused = gate.enter(&caller, 1, soon()).now_or_never();
    assert!(
        matches!(refused, Some(Err(Full::Refused(wait))) if wait >= LEAST_WAIT),
        "the 81st is refused at once"
    );
    drop(held.pop());
    assert!(seventeenth.await.is_ok(), "the first in is the first out");
    drop(waiting);
    drop(held);
    assert_eq!(gate.usage(), (0, 0, 16), "whoever leaves leaves no trace");
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_none_refuses_at_once() {
    let (gate, caller) = (gate(1, 0), who("a"));
    let _place = gate.enter(&caller, 1, soon()).await.ok().unwrap();
    assert!(matches!(gate.enter(&caller, 1, soon()).now_or_never(), Some(Err(Full::Refused(_)))));
}

/// Lets a line of calls through a gate of one, and gives the order in which callers were served.
async fn order(calls: &[(&str, u32, usize)]) -> Vec<String> {
    let gate = gate(1, 10_000);
    let first = gate.enter(&who("first"), 1, soon()).await.ok().unwrap();
    let served = Mutex::new(Vec::new());
    let mut all = FuturesUnordered::new();
    for (caller, weight, count) in calls {
        for _ in 0..*count {
            let (gate, served, caller) = (&gate, &served, who(caller));
            let mut call = Box::pin(async move {
                let _place = gate.enter(&caller, *weight, soon()).await.ok().unwrap();
                served.lock().push(caller.to_string());
            });
            assert!(futures_util::poll!(&mut call).is_pending());
            all.push(call);
        }
    }
    drop(first);
    while all.next().await.is_some() {}
    drop(all);
    served.into_inner()
}

// req: S0-02
#[tokio::test(start_paused = true)]
async fn behind_500_calls_of_one_caller_anothers_waits_for_at_most_one() {
    let served = order(&[("flood", 1, 500), ("quiet", 1, 1)]).await;
    assert!(served.iter().position(|caller| caller == "quiet").unwrap() <= 1);
}

#[tokio::test(start_paused = true)]
async fn premium_gets_four_places_to_anonymous_one() {
    let served = order(&[("anonymous", 1, 100), ("authenticated", 2, 100), ("premium", 4, 100)]).await;
    let of = |name: &str| served.iter().take(70).filter(|caller| *caller == name).count();
    assert_eq!((of("anonymous"), of("authenticated"), of("premium")), (10, 20, 40));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_fills_the_queue_locks_nobody_out() {
    let gate = gate(1, 8);
    let (flood, quiet) = (who("flood"), who("quiet"));
    let place = gate.enter(&flood, 1, soon()).await.ok().unwrap();
    let mut flooding: Vec<_> = (0..8).map(|_| Box::pin(gate.enter(&flood, 1, soon()))).collect();
    for call in &mut flooding {
        assert!(futures_util::poll!(call).is_pending());
    }
    let mut other = Box::pin(gate.enter(&quiet, 1, soon()));
    assert!(futures_util::poll!(&mut other).is_pending(), "it waits where the flood's last one did");
    let last = flooding.pop().unwrap();
    assert!(matches!(last.now_or_never(), Some(Err(Full::Refused(_)))), "which is told so");
    assert_eq!(gate.usage(), (1, 8, 1));
    drop(place);
    assert!(flooding.remove(0).now_or_never().unwrap().is_ok(), "one of the flood's before it");
    assert!(other.now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_served_before_the_deadline_is_refused_at_once() {
    let (gate, caller) = (gate(1, 10), who("a"));
    let place = gate.enter(&caller, 1, soon()).await.ok().unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    drop(place);
    let _place = gate.enter(&caller, 1, soon()).await.ok().unwrap();
    let refused = gate.enter(&caller, 1, Deadline::after(Duration::from_secs(5))).now_or_never();
    assert_eq!(refused.unwrap().err(), Some(Full::Refused(Duration::from_secs(30))));
}

#[tokio::test(start_paused = true)]
async fn a_flood_in_the_queue_does_not_make_anothers_wait_look_long() {
    let (gate, flood) = (gate(1, 1_000), who("flood"));
    let place = gate.enter(&flood, 1, soon()).await.ok().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(place);
    let _place = gate.enter(&flood, 1, soon()).await.ok().unwrap();
    let mut flooding = join_all((0..500).map(|_| Box::pin(gate.enter(&flood, 1, soon()))));
    assert!(futures_util::poll!(&mut flooding).is_pending());
    let deadline = Deadline::after(Duration::from_secs(5));
    let quiet = who("quiet");
    let mut other = Box::pin(gate.enter(&quiet, 1, deadline));
    assert!(futures_util::poll!(&mut other).is_pending(), "two seconds behind one of the flood, not 500");
    assert!(matches!(gate.enter(&flood, 1, deadline).now_or_never(), Some(Err(Full::Refused(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_the_queue_is_told_and_leaves_no_trace() {
    let (gate, caller) = (gate(1, 10), who("a"));
    let _place = gate.enter(&caller, 1, soon()).await.ok().unwrap();
    let late = gate.enter(&caller, 1, Deadline::after(Duration::from_secs(3))).await;
    assert_eq!(late.err(), Some(Full::TooLate));
    assert_eq!(gate.usage(), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_gauges_tell_how_many_wait_and_since_when_and_return_to_rest() {
    let metrics = Metrics::new();
    let gate = Bulkhead::new("double", BulkheadPolicy { concurrency: 1, queue: 10 }, &metrics);
    let caller = who("a");
    let place = gate.enter(&caller, 1, soon()).await.ok().unwrap();
    let mut waiting = Box::pin(gate.enter(&caller, 1, soon()));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    tokio::time::sleep(Duration::from_secs(7)).await;
    gate.refresh();
    let told = || {
        let (depth, oldest) =
            (metrics.queue_depth("double").get(), metrics.queue_oldest_seconds("double").get());
        (metrics.gate_in_use("double").get(), depth, oldest)
    };
    assert_eq!(told(), (1, 1, 7));
    drop(place);
    assert_eq!(told(), (1, 0, 0), "handed over");
    drop(waiting);
    assert_eq!(told(), (0, 0, 0), "a place that was handed over and never looked at is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_many_tasks_never_more_than_the_capacity_run_and_nothing_is_lost() {
    let gate = gate(5, 100_000);
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..2_000_u32 {
        let (gate, inside, most) = (gate.clone(), inside.clone(), most.clone());
        tasks.spawn(async move {
            let caller = who(&(index % 7).to_string());
            let mut entering = Box::pin(gate.enter(&caller, 1 + index % 4, soon()));
            if index % 5 == 0 {
                // Looked at once and abandoned, with or without a place.
                drop(futures_util::poll!(&mut entering));
                return;
            }
            let _place = entering.await.ok().unwrap();
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
        });
    }
    tasks.join_all().await;
    assert!(most.load(Ordering::SeqCst) <= 5);
    assert_eq!(gate.usage(), (0, 0, 5));
}

proptest! {
    #[test]
    fn in_use_and_waiting_are_always_what_a_naive_count_says(
        concurrency in 1_usize..4,
        queue in 0_usize..6,
        steps in prop::collection::vec((0_u8..3, 0_usize..3, any::<prop::sample::Index>()), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let gate = gate(concurrency, queue);
            let callers = ["a", "b", "c"].map(who);
            let (mut held, mut waiting) = (Vec::new(), Vec::new());
            for (what, caller, which) in steps {
                match what {
                    0 => {
                        let mut call = Box::pin(gate.enter(&callers[caller], 1, soon()));
                        match futures_util::poll!(&mut call) {
                            std::task::Poll::Ready(Ok(place)) => held.push(place),
                            std::task::Poll::Ready(Err(full)) => {
                                assert!(matches!(full, Full::Refused(_)));
                                assert_eq!(gate.usage().1, queue, "refused only when full");
                            }
                            std::task::Poll::Pending => waiting.push(call),
                        }
                    }
                    1 if !held.is_empty() => drop(held.swap_remove(which.index(held.len()))),
                    2 if !waiting.is_empty() => drop(waiting.swap_remove(which.index(waiting.len()))),
                    _ => {}
                }
                // Who was handed a place or pushed out of the queue says so when looked at.
                let mut still = Vec::new();
                for mut call in waiting {
                    match futures_util::poll!(&mut call) {
                        std::task::Poll::Ready(Ok(place)) => held.push(place),
                        std::task::Poll::Ready(Err(_)) => {}
                        std::task::Poll::Pending => still.push(call),
                    }
                }
                waiting = still;
                assert_eq!(gate.usage(), (held.len(), waiting.len(), concurrency));
                assert!(held.len() <= concurrency && waiting.len() <= queue);
                assert!(waiting.is_empty() || held.len() == concurrency, "nobody waits beside a free place");
            }
            drop((held, waiting));
            assert_eq!(gate.usage(), (0, 0, concurrency));
        });
    }
}
