//! Forms with files (`multipart/form-data`), read from a body that is whole and bounded already. Invariants: a part is a
//! piece of that body, never a copy; a name that was sent is never a path; what is wrong is told without quoting it.
//! Source: RFC 7578, RFC 2046 section 5.1.

use bytes::Bytes;
use http::{HeaderMap, header};
use memchr::memmem;
use portcullis_domain::Failure;

/// Longest boundary, in bytes (RFC 2046).
const MAX_BOUNDARY: usize = 70;
/// Longest head of one part, in bytes.
const MAX_HEAD: usize = 8192;
/// Longest name of a file, in bytes; a longer one keeps its end, which tells the kind.
const MAX_NAME: usize = 200;

/// One part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The field.
    pub(super) field: String,
    /// Name of the file, without folders; none: the part is a plain value.
    pub(super) file: Option<String>,
    /// What was sent.
    pub(super) bytes: Bytes,
}

/// The boundary of a form; none when the body is something else.
pub(super) fn boundary(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (kind, rest) = value.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let found = parameter(rest, "boundary")?;
    (1..=MAX_BOUNDARY).contains(&found.len()).then_some(found)
}

/// The parts of a form, in order.
///
/// # Errors
/// A body that is no such form, more than `most` parts.
pub(super) fn parts(body: &Bytes, boundary: &str, most: usize) -> Result<Vec<Part>, Failure> {
    let broken = || Failure::invalid("body", "The form is damaged or cut off; send it again.");
    let line = format!("--{boundary}");
    let between = memmem::Finder::new(&line);
    let mut at = between.find(body).ok_or_else(broken)? + line.len();
    let mut out = Vec::new();
    loop {
        let rest = body.get(at..).ok_or_else(broken)?;
        if rest.starts_with(b"--") {
            return Ok(out);
        }
        if out.len() == most {
            let rule = format!("A form may have at most {most} parts; send more forms.");
            return Err(Failure::invalid("body", rule));
        }
        let begin = memmem::find(rest, b"\r\n").ok_or_else(broken)? + 2;
        let blank = rest.get(begin..).map(|rest| &rest[..rest.len().min(MAX_HEAD)]).and_then(|rest| {
            if rest.starts_with(b"\r\n") {
                Some(0)
            } else {
                memmem::find(rest, b"\r\n\r\n").map(|end| end + 2)
            }
        });
        let end_of_head = at + begin + blank.ok_or_else(broken)?;
        let (field, file) = head(&body[at + begin..end_of_head]).ok_or_else(broken)?;
        let content = end_of_head + 2;
        let mut end = content;
        // A boundary begins a line; the break before it belongs to it.
        loop {
            let found = between.find(body.get(end..).ok_or_else(broken)?).ok_or_else(broken)? + end;
            if found >= content + 2 && &body[found - 2..found] == b"\r\n" {
                end = found;
                break;
            }
            end = found + line.len();
        }
        out.push(Part { field, file, bytes: body.slice(content..end - 2) });
        at = end + line.len();
    }
}

/// Field and file name of a part's head.
fn head(bytes: &[u8]) -> Option<(String, Option<String>)> {
    let text = String::from_utf8_lossy(bytes);
    let said = text.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let (kind, rest) = said.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    let file =
        parameter(rest, "filename*").and_then(|name| extended(&name)).or_else(|| parameter(rest, "filename"));
    Some((parameter(rest, "name")?, file.map(|name| base_name(&name))))
}

/// A parameter behind semicolons, quoted or not.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([';', ' ', '\t']);
        let (name, after) = rest.split_once('=')?;
        let mut value = String::new();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut chars = quoted.char_indices();
            let mut end = None;
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => {
                        end = Some(at + 1);
                        break;
                    }
                    // A path of Windows has backslashes that escape nothing.
                    '\\' if quoted[at + 1..].starts_with(['"', '\\']) => {
                        value.extend(chars.next().map(|(_, c)| c));
                    }
                    c => value.push(c),
                }
            }
            rest = &quoted[end?..];
        } else {
            let end = after.find(';').unwrap_or(after.len());
            after[..end].trim().clone_into(&mut value);
            rest = &after[end..];
        }
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
    }
}

