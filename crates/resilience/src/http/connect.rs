//! How the shared client connects: sockets behind the address guard, TLS on top, one time-out around both.

use super::guarded::Guard;
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpStream;

/// Bounds the whole of connecting: name, socket and TLS.
#[derive(Clone)]
pub(super) struct Timed {
    pub(super) inner: HttpsConnector<Connector>,
    pub(super) timeout: Duration,
}

impl tower::Service<Uri> for Timed {
    type Response = MaybeHttpsStream<Socket>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.timeout, self.inner.call(uri));
        Box::pin(async move { connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? })
    }
}

/// Opens sockets. The guard sits here and not in a resolver, because hyper-util skips resolvers for IP literals.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) guard: Option<Arc<Guard>>,
}

impl tower::Service<Uri> for Connector {
    type Response = Socket;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Socket>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let guard = self.guard.clone();
        Box::pin(async move {
            let stream = match guard {
                Some(guard) => guard.connect(&uri).await?,
                None => TcpStream::connect(place(&uri)).await?,
            };
            stream.set_nodelay(true)?;
            Ok(Socket(TokioIo::new(stream)))
        })
    }
}

/// Host without brackets, and port.
pub(super) fn place(uri: &Uri) -> (&str, u16) {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    (host, uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 }))
}

/// An open connection, plain or with TLS, in a box: a plain one would keep room for the keys and buffers of TLS.
pub(super) type Stream = Box<dyn ReadWrite>;

/// What hyper needs of a connection.
pub(super) trait ReadWrite: hyper::rt::Read + hyper::rt::Write + fmt::Debug + Send + Unpin {}

impl<T: hyper::rt::Read + hyper::rt::Write + fmt::Debug + Send + Unpin> ReadWrite for T {}

/// Whichever it is.
pub(super) fn boxed(stream: MaybeHttpsStream<Socket>) -> Stream {
    match stream {
        MaybeHttpsStream::Http(plain) => Box::new(plain),
        MaybeHttpsStream::Https(secure) => Box::new(secure),
    }
}

/// A plain socket as the TLS layer wants it.
#[derive(Debug)]
pub(super) struct Socket(TokioIo<TcpStream>);

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
