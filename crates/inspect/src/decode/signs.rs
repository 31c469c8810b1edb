//! One cheap pass that says which decoders are worth trying. Invariant: it may name one too many, and never misses a
//! text that is wholly encoded in one of the known ways.

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Runs of encoded bytes.
    pub(super) runs: bool,
    /// Characters that only look like letters.
    pub(super) odd: bool,
    /// Letters that stand alone.
    pub(super) spaced: bool,
    /// Digits inside words.
    pub(super) leet: bool,
    /// The first word ends a sentence, or the last begins one.
    pub(super) flipped: bool,
}

/// Shortest token that can hide something.
const LONG: usize = 12;
/// So many short groups make a run.
const GROUPS: usize = 6;

pub(super) fn look(text: &str) -> Seen {
    let mut seen = Seen::default();
    let (mut tokens, mut singles, mut groups, mut mixed, mut escapes) = (0_usize, 0_usize, 0, 0_usize, 0);
    let (mut first, mut last) = (0..0, 0..0);
    let mut rest = text.as_bytes();
    while let Some((token, counts)) = next(&mut rest) {
        let kind = classify(token, counts);
        tokens += 1;
        singles += usize::from(kind.single);
        groups += usize::from(kind.group);
        mixed += usize::from(kind.mixed);
        escapes += kind.escapes;
        seen.runs |= kind.long;
        seen.spaced |= kind.apart;
        seen.odd |= kind.odd;
        last = text.len() - rest.len() - token.len()..text.len() - rest.len();
        first = if tokens == 1 { last.clone() } else { first };
    }
    seen.runs |= groups >= GROUPS || escapes >= 3;
    seen.spaced |= singles >= 6 && singles * 5 >= tokens * 3;
    seen.leet = mixed >= 2 && mixed * 5 >= tokens;
    seen.flipped = tokens >= 4 && flipped(&text[first], &text[last]);
    seen
}

/// A sentence whose words were put backwards begins with its end.
fn flipped(first: &str, last: &str) -> bool {
    let ends = first.ends_with(['.', '?', '!', ',', '"', '\'']) && !first.starts_with(['"', '\'']);
    let lower = first.starts_with(char::is_lowercase);
    let capital =
        last.starts_with(char::is_uppercase) && !last.ends_with(['.', '?', '!', '"', '\'', ':', ')']);
    (ends && first.len() > 2 && !first.ends_with(',')) || (lower && capital && last.len() > 1)
}

#[derive(Clone, Copy, Debug, Default)]
struct Token {
    single: bool,
    group: bool,
    mixed: bool,
    long: bool,
    apart: bool,
    odd: bool,
    escapes: usize,
}

/// The next word of a text, and how many of its bytes are of each kind. A few steps for each byte, as this is for every text.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Counts)> {
    let start = rest.iter().position(|byte| ONE[usize::from(*byte)] != WHITE)?;
    let from = &rest[start..];
    let (mut sum, mut length) = (0_u64, from.len());
    for (at, byte) in from.iter().enumerate() {
        let one = ONE[usize::from(*byte)];
        if one == WHITE {
            length = at;
            break;
        }
        sum = sum.wrapping_add(one);
    }
    let (token, after) = from.split_at(length);
    *rest = after;
    Some((token, if length <= MOST { Counts::Short(sum) } else { Counts::Long(counted(token)) }))
}

/// Bytes of each kind.
#[derive(Clone, Copy)]
enum Counts {
    /// Of a word whose counts fit into one.
    Short(u64),
    Long([usize; KINDS]),
}

