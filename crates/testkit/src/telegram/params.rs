//! How a call's parameters come: query string, form, multipart or JSON. Invariant: a text that is not UTF-8 is refused,
//! never repaired. Source: RFC 7578, the WHATWG's URL-encoded form, the published server.

use super::{records::Document, state::Refusal};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What came.
#[derive(Debug, Default)]
pub(super) struct Params {
    pub(super) values: Map<String, Value>,
    pub(super) files: BTreeMap<String, Document>,
}

fn not_utf8() -> Refusal {
    Refusal::bad("strings must be encoded in UTF-8")
}

/// Reads a call.
pub(super) fn decode(query: Option<&str>, kind: &str, body: &Bytes) -> Result<Params, Refusal> {
    let mut params = Params::default();
    pairs(query.unwrap_or_default().as_bytes(), &mut params.values)?;
    let bare = kind.split(';').next().unwrap_or_default().trim().to_lowercase();
    match bare.as_str() {
        _ if body.is_empty() => {}
        "application/json" => {
            let text = std::str::from_utf8(body).map_err(|_| not_utf8())?;
            match serde_json::from_str(text) {
                Ok(Value::Object(object)) => params.values.extend(object),
                Ok(_) => return Err(Refusal::bad("can't parse JSON object: JSON object expected")),
                Err(problem) => {
                    return Err(Refusal::bad(&format!("can't parse JSON object: {problem}")));
                }
            }
        }
        "application/x-www-form-urlencoded" => pairs(body, &mut params.values)?,
        "multipart/form-data" => multipart(kind, body, &mut params)?,
        other => return Err(Refusal::bad(&format!("unsupported content-type: {other}"))),
    }
    Ok(params)
}

fn pairs(bytes: &[u8], values: &mut Map<String, Value>) -> Result<(), Refusal> {
    for pair in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let value = plain(pair.get(at + 1..).unwrap_or_default())?;
        values.insert(plain(&pair[..at])?, Value::String(value));
    }
    Ok(())
}

/// Takes the percent signs and plus signs out.
pub(super) fn plain(bytes: &[u8]) -> Result<String, Refusal> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            (other, ..) => out.push(*other),
        }
        at += 1;
    }
    String::from_utf8(out).map_err(|_| not_utf8())
}

fn find(text: &[u8], what: &[u8], from: usize) -> Option<usize> {
    text.get(from..)?.windows(what.len()).position(|window| window == what).map(|at| at + from)
}

/// The value of an attribute of a header line, without its quotes.
fn attribute(line: &str, name: &str) -> Option<String> {
    line.split(';').skip(1).find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim_matches('"').to_owned())
    })
}

fn multipart(kind: &str, body: &Bytes, params: &mut Params) -> Result<(), Refusal> {
    let broken = || Refusal::bad("can't parse multipart form data");
    let boundary = attribute(kind, "boundary").ok_or_else(broken)?;
    let (first, next) = (format!("--{boundary}"), format!("\r\n--{boundary}"));
    let mut at = find(body, first.as_bytes(), 0).ok_or_else(broken)? + first.len();
    while body.get(at..at + 2) == Some(b"\r\n") {
        let head_end = find(body, b"\r\n\r\n", at).ok_or_else(broken)?;
        let end = find(body, next.as_bytes(), head_end + 2).ok_or_else(broken)?;
        let head = std::str::from_utf8(&body[at..head_end]).map_err(|_| not_utf8())?;
        let content = body.slice((head_end + 4).min(end)..end);
        let line = |name: &str| {
            head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:"))).unwrap_or_default()
        };
        let disposition = line("content-disposition");
        let name = attribute(disposition, "name").ok_or_else(broken)?;
        match attribute(disposition, "filename") {
            Some(file) => {
                let mime =
                    line("content-type").split_once(':').map_or("", |(_, kind)| kind.trim()).to_owned();
                params.files.insert(name, Document { name: file, mime, bytes: content });
            }
            None => {
                let text = String::from_utf8(content.to_vec()).map_err(|_| not_utf8())?;
                params.values.insert(name, Value::String(text));
            }
        }
        at = end + next.len();
    }
    if body.get(at..at + 2) == Some(b"--") { Ok(()) } else { Err(broken()) }
}