/// `UTF-8''na%C3%AFve.txt`.
fn extended(value: &str) -> Option<String> {
    let encoded = value.strip_prefix("UTF-8''").or_else(|| value.strip_prefix("utf-8''"))?;
    let (mut out, mut bytes) = (Vec::new(), encoded.bytes());
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16)?).ok();
            digit(bytes.next()?)? << 4 | digit(bytes.next()?)?
        } else {
            byte
        });
    }
    String::from_utf8(out).ok()
}

/// The last segment of what may be a path, printable and bounded.
fn base_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let shown: String = last.chars().filter(|c| !c.is_control()).collect();
    shown[shown.ceil_char_boundary(shown.len().saturating_sub(MAX_NAME))..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &str) -> Result<Vec<Part>, Failure> {
        parts(&Bytes::copy_from_slice(body.as_bytes()), "b0", 4)
    }

    fn part(field: &str, file: Option<&str>, bytes: &'static str) -> Part {
        Part { field: field.into(), file: file.map(Into::into), bytes: Bytes::from_static(bytes.as_bytes()) }
    }

    #[test]
    fn a_form_as_browsers_and_curl_send_it_is_read_in_order() {
        let body = "--b0\r\nContent-Disposition: form-data; name=\"collection\"\r\n\r\nwork\r\n--b0\r\n\
                    Content-Disposition: form-data; name=\"file\"; filename=\"C:\\docs\\a;b \\\"1\\\".md\"\r\n\
                    Content-Type: text/markdown\r\n\r\n# Title\r\n\r\nNot --b0 a border\r\n\r\n--b0--\r\n";
        let expected = [
            part("collection", None, "work"),
            part("file", Some("a;b \"1\".md"), "# Title\r\n\r\nNot --b0 a border\r\n"),
        ];
        assert_eq!(read(body).unwrap(), expected);
        let empty = "--b0\r\ncontent-disposition: form-data; name=f; filename*=UTF-8''na%C3%AFve.txt\r\n\r\n\r\n--b0--";
        assert_eq!(read(empty).unwrap(), [part("f", Some("naïve.txt"), "")]);
        assert_eq!(read("--b0--\r\n").unwrap(), []);
    }

    #[test]
    fn a_form_that_is_cut_off_or_has_too_many_parts_is_refused() {
        let one = "--b0\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n";
        assert!(read(&format!("{}--b0--", one.repeat(4))).is_ok());
        assert!(read(&format!("{}--b0--", one.repeat(5))).is_err());
        let whole = format!("{one}--b0--");
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end}");
        }
        for body in [
            "",
            "text",
            "--b0\r\n\r\nx\r\n--b0--",
            "--b0\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--b0--",
        ] {
            assert!(read(body).is_err(), "{body}");
        }
    }

    #[test]
    fn the_boundary_is_found_in_the_content_type() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            boundary(&headers)
        };
        assert_eq!(of("multipart/form-data; boundary=b0").as_deref(), Some("b0"));
        assert_eq!(of("Multipart/Form-Data; charset=utf-8; boundary=\"b 0\"").as_deref(), Some("b 0"));
        for other in [
            "application/json",
            "multipart/form-data",
            "multipart/mixed; boundary=b0",
            "multipart/form-data; boundary=",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_is_never_a_path() {
        for (sent, kept) in
            [("../../etc/passwd", "passwd"), ("a\\b.md", "b.md"), ("/", ""), ("x\u{7}y", "xy")]
        {
            assert_eq!(base_name(sent), kept);
        }
        let long = base_name(&format!("{}.pdf", "é".repeat(300)));
        assert!(long.len() <= MAX_NAME && long.ends_with(".pdf"));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(body in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..300) {
            let mut body = body;
            let at = at.min(body.len());
            body.splice(at..at, b"--b0\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n".iter().copied());
            let _any = parts(&body.into(), "b0", 4);
        }
    }
}
