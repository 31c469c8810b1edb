//! A streamed answer in OpenAI's responses format, written: events are numbered without a gap, and every part and item is
//! told begun, piece by piece, and again whole when it ends. Source: the API reference, "Streaming events".

use super::item::{Content, Echo, Item, Response, Status, answer_id};
use crate::Head;
use bytes::{BufMut as _, BytesMut};
use portcullis_domain::{Finish, Step, ToolCall, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{borrow::Cow, collections::BTreeMap};

/// Most items of one answer that are followed; a number behind them is a mistake or worse.
const MOST_ITEMS: usize = 1024;

/// What of an event matters to somebody who goes on after it.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(default)]
    sequence_number: Option<u64>,
    #[serde(default)]
    output_index: usize,
    #[serde(borrow, default)]
    delta: Option<Cow<'a, str>>,
    #[serde(default)]
    item: Option<Value>,
    #[serde(default)]
    part: Option<Value>,
    #[serde(default)]
    response: Option<Begun>,
}

#[derive(Deserialize)]
struct Begun {
    id: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    created_at: Value,
}

/// Writes a streamed answer.
#[derive(Debug)]
pub struct Writer {
    head: Head,
    echo: Box<Echo>,
    id: String,
    model: String,
    sequence: u64,
    /// The items that have ended, at their places; those that are open hold nothing yet.
    output: Vec<Value>,
    /// Words or thoughts under way.
    current: Option<Open>,
    /// Calls under way: place and id of the item, and what is known of the call.
    calls: BTreeMap<u32, (usize, String, ToolCall)>,
    usage: Option<Usage>,
    finish: Finish,
}

/// An item under way.
#[derive(Debug)]
struct Open {
    place: usize,
    id: String,
    item: Item,
}

/// A piece of something: the events that are most of every stream.
#[derive(Serialize)]
struct Piece<'a> {
    r#type: &'static str,
    sequence_number: u64,
    item_id: &'a str,
    output_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary_index: Option<usize>,
    delta: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<[(); 0]>,
}

/// An event about the whole answer.
#[derive(Serialize)]
struct About<'a> {
    r#type: &'static str,
    sequence_number: u64,
    response: Response<'a>,
}

impl Writer {
    pub(crate) fn new(head: Head) -> Self {
        let (echo, id) = (Box::new(Echo::of(&head.request)), answer_id("", &head));
        Self {
            head,
            echo,
            id,
            model: String::new(),
            sequence: 0,
            output: Vec::new(),
            current: None,
            calls: BTreeMap::new(),
            usage: None,
            finish: Finish::Stop,
        }
    }

    /// This format has one answer to a request: steps of others are left out.
    pub(crate) fn step(&mut self, step: &Step, out: &mut BytesMut) {
        match step {
            Step::Begin { id, model } => {
                self.id = answer_id(id, &self.head);
                self.model.clone_from(model);
                self.about("response.created", Status::InProgress, out);
                self.about("response.in_progress", Status::InProgress, out);
            }
            Step::Text { choice: 0, text } => self.say(false, text, out),
            Step::Refusal { choice: 0, text } => self.say(true, text, out),
            Step::Reasoning { choice: 0, text, signature } => self.think(text, signature.as_deref(), out),
            Step::ToolCall { choice: 0, index, id, name, .. } => self.call(*index, id, name, out),
            Step::Arguments { choice: 0, index, fragment } => self.argue(*index, fragment, out),
            Step::Logprobs { choice: 0, logprobs } => self.weigh(logprobs),
            Step::Finish { choice: 0, reason } => {
                self.finish = reason.clone();
                self.close_all(out);
            }
            Step::Usage(usage) => self.usage = Some(*usage),
            Step::Text { .. }
            | Step::Refusal { .. }
            | Step::Reasoning { .. }
            | Step::ToolCall { .. }
            | Step::Arguments { .. }
            | Step::Logprobs { .. }
            | Step::Finish { .. } => {}
        }
    }

