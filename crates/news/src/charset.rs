//! Bytes into text: byte order mark, what the server says, UTF-8 where it is valid, what the page says, a guess.
//! Invariant: any bytes give a text; what cannot be read in it is the replacement character, never another letter.
//! Source: Encoding Standard; HTML standard 13.2.3.

use encoding_rs::{Encoding, UTF_8};
use std::borrow::Cow;

/// Bytes at the beginning in which a document may declare its charset.
const DECLARED_WITHIN: usize = 4096;
/// Bytes that the guess looks at.
const GUESSED_OVER: usize = 64 * 1024;

/// The text of a fetched document.
pub(crate) fn text<'a>(bytes: &'a [u8], content_type: &str) -> Cow<'a, str> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(bytes.get(mark..).unwrap_or_default()).0;
    }
    // Bytes that are valid UTF-8 are UTF-8, whatever is said: no other charset gives that by chance.
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let head = bytes.get(..DECLARED_WITHIN).unwrap_or(bytes);
    let said = label(content_type.as_bytes(), b"charset=")
        .or_else(|| label(head, b"charset="))
        .or_else(|| label(head, b"encoding="))
        .filter(|encoding| *encoding != UTF_8 || mostly_utf8(bytes));
    let encoding = said.unwrap_or_else(|| {
        if mostly_utf8(bytes) {
            return UTF_8;
        }
        let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
        detector.feed(bytes.get(..GUESSED_OVER).unwrap_or(bytes), true);
        detector.guess(None, chardetng::Utf8Detection::Deny)
    });
    // A page that could be read so far is not in UTF-16, whatever it says.
    encoding.output_encoding().decode_without_bom_handling(bytes).0
}

/// The encoding that is named behind `key`.
fn label(text: &[u8], key: &[u8]) -> Option<&'static Encoding> {
    let lower = text.to_ascii_lowercase();
    let at = memchr::memmem::find(&lower, key)? + key.len();
    let value = lower.get(at..)?;
    let start = value.iter().position(|byte| !matches!(byte, b'"' | b'\'' | b' '))?;
    let value = value.get(start..)?;
    let end = value.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"-_:.".contains(byte)));
    Encoding::for_label(value.get(..end.unwrap_or(value.len()))?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_in_the_charset_it_is_in() {
        let russian = "<meta charset=windows-1251>Привет, это новости";
        let bytes = encoding_rs::WINDOWS_1251.encode(russian).0;
        assert_eq!(text(&bytes, "text/html"), russian);
        assert_eq!(text(&bytes, "text/html; charset=\"windows-1251\""), russian);
        let undeclared = "Сегодня в городе открылась большая выставка, сообщают местные новости и радио";
        assert_eq!(text(&encoding_rs::KOI8_R.encode(undeclared).0, ""), undeclared);
        assert_eq!(text("смело".as_bytes(), "text/html; charset=iso-8859-1"), "смело");
        let utf16: Vec<u8> =
            std::iter::once(0xfeff_u16).chain("да".encode_utf16()).flat_map(u16::to_le_bytes).collect();
        assert_eq!(text(&utf16, ""), "да");
    }

    #[test]
    fn damaged_text_keeps_what_can_be_read() {
        let mut bytes = "новости дня".as_bytes().to_vec();
        bytes.insert(4, 0xff);
        assert_eq!(text(&bytes, "text/html; charset=utf-8"), "но\u{fffd}вости дня");
        assert_eq!(text(b"\xff\xfe\xfd", ""), "\u{fffd}", "half a unit of UTF-16");
    }
}
