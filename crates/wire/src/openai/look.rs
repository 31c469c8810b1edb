//! The little of OpenAI's answers that is read of bytes that pass: enough to know that an answer is one, that it has ended, and what it
//! cost. Everything is borrowed from the bytes and nothing is kept.

use crate::{
    Odd,
    lenient::{self, Length, UsageNames, usage_of},
    look::{Glance, Seen},
    walk::Walk,
};
use bytes::Bytes;
use portcullis_domain::Usage;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
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
    if let Some(seen) = walked_event(data) {
        return Ok(seen);
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
    if let Some(glance) = walked_whole(body) {
        return Some(glance);
    }
    let whole = Whole::read(body)?;
    Some(Glance { text_bytes: whole.choices.counts.text_bytes, usage: whole.usage, blocked: false })
}

/// Looks at vectors: `count` of them in the order of the texts, each a list or a text. Their usage, where it is told.
#[must_use]
pub fn look_vectors(body: &[u8], count: usize) -> Option<Option<Usage>> {
    Vectors::read(body, count).map(|vectors| vectors.usage)
}

/// Deepest nesting of what is walked.
const DEPTH: usize = 32;

/// An event as providers usually send it; none where the parser has to say what it is.
fn walked_event(data: &[u8]) -> Option<Seen> {
    let mut walk = Walk::over(data, DEPTH)?;
    let (mut seen, mut usage, mut counts) = (Members::default(), None, Counts::default());
    walk.object(|walk, name| match name {
        "choices" => {
            seen.first(0)?;
            walk.list(|walk| choice(walk, "delta", &mut counts))
        }
        "usage" => {
            seen.first(1)?;
            usage = lenient::walked(walk, &USAGE)?;
            Some(())
        }
        // Whatever it holds, it is the parser's.
        "error" => None,
        _ => walk.value().map(drop),
    })?;
    walk.end()?;
    let Counts { choices, finished, text_bytes } = counts;
    let usage_only = choices == 0 && usage.is_some();
    let seen = Seen { begins: true, finished, text_bytes, usage, usage_only, done: false, blocked: false };
    (choices > 0 || usage_only).then_some(seen)
}

/// A whole answer, likewise.
fn walked_whole(body: &[u8]) -> Option<Glance> {
    let mut walk = Walk::over(body, DEPTH)?;
    let (mut seen, mut usage, mut counts) = (Members::default(), None, Counts::default());
    walk.object(|walk, name| match name {
        "choices" => {
            seen.first(0)?;
            walk.list(|walk| choice(walk, "message", &mut counts))
        }
        "usage" => {
            seen.first(1)?;
            usage = lenient::walked(walk, &USAGE)?;
            Some(())
        }
        _ => walk.value().map(drop),
    })?;
    walk.end()?;
    let Counts { choices, text_bytes, .. } = counts;
    (choices > 0).then_some(Glance { text_bytes, usage, blocked: false })
}

/// Which members were there: one that comes twice is the parser's.
#[derive(Default)]
struct Members(u8);

impl Members {
    fn first(&mut self, number: u8) -> Option<()> {
        let before = self.0;
        self.0 |= 1 << number;
        (before != self.0).then_some(())
    }

    const fn has(&self, number: u8) -> bool {
        self.0 & 1 << number != 0
    }
}

/// A choice with its words in that member.
fn choice(walk: &mut Walk<'_>, words: &str, counts: &mut Counts) -> Option<()> {
    let mut seen = Members::default();
    counts.choices += 1;
    walk.object(|walk, name| match name {
        "finish_reason" => {
            seen.first(0)?;
            counts.finished += u32::from(length(walk)? > 0);
            Some(())
        }
        "usage" => None,
        name if name == words => {
            seen.first(1)?;
            let mut seen = Members::default();
            walk.object(|walk, name| {
                let number = match name {
                    "content" => 0,
                    "reasoning_content" => 1,
                    "tool_calls" => 2,
                    _ => return walk.value().map(drop),
                };
                seen.first(number)?;
                counts.text_bytes += length(walk)?;
                Some(())
            })
        }
        _ => walk.value().map(drop),
    })?;
    seen.has(1).then_some(())
}

