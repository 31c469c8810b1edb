//! What a provider's refusal means, as data: the first row that fits an answer's status and code says how it is seen.
//! Every wire uses it; a provider's own words are rows with its dialect. Source: gateway design section 6; the
//! providers' own error documents (OpenAI "Error codes", Moonshot "Errors", Zhipu "Error codes", Google "Gemini API
//! troubleshooting" and `google.rpc.Status`, Anthropic "Errors").

use crate::{learn::Heard, presets::Dialect};
use portcullis_domain::{Failure, InputCode};
use portcullis_resilience::Class;
use serde_json::Value;
use std::{borrow::Cow, time::Duration};

/// How an answer that is none is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The provider is at fault.
    Hard,
    /// We were too fast for it.
    TooFast,
    /// It has no room for anybody.
    Overloaded,
    /// Our account has nothing left.
    Exhausted,
    /// It does not take our key.
    BadKey,
    /// It does not have that model.
    NoModel,
    /// The prompt does not fit that model.
    TooLong,
    /// Its filter refused the prompt.
    Filtered,
    /// The request is wrong, whoever gets it.
    CallersFault,
}

/// One row: dialect, statuses, codes or types (empty: any), parts of the message (empty: any), meaning.
struct Row(Option<Dialect>, &'static [u16], &'static [&'static str], &'static [&'static str], Seen);

const ANY: &[u16] = &[];
const LONG_WORDS: &[&str] = &["maximum context length", "context length", "context size", "token limit"];

const GEMINI_LONG_WORDS: &[&str] =
    &["input token count", "exceeds the maximum number of tokens", "too many tokens"];
const ANTHROPIC_LONG_WORDS: &[&str] = &["prompt is too long", "exceed context limit", "context window"];
/// What `Said` marks a daily quota of Google's with: the id of the quota names it, such as
/// `GenerateRequestsPerDayPerProjectPerModel-FreeTier`.
const PER_DAY: &str = "quota per day";

/// The table. Order matters: particular before general.
const TABLE: &[Row] = &[
    Row(Some(Dialect::Glm), ANY, &["1113"], &[], Seen::Exhausted),
    Row(Some(Dialect::Glm), ANY, &["1301"], &[], Seen::Filtered),
    Row(Some(Dialect::Glm), ANY, &["1302", "1303"], &[], Seen::TooFast),
    Row(Some(Dialect::Glm), ANY, &["1305"], &[], Seen::Overloaded),
    Row(Some(Dialect::Glm), ANY, &["1211"], &[], Seen::NoModel),
    Row(Some(Dialect::Glm), ANY, &["1261"], &[], Seen::TooLong),
    Row(Some(Dialect::Kimi), &[429], &["rate_limit_reached_error"], &[], Seen::TooFast),
    Row(Some(Dialect::Kimi), &[403, 429], &["exceeded_current_quota_error"], &[], Seen::Exhausted),
    Row(Some(Dialect::Gemini), ANY, &[PER_DAY, "BILLING_DISABLED"], &[], Seen::Exhausted),
    Row(
        Some(Dialect::Gemini),
        ANY,
        &["API_KEY_INVALID", "UNAUTHENTICATED", "PERMISSION_DENIED"],
        &[],
        Seen::BadKey,
    ),
    Row(Some(Dialect::Gemini), ANY, &["RESOURCE_EXHAUSTED"], &[], Seen::TooFast),
    Row(Some(Dialect::Gemini), &[503], &[], &[], Seen::Overloaded),
    Row(Some(Dialect::Gemini), ANY, &["UNAVAILABLE"], &[], Seen::Overloaded),
    Row(Some(Dialect::Gemini), &[400], &[], GEMINI_LONG_WORDS, Seen::TooLong),
    // Our place or plan is not served: nothing that the caller or a retry could mend.
    Row(Some(Dialect::Gemini), &[400], &["FAILED_PRECONDITION"], &[], Seen::NoModel),
    Row(Some(Dialect::Gemini), ANY, &["NOT_FOUND"], &[], Seen::NoModel),
    Row(Some(Dialect::Anthropic), ANY, &["billing_error"], &[], Seen::Exhausted),
    Row(Some(Dialect::Anthropic), &[400, 403], &[], &["credit balance is too low"], Seen::Exhausted),
    Row(Some(Dialect::Anthropic), ANY, &["rate_limit_error"], &[], Seen::TooFast),
    Row(Some(Dialect::Anthropic), ANY, &["overloaded_error"], &[], Seen::Overloaded),
    Row(Some(Dialect::Anthropic), ANY, &["authentication_error", "permission_error"], &[], Seen::BadKey),
    Row(Some(Dialect::Anthropic), ANY, &["not_found_error"], &[], Seen::NoModel),
    Row(Some(Dialect::Anthropic), ANY, &["request_too_large"], &[], Seen::TooLong),
    Row(Some(Dialect::Anthropic), &[400, 413], &[], ANTHROPIC_LONG_WORDS, Seen::TooLong),
    Row(Some(Dialect::Anthropic), ANY, &["api_error", "timeout_error"], &[], Seen::Hard),
    Row(None, &[529], &[], &[], Seen::Overloaded),
    Row(None, &[429], &["engine_overloaded_error", "engine_overloaded"], &[], Seen::Overloaded),
    Row(
        None,
        &[429],
        &["insufficient_quota", "exceeded_current_quota_error", "billing_hard_limit_reached"],
        &[],
        Seen::Exhausted,
    ),
    Row(None, &[402], &[], &[], Seen::Exhausted),
    Row(None, &[429], &[], &[], Seen::TooFast),
    Row(None, &[400, 403, 451], &["content_filter", "content_policy_violation"], &[], Seen::Filtered),
    Row(None, &[401, 403], &[], &[], Seen::BadKey),
    Row(
        None,
        &[400, 413, 422],
        &["context_length_exceeded", "exceed_context_size_error", "string_above_max_length"],
        &[],
        Seen::TooLong,
    ),
    Row(None, &[400, 413, 422], &[], LONG_WORDS, Seen::TooLong),
    Row(None, &[400, 404], &["model_not_found"], &[], Seen::NoModel),
    Row(None, &[404], &[], &[], Seen::NoModel),
    // Not the caller's doing: whatever is there is no such API.
    Row(None, &[405, 406, 408, 410, 411, 415, 421, 426], &[], &[], Seen::Hard),
];

/// What an error body says, whatever its shape.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// `error.code`, as text.
    pub(crate) code: String,
    /// `error.type`, or Google's `error.status`.
    pub(crate) kind: String,
    /// `error.message`.
    pub(crate) message: String,
    /// `error.param`.
    pub(crate) param: Option<String>,
    /// Further words of Google's details: reasons, and `PER_DAY` where a daily quota is used up.
    pub(crate) marks: Vec<String>,
    /// When Google's details say to come back.
    pub(crate) retry_after: Option<Duration>,
    /// What Google's details tell of limits.
    pub(crate) quotas: Heard,
}

impl Said {
    /// Reads `{"error": {...}}` (OpenAI, Anthropic, Google), the same in a list of one (Google's streams), `{"error":
    /// "..."}`, or the inside of the first; anything else says nothing.
    pub(crate) fn read(body: &[u8]) -> Self {
        let mut value: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Value::Array(items) = &mut value {
            value = items.first_mut().map(Value::take).unwrap_or_default();
        }
        let inside = match value.get_mut("error") {
            Some(error) => error.take(),
            None => value,
        };
        let text = |name: &str| match inside.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => String::new(),
        };
        let mut said = Self {
            code: text("code"),
            kind: Some(text("type")).filter(|kind| !kind.is_empty()).unwrap_or_else(|| text("status")),
            message: inside.as_str().map_or_else(|| text("message"), str::to_owned),
            param: Some(text("param")).filter(|param| !param.is_empty()),
            ..Self::default()
        };
        for detail in inside.get("details").and_then(Value::as_array).into_iter().flatten().take(MAX_DETAILS)
        {
            said.detail(detail);
        }
        said
    }

    /// One of Google's details: `ErrorInfo`, `QuotaFailure` or `RetryInfo`.
    fn detail(&mut self, detail: &Value) {
        if let Some(reason) = detail.get("reason").and_then(Value::as_str) {
            self.marks.push(reason.to_owned());
        }
        let violations = detail.get("violations").and_then(Value::as_array).into_iter().flatten();
        for violation in violations.take(MAX_DETAILS) {
            let text = |name: &str| violation.get(name).and_then(Value::as_str).unwrap_or_default();
            let id = text("quotaId");
            if id.contains("PerDay") {
                self.marks.push(PER_DAY.to_owned());
            }
            if violation.get("quotaValue").is_some() {
                self.quotas.violation(id, text("quotaValue"));
            }
        }
        if let Some(delay) = detail.get("retryDelay").and_then(Value::as_str).and_then(span) {
            self.retry_after = Some(delay);
        }
    }

    /// Whether a code, type, status or reason is this one.
    fn has(&self, code: &str) -> bool {
        self.code == code || self.kind == code || self.marks.iter().any(|mark| mark == code)
    }

    /// When to come back: what the headers say, else the body. A daily quota of Google's comes with the delay of a
    /// limit a minute, which is not when it is renewed.
    pub(crate) fn wait(&self, headers: Option<Duration>) -> Option<Duration> {
        if self.has(PER_DAY) { None } else { headers.or(self.retry_after) }
    }
}

/// Most of Google's details that are looked at; there are a handful.
const MAX_DETAILS: usize = 32;

/// The meaning of a status and what was said with it.
pub(crate) fn classify(dialect: Dialect, status: u16, said: &Said) -> Seen {
    let lower = said.message.to_lowercase();
    let fits = |row: &&Row| {
        let Row(only, statuses, codes, words, _) = row;
        only.is_none_or(|only| only == dialect)
            && (statuses.is_empty() || statuses.contains(&status))
            && (codes.is_empty() || codes.iter().any(|code| said.has(code)))
            && (words.is_empty() || words.iter().any(|word| lower.contains(word)))
    };
    match TABLE.iter().find(fits) {
        Some(Row(.., seen)) => *seen,
        None if (400..500).contains(&status) => Seen::CallersFault,
        None => Seen::Hard,
    }
}

/// How the guards see it.
pub(crate) const fn class(seen: Seen, retry_after: Option<Duration>) -> Class {
    match seen {
        Seen::Hard => Class::HardFailure,
        Seen::TooFast => Class::RateLimited { retry_after },
        Seen::Overloaded => Class::Overloaded { retry_after },
        Seen::Exhausted => Class::Exhausted { until: retry_after },
        Seen::BadKey => Class::BadKey,
        Seen::NoModel | Seen::TooLong => Class::TargetUnfit,
        Seen::Filtered => Class::Blocked,
        Seen::CallersFault => Class::CallerFault,
    }
}

/// The metric label of a status: a closed set.
pub(crate) const fn label(status: u16) -> &'static str {
    match status {
        400 => "400",
        401 => "401",
        402 => "402",
        403 => "403",
        404 => "404",
        408 => "408",
        413 => "413",
        422 => "422",
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        529 => "529",
        _ => match status / 100 {
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        },
    }
}

