//! The double as Anthropic's `POST /v1/messages`: what the real endpoint accepts, member by member, and what it answers,
//! whole and streamed. Stricter than the original in one thing: user and assistant must take turns. Invariant: the same
//! request gives the same content. Source: Anthropic's API reference, "Messages" (2023-06-01), and its error bodies.

use super::{
    Pace, Reply,
    answer::{split, words},
    schema::{Member, Wrong, array, boolean, expect, members, name, object, positive, within},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

/// The only version there is.
const VERSION: &str = "2023-06-01";

const MESSAGES: &[Member] = &[
    ("model", true, name),
    ("messages", true, messages),
    ("max_tokens", true, positive),
    ("metadata", false, metadata),
    ("output_config", false, output_config),
    ("stop_sequences", false, stops),
    ("stream", false, boolean),
    ("system", false, system),
    ("temperature", false, within::<0, 1>),
    ("thinking", false, thinking),
    ("tool_choice", false, tool_choice),
    ("tools", false, tools),
    ("top_k", false, top_k),
    ("top_p", false, within::<0, 1>),
];

/// Checks the headers that prove the caller.
pub(super) fn check_headers(headers: &HeaderMap, key: Option<&str>) -> Result<(), Wrong> {
    let all = |name: &str| {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect::<Vec<_>>()
    };
    if all("x-api-key") != key.into_iter().collect::<Vec<_>>() || headers.contains_key("authorization") {
        return Err(Wrong::other(StatusCode::UNAUTHORIZED, None, "invalid x-api-key"));
    }
    if all("anthropic-version") != [VERSION] {
        let message = "anthropic-version: header is required and must be a valid version";
        return Err(Wrong::other(StatusCode::BAD_REQUEST, None, message));
    }
    Ok(())
}

/// Checks a request.
///
/// # Errors
/// The first thing Anthropic would refuse.
pub(super) fn check(body: &Value) -> Result<(), Wrong> {
    members(body, MESSAGES, true)?;
    let wrong = |param: &str, message: &str| Err(Wrong::value(param, format!("{param}: {message}")));
    let set = |name: &str| !body[name].is_null();
    if set("tool_choice") && !set("tools") {
        return wrong("tool_choice", "may only be specified while providing tools");
    }
    if set("temperature") && set("top_p") {
        return wrong("top_p", "`temperature` and `top_p` cannot both be specified for this model");
    }
    if body["thinking"]["type"] == "enabled" {
        if body["thinking"]["budget_tokens"].as_u64() >= body["max_tokens"].as_u64() {
            return wrong("max_tokens", "must be greater than `thinking.budget_tokens`");
        }
        if (set("temperature") && body["temperature"].as_f64() != Some(1.0)) || set("top_k") {
            return wrong("temperature", "may only be set to 1 when thinking is enabled");
        }
        if matches!(body["tool_choice"]["type"].as_str(), Some("any" | "tool")) {
            return wrong("tool_choice", "Thinking may not be enabled when tool_choice forces tool use.");
        }
    }
    Ok(())
}

/// The error body of a refusal.
pub(super) fn error(wrong: &Wrong) -> Value {
    let kind = match wrong.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::NOT_FOUND => "not_found_error",
        _ => "invalid_request_error",
    };
    error_body(kind, &wrong.message)
}

/// An error body of that type.
pub(super) fn error_body(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_double"})
}

fn string(value: &Value) -> Result<(), String> {
    expect(value.as_str().is_some_and(|text| !text.is_empty()), "text content blocks must be non-empty")
}

fn metadata(value: &Value) -> Result<(), String> {
    object(value)?;
    let known = value.as_object().into_iter().flatten().all(|(name, id)| name == "user_id" && id.is_string());
    expect(known, "nothing but a user_id")
}

fn stops(value: &Value) -> Result<(), String> {
    array(value)?;
    let filled = |text: &Value| text.as_str().is_some_and(|text| !text.trim().is_empty());
    expect(value.as_array().is_some_and(|all| all.iter().all(filled)), "texts that are not only whitespace")
}

fn top_k(value: &Value) -> Result<(), String> {
    expect(value.as_u64().is_some(), "an integer of at least 0")
}

