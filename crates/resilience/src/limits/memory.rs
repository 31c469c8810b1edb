//! Limits counted in this process. Sharded by scope and subject; a decision locks its shards in index order, looks
//! at every limit, then charges all or none. Invariants: no lock is held across an await; at most `max_keys` limits
//! are kept, those at rest are forgotten first (the longest unused of them), then those in use that rest soonest,
//! and one that has nothing left only when no other is there.

use super::{
    Charge, Decision, LimitsConfig, Receipt, decide,
    quota::{Look, Quota, State},
};
use ahash::RandomState;
use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};
use portcullis_domain::LimitScope;
use smallvec::SmallVec;
use std::time::Duration;
use tokio::time::Instant;

/// Shards: enough that two cores rarely meet.
const SHARDS: usize = 64;
/// How often a shard is swept in the time after which what is at rest is forgotten.
const SWEEPS: u64 = 16;
/// A full shard forgets this part of its limits at once, so that a flood of new subjects does not search every time.
const BATCH: usize = 16;
/// Where the clock begins, so that nothing underflows.
const BEGIN: u64 = 1 << 40;

/// The store.
#[derive(Debug)]
pub struct MemoryLimits {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    per_shard: usize,
    idle: u64,
    origin: Instant,
}

#[derive(Debug, Default)]
struct Shard {
    slots: HashTable<Slot>,
    sweep_at: u64,
}

/// One limit of one subject.
#[derive(Debug)]
struct Slot {
    hash: u64,
    scope: LimitScope,
    subject: Box<str>,
    /// As last charged.
    quota: Quota,
    state: State,
    used_at: u64,
}

/// Where a limit was found, and how.
struct Found {
    hash: u64,
    bucket: Option<usize>,
    look: Look,
}

impl MemoryLimits {
    /// Nothing drawn yet.
    #[must_use]
    pub fn new(config: &LimitsConfig) -> Self {
        let idle = Duration::from_secs(config.idle_secs).as_micros();
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            per_shard: (config.max_keys / SHARDS).max(1),
            idle: u64::try_from(idle).unwrap_or(u64::MAX >> 1),
            origin: Instant::now(),
        }
    }

    /// Microseconds of tokio's clock, which tests can pause; never goes back.
    pub(super) fn now(&self) -> u64 {
        let since = Instant::now().saturating_duration_since(self.origin);
        BEGIN.saturating_add(u64::try_from(since.as_micros()).unwrap_or(u64::MAX >> 1))
    }

    /// Limits known now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().slots.len()).sum()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One decision at `now`, microseconds of a clock that never goes back.
    pub fn decide_at(&self, charges: &[Charge<'_>], now: u64) -> Decision {
        debug_assert!(distinct(charges), "the same limit twice in one decision: {charges:?}");
        let hashes: SmallVec<[u64; 6]> = charges.iter().map(|charge| self.hash(charge)).collect();
        let mut held = self.lock(&hashes, now);
        let found: SmallVec<[Found; 6]> = charges
            .iter()
            .zip(&hashes)
            .map(|(charge, hash)| held.shard(*hash).find(*hash, charge, now))
            .collect();
        let refused = decide::refusal(charges, found.iter().map(|found| found.look));
        if refused.is_none() {
            let paid = || charges.iter().zip(&found).filter(|(charge, _)| charge.cost > 0);
            // Places hold until something is inserted: known limits are charged first.
            for (charge, found) in paid() {
                let slot = found.bucket.and_then(|at| held.shard(found.hash).slots.get_bucket_mut(at));
                if let Some(slot) = slot {
                    slot.charge(charge, now);
                }
            }
            for (charge, found) in paid().filter(|(_, found)| found.bucket.is_none()) {
                held.shard(found.hash).insert(found.hash, charge, now, self.per_shard);
            }
        }
        drop(held);
        let looks = found.iter().map(|found| found.look);
        decide::decision(charges, looks, refused, Receipt { shared: false, at: now })
    }

    /// Gives back what the decision of that receipt charged.
    pub fn refund_at(&self, charges: &[Charge<'_>], receipt: Receipt, now: u64) {
        let hashes: SmallVec<[u64; 6]> = charges.iter().map(|charge| self.hash(charge)).collect();
        let mut held = self.lock(&hashes, now);
        for (charge, hash) in charges.iter().zip(&hashes) {
            if let Some(slot) = held.shard(*hash).slots.find_mut(*hash, |slot| slot.is(charge)) {
                slot.state.refund(charge.quota, charge.cost, receipt.at);
            }
        }
    }

    /// Forgets what was used of these limits.
    pub fn clear_at(&self, charges: &[Charge<'_>], now: u64) {
        let hashes: SmallVec<[u64; 6]> = charges.iter().map(|charge| self.hash(charge)).collect();
        let mut held = self.lock(&hashes, now);
        for (charge, hash) in charges.iter().zip(&hashes) {
            if let Ok(found) = held.shard(*hash).slots.find_entry(*hash, |slot| slot.is(charge)) {
                found.remove();
            }
        }
    }

    fn hash(&self, charge: &Charge<'_>) -> u64 {
        self.hasher.hash_one((charge.scope, charge.quota.span(), charge.subject))
    }

    fn lock(&self, hashes: &[u64], now: u64) -> Held<'_> {
        let mut order: SmallVec<[usize; 6]> = hashes.iter().map(|hash| shard_of(*hash)).collect();
        order.sort_unstable();
        order.dedup();
        let lock = |index: usize| {
            let mut shard = self.shards[index].lock();
            if now >= shard.sweep_at {
                shard.sweep(now, self.idle);
            }
            (index, shard)
        };
        Held(order.into_iter().map(lock).collect())
    }
}

/// The table itself uses the lowest and the highest bits.
const fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

fn distinct(charges: &[Charge<'_>]) -> bool {
    let name = |charge: &Charge<'_>| (charge.scope, charge.quota.span(), charge.subject.to_owned());
    charges.iter().enumerate().all(|(at, one)| charges[..at].iter().all(|other| name(one) != name(other)))
}

/// Locked shards, found by index. At most six, so a scan is fastest.
struct Held<'a>(SmallVec<[(usize, MutexGuard<'a, Shard>); 6]>);

