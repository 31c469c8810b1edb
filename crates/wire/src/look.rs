//! A glance at a provider's bytes that pass unchanged: enough to know that an answer is one, that it has ended, and
//! what it cost. Everything is borrowed from the bytes and nothing is kept.

use crate::{Odd, anthropic, gemini, openai, responses};
use portcullis_domain::{Format, Usage};

/// Bytes of JSON text that make about one token; on the low side, so that an estimate is on the high side.
const BYTES_A_TOKEN: u64 = 4;

/// Tokens of so many bytes of text, estimated.
#[must_use]
pub const fn tokens_of(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_A_TOKEN)
}

/// What is known of the usage after an event that told `now`. Counts of a stream only grow, and a later event may leave
/// out what an earlier one told.
#[must_use]
pub fn later(before: Option<Usage>, now: Option<Usage>) -> Option<Usage> {
    let (Some(before), Some(now)) = (before, now) else { return now.or(before) };
    Some(Usage {
        input: before.input.max(now.input),
        cached: before.cached.max(now.cached),
        output: before.output.max(now.output),
        reasoning: before.reasoning.max(now.reasoning),
        estimated: before.estimated && now.estimated,
    })
}

/// What one event of a stream showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether it belongs to the answer at all; pings and the like do not.
    pub begins: bool,
    /// Answers that ended with it.
    pub finished: u32,
    /// Bytes of words and tool calls in it, as JSON.
    pub text_bytes: u64,
    /// What the provider says it cost; the last one told counts.
    pub usage: Option<Usage>,
    /// Whether it holds nothing but usage.
    pub usage_only: bool,
    /// Whether nothing may follow.
    pub done: bool,
    /// Whether the provider's filter refused the prompt, so that there will be no answer.
    pub blocked: bool,
}

/// What a whole answer showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// Bytes of words and tool calls in it, as JSON.
    pub text_bytes: u64,
    /// What the provider says it cost.
    pub usage: Option<Usage>,
    /// Whether the provider's filter refused the prompt, so that there is no answer.
    pub blocked: bool,
}

/// Looks at the data of one event of a stream.
///
/// # Errors
/// [`Odd`].
pub fn event(format: Format, data: &[u8]) -> Result<Seen, Odd> {
    match format {
        Format::OpenAi => openai::look_event(data),
        Format::Responses => responses::look_event(data),
        Format::Anthropic => anthropic::look_event(data),
        Format::Gemini => gemini::look_event(data),
    }
}

/// Looks at a whole answer; none when it is no answer of that format.
#[must_use]
pub fn whole(format: Format, body: &[u8]) -> Option<Glance> {
    match format {
        Format::OpenAi => openai::look_whole(body),
        Format::Responses => responses::look_whole(body),
        Format::Anthropic => anthropic::look_whole(body),
        Format::Gemini => gemini::look_whole(body),
    }
}