fn system(value: &Value) -> Result<(), String> {
    match value {
        Value::Array(blocks) => blocks.iter().try_for_each(|block| {
            expect(block["type"] == "text", "text blocks")?;
            string(&block["text"])
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            expect(value.is_string(), "a string or text blocks")
        }
    }
}

fn thinking(value: &Value) -> Result<(), String> {
    match value["type"].as_str() {
        Some("disabled" | "adaptive") => Ok(()),
        Some("enabled") => {
            expect(value["budget_tokens"].as_u64().is_some_and(|budget| budget >= 1024), "at least 1024")
        }
        _ => Err("expected type 'enabled', 'disabled' or 'adaptive'".into()),
    }
}

fn output_config(value: &Value) -> Result<(), String> {
    object(value)?;
    let effort = &value["effort"];
    let known = matches!(effort.as_str(), Some("low" | "medium" | "high" | "xhigh" | "max"));
    expect(effort.is_null() || known, "a known effort")?;
    let format = &value["format"];
    if format.is_null() {
        return Ok(());
    }
    expect(format["type"] == "json_schema" && format["schema"].is_object(), "a format with a schema")?;
    expect(is_closed(&format["schema"]), "'additionalProperties' explicitly set to false for 'object' type")
}

fn is_closed(schema: &Value) -> bool {
    let open = schema["type"] == "object" && schema["additionalProperties"] != false;
    !open
        && match schema {
            Value::Object(members) => members.values().all(is_closed),
            Value::Array(items) => items.iter().all(is_closed),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
}

fn tools(value: &Value) -> Result<(), String> {
    array(value)?;
    value.as_array().into_iter().flatten().try_for_each(|tool| {
        expect(plain(&tool["name"], 128), "a tool's name of letters, digits, _ and -")?;
        expect(tool["input_schema"]["type"] == "object", "input_schema.type 'object'")
    })
}

fn tool_choice(value: &Value) -> Result<(), String> {
    match value["type"].as_str() {
        Some("auto" | "any") => Ok(()),
        Some("none") => expect(value["disable_parallel_tool_use"].is_null(), "no extra inputs"),
        Some("tool") => expect(value["name"].is_string(), "the tool's name"),
        _ => Err("expected type 'auto', 'any', 'tool' or 'none'".into()),
    }
}

fn plain(value: &Value, most: usize) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    value.as_str().is_some_and(|text| (1..=most).contains(&text.len()) && text.chars().all(fits))
}

fn messages(value: &Value) -> Result<(), String> {
    let all = value.as_array().ok_or("expected an array")?;
    expect(!all.is_empty(), "at least one message")?;
    let mut called: Vec<&str> = Vec::new();
    for (index, message) in all.iter().enumerate() {
        let wanted = if index % 2 == 0 { "user" } else { "assistant" };
        expect(message["role"] == wanted, &format!("role '{wanted}' at [{index}]"))?;
        called =
            content(&message["content"], wanted, &called).map_err(|why| format!("{why} at [{index}]"))?;
    }
    // The last word may be the assistant's, whose answer is then continued; but no call may be left open.
    expect(called.is_empty(), "`tool_result` blocks behind `tool_use`")
}

/// Checks a message's content behind calls of those ids; the ids it calls itself.
fn content<'a>(value: &'a Value, role: &str, called: &[&str]) -> Result<Vec<&'a str>, String> {
    let blocks = match value {
        Value::Array(blocks) if !blocks.is_empty() => blocks,
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {
            expect(called.is_empty(), "`tool_result` blocks immediately after `tool_use`")?;
            return string(value).map(|()| Vec::new());
        }
    };
    let (mut calls, mut answered, mut words_came) = (Vec::new(), Vec::new(), false);
    for block in blocks {
        match (block["type"].as_str().unwrap_or_default(), role) {
            ("tool_result", "user") => {
                let id = block["tool_use_id"].as_str().unwrap_or_default();
                expect(
                    called.contains(&id) && !answered.contains(&id),
                    "a `tool_use` for each `tool_result`",
                )?;
                expect(!words_came, "`tool_result` blocks before all others")?;
                answered.push(id);
            }
            ("tool_use", "assistant") => {
                let good =
                    plain(&block["id"], 256) && block["name"].is_string() && block["input"].is_object();
                expect(good, "a tool_use with id, name and input")?;
                calls.extend(block["id"].as_str());
            }
            ("text", _) => string(&block["text"])?,
            ("image", "user") => image(&block["source"])?,
            ("thinking", "assistant") => string(&block["signature"])?,
            ("redacted_thinking", "assistant") => string(&block["data"])?,
            (other, _) => return Err(format!("no block of type '{other}' from {role}")),
        }
        words_came |= block["type"] != "tool_result";
    }
    expect(answered.len() == called.len(), "a `tool_result` for each `tool_use`")?;
    Ok(calls)
}

fn image(source: &Value) -> Result<(), String> {
    let kinds = ["image/jpeg", "image/png", "image/gif", "image/webp"];
    match source["type"].as_str() {
        Some("url") => {
            expect(source["url"].as_str().is_some_and(|url| url.starts_with("https://")), "an URL")
        }
        Some("base64") => {
            let known = source["media_type"].as_str().is_some_and(|kind| kinds.contains(&kind));
            expect(known && source["data"].is_string(), "data of a known media type")
        }
        _ => Err("expected a source of type 'url' or 'base64'".into()),
    }
}

