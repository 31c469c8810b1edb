//! One span: a piece of work with a beginning, an end and facts. Whoever works on it holds it; it ends when the last of them
//! lets go, so that no way out of a function forgets it, and is told as cancelled where nobody said how it went.

use super::{Sink, fresh};
use parking_lot::Mutex;
use portcullis_domain::{SpanId, TraceId, TraceParent};
use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// Longest fact, in bytes; longer ones are cut.
const FACT_BYTES: usize = 256;

/// Which side of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Neither.
    Internal,
    /// It answers somebody.
    Server,
    /// It asks somebody.
    Client,
}

/// What all spans of one trace in this process share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) trace: TraceId,
    pub(super) sampled: bool,
    pub(super) state: Option<Arc<str>>,
    pub(super) propagate: bool,
    /// Where what is told goes, and when the trace began here; none where nothing is told. All moments are counted from that
    /// one, so that no step of the wall clock puts a piece of work outside of what it is a piece of.
    pub(super) sink: Option<(Sink, SystemTime, Instant)>,
}

/// A span under way. Cheap to clone.
#[derive(Clone)]
pub struct Span(Arc<Open>);

struct Open {
    shared: Shared,
    id: SpanId,
    /// The span it belongs to, and whether that is another program's.
    parent: Option<(SpanId, bool)>,
    kind: SpanKind,
    /// None where nothing is told.
    told: Option<Mutex<Told>>,
}

struct Told {
    name: Cow<'static, str>,
    begun: Instant,
    facts: About,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy)]
struct Outcome {
    at: Instant,
    /// What went wrong, and whether that is our side's fault.
    wrong: Option<(&'static str, bool)>,
}

/// The value of a fact.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    Text(Cow<'static, str>),
    Texts(Vec<String>),
    Count(u64),
    Flag(bool),
}

/// Facts about a span, under the names of the semantic conventions or, where these have none, under `portcullis.`.
#[derive(Debug, Default)]
pub struct About(pub(super) Vec<(&'static str, Fact)>);

impl About {
    fn put(&mut self, name: &'static str, fact: Fact) {
        match self.0.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = fact,
            None => self.0.push((name, fact)),
        }
    }

    /// A text: a configured name or one of ours, never what people wrote.
    pub fn text(&mut self, name: &'static str, text: impl Into<Cow<'static, str>>) {
        self.put(name, Fact::Text(cut(text.into())));
    }

    /// Several texts.
    pub fn texts(&mut self, name: &'static str, texts: Vec<String>) {
        let texts = texts.into_iter().map(|text| cut(Cow::Owned(text)).into_owned());
        self.put(name, Fact::Texts(texts.collect()));
    }

    /// A number.
    pub fn count(&mut self, name: &'static str, count: u64) {
        self.put(name, Fact::Count(count));
    }

    /// A number, beside what was counted before.
    pub fn more(&mut self, name: &'static str, count: u64) {
        let before = self.0.iter().find(|(other, _)| *other == name);
        let before = match before {
            Some((_, Fact::Count(before))) => *before,
            Some((_, Fact::Text(_) | Fact::Texts(_) | Fact::Flag(_))) | None => 0,
        };
        self.count(name, before.saturating_add(count));
    }

    /// Yes or no.
    pub fn flag(&mut self, name: &'static str, flag: bool) {
        self.put(name, Fact::Flag(flag));
    }
}

fn cut(text: Cow<'static, str>) -> Cow<'static, str> {
    if text.len() <= FACT_BYTES {
        text
    } else {
        text[..text.floor_char_boundary(FACT_BYTES)].to_owned().into()
    }
}

/// A span that has ended, as it is exported.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) trace: TraceId,
    pub(crate) id: SpanId,
    pub(crate) parent: Option<(SpanId, bool)>,
    pub(crate) state: Option<Arc<str>>,
    pub(crate) kind: SpanKind,
    pub(crate) name: Cow<'static, str>,
    pub(crate) begun: Duration,
    pub(crate) took: Duration,
    pub(crate) facts: Vec<(&'static str, Fact)>,
    pub(crate) fault: bool,
}

impl Span {
    /// One of which nothing is told.
    pub(super) fn silent(shared: Shared, id: SpanId, parent: Option<(SpanId, bool)>) -> Self {
        Self(Arc::new(Open { shared, id, parent, kind: SpanKind::Internal, told: None }))
    }

    pub(super) fn open(
        shared: Shared,
        id: SpanId,
        parent: Option<SpanId>,
        kind: SpanKind,
        name: impl FnOnce() -> Cow<'static, str>,
    ) -> Self {
        let parent = parent.map(|parent| (parent, kind == SpanKind::Server));
        if shared.sink.is_none() {
            return Self::silent(shared, id, parent);
        }
        let told = Told { name: name(), begun: Instant::now(), facts: About::default(), outcome: None };
        Self(Arc::new(Open { shared, id, parent, kind, told: Some(Mutex::new(told)) }))
    }

    /// A piece of the same work.
    #[must_use]
    pub fn child(&self, kind: SpanKind, name: impl FnOnce() -> Cow<'static, str>) -> Self {
        // Where nothing is told there is nothing to tell apart.
        if !self.records() {
            return self.clone();
        }
        Self::open(self.0.shared.clone(), fresh(), Some(self.0.id), kind, name)
    }

    /// The trace it belongs to.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.0.shared.trace
    }

    /// Whether anything is told of it.
    #[must_use]
    pub fn records(&self) -> bool {
        self.0.told.is_some()
    }

    /// Adds facts; `tell` is asked only where they are wanted.
    pub fn tell(&self, tell: impl FnOnce(&mut About)) {
        if let Some(told) = &self.0.told {
            tell(&mut told.lock().facts);
        }
    }

    /// It went well, until now.
    pub fn ok(&self) {
        self.settle(None);
    }

    /// It did not go well, for that reason, which is one of a few. `fault` is false where it is the asking side's own doing.
    pub fn failed(&self, reason: &'static str, fault: bool) {
        self.settle(Some((reason, fault)));
    }

    fn settle(&self, wrong: Option<(&'static str, bool)>) {
        if let Some(told) = &self.0.told {
            told.lock().outcome = Some(Outcome { at: Instant::now(), wrong });
        }
    }

    /// The header `traceparent` of a request that belongs to this span, where others are to hear of it.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        let Shared { trace, sampled, propagate, .. } = self.0.shared;
        propagate.then(|| TraceParent::header(trace, self.0.id, sampled))
    }

    /// The header `tracestate` beside it.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.0.shared.state.as_deref().filter(|_| self.0.shared.propagate)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Span({}-{})", self.0.shared.trace, self.0.id)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let (Some(told), Some((sink, moment, origin))) = (self.told.take(), &self.shared.sink) else {
            return;
        };
        let Told { name, begun, facts: mut about, outcome } = told.into_inner();
        let Outcome { at, wrong } =
            outcome.unwrap_or_else(|| Outcome { at: Instant::now(), wrong: Some(("cancelled", false)) });
        if let Some((reason, _)) = wrong {
            about.text("error.type", reason);
        }
        sink.put(Ended {
            trace: self.shared.trace,
            id: self.id,
            parent: self.parent,
            state: self.shared.state.clone(),
            kind: self.kind,
            name,
            begun: moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
                + begun.saturating_duration_since(*origin),
            took: at.saturating_duration_since(begun),
            facts: about.0,
            fault: wrong.is_some_and(|(_, fault)| fault),
        });
    }
}
