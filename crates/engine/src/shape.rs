//! Whether answers are what the caller's `response_format` asks for: the check `schema` of a policy. Whole answers are
//! judged before they leave; streams have left when they can be judged, and are only flagged.
//!
//! Invariants: an answer is judged only where it ended by itself with words (what was cut, refused or calls tools says
//! so already); a stream's bytes are never touched; what is kept of one is bounded. Source: gateway.md section 11.

use crate::policy::Findings;
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use portcullis_domain::{
    ByteStream, ChatRequest, Failure, Finish, Format, InputCode, Part, ReplyBody, Shape as Asked, Step,
};
use portcullis_inspect::{CheckAction, Held, InspectConfig, Schema, SchemaAction, SchemaLimits};
use portcullis_wire::{
    Reader, read_answer, read_request,
    sse::{data_of, first_end, last_end},
};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

/// Name of the check, as metric label.
const CHECK: &str = "schema";

/// How much judging may cost.
#[derive(Clone, Copy, Debug)]
pub struct ShapeLimits {
    schema: SchemaLimits,
    stream_bytes: usize,
}

impl ShapeLimits {
    /// From the settings.
    #[must_use]
    pub const fn new(config: &InspectConfig) -> Self {
        let schema = SchemaLimits { bytes: config.schema_bytes, steps: config.schema_steps };
        Self { schema, stream_bytes: config.schema_stream_bytes }
    }
}

/// What the answers to one message must look like.
#[derive(Debug)]
pub struct Shape {
    schema: Schema,
    format: Format,
    action: SchemaAction,
    stream_bytes: usize,
    asked_again: AtomicBool,
}

impl Shape {
    /// What the caller asks for, where the policy cares and the caller asks for anything.
    ///
    /// # Errors
    /// `InvalidInput` for a schema by which answers cannot be judged, where the policy would block.
    pub(crate) fn of(
        request: &ChatRequest,
        action: SchemaAction,
        limits: ShapeLimits,
    ) -> Result<Option<Arc<Self>>, Failure> {
        if action == SchemaAction::Off || !request.needs.json {
            return Ok(None);
        }
        let asked = match read_request(request.format, &request.body, request.stream) {
            Ok(conversation) => conversation.shape,
            // What the door lets pass may still be more than can be read; it is the provider's to judge then.
            Err(_) if action == SchemaAction::Flag => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let schema = match asked {
            Asked::Text => return Ok(None),
            Asked::Json => Schema::object(limits.schema),
            Asked::Schema { schema, .. } => match Schema::new(&schema, limits.schema) {
                Ok(schema) => schema,
                Err(_) if action == SchemaAction::Flag => return Ok(None),
                Err(problem) => return Err(unusable(request.format, &problem.to_string())),
            },
        };
        Ok(Some(Arc::new(Self {
            schema,
            format: request.format,
            action,
            stream_bytes: limits.stream_bytes,
            asked_again: AtomicBool::new(false),
        })))
    }

    /// Whether this answer should be asked for once more. Says so once.
    #[must_use]
    pub fn asks_again(&self, body: &ReplyBody) -> bool {
        let ReplyBody::Whole(body) = body else { return false };
        self.action == SchemaAction::Retry
            && !self.asked_again.load(Ordering::Relaxed)
            && self.whole(body).is_some()
            && !self.asked_again.swap(true, Ordering::Relaxed)
    }

    /// Whether the answer was asked for once more.
    pub(crate) fn was_asked_again(&self) -> bool {
        self.asked_again.load(Ordering::Relaxed)
    }

    /// What follows from a whole answer, if anything.
    pub(crate) fn whole(&self, body: &[u8]) -> Option<(&'static str, CheckAction)> {
        let answer = read_answer(self.format, body)?;
        let ended = answer.choices.iter().filter(|choice| choice.finish == Finish::Stop);
        let wrong =
            ended.into_iter().filter_map(|choice| said(&choice.parts)).any(|text| self.is_wrong(&text));
        wrong.then_some((CHECK, self.consequence()))
    }

    fn is_wrong(&self, text: &str) -> bool {
        match self.schema.holds(text) {
            Held::Yes => false,
            Held::No => true,
            // As every check that would take too long: a flag lets it pass, a block blocks.
            Held::Unknown => self.consequence() == CheckAction::Block,
        }
    }

    const fn consequence(&self) -> CheckAction {
        match self.action {
            SchemaAction::Off => CheckAction::Off,
            SchemaAction::Flag => CheckAction::Flag,
            SchemaAction::Retry | SchemaAction::Block => CheckAction::Block,
        }
    }
}

fn unusable(format: Format, why: &str) -> Failure {
    let member = match format {
        Format::OpenAi => "response_format",
        Format::Responses => "text.format",
        Format::Anthropic => "output_config.format",
        Format::Gemini => "generationConfig.responseSchema",
    };
    Failure::InvalidInput {
        code: InputCode::UnsupportedParameter,
        message: format!(
            "Answers are checked here, and this schema cannot be checked by: {why}. Nothing was sent."
        )
        .into(),
        param: Some(member.into()),
    }
}

/// The words of an answer that has nothing else to say; none where it refuses or calls tools.
fn said(parts: &[Part]) -> Option<String> {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(more) => text.push_str(more),
            Part::Reasoning { .. } | Part::Image(_) => {}
            Part::Refusal(_) | Part::ToolCall(_) | Part::ToolResult(_) => return None,
        }
    }
    Some(text)
}

