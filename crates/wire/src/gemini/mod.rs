//! Google's `generateContent`, `streamGenerateContent` and `batchEmbedContents` (Generative Language API, v1beta).
//!
//! Invariants: what a caller writes in snake case is understood like camel case, as Google does; a call without an id
//! gets one that is the same whenever the same turn is read. Source: the API reference, "Generating content" and
//! "Embeddings"; the documents "Function calling", "Thinking" and "Thought signatures".

mod answer;
mod embed;
mod ids;
mod logprobs;
mod look;
mod request;
mod schema;
mod stream;
#[cfg(test)]
mod tests;
mod write;

pub use answer::{read_answer, write_answer};
pub use embed::{read_vectors, redirect_embed, unheld_of_embed, write_embed, write_vectors};
pub use look::{look_event, look_whole};
pub use request::read_request;
pub use stream::{Reader, Writer};
pub use write::write_request;

use portcullis_domain::Member;

/// What a member is called here.
#[must_use]
pub const fn member_name(member: Member) -> &'static str {
    match member {
        Member::ImageUrl => "contents.parts.fileData",
        Member::Reasoning => "contents.parts.thought",
        // What Google always allows, it has no word for.
        Member::ParallelTools => "toolConfig",
        Member::ToolChoice => "toolConfig.functionCallingConfig",
        Member::Strict => "tools.functionDeclarations",
        Member::Shape => "generationConfig.responseMimeType",
        Member::Temperature => "generationConfig.temperature",
        Member::TopP => "generationConfig.topP",
        Member::TopK => "generationConfig.topK",
        Member::Seed => "generationConfig.seed",
        Member::PresencePenalty => "generationConfig.presencePenalty",
        Member::FrequencyPenalty => "generationConfig.frequencyPenalty",
        Member::N => "generationConfig.candidateCount",
        Member::Logprobs => "generationConfig.responseLogprobs",
        Member::Stop => "generationConfig.stopSequences",
        Member::Effort => "generationConfig.thinkingConfig",
        Member::User => "labels",
    }
}
