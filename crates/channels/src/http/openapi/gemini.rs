//! The API description of the paths in Google's format. Source: S3-DOC-5; Google's API reference.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{
    IntoResponses, Modify, ToSchema,
    openapi::{OpenApi, security::SecurityRequirement},
};

/// A conversation turn to be answered, in Google's format.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GenerateContentRequest {
    /// The conversation, oldest first.
    #[schema(min_items = 1, max_items = 2048)]
    contents: Vec<GeminiContent>,
    /// Instructions.
    system_instruction: Option<GeminiInstruction>,
    generation_config: Option<GenerationConfig>,
}

/// One content of a conversation.
#[derive(Serialize, Deserialize, ToSchema)]
struct GeminiContent {
    role: GeminiRole,
    #[schema(min_items = 1)]
    parts: Vec<GeminiText>,
}

/// Instructions in Google's format.
#[derive(Serialize, Deserialize, ToSchema)]
struct GeminiInstruction {
    #[schema(min_items = 1)]
    parts: Vec<GeminiText>,
}

/// Who wrote a content.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum GeminiRole {
    User,
    Model,
}

/// A part with words.
#[derive(Serialize, Deserialize, ToSchema)]
struct GeminiText {
    text: String,
}

/// Sampling and bounds.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig {
    #[schema(minimum = 1, maximum = 4_294_967_295_u64)]
    max_output_tokens: Option<u32>,
    #[schema(minimum = 0.0, maximum = 2.0)]
    temperature: Option<f64>,
    #[schema(minimum = 0.0, maximum = 1.0)]
    top_p: Option<f64>,
    #[schema(minimum = 1, maximum = 8)]
    candidate_count: Option<u32>,
}

/// A whole answer in Google's format, or one chunk of it. Members of the provider beyond these are passed on.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GenerateContentResponse {
    candidates: Option<Vec<Value>>,
    prompt_feedback: Option<Value>,
    usage_metadata: Option<Value>,
    model_version: Option<String>,
    response_id: Option<String>,
}

/// One server-sent event of a streamed answer in Google's format (`alt=sse`): `data` is a chunk as JSON text; when the
/// answer breaks off, the last `data` holds a member `error`.
#[derive(Serialize, Deserialize, ToSchema)]
struct GeminiEvent {
    data: Value,
}

/// A conversation to be counted, in Google's format.
#[derive(Serialize, Deserialize, ToSchema)]
struct GeminiCountRequest {
    #[schema(min_items = 1, max_items = 2048)]
    contents: Vec<GeminiContent>,
}

/// Tokens of a conversation, by our estimate.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GeminiCount {
    total_tokens: u64,
}

/// A text to be turned into a vector.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EmbedContentRequest {
    content: GeminiOneText,
    #[schema(minimum = 1, maximum = 65536)]
    output_dimensionality: Option<u32>,
}

/// Texts to be turned into vectors.
#[derive(Serialize, Deserialize, ToSchema)]
struct BatchEmbedRequest {
    #[schema(min_items = 1, max_items = 2048)]
    requests: Vec<BatchedText>,
}

/// One of several texts.
#[derive(Serialize, Deserialize, ToSchema)]
struct BatchedText {
    content: GeminiOneText,
}

/// A content of one text.
#[derive(Serialize, Deserialize, ToSchema)]
struct GeminiOneText {
    #[schema(min_items = 1, max_items = 1)]
    parts: Vec<GeminiFilledText>,
}

/// A part with words.
#[derive(Serialize, Deserialize, ToSchema)]
struct GeminiFilledText {
    #[schema(min_length = 1)]
    text: String,
}

/// A vector.
#[derive(Serialize, Deserialize, ToSchema)]
struct GeminiVector {
    values: Vec<f32>,
}

/// The vector of a text.
#[derive(Serialize, Deserialize, ToSchema)]
struct EmbedContentResponse {
    embedding: GeminiVector,
}

/// The vectors, in the order of the texts.
#[derive(Serialize, Deserialize, ToSchema)]
struct BatchEmbedResponse {
    embeddings: Vec<GeminiVector>,
}

/// The models this key may use, in Google's shape.
#[derive(Serialize, Deserialize, ToSchema)]
struct GeminiModels {
    models: Vec<GeminiModel>,
}

/// One model or route, in Google's shape.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GeminiModel {
    name: String,
    display_name: String,
    supported_generation_methods: Vec<String>,
    input_token_limit: Option<u64>,
    output_token_limit: Option<u64>,
}

/// Every error of the paths in Google's format.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct GeminiError {
    error: GeminiErrorBody,
}

/// What went wrong, in Google's format.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct GeminiErrorBody {
    code: u16,
    message: String,
    status: String,
    details: Vec<Value>,
}

