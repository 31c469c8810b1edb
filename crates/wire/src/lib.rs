//! Formats of AI APIs as pure code: reading a request or an answer of one format into the internal form of
//! `portcullis-domain`, writing the form in another, and looking at bytes that pass unchanged.
//!
//! Invariants: no I/O and no async; nothing panics on any bytes; work is linear in them; a member that a format cannot
//! say is named, never silently lost. Source: gateway.md section 8; the providers' own API references.

pub mod anthropic;
pub mod gemini;
mod lenient;
pub mod look;
mod members;
pub mod openai;
pub mod responses;
pub mod sse;
pub mod steps;
pub mod system;
pub mod texts;
mod told;
pub mod walk;

pub use told::Told;

use bytes::{Bytes, BytesMut};
use portcullis_domain::{Completion, Conversation, Encoding, Failure, Format, Member, Step, Vectors};

/// A request in the target's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The body.
    pub body: Bytes,
    /// What this format has no words for, each once.
    pub dropped: Vec<Member>,
}

/// What an answer in the caller's format says about itself.
#[derive(Clone, Debug)]
pub struct Head {
    /// Our id for the answer, where the provider gave none; without a prefix.
    pub id: String,
    /// Unix seconds.
    pub created: i64,
    /// Whether the caller asked for the usage chunk of a stream (OpenAI's chat format).
    pub include_usage: bool,
    /// The caller's own body: some formats repeat parts of the request in the answer.
    pub request: Bytes,
}

/// What is wrong with a provider's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Odd {
    /// They are no answer.
    WrongSchema,
    /// They say that something went wrong: the error object, for classification only.
    Error(Bytes),
}

/// Reads a request into the internal form. `stream` says what the door knows of formats that tell it elsewhere.
///
/// # Errors
/// `InvalidInput` naming the member, in the words of that format.
pub fn read_request(format: Format, body: &[u8], stream: bool) -> Result<Conversation, Failure> {
    match format {
        Format::OpenAi => openai::read_request(body),
        Format::Responses => responses::read_request(body),
        Format::Anthropic => anthropic::read_request(body),
        Format::Gemini => gemini::read_request(body, stream),
    }
}

/// Writes a request for a model of a provider that speaks that format.
#[must_use]
pub fn write_request(format: Format, conversation: &Conversation, model: &str) -> Written {
    match format {
        Format::OpenAi => openai::write_request(conversation, model),
        Format::Responses => responses::write_request(conversation, model),
        Format::Anthropic => anthropic::write_request(conversation, model),
        Format::Gemini => gemini::write_request(conversation, model),
    }
}

/// What a member is called in that format.
#[must_use]
pub const fn member_name(format: Format, member: Member) -> &'static str {
    match format {
        Format::OpenAi => openai::member_name(member),
        Format::Responses => responses::member_name(member),
        Format::Anthropic => anthropic::member_name(member),
        Format::Gemini => gemini::member_name(member),
    }
}

/// Reads a whole answer; none when it is no answer of that format.
#[must_use]
pub fn read_answer(format: Format, body: &[u8]) -> Option<Completion> {
    match format {
        Format::OpenAi => openai::read_answer(body),
        Format::Responses => responses::read_answer(body),
        Format::Anthropic => anthropic::read_answer(body),
        Format::Gemini => gemini::read_answer(body),
    }
}

/// Writes a whole answer.
#[must_use]
pub fn write_answer(format: Format, answer: &Completion, head: &Head) -> Bytes {
    match format {
        Format::OpenAi => openai::write_answer(answer, head),
        Format::Responses => responses::write_answer(answer, head),
        Format::Anthropic => anthropic::write_answer(answer, head),
        Format::Gemini => gemini::write_answer(answer, head),
    }
}

/// Reads the events of a streamed answer.
#[derive(Debug)]
pub enum Reader {
    /// See the module.
    OpenAi(openai::Reader),
    /// See the module.
    Responses(responses::Reader),
    /// See the module.
    Anthropic(anthropic::Reader),
    /// See the module.
    Gemini(gemini::Reader),
}

