//! Every metric of the product, in one table: a row's doc comment is its HELP text. Nothing else registers metrics,
//! so alert rules and the reference know all names. Labels are enums or configured names, never caller text:
//! cardinality is bounded (and held by `series`, should a label ever not be).
//!
//! Text format 0.0.4. `rate_limit_breaches` and `ai_failures` are required under exactly these names (S0-16), which
//! lack the `_total` of counters; they are declared untyped so that `promtool check metrics` is clean.

mod apps;
mod messages;
mod process;
mod series;

use portcullis_domain::{Action, AuthProblem, Door, HarmCategory, LimitScope, Tier, Usage};
use series::Counter;
use series::{Cell, Family, header};
pub use series::{Gauge, Histogram};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Microseconds: from a cache hit to the longest stream.
const REQUEST_BUCKETS: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    600_000_000,
];
/// Microseconds: our own time.
const OVERHEAD_BUCKETS: &[u64] =
    &[20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 150_000, 1_000_000];
/// Microseconds: a healthy worker answers within a millisecond.
const STALL_BUCKETS: &[u64] =
    &[1_000, 5_000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000];
/// Microseconds: from a free place to the longest patience.
const WAIT_BUCKETS: &[u64] =
    &[1_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 15_000_000, 60_000_000];

/// Microseconds: those that the conventions of OpenTelemetry give for calls to AI providers (status Development, 1.38).
const GEN_AI_BUCKETS: &[u64] = &[
    10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 640_000, 1_280_000, 2_560_000, 5_120_000, 10_240_000,
    20_480_000, 40_960_000, 81_920_000,
];
/// Tokens, of the same source: a histogram counts millionths, and a token stands for a second.
const TOKEN_BUCKETS: &[u64] = &[
    1_000_000,
    4_000_000,
    16_000_000,
    64_000_000,
    256_000_000,
    1_024_000_000,
    4_096_000_000,
    16_384_000_000,
    65_536_000_000,
    262_144_000_000,
    1_048_576_000_000,
    4_194_304_000_000,
];

/// Millionths of a share of 1.
const SHARE_BUCKETS: &[u64] = &[100_000, 250_000, 500_000, 750_000, 900_000, 1_000_000];

/// Counters that the exact-name rule forbids to call so.
const UNTYPED: [&str; 2] = ["rate_limit_breaches", "ai_failures"];

/// One metric, for the reference and for rules that may only name known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricRow {
    /// Its name, exactly as exported.
    pub name: &'static str,
    /// `counter`, `gauge`, `histogram` or `untyped`.
    pub kind: &'static str,
    /// Label names, in order.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

macro_rules! table {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ident [$($label:literal),*] $(in $buckets:ident)?;)*) => {
        struct Table { $($name: table!(@type $kind [$($label),*]),)* }

        impl Table {
            fn new() -> Self {
                Self { $($name: table!(@make $kind [$($label),*] $($buckets)?)),* }
            }

            fn write(&self, out: &mut String) {
                $(
                    header(out, stringify!($name), kind(stringify!($name), stringify!($kind)),
                        concat!($($help),+).trim());
                    table!(@write $kind [$($label),*] self.$name, out, stringify!($name));
                )*
            }
        }

        /// Every metric.
        #[must_use]
        pub fn catalogue() -> Vec<MetricRow> {
            let mut all = vec![$(MetricRow {
                name: stringify!($name),
                kind: kind(stringify!($name), stringify!($kind)),
                labels: &[$($label),*],
                help: concat!($($help),+).trim_ascii(),
            }),*];
            all.extend(process::ROWS.map(|(name, kind, help)| MetricRow { name, kind, labels: &[], help }));
            all
        }
    };
    (@type counter []) => { Counter };
    (@type gauge []) => { Gauge };
    (@type ratio [$($label:literal),+]) => { Family<Gauge, { [$($label),+].len() }> };
    (@type histogram []) => { Histogram };
    (@type counter [$($label:literal),+]) => { Family<Counter, { [$($label),+].len() }> };
    (@type gauge [$($label:literal),+]) => { Family<Gauge, { [$($label),+].len() }> };
    (@type histogram [$($label:literal),+]) => { Family<Histogram, { [$($label),+].len() }> };
    (@make counter []) => { Counter::default() };
    (@make gauge []) => { Gauge::default() };
    (@make ratio [$($label:literal),+]) => { Family::new(Gauge::default) };
    (@make histogram [] $buckets:ident) => { Histogram::new($buckets) };
    (@make counter [$($label:literal),+]) => { Family::new(Counter::default) };
    (@make gauge [$($label:literal),+]) => { Family::new(Gauge::default) };
    (@make histogram [$($label:literal),+] $buckets:ident) => { Family::new(|| Histogram::new($buckets)) };
    (@write counter [] $it:expr, $out:expr, $name:expr) => { Cell::Counter($it.clone()).write($out, $name, "") };
    (@write gauge [] $it:expr, $out:expr, $name:expr) => { Cell::Gauge($it.clone()).write($out, $name, "") };
    (@write histogram [] $it:expr, $out:expr, $name:expr) => { Cell::Histogram($it.clone()).write($out, $name, "") };
    (@write counter [$($label:literal),+] $it:expr, $out:expr, $name:expr) => {
        $it.write($out, $name, [$($label),+], Cell::Counter)
    };
    (@write ratio [$($label:literal),+] $it:expr, $out:expr, $name:expr) => {
        $it.write($out, $name, [$($label),+], Cell::Millionths)
    };
    (@write gauge [$($label:literal),+] $it:expr, $out:expr, $name:expr) => {
        $it.write($out, $name, [$($label),+], Cell::Gauge)
    };
    (@write histogram [$($label:literal),+] $it:expr, $out:expr, $name:expr) => {
        $it.write($out, $name, [$($label),+], Cell::Histogram)
    };
}

