//! Bulkhead: at most so many calls at once to one dependency, and a bounded, fair queue behind it (`lines`), so that a
//! caller with 500 waiting calls delays another's one by at most a turn, and cannot fill the queue against it.
//!
//! Invariants: in use plus free is always the capacity; nobody passes those who wait; a waiter that goes away leaves
//! no trace; one that cannot be served before its deadline is refused at once, by an estimate from how long places
//! are held. Source: gateway.md section 6, S0-02.

mod lines;

use lines::Lines;
use parking_lot::Mutex;
use portcullis_domain::Deadline;
use portcullis_telemetry::{Gauge, Histogram, Metrics};
use std::{sync::Arc, time::Duration};
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

type Waiter = oneshot::Sender<Result<Place, Full>>;

struct State {
    policy: BulkheadPolicy,
    in_use: usize,
    waiting: Lines<Waiter>,
    /// Moving average of how long a place is held, in seconds.
    hold: f64,
    /// Said to be half full, and not yet much emptier.
    warned: bool,
}

struct Meters {
    depth: Gauge,
    oldest: Gauge,
    in_use: Gauge,
    wait: Histogram,
}

struct Inner {
    name: String,
    state: Mutex<State>,
    meters: Meters,
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
/// Shortest wait that is told to somebody who is refused.
const LEAST_WAIT: Duration = Duration::from_secs(1);

impl Bulkhead {
    /// An empty gate, metered under its name.
    #[must_use]
    pub fn new(name: &str, policy: BulkheadPolicy, metrics: &Metrics) -> Self {
        let meters = Meters {
            depth: metrics.queue_depth(name),
            oldest: metrics.queue_oldest_seconds(name),
            in_use: metrics.gate_in_use(name),
            wait: metrics.gate_wait(name),
        };
        let policy = at_least_one(policy);
        let state = Mutex::new(State { policy, in_use: 0, waiting: Lines::new(), hold: 0.0, warned: false });
        Self(Arc::new(Inner { name: name.into(), state, meters }))
    }

    /// Has other bounds from now on. Nobody inside or in line is sent away; more room is filled at once.
    pub fn set_policy(&self, policy: BulkheadPolicy) {
        let mut state = self.0.state.lock();
        state.policy = at_least_one(policy);
        self.serve(&mut state);
    }

    /// In use, waiting, capacity.
    #[must_use]
    pub fn usage(&self) -> (usize, usize, usize) {
        let state = self.0.state.lock();
        (state.in_use, state.waiting.len(), state.policy.concurrency)
    }

    /// Whether nobody is inside and nobody waits.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.0.state.lock();
        state.in_use == 0 && state.waiting.len() == 0
    }

    /// A place, if one is free and nobody waits.
    #[must_use]
    pub fn try_enter(&self) -> Option<Place> {
        let mut state = self.0.state.lock();
        (state.in_use < state.policy.concurrency && state.waiting.len() == 0).then(|| self.take(&mut state))
    }

    /// Waits for a place. `weight` is how many places this caller gets for each one of weight 1.
    ///
    /// # Errors
    /// `Refused`: at once, or later when a caller with fewer waiting calls takes the place in the queue. `TooLate`.
    pub async fn enter(&self, caller: &Arc<str>, weight: u32, deadline: Deadline) -> Result<Place, Full> {
        if let Some(place) = self.try_enter() {
            return Ok(place);
        }
        let asked = Instant::now();
        let (ticket, place) = self.queue(caller, weight, deadline)?;
        let leaving = Leaving { gate: self, caller, ticket };
        let answer = tokio::time::timeout_at(deadline.instant(), place).await;
        // Whoever was answered is no longer in line: taking it out again finds nothing.
        drop(leaving);
        let place = answer.map_err(|_| Full::TooLate)?.map_err(|_| Full::TooLate)??;
        self.0.meters.wait.observe(asked.elapsed());
        Ok(place)
    }

    /// Sets the gauges that change by time alone.
    pub fn refresh(&self) {
        self.tell(&self.0.state.lock());
    }

