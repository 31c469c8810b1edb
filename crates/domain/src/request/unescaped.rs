//! What the inside of a JSON string says. Long prompts hold an escape for each line: what stands between two is copied at
//! once, which takes a third of the time of a whole parser.
//! Invariant: the same as the JSON parser gives for the string.
//!
//! Source: RFC 8259, section 7.

/// Nothing where an escape is none or half of a pair.
pub(super) fn unescaped(raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let (said, length) = match escape.as_bytes().get(1)? {
            b'n' => ('\n', 2),
            b't' => ('\t', 2),
            b'r' => ('\r', 2),
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'u' => numbered(escape.as_bytes())?,
            same @ (b'"' | b'\\' | b'/') => (char::from(*same), 2),
            _ => return None,
        };
        out.push(said);
        rest = &escape[length..];
    }
    out.push_str(rest);
    Some(out)
}

/// The character of an escape by number and the length of both: one unit of UTF-16 or a pair.
fn numbered(escape: &[u8]) -> Option<(char, usize)> {
    let first = utf16_unit(escape)?;
    if let Some(said) = char::from_u32(first.into()) {
        return Some((said, 6));
    }
    let said = char::decode_utf16([first, utf16_unit(escape.get(6..)?)?]).next()?.ok()?;
    Some((said, 12))
}

/// The UTF-16 unit of the escape (`\u` and four hexadecimal digits) that the bytes begin with.
#[must_use]
pub fn utf16_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.get(..6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_of_pairs_and_what_is_no_escape_say_nothing() {
        let bad = [
            r"\ud800",
            r"\ud800x",
            r"\ud800\n",
            r"\ud800\u0041",
            r"\udc00\ud800",
            r"\u12",
            r"\u+123",
            r"\x",
            r"a\",
            r"\u12é4",
        ];
        for bad in bad {
            assert_eq!(unescaped(bad), None, "{bad}");
            assert!(serde_json::from_str::<String>(&format!("\"{bad}\"")).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_string_says_what_the_parser_reads(
            pieces in prop::collection::vec(
                prop_oneof![
                    "[^\"\\\\\u{0}-\u{1f}]{0,20}", r#"\\["\\/bfnrt]"#, r"\\u[0-9a-fA-F]{4}", r"\\u[dD][89abAB][0-9a-f]{2}\\u[dD][c-fC-F][0-9a-f]{2}",
                ],
                0..12,
            ),
        ) {
            let inside = pieces.concat();
            prop_assert_eq!(unescaped(&inside), serde_json::from_str::<String>(&format!("\"{inside}\"")).ok());
        }
    }
}