/// What any governed path in Google's format may answer instead.
#[derive(IntoResponses)]
enum GeminiErrors {
    /// The request is wrong.
    #[response(status = 400)]
    Invalid(GeminiError),
    /// Key or token missing or not accepted.
    #[response(status = 401)]
    Unauthenticated(GeminiError),
    /// The key lacks a scope.
    #[response(status = 403)]
    Forbidden(GeminiError),
    /// No such model or path.
    #[response(status = 404)]
    NotFound(GeminiError),
    /// Wrong method.
    #[response(status = 405)]
    Method(GeminiError),
    /// The body came too slowly.
    #[response(status = 408)]
    Slow(GeminiError),
    /// In conflict with another request.
    #[response(status = 409)]
    Conflict(GeminiError),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(GeminiError),
    /// Not JSON, or an unknown coding.
    #[response(status = 415)]
    Media(GeminiError),
    /// The message looks like an attack and is not sent on. If it is meant, send it again unchanged with the header
    /// `x-portcullis-confirm` that this answer has; it is good once and for the time that the sentence names.
    #[response(status = 428)]
    Unconfirmed(GeminiError),
    /// A limit refused; `Retry-After` says when to try again.
    #[response(status = 429)]
    Limited(GeminiError),
    /// Our mistake, with an incident id.
    #[response(status = 500)]
    Internal(GeminiError),
    /// The answer broke off.
    #[response(status = 502)]
    Broken(GeminiError),
    /// No room, or no AI available; `Retry-After` is set.
    #[response(status = 503)]
    Unavailable(GeminiError),
    /// No answer before the deadline.
    #[response(status = 504)]
    Late(GeminiError),
}

/// Answer a conversation in Google's format.
#[utoipa::path(post, path = "/v1beta/models/{model}:generateContent", operation_id = "gemini_generate", tag = "gateway",
    request_body = GenerateContentRequest,
    params(("model" = String, Path, description = "A route, a model listed by one provider, or `provider/model`")),
    responses((status = 200, description = "The answer", body = GenerateContentResponse), GeminiErrors))]
pub(super) const fn generate() {}

/// Answer a conversation in Google's format as it is written: events with `alt=sse`, else one JSON array.
#[utoipa::path(post, path = "/v1beta/models/{model}:streamGenerateContent", operation_id = "gemini_stream", tag = "gateway",
    request_body = GenerateContentRequest,
    params(("model" = String, Path, description = "As for generateContent"),
        ("alt" = Option<String>, Query, description = "`sse` for server-sent events")),
    responses((status = 200, description = "The answer", content(
        (Vec<GenerateContentResponse> = "application/json"), (GeminiEvent = "text/event-stream"))), GeminiErrors))]
pub(super) const fn stream() {}

/// Estimate how many tokens a conversation in Google's format would be to read.
#[utoipa::path(post, path = "/v1beta/models/{model}:countTokens", operation_id = "gemini_count", tag = "gateway", request_body = GeminiCountRequest,
    params(("model" = String, Path, description = "As for generateContent")),
    responses((status = 200, description = "The count", body = GeminiCount), GeminiErrors))]
pub(super) const fn count() {}

/// Turn a text into a vector, in Google's format.
#[utoipa::path(post, path = "/v1beta/models/{model}:embedContent", operation_id = "gemini_embed", tag = "gateway", request_body = EmbedContentRequest,
    params(("model" = String, Path, description = "As for generateContent")),
    responses((status = 200, description = "The vector", body = EmbedContentResponse), GeminiErrors))]
pub(super) const fn embed() {}

/// Turn texts into vectors, in Google's format.
#[utoipa::path(post, path = "/v1beta/models/{model}:batchEmbedContents", operation_id = "gemini_batch", tag = "gateway",
    request_body = BatchEmbedRequest,
    params(("model" = String, Path, description = "As for generateContent")),
    responses((status = 200, description = "The vectors, in order", body = BatchEmbedResponse), GeminiErrors))]
pub(super) const fn batch() {}

/// List the routes and models this key may use, in Google's shape.
#[utoipa::path(get, path = "/v1beta/models", operation_id = "gemini_models", tag = "gateway",
    responses((status = 200, description = "The list", body = GeminiModels), GeminiErrors))]
pub(super) const fn models() {}

/// Describe one route or model, in Google's shape.
#[utoipa::path(get, path = "/v1beta/models/{id}", operation_id = "gemini_model", tag = "gateway",
    params(("id" = String, Path, description = "Name of a route or model; may hold slashes")),
    responses((status = 200, description = "The model", body = GeminiModel), GeminiErrors))]
pub(super) const fn model() {}

/// The verbs are offered below `/v1` as well; every path of this format takes Google's own header.
pub(super) struct Both;

impl Modify for Both {
    fn modify(&self, document: &mut OpenApi) {
        for (path, item) in &mut document.paths.paths {
            if path.starts_with("/v1beta") {
                for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                    let ways = ["bearer", "x_api_key", "x_goog_api_key"];
                    let ways = ways.map(|way| SecurityRequirement::new(way, Vec::<String>::new()));
                    operation.security = Some(ways.into());
                }
            }
        }
        let verbs = document.paths.paths.iter().filter(|(path, _)| path.contains("{model}:"));
        let stable = verbs.filter_map(|(path, item)| {
            let mut item = item.clone();
            for operation in [&mut item.post].into_iter().flatten() {
                operation.operation_id = operation.operation_id.take().map(|id| format!("{id}_v1"));
            }
            Some((path.strip_prefix("/v1beta").map(|rest| format!("/v1{rest}"))?, item))
        });
        let stable: Vec<_> = stable.collect();
        document.paths.paths.extend(stable);
    }
}
