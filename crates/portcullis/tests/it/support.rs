//! What the tests share: a server of the real binary in front of a strict double, and a small HTTP client that
//! shows status, headers and body as they came. Invariant: every wait has an end.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use portcullis_testkit::{
    process::{Options, Server},
    upstream::OpenAi,
};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpStream, task::JoinHandle};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// Limits high enough never to matter.
pub(crate) const WIDE: &str = "
[limits.global]
capacity = 1000000
refill_per_sec = 1000000
[limits.ip]
capacity = 1000000
refill_per_sec = 1000000
[tiers.authenticated]
per_min = 1000000
daily_tokens = 0
user = { capacity = 1000000, refill_per_sec = 1000000 }
[tiers.premium]
per_min = 1000000
daily_tokens = 0
user = { capacity = 1000000, refill_per_sec = 1000000 }
ip = { capacity = 1000000, refill_per_sec = 1000000 }
";

/// A server whose provider `openai` is that double, reached at `base_url`.
pub(crate) async fn serve(double: &OpenAi, base_url: &str, config: &str) -> Server {
    let text = format!(
        "[providers.openai]\nbase_url = \"{base_url}\"\nmodels = [\"gpt-double\", \"embed-double\"]\n{config}\n\
         [routes.default]\ntargets = [{{ provider = \"openai\", model = \"gpt-double\" }}]\n"
    );
    let options = Options::config(text).env("OPENAI_API_KEY", double.key());
    Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("it did not start: {refused:?}"))
}

/// An answer read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A response whose body is still coming; dropping it closes the connection.
pub(crate) struct Open {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    connection: JoinHandle<()>,
}

impl Open {
    /// The next piece; none at the clean end, an error where the connection broke.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("a piece in time")?;
        Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// All that still comes, as text, and whether it ended cleanly.
    pub(crate) async fn rest(mut self) -> (String, bool) {
        let mut bytes = Vec::new();
        let clean = loop {
            match self.next().await {
                Some(Ok(piece)) => bytes.extend_from_slice(&piece),
                Some(Err(_)) => break false,
                None => break true,
            }
        };
        (String::from_utf8_lossy(&bytes).into_owned(), clean)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Sends a request on a connection of its own.
pub(crate) async fn open(address: SocketAddr, request: Request<Full<Bytes>>) -> std::io::Result<Open> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(socket)).await.map_err(std::io::Error::other)?;
    #[expect(clippy::disallowed_methods, reason = "a test's task ends with the test")]
    let connection = tokio::spawn(async move { drop(connection.await) });
    let answer = tokio::time::timeout(PATIENCE, sender.send_request(request));
    let response = answer.await.map_err(std::io::Error::other)?.map_err(std::io::Error::other)?;
    let (head, body) = response.into_parts();
    Ok(Open { status: head.status, headers: head.headers, body, connection })
}

/// Sends a request and reads the whole answer.
pub(crate) async fn call(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let open = open(address, request).await.expect("an answer");
    let (status, headers) = (open.status, open.headers.clone());
    let (text, clean) = open.rest().await;
    assert!(clean, "the answer broke off: {text}");
    Answer { status, headers, body: text.into() }
}

/// A request with a JSON body.
pub(crate) fn request(method: Method, path: &str, key: &str, body: &Value) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(path).header("host", "test");
    if !key.is_empty() {
        builder = builder.header("authorization", format!("Bearer {key}"));
    }
    let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    builder.header("content-type", "application/json").body(Full::new(bytes)).expect("a request")
}

/// `POST` with JSON.
pub(crate) async fn post(address: SocketAddr, path: &str, key: &str, body: &Value) -> Answer {
    call(address, request(Method::POST, path, key, body)).await
}

/// `GET`.
pub(crate) async fn get(address: SocketAddr, path: &str, key: &str) -> Answer {
    call(address, request(Method::GET, path, key, &Value::Null)).await
}

/// A small chat request.
pub(crate) fn chat(stream: bool) -> Value {
    json!({"model": "default", "stream": stream, "messages": [{"role": "user", "content": "Who keeps the gate?"}]})
}

/// One number of `/metrics`: the value of the first line that begins so.
pub(crate) async fn metric(address: SocketAddr, line: &str) -> f64 {
    let text = get(address, "/metrics", "").await.text();
    text.lines()
        .find(|row| row.starts_with(line))
        .and_then(|row| row.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}

/// A receiver of webhooks that keeps the bodies.
pub(crate) async fn receiver()
-> (String, tokio::sync::mpsc::UnboundedReceiver<String>, tokio_util::task::TaskTracker) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook/made-up-token", listener.local_addr().unwrap());
    let (told, bodies) = tokio::sync::mpsc::unbounded_channel();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut seen = Vec::new();
            while !seen.ends_with(b"}") && socket.read_buf(&mut seen).await.is_ok_and(|count| count > 0) {}
            let _answered =
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            let _kept = told.send(String::from_utf8_lossy(&seen).into_owned());
        }
    });
    (url, bodies, tasks)
}

/// Waits until `check` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let wait = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("it never came: {what}"));
}
