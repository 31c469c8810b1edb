//! What goes out, under a policy: whole answers and streams are looked at where their words stand, in the caller's own
//! format.
//!
//! Invariants: an event whose words need no change leaves with its bytes, in its place; an event is held only as long
//! as its words are; nothing that follows a blocking finding leaves, and the stream then ends as one that the filter
//! cut. Source: gateway.md sections 7.8 and 11.

use crate::policy::{Findings, Remembered};
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use portcullis_domain::{ByteStream, Failure, Finish, Format, Part, Step};
use portcullis_inspect::{CheckAction, Outflow, Passed, Restoring, Watch};
use portcullis_wire::{
    Head, Reader, Writer,
    sse::{data_of, first_end, last_end},
    system, texts,
};
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// What is done to an answer: looked at, then what was hidden in its prompt put back.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) watch: Option<Arc<Watch>>,
    /// What is looked for in arguments of tools, where that is more.
    arguments: Option<Arc<Watch>>,
    /// Tools that may be called, where not all may.
    tools: Option<Arc<[String]>>,
    /// What stands where an answer repeats the request's `instructions`, if not what it says.
    instructions: Option<Arc<Value>>,
    pub(crate) remembered: Option<Arc<Remembered>>,
}

/// Name of the check of tool calls, as metric label.
const TOOLS: &str = "tools";

impl Sight {
    /// `hardened` says whether the prompt was: then no argument may hold a secret, whatever may be called.
    pub(crate) fn new(
        watch: Option<Arc<Watch>>,
        tools: Option<Arc<[String]>>,
        hardened: bool,
        remembered: Option<Arc<Remembered>>,
    ) -> Self {
        let arguments = (hardened || tools.is_some())
            .then(|| Arc::new(watch.as_deref().cloned().unwrap_or_default().and_no_secrets()));
        Self { watch, arguments, tools, instructions: None, remembered }
    }

    /// The same for an answer that may repeat instructions.
    pub(crate) fn repeating(self, instructions: Option<Arc<Value>>) -> Self {
        Self { instructions, ..self }
    }

    /// Whether there is nothing to do.
    pub(crate) const fn is_blind(&self) -> bool {
        self.watch.is_none()
            && self.arguments.is_none()
            && self.tools.is_none()
            && self.instructions.is_none()
            && self.remembered.is_none()
    }

    fn watch(&self, arguments: bool) -> Option<&Arc<Watch>> {
        self.arguments.as_ref().filter(|_| arguments).or(self.watch.as_ref())
    }

    /// Calls in an answer or an event that may not be made. Read from the bytes as they stand: a kind of call that no
    /// reader knows is one too.
    fn refused(&self, data: &[u8]) -> usize {
        let Some(tools) = &self.tools else { return 0 };
        texts::calls(data).into_iter().filter(|call| !tools.contains(call)).count()
    }

    /// A whole text as it may leave, if it changes; what was found; whether it is blocked.
    fn whole(&self, text: &str, json: bool) -> (Option<String>, Findings, bool) {
        let (seen, findings, blocked) = match self.watch(json) {
            Some(watch) => watch.whole(text),
            None => (Cow::Borrowed(text), Findings::new(), false),
        };
        let said = match &self.remembered {
            Some(remembered) => remembered.names.restore(&seen, json),
            None => Cow::Borrowed(&*seen),
        };
        ((said != text).then(|| said.into_owned()), findings, blocked)
    }
}

/// Looks at a whole answer: what may leave, what was found, whether it is blocked.
pub(crate) fn whole(sight: &Sight, body: Bytes) -> (Bytes, Findings, bool) {
    let (mut findings, mut blocked) = (Findings::new(), false);
    if sight.is_blind() {
        return (body, findings, blocked);
    }
    let body = sight.instructions.as_ref().and_then(|own| system::repeated(&body, own)).unwrap_or(body);
    let changed = texts::rewrite(&body, |text, json| {
        let (said, found, stop) = sight.whole(text, json);
        findings.extend(found);
        blocked |= stop;
        said
    });
    (changed.unwrap_or(body), findings, blocked)
}

