//! OpenAI's streamed chat answers. Source: the API reference, "The chat completion chunk object".

use super::answer::{Said, finish, id, reason};
use crate::{Head, Odd};
use bytes::{BufMut as _, BytesMut};
use portcullis_domain::{Finish, Step, Usage};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::collections::BTreeSet;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: Option<Vec<One<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct One<'a> {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Option<Said>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs: Option<Value>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// Reads a streamed answer.
#[derive(Debug, Default)]
pub struct Reader {
    begun: bool,
    /// Tool calls that have begun: answer and index.
    calls: BTreeSet<(u32, u32)>,
}

impl Reader {
    pub(crate) fn event(&mut self, data: &[u8], out: &mut Vec<Step>) -> Result<(), Odd> {
        if data == b"[DONE]" {
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(|_| Odd::WrongSchema)?;
        if let Some(error) = chunk.error.filter(|error| error.get() != "null") {
            return Err(Odd::Error(bytes::Bytes::copy_from_slice(error.get().as_bytes())));
        }
        if !std::mem::replace(&mut self.begun, true) {
            let (id, model) = (chunk.id.unwrap_or_default(), chunk.model.unwrap_or_default());
            out.push(Step::Begin { id, model });
        }
        let mut used = chunk.usage;
        for one in chunk.choices.into_iter().flatten() {
            used = used.or(one.usage);
            self.choice(one, out);
        }
        out.extend(used.and_then(super::usage).map(Step::Usage));
        Ok(())
    }

    fn choice(&mut self, one: One<'_>, out: &mut Vec<Step>) {
        let choice = one.index;
        let said = one.delta.unwrap_or_default();
        let words = |text: Option<String>| text.filter(|text| !text.is_empty());
        let thoughts = words(said.reasoning_content);
        out.extend(thoughts.map(|text| Step::Reasoning { choice, text, signature: None }));
        out.extend(words(said.content).map(|text| Step::Text { choice, text }));
        out.extend(words(said.refusal).map(|text| Step::Refusal { choice, text }));
        for (at, call) in said.tool_calls.into_iter().flatten().enumerate() {
            let index = call.index.unwrap_or(u32::try_from(at).unwrap_or(u32::MAX));
            if self.calls.insert((choice, index)) {
                let (id, name) = (call.id.unwrap_or_default(), call.function.name.unwrap_or_default());
                out.push(Step::ToolCall { choice, index, id, name, signature: None });
            }
            let more = words(call.function.arguments);
            out.extend(more.map(|fragment| Step::Arguments { choice, index, fragment }));
        }
        let logprobs = one.logprobs.filter(|value| !value.is_null());
        out.extend(logprobs.map(|logprobs| Step::Logprobs { choice, logprobs }));
        if let Some(why) = words(one.finish_reason) {
            out.push(Step::Finish { choice, reason: finish(&why) });
        }
    }
}

/// Writes a streamed answer: usage comes last, in a chunk of its own, if the caller asked for it.
#[derive(Debug)]
pub struct Writer {
    head: Head,
    id: String,
    model: String,
    /// Answers whose first chunk, which names the role, has gone out.
    begun: BTreeSet<u32>,
    usage: Option<Usage>,
}

impl Writer {
    pub(crate) fn new(head: Head) -> Self {
        let id = id("", &head);
        Self { head, id, model: String::new(), begun: BTreeSet::new(), usage: None }
    }

    pub(crate) fn step(&mut self, step: &Step, out: &mut BytesMut) {
        match step {
            Step::Begin { id: given, model } => {
                self.id = id(given, &self.head);
                self.model.clone_from(model);
            }
            Step::Text { choice, text } => self.delta(*choice, json!({"content": text}), out),
            Step::Refusal { choice, text } => self.delta(*choice, json!({"refusal": text}), out),
            // Only the signature: nothing that this format shows.
            Step::Reasoning { text, .. } if text.is_empty() => {}
            Step::Reasoning { choice, text, .. } => {
                self.delta(*choice, json!({"reasoning_content": text}), out);
            }
            Step::ToolCall { choice, index, id, name, .. } => {
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": index, "id": id, "type": "function", "function": function});
                self.delta(*choice, json!({"tool_calls": [call]}), out);
            }
            Step::Arguments { choice, index, fragment } => {
                let call = json!({"index": index, "function": {"arguments": fragment}});
                self.delta(*choice, json!({"tool_calls": [call]}), out);
            }
            Step::Logprobs { choice, logprobs } => {
                self.begin(*choice, out);
                self.chunk(
                    json!([{"index": choice, "delta": {}, "logprobs": logprobs, "finish_reason": null}]),
                    out,
                );
            }
            Step::Finish { choice, reason: why } => self.end(*choice, why, out),
            Step::Usage(usage) => self.usage = Some(*usage),
        }
    }

    pub(crate) fn finish(&mut self, out: &mut BytesMut) {
        if let Some(used) = self.usage.filter(|_| self.head.include_usage) {
            let mut chunk = self.bare(json!([]));
            chunk["usage"] = super::written_usage(&used);
            event(&chunk, out);
        }
        out.put_slice(b"data: [DONE]\n\n");
    }

    fn begin(&mut self, choice: u32, out: &mut BytesMut) {
        if self.begun.insert(choice) {
            let delta = json!({"role": "assistant", "content": ""});
            self.chunk(json!([{"index": choice, "delta": delta, "finish_reason": null}]), out);
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers make it in place")]
    fn delta(&mut self, choice: u32, delta: Value, out: &mut BytesMut) {
        self.begin(choice, out);
        self.chunk(json!([{"index": choice, "delta": delta, "finish_reason": null}]), out);
    }

    fn end(&mut self, choice: u32, why: &Finish, out: &mut BytesMut) {
        self.begin(choice, out);
        self.chunk(json!([{"index": choice, "delta": {}, "finish_reason": reason(why)}]), out);
    }

    fn chunk(&self, choices: Value, out: &mut BytesMut) {
        event(&self.bare(choices), out);
    }

    fn bare(&self, choices: Value) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.head.created,
            "model": self.model, "choices": choices,
        })
    }
}

fn event(value: &Value, out: &mut BytesMut) {
    out.put_slice(b"data: ");
    out.put_slice(value.to_string().as_bytes());
    out.put_slice(b"\n\n");
}
