//! From outcome to bytes: status, headers and body of every answer of this door. Invariant: every answer carries
//! `x-request-id`; every answer of a limited endpoint carries the rate headers; every 429 and 503 carries
//! `Retry-After`, never earlier than the refusing policy's `t`.
//!
//! Source: gateway.md section 13; IETF draft-ietf-httpapi-ratelimit-headers (structured fields, whole seconds).

use super::{anthropic, gemini, openai, rest};
use axum::body::Body;
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use portcullis_domain::{Failure, Format, LimitScope, LimitView, RequestId};
use portcullis_inspect::redact_outside;
use portcullis_telemetry::Metrics;
use std::{borrow::Cow, time::Duration};

/// In whose words an error is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schema {
    /// Those of a format of the field.
    Wire(Format),
    /// `{"error":"…","message":"…",…}`.
    Rest,
}

/// What a door says of a failure, before it takes a shape.
pub(super) struct ErrorParts<'a> {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) code: &'static str,
    pub(super) message: Cow<'a, str>,
    pub(super) param: Option<&'a str>,
    pub(super) retry: Retry,
}

/// Whether and when trying again makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    No,
    Secs(u64),
}

impl Retry {
    /// Whole seconds, rounded up, at least one.
    pub(super) fn after(wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self::Secs(seconds.max(1))
    }

    pub(super) const fn seconds(self) -> Option<u64> {
        match self {
            Self::No => None,
            Self::Secs(seconds) => Some(seconds),
        }
    }
}

/// The answer for a failure. Its sentence passes a second net on the way out (review.md section 11): the first are
/// the fixed sentences of `Failure`, so whatever this one catches is counted as a leak of ours.
pub(super) fn failure(
    metrics: &Metrics,
    schema: Schema,
    failure: &Failure,
    id: &RequestId,
    views: &[LimitView],
    now: jiff::Timestamp,
) -> Response<Body> {
    let mut parts = openai::render::parts(failure);
    if let Cow::Owned(safe) = redact_outside(&parts.message) {
        metrics.error_redacted();
        tracing::error!(
            request_id = id.as_str(),
            kind = failure.kind(),
            "an error text was redacted at the door"
        );
        parts.message = safe.into();
    }
    let mut response = json(status(schema, parts.status), &body(schema, &parts, id, now));
    let headers = response.headers_mut();
    if let Some(seconds) = parts.retry.seconds() {
        let tightest =
            views.iter().filter(|view| view.remaining == 0).map(|view| u64::from(view.reset_secs)).max();
        let seconds = if matches!(failure, Failure::RateLimited { .. }) {
            seconds.max(tightest.unwrap_or(0))
        } else {
            seconds
        };
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if parts.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, ApiKey"));
    }
    if let Failure::Unconfirmed { proof, .. } = failure
        && let Ok(proof) = HeaderValue::try_from(&**proof)
    {
        headers.insert(HeaderName::from_static(CONFIRM), proof);
    }
    common(headers, schema, id, views, now);
    response
}

/// By this header a sender is given, and gives back, the proof that a message is meant.
pub(super) const CONFIRM: &str = "x-portcullis-confirm";

/// The body of an error.
fn body(schema: Schema, parts: &ErrorParts<'_>, id: &RequestId, now: jiff::Timestamp) -> serde_json::Value {
    match schema {
        Schema::Wire(Format::OpenAi | Format::Responses) => openai::render::body(parts, id),
        Schema::Wire(Format::Anthropic) => anthropic::render::body(parts, id),
        Schema::Wire(Format::Gemini) => gemini::render::body(parts, id),
        Schema::Rest => rest::body(parts, id, now),
    }
}

/// The status of an error.
fn status(schema: Schema, status: StatusCode) -> StatusCode {
    match schema {
        Schema::Wire(Format::Anthropic) => anthropic::render::status(status),
        Schema::Wire(Format::OpenAi | Format::Responses | Format::Gemini) | Schema::Rest => status,
    }
}

