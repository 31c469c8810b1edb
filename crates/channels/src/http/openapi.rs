//! The API description, generated from these types. The types are documentation: requests are decoded from the
//! borrowed bytes by `openai::decode`, answers pass through byte for byte. A test compares the paths with the route
//! table in both directions, so that neither can drift. Source: S3-DOC-5.

#![allow(dead_code, reason = "the types exist for their schema")]

mod anthropic;
mod gemini;
mod library;
mod news;
mod responses;

use gemini::Both;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{
    IntoResponses, Modify, OpenApi, ToSchema,
    openapi::{
        ArrayBuilder, ObjectBuilder, OneOfBuilder, RefOr, Schema, Type,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

/// A conversation turn to be answered.
#[derive(Serialize, Deserialize, ToSchema)]
struct ChatCompletionRequest {
    /// A route (`default`, `fast`, …), a model listed by one provider, or `provider/model` for keys with scope `pin`.
    #[schema(min_length = 1, max_length = 128, example = "default")]
    model: String,
    /// The conversation, oldest first.
    #[schema(min_items = 1, max_items = 2048)]
    messages: Vec<Message>,
    /// Whether the answer comes as server-sent events.
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    #[schema(minimum = 1, maximum = 4_294_967_295_u64)]
    max_tokens: Option<u32>,
    #[schema(minimum = 1, maximum = 4_294_967_295_u64)]
    max_completion_tokens: Option<u32>,
    #[schema(minimum = 1, maximum = 8)]
    n: Option<u32>,
    #[schema(minimum = 0.0, maximum = 2.0)]
    temperature: Option<f64>,
    #[schema(minimum = 0.0, maximum = 1.0)]
    top_p: Option<f64>,
    #[schema(minimum = -2.0, maximum = 2.0)]
    presence_penalty: Option<f64>,
    #[schema(minimum = -2.0, maximum = 2.0)]
    frequency_penalty: Option<f64>,
}

/// One message of a conversation.
#[derive(Serialize, Deserialize, ToSchema)]
struct Message {
    role: MessageRole,
    /// The text.
    content: String,
}

/// Who wrote a message.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum MessageRole {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// One server-sent event of a streamed answer: `data` is a chunk as JSON text, at the end `[DONE]`; when the answer
/// breaks off, the last `data` holds a member `error` and no `[DONE]` follows.
#[derive(Serialize, Deserialize, ToSchema)]
struct ChatEvent {
    data: Value,
}

/// What a stream carries beside the text.
#[derive(Serialize, Deserialize, ToSchema)]
struct StreamOptions {
    /// Whether the last chunk tells the tokens used.
    include_usage: Option<bool>,
}

/// A whole answer. Members of the provider beyond these are passed on.
#[derive(Serialize, Deserialize, ToSchema)]
struct ChatCompletion {
    id: String,
    object: String,
    created: i64,
    model: String,
    choices: Vec<Value>,
    usage: Option<Value>,
}

/// Texts to be turned into vectors.
#[derive(Serialize, Deserialize, ToSchema)]
struct EmbeddingsRequest {
    #[schema(min_length = 1, max_length = 128, example = "embed")]
    model: String,
    /// One text or up to 2048.
    #[schema(schema_with = embeddings_input)]
    input: Value,
    encoding_format: Option<EncodingFormat>,
    #[schema(minimum = 1, maximum = 65536)]
    dimensions: Option<u32>,
}

/// One text or several, none of them empty.
fn embeddings_input() -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).build();
    let texts = ArrayBuilder::new().items(text.clone()).min_items(Some(1)).max_items(Some(2048)).build();
    RefOr::T(Schema::OneOf(OneOfBuilder::new().item(text).item(texts).build()))
}

/// How vectors are written.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EncodingFormat {
    Float,
    Base64,
}

/// Vectors, in the order of the texts.
#[derive(Serialize, Deserialize, ToSchema)]
struct Embeddings {
    object: String,
    data: Vec<Value>,
    model: String,
    usage: Value,
}

/// The models this key may use.
#[derive(Serialize, Deserialize, ToSchema)]
struct ModelList {
    object: String,
    data: Vec<Model>,
}

/// One model or route.
#[derive(Serialize, Deserialize, ToSchema)]
struct Model {
    id: String,
    object: String,
    created: i64,
    owned_by: String,
    /// Kind, state and abilities, as Portcullis knows them.
    portcullis: Option<Value>,
}

/// Every error of the `/v1` paths.
#[derive(Serialize, Deserialize, ToSchema)]
struct OpenAiError {
    error: OpenAiErrorBody,
}

