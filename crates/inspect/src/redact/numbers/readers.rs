//! Numbers whose form varies too much for a mask: addresses of machines, cards, accounts, phones.

use super::{
    super::checks::{any, base58check, digits, luhn, mod_97, number as value},
    Form::Read,
    Number, Word, alone, begins, ends, number,
};
use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
};

pub(super) const READ: &[Number] = &[
    number(
        "mac",
        Read(mac),
        any,
        &["at 00-1A-2B-3C-4D-5E.", "0a:23:f5:67:89:ac", "0012.3456.789a"],
        &["00:1A:2B:3C:4D", "FF:FF:FF:FF:FF:FF", "12:34:56"],
    )
    .trace(),
    number(
        "ip",
        Read(ip),
        any,
        &["from 203.0.114.7:8080", "10.0.0.1", "2400:c401::5054:ff:fe1b:b031", "[fe80::1]"],
        &["127.0.0.1", "::1", "256.1.2.30", "version 10.2.30.4", "1.2.3.4.5.6", "1.2.3.4", "12:34:56"],
    )
    .trace(),
    number(
        "card",
        Read(card),
        any,
        &["4012 8888 8888 1881", "5555-5555-5555-4444", "371449635398431 is it"],
        &["4012-8888-8888-1882", "1234567890123", "0000000000000000"],
    ),
    number(
        "iban",
        Read(iban),
        any,
        &["GB82 WEST 1234 5698 7654 32", "to DE89370400440532013000."],
        &["DE89370400440532013001", "GB82 WEST 1234", "XX82WEST12345698765432"],
    ),
    number(
        "crypto_address",
        Read(base58),
        base58check,
        &["to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2 please"],
        &["1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3", "1111111111111111111111111111"],
    ),
    number(
        "phone",
        Read(international),
        any,
        &["+31 20 123 4567", "call +14155550132", "+90-532-123-45-67"],
        &["1+234567890", "+0 123 456 789", "+12345"],
    ),
    number(
        "phone",
        Read(american),
        any,
        &["(415) 555-0132", "415-555-0132", "1-415-555-0132", "415.555.0132"],
        &["115-555-0132", "415-155-0132", "415-555-01321", "2024-415-555-0132"],
    ),
    number(
        "phone",
        Read(national),
        any,
        &["020 7946 0958", "01 42 68 53 00", "0216 123 45 67", "09181234567"],
        &["00123456789", "01.02.2024", "0123", "0.123 456 789"],
    )
    .trace(),
    number(
        "phone",
        Read(announced),
        any,
        &["phone: 532 123 45 67", "Tel. 5321234567", "whatsapp 98765 43210"],
        &["order 5321234567", "phone 2"],
    )
    .near(&[
        "phone",
        "tel",
        "telephone",
        "mobile",
        "cell",
        "whatsapp",
        "telefon",
        "fax",
        "телефон",
        "电话",
        "call",
    ]),
];

/// Bytes around the word that may belong to an address.
fn stretch(text: &str, word: Word, of: fn(&u8) -> bool, most: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let start = word.digit - bytes[..word.digit].iter().rev().take(most).take_while(|byte| of(byte)).count();
    let end = word.digit + bytes[word.digit..].iter().take(most).take_while(|byte| of(byte)).count();
    Some(start..end)
}

/// Whether a mark stands beside a word: most numbers need not be looked at further.
fn beside(text: &str, word: Word, marks: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let mark = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|byte| marks.contains(byte));
    mark(Some(word.end)) || mark(word.start.checked_sub(1))
}

fn mac(text: &str, word: Word) -> Option<Range<usize>> {
    if !beside(text, word, b":-.") {
        return None;
    }
    let range = stretch(text, word, |byte| byte.is_ascii_hexdigit() || b":-.".contains(byte), 24)?;
    let (bytes, found) = (text.as_bytes(), text.get(range.clone())?.trim_end_matches(['.', ':', '-']));
    let groups = |mark: char, count: usize, long: usize| {
        found.matches(mark).count() + 1 == count && found.split(mark).all(|group| group.len() == long)
    };
    let fits = groups(':', 6, 2) || groups('-', 6, 2) || groups('.', 3, 4);
    let outer = range.start == 0 || !bytes[range.start - 1].is_ascii_alphanumeric();
    let end = range.start + found.len();
    let somebody = digits(found).count() >= 3
        && (found.bytes().any(|byte| byte.is_ascii_alphabetic()) || found.contains(':'));
    (fits && outer && somebody && ends(bytes, end)).then_some(range.start..end)
}