/// Bytes of words that are one text or none.
fn length(walk: &mut Walk<'_>) -> Option<u64> {
    if walk.null()? { Some(0) } else { walk.string()?.said() }
}

/// One chunk of a streamed answer.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default)]
    choices: Option<Choices<ChunkChoice>>,
    #[serde(default, deserialize_with = "told")]
    usage: Option<Usage>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl<'a> Chunk<'a> {
    fn read(data: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.or_else(|| self.choices.as_ref().and_then(|choices| choices.usage))
    }
}

/// A whole answer.
#[derive(Deserialize)]
struct Whole {
    choices: Choices<WholeChoice>,
    #[serde(default, deserialize_with = "told")]
    usage: Option<Usage>,
}

impl Whole {
    /// The answer, if it is one: at least one choice, each with a message.
    fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(body).ok().filter(|whole| whole.choices.counts.choices > 0)
    }
}

/// Vectors.
#[derive(Deserialize)]
struct Vectors<'a> {
    #[serde(borrow)]
    data: Vec<Vector<'a>>,
    #[serde(default, deserialize_with = "told")]
    usage: Option<Usage>,
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
}

/// What was counted while passing over the choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// How many there were.
    choices: u32,
    /// How many named a finish reason.
    finished: u32,
    /// Bytes of their texts and tool calls.
    text_bytes: u64,
}

/// Choices, folded while they are read: no list is built.
struct Choices<T> {
    counts: Counts,
    usage: Option<Usage>,
    kind: PhantomData<T>,
}

/// What is read of a choice.
trait Choice {
    fn words(&self) -> Words;
    /// Some servers send an empty text where OpenAI sends null.
    fn finished(&self) -> bool;
    fn usage(&self) -> Option<Usage>;
}

/// A choice of a chunk.
#[derive(Deserialize)]
struct ChunkChoice {
    #[serde(default)]
    delta: Option<Words>,
    #[serde(default)]
    finish_reason: Length,
    #[serde(default, deserialize_with = "told")]
    usage: Option<Usage>,
}

/// A choice of a whole answer.
#[derive(Deserialize)]
struct WholeChoice {
    message: Words,
    #[serde(default)]
    finish_reason: Length,
}

/// What is said, and in which member.
#[derive(Clone, Copy, Default, Deserialize)]
struct Words {
    #[serde(default)]
    content: Length,
    #[serde(default)]
    reasoning_content: Length,
    #[serde(default)]
    tool_calls: Length,
}

impl Choice for ChunkChoice {
    fn words(&self) -> Words {
        self.delta.unwrap_or_default()
    }

    fn finished(&self) -> bool {
        self.finish_reason.0 > 0
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl Choice for WholeChoice {
    fn words(&self) -> Words {
        self.message
    }

    fn finished(&self) -> bool {
        self.finish_reason.0 > 0
    }

    fn usage(&self) -> Option<Usage> {
        None
    }
}

impl<'de, T: Choice + Deserialize<'de>> Deserialize<'de> for Choices<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Fold(PhantomData))
    }
}

struct Fold<T>(PhantomData<T>);

impl<'de, T: Choice + Deserialize<'de>> Visitor<'de> for Fold<T> {
    type Value = Choices<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of choices")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut seen = Choices { counts: Counts::default(), usage: None, kind: PhantomData };
        while let Some(choice) = list.next_element::<T>()? {
            seen.counts.choices += 1;
            seen.counts.finished += u32::from(choice.finished());
            let Words { content, reasoning_content, tool_calls } = choice.words();
            seen.counts.text_bytes += content.0 + reasoning_content.0 + tool_calls.0;
            seen.usage = choice.usage().or(seen.usage);
        }
        Ok(seen)
    }
}

