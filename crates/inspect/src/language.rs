//! Whether letters read as language: how likely each group of three letters is in honest text, learnt by the trainer
//! from languages of Latin script. Invariant: looks at a bounded beginning of a text.
//!
//! Source: frequency analysis, al-Kindi, about 850; the table is part of the trained file.

/// Twenty-six letters and whatever stands between words.
const SIGNS: usize = 27;
/// Length of the table.
pub const GROUPS: usize = SIGNS * SIGNS * SIGNS;
/// Steps of a weight in a bit.
const STEPS: f32 = 16.0;
/// Letters that are looked at.
const LOOKED_AT: usize = 400;
/// From so many sixteenths of a bit for each letter on, it is language: honest messages lie above, shuffled letters
/// and rotations below.
const READS: f32 = 2.0;

/// The table: for each group sixteenths of bits above chance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Language<'a>(&'a [u8]);

impl<'a> Language<'a> {
    /// From `GROUPS` signed bytes.
    pub(crate) const fn new(table: &'a [u8]) -> Self {
        Self(table)
    }

    /// Mean weight of the groups of a text of letters, each as `letter` gives it; nothing for fewer than three.
    pub(crate) fn weight(self, text: impl Iterator<Item = u8>) -> Option<f32> {
        let (mut sum, mut count) = (0_i32, 0_usize);
        let (mut first, mut second) = (0, 0);
        for letter in text.take(LOOKED_AT) {
            let third = usize::from(letter);
            if third == 0 && second == 0 {
                continue;
            }
            let group = (first * SIGNS + second) * SIGNS + third;
            sum += i32::from(self.of(group));
            count += 1;
            (first, second) = (second, third);
        }
        (count >= 3).then(|| sum as f32 / count as f32)
    }

    /// How likely four bytes in lower case are, against chance: by both groups of three of them.
    pub(crate) fn likely(self, bytes: &[u8; 4]) -> f32 {
        let [a, b, c, d] = bytes.map(|byte| letter(char::from(byte)));
        let both = i16::from(self.of(group(a, b, c))) + i16::from(self.of(group(b, c, d)));
        (f32::from(both) / (2.0 * STEPS)).exp2()
    }

    /// The weight of a group.
    fn of(self, group: usize) -> i8 {
        self.0.get(group).copied().unwrap_or(0).cast_signed()
    }

    /// Whether a text reads as language. Text of other scripts does when it is letters at all.
    pub(crate) fn reads(self, text: &str) -> bool {
        let (mut latin, mut other, mut odd, mut marks) = (0_usize, 0_usize, 0_usize, 0_usize);
        for c in text.chars().take(LOOKED_AT) {
            if c.is_ascii_alphabetic() {
                latin += 1;
            } else if c.is_control() && !c.is_whitespace() || c == char::REPLACEMENT_CHARACTER {
                odd += 1;
            } else if !c.is_ascii() && c.is_alphabetic() {
                other += 1;
            } else if !c.is_whitespace() {
                marks += 1;
            }
        }
        let letters = latin + other;
        if letters < 4 || odd * 20 > letters || marks > letters {
            return false;
        }
        other > latin || self.weight(text.chars().map(letter)).is_some_and(|weight| weight >= READS)
    }
}

/// The group of three letters that stands at a place of the table, for the trainer: signs from 0 to 26.
#[must_use]
pub const fn group(first: u8, second: u8, third: u8) -> usize {
    (first as usize * SIGNS + second as usize) * SIGNS + third as usize
}

/// A letter as 1 to 26, anything else as 0.
#[must_use]
pub const fn letter(c: char) -> u8 {
    match c {
        'a'..='z' => c as u8 - b'a' + 1,
        'A'..='Z' => c as u8 - b'A' + 1,
        _ => 0,
    }
}
