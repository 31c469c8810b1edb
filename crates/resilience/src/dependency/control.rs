//! What is told of a dependency and done to it from outside its calls: its state, another policy, an operator's hand on
//! breaker and holds, what the provider says of its limits, what other replicas found.
//!
//! Invariant: nothing here waits, and what an operator does here is undone by the operator alone.

use super::{Dependency, DependencyPolicy, Rules};
use crate::{
    breaker::{BreakerState, Manual},
    bulkhead::BulkheadPolicy,
    pacing::Learned,
    registry::News,
};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};

/// State of a dependency, for health and the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DependencyStatus {
    /// Its name.
    pub name: String,
    /// Its breaker.
    pub breaker: BreakerState,
    /// Whether an operator keeps it open or closed.
    pub manual: bool,
    /// Whether its account is held: every key of it, where there are several.
    pub held: bool,
    /// Keys.
    pub lanes: usize,
    /// Keys that are held.
    pub lanes_held: usize,
    /// Whether it told us to wait, with every key that is not held.
    pub paused: bool,
    /// Calls a minute that it says it allows, over all keys; 0 while it says nothing.
    pub learned_per_min: i64,
    /// Whole seconds, rounded up, until calls are made again; 0 when they are.
    pub resumes_in_secs: u64,
    /// Calls that hold a place.
    pub in_use: usize,
    /// Calls waiting.
    pub waiting: usize,
    /// Places.
    pub capacity: usize,
}

/// A key that is held because its credit is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Which key, from 0.
    pub lane: usize,
    /// For how much longer.
    pub remaining: Duration,
}

impl Dependency {
    /// Goes by another policy from now on, under the name it has. Breaker, windows, queue, calls under way and a held
    /// account stay as they are; an account held for a refused key is tried anew, because keys were read again.
    pub fn reconfigure(&self, policy: DependencyPolicy) {
        let now = Instant::now();
        let inner = &*self.0;
        let before = {
            let mut guards = inner.guards.lock();
            let before = guards.breaker.state(now);
            guards.breaker.set_policy(policy.breaker, policy.guard.rate(), now);
            guards.lanes.set_policy(policy.lanes, policy.pace, policy.learn);
            before
        };
        inner.bulkhead.set_policy(policy.bulkhead);
        inner.pace_gate.set_policy(BulkheadPolicy { concurrency: 1, queue: policy.bulkhead.queue });
        inner.rules.store(Arc::new(Rules::new(policy)));
        let after = self.status().breaker;
        if before != after {
            tracing::info!("breaker {}: {} -> {}", inner.name, before.as_str(), after.as_str());
        }
    }

    /// Its state now. Sets the gauges that change by time alone.
    #[must_use]
    pub fn status(&self) -> DependencyStatus {
        let now = Instant::now();
        let (in_use, waiting, capacity) = self.0.bulkhead.usage();
        let (_, for_pace, _) = self.0.pace_gate.usage();
        let status = {
            let guards = self.0.guards.lock();
            let (breaker, lanes) = (&guards.breaker, &guards.lanes);
            let (held, paused) = (lanes.held(now), lanes.paused(now));
            let resumes = breaker.wait(now).max(paused.unwrap_or_default());
            DependencyStatus {
                name: self.name().to_owned(),
                breaker: breaker.state(now),
                manual: breaker.is_manual(),
                held: held.is_some(),
                lanes: lanes.active().len(),
                lanes_held: lanes.held_count(now),
                paused: held.is_none() && paused.is_some(),
                learned_per_min: lanes.learned_per_min(now),
                resumes_in_secs: resumes.as_secs() + u64::from(resumes.subsec_nanos() > 0),
                in_use,
                waiting: waiting + for_pace,
                capacity,
            }
        };
        self.0.state.set(status.breaker.number());
        self.0.held.set(i64::from(status.held));
        if let Some(learned) = self.0.learned.get() {
            learned.set(status.learned_per_min);
        }
        self.0.bulkhead.refresh();
        self.0.pace_gate.refresh();
        status
    }

    /// How long calls will be refused at least; zero when one may be made now. For choosing among several: it takes
    /// one short lock, changes nothing and allocates nothing.
    #[must_use]
    pub fn readiness(&self, now: Instant) -> Duration {
        let guards = self.0.guards.lock();
        guards.breaker.wait(now).max(guards.lanes.paused(now).unwrap_or_default())
    }

    /// What the provider said of its limits, in an answer to a call of that lane. Counts from the next call on.
    pub fn learn(&self, lane: usize, learned: &Learned) {
        if learned.is_empty() {
            return;
        }
        let now = Instant::now();
        let per_min = {
            let mut guards = self.0.guards.lock();
            guards.lanes.learn(lane, learned, now);
            guards.lanes.learned_per_min(now)
        };
        if per_min > 0 {
            let gauge = self.0.learned.get_or_init(|| self.0.metrics.learned_rpm(self.name()));
            gauge.set(per_min);
        }
    }

    /// Calls are made again with every key, whatever it was held for: somebody has paid, or mended the key. True when
    /// one was held.
    pub fn release_hold(&self) -> bool {
        let now = Instant::now();
        let released = self.0.guards.lock().lanes.release(now);
        self.0.held.set(0);
        if released {
            tracing::info!(dependency = self.name(), "account released by an operator");
        }
        released
    }

    /// Keys held for want of credit, to be kept over a restart. A key that was refused is not among them: a restart
    /// reads keys again.
    #[must_use]
    pub fn holds(&self) -> Vec<Hold> {
        let now = Instant::now();
        let guards = self.0.guards.lock();
        let lanes = guards.lanes.active().iter().enumerate();
        lanes
            .filter_map(|(lane, it)| {
                it.account.held_for_credit(now).map(|remaining| Hold { lane, remaining })
            })
            .collect()
    }

    /// Holds a key as it was before a restart. One that is there no longer is nobody's.
    pub fn restore_hold(&self, hold: &Hold) {
        let now = Instant::now();
        let mut guards = self.0.guards.lock();
        if let Some(lane) = guards.lanes.get(hold.lane) {
            lane.account.hold(hold.remaining, now);
        }
    }

    /// An operator stops all calls, until `close_breaker` or `auto_breaker`.
    pub fn open_breaker(&self) {
        self.by_hand(Manual::Open);
    }

    /// An operator lets all calls through however many fail, until `open_breaker` or `auto_breaker`.
    pub fn close_breaker(&self) {
        self.by_hand(Manual::Closed);
    }

    /// The breaker decides by itself again, starting closed.
    pub fn auto_breaker(&self) {
        self.by_hand(Manual::Auto);
    }

    fn by_hand(&self, manual: Manual) {
        let transition = self.0.guards.lock().breaker.set_manual(manual, Instant::now());
        tracing::warn!(dependency = self.name(), breaker = manual.as_str(), "an operator set the breaker");
        self.tell(transition, false);
    }

    /// From now on other replicas hear of changes.
    pub(crate) fn tell_news(&self, news: mpsc::Sender<News>) {
        drop(self.0.news.set(news));
    }

    /// What another replica found: open for so long, or closed.
    pub(crate) fn hear(&self, open_for: Option<Duration>) {
        let now = Instant::now();
        let transition = {
            let mut guards = self.0.guards.lock();
            match open_for {
                Some(time) => guards.breaker.hear_open(now + time, now),
                None => {
                    guards.breaker.hear_closed(now);
                    None
                }
            }
        };
        self.tell(transition, false);
    }
}
