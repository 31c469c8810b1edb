//! The little of Anthropic's answers that is read of bytes that pass: enough to know that an answer is one, that it has
//! ended, and what it cost. Everything is borrowed from the bytes and nothing is kept.

use super::usage;
use crate::{
    Odd,
    look::{Glance, Seen},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    message: Option<Opening<'a>>,
    #[serde(borrow, default)]
    content_block: Option<Words<'a>>,
    #[serde(borrow, default)]
    delta: Option<Words<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Opening<'a> {
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// Words of a block or of a piece of one.
#[derive(Deserialize)]
struct Words<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    partial_json: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stop_reason: Option<&'a RawValue>,
}

impl Words<'_> {
    fn bytes(&self) -> u64 {
        let parts = [self.text, self.thinking, self.partial_json, self.name, self.input];
        // Without the quotes.
        parts.into_iter().flatten().map(|part| part.get().len().saturating_sub(2) as u64).sum()
    }

    /// Whether a reason to end is told, and not null.
    fn end(&self) -> bool {
        self.stop_reason.is_some_and(|why| why.get().starts_with('"'))
    }
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Vec<Words<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// Looks at one event. The opening is no beginning yet: providers without room say so right behind it, when another
/// target can still answer.
///
/// # Errors
/// [`Odd`].
pub fn look_event(data: &[u8]) -> Result<Seen, Odd> {
    let event: Event<'_> = serde_json::from_slice(data).map_err(|_| Odd::WrongSchema)?;
    let Some(kind) = event.kind else {
        return Err(event.error.map_or(Odd::WrongSchema, |raw| error(Some(raw))));
    };
    let words = event.delta.as_ref().or(event.content_block.as_ref());
    let seen = Seen { begins: true, text_bytes: words.map_or(0, Words::bytes), ..Seen::default() };
    match kind.as_ref() {
        "message_start" => {
            let opening = event.message.ok_or(Odd::WrongSchema)?;
            Ok(Seen { usage: opening.usage.and_then(usage), ..Seen::default() })
        }
        "content_block_start" | "content_block_delta" | "content_block_stop" => Ok(seen),
        "message_delta" => {
            let finished = u32::from(words.is_some_and(Words::end));
            Ok(Seen { finished, usage: event.usage.and_then(usage), ..seen })
        }
        "message_stop" => Ok(Seen { done: true, ..seen }),
        "error" => Err(error(event.error)),
        // Pings, and what may come to be.
        _ => Ok(Seen::default()),
    }
}

/// The error object of an event.
pub(super) fn error(raw: Option<&RawValue>) -> Odd {
    Odd::Error(Bytes::copy_from_slice(raw.map_or("{}", RawValue::get).as_bytes()))
}

/// Looks at a whole answer.
#[must_use]
pub fn look_whole(body: &[u8]) -> Option<Glance> {
    let whole: Whole<'_> = serde_json::from_slice(body).ok()?;
    if whole.kind.is_some_and(|kind| kind != "message") {
        return None;
    }
    let text_bytes = whole.content.iter().map(Words::bytes).sum();
    Some(Glance { text_bytes, usage: whole.usage.and_then(usage), blocked: false })
}
