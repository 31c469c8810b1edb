//! `Failure` in the words of Anthropic's format. The sentence and the retry time are those of the OpenAI format; status
//! and type differ. Source: gateway.md section 13; Anthropic's API reference, "Errors".

use super::super::answer::ErrorParts;
use http::StatusCode;
use portcullis_domain::RequestId;

/// The status by which Anthropic's clients know that there is no room.
const OVERLOADED: u16 = 529;

/// The status in this format.
pub(in crate::http) fn status(status: StatusCode) -> StatusCode {
    if status == StatusCode::SERVICE_UNAVAILABLE {
        StatusCode::from_u16(OVERLOADED).unwrap_or(status)
    } else {
        status
    }
}

/// The `type` of an error, by its status.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY => "api_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        _ => "invalid_request_error",
    }
}

/// The body `{"type":"error",…}`.
pub(in crate::http) fn body(parts: &ErrorParts<'_>, id: &RequestId) -> serde_json::Value {
    serde_json::json!({
        "type": "error",
        "error": { "type": kind(parts.status), "message": parts.message },
        "request_id": id.as_str(),
    })
}
