//! The API description of questions to documents. Source: S3-DOC-5; ask.md section 11.

use super::{super::library::MAX_FILES, RestError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{ArrayBuilder, KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

/// A question to the documents of a collection.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AskRequest {
    /// The question: at most `ask.max_question_chars` characters.
    #[schema(min_length = 1, example = "How do I restore a backup?")]
    question: String,
    /// Which collection. Default: `default`.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    collection: Option<String>,
    /// Your name for the conversation: questions of one conversation are understood together.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    conversation: Option<String>,
    /// Language of the answer. Default: that of the question.
    #[schema(pattern = "^[a-z]{2}$", example = "en")]
    language: Option<String>,
    /// `extractive` asks no AI: the best passages, word for word.
    mode: Option<AskMode>,
    /// Most passages.
    #[schema(minimum = 1, maximum = 100)]
    k: Option<usize>,
    /// Whether the answer comes as server-sent events: `sources`, `delta`, `done`, or `error`.
    stream: Option<bool>,
}

/// Whether an AI is asked.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AskMode {
    Auto,
    Extractive,
}

/// An answer with its sources.
#[derive(Serialize, Deserialize, ToSchema)]
struct AskAnswer {
    id: String,
    /// The answer; `[n]` refers to a source.
    answer: String,
    /// Whether it is less than what was asked for.
    degraded: bool,
    /// `full`, `cached`, `extractive`, `no_documents` or `refused`.
    mode: String,
    collection: String,
    /// The generation of the index that answered.
    generation: Option<u64>,
    sources: Vec<Source>,
    usage: Value,
    duration_ms: u64,
}

/// A passage.
#[derive(Serialize, Deserialize, ToSchema)]
struct Source {
    /// Its number in the answer.
    n: u32,
    /// Id of its document.
    document: String,
    title: String,
    /// First and last page, where the document has pages.
    pages: Vec<u32>,
    /// Headings above it, outermost first.
    heading: Vec<String>,
    url: Option<String>,
    /// The passage.
    text: Option<String>,
    score: f64,
}

/// One event of a streamed answer.
#[derive(Serialize, Deserialize, ToSchema)]
struct AskEvent {
    event: String,
    data: Value,
}

/// Words to look for.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SearchRequest {
    #[schema(min_length = 1)]
    query: String,
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    collection: Option<String>,
    #[schema(minimum = 1, maximum = 100)]
    k: Option<usize>,
}

/// Passages, best first.
#[derive(Serialize, Deserialize, ToSchema)]
struct SearchResults {
    results: Vec<Source>,
}

/// The collections this caller may read.
#[derive(Serialize, Deserialize, ToSchema)]
struct Collections {
    collections: Vec<Value>,
}

/// Documents of a collection, by id.
#[derive(Serialize, Deserialize, ToSchema)]
struct Documents {
    documents: Vec<Value>,
    /// Where the next page begins; absent on the last one.
    next: Option<String>,
}

/// A page to take in.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IngestRequest {
    #[schema(
        min_length = 8,
        max_length = 2048,
        pattern = "^https?://",
        example = "https://example.org/handbook"
    )]
    url: String,
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    collection: Option<String>,
    /// How far links of the same host are followed.
    #[schema(minimum = 0, maximum = 3)]
    depth: Option<u32>,
}

/// Files to take in. Another field than `collection` is taken for a file and needs a file name.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IngestForm {
    /// Each in a part with a file name, whose end tells its kind.
    #[schema(schema_with = files)]
    file: Vec<String>,
    #[schema(min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_.-]+$")]
    collection: Option<String>,
}

/// One file or several.
fn files() -> RefOr<Schema> {
    let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
    let file = ObjectBuilder::new().schema_type(Type::String).format(Some(binary)).build();
    let all = ArrayBuilder::new().items(file).min_items(Some(1)).max_items(Some(MAX_FILES)).build();
    RefOr::T(Schema::Array(all))
}

/// An ingestion under way or ended.
#[derive(Serialize, Deserialize, ToSchema)]
struct IngestJob {
    job: String,
    /// `queued`, `running`, `done` or `failed`.
    state: String,
    done: u64,
    total: u64,
    refused: Vec<Value>,
}

