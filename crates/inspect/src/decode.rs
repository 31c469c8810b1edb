//! Undoes what hides words in plain sight: encodings of bytes that stand in a text, each replaced where it stands, and
//! changes of all its letters. Up to three layers, each from the one before, within a budget of bytes. A decoding
//! counts only when it reads as language. A text without any sign of these costs one cheap pass.
//!
//! Source: inspect.md section 2.1; the transforms of public red-teaming tools, as described in their documentation.

mod bytes;
mod letters;
mod runs;
mod signs;

use crate::language::Language;
use std::ops::Range;

/// What was undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    /// Base64 and its form for URLs.
    Base64,
    /// Base32.
    Base32,
    /// Bytes in base sixteen.
    Hex,
    /// Bytes in base two.
    Binary,
    /// Bytes in base ten.
    Decimal,
    /// Bytes in base eight.
    Octal,
    /// `%41`, `=41`.
    Percent,
    /// `&#65;`, `&lt;`.
    Entities,
    /// `\x41`, `\u0041`.
    Escapes,
    /// Morse.
    Morse,
    /// The spelling alphabet of radio.
    Spelling,
    /// Letters of other alphabets that only look different: Braille, flags, upside down.
    Lookalikes,
    /// Letters moved along the alphabet.
    Rotation,
    /// The alphabet backwards.
    Atbash,
    /// Letters backwards.
    Reversed,
    /// Words backwards.
    Flipped,
    /// Digits for letters.
    Leetspeak,
    /// Letters apart.
    Spaced,
    /// Invisible characters as bits.
    Hidden,
}

impl Encoding {
    /// The stable name, in reasons.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Base32 => "base32",
            Self::Hex => "hex",
            Self::Binary => "binary",
            Self::Decimal => "decimal",
            Self::Octal => "octal",
            Self::Percent => "percent",
            Self::Entities => "entities",
            Self::Escapes => "escapes",
            Self::Morse => "morse",
            Self::Spelling => "spelling",
            Self::Lookalikes => "lookalikes",
            Self::Rotation => "rotation",
            Self::Atbash => "atbash",
            Self::Reversed => "reversed",
            Self::Flipped => "flipped",
            Self::Leetspeak => "leetspeak",
            Self::Spaced => "spaced",
            Self::Hidden => "hidden",
        }
    }
}

/// A text that came out of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) text: String,
    /// What was undone last.
    pub(crate) encoding: Encoding,
    /// Where it stood in the text before it.
    pub(crate) span: Range<usize>,
    /// Whether nearly all of the text before it was encoded, so that its own letters say nothing.
    pub(crate) whole: bool,
}

/// Most layers.
const LAYERS: usize = 3;

/// Every layer of a text, the outermost first; no more than `budget` bytes together.
pub(crate) fn layers(text: &str, language: Language<'_>, budget: usize) -> Vec<Decoded> {
    let mut all: Vec<Decoded> = Vec::new();
    let mut left = budget;
    for _ in 0..LAYERS {
        let before = all.last().map_or(text, |last| last.text.as_str());
        let Some(next) = layer(before, language, left) else { break };
        if next.text == before || next.text.trim().is_empty() {
            break;
        }
        left = left.saturating_sub(next.text.len());
        all.push(next);
    }
    all
}

fn layer(text: &str, language: Language<'_>, budget: usize) -> Option<Decoded> {
    let seen = signs::look(text);
    if seen.runs
        && let Some(found) = runs::replaced(text, language, budget)
    {
        return Some(found);
    }
    if budget < text.len() {
        return None;
    }
    letters::changed(text, &seen, language)
}

/// Fewest invisible characters that can spell something.
pub(crate) const FEWEST_BITS: u32 = 32;

/// What invisible characters of a text as it came spell as bits.
pub(crate) fn hidden(text: &str, language: Language<'_>) -> Option<Decoded> {
    let said = letters::hidden_bits(text).filter(|said| language.reads(said))?;
    Some(Decoded { whole: false, ..whole(text, said, Encoding::Hidden) })
}

/// A decoding of a whole text.
fn whole(text: &str, decoded: String, encoding: Encoding) -> Decoded {
    Decoded { text: decoded, encoding, span: 0..text.len(), whole: true }
}

#[cfg(test)]
mod tests;
