//! One pool of HTTP/1 connections: unused ones by place, the youngest first, so that the oldest run out.
//!
//! Invariants: a connection in the pool has no request and no answer under way; a request is sent a second time only
//! when hyper gives it back, which means that none of it was sent; what stood unused too long is closed even when
//! nobody asks again.

use super::{
    HttpConfig, HttpError,
    connect::{Timed, boxed},
    driven::{Driven, Outgoing},
    explain,
};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, Uri,
    header::HOST,
    uri::{Authority, Scheme},
};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{runtime::Handle, time::Instant};
use tower::Service as _;

/// Where a connection leads.
type Place = (Scheme, Authority);

/// See the module.
pub(super) struct Pool {
    connector: Timed,
    config: HttpConfig,
    unused: Mutex<Unused>,
}

#[derive(Default)]
struct Unused {
    by_place: HashMap<Place, Vec<(Instant, Box<Open>)>, ahash::RandomState>,
    /// Whether a task waits for them to run out.
    watched: bool,
}

/// An open connection and where it leads.
struct Open {
    driven: Driven,
    place: Place,
    host: HeaderValue,
}

impl Pool {
    pub(super) fn new(connector: Timed, config: HttpConfig) -> Arc<Self> {
        Arc::new(Self { connector, config, unused: Mutex::default() })
    }

    /// Sends a request to where its URI says and waits for the head of the answer.
    ///
    /// # Errors
    /// [`HttpError::Connect`], [`HttpError::Refused`], [`HttpError::Broken`].
    pub(super) async fn request(
        self: &Arc<Self>,
        mut request: Request<Outgoing>,
    ) -> Result<Response<AnswerBody>, HttpError> {
        let uri = std::mem::take(request.uri_mut()).into_parts();
        let (Some(scheme), Some(authority)) = (uri.scheme, uri.authority) else {
            return Err(HttpError::Connect("the address names no server".to_owned()));
        };
        let place = (scheme, authority);
        // What a server of its own is asked for, without its name.
        let target = uri.path_and_query.map_or_else(Uri::default, Uri::from);
        let named = request.headers().contains_key(HOST);
        loop {
            let (mut open, used) = match self.take(&place) {
                Some(open) => (open, true),
                None => (Box::pin(self.open(&place)).await?, false),
            };
            request.uri_mut().clone_from(&target);
            if !named {
                request.headers_mut().insert(HOST, open.host.clone());
            }
            match open.driven.ask(request).await {
                Ok(answer) => {
                    let mut rest = Busy(Some((open, self.clone())));
                    rest.put_back();
                    return Ok(answer.map(|body| AnswerBody { body, rest }));
                }
                // The server closed what stood unused; a fresh connection that breaks says something.
                Err(mut error) => match error.take_message() {
                    Some(back) if used => request = back,
                    Some(_) | None => return Err(explain(&error.into_error(), false)),
                },
            }
        }
    }

    async fn open(&self, place: &Place) -> Result<Box<Open>, HttpError> {
        let host = host(place).map_err(|error| explain(&error, true))?;
        let uri =
            Uri::builder().scheme(place.0.clone()).authority(place.1.clone()).path_and_query("/").build();
        let uri = uri.map_err(|error| explain(&error, true))?;
        let mut connector = self.connector.clone();
        poll_fn(|context| connector.poll_ready(context)).await.map_err(|error| explain(&*error, true))?;
        let stream = connector.call(uri).await.map_err(|error| explain(&*error, true))?;
        // Below 8 KiB hyper refuses to work.
        let driven = Driven::open(boxed(stream), self.config.max_header_bytes.max(8_192)).await;
        let driven = driven.map_err(|error| explain(&error, true))?;
        Ok(Box::new(Open { driven, place: place.clone(), host }))
    }

    /// The youngest unused connection. Whether its server has closed it is seen when it is asked.
    fn take(&self, place: &Place) -> Option<Box<Open>> {
        let mut unused = self.unused.lock();
        let (since, open) = unused.by_place.get_mut(place)?.pop()?;
        (since.elapsed() < self.idle()).then_some(open)
    }

    fn put(self: &Arc<Self>, open: Box<Open>) {
        // Dropped outside of any runtime it would have nobody to look after it.
        let Ok(runtime) = Handle::try_current() else { return };
        open.driven.rest();
        let mut unused = self.unused.lock();
        let of_place = match unused.by_place.get_mut(&open.place) {
            Some(there) => there,
            None => unused.by_place.entry(open.place.clone()).or_default(),
        };
        if of_place.len() < self.config.max_idle_per_host {
            of_place.push((Instant::now(), open));
        }
        if !std::mem::replace(&mut unused.watched, true) {
            runtime.spawn(watch(Arc::downgrade(self), self.idle()));
        }
    }

    fn idle(&self) -> Duration {
        Duration::from_secs(self.config.idle_secs)
    }

    /// Closes what stood unused too long. Returns when to look again; none when nothing is left.
    fn close_old(&self) -> Option<Instant> {
        let idle = self.idle();
        let mut old = Vec::new();
        let mut unused = self.unused.lock();
        unused.by_place.retain(|_, of_place| {
            let first_young = of_place.partition_point(|(since, _)| since.elapsed() >= idle);
            old.extend(of_place.drain(..first_young));
            !of_place.is_empty()
        });
        let oldest =
            unused.by_place.values().filter_map(|of_place| of_place.first()).map(|(since, _)| *since);
        let next = oldest.min().map(|oldest| oldest + idle);
        unused.watched = next.is_some();
        drop(unused);
        next
    }
}

/// Looks after unused connections until there are none. Ends with the pool.
async fn watch(pool: Weak<Pool>, first: Duration) {
    let mut next = Instant::now() + first;
    loop {
        tokio::time::sleep_until(next).await;
        let Some(again) = pool.upgrade().and_then(|pool| pool.close_old()) else { return };
        next = again;
    }
}

/// The name of a place as `Host` says it: without a user, and without the port that the scheme means anyway.
fn host((scheme, authority): &Place) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let usual = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    match authority.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{}:{port}", authority.host()).try_into(),
        None => HeaderValue::from_str(authority.host()),
    }
}

/// A connection whose answer has not arrived whole.
struct Busy(Option<(Box<Open>, Arc<Pool>)>);

impl Busy {
    /// Puts the connection back as soon as it is free.
    fn put_back(&mut self) {
        if let Some((open, pool)) = self.0.take_if(|(open, _)| open.driven.is_free()) {
            pool.put(open);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some((open, _)) = &mut self.0 {
            open.driven.give_up_answer();
            self.put_back();
        }
    }
}

/// The body of an answer. Reading it drives the connection; dropped before its end it closes the connection, but for
/// a rest that has already arrived.
pub struct AnswerBody {
    body: Incoming,
    /// After the body, because it is dropped after it: the connection then sees that nobody reads.
    rest: Busy,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, rest } = &mut *self;
        let Some((open, _)) = &mut rest.0 else { return Pin::new(body).poll_frame(context) };
        let frame = ready!(open.driven.drive(context, |inside| Pin::new(&mut *body).poll_frame(inside)));
        rest.put_back();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AnswerBody").field("body", &self.body).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
