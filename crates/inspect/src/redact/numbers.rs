//! Personal data that is a number: cards, accounts, phones, addresses of machines, numbers of people at their states,
//! insurers and banks. A walk from number to number; at each the rows of the table are tried. A form is written as it
//! looks: `9` is a digit, `A` a letter, `*` either, anything else itself. Where check digits do not suffice, a word
//! before the number has to say what it is.
//!
//! Invariants: a finding holds at least three digits and depends on nothing behind the numbers it stands among and at
//! most `BEFORE` bytes before them; the walk is linear and allocates nothing. Sources: the authorities that issue the numbers; ISO/IEC
//! 7812-1, ISO 13616 and the lengths of its registry; ITU-T E.164; RFC 4291.

mod forms;
mod readers;
mod states;

use super::{Found, scan::Words, shapes::Class};
use std::{cell::LazyCell, ops::Range, sync::LazyLock};

/// How a number is recognised.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// One of these forms, and nothing of its alphabet right behind.
    Like(&'static [&'static str]),
    /// By hand: from a word with a digit in it, the range that was read.
    Read(fn(&str, Word) -> Option<Range<usize>>),
}

/// One row.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub(super) kind: &'static str,
    pub(super) class: Class,
    pub(super) form: Form,
    /// Words of which one has to stand shortly before it, in capitals when only those count; none when the number speaks for itself.
    pub(super) near: &'static [&'static str],
    pub(super) check: fn(&str) -> bool,
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests run them"))]
    pub(super) hits: &'static [&'static str],
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests run them"))]
    pub(super) misses: &'static [&'static str],
}

impl Number {
    /// Hidden only where a policy asks: check digits of bare numbers fit by chance.
    const fn trace(self) -> Self {
        Self { class: Class::Trace, ..self }
    }

    /// Only after one of these words, in lower case.
    const fn near(self, near: &'static [&'static str]) -> Self {
        Self { near, ..self }
    }
}

const fn number(
    kind: &'static str,
    form: Form,
    check: fn(&str) -> bool,
    hits: &'static [&'static str],
    misses: &'static [&'static str],
) -> Number {
    assert!(!hits.is_empty() && !misses.is_empty(), "a row without vectors");
    Number { kind, class: Class::Person, form, near: &[], check, hits, misses }
}

/// Every row, in order.
pub(super) fn numbers() -> impl Iterator<Item = &'static Number> {
    readers::READ.iter().chain(forms::FORMS)
}

/// A word (letters and digits side by side) that holds a digit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Where its first digit stands.
    pub(super) digit: usize,
}

/// Behind every row of the other table.
const BEHIND_SHAPES: usize = usize::MAX;
/// Fewest digits of a finding.
pub(super) const FEWEST_DIGITS: usize = 3;
/// So far before a number a word may tell what it is, in bytes.
const BEFORE: usize = 48;

/// The table, ready for a walk.
struct Walk {
    /// Words of which rows need one.
    labels: Words,
    /// Rows that need none, as bits.
    unlabelled: u128,
    /// Of each class, its rows as bits.
    of_class: [u128; Class::ALL.len()],
    /// By the length of the word from which a number is read: which rows to try, in order. The last for longer words.
    tries: [Vec<Try>; LONGEST_WORD + 2],
}

#[derive(Clone, Copy)]
struct Try {
    row: usize,
    number: &'static Number,
    /// A form that has a word of that length, if the row has forms.
    form: Option<&'static str>,
}

/// Longest word of a form.
const LONGEST_WORD: usize = 20;

static WALK: LazyLock<Walk> = LazyLock::new(|| {
    let mut tries: [Vec<Try>; LONGEST_WORD + 2] = Default::default();
    for (row, number) in numbers().enumerate() {
        for (length, tries) in tries.iter_mut().enumerate() {
            match number.form {
                Form::Read(_) => tries.push(Try { row, number, form: None }),
                Form::Like(forms) => {
                    let fitting = forms.iter().filter(|form| word_of(form).len() == length);
                    tries.extend(fitting.map(|form| Try { row, number, form: Some(form) }));
                }
            }
        }
    }
    let bits = |of: &dyn Fn(&Number) -> bool| {
        let rows = numbers().enumerate().filter(|(_, number)| of(number));
        rows.fold(0, |bits: u128, (row, _)| bits | 1 << row)
    };
    Walk {
        labels: Words::new(numbers().map(|row| row.near)),
        unlabelled: bits(&|number| number.near.is_empty()),
        of_class: Class::ALL.map(|class| bits(&|number| number.class == class)),
        tries,
    }
});

/// The first word of a form that holds a digit; letters and a mark may stand before it.
fn word_of(form: &str) -> &str {
    let from = lead(form);
    let end =
        form[from..].find(|c: char| !c.is_ascii_alphanumeric() && c != '*').unwrap_or(form.len() - from);
    &form[from..from + end]
}

/// Bytes of a form before that word.
fn lead(form: &str) -> usize {
    form.find('9').filter(|at| form[..*at].ends_with([' ', '-'])).unwrap_or(0)
}

