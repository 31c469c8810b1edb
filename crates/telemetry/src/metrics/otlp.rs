//! The table as a collector of OpenTelemetry reads it: cumulative sums, gauges and histograms. Names are those of `/metrics`, so
//! that one dashboard serves both, but for those that the conventions of gen_ai name themselves.
//!
//! Source: opentelemetry-proto, `metrics/v1/metrics.proto`; OTLP specification, "JSON Protobuf Encoding".

use super::{MetricRow, series::Cell, table::Reader, text::seconds};
use crate::{
    logs::escape_json,
    traces::{comma, pair},
};
use std::{
    fmt::{self, Write as _},
    time::SystemTime,
};

/// Ours, and what the conventions call it.
const NAMES: [(&str, &str); 4] = [
    ("gen_ai_client_operation_duration_seconds", "gen_ai.client.operation.duration"),
    ("gen_ai_client_operation_time_to_first_chunk_seconds", "gen_ai.client.operation.time_to_first_chunk"),
    (
        "gen_ai_client_operation_time_per_output_chunk_seconds",
        "gen_ai.client.operation.time_per_output_chunk",
    ),
    ("gen_ai_client_token_usage", "gen_ai.client.token.usage"),
];
/// Labels of those.
const LABELS: [(&str, &str); 4] = [
    ("gen_ai_operation_name", "gen_ai.operation.name"),
    ("gen_ai_provider_name", "gen_ai.provider.name"),
    ("gen_ai_token_type", "gen_ai.token.type"),
    ("error_type", "error.type"),
];

fn known(table: &[(&'static str, &'static str)], name: &'static str) -> &'static str {
    table.iter().find(|(ours, _)| *ours == name).map_or(name, |(_, theirs)| theirs)
}

/// Writes all it is shown as points of that moment.
pub(super) struct Points<'a> {
    out: &'a mut String,
    times: String,
    metrics: usize,
    /// The metric under way, and how many points it has.
    under_way: Option<(MetricRow, usize)>,
}

impl<'a> Points<'a> {
    pub(super) fn new(out: &'a mut String, begun: SystemTime, now: SystemTime) -> Self {
        let nanos =
            |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let (begun, now) = (nanos(begun), nanos(now));
        let times = format!("\"startTimeUnixNano\":\"{begun}\",\"timeUnixNano\":\"{now}\"");
        Self { out, times, metrics: 0, under_way: None }
    }

    /// Ends the metric under way. One without a series was never begun: a metric without points is none.
    pub(super) fn end(&mut self) {
        if let Some((_, 1..)) = self.under_way.take() {
            self.out.push_str("]}}");
        }
    }

    fn begin(&mut self, row: &MetricRow) {
        let MetricRow { name, kind, help, .. } = *row;
        comma(self.out, self.metrics);
        self.metrics += 1;
        self.out.push_str("{\"name\":");
        escape_json(self.out, known(&NAMES, name));
        self.out.push_str(",\"description\":");
        escape_json(self.out, help);
        let unit = match name {
            "gen_ai_client_token_usage" => "{token}",
            "request_duration" => "s",
            name if name.contains("_seconds") => "s",
            name if name.contains("_bytes") => "By",
            _ => "",
        };
        put(self.out, format_args!(",\"unit\":\"{unit}\","));
        // 2: cumulative.
        self.out.push_str(match kind {
            "gauge" => "\"gauge\":{",
            "histogram" => "\"histogram\":{\"aggregationTemporality\":2,",
            _ => "\"sum\":{\"aggregationTemporality\":2,\"isMonotonic\":true,",
        });
        self.out.push_str("\"dataPoints\":[");
    }
}

