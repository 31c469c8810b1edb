//! Bulkhead: at most so many calls at once to one dependency, and a bounded, fair queue behind it. Fair: round robin
//! over callers by weight, first in first out within one, so that a caller with 500 waiting calls delays another's
//! one by at most a round. Invariants: in use plus free is always the capacity; a waiter that goes away leaves no
//! trace; one that cannot be served before its deadline is refused at once.
//!
//! Source: deficit round robin (Shreedhar and Varghese, 1995) with unit costs; gateway.md section 6, S0-02.

use parking_lot::Mutex;
use portcullis_domain::Deadline;
use portcullis_telemetry::Gauge;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::Instant};

/// How many at once, and how many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadPolicy {
    /// Calls at once, at least 1.
    pub concurrency: usize,
    /// Calls that may wait; 0 refuses at once.
    pub queue: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The queue is full, or the wait would outlast the deadline; estimated wait.
    Refused(Duration),
    /// The deadline passed in the queue.
    TooLate,
}

struct Waiter {
    ticket: u64,
    since: Instant,
    place: oneshot::Sender<Place>,
}

struct Line {
    caller: Arc<str>,
    weight: u32,
    credit: u32,
    waiters: VecDeque<Waiter>,
}

struct State {
    in_use: usize,
    waiting: usize,
    next: u64,
    /// Callers with waiting calls, in round-robin order; the front one is being served.
    lines: VecDeque<Line>,
    /// Moving average of how long a place is held, in seconds.
    hold: f64,
}

/// Gauges of one bulkhead.
#[derive(Clone)]
pub struct BulkheadGauges {
    /// Calls waiting.
    pub depth: Gauge,
    /// Seconds the oldest has waited.
    pub oldest: Gauge,
    /// Calls that hold a place.
    pub in_use: Gauge,
}

struct Inner {
    name: String,
    policy: BulkheadPolicy,
    state: Mutex<State>,
    gauges: BulkheadGauges,
}

/// The gate. Cheap to clone.
#[derive(Clone)]
pub struct Bulkhead(Arc<Inner>);

/// A place; dropping it serves the next in line.
pub struct Place {
    gate: Option<Bulkhead>,
    since: Instant,
}

/// Weight of the newest hold time in the moving average.
const SMOOTHING: f64 = 0.2;

impl Bulkhead {
    /// An empty gate.
    #[must_use]
    pub fn new(name: &str, policy: BulkheadPolicy, gauges: BulkheadGauges) -> Self {
        let state = State { in_use: 0, waiting: 0, next: 0, lines: VecDeque::new(), hold: 0.0 };
        Self(Arc::new(Inner { name: name.into(), policy, state: Mutex::new(state), gauges }))
    }

    /// In use, waiting, capacity.
    #[must_use]
    pub fn usage(&self) -> (usize, usize, usize) {
        let state = self.0.state.lock();
        (state.in_use, state.waiting, self.0.policy.concurrency)
    }

    /// Waits for a place. `weight` is how many places this caller gets for each one of weight 1.
    ///
    /// # Errors
    /// `Refused` at once, or `TooLate`.
    pub async fn enter(&self, caller: &Arc<str>, weight: u32, deadline: Deadline) -> Result<Place, Full> {
        let (ticket, place) = {
            let mut state = self.0.state.lock();
            if state.in_use < self.0.policy.concurrency && state.waiting == 0 {
                return Ok(self.take(&mut state));
            }
            let wait = self.estimate(&state);
            if state.waiting >= self.0.policy.queue || wait > deadline.remaining() {
                return Err(Full::Refused(wait));
            }
            self.queue(&mut state, caller, weight)
        };
        let mut guard = Leaving { gate: self, caller, ticket, armed: true };
        let answer = tokio::time::timeout_at(deadline.instant(), place).await;
        match answer {
            Ok(Ok(place)) => {
                guard.armed = false;
                Ok(place)
            }
            Ok(Err(_)) | Err(_) => Err(Full::TooLate),
        }
    }

    fn take(&self, state: &mut State) -> Place {
        state.in_use += 1;
        self.0.gauges.in_use.set(i64::try_from(state.in_use).unwrap_or(i64::MAX));
        Place { gate: Some(self.clone()), since: Instant::now() }
    }

    fn queue(&self, state: &mut State, caller: &Arc<str>, weight: u32) -> (u64, oneshot::Receiver<Place>) {
        let (place, receiver) = oneshot::channel();
        let ticket = state.next;
        state.next += 1;
        let waiter = Waiter { ticket, since: Instant::now(), place };
        match state.lines.iter_mut().find(|line| line.caller == *caller) {
            Some(line) => line.waiters.push_back(waiter),
            None => state.lines.push_back(Line {
                caller: caller.clone(),
                weight: weight.max(1),
                credit: weight.max(1),
                waiters: VecDeque::from([waiter]),
            }),
        }
        state.waiting += 1;
        if state.waiting == self.0.policy.queue.div_ceil(2) && self.0.policy.queue > 1 {
            tracing::warn!(queue = self.0.name, waiting = state.waiting, "the queue is half full");
        }
        self.tell(state);
        (ticket, receiver)
    }

