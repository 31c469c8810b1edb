//! Where in a text a pattern of a table can match: every pattern has signs, pieces of text of which every match holds
//! one. A text is looked at every third byte, by a table of groups of four bytes that fits the nearest cache; looks
//! do not wait for each other, which makes them several times cheaper than the steps of an automaton.
//! Invariant: it may name a place where nothing matches, never miss a sign.
//!
//! Source: q-gram filtering; Navarro and Raffinot, "Flexible pattern matching in strings", 2002.

use crate::language::Language;
use memchr::memmem::Finder;
use std::ops::ControlFlow::{self, Continue};

/// Bytes of a group.
const GROUP: usize = 4;
/// Bytes between two looks.
const STEP: usize = 3;
/// A window so long holds a whole group wherever the looks fall.
pub(crate) const WINDOW: usize = GROUP + STEP - 1;
/// Places that a group can have in a window.
const PLACES: usize = WINDOW - GROUP + 1;
/// Shorter signs of plain text, down to a group, are seen by the groups that reach one byte over their ends; one of these
/// falls on a look. All others are searched for one by one.
const NEAR: u8 = 1 << PLACES;
/// Looks whose results are gathered before any is followed: four bits each in one word.
const LOOKS: usize = 16;
const LOOK_BITS: usize = u64::BITS as usize / LOOKS;
/// Bits of a group's hash: 64 KiB of table, of which a text touches little.
const HASH_BITS: u32 = 16;
const TABLE: usize = 1 << HASH_BITS;