/// Adds the numbers of these classes.
pub(super) fn find(text: &str, wanted: fn(Class) -> bool, out: &mut Vec<Found>) {
    let walk = &*WALK;
    let classes = Class::ALL.into_iter().zip(walk.of_class).filter(|(class, _)| wanted(*class));
    let rows = classes.fold(0, |rows, (_, more)| rows | more);
    // Looked for only when a number needs one.
    let labelled = LazyCell::new(|| walk.labels.rows(text));
    let mut at = 0;
    while let Some(word) = next(text.as_bytes(), at) {
        let length = (word.end - word.start).min(LONGEST_WORD + 1);
        let found = walk.tries[length].iter().filter(|with| rows >> with.row & 1 == 1).find_map(|with| {
            let may_be = || walk.unlabelled >> with.row & 1 == 1 || *labelled >> with.row & 1 == 1;
            // The search for labels is dearer than a form, and cheaper than reading by hand.
            if with.form.is_none() && !may_be() {
                return None;
            }
            let range = read(text, with, word, may_be).filter(|range| range.start >= at)?;
            let Number { kind, class, .. } = *with.number;
            Some(Found { kind, class, range, row: BEHIND_SHAPES, tail: false })
        });
        // On with the next word, which may stand inside of what looked like one number (`2024-11-10.0.0.1`).
        at = found.as_ref().map_or(word.end, |found| found.range.end.max(word.end));
        out.extend(found);
    }
}

fn next(bytes: &[u8], from: usize) -> Option<Word> {
    let digit = from + bytes.get(from..)?.iter().position(u8::is_ascii_digit)?;
    let before = bytes[from..digit].iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let behind = bytes[digit..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    Some(Word { start: digit - before, end: digit + behind, digit })
}

fn read(text: &str, with: &Try, word: Word, may_be: impl Fn() -> bool) -> Option<Range<usize>> {
    let row = with.number;
    let (from, range) = match (with.form, row.form) {
        (Some(form), _) => like(text.as_bytes(), form, word)?,
        (None, Form::Read(read)) => read(text, word).map(|range| (range.start, range))?,
        (None, Form::Like(_)) => return None,
    };
    let holds = (row.check)(text.get(from..range.end)?)
        && may_be()
        && (row.near.is_empty() || announced(text, range.start, row.near));
    holds.then_some(range)
}

/// Where a form fits a word, up to the end of another, and the number: letters and a mark before the word belong to the
/// form, but tell nothing.
fn like(bytes: &[u8], form: &str, word: Word) -> Option<(usize, Range<usize>)> {
    let start = word.start.checked_sub(lead(form))?;
    let end = start + form.len();
    let text = bytes.get(start..end)?;
    let fits = form.bytes().zip(text).all(|(wanted, byte)| match wanted {
        b'9' => byte.is_ascii_digit(),
        b'A' => byte.is_ascii_alphabetic(),
        b'*' => byte.is_ascii_alphanumeric(),
        other => byte.eq_ignore_ascii_case(&other),
    });
    let alone = !form.contains(' ') || alone(bytes, start, end);
    (fits && alone && ends(bytes, end) && begins(bytes, start)).then_some((start, word.start..end))
}

/// Most bytes of numbers side by side that are waited for.
const MOST_WAITED: usize = 96;

/// From where on numbers stand at the end of a text to which more may belong.
pub(super) fn undecided(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = bytes.len();
    let mut from = at - usize::from(bytes.ends_with(b"("));
    while bytes.len() - at < MOST_WAITED {
        let count =
            |end: usize, of: fn(&u8) -> bool| bytes[..end].iter().rev().take_while(|byte| of(byte)).count();
        let marks = count(at, |byte| b" -./()+".contains(byte));
        let long = count(at - marks, u8::is_ascii_alphanumeric);
        let word = &bytes[at - marks - long..at - marks];
        let number = word.iter().any(u8::is_ascii_digit);
        // Groups of an account may be capitals.
        let group = word.len() <= 4 && word.iter().all(u8::is_ascii_uppercase);
        if marks > 2 || long == 0 || !(number || group) {
            break;
        }
        at -= marks + long;
        if number {
            let opened = bytes[..at].iter().rev().take(1).filter(|byte| b"+(".contains(byte)).count();
            from = at - opened;
        }
    }
    from
}

/// Whether no other number stands beside it: rows of numbers are not what single ones look like.
pub(super) fn alone(bytes: &[u8], start: usize, end: usize) -> bool {
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let blank = |at: Option<usize>| at.and_then(|at| bytes.get(at)) == Some(&b' ');
    let before = blank(start.checked_sub(1)) && digit(start.checked_sub(2));
    !(before || blank(Some(end)) && digit(Some(end + 1)))
}

/// Whether a number can end there: not inside a word, nor before a hyphen and more of it.
pub(super) fn ends(bytes: &[u8], end: usize) -> bool {
    let more = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    !(more(end) || matches!(bytes.get(end), Some(b'-' | b'_')) && more(end + 1))
}

/// Whether a number can begin there: not behind a hyphen, a point or a sign that makes it part of something larger.
pub(super) fn begins(bytes: &[u8], start: usize) -> bool {
    let before = start.checked_sub(1).map(|at| bytes[at]);
    !before.is_some_and(|byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'+' | b'$')
    })
}

/// Whether one of these words stands shortly before, on the same line; words in small letters match in any case.
fn announced(text: &str, start: usize, near: &[&str]) -> bool {
    let bytes = text.as_bytes();
    let from = start.saturating_sub(BEFORE);
    let line = bytes[from..start].iter().rposition(|byte| *byte == b'\n').map_or(from, |at| from + at + 1);
    let letter = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphabetic);
    near.iter().any(|word| {
        let strict = word.bytes().all(|byte| byte.is_ascii_uppercase());
        let same = |window: &[u8]| match strict {
            true => window == word.as_bytes(),
            false => window.eq_ignore_ascii_case(word.as_bytes()),
        };
        let mut places =
            bytes[line..start].windows(word.len()).enumerate().filter(|(_, window)| same(window));
        places.any(|(at, _)| {
            let at = line + at;
            !letter(at.checked_sub(1)) && !letter(Some(at + word.len()))
        })
    })
}

#[cfg(test)]
mod tests;
