//! OpenAI's chat completions and embeddings: what most of the field speaks.

mod answer;
mod embed;
mod look;
mod request;
mod stream;

pub use answer::{read_answer, write_answer};
pub use embed::{read_vectors, write_embed, write_vectors};
pub use look::{look_event, look_vectors, look_whole};
pub(crate) use request::{image, image_url};
pub use request::{read_request, write_request};
pub use stream::{Reader, Writer};

use look::usage;
use portcullis_domain::{Member, Usage};
use serde_json::{Value, json};

/// What a member is called here.
#[must_use]
pub const fn member_name(member: Member) -> &'static str {
    match member {
        Member::ImageUrl => "messages.content.image_url",
        Member::Reasoning => "messages.reasoning_content",
        Member::ParallelTools => "parallel_tool_calls",
        Member::ToolChoice => "tool_choice",
        Member::Strict => "strict",
        Member::Shape => "response_format",
        Member::Temperature => "temperature",
        Member::TopP => "top_p",
        Member::TopK => "top_k",
        Member::Seed => "seed",
        Member::PresencePenalty => "presence_penalty",
        Member::FrequencyPenalty => "frequency_penalty",
        Member::N => "n",
        Member::Logprobs => "logprobs",
        Member::Stop => "stop",
        Member::Effort => "reasoning_effort",
        Member::User => "user",
    }
}

fn written_usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    })
}

#[cfg(test)]
mod tests;