/// What usage is called here.
static USAGE: UsageNames = UsageNames {
    input: "prompt_tokens",
    input_details: "prompt_tokens_details",
    output: "completion_tokens",
    output_details: "completion_tokens_details",
};

/// Usage, where it is one: a number that is none is as good as none.
pub(super) fn usage(raw: &RawValue) -> Option<Usage> {
    usage_of(raw, &USAGE)
}

/// The same while an answer is parsed.
fn told<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Usage>, D::Error> {
    lenient::usage(deserializer, &USAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_is_known_by_its_choices_and_messages() {
        let sound = br#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;
        let whole = Whole::read(sound).unwrap();
        assert_eq!(whole.choices.counts, Counts { choices: 1, finished: 1, text_bytes: 2 });
        assert_eq!(whole.usage, Some(Usage { input: 3, output: 1, estimated: false, ..Usage::default() }));
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
    fn what_is_walked_is_what_the_parser_reads() {
        let members = [
            r#""choices":[]"#,
            r#""choices":[{"index":0,"message":{"role":"assistant","content":"a\nb\u00e9"},"delta":{"content":"x"},"finish_reason":"stop"}]"#,
            r#""choices":[{"message":{"content":null,"tool_calls":[{"x":"yz"}]},"delta":{},"finish_reason":null},{"delta":{"content":"b"},"message":{}}]"#,
            r#""choices":[{"delta":null,"message":null}]"#,
            r#""choices":null"#,
            r#""choices":[{"finish_reason":""}]"#,
            r#""choices":[{"delta":{"content":"\ud800"},"message":{"content":"\ud800"}}]"#,
            r#""usage":{"prompt_tokens":24,"completion_tokens":13,"prompt_tokens_details":{"cached_tokens":5,"audio":null},"completion_tokens_details":null,"cached_tokens":9}"#,
            r#""usage":{"prompt_tokens":24.5}"#,
            r#""usage":null"#,
            r#""error":null"#,
            r#""error":{"message":"x"}"#,
            r#""other":[1,{"a":[]}]"#,
            r#""other":01"#,
        ];
        let mut walked = 0;
        for first in members {
            for second in members {
                for third in members {
                    let body = format!("{{{first},{second}, {third}}}");
                    let parsed = Whole::read(body.as_bytes())
                        .map(|whole| (whole.choices.counts.text_bytes, whole.usage));
                    let seen = walked_whole(body.as_bytes()).map(|glance| (glance.text_bytes, glance.usage));
                    assert!(seen.is_none() || seen == parsed, "{body}: {seen:?}, {parsed:?}");
                    if let Some(event) = walked_event(body.as_bytes()) {
                        let chunk = Chunk::read(body.as_bytes()).unwrap();
                        let counts =
                            chunk.choices.as_ref().map_or(Counts::default(), |choices| choices.counts);
                        assert_eq!(
                            (event.finished, event.text_bytes),
                            (counts.finished, counts.text_bytes),
                            "{body}"
                        );
                        assert_eq!((event.usage, chunk.error.is_none()), (chunk.usage(), true), "{body}");
                        assert_eq!(event.usage_only, counts.choices == 0, "{body}");
                    }
                    walked += usize::from(seen.is_some());
                }
            }
        }
        assert!(walked > 10, "{walked}");
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
            assert_eq!(whole.usage, None, "{usage}");
        }
    }

    #[test]
    fn vectors_are_counted_and_looked_at() {
        let body = br#"{"data":[{"index":0,"embedding":[0.1]},{"index":1,"embedding":"AAAA"}],"usage":{"prompt_tokens":5}}"#;
        assert_eq!(Vectors::read(body, 2).unwrap().usage.map(|usage| usage.input), Some(5));
        assert!(Vectors::read(body, 3).is_none());
        assert!(
            Vectors::read(br#"{"data":[{"index":1,"embedding":[1]},{"index":0,"embedding":[2]}]}"#, 2)
                .is_none()
        );
        assert!(Vectors::read(br#"{"data":[{"embedding":null}]}"#, 1).is_none());
    }
}