/// The last event of a stream that broke off; `number` is its place where the format numbers events.
pub(super) fn event(schema: Schema, failure: &Failure, id: &RequestId, number: u64) -> String {
    let parts = openai::render::parts(failure);
    match schema {
        Schema::Wire(Format::OpenAi) => format!("data: {}\n\n", openai::render::body(&parts, id)),
        Schema::Wire(Format::Gemini) => format!("data: {}\n\n", gemini::render::body(&parts, id)),
        Schema::Wire(Format::Responses) => openai::render::event(&parts, id, number),
        Schema::Wire(Format::Anthropic) => {
            format!("event: error\ndata: {}\n\n", anthropic::render::body(&parts, id))
        }
        Schema::Rest => {
            format!("event: error\ndata: {}\n\n", rest::body(&parts, id, jiff::Timestamp::now()))
        }
    }
}

/// A JSON answer without the common headers.
pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The headers that every answer has: the request's id and the state of the caller's limits.
pub(super) fn common(
    headers: &mut HeaderMap,
    schema: Schema,
    id: &RequestId,
    views: &[LimitView],
    now: jiff::Timestamp,
) {
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        if schema == Schema::Wire(Format::Anthropic) {
            // Its clients read this name.
            headers.insert(HeaderName::from_static("request-id"), value.clone());
        }
        headers.insert(&ID, value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    rates(headers, views, now);
}

/// Names of the common headers, checked when this is compiled and not for every answer.
static ID: HeaderName = HeaderName::from_static("x-request-id");
static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static STATE: HeaderName = HeaderName::from_static("ratelimit");
static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
static LIMIT_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
static REMAINING_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
static RESET_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");

/// The rate headers: the draft's two structured fields, and the two older families for the tightest policy.
/// Every answer has them: their values share one buffer, and digits are written without `fmt`.
fn rates(headers: &mut HeaderMap, views: &[LimitView], now: jiff::Timestamp) {
    let shown = || views.iter().filter(|view| view.scope != LimitScope::Global);
    let Some(tightest) = shown().min_by(|a, b| tightness(a).total_cmp(&tightness(b))) else { return };
    let mut out = Values { bytes: BytesMut::with_capacity(RATE_BYTES), digits: itoa::Buffer::new() };
    let mut list = |name: &'static HeaderName, first: &str, second: &str, figures: Figures| {
        for (index, view) in shown().enumerate() {
            let (one, other) = figures(view);
            out.text(if index == 0 { "\"" } else { ", \"" });
            out.text(view.scope.as_str());
            out.text(first);
            out.number(one.into());
            out.text(second);
            out.number(other.into());
        }
        out.end(headers, &[name]);
    };
    list(&POLICY, "\";q=", ";w=", |view| (view.quota, view.window_secs));
    list(&STATE, "\";r=", ";t=", |view| (view.remaining, view.reset_secs));
    let at = now.as_second().saturating_add(i64::from(tightest.reset_secs));
    let numbers: [(i64, &str, &[&'static HeaderName]); 4] = [
        (tightest.quota.into(), "", &[&LIMIT, &LIMIT_REQUESTS]),
        (tightest.remaining.into(), "", &[&REMAINING, &REMAINING_REQUESTS]),
        (at, "", &[&RESET]),
        (tightest.reset_secs.into(), "s", &[&RESET_REQUESTS]),
    ];
    for (number, unit, names) in numbers {
        out.number(number);
        out.text(unit);
        out.end(headers, names);
    }
}

/// What a list of policies says of each.
type Figures = fn(&LimitView) -> (u32, u32);

/// Room for the values of all rate headers of a caller with five levels.
const RATE_BYTES: usize = 384;

/// Values of headers, one after the other in one buffer.
struct Values {
    bytes: BytesMut,
    digits: itoa::Buffer,
}

/// None of these is inlined: written out for each of a dozen headers they are among the longest code of an answer, and code
/// that is not in the nearest cache costs more than calls do.
impl Values {
    #[inline(never)]
    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    #[inline(never)]
    fn number(&mut self, number: i64) {
        self.bytes.extend_from_slice(self.digits.format(number).as_bytes());
    }

    /// What was written since the last end is the value of these.
    #[inline(never)]
    fn end(&mut self, headers: &mut HeaderMap, names: &[&'static HeaderName]) {
        if let Ok(value) = HeaderValue::from_maybe_shared(self.bytes.split().freeze()) {
            for name in names {
                headers.insert(*name, value.clone());
            }
        }
    }
}

/// Share of a policy that is left: the smallest is the tightest.
fn tightness(view: &LimitView) -> f64 {
    f64::from(view.remaining) / f64::from(view.quota.max(1))
}

#[cfg(test)]
mod tests;
