//! Traces: what was done for one request, as spans that a collector puts together with those of other programs. Off unless a
//! collector is named; then nothing is made, measured or sent on but what a caller itself asks for by `traceparent`.
//!
//! Invariants: a span never holds what people wrote, a key, or who a caller is; who tells of a span never waits, and one that
//! finds no room is dropped and counted; a request that is not sampled costs its ids and nothing else.
//! Sources: W3C Trace Context; OpenTelemetry, "Trace SDK" (sampling) and the semantic conventions of HTTP and of gen_ai
//! (status Development, 1.38).

mod config;
mod export;
mod otlp;
mod span;
#[cfg(test)]
mod tests;

pub use config::{OtlpConfig, TelemetryConfig, TracesConfig};
pub use export::{Ship, Shipped, export_metrics, export_traces};
pub use otlp::Resource;
pub(crate) use otlp::{comma, pair};
pub use span::{About, Span, SpanKind};

use crate::Metrics;
use portcullis_domain::{SpanId, TraceId, TraceParent};
#[cfg(test)]
use span::Fact;
use span::{Ended, Shared};
use std::{borrow::Cow, sync::Arc, time::SystemTime};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::Instant,
};

/// Where spans come from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Traces {
    /// Whether other servers hear of the trace.
    propagate: bool,
    on: Option<Arc<On>>,
}

/// Spans on their way to the exporter.
#[derive(Debug)]
pub struct Waiting(pub(crate) Receiver<Ended>);

#[derive(Debug)]
struct On {
    /// Traces whose number is below are sampled, of those that nobody else decides about.
    below: u64,
    heed_parent: bool,
    sink: Sink,
}

#[derive(Clone, Debug)]
pub(crate) struct Sink {
    queue: Sender<Ended>,
    metrics: Metrics,
}

impl Sink {
    pub(crate) fn put(&self, span: Ended) {
        if self.queue.try_send(span).is_err() {
            self.metrics.spans("queue_full", 1);
        }
    }
}

/// The largest number that sampling goes by: 63 bits of a trace's id, which its maker drew at random.
const MOST: u64 = u64::MAX >> 1;

impl Traces {
    /// Makes no spans; what callers say of theirs is told on, where the settings allow it.
    #[must_use]
    pub const fn off(propagate: bool) -> Self {
        Self { propagate, on: None }
    }

    /// Makes spans, at most `queue` of which wait for the exporter.
    #[must_use]
    pub fn on(config: &TracesConfig, queue: usize, metrics: Metrics) -> (Self, Waiting) {
        let (queue, waiting) = channel(queue.max(1));
        let on = On {
            below: share(config.sample),
            heed_parent: config.heed_parent,
            sink: Sink { queue, metrics },
        };
        (Self { propagate: config.propagate, on: Some(Arc::new(on)) }, Waiting(waiting))
    }

    /// Whether spans are made.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.on.is_some()
    }

    /// The span of a whole request, which comes from that piece of work where its caller says so. None where there is nothing
    /// to tell anybody.
    #[must_use]
    pub fn begin(
        &self,
        parent: Option<TraceParent>,
        name: impl FnOnce() -> Cow<'static, str>,
    ) -> Option<Span> {
        let Some(on) = &self.on else {
            // Nothing of ours stands between: others hear the caller's own words.
            let TraceParent { trace, span, sampled, state } = parent?;
            let state = state.map(Into::into);
            let shared = Shared { trace, sampled, state, propagate: self.propagate, sink: None };
            return Some(Span::silent(shared, span, None));
        };
        let (trace, from, state, sampled) = match parent {
            Some(TraceParent { trace, span, sampled, state }) => (
                trace,
                Some(span),
                state.map(Into::into),
                if on.heed_parent { sampled } else { on.takes(trace) },
            ),
            None => {
                let trace = TraceId::new(rand::random::<u128>().max(1))?;
                (trace, None, None, on.takes(trace))
            }
        };
        let sink = sampled.then(|| (on.sink.clone(), SystemTime::now(), Instant::now()));
        let shared = Shared { trace, sampled, state, propagate: self.propagate, sink };
        Some(Span::open(shared, fresh(), from, SpanKind::Server, name))
    }
}

impl On {
    /// The same in every replica, and in whatever else samples so.
    fn takes(&self, trace: TraceId) -> bool {
        let [_, low] = halves(trace.bits());
        low & MOST < self.below || self.below > MOST
    }
}

fn halves(bits: u128) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bits.to_be_bytes();
    [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(rest)]
}

/// How many of all numbers are below: nothing for 0, all for 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of 0 to 1 of 63 bits; float casts saturate"
)]
fn share(of_one: f64) -> u64 {
    if of_one >= 1.0 { u64::MAX } else { (of_one.max(0.0) * MOST as f64) as u64 }
}

pub(crate) fn fresh() -> SpanId {
    loop {
        if let Some(id) = SpanId::new(rand::random()) {
            return id;
        }
    }
}
