//! Runs of encoded bytes inside a text: each is replaced by what it says when that reads as language, the rest stays.
//! Invariant: every run is looked at once, and what comes out is no longer than the text.

use super::{Decoded, Encoding, bytes};
use crate::language::Language;
use std::ops::Range;

/// Shortest run, in characters.
const SHORTEST: usize = 12;
/// Fewest groups of a run of groups.
const FEWEST: usize = 6;
/// Share of a text, in percent, from which on it counts as wholly encoded.
const WHOLE: usize = 60;

/// The text with every run that reads as language replaced; nothing when none does.
pub(super) fn replaced(text: &str, language: Language<'_>, budget: usize) -> Option<Decoded> {
    let mut out = String::new();
    let (mut from, mut encoded, mut found) = (0, 0, None);
    let mut tokens = tokens(text).peekable();
    while let Some(token) = tokens.next() {
        if token.start < from {
            continue;
        }
        let hit = alone(&text[token.clone()], language)
            .map(|(range, said, encoding)| {
                (token.start + range.start..token.start + range.end, said, encoding)
            })
            .or_else(|| {
                groups(&text[token.start..], language)
                    .map(|(length, said, encoding)| (token.start..token.start + length, said, encoding))
            });
        let Some((span, said, encoding)) = hit else {
            // A run of groups that says nothing is not looked at again from each of its groups.
            if group_kind(&text[token.clone()]).is_some() {
                while tokens.peek().is_some_and(|next| group_kind(&text[next.clone()]).is_some()) {
                    tokens.next();
                }
            }
            continue;
        };
        if out.len() + said.len() > budget {
            break;
        }
        out.push_str(&text[from..span.start]);
        out.push_str(&said);
        encoded += span.len();
        from = span.end;
        found.get_or_insert((encoding, span));
    }
    let (encoding, span) = found?;
    if out.len() + text.len() - from > budget {
        return None;
    }
    out.push_str(&text[from..]);
    Some(Decoded { text: out, encoding, span, whole: encoded * 100 >= text.trim().len() * WHOLE })
}

/// Whether what came out reads as language, forwards or backwards, or is plainly encoded once more.
fn says(said: &str, language: Language<'_>) -> bool {
    let printed = || {
        said.len() >= 2 * SHORTEST
            && said.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic() || byte.is_ascii_whitespace())
    };
    let backwards = || language.reads(&said.chars().rev().collect::<String>());
    language.reads(said) || printed() && (super::signs::look(said).runs || backwards())
}

/// Where the words of a text stand.
fn tokens(text: &str) -> impl Iterator<Item = Range<usize>> {
    let start = text.as_ptr() as usize;
    text.split_whitespace().map(move |token| {
        let at = token.as_ptr() as usize - start;
        at..at + token.len()
    })
}

type Said = (Range<usize>, String, Encoding);

/// What one word says.
fn alone(token: &str, language: Language<'_>) -> Option<Said> {
    if token.len() < SHORTEST {
        return None;
    }
    let escaped = [
        (Encoding::Entities, token.contains("&").then(|| entities(token)).flatten()),
        (Encoding::Escapes, token.contains('\\').then(|| escapes(token)).flatten()),
        (Encoding::Percent, token.contains(['%', '=']).then(|| percent(token)).flatten()),
    ];
    for (encoding, said) in escaped {
        if let Some(said) = said.filter(|said| says(said, language)) {
            return Some((0..token.len(), said, encoding));
        }
    }
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_');
    let start = token.find(inside)?;
    let run = &token[start..];
    let end = run.find(|c: char| !inside(c)).unwrap_or(run.len());
    let end = end + run[end..].bytes().take_while(|byte| *byte == b'=').count();
    let run = &run[..end];
    if run.len() < SHORTEST {
        return None;
    }
    let digits = run.strip_prefix("0x").unwrap_or(run).as_bytes();
    let tries = [
        (Encoding::Binary, bytes::binary(digits)),
        (Encoding::Hex, bytes::hex(digits)),
        (Encoding::Base32, bytes::base32(run.as_bytes())),
        (Encoding::Base64, bytes::base64(run.as_bytes())),
    ];
    tries.into_iter().find_map(|(encoding, said)| {
        let said = text(said?)?;
        says(&said, language).then_some((start..start + run.len(), said, encoding))
    })
}

/// Bytes as text, when nearly all of them are.
fn text(said: Vec<u8>) -> Option<String> {
    let text = match String::from_utf8(said) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    let odd =
        text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER || (c.is_control() && !c.is_whitespace()));
    (odd.count() * 20 <= text.chars().count()).then_some(text)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Number,
    Hex,
    Morse,
    Word,
    Long,
}

fn trimmed(token: &str) -> &str {
    token.trim_matches([',', ';', '[', ']', '(', ')', '{', '}', '"', '\''])
}

/// What kind of group of a run a word may be.
fn group_kind(token: &str) -> Option<Group> {
    let token = trimmed(token);
    let code = token.strip_prefix("0x").or_else(|| token.strip_prefix("\\x")).unwrap_or(token);
    if code.is_empty() || (code.len() > 10 && !code.is_ascii()) {
        return None;
    }
    if code.bytes().all(|byte| byte.is_ascii_digit()) && code.len() <= 8 {
        return Some(Group::Number);
    }
    if code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(Group::Hex);
    }
    if token.chars().count() <= 7 && token.chars().all(|c| sign(c).is_some()) {
        return Some(Group::Morse);
    }
    if bytes::spelled(token.as_bytes()).is_some() || matches!(token, "space" | "Space") {
        return Some(Group::Word);
    }
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    (token.len() >= 16 && token.bytes().all(alphabet)).then_some(Group::Long)
}

