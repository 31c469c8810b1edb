//! Anthropic's streamed answers: blocks one after the other, each begun, continued and ended by events of their own.
//! Invariant of the writer: blocks never overlap. Calls that another format tells at the same time wait until the one
//! before them is whole; clients of this format take the block that began last for the one that ends.

use super::{
    REDACTED,
    answer::{Block, id},
    finish, plain_id, reason, usage, written_usage,
};
use crate::{Head, Odd, look::later};
use bytes::{BufMut as _, BytesMut};
use portcullis_domain::{Finish, Part, Step, Usage};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use std::{borrow::Cow, collections::BTreeMap};

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Option<Opening<'a>>,
    #[serde(default)]
    index: u32,
    #[serde(default)]
    content_block: Option<Block>,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Opening<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    partial_json: Option<String>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_sequence: Option<String>,
}

/// A tool call among the blocks.
#[derive(Debug)]
struct Call {
    index: u32,
    /// Whether anything of its arguments has come.
    argued: bool,
}

/// Reads a streamed answer.
#[derive(Debug, Default)]
pub struct Reader {
    begun: bool,
    /// Open calls by the number of their block.
    calls: BTreeMap<u32, Call>,
    next_call: u32,
    usage: Option<Usage>,
}

impl Reader {
    pub(crate) fn event(&mut self, data: &[u8], out: &mut Vec<Step>) -> Result<(), Odd> {
        let event: Event<'_> = serde_json::from_slice(data).map_err(|_| Odd::WrongSchema)?;
        match event.kind.as_ref() {
            "message_start" => {
                let opening = event.message.ok_or(Odd::WrongSchema)?;
                self.usage = later(self.usage, opening.usage.and_then(usage));
                self.begin(opening.id.unwrap_or_default(), opening.model.unwrap_or_default(), out);
            }
            "content_block_start" => {
                self.begin(String::new(), String::new(), out);
                self.open(event.index, event.content_block.ok_or(Odd::WrongSchema)?, out);
            }
            "content_block_delta" => {
                self.begin(String::new(), String::new(), out);
                self.more(event.index, event.delta.ok_or(Odd::WrongSchema)?, out);
            }
            "content_block_stop" => self.close(event.index, out),
            "message_delta" => {
                self.begin(String::new(), String::new(), out);
                let delta = event.delta.unwrap_or_default();
                let ended = delta.stop_reason.map(|why| finish(&why, delta.stop_sequence));
                out.extend(ended.map(|reason| Step::Finish { choice: 0, reason }));
                self.usage = later(self.usage, event.usage.and_then(usage));
                out.extend(self.usage.map(Step::Usage));
            }
            "error" => return Err(super::look::error(event.error)),
            // The end, pings, and what may come to be.
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, id: String, model: String, out: &mut Vec<Step>) {
        if !std::mem::replace(&mut self.begun, true) {
            out.push(Step::Begin { id, model });
        }
    }

    fn open(&mut self, block: u32, begun: Block, out: &mut Vec<Step>) {
        match begun.part() {
            Some(Part::Text(text)) if !text.is_empty() => out.push(Step::Text { choice: 0, text }),
            Some(Part::Reasoning { text, signature }) if !text.is_empty() || signature.is_some() => {
                out.push(Step::Reasoning { choice: 0, text, signature });
            }
            Some(Part::ToolCall(call)) => {
                let index = self.next_call;
                self.next_call = self.next_call.saturating_add(1);
                out.push(Step::ToolCall { choice: 0, index, id: call.id, name: call.name, signature: None });
                // The beginning shows an empty object, unless the arguments are known already.
                let argued = call.arguments != "{}";
                if argued {
                    out.push(Step::Arguments { choice: 0, index, fragment: call.arguments });
                }
                self.calls.insert(block, Call { index, argued });
            }
            Some(
                Part::Text(_)
                | Part::Reasoning { .. }
                | Part::Refusal(_)
                | Part::Image(_)
                | Part::ToolResult(_),
            )
            | None => {}
        }
    }

    fn more(&mut self, block: u32, delta: Delta, out: &mut Vec<Step>) {
        let words = |text: Option<String>| text.filter(|text| !text.is_empty());
        out.extend(words(delta.text).map(|text| Step::Text { choice: 0, text }));
        let thoughts = words(delta.thinking);
        out.extend(thoughts.map(|text| Step::Reasoning { choice: 0, text, signature: None }));
        out.extend(words(delta.signature).map(|signature| Step::Reasoning {
            choice: 0,
            text: String::new(),
            signature: Some(signature),
        }));
        if let (Some(fragment), Some(call)) = (words(delta.partial_json), self.calls.get_mut(&block)) {
            call.argued = true;
            out.push(Step::Arguments { choice: 0, index: call.index, fragment });
        }
    }

    /// A call without arguments has an empty object of them.
    fn close(&mut self, block: u32, out: &mut Vec<Step>) {
        if let Some(call) = self.calls.remove(&block).filter(|call| !call.argued) {
            out.push(Step::Arguments { choice: 0, index: call.index, fragment: "{}".into() });
        }
    }
}

/// The block that is open.
#[derive(Debug)]
enum Open {
    Text,
    Thinking,
    Call { index: u32, balance: Balance },
}

/// Whether the arguments so far are a whole JSON object: brackets outside of strings are counted.
#[derive(Debug, Default)]
struct Balance {
    depth: u32,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

impl Balance {
    fn add(&mut self, fragment: &str) {
        for byte in fragment.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => (self.depth, self.begun) = (self.depth.saturating_add(1), true),
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    const fn whole(&self) -> bool {
        self.begun && self.depth == 0 && !self.in_string
    }
}

/// A call that waits for the one before it.
#[derive(Debug)]
struct Waiting {
    index: u32,
    id: String,
    name: String,
    arguments: String,
}

/// Writes a streamed answer. The usage is known at the end only, and told there in full.
#[derive(Debug)]
pub struct Writer {
    head: Head,
    begun: bool,
    open: Option<Open>,
    /// Number of the next block.
    next: u32,
    waiting: Vec<Waiting>,
    calls: bool,
    refused: bool,
    ended: Option<Finish>,
    usage: Option<Usage>,
}

impl Writer {
    pub(crate) fn new(head: Head) -> Self {
        Self {
            head,
            begun: false,
            open: None,
            next: 0,
            waiting: Vec::new(),
            calls: false,
            refused: false,
            ended: None,
            usage: None,
        }
    }

