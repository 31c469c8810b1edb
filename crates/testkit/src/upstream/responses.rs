//! The double as OpenAI's `POST /v1/responses`: what the real endpoint accepts, member by member, and what it answers,
//! whole and streamed. Invariant: the same request gives the same content. Source: OpenAI's API reference, "Create a model
//! response" and "Streaming events".

use super::{
    Pace, Reply,
    answer::{CREATED, split, words},
    schema::{
        Member, Wrong, array, boolean, expect, integer, members, name, object, positive, string, within,
    },
};
use bytes::Bytes;
use serde_json::{Value, json};

const RESPONSES: &[Member] = &[
    ("model", true, name),
    ("input", true, input),
    ("background", false, boolean),
    ("include", false, array),
    ("instructions", false, string),
    ("max_output_tokens", false, positive),
    ("max_tool_calls", false, positive),
    ("metadata", false, object),
    ("parallel_tool_calls", false, boolean),
    ("previous_response_id", false, string),
    ("prompt_cache_key", false, string),
    ("reasoning", false, object),
    ("safety_identifier", false, string),
    ("service_tier", false, string),
    ("store", false, boolean),
    ("stream", false, boolean),
    ("stream_options", false, object),
    ("temperature", false, within::<0, 2>),
    ("text", false, text),
    ("tool_choice", false, tool_choice),
    ("tools", false, tools),
    ("top_logprobs", false, integer::<0, 20>),
    ("top_p", false, within::<0, 1>),
    ("truncation", false, string),
    ("user", false, string),
];

/// Checks a request: unknown members are always refused, as the real endpoint does.
///
/// # Errors
/// The first thing OpenAI would refuse.
pub(super) fn check(body: &Value) -> Result<(), Wrong> {
    members(body, RESPONSES, true)
}

fn text(value: &Value) -> Result<(), String> {
    let format = &value["format"];
    match format["type"].as_str() {
        _ if format.is_null() => object(value),
        Some("text" | "json_object") => Ok(()),
        Some("json_schema") => {
            expect(format["name"].is_string() && format["schema"].is_object(), "text.format.name and .schema")
        }
        _ => Err("expected text.format.type 'text', 'json_object' or 'json_schema'".into()),
    }
}

fn tool_choice(value: &Value) -> Result<(), String> {
    let word = matches!(value.as_str(), Some("auto" | "none" | "required"));
    expect(word || (value["type"] == "function" && value["name"].is_string()), "a choice or a function")
}

fn tools(value: &Value) -> Result<(), String> {
    let all = value.as_array().ok_or("expected an array")?;
    let known = |tool: &Value| tool["type"] != "function" || tool["name"].is_string();
    expect(all.len() <= 128 && all.iter().all(known), "at most 128 tools, functions with a name")
}

fn input(value: &Value) -> Result<(), String> {
    match value {
        Value::String(_) => Ok(()),
        Value::Array(items) => items.iter().try_for_each(item),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            Err("expected a string or an array of items".into())
        }
    }
}

fn item(value: &Value) -> Result<(), String> {
    match value["type"].as_str() {
        None | Some("message") => {
            let role = value["role"].as_str().unwrap_or_default();
            expect(matches!(role, "user" | "assistant" | "system" | "developer"), "a known role")?;
            content(&value["content"], if role == "assistant" { "output_text" } else { "input_text" })
        }
        Some("function_call") => {
            let whole = ["call_id", "name", "arguments"].iter().all(|member| value[*member].is_string());
            expect(whole, "call_id, name and arguments")
        }
        Some("function_call_output") => {
            expect(value["call_id"].is_string(), "call_id")?;
            content(&value["output"], "input_text")
        }
        Some("reasoning") => expect(value["summary"].is_array(), "a summary"),
        Some(_) => Err("expected an item of a known type".into()),
    }
}

fn content(value: &Value, words: &str) -> Result<(), String> {
    let known = |part: &Value| match part["type"].as_str() {
        Some("input_image") => part["image_url"].is_string(),
        Some("refusal") => part["refusal"].is_string() && words == "output_text",
        Some(kind) => kind == words && part["text"].is_string(),
        None => false,
    };
    let parts = value.as_array().is_some_and(|parts| parts.iter().all(known));
    expect(value.is_string() || parts, &format!("a string or parts, words of type '{words}'"))
}

