//! What comes back: whole bytes or a stream of them, already in the caller's wire. A stream ends with `None` only
//! when the answer is complete; an early end is an `Err` item, so that no door can present a cut answer as whole.

use crate::{Failure, MessageReply};
use bytes::Bytes;
use futures_core::Stream;
use std::{
    borrow::Cow,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Chunks of a streamed answer. Dropping it cancels the work behind it, all the way to the provider.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, Failure>> + Send>>;

/// An answer.
pub struct Reply {
    /// The bytes.
    pub body: ReplyBody,
    /// Set when the answer is less than what was asked for; doors must say so.
    pub degraded: Option<Degraded>,
    /// `provider/model` that answered, shown only to callers with scope `debug`.
    pub target: Option<Arc<str>>,
    /// Tokens used; final when the body is complete.
    pub meter: Meter,
    /// Members of the request that the target has no equivalent for, in the caller's words; doors name them.
    pub dropped: Vec<Cow<'static, str>>,
    /// What a cache did, where one was asked.
    pub cache: Option<CacheNote>,
}

impl Reply {
    /// An answer with nothing to add to it.
    #[must_use]
    pub const fn new(body: ReplyBody, meter: Meter) -> Self {
        Self { body, degraded: None, target: None, meter, dropped: Vec::new(), cache: None }
    }
}

/// What a cache did for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheNote {
    /// The answer was kept; it is so old.
    Hit {
        /// Seconds since it was made.
        age_secs: u64,
    },
    /// The answer to a question that means the same was kept.
    Semantic {
        /// Seconds since it was made.
        age_secs: u64,
    },
    /// Looked for and not there.
    Miss,
    /// The caller, or the route, wants no cache for this request.
    Bypass,
}

impl CacheNote {
    /// The value of the header `x-portcullis-cache`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit { .. } => "hit",
            Self::Semantic { .. } => "semantic",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }

    /// How old a kept answer is, in seconds.
    #[must_use]
    pub const fn age_secs(self) -> Option<u64> {
        match self {
            Self::Hit { age_secs } | Self::Semantic { age_secs } => Some(age_secs),
            Self::Miss | Self::Bypass => None,
        }
    }
}

/// Whole or streamed.
pub enum ReplyBody {
    /// `application/json`.
    Whole(Bytes),
    /// `text/event-stream`.
    Stream(ByteStream),
    /// Words for a chat door.
    Message(Box<MessageReply>),
}

/// In which way an answer is less than what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Degraded {
    /// No provider is configured; the builtin one answered.
    NoProvider,
    /// The first choice failed; another target answered.
    Fallback,
    /// Vectors of another space than the route's first choice.
    EmbeddingSpace,
    /// No AI answered: passages stand in the place of an answer.
    Extractive,
    /// The documents could not be searched: an answer without them.
    WithoutDocuments,
}

impl Degraded {
    /// The value of the header `x-portcullis-degraded`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoProvider => "no-provider",
            Self::Fallback => "fallback",
            Self::EmbeddingSpace => "embedding-space",
            Self::Extractive => "extractive",
            Self::WithoutDocuments => "without-documents",
        }
    }
}

/// What tokens cost, in micro-dollars for each 1,000,000 of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// Tokens read.
    pub input: u64,
    /// Tokens read that the provider had cached.
    pub cached_input: u64,
    /// Tokens written, reasoning included.
    pub output: u64,
}

/// Tokens of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens read, cached ones included.
    pub input: u64,
    /// Those of them that the provider had cached.
    pub cached: u64,
    /// Tokens written, reasoning included.
    pub output: u64,
    /// Those of them that were reasoning.
    pub reasoning: u64,
    /// Counted by us because the provider did not say.
    pub estimated: bool,
}

/// Where the provider's wire leaves the usage it sees, and stage 6 reads it when the body has ended.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<MeterCells>);

#[derive(Debug, Default)]
struct MeterCells {
    input: AtomicU64,
    cached: AtomicU64,
    output: AtomicU64,
    reasoning: AtomicU64,
    estimated: AtomicBool,
}

impl Meter {
    /// Replaces what was known.
    pub fn set(&self, usage: Usage) {
        self.0.input.store(usage.input, Ordering::Relaxed);
        self.0.cached.store(usage.cached, Ordering::Relaxed);
        self.0.output.store(usage.output, Ordering::Relaxed);
        self.0.reasoning.store(usage.reasoning, Ordering::Relaxed);
        self.0.estimated.store(usage.estimated, Ordering::Relaxed);
    }

    /// What is known now.
    #[must_use]
    pub fn get(&self) -> Usage {
        Usage {
            input: self.0.input.load(Ordering::Relaxed),
            cached: self.0.cached.load(Ordering::Relaxed),
            output: self.0.output.load(Ordering::Relaxed),
            reasoning: self.0.reasoning.load(Ordering::Relaxed),
            estimated: self.0.estimated.load(Ordering::Relaxed),
        }
    }
}
