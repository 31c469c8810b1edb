//! The trained model: one small weight for each hashed piece of text, and what its sums mean. It reads a short text
//! as a whole and a long one also in windows, so that a few lines count wherever they stand. One pass over the copy.
//! Invariant: a file whose checksum, sizes or numbers are wrong is refused with the reason, never used.
//!
//! Source: inspect.md section 2.3 and 2.4; the file is written by `cargo xtask train-guard`, and by nothing else.

use crate::{
    features::{TABLE, features, words},
    inspector::Channel,
    language::{GROUPS, Language},
};
use std::{borrow::Cow, cell::RefCell, ops::Range};

/// The trained file.
static TRAINED: &[u8] = include_bytes!("../model/guard.bin");

/// First bytes of the file: what it is, and its version.
const MAGIC: &[u8; 4] = b"PCG4";
/// Length bands; a text is in the first band it is not longer than, or in the last.
pub const BANDS: [usize; 3] = [64, 256, 1024];
const BAND_COUNT: usize = BANDS.len() + 1;
/// Calibrations: user, document, decoded text.
const KINDS: usize = 3;
/// Numbers before the tables: unit, bias, weight of the rules, what mentions lose, what a decade of windows asks for.
const NUMBERS: usize = 5;
/// Tables of weights: for messages of people, and for documents.
const TABLES: usize = 2;
const HEAD: usize = MAGIC.len() + 8;
const LENGTH: usize = HEAD + 4 * (NUMBERS + 2 * KINDS * BAND_COUNT) + GROUPS + TABLES * TABLE;

/// Why a file of weights is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelProblem {
    /// Not written by the trainer, or by one of another version.
    #[error("the weights of the detector are not of this version; train them again")]
    Unknown,
    /// Bytes are missing or too many.
    #[error("the weights of the detector have {found} bytes instead of {expected}; restore the file")]
    Length {
        /// What there is.
        found: usize,
        /// What there must be.
        expected: usize,
    },
    /// A byte was changed.
    #[error("the weights of the detector were changed: their checksum is {found:016x}, not {expected:016x}")]
    Changed {
        /// What they come to.
        found: u64,
        /// What the file says.
        expected: u64,
    },
    /// A number that no training gives.
    #[error("the weights of the detector hold a number that is none; train them again")]
    Number,
}

/// Where a score is one half (the 1 % point) and where it is nine tenths (the 0.1 % point).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Evidence of a score of 0.5.
    pub flag: f32,
    /// Evidence of a score of 0.9; above `flag`.
    pub block: f32,
}

impl Calibration {
    /// Evidence as a score from 0 to 1.
    #[must_use]
    pub fn score(self, evidence: f32) -> f32 {
        // 9 to 1 at the block point, even at the flag point.
        let step = (evidence - self.flag) / (self.block - self.flag).max(f32::EPSILON);
        1.0 / (1.0 + 9.0_f32.powf(-step))
    }

    /// The same for a text that must show more.
    fn above(self, more: f32) -> Self {
        Self { flag: self.flag + more, block: self.block + more }
    }
}

/// Everything that training gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// Value of one step of a weight.
    pub unit: f32,
    /// Evidence of nothing.
    pub bias: f32,
    /// Evidence of the rules' score of one.
    pub rules: f32,
    /// What a text loses that speaks about attacks where rules hit.
    pub mention: f32,
    /// How much more evidence a text ten times as long must show: more windows can go wrong.
    pub decade: f32,
    /// By kind (user, document, decoded) and length band.
    pub calibration: [[Calibration; BAND_COUNT]; KINDS],
    /// Sixteenths of bits by group of three letters, `GROUPS` of them.
    pub language: Vec<i8>,
    /// Weights in units: `TABLE` of them for people, then as many for documents.
    pub weights: Vec<i8>,
}

impl Trained {
    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(LENGTH);
        for number in [self.unit, self.bias, self.rules, self.mention, self.decade] {
            body.extend(number.to_le_bytes());
        }
        for calibration in self.calibration.iter().flatten() {
            body.extend(calibration.flag.to_le_bytes());
            body.extend(calibration.block.to_le_bytes());
        }
        body.extend(self.language.iter().chain(&self.weights).map(|weight| weight.cast_unsigned()));
        [&MAGIC[..], &checksum(&body).to_le_bytes(), &body].concat()
    }
}

/// FNV-1a over words of eight bytes: against accidents, not against an adversary, who could change the binary.
fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let step = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    let sum = words.iter().fold(0xcbf2_9ce4_8422_2325, |sum, word| step(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| step(sum, u64::from(*byte)))
}

/// The model, ready to use.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    file: Cow<'static, [u8]>,
    unit: f32,
    bias: f32,
    pub(crate) rules: f32,
    pub(crate) mention: f32,
    decade: f32,
    calibration: [[Calibration; BAND_COUNT]; KINDS],
    name: String,
}

/// What the model makes of a copy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// Evidence of the whole.
    pub(crate) whole: f32,
    /// Evidence of each window of a long text, with its place; empty for a short one.
    pub(crate) windows: Vec<(f32, Range<usize>)>,
}

