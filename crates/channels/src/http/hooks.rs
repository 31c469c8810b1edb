//! What others bring to the main listener for doors beside HTTP. Invariants: who brings it is checked before its body is
//! read; it is answered when it is kept and before any work; nothing is said but a status.
//!
//! Source: news.md section 2.

use super::{
    Door,
    body::{BodyLimits, read_json},
    routes,
};
use crate::telegram::Webhook;
use axum::{body::Body, extract::State};
use http::{HeaderValue, Request, Response, StatusCode, header};
use parking_lot::RwLock;
use portcullis_domain::{Deadline, Failure, InputCode};
use std::{sync::Arc, time::Duration};

/// Most bytes of an update.
const UPDATE_BYTES: usize = 1 << 20;
/// Longest time in which an update must have come.
const UPDATE_TIME: Duration = Duration::from_secs(10);
/// When to come again with what could not be kept, in seconds.
const AGAIN: HeaderValue = HeaderValue::from_static("5");

/// The doors beside HTTP to which something is brought. Cheap to clone.
#[derive(Clone, Default)]
pub struct Hooks(Arc<RwLock<Option<Arc<Webhook>>>>);

impl Hooks {
    /// Updates of Telegram are taken from now on.
    pub(crate) fn open_telegram(&self, webhook: Webhook) {
        *self.0.write() = Some(Arc::new(webhook));
    }

    /// As the main listener answers, for tests without one.
    #[cfg(test)]
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        match self.telegram(request.uri().path()) {
            Some(webhook) => take(&webhook, request).await,
            None => status(StatusCode::NOT_FOUND),
        }
    }

    fn telegram(&self, path: &str) -> Option<Arc<Webhook>> {
        self.0.read().clone().filter(|webhook| webhook.path() == path)
    }
}

/// `POST /telegram/<16 hex>`.
pub(super) async fn telegram(state: State<Arc<Door>>, request: Request<Body>) -> Response<Body> {
    match state.hooks.telegram(request.uri().path()) {
        Some(webhook) => take(&webhook, request).await,
        None => routes::unknown(state, request).await,
    }
}

async fn take(webhook: &Webhook, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    if !webhook.knows(&head.headers) {
        return status(StatusCode::UNAUTHORIZED);
    }
    let limits = BodyLimits { max_bytes: UPDATE_BYTES, timeout: UPDATE_TIME };
    match read_json(&head.headers, body, limits, Deadline::after(UPDATE_TIME)).await {
        Ok(update) => status(webhook.take(&update).await),
        Err(Failure::InvalidInput { code: InputCode::TooLarge, .. }) => status(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => status(StatusCode::BAD_REQUEST),
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, AGAIN);
    }
    response
}
