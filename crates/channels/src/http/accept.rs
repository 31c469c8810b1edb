//! The accept loop: connection limits, header time-outs, TLS, and the graceful end. Written on hyper-util because
//! `axum::serve` has neither a header time-out nor a connection limit. Invariant: a connection's permit lives
//! exactly as long as its task; when `stop` fires no connection is accepted any more and every running one is told
//! to end after its current answer.

use super::{
    linger::{LingerLimits, Lingering},
    routes::Answerer,
    stall::WriteTimeout,
    threads::ServingThreads,
};
use axum::body::Body;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use portcullis_resilience::connections::{ConnectionPermit, Connections};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct AcceptLimits {
    pub(super) header_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) header_bytes: usize,
    pub(super) headers: usize,
    pub(super) linger: LingerLimits,
}

/// One listener with all it needs.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Arc<dyn Fn() -> TlsAcceptor + Send + Sync>>,
    pub(super) answerer: Answerer,
    pub(super) connections: Connections,
    pub(super) limits: AcceptLimits,
    pub(super) tasks: TaskTracker,
    /// Who serves connections; without any, the runtime that accepts them.
    pub(super) threads: Option<Arc<ServingThreads>>,
}

/// Pause after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Longest time a refusal or a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\n\
connection: close\r\ncontent-length: 143\r\n\r\n\
{\"error\":{\"message\":\"Too many connections. Please try again in 5 s.\",\"type\":\"server_error\",\
\"param\":null,\"code\":\"overloaded\",\"request_id\":null}}";

impl Acceptor {
    /// Serves until `stop`, then lets running requests end; returns when every connection is gone. The caller
    /// bounds that wait.
    pub(super) async fn run(self, stop: CancellationToken) {
        let graceful = GracefulShutdown::new();
        let protocols = Arc::new(Protocols::new(&self.limits));
        loop {
            let (socket, peer) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok(pair) => pair,
                    Err(error) => {
                        tracing::warn!(%error, "accept failed; running connections go on");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            // A failure here only costs latency.
            let _ignored = socket.set_nodelay(true);
            match self.connections.admit(peer.ip()) {
                Ok(permit) => {
                    self.connection(socket, peer, permit, &protocols, (graceful.watcher(), stop.clone()))
                }
                Err(_) => drop(self.tasks.spawn(refuse(socket))),
            }
        }
        drop(self.listener);
        graceful.shutdown().await;
    }

    fn connection(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        permit: ConnectionPermit,
        protocols: &Arc<Protocols>,
        (watcher, stop): (Watcher, CancellationToken),
    ) {
        let (answerer, protocols, limits) = (self.answerer.clone(), protocols.clone(), self.limits);
        let (tls, tasks) = (self.tls.clone(), self.tasks.clone());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let request = match Lingering::wanted(&request) {
                true => request.map(|body| Body::new(Lingering::new(body, limits.linger, tasks.clone()))),
                false => request.map(Body::new),
            };
            // In a box of its own: hyper keeps room for it as long as the connection lives, streams included.
            Box::pin(answerer.clone().answer(request, peer.ip()))
        });
        let serve = async move |socket: TcpStream| {
            let _permit = permit;
            match tls {
                None => {
                    let first = tokio::time::timeout(limits.header_timeout, speaks_http2(&socket));
                    let http2 = tokio::select! {
                        biased;
                        first = first => first,
                        () = stop.cancelled() => return,
                    };
                    let Ok(Ok(http2)) = http2 else { return };
                    protocols
                        .serve(http2, watcher, service, WriteTimeout::new(socket, limits.write_timeout))
                        .await;
                }
                // In a box: every connection without TLS would keep room for one with it.
                Some(acceptor) => {
                    let secure = async move {
                        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor().accept(socket));
                        let Ok(Ok(secure)) = handshake.await else { return };
                        let http2 = secure.get_ref().1.alpn_protocol() == Some(b"h2");
                        let socket = WriteTimeout::new(secure, limits.write_timeout);
                        protocols.serve(http2, watcher, service, socket).await;
                    };
                    Box::pin(secure).await;
                }
            }
        };
        match self.threads.as_ref().and_then(|threads| threads.seat()) {
            None => drop(self.tasks.spawn(serve(socket))),
            Some((thread, seat)) => {
                // Readiness is told to the thread that registers the socket.
                let Ok(socket) = socket.into_std() else { return };
                let serve = async move {
                    let _seat = seat;
                    if let Ok(socket) = TcpStream::from_std(socket) {
                        serve(socket).await;
                    }
                };
                drop(self.tasks.spawn_on(serve, thread));
            }
        }
    }
}

