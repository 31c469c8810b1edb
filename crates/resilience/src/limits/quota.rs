//! The arithmetic of limits, pure, in whole microseconds, so that memory and the Redis script agree to the digit.
//!
//! Token bucket as GCRA (generic cell rate algorithm, ITU-T I.371): one number, the theoretical arrival time, is the
//! whole state. Sliding window: `SLOTS` counters; a request counts until its whole slot has left the window, so no
//! span of the window's length ever holds more than the limit, at the price of up to 1/SLOTS of extra wait.

use std::time::Duration;

/// Counters of a window. More slots: less extra wait, more memory.
pub const SLOTS: u64 = 12;
/// Counters kept: the slots of the window and the one it is sliding out of.
pub(super) const KEPT: usize = SLOTS as usize + 1;

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
        /// Most in any span of `micros`.
        limit: u32,
        /// Length in microseconds; a multiple of `SLOTS`.
        micros: u64,
    },
}

impl Quota {
    /// A bucket of that capacity that refills so fast.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and bounded by max/min"
    )]
    pub fn bucket(capacity: u32, refill_per_sec: f64) -> Self {
        let micros = (1e6 / refill_per_sec.max(1e-6)).ceil().max(1.0) as u64;
        Self::Bucket { capacity: capacity.max(1), micros_per_token: micros }
    }

    /// At most so many in any span of that length (at least 12 microseconds).
    #[must_use]
    pub fn window(limit: u32, window: Duration) -> Self {
        let slot = u64::try_from(window.as_micros()).unwrap_or(u64::MAX / SLOTS).div_ceil(SLOTS).max(1);
        Self::Window { limit, micros: slot * SLOTS }
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
            Self::Bucket { capacity, micros_per_token } => {
                micros_per_token.saturating_mul(u64::from(capacity))
            }
            Self::Window { micros, .. } => micros,
        };
        u32::try_from(micros.div_ceil(1_000_000).max(1)).unwrap_or(u32::MAX)
    }

    /// The same limit at a share of its size, at least 1.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and at most the original"
    )]
    pub fn share(self, share: f64) -> Self {
        let part = |count: u32| ((f64::from(count) * share) as u32).max(1);
        match self {
            Self::Bucket { capacity, micros_per_token } => Self::Bucket {
                capacity: part(capacity),
                micros_per_token: (micros_per_token as f64 / share).ceil() as u64,
            },
            Self::Window { limit, micros } => Self::Window { limit: part(limit), micros },
        }
    }

    /// Microseconds after which a state without new requests is like none at all.
    #[must_use]
    pub const fn memory_micros(self) -> u64 {
        match self {
            Self::Bucket { capacity, micros_per_token } => micros_per_token.saturating_mul(capacity as u64),
            Self::Window { micros, .. } => micros + micros / SLOTS,
        }
    }
}

/// What one decision finds at one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// What is left, before charging.
    pub remaining: u32,
    /// Microseconds until the cost fits; 0 when it fits now, `u64::MAX` when it never will.
    pub wait: u64,
    /// Microseconds until more than `remaining` is left; 0 when all is.
    pub reset: u64,
}

/// Looks at a bucket whose theoretical arrival time is `tat`.
pub(super) fn look_bucket(tat: u64, capacity: u32, per: u64, cost: u32, now: u64) -> Look {
    let full = per.saturating_mul(u64::from(capacity));
    let debt = tat.saturating_sub(now).min(full);
    let remaining = u32::try_from((full - debt) / per).unwrap_or(u32::MAX);
    let need = per.saturating_mul(u64::from(cost));
    let wait = if cost > capacity { u64::MAX } else { (debt + need).saturating_sub(full) };
    let reset = match debt % per {
        0 if debt > 0 => per,
        part => part,
    };
    Look { remaining, wait, reset }
}

/// The arrival time after charging.
pub(super) fn charge_bucket(tat: u64, per: u64, cost: u32, now: u64) -> u64 {
    tat.max(now) + per.saturating_mul(u64::from(cost))
}

/// A window's counters: `counts[i]` belongs to the slot number that is `i` modulo `KEPT`, if it is not older than
/// `latest` by `KEPT` or more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) latest: u64,
    pub(super) counts: [u32; KEPT],
}

