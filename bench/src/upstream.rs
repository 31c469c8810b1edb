//! The mock provider of the benchmarks: as cheap as can be, because it shares the machine with what is measured.
//! Invariant: each event of a stream leaves in a write of its own, as a real model's tokens do.

use crate::wire;
use anyhow::{Result, anyhow};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Either, Full, Limited, StreamBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, net::Ipv4Addr, pin::Pin, sync::Arc, time::Duration};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::task::TaskTracker;

/// Between two events. Far below a real model's pace, so that streams cost machine time rather than waiting.
const GAP: Duration = Duration::from_millis(1);
/// Between two events of the slow model.
const SLOW_GAP: Duration = Duration::from_millis(200);
/// How long a held stream stays open without an event.
const HOLD: Duration = Duration::from_secs(60);
const BODY_LIMIT_BYTES: usize = 8 << 20;

type Events = StreamBody<Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;
type Body = Either<Full<Bytes>, Events>;

/// Serves until killed; prints its address as the first line.
pub(crate) async fn run() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, TaskTracker::new()).await
}

/// Answers on `listener` for ever.
pub(crate) async fn serve(listener: TcpListener, tasks: TaskTracker) -> Result<()> {
    let events: Arc<[Bytes]> = (0..wire::EVENTS).map(wire::event).collect();
    loop {
        let (stream, _peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let events = Arc::clone(&events);
        tasks.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&events)));
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(request: Request<Incoming>, events: Arc<[Bytes]>) -> Result<Response<Body>> {
    let credential = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let known =
        credential.and_then(|value| value.strip_prefix(b"Bearer ")) == Some(wire::UPSTREAM_KEY.as_bytes());
    let path_fits = request.uri().path() == "/v1/chat/completions";
    let body = collect(request.into_body()).await?;
    let has = |needle: &str| memchr::memmem::find(&body, needle.as_bytes()).is_some();
    let mut response = Response::new(match (known && path_fits, has(r#""stream":true"#)) {
        (false, _) => Either::Left(Full::default()),
        (true, false) => Either::Left(Full::from(wire::ANSWER)),
        (true, true) => {
            let slow = if has(wire::SLOW_MODEL) { SLOW_GAP } else { GAP };
            Either::Right(streamed(events, if has(wire::HOLD_MODEL) { HOLD } else { slow }))
        }
    });
    let kind = match response.body() {
        Either::Left(_) => "application/json",
        Either::Right(_) => "text/event-stream",
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if !(known && path_fits) {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    Ok(response)
}

fn streamed(events: Arc<[Bytes]>, gap: Duration) -> Events {
    let steps = stream::unfold(0, move |index| {
        let events = Arc::clone(&events);
        async move {
            if index > 0 {
                sleep(gap).await;
            }
            Some((Ok(Frame::data(events.get(index)?.clone())), index + 1))
        }
    });
    StreamBody::new(steps.boxed())
}

/// Reads a bounded body whole.
#[expect(clippy::disallowed_methods, reason = "the body is wrapped in Limited")]
pub(crate) async fn collect(body: Incoming) -> Result<Bytes> {
    let whole = Limited::new(body, BODY_LIMIT_BYTES).collect().await;
    Ok(whole.map_err(|problem| anyhow!(problem))?.to_bytes())
}
