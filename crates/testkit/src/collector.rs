//! A strict double of an OpenTelemetry collector on loopback: takes OTLP as JSON over HTTP, refuses what the specification does
//! not allow, keeps every body, and misbehaves on request. Invariant: a request it refused is a violation that tests can assert
//! the absence of. Source: OTLP specification, "OTLP/HTTP" and "JSON Protobuf Encoding".

use crate::wait_for;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::BTreeMap, convert::Infallible, net::Ipv4Addr, net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the next requests meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// It takes all.
    #[default]
    Well,
    /// It answers with that status.
    Status(u16),
    /// It takes connections and never answers.
    Silent,
}

/// One span, with its facts by name.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// 32 hexadecimal digits.
    pub trace: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// 16 hexadecimal digits, or nothing.
    pub parent: String,
    /// 2 server, 3 client.
    pub kind: u64,
    /// Whether its status is an error.
    pub error: bool,
    /// Nanoseconds since 1970.
    pub begun: u64,
    /// Nanoseconds since 1970.
    pub ended: u64,
    /// Its attributes, the value of each without its type.
    pub facts: BTreeMap<String, Value>,
}

#[derive(Default)]
struct State {
    mood: Mood,
    bodies: Vec<(String, Value)>,
    headers: Vec<BTreeMap<String, String>>,
    violations: Vec<String>,
}

/// The double.
pub struct Collector {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

/// Most bytes of a body, as real collectors take by default.
const MAX_BODY_BYTES: usize = 4 << 20;

impl Collector {
    /// Starts one.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (state, stop, tasks) =
            (Arc::new(Mutex::new(State::default())), CancellationToken::new(), TaskTracker::new());
        let (own, ending) = (state.clone(), stop.clone());
        tasks.clone().spawn(async move {
            while let Some(Ok((socket, _))) = ending.run_until_cancelled(listener.accept()).await {
                let (state, ending) = (own.clone(), ending.clone());
                tasks.spawn(async move {
                    let service = service_fn(move |request| answer(state.clone(), request));
                    let serving = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                    let _ended = ending.run_until_cancelled(serving).await;
                });
            }
        });
        Self { address, state, stop }
    }

    /// What `telemetry.otlp.endpoint` is to say.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How it meets requests from now on.
    pub fn be(&self, mood: Mood) {
        self.state.lock().mood = mood;
    }

    /// What it refused, and why.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.state.lock().violations.clone()
    }

    /// Every body it took, with its path.
    #[must_use]
    pub fn bodies(&self) -> Vec<(String, Value)> {
        self.state.lock().bodies.clone()
    }

    /// The headers of every request it took.
    #[must_use]
    pub fn headers(&self) -> Vec<BTreeMap<String, String>> {
        self.state.lock().headers.clone()
    }

    /// Every span it took, in their order.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let bodies = self.bodies();
        let lists =
            bodies.iter().filter(|(path, _)| path == "/v1/traces").flat_map(|(_, body)| spans_of(body));
        lists.map(read).collect()
    }

    /// Waits until `found` finds what it looks for among the spans.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub async fn wait_for<T: Send + 'static>(
        &self,
        mut found: impl FnMut(&[Span]) -> Option<T> + Send + 'static,
    ) -> T {
        let this = Self { address: self.address, state: self.state.clone(), stop: CancellationToken::new() };
        let found =
            crate::blocking(move || wait_for(60, || found(&this.spans())).ok_or_else(|| this.spans()));
        found.await.unwrap_or_else(|spans| panic!("what was waited for is not among {spans:#?}"))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn spans_of(body: &Value) -> Vec<&Value> {
    let resources = body["resourceSpans"].as_array().into_iter().flatten();
    let scopes = resources.flat_map(|resource| resource["scopeSpans"].as_array().into_iter().flatten());
    scopes.flat_map(|scope| scope["spans"].as_array().into_iter().flatten()).collect()
}

fn read(span: &Value) -> Span {
    let text = |name: &str| span[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| text(name).parse().unwrap_or(0);
    let facts = span["attributes"].as_array().into_iter().flatten().map(|fact| {
        let name = fact["key"].as_str().unwrap_or_default().to_owned();
        (name, plain(&fact["value"]))
    });
    Span {
        name: text("name"),
        trace: text("traceId"),
        id: text("spanId"),
        parent: text("parentSpanId"),
        kind: span["kind"].as_u64().unwrap_or(0),
        error: span["status"]["code"] == 2,
        begun: number("startTimeUnixNano"),
        ended: number("endTimeUnixNano"),
        facts: facts.collect(),
    }
}

/// A value without its type.
fn plain(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|object| object.iter().next()) else {
        return Value::Null;
    };
    match kind.as_str() {
        "intValue" => {
            inner.as_str().and_then(|text| text.parse::<i64>().ok()).map_or(Value::Null, Value::from)
        }
        "arrayValue" => inner["values"].as_array().into_iter().flatten().map(plain).collect(),
        _ => inner.clone(),
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let (path, mood) = (head.uri.path().to_owned(), state.lock().mood);
    if mood == Mood::Silent {
        std::future::pending::<()>().await;
    }
    let respond = |status: StatusCode, body: Value| {
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = status;
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
        Ok(response)
    };
    let judged = whole(body).await.and_then(|bytes| {
        let kind = head.headers.get("content-type").and_then(|value| value.to_str().ok());
        if head.method != http::Method::POST || kind != Some("application/json") {
            return Err("a POST of application/json is expected".to_owned());
        }
        let body: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        match path.as_str() {
            "/v1/traces" => spans_of(&body).into_iter().try_for_each(check)?,
            "/v1/metrics" => {}
            _ => return Err(format!("there is no {path}")),
        }
        Ok(body)
    });
    let mut state = state.lock();
    match (judged, mood) {
        (Err(why), _) => {
            state.violations.push(why.clone());
            respond(StatusCode::BAD_REQUEST, json!({"code": 3, "message": why}))
        }
        (Ok(_), Mood::Status(status)) => {
            respond(StatusCode::from_u16(status).unwrap_or_default(), json!({"message": "not now"}))
        }
        (Ok(body), Mood::Well | Mood::Silent) => {
            let headers = head.headers.iter().map(|(name, value)| {
                (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned())
            });
            state.headers.push(headers.collect());
            state.bodies.push((path, body));
            respond(StatusCode::OK, json!({"partialSuccess": {}}))
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the body is wrapped in Limited")]
async fn whole(body: Incoming) -> Result<Bytes, String> {
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|_| "the body is too large or broke off".to_owned())
}

/// What the JSON of OTLP asks of a span beyond its schema.
fn check(span: &Value) -> Result<(), String> {
    let hex = |name: &str, digits: usize| {
        let text = span[name].as_str().unwrap_or_default();
        let sound = text.len() == digits
            && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            && text.bytes().any(|byte| byte != b'0');
        if sound { Ok(()) } else { Err(format!("{name} is no id: {text:?}")) }
    };
    hex("traceId", 32)?;
    hex("spanId", 16)?;
    if !span["parentSpanId"].is_null() {
        hex("parentSpanId", 16)?;
    }
    let Span { name, kind, begun, ended, facts, .. } = read(span);
    if name.is_empty() || !(1..=5).contains(&kind) || begun == 0 || ended < begun {
        return Err(format!("a span without name, kind or times: {span}"));
    }
    if facts.len() != span["attributes"].as_array().map_or(0, Vec::len) {
        return Err(format!("an attribute stands twice: {span}"));
    }
    if facts.values().any(Value::is_null) {
        return Err(format!("an attribute has no value: {span}"));
    }
    Ok(())
}
