//! What a provider's refusal means, as data: the first row that fits an answer's status and code says how it is seen.
//! Source: gateway design section 6; the providers' own error documents (OpenAI "Error codes", Moonshot "Errors",
//! Zhipu "Error codes").

use crate::presets::Dialect;
use portcullis_domain::{Failure, InputCode};
use serde::Deserialize;
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
    /// `error.type`.
    pub(crate) kind: String,
    /// `error.message`.
    pub(crate) message: String,
    /// `error.param`.
    pub(crate) param: Option<String>,
}

impl Said {
    /// Reads `{"error": {...}}`, `{"error": "..."}` or the inside of the former; anything else says nothing.
    pub(crate) fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Outer {
            error: serde_json::Value,
        }
        let inside = serde_json::from_slice::<Outer>(body)
            .map(|outer| outer.error)
            .or_else(|_| serde_json::from_slice::<serde_json::Value>(body))
            .unwrap_or_default();
        let text = |name: &str| match inside.get(name) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(serde_json::Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        Self {
            code: text("code"),
            kind: text("type"),
            message: inside.as_str().map_or_else(|| text("message"), str::to_owned),
            param: Some(text("param")).filter(|param| !param.is_empty()),
        }
    }
}

/// The meaning of a status and what was said with it.
pub(crate) fn classify(dialect: Dialect, status: u16, said: &Said) -> Seen {
    let lower = said.message.to_lowercase();
    let fits = |row: &&Row| {
        let Row(only, statuses, codes, words, _) = row;
        only.is_none_or(|only| only == dialect)
            && (statuses.is_empty() || statuses.contains(&status))
            && (codes.is_empty() || codes.iter().any(|code| said.code == *code || said.kind == *code))
            && (words.is_empty() || words.iter().any(|word| lower.contains(word)))
    };
    match TABLE.iter().find(fits) {
        Some(Row(.., seen)) => *seen,
        None if (400..500).contains(&status) => Seen::CallersFault,
        None => Seen::Hard,
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
fn span(text: &str) -> Option<Duration> {
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
mod tests {
    use super::*;
    use http::HeaderMap;

    /// Dialect, status, code, type, message, meaning.
    type Case = (Dialect, u16, &'static str, &'static str, &'static str, Seen);

    const CASES: &[Case] = &[
        (Dialect::Plain, 429, "rate_limit_exceeded", "requests", "Rate limit reached", Seen::TooFast),
        (Dialect::Plain, 429, "", "", "", Seen::TooFast),
        (Dialect::Plain, 429, "insufficient_quota", "insufficient_quota", "You exceeded", Seen::Exhausted),
        (Dialect::Plain, 429, "billing_hard_limit_reached", "", "", Seen::Exhausted),
        (Dialect::Plain, 429, "engine_overloaded", "engine_overloaded_error", "", Seen::Overloaded),
        (Dialect::Plain, 529, "", "overloaded_error", "Overloaded", Seen::Overloaded),
        (
            Dialect::Plain,
            402,
            "invalid_request_error",
            "unknown_error",
            "Insufficient Balance",
            Seen::Exhausted,
        ),
        (Dialect::Plain, 401, "invalid_api_key", "invalid_request_error", "Incorrect API key", Seen::BadKey),
        (Dialect::Plain, 403, "", "", "", Seen::BadKey),
        (Dialect::Plain, 404, "model_not_found", "invalid_request_error", "", Seen::NoModel),
        (Dialect::Plain, 404, "", "", "404 page not found", Seen::NoModel),
        (Dialect::Plain, 400, "model_not_found", "", "", Seen::NoModel),
        (Dialect::Plain, 400, "context_length_exceeded", "", "", Seen::TooLong),
        (Dialect::Plain, 400, "400", "exceed_context_size_error", "the request exceeds", Seen::TooLong),
        (
            Dialect::Plain,
            400,
            "",
            "BadRequestError",
            "This model's maximum context length is 8192",
            Seen::TooLong,
        ),
        (Dialect::Plain, 400, "content_filter", "", "", Seen::Filtered),
        (Dialect::Plain, 400, "content_policy_violation", "", "", Seen::Filtered),
        (Dialect::Plain, 400, "invalid_value", "invalid_request_error", "n must be", Seen::CallersFault),
        (Dialect::Plain, 422, "", "", "Unprocessable", Seen::CallersFault),
        (Dialect::Plain, 409, "", "", "", Seen::CallersFault),
        (Dialect::Plain, 405, "", "", "", Seen::Hard),
        (Dialect::Plain, 415, "", "", "", Seen::Hard),
        (Dialect::Plain, 408, "", "", "", Seen::Hard),
        (Dialect::Plain, 500, "", "", "", Seen::Hard),
        (Dialect::Plain, 502, "", "", "", Seen::Hard),
        (Dialect::Plain, 503, "overloaded", "", "", Seen::Hard),
        (Dialect::Plain, 504, "", "", "", Seen::Hard),
        (Dialect::Plain, 302, "", "", "", Seen::Hard),
        (Dialect::Plain, 429, "1302", "", "", Seen::TooFast),
        (Dialect::Plain, 400, "1301", "", "another's number", Seen::CallersFault),
        (Dialect::Kimi, 429, "", "rate_limit_reached_error", "max RPM: 3", Seen::TooFast),
        (Dialect::Kimi, 429, "", "engine_overloaded_error", "overloaded", Seen::Overloaded),
        (Dialect::Kimi, 429, "", "exceeded_current_quota_error", "suspended", Seen::Exhausted),
        (Dialect::Kimi, 403, "", "exceeded_current_quota_error", "", Seen::Exhausted),
        (Dialect::Kimi, 401, "", "invalid_authentication_error", "", Seen::BadKey),
        (Dialect::Kimi, 400, "", "content_filter", "high risk", Seen::Filtered),
        (Dialect::Kimi, 400, "", "invalid_request_error", "exceeded model token limit: 8192", Seen::TooLong),
        (Dialect::Glm, 429, "1113", "", "", Seen::Exhausted),
        (Dialect::Glm, 400, "1301", "", "", Seen::Filtered),
        (Dialect::Glm, 429, "1302", "", "", Seen::TooFast),
        (Dialect::Glm, 429, "1303", "", "", Seen::TooFast),
        (Dialect::Glm, 429, "1305", "", "", Seen::Overloaded),
        (Dialect::Glm, 400, "1211", "", "", Seen::NoModel),
        (Dialect::Glm, 400, "1261", "", "", Seen::TooLong),
        (Dialect::Glm, 400, "1214", "", "", Seen::CallersFault),
    ];

    // req: S0-05
    #[test]
    fn every_refusal_is_seen_as_what_it_is() {
        for (dialect, status, code, kind, message, seen) in CASES {
            let said =
                Said { code: (*code).into(), kind: (*kind).into(), message: (*message).into(), param: None };
            assert_eq!(
                classify(*dialect, *status, &said),
                *seen,
                "{dialect:?} {status} {code} {kind} {message}"
            );
        }
    }

    #[test]
    fn bodies_of_every_shape_are_read() {
        let said = Said::read(br#"{"error":{"message":"m","type":"t","param":"n","code":1302}}"#);
        assert_eq!((said.code.as_str(), said.kind.as_str(), said.message.as_str()), ("1302", "t", "m"));
        assert_eq!(said.param.as_deref(), Some("n"));
        assert_eq!(Said::read(br#"{"error":"plain words"}"#).message, "plain words");
        assert_eq!(Said::read(br#"{"message":"inside","code":"c"}"#).code, "c");
        for nothing in ["<html>", "", "[1]", "null", "{\"error\":null}"] {
            let said = Said::read(nothing.as_bytes());
            assert!(said.message.is_empty() && said.code.is_empty(), "{nothing}");
        }
    }

    #[test]
    fn a_providers_sentence_is_shown_without_keys_hosts_and_beyond_500_characters() {
        let message = "Incorrect key sk-verysecretkey123 for https://api.example.com/v1/x (see platform.openai.com/docs).\nRetry";
        let shown = sentence(message, Some("sk-verysecretkey123"));
        for secret in ["verysecret", "example.com", "openai.com", "\n"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        assert!(shown.starts_with("Incorrect key"));
        assert_eq!(sentence(&"ä ".repeat(4000), None).chars().count(), 500);
        assert_eq!(sentence("", None), "The model refused this request.");
        assert_eq!(
            sentence("n must be at most 8. Got 9.5 e.g. this", None),
            "n must be at most 8. Got 9.5 e.g. this"
        );
    }

    #[test]
    fn waiting_times_are_read_in_every_form_and_senseless_ones_ignored() {
        let wait = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            retry_after(&headers, 1_700_000_000)
        };
        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(
            wait(&[("retry-after", "7"), ("retry-after-ms", "250")]),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            wait(&[("retry-after", "Tue, 14 Nov 2023 22:13:30 +0000")]),
            Some(Duration::from_secs(10))
        );
        assert_eq!(wait(&[("retry-after", "Tue, 14 Nov 2023 22:13:30 GMT")]), Some(Duration::from_secs(10)));
        let window = [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")];
        assert_eq!(wait(&window), Some(Duration::from_secs(360)));
        for senseless in ["-1", "1e9", "soon", "NaN", ""] {
            assert_eq!(wait(&[("retry-after", senseless)]), None, "{senseless}");
        }
        assert_eq!(span("12ms"), Some(Duration::from_millis(12)));
        assert_eq!(span("1h2m3s"), Some(Duration::from_secs(3723)));
        assert_eq!((span("5"), span("5x"), span("")), (None, None, None));
    }
}
