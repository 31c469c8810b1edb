//! What the double does with a valid request: answer, or one of the ways real providers misbehave. A table of
//! named faults with the bodies and headers that providers really send.

use serde_json::json;
use std::time::Duration;

/// How fast answers come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Wait before the status line.
    pub first_byte: Duration,
    /// Wait before each streamed event after the first.
    pub between_chunks: Duration,
    /// Content pieces of a streamed answer; one a word by default.
    pub chunks: Option<usize>,
}

/// What the model says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Text.
    Text(String),
    /// A call of one tool.
    ToolCall {
        /// The function.
        name: String,
        /// Its arguments, JSON as text.
        arguments: String,
    },
}

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// A right answer at the double's pace.
    Answer,
    /// A right answer at another pace.
    Paced(Pace),
    /// A right answer with other words.
    Say(Reply),
    /// A right answer that recites the instructions of the request, as a model does that was talked into it.
    Recite,
    /// This status with this body.
    Status {
        /// 100 to 599.
        status: u16,
        /// Beside `content-type: application/json`.
        headers: Vec<(String, String)>,
        /// Sent as it is.
        body: String,
    },
    /// A right answer once [`super::OpenAi::release`] was called.
    Held,
    /// Takes the request and never answers.
    Hang,
    /// Sends the head and the first event (or nothing of a whole body), then never goes on.
    HangAfterHead,
    /// A right answer, one byte at a time.
    Trickle {
        /// Wait before each byte.
        every: Duration,
    },
    /// A right answer whose connection breaks after so many events (or bytes of a whole body).
    CutAfter(usize),
    /// Takes the request and closes the connection without a byte.
    Close,
    /// A streamed answer that ends cleanly after so many events, without finish reason and `[DONE]`.
    EndAfter(usize),
    /// An error event after so many events, then a clean end, as OpenAI does when a model dies.
    ErrorEventAfter(usize),
    /// 200 with bytes that are no JSON and no event.
    Garbage,
    /// 200 with valid JSON (or events) of another schema.
    WrongSchema,
    /// 200 with HTML, as a proxy in front of a provider sends.
    Html,
    /// 200 with a JSON string of so many bytes, made as it is read.
    Huge(u64),
    /// Events that never end, as fast as they are read.
    Endless,
    /// A right answer under so many headers of a hundred bytes each.
    HeaderBomb(usize),
}

impl Behaviour {
    /// An error in OpenAI's schema.
    #[must_use]
    pub fn error(status: u16, kind: &str, code: &str, message: &str) -> Self {
        let body = json!({ "error": { "message": message, "type": kind, "param": null, "code": code } });
        Self::Status { status, headers: Vec::new(), body: body.to_string() }
    }

    /// An error in Google's schema, with details.
    #[must_use]
    pub fn gemini_error(status: u16, name: &str, message: &str, details: Vec<serde_json::Value>) -> Self {
        let body = super::gemini::error_body(status, name, message, details).to_string();
        Self::Status { status, headers: Vec::new(), body }
    }

    /// 429 as Google sends it: which quota, of a minute or a day, and when to come back.
    #[must_use]
    pub fn gemini_quota(daily: bool, retry_after_secs: u64) -> Self {
        let window = if daily { "PerDay" } else { "PerMinute" };
        let quota = format!("GenerateRequests{window}PerProjectPerModel-FreeTier");
        let kind = |name: &str| format!("type.googleapis.com/google.rpc.{name}");
        let details = vec![
            json!({"@type": kind("QuotaFailure"), "violations": [{"quotaId": quota, "quotaValue": "15"}]}),
            json!({"@type": kind("RetryInfo"), "retryDelay": format!("{retry_after_secs}s")}),
        ];
        let message = "You exceeded your current quota, please check your plan and billing details.";
        Self::gemini_error(429, "RESOURCE_EXHAUSTED", message, details)
    }

