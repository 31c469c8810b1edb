//! What is well and what is not, in words. Parts of the house keep their own component up to date; doors read.
//! Invariant: reading never waits for anything outside this process. Source: S2-3.6, tools.md section 9.

use parking_lot::RwLock;
use serde::Serialize;
use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// How well a component does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// As it should.
    Healthy,
    /// It works, with less than usual.
    Degraded,
    /// It does not work.
    Unhealthy,
}

impl HealthState {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One component as operators see it.
#[derive(Clone, Debug, Serialize)]
pub struct ComponentStatus {
    /// Its name.
    pub name: String,
    /// How well it does.
    pub state: HealthState,
    /// Why, in one sentence without paths or keys.
    pub detail: String,
    /// Since when, RFC 3339.
    pub since: jiff::Timestamp,
}

#[derive(Default)]
struct Inner {
    components: RwLock<Vec<ComponentStatus>>,
    draining: AtomicBool,
}

/// The health of one running Portcullis. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<Inner>);

/// A component's own handle.
#[derive(Clone)]
pub struct Component {
    health: Health,
    index: usize,
}

impl Health {
    /// Nothing known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The component of that name, healthy at first.
    #[must_use]
    pub fn component(&self, name: &str) -> Component {
        let mut all = self.0.components.write();
        let index = all.iter().position(|known| known.name == name).unwrap_or_else(|| {
            let since = jiff::Timestamp::now();
            all.push(ComponentStatus {
                name: name.into(),
                state: HealthState::Healthy,
                detail: String::new(),
                since,
            });
            all.len() - 1
        });
        Component { health: self.clone(), index }
    }

    /// Every component.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ComponentStatus> {
        self.0.components.read().clone()
    }

    /// The worst state; a component that is not `store` degrades the whole at most.
    #[must_use]
    pub fn overall(&self) -> HealthState {
        let all = self.0.components.read();
        let worst = all.iter().map(|component| match (component.name.as_str(), component.state) {
            ("store", state) => state,
            (_, state) => state.min(HealthState::Degraded),
        });
        worst.max().unwrap_or(HealthState::Healthy)
    }

    /// From now on nothing new is taken.
    pub fn set_draining(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Whether the process is on its way out.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// Whether requests should be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.is_draining() && self.overall() != HealthState::Unhealthy
    }
}

impl Component {
    /// Says how it is. Costs a read lock when nothing changed.
    pub fn set(&self, state: HealthState, detail: impl Into<Cow<'static, str>>) {
        let detail = detail.into();
        {
            let all = self.health.0.components.read();
            if all.get(self.index).is_some_and(|known| known.state == state && known.detail == detail) {
                return;
            }
        }
        if let Some(known) = self.health.0.components.write().get_mut(self.index) {
            if known.state != state {
                known.since = jiff::Timestamp::now();
            }
            (known.state, known.detail) = (state, detail.into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S2-3.6
    #[test]
    fn only_the_store_makes_the_whole_unhealthy_and_draining_is_not_ready() {
        let health = Health::new();
        let (redis, store) = (health.component("redis"), health.component("store"));
        redis.set(HealthState::Unhealthy, "unreachable");
        assert_eq!((health.overall(), health.is_ready()), (HealthState::Degraded, true));
        store.set(HealthState::Unhealthy, "locked");
        assert_eq!((health.overall(), health.is_ready()), (HealthState::Unhealthy, false));
        store.set(HealthState::Healthy, "");
        health.set_draining();
        assert!(!health.is_ready());
    }
}
