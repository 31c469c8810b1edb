//! Windows of time in the budgets' own time zone. Pure: time comes as argument. A day is from midnight to midnight of
//! that zone, so that one with a change of clocks has 23 or 25 hours; a week begins on Monday.
//!
//! Invariant: windows of one kind follow each other without gap or overlap, and time never goes back.

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use portcullis_domain::BudgetWindow;

/// One window: from `start` to before `end`, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// All of time.
const EVER: Span = Span { start: 0, end: i64::MAX };

/// The zone of that name.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// The window of that kind that a moment lies in.
pub(crate) fn span(window: BudgetWindow, zone: &TimeZone, at: i64) -> Span {
    if window == BudgetWindow::Total {
        return EVER;
    }
    let calendar = || -> Result<Span, jiff::Error> {
        let date = Timestamp::from_millisecond(at)?.to_zoned(zone.clone()).date();
        let (first, next) = match window {
            BudgetWindow::Day => (date, date.tomorrow()?),
            BudgetWindow::Week => {
                let back = i64::from(date.weekday().to_monday_zero_offset());
                let first = date.checked_sub(back.days())?;
                (first, first.checked_add(7.days())?)
            }
            BudgetWindow::Month | BudgetWindow::Total => {
                let first = date.first_of_month();
                (first, first.checked_add(1.month())?)
            }
        };
        let begins =
            |date: Date| Ok::<_, jiff::Error>(date.to_zoned(zone.clone())?.timestamp().as_millisecond());
        Ok(Span { start: begins(first)?, end: begins(next)? })
    };
    // Only moments beyond the calendar of the library, 9999 years from now, have no window.
    calendar().unwrap_or(EVER)
}

/// The current windows, computed anew only when the day changes.
#[derive(Debug)]
pub(crate) struct Calendar {
    zone: TimeZone,
    spans: [Span; 4],
    now: i64,
}

impl Calendar {
    pub(crate) fn new(zone: TimeZone, now: i64) -> Self {
        let spans = BudgetWindow::ALL.map(|window| span(window, &zone, now));
        Self { zone, spans, now }
    }

    /// Goes on to `now`, or stays where that is in the past.
    pub(crate) fn advance(&mut self, now: i64) -> i64 {
        self.now = self.now.max(now);
        // Weeks and months end where a day ends.
        if self.now >= self.spans[BudgetWindow::Day as usize].end {
            self.spans = BudgetWindow::ALL.map(|window| span(window, &self.zone, self.now));
        }
        self.now
    }

    /// The current window of that kind.
    pub(crate) const fn current(&self, window: BudgetWindow) -> Span {
        self.spans[window as usize]
    }

    /// The window of that kind that a moment lies in.
    pub(crate) fn at(&self, window: BudgetWindow, at: i64) -> Span {
        span(window, &self.zone, at)
    }

    /// Counts in another zone from now on.
    pub(crate) fn rezone(&mut self, zone: TimeZone) {
        *self = Self::new(zone, self.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BudgetWindow::{Day, Month, Total, Week};

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    const HOUR: i64 = 3_600_000;

    #[test]
    fn days_with_a_change_of_clocks_are_longer_or_shorter_and_begin_at_local_midnight() {
        let amsterdam = zone("Europe/Amsterdam").unwrap();
        for (at, hours, start) in [
            ("2026-03-29T12:00:00Z", 23, "2026-03-28T23:00:00Z"),
            ("2026-10-25T12:00:00Z", 25, "2026-10-24T22:00:00Z"),
            ("2026-11-21T22:59:59Z", 24, "2026-11-20T23:00:00Z"),
            ("2026-11-21T23:00:00Z", 24, "2026-11-21T23:00:00Z"),
        ] {
            let day = span(Day, &amsterdam, ms(at));
            assert_eq!((day.start, day.end - day.start), (ms(start), hours * HOUR), "{at}");
        }
        // Where clocks go forward at midnight itself, the day begins at one.
        let beirut = zone("Asia/Beirut").unwrap();
        let day = span(Day, &beirut, ms("2024-03-31T12:00:00Z"));
        assert_eq!(day.end - day.start, 23 * HOUR);
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let utc = zone("UTC").unwrap();
        let shown = |window, at| {
            let span = span(window, &utc, ms(at));
            let text = |ms| Timestamp::from_millisecond(ms).unwrap().strftime("%m-%d").to_string();
            (text(span.start), text(span.end))
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(shown(Week, "2026-11-21T10:00:00Z"), pair("11-16", "11-23"));
        assert_eq!(shown(Week, "2026-11-22T23:59:59Z"), pair("11-16", "11-23"));
        assert_eq!(shown(Week, "2026-11-23T00:00:00Z"), pair("11-23", "11-30"));
        assert_eq!(shown(Month, "2028-02-29T23:59:59Z"), pair("02-01", "03-01"));
        assert_eq!(shown(Month, "2026-12-31T23:59:59Z"), pair("12-01", "01-01"));
        assert_eq!(span(Total, &utc, 7), EVER);
    }

    #[test]
    fn windows_follow_each_other_without_gap_over_years_in_any_zone() {
        for name in
            ["UTC", "Europe/Amsterdam", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "Asia/Beirut"]
        {
            let zone = zone(name).unwrap();
            for window in [Day, Week, Month] {
                let mut at = span(window, &zone, ms("2011-01-01T00:00:00Z"));
                while at.end < ms("2028-01-01T00:00:00Z") {
                    let next = span(window, &zone, at.end);
                    assert_eq!(next.start, at.end, "{name} {window:?}");
                    assert_eq!(span(window, &zone, at.end - 1), at, "{name} {window:?}");
                    at = next;
                }
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_changes_no_window() {
        let mut calendar = Calendar::new(zone("UTC").unwrap(), ms("2026-11-21T23:59:59Z"));
        let before = calendar.current(Day);
        calendar.advance(ms("2026-11-22T00:00:00Z"));
        let after = calendar.current(Day);
        assert_eq!(after.start, before.end);
        calendar.advance(ms("2026-11-21T23:59:59Z"));
        assert_eq!(calendar.current(Day), after);
    }
}
