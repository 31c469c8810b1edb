//! When a schedule is due: five fields as cron has them, in a time zone. Pure. Invariants: a local time that clocks skip
//! comes at the next minute that exists, one that comes twice counts once; the next minute is always later than the one
//! before; a schedule that never comes is refused. Source: news.md section 10.

use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, TimeZone},
};

/// A schedule: which minutes, hours, days, months and days of the week, a bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether both kinds of days are bounded: then one of them suffices.
    either: bool,
}

/// What is wrong with a schedule, and at which character, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CronError {
    /// There are not five fields.
    Fields(usize),
    /// Something stands there that is no number, range or step.
    Form(usize),
    /// A number is out of range; the least and the most.
    Range(usize, u8, u8),
    /// Such a day never comes.
    Never,
}

/// Minutes between which nothing is sent: from one time of the day to another, over midnight where the first is later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quiet {
    from: Time,
    to: Time,
}

/// Days that are looked ahead: every 29th of February comes within eight years.
const AHEAD: i32 = 366 * 9;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    /// Reads five fields: minute, hour, day of the month, month, day of the week.
    pub(super) fn read(written: &str) -> Result<Self, CronError> {
        let mut fields = Vec::new();
        let mut at = None;
        for (index, c) in written.char_indices().chain([(written.len(), ' ')]) {
            match (c.is_whitespace(), at) {
                (false, None) => at = Some(index),
                (true, Some(start)) => {
                    fields.push((written[..start].chars().count() + 1, &written[start..index]));
                    at = None;
                }
                (false, Some(_)) | (true, None) => {}
            }
        }
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(CronError::Fields(
                fields.get(5).map_or(written.chars().count() + 1, |field| field.0),
            ));
        };
        let weekdays = field(*weekday, 0, 7, &WEEKDAYS, 0)?;
        let cron = Self {
            minutes: field(*minute, 0, 59, &[], 0)?,
            hours: field(*hour, 0, 23, &[], 0)?,
            days: field(*day, 1, 31, &[], 0)?,
            months: field(*month, 1, 12, &MONTHS, 1)?,
            // Sunday is both 0 and 7.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either: !day.1.starts_with('*') && !weekday.1.starts_with('*'),
        };
        if cron.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC, None).is_none() {
            return Err(CronError::Never);
        }
        Ok(cron)
    }

    /// The first minute after that moment.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone, quiet: Option<Quiet>) -> Option<Timestamp> {
        let local = zone.to_datetime(after);
        let mut date = local.date();
        let mut from = Some(local.time());
        for _ in 0..AHEAD {
            if self.comes(date) {
                for time in self.times(from).filter(|time| quiet.is_none_or(|quiet| !quiet.holds(*time))) {
                    let at = moment(DateTime::from_parts(date, time), zone)?;
                    if at > after {
                        return Some(at);
                    }
                }
            }
            date = date.checked_add(1.day()).ok()?;
            from = None;
        }
        None
    }

    fn comes(&self, date: Date) -> bool {
        let day = has(self.days, date.day().unsigned_abs());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset().unsigned_abs());
        has(self.months, date.month().unsigned_abs())
            && if self.either { day || weekday } else { day && weekday }
    }

    /// Times of a day, not before the given one's minute.
    fn times(&self, from: Option<Time>) -> impl Iterator<Item = Time> {
        let least = from.map_or(0, |from| i32::from(from.hour()) * 60 + i32::from(from.minute()));
        (least..24 * 60).filter_map(move |minute| {
            let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
            let due = has(self.hours, hour.unsigned_abs()) && has(self.minutes, minute.unsigned_abs());
            if due { Time::new(hour, minute, 0, 0).ok() } else { None }
        })
    }

    /// The least time between two of its next minutes, in seconds.
    pub(super) fn densest(&self, after: Timestamp, zone: &TimeZone, quiet: Option<Quiet>) -> i64 {
        let mut least = i64::MAX;
        let mut last = None;
        let mut at = after;
        for _ in 0..100 {
            let Some(next) = self.next(at, zone, quiet) else { break };
            if let Some(last) = last {
                least = least.min(next.as_second() - last);
            }
            last = Some(next.as_second());
            at = next;
        }
        least
    }
}

