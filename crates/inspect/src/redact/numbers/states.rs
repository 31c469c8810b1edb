//! Check digits and plausible parts of the numbers that states, insurers and banks give to people. Each takes what had the
//! form of its number; separators are skipped.
//!
//! Source: the rules that the authorities publish.

use super::super::checks::{date, digits, luhn, mod_11_10, number as value, verhoeff, weighted};

pub(super) fn letter(text: &str, at: usize) -> u8 {
    text.as_bytes().get(at).map_or(b' ', u8::to_ascii_uppercase)
}

pub(super) fn last_letter(text: &str) -> u8 {
    letter(text, text.len() - 1)
}

/// Areas, groups and serials that were never given, and two numbers printed on specimens.
pub(super) fn ssn(text: &str) -> bool {
    let (area, group, serial) = (value(text, 0, 3), value(text, 3, 5), value(text, 5, 9));
    let specimen = matches!((area, group, serial), (78, 5, 1120) | (219, 9, 9999) | (123, 45, 6789));
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0 && !specimen
}

pub(super) fn itin(text: &str) -> bool {
    value(text, 0, 1) == 9 && matches!(value(text, 3, 5), 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

/// Letters without those that look like digits.
pub(super) fn mbi(text: &str) -> bool {
    let found: Vec<u8> = text.bytes().filter(u8::is_ascii_alphanumeric).collect();
    let sound = |byte: &u8| !b"SLOIBZ".contains(byte) && !byte.is_ascii_lowercase();
    found.first() != Some(&b'0') && found.iter().all(sound)
}

pub(super) fn npi(text: &str) -> bool {
    let mut sum = String::from("80840");
    sum.extend(text.chars().filter(char::is_ascii_digit));
    text.starts_with(['1', '2']) && luhn(&sum)
}

pub(super) fn aba(text: &str) -> bool {
    weighted(text, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
        && matches!(value(text, 0, 2), 0..=12 | 21..=32 | 61..=72 | 80)
}

/// One check digit of Brazil: weights falling from `from`, eleven minus the rest.
pub(super) fn falling(text: &str, count: usize, weights: &[u32]) -> bool {
    let rest = weighted(text, &weights[weights.len() - count..]) % 11;
    let wanted = if rest < 2 { 0 } else { 11 - rest };
    value(text, count, count + 1) == wanted
}

pub(super) fn cpf(text: &str) -> bool {
    let weights = [11, 10, 9, 8, 7, 6, 5, 4, 3, 2];
    falling(text, 9, &weights)
        && falling(text, 10, &weights)
        && digits(text).any(|digit| Some(digit) != digits(text).next())
}

pub(super) fn cnpj(text: &str) -> bool {
    let weights = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
    falling(text, 12, &weights) && falling(text, 13, &weights)
}

pub(super) fn nino(text: &str) -> bool {
    let (first, second) = (letter(text, 0), letter(text, 1));
    let prefix = [first, second];
    !b"DFIQUV".contains(&first)
        && !b"DFIOQUV".contains(&second)
        && ![*b"BG", *b"GB", *b"KN", *b"NK", *b"NT", *b"TN", *b"ZZ"].contains(&prefix)
        && b"ABCD".contains(&last_letter(text))
}

pub(super) fn nhs(text: &str) -> bool {
    let rest = 11 - weighted(text, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    rest != 10 && rest % 11 == value(text, 9, 10)
}

/// The second digit is that of the month, with 5 added for women; the fourth and fifth the day.
pub(super) fn licence(text: &str) -> bool {
    let (month, day) = (value(text, 1, 3), value(text, 3, 5));
    date(if month > 50 { month - 50 } else { month }, day)
}

/// Eleven digits: one digit of the first ten occurs twice or three times, ISO 7064 mod 11,10.
pub(super) fn german_tax(text: &str) -> bool {
    let mut seen = [0_u8; 10];
    digits(text).take(10).for_each(|digit| seen[digit as usize] += 1);
    let repeated = seen.iter().filter(|count| **count > 1).count();
    !text.starts_with('0') && repeated <= 1 && seen.iter().all(|count| *count <= 3) && mod_11_10(text)
}

/// German social security: the letter as two digits, cross sums of weighted digits.
pub(super) fn rentner(text: &str) -> bool {
    let Some(initial) = text.bytes().find(u8::is_ascii_alphabetic) else { return false };
    let number = u32::from(initial.to_ascii_uppercase() - b'A') + 1;
    let all: Vec<u32> =
        digits(text).take(8).chain([number / 10, number % 10]).chain(digits(text).skip(8)).collect();
    let weights = [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1];
    let sum: u32 =
        all.iter().zip(weights).map(|(digit, weight)| digit * weight / 10 + digit * weight % 10).sum();
    let (day, month) = (value(text, 2, 4), value(text, 4, 6));
    all.get(12) == Some(&(sum % 10)) && date(month, if day > 50 { day - 50 } else { day })
}

/// German health insurance: the letter as two digits, weights 1 and 2.
pub(super) fn kvnr(text: &str) -> bool {
    let number = u32::from(letter(text, 0) - b'A') + 1;
    let all = [number / 10, number % 10].into_iter().chain(digits(text).take(8));
    let sum: u32 = all
        .enumerate()
        .map(|(at, digit)| digit * (1 + at as u32 % 2))
        .map(|product| product / 10 + product % 10)
        .sum();
    sum % 10 == value(text, 8, 9)
}

/// Finnish: a date, a sign of the century, a letter for the rest modulo 31.
pub(super) fn hetu(text: &str) -> bool {
    const LETTERS: &[u8] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let number = value(text, 0, 9) as usize;
    date(value(text, 2, 4), value(text, 0, 2))
        && b"-+ABCDEFYXWVU".contains(&letter(text, 6))
        && LETTERS.get(number % 31) == Some(&last_letter(text))
}

/// Swedish: ten digits with Luhn's; the month of a company is 20 and more, the day of a coordination number 60 more.
pub(super) fn swedish(text: &str) -> bool {
    let skip = digits(text).count().saturating_sub(10);
    let ten: String = text.chars().filter(char::is_ascii_digit).skip(skip).collect();
    let (month, day) = (value(&ten, 2, 4), value(&ten, 4, 6));
    let century = skip == 0 || matches!(value(text, 0, 2), 18..=20);
    century && luhn(&ten) && (month >= 20 || date(month, if day > 60 { day - 60 } else { day }))
}

pub(super) fn nordic(text: &str) -> bool {
    date(value(text, 2, 4), value(text, 0, 2))
}

/// Spanish: a letter for the rest modulo 23; X, Y, Z of foreigners are 0, 1, 2.
pub(super) fn spanish(text: &str) -> bool {
    const LETTERS: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let (first, count) = (letter(text, 0), digits(text).count());
    let lead = match first {
        b'0'..=b'9' => 0,
        b'X' | b'Y' | b'Z' => u32::from(first - b'X') * 10_000_000,
        _ => return false,
    };
    let number = lead + value(text, 0, count);
    LETTERS.get(number as usize % 23) == Some(&last_letter(text))
}

/// Italian: odd places count by a table, even ones by their number.
pub(super) fn italian(text: &str) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let sum: u32 = (0..15)
        .map(|at| {
            let byte = letter(text, at);
            let number = if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' };
            if at % 2 == 0 { ODD[usize::from(number)] } else { u32::from(number) }
        })
        .sum();
    sum % 26 == u32::from(last_letter(text) - b'A')
}

pub(super) fn french(text: &str) -> bool {
    let number = digits(text).take(13).fold(0_u64, |sum, digit| sum * 10 + u64::from(digit));
    matches!(value(text, 0, 1), 1 | 2)
        && (1..=99).contains(&value(text, 3, 5))
        && 97 - number % 97 == u64::from(value(text, 13, 15))
}

/// Polish: the month carries the century as twenties.
pub(super) fn pesel(text: &str) -> bool {
    let rest = weighted(text, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10;
    date(value(text, 2, 4) % 20, value(text, 4, 6)) && (10 - rest) % 10 == value(text, 10, 11)
}

pub(super) fn belgian(text: &str) -> bool {
    let number = value(text, 0, 9);
    let (now, before) = (97 - (u64::from(number) + 2_000_000_000) % 97, 97 - u64::from(number % 97));
    [now, before].contains(&u64::from(value(text, 9, 11)))
}

pub(super) fn bsn(text: &str) -> bool {
    let sum = weighted(text, &[9, 8, 7, 6, 5, 4, 3, 2]);
    sum != 0 && sum % 11 == value(text, 8, 9)
}

pub(super) fn ean(text: &str) -> bool {
    let sum: u32 =
        digits(text).enumerate().map(|(at, digit)| if at % 2 == 0 { digit } else { digit * 3 }).sum();
    sum.is_multiple_of(10)
}

pub(super) fn turkish(text: &str) -> bool {
    let at = |at: usize| value(text, at, at + 1);
    let odd: u32 = [0, 2, 4, 6, 8].into_iter().map(at).sum();
    let even: u32 = [1, 3, 5, 7].into_iter().map(at).sum();
    let first_ten: u32 = digits(text).take(10).sum();
    !text.starts_with('0') && (odd * 7 + 70 - even) % 10 == at(9) && first_ten % 10 == at(10)
}

pub(super) fn snils(text: &str) -> bool {
    weighted(text, &[9, 8, 7, 6, 5, 4, 3, 2, 1]) % 101 % 100 == value(text, 9, 11)
}

/// Russian taxpayers: one check digit of ten, two of twelve.
pub(super) fn inn(text: &str) -> bool {
    const WEIGHTS: [u32; 11] = [3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8];
    let check =
        |count: usize| weighted(text, &WEIGHTS[11 - count..]) % 11 % 10 == value(text, count, count + 1);
    if digits(text).count() == 10 { check(9) } else { check(10) && check(11) }
}

pub(super) fn aadhaar(text: &str) -> bool {
    text.starts_with(['2', '3', '4', '5', '6', '7', '8', '9']) && verhoeff(text)
}

/// Chinese: a date, then ISO 7064 mod 11,2 over seventeen digits.
pub(super) fn chinese(text: &str) -> bool {
    let sum = weighted(text, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    let wanted = b"10X98765432"[sum as usize % 11];
    matches!(value(text, 6, 8), 18..=20)
        && date(value(text, 10, 12), value(text, 12, 14))
        && last_letter(text) == wanted
}

/// Korean: a date, then a digit for sex and century.
pub(super) fn korean(text: &str) -> bool {
    date(value(text, 2, 4), value(text, 4, 6)) && (1..=8).contains(&value(text, 6, 7))
}

pub(super) fn korean_check(text: &str) -> bool {
    let rest = (11 - weighted(text, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]) % 11) % 10;
    let foreign = (5..=8).contains(&value(text, 6, 7));
    let wanted = if foreign { (rest + 2) % 10 } else { rest };
    value(text, 12, 13) == wanted
}

pub(super) fn korean_company(text: &str) -> bool {
    let sum = weighted(text, &[1, 3, 7, 1, 3, 7, 1, 3, 5]) + value(text, 8, 9) * 5 / 10;
    (10 - sum % 10) % 10 == value(text, 9, 10)
}

pub(super) fn thai(text: &str) -> bool {
    let rest = (11 - weighted(text, &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 10;
    text.starts_with(['1', '2', '3', '4', '5', '6', '7', '8']) && value(text, 12, 13) == rest
}

/// Singaporean: the letter follows from the weighted digits, with 4 more for those born or come since 2000.
pub(super) fn singaporean(text: &str) -> bool {
    let sum = weighted(text, &[2, 7, 6, 5, 4, 3, 2]) as usize;
    let (letters, more): (&[u8], usize) = match letter(text, 0) {
        b'S' => (b"JZIHGFEDCBA", 0),
        b'T' => (b"JZIHGFEDCBA", 4),
        b'F' => (b"XWUTRQPNMLK", 0),
        b'G' => (b"XWUTRQPNMLK", 4),
        b'M' => (b"KLJNPQRTUWX", 3),
        _ => return false,
    };
    letters[(sum + more) % 11] == last_letter(text)
}

pub(super) fn south_african(text: &str) -> bool {
    date(value(text, 2, 4), value(text, 4, 6)) && value(text, 10, 11) <= 2 && luhn(text)
}

pub(super) fn abn(text: &str) -> bool {
    let sum = weighted(text, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    !text.starts_with('0') && (sum + 890 - 10).is_multiple_of(89)
}

pub(super) fn acn(text: &str) -> bool {
    let rest = (10 - weighted(text, &[8, 7, 6, 5, 4, 3, 2, 1]) % 10) % 10;
    value(text, 8, 9) == rest
}

pub(super) fn medicare(text: &str) -> bool {
    weighted(text, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == value(text, 8, 9)
}