impl Held<'_> {
    fn shard(&mut self, hash: u64) -> &mut Shard {
        let index = shard_of(hash);
        let place = self.0.iter().position(|(at, _)| *at == index).unwrap_or(0);
        &mut self.0[place].1
    }
}

impl Shard {
    fn find(&self, hash: u64, charge: &Charge<'_>, now: u64) -> Found {
        let bucket = self.slots.find_bucket_index(hash, |slot| slot.is(charge));
        let look = match bucket.and_then(|at| self.slots.get_bucket(at)) {
            Some(slot) => slot.state.look(charge.quota, charge.cost, now),
            None => State::fresh(charge.quota).look(charge.quota, charge.cost, now),
        };
        Found { hash, bucket, look }
    }

    /// A limit drawn from for the first time: only now is its subject stored.
    fn insert(&mut self, hash: u64, charge: &Charge<'_>, now: u64, most: usize) {
        if self.slots.len() >= most {
            self.make_room(now);
        }
        let (scope, quota) = (charge.scope, charge.quota);
        let state = State::fresh(quota);
        let mut slot = Slot { hash, scope, subject: charge.subject.into(), quota, state, used_at: now };
        slot.charge(charge, now);
        self.slots.insert_unique(hash, slot, |slot| slot.hash);
    }

    /// Forgets what is at rest and was not drawn from for `idle` microseconds.
    fn sweep(&mut self, now: u64, idle: u64) {
        self.sweep_at = now.saturating_add(idle / SWEEPS);
        self.slots.retain(|slot| slot.rests_at() > now || slot.used_at.saturating_add(idle) > now);
        if self.slots.len() < self.slots.capacity() / 4 {
            self.slots.shrink_to(self.slots.len() * 2, |slot| slot.hash);
        }
    }

    fn make_room(&mut self, now: u64) {
        let mut ranks: Vec<_> = self.slots.iter().map(|slot| slot.rank(now)).collect();
        let count = (ranks.len() / BATCH).max(1);
        let (lower, border, _) = ranks.select_nth_unstable(count - 1);
        let border = *border;
        let mut ties = count - lower.iter().filter(|rank| **rank < border).count();
        self.slots.retain(|slot| {
            let rank = slot.rank(now);
            let tie = rank == border && ties > 0;
            ties -= usize::from(tie);
            rank >= border && !tie
        });
    }
}

impl Slot {
    fn is(&self, charge: &Charge<'_>) -> bool {
        self.scope == charge.scope
            && self.quota.span() == charge.quota.span()
            && *self.subject == *charge.subject
    }

    fn charge(&mut self, charge: &Charge<'_>, now: u64) {
        self.state.charge(charge.quota, charge.cost, now);
        self.quota = charge.quota;
        self.used_at = now;
    }

    fn rests_at(&self) -> u64 {
        self.state.rests_at(self.quota)
    }

    /// Lowest is forgotten first: at rest, in use, empty.
    fn rank(&self, now: u64) -> (u8, u64) {
        let rests_at = self.rests_at();
        if rests_at <= now {
            (0, self.used_at)
        } else {
            let empty = self.state.look(self.quota, 1, now).remaining == 0;
            (1 + u8::from(empty), rests_at)
        }
    }
}

#[cfg(test)]
mod tests;
