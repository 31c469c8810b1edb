//! Alphabets that write bytes. Invariant: pure functions of one run, whose output is no longer than it.

/// Six bits a character; both alphabets, padding or none.
pub(super) fn base64(run: &[u8]) -> Option<Vec<u8>> {
    bits(run, 6, |byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    })
}

/// Five bits a character.
pub(super) fn base32(run: &[u8]) -> Option<Vec<u8>> {
    bits(run, 5, |byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'2'..=b'7' => Some(byte - b'2' + 26),
        _ => None,
    })
}

fn bits(run: &[u8], width: u32, value: impl Fn(u8) -> Option<u8>) -> Option<Vec<u8>> {
    let padding = run.iter().rev().take_while(|byte| **byte == b'=').count();
    let mut out = Vec::with_capacity(run.len());
    let (mut held, mut count) = (0_u32, 0);
    for byte in &run[..run.len() - padding] {
        held = (held << width | u32::from(value(*byte)?)) & 0xffff;
        count += width;
        if count >= 8 {
            count -= 8;
            out.push((held >> count & 0xff) as u8);
        }
    }
    (padding <= 6).then_some(out)
}

/// Two characters a byte.
pub(super) fn hex(run: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = run.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

pub(super) fn nibble(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Eight characters a byte.
pub(super) fn binary(run: &[u8]) -> Option<Vec<u8>> {
    let (groups, rest) = run.as_chunks::<8>();
    if !rest.is_empty() {
        return None;
    }
    groups.iter().map(|group| number(group, 2)).collect()
}

/// One number as a byte.
pub(super) fn number(digits: &[u8], base: u32) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, base).ok()
}

/// One letter of Morse, in lower case.
pub(super) fn morse(signs: &str) -> Option<char> {
    let at = MORSE.iter().position(|known| *known == signs)?;
    b"abcdefghijklmnopqrstuvwxyz0123456789.,?'!/:=-+".get(at).map(|byte| char::from(*byte))
}

const MORSE: [&str; 46] = [
    ".-", "-...", "-.-.", "-..", ".", "..-.", "--.", "....", "..", ".---", "-.-", ".-..", "--", "-.", "---",
    ".--.", "--.-", ".-.", "...", "-", "..-", "...-", ".--", "-..-", "-.--", "--..", "-----", ".----",
    "..---", "...--", "....-", ".....", "-....", "--...", "---..", "----.", ".-.-.-", "--..--", "..--..",
    ".----.", "-.-.--", "-..-.", "---...", "-...-", "-....-", ".-.-.",
];

/// A word of the spelling alphabet: each begins with its letter.
pub(super) fn spelled(word: &str) -> Option<char> {
    const WORDS: [&str; 26] = [
        "alfa", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo",
        "lima", "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform",
        "victor", "whiskey", "x-ray", "yankee", "zulu",
    ];
    const ALSO: [&str; 4] = ["alpha", "juliet", "whisky", "xray"];
    let word = word.trim_end_matches([',', '.', ';']);
    let letter = word.bytes().next().filter(u8::is_ascii_alphabetic)?.to_ascii_lowercase();
    let known = WORDS[usize::from(letter - b'a')].eq_ignore_ascii_case(word)
        || ALSO.iter().any(|also| also.eq_ignore_ascii_case(word));
    known.then_some(char::from(letter))
}
