//! What the head of an answer says. Invariant: nothing a site writes there is believed beyond its bound.

use http::{HeaderMap, HeaderName, header};
use std::time::Duration;

/// Longest validator or type that is kept, in bytes.
const MAX_FIELD: usize = 512;

/// A field in one line of printable text.
pub(crate) fn field(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty() && value.len() <= MAX_FIELD).then(|| value.to_owned())
}

/// Media type and charset, both in lower case.
pub(crate) fn content_type(headers: &HeaderMap) -> (Option<String>, Option<String>) {
    let Some(value) = field(headers, &header::CONTENT_TYPE) else { return (None, None) };
    let mut parts = value.split(';').map(|part| part.trim().to_ascii_lowercase());
    let kind = parts.next().filter(|kind| kind.contains('/'));
    let charset = parts.find_map(|part| {
        let value = part.strip_prefix("charset")?.trim_start().strip_prefix('=')?;
        Some(value.trim().trim_matches('"').to_owned()).filter(|charset| !charset.is_empty())
    });
    (kind, charset)
}

/// How long a site asks to be left alone: seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, unix_secs: i64) -> Option<Duration> {
    let value = field(headers, &header::RETRY_AFTER)?;
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = jiff::fmt::rfc2822::parse(&value).ok()?.timestamp().as_second();
    Some(Duration::from_secs(u64::try_from(at - unix_secs).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn type_and_charset_are_read_as_sites_write_them() {
        for (said, kind, charset) in [
            ("text/html", Some("text/html"), None),
            ("Text/HTML; Charset=\"UTF-8\"", Some("text/html"), Some("utf-8")),
            ("text/html;charset = windows-1251;q=1", Some("text/html"), Some("windows-1251")),
            ("html", None, None),
            ("text/plain; charset=", Some("text/plain"), None),
        ] {
            let found = content_type(&with(header::CONTENT_TYPE, said));
            assert_eq!((found.0.as_deref(), found.1.as_deref()), (kind, charset), "{said}");
        }
    }

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_by_a_date() {
        let told = |said| retry_after(&with(header::RETRY_AFTER, said), 784_111_777);
        assert_eq!(told("120"), Some(Duration::from_secs(120)));
        assert_eq!(told("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(told("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(told("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!((told("soon"), told("-5"), told("1.5")), (None, None, None));
    }
}