fn kind(name: &str, kind: &'static str) -> &'static str {
    match kind {
        _ if UNTYPED.contains(&name) => "untyped",
        // A gauge kept in millionths.
        "ratio" => "gauge",
        kind => kind,
    }
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
    /// Calls to AI providers, by route (`pinned` and `bare` for models named directly) and outcome.
    ai_requests_total: counter ["provider", "route", "outcome"];
    /// Times another target answered than the first choice, by route and why the first choice did not.
    ai_fallbacks_total: counter ["route", "reason"];
    /// Tokens used at providers: `input` (cached ones included), `cached`, `output`.
    ai_tokens_total: counter ["provider", "route", "kind"];
    /// Micro-dollars spent at providers.
    ai_cost_microusd_total: counter ["provider", "route"];
    /// How long calls to AI providers took, streams to their end, in seconds; OpenTelemetry's
    /// `gen_ai.client.operation.duration`. `error_type` is empty where the call ended well.
    gen_ai_client_operation_duration_seconds: histogram ["gen_ai_operation_name", "gen_ai_provider_name", "error_type"]
        in GEN_AI_BUCKETS;
    /// From asking for a streamed answer to its first chunk, in seconds; OpenTelemetry's
    /// `gen_ai.client.operation.time_to_first_chunk`.
    gen_ai_client_operation_time_to_first_chunk_seconds: histogram ["gen_ai_operation_name", "gen_ai_provider_name"]
        in GEN_AI_BUCKETS;
    /// From one chunk of a streamed answer to the next, as they come over the network, in seconds; OpenTelemetry's
    /// `gen_ai.client.operation.time_per_output_chunk`.
    gen_ai_client_operation_time_per_output_chunk_seconds: histogram ["gen_ai_operation_name", "gen_ai_provider_name"]
        in GEN_AI_BUCKETS;
    /// Tokens of one call, `input` or `output`; OpenTelemetry's `gen_ai.client.token.usage`.
    gen_ai_client_token_usage: histogram ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_token_type"]
        in TOKEN_BUCKETS;
    /// Share of a budget that is left in its window, 1 to 0, to whoever has least of it.
    budget_remaining_ratio: ratio ["budget"];
    /// Requests that a cache could answer, by route and outcome: `hit`, `miss`, `joined`, `replayed`, `semantic`.
    cache_total: counter ["route", "outcome"];
    /// Age of the call that has waited longest, in seconds.
    queue_oldest_seconds: gauge ["queue"];
    /// How long the oldest message has waited to be sent to a chat, in seconds.
    queue_worst_delay_seconds: gauge ["queue"];
    /// How long messages have waited to be sent to chats on average, in seconds.
    queue_average_delay_seconds: gauge ["queue"];
    /// Messages that chat doors took in.
    messages_received_total: counter ["door"];
    /// Messages of chat doors that were worked off.
    messages_processed_total: counter ["door"];
    /// Messages of chat doors that were answered with a failure, by kind.
    messages_failed_total: counter ["door", "category"];
    /// People and groups that a chat door answers.
    active_sessions: gauge ["door"];
    /// Messages that left for chats, by class: 0 replies, 1 stories, 2 alerts, 3 scheduled.
    outbox_sent_total: counter ["door", "class"];
    /// Messages to chats that will never leave, by reason.
    outbox_dead_total: counter ["door", "reason"];
    /// Tries to send to a chat of which nobody knows whether the message left.
    outbox_uncertain_total: counter ["door"];
    /// Times the stream of Signal messages was opened anew, by reason.
    signal_reconnects_total: counter ["reason"];
    /// Events of the stream of Signal messages, by kind.
    signal_events_total: counter ["kind"];
    /// Updates of Telegram, by kind; those that are not answered by why.
    telegram_updates_total: counter ["kind"];
    /// Times the door of Telegram paused because no updates could be read.
    telegram_backoffs_total: counter ["door"];
    /// Updates that wait at Telegram, as it says.
    telegram_pending_updates: gauge ["door"];
    /// Calls that hold a place.
    gate_in_use: gauge ["gate"];
    /// Requests whose hidden texts are remembered, to be put back into their answers.
    prompts_remembered: gauge [];
    /// How long calls waited for a place, in seconds.
    gate_wait_seconds: histogram ["gate"] in WAIT_BUCKETS;
    /// Requests a minute that a provider says it allows.
    learned_rpm: gauge ["provider"];
    /// Circuit breakers: 0 closed, 1 half-open, 2 open.
    breaker_state: gauge ["dependency"];
    /// Changes of circuit breakers.
    breaker_transitions_total: counter ["dependency", "to"];
    /// Retries not made because the retry budget was used up.
    retry_budget_exhausted_total: counter ["provider"];
    /// Whether a provider's account is held (1) or not (0).
    provider_held: gauge ["provider", "reason"];
    /// Rate headers of providers that made no sense and were ignored.
    learned_header_rejected_total: counter ["provider"];
    /// Overrides of a provider's safety settings that count now.
    safety_override_active: gauge ["category"];
    /// Whether limits are counted by this process alone because Redis is away (1) or as configured (0).
    limits_fallback_active: gauge [];
    /// Failed credentials, by reason.
    auth_failures_total: counter ["door", "reason"];
    /// Characters removed from texts, by kind.
    sanitised_total: counter ["kind"];
    /// Verdicts of inspection beyond allow.
    guard_total: counter ["policy", "check", "action"];
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
    /// Audit records lost, and attempts to write that failed.
    audit_failures_total: counter [];
    /// Audit records waiting for the disk.
    audit_pending: gauge [];
    /// Spans for the collector, by what became of them: `exported`, `rejected` by it, `queue_full` where it is too slow, `failed`
    /// where it cannot be reached.
    otlp_spans_total: counter ["outcome"];
    /// Messages that did not fit their caller, by kind: `length`, `burst`, `hours`, `refusals`, `network`.
    anomalies_total: counter ["kind"];
    /// Alerts sent to receivers.
    alerts_total: counter ["category"];
    /// Alerts that could not be delivered to a receiver.
    alerts_undelivered_total: counter ["receiver"];
    /// How late an async worker ran a task that was ready, in seconds: above a few milliseconds something blocks.
    runtime_stall_seconds: histogram [] in STALL_BUCKETS;
    /// Pages of the web that were asked for, by outcome: `ok`, `not_modified`, or why there was none.
    pages_fetched_total: counter ["outcome"];
    /// Sources of news that were asked for, by kind (`channel`, `feed`, `page`, `web` for what nobody has looked at yet) and
    /// outcome.
    scrape_total: counter ["kind", "outcome"];
    /// How long a stage of a digest took, in seconds: `fetch`, `group`, `tell`.
    news_stage_seconds: histogram ["stage"] in REQUEST_BUCKETS;
    /// Stories that an AI was to sum up, by whether a kept summary was there (`true`, `false`).
    summary_cache_total: counter ["hit"];
    /// Answers from documents, by how they came about (`full`, `cached`, `extractive`, `no_documents`, `refused`) and
    /// whether they are less than what was asked for (`ok`, `degraded`).
    answers_total: counter ["mode", "outcome"];
    /// Share of an AI answer's sentences that its sources support.
    answer_support_ratio: histogram [] in SHARE_BUCKETS;
    /// Steps down from the best answer, by app, step and why.
    degraded_total: counter ["app", "step", "reason"];
    /// How long a search in documents took, the question's vector included, in seconds: `lexical` or `hybrid`.
    search_duration_seconds: histogram ["list"] in OVERHEAD_BUCKETS;
    /// Passages of a collection's index in use.
    index_chunks: gauge ["collection"];
    /// Bytes of a collection's index in use.
    index_bytes: gauge ["collection"];
    /// Generation of a collection's index in use.
    index_generation: gauge ["collection"];
    /// Texts turned into vectors for documents and questions.
    embeddings_created_total: counter [];
    /// Usage rows waiting to be stored.
    usage_pending: gauge [];
    /// Backups of the database: `ok` or `failed`.
    backups_total: counter ["outcome"];
    /// The running version: always 1.
    portcullis_build_info: gauge ["version"];
}

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
        self.0.table.write(&mut out);
        process::write(&mut out);
        out
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