    /// Takes note of an event that another hand has written and that was delivered, so that what is written from here
    /// on goes on where it stopped: in numbers, ids, items and their words. What cannot be read is left out.
    pub(crate) fn follow(&mut self, data: &[u8]) {
        let Ok(told) = serde_json::from_slice::<Told<'_>>(data) else { return };
        if let Some(number) = told.sequence_number {
            self.sequence = number.saturating_add(1);
        }
        let (place, delta) = (told.output_index.min(MOST_ITEMS), told.delta.unwrap_or_default());
        let contents = match &mut self.current {
            Some(Open { item: Item::Message(contents), .. }) => Some(contents),
            Some(_) | None => None,
        };
        match &*told.kind {
            "response.created" | "response.in_progress" => {
                if let Some(Begun { id, model, created_at }) = told.response {
                    (self.id, self.model) = (id, model);
                    self.head.created = created_at.as_f64().map_or(self.head.created, |seconds| {
                        #[expect(clippy::cast_possible_truncation, reason = "whole seconds; saturates")]
                        let seconds = seconds as i64;
                        seconds
                    });
                }
            }
            "response.output_item.added" => self.followed(place, &told.item.unwrap_or_default()),
            "response.output_item.done" => {
                self.calls.retain(|_, (at, ..)| *at != place);
                self.current.take_if(|open| open.place == place);
                if let (Some(slot), Some(item)) = (self.output.get_mut(place), told.item) {
                    *slot = item;
                }
            }
            "response.content_part.added" => {
                let refusal = told.part.is_some_and(|part| part["type"] == "refusal");
                contents.into_iter().for_each(|contents| contents.push(Content::new(refusal)));
            }
            "response.content_part.done" => {
                contents
                    .and_then(|contents| contents.last_mut())
                    .into_iter()
                    .for_each(|part| part.ended = true);
            }
            "response.output_text.delta" | "response.refusal.delta" => {
                let part = contents.and_then(|contents| contents.last_mut());
                part.into_iter().for_each(|part| part.text.push_str(&delta));
            }
            "response.reasoning_summary_text.delta" => {
                if let Some(Open { item: Item::Reasoning { text, .. }, .. }) = &mut self.current {
                    text.push_str(&delta);
                }
            }
            "response.function_call_arguments.delta" => {
                let call = self.calls.values_mut().find(|(at, ..)| *at == place);
                call.into_iter().for_each(|(_, _, call)| call.arguments.push_str(&delta));
            }
            _ => {}
        }
    }

    /// An item that another hand has begun.
    fn followed(&mut self, place: usize, item: &Value) {
        let text = |member: &str| item[member].as_str().unwrap_or_default().to_owned();
        let id = text("id");
        if self.output.len() <= place {
            self.output.resize(place + 1, Value::Null);
        }
        let open = |item| Some(Open { place, id: id.clone(), item });
        match item["type"].as_str() {
            Some("message") => self.current = open(Item::Message(Vec::new())),
            Some("reasoning") => {
                self.current = open(Item::Reasoning { text: String::new(), signature: None });
            }
            Some("function_call") => {
                let (arguments, signature) = (text("arguments"), None);
                let call = ToolCall { id: text("call_id"), name: text("name"), arguments, signature };
                self.calls.insert(u32::try_from(place).unwrap_or(u32::MAX), (place, id, call));
            }
            Some(_) | None => {}
        }
    }

    pub(crate) fn finish(&mut self, out: &mut BytesMut) {
        self.close_all(out);
        let status = Status::of(&self.finish);
        let name = match status {
            Status::InProgress | Status::Completed => "response.completed",
            Status::Incomplete(_) => "response.incomplete",
        };
        self.about(name, status, out);
    }

