//! What can be redacted, as one table of rows, each with texts it must hit and texts it must miss. Order: keys by their
//! issuers' prefixes, then headers, URLs and keyword with value, then personal data; what the house hides from
//! strangers last. Where matches overlap, the row that stands first names what was found.
//!
//! In the vectors `<36>` stands for so many characters as keys have them, `<h32>` hexadecimal ones, `<u16>` capitals and
//! digits, `<a34>` letters, `<d10>` digits: so no scanner takes this table for a leak. Group 1 of a pattern, where there
//! is one, is what is hidden. Patterns are linear-time (crate `regex`); `\b` is an ASCII word border.
//!
//! Invariant: a match of a row that is not `House` holds one of `@ = :` or thirteen bytes of keys side by side (see
//! `scan`). To add one: a row in the file of its kind; one without hits and misses does not compile.

use super::checks::{any, drawn};

/// Whom a finding concerns, which decides where it is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Opens something: hidden everywhere.
    Secret,
    /// Tells of a person: hidden everywhere.
    Person,
    /// Tells of a person, but an operator needs it or it is only a number whose check digits fit: hidden where a policy
    /// asks for it and where text leaves the house.
    Trace,
    /// Tells strangers of the house: hidden where text leaves it.
    House,
}

impl Class {
    /// Every class.
    pub(super) const ALL: [Self; 4] = [Self::Secret, Self::Person, Self::Trace, Self::House];
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// What stands in its place.
    pub(super) kind: &'static str,
    pub(super) class: Class,
    /// One of these is in every match.
    pub(super) hints: &'static [&'static str],
    pub(super) pattern: &'static str,
    /// Whether what was found is one after all.
    pub(super) check: fn(&str) -> bool,
    /// So many bytes of keys stand side by side in every match: spares the pattern where a hint is a common word.
    pub(super) run: usize,
    /// So many digits are in every match.
    pub(super) digits: usize,
    /// Whether its last four characters may be shown when it is long.
    pub(super) tail: bool,
    /// Texts in which it is found.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests run them"))]
    pub(super) hits: &'static [&'static str],
    /// Texts in which nothing of its kind is.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests run them"))]
    pub(super) misses: &'static [&'static str],
}

impl Shape {
    /// Whether a match may hold no sign and no long word.
    pub(super) const fn plain(&self) -> bool {
        matches!(self.class, Class::House)
    }

    /// With another check.
    pub(super) const fn checked(self, check: fn(&str) -> bool) -> Self {
        Self { check, ..self }
    }

    /// Only where so many bytes of keys stand side by side.
    pub(super) const fn run(self, run: usize) -> Self {
        Self { run, ..self }
    }

    /// Only where so many digits are.
    pub(super) const fn digits(self, digits: usize) -> Self {
        Self { digits, ..self }
    }

    /// Nothing of it is shown, however long.
    pub(super) const fn whole(self) -> Self {
        Self { tail: false, ..self }
    }

    /// Concerning somebody else.
    pub(super) const fn of(self, class: Class) -> Self {
        Self { class, ..self }
    }
}

/// A row of another class whose pattern is enough: nothing of what it matches need look drawn at random.
pub(super) const fn loose(
    class: Class,
    kind: &'static str,
    hints: &'static [&'static str],
    pattern: &'static str,
    hits: &'static [&'static str],
    misses: &'static [&'static str],
) -> Shape {
    row(kind, hints, pattern, hits, misses).of(class).checked(any).whole()
}

/// A row: what a key looks like.
pub(super) const fn row(
    kind: &'static str,
    hints: &'static [&'static str],
    pattern: &'static str,
    hits: &'static [&'static str],
    misses: &'static [&'static str],
) -> Shape {
    assert!(!hints.is_empty() && !hits.is_empty() && !misses.is_empty(), "a row without vectors");
    Shape {
        kind,
        class: Class::Secret,
        hints,
        pattern,
        check: drawn,
        run: 0,
        digits: 0,
        tail: true,
        hits,
        misses,
    }
}

/// Every row, in order.
pub(super) fn shapes() -> impl Iterator<Item = &'static Shape> + Clone {
    super::keys::KEYS
        .iter()
        .chain(super::values::VALUES)
        .chain(super::personal::PERSONAL)
        .chain(super::house::HOUSE)
}
