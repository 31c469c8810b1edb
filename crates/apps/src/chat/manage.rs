//! Routes as the operator sees and changes them while they run. Changes are of this process and end with it; a reload of
//! the settings keeps them, as it keeps breakers: whoever switched a sick target off does not want it back because
//! somebody else added a key.

use super::{
    ChatApp,
    config::CacheMode,
    routes::{Route, Target},
};
use parking_lot::Mutex;
use portcullis_providers::ModelKind;
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// What was changed by hand while the process runs: shared by the apps before and after a reload. Invariant: no more
/// than routes and targets that once were configured.
#[derive(Clone, Debug, Default)]
pub struct ByHand(Arc<Mutex<BTreeMap<Which, Change>>>);

/// Route, target and rank.
type Which = (String, Arc<str>, u32);

#[derive(Clone, Copy, Debug, Default)]
struct Change {
    weight: Option<u32>,
    off_until: Option<Instant>,
}

impl ByHand {
    fn note(&self, route: &str, target: &Target, change: impl FnOnce(&mut Change)) {
        let which = (route.to_owned(), target.name.clone(), target.rank);
        change(self.0.lock().entry(which).or_default());
    }
}

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

    /// The same app, in which what was changed by hand is so, and which notes there what is changed in it.
    #[must_use]
    pub fn remembering(self, by_hand: ByHand) -> Self {
        for ((name, target, rank), change) in by_hand.0.lock().iter() {
            let Some(route) = self.routes.get(name) else { continue };
            let same = |known: &Target| known.name == *target && known.rank == *rank;
            let Some(index) = route.targets.iter().position(same) else { continue };
            if let Some(weight) = change.weight {
                route.chooser.set_weight(index, weight);
            }
            route.chooser.set_off(index, change.off_until);
        }
        Self { by_hand, ..self }
    }

    /// Changes the weight of target `index` of a route, 0 to 1000; 0 switches it off, none gives it the configured one
    /// back. False when there is none such.
    #[must_use]
    pub fn set_weight(&self, route: &str, index: usize, weight: Option<u32>) -> bool {
        let Some((known, target)) = self.target(route, index) else { return false };
        let wanted = weight.unwrap_or_else(|| target.configured_weight());
        if wanted > 1000 || !known.chooser.set_weight(index, wanted) {
            return false;
        }
        self.by_hand.note(route, target, |change| change.weight = weight);
        true
    }

    fn target(&self, route: &str, index: usize) -> Option<(&Route, &Target)> {
        let route = self.routes.get(route)?;
        Some((route, route.targets.get(index)?))
    }

    /// Switches target `index` of a route off for so long, or on. The last one that is on is used all the same. False
    /// when there is none such.
    #[must_use]
    pub fn switch_off(&self, route: &str, index: usize, time: Option<Duration>) -> bool {
        let until = time.and_then(|time| Instant::now().checked_add(time));
        let Some((known, target)) = self.target(route, index) else { return false };
        self.by_hand.note(route, target, |change| change.off_until = until);
        known.chooser.set_off(index, until)
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
