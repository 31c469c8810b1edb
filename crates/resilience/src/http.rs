//! The shared outbound HTTP client: every byte that leaves for a provider, a webhook or a page goes through it.
//! HTTP/1.1 from a pool (one HTTP/2 connection stalls near 100 streams), no redirects, no proxy variables.
//!
//! Invariants: a guarded client never connects to an address that is not public, however the name was written or
//! resolved, because the check sits where the socket is opened; every body is read with a bound in bytes and time.

mod address;
mod connect;
mod driven;
mod guarded;
mod pieces;
mod pool;
mod pools;

pub use address::is_public;
pub use guarded::{Guard, Lookup, Network, Refused};
pub use pieces::Pieces;
pub use pool::AnswerBody;
pub use pools::keep_own_connections;

use bytes::{Bytes, BytesMut};
use connect::{Connector, Timed};
use driven::Outgoing;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Body;
use hyper_rustls::HttpsConnectorBuilder;
use pool::Pool;
use pools::Pools;
use portcullis_domain::{Deadline, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{error::Error, io, sync::Arc, time::Duration};

/// `[outbound]`: the shared client.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Longest time to open a connection, names and TLS included, in seconds. Default 5.
    pub connect_timeout_secs: u64,
    /// How long an unused connection is kept for the next request, in seconds. Default 60.
    pub idle_secs: u64,
    /// Unused connections kept for one host, by each thread that serves. Default 64.
    pub max_idle_per_host: usize,
    /// Most bytes of an answer's head; a longer one counts as broken. Default 65536.
    pub max_header_bytes: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { connect_timeout_secs: 5, idle_secs: 60, max_idle_per_host: 64, max_header_bytes: 65_536 }
    }
}

impl HttpConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value) in
            [("connect_timeout_secs", self.connect_timeout_secs), ("idle_secs", self.idle_secs)]
        {
            if !(1..=600).contains(&value) {
                let message = format!("{value} is out of range");
                out.push(Problem::new(format!("{prefix}.{key}"), message, "choose 1 to 600"));
            }
        }
        // Below 8 KiB hyper refuses to work.
        if !(8_192..=1_048_576).contains(&self.max_header_bytes) {
            let message = format!("{} is out of range", self.max_header_bytes);
            let key = format!("{prefix}.max_header_bytes");
            out.push(Problem::new(key, message, "choose 8192 to 1048576"));
        }
    }
}

/// Why a call brought no answer. Never holds a URL, a header or a body.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection: name, socket or TLS.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The guard of this client refuses the address. Callers are told the sentence; the reason is for the log.
    #[error("this address is not reachable from here")]
    Refused(Refused),
    /// The connection broke before or inside the answer.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The answer is larger than allowed.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The time is over.
    #[error("no answer in time")]
    Timeout,
}

/// The client. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    pools: Arc<Pools<Arc<Pool>>>,
    guard: Option<Arc<Guard>>,
}

impl Client {
    /// A client for configured addresses: providers, receivers, our own server.
    #[must_use]
    pub fn new(config: &HttpConfig) -> Self {
        Self::with(config, None)
    }

    /// A client for addresses that strangers may name: it connects where the guard allows, and nowhere else.
    #[must_use]
    pub fn guarded(config: &HttpConfig, guard: Guard) -> Self {
        Self::with(config, Some(Arc::new(guard)))
    }

    #[expect(
        clippy::expect_used,
        reason = "a constant provider: it fails always or never, and a test builds one"
    )]
    fn with(config: &HttpConfig, guard: Option<Arc<Guard>>) -> Self {
        let inner = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .expect("ring speaks TLS 1.2 and 1.3")
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector { guard: guard.clone() });
        let connector = Timed { inner, timeout: Duration::from_secs(config.connect_timeout_secs) };
        let config = config.clone();
        let pool = move || Pool::new(connector.clone(), config.clone());
        Self { pools: Arc::new(Pools::new(pool)), guard }
    }

    /// What a guarded client can tell of an address without the network; a client without a guard allows all.
    ///
    /// # Errors
    /// Why it would not connect there.
    pub fn check(&self, uri: &http::Uri) -> Result<(), Refused> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.check(uri))
    }

    /// Sends a request; the answer's body is still to be read. Redirects are answers like any other.
    ///
    /// # Errors
    /// [`HttpError::Connect`], [`HttpError::Refused`], [`HttpError::Broken`].
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<AnswerBody>, HttpError> {
        self.start(request.map(Either::Left)).await
    }

    /// The same with a body in pieces.
    ///
    /// # Errors
    /// Those of [`Client::send`].
    pub async fn send_pieces(&self, request: Request<Pieces>) -> Result<Response<AnswerBody>, HttpError> {
        self.start(request.map(Either::Right)).await
    }

    async fn start(&self, request: Request<Outgoing>) -> Result<Response<AnswerBody>, HttpError> {
        self.check(request.uri()).map_err(HttpError::Refused)?;
        // In a box: callers' futures hold this one, and each that is begun moves all it holds.
        Box::pin(self.pools.here().request(request)).await
    }
}

/// Reads a body to its end: at most `limit_bytes`, and not beyond `deadline`.
///
/// # Errors
/// [`HttpError::TooLarge`], [`HttpError::Timeout`], [`HttpError::Broken`].
pub async fn collect<B>(body: B, limit_bytes: usize, deadline: Deadline) -> Result<Bytes, HttpError>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let mut body = std::pin::pin!(body);
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit_bytes {
        return Err(HttpError::TooLarge(limit_bytes));
    }
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    loop {
        let frame = tokio::time::timeout_at(deadline.instant(), body.frame()).await;
        let Some(frame) = frame.map_err(|_| HttpError::Timeout)? else { break };
        let Ok(data) = frame.map_err(|error| HttpError::Broken(error.to_string()))?.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > limit_bytes {
            return Err(HttpError::TooLarge(limit_bytes));
        }
        // Most answers are one chunk: it is handed on as it came.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(announced.max(first.len() + data.len()));
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// The cause in words, without the URL that hyper's own text may hold and the name that a certificate may.
/// `connecting`: nothing was sent yet.
fn explain(error: &(dyn Error + 'static), connecting: bool) -> HttpError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut deepest = String::new();
    while let Some(inner) = cause {
        // An `io::Error` shows its inside as its own text, not as its source; and it may be wrapped more than once.
        let mut inside = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        while let Some(wrapped) = inside {
            if let Some(refused) = wrapped.downcast_ref::<Refused>() {
                return HttpError::Refused(*refused);
            }
            if let Some(tls) = wrapped.downcast_ref::<rustls::Error>() {
                return HttpError::Connect(tls_words(tls).to_owned());
            }
            inside = wrapped.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        }
        deepest = inner.to_string();
        cause = inner.source();
    }
    if connecting { HttpError::Connect(deepest) } else { HttpError::Broken(deepest) }
}

/// What is wrong with TLS, without names.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls may add kinds; all others are told in general words"
)]
fn tls_words(error: &rustls::Error) -> &'static str {
    use rustls::{CertificateError as Certificate, Error as Tls};
    match error {
        Tls::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "the server's certificate has expired"
        }
        Tls::InvalidCertificate(Certificate::UnknownIssuer) => {
            "the server's certificate is of an unknown issuer"
        }
        Tls::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => "the server's certificate is for another name",
        Tls::InvalidCertificate(_) => "the server's certificate is not valid",
        Tls::AlertReceived(_) => "the server refused TLS",
        Tls::InvalidMessage(_) => "the server does not speak TLS",
        _ => "TLS failed",
    }
}

#[cfg(test)]
mod tests;