/// What is wrong with the tool calls of a whole answer; whatever is, it is blocked.
pub(crate) fn called(sight: &Sight, format: Format, body: &[u8]) -> Findings {
    let Some(arguments) = &sight.arguments else { return Findings::new() };
    let answer = portcullis_wire::read_answer(format, body).unwrap_or_default();
    let parts = answer.choices.iter().flat_map(|choice| &choice.parts);
    let calls = parts.filter_map(|part| if let Part::ToolCall(call) = part { Some(call) } else { None });
    let wrong = calls.filter(|call| arguments.whole(&call.arguments).2).count() + sight.refused(body);
    vec![(TOOLS, CheckAction::Block); wrong]
}

/// Words of one answer that belong together: which answer, and which of its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Channel {
    Text(u32),
    Refusal(u32),
    Reasoning(u32),
    Arguments(u32, u32),
}

impl Channel {
    const fn choice(self) -> u32 {
        match self {
            Self::Text(choice)
            | Self::Refusal(choice)
            | Self::Reasoning(choice)
            | Self::Arguments(choice, _) => choice,
        }
    }
}

/// One text on its way.
struct Text {
    flow: Flow,
    /// What may leave and has not been put into an event yet.
    ready: String,
    /// Bytes as written: settled so far, and put into events so far.
    settled: usize,
    sent: usize,
}

/// A text that is looked at, then given back what was hidden.
struct Flow {
    watching: Option<Outflow>,
    restoring: Option<Restoring>,
    /// Bytes that wait for the rest of a name.
    held: usize,
}

impl Flow {
    fn new(sight: &Sight, json: bool) -> Self {
        let restoring = |remembered: &Arc<Remembered>| Restoring::new(remembered.names.clone(), json);
        Self {
            watching: sight.watch(json).cloned().map(Outflow::new),
            restoring: sight.remembered.as_ref().map(restoring),
            held: 0,
        }
    }

    fn push(&mut self, text: &str) -> Passed {
        let passed = match &mut self.watching {
            Some(watching) => watching.push(text),
            None => Passed { text: text.to_owned(), settled: text.len(), ..Passed::default() },
        };
        self.restored(passed, false)
    }

    fn finish(&mut self) -> Passed {
        let passed = self.watching.as_mut().map(Outflow::finish).unwrap_or_default();
        self.restored(passed, true)
    }

    fn restored(&mut self, mut passed: Passed, last: bool) -> Passed {
        let Some(restoring) = &mut self.restoring else { return passed };
        let (mut said, mut held) = restoring.push(&passed.text);
        if last || passed.blocked {
            said.push_str(&restoring.finish());
            held = 0;
        }
        // What is held back stands as it was written, so that it counts byte for byte.
        passed.settled = (passed.settled + self.held).saturating_sub(held);
        (passed.text, self.held) = (said, held);
        passed
    }
}

/// An event that waits for its words.
struct Waiting {
    event: Bytes,
    words: Vec<(Channel, String)>,
}

/// What the caller is told when the stream is over.
pub(crate) type Told = Box<dyn FnOnce(Findings) + Send>;

/// A stream under a policy.
pub(crate) struct Outgoing {
    source: Option<ByteStream>,
    format: Format,
    choices: u32,
    sight: Sight,
    reader: Reader,
    /// The step with which the answer began; an end of our own repeats its names.
    begun: Option<Step>,
    /// Writes an end of our own; where events refer to each other it follows what is delivered.
    writer: Writer,
    held: BytesMut,
    texts: BTreeMap<Channel, Text>,
    waiting: VecDeque<Waiting>,
    ready: VecDeque<Bytes>,
    /// A failure of the source, told after what was ready.
    failure: Option<Failure>,
    changed: bool,
    findings: Findings,
    told: Option<Told>,
}

