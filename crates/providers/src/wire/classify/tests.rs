//! Every refusal is seen as what it is.

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
    (Dialect::Plain, 402, "invalid_request_error", "unknown_error", "Insufficient Balance", Seen::Exhausted),
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
    (Dialect::Gemini, 400, "400", "INVALID_ARGUMENT", "Invalid value at 'contents'", Seen::CallersFault),
    (
        Dialect::Gemini,
        400,
        "400",
        "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        Seen::TooLong,
    ),
    (Dialect::Gemini, 400, "400", "FAILED_PRECONDITION", "User location is not supported", Seen::NoModel),
    (Dialect::Gemini, 403, "403", "PERMISSION_DENIED", "", Seen::BadKey),
    (Dialect::Gemini, 404, "404", "NOT_FOUND", "models/x is not found for API version v1beta", Seen::NoModel),
    (Dialect::Gemini, 429, "429", "RESOURCE_EXHAUSTED", "", Seen::TooFast),
    (Dialect::Gemini, 500, "500", "INTERNAL", "", Seen::Hard),
    (Dialect::Gemini, 503, "503", "UNAVAILABLE", "The model is overloaded.", Seen::Overloaded),
    (Dialect::Gemini, 504, "504", "DEADLINE_EXCEEDED", "", Seen::Hard),
    (Dialect::Anthropic, 400, "", "invalid_request_error", "max_tokens: Field required", Seen::CallersFault),
    (
        Dialect::Anthropic,
        400,
        "",
        "invalid_request_error",
        "prompt is too long: 210000 tokens > 200000 maximum",
        Seen::TooLong,
    ),
    (
        Dialect::Anthropic,
        400,
        "",
        "invalid_request_error",
        "Your credit balance is too low to access the API",
        Seen::Exhausted,
    ),
    (Dialect::Anthropic, 401, "", "authentication_error", "invalid x-api-key", Seen::BadKey),
    (Dialect::Anthropic, 402, "", "billing_error", "", Seen::Exhausted),
    (Dialect::Anthropic, 403, "", "permission_error", "", Seen::BadKey),
    (Dialect::Anthropic, 404, "", "not_found_error", "model: x", Seen::NoModel),
    (Dialect::Anthropic, 413, "", "request_too_large", "", Seen::TooLong),
    (Dialect::Anthropic, 429, "", "rate_limit_error", "", Seen::TooFast),
    (Dialect::Anthropic, 500, "", "api_error", "Internal server error", Seen::Hard),
    (Dialect::Anthropic, 529, "", "overloaded_error", "Overloaded", Seen::Overloaded),
    // In a stream there is no status.
    (Dialect::Anthropic, 500, "", "overloaded_error", "Overloaded", Seen::Overloaded),
    (Dialect::Anthropic, 500, "", "rate_limit_error", "", Seen::TooFast),
];

// req: S0-05
#[test]
fn every_refusal_is_seen_as_what_it_is() {
    for (dialect, status, code, kind, message, seen) in CASES {
        let (code, kind, message) = ((*code).into(), (*kind).into(), (*message).into());
        let said = Said { code, kind, message, ..Said::default() };
        assert_eq!(classify(*dialect, *status, &said), *seen, "{dialect:?} {status} {said:?}");
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

const DAILY: &str = r#"{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED",
    "details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[
      {"quotaMetric":"m","quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier","quotaValue":"50"},
      {"quotaMetric":"m","quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier","quotaValue":"10"}]},
    {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"43s"}]}}"#;

// req: S0-05
#[test]
fn googles_quota_details_tell_a_minute_from_a_day() {
    let daily = Said::read(DAILY.as_bytes());
    assert_eq!(classify(Dialect::Gemini, 429, &daily), Seen::Exhausted);
    assert_eq!(daily.wait(Some(Duration::from_secs(3))), None, "a day is not over in 43 seconds");
    let minute = Said::read(format!("[{}]", DAILY.replace("PerDay", "PerMinute")).as_bytes());
    assert_eq!(classify(Dialect::Gemini, 429, &minute), Seen::TooFast);
    assert_eq!(minute.wait(None), Some(Duration::from_secs(43)));
    assert_eq!(minute.quotas.learned.requests.limit, Some(10));
    assert_eq!(minute.wait(Some(Duration::from_secs(3))), Some(Duration::from_secs(3)));
}

#[test]
fn a_key_that_google_does_not_know_is_told_from_a_wrong_request() {
    let body = r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[
        {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
    let said = Said::read(body.as_bytes());
    assert_eq!((said.code.as_str(), said.kind.as_str()), ("400", "INVALID_ARGUMENT"));
    assert_eq!(classify(Dialect::Gemini, 400, &said), Seen::BadKey);
}

#[test]
fn anthropics_shape_is_read_and_senseless_details_say_nothing() {
    let body =
        br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#;
    let said = Said::read(body);
    assert_eq!((said.kind.as_str(), said.message.as_str()), ("overloaded_error", "Overloaded"));
    for details in
        ["7", "[7]", "[{\"violations\":7}]", "[{\"retryDelay\":\"-4s\"}]", "[{\"retryDelay\":\"9e99s\"}]"]
    {
        let said = Said::read(format!("{{\"error\":{{\"status\":\"X\",\"details\":{details}}}}}").as_bytes());
        assert!(said.kind == "X" && said.marks.is_empty() && said.retry_after.is_none(), "{details}");
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
    assert_eq!(wait(&[("retry-after", "7"), ("retry-after-ms", "250")]), Some(Duration::from_millis(250)));
    assert_eq!(wait(&[("retry-after", "Tue, 14 Nov 2023 22:13:30 +0000")]), Some(Duration::from_secs(10)));
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
