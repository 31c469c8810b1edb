//! Character references. Invariant: a reference becomes the one or two characters that the standard names, or stays as
//! it is written; what a document declares itself is never expanded. Source: HTML standard 13.2.5.72 to 13.2.5.80.

use html5ever::data::{C1_REPLACEMENTS, NAMED_ENTITIES};
use std::borrow::Cow;

/// Longest name in the table, in bytes: `CounterClockwiseContourIntegral`.
const LONGEST: usize = 31;
/// Longest name that needs no semicolon.
const LONGEST_BARE: usize = 6;

/// The text with its references replaced. In an attribute a name without semicolon counts only where no letter, digit or
/// equals sign follows, because addresses have such.
pub(crate) fn decoded(text: &str, attribute: bool) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'&', text.as_bytes()) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut next = Some(first);
    while let Some(at) = next {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let taken = reference(from, attribute, &mut out);
        if taken == 0 {
            out.push('&');
        }
        rest = from.get(taken.max(1)..).unwrap_or_default();
        next = memchr::memchr(b'&', rest.as_bytes());
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Writes what the reference at the beginning of `from` stands for; its length in bytes, or nought if it is none.
fn reference(from: &str, attribute: bool, out: &mut String) -> usize {
    let body = from.get(1..).unwrap_or_default();
    if let Some(digits) = body.strip_prefix('#') {
        return number(digits, out);
    }
    let length = body.bytes().take(LONGEST + 1).take_while(u8::is_ascii_alphanumeric).count();
    let closed = body.as_bytes().get(length) == Some(&b';');
    if closed && named(body.get(..=length).unwrap_or_default(), out) {
        return length + 2;
    }
    (2..=length.min(LONGEST_BARE))
        .rev()
        .find(|length| {
            let after = body.as_bytes().get(*length);
            let bound = attribute && after.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'=');
            !bound && named(body.get(..*length).unwrap_or_default(), out)
        })
        .map_or(0, |length| length + 1)
}

fn named(name: &str, out: &mut String) -> bool {
    let Some((first, second)) = NAMED_ENTITIES.get(name).filter(|(first, _)| *first != 0) else {
        return false;
    };
    out.extend([*first, *second].into_iter().filter(|code| *code != 0).filter_map(char::from_u32));
    true
}

fn number(digits: &str, out: &mut String) -> usize {
    let (radix, prefix) = if digits.starts_with(['x', 'X']) { (16, 1) } else { (10, 0) };
    let digits = digits.get(prefix..).unwrap_or_default();
    let mut code: u32 = 0;
    let mut length = 0;
    for digit in digits.chars().map_while(|c| c.to_digit(radix)) {
        code = code.saturating_mul(radix).saturating_add(digit);
        length += 1;
    }
    if length == 0 {
        return 0;
    }
    let replaced = code.checked_sub(0x80).and_then(|at| C1_REPLACEMENTS.get(at as usize).copied().flatten());
    let c = replaced.or_else(|| char::from_u32(code)).filter(|c| *c != '\0');
    out.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
    let closed = digits.as_bytes().get(length) == Some(&b';');
    2 + prefix + length + usize::from(closed)
}
