//! Habits of the callers that were active last: a bounded table of which the caller that was silent longest is
//! forgotten first, to within `LAZY_SECS`. Shards, so that two callers rarely wait for each other; no allocation for a caller that is known.
//! Callers are held by a 64-bit hash with a key of this process: a hundred thousand share one with a chance of 3 in
//! 10,000,000,000.

use super::habit::Habit;
use hashbrown::HashTable;
use parking_lot::Mutex;

/// Number of shards.
const SHARDS: usize = 16;
/// A caller that moved to the newest less than so many seconds ago stays where it is: moving touches the memory of two
/// neighbours, which nobody else is using and which is therefore slow.
const LAZY_SECS: u32 = 300;
/// No neighbour.
const NONE: u32 = u32::MAX;

struct Node {
    hash: u64,
    older: u32,
    newer: u32,
    /// When it was made the newest, in seconds.
    moved: u32,
    habit: Habit,
}

struct Shard {
    places: HashTable<u32>,
    nodes: Vec<Node>,
    oldest: u32,
    newest: u32,
    most: usize,
}

pub(super) struct Table([Mutex<Shard>; SHARDS]);

impl Table {
    /// Of at most that many callers, at least one in each shard.
    pub(super) fn new(callers: usize) -> Self {
        let most = callers.div_ceil(SHARDS).max(1);
        Self(std::array::from_fn(|_| {
            Mutex::new(Shard {
                places: HashTable::new(),
                nodes: Vec::new(),
                oldest: NONE,
                newest: NONE,
                most,
            })
        }))
    }

    /// Works with the habit of that caller, who is the newest from now on.
    pub(super) fn with<T>(&self, hash: u64, now: u32, work: impl FnOnce(&mut Habit) -> T) -> T {
        // The table takes the low bits and the high seven; these lie between.
        let mut shard = self.0[(hash >> 48) as usize % SHARDS].lock();
        let place = shard.place(hash, now);
        work(&mut shard.nodes[place as usize].habit)
    }

    /// Callers held, and bytes they take.
    pub(super) fn size(&self) -> (usize, usize) {
        let sizes = self.0.iter().map(|shard| {
            let shard = shard.lock();
            let bytes = shard.nodes.capacity() * size_of::<Node>() + shard.places.allocation_size();
            (shard.nodes.len(), bytes)
        });
        sizes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

impl Shard {
    fn place(&mut self, hash: u64, now: u32) -> u32 {
        let nodes = &self.nodes;
        let found = self.places.find(hash, |place| nodes[*place as usize].hash == hash).copied();
        if let Some(place) = found {
            if now.saturating_sub(self.nodes[place as usize].moved) >= LAZY_SECS && place != self.newest {
                self.unlink(place);
                self.link(place, now);
            }
            return place;
        }
        let place = if self.nodes.len() < self.most {
            if self.nodes.len() == self.nodes.capacity() {
                // Doubled as a vector does, but never beyond what will be used.
                let more = self.nodes.len().max(16).min(self.most - self.nodes.len());
                self.nodes.reserve_exact(more);
            }
            self.nodes.push(Node { hash, older: NONE, newer: NONE, moved: now, habit: Habit::new() });
            (self.nodes.len() - 1) as u32
        } else {
            let place = self.oldest;
            self.unlink(place);
            let old = self.nodes[place as usize].hash;
            if let Ok(entry) = self.places.find_entry(old, |known| *known == place) {
                entry.remove();
            }
            let node = &mut self.nodes[place as usize];
            (node.hash, node.habit) = (hash, Habit::new());
            place
        };
        let nodes = &self.nodes;
        self.places.insert_unique(hash, place, |place| nodes[*place as usize].hash);
        self.link(place, now);
        place
    }

    /// Makes it the newest.
    fn link(&mut self, place: u32, now: u32) {
        let newest = std::mem::replace(&mut self.newest, place);
        let node = &mut self.nodes[place as usize];
        (node.older, node.newer, node.moved) = (newest, NONE, now);
        match self.nodes.get_mut(newest as usize) {
            Some(before) => before.newer = place,
            None => self.oldest = place,
        }
    }

    fn unlink(&mut self, place: u32) {
        let Node { older, newer, .. } = self.nodes[place as usize];
        match self.nodes.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.nodes.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn it_holds_and_forgets_as_a_naive_list_does(hashes in prop::collection::vec(0_u64..12, 0..300)) {
            let mut shard =
                Shard { places: HashTable::new(), nodes: Vec::new(), oldest: NONE, newest: NONE, most: 5 };
            let mut naive: VecDeque<u64> = VecDeque::new();
            for (turn, hash) in hashes.into_iter().enumerate() {
                let known = naive.iter().position(|held| *held == hash);
                known.map(|at| naive.remove(at));
                naive.push_back(hash);
                if naive.len() > 5 {
                    naive.pop_front();
                }
                let place = shard.place(hash, turn as u32 * LAZY_SECS) as usize;
                prop_assert_eq!(shard.nodes[place].hash, hash);
                let (mut at, mut order) = (shard.oldest, Vec::new());
                while let Some(node) = shard.nodes.get(at as usize) {
                    order.push(node.hash);
                    at = node.newer;
                }
                prop_assert_eq!(&order, &naive.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(shard.places.len(), naive.len());
            }
        }
    }

    // req: S2-3.4
    #[test]
    fn a_hundred_thousand_callers_take_about_200_bytes_each_and_never_more() {
        assert!(size_of::<Habit>() <= 204, "{}", size_of::<Habit>());
        let table = Table::new(100_000);
        for caller in 0..250_000_u64 {
            table.with(caller.wrapping_mul(0x9E37_79B9_7F4A_7C15), 0, |_| ());
        }
        let (callers, bytes) = table.size();
        assert_eq!(callers, 100_000);
        assert!(bytes <= 240 * callers, "{} bytes each", bytes / callers);
    }
}
