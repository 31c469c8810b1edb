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

/// Members whose object is a call, by its `name`: of OpenAI's chat, also what came before and after its tool calls of
/// functions, and of Google's.
const CALLS: &[&str] = &["function", "custom", "function_call", "functionCall"];
/// Values of `type` that make an object a call.
const CALL_TYPES: &[&str] = &["function_call", "custom_tool_call", "tool_use"];
/// Members that repeat what the request offers.
const OFFERS: &[&str] = &["tools", "tool_choice"];

/// Names of the tools that an answer, or one event's data, calls, in any format: also calls of kinds that are never
/// translated.
#[must_use]
pub fn calls(data: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    if memchr::memmem::find(data, b"\"name\"").is_some()
        && let Ok(value) = serde_json::from_slice(data)
    {
        named(&value, false, &mut names);
    }
    names
}

/// `call` says whether an object here is one. Depth is bounded by the parser.
fn named(value: &Value, call: bool, names: &mut Vec<String>) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        Value::Array(items) => items.iter().for_each(|item| named(item, false, names)),
        Value::Object(members) => {
            let kind = members.get("type").and_then(Value::as_str);
            if call || kind.is_some_and(|kind| CALL_TYPES.contains(&kind)) {
                let name = members.get("name").and_then(Value::as_str);
                names.extend(name.filter(|name| !name.is_empty()).map(str::to_owned));
            }
            for (name, member) in members.iter().filter(|(name, _)| !OFFERS.contains(&name.as_str())) {
                named(member, CALLS.contains(&name.as_str()), names);
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

    #[test]
    fn calls_of_every_kind_are_named_and_offers_are_none() {
        for (data, expected) in [
            (
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"a","arguments":""}}]}}]}"#,
                "a",
            ),
            (r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}"#, ""),
            (r#"{"choices":[{"message":{"function_call":{"name":"a","arguments":"{}"}}}]}"#, "a"),
            (
                r#"{"choices":[{"message":{"tool_calls":[{"type":"custom","custom":{"name":"a","input":"x"}}]}}]}"#,
                "a",
            ),
            (r#"{"type":"response.output_item.added","item":{"type":"custom_tool_call","name":"a"}}"#, "a"),
            (r#"{"response":{"tools":[{"type":"function","name":"a"}],"tool_choice":{"name":"a"}}}"#, ""),
            (r#"{"content_block":{"type":"tool_use","name":"a","input":{}}}"#, "a"),
            (
                r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"a","args":{"name":"b"}}}]}}]}"#,
                "a",
            ),
            (r#"{"choices":[{"message":{"content":"x","name":"a"}}]}"#, ""),
        ] {
            assert_eq!(calls(data.as_bytes()).join(","), expected, "{data}");
        }
    }
}
