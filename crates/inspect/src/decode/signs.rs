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
    let (mut first, mut last) = ("", "");
    for token in text.split_ascii_whitespace() {
        let kind = classify(token);
        tokens += 1;
        singles += usize::from(kind.single);
        groups += usize::from(kind.group);
        mixed += usize::from(kind.mixed);
        escapes += kind.escapes;
        seen.runs |= kind.long;
        seen.spaced |= kind.apart;
        seen.odd |= kind.odd;
        first = if tokens == 1 { token } else { first };
        last = token;
    }
    seen.runs |= groups >= GROUPS || escapes >= 3;
    seen.spaced |= singles >= 6 && singles * 5 >= tokens * 3;
    seen.leet = mixed >= 2 && mixed * 5 >= tokens;
    seen.flipped = tokens >= 4 && flipped(first, last);
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

fn classify(word: &str) -> Token {
    let token = word.as_bytes();
    // Most words: nothing but small letters.
    if token.len() > 2 && token.iter().all(u8::is_ascii_lowercase) {
        return Token { group: super::bytes::spelled(word).is_some(), ..Token::default() };
    }
    let (mut digits, mut upper, mut lower, mut marks, mut high, mut escapes) = (0, 0, 0, 0, 0, 0);
    let (mut dots, mut alphabet) = (0_usize, 0_usize);
    for byte in token {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'A'..=b'Z' => upper += 1,
            b'a'..=b'z' => lower += 1,
            b'%' | b'\\' | b'&' => escapes += 1,
            b'.' | b'-' | b'_' => dots += 1,
            b'+' | b'/' | b'=' => alphabet += 1,
            b'@' | b'$' | b'!' | b'|' => marks += 1,
            0x80.. => high += 1,
            _ => marks += 1,
        }
    }
    let (letters, length) = (upper + lower, token.len());
    let quoted = escapes + usize::from(alphabet > 2 && digits + upper > 0) * alphabet;
    let plain = digits + letters + alphabet + token.iter().filter(|byte| matches!(byte, b'-' | b'_')).count();
    Token {
        single: length == 1 || (high == length && length <= 4),
        group: (digits > 0 && letters <= 2 && (2..=10).contains(&length))
            || (dots == length && length <= 7)
            || (length == 2 && token.iter().all(u8::is_ascii_hexdigit))
            || (letters == length && super::bytes::spelled(word).is_some()),
        mixed: letters > 0
            && (digits > 0 || token.iter().any(|byte| matches!(byte, b'@' | b'$' | b'|')))
            && length >= 2,
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
