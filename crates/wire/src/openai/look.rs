//! The little of OpenAI's answers that is read of bytes that pass: enough to know that an answer is one, that it has ended, and what it
//! cost. Everything is borrowed from the bytes and nothing is kept.

use crate::{
    Odd,
    look::{Glance, Seen},
};
use bytes::Bytes;
use portcullis_domain::Usage;
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{fmt, marker::PhantomData};

/// Looks at one event.
///
/// # Errors
/// [`Odd`].
pub fn look_event(data: &[u8]) -> Result<Seen, Odd> {
    if data == b"[DONE]" {
        return Ok(Seen { done: true, ..Seen::default() });
    }
    let chunk = Chunk::read(data).ok_or(Odd::WrongSchema)?;
    if let Some(error) = chunk.error.filter(|error| error.get() != "null") {
        return Err(Odd::Error(Bytes::copy_from_slice(error.get().as_bytes())));
    }
    let usage = chunk.usage();
    let Counts { choices, finished, text_bytes } = match chunk.choices {
        Some(ref seen) => seen.counts,
        None if usage.is_some() => Counts::default(),
        None => return Err(Odd::WrongSchema),
    };
    Ok(Seen {
        begins: true,
        finished,
        text_bytes,
        usage,
        usage_only: choices == 0 && usage.is_some(),
        done: false,
        blocked: false,
    })
}

/// Looks at a whole answer: at least one choice, each with a message.
#[must_use]
pub fn look_whole(body: &[u8]) -> Option<Glance> {
    let whole = Whole::read(body)?;
    Some(Glance { text_bytes: whole.choices.counts.text_bytes, usage: whole.usage(), blocked: false })
}

/// Looks at vectors: `count` of them in the order of the texts, each a list or a text. Their usage, where it is told.
#[must_use]
pub fn look_vectors(body: &[u8], count: usize) -> Option<Option<Usage>> {
    Vectors::read(body, count).map(|vectors| vectors.usage())
}

/// One chunk of a streamed answer.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Choices<'a, ChunkChoice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl<'a> Chunk<'a> {
    fn read(data: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }

    fn usage(&self) -> Option<Usage> {
        let inside = || self.choices.as_ref().and_then(|choices| choices.usage);
        self.usage.or_else(inside).and_then(usage)
    }
}

/// A whole answer.
#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    choices: Choices<'a, WholeChoice<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

impl<'a> Whole<'a> {
    /// The answer, if it is one: at least one choice, each with a message.
    fn read(body: &'a [u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(body).ok().filter(|whole| whole.choices.counts.choices > 0)
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.or(self.choices.usage).and_then(usage)
    }
}

/// Vectors.
#[derive(Deserialize)]
struct Vectors<'a> {
    #[serde(borrow)]
    data: Vec<Vector<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// One vector, in whichever encoding.
#[derive(Deserialize)]
struct Vector<'a> {
    #[serde(default)]
    index: Option<usize>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

impl<'a> Vectors<'a> {
    /// The vectors, if there are `count` of them in the order of the texts, each a list or a text.
    fn read(body: &'a [u8], count: usize) -> Option<Self> {
        let read: Self = serde_json::from_slice(body).ok()?;
        let sound = |(at, vector): (usize, &Vector<'_>)| {
            vector.index.is_none_or(|index| index == at) && vector.embedding.get().starts_with(['[', '"'])
        };
        (read.data.len() == count && read.data.iter().enumerate().all(sound)).then_some(read)
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.and_then(usage)
    }
}

/// What was counted while passing over the choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// How many there were.
    choices: u32,
    /// How many named a finish reason.
    finished: u32,
    /// Bytes of their texts and tool calls, as JSON.
    text_bytes: u64,
}

/// Choices, folded while they are read: no list is built.
struct Choices<'a, T> {
    counts: Counts,
    usage: Option<&'a RawValue>,
    kind: PhantomData<T>,
}

/// What is read of a choice.
trait Choice<'a> {
    fn text_bytes(&self) -> u64;
    fn finished(&self) -> bool;
    fn usage(&self) -> Option<&'a RawValue>;
}

/// A choice of a chunk.
#[derive(Deserialize)]
struct ChunkChoice<'a> {
    #[serde(borrow, default)]
    delta: Option<Words<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// A choice of a whole answer.
#[derive(Deserialize)]
struct WholeChoice<'a> {
    #[serde(borrow)]
    message: Words<'a>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Words<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
}

impl Words<'_> {
    fn bytes(&self) -> u64 {
        let parts = [self.content, self.reasoning_content, self.tool_calls];
        // Without the quotes.
        parts.into_iter().flatten().map(|part| part.get().len().saturating_sub(2) as u64).sum()
    }
}

impl<'a> Choice<'a> for ChunkChoice<'a> {
    fn text_bytes(&self) -> u64 {
        self.delta.as_ref().map_or(0, Words::bytes)
    }

    fn finished(&self) -> bool {
        self.finish_reason.is_some_and(is_reason)
    }

    fn usage(&self) -> Option<&'a RawValue> {
        self.usage
    }
}

