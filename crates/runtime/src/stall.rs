//! The stall watchdog: an ordinary thread that looks at the async workers from outside and measures how long one
//! stays inside a single batch of polls. A blocked worker delays every request behind it, and from inside a blocked
//! runtime nobody could tell. Source: requirement S3-BUG-7.
//!
//! How it sees: tokio counts for each worker how often it parked and woke (an odd count is a parked worker) and,
//! every 61 polls at the latest, how long it was busy. A worker that is awake while neither number moves is stuck
//! in what it runs.

use std::{sync::mpsc, thread, time::Duration};
use tokio::{
    runtime::{Handle, RuntimeMetrics},
    time::Instant,
};

/// Watches until dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// One look at one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    /// Times parked plus times woken.
    turns: u64,
    /// Busy time as last published.
    busy: Duration,
}

/// What is remembered of one worker.
#[derive(Clone, Copy, Debug)]
struct Watched {
    look: Look,
    since: Instant,
}

impl Watched {
    /// The stall that has just ended, if there was one.
    fn update(&mut self, look: Look, now: Instant) -> Option<Duration> {
        let parked = look.turns % 2 == 1;
        if look == self.look && !parked {
            return None;
        }
        let was_parked = self.look.turns % 2 == 1;
        let lasted = now.saturating_duration_since(self.since);
        *self = Self { look, since: now };
        (!was_parked).then_some(lasted)
    }
}

impl Watchdog {
    /// Looks at these runtimes every `probe`, and tells `report` of every stall of at least `warn` when it
    /// has ended. The length is exact to one `probe`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(
        runtimes: Vec<Handle>,
        probe: Duration,
        warn: Duration,
        report: impl Fn(Duration) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("stall-watchdog".into()).spawn(move || {
            let look = |(metrics, worker): &(RuntimeMetrics, usize)| Look {
                turns: metrics.worker_park_unpark_count(*worker),
                busy: metrics.worker_total_busy_duration(*worker),
            };
            let start = Instant::now();
            let metrics = runtimes.iter().map(Handle::metrics);
            let each = |metrics: RuntimeMetrics| {
                (0..metrics.num_workers()).map(move |worker| (metrics.clone(), worker))
            };
            let places: Vec<_> = metrics.flat_map(each).collect();
            let mut workers: Vec<Watched> =
                places.iter().map(|place| Watched { look: look(place), since: start }).collect();
            while stopped.recv_timeout(probe) == Err(mpsc::RecvTimeoutError::Timeout) {
                let now = Instant::now();
                for (place, watched) in places.iter().zip(&mut workers) {
                    if let Some(lasted) = watched.update(look(place), now)
                        && lasted >= warn
                    {
                        report(lasted);
                    }
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Only a panic inside the watchdog makes this fail, and then there is nobody left to tell.
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    fn look(turns: u64, busy_ms: u64) -> Look {
        Look { turns, busy: Duration::from_millis(busy_ms) }
    }

    // req: S3-BUG-7, S4-ASYNC
    #[test]
    fn a_worker_that_is_awake_and_does_not_move_is_stalled_until_it_moves() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut worker = Watched { look: look(2, 5), since: start };
        assert_eq!(worker.update(look(2, 5), at(50)), None);
        assert_eq!(worker.update(look(2, 5), at(400)), None);
        assert_eq!(
            worker.update(look(3, 405), at(450)),
            Some(Duration::from_millis(450)),
            "it parked at last"
        );
        assert_eq!(worker.update(look(3, 405), at(9000)), None, "a parked worker is idle, not stalled");
        assert_eq!(worker.update(look(4, 405), at(9050)), None);
        let saturated = worker.update(look(4, 450), at(9100));
        assert_eq!(saturated, Some(Duration::from_millis(50)), "busy without a pause, but moving");
    }

    // req: S3-BUG-7
    #[test]
    fn a_blocked_worker_of_a_real_runtime_is_reported_and_an_idle_one_is_not() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stalls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&stalls);
        let (probe, warn) = (Duration::from_millis(5), Duration::from_millis(200));
        let watchdog = Watchdog::start(vec![runtime.handle().clone()], probe, warn, move |_| {
            seen.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        let tasks = tokio_util::task::TaskTracker::new();
        // Blocks a worker until the channel closes, which the test does long after the threshold.
        let (let_go, held) = mpsc::channel::<()>();
        tasks.spawn_on(async move { held.recv_timeout(Duration::from_secs(2)) }, runtime.handle());
        runtime.block_on(async {
            tokio::time::sleep(Duration::from_millis(600)).await;
            drop(let_go);
            tokio::time::timeout(Duration::from_secs(20), async {
                while stalls.load(Ordering::Relaxed) == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await
            .expect("the stall is reported once it has ended");
        });
        drop(watchdog);
    }
}