    pub(crate) fn step(&mut self, step: &Step, out: &mut BytesMut) {
        match step {
            Step::Begin { id, model } => self.begin(id, model, out),
            Step::Text { choice: 0, text } => self.text(text, out),
            Step::Refusal { choice: 0, text } => {
                self.refused = true;
                self.text(text, out);
            }
            Step::Reasoning { choice: 0, text, signature } => self.thoughts(text, signature.as_deref(), out),
            Step::ToolCall { choice: 0, index, id, name, .. } => {
                self.calls = true;
                if matches!(&self.open, Some(Open::Call { balance, .. }) if !balance.whole()) {
                    let (id, name) = (id.clone(), name.clone());
                    self.waiting.push(Waiting { index: *index, id, name, arguments: String::new() });
                } else {
                    self.call(*index, id, name, out);
                }
            }
            Step::Arguments { choice: 0, index, fragment } => self.arguments(*index, fragment, out),
            Step::Finish { choice: 0, reason } => {
                self.close_all(out);
                self.ended = Some(reason.clone());
            }
            Step::Usage(usage) => self.usage = Some(*usage),
            // There is one answer here, and no log probabilities.
            Step::Text { .. }
            | Step::Refusal { .. }
            | Step::Reasoning { .. }
            | Step::ToolCall { .. }
            | Step::Arguments { .. }
            | Step::Finish { .. }
            | Step::Logprobs { .. } => {}
        }
    }

    pub(crate) fn finish(&mut self, out: &mut BytesMut) {
        self.begin("", "", out);
        self.close_all(out);
        let ended = self.ended.take().unwrap_or(Finish::Stop);
        let (stop_reason, stop_sequence) = reason(&ended, self.calls, self.refused);
        let delta = json!({"stop_reason": stop_reason, "stop_sequence": stop_sequence});
        event("message_delta", [("delta", delta), ("usage", written_usage(self.usage))], out);
        event("message_stop", [], out);
    }

