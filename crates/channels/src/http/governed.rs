//! How every `/v1` request is served: the one function between the socket and the engine. Routes are rows of a table
//! that only say how to decode; identity, limits, bounds, inspection, audit and error words come with the row, so a
//! route that skips them cannot be written.

use super::{
    Door, answer,
    answer::Schema,
    body::{BodyLimits, read, read_json},
    decode::DecodeLimits,
    form,
    gemini::{self, ArrayBody, Layout},
    stream::EventBody,
    trace,
};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header, request::Parts};
use portcullis_domain::{
    Action, CacheWish, Credential, Deadline, Door as DoorName, Failure, Format, Hints, Inbound, InputCode,
    Payload, Reply, ReplyBody, Scope,
};
use portcullis_engine::Answer;
use serde_json::json;
use std::{net::IpAddr, time::Duration};

/// Names that every request is asked for, checked when this is compiled.
static TIMEOUT: HeaderName = HeaderName::from_static("x-portcullis-timeout-ms");
static CLIENT_ID: HeaderName = HeaderName::from_static("x-request-id");
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static STRICT: HeaderName = HeaderName::from_static("x-portcullis-strict");
static TARGET: HeaderName = HeaderName::from_static("x-portcullis-target");

/// One row of the route table.
pub(super) struct Route {
    /// Method.
    pub(super) method: Method,
    /// Path in axum's syntax, `{id}` for one variable segment or `{*id}` for the rest.
    pub(super) path: &'static str,
    /// In whose format requests come, answers go and errors are told.
    pub(super) schema: Schema,
    /// Whose limits apply.
    pub(super) action: Action,
    /// From what was sent to a payload.
    pub(super) decode: fn(Asked, &DecodeLimits) -> Result<Payload, Failure>,
}

/// What a request holds beside its headers.
pub(super) struct Asked {
    /// The body, unpacked; empty where the method has none.
    pub(super) body: Bytes,
    /// The variable segment of the path.
    pub(super) segment: Option<String>,
    /// What follows the question mark.
    pub(super) query: String,
    /// The boundary of a form, where the route takes forms and one was sent.
    pub(super) boundary: Option<String>,
}

/// Serves one request of a route, which came from that address.
pub(super) async fn serve(
    door: &Door,
    route: &Route,
    segment: Option<String>,
    address: IpAddr,
    request: Request<Body>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut inbound = inbound(door, DoorName::Http, route.action, address, &head);
    let (id, deadline) = (inbound.id, inbound.deadline);
    let schema = route.schema;
    let layout = match schema {
        Schema::Wire(Format::Gemini) => {
            if matches!(inbound.credential, Credential::None) {
                inbound.credential = gemini::credential(&head.headers, &head.uri);
            }
            Layout::of(route.path, &head.uri)
        }
        Schema::Wire(Format::OpenAi | Format::Responses | Format::Anthropic) | Schema::Rest => Layout::Plain,
    };
    let span = trace::begin(door.engine.traces(), &head.headers, &head.method, route.path);
    let refuse = |failure: &Failure, views: &[_]| {
        let response = door.refuse(schema, failure, &id, views);
        trace::answered(span.as_ref(), response.status());
        response
    };
    let wanted = door.engine.affinity_headers(route.action);
    match smuggled(&head.headers).and_then(|()| hints(&head.headers, wanted)) {
        Ok(hints) => inbound.hints = hints,
        Err(failure) => return refuse(&failure, &[]),
    }
    let admitted = match door.engine.enter_traced(inbound, span.clone()).await {
        Ok(admitted) => admitted,
        Err(refused) => return refuse(&refused.failure, &refused.views),
    };
    let (max_bytes, timeout) = (door.gateway.max_body_bytes, door.body_timeout);
    let boundary = if route.action == Action::Ingest { form::boundary(&head.headers) } else { None };
    let payload = match (&head.method, &boundary) {
        (&Method::GET | &Method::DELETE, _) => Ok(Bytes::new()),
        (_, None) => read_json(&head.headers, body, BodyLimits { max_bytes, timeout }, deadline).await,
        (_, Some(_)) => {
            let max_bytes = door.gateway.max_upload_bytes;
            read(&head.headers, body, BodyLimits { max_bytes, timeout }, deadline).await
        }
    }
    .and_then(|body| {
        let query = head.uri.query().unwrap_or_default().to_owned();
        (route.decode)(Asked { body, segment, query, boundary }, &door.decode)
    });
    let show_target = door.gateway.expose_target || admitted.caller().scopes.has(Scope::Debug);
    let Answer { result, views } = match payload {
        Ok(payload) => admitted.run(payload).await,
        Err(failure) => admitted.refuse(failure).await,
    };
    match result {
        Ok(reply) => {
            trace::cached(span.as_ref(), reply.cache);
            let mut response = success(door, (schema, layout), reply, show_target, &id);
            if route.action == Action::Ingest && head.method == Method::POST {
                // The job goes on after this answer.
                *response.status_mut() = http::StatusCode::ACCEPTED;
            }
            answer::common(response.headers_mut(), schema, &id, &views, door.now());
            trace::answered(span.as_ref(), response.status());
            response
        }
        Err(failure) => refuse(&failure, &views),
    }
}

/// The head of a request as the engine takes it.
pub(super) fn inbound(door: &Door, name: DoorName, action: Action, address: IpAddr, head: &Parts) -> Inbound {
    let whole = match action {
        Action::Embed => door.gateway.embed_timeout_secs,
        Action::Chat
        | Action::Models
        | Action::Admin
        | Action::Ask
        | Action::Message
        | Action::Search
        | Action::Ingest
        | Action::News
        | Action::Menu
        | Action::AddSource
        | Action::Summarise => door.gateway.timeout_secs,
    };
    let asked = head
        .headers
        .get(&TIMEOUT)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map_or(Duration::MAX, Duration::from_millis);
    Inbound {
        id: door.engine.request_id(),
        client_request_id: client_id(&head.headers),
        door: name,
        action,
        address,
        credential: credential(&head.headers),
        deadline: Deadline::after(Duration::from_secs(whole).min(asked)),
        hints: Hints::default(),
    }
}

