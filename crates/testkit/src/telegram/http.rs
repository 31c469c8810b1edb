//! HTTP of the double: which path is what, how a call is read, which faults it meets, how it is answered. Invariant: a
//! call is recorded before anything is done with it.

use super::{
    Telegram, control, fault,
    fault::{Fault, Reset},
    methods::{self, Work},
    params::{self, Params},
    poll,
    records::Call,
    state::{Outcome, Refusal, Shared},
    table,
};
use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    io,
    net::SocketAddr,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

pub(super) use http::StatusCode as Status;
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What the server reads of a call: a document and its form around it.
const BODY_BYTES: usize = 64 << 20;

pub(super) async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        let Ok((stream, _peer)) = accepted else { continue };
        let shared = Arc::clone(&shared);
        shared.tasks.clone().spawn(connection(stream, address, shared));
    }
}

async fn connection(stream: TcpStream, address: SocketAddr, shared: Arc<Shared>) {
    drop(stream.set_nodelay(true));
    let handle = stream.as_fd().try_clone_to_owned();
    let broken = Arc::new(AtomicBool::new(false));
    {
        let service =
            service_fn(|request| exchange(request, address, Arc::clone(&shared), Arc::clone(&broken)));
        let http = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            _ended = http => {}
            () = shared.stop.cancelled() => {}
        }
    }
    if broken.load(Ordering::Relaxed)
        && let Ok(handle) = handle
        && let Ok(stream) = TcpStream::from_std(handle.into())
    {
        // A zero linger closes with RST instead of FIN.
        drop(stream.set_zero_linger());
    }
}

