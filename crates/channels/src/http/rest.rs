//! `Failure` in the words of the REST APIs (admin, health, unknown paths). The status, the retry time and the
//! sentence are those of the OpenAI wire; only the shape differs. Source: review.md section 11.

use super::answer::ErrorParts;
use http::StatusCode;
use portcullis_domain::RequestId;

/// The REST name of an error, by status.
fn name(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "AuthenticationError",
        StatusCode::FORBIDDEN => "AuthorizationError",
        StatusCode::NOT_FOUND => "NotFoundError",
        StatusCode::CONFLICT => "ConflictError",
        StatusCode::PRECONDITION_REQUIRED => "ConfirmationRequiredError",
        StatusCode::TOO_MANY_REQUESTS => "RateLimitError",
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY => "InternalServerError",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => "ServiceUnavailableError",
        _ => "ValidationError",
    }
}

/// The body of a REST error.
pub(super) fn body(parts: &ErrorParts<'_>, id: &RequestId, now: jiff::Timestamp) -> serde_json::Value {
    let mut details = serde_json::Map::new();
    if let Some(param) = parts.param {
        details.insert("field".into(), param.into());
    }
    if let Some(seconds) = parts.retry.seconds() {
        details.insert("retry_after".into(), seconds.into());
    }
    serde_json::json!({
        "error": name(parts.status),
        "message": parts.message,
        "details": details,
        "status_code": parts.status.as_u16(),
        "timestamp": format!("{now:.3}"),
        "request_id": id.as_str(),
    })
}