fn client_id(headers: &HeaderMap) -> Option<Box<str>> {
    let text = headers.get(&CLIENT_ID)?.to_str().ok()?;
    (!text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic()))
        .then(|| text.into())
}

/// What the caller wishes beside the request; `affinity` names the headers that sticky routes go by.
///
/// # Errors
/// An idempotency key that is empty, too long or holds other than visible characters.
fn hints(headers: &HeaderMap, affinity: &[Box<str>]) -> Result<Hints, Failure> {
    const MOST: usize = 128;
    let visible =
        |text: &str| !text.is_empty() && text.len() <= MOST && text.bytes().all(|b| b.is_ascii_graphic());
    let idempotency_key = match headers.get(&IDEMPOTENCY_KEY) {
        None => None,
        Some(value) => match value.to_str() {
            Ok(text) if visible(text) => Some(text.into()),
            Ok(_) | Err(_) => {
                let rule = format!("Idempotency-Key must be 1 to {MOST} visible ASCII characters.");
                return Err(Failure::invalid("Idempotency-Key", rule));
            }
        },
    };
    let wishes = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut cache = CacheWish::Any;
    for wish in wishes.flat_map(|value| value.split(',')) {
        let wish = wish.trim();
        if wish.eq_ignore_ascii_case("no-store") {
            cache = CacheWish::NoStore;
        } else if wish.eq_ignore_ascii_case("no-cache") && cache == CacheWish::Any {
            cache = CacheWish::Fresh;
        }
    }
    let strict = headers.get(&STRICT).is_some_and(|value| value == "1");
    let sticky = |name: &str| {
        let value = headers.get(name)?.to_str().ok().filter(|value| visible(value))?;
        Some((name.into(), value.into()))
    };
    let affinity = affinity.iter().filter_map(|name| sticky(name)).collect();
    // What is no proof is as good as none: the answer says again how to get one.
    let confirm = headers.get(answer::CONFIRM).and_then(|value| value.to_str().ok());
    let confirm = confirm.filter(|text| visible(text)).map(Into::into);
    Ok(Hints { idempotency_key, cache, strict, affinity, confirm, purpose: None })
}

/// What the caller presents: `Authorization: Bearer K`, else `x-api-key: K`.
pub(super) fn credential(headers: &HeaderMap) -> Credential {
    let bearer = headers.get(header::AUTHORIZATION).map(|value| {
        let text = value.to_str().unwrap_or_default();
        let (scheme, rest) = text.split_once(' ').unwrap_or(("", text));
        if scheme.eq_ignore_ascii_case("bearer") { rest.trim() } else { text }
    });
    let plain = || headers.get("x-api-key").map(|value| value.to_str().unwrap_or_default());
    match bearer.or_else(plain) {
        Some(token) => Credential::Token(token.into()),
        None => Credential::None,
    }
}

/// Two ways to say where the body ends are one too many: a proxy before us may believe the other (RFC 9112, 6.3).
fn smuggled(headers: &HeaderMap) -> Result<(), Failure> {
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
    if lengths > 1 || (lengths == 1 && headers.contains_key(header::TRANSFER_ENCODING)) {
        return Err(Failure::InvalidInput {
            code: InputCode::InvalidValue,
            message: "The length of the body is stated twice; send either Content-Length or chunks.".into(),
            param: None,
        });
    }
    Ok(())
}

/// How many headers an answer has: the map grows once.
const HEADERS: usize = 12;

fn success(
    door: &Door,
    (schema, layout): (Schema, Layout),
    reply: Reply,
    show_target: bool,
    id: &portcullis_domain::RequestId,
) -> Response<Body> {
    let (body, kind, stream) = match reply.body {
        ReplyBody::Whole(bytes) if layout == Layout::OneVector => {
            (Body::from(gemini::one_vector(bytes)), "application/json", false)
        }
        ReplyBody::Whole(bytes) => (Body::from(bytes), "application/json", false),
        ReplyBody::Message(message) => {
            (Body::from(json!({ "text": message.words() }).to_string()), "application/json", false)
        }
        ReplyBody::Stream(source) => {
            let every = Duration::from_secs(door.gateway.comment_secs);
            let events = EventBody::new(source, schema, *id, every, door.cut.clone().cancelled_owned());
            match layout {
                Layout::Array => (Body::new(ArrayBody::new(events)), "application/json", true),
                Layout::Plain | Layout::OneVector => (Body::new(events), "text/event-stream", true),
            }
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if stream {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    if let Some(degraded) = reply.degraded {
        headers.insert("x-portcullis-degraded", HeaderValue::from_static(degraded.as_str()));
    }
    if let Some(value) =
        reply.target.filter(|_| show_target).and_then(|name| HeaderValue::from_str(&name).ok())
    {
        headers.insert(&TARGET, value);
    }
    if let Some(value) =
        (!reply.dropped.is_empty()).then(|| HeaderValue::from_str(&reply.dropped.join(",")).ok()).flatten()
    {
        headers.insert("x-portcullis-dropped", value);
    }
    if let Some(note) = reply.cache {
        headers.insert("x-portcullis-cache", HeaderValue::from_static(note.as_str()));
        if let Some(age) = note.age_secs() {
            headers.insert(header::AGE, HeaderValue::from(age));
        }
    }
    response
}