/// The longest sentence of a provider that a caller sees, in characters.
const MAX_SENTENCE_CHARS: usize = 500;

/// A provider's sentence as a caller may see it: without key shapes, paths, addresses and host names, on one line,
/// at most 500 characters.
pub(crate) fn sentence(message: &str, key: Option<&str>) -> String {
    let without_key = match key {
        Some(key) if key.len() >= 4 => Cow::Owned(message.replace(key, "[removed]")),
        _ => Cow::Borrowed(message),
    };
    let redacted = portcullis_inspect::redact_outside(&without_key);
    let words = redacted.split_whitespace().map(|word| if is_address(word) { "[link]" } else { word });
    let mut out = String::new();
    for word in words {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().filter(|c| !c.is_control()));
        if out.len() > MAX_SENTENCE_CHARS * 4 {
            break;
        }
    }
    if out.is_empty() {
        return "The model refused this request.".into();
    }
    match out.char_indices().nth(MAX_SENTENCE_CHARS) {
        Some((at, _)) => out[..at].to_owned(),
        None => out,
    }
}

/// Whether a word is an address or a host name: something with a scheme, or letters, a dot and a known-looking end.
fn is_address(word: &str) -> bool {
    if word.contains("://") {
        return true;
    }
    let host = word
        .trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .split(['/', ':', '?'])
        .next()
        .unwrap_or_default();
    let mut labels = host.rsplit('.');
    let end = labels.next().unwrap_or_default();
    let rest = labels.next().is_some_and(|label| label.len() > 1);
    rest && (end.len() >= 2 && end.bytes().all(|b| b.is_ascii_alphabetic()) || word.contains('@'))
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        && ["com", "ai", "org", "net", "io", "cn", "dev", "co", "de", "local", "internal", "cloud", "app"]
            .contains(&end)
}

