//! The HTTP side of the double: accept, check, choose a behaviour, answer. Invariant: hyper drops the future or the
//! body when the client closes its side, and that drop is what notices a hang-up.

use super::{
    Behaviour, Options, Shared, answer, anthropic,
    body::{Body, End, bytewise, deliver, endless, huge},
    gemini,
    record::{Connection, Exchange, Received},
    responses,
    schema::{self, Wrong},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use portcullis_domain::Format;
use serde_json::{Value, json};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// More than any door of ours lets through.
const BODY_LIMIT_BYTES: usize = 128 << 20;

/// Headers that are between our caller and us: none may reach a provider.
const PRIVATE: &[&str] =
    &["cookie", "x-api-key", "x-goog-api-key", "forwarded", "x-forwarded-for", "x-real-ip"];

pub(super) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _peer)) = accepted else { continue };
        drop(stream.set_nodelay(true));
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tasks.spawn(async move {
            let connection = Arc::new(shared.record.connection());
            let service =
                service_fn(|request| exchange(request, Arc::clone(&shared), Arc::clone(&connection)));
            let http = hyper::server::conn::http1::Builder::new()
                .max_headers(1024)
                .serve_connection(TokioIo::new(stream), service);
            // A broken connection is what many tests are about; the record says what is worth knowing.
            tokio::select! {
                _ended = http => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn exchange(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    connection: Arc<Connection>,
) -> io::Result<Response<Body>> {
    let mut exchange = shared.record.open();
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_LIMIT_BYTES).collect_bytes().await.map_err(|problem| {
        shared.record.violation(format!("{} {}: {problem}", parts.method, parts.uri));
        io::Error::other(problem)
    })?;
    let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let options = shared.options.lock().clone();
    let verdict = check(&parts, &json, &options);
    exchange.request = shared.record.received(Received {
        index: 0,
        connection: connection.number,
        method: parts.method.clone(),
        target: parts.uri.to_string(),
        headers: parts.headers.clone(),
        body,
        json: json.clone(),
        at: Instant::now(),
    });
    match verdict {
        Err(wrong) => {
            let line = format!("{} {}: {} {}", parts.method, parts.uri, wrong.status.as_u16(), wrong.message);
            shared.record.violation(line);
            let body = match options.format {
                Format::Anthropic => anthropic::error(&wrong),
                Format::Gemini => gemini::error(&wrong),
                Format::OpenAi | Format::Responses => wrong.body(),
            };
            Ok(respond(wrong.status, whole(&body), exchange))
        }
        Ok(endpoint) => {
            let behaviour = {
                let mut script = shared.script.lock();
                script.next.pop_front().unwrap_or_else(|| script.otherwise.clone())
            };
            if behaviour == Behaviour::Held {
                shared.released.cancelled().await;
            }
            Box::pin(perform(behaviour, endpoint, json, options, exchange)).await
        }
    }
}

/// A bounded `collect`; the workspace bans the unbounded one by name.
trait CollectBytes {
    async fn collect_bytes(self) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;
}

impl CollectBytes for Limited<Incoming> {
    #[expect(clippy::disallowed_methods, reason = "the body is wrapped in Limited")]
    async fn collect_bytes(self) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.collect().await?.to_bytes())
    }
}

/// What a valid request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Endpoint {
    Chat,
    Responses,
    Messages,
    Google(String, gemini::Verb),
    Embeddings,
    Models,
    Model(String),
}

