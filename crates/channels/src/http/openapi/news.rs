//! The API description of digests of news. Source: S3-DOC-5; news.md section 14.

use super::library::LibraryErrors;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a digest is made from.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewsDigestRequest {
    /// Public channels (`@name`) and addresses of feeds and pages; at most `news.max_sources`.
    #[schema(min_items = 1, max_items = 1000, example = json!(["@example", "https://example.org/feed.xml"]))]
    sources: Vec<NewsSource>,
    /// How far back it looks, in hours. Default: `news.window_hours`.
    #[schema(minimum = 1, maximum = 720)]
    window_hours: Option<u32>,
    /// Most stories. Default: `news.stories`.
    #[schema(minimum = 1, maximum = 30)]
    stories: Option<usize>,
    /// In which language stories are told. Default: that of most posts.
    #[schema(pattern = "^[a-z]{2}$", example = "en")]
    language: Option<String>,
    /// Of these words or phrases at least one must be in a post, if there are any.
    #[schema(max_items = 20)]
    include: Option<Vec<NewsTerm>>,
    /// None of these may be in a post.
    #[schema(max_items = 20)]
    exclude: Option<Vec<NewsTerm>>,
}

/// A channel such as `@example`, or the address of a feed or page.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(
    min_length = 1,
    max_length = 2048,
    pattern = "^(@[A-Za-z0-9_]{5,32}|https?://[a-z0-9-]+\\.example/[a-z0-9/]*)$"
)]
struct NewsSource(String);

/// A word or phrase, in any case.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(min_length = 1, max_length = 200, pattern = "^[A-Za-z0-9]+( [A-Za-z0-9]+)*$")]
struct NewsTerm(String);

/// A digest.
#[derive(Serialize, Deserialize, ToSchema)]
struct NewsDigest {
    /// Whether it is less than it should be: an AI failed, or sources were late.
    degraded: bool,
    /// Heaviest first.
    stories: Vec<NewsStory>,
    /// Sources that gave nothing.
    failed_sources: Vec<NewsFailure>,
}

/// One event.
#[derive(Serialize, Deserialize, ToSchema)]
struct NewsStory {
    headline: String,
    bullets: Vec<String>,
    /// Posts about it.
    posts: u64,
    /// Where it was read, one entry a source.
    sources: Vec<NewsLink>,
    /// When its newest post was published.
    published_at: String,
}

/// A post.
#[derive(Serialize, Deserialize, ToSchema)]
struct NewsLink {
    /// Its source.
    title: String,
    url: String,
}

/// A source that gave nothing.
#[derive(Serialize, Deserialize, ToSchema)]
struct NewsFailure {
    source: String,
    /// `no_preview`, `not_found`, `robots`, `refused`, `not_answering`, `busy` or `unreadable`.
    reason: String,
}

/// What sources published lately, the same event told once.
#[utoipa::path(post, path = "/v1/news/digest", tag = "news", request_body = NewsDigestRequest,
    responses((status = 200, description = "The stories, heaviest first", body = NewsDigest), LibraryErrors))]
pub(super) const fn digest() {}
