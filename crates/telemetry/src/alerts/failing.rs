//! The share of messages that failed within a window that slides. Pure: time and counts come as arguments. Invariant: a
//! share is told of enough messages only; counts that went back (a new process) begin anew.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// Counts as they were seen, oldest first.
#[derive(Debug)]
pub struct Failing {
    window: Duration,
    least: u64,
    /// When, all messages by then, those of them that failed.
    looks: VecDeque<(Instant, u64, u64)>,
}

impl Failing {
    /// Over that long, of at least so many messages.
    #[must_use]
    pub const fn new(window: Duration, least: u64) -> Self {
        Self { window, least, looks: VecDeque::new() }
    }

    /// The share that failed within the window before `now`, when there were enough; `all` and `failed` are totals that
    /// only grow.
    pub fn look(&mut self, now: Instant, all: u64, failed: u64) -> Option<f64> {
        if self.looks.back().is_some_and(|(_, known, _)| *known > all) {
            self.looks.clear();
        }
        self.looks.push_back((now, all, failed));
        // The newest look that is as old as the window stays: the window begins there.
        let old = |at: &Instant| now.saturating_duration_since(*at) >= self.window;
        while self.looks.get(1).is_some_and(|(at, ..)| old(at)) {
            self.looks.pop_front();
        }
        let (_, before, failed_before) = *self.looks.front()?;
        let count = all - before;
        (count >= self.least).then(|| failed.saturating_sub(failed_before) as f64 / count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S2-3.7
    #[test]
    fn a_share_is_of_the_window_and_of_enough_messages() {
        let begun = Instant::now();
        let mut failing = Failing::new(Duration::from_secs(60), 20);
        let mut look = |secs, all, failed| failing.look(begun + Duration::from_secs(secs), all, failed);
        assert_eq!(look(0, 0, 0), None);
        assert_eq!(look(5, 19, 19), None, "too few");
        assert_eq!(look(10, 20, 19), Some(0.95));
        assert_eq!(look(50, 200, 20), Some(0.1));
        // What failed in the first ten seconds has left the window, what came after is in it.
        assert_eq!(look(70, 220, 20), Some(1.0 / 200.0));
        assert_eq!(look(1_000, 225, 25), None, "five in the last minute");
        assert_eq!(look(1_005, 3, 3), None, "a new process counts from the beginning");
    }
}
