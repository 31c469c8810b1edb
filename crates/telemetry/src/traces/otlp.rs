//! Spans as JSON of OTLP 1.x. Written here, without a library: six kinds of objects, all of them below. Ids are in hexadecimal
//! and 64-bit numbers are strings, as OTLP's own mapping of JSON says; a test holds the text against the official schema.
//!
//! Source: opentelemetry-proto, `trace/v1/trace.proto`, `common/v1/common.proto`; OTLP specification, "JSON Protobuf Encoding".

use super::{
    SpanKind,
    config::OtlpConfig,
    span::{Ended, Fact},
};
use crate::logs::escape_json;
use std::{fmt::Write as _, time::Duration};

/// The version of the conventions that names of facts are taken from.
pub(crate) const SCHEMA: &str = "https://opentelemetry.io/schemas/1.38.0";
/// Who writes all this, as every batch says.
const SCOPE: &str = concat!("{\"name\":\"portcullis\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}");

/// What is said of this program in every batch. Made once.
#[derive(Clone, Debug)]
pub struct Resource(String);

impl Resource {
    /// From the settings; `instance` tells replicas apart.
    #[must_use]
    pub fn new(config: &OtlpConfig, instance: &str) -> Self {
        let own = [
            ("service.name", config.service.as_str()),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", instance),
        ];
        let others = config.attributes.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        // Said twice it would be no valid resource.
        let others = others.filter(|(name, _)| own.iter().all(|(other, _)| other != name));
        let mut out = String::from("{\"attributes\":[");
        for (index, (name, text)) in own.into_iter().chain(others).enumerate() {
            comma(&mut out, index);
            pair(&mut out, name, |out| {
                out.push_str("\"stringValue\":");
                escape_json(out, text);
            });
        }
        out.push_str("]}");
        Self(out)
    }

    /// A batch of that kind (`Spans`, `Metrics`), whose items `write` puts into the list of that name.
    pub(crate) fn batch(&self, kind: &str, list: &str, write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        let resource = &self.0;
        put(&mut out, format_args!("{{\"resource{kind}\":[{{\"resource\":{resource},\"scope{kind}\":[{{"));
        put(&mut out, format_args!("\"scope\":{SCOPE},\"{list}\":["));
        write(&mut out);
        put(&mut out, format_args!("],\"schemaUrl\":\"{SCHEMA}\"}}],\"schemaUrl\":\"{SCHEMA}\"}}]}}"));
        out
    }

    pub(super) fn spans(&self, spans: &[Ended]) -> String {
        self.batch("Spans", "spans", |out| {
            for (index, span) in spans.iter().enumerate() {
                comma(out, index);
                one(out, span);
            }
        })
    }
}

fn one(out: &mut String, span: &Ended) {
    let (begun, ended) = (nanos(span.begun), nanos(span.begun.saturating_add(span.took)));
    put(out, format_args!("{{\"traceId\":\"{}\",\"spanId\":\"{}\"", span.trace, span.id));
    // Bit 0: sampled. Bits 8 and 9: it is known whether the parent is elsewhere, and it is.
    let mut flags = 0x101;
    if let Some((parent, remote)) = span.parent {
        put(out, format_args!(",\"parentSpanId\":\"{parent}\""));
        flags |= if remote { 0x200 } else { 0 };
    }
    if let Some(state) = &span.state {
        out.push_str(",\"traceState\":");
        escape_json(out, state);
    }
    let kind = match span.kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
    };
    put(out, format_args!(",\"flags\":{flags},\"kind\":{kind},\"name\":"));
    escape_json(out, &span.name);
    put(
        out,
        format_args!(",\"startTimeUnixNano\":\"{begun}\",\"endTimeUnixNano\":\"{ended}\",\"attributes\":["),
    );
    for (index, (name, fact)) in span.facts.iter().enumerate() {
        comma(out, index);
        pair(out, name, |out| value(out, fact));
    }
    // 2 is an error; 0, which says nothing, is what all else has.
    out.push_str(if span.fault { "],\"status\":{\"code\":2}}" } else { "],\"status\":{}}" });
}

fn value(out: &mut String, fact: &Fact) {
    match fact {
        Fact::Text(text) => {
            out.push_str("\"stringValue\":");
            escape_json(out, text);
        }
        Fact::Texts(texts) => {
            out.push_str("\"arrayValue\":{\"values\":[");
            for (index, text) in texts.iter().enumerate() {
                comma(out, index);
                out.push_str("{\"stringValue\":");
                escape_json(out, text);
                out.push('}');
            }
            out.push_str("]}");
        }
        Fact::Count(count) => {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            put(out, format_args!("\"intValue\":\"{count}\""));
        }
        Fact::Flag(flag) => put(out, format_args!("\"boolValue\":{flag}")),
    }
}

/// `{"key":…,"value":{…}}`.
pub(crate) fn pair(out: &mut String, name: &str, value: impl FnOnce(&mut String)) {
    out.push_str("{\"key\":");
    escape_json(out, name);
    out.push_str(",\"value\":{");
    value(out);
    out.push_str("}}");
}

pub(crate) fn comma(out: &mut String, index: usize) {
    if index > 0 {
        out.push(',');
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ok = out.write_fmt(text);
}
