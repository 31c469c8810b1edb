//! Where instructions go into a request that has none yet, in the caller's own format: one splice, nothing else moves.
//!
//! Invariant: a request that was valid stays valid, and holds the text as an instruction of the operator.

use bytes::Bytes;
use memchr::memmem;
use portcullis_domain::Format;
use serde_json::{Value, json, value::RawValue};
use std::{borrow::Cow, collections::BTreeMap, ops::Range};

/// What to put where, so that `text` stands in the system part of a request that has no words there. None for a body
/// that is no request.
#[must_use]
pub fn place(format: Format, body: &[u8], text: &str) -> Option<(Range<usize>, String)> {
    let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(body).ok()?;
    let (names, value): (&[&str], _) = match format {
        Format::OpenAi => return first_message(members.get("messages")?, body, text),
        Format::Responses => (&["instructions"], json!(text)),
        Format::Anthropic => (&["system"], json!(text)),
        Format::Gemini => (&["systemInstruction", "system_instruction"], json!({"parts": [{"text": text}]})),
    };
    let at = names.iter().find_map(|name| members.get(*name)).map(|raw| span(raw, body));
    match (at, names.first()) {
        (Some(at), _) => Some((at, value.to_string())),
        (None, Some(name)) => {
            let end = body.iter().rposition(|byte| *byte == b'}')?;
            let comma = if members.is_empty() { "" } else { "," };
            Some((end..end, format!("{comma}\"{name}\":{value}")))
        }
        (None, None) => None,
    }
}

/// What a request of OpenAI's responses says in `instructions`; null where it says nothing.
#[must_use]
pub fn instructions(body: &[u8]) -> Value {
    let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(body).unwrap_or_default();
    let raw = members.get("instructions");
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// Answers in that format repeat `instructions`, whole ones and events: the same answer with these in their place. None
/// when nothing is repeated.
#[must_use]
pub fn repeated(data: &[u8], instructions: &Value) -> Option<Bytes> {
    memmem::find(data, b"\"instructions\"")?;
    let mut value: Value = serde_json::from_slice(data).ok()?;
    let mut changed = false;
    for place in ["/instructions", "/response/instructions"] {
        if let Some(member) = value.pointer_mut(place) {
            changed |= member != instructions;
            member.clone_from(instructions);
        }
    }
    changed.then(|| value.to_string().into())
}

/// Before all messages.
fn first_message(messages: &RawValue, body: &[u8], text: &str) -> Option<(Range<usize>, String)> {
    let rest = messages.get().strip_prefix('[')?;
    let comma = if rest.trim_start().starts_with(']') { "" } else { "," };
    let at = span(messages, body).start + 1;
    Some((at..at, format!("{}{comma}", json!({"role": "system", "content": text}))))
}

/// A raw value is a slice of the body.
fn span(raw: &RawValue, body: &[u8]) -> Range<usize> {
    let start = raw.get().as_ptr().addr() - body.as_ptr().addr();
    start..start + raw.get().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_request;
    use portcullis_domain::{Part, Role};

    #[test]
    fn instructions_are_put_where_each_format_has_them_and_nothing_else_moves() {
        for (format, body, expected) in [
            (
                Format::OpenAi,
                r#"{"model":"m", "messages": [ {"role":"user","content":"hi"}]}"#,
                r#"{"model":"m", "messages": [{"role":"system","content":"a \"b\""}, {"role":"user","content":"hi"}]}"#,
            ),
            (
                Format::Responses,
                r#"{"model":"m","input":"hi"} "#,
                r#"{"model":"m","input":"hi","instructions":"a \"b\""} "#,
            ),
            (
                Format::Responses,
                r#"{"instructions": null,"model":"m","input":"hi"}"#,
                r#"{"instructions": "a \"b\"","model":"m","input":"hi"}"#,
            ),
            (
                Format::Anthropic,
                r#"{"model":"m","max_tokens":9,"system":[],"messages":[{"role":"user","content":"hi"}]}"#,
                r#"{"model":"m","max_tokens":9,"system":"a \"b\"","messages":[{"role":"user","content":"hi"}]}"#,
            ),
            (
                Format::Gemini,
                r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#,
                r#"{"contents":[{"parts":[{"text":"hi"}]}],"systemInstruction":{"parts":[{"text":"a \"b\""}]}}"#,
            ),
            (
                Format::Gemini,
                r#"{"system_instruction":{"parts":[]},"contents":[{"parts":[{"text":"hi"}]}]}"#,
                r#"{"system_instruction":{"parts":[{"text":"a \"b\""}]},"contents":[{"parts":[{"text":"hi"}]}]}"#,
            ),
        ] {
            let (at, text) = place(format, body.as_bytes(), "a \"b\"").unwrap();
            let spliced = [&body[..at.start], &text, &body[at.end..]].concat();
            assert_eq!(spliced, expected);
            let read = read_request(format, spliced.as_bytes(), false).unwrap();
            let system = read.turns.iter().find(|turn| turn.role == Role::System).unwrap();
            assert_eq!(system.parts, [Part::Text("a \"b\"".into())], "{format:?}");
        }
        assert_eq!(place(Format::OpenAi, b"[]", "a"), None);
    }

    #[test]
    fn repeated_instructions_are_those_of_the_caller() {
        let (own, none) = (instructions(br#"{"instructions":"mine"}"#), instructions(br#"{"input":"a"}"#));
        let event = br#"{"type":"response.created","response":{"id":"r","instructions":"ours"}}"#;
        let mine = r#"{"type":"response.created","response":{"id":"r","instructions":"mine"}}"#;
        assert_eq!(repeated(event, &own).unwrap(), mine);
        assert_eq!(
            repeated(br#"{"id":"r","instructions":"ours"}"#, &none).unwrap(),
            r#"{"id":"r","instructions":null}"#
        );
        assert_eq!(repeated(br#"{"delta":"instructions"}"#, &own), None);
        assert_eq!(repeated(mine.as_bytes(), &own), None);
    }
}
