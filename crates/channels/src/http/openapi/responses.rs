//! The API description of OpenAI's responses. Source: S3-DOC-5; OpenAI's API reference.

use super::GatewayErrors;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A conversation turn to be answered, in OpenAI's newer format. Nothing is stored: members that refer to something
/// stored, and built-in tools, are refused.
#[derive(Serialize, Deserialize, ToSchema)]
struct ResponsesRequest {
    /// A route, a model listed by one provider, or `provider/model` for keys with scope `pin`.
    #[schema(min_length = 1, max_length = 128, example = "default")]
    model: String,
    /// What the user says; an array of items is taken too.
    input: String,
    /// Instructions.
    instructions: Option<String>,
    /// Whether the answer comes as server-sent events.
    stream: Option<bool>,
    /// Answered `false`, whatever is asked.
    store: Option<bool>,
    #[schema(minimum = 1, maximum = 4_294_967_295_u64)]
    max_output_tokens: Option<u32>,
    #[schema(minimum = 0.0, maximum = 2.0)]
    temperature: Option<f64>,
    #[schema(minimum = 0.0, maximum = 1.0)]
    top_p: Option<f64>,
}

/// A whole answer in OpenAI's newer format; it repeats members of the request.
#[derive(Serialize, Deserialize, ToSchema)]
struct ResponsesAnswer {
    id: String,
    object: String,
    created_at: f64,
    status: String,
    model: String,
    output: Vec<Value>,
    usage: Option<Value>,
}

/// One server-sent event of a streamed answer in OpenAI's newer format, named by the `type` of its data; when the answer
/// breaks off, the last one is `error` and no `response.completed` follows.
#[derive(Serialize, Deserialize, ToSchema)]
struct ResponsesEvent {
    event: String,
    data: Value,
}

/// Answer a conversation in OpenAI's newer format, whole or as server-sent events.
#[utoipa::path(post, path = "/v1/responses", tag = "gateway", request_body = ResponsesRequest,
    responses((status = 200, description = "The answer",
        content((ResponsesAnswer = "application/json"), (ResponsesEvent = "text/event-stream"))), GatewayErrors))]
pub(super) const fn responses() {}
