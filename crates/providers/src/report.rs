//! What is told of every call to a provider: one metric, one span where it is traced and, when it failed, one structured
//! log line with provider, code and latency bucket (S0-05). Invariant: no line holds a key, a URL or a provider's body.

use portcullis_domain::{RequestId, Usage};
use portcullis_telemetry::{About, GenAi, Metrics, Span, SpanKind};
use portcullis_wire::Told;
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
    /// The span of the whole operation, of which this is one attempt; ended by whoever lets go of it last.
    pub(crate) operation: Option<Span>,
    pub(crate) attempt: Option<Span>,
    pub(crate) started: Instant,
}

impl Report {
    /// As the attempt of that number, from 1: one call over the network.
    pub(crate) fn of(mut self, number: u32) -> Self {
        self.attempt = self.operation.as_ref().map(|operation| {
            let attempt = operation.child(SpanKind::Client, || "POST".into());
            attempt.tell(|about| {
                about.text("http.request.method", "POST");
                if number > 1 {
                    about.count("http.request.resend_count", u64::from(number - 1));
                }
            });
            attempt
        });
        self
    }

    /// What the call over the network showed of itself.
    pub(crate) fn traced(&self, tell: impl FnOnce(&mut About)) {
        if let Some(attempt) = &self.attempt {
            attempt.tell(tell);
        }
    }

    /// The attempt failed. `detail` is in our words.
    pub(crate) fn failed(&self, code: &'static str, detail: &str) {
        let took = self.started.elapsed();
        self.metrics.ai_failure(&self.provider, code, took);
        self.metrics.ai_request(&self.provider, &self.route, "error");
        self.gen_ai.failed(took, code);
        if let Some(attempt) = &self.attempt {
            attempt.failed(code, true);
        }
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
        self.ended("ok", usage);
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
        self.ended(outcome, usage);
    }

    /// Whether anything is told of this call beside what is counted.
    pub(crate) fn is_traced(&self) -> bool {
        self.operation.as_ref().is_some_and(Span::records)
    }

    /// What the answer said of itself.
    pub(crate) fn says(&self, told: Option<&Told>) {
        let (Some(operation), Some(told)) = (&self.operation, told) else { return };
        operation.tell(|about| {
            if let Some(model) = &told.model {
                about.text("gen_ai.response.model", model.clone());
            }
            if !told.reasons.is_empty() {
                about.texts("gen_ai.response.finish_reasons", told.reasons.clone());
            }
        });
    }

    /// The spans of an answer that has ended.
    fn ended(&self, outcome: &'static str, usage: Usage) {
        let Some(operation) = &self.operation else { return };
        operation.tell(|about| {
            // An embedding of many texts takes several calls.
            about.more("gen_ai.usage.input_tokens", usage.input);
            about.more("gen_ai.usage.output_tokens", usage.output);
            if usage.cached > 0 {
                about.more("gen_ai.usage.cache_read.input_tokens", usage.cached);
            }
            if usage.estimated {
                about.flag("portcullis.usage.estimated", true);
            }
        });
        if outcome == "error" {
            // The attempt has said why.
            return operation.failed("interrupted", true);
        }
        for span in self.attempt.iter().chain([operation]) {
            if outcome == "ok" { span.ok() } else { span.failed(outcome, false) }
        }
    }
}