    /// How long a newcomer would wait.
    fn estimate(&self, state: &State) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let rounds = (state.waiting + 1) as f64 / self.0.policy.concurrency as f64;
        Duration::from_secs_f64((rounds * state.hold).clamp(0.0, 3_600.0))
    }

    fn tell(&self, state: &State) {
        self.0.gauges.depth.set(i64::try_from(state.waiting).unwrap_or(i64::MAX));
        let oldest = state
            .lines
            .iter()
            .filter_map(|line| line.waiters.front())
            .map(|waiter| waiter.since.elapsed())
            .max();
        self.0.gauges.oldest.set(oldest.map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX)));
    }

    /// Hands free places to those who wait, fairly.
    fn serve(&self, state: &mut State) {
        while state.in_use < self.0.policy.concurrency {
            let Some(line) = state.lines.front_mut() else { break };
            let Some(waiter) = line.waiters.pop_front() else {
                state.lines.pop_front();
                continue;
            };
            line.credit -= 1;
            let (spent, empty) = (line.credit == 0, line.waiters.is_empty());
            state.waiting -= 1;
            if empty {
                state.lines.pop_front();
            } else if spent {
                line.credit = line.weight;
                state.lines.rotate_left(1);
            }
            let place = self.take(state);
            if let Err(mut unwanted) = waiter.place.send(place) {
                // It left between being found and being served: dropping would lock again.
                unwanted.gate = None;
                state.in_use -= 1;
            }
        }
        self.tell(state);
        self.0.gauges.in_use.set(i64::try_from(state.in_use).unwrap_or(i64::MAX));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else { return };
        let held = self.since.elapsed().as_secs_f64();
        let mut state = gate.0.state.lock();
        state.hold =
            if state.hold == 0.0 { held } else { state.hold.mul_add(1.0 - SMOOTHING, held * SMOOTHING) };
        state.in_use -= 1;
        gate.serve(&mut state);
    }
}

/// Takes a waiter out of the line when its future ends without a place.
struct Leaving<'a> {
    gate: &'a Bulkhead,
    caller: &'a Arc<str>,
    ticket: u64,
    armed: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let mut state = self.gate.0.state.lock();
        let Some(index) = state.lines.iter().position(|line| line.caller == *self.caller) else { return };
        let line = &mut state.lines[index];
        let before = line.waiters.len();
        line.waiters.retain(|waiter| waiter.ticket != self.ticket);
        let gone = before - line.waiters.len();
        if line.waiters.is_empty() {
            state.lines.remove(index);
        }
        state.waiting -= gone;
        self.gate.tell(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_telemetry::Metrics;

    fn gate(concurrency: usize, queue: usize) -> Bulkhead {
        let metrics = Metrics::new();
        let gauges = BulkheadGauges {
            depth: metrics.queue_depth("t"),
            oldest: metrics.queue_oldest_seconds("t"),
            in_use: metrics.gate_in_use("t"),
        };
        Bulkhead::new("t", BulkheadPolicy { concurrency, queue }, gauges)
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(600))
    }

    // req: S0-02
    #[tokio::test(start_paused = true)]
    async fn of_81_slow_calls_16_run_64_wait_and_one_is_refused() {
        let gate = gate(16, 64);
        let caller: Arc<str> = "a".into();
        let mut held = Vec::new();
        for _ in 0..16 {
            held.push(gate.enter(&caller, 1, soon()).await.ok().unwrap());
        }
        let waiting: Vec<_> = (0..64).map(|_| Box::pin(gate.enter(&caller, 1, soon()))).collect();
        let mut waiting = futures_util::future::join_all(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(gate.usage(), (16, 64, 16));
        assert!(matches!(gate.enter(&caller, 1, soon()).await, Err(Full::Refused(_))));
        drop(waiting);
        drop(held);
        assert_eq!(gate.usage(), (0, 0, 16), "whoever leaves leaves no trace");
    }

    /// Lets a line of calls through a gate of one, and gives the order in which callers were served.
    async fn order(calls: &[(&str, u32, usize)]) -> Vec<String> {
        let gate = gate(1, 10_000);
        let first = gate.enter(&"first".into(), 1, soon()).await.ok().unwrap();
        let served = Mutex::new(Vec::new());
        let mut all = futures_util::stream::FuturesUnordered::new();
        for (caller, weight, count) in calls {
            for _ in 0..*count {
                let (gate, served, caller) = (&gate, &served, Arc::<str>::from(*caller));
                let mut call = Box::pin(async move {
                    let _place = gate.enter(&caller, *weight, soon()).await.ok().unwrap();
                    served.lock().push(caller.to_string());
                });
                assert!(futures_util::poll!(&mut call).is_pending());
                all.push(call);
            }
        }
        drop(first);
        while futures_util::StreamExt::next(&mut all).await.is_some() {}
        drop(all);
        served.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn behind_500_calls_of_one_caller_anothers_waits_for_at_most_one() {
        let served = order(&[("flood", 1, 500), ("quiet", 1, 1)]).await;
        assert!(served.iter().position(|caller| caller == "quiet").unwrap() <= 1);
    }

    #[tokio::test(start_paused = true)]
    async fn premium_gets_four_places_to_anonymous_one() {
        let served = order(&[("anonymous", 1, 100), ("premium", 4, 100)]).await;
        let first = served.iter().take(50).filter(|caller| *caller == "premium").count();
        assert_eq!(first, 40);
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_be_served_before_the_deadline_is_refused_at_once() {
        let gate = gate(1, 10);
        let caller: Arc<str> = "a".into();
        let place = gate.enter(&caller, 1, soon()).await.ok().unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(place);
        let _place = gate.enter(&caller, 1, soon()).await.ok().unwrap();
        let asked = Instant::now();
        let refused = gate.enter(&caller, 1, Deadline::after(Duration::from_secs(5))).await;
        assert!(matches!(refused, Err(Full::Refused(wait)) if wait >= Duration::from_secs(5)));
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
}