    fn begin(&mut self, given: &str, model: &str, out: &mut BytesMut) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let message = json!({
            "id": id(given, &self.head), "type": "message", "role": "assistant", "model": model,
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": written_usage(self.usage),
        });
        event("message_start", [("message", message)], out);
    }

    fn text(&mut self, text: &str, out: &mut BytesMut) {
        if !matches!(self.open, Some(Open::Text)) {
            self.start(Open::Text, json!({"type": "text", "text": ""}), out);
        }
        self.delta(json!({"type": "text_delta", "text": text}), out);
    }

    fn thoughts(&mut self, text: &str, signature: Option<&str>, out: &mut BytesMut) {
        if let Some(data) = signature.and_then(|signature| signature.strip_prefix(REDACTED)) {
            self.start(Open::Thinking, json!({"type": "redacted_thinking", "data": data}), out);
            self.close(out);
            return;
        }
        if !matches!(self.open, Some(Open::Thinking)) {
            let block = json!({"type": "thinking", "thinking": "", "signature": ""});
            self.start(Open::Thinking, block, out);
        }
        if !text.is_empty() {
            self.delta(json!({"type": "thinking_delta", "thinking": text}), out);
        }
        if let Some(signature) = signature {
            self.delta(json!({"type": "signature_delta", "signature": signature}), out);
            self.close(out);
        }
    }

    fn call(&mut self, index: u32, id: &str, name: &str, out: &mut BytesMut) {
        let block = json!({"type": "tool_use", "id": plain_id(id), "name": name, "input": {}});
        // Not `start`, which would let those that wait go first.
        self.close(out);
        self.begun_block(Open::Call { index, balance: Balance::default() }, block, out);
    }

    fn arguments(&mut self, index: u32, fragment: &str, out: &mut BytesMut) {
        match &mut self.open {
            Some(Open::Call { index: open, balance }) if *open == index => {
                balance.add(fragment);
                self.delta(json!({"type": "input_json_delta", "partial_json": fragment}), out);
            }
            Some(_) | None => {
                if let Some(call) = self.waiting.iter_mut().find(|call| call.index == index) {
                    call.arguments.push_str(fragment);
                }
            }
        }
    }

    /// Begins a block behind all that were begun before.
    fn start(&mut self, open: Open, block: Value, out: &mut BytesMut) {
        self.close_all(out);
        self.begun_block(open, block, out);
    }

    fn begun_block(&mut self, open: Open, block: Value, out: &mut BytesMut) {
        self.begin("", "", out);
        event("content_block_start", [("index", self.next.into()), ("content_block", block)], out);
        self.open = Some(open);
        self.next = self.next.saturating_add(1);
    }

    /// Number of the block begun last.
    fn last(&self) -> Value {
        self.next.saturating_sub(1).into()
    }

    fn delta(&self, delta: Value, out: &mut BytesMut) {
        event("content_block_delta", [("index", self.last()), ("delta", delta)], out);
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some() {
            event("content_block_stop", [("index", self.last())], out);
        }
    }

    /// Ends the open block and tells the calls that waited.
    fn close_all(&mut self, out: &mut BytesMut) {
        self.close(out);
        for waited in std::mem::take(&mut self.waiting) {
            self.call(waited.index, &waited.id, &waited.name, out);
            self.arguments(waited.index, &waited.arguments, out);
            self.close(out);
        }
    }
}

/// One event: its name is its type, which clients of this format go by.
fn event<const N: usize>(kind: &str, members: [(&str, Value); N], out: &mut BytesMut) {
    let mut body = Map::from_iter([("type".to_owned(), Value::from(kind))]);
    body.extend(members.map(|(name, value)| (name.to_owned(), value)));
    for piece in ["event: ", kind, "\ndata: ", &Value::Object(body).to_string(), "\n\n"] {
        out.put_slice(piece.as_bytes());
    }
}
