//! Calls to the Bot API. Invariants: a call either never left (`NotSent`), or was answered, or nobody knows (`Unknown`);
//! no error, log line or metric holds an address, because the token is part of every one; all but long polls go
//! through the guarded dependency `telegram`, which a 429 or a refusal of one chat never opens.
//!
//! Source: Bot API, "Making requests"; news.md sections 1 and 9; S0-14.

use super::config::{TelegramConfig, base};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use portcullis_domain::{Action, Deadline};
use portcullis_resilience::{
    CallCtx, CallError, Class, Dependency, DependencyPolicy, GuardConfig, Learn, Registry,
    breaker::BreakerPolicy,
    bulkhead::BulkheadPolicy,
    http::{Client, HttpError, collect},
    pacing::PacePolicy,
};
use portcullis_telemetry::{Alerts, Metrics};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// Most bytes of an answer that is no file.
const ANSWER_BYTES: usize = 16 << 20;
/// Longest text of an error that is kept, in characters.
const WORDS: usize = 200;

/// Why a call brought no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    /// It never left; where known, when it may.
    #[error("Telegram is not reached: {why}")]
    NotSent {
        /// Why.
        why: String,
        /// How long it is left alone.
        wait: Option<Duration>,
    },
    /// It left; whether it was done nobody knows.
    #[error("Telegram did not answer")]
    Unknown,
    /// Telegram refused.
    #[error("Telegram refused: {words} ({code})")]
    Refused {
        /// Its code, that of HTTP.
        code: u16,
        /// Its words.
        words: String,
        /// When it may be asked again, in seconds.
        retry_after: Option<u64>,
        /// The chat's new number.
        migrate_to: Option<i64>,
    },
}

impl ApiError {
    pub(super) const fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::NotSent { .. } | Self::Unknown => None,
        }
    }

    /// Whether Telegram does not know our token.
    pub(super) const fn is_token(&self) -> bool {
        matches!(self.code(), Some(401 | 404))
    }

    fn away(why: impl Into<String>) -> Self {
        Self::NotSent { why: why.into(), wait: None }
    }

    /// What it means for the breaker: a chat that is refused, or told to wait, says nothing of the rest.
    const fn class(&self) -> Class {
        match self {
            Self::NotSent { .. } | Self::Unknown => Class::HardFailure,
            Self::Refused { code: 500.., .. } => Class::HardFailure,
            Self::Refused { .. } => Class::CallerFault,
        }
    }
}

/// A file to send.
#[derive(Clone, Debug)]
pub(super) struct Upload<'a> {
    pub(super) field: &'static str,
    pub(super) name: &'a str,
    pub(super) bytes: &'a [u8],
}

struct Inner {
    base: String,
    token: SecretString,
    client: Client,
    patience: Duration,
    guard: Dependency,
}

/// Calls to the Bot API. Cheap to clone.
#[derive(Clone)]
pub(super) struct Api(Arc<Inner>);

impl Api {
    /// Ready to call; registers the dependency `telegram`. None where the address is none.
    pub(super) fn new(
        config: &TelegramConfig,
        token: SecretString,
        client: Client,
        (registry, metrics, alerts): (&Registry, &Metrics, &Alerts),
    ) -> Option<Self> {
        let guard = Dependency::new(policy(config), metrics, alerts);
        registry.add(guard.clone());
        let (base, patience) = (base(&config.api_base)?, config.patience());
        Some(Self(Arc::new(Inner { base, token, client, patience, guard })))
    }

    /// The number of the bot, which is the public part of the token.
    pub(super) fn bot_id(&self) -> i64 {
        let token = self.0.token.expose_secret();
        token.trim().split(':').next().and_then(|id| id.parse().ok()).unwrap_or_default()
    }

    /// Calls a method.
    pub(super) async fn call(&self, method: &str, params: &Value) -> Result<Value, ApiError> {
        let body = Body::json(params);
        self.guarded(self.0.patience, |deadline| self.post(method, body.clone(), deadline)).await
    }