/// hyper refuses smaller buffers.
const MIN_BUFFER_BYTES: usize = 8192;
/// HTTP/2 streams of one connection.
const H2_STREAMS: u32 = 128;

/// Both versions of HTTP, with their bounds. Which one is spoken is looked at without reading: a server that reads the first
/// bytes to find out doubles the buffer of every connection.
struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    fn new(limits: &AcceptLimits) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_headers(limits.headers)
            .max_buf_size(limits.header_bytes.max(MIN_BUFFER_BYTES))
            .keep_alive(true);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(Duration::from_secs(20)))
            .max_concurrent_streams(H2_STREAMS)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
        Self { http1, http2 }
    }

    async fn serve<S, T>(&self, http2: bool, watcher: Watcher, service: T, socket: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send + Unpin>
            + Send
            + 'static,
    {
        let socket = TokioIo::new(socket);
        let ended = match http2 {
            false => watcher.watch(self.http1.serve_connection(socket, service)).await,
            true => Box::pin(watcher.watch(self.http2.serve_connection(socket, service))).await,
        };
        if let Err(error) = ended {
            // Resets, time-outs and bad requests of strangers: theirs, not ours.
            tracing::debug!(error = %error, "connection ended early");
        }
    }
}

/// How HTTP/2 begins (RFC 9113, section 3.4), as far as no method of HTTP/1 does.
const HTTP2: &[u8] = b"PRI ";
/// Pause before another look, when less than that has come.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Whether the other end begins as a client of HTTP/2 does. Reads nothing.
async fn speaks_http2(socket: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; HTTP2.len()];
    loop {
        let seen = socket.peek(&mut first).await?;
        if seen == HTTP2.len() || seen == 0 || !HTTP2.starts_with(&first[..seen]) {
            return Ok(seen == HTTP2.len() && first == HTTP2);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn refuse(mut socket: TcpStream) {
    let answer = async {
        socket.write_all(REFUSAL).await?;
        socket.shutdown().await
    };
    // The peer may be gone; nothing depends on it.
    let _ignored = tokio::time::timeout(HANDSHAKE_TIMEOUT, answer).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_declares_its_true_length() {
        let text = std::str::from_utf8(super::REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }

    #[tokio::test]
    async fn which_http_is_spoken_is_seen_in_the_first_bytes_however_they_come_and_nothing_is_read() {
        const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for (pieces, expected) in [
            (vec![PREFACE], true),
            (vec!["P", "R", "I", " * HTTP/2.0"], true),
            (vec!["POST /v1/chat/completions HTTP/1.1\r\n"], false),
            (vec!["P", "UT / HTTP/1.1\r\n"], false),
            (vec!["PRI", "NT / HTTP/1.1\r\n"], false),
            (vec!["\u{16}\u{3}\u{1}"], false),
            (vec![], false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.set_nodelay(true).unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            let whole = pieces.concat();
            let said = async {
                for piece in pieces {
                    client.write_all(piece.as_bytes()).await.unwrap();
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                client.shutdown().await.unwrap();
            };
            let (http2, ()) = tokio::join!(speaks_http2(&server), said);
            assert_eq!(http2.unwrap(), expected, "{whole}");
            let mut read = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut server, &mut read).await.unwrap();
            assert_eq!(read, whole);
        }
    }
}
