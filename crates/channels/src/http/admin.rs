//! The admin API, on its own listener: API keys. Every call takes the same way in as any other (identity, limits,
//! audit), at action `admin`. Invariant: the plain key appears in exactly one answer, that of its creation.
//!
//! Source: gateway.md section 13.

use super::{Current, Door, answer, answer::Schema, body, governed, operations::peer};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    routing::{delete, get},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, request::Parts};
use portcullis_domain::{Action, Door as DoorName, Failure, RequestId, Scope, Scopes, Tier};
use portcullis_engine::{Admitted, Views, keys::NewKey};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Largest body of an admin call, in bytes.
const MAX_BODY_BYTES: usize = 65_536;

pub(super) fn routes(door: Current) -> Router {
    Router::new()
        .route("/admin/v1/keys", get(list).post(create))
        .route("/admin/v1/keys/{id}", delete(revoke))
        .fallback(unknown)
        .with_state(door)
}

/// `POST /admin/v1/keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    #[serde(default)]
    tier: Option<String>,
    #[serde(default)]
    scopes: Option<Vec<String>>,
    /// RFC 3339.
    #[serde(default)]
    expires_at: Option<jiff::Timestamp>,
}

async fn list(State(door): State<Arc<Door>>, request: Request<Body>) -> Response<Body> {
    let (head, _) = request.into_parts();
    call(&door, head, Scope::AdminRead, async |_| {
        let keys = door.keys.list().await?;
        Ok((StatusCode::OK, json!({"data": keys})))
    })
    .await
}

async fn create(State(door): State<Arc<Door>>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let headers = head.headers.clone();
    call(&door, head, Scope::AdminWrite, async |admitted: &Admitted| {
        let limits = body::BodyLimits { max_bytes: MAX_BODY_BYTES, timeout: door.body_timeout };
        let deadline = portcullis_domain::Deadline::after(Duration::from_secs(door.gateway.timeout_secs));
        let bytes = body::read_json(&headers, body, limits, deadline).await?;
        let new = new_key(&bytes)?;
        let issued = door.keys.issue(new).await?;
        let details = vec![("id", issued.record.id.clone()), ("name", issued.record.definition.name.clone())];
        admitted.audit("key_created", details).await;
        let mut value = serde_json::to_value(&issued.record).unwrap_or_default();
        value["key"] = issued.key.expose_secret().into();
        Ok((StatusCode::CREATED, value))
    })
    .await
}

async fn revoke(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let (head, _) = request.into_parts();
    call(&door, head, Scope::AdminWrite, async |admitted: &Admitted| {
        if !door.keys.revoke(&id).await? {
            return Err(Failure::NotFound("There is no such key, or it is revoked already.".into()));
        }
        admitted.audit("key_revoked", vec![("id", id.clone())]).await;
        Ok((StatusCode::OK, json!({"id": id, "revoked": true})))
    })
    .await
}

fn new_key(bytes: &Bytes) -> Result<NewKey, Failure> {
    let wanted: Create = serde_json::from_slice(bytes).map_err(|error| {
        Failure::invalid(
            "body",
            format!("The body must be an object with name, and if wanted tier, scopes, expires_at: {error}."),
        )
    })?;
    let name = wanted.name.trim().to_owned();
    if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
        return Err(Failure::invalid("name", "name must have 1 to 64 characters."));
    }
    let scopes = wanted.scopes.unwrap_or_else(|| vec!["chat".into()]);
    let scopes = Scopes::parse(scopes.iter().map(String::as_str))
        .map_err(|_| Failure::invalid("scopes", "scopes are chat, pin, debug, admin:read, admin:write."))?;
    let tier = Tier::from_name(wanted.tier.as_deref().unwrap_or("authenticated"));
    if wanted.expires_at.is_some_and(|at| at <= jiff::Timestamp::now()) {
        return Err(Failure::invalid("expires_at", "expires_at must be in the future."));
    }
    Ok(NewKey { name, tier, scopes, expires_at: wanted.expires_at })
}

/// The way in for an admin call: identity, limits, scope, then the work.
async fn call(
    door: &Door,
    head: Parts,
    scope: Scope,
    work: impl AsyncFnOnce(&Admitted) -> Result<(StatusCode, Value), Failure>,
) -> Response<Body> {
    let address = peer(&head.extensions);
    let inbound = governed::inbound(door, DoorName::Admin, Action::Admin, address, &head);
    let id = inbound.id;
    let admitted = match door.engine.enter(inbound).await {
        Ok(admitted) => admitted,
        Err(refused) => return failed(door, &refused.failure, &id, &refused.views),
    };
    let allowed = admitted.caller().scopes.has(scope);
    let result = if allowed {
        work(&admitted).await
    } else {
        Err(Failure::Forbidden(format!("This key lacks the scope {}.", scope.as_str()).into()))
    };
    match result {
        Ok((status, value)) => {
            let views = admitted.done();
            let mut response = answer::json(status, &value);
            answer::common(response.headers_mut(), Schema::Rest, &id, &views, door.now());
            response.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(failure) => {
            let views = admitted.refuse(failure.clone()).await.views;
            failed(door, &failure, &id, &views)
        }
    }
}

fn failed(door: &Door, failure: &Failure, id: &RequestId, views: &Views) -> Response<Body> {
    door.refuse(Schema::Rest, failure, id, views)
}

async fn unknown(State(door): State<Arc<Door>>) -> Response<Body> {
    let failure = Failure::NotFound("There is no such admin path; /admin/v1/keys is one.".into());
    failed(&door, &failure, &door.engine.request_id(), &Views::new())
}