/// Tokens as the double counts them: words of every text.
fn input_tokens(value: &Value) -> usize {
    match value {
        Value::String(text) => words(text),
        Value::Array(all) => all.iter().map(input_tokens).sum(),
        Value::Object(members) => {
            let texts = ["text", "content", "output", "input", "instructions", "summary"];
            texts.iter().filter_map(|name| members.get(*name)).map(input_tokens).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// The response object.
fn response(request: &Value, status: &str, output: Value, written: Option<usize>, index: usize) -> Value {
    let read = input_tokens(&request["instructions"]) + input_tokens(&request["input"]);
    let usage = written.map(|written| {
        json!({
            "input_tokens": read, "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
            "output_tokens": written, "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": read + written,
        })
    });
    let or = |name: &str, other: Value| if request[name].is_null() { other } else { request[name].clone() };
    json!({
        "id": format!("resp_double{index:08}"), "object": "response", "created_at": CREATED, "status": status,
        "background": false, "error": null, "incomplete_details": null, "instructions": request["instructions"],
        "max_output_tokens": request["max_output_tokens"], "metadata": or("metadata", json!({})),
        "model": request["model"], "output": output, "parallel_tool_calls": or("parallel_tool_calls", true.into()),
        "previous_response_id": null, "reasoning": or("reasoning", json!({ "effort": null, "summary": null })),
        "service_tier": "default", "store": or("store", true.into()), "temperature": or("temperature", 1.0.into()),
        "text": or("text", json!({ "format": { "type": "text" } })), "tool_choice": or("tool_choice", "auto".into()),
        "tools": or("tools", json!([])), "top_p": or("top_p", 1.0.into()), "truncation": "disabled",
        "usage": usage, "user": null,
    })
}

fn part(text: &str) -> Value {
    json!({ "type": "output_text", "annotations": [], "logprobs": [], "text": text })
}

/// The one item of an answer, as far as it has come.
fn output(reply: &Reply, status: &str, said: &str, index: usize) -> Value {
    match reply {
        Reply::Text(_) => json!({
            "id": format!("msg_double{index:08}"), "type": "message", "status": status, "role": "assistant",
            "content": if status == "completed" { json!([part(said)]) } else { json!([]) },
        }),
        Reply::ToolCall { name, .. } => json!({
            "id": format!("fc_double{index:08}"), "type": "function_call", "status": status,
            "arguments": said, "call_id": "call_double1", "name": name,
        }),
    }
}

const fn said(reply: &Reply) -> &String {
    match reply {
        Reply::Text(text) => text,
        Reply::ToolCall { arguments, .. } => arguments,
    }
}

/// A whole answer.
pub(super) fn whole(request: &Value, reply: &Reply, index: usize) -> Value {
    let said = said(reply);
    let output = json!([output(reply, "completed", said, index)]);
    response(request, "completed", output, Some(words(said)), index)
}

/// Every server-sent event of a streamed answer, each as the bytes of one chunk.
pub(super) fn events(request: &Value, reply: &Reply, pace: &Pace, index: usize) -> Vec<Bytes> {
    let said = said(reply);
    let pieces = split(said, pace.chunks);
    let (begun, done) = (output(reply, "in_progress", "", index), output(reply, "completed", said, index));
    let id = begun["id"].clone();
    let started = response(request, "in_progress", json!([]), None, index);
    let mut all = vec![
        json!({ "type": "response.created", "response": started }),
        json!({ "type": "response.in_progress", "response": started }),
        json!({ "type": "response.output_item.added", "output_index": 0, "item": begun }),
    ];
    let at = |kind: &str, more: Value| {
        let mut event = json!({ "type": kind, "item_id": id, "output_index": 0 });
        more.as_object().into_iter().flatten().for_each(|(name, value)| event[name] = value.clone());
        event
    };
    match reply {
        Reply::Text(_) => {
            all.push(at("response.content_part.added", json!({ "content_index": 0, "part": part("") })));
            all.extend(pieces.iter().map(|piece| {
                let more =
                    json!({ "content_index": 0, "delta": piece, "logprobs": [], "obfuscation": "aZ3" });
                at("response.output_text.delta", more)
            }));
            let more = json!({ "content_index": 0, "text": said, "logprobs": [] });
            all.push(at("response.output_text.done", more));
            all.push(at("response.content_part.done", json!({ "content_index": 0, "part": part(said) })));
        }
        Reply::ToolCall { name, .. } => {
            all.extend(pieces.iter().map(|piece| {
                at("response.function_call_arguments.delta", json!({ "delta": piece, "obfuscation": "b" }))
            }));
            let more = json!({ "name": name, "arguments": said });
            all.push(at("response.function_call_arguments.done", more));
        }
    }
    all.push(json!({ "type": "response.output_item.done", "output_index": 0, "item": done }));
    all.push(json!({ "type": "response.completed", "response": whole(request, reply, index) }));
    all.iter_mut().enumerate().for_each(|(number, event)| event["sequence_number"] = number.into());
    all.iter().map(event).collect()
}

/// One server-sent event.
fn event(data: &Value) -> Bytes {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default()).into()
}

/// The event with which a broken answer ends.
pub(super) fn error() -> Bytes {
    let message = "The server had an error while processing your request.";
    event(&json!({
        "type": "error", "sequence_number": 99, "code": "server_error", "message": message, "param": null,
    }))
}
