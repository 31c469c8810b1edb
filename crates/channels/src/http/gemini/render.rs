//! `Failure` in the words of Google's format. The sentence, the status and the retry time are those of the OpenAI
//! format; only the shape differs. Source: settings.md "Errors on HTTP"; Google's `google.rpc.Status` and
//! `google.rpc.Code`, "Standard error payloads".

use super::super::answer::ErrorParts;
use http::StatusCode;
use portcullis_domain::RequestId;
use serde_json::{Value, json};

/// The `status` of an error.
fn name(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
        StatusCode::FORBIDDEN => "PERMISSION_DENIED",
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::CONFLICT => "ABORTED",
        StatusCode::PRECONDITION_REQUIRED => "FAILED_PRECONDITION",
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => "DEADLINE_EXCEEDED",
        StatusCode::TOO_MANY_REQUESTS => "RESOURCE_EXHAUSTED",
        StatusCode::INTERNAL_SERVER_ERROR => "INTERNAL",
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => "UNAVAILABLE",
        _ => "INVALID_ARGUMENT",
    }
}

/// The body `{"error":{"code",…}}`.
pub(in crate::http) fn body(parts: &ErrorParts<'_>, id: &RequestId) -> Value {
    let kind = |name: &str| format!("type.googleapis.com/google.rpc.{name}");
    let mut details = vec![
        json!({"@type": kind("ErrorInfo"), "reason": parts.code.to_uppercase(), "domain": "portcullis"}),
        json!({"@type": kind("RequestInfo"), "requestId": id.as_str()}),
    ];
    if let Some(param) = parts.param {
        let violation = json!({"field": param, "description": parts.message});
        details.push(json!({"@type": kind("BadRequest"), "fieldViolations": [violation]}));
    }
    if let Some(seconds) = parts.retry.seconds() {
        details.push(json!({"@type": kind("RetryInfo"), "retryDelay": format!("{seconds}s")}));
    }
    json!({"error": {
        "code": parts.status.as_u16(),
        "message": parts.message,
        "status": name(parts.status),
        "details": details,
    }})
}