/// What went wrong.
#[derive(Serialize, Deserialize, ToSchema)]
struct OpenAiErrorBody {
    message: String,
    r#type: String,
    param: Option<String>,
    code: String,
    request_id: Option<String>,
}

/// Every error of the other paths.
#[derive(Serialize, Deserialize, ToSchema)]
struct RestError {
    error: String,
    message: String,
    details: Value,
    status_code: u16,
    timestamp: String,
    request_id: String,
}

/// A state in one word; components for operators.
#[derive(Serialize, Deserialize, ToSchema)]
struct HealthStatus {
    status: String,
    version: Option<String>,
    components: Option<Value>,
}

/// What any governed path may answer instead.
#[derive(IntoResponses)]
enum GatewayErrors {
    /// The request is wrong; `param` names the member.
    #[response(status = 400)]
    Invalid(OpenAiError),
    /// Key or token missing or not accepted.
    #[response(status = 401)]
    Unauthenticated(OpenAiError),
    /// The key lacks a scope.
    #[response(status = 403)]
    Forbidden(OpenAiError),
    /// No such model or path.
    #[response(status = 404)]
    NotFound(OpenAiError),
    /// Wrong method.
    #[response(status = 405)]
    Method(OpenAiError),
    /// The body came too slowly.
    #[response(status = 408)]
    Slow(OpenAiError),
    /// In conflict with another request.
    #[response(status = 409)]
    Conflict(OpenAiError),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(OpenAiError),
    /// Not JSON, or an unknown coding.
    #[response(status = 415)]
    Media(OpenAiError),
    /// The message looks like an attack and is not sent on. If it is meant, send it again unchanged with the header
    /// `x-portcullis-confirm` that this answer has; it is good once and for the time that the sentence names.
    #[response(status = 428)]
    Unconfirmed(OpenAiError),
    /// A limit refused; `Retry-After` says when to try again.
    #[response(status = 429)]
    Limited(OpenAiError),
    /// Our mistake, with an incident id.
    #[response(status = 500)]
    Internal(OpenAiError),
    /// The answer broke off.
    #[response(status = 502)]
    Broken(OpenAiError),
    /// No room, or no AI available; `Retry-After` is set.
    #[response(status = 503)]
    Unavailable(OpenAiError),
    /// No answer before the deadline.
    #[response(status = 504)]
    Late(OpenAiError),
}

/// What any path of operations may answer instead.
#[derive(IntoResponses)]
enum RestErrors {
    /// Key or token not accepted.
    #[response(status = 401)]
    Unauthenticated(RestError),
    /// The key lacks a scope.
    #[response(status = 403)]
    Forbidden(RestError),
    /// No such path, or not for this caller.
    #[response(status = 404)]
    NotFound(RestError),
    /// Wrong method.
    #[response(status = 405)]
    Method(RestError),
    /// A limit refused; `Retry-After` says when to try again.
    #[response(status = 429)]
    Limited(RestError),
    /// Our mistake, with an incident id.
    #[response(status = 500)]
    Internal(RestError),
}

/// Answer a conversation, whole or as server-sent events.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "gateway", request_body = ChatCompletionRequest,
    responses((status = 200, description = "The answer",
        content((ChatCompletion = "application/json"), (ChatEvent = "text/event-stream"))), GatewayErrors))]
const fn chat() {}

/// Turn texts into vectors.
#[utoipa::path(post, path = "/v1/embeddings", tag = "gateway", request_body = EmbeddingsRequest,
    responses((status = 200, description = "The vectors, in order", body = Embeddings), GatewayErrors))]
const fn embeddings() {}

/// List the routes and models this key may use.
#[utoipa::path(get, path = "/v1/models", tag = "gateway",
    responses((status = 200, description = "The list", body = ModelList), GatewayErrors))]
const fn models() {}

/// Describe one route or model.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "gateway",
    params(("id" = String, Path, description = "Name of a route or model; may hold slashes")),
    responses((status = 200, description = "The model", body = Model), GatewayErrors))]
const fn model() {}

/// Whether the process runs.
#[utoipa::path(get, path = "/health/live", tag = "operations", security(()),
    responses((status = 200, description = "It runs", body = HealthStatus),
        (status = 405, description = "Wrong method", body = RestError)))]
const fn live() {}

/// Whether requests should be sent here.
#[utoipa::path(get, path = "/health/ready", tag = "operations", security(()),
    responses((status = 200, description = "Yes", body = HealthStatus),
        (status = 405, description = "Wrong method", body = RestError),
        (status = 503, description = "Draining, or the store is away", body = HealthStatus)))]
