//! Whether what has a shape is what it looks like: check digits, alphabets, randomness. Pure and bounded by the length
//! of what was found.
//!
//! Sources: ISO/IEC 7812-1 (Luhn), ISO 13616 (IBAN), ISO 7064 (mod 97-10, 11-10, 11-2), RFC 7519 (JWT), BIP 173 and 350
//! (Bech32), Verhoeff, "Error detecting decimal codes", 1969.

/// Digits of a text, as numbers.
pub(super) fn digits(text: &str) -> impl DoubleEndedIterator<Item = u32> + Clone + '_ {
    text.bytes().filter(u8::is_ascii_digit).map(|byte| u32::from(byte - b'0'))
}

/// The sum of digits times weights.
pub(super) fn weighted(text: &str, weights: &[u32]) -> u32 {
    digits(text).zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// Luhn's check digit.
pub(super) fn luhn(text: &str) -> bool {
    let sum: u32 = digits(text)
        .rev()
        .enumerate()
        .map(|(at, digit)| match at % 2 {
            0 => digit,
            _ => digit * 2 / 10 + digit * 2 % 10,
        })
        .sum();
    sum.is_multiple_of(10) && digits(text).any(|digit| digit != 0)
}

/// What is left of a number written with digits and letters (A is 10) when divided by 97; blanks and hyphens aside.
pub(super) fn mod_97(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.filter(u8::is_ascii_alphanumeric).fold(0, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte.to_ascii_uppercase() - b'A') + 10) % 97,
    })
}

/// ISO 7064 mod 11,10: German tax and VAT numbers.
pub(super) fn mod_11_10(text: &str) -> bool {
    let count = digits(text).count();
    let product = digits(text).take(count.saturating_sub(1)).fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    digits(text).next_back().is_some_and(|last| (11 - product) % 10 == last)
}

/// Verhoeff's check digit: Aadhaar.
pub(super) fn verhoeff(text: &str) -> bool {
    // The dihedral group of ten elements, and the permutation's powers, worked out from their definitions.
    let times = |a: u32, b: u32| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b) % 5 + 5,
        (false, true) => (a + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let step = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4_u32];
    let rest = digits(text).rev().enumerate().fold(0, |rest, (at, digit)| {
        let turned = (0..at % 8).fold(digit, |digit, _| step[digit as usize]);
        times(rest, turned)
    });
    rest == 0
}

/// Whether two digits of a month and two of a day can stand together; `day` may carry an offset already taken off.
pub(super) const fn date(month: u32, day: u32) -> bool {
    1 <= month && month <= 12 && 1 <= day && day <= 31 && !(month == 2 && day > 29)
}

/// Digits `from..to` as a number.
pub(super) fn number(text: &str, from: usize, to: usize) -> u32 {
    digits(text).skip(from).take(to - from).fold(0, |sum, digit| sum * 10 + digit)
}

/// A value out of those of base64url, without its bytes' meaning: enough to read a header.
fn base64(text: &str) -> Vec<u8> {
    let (mut out, mut held, mut bits) = (Vec::with_capacity(text.len() * 3 / 4), 0_u32, 0);
    for byte in text.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => break,
        };
        held = held << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits & 0xff) as u8);
        }
    }
    out
}

/// Longest header that is read.
const MAX_HEADER: usize = 1024;

/// Whether the first part of a JWT decodes to a header that names its algorithm.
pub(super) fn jwt(text: &str) -> bool {
    let header = text.split('.').next().unwrap_or(text);
    let header = base64(&header[..header.len().min(MAX_HEADER)]);
    header.starts_with(b"{") && header.windows(5).any(|bytes| bytes == b"\"alg\"")
}

/// Bech32 and Bech32m: an address of Bitcoin.
pub(super) fn bech32(text: &str) -> bool {
    const ALPHABET: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const STEPS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let lower = text.to_ascii_lowercase();
    let Some((name, data)) = lower.split_once('1') else { return false };
    let values: Option<Vec<u32>> = data
        .bytes()
        .map(|byte| ALPHABET.iter().position(|known| *known == byte).map(|at| at as u32))
        .collect();
    let Some(values) = values else { return false };
    let high = name.bytes().map(|byte| u32::from(byte >> 5));
    let low = name.bytes().map(|byte| u32::from(byte & 31));
    let rest = high.chain([0]).chain(low).chain(values).fold(1_u32, |rest, value| {
        let top = rest >> 25;
        let rest = (rest & 0x1ff_ffff) << 5 ^ value;
        (0..5).filter(|bit| top >> bit & 1 == 1).fold(rest, |rest, bit: usize| rest ^ STEPS[bit])
    });
    matches!(rest, 1 | 0x2bc8_30a3)
}

/// Base58 with four bytes of a double SHA-256: an address of Bitcoin or Tron.
pub(super) fn base58check(text: &str) -> bool {
    const ALPHABET: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut bytes = [0_u8; 25];
    for letter in text.bytes() {
        let Some(value) = ALPHABET.iter().position(|known| *known == letter) else { return false };
        let carry = bytes.iter_mut().rev().fold(value as u32, |carry, byte| {
            let sum = u32::from(*byte) * 58 + carry;
            *byte = (sum & 0xff) as u8;
            sum >> 8
        });
        if carry != 0 {
            return false;
        }
    }
    let once = ring::digest::digest(&ring::digest::SHA256, &bytes[..21]);
    let twice = ring::digest::digest(&ring::digest::SHA256, once.as_ref());
    twice.as_ref().starts_with(&bytes[21..])
}

