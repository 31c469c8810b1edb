//! Days and times as people have them. Pure. Invariant: an unknown zone is UTC. Source: news.md sections 1 and 13.

use super::moment;
use jiff::{ToSpan as _, tz::TimeZone};

/// A zone by its IANA name; UTC for an empty or unknown one.
pub(super) fn zone(name: &str) -> TimeZone {
    if name.is_empty() { TimeZone::UTC } else { TimeZone::get(name).unwrap_or(TimeZone::UTC) }
}

/// The day of a moment in a zone, as `2026-11-21`.
pub(super) fn day(at: i64, zone_name: &str) -> String {
    moment(at).to_zoned(zone(zone_name)).date().to_string()
}

/// When the next day begins, Unix milliseconds.
pub(super) fn next_day(at: i64, zone_name: &str) -> i64 {
    let zone = zone(zone_name);
    let tomorrow = moment(at).to_zoned(zone.clone()).date().checked_add(1.day());
    let begins = tomorrow.and_then(|date| date.to_zoned(zone));
    begins.map_or(at, |begins| begins.timestamp().as_millisecond())
}

/// A moment as `21 Nov 08:00` would be read in any language: `2026-11-21 08:00`, with the zone's name.
pub(super) fn clock(at: i64, zone_name: &str) -> String {
    let zoned = moment(at).to_zoned(zone(zone_name));
    let name = if zone_name.is_empty() { "UTC" } else { zone_name };
    format!("{} ({name})", zoned.strftime("%Y-%m-%d %H:%M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_of_its_zone_also_where_clocks_change() {
        let at = "2026-10-24T23:30:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
        assert_eq!((day(at, ""), day(at, "Europe/Berlin")), ("2026-10-24".into(), "2026-10-25".into()));
        let next = next_day(at, "Europe/Berlin");
        assert_eq!(moment(next).to_string(), "2026-10-25T23:00:00Z", "that day has 25 hours");
        assert_eq!(next_day(at, "Nowhere/Else"), next_day(at, ""));
        assert_eq!(clock(at, "Asia/Tokyo"), "2026-10-25 08:30 (Asia/Tokyo)");
    }
}
