//! What a real OpenAI endpoint answers: whole, streamed and embedding bodies in their full public shape.
//! Invariant: the same request gives the same content, so tests can compare bytes.

use super::{Options, Pace, Reply};
use bytes::Bytes;
use serde_json::{Value, json};

/// When everything the double says was made; a fixed second, so that bodies repeat.
pub(super) const CREATED: u64 = 1_760_000_000;

/// The id of the answer to request number `index`.
pub(super) fn id(index: usize) -> String {
    format!("chatcmpl-double{index:08}")
}

pub(super) fn words(text: &str) -> usize {
    text.split_whitespace().count().max(1)
}

/// Tokens as the double counts them: words of the messages, plus four for each message.
pub(super) fn prompt_tokens(request: &Value) -> usize {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |content: &Value| match content {
        Value::String(text) => words(text),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).map(words).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => 0,
    };
    messages.iter().map(|message| text(&message["content"]) + 4).sum()
}

fn usage(request: &Value, completion: usize) -> Value {
    let prompt = prompt_tokens(request);
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
        "completion_tokens_details": {
            "reasoning_tokens": 0, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

fn choices_asked(request: &Value) -> u64 {
    request["n"].as_u64().unwrap_or(1)
}

/// `chat.completion`.
pub(super) fn whole(request: &Value, reply: &Reply, index: usize) -> Value {
    let (message, finish, tokens) = match reply {
        Reply::Text(text) => (
            json!({ "role": "assistant", "content": text, "refusal": null, "annotations": [] }),
            "stop",
            words(text),
        ),
        Reply::ToolCall { name, arguments } => (
            json!({ "role": "assistant", "content": null, "refusal": null, "annotations": [],
                "tool_calls": [{ "id": "call_double1", "type": "function",
                    "function": { "name": name, "arguments": arguments } }] }),
            "tool_calls",
            words(arguments),
        ),
    };
    let count = choices_asked(request);
    let choice = |n| json!({ "index": n, "message": message, "logprobs": null, "finish_reason": finish });
    json!({
        "id": id(index),
        "object": "chat.completion",
        "created": CREATED,
        "model": request["model"],
        "choices": (0..count).map(choice).collect::<Vec<_>>(),
        "usage": usage(request, tokens * usize::try_from(count).unwrap_or(1)),
        "service_tier": "default",
        "system_fingerprint": "fp_double",
    })
}

/// Every server-sent event of a streamed answer, `[DONE]` included, each as the bytes of one chunk.
pub(super) fn events(request: &Value, reply: &Reply, pace: &Pace, index: usize) -> Vec<Bytes> {
    let asked_usage = request["stream_options"]["include_usage"].as_bool() == Some(true);
    let count = choices_asked(request);
    let chunk = |choices: Value| {
        let mut body = json!({
            "id": id(index),
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": request["model"],
            "service_tier": "default",
            "system_fingerprint": "fp_double",
            "choices": choices,
        });
        if asked_usage {
            body["usage"] = Value::Null;
        }
        body
    };
    let delta = |n: u64, delta: Value, finish: Option<&str>| {
        chunk(json!([{ "index": n, "delta": delta, "logprobs": null, "finish_reason": finish }]))
    };
    let (opening, pieces, finish): (Value, Vec<Value>, &str) = match reply {
        Reply::Text(text) => (
            json!({ "role": "assistant", "content": "", "refusal": null }),
            split(text, pace.chunks).into_iter().map(|piece| json!({ "content": piece })).collect(),
            "stop",
        ),
        Reply::ToolCall { name, arguments } => (
            json!({ "role": "assistant", "content": null, "tool_calls": [{ "index": 0, "id": "call_double1",
                "type": "function", "function": { "name": name, "arguments": "" } }] }),
            split(arguments, pace.chunks)
                .into_iter()
                .map(|piece| json!({ "tool_calls": [{ "index": 0, "function": { "arguments": piece } }] }))
                .collect(),
            "tool_calls",
        ),
    };
    let mut bodies: Vec<Value> = (0..count).map(|n| delta(n, opening.clone(), None)).collect();
    bodies.extend(pieces.iter().flat_map(|piece| (0..count).map(|n| delta(n, piece.clone(), None))));
    bodies.extend((0..count).map(|n| delta(n, json!({}), Some(finish))));
    if asked_usage {
        let mut last = chunk(json!([]));
        last["usage"] = usage(request, pieces.len());
        bodies.push(last);
    }
    let mut events: Vec<Bytes> = bodies.iter().map(|body| event(&body.to_string())).collect();
    events.push(event("[DONE]"));
    events
}

/// One server-sent event.
pub(super) fn event(data: &str) -> Bytes {
    format!("data: {data}\n\n").into()
}

/// `text` in `count` pieces (by default one a word); concatenated they are `text` again.
pub(super) fn split(text: &str, count: Option<usize>) -> Vec<String> {
    let Some(count) = count.filter(|count| *count > 0) else {
        return text.split_inclusive(' ').map(str::to_owned).collect();
    };
    let letters: Vec<char> = text.chars().collect();
    let edge = |piece: usize| piece * letters.len() / count;
    (0..count).map(|piece| letters[edge(piece)..edge(piece + 1)].iter().collect()).collect()
}

/// The `list` of embeddings, float or base64 as asked.
pub(super) fn embeddings(request: &Value, options: &Options) -> Value {
    let input = &request["input"];
    let several = input.as_array().filter(|all| !all.iter().all(Value::is_u64));
    let inputs: Vec<String> =
        several.map_or_else(|| vec![text_of(input)], |all| all.iter().map(text_of).collect());
    let dimensions = request["dimensions"]
        .as_u64()
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(options.dimensions);
    let base64 = request["encoding_format"] == "base64";
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = vector(text, dimensions);
            let shown = if base64 { json!(to_base64(&vector)) } else { json!(vector) };
            json!({ "object": "embedding", "index": index, "embedding": shown })
        })
        .collect();
    let tokens: usize = inputs.iter().map(|text| words(text)).sum();
    json!({ "object": "list", "data": data, "model": request["model"],
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens } })
}

fn text_of(input: &Value) -> String {
    input.as_str().map_or_else(|| input.to_string(), str::to_owned)
}

/// A unit vector that depends on the text alone (FNV-1a seeds a xorshift).
#[must_use]
pub(super) fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let fold = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325, fold) | 1;
    let raw: Vec<f32> = (0..dimensions)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            f32::from(i16::from_le_bytes([(state >> 8) as u8, (state >> 24) as u8])) / 32_768.0
        })
        .collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.iter().map(|x| x / length).collect()
}

fn to_base64(vector: &[f32]) -> String {
    use base64::Engine as _;
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// `GET /models`.
pub(super) fn models(options: &Options) -> Value {
    let data: Vec<Value> = options.models.iter().map(|name| model(name)).collect();
    json!({ "object": "list", "data": data })
}

/// `GET /models/{id}`.
pub(super) fn model(name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": CREATED, "owned_by": "double" })
}
