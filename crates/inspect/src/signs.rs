//! Where in a text a pattern of a table can match: every pattern has signs, pieces of text of which every match holds
//! one. A text is looked at every third byte, by a table of groups of four bytes that fits the nearest cache; looks
//! do not wait for each other, which makes them several times cheaper than the steps of an automaton.
//! Invariant: it may name a place where nothing matches, never miss a sign.
//!
//! Source: q-gram filtering; Navarro and Raffinot, "Flexible pattern matching in strings", 2002.

use memchr::memmem::Finder;
use std::ops::ControlFlow::{self, Continue};

/// Bytes of a group.
const GROUP: usize = 4;
/// Bytes between two looks.
const STEP: usize = 3;
/// A window so long holds a whole group wherever the looks fall. Shorter signs are searched for one by one.
pub(crate) const WINDOW: usize = GROUP + STEP - 1;
/// Places that a group can have in a window.
const PLACES: usize = WINDOW - GROUP + 1;
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
    /// Open addressing by hash of the window; `signs` in order of their windows.
    slots: Box<[Slot]>,
    signs: Vec<Sign>,
    short: Vec<(Finder<'static>, u64)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    window: [u8; WINDOW],
    first: usize,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Sign {
    text: &'static [u8],
    /// Where in it the window stands.
    offset: usize,
    rows: u64,
}

impl Sign {
    fn window(&self) -> [u8; WINDOW] {
        self.text[self.offset..].first_chunk().copied().unwrap_or_default()
    }
}

impl Signs {
    /// From the signs of each row, in order.
    pub(crate) fn new(rows: impl IntoIterator<Item = &'static [&'static str]>) -> Self {
        let mut texts: Vec<(&'static [u8], u64)> = Vec::new();
        for (row, signs) in rows.into_iter().enumerate() {
            for sign in signs {
                match texts.iter_mut().find(|(text, _)| *text == sign.as_bytes()) {
                    Some((_, rows)) => *rows |= 1 << row,
                    None => texts.push((sign.as_bytes(), 1 << row)),
                }
            }
        }
        let (short, long): (Vec<_>, Vec<_>) = texts.into_iter().partition(|(text, _)| text.len() < WINDOW);
        let mut signs: Vec<Sign> =
            long.into_iter().map(|(text, rows)| Sign { text, offset: rarest(text), rows }).collect();
        signs.sort_by_key(Sign::window);
        let mut table = Box::new([0; TABLE]);
        for sign in &signs {
            for (at, group) in sign.window().array_windows::<GROUP>().enumerate() {
                table[place(*group)] |= 1 << (PLACES - 1 - at);
            }
        }
        let short = short.into_iter().map(|(text, rows)| (Finder::new(text), rows)).collect();
        Self { table, slots: slots(&signs), signs, short }
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
                self.follow(text, at + bit / LOOK_BITS * STEP, bit % LOOK_BITS, &mut found)?;
                hits &= hits - 1;
            }
            at += LOOKS * STEP;
        }
        while let Some(group) = text[at..].first_chunk() {
            let places = self.places(*group);
            for bit in (0..PLACES).filter(|bit| places >> bit & 1 != 0) {
                self.follow(text, at, bit, &mut found)?;
            }
            at = (at + STEP).min(text.len());
        }
        Continue(())
    }

    #[inline]
    fn places(&self, group: [u8; GROUP]) -> u64 {
        u64::from(self.table[place(group)])
    }

    /// The window around a group that may be one of theirs: the one in which it has that place.
    fn follow(
        &self,
        text: &[u8],
        group: usize,
        bit: usize,
        found: &mut impl FnMut(usize, u64) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(at) = group.checked_sub(PLACES - 1 - bit) else { return Continue(()) };
        let Some(window) = text[at..].first_chunk::<WINDOW>() else { return Continue(()) };
        let Some(slot) = self.slot(window) else { return Continue(()) };
        for sign in &self.signs[slot.first..slot.first + slot.count] {
            let Some(begin) = at.checked_sub(sign.offset) else { continue };
            if text[begin..].starts_with(sign.text) {
                found(begin, sign.rows)?;
            }
        }
        Continue(())
    }

    fn slot(&self, window: &[u8; WINDOW]) -> Option<&Slot> {
        let mask = self.slots.len() - 1;
        let mut at = slot_of(*window, mask);
        loop {
            let slot = &self.slots[at];
            if slot.count == 0 {
                return None;
            }
            if slot.window == *window {
                return Some(slot);
            }
            at = (at + 1) & mask;
        }
    }
}

fn place(group: [u8; GROUP]) -> usize {
    (u32::from_le_bytes(group).wrapping_mul(0x9E37_79B1) >> (u32::BITS - HASH_BITS)) as usize
}

fn slot_of(window: [u8; WINDOW], mask: usize) -> usize {
    let [a, b, c, d, e, f] = window;
    let hash = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (hash >> 40) as usize & mask
}

/// At most a quarter full, so that a search ends after a step or two.
fn slots(signs: &[Sign]) -> Box<[Slot]> {
    let mask = (signs.len() * 4).next_power_of_two().max(4) - 1;
    let mut slots = vec![Slot::default(); mask + 1].into_boxed_slice();
    let mut first = 0;
    for same in signs.chunk_by(|a, b| a.window() == b.window()) {
        let window = same[0].window();
        let mut at = slot_of(window, mask);
        while slots[at].count > 0 {
            at = (at + 1) & mask;
        }
        slots[at] = Slot { window, first, count: same.len() };
        first += same.len();
    }
    slots
}

/// The window of a sign whose groups honest text is least likely to hold.
fn rarest(text: &[u8]) -> usize {
    let likely = |group: &[u8]| {
        let common = COMMON.chunks(GROUP).any(|known| known == group);
        group.iter().map(|byte| share(*byte)).product::<f64>() + f64::from(u8::from(common))
    };
    let likely = |window: &[u8]| window.windows(GROUP).map(likely).sum::<f64>();
    let windows = text.windows(WINDOW).enumerate();
    windows.min_by(|(_, a), (_, b)| likely(a).total_cmp(&likely(b))).map_or(0, |(at, _)| at)
}

/// Groups that stand in any English text.
const COMMON: &[u8] = b" thethe  andand  thathathat witwithith tionion ing ment foryou  you arehave this is of t to to t in in t";

/// About the share of a byte in English prose.
fn share(byte: u8) -> f64 {
    match byte {
        b' ' | b'e' => 0.15,
        b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'h' | b'r' => 0.06,
        b'd' | b'l' | b'u' | b'c' | b'm' => 0.03,
        b'a'..=b'z' => 0.015,
        _ => 0.005,
    }
}

#[cfg(test)]
mod proof;
#[cfg(test)]
mod tests;
