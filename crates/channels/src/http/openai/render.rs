//! `Failure` in the words of the OpenAI wire: one exhaustive match, so that a new kind of failure stops this from
//! compiling until it has words. Nothing here names a provider, a path or a key. Source: gateway.md section 13.

use super::super::answer::{ErrorParts, Retry};
use http::StatusCode;
use portcullis_domain::{AuthProblem, Failure, InputCode, RequestId};
use std::{borrow::Cow, time::Duration};

/// When a budget that never begins anew may have been raised by its operator.
const RAISED: Duration = Duration::from_secs(3600);

/// The error object's members and the status for a failure.
pub(in crate::http) fn parts(failure: &Failure) -> ErrorParts<'_> {
    let (status, kind, code) = labels(failure);
    let (param, retry) = match failure {
        Failure::InvalidInput { param, .. } => (param.as_deref(), Retry::No),
        Failure::BudgetExceeded { resets_in, .. } => (None, Retry::after(resets_in.unwrap_or(RAISED))),
        Failure::RateLimited { retry_after, .. }
        | Failure::Overloaded { retry_after }
        | Failure::Unavailable { retry_after, .. } => (None, Retry::after(*retry_after)),
        Failure::Unauthenticated(_)
        | Failure::Forbidden(_)
        | Failure::ModelNotAllowed(_)
        | Failure::NotFound(_)
        | Failure::Conflict(_)
        | Failure::Blocked { .. }
        | Failure::Unconfirmed { .. }
        | Failure::DeadlineExceeded
        | Failure::UpstreamInterrupted
        | Failure::Internal { .. } => (None, Retry::No),
    };
    ErrorParts { status, kind, code, message: message(failure, retry), param, retry }
}

/// Status, `type` and `code`.
const fn labels(failure: &Failure) -> (StatusCode, &'static str, &'static str) {
    const REQUEST: &str = "invalid_request_error";
    const SERVER: &str = "server_error";
    match failure {
        Failure::InvalidInput { code, .. } => {
            let (status, code) = input(*code);
            (status, REQUEST, code)
        }
        Failure::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, REQUEST, "invalid_api_key"),
        Failure::Forbidden(_) => (StatusCode::FORBIDDEN, "permission_error", "insufficient_permissions"),
        Failure::ModelNotAllowed(_) => (StatusCode::FORBIDDEN, "permission_error", "model_not_allowed"),
        Failure::NotFound(_) => (StatusCode::NOT_FOUND, REQUEST, "model_not_found"),
        Failure::Conflict(_) => (StatusCode::CONFLICT, REQUEST, "idempotency_mismatch"),
        Failure::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "requests", "rate_limit_exceeded"),
        Failure::BudgetExceeded { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", "insufficient_quota")
        }
        Failure::Blocked { .. } => (StatusCode::BAD_REQUEST, REQUEST, "content_filter"),
        // Not 409: clients send such again by themselves.
        Failure::Unconfirmed { .. } => (StatusCode::PRECONDITION_REQUIRED, REQUEST, "confirmation_required"),
        Failure::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "overloaded"),
        Failure::Unavailable { rate_limited: true, .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "requests", "provider_rate_limited")
        }
        Failure::Unavailable { rate_limited: false, .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, SERVER, "provider_unavailable")
        }
        Failure::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, SERVER, "timeout"),
        Failure::UpstreamInterrupted => (StatusCode::BAD_GATEWAY, SERVER, "upstream_interrupted"),
        Failure::Internal { .. } => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "internal_error"),
    }
}