fn ip(text: &str, word: Word) -> Option<Range<usize>> {
    if !beside(text, word, b":.") {
        return None;
    }
    let bytes = text.as_bytes();
    let range = stretch(text, word, |byte| byte.is_ascii_hexdigit() || b":.".contains(byte), 46)?;
    if range.start > 0 && (bytes[range.start - 1].is_ascii_alphanumeric() || bytes[range.start - 1] == b'-') {
        return None;
    }
    if bytes.get(range.end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return None;
    }
    let whole = text.get(range.clone())?;
    let trimmed = whole.trim_end_matches('.');
    // A single colon behind is one of the sentence.
    let trimmed = if trimmed.ends_with("::") { trimmed } else { trimmed.trim_end_matches(':') };
    if trimmed.matches(':').count() >= 2 {
        let address: Ipv6Addr = trimmed.parse().ok()?;
        let tells = !address.is_loopback() && !address.is_unspecified() && digits(trimmed).count() >= 3;
        return tells.then_some(range.start..range.start + trimmed.len());
    }
    let host = trimmed.split(':').next().unwrap_or(trimmed);
    let address: Ipv4Addr = host.parse().ok()?;
    let tells =
        !address.is_loopback() && !address.is_broadcast() && address.octets().iter().any(|part| *part > 9);
    let before = &text[text.floor_char_boundary(range.start.saturating_sub(12))..range.start];
    let version = before.to_ascii_lowercase();
    let version = version.contains("version")
        || version.trim_end().ends_with(['v', '^', '~'])
        || version.contains("==");
    (tells && !version).then_some(range.start..range.start + host.len())
}

/// Where groups of digits end.
#[derive(Default)]
struct Groups {
    ends: [usize; MOST_GROUPS],
    count: usize,
}

/// Most groups that are looked at.
const MOST_GROUPS: usize = 10;

impl Groups {
    /// From there on, one mark between two of them, at most `most` digits.
    fn of(bytes: &[u8], start: usize, most: usize, marks: &[u8]) -> Self {
        let (mut found, mut at, mut digits) = (Self::default(), start, 0);
        while found.count < MOST_GROUPS {
            let long = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            digits += long;
            if long == 0 || digits > most || bytes.get(at + long).is_some_and(u8::is_ascii_alphabetic) {
                break;
            }
            at += long;
            found.ends[found.count] = at;
            found.count += 1;
            if !bytes.get(at).is_some_and(|byte| marks.contains(byte)) {
                break;
            }
            at += 1;
        }
        found
    }

    fn ends(&self) -> &[usize] {
        &self.ends[..self.count]
    }
}

/// Prefixes of issuers with the lengths of their cards: Visa, Mastercard, American Express, Discover, Diners, JCB,
/// UnionPay, Maestro, Mir.
fn issued(text: &str, long: usize) -> bool {
    let first = |count: usize| value(text, 0, count);
    match (first(1), first(2), first(4)) {
        (4, _, _) => matches!(long, 13 | 16 | 19),
        (_, 51..=55, _) | (_, _, 2221..=2720 | 2200..=2204) => long == 16,
        (_, 34 | 37, _) => long == 15,
        (_, 65, _) | (_, _, 6011) | (_, 64, _) => long == 16 || long == 19,
        (_, 36 | 38 | 39, _) | (_, 30, _) => matches!(long, 14 | 16),
        (_, 35, _) => (16..=19).contains(&long),
        (_, 62, _) => (16..=19).contains(&long),
        (_, 50 | 56..=58 | 61 | 63 | 66..=69, _) => long == 16 || long == 18 || long == 19,
        _ => false,
    }
}

fn card(text: &str, word: Word) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let long = word.end - word.start;
    let grouped = long == 4 && matches!(bytes.get(word.end), Some(b' ' | b'-'));
    if word.digit != word.start || !(grouped || (13..=19).contains(&long)) || !begins(bytes, word.start) {
        return None;
    }
    let groups = Groups::of(bytes, word.start, 19, b" -");
    groups.ends().iter().enumerate().rev().find_map(|(last, &end)| {
        let found = &text[word.start..end];
        let mut from = word.start;
        let long: [usize; MOST_GROUPS] = groups.ends.map(|end| {
            let long = end.saturating_sub(from);
            from = end + 1;
            long
        });
        let printed =
            matches!(long[..=last], [_] | [4, 4, 4, 1 | 4] | [4, 4, 4, 4, 3] | [4, 6, 4 | 5] | [4, 4, 5]);
        let long = digits(found).count();
        let drawn = digits(found).any(|digit| Some(digit) != digits(found).next());
        let fits = printed && (13..=19).contains(&long) && issued(found, long) && drawn && luhn(found);
        (fits && !bytes.get(end).is_some_and(u8::is_ascii_alphanumeric)).then_some(word.start..end)
    })
}

/// Lengths of the registry, by country.
const IBANS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

