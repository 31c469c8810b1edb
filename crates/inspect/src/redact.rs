//! Redaction: what looks like a secret becomes its kind and, when at least 20 characters long, its last four:
//! `[openai_key …a1B2]`. One engine for logs, audit and errors. `redact` is for text that stays in the house;
//! `redact_outside` also removes what tells strangers about it: paths, addresses, SQL, stack lines.
//!
//! Invariants: redacting twice changes nothing; text without a suspicious piece is not copied (log fields pass here
//! one by one). Source: inspect.md section 5, review.md section 11.

mod checks;
mod house;
mod keys;
mod numbers;
mod personal;
mod scan;
mod shapes;
mod values;

use crate::rules::compile;
use numbers::FEWEST_DIGITS;
use regex::Regex;
use scan::{Look, Scan};
use shapes::{Class, Shape, shapes};
use std::{
    borrow::Cow,
    ops::Range,
    sync::{LazyLock, OnceLock},
};

struct Engine {
    scan: Scan,
    rows: Vec<Row>,
    /// Of each class, its rows as bits.
    of_class: [u128; Class::ALL.len()],
}

struct Row {
    shape: &'static Shape,
    /// Compiled when first needed: most shapes never are.
    pattern: OnceLock<Option<Regex>>,
}

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let rows = |class| shapes().enumerate().filter(move |(_, shape)| shape.class == class);
    Engine {
        scan: Scan::new(shapes()),
        rows: shapes().map(|shape| Row { shape, pattern: OnceLock::new() }).collect(),
        of_class: Class::ALL.map(|class| rows(class).fold(0, |bits, (row, _)| bits | 1 << row)),
    }
});

/// The text without what looks like a secret or tells of a person: for logs and audit.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    ENGINE.run(text, |class| matches!(class, Class::Secret | Class::Person))
}

/// The text without that, and without what tells strangers about the house: for errors on their way out, as the
/// second net behind fixed sentences.
#[must_use]
pub fn redact_outside(text: &str) -> Cow<'_, str> {
    ENGINE.run(text, |class| match class {
        Class::Secret | Class::Person | Class::Trace | Class::House => true,
    })
}

/// Whether a value, such as one of a configuration file, has the shape of a key.
#[must_use]
pub fn looks_like_secret(value: &str) -> bool {
    // Those rows alone: patterns are compiled when first needed, and settings are full of words that other rows ask for.
    let keys = (1 << keys::KEYS.len()) - 1;
    let mut found = Vec::new();
    ENGINE.shapes(value, Look::at(value), keys, &mut found);
    !found.is_empty()
}

/// What [`find`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is, such as `openai_key`.
    pub kind: &'static str,
    /// Bytes of the text that are to be hidden.
    pub range: Range<usize>,
    class: Class,
    /// Which row found it: the first of the table names what several found.
    row: usize,
    tail: bool,
}

impl Found {
    /// Whether it tells of a person rather than opens something.
    #[must_use]
    pub const fn personal(&self) -> bool {
        !matches!(self.class, Class::Secret)
    }
}

/// Secrets and personal data in a text, if wanted, in order, none overlapping another.
#[must_use]
pub fn find(text: &str, secrets: bool, personal: bool) -> Vec<Found> {
    ENGINE.find(
        text,
        match (secrets, personal) {
            (true, true) => |class| !matches!(class, Class::House),
            (true, false) => |class| matches!(class, Class::Secret),
            (false, true) => |class| matches!(class, Class::Person | Class::Trace),
            (false, false) => |_| false,
        },
    )
}

/// From where on the end of a text that is still being written may turn into something it is not yet: the label of a key
/// in a file, numbers that more may follow. A word that has not ended is not counted.
pub(crate) fn undecided(text: &str) -> usize {
    let near = text.floor_char_boundary(text.len().saturating_sub(MOST_UNDECIDED));
    let label = text[near..].rfind("-----BEGIN").map(|at| near + at); // fake: only the label
    let label = label.filter(|at| checks::pem_undecided(&text[*at..]));
    label.unwrap_or(text.len()).min(numbers::undecided(text)).min(value_begun(text))
}

/// A value behind a word for passwords, or behind a name in an address, up to the end of a text: it may hold what ends
/// other words, and letters of every script.
const OPEN_VALUE: &str = concat!(
    r#"(?i)(?:(?:password|passwd|passwort|pwd|passphrase)(?:=|\\?["']\s*[:=]\s*\\?["'])|"#,
    r#"--password[ =]\s?["']?|\s-p \s?["']?|://[^\s:/@?\x23"'\[]{0,200}:)([^\s"'\\\[]*)$"#,
);