impl Reader for Points<'_> {
    fn metric(&mut self, row: &MetricRow) {
        self.end();
        self.under_way = Some((*row, 0));
    }

    fn series(&mut self, labels: &[(&'static str, &str)], cell: &Cell) {
        let Some((row, points)) = self.under_way else { return };
        if points == 0 {
            self.begin(&row);
        }
        self.under_way = Some((row, points + 1));
        let out = &mut *self.out;
        comma(out, points);
        out.push_str("{\"attributes\":[");
        // A label that says nothing is left out here, as the conventions want of `error.type`.
        for (index, (label, value)) in labels.iter().filter(|(_, value)| !value.is_empty()).enumerate() {
            comma(out, index);
            pair(out, known(&LABELS, label), |out| {
                out.push_str("\"stringValue\":");
                escape_json(out, value);
            });
        }
        put(out, format_args!("],{},", self.times));
        match cell {
            Cell::Counter(counter) => put(out, format_args!("\"asInt\":\"{}\"", signed(counter.get()))),
            Cell::Gauge(gauge) => put(out, format_args!("\"asInt\":\"{}\"", gauge.get())),
            Cell::Millionths(gauge) => {
                let nanos = u64::try_from(gauge.get()).unwrap_or(0).saturating_mul(1000);
                put(out, format_args!("\"asDouble\":{}", seconds(nanos)));
            }
            Cell::Number(number) => put(out, format_args!("\"asDouble\":{number}")),
            Cell::Histogram(observed) => {
                let (mut total, mut bounds, mut counts) = (0, String::new(), String::new());
                for (index, (bound, count)) in observed.buckets().enumerate() {
                    total += count;
                    comma(&mut counts, index);
                    put(&mut counts, format_args!("\"{count}\""));
                    if let Some(bound) = bound {
                        comma(&mut bounds, index);
                        bounds.push_str(&seconds(bound));
                    }
                }
                let sum = seconds(observed.nanos());
                put(out, format_args!("\"count\":\"{total}\",\"sum\":{sum},"));
                put(out, format_args!("\"bucketCounts\":[{counts}],\"explicitBounds\":[{bounds}]"));
            }
        }
        out.push('}');
    }
}

/// OTLP knows no unsigned number there.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ok = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Metrics, OtlpConfig, Resource};
    use portcullis_domain::{Action, Door, Usage};
    use serde_json::{Value, json};
    use std::time::Duration;

    // req: S0-16
    #[test]
    fn a_collector_is_told_what_the_text_says_and_under_the_conventions_names() {
        let metrics = Metrics::new();
        metrics.request_done(Door::Http, Action::Chat, "ok", Duration::from_millis(3));
        let told = metrics.gen_ai("chat", "openai");
        told.ended(Duration::from_millis(30), Usage { input: 5, output: 2, ..Usage::default() });
        metrics.budget_remaining("month").set(250_000);
        metrics.ai_tokens("openai", "default", Usage { input: 5, output: 2, ..Usage::default() });
        let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        let body = metrics.otlp(&Resource::new(&OtlpConfig::default(), "one"), at(7), at(9));
        let body: Value = serde_json::from_str(&body).unwrap();
        let all = body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap();
        let of = |name: &str| all.iter().find(|metric| metric["name"] == name).unwrap_or(&Value::Null);
        let took = &of("gen_ai.client.operation.duration")["histogram"];
        let point = &took["dataPoints"][0];
        assert_eq!(
            (took["aggregationTemporality"].clone(), &of("request_duration")["unit"]),
            (json!(2), &json!("s"))
        );
        let labels = json!([
            {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
            {"key": "gen_ai.provider.name", "value": {"stringValue": "openai"}},
        ]);
        assert_eq!(point["attributes"], labels);
        assert_eq!((&point["count"], &point["sum"]), (&json!("1"), &json!(0.03)));
        let (counts, bounds) =
            (point["bucketCounts"].as_array().unwrap(), point["explicitBounds"].as_array().unwrap());
        assert_eq!((counts.len(), &counts[2], &bounds[2]), (bounds.len() + 1, &json!("1"), &json!(0.04)));
        assert_eq!(point["startTimeUnixNano"], "7000000000");
        assert_eq!(of("budget_remaining_ratio")["gauge"]["dataPoints"][0]["asDouble"], 0.25);
        let tokens = &of("ai_tokens_total")["sum"];
        assert_eq!((&tokens["isMonotonic"], &tokens["dataPoints"][0]["asInt"]), (&json!(true), &json!("5")));
        assert_eq!(of("ai_failures"), &Value::Null, "what has no series is not told");
        // Nothing stands in one and not in the other.
        let text = metrics.render();
        for metric in all {
            let theirs = metric["name"].as_str().unwrap();
            let ours = NAMES.iter().find(|(_, name)| *name == theirs).map_or(theirs, |(ours, _)| ours);
            assert!(
                text.contains(&format!("\n# TYPE {ours} ")) || text.starts_with(&format!("# HELP {ours} ")),
                "{ours}"
            );
        }
        let with_series = text.lines().filter(|line| !line.starts_with('#'));
        let names: std::collections::BTreeSet<_> = with_series
            .map(|line| line.split(['{', ' ']).next().unwrap())
            .map(|name| {
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
            })
            .collect();
        assert_eq!(all.len(), names.len());
    }
}
