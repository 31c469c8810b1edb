//! The floor: the least a gateway of this kind can cost. A reverse proxy on the product's own HTTP stack that reads
//! the body, finds the model and the caller's key, swaps the key and forwards over a pool. It limits, checks, counts
//! and logs nothing. Invariant: it stays this bare; the product's figures are judged as multiples of it.

use crate::{upstream, wire};
use anyhow::Result;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header, uri::Authority};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use serde::Deserialize;
use std::{borrow::Cow, collections::HashMap, net::Ipv4Addr, net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

#[expect(
    clippy::disallowed_types,
    reason = "the floor measures the bare client that the product's is built on"
)]
type Client = hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>;
type Body = Either<Full<Bytes>, Incoming>;

struct Floor {
    client: Client,
    upstream: Authority,
    /// Upstream key by caller's key.
    keys: HashMap<&'static [u8], HeaderValue>,
}

/// What it reads of a request.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
}

/// Serves until killed; prints its address as the first line.
pub(crate) async fn run(upstream: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, upstream, TaskTracker::new()).await
}

/// Forwards what comes in on `listener` for ever.
pub(crate) async fn serve(listener: TcpListener, upstream: SocketAddr, tasks: TaskTracker) -> Result<()> {
    let key = HeaderValue::from_str(&format!("Bearer {}", wire::UPSTREAM_KEY))?;
    let floor = Arc::new(Floor {
        client: client(),
        upstream: upstream.to_string().parse()?,
        keys: [(wire::CALLER_KEY.as_bytes(), key)].into(),
    });
    loop {
        let (stream, _peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let floor = Arc::clone(&floor);
        tasks.spawn(async move {
            let service = service_fn(move |request| {
                let floor = Arc::clone(&floor);
                async move { floor.forward(request).await }
            });
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

#[expect(clippy::disallowed_types, reason = "the floor is the bare client that the product's is built on")]
fn client() -> Client {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    legacy::Client::builder(TokioExecutor::new()).build(connector)
}

impl Floor {
    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let (mut parts, body) = request.into_parts();
        let body = upstream::collect(body).await?;
        let credential = parts.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let key =
            credential.and_then(|value| value.strip_prefix(b"Bearer ")).and_then(|key| self.keys.get(key));
        let model = serde_json::from_slice::<Head<'_>>(&body).map(|head| !head.model.is_empty());
        let (Some(key), Ok(true)) = (key, model) else {
            let mut refusal = Response::new(Either::Left(Full::default()));
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            return Ok(refusal);
        };
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri =
            Uri::builder().scheme("http").authority(self.upstream.clone()).path_and_query(path).build()?;
        parts.headers.insert(header::AUTHORIZATION, key.clone());
        parts.headers.remove(header::HOST);
        parts.headers.remove(header::CONNECTION);
        let response = self.client.request(Request::from_parts(parts, Full::new(body))).await?;
        Ok(response.map(Either::Right))
    }
}