fn check(parts: &Parts, body: &Value, options: &Options) -> Result<Endpoint, Wrong> {
    let path = parts.uri.path();
    let unknown = || {
        let message = format!("Invalid URL ({} {path})", parts.method);
        Wrong::other(StatusCode::NOT_FOUND, None, message)
    };
    let speaks = |format| options.format == format;
    let rest = path.strip_prefix(options.base_path).ok_or_else(unknown)?;
    let (endpoint, method) = match rest {
        _ if speaks(Format::Gemini) => {
            let (model, verb) = gemini::path(rest).ok_or_else(unknown)?;
            (Endpoint::Google(model.to_owned(), verb), Method::POST)
        }
        "/messages" if speaks(Format::Anthropic) => (Endpoint::Messages, Method::POST),
        "/chat/completions" | "/responses" | "/embeddings" if !speaks(Format::OpenAi) => {
            return Err(unknown());
        }
        "/chat/completions" => (Endpoint::Chat, Method::POST),
        "/responses" => (Endpoint::Responses, Method::POST),
        "/embeddings" => (Endpoint::Embeddings, Method::POST),
        "/models" => (Endpoint::Models, Method::GET),
        other => match other.strip_prefix("/models/").filter(|name| !name.is_empty()) {
            Some(name) => (Endpoint::Model(name.to_owned()), Method::GET),
            None => return Err(unknown()),
        },
    };
    if parts.method != method {
        let message = format!("Not allowed to {} on {path}.", parts.method);
        return Err(Wrong::other(StatusCode::METHOD_NOT_ALLOWED, Some("method_not_supported"), message));
    }
    check_headers(parts, options, &endpoint)?;
    let model = match &endpoint {
        Endpoint::Chat => {
            schema::chat(body, options.reject_unknown)?;
            body["model"].as_str()
        }
        Endpoint::Responses => {
            responses::check(body)?;
            body["model"].as_str()
        }
        Endpoint::Messages => {
            anthropic::check(body)?;
            body["model"].as_str()
        }
        Endpoint::Google(model, verb) => {
            gemini::check(body, model, *verb)?;
            Some(model.as_str())
        }
        Endpoint::Embeddings => {
            schema::embeddings(body, options.reject_unknown)?;
            body["model"].as_str()
        }
        Endpoint::Models => None,
        Endpoint::Model(name) => Some(name.as_str()),
    };
    match model {
        Some(name) if !options.models.iter().any(|known| known == name) => {
            let message = format!("The model `{name}` does not exist or you do not have access to it.");
            Err(Wrong::other(StatusCode::NOT_FOUND, Some("model_not_found"), message))
        }
        _ => Ok(endpoint),
    }
}

fn check_headers(parts: &Parts, options: &Options, endpoint: &Endpoint) -> Result<(), Wrong> {
    let all = |name: HeaderName| {
        parts.headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect::<Vec<_>>()
    };
    let credentials = all(header::AUTHORIZATION);
    let right = match &options.key {
        Some(key) => credentials == [format!("Bearer {key}").as_str()],
        None => credentials.is_empty(),
    };
    let own = if let Endpoint::Google(_, verb) = endpoint {
        gemini::check_head(&parts.headers, &parts.uri, *verb, options.key.as_deref())?;
        "x-goog-api-key"
    } else if options.format == Format::Anthropic {
        anthropic::check_headers(&parts.headers, options.key.as_deref())?;
        "x-api-key"
    } else {
        "authorization"
    };
    if own == "authorization" && !right {
        let (code, message) = (Some("invalid_api_key"), "Incorrect API key provided.");
        return Err(Wrong::other(StatusCode::UNAUTHORIZED, code, message));
    }
    if all(header::HOST).len() != 1 {
        return Err(Wrong::other(StatusCode::BAD_REQUEST, None, "expected exactly one Host header"));
    }
    let kind = all(header::CONTENT_TYPE);
    let is_json = |kind: &str| kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json");
    if parts.method == Method::POST && !(kind.len() == 1 && is_json(kind[0])) {
        let message = "Unsupported content type: expected 'application/json'.";
        return Err(Wrong::other(StatusCode::UNSUPPORTED_MEDIA_TYPE, None, message));
    }
    let private = |name: &str| (PRIVATE.contains(&name) && name != own) || name.starts_with("x-portcullis");
    match parts.headers.keys().map(HeaderName::as_str).find(|name| private(name)) {
        Some(name) => {
            let message = format!("the header {name} must not leave Portcullis");
            Err(Wrong::other(StatusCode::BAD_REQUEST, None, message))
        }
        None => Ok(()),
    }
}

/// An answer before it is put on the wire.
struct Draft {
    kind: &'static str,
    chunks: Vec<Bytes>,
    streamed: bool,
}