    fn about(&mut self, name: &'static str, status: Status, out: &mut BytesMut) {
        let sequence_number = self.next();
        let about = (self.id.as_str(), self.head.created, self.model.as_str());
        let response = Response::new(about, status, &self.output, self.usage.as_ref(), &self.echo);
        event(name, &About { r#type: name, sequence_number, response }, out);
    }

    const fn next(&mut self) -> u64 {
        let number = self.sequence;
        self.sequence += 1;
        number
    }

    /// An event with these members.
    fn tell(&mut self, name: &'static str, mut members: Value, out: &mut BytesMut) {
        members["type"] = name.into();
        members["sequence_number"] = self.next().into();
        event(name, &members, out);
    }

    fn piece(
        &mut self,
        r#type: &'static str,
        (item_id, output_index): (&str, usize),
        (content_index, summary_index): (Option<usize>, Option<usize>),
        delta: &str,
        out: &mut BytesMut,
    ) {
        let logprobs = (r#type == "response.output_text.delta").then_some([]);
        let sequence_number = self.next();
        let piece = Piece {
            r#type,
            sequence_number,
            item_id,
            output_index,
            content_index,
            summary_index,
            delta,
            logprobs,
        };
        event(r#type, &piece, out);
    }

    /// A place for an item, which begins.
    fn add(&mut self, item: &Item, out: &mut BytesMut) -> (usize, String) {
        let place = self.output.len();
        self.output.push(Value::Null);
        let id = item.id(&self.head, place);
        let begun = item.written(&id, "in_progress");
        self.tell("response.output_item.added", json!({"output_index": place, "item": begun}), out);
        (place, id)
    }

    /// An item has ended.
    fn done(&mut self, place: usize, id: &str, item: &Item, out: &mut BytesMut) {
        let status = match Status::of(&self.finish) {
            Status::InProgress | Status::Completed => "completed",
            Status::Incomplete(_) => "incomplete",
        };
        let written = item.written(id, status);
        if let Some(slot) = self.output.get_mut(place) {
            slot.clone_from(&written);
        }
        self.tell("response.output_item.done", json!({"output_index": place, "item": written}), out);
    }

    fn say(&mut self, refusal: bool, text: &str, out: &mut BytesMut) {
        let (place, id, mut contents) = match self.current.take() {
            Some(Open { place, id, item: Item::Message(contents) }) => (place, id, contents),
            other => {
                self.close(other, out);
                let (place, id) = self.add(&Item::Message(Vec::new()), out);
                (place, id, Vec::new())
            }
        };
        if contents.last().is_none_or(|content| content.refusal != refusal) {
            self.end_content(&id, place, &contents, out);
            let content = Content::new(refusal);
            let members = json!({
                "item_id": id, "output_index": place, "content_index": contents.len(), "part": content.written(),
            });
            self.tell("response.content_part.added", members, out);
            contents.push(content);
        }
        let index = contents.len().saturating_sub(1);
        if let Some(content) = contents.last_mut() {
            content.text.push_str(text);
        }
        let kind = if refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        self.piece(kind, (&id, place), (Some(index), None), text, out);
        self.current = Some(Open { place, id, item: Item::Message(contents) });
    }

    /// The last part of a message has ended.
    fn end_content(&mut self, id: &str, place: usize, contents: &[Content], out: &mut BytesMut) {
        let Some(content) = contents.last().filter(|content| !content.ended) else { return };
        let at = json!({"item_id": id, "output_index": place, "content_index": contents.len() - 1});
        let (mut said, mut part) = (at.clone(), at);
        part["part"] = content.written();
        if content.refusal {
            said["refusal"] = content.text.clone().into();
            self.tell("response.refusal.done", said, out);
        } else {
            said["text"] = content.text.clone().into();
            said["logprobs"] = content.logprobs.clone().into();
            self.tell("response.output_text.done", said, out);
        }
        self.tell("response.content_part.done", part, out);
    }

    fn think(&mut self, more: &str, signed: Option<&str>, out: &mut BytesMut) {
        let (place, id, mut text, mut signature) = match self.current.take() {
            // Thoughts that are signed have ended: what follows are others.
            Some(Open { place, id, item: Item::Reasoning { text, signature: None } }) => {
                (place, id, text, None)
            }
            other => {
                self.close(other, out);
                let (place, id) = self.add(&Item::Reasoning { text: String::new(), signature: None }, out);
                (place, id, String::new(), None)
            }
        };
        if !more.is_empty() {
            if text.is_empty() {
                let part = json!({"type": "summary_text", "text": ""});
                self.tell("response.reasoning_summary_part.added", summary(&id, place, "part", part), out);
            }
            text.push_str(more);
            let kind = "response.reasoning_summary_text.delta";
            self.piece(kind, (&id, place), (None, Some(0)), more, out);
        }
        if let Some(signed) = signed {
            signature = Some(signed.to_owned());
        }
        self.current = Some(Open { place, id, item: Item::Reasoning { text, signature } });
    }

    fn call(&mut self, index: u32, id: &str, name: &str, out: &mut BytesMut) {
        let current = self.current.take();
        self.close(current, out);
        let call =
            ToolCall { id: id.to_owned(), name: name.to_owned(), arguments: String::new(), signature: None };
        let (place, item_id) = self.add(&Item::Call(call.clone()), out);
        if let Some(before) = self.calls.insert(index, (place, item_id, call)) {
            // A provider that numbers every call alike: the one before has ended.
            self.close_call(before, out);
        }
    }

    fn argue(&mut self, index: u32, fragment: &str, out: &mut BytesMut) {
        let Some((place, id, call)) = self.calls.get_mut(&index) else { return };
        call.arguments.push_str(fragment);
        let (place, id) = (*place, id.clone());
        self.piece("response.function_call_arguments.delta", (&id, place), (None, None), fragment, out);
    }

    fn weigh(&mut self, logprobs: &Value) {
        let tokens = logprobs["content"].as_array().into_iter().flatten();
        if let Some(Open { item: Item::Message(contents), .. }) = &mut self.current
            && let Some(content) = contents.last_mut().filter(|content| !content.refusal)
        {
            content.logprobs.extend(tokens.cloned());
        }
    }

    fn close_all(&mut self, out: &mut BytesMut) {
        let current = self.current.take();
        self.close(current, out);
        for call in std::mem::take(&mut self.calls).into_values() {
            self.close_call(call, out);
        }
    }

    fn close(&mut self, open: Option<Open>, out: &mut BytesMut) {
        let Some(Open { place, id, item }) = open else { return };
        match &item {
            Item::Message(contents) => self.end_content(&id, place, contents, out),
            Item::Reasoning { text, .. } if !text.is_empty() => {
                let done = summary(&id, place, "text", text.clone().into());
                self.tell("response.reasoning_summary_text.done", done, out);
                let part = json!({"type": "summary_text", "text": text});
                self.tell("response.reasoning_summary_part.done", summary(&id, place, "part", part), out);
            }
            Item::Reasoning { .. } | Item::Call(_) => {}
        }
        self.done(place, &id, &item, out);
    }

    fn close_call(&mut self, (place, id, call): (usize, String, ToolCall), out: &mut BytesMut) {
        let members = json!({
            "item_id": id, "output_index": place, "name": call.name, "arguments": call.arguments,
        });
        self.tell("response.function_call_arguments.done", members, out);
        self.done(place, &id, &Item::Call(call), out);
    }
}

/// The members of an event about thoughts.
fn summary(id: &str, place: usize, name: &str, value: Value) -> Value {
    let mut members = json!({"item_id": id, "output_index": place, "summary_index": 0});
    members[name] = value;
    members
}

fn event(name: &str, data: &impl Serialize, out: &mut BytesMut) {
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    // Values and texts always have a form in JSON.
    out.put_slice(&serde_json::to_vec(data).unwrap_or_default());
    out.put_slice(b"\n\n");
}
