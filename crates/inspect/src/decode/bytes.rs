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
pub(super) fn spelled(word: &[u8]) -> Option<char> {
    let [first, second, ..] = word else { return None };
    let letter = first.to_ascii_lowercase();
    let known = SPELLED.get(usize::from(letter.wrapping_sub(b'a')))?;
    // Sorts out nearly every word that is none.
    if *second | 0x20 != known[0][1] && letter != b'x' {
        return None;
    }
    let mut word = word;
    while let [rest @ .., b',' | b'.' | b';'] = word {
        word = rest;
    }
    known.iter().any(|known| known.eq_ignore_ascii_case(word)).then_some(char::from(letter))
}

static SPELLED: [&[&[u8]]; 26] = [
    &[b"alfa", b"alpha"],
    &[b"bravo"],
    &[b"charlie"],
    &[b"delta"],
    &[b"echo"],
    &[b"foxtrot"],
    &[b"golf"],
    &[b"hotel"],
    &[b"india"],
    &[b"juliett", b"juliet"],
    &[b"kilo"],
    &[b"lima"],
    &[b"mike"],
    &[b"november"],
    &[b"oscar"],
    &[b"papa"],
    &[b"quebec"],
    &[b"romeo"],
    &[b"sierra"],
    &[b"tango"],
    &[b"uniform"],
    &[b"victor"],
    &[b"whiskey", b"whisky"],
    &[b"x-ray", b"xray"],
    &[b"yankee"],
    &[b"zulu"],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_alphabet_spells_its_letter_and_its_neighbours_spell_none() {
        for (at, words) in SPELLED.iter().enumerate() {
            for word in *words {
                let letter = Some(char::from(b'a' + at as u8));
                assert_eq!(spelled(word), letter);
                assert_eq!(spelled(&[&word.to_ascii_uppercase(), &b",.;"[..]].concat()), letter);
                for other in [&word[1..], &word[..word.len() - 1], &[word, &b"s"[..]].concat()] {
                    let known = SPELLED.iter().any(|words| words.contains(&other));
                    assert!(known || spelled(other).is_none(), "{other:?}");
                }
            }
        }
        for none in [&b""[..], b"a", b"\xc3\xa9clair", b"{lfa", b"...", b"a,"] {
            assert_eq!(spelled(none), None);
        }
    }
}