fn whole(body: &Value) -> Draft {
    Draft { kind: "application/json", chunks: vec![body.to_string().into()], streamed: false }
}

fn right_answer(endpoint: &Endpoint, body: &Value, options: &Options, index: usize) -> Draft {
    match endpoint {
        Endpoint::Chat if body["stream"].as_bool() == Some(true) => Draft {
            kind: "text/event-stream; charset=utf-8",
            chunks: answer::events(body, &options.reply, &options.pace, index),
            streamed: true,
        },
        Endpoint::Chat => whole(&answer::whole(body, &options.reply, index)),
        Endpoint::Responses if body["stream"].as_bool() == Some(true) => Draft {
            kind: "text/event-stream; charset=utf-8",
            chunks: responses::events(body, &options.reply, &options.pace, index),
            streamed: true,
        },
        Endpoint::Responses => whole(&responses::whole(body, &options.reply, index)),
        Endpoint::Messages if body["stream"].as_bool() == Some(true) => Draft {
            kind: "text/event-stream; charset=utf-8",
            chunks: anthropic::events(body, &options.reply, &options.pace, index),
            streamed: true,
        },
        Endpoint::Messages => whole(&anthropic::whole(body, &options.reply, index)),
        Endpoint::Google(_, gemini::Verb::Embed) => whole(&gemini::vectors(body, options)),
        Endpoint::Google(model, gemini::Verb::Stream) => Draft {
            kind: "text/event-stream",
            chunks: gemini::events(body, model, &options.reply, &options.pace, index),
            streamed: true,
        },
        Endpoint::Google(model, gemini::Verb::Generate) => {
            whole(&gemini::whole(body, model, &options.reply, index))
        }
        Endpoint::Embeddings => whole(&answer::embeddings(body, options)),
        Endpoint::Models => whole(&answer::models(options)),
        Endpoint::Model(name) => whole(&answer::model(name)),
    }
}

async fn perform(
    behaviour: Behaviour,
    endpoint: Endpoint,
    body: Value,
    mut options: Options,
    mut exchange: Exchange,
) -> io::Result<Response<Body>> {
    if let Behaviour::Paced(pace) = &behaviour {
        options.pace = pace.clone();
    }
    if let Behaviour::Say(reply) = &behaviour {
        options.reply = reply.clone();
    }
    if behaviour == Behaviour::Recite {
        options.reply = super::Reply::Text(format!("Of course, here they are: {}", instructions(&body)));
    }
    if behaviour == Behaviour::Hang {
        std::future::pending::<()>().await;
    }
    if behaviour == Behaviour::Close {
        exchange.complete = true;
        return Err(io::Error::other("closed without an answer, as told"));
    }
    sleep(options.pace.first_byte).await;
    let draft = right_answer(&endpoint, &body, &options, exchange.request);
    let gap = if draft.streamed { options.pace.between_chunks } else { Duration::ZERO };
    let mut head = Head { status: StatusCode::OK, headers: options.headers };
    head.headers.push(("x-request-id".into(), format!("req_double{:08}", exchange.request)));
    let kind = draft.kind;
    let format = if endpoint == Endpoint::Responses { Format::Responses } else { options.format };
    let body = enact(behaviour, draft, gap, &mut head, (format, exchange));
    if !head.headers.iter().any(|(name, _)| name == "content-type") {
        head.headers.push(("content-type".into(), kind.into()));
    }
    Ok(with_headers(head.status, &head.headers, body))
}

/// What a request of any format tells the model to be.
fn instructions(body: &Value) -> String {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let told =
        messages.iter().filter(|message| ["system", "developer"].iter().any(|role| message["role"] == *role));
    let named = [&body["instructions"], &body["system"], &body["systemInstruction"]["parts"]];
    let mut out = Vec::new();
    for value in told.map(|message| &message["content"]).chain(named) {
        match value {
            Value::String(text) => out.push(text.as_str()),
            Value::Array(parts) => out.extend(parts.iter().filter_map(|part| part["text"].as_str())),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
        }
    }
    out.join("\n")
}

