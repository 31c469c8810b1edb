//! AI requests on their way through: the caller's own bytes in the caller's own format, plus what the path needs to
//! know about them (model, streaming, where the texts lie). Nothing is copied and nothing is re-serialised: a provider
//! of the same format gets the same bytes with the model name spliced in (`ChatRequest::splice`).
//!
//! Invariant: every span lies within `body`, on character borders, and was found by a JSON parser.

mod unescaped;

use crate::Action;
use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap, ops::Range, str};
use unescaped::unescaped;
pub use unescaped::utf16_unit;

/// In which format of the field a request came in, and its answer goes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenAI's chat completions and embeddings.
    #[default]
    OpenAi,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Anthropic,
    /// Google's `generateContent` and `batchEmbedContents`.
    Gemini,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::Responses, Self::Anthropic, Self::Gemini];

    /// The stable name, for logs and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Responses => "responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }
}

/// Who wrote a part of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions of the operator or developer: trusted.
    System,
    /// The caller: untrusted.
    User,
    /// The model's earlier words.
    Assistant,
    /// A tool's result: untrusted.
    Tool,
}

/// Where one text lies in the body: the inside of a JSON string, without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPart {
    /// Whose words.
    pub role: Role,
    /// Byte range of the string's inside.
    pub span: Range<usize>,
    /// Whether the string holds escapes, so that reading it needs a copy.
    pub escaped: bool,
}

impl TextPart {
    /// The text itself; borrowed when it holds no escapes. A string with unpaired surrogate escapes reads as empty
    /// (doors refuse those before).
    #[must_use]
    pub fn read<'a>(&self, body: &'a [u8]) -> Cow<'a, str> {
        let raw = body.get(self.span.clone()).unwrap_or_default();
        let raw = simdutf8::basic::from_utf8(raw).unwrap_or_default();
        if !self.escaped {
            return Cow::Borrowed(raw);
        }
        Cow::Owned(unescaped(raw).unwrap_or_default())
    }
}

/// What a target must be able to do to serve a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Tool calls.
    pub tools: bool,
    /// Images.
    pub images: bool,
    /// An answer bound to a JSON schema or to JSON.
    pub json: bool,
    /// Log probabilities of the answer's tokens.
    pub logprobs: bool,
}

/// A conversation turn.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// Which format the body is in.
    pub format: Format,
    /// The whole body, valid JSON.
    pub body: Bytes,
    /// The model as the caller wrote it: at most 128 characters. Never a metric label, never part of a URL.
    pub model: String,
    /// Byte range of the value of `model`, quotes included; none where the format names it outside the body.
    pub model_span: Option<Range<usize>>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the caller asked for the usage chunk of a stream.
    pub include_usage: bool,
    /// Byte range of the value of the member that a target of the same format is told in our words, if the caller sent
    /// it: `stream_options` of a streamed chat, `store` of responses.
    pub forced_span: Option<Range<usize>>,
    /// Largest number of tokens to write, if the caller said.
    pub max_tokens: Option<u32>,
    /// Answers wanted, 1 to 8.
    pub n: u32,
    /// Whether the same answer is asked for each time: `temperature` 0 or a `seed`.
    pub deterministic: bool,
    /// What the target must be able to do.
    pub needs: Needs,
    /// Every text in the conversation, in order.
    pub parts: Vec<TextPart>,
}

impl ChatRequest {
    /// The texts with their authors, in order.
    pub fn texts(&self) -> impl Iterator<Item = (Role, Cow<'_, str>)> {
        self.parts.iter().map(|part| (part.role, part.read(&self.body)))
    }

    /// The same request for at most so many tokens, which the caller did not say: `member` is what OpenAI's chat format
    /// calls that at the target. Texts stay where they are found; the body is copied once.
    #[must_use]
    pub fn with_max_tokens(&self, most: u32, member: &str) -> Self {
        let end = || self.end()..self.end();
        let (at, text) = match self.format {
            Format::OpenAi => (end(), format!(",\"{member}\":{most}")),
            Format::Responses => (end(), format!(",\"max_output_tokens\":{most}")),
            Format::Anthropic => (end(), format!(",\"max_tokens\":{most}")),
            Format::Gemini => self.generation_config(most),
        };
        let mut bound = Self { max_tokens: Some(most), ..self.clone() };
        bound.splice_in(&at, &text);
        bound
    }

    /// Puts JSON in the place of a span that overlaps no text and none of the request's own spans, unless it is wholly
    /// within one; every span moves along.
    pub fn splice_in(&mut self, at: &Range<usize>, json: &str) {
        // What ends where the new bytes begin does not reach into them.
        let more = json.len().cast_signed() - at.len().cast_signed();
        let by = |moves: bool| if moves { more } else { 0 };
        let shift = |span: &mut Range<usize>| {
            *span = span.start.saturating_add_signed(by(span.start >= at.end))
                ..span.end.saturating_add_signed(by(span.end > at.start));
        };
        self.body = apply(&self.body, vec![(at.clone(), Cow::Borrowed(json))]);
        let spans = [&mut self.model_span, &mut self.forced_span].into_iter().flatten();
        spans.chain(self.parts.iter_mut().map(|part| &mut part.span)).for_each(shift);
    }