impl Outgoing {
    /// Over a stream in that format with so many answers. `told` hears once what was found, if anything.
    pub(crate) fn new(source: ByteStream, format: Format, choices: u32, sight: Sight, told: Told) -> Self {
        Self {
            source: Some(source),
            format,
            choices,
            sight,
            reader: Reader::new(format),
            begun: None,
            writer: Writer::new(
                format,
                Head { id: String::new(), created: 0, include_usage: false, request: Bytes::new() },
            ),
            held: BytesMut::new(),
            texts: BTreeMap::new(),
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            failure: None,
            changed: false,
            findings: Findings::new(),
            told: Some(told),
        }
    }

    fn take(&mut self, chunk: &[u8]) {
        self.held.extend_from_slice(chunk);
        let Some(end) = last_end(&self.held, 0) else { return };
        let mut whole = self.held.split_to(end).freeze();
        while !whole.is_empty() && self.source.is_some() {
            let event = whole.split_to(first_end(&whole).unwrap_or(whole.len()));
            self.event(event);
        }
    }

    fn event(&mut self, mut event: Bytes) {
        let mut steps = Vec::new();
        if let (Some(own), Some(data)) = (&self.sight.instructions, data_of(&event))
            && let Some(data) = system::repeated(&data, own)
        {
            event = with_data(&event, &data);
        }
        if let Some(data) = data_of(&event) {
            if self.sight.refused(&data) > 0 {
                self.findings.push((TOOLS, CheckAction::Block));
                self.block();
                return;
            }
            // What cannot be read holds no words that a client could read.
            let _unreadable = self.reader.event(&data, &mut steps);
        }
        let (mut words, mut ended) = (Vec::new(), Vec::new());
        for step in steps {
            let (channel, text) = match step {
                Step::Text { choice, text } => (Channel::Text(choice), text),
                Step::Refusal { choice, text } => (Channel::Refusal(choice), text),
                Step::Reasoning { choice, text, .. } => (Channel::Reasoning(choice), text),
                Step::Arguments { choice, index, fragment } => (Channel::Arguments(choice, index), fragment),
                Step::Finish { choice, .. } => {
                    ended.push(choice);
                    continue;
                }
                Step::Begin { .. } => {
                    self.begun.get_or_insert(step);
                    continue;
                }
                Step::ToolCall { .. } | Step::Logprobs { .. } | Step::Usage(_) => continue,
            };
            if !text.is_empty() {
                words.push((channel, text));
            }
        }
        let passed: Vec<(Channel, Passed)> =
            words.iter().map(|(channel, text)| (*channel, self.text(*channel).flow.push(text))).collect();
        self.waiting.push_back(Waiting { event, words });
        self.settle(passed);
        for choice in ended {
            self.finish(Some(choice));
        }
    }

    fn text(&mut self, channel: Channel) -> &mut Text {
        let sight = &self.sight;
        let json = matches!(channel, Channel::Arguments(..));
        self.texts.entry(channel).or_insert_with(|| Text {
            flow: Flow::new(sight, json),
            ready: String::new(),
            settled: 0,
            sent: 0,
        })
    }

    /// The texts of an answer, or of all, have ended.
    fn finish(&mut self, choice: Option<u32>) {
        let of_it =
            |(channel, _): &(&Channel, &mut Text)| choice.is_none_or(|choice| channel.choice() == choice);
        let passed: Vec<(Channel, Passed)> = self
            .texts
            .iter_mut()
            .filter(of_it)
            .map(|(channel, text)| (*channel, text.flow.finish()))
            .collect();
        self.settle(passed);
    }

    fn settle(&mut self, passed: Vec<(Channel, Passed)>) {
        let mut blocked = false;
        for (channel, passed) in passed {
            blocked |= passed.blocked;
            self.findings.extend(passed.findings);
            let text = self.text(channel);
            text.ready.push_str(&passed.text);
            text.settled += passed.settled;
        }
        self.release();
        if blocked {
            self.block();
        }
    }

