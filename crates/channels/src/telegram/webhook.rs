//! Updates that Telegram brings to us. Invariants: an update is taken from nobody who does not know the secret, which is
//! compared in constant time; it is kept as one that we fetched would be, so that the same one brought twice is known;
//! what cannot be kept is told so that it comes again.
//!
//! Source: news.md section 2; Bot API, "setWebhook".

use super::taking::Taking;
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use subtle::ConstantTimeEq as _;
use tokio::time::timeout;

/// Where Telegram says the secret.
const SECRET: &str = "x-telegram-bot-api-secret-token";
/// Telegram is answered within this time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where updates are brought to.
pub(crate) struct Webhook {
    pub(super) path: String,
    pub(super) secret: SecretString,
    pub(super) taking: Arc<Taking>,
}

impl Webhook {
    /// `/telegram/<16 hex>`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether Telegram brings it.
    pub(crate) fn knows(&self, headers: &HeaderMap) -> bool {
        let told = headers.get(SECRET).map(http::HeaderValue::as_bytes).unwrap_or_default();
        self.secret.expose_secret().as_bytes().ct_eq(told).into()
    }

    /// Keeps an update.
    pub(crate) async fn take(&self, body: &[u8]) -> StatusCode {
        let update = serde_json::from_slice::<Value>(body).ok();
        let Some(update) = update.filter(|update| update["update_id"].as_i64().is_some()) else {
            return StatusCode::BAD_REQUEST;
        };
        match timeout(PATIENCE, self.taking.take(std::slice::from_ref(&update), None)).await {
            Ok(Ok(())) => StatusCode::OK,
            Ok(Err(error)) => {
                tracing::warn!(%error, "an update of Telegram cannot be kept; it comes again");
                StatusCode::SERVICE_UNAVAILABLE
            }
            Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
