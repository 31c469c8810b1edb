//! The words of an answer where they stand: visited and, if need be, replaced, in any format. One table of member names
//! serves all four, since they mean the same wherever they occur in an answer.
//!
//! Invariant: an answer in which nothing is replaced keeps its bytes.

use bytes::Bytes;
use serde_json::Value;

/// Members whose strings are words of the model or arguments it wrote.
const WORDS: &[&str] = &[
    "content",
    "text",
    "refusal",
    "reasoning_content",
    "reasoning",
    "arguments",
    "thinking",
    "delta",
    "partial_json",
];
/// Of these, those whose strings are JSON themselves.
const WRITTEN_JSON: &[&str] = &["arguments", "partial_json"];
/// Members that hold a tool's arguments as JSON: every string in them counts.
const ARGUMENTS: &[&str] = &["input", "args"];

/// Visits the words of an answer, or of one event's data; `change` gives what stands in a text's place, if anything
/// else should, and hears whether the text is JSON itself. None when nothing was changed, or the bytes are no JSON.
pub fn rewrite(data: &[u8], mut change: impl FnMut(&str, bool) -> Option<String>) -> Option<Bytes> {
    let mut value: Value = serde_json::from_slice(data).ok()?;
    let mut changed = false;
    visit(&mut value, false, false, &mut |text, json| {
        if let Some(other) = change(text, json) {
            *text = other;
            changed = true;
        }
    });
    changed.then(|| value.to_string().into())
}

/// `counts` says whether a string here is words; below arguments everything is. Depth is bounded by the parser.
fn visit(value: &mut Value, counts: bool, json: bool, change: &mut impl FnMut(&mut String, bool)) {
    match value {
        Value::String(text) if counts => change(text, json),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, counts, json, change)),
        Value::Object(members) => {
            for (name, member) in members {
                let words = WORDS.contains(&name.as_str()) && member.is_string();
                let json = words && WRITTEN_JSON.contains(&name.as_str());
                visit(member, counts || words || ARGUMENTS.contains(&name.as_str()), json, change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upper(data: &str) -> Option<String> {
        let out = rewrite(data.as_bytes(), |text, _| text.contains("x").then(|| text.to_uppercase()))?;
        Some(String::from_utf8(out.to_vec()).unwrap())
    }

    #[test]
    fn words_are_found_in_every_format_and_nothing_else_is_touched() {
        for (data, expected) in [
            (
                r#"{"id":"x","choices":[{"delta":{"content":"ax"}}]}"#,
                r#"{"id":"x","choices":[{"delta":{"content":"AX"}}]}"#,
            ),
            (
                r#"{"type":"content_block_delta","delta":{"text":"ax","type":"x"}}"#,
                r#"{"type":"content_block_delta","delta":{"text":"AX","type":"x"}}"#,
            ),
            (
                r#"{"candidates":[{"content":{"parts":[{"text":"ax"}],"role":"x"}}]}"#,
                r#"{"candidates":[{"content":{"parts":[{"text":"AX"}],"role":"x"}}]}"#,
            ),
            (r#"{"delta":"ax","item_id":"x","type":"x"}"#, r#"{"delta":"AX","item_id":"x","type":"x"}"#),
            (
                r#"{"content":[{"input":{"a":["x",{"b":"x"}]},"name":"x"}]}"#,
                r#"{"content":[{"input":{"a":["X",{"b":"X"}]},"name":"x"}]}"#,
            ),
        ] {
            assert_eq!(upper(data).as_deref(), Some(expected));
        }
        assert_eq!(upper(r#"{"model":"x"}"#), None);
        assert_eq!(upper("x"), None);
    }
}
