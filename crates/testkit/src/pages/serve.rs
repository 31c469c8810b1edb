//! The HTTP side of the small web. Invariant: a request counts as under way until its body is sent or dropped.

use super::{
    Seen, Shared,
    answer::{Answer, Flow},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{io, pin::Pin, sync::Arc, time::Duration};
use tokio::{net::TcpListener, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the control API reads.
const CONTROL_BYTES: usize = 16 << 20;

type Frames = Pin<Box<dyn futures_util::Stream<Item = io::Result<Frame<Bytes>>> + Send>>;

pub(super) async fn accept(
    listener: TcpListener,
    state: Shared,
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
        state.lock().connections += 1;
        let (state, stop) = (Arc::clone(&state), stop.clone());
        tasks.spawn(async move {
            let service = service_fn(|request| exchange(request, Arc::clone(&state)));
            let http =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ended = http => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// A request under way; over when dropped.
struct UnderWay {
    state: Shared,
    host: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.state.lock().ended(&self.host);
    }
}

async fn exchange(request: Request<Incoming>, state: Shared) -> io::Result<Response<StreamBody<Frames>>> {
    let (parts, body) = request.into_parts();
    if let Some(path) = parts.uri.path().strip_prefix("/_control/") {
        let body = collect(body).await?;
        return Ok(respond_to_control(parts.method.as_str(), path, &body, &state));
    }
    let host =
        parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    let seen = Seen { target, headers: parts.headers, at: Instant::now() };
    let known = seen.clone();
    let (answer, latency) = {
        let mut state = state.lock();
        (state.request(&host, seen), state.latency(&host))
    };
    tokio::time::sleep(latency).await;
    let under_way = UnderWay { state, host };
    if answer.flow == Flow::Hang {
        std::future::pending::<()>().await;
    }
    Ok(respond(&answer, &known, under_way))
}

#[expect(clippy::disallowed_methods, reason = "the body is wrapped in Limited")]
async fn collect(body: Incoming) -> io::Result<Bytes> {
    let collected = Limited::new(body, CONTROL_BYTES).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(io::Error::other)
}

/// The control API, for tests in other languages: `POST pages` with `host`, `path`, `status`, `type` and `body`;
/// `GET state`.
fn respond_to_control(verb: &str, path: &str, body: &[u8], state: &Shared) -> Response<StreamBody<Frames>> {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let (code, said) = match (verb, path, asked["host"].as_str(), asked["path"].as_str()) {
        ("POST", "pages", Some(host), Some(path)) => {
            let text = |name: &str| asked[name].as_str().unwrap_or_default();
            let mut answer = Answer::text(text("type"), text("body"));
            answer.status = asked["status"].as_u64().and_then(|code| code.try_into().ok()).unwrap_or(200);
            let mut state = state.lock();
            let site = state.sites.entry(host.to_owned()).or_default();
            site.pages.entry(path.to_owned()).or_default().push(answer);
            (200, Value::Null)
        }
        ("GET", "state", ..) => {
            let state = state.lock();
            let sites = state.sites.iter().map(|(host, site)| {
                let targets = site.seen.iter().map(|seen| seen.target.as_str()).collect::<Vec<_>>();
                (host.clone(), json!(targets))
            });
            let sites: serde_json::Map<String, Value> = sites.collect();
            (200, json!({"seen": sites, "connections": state.connections, "violations": state.violations}))
        }
        _ => (400, json!({"error": format!("no {verb} /_control/{path} with that body")})),
    };
    let whole = stream::iter([Ok(Frame::data(Bytes::from(said.to_string())))]);
    let frames: Frames = Box::pin(whole);
    let response = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    response.body(StreamBody::new(frames)).expect("the double's headers are sound")
}

fn respond(answer: &Answer, seen: &Seen, under_way: UnderWay) -> Response<StreamBody<Frames>> {
    let unchanged = [("etag", "if-none-match"), ("last-modified", "if-modified-since")]
        .iter()
        .any(|(own, asked)| answer.named(own).is_some_and(|value| value == seen.header(asked)));
    let mut response = Response::builder().status(if unchanged { 304 } else { answer.status });
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    let body = if unchanged { Bytes::new() } else { answer.body.clone() };
    if matches!(answer.flow, Flow::Whole | Flow::Cut) && !unchanged {
        response = response.header(header::CONTENT_LENGTH, body.len());
    }
    response
        .body(StreamBody::new(frames(&answer.flow, body, under_way)))
        .expect("the double's headers are sound")
}

fn frames(flow: &Flow, body: Bytes, under_way: UnderWay) -> Frames {
    let (piece, gap) = match flow {
        Flow::Drip { piece, gap } => (*piece, *gap),
        Flow::Whole | Flow::Cut | Flow::Endless | Flow::Hang => (body.len().max(1), Duration::ZERO),
    };
    let mut pieces: Vec<io::Result<Bytes>> =
        body.chunks(piece).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    if *flow == Flow::Cut {
        pieces = vec![Ok(body.slice(..body.len() / 2)), Err(io::Error::other("cut, as told"))];
    }
    let endless = *flow == Flow::Endless;
    let pieces: Pin<Box<dyn futures_util::Stream<Item = io::Result<Bytes>> + Send>> = if endless {
        Box::pin(stream::repeat_with(move || Ok(body.clone())))
    } else {
        Box::pin(stream::iter(pieces))
    };
    let paced = pieces.then(move |part| async move {
        // Even the endless one lets others run.
        tokio::time::sleep(gap).await;
        part.map(Frame::data)
    });
    Box::pin(paced.chain(stream::poll_fn(move |_| {
        let _held = &under_way;
        std::task::Poll::Ready(None)
    })))
}
