//! Changes of all the letters of a text: letters apart, digits for letters, letters that only look different, the
//! alphabet moved or turned, letters or words backwards. Invariant: what does not read better than the text itself
//! is not kept.

use super::{Decoded, Encoding, signs::Seen, whole};
use crate::language::{Language, letter};

/// The first change that explains the text.
pub(super) fn changed(text: &str, seen: &Seen, language: Language<'_>) -> Option<Decoded> {
    if seen.odd
        && let Some(said) = lookalikes(text).filter(|said| language.reads(said))
    {
        return Some(whole(text, said, Encoding::Lookalikes));
    }
    if seen.spaced
        && let Some(said) = together(text).filter(|said| language.reads(said))
    {
        return Some(whole(text, said, Encoding::Spaced));
    }
    if seen.leet
        && let Some(said) = leet(text, language)
    {
        return Some(whole(text, said, Encoding::Leetspeak));
    }
    if let Some(found) = turned(text, language) {
        return Some(found);
    }
    if seen.flipped {
        let said: Vec<&str> = text.split_whitespace().rev().collect();
        return Some(Decoded { whole: false, ..whole(text, said.join(" "), Encoding::Flipped) });
    }
    None
}

/// Below this weight letters are no language and other alphabets are tried.
const DOUBTFUL: f32 = 3.5;
/// So much better a change must read than the text itself.
const BETTER: f32 = 4.0;
/// From this weight on a change reads as language beyond doubt.
const CERTAIN: f32 = 4.5;
/// Fewest letters that can tell.
const FEWEST: usize = 10;

/// Rotations, the alphabet backwards, and letters backwards, alone and together with these.
fn turned(text: &str, language: Language<'_>) -> Option<Decoded> {
    let letters: Vec<u8> = text.chars().take(4 * LOOKED_AT).map(letter).take(LOOKED_AT).collect();
    if letters.iter().filter(|letter| **letter > 0).count() < FEWEST {
        return None;
    }
    let own = language.weight(letters.iter().copied())?;
    let backwards = language.weight(letters.iter().rev().copied())?;
    // Letters backwards keep much of what makes language; honest text never reads better so.
    let mut best = (backwards > own + BETTER / 4.0).then_some((backwards, Turn::By(0), true));
    let turns = if own < DOUBTFUL { 26 } else { 0 };
    for turn in (0..turns).map(Turn::By).chain((turns > 0).then_some(Turn::Mirror)) {
        for backwards in [false, true] {
            if turn == Turn::By(0) && !backwards {
                continue;
            }
            let turned = letters.iter().map(|letter| turn.letter(*letter));
            let weight = if backwards { language.weight(turned.rev()) } else { language.weight(turned) };
            if let Some(weight) = weight.filter(|weight| best.is_none_or(|(most, ..)| *weight > most)) {
                best = Some((weight, turn, backwards));
            }
        }
    }
    let (weight, turn, backwards) = best?;
    let (certain, better) = if turn == Turn::By(0) { (DOUBTFUL, BETTER / 4.0) } else { (CERTAIN, BETTER) };
    if weight < certain || weight < own + better {
        return None;
    }
    let turned = text.chars().map(|c| turn.char(c));
    let said: String =
        if backwards { text.chars().rev().map(|c| turn.char(c)).collect() } else { turned.collect() };
    let encoding = match turn {
        Turn::By(0) => Encoding::Reversed,
        Turn::By(_) => Encoding::Rotation,
        Turn::Mirror => Encoding::Atbash,
    };
    Some(whole(text, said, encoding))
}

/// Letters by which turns are judged.
const LOOKED_AT: usize = 200;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    By(u8),
    Mirror,
}

impl Turn {
    fn letter(self, letter: u8) -> u8 {
        match (letter, self) {
            (0, _) => 0,
            (letter, Self::By(by)) => (letter - 1 + by) % 26 + 1,
            (letter, Self::Mirror) => 27 - letter,
        }
    }

    fn char(self, c: char) -> char {
        let letter = letter(c);
        if letter == 0 {
            return c;
        }
        let lower = char::from(b'a' + self.letter(letter) - 1);
        if c.is_ascii_uppercase() { lower.to_ascii_uppercase() } else { lower }
    }
}

/// Letters that stand apart, put together; wider gaps are the gaps between words.
fn together(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let (mut single, mut others) = (0_usize, 0_usize);
    for line in text.split('\n') {
        let wide = line.contains("  ");
        let mut gap = 0;
        for token in line.split(' ') {
            if token.is_empty() {
                gap += 1;
                continue;
            }
            let parts: Vec<&str> = token.split(['-', '.', '_', '*', '|', '~', '+', '/', ',', '·']).collect();
            let apart = parts.len() >= 4 && parts.iter().all(|part| part.chars().count() <= 1);
            if token.chars().count() == 1 {
                single += 1;
                if gap > 0 && wide {
                    out.push(' ');
                }
                out.push_str(token);
            } else {
                others += usize::from(!apart);
                single += if apart { parts.len() } else { 0 };
                if !out.is_empty() {
                    out.push(' ');
                }
                if apart {
                    out.extend(parts)
                } else {
                    out.push_str(token)
                }
                out.push(' ');
            }
            gap = 0;
        }
        out.push('\n');
    }
    (single >= 6 && single > 2 * others).then_some(out)
}

