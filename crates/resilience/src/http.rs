//! The shared outbound HTTP client: every byte that leaves for a provider, a webhook or a page goes through it.
//! HTTP/1.1 from a pool (one HTTP/2 connection stalls near 100 streams), no redirects, no proxy variables.
//!
//! Invariants: a guarded client never connects to an address that is not public, however the name was written or
//! resolved, because the check sits where the socket is opened; every body is read with a bound in bytes and time.

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use portcullis_domain::{Deadline, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpStream;

/// `[outbound]`: the shared client.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Longest time to open a connection, names and TLS included, in seconds. Default 5.
    pub connect_timeout_secs: u64,
    /// How long an unused connection is kept for the next request, in seconds. Default 60.
    pub idle_secs: u64,
    /// Unused connections kept for one host. Default 64.
    pub max_idle_per_host: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { connect_timeout_secs: 5, idle_secs: 60, max_idle_per_host: 64 }
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
    }
}

/// Why a call brought no answer. Never holds a URL, a header or a body.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection: name, socket or TLS.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The address is not a public one, and this client is guarded.
    #[error("the address is not a public one")]
    NotPublic,
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

#[expect(clippy::disallowed_types, reason = "this is the one shared client that the ban points to")]
type Pool = hyper_util::client::legacy::Client<HttpsConnector<Connector>, Full<Bytes>>;

/// The client. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool,
}

impl Client {
    /// A client for configured addresses: providers, receivers, our own server.
    #[must_use]
    pub fn new(config: &HttpConfig) -> Self {
        Self::with(config, false)
    }

    /// A client for addresses that strangers may name: it connects to public addresses only.
    #[must_use]
    pub fn guarded(config: &HttpConfig) -> Self {
        Self::with(config, true)
    }

    #[expect(
        clippy::expect_used,
        reason = "a constant provider: it fails always or never, and a test builds one"
    )]
    fn with(config: &HttpConfig, guarded: bool) -> Self {
        let timeout = Duration::from_secs(config.connect_timeout_secs);
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .expect("ring speaks TLS 1.2 and 1.3")
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector { timeout, guarded });
        #[expect(clippy::disallowed_types, reason = "this is the one shared client that the ban points to")]
        let pool = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(config.idle_secs))
            .pool_max_idle_per_host(config.max_idle_per_host)
            .build(connector);
        Self { pool }
    }

    /// Sends a request; the answer's body is still to be read. Redirects are answers like any other.
    ///
    /// # Errors
    /// [`HttpError::Connect`], [`HttpError::NotPublic`], [`HttpError::Broken`].
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        self.pool.request(request).await.map_err(|error| explain(&error))
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

/// The cause in words, without the URL that hyper's own text may hold.
fn explain(error: &hyper_util::client::legacy::Error) -> HttpError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut deepest = String::new();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>()
            && io.get_ref().is_some_and(|inner| inner.is::<NotPublic>())
        {
            return HttpError::NotPublic;
        }
        deepest = inner.to_string();
        cause = inner.source();
    }
    if error.is_connect() { HttpError::Connect(deepest) } else { HttpError::Broken(deepest) }
}

/// Marks a refusal by the guard on its way through hyper.
#[derive(Debug, thiserror::Error)]
#[error("not a public address")]
struct NotPublic;

/// Opens sockets. The guard sits here and not in a resolver, because hyper-util skips resolvers for IP literals.
#[derive(Clone, Copy, Debug)]
struct Connector {
    timeout: Duration,
    guarded: bool,
}

impl tower::Service<Uri> for Connector {
    type Response = Socket;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Socket>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { timeout, guarded } = *self;
        Box::pin(async move {
            let late = |_| io::Error::from(io::ErrorKind::TimedOut);
            let stream = tokio::time::timeout(timeout, open(&uri, guarded)).await.map_err(late)??;
            stream.set_nodelay(true)?;
            Ok(Socket(TokioIo::new(stream)))
        })
    }
}

/// Tries the addresses of a host in turn. Of a guarded host every address must be public: one private address among
/// public ones is how a rebinding attack looks.
async fn open(uri: &Uri, guarded: bool) -> io::Result<TcpStream> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    if guarded && !addresses.iter().all(|address| is_public(address.ip())) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, NotPublic));
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether an address belongs to the public internet (IANA special-purpose registries; `is_global` is not stable).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    !(v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99))
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, ..] = v6.segments();
    // Only 2000::/3 is handed out; parts of it lead back to IPv4 or are for documents.
    let embedded = match (a, b) {
        (0x2002, _) => Some(Ipv4Addr::from(u32::from(b) << 16 | u32::from(v6.segments()[2]))),
        _ => None,
    };
    let special = (a == 0x2001 && b < 0x0200) || (a, b) == (0x2001, 0x0db8) || a & 0xfff0 == 0x3ff0;
    a & 0xe000 == 0x2000 && !special && embedded.is_none_or(is_public_v4)
}

/// A plain socket as hyper's pool wants it.
#[derive(Debug)]
struct Socket(TokioIo<TcpStream>);

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }
}

#[cfg(test)]
mod tests;
