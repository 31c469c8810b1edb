//! A streamed answer on its way through: the provider's bytes as they come, watched for idleness, length and an
//! honest end.
//!
//! Invariants: the stream ends with `None` only after the answer was complete; an early end is one `Err` item; the
//! call's permit is held to the end and dropping the stream drops the provider's connection at once (cancelled).

use super::{
    scan::{Broken, Scanner},
    translate::Translator,
};
use crate::report::Report;
use bytes::Bytes;
use futures_core::Stream;
use http_body::Body;
use portcullis_domain::{Failure, Meter, Usage};
use portcullis_resilience::{CallPermit, Class};
use portcullis_wire::look::tokens_of;
use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// How long, and for how many bytes, a provider may go on after `[DONE]` so that its connection can be used again.
const AFTER_DONE: (Duration, usize) = (Duration::from_secs(1), 65_536);

/// Clocks of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// Longest silence.
    pub(crate) idle: Duration,
    /// When the whole stream must have ended.
    pub(crate) ends: Instant,
}

/// What a stream is made of.
pub(crate) struct Source<B> {
    pub(crate) body: B,
    pub(crate) scanner: Scanner,
    /// What turns the events into the caller's format, where that is another one.
    pub(crate) back: Option<Translator>,
    /// What may go out, in the caller's format.
    pub(crate) ready: VecDeque<Bytes>,
    /// What broke it right behind its first chunk.
    pub(crate) fault: Option<Broken>,
    pub(crate) clocks: Clocks,
    /// When the last chunk came.
    pub(crate) came: Option<Instant>,
    /// What the prompt costs if the provider does not say.
    pub(crate) input_estimate: u64,
    pub(crate) meter: Meter,
    pub(crate) report: Report,
}

impl<B> Source<B> {
    /// Takes what arrived; what may go out is then ready.
    pub(crate) fn take(&mut self, chunk: Bytes) -> Result<(), Broken> {
        let now = Instant::now();
        self.report.chunk(now, self.came.replace(now));
        let Some(back) = &mut self.back else { return self.scanner.push(chunk, &mut self.ready) };
        let mut passed = VecDeque::new();
        let result = self.scanner.push(chunk, &mut passed);
        let translated = passed.iter().try_for_each(|events| back.events(events, &mut self.ready));
        let done = self.scanner.done();
        result.and(translated).inspect(|()| {
            if done {
                back.finish(&mut self.ready);
            }
        })
    }

    /// The provider has ended; tells whether the answer is whole.
    pub(crate) fn end(&mut self) -> Result<(), Broken> {
        let Some(back) = &mut self.back else { return self.scanner.finish(&mut self.ready) };
        let mut passed = VecDeque::new();
        let result = self.scanner.finish(&mut passed);
        passed.iter().try_for_each(|events| back.events(events, &mut self.ready))?;
        result.inspect(|()| back.finish(&mut self.ready))
    }
}

enum State {
    Open,
    /// The mark of the end has passed: bytes left that may follow.
    Draining(usize),
    /// The answer broke off; told once what is ready has gone out.
    Broken,
    Ended,
}

/// The stream.
pub(crate) struct Passing<B> {
    source: Source<B>,
    permit: Option<CallPermit>,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    state: State,
    outcome: &'static str,
}

