//! Every guarded dependency by name. Health, metrics and the admin API iterate this, so a new dependency shows up
//! everywhere by being registered. With Redis, replicas tell one another when a breaker opens or closes (`news`).

mod news;

pub(crate) use news::News;

use crate::{
    breaker::BreakerState,
    dependency::{Dependency, DependencyStatus},
    shared::Shared,
};
use parking_lot::RwLock;
use portcullis_telemetry::{Health, HealthState};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[derive(Default)]
struct Inner {
    all: RwLock<Vec<Dependency>>,
    news: OnceLock<mpsc::Sender<News>>,
}

/// The list. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry(Arc<Inner>);

/// How often health and the gauges that change by time alone are brought up to date.
const TICK: Duration = Duration::from_secs(1);

impl Registry {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one; one of the same name is replaced.
    pub fn add(&self, dependency: Dependency) {
        if let Some(news) = self.0.news.get() {
            dependency.tell_news(news.clone());
        }
        let mut all = self.0.all.write();
        all.retain(|known| known.name() != dependency.name());
        all.push(dependency);
    }

    /// The one of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Dependency> {
        self.0.all.read().iter().find(|known| known.name() == name).cloned()
    }

    /// Takes out those that are not wanted any more. Calls under way end as they would.
    pub fn retain(&self, wanted: impl Fn(&str) -> bool) {
        self.0.all.write().retain(|known| wanted(known.name()));
    }

    /// All, in the order they were added.
    #[must_use]
    pub fn all(&self) -> Vec<Dependency> {
        self.0.all.read().clone()
    }

    /// The state of all.
    #[must_use]
    pub fn snapshot(&self) -> Vec<DependencyStatus> {
        self.all().iter().map(Dependency::status).collect()
    }

    /// Keeps health and gauges up to date, and with Redis shares breaker states with other replicas. Once.
    pub fn start(
        &self,
        shared: Option<Shared>,
        health: Health,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        tasks.spawn(self.clone().watch(health, stop.clone()));
        let Some(shared) = shared else { return };
        let (news, told) = mpsc::channel(news::BACKLOG);
        if self.0.news.set(news.clone()).is_err() {
            return;
        }
        for dependency in self.all() {
            dependency.tell_news(news.clone());
        }
        let from = rand::random();
        let heard = shared.subscribe(news::CHANNEL);
        tasks.spawn(news::listen(self.clone(), shared.clone(), heard, from, stop.clone()));
        tasks.spawn(news::speak(shared, told, from, stop.clone()));
    }

    async fn watch(self, health: Health, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.report(&health),
            }
        }
    }

    fn report(&self, health: &Health) {
        for status in self.snapshot() {
            let (state, detail) = match (status.held, status.breaker) {
                (true, _) => (HealthState::Degraded, "the account is held: no credit, or our key is refused"),
                (false, BreakerState::Open) => {
                    (HealthState::Degraded, "calls fail; they are not made for now")
                }
                (false, BreakerState::HalfOpen) => {
                    (HealthState::Degraded, "calls failed; the next one is a probe")
                }
                (false, BreakerState::Closed) => (HealthState::Healthy, ""),
            };
            health.component(&format!("outbound:{}", status.name)).set(state, detail);
        }
    }
}

#[cfg(test)]
mod tests;