/// Anything.
pub(super) const fn any(_: &str) -> bool {
    true
}

/// No placeholder: among the last sixteen characters two letters or digits differ.
pub(super) fn drawn(text: &str) -> bool {
    let last = &text.as_bytes()[text.len().saturating_sub(16)..];
    let mut letters = last.iter().filter(|byte| byte.is_ascii_alphanumeric());
    letters.next().is_some_and(|first| letters.any(|other| other != first))
}

/// Two digits, or both cases and one: not a word written with hyphens.
pub(super) fn mixed(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
    let lower = text.bytes().any(|byte| byte.is_ascii_lowercase());
    drawn(text) && (digits >= 2 || (upper && lower && digits > 0))
}

/// Base64 rather than a word.
pub(super) fn encoded(text: &str) -> bool {
    text.ends_with('=')
        || text.bytes().any(|byte| byte.is_ascii_digit())
        || text.bytes().skip(1).any(|byte| byte.is_ascii_uppercase())
            && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Digits and consonants rather than a name in camel case.
pub(super) fn wordless(text: &str) -> bool {
    let rest = text.get(3..).unwrap_or_default();
    rest.bytes().any(|byte| byte.is_ascii_digit()) || !rest.bytes().any(|byte| b"aeiouAEIOU".contains(&byte))
}

/// Shannon's entropy of the bytes, in bits each.
fn entropy(text: &str) -> f32 {
    let mut seen = [0_u32; 256];
    for byte in text.bytes() {
        seen[usize::from(byte)] += 1;
    }
    let length = text.len() as f32;
    let bits = seen.iter().filter(|count| **count > 0).map(|count| {
        let share = *count as f32 / length;
        -share * share.log2()
    });
    bits.sum()
}

/// Whether a value is drawn rather than written: digits among letters and many different characters for its length.
/// Version numbers, dates, words and variables are not.
pub(super) fn random(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    digits >= 2 && letters >= 3 && entropy(text) >= 2.8 && !text.contains("://")
}

/// The same for a value whose name says nothing: digits and both cases throughout, no word in camel case and no hash.
pub(super) fn very_random(text: &str) -> bool {
    let count = |of: fn(&u8) -> bool| text.bytes().filter(of).count();
    let (digits, upper, lower) =
        (count(u8::is_ascii_digit), count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    let changes = text.as_bytes().windows(2).filter(|pair| kind_of(pair[0]) != kind_of(pair[1])).count();
    digits >= 3
        && upper >= 4
        && lower >= 4
        && changes * 5 >= text.len() * 2
        && entropy(text) >= 3.7
        && !text.contains("://")
}

const fn kind_of(byte: u8) -> u8 {
    if byte.is_ascii_digit() {
        0
    } else if byte.is_ascii_uppercase() {
        1
    } else {
        2
    }
}

/// Letters and digits of a key in a file before which it may be only a label.
const LEAST_OF_PEM: usize = 24;

/// How many letters and digits stand behind the label of a key in a file, up to its end or the dots with which
/// documentation cuts it; and whether that was seen.
fn pem_body(text: &str) -> (usize, bool) {
    let label = text.match_indices("-----").nth(1).map_or(text.len(), |(at, dashes)| at + dashes.len());
    let body = &text[label..];
    let end = [body.find("..."), body.find("-----")].into_iter().flatten().min();
    let body = &body[..end.unwrap_or(body.len())];
    (body.bytes().filter(u8::is_ascii_alphanumeric).take(LEAST_OF_PEM).count(), end.is_some())
}

/// A key in a file holds more than its label.
pub(super) fn pem(text: &str) -> bool {
    pem_body(text).0 >= LEAST_OF_PEM
}

/// Whether what comes next decides that.
pub(super) fn pem_undecided(text: &str) -> bool {
    let (count, ended) = pem_body(text);
    count < LEAST_OF_PEM && !ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_of_published_examples_fit_and_one_changed_digit_does_not() {
        type Case = (fn(&str) -> bool, &'static [&'static str]);
        let cases: [Case; 6] = [
            (luhn, &["4012888888881881", "371449635398431", "5555555555554444"]),
            (|text| mod_97(text[4..].bytes().chain(text[..4].bytes())) == 1, &["GB82WEST12345698765432"]),
            (mod_11_10, &["98765432106", "129273398"]),
            (verhoeff, &["2363", "399876543211"]),
            (bech32, &["bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"]),
            (base58check, &["1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy"]),
        ];
        for (check, texts) in cases {
            for text in texts {
                assert!(check(text), "{text}");
                let last = text.len() - 1;
                let other = if text.ends_with('4') { "5" } else { "4" };
                assert!(!check(&format!("{}{other}", &text[..last])), "{text} changed");
            }
        }
    }

    #[test]
    fn a_header_that_names_no_algorithm_is_no_jwt() {
        assert!(jwt("eyJhbGciOiJIUzI1NiJ9.e30.x"));
        assert!(!jwt("eyJhbasdGciOiJIUaddasdasfsasdasdzI1NiI.e30.x") && !jwt("e30.e30.x"));
    }
}
