//! OpenAI's responses, whole. Source: the API reference, "The response object".

use super::{
    item::{Content, Echo, Item, Response, Status, answer_id},
    look::usage,
};
use crate::Head;
use bytes::Bytes;
use portcullis_domain::{Choice, Completion, Finish, Part, ToolCall};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

/// A response object, as whole answers and the last event of a stream hold it.
#[derive(Deserialize)]
pub(super) struct Whole<'a> {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    created_at: Option<f64>,
    #[serde(default)]
    pub(super) status: Option<String>,
    #[serde(default)]
    incomplete_details: Option<Incomplete>,
    output: Vec<Output>,
    #[serde(borrow, default)]
    pub(super) usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Incomplete {
    #[serde(default)]
    reason: Option<String>,
}

/// An item of the output.
#[derive(Default, Deserialize)]
pub(super) struct Output {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    content: Option<Vec<Said>>,
    #[serde(default)]
    summary: Option<Vec<Said>>,
    #[serde(default)]
    pub(super) encrypted_content: Option<String>,
    #[serde(default)]
    pub(super) call_id: Option<String>,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    logprobs: Option<Vec<Value>>,
}

impl Whole<'_> {
    /// Why it ended; none while it has not.
    pub(super) fn finish(&self) -> Option<Finish> {
        let called = || self.output.iter().any(|item| item.kind == "function_call");
        match self.status.as_deref() {
            None | Some("completed") if called() => Some(Finish::ToolCalls),
            None | Some("completed") => Some(Finish::Stop),
            Some("incomplete") => {
                let reason = self.incomplete_details.as_ref().and_then(|details| details.reason.as_deref());
                Some(if reason == Some("content_filter") { Finish::ContentFilter } else { Finish::Length })
            }
            Some(_) => None,
        }
    }
}

/// Reads a whole answer.
#[must_use]
pub fn read_answer(body: &[u8]) -> Option<Completion> {
    let whole: Whole<'_> = serde_json::from_slice(body).ok()?;
    let finish = whole.finish()?;
    let (mut parts, mut logprobs) = (Vec::new(), Vec::new());
    for item in whole.output {
        read_item(item, &mut parts, &mut logprobs);
    }
    #[expect(clippy::cast_possible_truncation, reason = "seconds; saturates")]
    let created = whole.created_at.unwrap_or_default() as i64;
    let logprobs = (!logprobs.is_empty()).then(|| json!({"content": logprobs, "refusal": null}));
    Some(Completion {
        id: whole.id.unwrap_or_default(),
        model: whole.model.unwrap_or_default(),
        created,
        choices: vec![Choice { parts, finish, logprobs }],
        usage: whole.usage.and_then(usage),
    })
}

/// What the form cannot hold (results of built-in tools, which were not asked for) is left out.
fn read_item(item: Output, parts: &mut Vec<Part>, logprobs: &mut Vec<Value>) {
    match item.kind.as_str() {
        "message" => {
            for said in item.content.into_iter().flatten() {
                logprobs.extend(said.logprobs.into_iter().flatten());
                match said.kind.as_str() {
                    "output_text" => parts.extend(said.text.map(Part::Text)),
                    "refusal" => parts.extend(said.refusal.map(Part::Refusal)),
                    _ => {}
                }
            }
        }
        "reasoning" => {
            let joined = |said: Option<Vec<Said>>| {
                let texts = said.into_iter().flatten().filter_map(|said| said.text);
                texts.collect::<Vec<_>>().join("\n\n")
            };
            let (content, summary) = (joined(item.content), joined(item.summary));
            let text = if content.is_empty() { summary } else { content };
            if !text.is_empty() || item.encrypted_content.is_some() {
                parts.push(Part::Reasoning { text, signature: item.encrypted_content });
            }
        }
        "function_call" => parts.push(Part::ToolCall(ToolCall {
            id: item.call_id.unwrap_or_default(),
            name: item.name.unwrap_or_default(),
            arguments: item.arguments.unwrap_or_default(),
            signature: None,
        })),
        _ => {}
    }
}

/// Writes a whole answer: the first, where a provider gave several.
#[must_use]
pub fn write_answer(answer: &Completion, head: &Head) -> Bytes {
    let (items, finish) = match answer.choices.first() {
        Some(choice) => (items(choice), &choice.finish),
        None => (Vec::new(), &Finish::Stop),
    };
    let status = Status::of(finish);
    let output: Vec<Value> = items
        .iter()
        .enumerate()
        .map(|(index, item)| item.written(&item.id(head, index), status.as_str()))
        .collect();
    let id = answer_id(&answer.id, head);
    let created = if answer.created == 0 { head.created } else { answer.created };
    let echo = Echo::of(&head.request);
    let about = (id.as_str(), created, answer.model.as_str());
    let response = Response::new(about, status, &output, answer.usage.as_ref(), &echo);
    serde_json::to_vec(&response).unwrap_or_default().into()
}

/// The items of an answer: words that follow each other are one message.
fn items(choice: &Choice) -> Vec<Item> {
    let mut out: Vec<Item> = Vec::new();
    for part in &choice.parts {
        match part {
            Part::Text(text) | Part::Refusal(text) => {
                let refusal = matches!(part, Part::Refusal(_));
                let content = Content { text: text.clone(), ..Content::new(refusal) };
                match out.last_mut() {
                    Some(Item::Message(contents)) => contents.push(content),
                    Some(Item::Reasoning { .. } | Item::Call(_)) | None => {
                        out.push(Item::Message(vec![content]));
                    }
                }
            }
            Part::Reasoning { text, signature } => {
                out.push(Item::Reasoning { text: text.clone(), signature: signature.clone() });
            }
            Part::ToolCall(call) => out.push(Item::Call(call.clone())),
            Part::Image(_) | Part::ToolResult(_) => {}
        }
    }
    // Told for the whole answer; here they stand with the first words.
    let tokens = choice.logprobs.as_ref().and_then(|all| all["content"].as_array());
    let first = out.iter_mut().find_map(|item| match item {
        Item::Message(contents) => contents.iter_mut().find(|content| !content.refusal),
        Item::Reasoning { .. } | Item::Call(_) => None,
    });
    if let (Some(tokens), Some(content)) = (tokens, first) {
        content.logprobs.clone_from(tokens);
    }
    out
}