    /// Google's filter refuses the prompt: a good answer without candidates, whole or as the only event.
    #[must_use]
    pub fn gemini_blocked(streamed: bool) -> Self {
        let body = json!({
            "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
            "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
            "modelVersion": "gemini-double", "responseId": "blocked",
        });
        if streamed {
            let headers = vec![("content-type".into(), "text/event-stream".into())];
            return Self::Status { status: 200, headers, body: format!("data: {body}\r\n\r\n") };
        }
        Self::Status { status: 200, headers: Vec::new(), body: body.to_string() }
    }

    /// An error in Anthropic's schema.
    #[must_use]
    pub fn anthropic_error(status: u16, kind: &str, message: &str) -> Self {
        let body = super::anthropic::error_body(kind, message).to_string();
        Self::Status { status, headers: Vec::new(), body }
    }

    /// The same with one more header; other behaviours stay as they are.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Status { headers, .. } = &mut self {
            headers.push((name.into(), value.into()));
        }
        self
    }

    /// 429, too fast: wait and come back.
    #[must_use]
    pub fn rate_limited(retry_after_secs: u64) -> Self {
        Self::error(
            429,
            "requests",
            "rate_limit_exceeded",
            "Rate limit reached for requests. Please try again.",
        )
        .with_header("retry-after", &retry_after_secs.to_string())
        .with_header("x-ratelimit-remaining-requests", "0")
        .with_header("x-ratelimit-reset-requests", &format!("{retry_after_secs}s"))
    }

    /// 429, the account is out of credit: waiting does not help.
    #[must_use]
    pub fn quota_exhausted() -> Self {
        let message = "You exceeded your current quota, please check your plan and billing details.";
        Self::error(429, "insufficient_quota", "insufficient_quota", message)
    }

    /// 429, the provider itself has no room (Moonshot's words).
    #[must_use]
    pub fn engine_overloaded() -> Self {
        let message = "The engine is currently overloaded, please try again later";
        Self::error(429, "engine_overloaded_error", "engine_overloaded", message)
    }

    /// 503, no room (OpenAI's words).
    #[must_use]
    pub fn overloaded() -> Self {
        Self::error(503, "server_error", "overloaded", "The server is overloaded or not ready yet.")
    }

    /// 529, no room (Anthropic's status).
    #[must_use]
    pub fn overloaded_529() -> Self {
        Self::error(529, "overloaded_error", "overloaded", "Overloaded")
    }

    /// 500.
    #[must_use]
    pub fn server_error() -> Self {
        Self::error(
            500,
            "server_error",
            "internal_error",
            "The server had an error while processing your request.",
        )
    }

    /// 401, as for a revoked key; it shows part of the key, which must not reach our caller.
    #[must_use]
    pub fn bad_key() -> Self {
        let message =
            "Incorrect API key provided: sk-doub********able. You can find your API key at the console.";
        Self::error(401, "invalid_request_error", "invalid_api_key", message)
    }

    /// 402, pay first (DeepSeek, OpenRouter).
    #[must_use]
    pub fn payment_required() -> Self {
        Self::error(402, "unknown_error", "invalid_request_error", "Insufficient Balance")
    }

    /// 404 for a model the account does not have.
    #[must_use]
    pub fn model_gone() -> Self {
        let message = "The model does not exist or you do not have access to it.";
        Self::error(404, "invalid_request_error", "model_not_found", message)
    }

    /// 400, the prompt is longer than the model's window.
    #[must_use]
    pub fn context_too_long() -> Self {
        let message = "This model's maximum context length is 8192 tokens.";
        Self::error(400, "invalid_request_error", "context_length_exceeded", message)
    }

    /// 400, the provider's own filter.
    #[must_use]
    pub fn content_filter() -> Self {
        let message = "The response was filtered due to the prompt triggering content management policy.";
        Self::error(400, "invalid_request_error", "content_filter", message)
    }
}