    fn queue(
        &self,
        caller: &Arc<str>,
        weight: u32,
        deadline: Deadline,
    ) -> Result<(u64, oneshot::Receiver<Result<Place, Full>>), Full> {
        let mut state = self.0.state.lock();
        let (send, receive) = oneshot::channel();
        // Between trying and locking again a place may have come free.
        if state.in_use < state.policy.concurrency && state.waiting.len() == 0 {
            let place = self.take(&mut state);
            if let Err(Ok(unwanted)) = send.send(Ok(place)) {
                self.untake(&mut state, unwanted);
            }
            return Ok((u64::MAX, receive));
        }
        let wait = self.estimate(&state, state.waiting.ahead(caller, weight));
        if wait > deadline.remaining() || state.policy.queue == 0 {
            return Err(Full::Refused(wait.max(LEAST_WAIT)));
        }
        if state.waiting.len() >= state.policy.queue {
            let Some(victim) = state.waiting.evict(caller, weight) else {
                return Err(Full::Refused(wait.max(LEAST_WAIT)));
            };
            let _gone =
                victim.send(Err(Full::Refused(self.estimate(&state, state.waiting.len()).max(LEAST_WAIT))));
        }
        let ticket = state.waiting.push(caller, weight, Instant::now(), send);
        self.warn(&mut state);
        self.tell(&state);
        Ok((ticket, receive))
    }

    fn take(&self, state: &mut State) -> Place {
        state.in_use += 1;
        self.0.meters.in_use.set(number(state.in_use));
        Place { gate: Some(self.clone()), since: Instant::now() }
    }

    /// Takes back a place that nobody wanted. Dropping it would lock again.
    fn untake(&self, state: &mut State, mut unwanted: Place) {
        unwanted.gate = None;
        state.in_use -= 1;
        self.0.meters.in_use.set(number(state.in_use));
    }

    /// How long somebody waits behind so many others.
    fn estimate(&self, state: &State, ahead: usize) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let turns = (ahead + 1) as f64 / state.policy.concurrency as f64;
        Duration::from_secs_f64((turns * state.hold).clamp(0.0, 3_600.0))
    }

    /// Once when half full, and again only after it was nearly empty.
    fn warn(&self, state: &mut State) {
        let (waiting, queue) = (state.waiting.len(), state.policy.queue);
        if state.warned || queue < 2 || waiting * 2 < queue {
            return;
        }
        state.warned = true;
        tracing::warn!(queue = self.0.name, waiting, most = queue, "the queue is half full");
    }

    fn tell(&self, state: &State) {
        self.0.meters.depth.set(number(state.waiting.len()));
        let oldest = state.waiting.oldest().map_or(0, |since| since.elapsed().as_secs());
        self.0.meters.oldest.set(i64::try_from(oldest).unwrap_or(i64::MAX));
    }

    /// Hands free places to those who wait, fairly.
    fn serve(&self, state: &mut State) {
        while state.in_use < state.policy.concurrency
            && let Some(waiter) = state.waiting.pop()
        {
            let place = self.take(state);
            // It may leave between being found and being served.
            if let Err(Ok(unwanted)) = waiter.send(Ok(place)) {
                self.untake(state, unwanted);
            }
        }
        if state.warned && state.waiting.len() * 4 < state.policy.queue {
            state.warned = false;
        }
        self.tell(state);
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
        if state.waiting.len() > 0 {
            gate.serve(&mut state);
        }
        gate.0.meters.in_use.set(number(state.in_use));
    }
}

/// Takes a waiter out of the line when its future ends without a place.
struct Leaving<'a> {
    gate: &'a Bulkhead,
    caller: &'a Arc<str>,
    ticket: u64,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.0.state.lock();
        let gone = state.waiting.remove(self.caller, self.ticket);
        if gone.is_some() {
            self.gate.tell(&state);
        }
    }
}

fn at_least_one(policy: BulkheadPolicy) -> BulkheadPolicy {
    BulkheadPolicy { concurrency: policy.concurrency.max(1), ..policy }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
