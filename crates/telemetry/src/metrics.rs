//! Every metric of the product, in one `table`: a row's doc comment is its HELP text. Nothing else registers metrics,
//! so alert rules and the reference know all names. Here stands how they are moved. Labels are enums or configured names, never caller text:
//! cardinality is bounded (and held by `series`, should a label ever not be).
//!
//! Text format 0.0.4. `rate_limit_breaches` and `ai_failures` are required under exactly these names (S0-16), which
//! lack the `_total` of counters; they are declared untyped so that `promtool check metrics` is clean.

mod apps;
mod gen_ai;
mod messages;
mod otlp;
mod process;
mod series;
mod table;
mod text;

use crate::Resource;
pub use gen_ai::GenAi;
use otlp::Points;
use portcullis_domain::{Action, AuthProblem, Door, HarmCategory, LimitScope, Tier, Usage};
pub use series::{Gauge, Histogram};
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};
pub use table::{MetricRow, catalogue};
use table::{Reader, Table};
use text::Text;

/// Outcomes of a request whose series are found by index: `ok`, `cancelled`, and every `Failure::kind()`.
const OUTCOMES: [&str; 14] = [
    "ok",
    "cancelled",
    "invalid_input",
    "unauthenticated",
    "forbidden",
    "not_found",
    "conflict",
    "rate_limited",
    "blocked",
    "overloaded",
    "unavailable",
    "deadline_exceeded",
    "upstream_interrupted",
    "internal",
];

/// Of them those that are ours or a provider's fault: nobody's message could have avoided them.
const FAULTS: [&str; 5] =
    ["overloaded", "unavailable", "deadline_exceeded", "upstream_interrupted", "internal"];

/// Series of `request_duration` by door, action and outcome, made at first use.
type Requests = [[[OnceLock<Histogram>; OUTCOMES.len()]; Action::ALL.len()]; Door::ALL.len()];

struct Inner {
    table: Table,
    requests: Requests,
}

/// The metrics of one running Portcullis. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// How long a failed call took, as label (S0-05).
#[must_use]
pub fn latency_bucket(took: Duration) -> &'static str {
    match took.as_secs() {
        0 => "lt_1s",
        1..5 => "1_5s",
        5..15 => "5_15s",
        15..60 => "15_60s",
        _ => "ge_60s",
    }
}