    /// Before the brace that closes the body: a request has members, so that a comma goes before another one.
    fn end(&self) -> usize {
        self.body.iter().rposition(|byte| *byte == b'}').unwrap_or(self.body.len())
    }

    /// Where Gemini's bound goes, and as what: into `generationConfig` where there is one, in the place of one that is
    /// `null`. A second member of that name would be the provider's to choose from.
    fn generation_config(&self, most: u32) -> (Range<usize>, String) {
        let members: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_slice(&self.body).unwrap_or_default();
        let named =
            || ["generationConfig", "generation_config"].into_iter().filter_map(|name| members.get(name));
        let config = named().find(|raw| raw.get().starts_with('{')).or_else(|| named().next());
        let Some(config) = config.map(|raw| raw.get()) else {
            return (self.end()..self.end(), format!(",\"generationConfig\":{{\"maxOutputTokens\":{most}}}"));
        };
        // A raw value is a slice of the body.
        let start = config.as_ptr().addr() - self.body.as_ptr().addr();
        if !config.starts_with('{') {
            return (start..start + config.len(), format!("{{\"maxOutputTokens\":{most}}}"));
        }
        let comma = if config[1..].trim_start().starts_with('}') { "" } else { "," };
        (start + 1..start + 1, format!("\"maxOutputTokens\":{most}{comma}"))
    }

    /// The body for a target of the same format: `model` replaced; for streams in OpenAI's chat format the usage chunk
    /// always asked for; OpenAI's responses never stored there. One copy of the body, no parsing.
    #[must_use]
    pub fn splice(&self, model: &str) -> Bytes {
        let edits = self.edits(model);
        if edits.is_empty() { self.body.clone() } else { apply(&self.body, edits) }
    }

    /// The same, where the body is long enough to be worth it in slices of the caller's own bytes, which are not copied.
    #[must_use]
    pub fn spliced(&self, model: &str) -> Spliced {
        if self.body.len() < SLICED_BYTES {
            return Spliced::Whole(self.splice(model));
        }
        Spliced::Pieces(slices(&self.body, self.edits(model)))
    }

    fn edits(&self, model: &str) -> Vec<(Range<usize>, Cow<'static, str>)> {
        let Some(span) = &self.model_span else { return Vec::new() };
        let mut edits = vec![(span.clone(), Cow::Owned(quoted(model)))];
        let forced = match self.format {
            Format::OpenAi if self.stream && !self.include_usage => {
                Some(("stream_options", "{\"include_usage\":true}"))
            }
            Format::Responses => Some(("store", "false")),
            Format::OpenAi | Format::Anthropic | Format::Gemini => None,
        };
        if let Some((member, value)) = forced {
            match &self.forced_span {
                Some(span) => edits.push((span.clone(), Cow::Borrowed(value))),
                None => edits.push((span.end..span.end, Cow::Owned(format!(",\"{member}\":{value}")))),
            }
        }
        edits
    }

    /// Puts other texts in the place of parts, by their index; every span moves along.
    pub fn replace(&mut self, texts: Vec<(usize, String)>) {
        let Moved { body, old } = moved(&self.body, &mut self.parts, texts);
        let spans = [&mut self.model_span, &mut self.forced_span];
        spans.into_iter().flatten().for_each(|span| old.shift(span));
        self.body = body;
    }
}

/// Texts to embed.
#[derive(Clone, Debug)]
pub struct EmbedRequest {
    /// Which format the body is in.
    pub format: Format,
    /// The whole body, valid JSON.
    pub body: Bytes,
    /// The model as the caller wrote it.
    pub model: String,
    /// Byte range of the value of `model`, quotes included; none where the format names it outside the body.
    pub model_span: Option<Range<usize>>,
    /// What to embed.
    pub input: EmbedInput,
    /// How vectors are written in the answer.
    pub encoding: Encoding,
    /// Wanted length of the vectors, if the caller said.
    pub dimensions: Option<u32>,
}

impl EmbedRequest {
    /// The body for a target of the same wire, with its model name.
    #[must_use]
    pub fn splice(&self, model: &str) -> Bytes {
        let Some(span) = &self.model_span else { return self.body.clone() };
        apply(&self.body, vec![(span.clone(), Cow::Owned(quoted(model)))])
    }

    /// Puts other texts in the place of parts, by their index; every span moves along.
    pub fn replace(&mut self, texts: Vec<(usize, String)>) {
        let EmbedInput::Texts(parts) = &mut self.input else { return };
        let Moved { body, old } = moved(&self.body, parts, texts);
        self.model_span.iter_mut().for_each(|span| old.shift(span));
        self.body = body;
    }

    /// The texts, in order; empty for token input.
    pub fn texts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let parts = match &self.input {
            EmbedInput::Texts(parts) => parts.as_slice(),
            EmbedInput::Tokens { .. } => &[],
        };
        parts.iter().map(|part| part.read(&self.body))
    }
}

