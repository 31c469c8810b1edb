//! The API description of the paths in Anthropic's format. Source: S3-DOC-5; Anthropic's API reference.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};

/// A conversation turn to be answered, in Anthropic's format.
#[derive(Serialize, Deserialize, ToSchema)]
struct MessagesRequest {
    /// A route, a model listed by one provider, or `provider/model` for keys with scope `pin`.
    #[schema(min_length = 1, max_length = 128, example = "default")]
    model: String,
    /// The conversation, oldest first.
    #[schema(min_items = 1, max_items = 2048)]
    messages: Vec<AnthropicMessage>,
    /// Most tokens to write.
    #[schema(minimum = 1, maximum = 4_294_967_295_u64)]
    max_tokens: u32,
    /// Instructions.
    system: Option<String>,
    /// Whether the answer comes as server-sent events.
    stream: Option<bool>,
    #[schema(minimum = 0.0, maximum = 1.0)]
    temperature: Option<f64>,
    #[schema(minimum = 0.0, maximum = 1.0)]
    top_p: Option<f64>,
}

/// A conversation to be counted, in Anthropic's format.
#[derive(Serialize, Deserialize, ToSchema)]
struct CountTokensRequest {
    #[schema(min_length = 1, max_length = 128, example = "default")]
    model: String,
    #[schema(min_items = 1, max_items = 2048)]
    messages: Vec<AnthropicMessage>,
    system: Option<String>,
}

/// One message of a conversation in Anthropic's format.
#[derive(Serialize, Deserialize, ToSchema)]
struct AnthropicMessage {
    role: AnthropicRole,
    /// The text.
    content: String,
}

/// Who wrote a message in Anthropic's format.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AnthropicRole {
    User,
    Assistant,
}

/// A whole answer in Anthropic's format. Members of the provider beyond these are passed on.
#[derive(Serialize, Deserialize, ToSchema)]
struct AnthropicAnswer {
    id: String,
    r#type: String,
    role: String,
    model: String,
    content: Vec<Value>,
    stop_reason: Option<String>,
    usage: Value,
}

/// One server-sent event of a streamed answer in Anthropic's format, named by the `type` of its data; when the answer
/// breaks off, the last one is `error` and no `message_stop` follows.
#[derive(Serialize, Deserialize, ToSchema)]
struct AnthropicEvent {
    event: String,
    data: Value,
}

/// Tokens of a conversation, by our estimate.
#[derive(Serialize, Deserialize, ToSchema)]
struct TokenCount {
    input_tokens: u64,
}

/// Every error of the paths in Anthropic's format.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct AnthropicError {
    r#type: String,
    error: AnthropicErrorBody,
    request_id: Option<String>,
}

/// What went wrong, in Anthropic's format.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct AnthropicErrorBody {
    r#type: String,
    message: String,
}

/// What any governed path in Anthropic's format may answer instead.
#[derive(IntoResponses)]
enum AnthropicErrors {
    /// The request is wrong.
    #[response(status = 400)]
    Invalid(AnthropicError),
    /// Key or token missing or not accepted.
    #[response(status = 401)]
    Unauthenticated(AnthropicError),
    /// The key lacks a scope.
    #[response(status = 403)]
    Forbidden(AnthropicError),
    /// No such model or path.
    #[response(status = 404)]
    NotFound(AnthropicError),
    /// Wrong method.
    #[response(status = 405)]
    Method(AnthropicError),
    /// The body came too slowly.
    #[response(status = 408)]
    Slow(AnthropicError),
    /// In conflict with another request.
    #[response(status = 409)]
    Conflict(AnthropicError),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(AnthropicError),
    /// Not JSON, or an unknown coding.
    #[response(status = 415)]
    Media(AnthropicError),
    /// The message looks like an attack and is not sent on. If it is meant, send it again unchanged with the header
    /// `x-portcullis-confirm` that this answer has; it is good once and for the time that the sentence names.
    #[response(status = 428)]
    Unconfirmed(AnthropicError),
    /// A limit refused; `Retry-After` says when to try again.
    #[response(status = 429)]
    Limited(AnthropicError),
    /// Our mistake, with an incident id.
    #[response(status = 500)]
    Internal(AnthropicError),
    /// The answer broke off.
    #[response(status = 502)]
    Broken(AnthropicError),
    /// No answer before the deadline.
    #[response(status = 504)]
    Late(AnthropicError),
    /// No room, or no AI available; `Retry-After` is set.
    #[response(status = 529)]
    Overloaded(AnthropicError),
}

/// Answer a conversation in Anthropic's format, whole or as server-sent events.
#[utoipa::path(post, path = "/v1/messages", tag = "gateway", request_body = MessagesRequest,
    responses((status = 200, description = "The answer",
        content((AnthropicAnswer = "application/json"), (AnthropicEvent = "text/event-stream"))), AnthropicErrors))]
pub(super) const fn messages() {}

/// Estimate how many tokens a conversation in Anthropic's format would be to read.
#[utoipa::path(post, path = "/v1/messages/count_tokens", tag = "gateway", request_body = CountTokensRequest,
    responses((status = 200, description = "The count", body = TokenCount), AnthropicErrors))]
pub(super) const fn count_tokens() {}
