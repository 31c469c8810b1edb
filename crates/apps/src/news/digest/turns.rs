//! One at a time of each name: whoever comes second waits and finds what the first one left. Invariant: a name that nobody holds
//! or waits for is forgotten.

use ahash::AHashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{Mutex as Lock, OwnedMutexGuard};

/// Names above which those are looked for that a waiter left behind when it gave up.
const MANY: usize = 1024;

/// Who holds which name.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<AHashMap<String, Arc<Lock<()>>>>);

/// A name that is held.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    name: String,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for a name.
    pub(crate) async fn of(&self, name: &str) -> Turn<'_> {
        let lock = {
            let mut held = self.0.lock();
            if held.len() > MANY {
                held.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            held.entry(name.to_owned()).or_default().clone()
        };
        Turn { held: Some(lock.lock_owned().await), turns: self, name: name.to_owned() }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut held = self.turns.0.lock();
        if held.get(&self.name).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            held.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn of_each_name_one_is_at_work_and_nothing_is_left_behind() {
        let turns = Turns::default();
        let first = turns.of("a").await;
        let other = turns.of("b").await;
        assert!(tokio::time::timeout(Duration::from_secs(1), turns.of("a")).await.is_err());
        drop(first);
        drop(tokio::time::timeout(Duration::from_secs(1), turns.of("a")).await.unwrap());
        drop(other);
        assert!(turns.0.lock().is_empty());
    }
}