/// A sign of Morse, in any of its shapes.
const fn sign(c: char) -> Option<char> {
    match c {
        '.' | '·' | '•' | '∙' => Some('.'),
        '-' | '–' | '—' | '−' | '_' => Some('-'),
        '/' | '|' => Some('/'),
        _ => None,
    }
}

/// What the run of groups says that a text begins with, and how long it is.
fn groups(text: &str, language: Language<'_>) -> Option<(usize, String, Encoding)> {
    let first = group_kind(text.split_whitespace().next()?)?;
    let alike = |kind: Group| match first {
        Group::Number | Group::Hex => matches!(kind, Group::Number | Group::Hex),
        Group::Morse | Group::Word | Group::Long => kind == first,
    };
    let run: Vec<Range<usize>> =
        tokens(text).take_while(|at| group_kind(&text[at.clone()]).is_some_and(alike)).collect();
    let length = run.last()?.end;
    if run.len() < if first == Group::Long { 2 } else { FEWEST } {
        return None;
    }
    let words = || run.iter().map(|at| trimmed(&text[at.clone()]));
    let said = match first {
        Group::Number | Group::Hex => numbers(words(), language),
        Group::Morse => morse(&text[..length]).map(|said| (said, Encoding::Morse)),
        Group::Word => Some((
            words().map(|word| bytes::spelled(word.as_bytes()).unwrap_or(' ')).collect(),
            Encoding::Spelling,
        )),
        Group::Long => {
            let joined: String = words().collect();
            let tries = [
                (Encoding::Hex, bytes::hex(joined.as_bytes())),
                (Encoding::Base64, bytes::base64(joined.as_bytes())),
            ];
            tries.into_iter().find_map(|(encoding, said)| Some((self::text(said?)?, encoding)))
        }
    };
    let (said, encoding) =
        said.filter(|(said, encoding)| *encoding == Encoding::Spelling || says(said, language))?;
    Some((length, said, encoding))
}

/// Numbers as bytes, in the base in which they read as language.
fn numbers<'a>(
    words: impl Iterator<Item = &'a str> + Clone,
    language: Language<'_>,
) -> Option<(String, Encoding)> {
    let bases = [(2, Encoding::Binary), (8, Encoding::Octal), (10, Encoding::Decimal), (16, Encoding::Hex)];
    bases.into_iter().find_map(|(base, encoding)| {
        let code =
            |word: &'a str| word.strip_prefix("0x").or_else(|| word.strip_prefix("\\x")).unwrap_or(word);
        let fits = |word: &str| base != 2 || word.len() >= 6;
        let said: Option<Vec<u8>> = words
            .clone()
            .map(code)
            .map(|word| bytes::number(word.as_bytes(), base).filter(|_| fits(word)))
            .collect();
        let said = text(said?)?;
        says(&said, language).then_some((said, encoding))
    })
}

fn morse(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut gap = 0;
    let mut letter = String::new();
    for c in text.chars().chain([' ']) {
        match sign(c) {
            Some('/') => gap = 3,
            Some(sign) => {
                if gap >= 3 {
                    out.push(' ');
                }
                gap = 0;
                letter.push(sign);
                continue;
            }
            None => gap += 1,
        }
        if !letter.is_empty() {
            out.push(bytes::morse(&letter)?);
            letter.clear();
        }
    }
    Some(out)
}

fn percent(token: &str) -> Option<String> {
    let mut out = Vec::with_capacity(token.len());
    let (mut rest, mut count) = (token.as_bytes(), 0);
    while let Some((first, after)) = rest.split_first() {
        if let (b'%' | b'=', [high, low, tail @ ..]) = (first, after)
            && let (Some(high), Some(low)) = (bytes::nibble(*high), bytes::nibble(*low))
        {
            out.push(high << 4 | low);
            (rest, count) = (tail, count + 1);
        } else {
            out.push(if *first == b'+' { b' ' } else { *first });
            rest = after;
        }
    }
    if count < 2 {
        return None;
    }
    text(out)
}

fn escapes(token: &str) -> Option<String> {
    let mut out = String::with_capacity(token.len());
    let (mut rest, mut count) = (token, 0);
    while let Some(c) = rest.chars().next() {
        let digits = match rest.as_bytes() {
            [b'\\', b'x', ..] => 2..4,
            [b'\\', b'u', b'{', ..] => 3..rest.find('}').unwrap_or(3),
            [b'\\', b'u', ..] => 2..6,
            [b'\\', b'U', ..] => 2..10,
            _ => 0..0,
        };
        let code = rest.get(digits.clone()).filter(|code| !code.is_empty());
        if let Some(plain) = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32)
        {
            out.push(plain);
            count += 1;
            rest = &rest[digits.end..];
            rest = rest.strip_prefix('}').filter(|_| digits.start == 3).unwrap_or(rest);
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    (count >= 2).then_some(out)
}

/// Longest name or number of an entity.
const ENTITY: usize = 8;

fn entities(token: &str) -> Option<String> {
    let mut out = String::with_capacity(token.len());
    let (mut rest, mut count) = (token, 0);
    while let Some(c) = rest.chars().next() {
        let end = rest.as_bytes().iter().take(ENTITY + 2).position(|byte| *byte == b';');
        let plain = end.filter(|_| c == '&').and_then(|end| entity(&rest[1..end]));
        if let (Some(plain), Some(end)) = (plain, end) {
            out.push(plain);
            count += 1;
            rest = &rest[end + 1..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    (count >= 2).then_some(out)
}

fn entity(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => {
            let code = name.strip_prefix('#')?;
            let number = match code.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => code.parse().ok()?,
            };
            char::from_u32(number)
        }
    }
}
