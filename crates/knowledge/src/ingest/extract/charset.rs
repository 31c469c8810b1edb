//! Bytes into text: byte order mark, declared charset, UTF-8, else a guess. Invariant: text is never made up: bytes
//! that are no text in the charset they must be in are refused, not replaced.

use super::{Hint, Refusal};
use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

/// Bytes at the beginning of a page in which it may declare its charset (HTML standard, 13.2.3.2).
const DECLARED_WITHIN: usize = 1024;
/// Bytes that the guess looks at.
const GUESSED_OVER: usize = 64 * 1024;

/// A text or Markdown file.
///
/// # Errors
/// Bytes that are no text.
pub fn plain(bytes: &[u8], hint: &Hint) -> Result<String, Refusal> {
    decode(bytes, hint.charset.as_deref())
}

/// A page: what its server says, else what it says itself.
///
/// # Errors
/// Bytes that are no text.
pub fn html(bytes: &[u8], hint: &Hint) -> Result<String, Refusal> {
    let own = declared(bytes);
    decode(bytes, hint.charset.as_deref().or(own.as_deref()))
}

/// The charset that a page or an XML file declares near its beginning.
fn declared(bytes: &[u8]) -> Option<String> {
    let head = bytes.get(..DECLARED_WITHIN).unwrap_or(bytes);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let at = head.find("charset").map(|at| at + 7).or_else(|| head.find("encoding=").map(|at| at + 8))?;
    let value = head.get(at..)?.trim_start().strip_prefix('=')?.trim_start().trim_start_matches(['"', '\'']);
    let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || "-_:.".contains(c))).unwrap_or(value.len());
    value.get(..end).filter(|name| !name.is_empty()).map(str::to_owned)
}

fn decode(bytes: &[u8], declared: Option<&str>) -> Result<String, Refusal> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return sound(encoding, bytes.get(mark..).unwrap_or_default());
    }
    if let Some(encoding) = wide(bytes) {
        return sound(encoding, bytes);
    }
    // A file that is valid UTF-8 is UTF-8, whatever it or its server says: no other charset gives that by chance.
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text.to_owned()),
        Err(error) => error.valid_up_to(),
    };
    if let Some(encoding) = declared.and_then(|name| Encoding::for_label(name.as_bytes())) {
        return sound(encoding, bytes);
    }
    if mostly_utf8(bytes) {
        return Err(Refusal::Unreadable(format!("invalid UTF-8 at byte {valid}")));
    }
    let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
    let window = valid.saturating_sub(GUESSED_OVER / 2);
    let end = (window + GUESSED_OVER).min(bytes.len());
    detector.feed(bytes.get(window..end).unwrap_or(bytes), true);
    sound(detector.guess(None, chardetng::Utf8Detection::Deny), bytes)
}

fn sound(encoding: &'static Encoding, bytes: &[u8]) -> Result<String, Refusal> {
    let name = encoding.name();
    encoding
        .decode_without_bom_handling_and_without_replacement(bytes)
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| Refusal::Unreadable(format!("its bytes are no text in {name}")))
}

/// UTF-16 without a mark: every second byte of its beginning is nought.
pub(super) fn wide(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes.get(..512.min(bytes.len() & !1)).filter(|head| head.len() >= 8)?;
    let noughts = |odd: usize| head.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd, most) = (noughts(0), noughts(1), head.len() / 2);
    match (even * 10 >= most * 7 && odd == 0, odd * 10 >= most * 7 && even == 0) {
        (true, _) => Some(UTF_16BE),
        (_, true) => Some(UTF_16LE),
        (false, false) => None,
    }
}

/// Damaged UTF-8 rather than an old charset: most bytes above ASCII stand in valid sequences.
fn mostly_utf8(bytes: &[u8]) -> bool {
    let (mut valid, mut invalid) = (0_usize, 0_usize);
    for part in bytes.utf8_chunks() {
        valid += part.valid().bytes().filter(|byte| !byte.is_ascii()).count();
        invalid += part.invalid().len();
    }
    valid > invalid
}