struct Head {
    status: StatusCode,
    headers: Vec<(String, String)>,
}

fn enact(
    behaviour: Behaviour,
    draft: Draft,
    gap: Duration,
    head: &mut Head,
    (format, exchange): (Format, Exchange),
) -> Body {
    let Draft { chunks, streamed, .. } = draft;
    let one = |chunk: Bytes, exchange| deliver(vec![chunk], Duration::ZERO, End::Clean, exchange);
    let first = |count: usize| chunks.iter().take(count).cloned();
    match behaviour {
        Behaviour::Answer
        | Behaviour::Paced(_)
        | Behaviour::Say(_)
        | Behaviour::Recite
        | Behaviour::Held
        | Behaviour::Hang
        | Behaviour::Close => deliver(chunks, gap, End::Clean, exchange),
        Behaviour::HeaderBomb(count) => {
            head.headers.extend((0..count).map(|n| (format!("x-filler-{n}"), "f".repeat(100))));
            deliver(chunks, gap, End::Clean, exchange)
        }
        Behaviour::Status { status, headers, body } => {
            head.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            head.headers.retain(|(name, _)| !headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)));
            head.headers.extend(headers);
            if !head.headers.iter().any(|(name, _)| name == "content-type") {
                head.headers.push(("content-type".into(), "application/json".into()));
            }
            one(body.into(), exchange)
        }
        Behaviour::HangAfterHead => deliver(first(usize::from(streamed)).collect(), gap, End::Hang, exchange),
        Behaviour::Trickle { every } => deliver(bytewise(&chunks), every, End::Clean, exchange),
        Behaviour::CutAfter(count) if streamed => deliver(first(count).collect(), gap, End::Cut, exchange),
        Behaviour::CutAfter(count) => {
            let bytes = bytewise(&chunks).into_iter().take(count);
            deliver(bytes.collect(), gap, End::Cut, exchange)
        }
        Behaviour::EndAfter(count) => deliver(first(count).collect(), gap, End::Clean, exchange),
        Behaviour::ErrorEventAfter(count) => {
            let error = match format {
                Format::Anthropic => {
                    anthropic::event(&anthropic::error_body("overloaded_error", "Overloaded"))
                }
                Format::Responses => responses::error(),
                Format::Gemini => {
                    let message = "The model is overloaded. Please try again later.";
                    gemini::event(&gemini::error_body(503, "UNAVAILABLE", message, Vec::new()))
                }
                Format::OpenAi => {
                    let message = "The server had an error while processing your request.";
                    let inside =
                        json!({ "message": message, "type": "server_error", "param": null, "code": null });
                    answer::event(&json!({ "error": inside }).to_string())
                }
            };
            let events = first(count).chain([error]);
            deliver(events.collect(), gap, End::Clean, exchange)
        }
        Behaviour::Garbage => one(Bytes::from_static(b"\xff\xfe{]not json\x00\n\n"), exchange),
        Behaviour::WrongSchema => {
            let other = json!({ "result": ["what", "is", "this"] }).to_string();
            one(if streamed { answer::event(&other) } else { other.into() }, exchange)
        }
        Behaviour::Html => {
            head.headers.push(("content-type".into(), "text/html".into()));
            one(Bytes::from_static(b"<html><body><h1>It works!</h1></body></html>"), exchange)
        }
        Behaviour::Huge(bytes) => huge(bytes, exchange),
        Behaviour::Endless => endless(exchange),
    }
}

fn respond(status: StatusCode, draft: Draft, exchange: Exchange) -> Response<Body> {
    let body = deliver(draft.chunks, Duration::ZERO, End::Clean, exchange);
    with_headers(status, &[("content-type".into(), draft.kind.into())], body)
}

fn with_headers(status: StatusCode, headers: &[(String, String)], body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        let name = HeaderName::try_from(name.as_str()).expect("scripted header names are valid");
        let value = HeaderValue::try_from(value.as_str()).expect("scripted header values are valid");
        response.headers_mut().append(name, value);
    }
    response
}
