//! The little of OpenAI's responses that is read of bytes that pass. Everything is borrowed and nothing is kept.

use crate::{
    Odd,
    lenient::{UsageNames, usage_of},
    look::{Glance, Seen},
};
use bytes::Bytes;
use portcullis_domain::Usage;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// Any event.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Looks at one event.
///
/// # Errors
/// [`Odd`].
pub fn look_event(data: &[u8]) -> Result<Seen, Odd> {
    if data == b"[DONE]" {
        return Ok(Seen { done: true, ..Seen::default() });
    }
    let event: Event<'_> = serde_json::from_slice(data).map_err(|_| Odd::WrongSchema)?;
    let begins = Seen { begins: true, ..Seen::default() };
    match &*event.kind {
        "response.completed" | "response.incomplete" => {
            let told = event.response.and_then(|raw| serde_json::from_str::<Whole<'_>>(raw.get()).ok());
            let told = told.ok_or(Odd::WrongSchema)?;
            Ok(Seen { finished: 1, usage: told.usage.and_then(usage), done: true, ..begins })
        }
        "error" | "response.failed" => Err(Odd::Error(error(&event, data))),
        kind if kind.starts_with("response.") => {
            // Without the quotes.
            let text_bytes = event.delta.map_or(0, |delta| delta.get().len().saturating_sub(2) as u64);
            Ok(Seen { text_bytes, ..begins })
        }
        // Other servers' own, such as pings; but an error without a name is one, and anything else no event of ours.
        "" => match event.error {
            Some(_) => Err(Odd::Error(error(&event, data))),
            None => Err(Odd::WrongSchema),
        },
        _ => Ok(Seen::default()),
    }
}

/// The error that an event tells, if it tells one.
///
/// # Errors
/// [`Odd::WrongSchema`] of what is no event of this format.
pub(super) fn refusal(data: &[u8]) -> Result<Option<Bytes>, Odd> {
    match look_event(data) {
        Ok(_) => Ok(None),
        Err(Odd::Error(error)) => Ok(Some(error)),
        Err(Odd::WrongSchema) => Err(Odd::WrongSchema),
    }
}

/// The error object: of an answer that failed, of its own member, or the event itself.
fn error(event: &Event<'_>, data: &[u8]) -> Bytes {
    #[derive(Deserialize)]
    struct Failed<'a> {
        #[serde(borrow, default)]
        error: Option<&'a RawValue>,
    }
    let failed = event.response.and_then(|raw| serde_json::from_str::<Failed<'_>>(raw.get()).ok());
    let inside = failed.and_then(|failed| failed.error).or(event.error);
    Bytes::copy_from_slice(inside.map_or(data, |raw| raw.get().as_bytes()))
}

/// Looks at a whole answer: it has an output and has ended.
#[must_use]
pub fn look_whole(body: &[u8]) -> Option<Glance> {
    let whole: Whole<'_> = serde_json::from_slice(body).ok()?;
    let ended = match whole.status {
        None => true,
        Some(raw) => matches!(raw.get(), "\"completed\"" | "\"incomplete\"" | "null"),
    };
    let text_bytes = whole.output.0;
    ended.then(|| Glance { text_bytes, usage: whole.usage.and_then(usage), blocked: false })
}

/// A response object.
#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    output: Texts,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// Bytes of the words and calls in an output, counted while passing over them.
struct Texts(u64);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Fold)
    }
}

struct Fold;

impl<'de> Visitor<'de> for Fold {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        #[derive(Deserialize)]
        struct Item<'a> {
            #[serde(borrow, default)]
            arguments: Option<&'a RawValue>,
            #[serde(borrow, default)]
            content: Option<&'a RawValue>,
            #[serde(borrow, default)]
            summary: Option<&'a RawValue>,
        }
        let mut bytes = 0;
        // As JSON, with its braces: close enough for an estimate.
        while let Some(item) = list.next_element::<Item<'_>>()? {
            let parts = [item.arguments, item.content, item.summary].into_iter().flatten();
            bytes += parts.map(|raw| raw.get().len().saturating_sub(2) as u64).sum::<u64>();
        }
        Ok(Texts(bytes))
    }
}

/// What usage is called here.
static USAGE: UsageNames = UsageNames {
    input: "input_tokens",
    input_details: "input_tokens_details",
    output: "output_tokens",
    output_details: "output_tokens_details",
};

/// Usage, where it is one: a number that is none is as good as none.
pub(super) fn usage(raw: &RawValue) -> Option<Usage> {
    usage_of(raw, &USAGE)
}
