//! Anthropic's whole answers.

use super::{REDACTED, finish, input, plain_id, reason, usage, written_usage};
use crate::Head;
use bytes::Bytes;
use portcullis_domain::{Choice, Completion, Finish, Part, ToolCall};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    content: Vec<Block>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_sequence: Option<String>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// A block of an answer, or the beginning of one in a stream.
#[derive(Default, Deserialize)]
pub(super) struct Block {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) thinking: Option<String>,
    #[serde(default)]
    pub(super) signature: Option<String>,
    #[serde(default)]
    pub(super) data: Option<String>,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) input: Option<Value>,
}

impl Block {
    /// None for what nobody else knows: what servers' own tools did.
    pub(super) fn part(self) -> Option<Part> {
        match self.kind.as_str() {
            "text" => Some(Part::Text(self.text.unwrap_or_default())),
            "thinking" => Some(Part::Reasoning {
                text: self.thinking.unwrap_or_default(),
                signature: self.signature.filter(|signature| !signature.is_empty()),
            }),
            "redacted_thinking" => Some(Part::Reasoning {
                text: String::new(),
                signature: Some(format!("{REDACTED}{}", self.data.unwrap_or_default())),
            }),
            "tool_use" => Some(Part::ToolCall(ToolCall {
                id: self.id.unwrap_or_default(),
                name: self.name.unwrap_or_default(),
                arguments: self.input.unwrap_or_else(|| json!({})).to_string(),
                signature: None,
            })),
            _ => None,
        }
    }
}

/// Reads a whole answer.
#[must_use]
pub fn read_answer(body: &[u8]) -> Option<Completion> {
    let whole: Whole<'_> = serde_json::from_slice(body).ok()?;
    if whole.kind.is_some_and(|kind| kind != "message") {
        return None;
    }
    let choice = Choice {
        parts: whole.content.into_iter().filter_map(Block::part).collect(),
        finish: finish(whole.stop_reason.as_deref().unwrap_or_default(), whole.stop_sequence),
        logprobs: None,
    };
    Some(Completion {
        id: whole.id.unwrap_or_default(),
        model: whole.model.unwrap_or_default(),
        created: 0,
        choices: vec![choice],
        usage: whole.usage.and_then(usage),
    })
}

/// Writes a whole answer: the first choice, for there is no second here.
#[must_use]
pub fn write_answer(answer: &Completion, head: &Head) -> Bytes {
    let (parts, ended) = match answer.choices.first() {
        Some(choice) => (choice.parts.as_slice(), &choice.finish),
        None => (&[][..], &Finish::Stop),
    };
    let calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let refused = parts.iter().any(|part| matches!(part, Part::Refusal(_)));
    let (stop_reason, stop_sequence) = reason(ended, calls, refused);
    json!({
        "id": id(&answer.id, head),
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": parts.iter().filter_map(block).collect::<Value>(),
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
        "usage": written_usage(answer.usage),
    })
    .to_string()
    .into()
}

/// The provider's id where it gave one.
pub(super) fn id(given: &str, head: &Head) -> String {
    if given.is_empty() { format!("msg_{}", head.id) } else { given.to_owned() }
}

fn block(part: &Part) -> Option<Value> {
    match part {
        Part::Text(text) | Part::Refusal(text) => {
            (!text.is_empty()).then(|| json!({"type": "text", "text": text}))
        }
        Part::Reasoning { text, signature } => {
            let signature = signature.as_deref().unwrap_or_default();
            Some(match signature.strip_prefix(REDACTED) {
                Some(data) => json!({"type": "redacted_thinking", "data": data}),
                None => json!({"type": "thinking", "thinking": text, "signature": signature}),
            })
        }
        Part::ToolCall(call) => Some(json!({
            "type": "tool_use", "id": plain_id(&call.id), "name": call.name, "input": input(&call.arguments),
        })),
        Part::Image(_) | Part::ToolResult(_) => None,
    }
}
