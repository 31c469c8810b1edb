//! Google's answers. Source: the API reference, "GenerateContentResponse".

use super::{
    ids::call_id,
    logprobs,
    look::usage,
    write::{is_base64, written_call, written_image},
};
use crate::Head;
use bytes::Bytes;
use portcullis_domain::{Choice, Completion, Finish, Image, Part, ToolCall, Usage};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

/// An answer, or one chunk of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response<'a> {
    #[serde(default)]
    pub(super) candidates: Option<Vec<Candidate>>,
    #[serde(default)]
    pub(super) prompt_feedback: Option<Feedback>,
    #[serde(borrow, default)]
    pub(super) usage_metadata: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) model_version: Option<String>,
    #[serde(default)]
    pub(super) response_id: Option<String>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

impl Response<'_> {
    /// Whether the filter refused the prompt.
    pub(super) fn blocked(&self) -> bool {
        let reason = self.prompt_feedback.as_ref().and_then(|feedback| feedback.block_reason.as_deref());
        self.candidates.as_ref().is_none_or(Vec::is_empty)
            && reason.is_some_and(|reason| !reason.is_empty() && !reason.ends_with("_UNSPECIFIED"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Feedback {
    #[serde(default)]
    block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
    #[serde(default)]
    pub(super) logprobs_result: Option<Value>,
}

impl Candidate {
    pub(super) fn parts(&mut self) -> Vec<Said> {
        self.content.take().and_then(|content| content.parts).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Option<Vec<Said>>,
}

/// A part of an answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Said {
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) thought: Option<bool>,
    #[serde(default)]
    pub(super) thought_signature: Option<String>,
    #[serde(default)]
    pub(super) function_call: Option<Called>,
    #[serde(default)]
    inline_data: Option<Blob>,
}

#[derive(Deserialize)]
pub(super) struct Called {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    args: Option<Box<RawValue>>,
}

impl Called {
    /// The call; it is number `n` of the answer `of`.
    pub(super) fn call(self, n: u32, of: &str, signature: Option<String>) -> ToolCall {
        let name = self.name.unwrap_or_default();
        let arguments = self.args.map_or_else(|| "{}".to_owned(), |args| args.get().to_owned());
        let given = self.id.filter(|id| !id.is_empty());
        let id = given.unwrap_or_else(|| call_id(n, of, &name, &arguments));
        ToolCall { id, name, arguments, signature }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob {
    #[serde(default)]
    mime_type: String,
    #[serde(default)]
    data: String,
}

/// Reads a whole answer. One whose prompt was refused has no choices.
#[must_use]
pub fn read_answer(body: &[u8]) -> Option<Completion> {
    let read: Response<'_> = serde_json::from_slice(body).ok()?;
    let blocked = read.blocked();
    let candidates = read.candidates.unwrap_or_default();
    if candidates.is_empty() && !blocked {
        return None;
    }
    let id = read.response_id.unwrap_or_default();
    Some(Completion {
        choices: candidates.into_iter().map(|candidate| choice(candidate, &id)).collect(),
        id,
        model: read.model_version.unwrap_or_default(),
        created: 0,
        usage: read.usage_metadata.and_then(usage),
    })
}

fn choice(mut candidate: Candidate, id: &str) -> Choice {
    let (mut parts, mut calls) = (Vec::new(), 0);
    for said in candidate.parts() {
        let signature = said.thought_signature;
        if let Some(called) = said.function_call {
            parts.push(Part::ToolCall(called.call(calls, id, signature)));
            calls += 1;
        } else if let Some(blob) = said.inline_data {
            parts.push(Part::Image(Image::Data { mime: blob.mime_type, base64: blob.data }));
        } else {
            let text = said.text.unwrap_or_default();
            if said.thought == Some(true) {
                parts.push(Part::Reasoning { text, signature });
                continue;
            }
            if !text.is_empty() {
                join(&mut parts, text);
            }
            if signature.is_some() {
                parts.push(Part::Reasoning { text: String::new(), signature });
            }
        }
    }
    let logprobs = candidate.logprobs_result.as_ref().and_then(logprobs::read);
    let reason = candidate.finish_reason.as_deref().unwrap_or("STOP");
    Choice { parts, finish: finish(reason, calls > 0), logprobs }
}

/// Google may cut one text into several parts.
fn join(parts: &mut Vec<Part>, more: String) {
    match parts.last_mut() {
        Some(Part::Text(text)) => text.push_str(&more),
        Some(
            Part::Refusal(_)
            | Part::Reasoning { .. }
            | Part::Image(_)
            | Part::ToolCall(_)
            | Part::ToolResult(_),
        )
        | None => parts.push(Part::Text(more)),
    }
}

/// A reason as the form knows it. Whatever is neither an end nor a bound is a refusal to go on: a malformed call, a
/// filter, or a reason of which we do not know that the answer is whole.
pub(super) fn finish(reason: &str, calls: bool) -> Finish {
    match reason {
        "STOP" if calls => Finish::ToolCalls,
        "STOP" => Finish::Stop,
        "MAX_TOKENS" | "CONTINUATION" => Finish::Length,
        _ => Finish::ContentFilter,
    }
}

/// A reason in Google's words.
pub(super) const fn reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopText(_) | Finish::ToolCalls => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::ContentFilter => "SAFETY",
    }
}

/// Writes a whole answer.
#[must_use]
pub fn write_answer(answer: &Completion, head: &Head) -> Bytes {
    let mut out = Map::new();
    if answer.choices.is_empty() {
        out.insert("promptFeedback".into(), json!({"blockReason": "OTHER"}));
    } else {
        let candidates = answer.choices.iter().enumerate().map(|(index, choice)| {
            let parts: Vec<Value> = choice.parts.iter().filter_map(written_part).collect();
            let mut out = candidate(u32::try_from(index).unwrap_or(u32::MAX), parts);
            out.insert("finishReason".into(), reason(&choice.finish).into());
            if let Some(result) = choice.logprobs.as_ref().and_then(logprobs::written) {
                out.insert("logprobsResult".into(), result);
            }
            Value::from(out)
        });
        out.insert("candidates".into(), candidates.collect());
    }
    if let Some(used) = &answer.usage {
        out.insert("usageMetadata".into(), written_usage(used));
    }
    out.insert("modelVersion".into(), answer.model.clone().into());
    out.insert("responseId".into(), if answer.id.is_empty() { &head.id } else { &answer.id }.clone().into());
    Value::Object(out).to_string().into()
}

/// A candidate of these parts. Google's clients expect at least one.
pub(super) fn candidate(index: u32, mut parts: Vec<Value>) -> Map<String, Value> {
    if parts.is_empty() {
        parts.push(json!({"text": ""}));
    }
    let mut out = Map::new();
    out.insert("content".into(), json!({"role": "model", "parts": parts}));
    out.insert("index".into(), index.into());
    out
}

fn written_part(part: &Part) -> Option<Value> {
    match part {
        Part::Text(text) | Part::Refusal(text) => Some(json!({"text": text})),
        Part::Reasoning { text, signature } => Some(written_thought(text, signature.as_deref())),
        Part::Image(image) => Some(written_image(image)),
        Part::ToolCall(call) => Some(written_called(call)),
        Part::ToolResult(_) => None,
    }
}

/// A thought; one of a signature alone is how Google signs a text.
pub(super) fn written_thought(text: &str, signature: Option<&str>) -> Value {
    let mut out = Map::new();
    out.insert("text".into(), text.into());
    if !text.is_empty() {
        out.insert("thought".into(), true.into());
    }
    if let Some(signature) = signature.filter(|signature| is_base64(signature)) {
        out.insert("thoughtSignature".into(), signature.into());
    }
    out.into()
}

pub(super) fn written_called(call: &ToolCall) -> Value {
    let mut out = Map::new();
    out.insert("functionCall".into(), written_call(call));
    if let Some(signature) = call.signature.as_deref().filter(|signature| is_base64(signature)) {
        out.insert("thoughtSignature".into(), signature.into());
    }
    out.into()
}

pub(super) fn written_usage(used: &Usage) -> Value {
    let mut out = Map::new();
    out.insert("promptTokenCount".into(), used.input.into());
    out.insert("candidatesTokenCount".into(), used.output.saturating_sub(used.reasoning).into());
    out.insert("totalTokenCount".into(), (used.input + used.output).into());
    for (name, count) in
        [("cachedContentTokenCount", used.cached), ("thoughtsTokenCount", used.reasoning.min(used.output))]
    {
        if count > 0 {
            out.insert(name.into(), count.into());
        }
    }
    out.into()
}
