//! The arithmetic of limits, pure, in whole microseconds, so that memory and the Redis script agree to the digit.
//!
//! Token bucket as GCRA (generic cell rate algorithm, ITU-T I.371): one number, the theoretical arrival time, is the
//! whole state. Sliding window: `SLOTS` counters; a request counts until its whole slot has left the window, so no
//! span of the window's length ever holds more than the limit, at the price of up to 1/SLOTS of extra wait.
//!
//! Invariant: every number stays below 2^53, so that the doubles of Lua are exact; nothing here overflows.

use std::time::Duration;

/// Counters of a window. More slots: less extra wait, more memory.
pub const SLOTS: u64 = 12;
/// Counters kept: the slots of the window and the one it is sliding out of.
pub(super) const KEPT: u64 = SLOTS + 1;
/// Longest time that anything is counted over: 71 years. With the clock of a server (2^51) it stays below 2^53.
const LONGEST: u64 = 1 << 51;

/// How much of something is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Token bucket.
    Bucket {
        /// Tokens a full bucket holds, at least 1.
        capacity: u32,
        /// Microseconds until one token comes back, at least 1.
        micros_per_token: u64,
    },
    /// Sliding window.
    Window {
        /// Most in any span of `micros`; 0 refuses everything.
        limit: u32,
        /// Length in microseconds; a multiple of `SLOTS`.
        micros: u64,
    },
}

impl Quota {
    /// A bucket of that capacity (at least 1) that refills so fast (at most one token a microsecond; from empty to
    /// full in at most 71 years).
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and bounded by max/min"
    )]
    pub fn bucket(capacity: u32, refill_per_sec: f64) -> Self {
        let micros = (1e6 / refill_per_sec.max(1e-9)).ceil().max(1.0) as u64;
        Self::slow_bucket(capacity.max(1), micros)
    }

    fn slow_bucket(capacity: u32, micros: u64) -> Self {
        Self::Bucket { capacity, micros_per_token: micros.min(LONGEST / u64::from(capacity)) }
    }

    /// At most so many in any span of that length (12 microseconds to 71 years).
    #[must_use]
    pub fn window(limit: u32, window: Duration) -> Self {
        let micros = u64::try_from(window.as_micros()).unwrap_or(LONGEST).min(LONGEST);
        Self::Window { limit, micros: micros.div_ceil(SLOTS).max(1) * SLOTS }
    }

    /// The most that a rested limit admits at once: the header's `q`.
    #[must_use]
    pub const fn most(self) -> u32 {
        match self {
            Self::Bucket { capacity, .. } => capacity,
            Self::Window { limit, .. } => limit,
        }
    }

    /// The header's `w`: seconds of the window, or capacity / refill, at least 1.
    #[must_use]
    pub fn window_secs(self) -> u32 {
        let micros = match self {
            Self::Bucket { capacity, micros_per_token } => full(capacity, micros_per_token),
            Self::Window { micros, .. } => micros,
        };
        u32::try_from(micros.div_ceil(1_000_000).max(1)).unwrap_or(u32::MAX)
    }

    /// The same limit at a share of its size, above 0 and at most 1: at least 1, unless it refuses everything.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and at most the original"
    )]
    pub fn share(self, share: f64) -> Self {
        let part = |count: u32| ((f64::from(count) * share) as u32).clamp(count.min(1), count);
        match self {
            Self::Bucket { capacity, micros_per_token } => {
                Self::slow_bucket(part(capacity), (micros_per_token as f64 / share).ceil() as u64)
            }
            Self::Window { limit, micros } => Self::Window { limit: part(limit), micros },
        }
    }

    /// What tells apart states that cannot stand in for one another: a window of another length, a bucket (0).
    #[must_use]
    pub(super) const fn span(self) -> u64 {
        match self {
            Self::Bucket { .. } => 0,
            Self::Window { micros, .. } => micros,
        }
    }
}

/// Microseconds in which an empty bucket fills.
const fn full(capacity: u32, per: u64) -> u64 {
    per.saturating_mul(capacity as u64)
}

/// What one decision finds at one limit, before charging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// What is left.
    pub remaining: u32,
    /// Microseconds until the cost fits; 0 when it fits now, `u64::MAX` when it never will.
    pub wait: u64,
    /// Microseconds until more than `remaining` is left; 0 when all is.
    pub reset: u64,
}

/// What is known of one limit. Belongs to one `Quota::span`; capacity, limit and refill may change under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Bucket { tat: u64 },
    Window(Counts),
}

impl State {
    /// Nothing drawn yet.
    pub(super) fn fresh(quota: Quota) -> Self {
        match quota {
            Quota::Bucket { .. } => Self::Bucket { tat: 0 },
            Quota::Window { .. } => Self::Window(Counts::default()),
        }
    }

    const fn tat(&self) -> u64 {
        if let Self::Bucket { tat } = self { *tat } else { 0 }
    }

    fn counts(&self, slot: u64) -> Counts {
        let mut counts = if let Self::Window(counts) = self { *counts } else { Counts::default() };
        counts.advance(slot);
        counts
    }