impl<'a> Choice<'a> for WholeChoice<'a> {
    fn text_bytes(&self) -> u64 {
        self.message.bytes()
    }

    fn finished(&self) -> bool {
        self.finish_reason.is_some_and(is_reason)
    }

    fn usage(&self) -> Option<&'a RawValue> {
        None
    }
}

/// Some servers send an empty text where OpenAI sends null.
fn is_reason(value: &RawValue) -> bool {
    value.get().starts_with('"') && value.get().len() > 2
}

impl<'de: 'a, 'a, T: Choice<'a> + Deserialize<'de>> Deserialize<'de> for Choices<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Fold(PhantomData, PhantomData))
    }
}

struct Fold<'a, T>(PhantomData<&'a ()>, PhantomData<T>);

impl<'de: 'a, 'a, T: Choice<'a> + Deserialize<'de>> Visitor<'de> for Fold<'a, T> {
    type Value = Choices<'a, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of choices")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut seen = Choices { counts: Counts::default(), usage: None, kind: PhantomData };
        while let Some(choice) = list.next_element::<T>()? {
            seen.counts.choices += 1;
            seen.counts.finished += u32::from(choice.finished());
            seen.counts.text_bytes += choice.text_bytes();
            seen.usage = choice.usage().or(seen.usage);
        }
        Ok(seen)
    }
}

/// Usage, where it is one: a number that is none is as good as none.
pub(super) fn usage(raw: &RawValue) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Tokens<'a> {
        #[serde(default, deserialize_with = "count")]
        prompt_tokens: Option<u64>,
        #[serde(default, deserialize_with = "count")]
        completion_tokens: Option<u64>,
        #[serde(default, deserialize_with = "count")]
        cached_tokens: Option<u64>,
        #[serde(borrow, default)]
        prompt_tokens_details: Option<&'a RawValue>,
        #[serde(borrow, default)]
        completion_tokens_details: Option<&'a RawValue>,
    }
    #[derive(Default, Deserialize)]
    struct Details {
        #[serde(default, deserialize_with = "count")]
        cached_tokens: Option<u64>,
        #[serde(default, deserialize_with = "count")]
        reasoning_tokens: Option<u64>,
    }
    let details = |raw: Option<&RawValue>| {
        raw.and_then(|raw| serde_json::from_str::<Details>(raw.get()).ok()).unwrap_or_default()
    };
    let read: Tokens<'_> = serde_json::from_str(raw.get()).ok()?;
    let input = read.prompt_tokens?;
    let cached = details(read.prompt_tokens_details).cached_tokens.or(read.cached_tokens);
    let reasoning = details(read.completion_tokens_details).reasoning_tokens;
    Some(Usage {
        input,
        cached: cached.unwrap_or(0).min(input),
        output: read.completion_tokens.unwrap_or(0),
        reasoning: reasoning.unwrap_or(0),
        estimated: false,
    })
}

/// A count that a sane provider could send; anything else is none.
pub(crate) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    struct Lenient;
    impl<'de> Visitor<'de> for Lenient {
        type Value = Option<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a count")
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
            Ok((value <= 1_000_000_000).then_some(value))
        }

        fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    }
    deserializer.deserialize_any(Lenient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_is_known_by_its_choices_and_messages() {
        let sound = br#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;
        let whole = Whole::read(sound).unwrap();
        assert_eq!(whole.choices.counts, Counts { choices: 1, finished: 1, text_bytes: 2 });
        assert_eq!(whole.usage(), Some(Usage { input: 3, output: 1, estimated: false, ..Usage::default() }));
        for wrong in [
            r#"{"choices":[]}"#,
            r#"{"choices":[{"index":0}]}"#,
            r#"{"object":"chat.completion"}"#,
            r#"{"choices":{"message":{}}}"#,
            r#"{"choices":[{"message":"hi"}]}"#,
            "<html>",
            "",
        ] {
            assert!(Whole::read(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn senseless_usage_is_as_good_as_none_and_breaks_nothing() {
        for usage in [
            "null",
            "{}",
            r#"{"prompt_tokens":-1,"completion_tokens":1}"#,
            r#"{"prompt_tokens":1e300}"#,
            r#"{"prompt_tokens":"7"}"#,
            r#"{"prompt_tokens":99999999999}"#,
            r#"{"prompt_tokens":[1]}"#,
            "[]",
            "7",
        ] {
            let body = format!(r#"{{"choices":[{{"message":{{"content":null}}}}],"usage":{usage}}}"#);
            let whole = Whole::read(body.as_bytes()).unwrap();
            assert_eq!(whole.usage(), None, "{usage}");
        }
    }

    #[test]
    fn vectors_are_counted_and_looked_at() {
        let body = br#"{"data":[{"index":0,"embedding":[0.1]},{"index":1,"embedding":"AAAA"}],"usage":{"prompt_tokens":5}}"#;
        assert_eq!(Vectors::read(body, 2).unwrap().usage().map(|usage| usage.input), Some(5));
        assert!(Vectors::read(body, 3).is_none());
        assert!(
            Vectors::read(br#"{"data":[{"index":1,"embedding":[1]},{"index":0,"embedding":[2]}]}"#, 2)
                .is_none()
        );
        assert!(Vectors::read(br#"{"data":[{"embedding":null}]}"#, 1).is_none());
    }
}
