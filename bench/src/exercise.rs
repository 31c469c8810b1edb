//! What a gateway is sent, whole and streamed, in every client's format, one at a time and at once: what the product is
//! watched under to learn which of its code serves (`layout.rs`, and `cargo xtask release --learn`).
//! Invariant: every answer to a chat is verified, as under load.

use crate::{
    load::{self, Connection},
    options::Options,
    target::{Target, Upstream},
    wire,
};
use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpStream, task::JoinSet, time::sleep};

/// Exchanges of each kind; enough that what happens once in ten or a hundred requests is seen.
const SMALL: usize = 400;
const LARGE: usize = 6;
const STREAMS: usize = 12;
/// How long requests come at once, so that waiting and waking are seen too.
const TOGETHER: Duration = Duration::from_secs(4);
/// How long nothing is asked at the end, so that what is done every few seconds besides is seen too.
const QUIET: Duration = Duration::from_secs(20);
/// The formats of the other clients, and what is asked besides.
const OTHERS: [(&str, &str); 5] = [
    (
        "/v1/messages",
        r#"{"model":"bench-model","max_tokens":64,"messages":[{"role":"user","content":"Who wrote Faust?"}]}"#,
    ),
    ("/v1/responses", r#"{"model":"bench-model","input":"Who wrote Faust?"}"#),
    (
        "/v1beta/models/bench-model:generateContent",
        r#"{"contents":[{"role":"user","parts":[{"text":"Who wrote Faust?"}]}]}"#,
    ),
    ("/v1/models", ""),
    ("/v1/chat/completions", r#"{"model":"no-such-model","messages":[{"role":"user","content":"Hello"}]}"#),
];

/// Starts the product, sends it all of this, and ends it as an operator would, so that it can write what it counted.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let upstream = Upstream::start()?;
    let target = Target::product_with(upstream.address, options, "", &[], |_| Ok(())).await?;
    serve(&target).await?;
    target.end().await
}

/// What a gateway is sent, whole and streamed, one at a time and at once.
pub(crate) async fn serve(target: &Target) -> Result<()> {
    let plan = |prompt_bytes, stream| target.plan(wire::MODEL, prompt_bytes, stream);
    let mut typeset = plan(400_000, false);
    typeset.body = wire::typeset(&typeset.body);
    let kinds =
        [(plan(0, false), SMALL), (plan(400_000, false), LARGE), (typeset, LARGE), (plan(0, true), STREAMS)];
    for (plan, times) in kinds {
        let mut connection = Connection::open(plan).await?;
        for _ in 0..times {
            connection.exchange().await?;
        }
    }
    load::run(&plan(0, false), 16, TOGETHER).await?;
    load::run(&plan(0, true), 16, TOGETHER).await?;
    for (path, body) in OTHERS {
        ask(target.address, &target.key, path, body).await.with_context(|| path.to_owned())?;
    }
    sleep(QUIET).await;
    Ok(())
}

/// One request on a connection of its own, with a key and without; whatever the answer is, it is read whole.
async fn ask(address: SocketAddr, key: &str, path: &str, body: &'static str) -> Result<()> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    for key in [key, "pcl_wrong"] {
        let request = http::Request::builder()
            .method(if body.is_empty() { http::Method::GET } else { http::Method::POST })
            .uri(path)
            .header(http::header::HOST, address.to_string())
            .header(http::header::AUTHORIZATION, format!("Bearer {key}"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(bytes::Bytes::from_static(body.as_bytes())))?;
        sender.ready().await?;
        crate::upstream::collect(sender.send_request(request).await?.into_body()).await?;
    }
    Ok(())
}
