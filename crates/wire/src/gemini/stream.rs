//! Google's streamed answers (`alt=sse`). Source: the API reference, "models.streamGenerateContent".
//!
//! Invariants: a call of a function goes out whole, because Google has no pieces of one; the ends of all candidates go
//! out last and together with the usage, so that a stream that breaks off never looks ended.

use super::{
    answer::{
        Candidate, Response, candidate, finish, reason, written_called, written_thought, written_usage,
    },
    logprobs,
    look::usage,
};
use crate::{Head, Odd};
use bytes::{BufMut as _, Bytes, BytesMut};
use portcullis_domain::{Finish, Step, ToolCall, Usage};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Reads a streamed answer.
#[derive(Debug, Default)]
pub struct Reader {
    begun: bool,
    id: String,
    /// Calls so far, by candidate.
    calls: BTreeMap<u32, u32>,
    finished: BTreeSet<u32>,
}

impl Reader {
    pub(crate) fn event(&mut self, data: &[u8], out: &mut Vec<Step>) -> Result<(), Odd> {
        let read: Response<'_> = serde_json::from_slice(data).map_err(|_| Odd::WrongSchema)?;
        if let Some(error) = read.error.filter(|error| error.get() != "null") {
            return Err(Odd::Error(Bytes::copy_from_slice(error.get().as_bytes())));
        }
        let blocked = read.blocked();
        if !std::mem::replace(&mut self.begun, true) {
            self.id = read.response_id.unwrap_or_default();
            let model = read.model_version.unwrap_or_default();
            out.push(Step::Begin { id: self.id.clone(), model });
        }
        if blocked && self.finished.insert(0) {
            out.push(Step::Finish { choice: 0, reason: Finish::ContentFilter });
        }
        for (at, candidate) in read.candidates.into_iter().flatten().enumerate() {
            let choice = candidate.index.unwrap_or(u32::try_from(at).unwrap_or(u32::MAX));
            self.candidate(choice, candidate, out);
        }
        out.extend(read.usage_metadata.and_then(usage).map(Step::Usage));
        Ok(())
    }

    fn candidate(&mut self, choice: u32, mut candidate: Candidate, out: &mut Vec<Step>) {
        for said in candidate.parts() {
            let signature = said.thought_signature;
            if let Some(called) = said.function_call {
                let calls = self.calls.entry(choice).or_default();
                let index = *calls;
                *calls += 1;
                let ToolCall { id, name, arguments, signature } = called.call(index, &self.id, signature);
                out.push(Step::ToolCall { choice, index, id, name, signature });
                out.push(Step::Arguments { choice, index, fragment: arguments });
                continue;
            }
            let text = said.text.unwrap_or_default();
            if said.thought == Some(true) {
                out.push(Step::Reasoning { choice, text, signature });
                continue;
            }
            if !text.is_empty() {
                out.push(Step::Text { choice, text });
            }
            if signature.is_some() {
                out.push(Step::Reasoning { choice, text: String::new(), signature });
            }
        }
        let logprobs = candidate.logprobs_result.as_ref().and_then(logprobs::read);
        out.extend(logprobs.map(|logprobs| Step::Logprobs { choice, logprobs }));
        let why = candidate.finish_reason.filter(|why| !why.is_empty() && !why.ends_with("_UNSPECIFIED"));
        if let Some(why) = why
            && self.finished.insert(choice)
        {
            let reason = finish(&why, self.calls.contains_key(&choice));
            out.push(Step::Finish { choice, reason });
        }
    }
}

/// Writes a streamed answer.
#[derive(Debug)]
pub struct Writer {
    id: String,
    model: String,
    /// Calls that are not complete yet, by candidate and index.
    calls: BTreeMap<(u32, u32), ToolCall>,
    ended: BTreeMap<u32, Finish>,
    usage: Option<Usage>,
}

impl Writer {
    pub(crate) fn new(head: Head) -> Self {
        Self {
            id: head.id,
            model: String::new(),
            calls: BTreeMap::new(),
            ended: BTreeMap::new(),
            usage: None,
        }
    }

    pub(crate) fn step(&mut self, step: &Step, out: &mut BytesMut) {
        match step {
            Step::Begin { id, model } => {
                if !id.is_empty() {
                    self.id.clone_from(id);
                }
                self.model.clone_from(model);
            }
            Step::Text { choice, text } | Step::Refusal { choice, text } => {
                self.part(*choice, json!({"text": text}), out);
            }
            Step::Reasoning { choice, text, signature } => {
                if !(text.is_empty() && signature.is_none()) {
                    self.part(*choice, written_thought(text, signature.as_deref()), out);
                }
            }
            Step::ToolCall { choice, index, id, name, signature } => {
                let call = ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                    signature: signature.clone(),
                };
                self.calls.insert((*choice, *index), call);
            }
            Step::Arguments { choice, index, fragment } => {
                if let Some(call) = self.calls.get_mut(&(*choice, *index)) {
                    call.arguments.push_str(fragment);
                }
            }
            Step::Logprobs { choice, logprobs } => {
                if let Some(result) = logprobs::written(logprobs) {
                    let mut told = candidate(*choice, Vec::new());
                    told.insert("logprobsResult".into(), result);
                    self.chunk(vec![told.into()], out);
                }
            }
            Step::Finish { choice, reason } => {
                self.ended.insert(*choice, reason.clone());
            }
            Step::Usage(usage) => self.usage = Some(*usage),
        }
    }

    pub(crate) fn finish(&mut self, out: &mut BytesMut) {
        let mut calls: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
        for ((choice, _), call) in std::mem::take(&mut self.calls) {
            calls.entry(choice).or_default().push(written_called(&call));
        }
        let ends = std::mem::take(&mut self.ended).into_iter().map(|(choice, why)| {
            let mut told = candidate(choice, calls.remove(&choice).unwrap_or_default());
            told.insert("finishReason".into(), reason(&why).into());
            told.into()
        });
        let mut last = self.bare(ends.collect());
        if let Some(used) = &self.usage {
            last.insert("usageMetadata".into(), written_usage(used));
        }
        event(last, out);
    }

    fn part(&self, choice: u32, part: Value, out: &mut BytesMut) {
        self.chunk(vec![candidate(choice, vec![part]).into()], out);
    }

    fn chunk(&self, candidates: Vec<Value>, out: &mut BytesMut) {
        event(self.bare(candidates), out);
    }

    fn bare(&self, candidates: Vec<Value>) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("candidates".into(), candidates.into());
        out.insert("modelVersion".into(), self.model.clone().into());
        out.insert("responseId".into(), self.id.clone().into());
        out
    }
}

fn event(chunk: Map<String, Value>, out: &mut BytesMut) {
    out.put_slice(b"data: ");
    out.put_slice(Value::Object(chunk).to_string().as_bytes());
    out.put_slice(b"\n\n");
}
