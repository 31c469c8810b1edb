//! The table: every metric with its labels, and its HELP text as doc comment. Whoever reads it, in whatever format, is a
//! [`Reader`]; nothing else knows all rows.

use super::{
    process,
    series::{Cell, Counter, Family, Gauge, Histogram},
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

/// Who reads the table: each metric first, then its series.
pub(super) trait Reader {
    /// A metric begins.
    fn metric(&mut self, row: &MetricRow);
    /// One of its series, with the values of its labels.
    fn series(&mut self, labels: &[(&'static str, &str)], cell: &Cell);
}

macro_rules! table {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ident [$($label:literal),*] $(in $buckets:ident)?;)*) => {
        pub(super) struct Table { $(pub(super) $name: table!(@type $kind [$($label),*]),)* }

        impl Table {
            pub(super) fn new() -> Self {
                Self { $($name: table!(@make $kind [$($label),*] $($buckets)?)),* }
            }

            /// Shows every metric and each of its series.
            pub(super) fn read(&self, reader: &mut dyn Reader) {
                $(
                    reader.metric(&MetricRow {
                        name: stringify!($name),
                        kind: kind(stringify!($name), stringify!($kind)),
                        labels: &[$($label),*],
                        help: concat!($($help),+).trim_ascii(),
                    });
                    table!(@read $kind [$($label),*] self.$name, reader);
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
    (@read counter [] $it:expr, $reader:expr) => { $reader.series(&[], &Cell::Counter($it.clone())) };
    (@read gauge [] $it:expr, $reader:expr) => { $reader.series(&[], &Cell::Gauge($it.clone())) };
    (@read histogram [] $it:expr, $reader:expr) => { $reader.series(&[], &Cell::Histogram($it.clone())) };
    (@read counter [$($label:literal),+] $it:expr, $reader:expr) => {
        $it.read([$($label),+], $reader, Cell::Counter)
    };
    (@read ratio [$($label:literal),+] $it:expr, $reader:expr) => {
        $it.read([$($label),+], $reader, Cell::Millionths)
    };
    (@read gauge [$($label:literal),+] $it:expr, $reader:expr) => {
        $it.read([$($label),+], $reader, Cell::Gauge)
    };
    (@read histogram [$($label:literal),+] $it:expr, $reader:expr) => {
        $it.read([$($label),+], $reader, Cell::Histogram)
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
    /// Indexes of documents that were loaded: `ok`, `older` (the one that should answer is damaged), `failed`.
    index_loads_total: counter ["outcome"];
    /// Texts turned into vectors for documents and questions.
    embeddings_created_total: counter [];
    /// Usage rows waiting to be stored.
    usage_pending: gauge [];
    /// Backups of the database: `ok` or `failed`.
    backups_total: counter ["outcome"];
    /// The running version: always 1.
    portcullis_build_info: gauge ["version"];
}