/// Where at the end of a text such a value begins that is still being written.
fn value_begun(text: &str) -> usize {
    static OPEN: LazyLock<Option<Regex>> = LazyLock::new(|| compile(OPEN_VALUE).ok());
    let near = text.floor_char_boundary(text.len().saturating_sub(MOST_OPEN));
    // Every such word ends in one of these; most texts have none of them near their end.
    if memchr::memchr3(b'=', b':', b'-', &text.as_bytes()[near..]).is_none() {
        return text.len();
    }
    let found =
        OPEN.as_ref().and_then(|open| open.captures(&text[near..])?.get(1).map(|value| value.start()));
    found.map_or(text.len(), |at| near + at)
}

/// Bytes of such a word and its value.
const MOST_OPEN: usize = 512;

/// Bytes of a label and the first line behind it.
const MOST_UNDECIDED: usize = 128;

/// Rounds of replacement; ordinary text needs one, crafted text two or three.
const MAX_ROUNDS: usize = 8;

impl Engine {
    fn find(&self, text: &str, wanted: fn(Class) -> bool) -> Vec<Found> {
        let (look, mut all) = (Look::at(text), Vec::new());
        let classes = Class::ALL.into_iter().zip(self.of_class).filter(|(class, _)| wanted(*class));
        self.shapes(text, look, classes.fold(0, |bits, (_, rows)| bits | rows), &mut all);
        if look.digits >= FEWEST_DIGITS && (wanted(Class::Person) || wanted(Class::Trace)) {
            numbers::find(text, wanted, &mut all);
        }
        if all.len() > 1 { apart(all) } else { all }
    }

    /// What the rows in `applies` find.
    fn shapes(&self, text: &str, look: Look, applies: u128, out: &mut Vec<Found>) {
        let mut left = self.scan.wanted(text, look, applies);
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            let Some((shape, pattern)) = self.rows.get(at).and_then(Row::ready) else { continue };
            for found in pattern.captures_iter(text) {
                // Its first group that took part, else all of it.
                let secret = found.iter().skip(1).flatten().next().unwrap_or_else(|| found.get_match());
                if (shape.check)(secret.as_str()) {
                    let (kind, class, tail) = (shape.kind, shape.class, shape.tail);
                    out.push(Found { kind, range: secret.range(), class, row: at, tail });
                }
            }
        }
    }

    fn run<'a>(&self, text: &'a str, wanted: fn(Class) -> bool) -> Cow<'a, str> {
        let mut out = Cow::Borrowed(text);
        // What one replacement leaves behind may look like another shape: again, until nothing is found.
        for _ in 0..MAX_ROUNDS {
            let found = self.find(&out, wanted);
            if found.is_empty() {
                return out;
            }
            out = Cow::Owned(replaced(&out, &found));
        }
        Cow::Borrowed(UNSETTLED)
    }
}

/// What stands for a text in which something is found however often it is replaced; no text is known that does.
const UNSETTLED: &str = "[not redactable]";

impl Row {
    fn ready(&self) -> Option<(&'static Shape, &Regex)> {
        // A test compiles every pattern of the table.
        let pattern = self.pattern.get_or_init(|| compile(self.shape.pattern).ok()).as_ref()?;
        Some((self.shape, pattern))
    }
}

/// In order of their places. What overlaps becomes one, named by the first row; but what tells of a person or the house
/// inside or beside something else is not seen: `pass@host` behind a user's name is no address. Should anything of it be
/// left, the next round finds it.
fn apart(mut all: Vec<Found>) -> Vec<Found> {
    all.sort_by_key(|found| (found.range.start, found.row));
    let mut kept: Vec<Found> = Vec::new();
    for found in all {
        match kept.last_mut().filter(|last| found.range.start < last.range.end) {
            Some(last) if last.class == Class::House && found.row < last.row => *last = found,
            Some(last) if found.personal() && !last.personal() || found.class == Class::House => {}
            Some(last) if last.personal() && !found.personal() => *last = found,
            Some(last) => {
                last.range.end = last.range.end.max(found.range.end);
                if found.row < last.row {
                    (last.kind, last.class, last.row, last.tail) =
                        (found.kind, found.class, found.row, found.tail);
                }
            }
            None => kept.push(found),
        }
    }
    kept
}

fn replaced(text: &str, found: &[Found]) -> String {
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for Found { kind, range, tail, .. } in found {
        let secret = &text[range.clone()];
        out.push_str(&text[at..range.start]);
        out.push('[');
        out.push_str(kind);
        if *tail && secret.len() >= 20 {
            let from = secret.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
            out.push_str(" …");
            out.push_str(&secret[from..]);
        }
        out.push(']');
        at = range.end;
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests;
