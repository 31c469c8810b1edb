//! What a real OpenAI endpoint accepts, member by member, so that a malformed request fails a test instead of being
//! answered. Source: the public OpenAI API reference (chat completions, embeddings) and its error bodies.
//! Invariant: optional members may be null (official clients send nulls); unknown members are the caller's choice.

use http::StatusCode;
use serde_json::{Value, json};

/// Why the double refused a request, in OpenAI's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The status that goes with it.
    pub status: StatusCode,
    /// One sentence.
    pub message: String,
    /// The member at fault.
    pub param: Option<String>,
    /// OpenAI's code, when it has one.
    pub code: Option<&'static str>,
}

impl Wrong {
    /// A 400 about one member.
    #[must_use]
    pub fn value(param: &str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            param: Some(param.into()),
            code: None,
        }
    }

    /// Another status without a member at fault.
    #[must_use]
    pub fn other(status: StatusCode, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code }
    }

    /// The error body.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({ "error": {
            "message": self.message, "type": "invalid_request_error", "param": self.param, "code": self.code,
        }})
    }
}

pub(super) type Check = fn(&Value) -> Result<(), String>;
/// Name, whether it must be there, and its check.
pub(super) type Member = (&'static str, bool, Check);

const CHAT: &[Member] = &[
    ("model", true, name),
    ("messages", true, messages),
    ("audio", false, object),
    ("frequency_penalty", false, within::<-2, 2>),
    ("function_call", false, string_or_object),
    ("functions", false, array),
    ("logit_bias", false, object),
    ("logprobs", false, boolean),
    ("max_completion_tokens", false, positive),
    ("max_tokens", false, positive),
    ("metadata", false, object),
    ("modalities", false, array),
    ("n", false, integer::<1, 128>),
    ("parallel_tool_calls", false, boolean),
    ("prediction", false, object),
    ("presence_penalty", false, within::<-2, 2>),
    ("prompt_cache_key", false, string),
    ("reasoning_effort", false, string),
    ("response_format", false, response_format),
    ("safety_identifier", false, string),
    ("seed", false, any_integer),
    ("service_tier", false, string),
    ("stop", false, stop),
    ("store", false, boolean),
    ("stream", false, boolean),
    ("stream_options", false, stream_options),
    ("temperature", false, within::<0, 2>),
    ("tool_choice", false, string_or_object),
    ("tools", false, tools),
    ("top_logprobs", false, integer::<0, 20>),
    ("top_p", false, within::<0, 1>),
    ("user", false, string),
    ("verbosity", false, string),
    ("web_search_options", false, object),
];

const EMBEDDINGS: &[Member] = &[
    ("model", true, name),
    ("input", true, input),
    ("dimensions", false, positive),
    ("encoding_format", false, encoding),
    ("user", false, string),
];

/// Checks a chat completion request.
///
/// # Errors
/// The first thing OpenAI would refuse.
pub fn chat(body: &Value, reject_unknown: bool) -> Result<(), Wrong> {
    members(body, CHAT, reject_unknown)?;
    let streams = body["stream"].as_bool() == Some(true);
    if !body["stream_options"].is_null() && !streams {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Wrong::value("stream_options", message));
    }
    if !body["top_logprobs"].is_null() && body["logprobs"].as_bool() != Some(true) {
        return Err(Wrong::value("top_logprobs", "logprobs must be true when top_logprobs is set."));
    }
    if !body["tool_choice"].is_null() && body["tools"].is_null() {
        return Err(Wrong::value("tool_choice", "'tool_choice' is only allowed when 'tools' are specified."));
    }
    Ok(())
}

/// Checks an embeddings request.
///
/// # Errors
/// The first thing OpenAI would refuse.
pub fn embeddings(body: &Value, reject_unknown: bool) -> Result<(), Wrong> {
    members(body, EMBEDDINGS, reject_unknown)
}

pub(super) fn members(body: &Value, table: &[Member], reject_unknown: bool) -> Result<(), Wrong> {
    let Some(object) = body.as_object() else {
        let message = "We could not parse the JSON body of your request.";
        return Err(Wrong::other(StatusCode::BAD_REQUEST, None, message));
    };
    for (name, required, check) in table {
        match object.get(*name) {
            None | Some(Value::Null) if *required => {
                let mut wrong = Wrong::value(name, format!("Missing required parameter: '{name}'."));
                wrong.code = Some("missing_required_parameter");
                return Err(wrong);
            }
            None | Some(Value::Null) => {}
            Some(value) => {
                check(value).map_err(|why| {
                    let mut wrong = Wrong::value(name, format!("Invalid '{name}': {why}."));
                    wrong.code = Some("invalid_value");
                    wrong
                })?;
            }
        }
    }
    let unknown = object.keys().find(|key| !table.iter().any(|(name, ..)| name == key));
    match unknown {
        Some(name) if reject_unknown => {
            Err(Wrong::value(name, format!("Unrecognized request argument supplied: {name}")))
        }
        _ => Ok(()),
    }
}

