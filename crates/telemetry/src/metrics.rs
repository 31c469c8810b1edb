//! Every metric of the product, in one table: a row's doc comment is its HELP text. Nothing else registers metrics,
//! so alert rules and the reference know all names. Labels are enums or configured names, never caller text:
//! cardinality is bounded.
//!
//! Text format 0.0.4. `rate_limit_breaches` and `ai_failures` are required under exactly these names (S0-16), which
//! lack the `_total` of counters; they are declared untyped so that `promtool check metrics` is clean.

use portcullis_domain::{Action, AuthProblem, Door, LimitScope, Tier};
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};
use std::{sync::Arc, time::Duration};

/// A number that goes up and down. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gauge(IntGauge);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.set(value);
    }

    /// One more.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// One less.
    pub fn dec(&self) {
        self.0.dec();
    }

    /// So many more.
    pub fn add(&self, value: i64) {
        self.0.add(value);
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.get()
    }
}

/// Seconds: from a cache hit to the longest stream.
const REQUEST_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0];
/// Seconds: our own time, from microseconds up.
const OVERHEAD_BUCKETS: &[f64] =
    &[0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.15, 1.0];

/// Metrics that the exact-name rule forbids to call counters.
const UNTYPED: [&str; 2] = ["rate_limit_breaches", "ai_failures"];

macro_rules! table {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ident [$($label:literal),*] $(in $buckets:ident)?;)*) => {
        struct Table { registry: Registry, $($name: table!(@type $kind [$($label)*]),)* }

        impl Table {
            fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(
                    let help = concat!($($help),+).trim();
                    let $name = table!(@make $kind stringify!($name), help, [$($label),*] $($buckets)?);
                    registry.register(Box::new($name.clone()))?;
                )*
                Ok(Self { registry, $($name),* })
            }
        }

        /// Name, kind and meaning of every metric, for the reference.
        #[must_use]
        pub fn catalogue() -> Vec<(&'static str, &'static str, &'static [&'static str], String)> {
            vec![$((stringify!($name), stringify!($kind), &[$($label),*] as &[&str],
                concat!($($help),+).trim().to_owned())),*]
        }
    };
    (@type counter []) => { IntCounter };
    (@type counter [$($label:literal)+]) => { IntCounterVec };
    (@type gauge []) => { IntGauge };
    (@type gauge [$($label:literal)+]) => { IntGaugeVec };
    (@type histogram []) => { Histogram };
    (@type histogram [$($label:literal)+]) => { HistogramVec };
    (@make counter $name:expr, $help:expr, []) => { IntCounter::with_opts(Opts::new($name, $help))? };
    (@make counter $name:expr, $help:expr, [$($label:literal),+]) => {
        IntCounterVec::new(Opts::new($name, $help), &[$($label),+])?
    };
    (@make gauge $name:expr, $help:expr, []) => { IntGauge::with_opts(Opts::new($name, $help))? };
    (@make gauge $name:expr, $help:expr, [$($label:literal),+]) => {
        IntGaugeVec::new(Opts::new($name, $help), &[$($label),+])?
    };
    (@make histogram $name:expr, $help:expr, [] $buckets:ident) => {
        Histogram::with_opts(HistogramOpts::new($name, $help).buckets($buckets.to_vec()))?
    };
    (@make histogram $name:expr, $help:expr, [$($label:literal),+] $buckets:ident) => {
        HistogramVec::new(HistogramOpts::new($name, $help).buckets($buckets.to_vec()), &[$($label),+])?
    };
}

table! {
    /// Messages answered, by door, action and outcome, in seconds from the first byte to the last.
    request_duration: histogram ["door", "action", "outcome"] in REQUEST_BUCKETS;
    /// Requests refused by a limit of ours.
    rate_limit_breaches: counter ["scope", "tier", "action"];
    /// Failed calls to AI providers, by how long they took.
    ai_failures: counter ["provider", "code", "latency_bucket"];
    /// Calls waiting for a place.
    queue_depth: gauge ["queue"];
    /// News requests, by outcome.
    news_requests_total: counter ["outcome"];
    /// Calls to AI providers, by outcome.
    ai_requests_total: counter ["provider", "outcome"];
    /// Times another target answered than the first choice.
    ai_fallbacks_total: counter ["reason"];
    /// Tokens used at providers.
    ai_tokens_total: counter ["provider", "kind"];
    /// Age of the call that has waited longest, in seconds.
    queue_oldest_seconds: gauge ["queue"];
    /// Calls that hold a place.
    gate_in_use: gauge ["gate"];
    /// Circuit breakers: 0 closed, 1 half-open, 2 open.
    breaker_state: gauge ["dependency"];
    /// Changes of circuit breakers.
    breaker_transitions_total: counter ["dependency", "to"];
    /// Retries not made because the retry budget was used up.
    retry_budget_exhausted_total: counter ["dependency"];
    /// Whether a provider's account is held (1) or not (0).
    provider_held: gauge ["provider", "reason"];
    /// Rate headers of providers that made no sense and were ignored.
    learned_header_rejected_total: counter ["provider"];
    /// Whether limits are counted by this process alone because Redis is away (1) or as configured (0).
    limits_fallback_active: gauge [];
    /// Failed credentials, by reason.
    auth_failures_total: counter ["door", "reason"];
    /// Characters removed from texts, by kind.
    sanitised_total: counter ["kind"];
    /// Verdicts of inspection beyond allow.
    guard_total: counter ["check", "action"];
    /// Streamed answers under way.
    streams_active: gauge [];
    /// Our own time of a request, without the provider's, in seconds.
    gateway_overhead_seconds: histogram [] in OVERHEAD_BUCKETS;
    /// Connections refused at the door.
    connections_refused_total: counter ["reason"];
    /// Connections open.
    connections_open: gauge [];
    /// Error texts that the second net had to redact: a leak in the first.
    error_redacted_total: counter [];
    /// Panics caught; each failed one request only.
    panics_caught_total: counter [];
    /// Log lines dropped because the disk was too slow.
    log_lines_dropped_total: counter [];
    /// Audit records written.
    audit_records_total: counter ["kind"];
    /// Audit records that could not be written.
    audit_failures_total: counter [];
    /// Alerts sent to receivers.
    alerts_total: counter ["category"];
    /// How late an async worker ran a task that was ready, in seconds: above a few milliseconds something blocks.
    runtime_stall_seconds: histogram [] in STALL_BUCKETS;
    /// Usage rows waiting to be stored.
    usage_pending: gauge [];
}