/// What a question or a change may end with.
#[derive(IntoResponses)]
#[allow(clippy::large_enum_variant, reason = "the variants exist for their schema")]
pub(super) enum LibraryErrors {
    /// The request cannot be understood or was refused by inspection.
    #[response(status = 400)]
    Invalid(RestError),
    /// Who is asking is not known.
    #[response(status = 401)]
    Unauthenticated(RestError),
    /// The caller may not.
    #[response(status = 403)]
    Forbidden(RestError),
    /// There is no such collection, document or job for this caller.
    #[response(status = 404)]
    NotFound(RestError),
    /// Wrong method.
    #[response(status = 405)]
    Method(RestError),
    /// The body came too slowly.
    #[response(status = 408)]
    Slow(RestError),
    /// Somebody else is changing the collection.
    #[response(status = 409)]
    Conflict(RestError),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(RestError),
    /// The body is not JSON by its content type.
    #[response(status = 415)]
    MediaType(RestError),
    /// The message looks like an attack and is not sent on. If it is meant, send it again unchanged with the header
    /// `x-portcullis-confirm` that this answer has; it is good once and for the time that the sentence names.
    #[response(status = 428)]
    Unconfirmed(RestError),
    /// A limit or budget.
    #[response(status = 429)]
    Limited(RestError),
    /// Something failed here; the incident is in the log.
    #[response(status = 500)]
    Internal(RestError),
    /// Not at the moment.
    #[response(status = 503)]
    Unavailable(RestError),
    /// It took too long.
    #[response(status = 504)]
    Late(RestError),
}

/// Ask the documents of a collection.
#[utoipa::path(post, path = "/v1/ask", tag = "documents", request_body = AskRequest,
    responses((status = 200, description = "The answer with its sources",
        content((AskAnswer = "application/json"), (AskEvent = "text/event-stream"))), LibraryErrors))]
pub(super) const fn ask() {}

/// Passages that fit some words.
#[utoipa::path(post, path = "/v1/search", tag = "documents", request_body = SearchRequest,
    responses((status = 200, description = "Passages, best first", body = SearchResults), LibraryErrors))]
pub(super) const fn search() {}

/// The collections this caller may read.
#[utoipa::path(get, path = "/v1/collections", tag = "documents",
    responses((status = 200, description = "They", body = Collections), LibraryErrors))]
pub(super) const fn collections() {}

/// The documents of a collection, page by page.
#[utoipa::path(get, path = "/v1/documents", tag = "documents",
    params(("collection" = Option<String>, Query, description = "Default: `default`", min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_.-]+$"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before", min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9_.-]+$"),
        ("limit" = Option<u32>, Query, description = "Most documents on the page", minimum = 1, maximum = 1000)),
    responses((status = 200, description = "A page", body = Documents), LibraryErrors))]
pub(super) const fn documents() {}

/// Take a document out.
#[utoipa::path(delete, path = "/v1/documents/{id}", tag = "documents",
    params(("id" = String, Path, description = "`d_…`")),
    responses((status = 200, description = "It is out; the answer names the new generation", body = Value), LibraryErrors))]
pub(super) const fn remove() {}

/// Take files, or a page and pages it links to, into a collection.
#[utoipa::path(post, path = "/v1/ingest", tag = "documents",
    request_body(content((IngestRequest = "application/json"), (IngestForm = "multipart/form-data"))),
    responses((status = 202, description = "Begun; the answer names the job", body = IngestJob), LibraryErrors))]
pub(super) const fn ingest() {}

/// How an ingestion goes.
#[utoipa::path(get, path = "/v1/ingest/{job}", tag = "documents",
    params(("job" = String, Path, description = "`j_…`")),
    responses((status = 200, description = "Its state", body = IngestJob), LibraryErrors))]
pub(super) const fn job() {}

/// End an ingestion; what was in the collection before stays.
#[utoipa::path(delete, path = "/v1/ingest/{job}", tag = "documents",
    params(("job" = String, Path, description = "`j_…`")),
    responses((status = 200, description = "Its state", body = IngestJob), LibraryErrors))]
pub(super) const fn cancel() {}
