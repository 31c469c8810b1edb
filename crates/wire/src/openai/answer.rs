//! OpenAI's chat answers. Source: the API reference, "The chat completion object".

use super::usage;
use crate::Head;
use bytes::Bytes;
use portcullis_domain::{Choice, Completion, Finish, Part, ToolCall};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    created: Option<f64>,
    choices: Vec<One>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct One {
    message: Said,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs: Option<Value>,
}

/// What a message or a chunk's delta says.
#[derive(Default, Deserialize)]
pub(super) struct Said {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) refusal: Option<String>,
    #[serde(default, alias = "reasoning")]
    pub(super) reasoning_content: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<Called>>,
}

#[derive(Deserialize)]
pub(super) struct Called {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Function,
}

#[derive(Default, Deserialize)]
pub(super) struct Function {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}

/// Reads a whole answer.
#[must_use]
pub fn read_answer(body: &[u8]) -> Option<Completion> {
    let whole: Whole<'_> = serde_json::from_slice(body).ok()?;
    if whole.choices.is_empty() {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "seconds; saturates")]
    let created = whole.created.unwrap_or_default() as i64;
    Some(Completion {
        id: whole.id.unwrap_or_default(),
        model: whole.model.unwrap_or_default(),
        created,
        choices: whole.choices.into_iter().map(choice).collect(),
        usage: whole.usage.and_then(usage),
    })
}

fn choice(one: One) -> Choice {
    let said = one.message;
    let mut parts = Vec::new();
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    parts.extend(text(said.reasoning_content).map(|text| Part::Reasoning { text, signature: None }));
    parts.extend(text(said.content).map(Part::Text));
    parts.extend(text(said.refusal).map(Part::Refusal));
    for call in said.tool_calls.into_iter().flatten() {
        parts.push(Part::ToolCall(ToolCall {
            id: call.id.unwrap_or_default(),
            name: call.function.name.unwrap_or_default(),
            arguments: call.function.arguments.unwrap_or_default(),
            signature: None,
        }));
    }
    let logprobs = one.logprobs.filter(|value| !value.is_null());
    Choice { parts, finish: finish(one.finish_reason.as_deref().unwrap_or("stop")), logprobs }
}

/// A reason as the form knows it; what is unknown has ended all the same.
pub(super) fn finish(reason: &str) -> Finish {
    match reason {
        "length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" | "sensitive" => Finish::ContentFilter,
        _ => Finish::Stop,
    }
}

pub(super) const fn reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopText(_) => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
    }
}

/// Writes a whole answer.
#[must_use]
pub fn write_answer(answer: &Completion, head: &Head) -> Bytes {
    let choices = answer.choices.iter().enumerate().map(|(index, choice)| {
        json!({
            "index": index,
            "message": message(&choice.parts),
            "logprobs": choice.logprobs,
            "finish_reason": reason(&choice.finish),
        })
    });
    let mut out = Map::new();
    out.insert("id".into(), id(&answer.id, head).into());
    out.insert("object".into(), "chat.completion".into());
    out.insert("created".into(), if answer.created == 0 { head.created } else { answer.created }.into());
    out.insert("model".into(), answer.model.clone().into());
    out.insert("choices".into(), choices.collect());
    if let Some(used) = &answer.usage {
        out.insert("usage".into(), super::written_usage(used));
    }
    Value::Object(out).to_string().into()
}

/// The provider's id where it gave one.
pub(super) fn id(given: &str, head: &Head) -> String {
    if given.is_empty() { format!("chatcmpl-{}", head.id) } else { given.to_owned() }
}

fn message(parts: &[Part]) -> Value {
    let (mut text, mut refusal, mut thoughts) = (None::<String>, None::<String>, None::<String>);
    let mut calls = Vec::new();
    let add = |to: &mut Option<String>, more: &str| to.get_or_insert_default().push_str(more);
    for part in parts {
        match part {
            Part::Text(more) => add(&mut text, more),
            Part::Refusal(more) => add(&mut refusal, more),
            Part::Reasoning { text: more, .. } if !more.is_empty() => add(&mut thoughts, more),
            Part::ToolCall(call) => calls.push(json!({
                "id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            })),
            Part::Reasoning { .. } | Part::Image(_) | Part::ToolResult(_) => {}
        }
    }
    let mut out = Map::new();
    out.insert("role".into(), "assistant".into());
    out.insert("content".into(), text.into());
    out.insert("refusal".into(), refusal.into());
    if let Some(thoughts) = thoughts {
        out.insert("reasoning_content".into(), thoughts.into());
    }
    if !calls.is_empty() {
        out.insert("tool_calls".into(), calls.into());
    }
    out.into()
}
