//! How one event becomes one line: JSON, or text for people. Invariant: every string that comes from outside the
//! source code (the message, and every string, debug and error value) passes redaction before it is escaped, so no
//! log call can bypass it; numbers and booleans are written as they are, and so are strings that are too short and too
//! plain to hide anything (a test holds that against redaction itself). One event is one line whatever it holds.
//!
//! Members: `timestamp` (RFC 3339, UTC), `level`, `target`, `message`, then the event's own fields. Spans are not
//! written: what belongs to a request is a field of its events.

use crate::audit::Redact;
use std::{
    fmt::{self, Write as _},
    panic::catch_unwind,
};
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

/// How lines look.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub(super) json: bool,
    /// Colours, for a terminal.
    pub(super) colour: bool,
    pub(super) redact: Redact,
    /// Longest value of one field, in bytes before redaction.
    pub(super) max_field_bytes: usize,
}

/// Members that every line has; a field of the same name gets a low line in front.
const RESERVED: [&str; 3] = ["timestamp", "level", "target"];

impl Style {
    /// Appends the event as one line.
    pub(super) fn write(&self, out: &mut String, event: &Event<'_>, now: jiff::Timestamp) {
        let meta = event.metadata();
        let mut fields = Fields { style: self, out, scratch: String::new(), message: String::new() };
        if self.json {
            fields.out.push_str("{\"timestamp\":\"");
            time(fields.out, now);
            fields.out.extend([
                "\",\"level\":\"",
                meta.level().as_str(),
                "\",\"target\":\"",
                meta.target(),
                "\"",
            ]);
            event.record(&mut fields);
            fields.out.push_str("}\n");
            return;
        }
        // The message stands before the fields, wherever the event has it: fields go aside first.
        let mut tail = String::new();
        let mut fields = Fields { out: &mut tail, ..fields };
        event.record(&mut fields);
        let message = fields.message;
        let (on, off) = if self.colour { (colour(*meta.level()), "\x1b[0m") } else { ("", "") };
        let (level, target) = (meta.level(), meta.target());
        put(out, format_args!("{now:.3} {on}{level:>5}{off} {target}: {message}{tail}\n"));
    }

    /// Cut, redacted, and gone altogether when redaction fails.
    fn safe(&self, text: &str, then: impl FnOnce(&str)) {
        let cut = text.floor_char_boundary(self.max_field_bytes);
        let redact = self.redact;
        match catch_unwind(|| redact(&text[..cut])) {
            Ok(safe) if cut < text.len() => then(&format!("{safe}… ({} bytes)", text.len())),
            Ok(safe) => then(&safe),
            Err(_) => then("[not redactable]"),
        }
    }
}

const fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

