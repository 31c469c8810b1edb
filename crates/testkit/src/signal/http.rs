//! HTTP of the double: check, rpc and the stream of events.

use super::{
    Run,
    rpc::{Answer, Plain, answer, error},
    state::{Frame, Next, Shared},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body::Frame as Chunk;
use http_body_util::{BodyExt, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{io, sync::Arc, time::Duration};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::task::TaskTracker;

type Body = UnsyncBoxBody<Bytes, io::Error>;

const BODY_LIMIT_BYTES: usize = 64 << 20;

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>, run: Run, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = run.leave.cancelled() => return,
        };
        let Ok((stream, _peer)) = accepted else { continue };
        drop(stream.set_nodelay(true));
        let (shared, run) = (Arc::clone(&shared), run.clone());
        tasks.spawn(async move {
            let service = service_fn(|request| exchange(request, Arc::clone(&shared)));
            let http =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let mut http = std::pin::pin!(http);
            tokio::select! {
                _ended = http.as_mut() => return,
                () = run.die.cancelled() => return,
                () = run.leave.cancelled() => http.as_mut().graceful_shutdown(),
            }
            tokio::select! {
                _ended = http => {}
                () = run.die.cancelled() => {}
            }
        });
    }
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = code;
    response
}

fn whole(bytes: Bytes) -> Body {
    BodyExt::boxed_unsync(http_body_util::Full::new(bytes).map_err(|never| match never {}))
}

async fn exchange(request: Request<Incoming>, shared: Arc<Shared>) -> io::Result<Response<Body>> {
    if shared.options.host_check {
        let host =
            request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        if !matches!(name, "127.0.0.1" | "localhost" | "[::1]") {
            return Ok(status(StatusCode::MISDIRECTED_REQUEST));
        }
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/api/v1/check") => Ok(status(StatusCode::OK)),
        (&Method::POST, "/api/v1/rpc") => rpc(request, &shared).await,
        (&Method::GET, "/api/v1/events") => Ok(events(&request, &shared).await),
        (_, path) if path.starts_with("/_control/") => control(request, &shared).await,
        (_, "/api/v1/check" | "/api/v1/rpc" | "/api/v1/events") => Ok(status(StatusCode::METHOD_NOT_ALLOWED)),
        _ => Ok(status(StatusCode::NOT_FOUND)),
    }
}

async fn rpc(request: Request<Incoming>, shared: &Arc<Shared>) -> io::Result<Response<Body>> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("application/json")) {
        return Ok(status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let body = collect(request.into_body()).await?;
    let answered = match serde_json::from_slice::<Value>(&body) {
        Err(problem) => Answer::Json(error(&Value::Null, -32700, &problem.to_string(), &Value::Null)),
        Ok(Value::Array(batch)) if batch.is_empty() => {
            Answer::Json(error(&Value::Null, -32600, "invalid request", &Value::Null))
        }
        Ok(Value::Array(batch)) => {
            let mut answers = Vec::new();
            for one in &batch {
                if let Answer::Json(json) = answer(shared, &Plain, one).await {
                    answers.push(json);
                }
            }
            // Shuffled, and the same way in each run.
            answers.reverse();
            Answer::Json(Value::Array(answers))
        }
        Ok(one) => answer(shared, &Plain, &one).await,
    };
    match answered {
        Answer::Json(json) => {
            let mut response = Response::new(whole(json.to_string().into()));
            let kind = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            Ok(response)
        }
        Answer::Nothing => Ok(status(StatusCode::CREATED)),
        Answer::Silence => std::future::pending().await,
        Answer::Break => Err(io::Error::other("a fault of the double")),
    }
}

/// The control API, for tests in other languages: `POST push` with an envelope, for the first account or for that
/// `account`; `GET state`.
async fn control(request: Request<Incoming>, shared: &Shared) -> io::Result<Response<Body>> {
    let (verb, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = collect(request.into_body()).await?;
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let done = match (verb.as_str(), path.as_str()) {
        ("POST", "/_control/push") if asked["envelope"].is_object() => {
            shared.push(asked["account"].as_str().unwrap_or(super::ACCOUNT), asked["envelope"].clone());
            Value::Null
        }
        ("GET", "/_control/state") => {
            let sent = shared.sent.lock().iter().map(|sent| {
                json!({
                    "recipients": sent.recipients, "group": sent.group, "text": sent.text, "styles": sent.styles,
                    "timestamp": sent.timestamp,
                })
            }).collect::<Vec<_>>();
            let calls = shared
                .calls
                .lock()
                .iter()
                .map(|call| json!({"method": call.method, "params": call.params}))
                .collect::<Vec<_>>();
            json!({
                "sent": sent, "calls": calls, "violations": shared.violations.lock().clone(),
                "waiting": shared.waiting(), "lost": shared.lost(), "listeners": shared.listeners(),
            })
        }
        _ => return Ok(status(StatusCode::BAD_REQUEST)),
    };
    Ok(Response::new(whole(done.to_string().into())))
}

#[expect(clippy::disallowed_methods, reason = "the body is wrapped in Limited")]
async fn collect(body: Incoming) -> io::Result<Bytes> {
    Limited::new(body, BODY_LIMIT_BYTES)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(io::Error::other)
}

async fn events(request: &Request<Incoming>, shared: &Arc<Shared>) -> Response<Body> {
    let account = request.uri().query().and_then(|query| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix("account="))
            .map(|account| account.replace("%2B", "+"))
    });
    if let Some(account) = &account {
        let known = shared.options.accounts.iter().any(|own| own.number.as_ref() == Some(account));
        if !known {
            return status(StatusCode::BAD_REQUEST);
        }
    }
    let mut listener = shared.listen(account);
    let first = if shared.options.flush_headers { None } else { Some(listener.next().await) };
    let chunks = stream::unfold((listener, first, Stage::On), |(mut listener, first, stage)| async move {
        match stage {
            Stage::On => {}
            Stage::Broken => {
                // What was written before is on its way by then.
                sleep(Duration::from_millis(20)).await;
                return Some((Err(io::Error::other("broken by the double")), (listener, None, Stage::Over)));
            }
            Stage::Over => return None,
        }
        let next = match first {
            Some(next) => next,
            None => listener.next().await,
        };
        let (chunk, stage) = chunk(&next)?;
        Some((Ok(chunk), (listener, None, stage)))
    });
    let body = StreamBody::new(chunks.map(|chunk| chunk.map(Chunk::data)));
    let mut response = Response::new(BodyExt::boxed_unsync(body));
    let kind = header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// How far a stream is.
enum Stage {
    On,
    Broken,
    Over,
}

/// What goes over the wire for that, and how far the stream is behind it.
fn chunk(next: &Next) -> Option<(Bytes, Stage)> {
    match next {
        Next::KeepAlive => Some((Bytes::from_static(b":\n"), Stage::On)),
        Next::Write(Frame::End) => None,
        Next::Write(Frame::Raw(bytes)) => Some((bytes.clone().into(), Stage::On)),
        Next::Write(Frame::Event(event)) => {
            let mut text = format!("event:receive\ndata:{}\n\n", event.body);
            if event.cut {
                text.truncate(text.len() / 2);
                return Some((text.into(), Stage::Broken));
            }
            Some((text.into(), Stage::On))
        }
    }
}
