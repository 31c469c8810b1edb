//! Dates as feeds and pages write them. Invariant: what is not surely a date is none; a date without zone is UTC.
//! Source: RFC 9557 and RFC 3339, RFC 2822 with the liberties that feeds take.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    tz::{Offset, TimeZone},
};

/// Longest text that is looked at, in bytes.
const LONGEST: usize = 64;

/// Unix milliseconds.
pub(crate) fn read(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.len() > LONGEST {
        return None;
    }
    let digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    if (0..4).all(digit) && text.as_bytes().get(4) == Some(&b'-') { iso(text) } else { mail(text) }
}

fn iso(text: &str) -> Option<i64> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    let (date, rest) = text.split_at_checked(10)?;
    let date: Date = date.parse().ok()?;
    let rest = rest.trim_start_matches(['T', 't', ' ']).trim();
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(end);
    at(date, clock, zone)
}

/// `Mon, 06 Sep 2021 16:45:00 +0300` with any of its parts that feeds leave out or write otherwise.
fn mail(text: &str) -> Option<i64> {
    let spaced = text.replace([',', '-'], " ").replace(" +", " + ");
    // A minus belongs to the zone where it stands behind the clock.
    let behind = text.rsplit(' ').next().is_some_and(|zone| zone.starts_with('-') && zone.len() > 4);
    let mut words = spaced.split_whitespace().peekable();
    words.next_if(|word| word.starts_with(|c: char| c.is_alphabetic()) && month(word).is_none());
    let first = words.next()?;
    let second = words.next()?;
    let (day, month) = match month(first) {
        Some(month) => (second, month),
        None => (first, month(second)?),
    };
    let day: i8 = day.trim_end_matches(|c: char| c.is_ascii_alphabetic()).parse().ok()?;
    let year = words.next()?;
    let written: i16 = year.parse().ok()?;
    let year = match (year.len(), written) {
        (2, 0..=69) => 2000 + written,
        (2, _) => 1900 + written,
        (4, _) => written,
        _ => return None,
    };
    let clock = words.next().unwrap_or_default();
    let zone: String = words.collect();
    let zone = if behind { format!("-{zone}") } else { zone };
    at(Date::new(year, month, day).ok()?, clock, &zone)
}

fn month(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let start = word.get(..3)?.to_ascii_lowercase();
    let at = MONTHS.iter().position(|month| *month == start)?;
    i8::try_from(at + 1).ok()
}

fn at(date: Date, clock: &str, zone: &str) -> Option<i64> {
    let mut parts = clock.split(':');
    let mut part = || match parts.next() {
        None | Some("") => Some(0),
        Some(part) => part.split('.').next()?.parse::<i8>().ok(),
    };
    let (hour, minute, second) = (part()?, part()?, part()?);
    let time = Time::new(hour, minute, second.min(59), 0).ok()?;
    let zoned = DateTime::from_parts(date, time).to_zoned(TimeZone::fixed(offset(zone.trim())?)).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

fn offset(zone: &str) -> Option<Offset> {
    const NAMED: [(&str, i32); 22] = [
        ("", 0),
        ("z", 0),
        ("utc", 0),
        ("gmt", 0),
        ("ut", 0),
        ("est", -5),
        ("edt", -4),
        ("cst", -6),
        ("cdt", -5),
        ("mst", -7),
        ("mdt", -6),
        ("pst", -8),
        ("pdt", -7),
        ("wet", 0),
        ("west", 1),
        ("bst", 1),
        ("cet", 1),
        ("cest", 2),
        ("eet", 2),
        ("eest", 3),
        ("msk", 3),
        ("jst", 9),
    ];
    let lower = zone.to_ascii_lowercase();
    if let Some((_, hours)) = NAMED.into_iter().find(|(name, _)| *name == lower) {
        return Offset::from_seconds(hours * 3600).ok();
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone.trim_start_matches(['+', '-']).chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = match digits.len() {
        4 => digits.split_at_checked(2)?,
        2 => (digits.as_str(), "0"),
        _ => return None,
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_feeds_write_them() {
        let noon: i64 = "2021-09-06T12:00:00Z".parse::<Timestamp>().unwrap().as_millisecond();
        for written in [
            "2021-09-06T12:00:00Z",
            "2021-09-06T12:00:00.000Z",
            "2021-09-06T15:00:00+03:00",
            "2021-09-06T15:00:00+0300",
            "2021-09-06 12:00:00",
            "2021-09-06T12:00",
            "Mon, 06 Sep 2021 12:00:00 GMT",
            "Mon, 6 Sep 2021 08:00:00 EDT",
            "06 Sep 2021 15:00 +0300",
            "6 Sep 21 12:00:00 UT",
            "Mon, 06 Sep 2021 07:00:00 -0500",
            "Monday, 06-Sep-21 12:00:00 GMT",
            "September 6, 2021 12:00",
            " Mon,06 Sep 2021 12:00:00 Z ",
        ] {
            assert_eq!(read(written), Some(noon), "{written}");
        }
        assert_eq!(read("2021-09-06"), Some(noon - 12 * 3_600_000));
        for written in [
            "",
            "yesterday",
            "2021-13-40T99:00:00Z",
            "Mon, 99 Sep 2021",
            "06.09.2021",
            "1630929600",
            "Mon, 06 Sep 2021 12:00:00 +99999",
        ] {
            assert_eq!(read(written), None, "{written}");
        }
    }
}