/// The signs of up to 64 rows.
#[derive(Debug)]
pub(crate) struct Signs {
    /// For each hash of a group the places it has in windows, the last place in the lowest bit, so that what a look finds
    /// is followed from left to right; bytes, because denser forms would cost three operations more for each look.
    table: Box<[u8; TABLE]>,
    /// A bit for each hash of a window that is one: most windows that are looked up are none.
    known: Box<[u64; KNOWN / 64]>,
    /// Open addressing by hash of the window; `signs` in order of their windows.
    slots: Box<[Slot]>,
    signs: Vec<Sign>,
    near: Vec<(&'static [u8], u64)>,
    short: Vec<(Finder<'static>, u64)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Nothing is here where it is zero: no sign holds six zero bytes.
    window: Window,
    first: u32,
    count: u32,
}

/// Bits of the hash of a window that say whether it may be one: 4 KiB for some 900 windows.
const KNOWN_BITS: u32 = 15;
const KNOWN: usize = 1 << KNOWN_BITS;

/// The bytes of a window in one word, the first lowest.
type Window = u64;
/// Those of a word that are a window's.
const OF_WINDOW: Window = (1 << (8 * WINDOW)) - 1;

#[derive(Clone, Copy, Debug)]
struct Sign {
    text: &'static [u8],
    /// Where in it the window stands.
    offset: usize,
    rows: u64,
}

impl Sign {
    fn window(&self) -> Window {
        window(self.text, self.offset).unwrap_or_default()
    }
}

impl Signs {
    /// From the signs of each row, in order. `language` says which groups honest text holds often.
    pub(crate) fn new(
        rows: impl IntoIterator<Item = &'static [&'static str]>,
        language: Language<'_>,
    ) -> Self {
        let mut texts: Vec<(&'static [u8], u64)> = Vec::new();
        for (row, signs) in rows.into_iter().enumerate() {
            for sign in signs {
                match texts.iter_mut().find(|(text, _)| *text == sign.as_bytes()) {
                    Some((_, rows)) => *rows |= 1 << row,
                    None => texts.push((sign.as_bytes(), 1 << row)),
                }
            }
        }
        let (long, rest): (Vec<_>, Vec<_>) = texts.into_iter().partition(|(text, _)| text.len() >= WINDOW);
        let (near, short): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|(text, _)| text.len() >= GROUP && text.is_ascii());
        let mut signs: Vec<Sign> = long
            .into_iter()
            .map(|(text, rows)| Sign { text, offset: rarest(text, language), rows })
            .collect();
        signs.sort_by_key(Sign::window);
        let mut table = Box::new([0; TABLE]);
        for sign in &signs {
            let window = &sign.text[sign.offset..][..WINDOW];
            for (at, group) in window.array_windows::<GROUP>().enumerate() {
                table[place(*group)] |= 1 << (PLACES - 1 - at);
            }
        }
        for group in near.iter().flat_map(|(text, _)| groups_around(text)) {
            table[place(group)] |= NEAR;
        }
        let mut known = Box::new([0; KNOWN / 64]);
        for window in signs.iter().map(Sign::window) {
            known[mixed(window) / 64] |= 1 << (mixed(window) % 64);
        }
        let short = short.into_iter().map(|(text, rows)| (Finder::new(text), rows)).collect();
        Self { table, known, slots: slots(&signs), signs, near, short }
    }

    /// Tells every sign in the text: where it begins and whose it is, until told to stop. In no particular order. A text
    /// that is known to be `plain` ASCII is not searched for other characters.
    pub(crate) fn find(
        &self,
        text: &[u8],
        plain: bool,
        mut found: impl FnMut(usize, u64) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for (finder, rows) in self.short.iter().filter(|(finder, _)| !plain || finder.needle().is_ascii()) {
            finder.find_iter(text).try_for_each(|at| found(at, *rows))?;
        }
        let mut at = 0;
        while let Some(block) = text[at..].first_chunk::<{ LOOKS * STEP + GROUP - STEP }>() {
            let mut hits = 0_u64;
            for look in 0..LOOKS {
                let from = look * STEP;
                let group = [block[from], block[from + 1], block[from + 2], block[from + 3]];
                hits |= self.places(group) << (look * LOOK_BITS);
            }
            while hits != 0 {
                let bit = hits.trailing_zeros() as usize;
                let group = at + bit / LOOK_BITS * STEP;
                if self.promises(text, group, bit % LOOK_BITS) {
                    self.follow(text, group, bit % LOOK_BITS, &mut found)?;
                }
                hits &= hits - 1;
            }
            at += LOOKS * STEP;
        }
        while let Some(group) = text[at..].first_chunk() {
            let places = self.places(*group);
            for bit in (0..LOOK_BITS).filter(|bit| places >> bit & 1 != 0) {
                self.follow(text, at, bit, &mut found)?;
            }
            at = (at + STEP).min(text.len());
        }
        // No group reaches over the end of the text.
        let ends = self.near.iter().filter(|(sign, _)| text.ends_with(sign));
        ends.map(|(sign, rows)| (text.len() - sign.len(), *rows)).try_for_each(|(at, rows)| found(at, rows))
    }

    #[inline]
    fn places(&self, group: [u8; GROUP]) -> u64 {
        u64::from(self.table[place(group)])
    }

    /// Whether a group is worth following: a few steps that sort out nearly all that are not.
    #[inline(always)]
    fn promises(&self, text: &[u8], group: usize, bit: usize) -> bool {
        if bit == PLACES {
            let groups = text.get(group.saturating_sub(1)..).unwrap_or_default().array_windows::<GROUP>();
            return groups.take(3).any(|group| self.near.iter().any(|(sign, _)| sign.starts_with(group)));
        }
        let at = group.wrapping_sub(PLACES - 1 - bit);
        let known = |window| self.known[mixed(window) / 64] >> (mixed(window) % 64) & 1 != 0;
        window(text, at).is_some_and(known)
    }

    /// The window around a group that may be one of theirs: the one in which it has that place.
    fn follow(
        &self,
        text: &[u8],
        group: usize,
        bit: usize,
        found: &mut impl FnMut(usize, u64) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if bit == PLACES {
            return self.follow_near(text, group, found);
        }
        let Some(at) = group.checked_sub(PLACES - 1 - bit) else { return Continue(()) };
        let Some(slot) = window(text, at).and_then(|window| self.slot(window)) else { return Continue(()) };
        for sign in &self.signs[slot.first as usize..][..slot.count as usize] {
            let Some(begin) = at.checked_sub(sign.offset) else { continue };
            if text[begin..].starts_with(sign.text) {
                found(begin, sign.rows)?;
            }
        }
        Continue(())
    }

    /// The shorter signs that begin a byte before a group, with it, or a byte after it begins.
    fn follow_near(
        &self,
        text: &[u8],
        group: usize,
        found: &mut impl FnMut(usize, u64) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for at in group.saturating_sub(1)..=group + 1 {
            for (sign, rows) in &self.near {
                if text[at..].starts_with(sign) {
                    found(at, *rows)?;
                }
            }
        }
        Continue(())
    }

    fn slot(&self, window: Window) -> Option<&Slot> {
        let mask = self.slots.len() - 1;
        let mut at = slot_of(window, mask);
        loop {
            let slot = self.slots.get(at)?;
            if slot.window == window {
                return Some(slot);
            }
            if slot.window == 0 {
                return None;
            }
            at = (at + 1) & mask;
        }
    }
}

/// The window of a text that begins there.
#[inline(always)]
fn window(text: &[u8], at: usize) -> Option<Window> {
    let rest = text.get(at..)?;
    if let Some(word) = rest.first_chunk() {
        return Some(u64::from_le_bytes(*word) & OF_WINDOW);
    }
    let [a, b, c, d, e, f] = *rest.first_chunk::<WINDOW>()?;
    Some(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
}

/// The groups of which one falls on a look wherever a sign of four or five bytes stands: that of its beginning and those
/// one byte to either side, with every byte that can stand there.
fn groups_around(sign: &[u8]) -> impl Iterator<Item = [u8; GROUP]> {
    let [a, b, c, d] = sign.first_chunk().copied().unwrap_or_default();
    let after = sign.get(GROUP).copied();
    let any = move |byte: u8| [[byte, a, b, c], [b, c, d, after.unwrap_or(byte)]];
    [[a, b, c, d]].into_iter().chain((0..=u8::MAX).flat_map(any))
}

/// Any odd number multiplies rightly. Of half a million this is the one by which honest text falls least often on what signs
/// have: with the windows that `rarest` chooses, two hits for three of a number at random.
const SPREAD: u32 = 0x1F58_D23F;

fn place(group: [u8; GROUP]) -> usize {
    (u32::from_le_bytes(group).wrapping_mul(SPREAD) >> (u32::BITS - HASH_BITS)) as usize
}

/// The hash of a window, as many bits as `known` has.
#[inline(always)]
fn mixed(window: Window) -> usize {
    (window.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - KNOWN_BITS)) as usize
}

fn slot_of(window: Window, mask: usize) -> usize {
    mixed(window) & mask
}

/// At most a quarter full, so that a search ends after a step or two.
fn slots(signs: &[Sign]) -> Box<[Slot]> {
    let mask = (signs.len() * 4).next_power_of_two().max(4) - 1;
    let mut slots = vec![Slot::default(); mask + 1].into_boxed_slice();
    let mut first = 0_u32;
    for same in signs.chunk_by(|a, b| a.window() == b.window()) {
        let window = same[0].window();
        let mut at = slot_of(window, mask);
        while slots[at].count > 0 {
            at = (at + 1) & mask;
        }
        slots[at] = Slot { window, first, count: same.len() as u32 };
        first += same.len() as u32;
    }
    slots
}

/// The window of a sign whose groups honest text is least likely to hold.
fn rarest(text: &[u8], language: Language<'_>) -> usize {
    let likely = |window: &[u8]| window.array_windows().map(|group| language.likely(group)).sum::<f32>();
    let windows = text.windows(WINDOW).enumerate();
    let likely = windows.map(|(at, window)| (at, likely(window)));
    likely.min_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod proof;
#[cfg(test)]
mod tests;
