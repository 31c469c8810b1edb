//! Near-duplicates: one story that several sources publish in about the same words. Invariant: what is looked at grows
//! with the texts that share rare words, not with the square of all, and misses none; the result depends on the texts and
//! their order alone, on every machine.
//!
//! Texts are compared by the part of their sequences of three words that they share, short ones by the part of their words.
//! A 64-bit SimHash within 6 bits, which is the usual shortcut, finds 18 to 20 of 20 planted pairs depending on nothing but
//! the constants of its hash; sets find all of them with any. Source: news.md section 6; Broder 1997 (shingles), Chaudhuri
//! et al. 2006 and Xiao et al. 2008 (two sets that share most have one of their rarest in common).

mod normal;
#[cfg(test)]
mod tests;

pub use normal::normal;

use ahash::AHashMap;
use normal::words;

/// Words in a sequence.
const SEQUENCE: usize = 3;
/// Part of their sequences that two texts share to be the same: 3 of 5.
const LONG_ALIKE: Part = Part(3, 5);
/// Part of their words that two short texts share to be the same: 4 of 5.
const SHORT_ALIKE: Part = Part(4, 5);
/// Words below which a text is short.
const FEW: usize = 20;
/// Words of the longest text that can be like a short one.
const MOST_OF_FEW: usize = FEW * 5 / 4;
/// Sequences kept of one text: the same choice of each, so that the shared part stays about what it is.
const MOST_SEQUENCES: usize = 512;

/// A part of a whole, as a fraction.
#[derive(Clone, Copy)]
struct Part(usize, usize);

impl Part {
    /// Whether the sets, both in order, share at least this part of what is in either.
    fn shared(self, one: &[u64], other: &[u64]) -> bool {
        let (few, many) = if one.len() < other.len() { (one, other) } else { (other, one) };
        if few.len() * self.1 < many.len() * self.0 {
            return false;
        }
        let mut rest = many;
        let mut both = 0;
        for item in few {
            let at = rest.partition_point(|other| other < item);
            rest = rest.get(at..).unwrap_or_default();
            both += usize::from(rest.first() == Some(item));
        }
        both > 0 && both * self.1 >= (one.len() + other.len() - both) * self.0
    }

    /// How many of its rarest items a set must be known by, so that every set like it is known by one of them.
    fn known_by(self, size: usize) -> usize {
        if size == 0 { 0 } else { size - (size * self.0).div_ceil(self.1) + 1 }
    }
}

/// What of a text is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Print {
    /// How many words it has.
    length: usize,
    /// Hashes of its words in order, each once; empty where it has too many to be like a short text.
    words: Vec<u64>,
    /// Hashes of its sequences in order, each once; empty where it is short.
    sequences: Vec<u64>,
}

impl Print {
    /// The print of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let hashes: Vec<u64> = words(&normal(text)).map(|word| mixed(word.as_bytes())).collect();
        let length = hashes.len();
        let long = if length >= FEW { hashes.as_slice() } else { &[] };
        let sequence =
            |words: &[u64]| words.iter().fold(0, |hash: u64, word| finished(hash.rotate_left(5) ^ word));
        let mut sequences = set(long.windows(SEQUENCE).map(sequence).collect());
        sequences.truncate(MOST_SEQUENCES);
        let words = if length <= MOST_OF_FEW { set(hashes) } else { Vec::new() };
        Self { length, words, sequences }
    }

    /// Whether two texts say the same in about the same words. A text without words is like no other.
    #[must_use]
    pub fn is_near(&self, other: &Self) -> bool {
        if self.length.min(other.length) >= FEW {
            LONG_ALIKE.shared(&self.sequences, &other.sequences)
        } else {
            SHORT_ALIKE.shared(&self.words, &other.words)
        }
    }
}

fn set(mut items: Vec<u64>) -> Vec<u64> {
    items.sort_unstable();
    items.dedup();
    items
}

fn mixed(bytes: &[u8]) -> u64 {
    finished(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

/// Spreads every bit over all.
fn finished(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

/// Prints that were seen, so that those near to another are found without looking at all.
struct Index<'a> {
    prints: &'a [Print],
    /// By each of the items that a print is known by.
    known: AHashMap<u64, Vec<usize>>,
    /// How many prints have each item.
    counts: AHashMap<u64, usize>,
}

impl<'a> Index<'a> {
    fn new(prints: &'a [Print]) -> Self {
        let mut counts = AHashMap::new();
        for item in prints.iter().flat_map(|print| print.words.iter().chain(&print.sequences)) {
            *counts.entry(*item).or_default() += 1;
        }
        Self { prints, known: AHashMap::new(), counts }
    }

    /// The rarest items of a print.
    fn items(&self, print: &Print) -> Vec<u64> {
        let rarest = |items: &[u64], part: Part| {
            let mut items = items.to_vec();
            items.sort_by_cached_key(|item| (self.counts.get(item).copied().unwrap_or_default(), *item));
            items.truncate(part.known_by(items.len()));
            // What no other print has leads to none.
            items.retain(|item| self.counts.get(item).is_some_and(|count| *count > 1));
            items
        };
        let mut items = rarest(&print.words, SHORT_ALIKE);
        items.append(&mut rarest(&print.sequences, LONG_ALIKE));
        items
    }

    fn add(&mut self, at: usize, items: &[u64]) {
        for item in items {
            self.known.entry(*item).or_default().push(at);
        }
    }

    /// Those added that are near to a print, in order, each once; and how many were looked at.
    fn near(&self, print: &Print, items: &[u64]) -> (Vec<usize>, usize) {
        let mut found: Vec<usize> =
            items.iter().filter_map(|item| self.known.get(item)).flatten().copied().collect();
        let looked = found.len();
        found.sort_unstable();
        found.dedup();
        found.retain(|other| self.prints.get(*other).is_some_and(|other| print.is_near(other)));
        (found, looked)
    }
}

/// All pairs of texts that are near, the earlier first, at most `most` of them.
#[must_use]
pub fn pairs(prints: &[Print], most: usize) -> Vec<(usize, usize)> {
    let mut index = Index::new(prints);
    let mut pairs = Vec::new();
    for (at, print) in prints.iter().enumerate() {
        let items = index.items(print);
        let near = index.near(print, &items).0;
        pairs.extend(near.into_iter().map(|other| (other, at)).take(most - pairs.len()));
        if pairs.len() >= most {
            break;
        }
        index.add(at, &items);
    }
    pairs.sort_unstable();
    pairs
}

/// The texts in groups: first the one that stays, then those near to it. Texts come in the order in which they were
/// published, so the earliest stays; a text near to several goes to the earliest of them.
#[must_use]
pub fn groups(prints: &[Print]) -> Vec<Vec<usize>> {
    grouped(prints).0
}

/// The groups, and how many texts were looked at to find them.
fn grouped(prints: &[Print]) -> (Vec<Vec<usize>>, usize) {
    let mut index = Index::new(prints);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut places = AHashMap::new();
    let mut work = 0;
    for (at, print) in prints.iter().enumerate() {
        let items = index.items(print);
        let (near, looked) = index.near(print, &items);
        work += looked;
        let group = near.first().and_then(|first| places.get(first)).copied();
        match group.and_then(|group: usize| groups.get_mut(group)) {
            Some(group) => group.push(at),
            None => {
                places.insert(at, groups.len());
                groups.push(vec![at]);
                index.add(at, &items);
            }
        }
    }
    (groups, work)
}
