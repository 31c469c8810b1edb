//! The fair queue of a bulkhead: one line for each caller, served by deficit round robin. Pure; `T` is what waits.
//!
//! A caller of weight `w` is served up to `w` times in its turn, first in first out, then the turn goes on. When the
//! queue is full, a newcomer whose own line is short takes the last place of the longest line: otherwise a caller
//! that fills the queue would lock everybody else out, however fairly the queue is then served.
//!
//! Invariants: `len` is the sum of all lines, no line is empty, and between two turns of a caller every other one
//! that waits has been served up to its weight. Source: M. Shreedhar, G. Varghese, Efficient Fair Queueing Using
//! Deficit Round Robin (1995), unit costs; the longest-queue drop is theirs too. gateway.md section 6.

use std::{collections::VecDeque, sync::Arc};
use tokio::time::Instant;

struct Entry<T> {
    ticket: u64,
    since: Instant,
    item: T,
}

struct Line<T> {
    caller: Arc<str>,
    weight: u32,
    /// Services left in this turn.
    credit: u32,
    entries: VecDeque<Entry<T>>,
}

/// Everybody who waits.
pub(super) struct Lines<T> {
    /// In the order of their turns; the front one is being served.
    lines: VecDeque<Line<T>>,
    len: usize,
    next: u64,
}

impl<T> Lines<T> {
    pub(super) const fn new() -> Self {
        Self { lines: VecDeque::new(), len: 0, next: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Appends to the caller's line; the number takes the entry out again.
    pub(super) fn push(&mut self, caller: &Arc<str>, weight: u32, since: Instant, item: T) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.len += 1;
        let entry = Entry { ticket, since, item };
        match self.lines.iter_mut().find(|line| line.caller == *caller) {
            Some(line) => line.entries.push_back(entry),
            None => {
                let weight = weight.max(1);
                let entries = VecDeque::from([entry]);
                self.lines.push_back(Line { caller: caller.clone(), weight, credit: weight, entries });
            }
        }
        ticket
    }

    /// Whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let line = self.lines.front_mut()?;
        let entry = line.entries.pop_front()?;
        line.credit -= 1;
        self.len -= 1;
        if line.entries.is_empty() {
            self.lines.pop_front();
        } else if line.credit == 0 {
            line.credit = line.weight;
            self.lines.rotate_left(1);
        }
        Some(entry.item)
    }

    /// Takes one out that does not wait any more.
    pub(super) fn remove(&mut self, caller: &Arc<str>, ticket: u64) -> Option<T> {
        let index = self.lines.iter().position(|line| line.caller == *caller)?;
        let line = &mut self.lines[index];
        let at = line.entries.binary_search_by_key(&ticket, |entry| entry.ticket).ok()?;
        let entry = line.entries.remove(at)?;
        self.len -= 1;
        if line.entries.is_empty() {
            self.lines.remove(index);
        }
        Some(entry.item)
    }

    /// How many are served before a newcomer of this caller, at most.
    pub(super) fn ahead(&self, caller: &Arc<str>, weight: u32) -> usize {
        let own = self.lines.iter().find(|line| line.caller == *caller);
        let (before, weight) = own.map_or((0, weight.max(1)), |line| (line.entries.len(), line.weight));
        // Its turn comes round so often until it is served.
        let turns = before / weight as usize + 1;
        let others = self.lines.iter().filter(|line| line.caller != *caller);
        let theirs = others.map(|line| line.entries.len().min(turns.saturating_mul(line.weight as usize)));
        before + theirs.sum::<usize>()
    }

