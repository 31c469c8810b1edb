//! Every guarded dependency by name. Health, metrics and the admin API iterate this, so a new dependency shows up
//! everywhere by being registered.

use crate::dependency::{Dependency, DependencyStatus};
use parking_lot::RwLock;
use std::sync::Arc;

/// The list. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry(Arc<RwLock<Vec<Dependency>>>);

impl Registry {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one; one of the same name is replaced.
    pub fn add(&self, dependency: Dependency) {
        let mut all = self.0.write();
        all.retain(|known| known.name() != dependency.name());
        all.push(dependency);
    }

    /// The one of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Dependency> {
        self.0.read().iter().find(|known| known.name() == name).cloned()
    }

    /// The state of all.
    #[must_use]
    pub fn snapshot(&self) -> Vec<DependencyStatus> {
        self.0.read().iter().map(Dependency::status).collect()
    }
}