impl Reader {
    /// For a stream of that format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        match format {
            Format::OpenAi => Self::OpenAi(openai::Reader::default()),
            Format::Responses => Self::Responses(responses::Reader::default()),
            Format::Anthropic => Self::Anthropic(anthropic::Reader::default()),
            Format::Gemini => Self::Gemini(gemini::Reader::default()),
        }
    }

    /// The steps that one event's data says.
    ///
    /// # Errors
    /// [`Odd`].
    pub fn event(&mut self, data: &[u8], out: &mut Vec<Step>) -> Result<(), Odd> {
        match self {
            Self::OpenAi(reader) => reader.event(data, out),
            Self::Responses(reader) => reader.event(data, out),
            Self::Anthropic(reader) => reader.event(data, out),
            Self::Gemini(reader) => reader.event(data, out),
        }
    }
}

/// Writes a streamed answer as server-sent events.
#[derive(Debug)]
pub enum Writer {
    /// See the module.
    OpenAi(openai::Writer),
    /// See the module.
    Responses(responses::Writer),
    /// See the module.
    Anthropic(anthropic::Writer),
    /// See the module.
    Gemini(gemini::Writer),
}

impl Writer {
    /// For a caller of that format.
    #[must_use]
    pub fn new(format: Format, head: Head) -> Self {
        match format {
            Format::OpenAi => Self::OpenAi(openai::Writer::new(head)),
            Format::Responses => Self::Responses(responses::Writer::new(head)),
            Format::Anthropic => Self::Anthropic(anthropic::Writer::new(head)),
            Format::Gemini => Self::Gemini(gemini::Writer::new(head)),
        }
    }

    /// Appends the events of a step; formats may hold some back for a later step.
    pub fn step(&mut self, step: &Step, out: &mut BytesMut) {
        match self {
            Self::OpenAi(writer) => writer.step(step, out),
            Self::Responses(writer) => writer.step(step, out),
            Self::Anthropic(writer) => writer.step(step, out),
            Self::Gemini(writer) => writer.step(step, out),
        }
    }

    /// Takes note of an event that was delivered without this writer, so that it can go on after it. Only formats whose
    /// events refer to each other need that; in the others nothing is done.
    pub fn follow(&mut self, data: &[u8]) {
        match self {
            Self::Responses(writer) => writer.follow(data),
            Self::OpenAi(_) | Self::Anthropic(_) | Self::Gemini(_) => {}
        }
    }

    /// Appends what ends a complete answer. Never called for one that broke off.
    pub fn finish(&mut self, out: &mut BytesMut) {
        match self {
            Self::OpenAi(writer) => writer.finish(out),
            Self::Responses(writer) => writer.finish(out),
            Self::Anthropic(writer) => writer.finish(out),
            Self::Gemini(writer) => writer.finish(out),
        }
    }
}

/// Writes texts to embed; none for formats without embeddings.
#[must_use]
pub fn write_embed(
    format: Format,
    texts: &[impl AsRef<str>],
    model: &str,
    dimensions: Option<u32>,
) -> Option<Bytes> {
    match format {
        Format::OpenAi => Some(openai::write_embed(texts, model, dimensions)),
        Format::Gemini => Some(gemini::write_embed(texts, model, dimensions)),
        Format::Responses | Format::Anthropic => None,
    }
}

/// Reads vectors; none when it is no answer of that format.
#[must_use]
pub fn read_vectors(format: Format, body: &[u8]) -> Option<Vectors> {
    match format {
        Format::OpenAi => openai::read_vectors(body),
        Format::Gemini => gemini::read_vectors(body),
        Format::Responses | Format::Anthropic => None,
    }
}

/// Writes vectors in the caller's format.
#[must_use]
pub fn write_vectors(format: Format, vectors: &Vectors, encoding: Encoding) -> Bytes {
    match format {
        Format::Gemini => gemini::write_vectors(vectors),
        Format::OpenAi | Format::Responses | Format::Anthropic => openai::write_vectors(vectors, encoding),
    }
}