    /// Calls a method with a file.
    pub(super) async fn upload(
        &self,
        method: &str,
        params: &Value,
        file: &Upload<'_>,
    ) -> Result<Value, ApiError> {
        let body = Body::form(params, file);
        // A file of 50 MB takes its time.
        let patience = self.0.patience * 6;
        self.guarded(patience, |deadline| self.post(method, body.clone(), deadline)).await
    }

    /// A call that may wait long, outside the guard: its failures are its caller's to pace.
    pub(super) async fn long(
        &self,
        method: &str,
        params: &Value,
        patience: Duration,
    ) -> Result<Value, ApiError> {
        self.post(method, Body::json(params), Deadline::after(patience)).await
    }

    /// Fetches a file by the path that `getFile` told.
    pub(super) async fn file(&self, path: &str, most: usize) -> Result<Bytes, ApiError> {
        self.guarded(self.0.patience * 3, |deadline| self.get(path, most, deadline)).await
    }

    async fn guarded<T, F>(&self, patience: Duration, send: impl Fn(Deadline) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let ctx = CallCtx {
            deadline: Deadline::after(patience),
            caller: "telegram".into(),
            weight: 1,
            action: Action::Message,
            tokens: 0,
            tried: 0,
            // One attempt: what is to be repeated is known by who asked.
            others: true,
        };
        let sent = self.0.guard.call(&ctx, |attempt| {
            let call = send(attempt.deadline);
            async move { call.await.map_err(|error| (error.class(), error)) }
        });
        match sent.await {
            Ok(guarded) => {
                guarded.permit.finish(Class::Ok);
                Ok(guarded.value)
            }
            Err(CallError::Failed { error, .. }) => Err(error.unwrap_or(ApiError::Unknown)),
            Err(
                CallError::Open { retry_after }
                | CallError::Full { retry_after }
                | CallError::Paced { retry_after },
            ) => {
                Err(ApiError::NotSent { why: "it failed and is left alone".into(), wait: Some(retry_after) })
            }
            Err(CallError::DeadlineExceeded) => Err(ApiError::Unknown),
        }
    }

    async fn post(&self, method: &str, body: Body, deadline: Deadline) -> Result<Value, ApiError> {
        let address = format!("{}/bot{}/{method}", self.0.base, self.0.token.expose_secret().trim());
        let request = Request::post(address)
            .header(header::CONTENT_TYPE, body.kind)
            .body(Full::new(body.bytes))
            // The builder's error may hold the address.
            .map_err(|_| ApiError::away("the token or the address cannot be used"))?;
        let (code, bytes) = self.exchange(request, ANSWER_BYTES, deadline).await?;
        read(code, &bytes)
    }

    async fn get(&self, path: &str, most: usize, deadline: Deadline) -> Result<Bytes, ApiError> {
        let address = format!("{}/file/bot{}/{path}", self.0.base, self.0.token.expose_secret().trim());
        let request = Request::get(address)
            .body(Full::default())
            .map_err(|_| ApiError::away("the file has a name that cannot be asked for"))?;
        let (code, bytes) = self.exchange(request, most, deadline).await?;
        if code == 200 { Ok(bytes) } else { read(code, &bytes).and(Err(ApiError::Unknown)) }
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        most: usize,
        deadline: Deadline,
    ) -> Result<(u16, Bytes), ApiError> {
        let answer = match tokio::time::timeout_at(deadline.instant(), self.0.client.send(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(HttpError::Connect(why))) => return Err(ApiError::away(why)),
            Ok(Err(HttpError::Refused(_))) => return Err(ApiError::away("the address is not allowed")),
            Ok(Err(HttpError::Broken(_) | HttpError::TooLarge(_) | HttpError::Timeout)) | Err(_) => {
                return Err(ApiError::Unknown);
            }
        };
        let code = answer.status().as_u16();
        let bytes = collect(answer.into_body(), most, deadline).await.map_err(|_| ApiError::Unknown)?;
        Ok((code, bytes))
    }
}

