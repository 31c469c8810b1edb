//! What is told of calls to AI providers under the names of OpenTelemetry's conventions: made once for each provider, so that
//! telling costs no look-up. Source: semantic conventions of gen_ai, 1.38, status Development.

use super::{Histogram, Metrics};
use portcullis_domain::Usage;
use std::time::Duration;

/// See [`Metrics::gen_ai`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GenAi {
    took: Histogram,
    first_chunk: Histogram,
    later_chunk: Histogram,
    input: Histogram,
    output: Histogram,
    names: [&'static str; 2],
    metrics: Metrics,
}

impl GenAi {
    /// A call ended well.
    pub fn ended(&self, took: Duration, usage: Usage) {
        self.took.observe(took);
        self.input.observe(Duration::from_secs(usage.input));
        self.output.observe(Duration::from_secs(usage.output));
    }

    /// The first chunk of a stream came, so long after it was asked for.
    pub fn first_chunk(&self, after: Duration) {
        self.first_chunk.observe(after);
    }

    /// A further chunk of a stream came, so long after the one before it.
    pub fn later_chunk(&self, after: Duration) {
        self.later_chunk.observe(after);
    }

    /// A call failed; `error` is an HTTP status or a word of ours.
    pub fn failed(&self, took: Duration, error: &'static str) {
        let [operation, provider] = self.names;
        self.metrics
            .0
            .table
            .gen_ai_client_operation_duration_seconds
            .with([operation, provider, error])
            .observe(took);
    }
}

impl Metrics {
    /// What is told of calls of one kind (`chat`, `embeddings`) to one provider, named as OpenTelemetry names it. Made
    /// once, so that telling costs no look-up.
    #[must_use]
    pub fn gen_ai(&self, operation: &'static str, provider: &'static str) -> GenAi {
        let table = &self.0.table;
        let tokens = |kind| table.gen_ai_client_token_usage.with([operation, provider, kind]);
        GenAi {
            took: table.gen_ai_client_operation_duration_seconds.with([operation, provider, ""]),
            first_chunk: table
                .gen_ai_client_operation_time_to_first_chunk_seconds
                .with([operation, provider]),
            later_chunk: table
                .gen_ai_client_operation_time_per_output_chunk_seconds
                .with([operation, provider]),
            input: tokens("input"),
            output: tokens("output"),
            names: [operation, provider],
            metrics: self.clone(),
        }
    }
}