pub(super) fn expect(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("expected {what}")) }
}

pub(super) fn name(value: &Value) -> Result<(), String> {
    expect(value.as_str().is_some_and(|text| !text.is_empty()), "a model name")
}

pub(super) fn string(value: &Value) -> Result<(), String> {
    expect(value.is_string(), "a string")
}

pub(super) fn boolean(value: &Value) -> Result<(), String> {
    expect(value.is_boolean(), "a boolean")
}

pub(super) fn object(value: &Value) -> Result<(), String> {
    expect(value.is_object(), "an object")
}

pub(super) fn array(value: &Value) -> Result<(), String> {
    expect(value.is_array(), "an array")
}

fn string_or_object(value: &Value) -> Result<(), String> {
    expect(value.is_string() || value.is_object(), "a string or an object")
}

fn any_integer(value: &Value) -> Result<(), String> {
    expect(value.is_i64() || value.is_u64(), "an integer")
}

pub(super) fn positive(value: &Value) -> Result<(), String> {
    expect(value.as_u64().is_some_and(|number| number >= 1), "an integer of at least 1")
}

pub(super) fn integer<const LOW: i64, const HIGH: i64>(value: &Value) -> Result<(), String> {
    let inside = value.as_i64().is_some_and(|number| (LOW..=HIGH).contains(&number));
    expect(inside, &format!("an integer from {LOW} to {HIGH}"))
}

pub(super) fn within<const LOW: i32, const HIGH: i32>(value: &Value) -> Result<(), String> {
    let inside = value.as_f64().is_some_and(|number| (f64::from(LOW)..=f64::from(HIGH)).contains(&number));
    expect(inside, &format!("a number from {LOW} to {HIGH}"))
}

fn encoding(value: &Value) -> Result<(), String> {
    expect(matches!(value.as_str(), Some("float" | "base64")), "'float' or 'base64'")
}

fn stop(value: &Value) -> Result<(), String> {
    let several =
        value.as_array().is_some_and(|all| (1..=4).contains(&all.len()) && all.iter().all(Value::is_string));
    expect(value.is_string() || several, "a string or an array of 1 to 4 strings")
}

fn stream_options(value: &Value) -> Result<(), String> {
    object(value)?;
    expect(
        value["include_usage"].is_null() || value["include_usage"].is_boolean(),
        "include_usage as a boolean",
    )
}

fn response_format(value: &Value) -> Result<(), String> {
    match value["type"].as_str() {
        Some("text" | "json_object") => Ok(()),
        Some("json_schema") => expect(value["json_schema"]["name"].is_string(), "json_schema.name"),
        _ => Err("expected type 'text', 'json_object' or 'json_schema'".into()),
    }
}

fn tools(value: &Value) -> Result<(), String> {
    let all = value.as_array().ok_or("expected an array")?;
    expect((1..=128).contains(&all.len()), "1 to 128 tools")?;
    for (index, tool) in all.iter().enumerate() {
        let name = tool["function"]["name"].as_str().unwrap_or_default();
        let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
        let good = (1..=64).contains(&name.len()) && name.chars().all(fits);
        expect(tool["type"] == "function" && good, &format!("a function with a name at [{index}]"))?;
    }
    Ok(())
}

fn messages(value: &Value) -> Result<(), String> {
    let all = value.as_array().ok_or("expected an array")?;
    expect(!all.is_empty(), "at least one message")?;
    all.iter()
        .enumerate()
        .try_for_each(|(index, one)| message(one).map_err(|why| format!("{why} at [{index}]")))
}

fn message(value: &Value) -> Result<(), String> {
    let role = value["role"].as_str().unwrap_or_default();
    let (known, may_be_empty) = match role {
        "system" | "developer" | "user" => (true, false),
        "assistant" => (true, value["tool_calls"].is_array() || value["function_call"].is_object()),
        "tool" => (value["tool_call_id"].is_string(), false),
        "function" => (value["name"].is_string(), true),
        _ => (false, false),
    };
    expect(known, "a known role with its members")?;
    match &value["content"] {
        Value::String(_) => Ok(()),
        Value::Array(parts) => parts.iter().try_for_each(part),
        Value::Null => expect(may_be_empty, "content"),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            Err("expected content as a string or an array of parts".into())
        }
    }
}

