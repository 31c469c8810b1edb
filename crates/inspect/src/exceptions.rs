//! Suspicious messages that pass nevertheless: of one caller, or of exactly one text, until a day that is named.
//!
//! Invariants: only messages that were found suspicious are compared, so that quiet ones cost nothing; an exception
//! without an end, or with one that cannot be read, is a problem of the settings and never holds. Source: inspect.md
//! section 2.

use portcullis_domain::Problem;
use ring::digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc};

/// One row of `[[inspect.exceptions]]`: what inspection lets pass although it is suspicious. Each use is in the audit
/// trail. One of `caller` and `sha256` is given, or both: then both must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exception {
    /// Whose messages: the caller's id as logs tell it.
    pub caller: Option<String>,
    /// Which text: SHA-256 of exactly its bytes, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// Last day on which it holds, such as `2026-12-31` (UTC).
    pub until: String,
    /// Why, for whoever reads the settings and the trail.
    pub reason: String,
}

/// Exceptions, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Exceptions {
    texts: HashMap<[u8; 32], Vec<Row>>,
    callers: HashMap<String, Vec<Row>>,
}

#[derive(Clone, Debug)]
struct Row {
    /// Second of the epoch from which on it does not hold.
    end: i64,
    caller: Option<String>,
    name: Arc<str>,
}

impl Exceptions {
    /// From the settings, each named by its place; rows that are not usable are left out.
    #[must_use]
    pub fn new(rows: &[Exception]) -> Self {
        let mut out = Self::default();
        for (number, row) in rows.iter().enumerate() {
            if let Some(end) = end_of(&row.until) {
                out.add(&number.to_string(), row.caller.as_deref(), row.sha256.as_deref(), end);
            }
        }
        out
    }

    /// One more, until that second of the epoch. One that names neither caller nor text, or a text by no SHA-256, never
    /// holds.
    pub fn add(&mut self, name: &str, caller: Option<&str>, sha256: Option<&str>, end: i64) {
        let kept = Row { end, caller: caller.map(str::to_owned), name: name.into() };
        match (sha256.map(bytes), caller) {
            (Some(Some(digest)), _) => self.texts.entry(digest).or_default().push(kept),
            (None, Some(caller)) => self.callers.entry(caller.to_owned()).or_default().push(kept),
            (Some(None), _) | (None, None) => {}
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.callers.is_empty()
    }

    /// The name of the row by which this text of that caller passes at that second of the epoch.
    #[must_use]
    pub fn holds(&self, caller: &str, text: &str, now: i64) -> Option<Arc<str>> {
        if self.is_empty() {
            return None;
        }
        let fits = |rows: &Vec<Row>| {
            let whose =
                |row: &&Row| now < row.end && row.caller.as_deref().is_none_or(|whose| whose == caller);
            rows.iter().find(whose).map(|row| row.name.clone())
        };
        self.callers.get(caller).and_then(fits).or_else(|| {
            let hashed = digest::digest(&digest::SHA256, text.as_bytes());
            self.texts.get(hashed.as_ref()).and_then(fits)
        })
    }
}

/// Adds what is wrong with rows.
pub(crate) fn problems(rows: &[Exception], prefix: &str, out: &mut Vec<Problem>) {
    for (number, row) in rows.iter().enumerate() {
        let key = |member: &str| format!("{prefix}.exceptions.{number}.{member}");
        if end_of(&row.until).is_none() {
            out.push(Problem::new(key("until"), "is no day", "write the last day, such as 2026-12-31"));
        }
        if row.sha256.as_deref().is_some_and(|text| bytes(text).is_none()) {
            let mend = "write 64 hexadecimal digits: `sha256sum` prints them";
            out.push(Problem::new(key("sha256"), "is no SHA-256", mend));
        }
        if row.sha256.is_none() && row.caller.is_none() {
            let mend = "name whose messages or which text: `caller` or `sha256`";
            out.push(Problem::new(key("caller"), "the exception would hold for everybody", mend));
        }
    }
}

/// SHA-256 of exactly these bytes as exceptions name a text: 64 hexadecimal digits.
#[must_use]
pub fn named_by(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether that is a SHA-256 as exceptions name a text.
#[must_use]
pub fn names_text(sha256: &str) -> bool {
    bytes(sha256).is_some()
}

fn bytes(hex: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (byte, at) in out.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
    }
    Some(out)
}

/// The second at which a day ends; days since the epoch after Howard Hinnant's `days_from_civil`.
fn end_of(day: &str) -> Option<i64> {
    let mut parts = day.splitn(3, '-');
    let mut number = |digits: usize| {
        let text =
            parts.next().filter(|text| text.len() == digits && text.bytes().all(|b| b.is_ascii_digit()))?;
        text.parse::<i64>().ok()
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) {
        return None;
    }
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    let since = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some((since + 1) * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_end_where_the_calendar_says() {
        for (day, second) in [
            ("1970-01-01", 86_400),
            ("2000-02-29", 951_868_800),
            ("2026-12-31", 1_798_761_600),
            ("2038-01-19", 2_147_558_400),
        ] {
            assert_eq!(end_of(day), Some(second), "{day}");
        }
        for day in ["", "2026-02-29", "2026-13-01", "2026-1-1", "2026-00-10", "tomorrow", "2026-12-31T00"] {
            assert_eq!(end_of(day), None, "{day}");
        }
    }

    #[test]
    fn an_exception_holds_for_its_caller_or_its_exact_text_until_its_day_is_over() {
        let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned();
        let until = "2026-12-31".to_owned();
        let rows = [
            Exception { caller: Some("key:a".into()), until: until.clone(), ..Exception::default() },
            Exception { sha256: Some(hash.clone()), until: until.clone(), ..Exception::default() },
            Exception { until, ..Exception::default() },
            Exception { caller: Some("key:c".into()), until: "never".into(), ..Exception::default() },
        ];
        let exceptions = Exceptions::new(&rows);
        let last = 1_798_761_599;
        assert_eq!(exceptions.holds("key:a", "anything", last).as_deref(), Some("0"));
        assert_eq!(exceptions.holds("key:b", "hello", last).as_deref(), Some("1"));
        assert_eq!(rows[1].sha256.as_deref(), Some(&*named_by("hello")));
        for (caller, text, now) in
            [("key:a", "x", last + 1), ("key:b", "hello ", last), ("key:c", "x", 0), ("key:d", "x", last)]
        {
            assert_eq!(exceptions.holds(caller, text, now), None, "{caller} {text}");
        }
        let mut found = Vec::new();
        problems(&rows, "inspect", &mut found);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