fn classify(token: &[u8], counts: Counts) -> Token {
    let counts = match counts {
        // Most words: nothing but small letters.
        Counts::Short(sum) if sum & !(MOST as u64 * SMALL) == 0 && token.len() > 2 => {
            return Token { group: super::bytes::spelled(token).is_some(), ..Token::default() };
        }
        Counts::Short(sum) => apart(sum),
        Counts::Long(counts) => counts,
    };
    let [rest, digits, upper, lower, escapes, full_stops, dashes, alphabet, leet, high] = counts;
    let (marks, dots) = (rest + leet, full_stops + dashes);
    let (letters, length) = (upper + lower, token.len());
    let quoted = escapes + usize::from(alphabet > 2 && digits + upper > 0) * alphabet;
    let plain = digits + letters + alphabet + dashes;
    Token {
        single: length == 1 || (high == length && length <= 4),
        group: (digits > 0 && letters <= 2 && (2..=10).contains(&length))
            || (dots == length && length <= 7)
            || (length == 2 && token.iter().all(u8::is_ascii_hexdigit))
            || (letters == length && super::bytes::spelled(token).is_some()),
        mixed: letters > 0 && (digits > 0 || leet > 0) && length >= 2,
        long: length >= LONG
            && plain + 6 >= length
            && ((digits > 0 && letters > 0) || (upper > 1 && lower > 1) || digits >= LONG),
        apart: length >= 9
            && dots + marks + alphabet >= 4
            && (dots + marks + alphabet).abs_diff(letters + digits) <= 2,
        odd: high >= 3,
        escapes: quoted,
    }
}

/// Kinds of bytes that are told apart.
const KINDS: usize = 10;

/// The kind of a byte.
const fn kind(byte: u8) -> usize {
    match byte {
        b'0'..=b'9' => 1,
        b'A'..=b'Z' => 2,
        b'a'..=b'z' => 3,
        b'%' | b'\\' | b'&' => 4,
        b'.' => 5,
        b'-' | b'_' => 6,
        b'+' | b'/' | b'=' => 7,
        b'@' | b'$' | b'|' => 8,
        0x80.. => 9,
        _ => 0,
    }
}

/// Bits of a count: all fit into one word, which is added to without a branch.
const COUNT_BITS: usize = 6;
/// Longest word of which no count runs over.
const MOST: usize = (1 << COUNT_BITS) - 1;
/// One small letter.
const SMALL: u64 = 1 << (kind(b'a') * COUNT_BITS);
/// What stands for white space.
const WHITE: u64 = 0;

/// One of each byte's kind.
static ONE: [u64; 256] = {
    let mut one = [WHITE; 256];
    let mut byte = 0_u8;
    loop {
        if !byte.is_ascii_whitespace() {
            one[byte as usize] = 1 << (kind(byte) * COUNT_BITS);
        }
        if byte == u8::MAX {
            break one;
        }
        byte += 1;
    }
};

/// The counts of a sum.
fn apart(sum: u64) -> [usize; KINDS] {
    std::array::from_fn(|kind| (sum >> (kind * COUNT_BITS)) as usize & MOST)
}

/// How many bytes of a word there are of each kind.
fn counted(token: &[u8]) -> [usize; KINDS] {
    let mut counts = [0; KINDS];
    for part in token.chunks(MOST) {
        let sum = part.iter().fold(0_u64, |sum, byte| sum + ONE[usize::from(*byte)]);
        counts.iter_mut().zip(apart(sum)).for_each(|(count, more)| *count += more);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_are_those_between_white_space_and_counted_by_kind(
            text in prop::collection::vec(prop_oneof!["[ -~\\t\\n\u{b}\u{c}]{0,30}", "[a-z]{50,140}", "\\PC{0,5}"], 0..9),
        ) {
            let text = text.concat();
            let mut rest = text.as_bytes();
            for word in text.split_ascii_whitespace() {
                let mut expected = [0; KINDS];
                word.bytes().for_each(|byte| expected[kind(byte)] += 1);
                let (token, counts) = next(&mut rest).unwrap();
                let counts = match counts { Counts::Short(sum) => apart(sum), Counts::Long(counts) => counts };
                prop_assert_eq!((token, counts), (word.as_bytes(), expected));
            }
            prop_assert!(next(&mut rest).is_none());
        }
    }
}
