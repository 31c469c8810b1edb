//! Limits counted in this process. Sharded by scope and subject; a decision locks its shards in index order, looks
//! at every limit, then charges all or none. Invariants: no lock is held across an await; memory is bounded by
//! `max_keys`, and a limit that is in use is never forgotten before one that is at rest.

use super::{
    Charge, Decision, decide,
    quota::{Counts, KEPT, Look, Quota, SLOTS, charge_bucket, look_bucket},
};
use ahash::RandomState;
use parking_lot::{Mutex, MutexGuard};
use portcullis_domain::LimitScope;
use smallvec::SmallVec;
use std::collections::HashMap;

/// Shards: enough that two cores rarely meet.
const SHARDS: usize = 64;

#[derive(Clone, Copy, Debug)]
enum State {
    Bucket { tat: u64 },
    Window(Counts),
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// When nothing is left of it, in microseconds.
    rests_at: u64,
}

type Shard = HashMap<(LimitScope, Box<str>), Slot, RandomState>;

/// The store.
#[derive(Debug)]
pub struct MemoryLimits {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    per_shard: usize,
}

impl MemoryLimits {
    /// Room for about `max_keys` limits at once.
    #[must_use]
    pub fn new(max_keys: usize) -> Self {
        let hasher = RandomState::new();
        let shards = (0..SHARDS).map(|_| Mutex::new(HashMap::with_hasher(hasher.clone()))).collect();
        Self { shards, hasher, per_shard: max_keys.div_ceil(SHARDS).max(16) }
    }

    fn shard(&self, charge: &Charge<'_>) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits matter")]
        let hash = self.hasher.hash_one((charge.scope, charge.subject)) as usize;
        hash % SHARDS
    }

    /// Limits known now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One decision at `now` (microseconds of any clock that never goes back).
    pub fn decide_at(&self, charges: &[Charge<'_>], now: u64) -> Decision {
        let mut held = self.lock(charges);
        let looks: SmallVec<[Look; 6]> =
            charges.iter().map(|charge| look(held.get(self.shard(charge)), charge, now)).collect();
        let refused = decide::refusal(charges, &looks);
        if refused.is_none() {
            for charge in charges {
                charge_one(held.get_mut(self.shard(charge)), charge, self.per_shard, now);
            }
        }
        drop(held);
        decide::decision(charges, &looks, refused, false)
    }

    /// Gives back what a decision charged.
    pub fn refund_at(&self, charges: &[Charge<'_>], now: u64) {
        let mut held = self.lock(charges);
        for charge in charges {
            let key = (charge.scope, charge.subject);
            if let Some(slot) = find(held.get_mut(self.shard(charge)), key) {
                give_back(slot, charge, now);
            }
        }
    }

    fn lock(&self, charges: &[Charge<'_>]) -> Held<'_> {
        let mut order: SmallVec<[usize; 6]> = charges.iter().map(|charge| self.shard(charge)).collect();
        order.sort_unstable();
        order.dedup();
        Held(order.into_iter().map(|index| (index, self.shards[index].lock())).collect())
    }
}

/// Locked shards, found by index. At most six, so a scan is fastest.
struct Held<'a>(SmallVec<[(usize, MutexGuard<'a, Shard>); 6]>);

impl Held<'_> {
    fn place(&self, index: usize) -> usize {
        self.0.iter().position(|(at, _)| *at == index).unwrap_or(0)
    }

    fn get(&self, index: usize) -> &Shard {
        &self.0[self.place(index)].1
    }

    fn get_mut(&mut self, index: usize) -> &mut Shard {
        let place = self.place(index);
        &mut self.0[place].1
    }
}

/// Looks a borrowed key up without making an owned one.
fn find<'a>(shard: &'a mut Shard, key: (LimitScope, &str)) -> Option<&'a mut Slot> {
    shard.get_mut(&key as &dyn Key)
}

