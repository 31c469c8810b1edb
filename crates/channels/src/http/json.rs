//! Reading untrusted JSON within bounds: nesting is counted before anything recurses, spans are found by address
//! inside the borrowed body, and surrogate escapes are checked without unescaping. Source: RFC 8259 sections 7, 9.

use portcullis_domain::{Failure, InputCode, utf16_unit};
use serde::Deserialize;
use std::ops::Range;

/// Refuses bodies nested deeper than `most`, in one pass that only looks at structure. Broken JSON passes: the
/// parser says better what is wrong with it.
pub(super) fn check_depth(body: &[u8], most: usize) -> Result<(), Failure> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = body.get(at) {
        match byte {
            b'"' => at = string_end(body, at + 1),
            b'[' | b'{' => {
                depth += 1;
                if depth > most {
                    let message = format!("The body is nested deeper than {most} levels.");
                    return Err(Failure::InvalidInput {
                        code: InputCode::InvalidValue,
                        message: message.into(),
                        param: None,
                    });
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Position of the quote that ends the string whose inside begins at `at`, or the end of the body.
fn string_end(body: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr::memchr2(b'"', b'\\', &body[at.min(body.len())..]) {
        at += found;
        if body[at] == b'"' {
            return at;
        }
        at += 2;
    }
    body.len()
}

/// The insides of all strings of a valid JSON text, names of members included, in order.
pub(super) fn strings(text: &str) -> Vec<Range<usize>> {
    let (bytes, mut found, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(quote) = memchr::memchr(b'"', bytes.get(at..).unwrap_or_default()) {
        let start = at + quote + 1;
        let end = string_end(bytes, start);
        found.push(start..end);
        at = end + 1;
    }
    found
}

/// Parses the body; what is wrong is told by line and column, never by quoting it.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = match error.classify() {
            serde_json::error::Category::Eof => "The body ends before the JSON is complete.".to_owned(),
            serde_json::error::Category::Data if column == 0 || line == 0 => {
                "The body must be a JSON object, each member given once.".to_owned()
            }
            serde_json::error::Category::Data => format!(
                "The body must be a JSON object with each member given once and of its type; see line {line}, column {column}."
            ),
            serde_json::error::Category::Io | serde_json::error::Category::Syntax => {
                format!("The body is not valid JSON: line {line}, column {column}.")
            }
        };
        Failure::InvalidInput { code: InputCode::InvalidValue, message: message.into(), param: None }
    })
}

/// Where `inner`, borrowed from `body`, lies in it.
pub(super) fn span(body: &[u8], inner: &str) -> Range<usize> {
    let start = inner.as_ptr() as usize - body.as_ptr() as usize;
    start..start + inner.len()
}

/// Whether the inside of a (syntactically valid) JSON string holds escapes.
///
/// # Errors
/// An unpaired surrogate escape, which has no meaning as text.
pub(super) fn escapes(inside: &str) -> Result<bool, ()> {
    let bytes = inside.as_bytes();
    let Some(first) = memchr::memchr(b'\\', bytes) else { return Ok(false) };
    let mut at = first;
    while let Some(found) = memchr::memchr(b'\\', &bytes[at..]) {
        at += found;
        match utf16_unit(&bytes[at..]) {
            Some(0xD800..=0xDBFF) if matches!(utf16_unit(&bytes[at + 6..]), Some(0xDC00..=0xDFFF)) => {
                at += 12
            }
            Some(0xD800..=0xDFFF) => return Err(()),
            Some(_) => at += 6,
            None => at += 2,
        }
        if at >= bytes.len() {
            break;
        }
    }
    Ok(true)
}
