//! What apps move: answers from documents, searches, pages, digests of news.

use super::Metrics;
use std::time::Duration;

impl Metrics {
    /// One page of the web was asked for.
    pub fn page_fetched(&self, outcome: &'static str) {
        self.0.table.pages_fetched_total.with([outcome]).inc();
    }

    /// One answer from documents.
    pub fn answer(&self, mode: &'static str, degraded: bool) {
        let outcome = if degraded { "degraded" } else { "ok" };
        self.0.table.answers_total.with([mode, outcome]).inc();
    }

    /// The share of an answer's sentences that its sources support, 0 to 1.
    pub fn answer_support(&self, share: f32) {
        self.0.table.answer_support_ratio.observe(Duration::from_secs_f32(share.clamp(0.0, 1.0)));
    }

    /// A step down from the best answer.
    pub fn degraded(&self, app: &'static str, step: &'static str, reason: &'static str) {
        self.0.table.degraded_total.with([app, step, reason]).inc();
    }

    /// A search in documents.
    pub fn searched(&self, list: &'static str, took: Duration) {
        self.0.table.search_duration_seconds.with([list]).observe(took);
    }

    /// An index was loaded, or could not be: `ok`, `older`, `failed`.
    pub fn index_load(&self, outcome: &'static str) {
        self.0.table.index_loads_total.with([outcome]).inc();
    }

    /// The index of a collection that answers from now on. Collections are folders of the operator, so bounded.
    pub fn index(&self, collection: &str, chunks: usize, bytes: u64, generation: u64) {
        let all = [
            (&self.0.table.index_chunks, chunks as u64),
            (&self.0.table.index_bytes, bytes),
            (&self.0.table.index_generation, generation),
        ];
        for (gauge, value) in all {
            gauge.with([collection]).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// Texts were turned into vectors.
    pub fn embedded(&self, texts: u64) {
        self.0.table.embeddings_created_total.add(texts);
    }

    /// Sources of news.
    pub fn scraped(&self, kind: &'static str, outcome: &'static str) {
        self.0.table.scrape_total.with([kind, outcome]).inc();
    }

    /// Stages of digests.
    pub fn news_stage(&self, stage: &'static str, took: Duration) {
        self.0.table.news_stage_seconds.with([stage]).observe(took);
    }

    /// Summaries of stories.
    pub fn summary_cache(&self, hit: bool) {
        self.0.table.summary_cache_total.with([if hit { "true" } else { "false" }]).inc();
    }

    /// News requests.
    pub fn news_request(&self, outcome: &'static str) {
        self.0.table.news_requests_total.with([outcome]).inc();
    }
}