fn look(shard: &Shard, charge: &Charge<'_>, now: u64) -> Look {
    let slot = shard.get(&(charge.scope, charge.subject) as &dyn Key);
    match (charge.quota, slot.map(|slot| slot.state)) {
        (Quota::Bucket { capacity, micros_per_token }, state) => {
            let tat = if let Some(State::Bucket { tat }) = state { tat } else { 0 };
            look_bucket(tat, capacity, micros_per_token, charge.cost, now)
        }
        (Quota::Window { limit, micros }, state) => {
            let mut counts = if let Some(State::Window(counts)) = state { counts } else { Counts::default() };
            counts.advance(now / (micros / SLOTS));
            counts.look(limit, micros, charge.cost, now)
        }
    }
}

fn fresh(quota: Quota) -> State {
    match quota {
        Quota::Bucket { .. } => State::Bucket { tat: 0 },
        Quota::Window { .. } => State::Window(Counts::default()),
    }
}

fn charge_one(shard: &mut Shard, charge: &Charge<'_>, most: usize, now: u64) {
    if let Some(slot) = find(shard, (charge.scope, charge.subject)) {
        apply(slot, charge, now);
        return;
    }
    if shard.len() >= most {
        make_room(shard, now);
    }
    let mut slot = Slot { state: fresh(charge.quota), rests_at: 0 };
    apply(&mut slot, charge, now);
    shard.insert((charge.scope, charge.subject.into()), slot);
}

/// Forgets what is at rest; if all are in use, the quarter that rests soonest.
fn make_room(shard: &mut Shard, now: u64) {
    let before = shard.len();
    shard.retain(|_, slot| slot.rests_at > now);
    if shard.len() > before / 4 * 3 {
        let mut rests: Vec<u64> = shard.values().map(|slot| slot.rests_at).collect();
        let quarter = rests.len() / 4;
        let border = *rests.select_nth_unstable(quarter).1;
        shard.retain(|_, slot| slot.rests_at > border);
    }
}

fn apply(slot: &mut Slot, charge: &Charge<'_>, now: u64) {
    match charge.quota {
        Quota::Bucket { micros_per_token, .. } => {
            let tat = if let State::Bucket { tat } = slot.state { tat } else { 0 };
            let tat = charge_bucket(tat, micros_per_token, charge.cost, now);
            slot.state = State::Bucket { tat };
            slot.rests_at = tat;
        }
        Quota::Window { micros, .. } => {
            let mut counts = if let State::Window(counts) = slot.state { counts } else { Counts::default() };
            counts.advance(now / (micros / SLOTS));
            counts.counts[(counts.latest % KEPT as u64) as usize] += charge.cost;
            slot.state = State::Window(counts);
            slot.rests_at = now + charge.quota.memory_micros();
        }
    }
}

fn give_back(slot: &mut Slot, charge: &Charge<'_>, now: u64) {
    match (&mut slot.state, charge.quota) {
        (State::Bucket { tat }, Quota::Bucket { micros_per_token, .. }) => {
            *tat = tat.saturating_sub(micros_per_token * u64::from(charge.cost));
        }
        (State::Window(counts), Quota::Window { micros, .. }) => {
            counts.advance(now / (micros / SLOTS));
            let mut left = charge.cost;
            for back in 0..KEPT as u64 {
                let Some(slot) = counts.latest.checked_sub(back) else { break };
                let count = &mut counts.counts[(slot % KEPT as u64) as usize];
                let taken = left.min(*count);
                *count -= taken;
                left -= taken;
            }
        }
        (State::Bucket { .. } | State::Window(_), _) => {}
    }
}

/// A key that can be borrowed or owned: a tuple with a box cannot be looked up by a tuple with a reference.
trait Key {
    fn parts(&self) -> (LimitScope, &str);
}

impl Key for (LimitScope, &str) {
    fn parts(&self) -> (LimitScope, &str) {
        *self
    }
}

impl Key for (LimitScope, Box<str>) {
    fn parts(&self) -> (LimitScope, &str) {
        (self.0, &self.1)
    }
}

impl<'a> std::borrow::Borrow<dyn Key + 'a> for (LimitScope, Box<str>) {
    fn borrow(&self) -> &(dyn Key + 'a) {
        self
    }
}

impl std::hash::Hash for dyn Key + '_ {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn Key + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Key + '_ {}