/// Longest text that is read only as a whole, in bytes of its copy.
pub(crate) const SHORT: usize = 1024;
/// Bytes of a piece; two neighbours make a window.
const PIECE: usize = 256;

/// How much of a long text is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    /// So many bytes in full.
    pub(crate) fully: usize,
    /// Whether single words make a later piece worth reading.
    pub(crate) words: bool,
}

impl Depth {
    /// All of it.
    pub(crate) const FULL: Self = Self { fully: usize::MAX, words: true };
}

impl Model {
    /// The trained one.
    pub(crate) fn trained() -> Result<Self, ModelProblem> {
        Self::read(Cow::Borrowed(TRAINED))
    }

    /// From the bytes of a file.
    pub(crate) fn read(file: Cow<'static, [u8]>) -> Result<Self, ModelProblem> {
        if !file.starts_with(MAGIC) {
            return Err(ModelProblem::Unknown);
        }
        if file.len() != LENGTH {
            return Err(ModelProblem::Length { found: file.len(), expected: LENGTH });
        }
        let (head, body) = file.split_at(HEAD);
        let expected = head.last_chunk().map_or(0, |sum| u64::from_le_bytes(*sum));
        let found = checksum(body);
        if found != expected {
            return Err(ModelProblem::Changed { found, expected });
        }
        let mut numbers = body.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let mut number = || numbers.next().filter(|number| number.is_finite()).ok_or(ModelProblem::Number);
        let (unit, bias, rules, mention, decade) = (number()?, number()?, number()?, number()?, number()?);
        let mut calibration = [[Calibration { flag: 0.0, block: 1.0 }; BAND_COUNT]; KINDS];
        for point in calibration.iter_mut().flatten() {
            *point = Calibration { flag: number()?, block: number()? };
            if point.block <= point.flag {
                return Err(ModelProblem::Number);
            }
        }
        let name = format!("g1-{:08x}", found >> 32);
        Ok(Self { file, unit, bias, rules, mention, decade, calibration, name })
    }

    /// `g1-` and the beginning of the checksum.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn language(&self) -> Language<'_> {
        let end = LENGTH - TABLES * TABLE;
        Language::new(&self.file[end - GROUPS..end])
    }

    fn weights(&self, channel: Channel) -> &[u8] {
        let (people, documents) = self.file[LENGTH - TABLES * TABLE..].split_at(TABLE);
        match channel {
            Channel::User => people,
            Channel::Document => documents,
        }
    }

    /// What evidence means for a text of so many bytes.
    pub(crate) fn calibration(&self, channel: Channel, decoded: bool, bytes: usize) -> Calibration {
        let kind = match (decoded, channel) {
            (true, _) => 2,
            (false, Channel::User) => 0,
            (false, Channel::Document) => 1,
        };
        let band = BANDS.iter().position(|most| bytes <= *most).unwrap_or(BANDS.len());
        let decades = (bytes as f32 / LAST_BAND).max(1.0).log10();
        self.calibration[kind][band].above(self.decade * decades)
    }

    /// Reads a copy. Beyond its first `fully` bytes only pieces are read that are touched by rules, or whose words alone
    /// are suspicious, if these are looked at.
    pub(crate) fn look(
        &self,
        copy: &str,
        channel: Channel,
        Depth { fully, words }: Depth,
        touched: impl Fn(&Range<usize>) -> bool,
    ) -> Reading {
        SEEN.with_borrow_mut(|seen| self.read_with(seen, copy, channel, Depth { fully, words }, touched))
    }

    fn read_with(
        &self,
        seen: &mut Seen,
        copy: &str,
        channel: Channel,
        Depth { fully, words }: Depth,
        touched: impl Fn(&Range<usize>) -> bool,
    ) -> Reading {
        seen.make_room(if copy.len() <= SHORT { copy.len() } else { PIECE + LONGEST_WORD });
        let weights = self.weights(channel);
        if copy.len() <= SHORT {
            let sum = seen.sum(copy, weights);
            return Reading { whole: self.evidence(sum), windows: Vec::new() };
        }
        let mut reading = Reading { whole: 0.0, windows: Vec::with_capacity(copy.len() / PIECE + 1) };
        let (mut all, mut last, mut last_at) = (Sum::default(), Sum::default(), 0);
        let mut from = 0;
        while from < copy.len() {
            let to = cut(copy, from + PIECE);
            let piece = &copy[from..to];
            let passed = from >= fully && (to < copy.len() || !words);
            if passed && !words && !touched(&(from..copy.len())) {
                break;
            }
            if passed && !(words && self.suspicious(piece, weights)) && !touched(&(from..to)) {
                (last, last_at, from) = (Sum::default(), to, to);
                continue;
            }
            let sum = seen.sum(piece, weights);
            all = all.and(sum);
            if from > 0 {
                reading.windows.push((self.evidence(last.and(sum)), last_at..to));
            }
            (last, last_at, from) = (sum, from, to);
        }
        reading.whole = self.evidence(all);
        reading
    }

    /// Whether the words of a piece are worth reading it in full: cheap, and wrong for few of the pieces that matter.
    fn suspicious(&self, piece: &str, weights: &[u8]) -> bool {
        let mut sum = Sum::default();
        words(piece, |place| {
            sum.weight += weight(weights, place);
            sum.features += 1;
        });
        self.evidence(sum) - self.bias > SUSPICIOUS
    }

    fn evidence(&self, sum: Sum) -> f32 {
        sum.weight as f32 * self.unit / (sum.features.max(FEWEST) as f32).sqrt() + self.bias
    }

    /// The pieces of a part of a copy that say most for an attack: text and evidence.
    pub(crate) fn explain(&self, part: &str, channel: Channel, most: usize) -> Vec<(String, f32)> {
        let weights = self.weights(channel);
        let mut words: Vec<(String, f32)> = Vec::new();
        let tokens: Vec<&str> = part.split(' ').collect();
        let mut count = 0_u32;
        features(part, |_| count += 1);
        let share = self.unit / (count.max(FEWEST) as f32).sqrt();
        for run in tokens.windows(3.min(tokens.len())) {
            let text = run.join(" ");
            let mut sum = 0_i32;
            features(&text, |place| sum += weight(weights, place));
            words.push((text, sum as f32 * share));
        }
        words.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        words.dedup_by(|(a, _), (b, _)| a == b);
        words.truncate(most);
        words
    }
}