impl Quiet {
    /// Reads `22:00-07:00`.
    pub(super) fn read(written: &str) -> Option<Self> {
        let (from, to) = written.split_once('-')?;
        let quiet = Self { from: clock(from)?, to: clock(to)? };
        (quiet.from != quiet.to).then_some(quiet)
    }

    fn holds(self, time: Time) -> bool {
        if self.from < self.to {
            self.from <= time && time < self.to
        } else {
            time >= self.from || time < self.to
        }
    }
}

/// A time of the day: `8:00`, `08:00` or `8`.
pub(super) fn clock(written: &str) -> Option<Time> {
    let (hour, minute) = written.trim().split_once(':').unwrap_or((written.trim(), "0"));
    let plain =
        |text: &str| !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(hour) || !plain(minute) {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

/// When a local time is: of two the first, of none the minute at which the clocks went forward.
fn moment(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
        AmbiguousOffset::Gap { before, .. } => {
            let within = before.to_timestamp(local).ok()?;
            let change = zone.preceding(within.checked_add(1.second()).ok()?).next()?;
            Some(change.timestamp())
        }
    }
}

fn has(bits: u64, bit: u8) -> bool {
    bits >> bit & 1 == 1
}

/// One field at that character: `*`, numbers or names, ranges, lists, steps.
fn field(
    (at, written): (usize, &str),
    least: u8,
    most: u8,
    names: &[&str],
    first: u8,
) -> Result<u64, CronError> {
    let mut bits = 0;
    let mut at = at;
    for part in written.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let number = |text: &str, at: usize| {
            let lower = text.to_ascii_lowercase();
            if let Some(index) = names.iter().position(|name| *name == lower) {
                return Ok(u8::try_from(index).unwrap_or_default() + first);
            }
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(CronError::Form(at));
            }
            let number = text.parse::<u8>().map_err(|_| CronError::Range(at, least, most))?;
            if (least..=most).contains(&number) { Ok(number) } else { Err(CronError::Range(at, least, most)) }
        };
        let (from, to) = if range == "*" {
            (least, most)
        } else if let Some((from, to)) = range.split_once('-') {
            let to_at = at + from.chars().count() + 1;
            let (from, to) = (number(from, at)?, number(to, to_at)?);
            if from > to {
                return Err(CronError::Form(at));
            }
            (from, to)
        } else {
            let one = number(range, at)?;
            (one, if step.is_some() { most } else { one })
        };
        let step_at = at + range.chars().count() + 1;
        let step = match step {
            None => 1,
            Some(step) => match step.parse::<u8>() {
                Ok(step) if step > 0 && step <= most => step,
                Ok(_) => return Err(CronError::Range(step_at, 1, most)),
                Err(_) => return Err(CronError::Form(step_at)),
            },
        };
        for bit in (from..=to).step_by(step.into()) {
            bits |= 1 << bit;
        }
        at += part.chars().count() + 1;
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn next(cron: &str, zone: &str, after: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let at = Cron::read(cron).unwrap().next(after.parse().unwrap(), &zone, None).unwrap();
        at.to_zoned(zone).strftime("%Y-%m-%d %H:%M %a").to_string()
    }

    #[test]
    fn the_next_minute_is_the_one_that_cron_names() {
        let rows = [
            ("0 8 * * *", "2026-11-21T08:00:00Z", "2026-11-22 08:00 Sun"),
            ("0 8 * * *", "2026-11-21T07:59:59Z", "2026-11-21 08:00 Sat"),
            ("*/20 9-10 * * mon-fri", "2026-11-20T10:41:00Z", "2026-11-23 09:00 Mon"),
            ("5,35 * 1 jan *", "2026-11-21T00:00:00Z", "2027-01-01 00:05 Fri"),
            ("0 0 29 2 *", "2026-11-21T00:00:00Z", "2028-02-29 00:00 Tue"),
            ("0 0 13 * 5", "2026-11-21T00:00:00Z", "2026-11-27 00:00 Fri"),
            ("0 0 * * 7", "2026-11-21T00:00:00Z", "2026-11-22 00:00 Sun"),
            ("30/10 6 * * *", "2026-11-21T06:35:00Z", "2026-11-21 06:40 Sat"),
        ];
        for (cron, after, expected) in rows {
            assert_eq!(next(cron, "UTC", after), expected, "{cron}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let rows = [
            ("0 8 * *", CronError::Fields(8)),
            ("0 8 * * * *", CronError::Fields(11)),
            ("60 8 * * *", CronError::Range(1, 0, 59)),
            ("0 8,x * * *", CronError::Form(5)),
            ("0 8 * foo *", CronError::Form(7)),
            ("0 8-25 * * *", CronError::Range(5, 0, 23)),
            ("0 9-8 * * *", CronError::Form(3)),
            ("*/0 8 * * *", CronError::Range(3, 1, 59)),
            ("0 0 31 2 *", CronError::Never),
            ("", CronError::Fields(1)),
        ];
        for (cron, error) in rows {
            assert_eq!(Cron::read(cron), Err(error), "{cron}");
        }
    }

    // Must show 18: three zones over both changes of a year, each day once.
    #[test]
    fn over_both_changes_of_the_clocks_each_day_has_its_minute_once() {
        for (name, changes) in [
            ("Europe/Berlin", [("2026-03-28", "2026-03-30"), ("2026-10-24", "2026-10-26")]),
            ("America/New_York", [("2026-03-07", "2026-03-09"), ("2026-10-31", "2026-11-02")]),
            ("Australia/Lord_Howe", [("2026-04-04", "2026-04-06"), ("2026-10-03", "2026-10-05")]),
        ] {
            let zone = TimeZone::get(name).unwrap();
            let cron = Cron::read("30 2 * * *").unwrap();
            for (from, to) in changes {
                let moment =
                    |day: &str| day.parse::<Date>().unwrap().to_zoned(zone.clone()).unwrap().timestamp();
                let (mut at, end, mut fires) = (moment(from), moment(to), Vec::new());
                while let Some(next) = cron.next(at, &zone, None).filter(|next| *next < end) {
                    assert!(next > at);
                    fires.push(next.to_zoned(zone.clone()).strftime("%d %H:%M").to_string());
                    at = next;
                }
                assert_eq!(fires.len(), 2, "{name} {from}: {fires:?}");
            }
        }
        assert_eq!(
            next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z"),
            "2026-03-29 03:00 Sun",
            "skipped"
        );
        assert_eq!(
            next("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z"),
            "2026-10-26 02:30 Mon",
            "the second 02:30"
        );
    }

    #[test]
    fn quiet_hours_are_passed_over_also_around_midnight() {
        let quiet = Quiet::read("22:00-07:30").unwrap();
        let cron = Cron::read("0 * * * *").unwrap();
        let at =
            |after: &str| cron.next(after.parse().unwrap(), &TimeZone::UTC, Some(quiet)).unwrap().to_string();
        assert_eq!(at("2026-11-21T20:30:00Z"), "2026-11-21T21:00:00Z");
        assert_eq!(at("2026-11-21T21:00:00Z"), "2026-11-22T08:00:00Z");
        assert_eq!(cron.densest(Timestamp::UNIX_EPOCH, &TimeZone::UTC, None), 3600);
        for wrong in ["22:00", "25:00-7:00", "7-7", "a-b"] {
            assert_eq!(Quiet::read(wrong), None, "{wrong}");
        }
    }

    /// Every minute, asked one by one.
    fn naive(cron: &Cron, after: Timestamp) -> Option<Timestamp> {
        let mut at = Timestamp::from_second(after.as_second().div_euclid(60) * 60).unwrap();
        for _ in 0..60 * 24 * 40 {
            at += 60.seconds();
            let local = TimeZone::UTC.to_datetime(at);
            let bits = has(cron.minutes, local.minute().unsigned_abs())
                && has(cron.hours, local.hour().unsigned_abs());
            if bits && cron.comes(local.date()) {
                return Some(at);
            }
        }
        None
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_next_minute_is_the_first_that_fits(
            minute in 0..60_u8, step in 1..30_u8, hour in 0..24_u8, weekday in 0..8_u8, after in 0..4_000_000_000_i64,
        ) {
            let after = Timestamp::from_second(after).unwrap();
            for written in [format!("{minute} {hour} * * {weekday}"), format!("*/{step} * * * *"), format!("{minute} */3 */7 * *")] {
                let cron = Cron::read(&written).unwrap();
                prop_assert_eq!(cron.next(after, &TimeZone::UTC, None), naive(&cron, after), "{}", written);
            }
        }

        #[test]
        fn no_text_breaks_the_reader(written in ".{0,40}") {
            let _read = Cron::read(&written);
        }
    }
}
