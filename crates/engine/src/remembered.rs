//! Texts that were looked at and found harmless, so that a conversation's earlier turns are not inspected anew with each
//! message: clients send the whole conversation every time. What is remembered is a keyed sum and a score, never a text.
//! Invariants: whoever asks gets what inspection would say of this very text from this very caller, and nothing suspicious
//! is remembered; a text that is sent once costs a look at its ends; the memory is bounded, and empty after a change of
//! settings.
//!
//! The sum is AEGIS-128X2 as a MAC, keyed with chance of this process and never shown, 128 bits: nobody can make a text that
//! passes as another. A caller's texts are its own, so that no one can find out by the time an answer takes what others have
//! sent. Sums are made only of texts whose length and ends were met before (the doorkeeper of Einziger et al., "TinyLFU",
//! 2017); of two generations the older is forgotten when the younger is full.
//!
//! Source of the sum: Denis and Lucas, "The AEGIS Family of Authenticated Encryption Algorithms", draft-irtf-cfrg-aegis-aead.

use ahash::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use portcullis_inspect::Channel;
use std::{
    mem,
    sync::atomic::{AtomicU32, Ordering},
};

/// Neighbours rarely wait for each other.
const SHARDS: usize = 16;
/// Bytes of each end of a text by which it is thought to be met again.
const ENDS: usize = 128;

/// What makes the sums.
type Mac = aegis::aegis128x2::Aegis128X2Mac<16>;

/// The memory; share it behind an `Arc`.
#[derive(Debug)]
pub struct Remembered {
    /// Keyed, nothing read yet.
    keyed: Mac,
    names: RandomState,
    /// The doorkeeper: of each place the last text that came there.
    met: Box<[AtomicU32]>,
    shards: Box<[Mutex<Shard>]>,
    /// Most texts of one generation of one shard.
    most: usize,
}

#[derive(Debug, Default)]
struct Shard {
    young: HashMap<Sum, f32, RandomState>,
    old: HashMap<Sum, f32, RandomState>,
}

/// Stands for a text of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sum(u128);

/// What is known of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Met {
    /// It is harmless, with this score.
    Harmless(f32),
    /// Something like it was met before: what is found is worth remembering.
    Before(Sum),
    /// Nothing, or nothing is remembered at all.
    Never,
}

impl Remembered {
    /// Remembers at most so many texts, about 50 bytes each when it is full; none: nothing.
    #[must_use]
    pub fn new(texts: usize) -> Self {
        let (places, shards) = if texts == 0 { (0, 0) } else { (texts.next_power_of_two(), SHARDS) };
        Self {
            keyed: Mac::new(&rand::random()),
            names: RandomState::new(),
            met: (0..places).map(|_| AtomicU32::new(0)).collect(),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            most: (texts / SHARDS / 2).max(1),
        }
    }

    pub(crate) fn look(&self, caller: &str, channel: Channel, text: &str) -> Met {
        let bytes = text.as_bytes();
        let ends = (&bytes[..bytes.len().min(ENDS)], &bytes[bytes.len().saturating_sub(ENDS)..]);
        let glance = self.names.hash_one((caller, channel as u8, bytes.len(), ends));
        let Some(place) = self.met.get(glance as usize & self.met.len().wrapping_sub(1)) else {
            return Met::Never;
        };
        // Zero is an empty place.
        let name = (glance >> 32) as u32 | 1;
        if place.swap(name, Ordering::Relaxed) != name {
            return Met::Never;
        }
        let sum = self.sum(caller, channel, bytes);
        let mut shard = self.shard(sum).lock();
        if let Some(score) = shard.young.get(&sum) {
            return Met::Harmless(*score);
        }
        match shard.old.remove(&sum) {
            Some(score) => {
                self.insert(&mut shard, sum, score);
                Met::Harmless(score)
            }
            None => Met::Before(sum),
        }
    }

    /// Of a text that inspection allows, with nothing hidden in it.
    pub(crate) fn keep(&self, sum: Sum, score: f32) {
        self.insert(&mut self.shard(sum).lock(), sum, score);
    }

    fn insert(&self, shard: &mut Shard, sum: Sum, score: f32) {
        if shard.young.len() >= self.most {
            shard.old = mem::take(&mut shard.young);
        }
        shard.young.insert(sum, score);
    }

    fn shard(&self, sum: Sum) -> &Mutex<Shard> {
        &self.shards[sum.0 as usize % SHARDS]
    }

    fn sum(&self, caller: &str, channel: Channel, text: &[u8]) -> Sum {
        let mut mac = self.keyed.clone();
        mac.update(&(caller.len() as u64).to_le_bytes());
        mac.update(caller.as_bytes());
        mac.update(&[channel as u8]);
        mac.update(text);
        Sum(u128::from_le_bytes(mac.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap as Model;

    #[test]
    fn a_text_is_known_from_its_third_coming_and_only_to_its_caller_and_channel() {
        let remembered = Remembered::new(100);
        assert_eq!(remembered.look("a", Channel::User, "hello"), Met::Never);
        let Met::Before(sum) = remembered.look("a", Channel::User, "hello") else { panic!() };
        remembered.keep(sum, 0.25);
        assert_eq!(remembered.look("a", Channel::User, "hello"), Met::Harmless(0.25));
        assert_eq!(remembered.look("b", Channel::User, "hello"), Met::Never);
        assert!(matches!(remembered.look("b", Channel::User, "hello"), Met::Before(_)));
        assert_eq!(remembered.look("a", Channel::Document, "hello"), Met::Never);
    }

    #[test]
    fn a_change_in_the_middle_is_another_text_although_its_ends_are_the_same() {
        let remembered = Remembered::new(100);
        let [plain, changed] =
            ["b", "c"].map(|middle| ["a".repeat(200), middle.into(), "d".repeat(200)].concat());
        assert_eq!(remembered.look("a", Channel::User, &plain), Met::Never);
        let Met::Before(sum) = remembered.look("a", Channel::User, &plain) else { panic!() };
        remembered.keep(sum, 0.0);
        assert!(matches!(remembered.look("a", Channel::User, &changed), Met::Before(other) if other != sum));
    }

    #[test]
    fn where_nothing_is_to_be_remembered_nothing_is() {
        let remembered = Remembered::new(0);
        for _ in 0..3 {
            assert_eq!(remembered.look("a", Channel::User, "hello"), Met::Never);
        }
    }

    proptest! {
        // What is said of a text is always what was kept of it, and never more is kept than was allowed.
        #[test]
        fn whatever_is_remembered_is_true_and_bounded(texts in prop::collection::vec(0_u16..200, 1..2000), most in 0_usize..200) {
            let remembered = Remembered::new(most);
            let mut truth: Model<u16, f32> = Model::new();
            for (at, number) in texts.iter().enumerate() {
                let text = format!("text {number}");
                match remembered.look("a", Channel::User, &text) {
                    Met::Harmless(score) => prop_assert_eq!(Some(&score), truth.get(number)),
                    Met::Before(sum) => {
                        remembered.keep(sum, at as f32);
                        truth.insert(*number, at as f32);
                    }
                    Met::Never => {}
                }
            }
            let kept: usize = remembered.shards.iter().map(|shard| { let shard = shard.lock(); shard.young.len() + shard.old.len() }).sum();
            prop_assert!(kept <= most.max(2 * SHARDS), "{kept} of {most}");
        }
    }
}
