//! A streamed answer in OpenAI's responses format, read: events that name themselves; every part and item is told begun,
//! piece by piece, and again whole when it ends. Source: the API reference, "Streaming events".

use super::{
    answer::{Output, Whole},
    look::{refusal, usage},
};
use crate::Odd;
use portcullis_domain::{Finish, Step};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// Any event.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(default)]
    output_index: u32,
    #[serde(default)]
    content_index: u32,
    #[serde(default)]
    delta: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
    #[serde(default)]
    logprobs: Option<Vec<Value>>,
    #[serde(default)]
    item: Option<Output>,
    #[serde(borrow, default)]
    response: Option<Whole<'a>>,
}

/// Reads a streamed answer.
#[derive(Debug, Default)]
pub struct Reader {
    begun: bool,
    ended: bool,
    /// Items whose pieces have come, with the place of the part in them: their end says nothing new.
    heard: BTreeSet<(u32, u32)>,
    /// Tool calls: from the place of the item to the number of the call.
    calls: BTreeMap<u32, u32>,
    /// Items of thoughts that are told in full, so that their summary would say them twice.
    full: BTreeSet<u32>,
}

impl Reader {
    pub(crate) fn event(&mut self, data: &[u8], out: &mut Vec<Step>) -> Result<(), Odd> {
        if data == b"[DONE]" || self.ended {
            return Ok(());
        }
        if let Some(error) = refusal(data)? {
            return Err(Odd::Error(error));
        }
        let event: Event<'_> = serde_json::from_slice(data).map_err(|_| Odd::WrongSchema)?;
        let choice = 0;
        let at = (event.output_index, event.content_index);
        let words = |text: Option<String>| text.filter(|text| !text.is_empty());
        match &*event.kind {
            "response.created" | "response.in_progress" => self.begin(event.response, out),
            "response.output_text.delta" => {
                self.heard.insert(at);
                out.extend(words(event.delta).map(|text| Step::Text { choice, text }));
                self.tokens(event.logprobs, out);
            }
            "response.output_text.done" if self.heard.insert(at) => {
                out.extend(words(event.text).map(|text| Step::Text { choice, text }));
                self.tokens(event.logprobs, out);
            }
            "response.refusal.delta" => {
                self.heard.insert(at);
                out.extend(words(event.delta).map(|text| Step::Refusal { choice, text }));
            }
            "response.refusal.done" if self.heard.insert(at) => {
                out.extend(words(event.refusal).map(|text| Step::Refusal { choice, text }));
            }
            "response.reasoning_text.delta" => {
                self.full.insert(event.output_index);
                let text = words(event.delta);
                out.extend(text.map(|text| Step::Reasoning { choice, text, signature: None }));
            }
            "response.reasoning_summary_text.delta" if !self.full.contains(&event.output_index) => {
                let text = words(event.delta);
                out.extend(text.map(|text| Step::Reasoning { choice, text, signature: None }));
            }
            "response.output_item.added" => self.item(event.output_index, event.item, false, out),
            "response.output_item.done" => self.item(event.output_index, event.item, true, out),
            "response.function_call_arguments.delta" => {
                self.arguments(at, words(event.delta), out);
            }
            "response.function_call_arguments.done" if !self.heard.contains(&at) => {
                self.arguments(at, words(event.arguments), out);
            }
            "response.completed" | "response.incomplete" => {
                let whole = event.response.ok_or(Odd::WrongSchema)?;
                let (reason, used) = (whole.finish().unwrap_or(Finish::Stop), whole.usage.and_then(usage));
                self.begin(Some(whole), out);
                self.ended = true;
                out.push(Step::Finish { choice, reason });
                out.extend(used.map(Step::Usage));
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, whole: Option<Whole<'_>>, out: &mut Vec<Step>) {
        if !std::mem::replace(&mut self.begun, true) {
            let (id, model) = whole.map(|whole| (whole.id, whole.model)).unwrap_or_default();
            out.push(Step::Begin { id: id.unwrap_or_default(), model: model.unwrap_or_default() });
        }
    }

    fn tokens(&self, logprobs: Option<Vec<Value>>, out: &mut Vec<Step>) {
        let tokens = logprobs.filter(|tokens| !tokens.is_empty());
        let shaped = |tokens| json!({"content": tokens, "refusal": null});
        out.extend(tokens.map(|tokens| Step::Logprobs { choice: 0, logprobs: shaped(tokens) }));
    }

    fn arguments(&mut self, at: (u32, u32), text: Option<String>, out: &mut Vec<Step>) {
        if let (Some(fragment), Some(index)) = (text, self.calls.get(&at.0)) {
            self.heard.insert(at);
            out.push(Step::Arguments { choice: 0, index: *index, fragment });
        }
    }

    fn item(&mut self, place: u32, item: Option<Output>, whole: bool, out: &mut Vec<Step>) {
        let Some(item) = item else { return };
        if item.kind == "function_call" {
            if !self.calls.contains_key(&place) {
                let index = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
                self.calls.insert(place, index);
                let (id, name) = (item.call_id.unwrap_or_default(), item.name.unwrap_or_default());
                out.push(Step::ToolCall { choice: 0, index, id, name, signature: None });
            }
            let unheard = !self.heard.contains(&(place, 0));
            let text = item.arguments.filter(|text| !text.is_empty() && unheard);
            self.arguments((place, 0), text, out);
        } else if item.kind == "reasoning" && whole && item.encrypted_content.is_some() {
            let signature = item.encrypted_content;
            out.push(Step::Reasoning { choice: 0, text: String::new(), signature });
        }
    }
}
