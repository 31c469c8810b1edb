//! Server-sent events as bytes: where one ends, and what its data is. Source: WHATWG HTML, "Server-sent events"; line
//! ends LF and CRLF.

use memchr::memchr_iter;
use std::borrow::Cow;

/// The data of an event; none when it has none (comments, names, retry times).
#[must_use]
pub fn data_of(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut data: Option<Cow<'_, [u8]>> = None;
    for line in event.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(value) = line.strip_prefix(b"data:") else { continue };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &mut data {
            None => data = Some(Cow::Borrowed(value)),
            Some(all) => {
                let all = all.to_mut();
                all.push(b'\n');
                all.extend_from_slice(value);
            }
        }
    }
    data
}

/// Where the first event ends: behind its blank line.
#[must_use]
pub fn first_end(bytes: &[u8]) -> Option<usize> {
    memchr_iter(b'\n', bytes).find_map(|at| blank_line(bytes, at))
}

/// Where the last whole event ends, looking from `from` on.
#[must_use]
pub fn last_end(bytes: &[u8], from: usize) -> Option<usize> {
    memchr_iter(b'\n', &bytes[from..]).rev().find_map(|at| blank_line(bytes, from + at))
}

/// The end of the blank line that follows the line end at `at`.
fn blank_line(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    }
}