impl<B> Passing<B> {
    pub(crate) fn new(source: Source<B>, permit: CallPermit) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(source.clocks.ends));
        let mut stream = Self {
            source,
            permit: Some(permit),
            timer,
            waiting: false,
            state: State::Open,
            outcome: "cancelled",
        };
        stream.measure();
        if let Some(fault) = stream.source.fault.take() {
            stream.broken_by(&fault);
        } else if stream.source.scanner.done() {
            stream.complete();
        }
        stream
    }

    /// Keeps the meter true: what the provider said, else an estimate of what has passed.
    fn measure(&self) {
        let scanner = &self.source.scanner;
        let written = tokens_of(scanner.text_bytes());
        let input = self.source.input_estimate;
        self.source.meter.set(match scanner.usage() {
            Some(told) if scanner.ended() || told.output >= written => told,
            // What a provider tells at the beginning of an answer that broke off.
            Some(told) => Usage { output: written, estimated: true, ..told },
            None => Usage { input, output: written, estimated: true, ..Usage::default() },
        });
    }

    /// The answer is whole: the place is free, the provider did well.
    fn complete(&mut self) {
        self.end(Class::Ok, "ok");
        self.state = State::Draining(AFTER_DONE.1);
        self.timer.as_mut().reset(Instant::now() + AFTER_DONE.0);
        self.waiting = true;
    }

    fn broken(&mut self, code: &'static str, detail: &str) {
        if matches!(self.state, State::Draining(_)) {
            // After its end nothing can go wrong with an answer.
            self.state = State::Ended;
            return;
        }
        self.source.report.failed(code, detail);
        self.end(Class::HardFailure, "error");
        self.state = State::Broken;
    }

    fn end(&mut self, class: Class, outcome: &'static str) {
        self.measure();
        self.outcome = outcome;
        if let Some(mut permit) = self.permit.take() {
            let usage = self.source.meter.get();
            permit.settle(u32::try_from(usage.input + usage.output).unwrap_or(u32::MAX));
            permit.finish(class);
        }
    }

    fn took(&mut self, chunk: Bytes) {
        self.waiting = false;
        if let State::Draining(left) = &mut self.state {
            self.waiting = true;
            match left.checked_sub(chunk.len()) {
                Some(rest) => *left = rest,
                None => self.state = State::Ended,
            }
            return;
        }
        let result = self.source.take(chunk);
        self.measure();
        match result {
            Ok(()) if self.source.scanner.done() => self.complete(),
            // Who always has more is never waited for, so no timer looks at the clock.
            Ok(()) if self.source.came.is_some_and(|came| came >= self.source.clocks.ends) => {
                self.broken("timeout", "the answer is longer than upstream.stream_timeout_secs");
            }
            Ok(()) => {}
            Err(broken) => self.broken_by(&broken),
        }
    }

    fn broken_by(&mut self, broken: &Broken) {
        let (code, detail) = match broken {
            Broken::TooLong => ("too_large", "an event is longer than upstream.max_event_bytes"),
            Broken::WrongSchema => ("schema", "an event is no chunk of an answer"),
            Broken::Error(_) => ("error_event", "the provider sent an error event"),
            Broken::Truncated => ("truncated", "the answer ended before it was complete"),
        };
        self.broken(code, detail);
    }
}

impl<B: Body<Data = Bytes> + Unpin> Passing<B>
where
    B::Error: std::fmt::Display,
{
    /// Waits for bytes, an end or a clock; what happened is in the state.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match Pin::new(&mut self.source.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    self.took(data);
                }
            }
            Poll::Ready(Some(Err(error))) => {
                let detail = error.to_string();
                self.broken("reset", &detail);
            }
            Poll::Ready(None) => {
                if matches!(self.state, State::Draining(_)) {
                    self.state = State::Ended;
                    return Poll::Ready(());
                }
                match self.source.end() {
                    Ok(()) => {
                        self.end(Class::Ok, "ok");
                        self.state = State::Ended;
                    }
                    Err(broken) => self.broken_by(&broken),
                }
            }
            Poll::Pending => {
                if !self.waiting {
                    // Idleness counts from when we began to wait: a slow client is not the provider's silence.
                    self.waiting = true;
                    let clocks = self.source.clocks;
                    self.timer.as_mut().reset((Instant::now() + clocks.idle).min(clocks.ends));
                }
                ready!(self.timer.as_mut().poll(cx));
                self.broken("timeout", "the provider fell silent in the middle of an answer");
            }
        }
        Poll::Ready(())
    }
}

impl<B: Body<Data = Bytes> + Unpin> Stream for Passing<B>
where
    B::Error: std::fmt::Display,
{
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(bytes) = self.source.ready.pop_front() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            match self.state {
                State::Ended => return Poll::Ready(None),
                State::Broken => {
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(Failure::UpstreamInterrupted)));
                }
                State::Open | State::Draining(_) => ready!(self.poll_source(cx)),
            }
        }
    }
}

impl<B> Drop for Passing<B> {
    fn drop(&mut self) {
        self.source.report.says(self.source.scanner.told());
        self.source.report.streamed(self.outcome, self.source.meter.get());
    }
}
