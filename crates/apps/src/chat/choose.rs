//! Which of a route's targets answers next. Pure but for the rotor's lock; health comes in as a set.
//!
//! Invariants: only members of the given set are chosen, and of these only those of the lowest rank; over a cycle
//! (the sum of the weights) of calls with the same set each target is chosen exactly as often as its weight says, and
//! evenly spread; calls with the same affinity go to the same target while it is in the set, and when it is not, only
//! its own calls move. Nothing allocates.
//!
//! Sources: nginx, `ngx_http_upstream_get_peer` (smooth weighted round robin); Thaler and Ravishankar 1998 with
//! Schindelhauer and Schomaker 2005 for weights (rendezvous hashing); gateway design section 2.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// A set of targets of one route, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set(u64);

impl Set {
    /// The first so many, at most 64.
    pub(crate) const fn first(count: usize) -> Self {
        Self(if count >= 64 { u64::MAX } else { (1 << count) - 1 })
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn len(self) -> u32 {
        self.0.count_ones()
    }

    #[cfg(test)]
    pub(crate) const fn has(self, index: usize) -> bool {
        index < 64 && self.0 & (1 << index) != 0
    }

    #[must_use]
    pub(crate) const fn without(self, index: usize) -> Self {
        if index < 64 { Self(self.0 & !(1 << index)) } else { self }
    }

    /// Its members, rising.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            (left != 0).then(|| {
                let index = left.trailing_zeros() as usize;
                left &= left - 1;
                index
            })
        })
    }

    /// Those of which it is true.
    #[must_use]
    pub(crate) fn filter(self, mut keep: impl FnMut(usize) -> bool) -> Self {
        Self(self.iter().filter(|index| keep(*index)).fold(0, |set, index| set | 1 << index))
    }
}

/// What choosing knows of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// Its part among those of its rank; 0: none.
    pub(crate) weight: u32,
    /// Used only while none of a lower one is there.
    pub(crate) rank: u32,
    /// From its name: what affinity is mixed with, the same in every replica.
    pub(crate) seed: u64,
}

struct Place {
    share: Share,
    /// nginx's `current_weight`.
    current: i64,
    off_until: Option<Instant>,
}

/// The targets of one route, taking turns.
pub(crate) struct Chooser {
    places: Mutex<Box<[Place]>>,
    /// Which are switched off, some perhaps no longer: looked at without the lock, because usually none is.
    off: AtomicU64,
}

impl Chooser {
    /// At most 64.
    pub(crate) fn new(shares: impl IntoIterator<Item = Share>) -> Self {
        let place = |share| Place { share, current: 0, off_until: None };
        let places: Box<[Place]> = shares.into_iter().take(64).map(place).collect();
        let off = places.iter().enumerate().filter(|(_, place)| place.share.weight == 0);
        let off = off.fold(0, |set, (index, _)| set | 1 << index);
        Self { places: Mutex::new(places), off: AtomicU64::new(off) }
    }

    /// The members that nobody has switched off. All of them, when all are: a route is closed by taking it out.
    pub(crate) fn on(&self, set: Set, now: Instant) -> Set {
        let off = self.off.load(Ordering::Relaxed);
        if off & set.0 == 0 {
            return set;
        }
        let places = self.places.lock();
        let on = set.filter(|index| {
            places.get(index).is_some_and(|place| {
                place.share.weight > 0 && place.off_until.is_none_or(|until| until <= now)
            })
        });
        if on.is_empty() { set } else { on }
    }

    /// Changes what a target is to get; 0 switches it off. False when there is no such target.
    pub(crate) fn set_weight(&self, index: usize, weight: u32) -> bool {
        self.change(index, |place| place.share.weight = weight)
    }

    /// Switches a target off until then, or on. False when there is no such target.
    pub(crate) fn set_off(&self, index: usize, until: Option<Instant>) -> bool {
        self.change(index, |place| place.off_until = until)
    }

    /// Its weight, and until when it is switched off.
    pub(crate) fn look(&self, index: usize) -> Option<(u32, Option<Instant>)> {
        let places = self.places.lock();
        places.get(index).map(|place| (place.share.weight, place.off_until))
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut Place)) -> bool {
        let mut places = self.places.lock();
        let Some(place) = places.get_mut(index) else { return false };
        change(place);
        // Turns counted by the old weights would be made up for by the new ones.
        places.iter_mut().for_each(|place| place.current = 0);
        let off = places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.share.weight == 0 || place.off_until.is_some());
        self.off.store(off.fold(0, |set, (index, _)| set | 1 << index), Ordering::Relaxed);
        true
    }

    /// Whose turn it is among these: of the lowest rank, by affinity where there is one, else by weight.
    pub(crate) fn next(&self, among: Set, affinity: Option<u64>) -> Option<usize> {
        if among.len() < 2 {
            return among.iter().next();
        }
        let mut places = self.places.lock();
        let rank = among.iter().filter_map(|index| Some(places.get(index)?.share.rank)).min()?;
        let peers = among.filter(|index| places.get(index).is_some_and(|place| place.share.rank == rank));
        match affinity {
            _ if peers.len() < 2 => peers.iter().next(),
            Some(affinity) => nearest(&places, peers, affinity),
            None => turn(&mut places, peers),
        }
    }
}

/// nginx: every peer gains its weight, the one with most goes and pays the sum of all.
fn turn(places: &mut [Place], peers: Set) -> Option<usize> {
    let (mut total, mut best) = (0, None::<(usize, i64)>);
    for index in peers.iter() {
        let place = places.get_mut(index)?;
        // A target that is switched off and yet asked for is the last resort: it counts as one.
        let weight = i64::from(place.share.weight.max(1));
        place.current += weight;
        total += weight;
        if best.is_none_or(|(_, most)| place.current > most) {
            best = Some((index, place.current));
        }
    }
    let (index, _) = best?;
    places.get_mut(index)?.current -= total;
    Some(index)
}

/// Weighted rendezvous: the target with the largest score for this affinity.
fn nearest(places: &[Place], peers: Set, affinity: u64) -> Option<usize> {
    let score = |index: usize| {
        let share = places.get(index)?.share;
        Some((index, -f64::from(share.weight.max(1)) / unit(mix(affinity ^ share.seed)).ln()))
    };
    peers.iter().filter_map(score).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index)
}

/// splitmix64's finaliser: every bit of the result hangs on every bit of the input.
const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Above 0 and below 1, from the upper 53 bits.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
fn unit(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
