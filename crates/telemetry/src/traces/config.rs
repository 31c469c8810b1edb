//! `[telemetry]`: what is told to a collector of OpenTelemetry, and to other servers on the way.

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[telemetry]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Which requests are traced, and who hears of it.
    pub traces: TracesConfig,
    /// The collector.
    pub otlp: OtlpConfig,
}

/// `[telemetry.traces]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TracesConfig {
    /// Share of requests that are traced, 0 to 1, of those whose caller says nothing of it. Each costs a few microseconds and about
    /// 1 kB to the collector. Without `telemetry.otlp.endpoint` nothing is traced. Default 0.1.
    pub sample: f64,
    /// Whether a caller that sends `traceparent` decides by it whether its request is traced. With `false` the share alone
    /// decides, so that strangers cannot fill the collector. Default `true`.
    pub heed_parent: bool,
    /// Whether AI providers are sent `traceparent`, and what callers sent as `tracestate`. With `false` providers learn nothing of
    /// traces; logs and the collector do. Default `true`.
    pub propagate: bool,
}

/// `[telemetry.otlp]`: where traces and metrics are sent, as JSON of OTLP over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpConfig {
    /// Address of the collector, without `/v1/traces`, such as `"http://127.0.0.1:4318"`. Default: none, nothing is sent.
    pub endpoint: Option<String>,
    /// Header by which the collector knows us, with `header_secret`. Default `"authorization"`.
    pub header: String,
    /// Name of the secret that holds the header's whole value, such as `Bearer …`. Default: none, no such header.
    pub header_secret: Option<String>,
    /// What this program is called there: `service.name`. Default `"portcullis"`.
    pub service: String,
    /// Further facts about it, such as `"deployment.environment.name" = "production"`. Default none.
    pub attributes: BTreeMap<String, String>,
    /// Spans that may wait to be sent; further ones are dropped and counted in `otlp_spans_total`. About 1 kB each while they wait.
    /// Default 4096.
    pub queue: usize,
    /// Most spans in one call. Default 512.
    pub batch: usize,
    /// Longest time a span waits for others to go with it, in milliseconds. Default 2000.
    pub every_ms: u64,
    /// Longest time of one call, in seconds. What is not taken by then is tried again twice, then dropped and counted. Default 5.
    pub timeout_secs: u64,
    /// How often metrics are sent too, in seconds; 0: never, they are read at `/metrics`. Default 0.
    pub metrics_secs: u64,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self { sample: 0.1, heed_parent: true, propagate: true }
    }
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            header: "authorization".into(),
            header_secret: None,
            service: "portcullis".into(),
            attributes: BTreeMap::new(),
            queue: 4096,
            batch: 512,
            every_ms: 2000,
            timeout_secs: 5,
            metrics_secs: 0,
        }
    }
}

/// Further facts about this program, and how long each may be, in bytes.
const ATTRIBUTES: (usize, usize) = (32, 256);

impl TelemetryConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let Self { traces, otlp } = self;
        let mut problem = |key: &str, message: String, mend: &str| {
            out.push(Problem::new(format!("{prefix}.{key}"), message, mend));
        };
        if !(0.0..=1.0).contains(&traces.sample) {
            problem("traces.sample", format!("{} is no share", traces.sample), "choose 0 to 1");
        }
        for (key, value, least, most) in [
            ("queue", otlp.queue as u64, 16, 1_000_000),
            ("batch", otlp.batch as u64, 1, 8192),
            ("every_ms", otlp.every_ms, 10, 60_000),
            ("timeout_secs", otlp.timeout_secs, 1, 60),
            ("metrics_secs", otlp.metrics_secs, 0, 3600),
        ] {
            if !(least..=most).contains(&value) {
                let message = format!("{value} is out of range: {least} to {most}");
                problem(&format!("otlp.{key}"), message, "leave the key out for its default");
            }
        }
        let sound = |url: &str| url.starts_with("https://") || url.starts_with("http://");
        if otlp.endpoint.as_deref().is_some_and(|url| !sound(url) || url.contains(['?', '#', ' '])) {
            let mend = "write it as http://host:4318 or https://host, without /v1/traces";
            problem("otlp.endpoint", "this is no address of a collector".into(), mend);
        }
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if otlp.header.is_empty() || otlp.header.len() > 64 || !otlp.header.bytes().all(token) {
            problem("otlp.header", "this is no name of a header".into(), "letters, digits and dashes");
        }
        let long = |text: &String| text.is_empty() || text.len() > ATTRIBUTES.1;
        if otlp.attributes.len() > ATTRIBUTES.0 || otlp.attributes.iter().any(|(k, v)| long(k) || long(v)) {
            let mend = "at most 32, each of 1 to 256 bytes";
            problem("otlp.attributes", "too many of them, or one is empty or too long".into(), mend);
        }
        if long(&otlp.service) {
            problem("otlp.service", "a name has 1 to 256 bytes".into(), "leave the key out for its default");
        }
    }
}
