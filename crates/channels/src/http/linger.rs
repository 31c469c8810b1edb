//! What a refused client still sends is read and thrown away for a while after its answer. Without that the
//! connection is closed with unread bytes, the kernel resets it, and a client that was still writing loses the very
//! answer that says why (413, 401, 429 before a long body). Invariant: never more than `linger_bytes` of one body, nor
//! longer than `linger_secs`, and nothing of it is kept. Source: RFC 9112 section 9.6 (closing in stages).

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio_util::task::TaskTracker;

/// Bounds of what is thrown away.
#[derive(Clone, Copy, Debug)]
pub(super) struct LingerLimits {
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

/// A request's body that is read to its end even when nobody wants it.
pub(super) struct Lingering {
    /// `None` once it is handed to the task that reads the rest.
    body: Option<Incoming>,
    limits: LingerLimits,
    tasks: TaskTracker,
}

impl Lingering {
    /// Whether the rest of this request should be read. HTTP/2 refuses single streams without closing; a client that
    /// waits for `100 Continue` sends nothing when it is refused.
    pub(super) fn wanted(request: &Request<Incoming>) -> bool {
        request.version() < http::Version::HTTP_2
            && !request.body().is_end_stream()
            && !request.headers().contains_key(http::header::EXPECT)
    }

    pub(super) fn new(body: Incoming, limits: LingerLimits, tasks: TaskTracker) -> Self {
        Self { body: Some(body), limits, tasks }
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            self.tasks.spawn(tokio::time::timeout(self.limits.time, drain(body, self.limits.bytes)));
        }
    }
}

async fn drain(mut body: Incoming, most: usize) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > most {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;
    use hyper_util::rt::TokioIo;
    use std::convert::Infallible;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Sends `sent` bytes before it reads, to a server that refuses unread; what the client then has read.
    async fn refused_after_sending(sent: usize, bytes: usize) -> std::io::Result<String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let tasks = TaskTracker::new();
        let tracker = tasks.clone();
        tasks.spawn(async move {
            let (socket, _) = listener.accept().await.expect("a client");
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                assert!(Lingering::wanted(&request));
                let limits = LingerLimits { bytes, time: Duration::from_secs(60) };
                drop(Lingering::new(request.into_body(), limits, tracker.clone()));
                async { Ok::<_, Infallible>(Response::new("refused".to_owned())) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            drop(connection.serve_connection(TokioIo::new(socket), service).await);
        });
        let mut socket = tokio::net::TcpStream::connect(address).await?;
        let head =
            format!("POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {sent}\r\n\r\n");
        socket.write_all(head.as_bytes()).await?;
        socket.write_all(&vec![b' '; sent]).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        tasks.close();
        tasks.wait().await;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_client_that_is_still_sending_hears_why_it_is_refused() {
        let answer = refused_after_sending(20_000_000, 30_000_000).await.expect("no reset");
        assert!(answer.ends_with("refused"), "{answer}");
    }

    #[tokio::test]
    async fn no_more_than_the_bound_is_taken_from_it() {
        // The kernel's buffers take some; far more than they hold must not be read.
        let refused = refused_after_sending(200_000_000, 1_000_000).await;
        assert!(refused.is_err(), "{refused:?}");
    }
}