impl Counts {
    /// Forgets what has left the window and moves to the slot of `now`.
    pub(super) fn advance(&mut self, slot: u64) {
        let gone = slot.saturating_sub(self.latest).min(KEPT as u64);
        for step in 1..=gone {
            self.counts[((self.latest + step) % KEPT as u64) as usize] = 0;
        }
        if gone == KEPT as u64 {
            self.counts = [0; KEPT];
        }
        self.latest = self.latest.max(slot);
    }

    fn used(&self) -> u32 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Looks; `self` must have been advanced to `now`.
    pub(super) fn look(&self, limit: u32, micros: u64, cost: u32, now: u64) -> Look {
        let (slot_micros, used) = (micros / SLOTS, self.used());
        let remaining = limit.saturating_sub(used);
        let leaves = |slot: u64| ((slot + KEPT as u64) * slot_micros).saturating_sub(now);
        let first = self.latest.saturating_sub(SLOTS);
        let mut reset = 0;
        let mut wait = if cost > limit { u64::MAX } else { 0 };
        let mut freed = 0;
        for slot in first..=self.latest {
            let count = self.counts[(slot % KEPT as u64) as usize];
            if count > 0 && reset == 0 {
                reset = leaves(slot);
            }
            if wait == 0 && (used - freed).saturating_add(cost) > limit {
                freed += count;
                if (used - freed).saturating_add(cost) <= limit {
                    wait = leaves(slot);
                }
            }
        }
        Look { remaining, wait, reset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bucket_gives_its_capacity_at_once_and_then_one_each_interval() {
        let (mut tat, per) = (0, 100_000);
        for index in 0..10 {
            let look = look_bucket(tat, 10, per, 1, 1_000_000);
            assert_eq!((look.remaining, look.wait), (10 - index, 0));
            tat = charge_bucket(tat, per, 1, 1_000_000);
        }
        assert_eq!(
            look_bucket(tat, 10, per, 1, 1_000_000),
            Look { remaining: 0, wait: 100_000, reset: 100_000 }
        );
        assert_eq!(look_bucket(tat, 10, per, 1, 1_099_999).wait, 1);
        assert_eq!(look_bucket(tat, 10, per, 1, 1_100_000).wait, 0);
        assert_eq!(look_bucket(tat, 10, per, 11, 1_100_000).wait, u64::MAX);
    }

    proptest! {
        // req: S0-03
        #[test]
        fn no_span_of_a_windows_length_ever_holds_more_than_the_limit(
            limit in 1_u32..20, steps in proptest::collection::vec((0_u64..400, 1_u32..3), 1..200),
        ) {
            let Quota::Window { micros, .. } = Quota::window(limit, Duration::from_micros(1_200)) else { unreachable!() };
            let (mut counts, mut now, mut taken) = (Counts::default(), 5_000_u64, Vec::<(u64, u32)>::new());
            for (step, cost) in steps {
                now += step;
                counts.advance(now / (micros / SLOTS));
                let look = counts.look(limit, micros, cost, now);
                if look.wait == 0 {
                    counts.counts[(counts.latest % KEPT as u64) as usize] += cost;
                    taken.push((now, cost));
                } else if cost <= limit {
                    let mut later = counts;
                    later.advance((now + look.wait) / (micros / SLOTS));
                    prop_assert_eq!(later.look(limit, micros, cost, now + look.wait).wait, 0, "waiting helps");
                }
                let inside: u32 = taken.iter().filter(|(at, _)| now - at < micros).map(|(_, cost)| cost).sum();
                prop_assert!(inside <= limit);
            }
        }

        #[test]
        fn a_bucket_agrees_with_the_naive_model_of_tokens(
            capacity in 1_u32..10, steps in proptest::collection::vec((0_u64..3_000, 1_u32..4), 1..200),
        ) {
            let per = 1_000_u64;
            let (mut tat, mut now) = (0_u64, 1_000_000_u64);
            // The model counts in thousandths of a token, which are microseconds here.
            let (mut milli, mut last) = (u64::from(capacity) * per, now);
            for (step, cost) in steps {
                now += step;
                milli = (milli + (now - last)).min(u64::from(capacity) * per);
                last = now;
                let fits = milli >= u64::from(cost) * per;
                let look = look_bucket(tat, capacity, per, cost, now);
                prop_assert_eq!(look.wait == 0, fits);
                prop_assert_eq!(u64::from(look.remaining), milli / per);
                if fits {
                    milli -= u64::from(cost) * per;
                    tat = charge_bucket(tat, per, cost, now);
                }
            }
        }
    }
}
