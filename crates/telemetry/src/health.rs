//! What is well and what is not, in words. Parts of the house keep their own component up to date; doors read.
//! Invariant: reading never waits for anything outside this process. Source: S2-3.6, tools.md section 9.

use parking_lot::RwLock;
use serde::Serialize;
use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
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
    /// When it was last found well, RFC 3339; none: not yet.
    pub last_success: Option<jiff::Timestamp>,
}

/// A component, and when it was last found well, in Unix milliseconds; 0: not yet.
struct Known {
    status: ComponentStatus,
    well: AtomicI64,
}

#[derive(Default)]
struct Inner {
    components: RwLock<Vec<Known>>,
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
        let index = all.iter().position(|known| known.status.name == name).unwrap_or_else(|| {
            let since = jiff::Timestamp::now();
            let status = ComponentStatus {
                name: name.into(),
                state: HealthState::Healthy,
                detail: String::new(),
                since,
                last_success: None,
            };
            all.push(Known { status, well: AtomicI64::new(0) });
            all.len() - 1
        });
        Component { health: self.clone(), index }
    }

    /// Every component.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ComponentStatus> {
        let all = self.0.components.read();
        let shown = |known: &Known| {
            let well = known.well.load(Ordering::Relaxed);
            let last_success = jiff::Timestamp::from_millisecond(well).ok().filter(|_| well > 0);
            ComponentStatus { last_success, ..known.status.clone() }
        };
        all.iter().map(shown).collect()
    }

    /// The worst state; a component that is not `store` degrades the whole at most.
    #[must_use]
    pub fn overall(&self) -> HealthState {
        let all = self.0.components.read();
        let worst = all.iter().map(|known| match (known.status.name.as_str(), known.status.state) {
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
    /// Says how it is. Costs a read lock and a look at the clock when nothing changed.
    pub fn set(&self, state: HealthState, detail: impl Into<Cow<'static, str>>) {
        let (detail, now) = (detail.into(), jiff::Timestamp::now());
        {
            let all = self.health.0.components.read();
            if let Some(known) = all.get(self.index) {
                if state == HealthState::Healthy {
                    known.well.store(now.as_millisecond(), Ordering::Relaxed);
                }
                if known.status.state == state && known.status.detail == detail {
                    return;
                }
            }
        }
        if let Some(known) = self.health.0.components.write().get_mut(self.index) {
            if known.status.state != state {
                known.status.since = now;
            }
            (known.status.state, known.status.detail) = (state, detail.into_owned());
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

    // req: S2-3.6
    #[test]
    fn a_component_tells_why_since_when_and_when_it_was_last_well() {
        let health = Health::new();
        let disk = health.component("disk");
        assert_eq!(health.snapshot()[0].last_success, None, "nobody looked yet");
        disk.set(HealthState::Healthy, "");
        let well = health.snapshot()[0].last_success.unwrap();
        disk.set(HealthState::Degraded, "nearly full");
        let told = health.snapshot().remove(0);
        assert_eq!((told.last_success, told.detail.as_str()), (Some(well), "nearly full"));
        assert!(told.since >= well);
    }
}