    /// The last of the longest line by weight, if a newcomer of this caller has a better right to its place.
    pub(super) fn evict(&mut self, caller: &Arc<str>, weight: u32) -> Option<T> {
        let own = self.lines.iter().find(|line| line.caller == *caller);
        let (mine, weight) = own.map_or((1, weight.max(1)), |line| (line.entries.len() + 1, line.weight));
        // Lengths divided by weights, compared without dividing.
        let longer = |a: &Line<T>, b: &Line<T>| {
            (a.entries.len() * b.weight as usize).cmp(&(b.entries.len() * a.weight as usize))
        };
        let longest = self.lines.iter_mut().max_by(|a, b| longer(a, b))?;
        // With its last gone the longest line must still be no shorter than the newcomer's.
        if mine * longest.weight as usize > (longest.entries.len() - 1) * weight as usize {
            return None;
        }
        self.len -= 1;
        longest.entries.pop_back().map(|entry| entry.item)
    }

    /// Since when the oldest has waited.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.lines.iter().filter_map(|line| line.entries.front()).map(|entry| entry.since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::tests::an_instant;
    use proptest::prelude::*;

    fn push(lines: &mut Lines<usize>, caller: &str, weight: u32, item: usize) -> u64 {
        lines.push(&caller.into(), weight, an_instant_once(), item)
    }

    fn an_instant_once() -> Instant {
        static ONE: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *ONE.get_or_init(an_instant)
    }

    #[test]
    fn a_turn_is_as_long_as_the_weight() {
        let mut lines = Lines::new();
        for item in 0..8 {
            push(&mut lines, "anonymous", 1, item);
            push(&mut lines, "premium", 4, 100 + item);
        }
        let order: Vec<usize> = std::iter::from_fn(|| lines.pop()).take(10).collect();
        assert_eq!(order, [0, 100, 101, 102, 103, 1, 104, 105, 106, 107]);
    }

    #[test]
    fn in_a_full_queue_a_newcomer_takes_the_last_place_of_the_longest_line() {
        let mut lines = Lines::new();
        for item in 0..63 {
            push(&mut lines, "flood", 1, item);
        }
        push(&mut lines, "quiet", 1, 900);
        assert_eq!(lines.evict(&"flood".into(), 1), None, "the flood may not push out the quiet one");
        assert_eq!(lines.evict(&"new".into(), 1), Some(62));
        assert_eq!(lines.len(), 63);
        let mut even = Lines::new();
        for caller in 0..64 {
            push(&mut even, &caller.to_string(), 1, caller);
        }
        assert_eq!(even.evict(&"new".into(), 4), None, "nobody is pushed out of their only place");
    }

    /// Every waiter in one list; each question is answered by looking through it.
    #[derive(Default)]
    struct Naive {
        waiting: Vec<(String, u32, u64, usize)>,
        /// Turns: callers in order, with what is left of the front one's.
        turns: Vec<(String, u32)>,
    }

    impl Naive {
        fn of<'a>(&'a self, caller: &'a str) -> impl Iterator<Item = &'a (String, u32, u64, usize)> {
            self.waiting.iter().filter(move |(name, ..)| name == caller)
        }

        fn weight(&self, caller: &str) -> Option<u32> {
            self.of(caller).next().map(|(_, weight, ..)| *weight)
        }

        fn push(&mut self, caller: &str, weight: u32, ticket: u64, item: usize) {
            let weight = self.weight(caller).unwrap_or(weight);
            if self.of(caller).next().is_none() {
                self.turns.push((caller.to_owned(), weight));
            }
            self.waiting.push((caller.to_owned(), weight, ticket, item));
        }

        fn take(&mut self, at: usize) -> usize {
            let (caller, .., item) = self.waiting.remove(at);
            if self.of(&caller).next().is_none() {
                self.turns.retain(|(name, _)| *name != caller);
            }
            item
        }

        fn pop(&mut self) -> Option<usize> {
            let (caller, left) = self.turns.first_mut()?;
            *left -= 1;
            let (caller, over) = (caller.clone(), *left == 0);
            let at = self.waiting.iter().position(|(name, ..)| *name == caller).unwrap();
            let weight = self.waiting[at].1;
            if over {
                self.turns.remove(0);
                self.turns.push((caller, weight));
            }
            Some(self.take(at))
        }
    }