/// Seconds: a healthy worker answers within a millisecond.
const STALL_BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The metrics of one running Portcullis. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Table>);

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a failed call took, as label (S0-05).
fn latency_bucket(took: Duration) -> &'static str {
    match took.as_secs() {
        0 => "lt_1s",
        1..5 => "1_5s",
        5..15 => "5_15s",
        15..60 => "15_60s",
        _ => "ge_60s",
    }
}

impl Metrics {
    /// All metrics, at zero.
    ///
    /// # Panics
    /// Never: the table is constant and its names are checked by a test.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the table is constant; a test builds it")]
    pub fn new() -> Self {
        Self(Arc::new(Table::new().expect("the table's names are valid and unique")))
    }

    /// Prometheus text, format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = Vec::with_capacity(16_384);
        if let Err(error) = TextEncoder::new().encode(&self.0.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics could not be written");
        }
        let mut text = String::from_utf8(out).unwrap_or_default();
        for name in UNTYPED {
            text = text.replace(&format!("# TYPE {name} counter"), &format!("# TYPE {name} untyped"));
        }
        text
    }

    /// One message ended; `outcome` is `ok`, `cancelled` or `Failure::kind()`.
    pub fn request_done(&self, door: Door, action: Action, outcome: &'static str, took: Duration) {
        let labels = [door.as_str(), action.as_str(), outcome];
        self.0.request_duration.with_label_values(&labels).observe(took.as_secs_f64());
    }

    /// One request refused by a limit.
    pub fn rate_limit_breach(&self, scope: LimitScope, tier: &Tier, action: Action) {
        self.0.rate_limit_breaches.with_label_values(&[scope.as_str(), tier.as_str(), action.as_str()]).inc();
    }

    /// One failed credential.
    pub fn auth_failure(&self, door: Door, problem: AuthProblem) {
        self.0.auth_failures_total.with_label_values(&[door.as_str(), problem.as_str()]).inc();
    }

    /// Characters removed from a text.
    pub fn sanitised(&self, kind: &'static str, count: u64) {
        self.0.sanitised_total.with_label_values(&[kind]).inc_by(count);
    }

    /// One verdict beyond allow.
    pub fn guard(&self, check: &'static str, action: &'static str) {
        self.0.guard_total.with_label_values(&[check, action]).inc();
    }

    /// A streamed answer begins.
    pub fn stream_opened(&self) {
        self.0.streams_active.inc();
    }

    /// A streamed answer ended.
    pub fn stream_closed(&self) {
        self.0.streams_active.dec();
    }

    /// Our own time of one request.
    pub fn overhead(&self, took: Duration) {
        self.0.gateway_overhead_seconds.observe(took.as_secs_f64());
    }

    /// One connection refused.
    pub fn connection_refused(&self, reason: &'static str) {
        self.0.connections_refused_total.with_label_values(&[reason]).inc();
    }

    /// Connections open.
    #[must_use]
    pub fn connections(&self) -> Gauge {
        Gauge(self.0.connections_open.clone())
    }

    /// The second net caught something.
    pub fn error_redacted(&self) {
        self.0.error_redacted_total.inc();
    }

    /// One panic caught.
    pub fn panic_caught(&self) {
        self.0.panics_caught_total.inc();
    }

    /// One call to a provider ended.
    pub fn ai_request(&self, provider: &str, outcome: &'static str) {
        self.0.ai_requests_total.with_label_values(&[provider, outcome]).inc();
    }

    /// One failed call to a provider; `code` is an HTTP status or a word of ours.
    pub fn ai_failure(&self, provider: &str, code: &'static str, took: Duration) {
        self.0.ai_failures.with_label_values(&[provider, code, latency_bucket(took)]).inc();
    }

    /// Another target answered than the first choice.
    pub fn ai_fallback(&self, reason: &'static str) {
        self.0.ai_fallbacks_total.with_label_values(&[reason]).inc();
    }

    /// Tokens used.
    pub fn ai_tokens(&self, provider: &str, input: u64, output: u64) {
        self.0.ai_tokens_total.with_label_values(&[provider, "input"]).inc_by(input);
        self.0.ai_tokens_total.with_label_values(&[provider, "output"]).inc_by(output);
    }

    /// Calls waiting in a queue.
    #[must_use]
    pub fn queue_depth(&self, queue: &str) -> Gauge {
        Gauge(self.0.queue_depth.with_label_values(&[queue]))
    }

    /// Age of the oldest call in a queue, in seconds.
    #[must_use]
    pub fn queue_oldest_seconds(&self, queue: &str) -> Gauge {
        Gauge(self.0.queue_oldest_seconds.with_label_values(&[queue]))
    }

    /// Calls that hold a place of a gate.
    #[must_use]
    pub fn gate_in_use(&self, gate: &str) -> Gauge {
        Gauge(self.0.gate_in_use.with_label_values(&[gate]))
    }

    /// State of a breaker: 0 closed, 1 half-open, 2 open.
    #[must_use]
    pub fn breaker_state(&self, dependency: &str) -> Gauge {
        Gauge(self.0.breaker_state.with_label_values(&[dependency]))
    }

    /// A breaker changed to `closed`, `half_open` or `open`.
    pub fn breaker_transition(&self, dependency: &str, to: &'static str) {
        self.0.breaker_transitions_total.with_label_values(&[dependency, to]).inc();
    }

    /// A retry was not made for lack of budget.
    pub fn retry_budget_exhausted(&self, dependency: &str) {
        self.0.retry_budget_exhausted_total.with_label_values(&[dependency]).inc();
    }

    /// Whether a provider's account is held.
    #[must_use]
    pub fn provider_held(&self, provider: &str, reason: &'static str) -> Gauge {
        Gauge(self.0.provider_held.with_label_values(&[provider, reason]))
    }

    /// A provider's rate header made no sense.
    pub fn learned_header_rejected(&self, provider: &str) {
        self.0.learned_header_rejected_total.with_label_values(&[provider]).inc();
    }

    /// Whether limits are counted by this process alone.
    #[must_use]
    pub fn limits_fallback(&self) -> Gauge {
        Gauge(self.0.limits_fallback_active.clone())
    }

    /// News requests.
    pub fn news_request(&self, outcome: &'static str) {
        self.0.news_requests_total.with_label_values(&[outcome]).inc();
    }

    /// Log lines dropped.
    pub fn log_dropped(&self, count: u64) {
        self.0.log_lines_dropped_total.inc_by(count);
    }

    /// One audit record written.
    pub fn audit_written(&self, kind: &'static str) {
        self.0.audit_records_total.with_label_values(&[kind]).inc();
    }

    /// One audit record lost.
    pub fn audit_failed(&self) {
        self.0.audit_failures_total.inc();
    }

    /// One alert sent.
    pub fn alert(&self, category: &'static str) {
        self.0.alerts_total.with_label_values(&[category]).inc();
    }

    /// How late a worker ran a ready task.
    pub fn stalled(&self, late: Duration) {
        self.0.runtime_stall_seconds.observe(late.as_secs_f64());
    }

    /// Usage rows waiting to be stored.
    #[must_use]
    pub fn usage_pending(&self) -> Gauge {
        Gauge(self.0.usage_pending.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S0-16
    // req: S0-05
    #[test]
    fn the_five_required_names_are_exported_exactly_and_move() {
        let metrics = Metrics::new();
        metrics.news_request("ok");
        metrics.rate_limit_breach(LimitScope::Tier, &Tier::Premium, Action::Chat);
        metrics.ai_failure("openai", "500", Duration::from_secs(7));
        metrics.request_done(Door::Http, Action::Chat, "ok", Duration::from_millis(3));
        metrics.queue_depth("openai").set(4);
        let text = metrics.render();
        for line in [
            "news_requests_total{outcome=\"ok\"} 1",
            "rate_limit_breaches{action=\"chat\",scope=\"tier\",tier=\"premium\"} 1",
            "ai_failures{code=\"500\",latency_bucket=\"5_15s\",provider=\"openai\"} 1",
            "request_duration_count{action=\"chat\",door=\"http\",outcome=\"ok\"} 1",
            "queue_depth{queue=\"openai\"} 4",
            "# TYPE rate_limit_breaches untyped",
            "# TYPE ai_failures untyped",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn label_values_are_escaped() {
        let metrics = Metrics::new();
        metrics.queue_depth("a\"b\\c\nd").set(1);
        assert!(metrics.render().contains(r#"queue_depth{queue="a\"b\\c\nd"} 1"#));
    }

    #[test]
    fn every_metric_has_help_that_ends_like_a_sentence() {
        for (name, _, _, help) in catalogue() {
            assert!(help.ends_with('.') && help.len() > 10, "{name}: {help}");
        }
    }
}
