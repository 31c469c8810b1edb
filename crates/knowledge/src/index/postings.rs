//! `words.post` and `grams.post`: for each word, or piece of a word, the passages that have it and how often, packed by
//! the difference of their numbers. Invariants: terms rise strictly, numbers of passages rise strictly and stay under
//! the count (both checked at load, list by list); whatever the bytes are, reading them ends and stays inside.
//!
//! ```text
//! length u32 of each passage | bytes of all terms | all lists | end u32 of each term | end u64 of each list, holders u32 |
//! passages u64, terms u64, bytes of terms u64, bytes of lists u64
//! a list: (difference * 2 + many) as varint, then the count where it is many (2 or more)
//! ```

use super::sealed::{Magic, seal, u32_at, u64_at, unseal};
use crate::{IndexError, error::Damage};
use ahash::AHashMap;
use std::ops::Range;

pub(crate) const WORDS: &str = "words.post";
pub(crate) const GRAMS: &str = "grams.post";
const TAIL: usize = 32;

/// The magic of the file of that name.
fn magic(name: &str) -> Magic {
    if name == WORDS { *b"PCWORDS\n" } else { *b"PCGRAMS\n" }
}

/// How BM25 weighs: k1 and b.
const K1: f32 = 1.2;
const B: f32 = 0.75;

/// Lists under construction: passages come in order.
#[derive(Default)]
pub(crate) struct Builder {
    terms: AHashMap<Box<str>, Growing>,
    lengths: Vec<u32>,
}

#[derive(Default)]
struct Growing {
    list: Vec<u8>,
    last: u32,
    holders: u32,
}

impl Builder {
    /// Adds the next passage; `terms` in any order, with repetitions.
    pub(crate) fn push(&mut self, terms: &mut Vec<&str>) -> Result<(), IndexError> {
        let too_many = |_| IndexError::Contents("more passages, or longer ones, than an index takes");
        let passage = u32::try_from(self.lengths.len()).map_err(too_many)?;
        self.lengths.push(u32::try_from(terms.len()).map_err(too_many)?);
        terms.sort_unstable();
        for same in terms.chunk_by(|a, b| a == b) {
            let Some(term) = same.first() else { continue };
            let growing = match self.terms.get_mut(*term) {
                Some(growing) => growing,
                None => self.terms.entry(Box::from(*term)).or_default(),
            };
            let difference = if growing.holders == 0 { passage } else { passage - growing.last };
            let many = same.len() > 1;
            varint(&mut growing.list, u64::from(difference) << 1 | u64::from(many));
            if many {
                varint(&mut growing.list, same.len() as u64);
            }
            growing.last = passage;
            growing.holders += 1;
        }
        Ok(())
    }

    /// The file; terms in more than `most` passages are left out.
    pub(crate) fn write(self, name: &str, most: u32) -> Result<Vec<u8>, IndexError> {
        let too_large = |_| IndexError::Contents("more words than an index takes");
        let mut terms: Vec<_> = self.terms.into_iter().filter(|(_, list)| list.holders <= most).collect();
        terms.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut out: Vec<u8> = self.lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
        let before = out.len();
        let (mut ends, mut list_ends) = (Vec::new(), Vec::new());
        for (term, _) in &terms {
            out.extend(term.as_bytes());
            ends.extend(u32::try_from(out.len() - before).map_err(too_large)?.to_le_bytes());
        }
        let lists_at = out.len();
        for (_, growing) in &terms {
            out.extend(&growing.list);
            list_ends.extend(((out.len() - lists_at) as u64).to_le_bytes());
            list_ends.extend(growing.holders.to_le_bytes());
        }
        let lists = out.len() - lists_at;
        out.extend(ends);
        out.extend(list_ends);
        for number in [self.lengths.len(), terms.len(), lists_at - before, lists] {
            out.extend((number as u64).to_le_bytes());
        }
        Ok(seal(out, magic(name)))
    }
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes of an entry of the table of lists: end and holders.
const LIST_ROW: usize = 12;

/// The lists of a generation.
#[derive(Debug)]
pub(crate) struct Postings {
    content: Vec<u8>,
    /// `k1 * (1 - b + b * length / mean)` of each passage.
    norms: Vec<f32>,
    /// What one occurrence is worth there, `1 / (1 + norm)`: most counts are one, and dividing is slow.
    once: Vec<f32>,
    terms: usize,
    text: Range<usize>,
    lists: Range<usize>,
    ends_at: usize,
    list_ends_at: usize,
}

/// A list found: its bytes and how many passages hold the term.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<'a> {
    bytes: &'a [u8],
    pub(crate) holders: u32,
}

impl Postings {
    /// From the bytes of the file; every list is walked once.
    pub(crate) fn load(bytes: Vec<u8>, name: &str, passages: usize) -> Result<Self, IndexError> {
        let content = unseal(bytes, magic(name), name)?;
        let read = Self::read(content, passages).filter(Self::is_sound);
        read.ok_or_else(|| Damage::of(name, "its lists contradict each other").into())
    }