    /// Sends the events whose words are settled.
    fn release(&mut self) {
        while let Some(Waiting { event, words }) = self.waiting.pop_front() {
            let settled = |(channel, text): &(Channel, String)| {
                self.texts.get(channel).is_none_or(|known| known.sent + text.len() <= known.settled)
            };
            if !words.iter().all(settled) {
                self.waiting.push_front(Waiting { event, words });
                break;
            }
            let event = self.rendered(event, words);
            if let (Format::Responses, Some(data)) = (self.format, data_of(&event)) {
                self.writer.follow(&data);
            }
            self.ready.push_back(event);
        }
    }

    /// The event with the words that may leave in it.
    fn rendered(&mut self, event: Bytes, words: Vec<(Channel, String)>) -> Bytes {
        let mut others: Vec<(String, String)> = Vec::new();
        for (channel, written) in words {
            let text = self.text(channel);
            text.sent += written.len();
            if text.ready.starts_with(&written) {
                text.ready.drain(..written.len());
            } else {
                let said = std::mem::take(&mut text.ready);
                others.push((written, said));
            }
        }
        self.changed |= !others.is_empty();
        if !self.changed {
            return event;
        }
        // Some formats repeat at the end what was said in pieces: there the whole text stands, to be looked at anew.
        let sight = self.sight.clone();
        let Some(data) = data_of(&event) else { return event };
        let rewritten = texts::rewrite(&data, |text, json| {
            if let Some(at) = others.iter().position(|(written, _)| written == text) {
                return Some(others.swap_remove(at).1);
            }
            sight.whole(text, json).0
        });
        match rewritten {
            Some(data) => with_data(&event, &data),
            None => event,
        }
    }

    /// Ends the stream as one that a filter cut.
    fn block(&mut self) {
        self.source = None;
        // What was written before the finding, in events that wait for more.
        let writer = &mut self.writer;
        let mut out = BytesMut::new();
        if let (Some(begun), true) = (&self.begun, self.format != Format::Responses) {
            // It has begun already: only the names are wanted.
            writer.step(begun, &mut BytesMut::new());
        }
        let texts = std::mem::take(&mut self.texts);
        for (channel, text) in texts.into_iter().filter(|(_, text)| !text.ready.is_empty()) {
            if let Channel::Text(choice) = channel {
                writer.step(&Step::Text { choice, text: text.ready }, &mut out);
            }
        }
        for choice in 0..self.choices {
            writer.step(&Step::Finish { choice, reason: Finish::ContentFilter }, &mut out);
        }
        writer.finish(&mut out);
        self.waiting.clear();
        self.ready.push_back(out.freeze());
    }

    /// The source has ended.
    fn end(&mut self) {
        self.source = None;
        self.finish(None);
        let rest = std::mem::take(&mut self.held).freeze();
        if !rest.is_empty() && self.failure.is_none() {
            self.ready.push_back(rest);
        }
    }

    fn tell(&mut self) {
        if let Some(told) = self.told.take().filter(|_| !self.findings.is_empty()) {
            told(std::mem::take(&mut self.findings));
        }
    }
}

/// The event with other data: its other lines stay.
fn with_data(event: &[u8], data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(event.len() + data.len());
    for line in event.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() && !line.starts_with(b"data:") {
            out.extend_from_slice(line);
            out.extend_from_slice(b"\n");
        }
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
    out.freeze()
}

impl Stream for Outgoing {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(bytes) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            let Some(source) = &mut this.source else {
                this.tell();
                return Poll::Ready(this.failure.take().map(Err));
            };
            match std::task::ready!(source.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => this.take(&chunk),
                Some(Err(failure)) => {
                    this.failure = Some(failure);
                    this.end();
                }
                None => this.end(),
            }
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests;
