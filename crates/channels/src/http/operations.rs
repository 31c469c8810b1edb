//! Health, metrics and the API description: what operators and their machines ask. Status needs no credential;
//! details and metrics do. Invariant: nothing here touches the store or an upstream, so it answers while they burn.

use super::{Door, Peer, answer, answer::Schema, governed};
use axum::{body::Body, extract::State};
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use portcullis_domain::{Action, Credential, Door as DoorName, Failure};
use portcullis_telemetry::HealthState;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use std::{net::IpAddr, sync::Arc};
use subtle::ConstantTimeEq as _;

/// The process runs.
pub(super) async fn live(State(door): State<Arc<Door>>) -> Response<Body> {
    respond(&door, StatusCode::OK, &json!({"status": "alive"}))
}

/// Whether requests should be sent here: store usable, not draining.
pub(super) async fn ready(State(door): State<Arc<Door>>) -> Response<Body> {
    let ready = door.health.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(&door, status, &json!({"status": if ready { "ready" } else { "not ready" }}))
}

/// Overall state for everybody; components for callers with scope `admin:read`.
pub(super) async fn health(State(door): State<Arc<Door>>, request: Request<Body>) -> Response<Body> {
    let snapshot = door.health.snapshot();
    let overall = door.health.overall();
    let status = match overall {
        HealthState::Healthy | HealthState::Degraded => StatusCode::OK,
        HealthState::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut value = json!({"status": overall.as_str(), "version": env!("CARGO_PKG_VERSION")});
    let (head, _) = request.into_parts();
    let presented = !matches!(governed::credential(&head.headers), Credential::None);
    if presented {
        match operator(&door, &head).await {
            Ok(()) => value["components"] = serde_json::to_value(snapshot).unwrap_or_default(),
            Err(refusal) => return refusal,
        }
    }
    respond(&door, status, &value)
}

/// Prometheus text, for addresses on the list or the bearer of the token. Anybody else learns nothing: 404 (S0-18).
pub(super) async fn metrics(State(door): State<Arc<Door>>, request: Request<Body>) -> Response<Body> {
    let listed = door.metrics_allow.contains(&peer(request.extensions()).to_canonical());
    if !listed && !bears(request.headers(), door.metrics_token.as_ref()) {
        let failure = Failure::NotFound("There is no such path; /openapi.json lists what is offered.".into());
        return door.refuse(Schema::Rest, &failure, &door.engine.request_id(), &[]);
    }
    let mut response = Response::new(Body::from(door.metrics.render()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The API description, generated from the code.
pub(super) async fn openapi(State(door): State<Arc<Door>>) -> Response<Body> {
    let mut response =
        Response::new(Body::from(door.openapi.get_or_init(|| super::openapi_document().into()).clone()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer::common(response.headers_mut(), Schema::Rest, &door.engine.request_id(), &[], door.now());
    response
}

fn respond(door: &Door, status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = answer::json(status, value);
    answer::common(response.headers_mut(), Schema::Rest, &door.engine.request_id(), &[], door.now());
    response
}

pub(super) fn peer(extensions: &Extensions) -> IpAddr {
    extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0)
}

fn bears(headers: &HeaderMap, token: Option<&SecretString>) -> bool {
    match (governed::credential(headers), token) {
        (Credential::Token(given), Some(token)) => {
            given.as_bytes().ct_eq(token.expose_secret().as_bytes()).into()
        }
        (Credential::Token(_) | Credential::Vouched(_) | Credential::None, _) => false,
    }
}

/// Lets an operator pass, through the same identification and limits as everybody.
async fn operator(door: &Door, head: &Parts) -> Result<(), Response<Body>> {
    let inbound = governed::inbound(door, DoorName::Http, Action::Admin, peer(&head.extensions), head);
    let id = inbound.id;
    match door.engine.enter(inbound).await {
        Ok(admitted) => {
            admitted.done();
            Ok(())
        }
        Err(refused) => Err(door.refuse(Schema::Rest, &refused.failure, &id, &refused.views)),
    }
}