/// What to embed.
#[derive(Clone, Debug)]
pub enum EmbedInput {
    /// One to 2048 non-empty texts.
    Texts(Vec<TextPart>),
    /// Token arrays, for targets that take them.
    Tokens {
        /// How many vectors are expected.
        count: usize,
    },
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// JSON numbers.
    #[default]
    Float,
    /// Little-endian f32, base64.
    Base64,
}

/// The model list, or one of it.
#[derive(Clone, Debug)]
pub struct ModelsRequest {
    /// In whose shape the list is told.
    pub format: Format,
    /// One model by name; all when absent.
    pub id: Option<String>,
}

fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        return ["\"", text, "\""].concat();
    }
    serde_json::Value::from(text).to_string()
}

/// A body whose texts were replaced.
struct Moved {
    body: Bytes,
    old: Shifts,
}

/// Where old positions have gone: the end of each replaced span, and by how much what follows has moved.
struct Shifts(Vec<(usize, isize)>);

impl Shifts {
    /// Moves a span that overlaps no replaced one.
    fn shift(&self, span: &mut Range<usize>) {
        let before = self.0.iter().take_while(|(end, _)| *end <= span.start);
        let by = before.last().map_or(0, |(_, by)| *by);
        *span = span.start.saturating_add_signed(by)..span.end.saturating_add_signed(by);
    }
}

/// Replaces the insides of parts, given by index, and moves every part along.
fn moved(body: &[u8], parts: &mut [TextPart], mut texts: Vec<(usize, String)>) -> Moved {
    texts.retain(|(index, _)| *index < parts.len());
    texts.sort_by_key(|(index, _)| parts[*index].span.start);
    let (mut edits, mut shifts, mut by) = (Vec::new(), Vec::new(), 0_isize);
    let mut news = Vec::new();
    for (index, text) in texts {
        let quoted = quoted(&text);
        let inside = quoted[1..quoted.len() - 1].to_owned();
        let span = parts[index].span.clone();
        let start = span.start.saturating_add_signed(by);
        news.push((index, start..start + inside.len(), inside.contains('\\')));
        by += inside.len().cast_signed() - span.len().cast_signed();
        shifts.push((span.end, by));
        edits.push((span, Cow::Owned(inside)));
    }
    let shifts = Shifts(shifts);
    parts.iter_mut().for_each(|part| shifts.shift(&mut part.span));
    for (index, span, escaped) in news {
        (parts[index].span, parts[index].escaped) = (span, escaped);
    }
    Moved { body: apply(body, edits), old: shifts }
}

/// Replaces disjoint ranges of `body`.
fn apply(body: &[u8], mut edits: Vec<(Range<usize>, Cow<'_, str>)>) -> Bytes {
    edits.sort_by_key(|(span, _)| (span.start, span.end));
    let grown: usize = edits.iter().map(|(_, text)| text.len()).sum();
    let mut out = BytesMut::with_capacity(body.len() + grown);
    let mut at = 0;
    for (span, text) in edits {
        out.extend_from_slice(&body[at..span.start]);
        out.extend_from_slice(text.as_bytes());
        at = span.end;
    }
    out.extend_from_slice(&body[at..]);
    out.freeze()
}

/// The same in slices of the body with the new texts between them.
fn slices(body: &Bytes, mut edits: Vec<(Range<usize>, Cow<'static, str>)>) -> Vec<Bytes> {
    edits.sort_by_key(|(span, _)| (span.start, span.end));
    let mut pieces = Vec::with_capacity(2 * edits.len() + 1);
    let mut at = 0;
    for (span, text) in edits {
        pieces.push(body.slice(at..span.start));
        pieces.push(match text {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => text.into(),
        });
        at = span.end;
    }
    pieces.push(body.slice(at..));
    pieces
}

/// A body from which copying costs more than sending it in pieces, in bytes.
const SLICED_BYTES: usize = 16_384;

/// A body for a target of the caller's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spliced {
    /// In one.
    Whole(Bytes),
    /// One after the other; some may be empty.
    Pieces(Vec<Bytes>),
}

/// What a caller wishes beside the request itself; a door reads it from headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `Idempotency-Key`, 1 to 128 visible characters: the same request is answered once.
    pub idempotency_key: Option<Box<str>>,
    /// What `Cache-Control` asks.
    pub cache: CacheWish,
    /// `x-portcullis-strict: 1`: members that a target cannot honour are refused instead of dropped.
    pub strict: bool,
    /// Headers by which sticky routes keep requests on one target: name in lower case, value of at most 128 visible
    /// characters. Only those that a route asks for.
    pub affinity: Vec<(Box<str>, Box<str>)>,
    /// `x-portcullis-confirm`: what a refusal told the sender, who says by it that the message is meant.
    pub confirm: Option<Box<str>>,
    /// The action under whose limit a minute providers are called, where an app calls for another purpose than its payload's.
    /// No door sets it.
    pub purpose: Option<Action>,
}

/// What a caller asks of caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheWish {
    /// Nothing particular.
    #[default]
    Any,
    /// `no-cache`: a fresh answer, which may be kept for others.
    Fresh,
    /// `no-store`: neither read nor kept.
    NoStore,
}

#[cfg(test)]
mod tests;
