//! Names of backups, and which of them go. Pure.
//!
//! Invariants: a name says when it was made to the second, in UTC, and nothing else; sorted by name is sorted by time;
//! of those that go the newest is never one.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use std::{fmt, str::FromStr};

/// How a time stands in a name.
const STAMP: &str = "%Y%m%dT%H%M%SZ";
/// Characters of a time in a name.
const STAMP_LENGTH: usize = 16;
/// Before the time in the name of a database that was replaced by a backup.
const BEFORE: &str = "pre-restore-";
const OURS: &str = "portcullis-";

/// What a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A SQLite database.
    Database,
    /// The rows of a PostgreSQL database.
    Dump,
}

/// The name of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    at: Timestamp,
    replaced: bool,
    kind: Kind,
}

/// Which backup is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The newest valid one.
    Latest,
    /// The n-th of the list, from 1.
    Number(usize),
    /// The one of that file name.
    Named(String),
}

impl FromStr for Which {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(number) => Self::Number(number),
            Err(_) if text == "latest" => Self::Latest,
            Err(_) => Self::Named(text.to_owned()),
        })
    }
}

impl Name {
    /// A backup made then.
    pub(crate) const fn new(at: Timestamp, kind: Kind) -> Self {
        Self { at, replaced: false, kind }
    }

    /// A database that was replaced then.
    pub(crate) const fn replaced(at: Timestamp, kind: Kind) -> Self {
        Self { at, replaced: true, kind }
    }

    /// Reads a file's name; nothing when it is no backup's, and above all no path.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (kind, rest) = match text.strip_suffix(".db") {
            Some(rest) => (Kind::Database, rest),
            None => (Kind::Dump, text.strip_suffix(".dump")?),
        };
        let (replaced, stamp) = match rest.strip_prefix(BEFORE) {
            Some(stamp) => (true, stamp),
            None => (false, rest.strip_prefix(OURS)?),
        };
        if stamp.len() != STAMP_LENGTH {
            return None;
        }
        let at = DateTime::strptime(STAMP, stamp).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let name = Self { at, replaced, kind };
        // What was read loosely does not come out the same.
        (name.to_string() == text).then_some(name)
    }

    pub(crate) const fn at(&self) -> Timestamp {
        self.at
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it was made as a backup.
    pub(crate) const fn is_ours(&self) -> bool {
        !self.replaced
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = if self.replaced { BEFORE } else { OURS };
        let suffix = match self.kind {
            Kind::Database => "db",
            Kind::Dump => "dump",
        };
        write!(f, "{before}{}.{suffix}", self.at.strftime(STAMP))
    }
}

/// The times of those that go, of `times` (newest first): what is too old, and what is too many. Of the newer half of
/// `keep` none goes for being too many; of the others the one that lies closest between its neighbours, so that what
/// stays is spread over the whole age. The newest stays however old it is.
pub(crate) fn surplus(times: &[Timestamp], now: Timestamp, keep: usize, max_age_secs: i64) -> Vec<Timestamp> {
    let Some((newest, others)) = times.split_first() else { return Vec::new() };
    let too_old = |at: &&Timestamp| now.as_second() - at.as_second() > max_age_secs;
    let mut going: Vec<Timestamp> = others.iter().filter(too_old).copied().collect();
    let mut staying: Vec<Timestamp> = std::iter::once(newest).chain(others).copied().collect();
    staying.retain(|at| !going.contains(at));
    let spread_from = keep.div_ceil(2).max(1);
    while staying.len() > keep.max(1) {
        let gap = |index: usize| match (staying.get(index - 1), staying.get(index + 1)) {
            (Some(newer), Some(older)) => newer.as_second() - older.as_second(),
            // The oldest reaches furthest back.
            (Some(_) | None, None) | (None, Some(_)) => i64::MAX,
        };
        let Some(closest) = (spread_from..staying.len()).min_by_key(|index| gap(*index)) else { break };
        going.push(staying.remove(closest));
    }
    going
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_name_is_read_back_and_nothing_else_is_one() {
        for (name, text) in [
            (Name::new(at(1_795_305_599), Kind::Database), "portcullis-20261121T235959Z.db"),
            (Name::new(at(0), Kind::Dump), "portcullis-19700101T000000Z.dump"),
            (Name::replaced(at(0), Kind::Database), "pre-restore-19700101T000000Z.db"),
        ] {
            assert_eq!((name.to_string().as_str(), Name::read(text)), (text, Some(name)));
        }
        for text in [
            "portcullis-20261122T005959Z.db.sha256",
            ".portcullis-20261122T005959Z.db.tmp",
            "../portcullis-20261122T005959Z.db",
            "portcullis-20261322T005959Z.db",
            "portcullis-2026112T0005959Z.db",
            "portcullis-+0261122T00595Z.db",
            "portcullis-20261122T005959.db",
            "portcullis.db",
            "",
        ] {
            assert_eq!(Name::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_backup_is_meant_by_number_by_name_or_as_the_latest() {
        assert_eq!("latest".parse(), Ok(Which::Latest));
        assert_eq!("3".parse(), Ok(Which::Number(3)));
        assert_eq!("x".parse(), Ok(Which::Named("x".into())));
    }

    // req: S1-10
    #[test]
    fn a_week_of_backups_every_minute_leaves_twenty_that_reach_back_over_the_week() {
        let (mut times, week) = (Vec::<Timestamp>::new(), 7 * 86_400);
        for minute in 0..20_160 {
            let now = at(minute * 60);
            times.insert(0, now);
            let going = surplus(&times, now, 20, week);
            times.retain(|time| !going.contains(time));
            assert!(times.len() <= 20 && times.contains(&now));
        }
        let newest = times[0].as_second();
        let ages: Vec<i64> = times.iter().map(|time| (newest - time.as_second()) / 60).collect();
        assert_eq!(ages.get(..10), Some([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].as_slice()), "{ages:?}");
        assert!(ages.iter().filter(|age| **age > 1440).count() >= 4, "{ages:?}");
        let gaps = ages.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(gaps <= 4320, "no hole of more than three days: {ages:?}");
    }

    #[test]
    fn what_is_too_old_goes_unless_it_is_the_newest() {
        let times = [at(100), at(50), at(0)];
        assert_eq!(surplus(&times, at(1000), 20, 10), [at(50), at(0)]);
        assert_eq!(surplus(&times, at(100), 20, 50), [at(0)]);
        assert_eq!(surplus(&[], at(0), 20, 10), []);
    }

    proptest! {
        #[test]
        fn the_newest_half_stays_and_never_more_than_wanted(
            mut seconds in proptest::collection::vec(0..100_000_i64, 0..60), keep in 2..30_usize,
        ) {
            seconds.sort_unstable_by(|a, b| b.cmp(a));
            seconds.dedup();
            let times: Vec<_> = seconds.iter().map(|second| at(*second)).collect();
            let going = surplus(&times, at(100_000), keep, 1_000_000);
            let staying: Vec<_> = times.iter().filter(|time| !going.contains(time)).collect();
            prop_assert_eq!(staying.len(), times.len().min(keep));
            prop_assert!(times.iter().take(keep / 2).all(|time| staying.contains(&time)));
            prop_assert_eq!(staying.len() + going.len(), times.len());
        }
    }
}