/// What an answer says.
fn read(code: u16, bytes: &[u8]) -> Result<Value, ApiError> {
    let Ok(mut answer) = serde_json::from_slice::<Value>(bytes) else {
        if code < 400 {
            return Err(ApiError::Unknown);
        }
        // Something between us and Telegram.
        let words = "without its usual form".to_owned();
        return Err(ApiError::Refused { code, words, retry_after: None, migrate_to: None });
    };
    if answer["ok"] == true {
        return Ok(answer["result"].take());
    }
    let parameters = &answer["parameters"];
    Err(ApiError::Refused {
        code: answer["error_code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(code),
        words: answer["description"].as_str().unwrap_or_default().chars().take(WORDS).collect(),
        retry_after: parameters["retry_after"].as_u64(),
        migrate_to: parameters["migrate_to_chat_id"].as_i64(),
    })
}

/// A body with its type.
#[derive(Clone)]
struct Body {
    kind: String,
    bytes: Bytes,
}

impl Body {
    fn json(params: &Value) -> Self {
        Self { kind: "application/json".into(), bytes: params.to_string().into() }
    }

    /// RFC 7578. The border is random, so that no file can hold it.
    fn form(params: &Value, file: &Upload<'_>) -> Self {
        let border = format!("portcullis-{:032x}", rand::random::<u128>());
        let mut bytes = Vec::with_capacity(file.bytes.len() + 1024);
        for (name, value) in params.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let head = format!("--{border}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(text.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        let plain: String =
            file.name.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect();
        let head = format!(
            "--{border}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{plain}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            file.field
        );
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(file.bytes);
        bytes.extend_from_slice(format!("\r\n--{border}--\r\n").as_bytes());
        Self { kind: format!("multipart/form-data; boundary={border}"), bytes: bytes.into() }
    }
}

fn policy(config: &TelegramConfig) -> DependencyPolicy {
    DependencyPolicy {
        name: "telegram".into(),
        breaker: BreakerPolicy { failures: 5, reset: Duration::from_secs(config.backoff_secs[0].max(1) * 2) },
        bulkhead: BulkheadPolicy { concurrency: 64, queue: 256 },
        // The outbox paces, chat by chat.
        pace: PacePolicy { per_min: None, tokens_per_min: None },
        lanes: 1,
        learn: Learn::Off,
        // Each call brings its own time.
        attempt_timeout: config.patience() * 6,
        hold: Duration::from_secs(60),
        guard: GuardConfig { attempts: 1, ..GuardConfig::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_telegram_writes_them() {
        assert_eq!(read(200, br#"{"ok":true,"result":{"id":7}}"#).unwrap()["id"], 7);
        let limited = read(
            429,
            br#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 7","parameters":{"retry_after":7}}"#,
        );
        let words = "Too Many Requests: retry after 7".to_owned();
        let expected = ApiError::Refused { code: 429, words, retry_after: Some(7), migrate_to: None };
        assert_eq!(limited, Err(expected));
        let moved = br#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","parameters":{"migrate_to_chat_id":-100123}}"#;
        assert!(matches!(read(400, moved), Err(ApiError::Refused { migrate_to: Some(-100_123), .. })));
        assert_eq!(read(502, b"<html>bad gateway</html>").unwrap_err().code(), Some(502));
        assert_eq!(read(200, b"<html>"), Err(ApiError::Unknown));
    }

    #[test]
    fn a_file_is_a_part_of_a_form_and_its_name_breaks_nothing() {
        let params = serde_json::json!({"chat_id": -7, "caption": "two\nlines"});
        let file = Upload { field: "document", name: "a\"\r\nb.txt", bytes: b"what it says" };
        let Body { kind, bytes } = Body::form(&params, &file);
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let border = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        assert_eq!(text.matches(&format!("--{border}\r\n")).count(), 3);
        assert!(text.ends_with(&format!("what it says\r\n--{border}--\r\n")));
        assert!(text.contains("filename=\"ab.txt\"") && text.contains("name=\"chat_id\"\r\n\r\n-7\r\n"));
    }
}
