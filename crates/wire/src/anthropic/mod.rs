//! Anthropic's messages (`anthropic-version: 2023-06-01`). Source: Anthropic's API reference, "Messages".
//!
//! Invariant: a thought leaves only with the signature by which its maker knows it again. Redacted thoughts have no
//! words: the form keeps them as a signature that begins with [`REDACTED`].

mod answer;
mod look;
mod model;
mod request;
mod stream;
mod write;

pub use answer::{read_answer, write_answer};
pub use look::{look_event, look_whole};
pub use request::read_request;
pub use stream::{Reader, Writer};
pub use write::write_request;

use portcullis_domain::{Finish, Member, Usage};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

/// How a redacted thought is told from a signed one.
const REDACTED: &str = "redacted_thinking:";

/// A count beyond this is none that a sane provider could send.
const MOST_TOKENS: u64 = 1_000_000_000;

/// What a member is called here.
#[must_use]
pub const fn member_name(member: Member) -> &'static str {
    match member {
        Member::ImageUrl => "messages.content.source",
        Member::Reasoning => "messages.content.thinking",
        Member::ParallelTools => "tool_choice.disable_parallel_tool_use",
        Member::ToolChoice => "tool_choice",
        Member::Strict => "tools.strict",
        Member::Shape => "output_config.format",
        Member::Temperature => "temperature",
        Member::TopP => "top_p",
        Member::TopK => "top_k",
        Member::Seed => "seed",
        Member::PresencePenalty => "presence_penalty",
        Member::FrequencyPenalty => "frequency_penalty",
        Member::N => "n",
        Member::Logprobs => "logprobs",
        Member::Stop => "stop_sequences",
        Member::Effort => "thinking",
        Member::User => "metadata.user_id",
    }
}

/// Usage, where it is one. Tokens written to a cache and read from it are told beside those that were neither; the last
/// event of a stream may tell the output alone.
fn usage(raw: &RawValue) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Tokens {
        input_tokens: Option<u64>,
        cache_creation_input_tokens: Option<u64>,
        cache_read_input_tokens: Option<u64>,
        output_tokens: Option<u64>,
        output_tokens_details: Option<Details>,
    }
    #[derive(Deserialize)]
    struct Details {
        thinking_tokens: Option<u64>,
    }
    let told: Tokens = serde_json::from_str(raw.get()).ok()?;
    told.input_tokens.or(told.output_tokens)?;
    let counts = [told.input_tokens, told.cache_creation_input_tokens, told.cache_read_input_tokens];
    let known = || counts.into_iter().chain([told.output_tokens]).flatten();
    if known().any(|count| count > MOST_TOKENS) {
        return None;
    }
    let output = told.output_tokens.unwrap_or(0);
    let reasoning = told.output_tokens_details.and_then(|details| details.thinking_tokens);
    Some(Usage {
        input: counts.into_iter().flatten().sum(),
        cached: told.cache_read_input_tokens.unwrap_or(0),
        output,
        reasoning: reasoning.unwrap_or(0).min(output),
        estimated: false,
    })
}

fn written_usage(usage: Option<Usage>) -> Value {
    let usage = usage.unwrap_or_default();
    let mut out = json!({
        "input_tokens": usage.input.saturating_sub(usage.cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
    });
    if usage.reasoning > 0 {
        out["output_tokens_details"] = json!({"thinking_tokens": usage.reasoning});
    }
    out
}

/// A reason as the form knows it; what is unknown has ended all the same.
fn finish(reason: &str, stopped_at: Option<String>) -> Finish {
    match reason {
        "stop_sequence" => stopped_at.map_or(Finish::Stop, Finish::StopText),
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::ContentFilter,
        _ => Finish::Stop,
    }
}

/// The reason and the stop text. A model that was to stop with calls open wants them answered.
fn reason(finish: &Finish, calls: bool, refused: bool) -> (&'static str, Option<&str>) {
    match finish {
        Finish::Stop if refused => ("refusal", None),
        Finish::Stop if calls => ("tool_use", None),
        Finish::Stop => ("end_turn", None),
        Finish::StopText(text) => ("stop_sequence", Some(text)),
        Finish::Length => ("max_tokens", None),
        Finish::ToolCalls => ("tool_use", None),
        Finish::ContentFilter => ("refusal", None),
    }
}

/// Arguments as this format wants them: an object. What the model broke is kept as a text in one.
fn input(arguments: &str) -> Value {
    if arguments.trim().is_empty() {
        return json!({});
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(object)) => Value::Object(object),
        Ok(_) | Err(_) => json!({"arguments": arguments}),
    }
}

/// An id as this format takes it.
fn plain_id(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests;
