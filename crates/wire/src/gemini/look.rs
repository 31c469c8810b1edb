//! The little of Google's answers that is read of bytes that pass: enough to know that an answer is one, that it has
//! ended, and what it cost. Everything is borrowed from the bytes and nothing is kept.

use crate::{
    Odd,
    lenient::count,
    look::{Glance, Seen},
};
use bytes::Bytes;
use portcullis_domain::Usage;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{fmt, marker::PhantomData};

/// Looks at one event. Google marks the end by nothing but the end, except where its filter refused the prompt: no
/// candidate follows that.
///
/// # Errors
/// [`Odd`].
pub fn look_event(data: &[u8]) -> Result<Seen, Odd> {
    let read: Response<'_> = serde_json::from_slice(data).map_err(|_| Odd::WrongSchema)?;
    if let Some(error) = read.error.filter(|error| error.get() != "null") {
        return Err(Odd::Error(Bytes::copy_from_slice(error.get().as_bytes())));
    }
    let usage = read.usage_metadata.and_then(usage);
    if read.candidates.is_none() && read.prompt_feedback.is_none() && usage.is_none() {
        return Err(Odd::WrongSchema);
    }
    let blocked = read.blocked();
    let Totals { finished, text_bytes, .. } = read.totals();
    // A chunk of usage alone is part of the format: nobody asks for it, so it is never taken out.
    Ok(Seen { begins: true, finished, text_bytes, usage, usage_only: false, done: blocked, blocked })
}

/// Looks at a whole answer: at least one candidate, or the word that the prompt was refused.
#[must_use]
pub fn look_whole(body: &[u8]) -> Option<Glance> {
    let read: Response<'_> = serde_json::from_slice(body).ok()?;
    let (totals, blocked) = (read.totals(), read.blocked());
    (totals.items > 0 || blocked).then(|| Glance {
        text_bytes: totals.text_bytes,
        usage: read.usage_metadata.and_then(usage),
        blocked,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    #[serde(borrow, default)]
    candidates: Option<List<Candidate<'a>>>,
    #[serde(borrow, default)]
    prompt_feedback: Option<Feedback<'a>>,
    #[serde(borrow, default)]
    usage_metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl Response<'_> {
    fn totals(&self) -> Totals {
        self.candidates.as_ref().map_or_else(Totals::default, |list| list.totals)
    }

    fn blocked(&self) -> bool {
        let refused = self.prompt_feedback.as_ref().and_then(|feedback| feedback.block_reason);
        self.totals().items == 0 && refused.is_some_and(is_reason)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback<'a> {
    #[serde(borrow, default)]
    block_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Option<List<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
}

/// What was counted while passing over a list.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    items: u32,
    finished: u32,
    text_bytes: u64,
}

/// What is counted of an item.
trait Counted {
    fn add(&self, totals: &mut Totals);
}

impl Counted for Candidate<'_> {
    fn add(&self, totals: &mut Totals) {
        totals.finished += u32::from(self.finish_reason.is_some_and(is_reason));
        let parts = self.content.as_ref().and_then(|content| content.parts.as_ref());
        totals.text_bytes += parts.map_or(0, |parts| parts.totals.text_bytes);
    }
}

impl Counted for Part<'_> {
    fn add(&self, totals: &mut Totals) {
        // Without the quotes.
        let bytes = |raw: &RawValue| raw.get().len().saturating_sub(2) as u64;
        totals.text_bytes += self.text.map_or(0, bytes) + self.function_call.map_or(0, bytes);
    }
}

/// A reason that says something.
fn is_reason(value: &RawValue) -> bool {
    let text = value.get();
    text.starts_with('"') && text.len() > 2 && !text.ends_with("_UNSPECIFIED\"")
}

/// A list, folded while it is read: none is built.
struct List<T> {
    totals: Totals,
    kind: PhantomData<T>,
}

impl<'de, T: Counted + Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Fold(PhantomData))
    }
}

struct Fold<T>(PhantomData<T>);

impl<'de, T: Counted + Deserialize<'de>> Visitor<'de> for Fold<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut totals = Totals::default();
        while let Some(item) = list.next_element::<T>()? {
            totals.items += 1;
            item.add(&mut totals);
        }
        Ok(List { totals, kind: PhantomData })
    }
}

/// Usage, where it is one: a number that is none is as good as none.
pub(super) fn usage(raw: &RawValue) -> Option<Usage> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Tokens {
        #[serde(default, deserialize_with = "count")]
        prompt_token_count: Option<u64>,
        #[serde(default, deserialize_with = "count")]
        tool_use_prompt_token_count: Option<u64>,
        #[serde(default, deserialize_with = "count")]
        cached_content_token_count: Option<u64>,
        #[serde(default, deserialize_with = "count")]
        candidates_token_count: Option<u64>,
        #[serde(default, deserialize_with = "count")]
        thoughts_token_count: Option<u64>,
    }
    let read: Tokens = serde_json::from_str(raw.get()).ok()?;
    let input = read.prompt_token_count? + read.tool_use_prompt_token_count.unwrap_or(0);
    let reasoning = read.thoughts_token_count.unwrap_or(0);
    Some(Usage {
        input,
        cached: read.cached_content_token_count.unwrap_or(0).min(input),
        // Google counts thoughts beside what is said.
        output: read.candidates_token_count.unwrap_or(0) + reasoning,
        reasoning,
        estimated: false,
    })
}