/// What the caller is told of a refusal that is its own doing.
pub(crate) fn callers_fault(said: &Said, key: Option<&str>) -> Failure {
    let param = said.param.as_deref().filter(|param| {
        param.len() <= 64 && param.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.[]".contains(&b))
    });
    Failure::InvalidInput {
        code: InputCode::InvalidValue,
        message: sentence(&said.message, key).into(),
        param: param.map(|param| param.to_owned().into()),
    }
}

/// How long a provider asks to be left alone, as its headers say: `retry-after-ms`, `retry-after` in seconds or as a
/// date, and for 429 the reset of whichever OpenAI window is empty. Senseless values (over a day) are ignored.
pub(crate) fn retry_after(headers: &http::HeaderMap, unix_secs: i64) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let sane = |secs: f64| (0.0..=86_400.0).contains(&secs).then(|| Duration::from_secs_f64(secs));
    let milliseconds = || text("retry-after-ms")?.parse::<f64>().ok().and_then(|ms| sane(ms / 1000.0));
    let seconds = || text("retry-after")?.parse::<f64>().ok().and_then(sane);
    let date = || {
        let at = jiff::fmt::rfc2822::parse(text("retry-after")?).ok()?.timestamp().as_second();
        #[expect(clippy::cast_precision_loss, reason = "seconds of at most a day")]
        sane((at - unix_secs).max(0) as f64)
    };
    let window = |kind: &str| {
        let empty = text(&format!("x-ratelimit-remaining-{kind}"))? == "0";
        empty.then(|| text(&format!("x-ratelimit-reset-{kind}")).and_then(span)).flatten()
    };
    milliseconds().or_else(seconds).or_else(date).or_else(|| window("requests").max(window("tokens")))
}

/// OpenAI's spans: `12ms`, `1s`, `6m0s`, `1h2m3s`.
pub(crate) fn span(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        let units = &rest[digits..];
        let end = units.find(|c: char| c.is_ascii_digit()).unwrap_or(units.len());
        total += value
            * match &units[..end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &units[end..];
    }
    (!text.is_empty() && (0.0..=86_400.0).contains(&total)).then(|| Duration::from_secs_f64(total))
}

#[cfg(test)]
mod tests;