struct Fields<'a> {
    style: &'a Style,
    out: &'a mut String,
    scratch: String,
    /// Only for text.
    message: String,
}

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        let name = field.name();
        // Pushed, not formatted: every request writes a dozen of these.
        let parts = match (self.style.json, RESERVED.contains(&name)) {
            (true, true) => [",\"_", name, "\":"],
            (true, false) => [",\"", name, "\":"],
            (false, _) => [" ", name, "="],
        };
        self.out.extend(parts);
    }

    fn text(&mut self, field: &Field, text: &str) {
        let (json, message) = (self.style.json, field.name() == "message");
        if json || !message {
            self.name(field);
        }
        if harmless(text) && (json || !message) {
            let quote = if json { "\"" } else { "" };
            self.out.extend([quote, text, quote]);
            return;
        }
        let style = self.style;
        style.safe(text, |safe| match (json, message) {
            (true, _) => escape_json(self.out, safe),
            (false, true) => escape_text(&mut self.message, safe),
            (false, false) => escape_text(self.out, safe),
        });
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        put(self.out, format_args!("{value}"));
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        put(&mut scratch, format_args!("{value:?}"));
        self.text(field, &scratch);
        self.scratch = scratch;
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(next) = cause {
            put(&mut text, format_args!(": {next}"));
            cause = next.source();
        }
        self.text(field, &text);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.name(field);
        self.out.push_str(itoa::Buffer::new().format(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        self.out.push_str(itoa::Buffer::new().format(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for what is not a number.
        if value.is_finite() { self.plain(field, value) } else { self.plain(field, "null") }
    }
}

/// Longest plain word that hides nothing: the shortest key is longer.
const PLAIN: usize = 12;
/// Fewest digits of a number that tells of a person.
const TELLING: usize = 5;
/// Longest word of small letters alone that hides nothing.
const LETTERS: usize = 20;
/// Our own ids: what they begin with, and how long they are. They name requests, incidents and keys, and open nothing.
const IDS: [(&str, usize); 3] = [("req_", 30), ("inc_", 30), ("key:", 16)];

/// Whether nothing can hide in a text and nothing of it has to be escaped: a short word, or one of our own ids, which
/// are drawn from an alphabet of their own behind a prefix of their own.
pub(super) fn harmless(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() <= PLAIN {
        let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
        if digits < TELLING && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
            return true;
        }
    }
    if bytes.len() <= LETTERS && bytes.iter().all(u8::is_ascii_lowercase) {
        return true;
    }
    let drawn = |text: &str, of: fn(&u8) -> bool| text.bytes().all(|byte| byte.is_ascii_digit() || of(&byte));
    let ours =
        IDS.into_iter().find_map(|(before, long)| text.strip_prefix(before).filter(|_| text.len() == long));
    ours.is_some_and(|rest| drawn(rest, u8::is_ascii_uppercase) || drawn(rest, u8::is_ascii_lowercase))
}

/// A moment in RFC 3339 with six digits of a second, which every line begins with: without `fmt`.
pub(super) fn time(out: &mut String, now: jiff::Timestamp) {
    let (seconds, nanos) = (now.as_second(), now.subsec_nanosecond());
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    // Moments before 1970 and after 9999 are written by those who know how.
    let Some((year, month, day)) = date(days).filter(|_| nanos >= 0) else {
        put(out, format_args!("{now:.6}"));
        return;
    };
    let micros = nanos.unsigned_abs() / 1_000;
    let two = |value: i64| [digit(value / 10), digit(value % 10)];
    let [a, b] = two(year / 100);
    let [c, d] = two(year % 100);
    let [e, f] = two(month);
    let [g, h] = two(day);
    let [i, j] = two(second / 3_600);
    let [k, l] = two(second / 60 % 60);
    let [m, n] = two(second % 60);
    let [o, p] = two(i64::from(micros / 10_000));
    let [q, r] = two(i64::from(micros / 100 % 100));
    let [s, t] = two(i64::from(micros % 100));
    let text =
        [a, b, c, d, '-', e, f, '-', g, h, 'T', i, j, ':', k, l, ':', m, n, '.', o, p, q, r, s, t, 'Z'];
    out.extend(text);
}

/// Seconds of a day.
const DAY: i64 = 86_400;
/// Days from the first of January 1970 to the last of December 9999.
const LAST_DAY: i64 = 2_932_896;

fn digit(value: i64) -> char {
    u32::try_from(value).ok().and_then(|value| char::from_digit(value, 10)).unwrap_or('?')
}

/// Year, month and day of a day since 1970. Source: Howard Hinnant, "chrono-compatible low-level date algorithms".
fn date(days: i64) -> Option<(i64, i64, i64)> {
    if !(0..=LAST_DAY).contains(&days) {
        return None;
    }
    // Years begin in March, so that the day that comes every fourth year is the last of one.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    Some((year + era * 400 + later, month, day))
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing into a String fails only when a foreign Debug or Display does; the line then holds what came before.
    let _ok = out.write_fmt(text);
}

/// A JSON string, quotes included.
pub(crate) fn escape_json(out: &mut String, text: &str) {
    out.push('"');
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let mut from = 0;
    // Most texts hold nothing to escape; looking for it without stopping is vector code.
    let holds = text.bytes().fold(false, |holds, byte| holds | special(byte));
    for (at, byte) in text.bytes().enumerate().take(if holds { usize::MAX } else { 0 }) {
        if !special(byte) {
            continue;
        }
        out.push_str(&text[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte => put(out, format_args!("\\u{byte:04x}")),
        }
    }
    out.push_str(&text[from..]);
    out.push('"');
}

/// Text for a terminal: nothing in it can begin a line or move the cursor.
fn escape_text(out: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
}
