//! Handing over to one writing thread. Giving costs a short lock and no system call while the writer is behind;
//! the writer sleeps while there is nothing, lets a batch gather, and takes it whole.
//! Invariants: giving never waits and never goes beyond the bound; what was accepted is taken exactly once, in order.

use parking_lot::{Condvar, Mutex};
use std::time::Duration;

pub(crate) struct Batch<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
}

struct State<T> {
    items: Vec<T>,
    /// Somebody wants it written now.
    urgent: bool,
    closed: bool,
}

/// Room that a batch keeps between two uses; larger ones are given back to the allocator.
const KEEP: usize = 65_536;

impl<T> Batch<T> {
    pub(crate) const fn new() -> Self {
        let state = State { items: Vec::new(), urgent: false, closed: false };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Adds with `put` when `count` more stay within `most`. Says how many wait now, or nothing when refused.
    pub(crate) fn give(
        &self,
        count: usize,
        most: usize,
        urgent: bool,
        put: impl FnOnce(&mut Vec<T>),
    ) -> Option<usize> {
        let mut state = self.state.lock();
        if state.closed || state.items.len() + count > most {
            return None;
        }
        let first = state.items.is_empty();
        put(&mut state.items);
        state.urgent |= urgent;
        let waiting = state.items.len();
        drop(state);
        if first || urgent {
            self.wake.notify_one();
        }
        Some(waiting)
    }

    /// Nothing more is taken in; the writer ends when it has written the rest.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_all();
    }

    /// For a writer that cannot write just now: waits `time`, or less when nothing more will come. Whether that is so.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        self.wake.wait_while_for(&mut state, |state| !state.closed, time);
        state.closed
    }

    /// For the writer: waits for something (at most `idle`), lets it gather for `gather` unless it is urgent, and
    /// takes all. Whether more can come.
    pub(crate) fn take(&self, into: &mut Vec<T>, idle: Duration, gather: Duration) -> bool {
        into.clear();
        into.shrink_to(KEEP);
        let mut state = self.state.lock();
        self.wake.wait_while_for(&mut state, |state| state.items.is_empty() && !state.closed, idle);
        if !state.items.is_empty() {
            self.wake.wait_while_for(&mut state, |state| !state.urgent && !state.closed, gather);
        }
        std::mem::swap(into, &mut state.items);
        state.urgent = false;
        !(into.is_empty() && state.closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_is_given_is_taken_once_in_order_and_never_beyond_the_bound() {
        let batch = Arc::new(Batch::<u32>::new());
        let giver = Arc::clone(&batch);
        let gives = std::thread::spawn(move || {
            for number in 0..10_000 {
                while giver.give(1, 16, number % 97 == 0, |items| items.push(number)).is_none() {
                    std::thread::yield_now();
                }
            }
            giver.close();
        });
        let (mut all, mut taken) = (Vec::new(), Vec::new());
        while batch.take(&mut taken, Duration::from_secs(60), Duration::from_micros(50)) {
            assert!(taken.len() <= 16);
            all.append(&mut taken);
        }
        gives.join().unwrap();
        assert_eq!(all, (0..10_000).collect::<Vec<_>>());
        assert_eq!(batch.give(1, 16, false, |items| items.push(1)), None, "closed");
    }
}
