//! Routes as the operator sees and changes them while they run. Changes are of this process and end with it, or with
//! the next reload of the settings.

use super::{ChatApp, config::CacheMode, routes::Route};
use portcullis_providers::ModelKind;
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// A route.
#[derive(Clone, Debug, Serialize)]
pub struct RouteView {
    /// The name callers use.
    pub name: String,
    /// What it is for.
    pub kind: ModelKind,
    /// Its targets, lower ranks first; their places in this list are their numbers.
    pub targets: Vec<TargetView>,
    /// Targets tried for one request.
    pub max_hops: usize,
    /// What keeps requests at one target.
    pub sticky: String,
    /// Name of its guard policy.
    pub policy: String,
    /// Which answers are kept.
    pub cache: CacheMode,
    /// Whether the builtin provider stands in because no other has a key.
    pub stand_in: bool,
}

/// One target of a route.
#[derive(Clone, Debug, Serialize)]
pub struct TargetView {
    /// `provider/model`.
    pub target: String,
    /// Its share among those of its rank; 0: switched off.
    pub weight: u32,
    /// Used only while none of a lower rank is left.
    pub rank: u32,
    /// Whole seconds, rounded up, for which it is switched off; 0: it is on.
    pub off_for_secs: u64,
    /// Whole seconds, rounded up, until it is well again; 0: it is.
    pub ready_in_secs: u64,
}

impl ChatApp {
    /// Every route, by name.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteView> {
        self.routes.all().map(|(name, route)| view(name, route)).collect()
    }

    /// Changes the weight of target `index` of a route, 0 to 1000; 0 switches it off. False when there is none such.
    #[must_use]
    pub fn set_weight(&self, route: &str, index: usize, weight: u32) -> bool {
        weight <= 1000 && self.routes.get(route).is_some_and(|route| route.chooser.set_weight(index, weight))
    }

    /// Switches target `index` of a route off for so long, or on. The last one that is on is used all the same. False
    /// when there is none such.
    #[must_use]
    pub fn switch_off(&self, route: &str, index: usize, time: Option<Duration>) -> bool {
        let until = time.and_then(|time| Instant::now().checked_add(time));
        self.routes.get(route).is_some_and(|route| route.chooser.set_off(index, until))
    }
}

fn view(name: &str, route: &Route) -> RouteView {
    let now = Instant::now();
    let seconds = |wait: Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let targets = route.targets.iter().enumerate().map(|(index, target)| {
        let (weight, off_until) = route.chooser.look(index).unwrap_or_default();
        TargetView {
            target: target.name.to_string(),
            weight,
            rank: target.rank,
            off_for_secs: off_until.map_or(0, |until| seconds(until.saturating_duration_since(now))),
            ready_in_secs: seconds(route.readiness(index, now)),
        }
    });
    RouteView {
        name: name.to_owned(),
        kind: route.kind,
        targets: targets.collect(),
        max_hops: route.max_hops,
        sticky: route.sticky.clone().into(),
        policy: route.policy.to_string(),
        cache: route.cache,
        stand_in: route.stand_in,
    }
}