/// Bytes up to which the last band was measured; beyond, more windows can go wrong.
pub const LAST_BAND: f32 = 4096.0;

/// From this evidence of its words on a piece of a very long text is read in full. Found on attacks planted in prose:
/// `cargo xtask bench guard` says what it loses.
const SUSPICIOUS: f32 = -0.5;

/// Fewer features than this count as so many, so that two or three letters are no evidence.
pub const FEWEST: u32 = 20;

fn weight(weights: &[u8], place: u32) -> i32 {
    i32::from(weights.get(place as usize).copied().unwrap_or(0).cast_signed())
}

/// The border of a piece: the end of the word that stands at a place.
fn cut(copy: &str, at: usize) -> usize {
    if at >= copy.len() {
        return copy.len();
    }
    let bytes = copy.as_bytes();
    let near = &bytes[at..bytes.len().min(at + LONGEST_WORD)];
    match memchr::memchr(b' ', near) {
        Some(blank) => at + blank + 1,
        None => (at..=copy.len()).find(|at| copy.is_char_boundary(*at)).unwrap_or(copy.len()),
    }
}

/// How far the end of a word is looked for; longer ones are cut.
const LONGEST_WORD: usize = 48;

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    weight: i32,
    features: u32,
}

impl Sum {
    const fn and(self, other: Self) -> Self {
        Self { weight: self.weight + other.weight, features: self.features + other.features }
    }
}

/// The features of a piece, each once. Slots carry the number of their piece, so that nothing is cleared between two.
#[derive(Debug, Default)]
struct Seen {
    slots: Vec<u32>,
    /// Of the slots that are used: their number less one.
    mask: usize,
    piece: u32,
}

thread_local! {
    /// At most 64 KiB for each thread that reads texts.
    static SEEN: RefCell<Seen> = RefCell::default();
}

/// Bits of a slot that hold the feature; the rest hold the piece.
const FEATURE_BITS: u32 = 19;

impl Seen {
    /// For pieces of so many bytes.
    fn make_room(&mut self, bytes: usize) {
        // Below seven features a byte: slots stay half empty.
        let slots = (bytes * 12 + 64).next_power_of_two();
        if self.slots.len() < slots {
            *self = Self { slots: vec![0; slots], mask: 0, piece: 0 };
        }
        self.mask = slots - 1;
    }

    fn sum(&mut self, piece: &str, weights: &[u8]) -> Sum {
        self.piece += 1;
        if self.piece >> (u32::BITS - FEATURE_BITS) != 0 {
            self.slots.fill(0);
            self.piece = 1;
        }
        let mut sum = Sum::default();
        let (mask, number) = (self.mask, self.piece);
        let slots = self.slots.as_mut_slice();
        features(piece, |place| {
            let stamp = number << FEATURE_BITS | place;
            let mut at = place as usize & mask;
            while let Some(slot) = slots.get_mut(at) {
                if *slot == stamp {
                    return;
                }
                if *slot >> FEATURE_BITS != number {
                    *slot = stamp;
                    break;
                }
                at = (at + 1) & mask;
            }
            sum.weight += weight(weights, place);
            sum.features += 1;
        });
        sum
    }
}

/// Every feature of a text as the trainer sees it: its copy read as a whole, each piece's features once.
#[must_use]
pub fn learnt(copy: &str) -> Vec<u32> {
    let mut all = Vec::new();
    let mut from = 0;
    while from < copy.len() {
        let to = if copy.len() <= SHORT { copy.len() } else { cut(copy, from + PIECE) };
        let start = all.len();
        features(&copy[from..to], |place| all.push(place));
        all[start..].sort_unstable();
        let mut kept = start;
        for at in start..all.len() {
            if at == start || all[at] != all[kept - 1] {
                all[kept] = all[at];
                kept += 1;
            }
        }
        all.truncate(kept);
        from = to;
    }
    all
}

#[cfg(test)]
mod tests;