/// What of one streamed answer is known; none once it is not to be judged.
type Heard = Option<String>;

/// Hears once what was found in a stream.
pub(crate) type Told = Box<dyn FnOnce(Findings) + Send>;

/// A stream whose words are judged when it has ended.
pub(crate) struct Shaped {
    source: ByteStream,
    shape: Arc<Shape>,
    reader: Reader,
    held: BytesMut,
    heard: BTreeMap<u32, Heard>,
    bytes: usize,
    wrong: bool,
    told: Option<Told>,
}

impl Shaped {
    pub(crate) fn new(source: ByteStream, shape: Arc<Shape>, told: Told) -> Self {
        let (reader, held) = (Reader::new(shape.format), BytesMut::new());
        Self { source, shape, reader, held, heard: BTreeMap::new(), bytes: 0, wrong: false, told: Some(told) }
    }

    fn hear(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len();
        if self.bytes > self.shape.stream_bytes {
            // Too much to keep: it passes unjudged.
            (self.held, self.heard) = (BytesMut::new(), BTreeMap::new());
            return;
        }
        self.held.extend_from_slice(chunk);
        let Some(end) = last_end(&self.held, 0) else { return };
        let mut whole = self.held.split_to(end).freeze();
        let mut steps = Vec::new();
        while !whole.is_empty() {
            let event = whole.split_to(first_end(&whole).unwrap_or(whole.len()));
            if let Some(data) = data_of(&event) {
                // What cannot be read holds no words that a client could read.
                let _unreadable = self.reader.event(&data, &mut steps);
            }
        }
        steps.into_iter().for_each(|step| self.step(step));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Text { choice, text } => {
                if let Some(heard) = self.heard.entry(choice).or_insert_with(|| Some(String::new())) {
                    heard.push_str(&text);
                }
            }
            Step::Refusal { choice, .. } | Step::ToolCall { choice, .. } => {
                self.heard.insert(choice, None);
            }
            Step::Finish { choice, reason } => {
                let heard = self.heard.insert(choice, None).flatten();
                if let (Finish::Stop, Some(text)) = (reason, heard) {
                    self.wrong |= self.shape.is_wrong(&text);
                }
            }
            Step::Begin { .. }
            | Step::Reasoning { .. }
            | Step::Arguments { .. }
            | Step::Logprobs { .. }
            | Step::Usage(_) => {}
        }
    }

    fn tell(&mut self) {
        if let Some(told) = self.told.take().filter(|_| self.wrong) {
            told(vec![(CHECK, CheckAction::Flag)]);
        }
    }
}

impl Stream for Shaped {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let next = std::task::ready!(this.source.as_mut().poll_next(cx));
        match &next {
            Some(Ok(chunk)) => this.hear(chunk),
            Some(Err(_)) | None => this.tell(),
        }
        Poll::Ready(next)
    }
}

impl Drop for Shaped {
    fn drop(&mut self) {
        self.tell();
    }
}