impl Metrics {
    /// All metrics, at zero. Metrics that S0-16 requires are there from the first scrape on.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self(Arc::new(Inner { table: Table::new(), requests: Requests::default() }));
        metrics.0.table.portcullis_build_info.with([env!("CARGO_PKG_VERSION")]).set(1);
        for outcome in ["ok", "failed"] {
            metrics.0.table.news_requests_total.with([outcome]);
        }
        metrics
    }

    /// Prometheus text, format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(16_384);
        self.read(&mut Text::new(&mut out));
        out
    }

    /// The same as a batch of OTLP, counted since `begun`.
    #[must_use]
    pub(crate) fn otlp(&self, resource: &Resource, begun: SystemTime, now: SystemTime) -> String {
        resource.batch("Metrics", "metrics", |out| {
            let mut points = Points::new(out, begun, now);
            self.read(&mut points);
            points.end();
        })
    }

    fn read(&self, reader: &mut dyn Reader) {
        self.0.table.read(reader);
        process::read(reader);
    }

    /// All messages that ended, and those that failed for reasons that are ours or a provider's.
    #[must_use]
    pub fn ended(&self) -> (u64, u64) {
        let (mut all, mut failed) = (0, 0);
        for by_outcome in self.0.requests.iter().flatten() {
            for (outcome, series) in OUTCOMES.iter().zip(by_outcome) {
                let count = series.get().map_or(0, Histogram::count);
                all += count;
                failed += if FAULTS.contains(outcome) { count } else { 0 };
            }
        }
        (all, failed)
    }

    /// One message ended; `outcome` is `ok`, `cancelled` or `Failure::kind()`.
    pub fn request_done(&self, door: Door, action: Action, outcome: &'static str, took: Duration) {
        let make = || self.0.table.request_duration.with([door.as_str(), action.as_str(), outcome]);
        match OUTCOMES.iter().position(|known| *known == outcome) {
            Some(index) => {
                self.0.requests[door as usize][action.index()][index].get_or_init(make).observe(took)
            }
            None => make().observe(took),
        }
    }

    /// One request refused by a limit.
    pub fn rate_limit_breach(&self, scope: LimitScope, tier: &Tier, action: Action) {
        self.0.table.rate_limit_breaches.with([scope.as_str(), tier.as_str(), action.as_str()]).inc();
    }

    /// One failed credential.
    pub fn auth_failure(&self, door: Door, problem: AuthProblem) {
        self.0.table.auth_failures_total.with([door.as_str(), problem.as_str()]).inc();
    }

    /// Characters removed from a text.
    pub fn sanitised(&self, kind: &'static str, count: u64) {
        self.0.table.sanitised_total.with([kind]).add(count);
    }

    /// One finding of a guard policy, beyond allow.
    pub fn guard(&self, policy: &str, check: &'static str, action: &'static str) {
        self.0.table.guard_total.with([policy, check, action]).inc();
    }

    /// A streamed answer begins.
    pub fn stream_opened(&self) {
        self.0.table.streams_active.inc();
    }

    /// A streamed answer ended.
    pub fn stream_closed(&self) {
        self.0.table.streams_active.dec();
    }

    /// Our own time of one request.
    pub fn overhead(&self, took: Duration) {
        self.0.table.gateway_overhead_seconds.observe(took);
    }

    /// One connection refused.
    pub fn connection_refused(&self, reason: &'static str) {
        self.0.table.connections_refused_total.with([reason]).inc();
    }

    /// Connections open.
    #[must_use]
    pub fn connections(&self) -> Gauge {
        self.0.table.connections_open.clone()
    }

    /// The second net caught something.
    pub fn error_redacted(&self) {
        self.0.table.error_redacted_total.inc();
    }

    /// One panic caught.
    pub fn panic_caught(&self) {
        self.0.table.panics_caught_total.inc();
    }

    /// One call to a provider ended.
    pub fn ai_request(&self, provider: &str, route: &str, outcome: &'static str) {
        self.0.table.ai_requests_total.with([provider, route, outcome]).inc();
    }

    /// One failed call to a provider; `code` is an HTTP status or a word of ours.
    pub fn ai_failure(&self, provider: &str, code: &'static str, took: Duration) {
        self.0.table.ai_failures.with([provider, code, latency_bucket(took)]).inc();
    }

    /// Another target answered than the first choice.
    pub fn ai_fallback(&self, route: &str, reason: &'static str) {
        self.0.table.ai_fallbacks_total.with([route, reason]).inc();
    }

    /// Tokens used; `cached` are those of `input` that the provider had kept.
    pub fn ai_tokens(&self, provider: &str, route: &str, usage: Usage) {
        self.0.table.ai_tokens_total.with([provider, route, "input"]).add(usage.input);
        if usage.cached > 0 {
            self.0.table.ai_tokens_total.with([provider, route, "cached"]).add(usage.cached);
        }
        self.0.table.ai_tokens_total.with([provider, route, "output"]).add(usage.output);
    }

    /// A cache was asked for an answer.
    pub fn cache(&self, route: &str, outcome: &'static str) {
        self.0.table.cache_total.with([route, outcome]).inc();
    }

    /// Micro-dollars spent.
    pub fn ai_cost(&self, provider: &str, route: &str, micros: u64) {
        self.0.table.ai_cost_microusd_total.with([provider, route]).add(micros);
    }

    /// Share of a budget that is left, in millionths.
    #[must_use]
    pub fn budget_remaining(&self, budget: &str) -> Gauge {
        self.0.table.budget_remaining_ratio.with([budget])
    }

    /// Calls waiting in a queue.
    #[must_use]
    pub fn queue_depth(&self, queue: &str) -> Gauge {
        self.0.table.queue_depth.with([queue])
    }

    /// Age of the oldest call in a queue, in seconds.
    #[must_use]
    pub fn queue_oldest_seconds(&self, queue: &str) -> Gauge {
        self.0.table.queue_oldest_seconds.with([queue])
    }

    /// Calls that hold a place of a gate.
    #[must_use]
    pub fn gate_in_use(&self, gate: &str) -> Gauge {
        self.0.table.gate_in_use.with([gate])
    }

    /// Requests whose hidden texts are remembered.
    #[must_use]
    pub fn prompts_remembered(&self) -> Gauge {
        self.0.table.prompts_remembered.clone()
    }

    /// How long calls of a gate wait.
    #[must_use]
    pub fn gate_wait(&self, gate: &str) -> Histogram {
        self.0.table.gate_wait_seconds.with([gate])
    }

    /// Requests a minute that a provider says it allows.
    #[must_use]
    pub fn learned_rpm(&self, provider: &str) -> Gauge {
        self.0.table.learned_rpm.with([provider])
    }

    /// State of a breaker: 0 closed, 1 half-open, 2 open.
    #[must_use]
    pub fn breaker_state(&self, dependency: &str) -> Gauge {
        self.0.table.breaker_state.with([dependency])
    }

    /// A breaker changed to `closed`, `half_open` or `open`.
    pub fn breaker_transition(&self, dependency: &str, to: &'static str) {
        self.0.table.breaker_transitions_total.with([dependency, to]).inc();
    }

    /// A retry was not made for lack of budget.
    pub fn retry_budget_exhausted(&self, dependency: &str) {
        self.0.table.retry_budget_exhausted_total.with([dependency]).inc();
    }

    /// Whether a provider's account is held.
    #[must_use]
    pub fn provider_held(&self, provider: &str, reason: &'static str) -> Gauge {
        self.0.table.provider_held.with([provider, reason])
    }

    /// Overrides of a provider's safety settings that count now.
    #[must_use]
    pub fn safety_overrides(&self, category: HarmCategory) -> Gauge {
        self.0.table.safety_override_active.with([category.as_str()])
    }

    /// A provider's rate header made no sense.
    pub fn learned_header_rejected(&self, provider: &str) {
        self.0.table.learned_header_rejected_total.with([provider]).inc();
    }

    /// Whether limits are counted by this process alone.
    #[must_use]
    pub fn limits_fallback(&self) -> Gauge {
        self.0.table.limits_fallback_active.clone()
    }

    /// Log lines dropped.
    pub fn log_dropped(&self, count: u64) {
        self.0.table.log_lines_dropped_total.add(count);
    }

    /// One audit record written.
    pub fn audit_written(&self, kind: &'static str) {
        self.0.table.audit_records_total.with([kind]).inc();
    }

    /// One audit record lost, or one attempt to write that failed.
    pub fn audit_failed(&self) {
        self.0.table.audit_failures_total.inc();
    }

    /// Audit records waiting for the disk.
    #[must_use]
    pub fn audit_pending(&self) -> Gauge {
        self.0.table.audit_pending.clone()
    }

    /// So many spans were `exported`, `rejected`, `queue_full` or `failed`.
    pub fn spans(&self, outcome: &'static str, count: u64) {
        if count > 0 {
            self.0.table.otlp_spans_total.with([outcome]).add(count);
        }
    }

    /// One message that did not fit its caller.
    pub fn anomaly(&self, kind: &'static str) {
        self.0.table.anomalies_total.with([kind]).inc();
    }

    /// An alert did not reach a receiver (`log`, `webhook`, or `queue` when nobody took it).
    pub fn alert_undelivered(&self, receiver: &'static str) {
        self.0.table.alerts_undelivered_total.with([receiver]).inc();
    }

    /// One alert sent.
    pub fn alert(&self, category: &'static str) {
        self.0.table.alerts_total.with([category]).inc();
    }

    /// How late a worker ran a ready task.
    pub fn stalled(&self, late: Duration) {
        self.0.table.runtime_stall_seconds.observe(late);
    }

    /// A backup of the database was made, or could not be.
    pub fn backup(&self, made: bool) {
        self.0.table.backups_total.with([if made { "ok" } else { "failed" }]).inc();
    }

    /// Usage rows waiting to be stored.
    #[must_use]
    pub fn usage_pending(&self) -> Gauge {
        self.0.table.usage_pending.clone()
    }
}

#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;