fn part(value: &Value) -> Result<(), String> {
    let good = match value["type"].as_str() {
        Some("text") => value["text"].is_string(),
        Some("refusal") => value["refusal"].is_string(),
        Some("image_url") => value["image_url"]["url"].is_string(),
        Some("input_audio") => value["input_audio"]["data"].is_string(),
        Some("file") => value["file"].is_object(),
        _ => false,
    };
    expect(good, "a known content part with its members")
}

fn input(value: &Value) -> Result<(), String> {
    let filled = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
    let tokens =
        |list: &Value| list.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_u64));
    let good = match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => {
            let uniform = all.iter().all(filled) || tokens(value) || all.iter().all(tokens);
            (1..=2048).contains(&all.len()) && uniform
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    };
    expect(good, "a non-empty string, 1 to 2048 non-empty strings, or token arrays")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(changes: Value) -> Value {
        let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hello" }] });
        for (key, value) in changes.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    }

    #[test]
    fn honest_chat_requests_pass() {
        for changes in [
            json!({}),
            json!({ "temperature": null, "tools": null, "response_format": null }),
            json!({ "stream": true, "stream_options": { "include_usage": true }, "stop": ["a", "b"] }),
            json!({ "messages": [
                { "role": "system", "content": "be kind" },
                { "role": "user", "content": [
                    { "type": "text", "text": "look" },
                    { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } },
                ]},
                { "role": "assistant", "content": null, "tool_calls": [] },
                { "role": "tool", "tool_call_id": "call_1", "content": "42" },
            ]}),
            json!({ "tools": [{ "type": "function", "function": { "name": "look_up" } }], "tool_choice": "auto" }),
            json!({ "made_up": 1 }),
        ] {
            assert_eq!(chat(&with(changes.clone()), false), Ok(()), "{changes}");
        }
    }

    #[test]
    fn malformed_chat_requests_are_refused_with_the_member_at_fault() {
        for (changes, param) in [
            (json!({ "model": "" }), "model"),
            (json!({ "messages": [] }), "messages"),
            (json!({ "messages": null }), "messages"),
            (json!({ "messages": [{ "role": "wizard", "content": "x" }] }), "messages"),
            (json!({ "messages": [{ "role": "user", "content": null }] }), "messages"),
            (json!({ "messages": [{ "role": "tool", "content": "no id" }] }), "messages"),
            (json!({ "messages": [{ "role": "user", "content": [{ "type": "text" }] }] }), "messages"),
            (json!({ "temperature": 2.1 }), "temperature"),
            (json!({ "temperature": "hot" }), "temperature"),
            (json!({ "n": 0 }), "n"),
            (json!({ "max_tokens": -1 }), "max_tokens"),
            (json!({ "stop": ["a", "b", "c", "d", "e"] }), "stop"),
            (json!({ "stream": "yes" }), "stream"),
            (json!({ "stream_options": { "include_usage": true } }), "stream_options"),
            (json!({ "top_logprobs": 2 }), "top_logprobs"),
            (json!({ "tools": [{ "type": "function", "function": { "name": "has space" } }] }), "tools"),
            (json!({ "tool_choice": "auto" }), "tool_choice"),
            (json!({ "response_format": { "type": "yaml" } }), "response_format"),
        ] {
            let wrong = chat(&with(changes.clone()), false).expect_err(&changes.to_string());
            assert_eq!(wrong.param.as_deref(), Some(param), "{changes}: {}", wrong.message);
        }
        assert!(chat(&json!([]), false).is_err());
        assert_eq!(chat(&with(json!({ "made_up": 1 })), true).unwrap_err().param.as_deref(), Some("made_up"));
    }

    #[test]
    fn embedding_inputs_are_checked_in_every_form() {
        let check = |input: Value| embeddings(&json!({ "model": "m", "input": input }), false);
        for good in [json!("a"), json!(["a", "b"]), json!([1, 2]), json!([[1], [2, 3]])] {
            assert_eq!(check(good.clone()), Ok(()), "{good}");
        }
        for bad in [json!(""), json!([]), json!(["a", ""]), json!(["a", 1]), json!({}), json!([[]])] {
            assert!(check(bad.clone()).is_err(), "{bad}");
        }
        assert!(check(json!(vec!["a"; 2049])).is_err());
    }
}
