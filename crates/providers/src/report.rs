//! What is told of every call to a provider: one metric and, when it failed, one structured log line with provider,
//! code and latency bucket (S0-05). Invariant: no line holds a key, a URL or a provider's body.

use portcullis_domain::{RequestId, Usage};
use portcullis_telemetry::{GenAi, Metrics};
use std::sync::Arc;
use tokio::time::Instant;

/// One attempt being told about.
#[derive(Clone)]
pub(crate) struct Report {
    pub(crate) provider: Arc<str>,
    pub(crate) route: Arc<str>,
    pub(crate) metrics: Metrics,
    pub(crate) gen_ai: GenAi,
    pub(crate) request: RequestId,
    pub(crate) started: Instant,
}

impl Report {
    /// The attempt failed. `detail` is in our words.
    pub(crate) fn failed(&self, code: &'static str, detail: &str) {
        let took = self.started.elapsed();
        self.metrics.ai_failure(&self.provider, code, took);
        self.metrics.ai_request(&self.provider, &self.route, "error");
        self.gen_ai.failed(took, code);
        tracing::warn!(
            provider = &*self.provider,
            code,
            latency_bucket = portcullis_telemetry::latency_bucket(took),
            took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            request_id = %self.request,
            detail,
            "an AI call failed"
        );
    }

    /// The attempt brought a whole answer.
    pub(crate) fn answered(&self, usage: Usage) {
        self.metrics.ai_request(&self.provider, &self.route, "ok");
        self.gen_ai.ended(self.started.elapsed(), usage);
        self.metrics.ai_tokens(&self.provider, &self.route, usage);
    }

    /// A chunk of a stream came; `before` is when the one before it came.
    pub(crate) fn chunk(&self, now: Instant, before: Option<Instant>) {
        match before {
            None => self.gen_ai.first_chunk(now - self.started),
            Some(before) => self.gen_ai.later_chunk(now - before),
        }
    }

    /// A stream has ended: `ok`, `cancelled`, or `error`, which [`Report::failed`] has counted already.
    pub(crate) fn streamed(&self, outcome: &'static str, usage: Usage) {
        if outcome != "error" {
            self.metrics.ai_request(&self.provider, &self.route, outcome);
            self.gen_ai.ended(self.started.elapsed(), usage);
        }
        self.metrics.ai_tokens(&self.provider, &self.route, usage);
    }
}