pub(super) fn whole(status: u16, kind: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let body = BodyExt::boxed_unsync(Full::new(bytes.into()).map_err(|never| match never {}));
    let mut response = Response::new(body);
    *response.status_mut() = Status::from_u16(status).unwrap_or(Status::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

pub(super) fn json_answer(status: u16, body: &Value) -> Response<Body> {
    whole(status, "application/json", body.to_string())
}

fn refused(refusal: &Refusal) -> Response<Body> {
    json_answer(refusal.code, &refusal.body())
}

async fn exchange(
    request: Request<Incoming>,
    address: SocketAddr,
    shared: Arc<Shared>,
    broken: Arc<AtomicBool>,
) -> io::Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    if let Some(rest) = path.strip_prefix("/_control/") {
        let verb = request.method().clone();
        let body = collect(request.into_body()).await?;
        return Ok(control::answer(&Telegram::handle(shared, address), &verb, rest, &body));
    }
    if !matches!(request.method(), &Method::GET | &Method::POST) {
        return Ok(refused(&Refusal::new(405, "Method Not Allowed: closing connection")));
    }
    if let Some(rest) = path.strip_prefix("/file/bot") {
        return Ok(download(&shared, rest));
    }
    match path.strip_prefix("/bot").and_then(|rest| rest.split_once('/')) {
        Some((token, method)) => {
            let (token, method) = (params::plain(token.as_bytes()), method.to_owned());
            match token {
                Ok(token) => call(request, &shared, &token, &method, &broken).await,
                Err(refusal) => Ok(refused(&refusal)),
            }
        }
        None => Ok(refused(&Refusal::new(404, "Not Found"))),
    }
}

#[expect(clippy::disallowed_methods, reason = "the body is wrapped in Limited")]
async fn collect(body: Incoming) -> io::Result<Bytes> {
    Limited::new(body, BODY_BYTES)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(io::Error::other)
}

/// Whether a token is one, and this bot's.
fn authorized(shared: &Shared, token: &str) -> Result<(), Refusal> {
    let malformed = || Refusal::new(401, "Unauthorized: invalid token specified");
    let (id, secret) = token.split_once(':').ok_or_else(malformed)?;
    let number: i64 = id.parse().map_err(|_| malformed())?;
    if number <= 0 || id.starts_with(['0', '+']) || secret.is_empty() || token.len() > 80 {
        return Err(malformed());
    }
    if token == shared.options.token() { Ok(()) } else { Err(Refusal::new(401, "Unauthorized")) }
}

fn download(shared: &Shared, rest: &str) -> Response<Body> {
    let (token, path) = rest.split_once('/').unwrap_or((rest, ""));
    let token = params::plain(token.as_bytes()).unwrap_or_default();
    if let Err(refusal) = authorized(shared, &token) {
        return refused(&refusal);
    }
    let path = params::plain(path.as_bytes()).unwrap_or_default();
    let state = shared.lock();
    match state.files.values().find(|file| file.path == path) {
        Some(file) => whole(200, "application/octet-stream", file.bytes.clone()),
        None => refused(&Refusal::new(404, "Not Found")),
    }
}

/// A connection that breaks with an error.
fn reset(broken: &AtomicBool) -> io::Error {
    broken.store(true, Ordering::Relaxed);
    io::Error::other("broken by the double")
}

async fn call(
    request: Request<Incoming>,
    shared: &Arc<Shared>,
    token: &str,
    method: &str,
    broken: &AtomicBool,
) -> io::Result<Response<Body>> {
    if let Err(refusal) = authorized(shared, token) {
        shared.lock().violation_once(format!("a call with a wrong token: {}", refusal.description));
        return Ok(refused(&refusal));
    }
    let known = table::method(method);
    let name = known.map_or(method, |(name, _)| name).to_owned();
    if fault::before_reading(&mut shared.lock().rules, &name) {
        return Err(reset(broken));
    }
    let query = request.uri().query().map(str::to_owned);
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    let body = collect(request.into_body()).await?;
    let read = params::decode(query.as_deref(), &kind, &body).and_then(|mut params| {
        let Some((name, fields)) = known else { return Ok((params, vec![format!("no method {method}")])) };
        let checked = table::check(name, fields, &params.values)?;
        params.values = checked.values;
        Ok((params, checked.unknown))
    });
    let (params, unknown, wrong) = match read {
        Ok((params, unknown)) => (params, unknown, None),
        Err(refusal) => (Params::default(), Vec::new(), Some(refusal)),
    };
    let (number, fault) = shared.change(|state, now| {
        state.violations.extend(unknown);
        let call = Call {
            method: name.clone(),
            params: params.values.clone(),
            at: Instant::now(),
            status: None,
            refused: None,
        };
        let chat = call.chat();
        state.calls.push(call);
        let fault = fault::take(&mut state.rules, &name, chat);
        if let Some(secs) = fault.as_ref().and_then(|fault| fault.retry_after)
            && methods::is_paced(&name)
        {
            state.counters.tell(chat.unwrap_or(0), secs, now);
        }
        (state.calls.len() - 1, fault)
    });
    let fault = fault.unwrap_or_default();
    let latency = if name == "getUpdates" { Duration::ZERO } else { shared.options.latency };
    sleep_if(fault.delay.or(Some(latency).filter(|latency| !latency.is_zero()))).await;
    if fault.hang {
        std::future::pending::<()>().await;
    }
    if fault.reset == Some(Reset::AfterReading) {
        return Err(reset(broken));
    }
    let answer = match instead(&fault) {
        Some((status, kind, body)) => (status, kind, body, None),
        None => {
            let outcome = match wrong {
                Some(refusal) => Err(refusal),
                None if known.is_none() => Err(Refusal::new(404, "Not Found: method not found")),
                None => run(shared, &name, &params).await,
            };
            envelope(&name, outcome)
        }
    };
    let (status, kind, body, refusal) = answer;
    shared.change(|state, _now| {
        if let Some(call) = state.calls.get_mut(number) {
            (call.status, call.refused) = (Some(status), refusal);
        }
    });
    if fault.reset == Some(Reset::AfterDoing) {
        return Err(reset(broken));
    }
    Ok(flow(&fault, status, kind, body))
}

async fn sleep_if(delay: Option<Duration>) {
    if let Some(delay) = delay {
        sleep(delay).await;
    }
}

type Answer = (u16, &'static str, Bytes, Option<String>);

/// What a fault answers instead of doing the call.
fn instead(fault: &Fault) -> Option<(u16, &'static str, Bytes)> {
    const JSON: &str = "application/json";
    if fault.garbage {
        let page = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
        return Some((200, "text/html", Bytes::from_static(page.as_bytes())));
    }
    if let Some(secs) = fault.retry_after {
        let refusal = Refusal::too_many(secs);
        return Some((429, JSON, refusal.body().to_string().into()));
    }
    let status = fault.status.or_else(|| fault.body.is_some().then_some(200))?;
    let body = fault.body.clone().unwrap_or_else(|| {
        let reason = Status::from_u16(status).ok().and_then(|status| status.canonical_reason());
        Refusal::new(status, reason.unwrap_or("Error")).body().to_string()
    });
    Some((status, JSON, body.into()))
}

pub(super) async fn run(shared: &Arc<Shared>, name: &str, params: &Params) -> Outcome {
    if name == "getUpdates" {
        return poll::get_updates(shared, &params.values).await;
    }
    shared.change(|state, now| {
        let work = Work { shared, state, now, values: &params.values, files: &params.files, rival: false };
        methods::perform(name, work)
    })
}

fn envelope(name: &str, outcome: Outcome) -> Answer {
    match outcome {
        Ok(result) => {
            let mut body = json!({"ok": true, "result": result});
            match name {
                "setWebhook" => body["description"] = json!("Webhook was set"),
                "deleteWebhook" => body["description"] = json!("Webhook was deleted"),
                _ => {}
            }
            (200, "application/json", body.to_string().into(), None)
        }
        Err(refusal) => {
            let body = refusal.body().to_string().into();
            (refusal.code, "application/json", body, Some(refusal.description))
        }
    }
}

/// The answer as the fault lets it through.
fn flow(fault: &Fault, status: u16, kind: &'static str, body: Bytes) -> Response<Body> {
    let (length, cut) = (body.len(), fault.truncate);
    if cut.is_none() && fault.slow.is_none() {
        return whole(status, kind, body);
    }
    let piece = fault.slow.map_or(length.max(1), |rate| (rate / 10).max(1));
    let gap = if fault.slow.is_some() { Duration::from_millis(100) } else { Duration::ZERO };
    let shown = body.slice(..cut.map_or(length, |cut| cut.min(length)));
    let mut pieces: Vec<io::Result<Bytes>> =
        shown.chunks(piece).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    if cut.is_some() {
        pieces.push(Err(io::Error::other("cut by the double")));
    }
    let frames = stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        let next = pieces.next()?;
        // What was written before is on its way when the connection breaks.
        sleep(if next.is_err() { Duration::from_millis(20) } else { gap }).await;
        Some((next.map(Frame::data), pieces))
    });
    let mut response = whole(status, kind, Bytes::new());
    *response.body_mut() = BodyExt::boxed_unsync(StreamBody::new(frames));
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

/// A webhook may call a method in its answer.
pub(super) fn answered_by_webhook(shared: &Shared, body: &Bytes) {
    let Ok(Value::Object(mut values)) = serde_json::from_slice(body) else { return };
    let Some(Value::String(method)) = values.remove("method") else { return };
    let lower = method.to_lowercase();
    if lower.starts_with("get")
        || matches!(lower.as_str(), "setwebhook" | "deletewebhook" | "close" | "logout")
    {
        return;
    }
    let Some((name, fields)) = table::method(&method) else {
        shared.lock().violation(format!("no method {method}, in the answer of a webhook"));
        return;
    };
    let checked = table::check(name, fields, &values);
    shared.change(|state, now| {
        let outcome = checked.and_then(|checked| {
            state.violations.extend(checked.unknown);
            let files = std::collections::BTreeMap::new();
            methods::perform(
                name,
                Work { shared, state, now, values: &checked.values, files: &files, rival: false },
            )
        });
        let (_, _, _, refused) = envelope(name, outcome.clone());
        let status = outcome.map_or_else(|refusal| refusal.code, |_| 200);
        let call =
            Call { method: name.into(), params: values, at: Instant::now(), status: Some(status), refused };
        state.calls.push(call);
    });
}
