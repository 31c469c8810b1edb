//! The record of one message: begun when it enters, ended exactly once, by an outcome or, when it is dropped
//! unended, as `cancelled`. Ending writes the metrics and the one log line. A streamed reply carries its record, its
//! place in the house and its meter to its last byte.

use crate::{
    pipeline::{Inner, Refused, Views},
    tokens::Charged,
};
use bytes::Bytes;
use futures_core::Stream;
use futures_util::stream;
use portcullis_domain::{
    Action, ByteStream, Caller, Door, Failure, Inbound, Meter, RequestId, TraceId, Usage,
};
use portcullis_telemetry::{
    Metrics, Span,
    anomaly::{self, Seen},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

/// See the module.
pub(crate) struct Record {
    engine: Arc<Inner>,
    id: RequestId,
    client_id: Option<Box<str>>,
    span: Option<Span>,
    door: Door,
    action: Action,
    caller: Option<(Arc<str>, portcullis_domain::Tier)>,
    started: Instant,
    app_started: Option<Instant>,
    app_took: Duration,
    model: Option<Arc<str>>,
    /// Bytes of the message, once they are known.
    length: Option<u32>,
    /// The network a key was used from.
    network: Option<u16>,
    /// Boxed: few keys have a limit of tokens.
    charged: Option<Box<Charged>>,
    ended: bool,
}

impl Record {
    pub(crate) fn begin(engine: Arc<Inner>, inbound: &mut Inbound, span: Option<Span>) -> Self {
        Self {
            engine,
            id: inbound.id,
            client_id: inbound.client_request_id.take(),
            span,
            door: inbound.door,
            action: inbound.action,
            caller: None,
            started: Instant::now(),
            app_started: None,
            app_took: Duration::ZERO,
            model: None,
            length: None,
            network: None,
            charged: None,
            ended: false,
        }
    }

    pub(crate) fn known(&mut self, caller: &Caller) {
        self.caller = Some((caller.id.clone(), caller.tier.clone()));
        self.network = caller.key_id.is_some().then(|| anomaly::network(caller.address));
    }

    /// How long the message was.
    pub(crate) fn said(&mut self, bytes: usize) {
        self.length = Some(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Tokens that were charged to the key by estimate, to be settled at the end.
    pub(crate) fn charged(&mut self, charged: Charged) {
        self.charged = Some(Box::new(charged));
    }

    pub(crate) const fn engine(&self) -> &Arc<Inner> {
        &self.engine
    }

    pub(crate) const fn id(&self) -> RequestId {
        self.id
    }

    pub(crate) const fn span(&self) -> Option<&Span> {
        self.span.as_ref()
    }

    pub(crate) fn trace_id(&self) -> Option<TraceId> {
        self.span.as_ref().map(Span::trace_id)
    }

    pub(crate) const fn door(&self) -> Door {
        self.door
    }

    pub(crate) const fn action(&self) -> Action {
        self.action
    }

    pub(crate) fn app_begins(&mut self) {
        self.app_started = Some(Instant::now());
    }

    pub(crate) fn app_ends(&mut self) {
        self.app_took = self.app_started.take().map_or(Duration::ZERO, |at| at.elapsed());
    }

    /// `provider/model` that answered, under which usage is summed.
    pub(crate) fn answered_by(&mut self, model: Option<Arc<str>>) {
        self.model = model;
    }

    pub(crate) fn refuse(mut self, failure: Failure, views: Views) -> Refused {
        self.end(failure.kind(), None);
        Refused { failure, views }
    }

    pub(crate) fn succeed(mut self, usage: Option<Usage>) {
        self.end("ok", usage);
    }

    fn end(&mut self, outcome: &'static str, usage: Option<Usage>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let took = self.started.elapsed();
        let metrics = &self.engine.metrics;
        metrics.request_done(self.door, self.action, outcome, took);
        if usage.is_some() {
            metrics.overhead(took.saturating_sub(self.app_took));
        }
        let Usage { input, output, .. } = usage.unwrap_or_default();
        if let Some(charged) = self.charged.take() {
            charged.settle(input.saturating_add(output));
        }
        self.notice(outcome);
        // Let go here: whoever else holds it, the door or a piece of the work, ends it.
        let trace = self.span.take().map(|span| self.traced(&span, outcome));
        let (caller, tier) = self.caller.as_ref().map_or(("", ""), |(id, tier)| (&**id, tier.as_str()));
        tracing::info!(
            request_id = self.id.as_str(),
            trace_id = trace.as_deref(),
            client_request_id = self.client_id.as_deref(),
            door = self.door.as_str(),
            action = self.action.as_str(),
            caller,
            tier,
            outcome,
            micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            tokens_in = input,
            tokens_out = output,
            "request"
        );
    }
}

/// Outcomes that are nobody's doing but ours or a provider's.
const FAULTS: [&str; 5] =
    ["internal", "unavailable", "overloaded", "deadline_exceeded", "upstream_interrupted"];

impl Record {
    /// Tells how a traced message ended; its trace, for the log.
    #[cold]
    fn traced(&self, span: &Span, outcome: &'static str) -> String {
        span.tell(|about| {
            about.text("portcullis.request_id", self.id.to_string());
            about.text("portcullis.door", self.door.as_str());
            about.text("portcullis.action", self.action.as_str());
            about.text("portcullis.outcome", outcome);
            if let Some((_, tier)) = &self.caller {
                about.text("portcullis.tier", tier.as_str().to_owned());
            }
            if let Some(target) = &self.model {
                about.text("portcullis.target", target.to_string());
            }
        });
        match outcome {
            "ok" => span.ok(),
            _ => span.failed(outcome, FAULTS.contains(&outcome)),
        }
        span.trace_id().to_string()
    }

    /// Whether this message fits its caller.
    fn notice(&self, outcome: &'static str) {
        let Some((caller, tier)) = &self.caller else { return };
        let refused = match outcome {
            "ok" => Some(false),
            "rate_limited" | "budget_exceeded" | "blocked" | "forbidden" => Some(true),
            _ => None,
        };
        let seen = Seen { caller, length: self.length, refused, network: self.network };
        if let Some(found) = self.engine.anomalies.observe(&seen) {
            self.engine.anomalies.tell(found, (caller, tier), (self.door, self.action), outcome, self.id);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end("cancelled", None);
    }
}

/// A streamed reply on its way out.
pub(crate) struct Finishing {
    source: ByteStream,
    record: Option<Record>,
    meter: Meter,
    _place: OwnedSemaphorePermit,
    metrics: Metrics,
}

impl Finishing {
    pub(crate) fn new(
        source: ByteStream,
        mut record: Record,
        meter: Meter,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let metrics = record.engine.metrics.clone();
        metrics.stream_opened();
        // What the provider takes from here on is its time, not ours.
        record.app_took = Duration::ZERO;
        record.app_started = Some(Instant::now());
        Self { source, record: Some(record), meter, _place: place, metrics }
    }

    /// What the answer comes from ends before the record of it does.
    fn let_go(&mut self) {
        self.source = Box::pin(stream::empty());
    }

    fn end(&mut self, failure: Option<&Failure>) {
        let Some(mut record) = self.record.take() else { return };
        self.let_go();
        match failure {
            None => {
                record.app_ends();
                record.succeed(Some(self.meter.get()));
            }
            Some(failure) => record.end(failure.kind(), Some(self.meter.get())),
        }
    }
}

impl Stream for Finishing {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(record) = &this.record else { return Poll::Ready(None) };
        let polled = catch_unwind(AssertUnwindSafe(|| this.source.as_mut().poll_next(cx)));
        let item = match polled {
            Ok(poll) => std::task::ready!(poll),
            Err(panic) => Some(Err(record.engine.panicked("stream", panic.as_ref(), record.id))),
        };
        match &item {
            None => this.end(None),
            Some(Err(failure)) => this.end(Some(failure)),
            Some(Ok(_)) => {}
        }
        Poll::Ready(item)
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        // The caller hung up: what it read is used all the same.
        self.let_go();
        if let Some(record) = &mut self.record {
            record.end("cancelled", Some(self.meter.get()));
        }
        self.metrics.stream_closed();
    }
}