const fn ready() {}

/// The overall state; with a key of scope `admin:read` the components too.
#[utoipa::path(get, path = "/health", tag = "operations", security((), ("bearer" = [])),
    responses((status = 200, description = "Healthy or degraded", body = HealthStatus),
        (status = 503, description = "Unhealthy", body = HealthStatus), RestErrors))]
const fn health() {}

/// Metrics in Prometheus text format, for addresses on the list or the bearer of the token.
#[utoipa::path(get, path = "/metrics", tag = "operations", security((), ("bearer" = [])),
    responses((status = 200, description = "Prometheus text 0.0.4", body = String, content_type = "text/plain"),
        (status = 404, description = "Not for this caller", body = RestError),
        (status = 405, description = "Wrong method", body = RestError)))]
const fn metrics() {}

/// Takes an update of Telegram, where `telegram.mode` is `webhook`; Telegram alone has the secret for it.
#[utoipa::path(post, path = "/telegram/{hook}", tag = "operations", security(()), request_body = Value,
    params(("hook" = String, Path, description = "16 hexadecimal digits"),
        ("x-telegram-bot-api-secret-token" = Option<String>, Header, description = "The secret")),
    responses((status = 200, description = "It is kept"), (status = 400, description = "It is no update"),
        (status = 401, description = "The secret is wrong"),
        (status = 404, description = "Nothing is taken here", body = RestError),
        (status = 405, description = "Wrong method", body = RestError),
        (status = 413, description = "It is larger than a mebibyte"),
        (status = 503, description = "It cannot be kept; `Retry-After` says when to bring it again")))]
const fn telegram() {}

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key or a JWT."))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let header = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key")));
        components.add_security_scheme("x_api_key", header);
        let googles = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
            "x-goog-api-key",
            "On the paths in Google's format; `/v1/models` answers in that format where it is sent.",
        )));
        components.add_security_scheme("x_goog_api_key", googles);
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Portcullis", description = "One guarded door to every AI provider. Rate headers (`RateLimit`, \
`RateLimit-Policy`, `X-RateLimit-*`) and `x-request-id` come with every answer of a limited path."),
    components(schemas(OpenAiError, OpenAiErrorBody, anthropic::AnthropicError, anthropic::AnthropicErrorBody,
        gemini::GeminiError, gemini::GeminiErrorBody, RestError)),
    paths(chat, responses::responses, anthropic::messages, anthropic::count_tokens, embeddings, models, model,
        gemini::generate, gemini::stream, gemini::count, gemini::embed, gemini::batch, gemini::models, gemini::model,
        library::ask, library::search, library::collections, library::documents, library::remove, library::ingest,
        library::job, library::cancel, news::digest, live, ready, health, metrics,
        telegram),
    modifiers(&Schemes, &Both),
    security(("bearer" = []), ("x_api_key" = []))
)]
struct Document;

/// The document as JSON text.
#[must_use]
pub fn document() -> String {
    Document::openapi().to_pretty_json().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::routes::V1;
    use std::collections::BTreeSet;

    // req: S3-DOC-5
    #[test]
    fn every_governed_route_is_described_and_nothing_else_is() {
        let document: serde_json::Value = serde_json::from_str(&super::document()).unwrap();
        let described: BTreeSet<_> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(path, _)| path.starts_with("/v1"))
            .flat_map(|(path, item)| {
                item.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
            })
            .collect();
        let routed: BTreeSet<_> = V1
            .iter()
            .map(|route| {
                format!("{} {}", route.method.as_str().to_lowercase(), route.path.replace("{*id}", "{id}"))
            })
            .collect();
        assert_eq!(described, routed);
    }

    // req: S3-DOC-5
    #[test]
    fn files_are_described_as_the_form_they_come_in() {
        let document: serde_json::Value = serde_json::from_str(&super::document()).unwrap();
        let content = &document["paths"]["/v1/ingest"]["post"]["requestBody"]["content"];
        let kinds: Vec<&String> = content.as_object().unwrap().keys().collect();
        assert_eq!(kinds, ["application/json", "multipart/form-data"]);
        let named = content["multipart/form-data"]["schema"]["$ref"].as_str().unwrap();
        let form = &document.pointer(named.trim_start_matches('#')).unwrap()["properties"];
        assert_eq!(
            (&form["file"]["type"], &form["file"]["items"]["format"]),
            (&"array".into(), &"binary".into())
        );
        assert!(form["collection"].is_object());
    }
}
