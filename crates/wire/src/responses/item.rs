//! Items of an answer's output and the response object around them, as whole answers and streams both write them.
//! Source: the API reference, "The response object".

use super::written_usage;
use crate::Head;
use portcullis_domain::{Finish, ToolCall, Usage};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use std::{borrow::Cow, collections::BTreeMap};

/// An item of the output.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// Words.
    Message(Vec<Content>),
    /// Thoughts.
    Reasoning { text: String, signature: Option<String> },
    /// A call.
    Call(ToolCall),
}

/// A part of a message.
#[derive(Clone, Debug)]
pub(super) struct Content {
    /// Whether it is a refusal.
    pub(super) refusal: bool,
    /// The words.
    pub(super) text: String,
    /// In OpenAI's shape, one for each token.
    pub(super) logprobs: Vec<Value>,
    /// Whether its end was told.
    pub(super) ended: bool,
}

impl Content {
    pub(super) const fn new(refusal: bool) -> Self {
        Self { refusal, text: String::new(), logprobs: Vec::new(), ended: false }
    }

    pub(super) fn written(&self) -> Value {
        if self.refusal {
            json!({"type": "refusal", "refusal": self.text})
        } else {
            json!({"type": "output_text", "text": self.text, "annotations": [], "logprobs": self.logprobs})
        }
    }
}

impl Item {
    /// Its id: what kind it is, of which answer, which one.
    pub(super) fn id(&self, head: &Head, index: usize) -> String {
        let kind = match self {
            Self::Message(_) => "msg",
            Self::Reasoning { .. } => "rs",
            Self::Call(_) => "fc",
        };
        format!("{kind}_{}_{index}", head.id)
    }

    /// As JSON; `status` is `in_progress`, `completed` or `incomplete`.
    pub(super) fn written(&self, id: &str, status: &str) -> Value {
        match self {
            Self::Message(content) => json!({
                "type": "message", "id": id, "status": status, "role": "assistant",
                "content": content.iter().map(Content::written).collect::<Vec<_>>(),
            }),
            Self::Reasoning { text, signature } => {
                let mut item = json!({"type": "reasoning", "id": id, "summary": summary(text)});
                if let Some(signature) = signature {
                    item["encrypted_content"] = signature.clone().into();
                }
                item
            }
            Self::Call(call) => json!({
                "type": "function_call", "id": id, "status": status,
                "call_id": call.id, "name": call.name, "arguments": call.arguments,
            }),
        }
    }
}

/// Thoughts as their summary.
fn summary(text: &str) -> Value {
    if text.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": text}]) }
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    /// With the reason.
    Incomplete(&'static str),
}

impl Status {
    pub(super) const fn of(finish: &Finish) -> Self {
        match finish {
            Finish::Stop | Finish::StopText(_) | Finish::ToolCalls => Self::Completed,
            Finish::Length => Self::Incomplete("max_output_tokens"),
            Finish::ContentFilter => Self::Incomplete("content_filter"),
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
        }
    }
}

/// A member of the request in the caller's own bytes, or what it counts as when it is not there.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told {
    Asked(Box<RawValue>),
    Unsaid(Value),
}

/// The part of a response object that repeats the request.
#[derive(Debug, Serialize)]
pub(super) struct Echo {
    background: bool,
    instructions: Told,
    max_output_tokens: Told,
    max_tool_calls: (),
    metadata: Told,
    parallel_tool_calls: Told,
    previous_response_id: (),
    reasoning: Told,
    store: bool,
    temperature: Told,
    text: Told,
    tool_choice: Told,
    tools: Told,
    top_logprobs: Told,
    top_p: Told,
    truncation: &'static str,
    user: Told,
}

impl Echo {
    /// Of a caller's body; of what is none, the defaults.
    pub(super) fn of(request: &[u8]) -> Self {
        // Of a member said twice the last counts, as for every other reader of the body.
        let asked: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(request).unwrap_or_default();
        let told = |member: &str, unsaid: Value| match asked.get(member) {
            Some(raw) if raw.get() != "null" => Told::Asked((*raw).to_owned()),
            Some(_) | None => Told::Unsaid(unsaid),
        };
        Self {
            background: false,
            instructions: told("instructions", Value::Null),
            max_output_tokens: told("max_output_tokens", Value::Null),
            max_tool_calls: (),
            metadata: told("metadata", json!({})),
            parallel_tool_calls: told("parallel_tool_calls", true.into()),
            previous_response_id: (),
            reasoning: told("reasoning", json!({"effort": null, "summary": null})),
            store: false,
            temperature: told("temperature", 1.0.into()),
            text: told("text", json!({"format": {"type": "text"}})),
            tool_choice: told("tool_choice", "auto".into()),
            tools: told("tools", json!([])),
            top_logprobs: told("top_logprobs", 0.into()),
            top_p: told("top_p", 1.0.into()),
            truncation: "disabled",
            user: told("user", Value::Null),
        }
    }
}

/// The response object.
#[derive(Serialize)]
pub(super) struct Response<'a> {
    id: &'a str,
    object: &'static str,
    created_at: i64,
    status: &'static str,
    error: (),
    incomplete_details: Option<Value>,
    model: &'a str,
    output: &'a [Value],
    usage: Option<Value>,
    #[serde(flatten)]
    echo: &'a Echo,
}

impl<'a> Response<'a> {
    pub(super) fn new(
        (id, created_at, model): (&'a str, i64, &'a str),
        status: Status,
        output: &'a [Value],
        usage: Option<&Usage>,
        echo: &'a Echo,
    ) -> Self {
        let incomplete_details = match status {
            Status::InProgress | Status::Completed => None,
            Status::Incomplete(reason) => Some(json!({"reason": reason})),
        };
        Self {
            id,
            object: "response",
            created_at,
            status: status.as_str(),
            error: (),
            incomplete_details,
            model,
            output,
            usage: usage.map(written_usage),
            echo,
        }
    }
}

/// The id of an answer: the provider's where it is one of this format.
pub(super) fn answer_id(given: &str, head: &Head) -> String {
    if given.starts_with("resp_") { given.to_owned() } else { format!("resp_{}", head.id) }
}