    proptest! {
        #[test]
        fn it_serves_in_the_order_of_the_naive_model(
            steps in prop::collection::vec((0_u8..5, 0_usize..5, any::<prop::sample::Index>()), 1..300),
        ) {
            const CALLERS: [(&str, u32); 5] = [("a", 1), ("b", 1), ("c", 2), ("d", 4), ("e", 4)];
            let (mut lines, mut naive) = (Lines::new(), Naive::default());
            for (item, (what, who, which)) in steps.into_iter().enumerate() {
                let (caller, weight) = CALLERS[who];
                match what {
                    0..=2 => {
                        let ahead = lines.ahead(&caller.into(), weight);
                        prop_assert!(ahead <= lines.len());
                        let ticket = push(&mut lines, caller, weight, item);
                        naive.push(caller, weight, ticket, item);
                    }
                    3 => prop_assert_eq!(lines.pop(), naive.pop()),
                    _ if !naive.waiting.is_empty() => {
                        let at = which.index(naive.waiting.len());
                        let (caller, _, ticket, _) = naive.waiting[at].clone();
                        prop_assert_eq!(lines.remove(&caller.as_str().into(), ticket), Some(naive.take(at)));
                        prop_assert_eq!(lines.remove(&caller.as_str().into(), ticket), None);
                    }
                    _ => {}
                }
                prop_assert_eq!(lines.len(), naive.waiting.len());
                prop_assert_eq!(lines.oldest().is_some(), lines.len() > 0);
            }
            while let Some(item) = naive.pop() {
                prop_assert_eq!(lines.pop(), Some(item));
            }
            prop_assert_eq!(lines.pop(), None);
        }

        #[test]
        fn nobody_waits_behind_more_than_was_estimated(
            waiting in prop::collection::vec(0_usize..5, 0..100),
            who in 0_usize..6,
        ) {
            const CALLERS: [(&str, u32); 6] = [("a", 1), ("b", 1), ("c", 2), ("d", 4), ("e", 4), ("f", 2)];
            let mut lines = Lines::new();
            for (item, other) in waiting.into_iter().enumerate() {
                push(&mut lines, CALLERS[other].0, CALLERS[other].1, item);
            }
            let (caller, weight) = CALLERS[who];
            let ahead = lines.ahead(&caller.into(), weight);
            push(&mut lines, caller, weight, usize::MAX);
            let served = std::iter::from_fn(|| lines.pop()).position(|item| item == usize::MAX).unwrap();
            prop_assert!(served <= ahead, "{served} > {ahead}");
        }

        #[test]
        fn whoever_comes_to_a_full_queue_evicts_only_from_a_longer_line(
            waiting in prop::collection::vec(0_usize..5, 1..60),
            who in 0_usize..6,
        ) {
            const CALLERS: [(&str, u32); 6] = [("a", 1), ("b", 1), ("c", 2), ("d", 4), ("e", 4), ("f", 2)];
            let mut lines = Lines::new();
            for other in &waiting {
                push(&mut lines, CALLERS[*other].0, CALLERS[*other].1, *other);
            }
            let (caller, weight) = CALLERS[who];
            let length = |index: usize| waiting.iter().filter(|other| **other == index).count();
            let share = |length: usize, weight: u32| length as f64 / f64::from(weight);
            let mine = share(length(who) + 1, weight);
            let best = (0..5).filter(|other| length(*other) > 0)
                .any(|other| share(length(other) - 1, CALLERS[other].1) >= mine);
            match lines.evict(&caller.into(), weight) {
                Some(victim) => {
                    prop_assert!(victim != who);
                    prop_assert!(share(length(victim) - 1, CALLERS[victim].1) >= mine);
                }
                // The longest line by weight is looked at, not every line.
                None => prop_assert!(
                    !best || (0..5).all(|other| share(length(other), CALLERS[other].1) < mine + 1.0)
                ),
            }
        }
    }
}
