//! OpenAI's responses: the stateless subset of gateway.md section 8. Nothing is stored, so whatever refers to something
//! stored is refused.

mod answer;
mod item;
mod look;
mod offer;
mod read;
mod request;
mod write;

pub use answer::{read_answer, write_answer};
pub use look::{look_event, look_whole};
pub use offer::{NOT_OFFERED, check_offered, refused_content, refused_item, refused_tool};
pub use read::Reader;
pub use request::{read_request, write_request};
pub use write::Writer;

use portcullis_domain::{Member, Usage};
use serde_json::{Value, json};

/// What a member is called here. Some have no name here, because the format cannot say them: then it is chat's.
#[must_use]
pub const fn member_name(member: Member) -> &'static str {
    match member {
        Member::ImageUrl => "input.content.image_url",
        Member::Reasoning => "input.reasoning",
        Member::ParallelTools => "parallel_tool_calls",
        Member::ToolChoice => "tool_choice",
        Member::Strict => "strict",
        Member::Shape => "text.format",
        Member::Temperature => "temperature",
        Member::TopP => "top_p",
        Member::TopK => "top_k",
        Member::Seed => "seed",
        Member::PresencePenalty => "presence_penalty",
        Member::FrequencyPenalty => "frequency_penalty",
        Member::N => "n",
        Member::Logprobs => "top_logprobs",
        Member::Stop => "stop",
        Member::Effort => "reasoning.effort",
        Member::User => "user",
    }
}

fn written_usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    })
}

#[cfg(test)]
mod tests;