    fn read(mut content: Vec<u8>, passages: usize) -> Option<Self> {
        let tail = content.len().checked_sub(TAIL)?;
        let number = |n: usize| usize::try_from(u64_at(&content, tail + 8 * n)?).ok();
        let (count, terms, text, lists) = (number(0)?, number(1)?, number(2)?, number(3)?);
        let text_at = count.checked_mul(4)?;
        let lists_at = text_at.checked_add(text)?;
        let ends_at = lists_at.checked_add(lists)?;
        let list_ends_at = ends_at.checked_add(terms.checked_mul(4)?)?;
        let end = list_ends_at.checked_add(terms.checked_mul(LIST_ROW)?)?;
        if count != passages || end != tail {
            return None;
        }
        let lengths = content.get(..text_at)?;
        let lengths = lengths.chunks_exact(4).map(|four| u32_at(four, 0).unwrap_or_default() as f32);
        let mean = (lengths.clone().map(f64::from).sum::<f64>() / count.max(1) as f64).max(1.0) as f32;
        let norms: Vec<f32> = lengths.map(|length| K1 * (1.0 - B + B * length / mean)).collect();
        let once = norms.iter().map(|norm| 1.0 / (1.0 + norm)).collect();
        content.shrink_to_fit();
        let (text, lists) = (text_at..lists_at, lists_at..ends_at);
        Some(Self { content, norms, once, terms, text, lists, ends_at, list_ends_at })
    }

    fn is_sound(&self) -> bool {
        let (mut last, mut text_end, mut list_end) = (None, 0, 0);
        (0..self.terms).all(|n| {
            let (Some(end), Some(row)) = (self.text_end(n), self.row(n)) else { return false };
            let whole =
                end >= text_end && end <= self.text.len() && row.0 > list_end && row.0 <= self.lists.len();
            (text_end, list_end) = (end, row.0);
            if !whole {
                return false;
            }
            let (Some(term), Some(list)) = (self.term(n), self.list(n)) else { return false };
            let rises = last.is_none_or(|last: &[u8]| last < term) && std::str::from_utf8(term).is_ok();
            last = Some(term);
            rises && list.is_sound(self.norms.len())
        }) && text_end == self.text.len()
            && list_end == self.lists.len()
    }

    /// Passages.
    pub(crate) fn len(&self) -> usize {
        self.norms.len()
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.content.capacity() + (self.norms.capacity() + self.once.capacity()) * 4
    }

    fn text_end(&self, n: usize) -> Option<usize> {
        u32_at(&self.content, self.ends_at + 4 * n).map(|end| end as usize)
    }

    fn row(&self, n: usize) -> Option<(usize, u32)> {
        let at = self.list_ends_at + LIST_ROW * n;
        let end = usize::try_from(u64_at(&self.content, at)?).ok()?;
        Some((end, u32_at(&self.content, at + 8)?))
    }

    fn term(&self, n: usize) -> Option<&[u8]> {
        let from = if n == 0 { 0 } else { self.text_end(n - 1)? };
        self.content.get(self.text.clone())?.get(from..self.text_end(n)?)
    }

    fn list(&self, n: usize) -> Option<List<'_>> {
        let from = if n == 0 { 0 } else { self.row(n - 1)?.0 };
        let (end, holders) = self.row(n)?;
        Some(List { bytes: self.content.get(self.lists.clone())?.get(from..end)?, holders })
    }

    /// The list of a term.
    pub(crate) fn find(&self, term: &str) -> Option<List<'_>> {
        let (mut from, mut to) = (0, self.terms);
        while from < to {
            let middle = from.midpoint(to);
            match self.term(middle)?.cmp(term.as_bytes()) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => return self.list(middle),
            }
        }
        None
    }

    /// How rare a term is.
    pub(crate) fn rarity(&self, holders: u32) -> f32 {
        let (all, holders) = (self.len() as f32, holders as f32);
        (1.0 + (all - holders + 0.5) / (holders + 0.5)).ln()
    }

    /// Adds to each passage what this term is worth to it by BM25.
    pub(crate) fn score(&self, list: List<'_>, weight: f32, scores: &mut [f32]) {
        let weight = self.rarity(list.holders) * weight * (K1 + 1.0);
        list.each(|passage, times| {
            let passage = passage as usize;
            let Some(score) = scores.get_mut(passage) else { return };
            if times == 1 {
                *score += weight * self.once.get(passage).copied().unwrap_or_default();
            } else if let Some(norm) = self.norms.get(passage) {
                let times = times as f32;
                *score += weight * times / (times + norm);
            }
        });
    }
}

impl List<'_> {
    /// Calls with each passage and its count.
    pub(crate) fn each(&self, mut call: impl FnMut(u32, u32)) {
        let (mut rest, mut passage) = (self.bytes, 0_u32);
        // Most differences are small and most counts one: the common case is one byte.
        while let Some((&byte, after)) = rest.split_first() {
            let head = if byte < 0x80 {
                rest = after;
                u64::from(byte)
            } else {
                let Some(head) = read_varint(&mut rest) else { return };
                head
            };
            passage = passage.wrapping_add((head >> 1) as u32);
            let times = if head & 1 == 0 { 1 } else { read_varint(&mut rest).unwrap_or(1) as u32 };
            call(passage, times);
        }
    }

    /// Whether that passage is in it.
    pub(crate) fn has(&self, wanted: u32) -> bool {
        let mut found = false;
        self.each(|passage, _| found |= passage == wanted);
        found
    }

    fn is_sound(&self, passages: usize) -> bool {
        let (mut rest, mut last, mut count) = (self.bytes, None::<u64>, 0_u32);
        while !rest.is_empty() {
            let Some(head) = read_varint(&mut rest) else { return false };
            let passage = match last {
                None => head >> 1,
                Some(_) if head >> 1 == 0 => return false,
                Some(last) => last + (head >> 1),
            };
            let many = head & 1 == 1;
            let times = if many { read_varint(&mut rest) } else { Some(1) };
            if passage >= passages as u64
                || times.is_none_or(|times| times > u64::from(u32::MAX) || (many && times < 2))
            {
                return false;
            }
            (last, count) = (Some(passage), count + 1);
        }
        count == self.holders
    }
}

/// At most five bytes and 35 bits: sums of them cannot overflow.
fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..35).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