/// The blocks of an answer, and why it ended.
fn said(request: &Value, reply: &Reply) -> (Vec<Value>, &'static str, usize) {
    let mut blocks = Vec::new();
    if matches!(request["thinking"]["type"].as_str(), Some("enabled" | "adaptive")) {
        blocks.push(json!({"type": "thinking", "thinking": "Who is there?", "signature": "c2lnbmVk"}));
    }
    let (block, reason, tokens) = match reply {
        Reply::Text(text) => (json!({"type": "text", "text": text}), "end_turn", words(text)),
        Reply::ToolCall { name, arguments } => {
            let input: Value = serde_json::from_str(arguments).unwrap_or_default();
            let block = json!({"type": "tool_use", "id": "toolu_double1", "name": name, "input": input});
            (block, "tool_use", words(arguments))
        }
    };
    blocks.push(block);
    (blocks, reason, tokens)
}

/// Tokens as the double counts them: words of the whole request.
fn usage(request: &Value, output: usize) -> Value {
    json!({
        "input_tokens": words(&request["messages"].to_string()),
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output, "service_tier": "standard",
    })
}

fn message(request: &Value, index: usize, content: &[Value], reason: Value, output: usize) -> Value {
    json!({
        "id": format!("msg_double{index:08}"), "type": "message", "role": "assistant", "model": request["model"],
        "content": content, "stop_reason": reason, "stop_sequence": null, "usage": usage(request, output),
    })
}

/// A whole answer.
pub(super) fn whole(request: &Value, reply: &Reply, index: usize) -> Value {
    let (blocks, reason, tokens) = said(request, reply);
    message(request, index, &blocks, reason.into(), tokens)
}

/// Every event of a streamed answer, each as the bytes of one chunk.
pub(super) fn events(request: &Value, reply: &Reply, pace: &Pace, index: usize) -> Vec<Bytes> {
    let (blocks, reason, tokens) = said(request, reply);
    let opening = message(request, index, &[], Value::Null, 1);
    let mut events = vec![json!({"type": "message_start", "message": opening})];
    for (index, block) in blocks.iter().enumerate() {
        let text = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
        let (empty, deltas) = match block["type"].as_str().unwrap_or_default() {
            "thinking" => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                vec![
                    json!({"type": "thinking_delta", "thinking": text("thinking")}),
                    json!({"type": "signature_delta", "signature": text("signature")}),
                ],
            ),
            "tool_use" => {
                let pieces = split(&block["input"].to_string(), pace.chunks);
                let delta = |piece: &String| json!({"type": "input_json_delta", "partial_json": piece});
                let empty = json!({"type": "tool_use", "id": text("id"), "name": text("name"), "input": {}});
                (empty, pieces.iter().map(delta).collect())
            }
            _ => {
                let pieces = split(&text("text"), pace.chunks);
                let delta = |piece: &String| json!({"type": "text_delta", "text": piece});
                (json!({"type": "text", "text": ""}), pieces.iter().map(delta).collect())
            }
        };
        events.push(json!({"type": "content_block_start", "index": index, "content_block": empty}));
        events.push(json!({"type": "ping"}));
        let delta = |delta| json!({"type": "content_block_delta", "index": index, "delta": delta});
        events.extend(deltas.into_iter().map(delta));
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    events.push(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": tokens}}));
    events.push(json!({"type": "message_stop"}));
    events.iter().map(event).collect()
}

/// One server-sent event, named by its type.
pub(super) fn event(body: &Value) -> Bytes {
    format!("event: {}\ndata: {body}\n\n", body["type"].as_str().unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(changes: Value) -> Value {
        let mut body =
            json!({"model": "m", "max_tokens": 9000, "messages": [{"role": "user", "content": "hello"}]});
        for (key, value) in changes.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    }

    #[test]
    fn honest_requests_pass() {
        let tool = json!({"name": "look", "input_schema": {"type": "object"}});
        for changes in [
            json!({}),
            json!({"system": "be kind", "temperature": 1, "stream": true, "stop_sequences": ["END"]}),
            json!({"tools": [tool], "tool_choice": {"type": "tool", "name": "look"}, "messages": [
                {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://h/a"}}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}, {"type": "text", "text": "x"}]},
            ]}),
            json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ] {
            assert_eq!(check(&with(changes.clone())), Ok(()), "{changes}");
        }
    }

    #[test]
    fn malformed_requests_are_refused() {
        let user = json!({"role": "user", "content": "a"});
        let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]});
        for changes in [
            json!({"max_tokens": null}),
            json!({"seed": 1}),
            json!({"messages": [user, user]}),
            json!({"messages": [{"role": "assistant", "content": "a"}]}),
            json!({"messages": [{"role": "user", "content": ""}]}),
            json!({"messages": [{"role": "system", "content": "a"}]}),
            json!({"messages": [user, call]}),
            json!({"messages": [user, call, user]}),
            json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]}),
            json!({"temperature": 1.5}),
            json!({"temperature": 0.5, "top_p": 0.5}),
            json!({"tool_choice": {"type": "auto"}}),
            json!({"tools": [{"name": "look", "input_schema": {}}]}),
            json!({"thinking": {"type": "enabled", "budget_tokens": 9000}}),
            json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
        ] {
            assert!(check(&with(changes.clone())).is_err(), "{changes}");
        }
    }
}
