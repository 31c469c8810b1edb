//! What the double saw: every request as received, how many were open at once, and who hung up when.
//! Invariant: an exchange counts as open from its head until the last byte is handed over or the client is gone.

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;
use tokio::{sync::Notify, time::Instant};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Order of arrival, from 0.
    pub index: usize,
    /// The TCP connection it came on, from 0.
    pub connection: usize,
    /// Method.
    pub method: http::Method,
    /// Path and query.
    pub target: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as sent.
    pub body: Bytes,
    /// The body as JSON; null when it is none.
    pub json: Value,
    /// When the whole request was there.
    pub at: Instant,
}

impl Received {
    /// A header as text; empty when absent or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A client that went away before its answer was complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HangUp {
    /// [`Received::index`] of the request.
    pub request: usize,
    /// Chunks handed to the connection until then.
    pub chunks_sent: usize,
    /// When it was noticed.
    pub at: Instant,
}

/// The ledger behind one double.
#[derive(Debug, Default)]
pub(super) struct Record {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    received: Vec<Received>,
    hang_ups: Vec<HangUp>,
    violations: Vec<String>,
    connections: usize,
    open_connections: usize,
    in_flight: usize,
    peak: usize,
}

impl Record {
    pub(super) fn connection(self: &Arc<Self>) -> Connection {
        let mut state = self.state.lock();
        let number = state.connections;
        state.connections += 1;
        state.open_connections += 1;
        Connection { record: Arc::clone(self), number }
    }

    pub(super) fn open(self: &Arc<Self>) -> Exchange {
        let mut state = self.state.lock();
        state.in_flight += 1;
        state.peak = state.peak.max(state.in_flight);
        Exchange { record: Arc::clone(self), request: 0, chunks_sent: 0, complete: false }
    }

    pub(super) fn received(&self, mut request: Received) -> usize {
        let mut state = self.state.lock();
        request.index = state.received.len();
        state.received.push(request);
        let index = state.received.len() - 1;
        drop(state);
        self.changed.notify_waiters();
        index
    }

    pub(super) fn violation(&self, message: String) {
        self.state.lock().violations.push(message);
    }

    pub(super) fn all_received(&self) -> Vec<Received> {
        self.state.lock().received.clone()
    }

    pub(super) fn hang_ups(&self) -> Vec<HangUp> {
        self.state.lock().hang_ups.clone()
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.state.lock().violations.clone()
    }

    /// Requests, connections ever, connections open, requests in flight, most in flight.
    pub(super) fn counts(&self) -> super::Counts {
        let state = self.state.lock();
        super::Counts {
            requests: state.received.len(),
            connections: state.connections,
            open_connections: state.open_connections,
            in_flight: state.in_flight,
            max_in_flight: state.peak,
        }
    }

    pub(super) fn forget(&self) {
        let mut state = self.state.lock();
        state.received.clear();
        state.hang_ups.clear();
        state.violations.clear();
        state.peak = state.in_flight;
    }

    /// Waits until `holds` of the ledger.
    pub(super) async fn until<T>(&self, holds: impl Fn(&Self) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registers before looking, so that a change in between wakes it.
            changed.as_mut().enable();
            if let Some(answer) = holds(self) {
                return answer;
            }
            changed.await;
        }
    }
}

/// One TCP connection to the double.
#[derive(Debug)]
pub(super) struct Connection {
    record: Arc<Record>,
    pub(super) number: usize,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.record.state.lock().open_connections -= 1;
        self.record.changed.notify_waiters();
    }
}

/// One request being answered. Dropped before it is complete, it notes a hang-up.
#[derive(Debug)]
pub(super) struct Exchange {
    record: Arc<Record>,
    pub(super) request: usize,
    pub(super) chunks_sent: usize,
    pub(super) complete: bool,
}

impl Exchange {
    /// One more chunk of `total` (none: it never completes) is handed over.
    pub(super) fn sent(&mut self, total: Option<usize>) {
        self.chunks_sent += 1;
        self.complete = total == Some(self.chunks_sent);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.record.state.lock();
        state.in_flight -= 1;
        if !self.complete {
            state.hang_ups.push(HangUp {
                request: self.request,
                chunks_sent: self.chunks_sent,
                at: Instant::now(),
            });
        }
        drop(state);
        self.record.changed.notify_waiters();
    }
}