fn iban(text: &str, word: Word) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let head: [u8; 4] = *bytes.get(word.start..)?.first_chunk()?;
    let country = [head[0].to_ascii_uppercase(), head[1].to_ascii_uppercase()];
    if !head[2].is_ascii_digit() || !head[3].is_ascii_digit() {
        return None;
    }
    let (_, long) = IBANS.iter().find(|(known, _)| **known == country)?;
    let (mut end, mut count) = (word.start, 0);
    while count < *long {
        match bytes.get(end) {
            Some(byte) if byte.is_ascii_alphanumeric() => count += 1,
            Some(b' ' | b'-') if count >= 4 && bytes[end - 1].is_ascii_alphanumeric() => {}
            Some(_) | None => return None,
        }
        end += 1;
    }
    let body = bytes[word.start + 4..end].iter().chain(&head).copied();
    (!bytes.get(end).is_some_and(u8::is_ascii_alphanumeric) && mod_97(body) == 1).then_some(word.start..end)
}

fn base58(text: &str, word: Word) -> Option<Range<usize>> {
    let found = text.get(word.start..word.end)?;
    let fits =
        (26..=35).contains(&found.len()) && found.starts_with(['1', '3', 'T']) && digits(found).count() >= 3;
    fits.then_some(word.start..word.end)
}

/// Between the groups of a phone number.
const MARKS: &[u8] = b" -./";

/// `+` and the digits behind it: 8 to 15, the first not 0.
fn international(text: &str, word: Word) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let plus = word.digit.checked_sub(1).filter(|at| bytes[*at] == b'+')?;
    if word.start != word.digit || bytes[word.digit] == b'0' || !begins(bytes, plus) {
        return None;
    }
    // A group in brackets, as in `+44 (0) 20`.
    let (mut at, mut count, mut end) = (word.digit, 0, word.digit);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'0'..=b'9' if count < 15 => {
                count += 1;
                end = at + 1;
            }
            b'0'..=b'9' => return None,
            b' ' | b'-' | b'.' | b'(' | b')' if at - end < 2 => {}
            _ => break,
        }
        at += 1;
    }
    (count >= 8 && !bytes.get(end).is_some_and(u8::is_ascii_alphanumeric)).then_some(plus..end)
}

/// Three, three and four digits, neither of the first two beginning with 0 or 1, marked off.
fn american(text: &str, word: Word) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let bracket = word.start.checked_sub(1).filter(|at| bytes[*at] == b'(');
    let country =
        bytes.get(word.start..word.start + 2).is_some_and(|two| two[0] == b'1' && b" -.".contains(&two[1]));
    let from = if country { word.start + 2 } else { word.start };
    let forms: &[&str] = if bracket.is_some() {
        &["999) 999-9999", "999)999-9999", "999) 999 9999", "999)-999-9999"]
    } else {
        &["999-999-9999", "999.999.9999", "999 999 9999"]
    };
    let fits =
        |form: &&&str| {
            bytes.get(from..from + form.len()).is_some_and(|text| {
                form.bytes().zip(text).all(|(wanted, byte)| {
                    if wanted == b'9' { byte.is_ascii_digit() } else { wanted == *byte }
                })
            })
        };
    let form = forms.iter().find(fits)?;
    let (end, start) = (from + form.len(), bracket.unwrap_or(word.start));
    let second = from + form.len() - 8;
    let sound = bytes[from] > b'1' && bytes[second] > b'1';
    (sound && alone(bytes, start, end) && begins(bytes, start) && ends(bytes, end)).then_some(start..end)
}

/// A leading 0, then nine to eleven digits: in groups, or eleven side by side.
fn national(text: &str, word: Word) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    if bytes[word.start] != b'0'
        || !begins(bytes, word.start)
        || !bytes.get(word.start + 1).is_some_and(|byte| (b'1'..=b'9').contains(byte) || *byte == b' ')
    {
        return None;
    }
    let groups = Groups::of(bytes, word.start, 12, MARKS);
    let (end, mut from) = (*groups.ends().last()?, word.start);
    let long = digits(&text[word.start..end]).count();
    let mut short = 0;
    for end in groups.ends() {
        short += usize::from(end - from < 2);
        from = end + 1;
    }
    // Only the first mark may differ from the others: dates with hours have more kinds.
    let marks: &[usize] = groups.ends().get(1..groups.count.saturating_sub(1)).unwrap_or_default();
    let alike = marks.iter().all(|at| bytes[*at] == bytes[marks[0]]);
    let fits = match groups.count {
        1 => long == 11,
        2..=6 => (10..=12).contains(&long) && short <= 1 && alike,
        _ => false,
    };
    // Digits of a binary number are no phone's.
    let telling = digits(&text[word.start..end]).any(|digit| digit > 1);
    (fits && telling && alone(bytes, word.start, end) && ends(bytes, end)).then_some(word.start..end)
}

/// Seven to twelve digits in any groups, which a word before calls a phone number.
fn announced(text: &str, word: Word) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    if word.start != word.digit || !begins(bytes, word.start) || !alone(bytes, word.start, word.start) {
        return None;
    }
    let end = *Groups::of(bytes, word.start, 12, MARKS).ends().last()?;
    let long = digits(&text[word.start..end]).count();
    ((7..=12).contains(&long) && ends(bytes, end)).then_some(word.start..end)
}
