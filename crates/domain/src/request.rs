//! The internal form of AI requests: the caller's own bytes in the OpenAI wire, plus what the path needs to know
//! about them (model, streaming, where the texts lie). Nothing is copied and nothing is re-serialised: a provider
//! of the same wire gets the same bytes with the model name spliced in (`ChatRequest::splice`).
//!
//! Invariant: every span lies within `body`, on character borders, and was found by a JSON parser.

use bytes::{Bytes, BytesMut};
use std::{borrow::Cow, ops::Range, str};

/// Who wrote a part of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let raw = body.get(self.span.clone()).and_then(|raw| str::from_utf8(raw).ok()).unwrap_or_default();
        if !self.escaped {
            return Cow::Borrowed(raw);
        }
        Cow::Owned(serde_json::from_str(&format!("\"{raw}\"")).unwrap_or_default())
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
}

/// A conversation turn.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// The whole body, valid JSON in the OpenAI chat wire.
    pub body: Bytes,
    /// The model as the caller wrote it: at most 128 characters. Never a metric label, never part of a URL.
    pub model: String,
    /// Byte range of the value of `model`, quotes included.
    pub model_span: Range<usize>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the caller asked for the usage chunk of a stream.
    pub include_usage: bool,
    /// Byte range of the value of `stream_options`, if the caller sent one.
    pub stream_options_span: Option<Range<usize>>,
    /// Largest number of tokens to write, if the caller said.
    pub max_tokens: Option<u32>,
    /// Answers wanted, 1 to 8.
    pub n: u32,
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

    /// The body for a target of the same wire: `model` replaced; for streams the usage chunk always asked for.
    /// One copy of the body, no parsing.
    #[must_use]
    pub fn splice(&self, model: &str) -> Bytes {
        const USAGE: &str = "{\"include_usage\":true}";
        let name = quoted(model);
        let mut edits = vec![(self.model_span.clone(), Cow::Owned(name))];
        if self.stream && !self.include_usage {
            match &self.stream_options_span {
                Some(span) => edits.push((span.clone(), Cow::Borrowed(USAGE))),
                None => edits.push((
                    self.model_span.end..self.model_span.end,
                    Cow::Owned(format!(",\"stream_options\":{USAGE}")),
                )),
            }
        }
        apply(&self.body, edits)
    }
}

/// Texts to embed.
#[derive(Clone, Debug)]
pub struct EmbedRequest {
    /// The whole body, valid JSON in the OpenAI embeddings wire.
    pub body: Bytes,
    /// The model as the caller wrote it.
    pub model: String,
    /// Byte range of the value of `model`, quotes included.
    pub model_span: Range<usize>,
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
        apply(&self.body, vec![(self.model_span.clone(), Cow::Owned(quoted(model)))])
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
    /// One model by name; all when absent.
    pub id: Option<String>,
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: &'static str, include_usage: bool) -> ChatRequest {
        let start = body.find("\"fast\"").unwrap();
        let options = body.find("{\"include_usage\":false}");
        ChatRequest {
            body: Bytes::from_static(body.as_bytes()),
            model: "fast".into(),
            model_span: start..start + 6,
            stream: true,
            include_usage,
            stream_options_span: options.map(|at| at..at + 23),
            max_tokens: None,
            n: 1,
            needs: Needs::default(),
            parts: vec![],
        }
    }

    #[test]
    fn splicing_changes_the_model_and_asks_for_usage_and_touches_nothing_else() {
        let spliced = chat(r#"{"model": "fast" , "x":[1 ,2]}"#, false).splice("a\"b");
        assert_eq!(spliced, r#"{"model": "a\"b","stream_options":{"include_usage":true} , "x":[1 ,2]}"#);
        let spliced = chat(r#"{"stream_options":{"include_usage":false},"model":"fast"}"#, false).splice("m");
        assert_eq!(spliced, r#"{"stream_options":{"include_usage":true},"model":"m"}"#);
        let spliced = chat(r#"{"model":"fast","n":1}"#, true).splice("m");
        assert_eq!(spliced, r#"{"model":"m","n":1}"#);
    }

    #[test]
    fn texts_are_borrowed_unless_they_hold_escapes() {
        let body = br#"{"a":"plain","b":"two\nlines \u00e9"}"#;
        let plain = TextPart { role: Role::User, span: 6..11, escaped: false };
        let escaped = TextPart { role: Role::User, span: 18..35, escaped: true };
        assert!(matches!(plain.read(body), Cow::Borrowed("plain")));
        assert_eq!(escaped.read(body), "two\nlines é");
    }
}