/// The sentence: what happened, what was not affected, what to do.
fn message(failure: &Failure, retry: Retry) -> Cow<'_, str> {
    match failure {
        Failure::InvalidInput { message, .. }
        | Failure::Forbidden(message)
        | Failure::ModelNotAllowed(message)
        | Failure::NotFound(message)
        | Failure::Conflict(message) => Cow::Borrowed(message),
        Failure::Unauthenticated(problem) => Cow::Borrowed(auth_words(*problem)),
        Failure::RateLimited { scope, .. } => Cow::Owned(format!(
            "Rate limit reached ({}). Nothing was charged; try again in {} s.",
            scope.as_str(),
            retry.seconds().unwrap_or(1)
        )),
        Failure::BudgetExceeded { budget, resets_in } => Cow::Owned(match (resets_in, retry.seconds()) {
            (Some(_), Some(secs)) => format!(
                "The budget `{budget}` has not enough left for this request. Nothing was charged; it is renewed in {secs} s."
            ),
            (Some(_), None) | (None, _) => format!(
                "The budget `{budget}` has not enough left for this request. Nothing was charged; ask the operator to raise it."
            ),
        }),
        Failure::Blocked { incident } => {
            Cow::Owned(format!("I cannot process this message. Ask the operator about {incident}."))
        }
        Failure::Unconfirmed { incident, expires_in, .. } => Cow::Owned(format!(
            "This message looks like an attempt to mislead the AI and was not sent on. If it is meant, send it again unchanged within {} s with the header x-portcullis-confirm that this answer has. Ask the operator about {incident}.",
            expires_in.as_secs()
        )),
        Failure::Overloaded { .. } => {
            Cow::Borrowed("All places are taken right now. Nothing was charged; please try again shortly.")
        }
        Failure::Unavailable { rate_limited: true, .. } => Cow::Borrowed(
            "The AI behind this model asks us to slow down. Nothing was charged; please try again later.",
        ),
        Failure::Unavailable { rate_limited: false, .. } => Cow::Borrowed(
            "No AI that could answer is available right now. Nothing was charged; please try again later.",
        ),
        Failure::DeadlineExceeded => {
            Cow::Borrowed("The answer did not come in time. Ask for less, or allow more time.")
        }
        Failure::UpstreamInterrupted => {
            Cow::Borrowed("The answer broke off before its end; what came so far is incomplete.")
        }
        Failure::Internal { incident } => Cow::Owned(format!(
            "An internal error occurred. Other requests are not affected; name {incident} to the operator."
        )),
    }
}

/// Status and code of each kind of wrong input; shared by every error schema.
pub(in crate::http) const fn input(code: InputCode) -> (StatusCode, &'static str) {
    match code {
        InputCode::InvalidValue => (StatusCode::BAD_REQUEST, "invalid_value"),
        InputCode::MissingParameter => (StatusCode::BAD_REQUEST, "missing_required_parameter"),
        InputCode::ContextTooLong => (StatusCode::BAD_REQUEST, "context_length_exceeded"),
        InputCode::UnsupportedParameter => (StatusCode::BAD_REQUEST, "unsupported_parameter"),
        InputCode::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
        InputCode::UnsupportedMedia => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
        InputCode::TooSlow => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
        InputCode::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
    }
}

/// What a stranger is told about a refused credential: only "missing" and "expired" are told apart.
pub(in crate::http) const fn auth_words(problem: AuthProblem) -> &'static str {
    match problem {
        AuthProblem::Missing => {
            "Authentication failed: the key is missing. Send it as Authorization: Bearer KEY or x-api-key: KEY."
        }
        AuthProblem::Expired => "Authentication failed: the credential has expired.",
        AuthProblem::Malformed
        | AuthProblem::Algorithm
        | AuthProblem::Signature
        | AuthProblem::NoExpiry
        | AuthProblem::NotYet
        | AuthProblem::TooLong
        | AuthProblem::Issuer
        | AuthProblem::Audience
        | AuthProblem::Subject
        | AuthProblem::Revoked
        | AuthProblem::UnknownKey
        | AuthProblem::AddressBlocked
        | AuthProblem::Address
        | AuthProblem::CheckFailed => "Authentication failed.",
    }
}

/// The body `{"error":{…}}`.
pub(in crate::http) fn body(parts: &ErrorParts<'_>, id: &RequestId) -> serde_json::Value {
    serde_json::json!({"error": {
        "message": parts.message,
        "type": parts.kind,
        "param": parts.param,
        "code": parts.code,
        "request_id": id.as_str(),
    }})
}

/// The last event of a broken stream in the format of responses, after so many others. Clients look for the error in
/// the event itself or inside of it: it is in both places.
pub(in crate::http) fn event(parts: &ErrorParts<'_>, id: &RequestId, number: u64) -> String {
    let mut data = body(parts, id);
    data["type"] = "error".into();
    data["sequence_number"] = number.into();
    for member in ["code", "message", "param"] {
        data[member] = data["error"][member].clone();
    }
    format!("event: error\ndata: {data}\n\n")
}