/// Digits and signs for letters, where that makes a word.
fn leet(text: &str, language: Language<'_>) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut changed = 0;
    for token in text.split_inclusive(char::is_whitespace) {
        let letters = token.bytes().any(|byte| byte.is_ascii_alphabetic());
        let digits = token.bytes().filter(|byte| plain(char::from(*byte), 'i').is_some()).count();
        let number = token.trim().bytes().all(|byte| byte.is_ascii_digit()) && token.trim().len() > 2;
        if digits == 0 || number || (!letters && digits < 2) {
            out.push_str(token);
            continue;
        }
        let read = |one| -> String { token.chars().map(|c| plain(c, one).unwrap_or(c)).collect() };
        let (i, l) = (read('i'), read('l'));
        let weight = |text: &str| language.weight(text.chars().map(letter)).unwrap_or(0.0);
        changed += 1;
        out.push_str(if weight(&l) > weight(&i) { &l } else { &i });
    }
    let own = language.weight(text.chars().map(letter)).unwrap_or(0.0);
    let said = language.weight(out.chars().map(letter))?;
    (changed >= 2 && said > own + 0.5 && language.reads(&out)).then_some(out)
}

const fn plain(c: char, one: char) -> Option<char> {
    Some(match c {
        '0' => 'o',
        '1' | '|' => one,
        '!' => 'i',
        '3' | '€' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '6' | '9' => 'g',
        '7' | '+' => 't',
        '8' => 'b',
        '2' => 'z',
        _ => return None,
    })
}

/// Braille, flags, squares, letters upside down.
fn lookalikes(text: &str) -> Option<String> {
    let (mut odd, mut turned, mut all) = (0_usize, 0_usize, 0_usize);
    let out: String = text
        .chars()
        .filter(|c| !('\u{300}'..='\u{36f}').contains(c))
        .map(|c| {
            all += usize::from(!c.is_whitespace());
            let plain = lookalike(c).or_else(|| upside_down(c).inspect(|_| turned += 1));
            odd += usize::from(plain.is_some());
            plain.unwrap_or(c)
        })
        .collect();
    let marks = text.chars().filter(|c| ('\u{300}'..='\u{36f}').contains(c)).count();
    if odd * 3 < all && marks * 2 < all {
        return None;
    }
    Some(if turned * 3 > all { out.chars().rev().collect() } else { out })
}

fn lookalike(c: char) -> Option<char> {
    const BRAILLE: &[u8; 26] = &[
        0x01, 0x03, 0x09, 0x19, 0x11, 0x0b, 0x1b, 0x13, 0x0a, 0x1a, 0x05, 0x07, 0x0d, 0x1d, 0x15, 0x0f, 0x1f,
        0x17, 0x0e, 0x1e, 0x25, 0x27, 0x3a, 0x2d, 0x3d, 0x35,
    ];
    let code = u32::from(c);
    let nth = |from: u32| char::from_u32(u32::from(b'a') + code - from);
    match c {
        '\u{2800}' => Some(' '),
        '\u{2801}'..='\u{283f}' => {
            let dots = u8::try_from(code - 0x2800).ok()?;
            BRAILLE.iter().zip('a'..='z').find(|(known, _)| **known == dots).map(|(_, letter)| letter)
        }
        '\u{1f130}'..='\u{1f149}' => nth(0x1f130),
        '\u{1f150}'..='\u{1f169}' => nth(0x1f150),
        '\u{1f170}'..='\u{1f189}' => nth(0x1f170),
        '\u{1f1e6}'..='\u{1f1ff}' => nth(0x1f1e6),
        _ => None,
    }
}

const fn upside_down(c: char) -> Option<char> {
    Some(match c {
        'ɐ' => 'a',
        'ɔ' => 'c',
        'ǝ' => 'e',
        'ɟ' => 'f',
        'ƃ' | 'ᵷ' => 'g',
        'ɥ' => 'h',
        'ᴉ' | 'ı' => 'i',
        'ɾ' => 'j',
        'ʞ' => 'k',
        'ꞁ' | 'ʃ' | 'ן' => 'l',
        'ɯ' => 'm',
        'ɹ' => 'r',
        'ʇ' => 't',
        'ʌ' => 'v',
        'ʍ' => 'w',
        'ʎ' => 'y',
        _ => return None,
    })
}

/// Bits that two kinds of invisible characters spell.
pub(super) fn hidden_bits(text: &str) -> Option<String> {
    let invisible = |c: &char| matches!(*c, '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}');
    let bits: Vec<char> = text.chars().filter(invisible).collect();
    let zero = *bits.first()?;
    let one = *bits.iter().find(|c| **c != zero)?;
    if bits.len() < super::FEWEST_BITS as usize || bits.iter().any(|c| *c != zero && *c != one) {
        return None;
    }
    let said: Vec<u8> = bits
        .as_chunks::<8>()
        .0
        .iter()
        .map(|byte| byte.iter().fold(0_u8, |sum, c| sum << 1 | u8::from(*c == one)))
        .collect();
    String::from_utf8(said).ok()
}
