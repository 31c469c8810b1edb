//! A connection that the task which asks drives itself: no task of its own, so nothing is woken, queued and switched to
//! between the socket and who waits for it. The protocol is hyper's; here is only who polls it.
//!
//! Invariants: whoever waits for an answer or a piece of its body polls the connection before saying "pending", so no
//! byte waits for somebody who does not come; a wake from inside such a poll is one more round of it and not one more
//! visit of the whole task; a connection that nobody uses wakes nobody.

use super::connect::Stream;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// What requests carry.
pub(super) type Outgoing = Either<Full<Bytes>, super::Pieces>;

/// Nobody polls; a wake goes to the task.
const OUTSIDE: u8 = 0;
/// The task is inside a poll.
const INSIDE: u8 = 1;
/// It is, and was woken meanwhile.
const AGAIN: u8 = 2;

/// Hands wakes to the task that uses the connection now.
#[derive(Debug, Default)]
struct Relay {
    state: AtomicU8,
    task: futures_util::task::AtomicWaker,
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = self.state.compare_exchange(INSIDE, AGAIN, Ordering::AcqRel, Ordering::Acquire);
        if woken == Err(OUTSIDE) {
            self.task.wake();
        }
    }
}

/// One connection and the way to ask over it.
#[derive(Debug)]
pub(super) struct Driven {
    sender: http1::SendRequest<Outgoing>,
    /// None when it has ended.
    connection: Option<http1::Connection<Stream, Outgoing>>,
    relay: Arc<Relay>,
    /// The relay's, made once.
    waker: Waker,
}

impl Driven {
    /// A connection over an open socket. `max_head_bytes`: of an answer.
    ///
    /// # Errors
    /// hyper's; there are none for HTTP/1 today.
    pub(super) async fn open(stream: Stream, max_head_bytes: usize) -> hyper::Result<Self> {
        let (sender, connection) =
            http1::Builder::new().max_buf_size(max_head_bytes).handshake(stream).await?;
        let relay = Arc::new(Relay::default());
        Ok(Self { sender, connection: Some(connection), waker: relay.clone().into(), relay })
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// With the request in it when none of it was sent.
    pub(super) async fn ask(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|context| self.drive(context, |inside| answer.as_mut().poll(inside))).await
    }

    /// Polls what waits for the connection, and the connection, until the first is ready or both are not.
    pub(super) fn drive<T>(
        &mut self,
        context: &Context<'_>,
        mut waiting: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.relay.task.register(context.waker());
        let mut inside = Context::from_waker(&self.waker);
        let told = loop {
            // Before both are polled: whatever wakes from here on may have come too late for one of them.
            self.relay.state.store(INSIDE, Ordering::Release);
            if let Poll::Ready(told) = waiting(&mut inside) {
                break Poll::Ready(told);
            }
            let Some(connection) = &mut self.connection else { break Poll::Pending };
            if Pin::new(connection).poll(&mut inside).is_ready() {
                // Its end is told to who waits by its being dropped.
                self.connection = None;
                continue;
            }
            let left =
                self.relay.state.compare_exchange(INSIDE, OUTSIDE, Ordering::AcqRel, Ordering::Acquire);
            if left.is_ok() {
                return Poll::Pending;
            }
            // Without a budget everything is pending and wakes at once: another round would not end.
            if !tokio::task::coop::has_budget_remaining() {
                context.waker().wake_by_ref();
                break Poll::Pending;
            }
        };
        self.relay.state.store(OUTSIDE, Ordering::Release);
        told
    }

    /// Whether the answer has been read to its end and another may be asked for. False also while the caller's own
    /// request is still being sent.
    pub(super) fn is_free(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Lets the connection see that nobody wants the rest of its answer: what has arrived of it is read and thrown away.
    pub(super) fn give_up_answer(&mut self) {
        let mut inside = Context::from_waker(Waker::noop());
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(&mut inside).is_ready()
        {
            self.connection = None;
        }
    }

    /// Forgets the task that used it.
    pub(super) fn rest(&self) {
        self.relay.task.take();
    }
}