    /// Looks without charging. A cost of 0 always fits; one above the quota never does.
    pub(super) fn look(&self, quota: Quota, cost: u32, now: u64) -> Look {
        match quota {
            Quota::Bucket { capacity, micros_per_token: per } => {
                look_bucket(self.tat(), capacity, per, cost, now)
            }
            Quota::Window { limit, micros } => {
                let width = micros / SLOTS;
                self.counts(now / width).look(limit, width, cost, now)
            }
        }
    }

    /// Charges what a look has found to fit.
    pub(super) fn charge(&mut self, quota: Quota, cost: u32, now: u64) {
        *self = match quota {
            Quota::Bucket { capacity, micros_per_token: per } => {
                // A smaller capacity than before must not leave a debt that no wait of ours promises.
                let tat = self.tat().clamp(now, now.saturating_add(full(capacity, per)));
                Self::Bucket { tat: tat.saturating_add(full(cost, per)) }
            }
            Quota::Window { micros, .. } => {
                let mut counts = self.counts(now / (micros / SLOTS));
                let count = &mut counts.counts[place(counts.latest)];
                *count = count.saturating_add(cost);
                Self::Window(counts)
            }
        };
    }

    /// Gives back what was charged at `at`. A window gives it back to the very slot that was charged, so that the
    /// rest of its counts still leave when they should.
    pub(super) fn refund(&mut self, quota: Quota, cost: u32, at: u64) {
        match (self, quota) {
            (Self::Bucket { tat }, Quota::Bucket { micros_per_token: per, .. }) => {
                *tat = tat.saturating_sub(full(cost, per));
            }
            (Self::Window(counts), Quota::Window { micros, .. }) => {
                let slot = at / (micros / SLOTS);
                if slot <= counts.latest && slot + KEPT > counts.latest {
                    let count = &mut counts.counts[place(slot)];
                    *count = count.saturating_sub(cost);
                }
            }
            (Self::Bucket { .. } | Self::Window(_), _) => {}
        }
    }

    /// When it is like new, if nothing more is drawn.
    pub(super) fn rests_at(&self, quota: Quota) -> u64 {
        match (self, quota) {
            (Self::Window(counts), Quota::Window { micros, .. }) => {
                counts.latest.saturating_add(KEPT).saturating_mul(micros / SLOTS)
            }
            (Self::Bucket { .. } | Self::Window(_), _) => self.tat(),
        }
    }
}

fn look_bucket(tat: u64, capacity: u32, per: u64, cost: u32, now: u64) -> Look {
    let full = full(capacity, per);
    let debt = tat.saturating_sub(now).min(full);
    let need = per.saturating_mul(u64::from(cost));
    let reset = match debt % per {
        0 if debt > 0 => per,
        part => part,
    };
    Look {
        remaining: u32::try_from((full - debt) / per).unwrap_or(u32::MAX),
        wait: if cost > capacity { u64::MAX } else { need.saturating_sub(full - debt) },
        reset,
    }
}

/// Where a slot's counter is kept.
const fn place(slot: u64) -> usize {
    (slot % KEPT) as usize
}

/// A window's counters: `counts[place(i)]` belongs to slot number `i` of `latest - SLOTS ..= latest`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    latest: u64,
    counts: [u32; KEPT as usize],
}

impl Counts {
    /// Forgets what has left the window and moves to the slot of `now`. A clock that went back a little (another
    /// Redis took over) goes on in the latest slot; one that went back by more than the window starts anew.
    fn advance(&mut self, slot: u64) {
        if slot >= self.latest.saturating_add(KEPT) || self.latest >= slot.saturating_add(KEPT) {
            *self = Self { latest: slot, counts: [0; KEPT as usize] };
        }
        while self.latest < slot {
            self.latest += 1;
            self.counts[place(self.latest)] = 0;
        }
    }

    fn look(&self, limit: u32, width: u64, cost: u32, now: u64) -> Look {
        let mut used = self.counts.iter().fold(0, |sum: u32, count| sum.saturating_add(*count));
        let remaining = limit.saturating_sub(used);
        let (mut wait, mut reset) = (if cost > limit { u64::MAX } else { 0 }, 0);
        if used == 0 {
            return Look { remaining, wait, reset };
        }
        for slot in self.latest.saturating_sub(SLOTS)..=self.latest {
            let count = self.counts[place(slot)];
            let leaves = slot.saturating_add(KEPT).saturating_mul(width).saturating_sub(now);
            if count > 0 && reset == 0 {
                reset = leaves;
            }
            if cost == 0 || wait != 0 || used.saturating_add(cost) <= limit {
                continue;
            }
            used = used.saturating_sub(count);
            if used.saturating_add(cost) <= limit {
                wait = leaves;
            }
        }
        Look { remaining, wait, reset }
    }
}

/// Microseconds until the first of what is charged now to a rested limit comes back.
pub(super) const fn first_return(quota: Quota, now: u64) -> u64 {
    match quota {
        Quota::Bucket { micros_per_token, .. } => micros_per_token,
        Quota::Window { micros, .. } => {
            let width = micros / SLOTS;
            (now / width + KEPT) * width - now
        }
    }
}

#[cfg(test)]
mod tests;
