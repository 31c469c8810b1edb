//! What a digest is made from and what it is.

use portcullis_domain::{Caller, Deadline, Progress};
use portcullis_engine::Quotas;
use portcullis_knowledge::Language;
use portcullis_news::Source;
use portcullis_telemetry::Span;
use std::collections::HashMap;

/// What a digest is made from.
#[derive(Clone)]
pub struct DigestAsk {
    /// For whom: the limits of what it takes are theirs.
    pub caller: Caller,
    /// Where those limits are kept.
    pub quotas: Quotas,
    /// The span of the request, where there is one that is traced.
    pub span: Option<Span>,
    /// Until when it must be there.
    pub deadline: Deadline,
    /// What is read.
    pub sources: Vec<Source>,
    /// Posts since then, Unix milliseconds.
    pub since: i64,
    /// Most stories.
    pub stories: usize,
    /// In which language it is told; none: that of most posts.
    pub language: Option<Language>,
    /// Whether a post is let through, by its words.
    pub keeps: Option<Keeps>,
    /// How often a post speaks of what is watched for.
    pub watches: Option<Watches>,
    /// What was shown before.
    pub shown: Shown,
    /// Whether somebody waits for it: such fetches stand before those of schedules.
    pub urgent: bool,
    /// Hears how far it is, phase by phase.
    pub progress: Phases,
}

/// Whether a post is let through.
pub type Keeps = std::sync::Arc<dyn Fn(&str) -> bool + Send + Sync>;
/// How often a post speaks of what is watched for.
pub type Watches = std::sync::Arc<dyn Fn(&str) -> usize + Send + Sync>;

/// Posts that were shown to somebody, each by the hash of its text, with the number of sources of its story then.
pub type Shown = HashMap<u64, u32>;

/// How far a digest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// So many sources have answered, of so many.
    Fetching(usize, usize),
    /// Posts are being grouped.
    Grouping,
    /// So many stories are told, of so many.
    Telling(usize, usize),
}

/// Hears of phases; says whether the digest is still wanted.
#[derive(Clone)]
pub struct Phases(pub std::sync::Arc<dyn Fn(Phase) -> bool + Send + Sync>);

/// A digest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Digest {
    /// In order of weight.
    pub stories: Vec<Story>,
    /// Sources that gave nothing, and why.
    pub failed: Vec<Failed>,
    /// In which ways it is less than it should be; none of them twice.
    pub less: Vec<Less>,
    /// Posts that were looked at.
    pub posts: usize,
}

/// One event, told.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    /// A few words.
    pub headline: String,
    /// Two or three sentences.
    pub bullets: Vec<String>,
    /// Where it was read, one entry a source: its name and the post's address.
    pub links: Vec<(String, String)>,
    /// Posts in it.
    pub posts: usize,
    /// When its newest post was published, Unix milliseconds.
    pub at: i64,
    /// Hashes of its posts' texts, for [`Shown`].
    pub hashes: Vec<u64>,
    /// Whether a model of language told it.
    pub told_by_ai: bool,
}

/// A source that gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Which.
    pub source: Source,
    /// Why.
    pub reason: Reason,
}

/// Why a source gave nothing. A closed set: metric label and member of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The channel shows nothing to those who are not in it.
    NoPreview,
    /// There is none such.
    NotFound,
    /// It asks programs to stay away.
    Robots,
    /// Its address is not reachable from here.
    Refused,
    /// It did not answer, or not in time.
    NotAnswering,
    /// Too much waits to be fetched.
    Busy,
    /// It is too large or nothing can be read in it.
    Unreadable,
}

/// How a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers and posts.
    Ok,
    /// It answers, but posted nothing for days; its newest post that is known, Unix milliseconds.
    Quiet {
        /// None: none is known.
        since: Option<i64>,
    },
    /// It does not answer.
    Failing {
        /// Why.
        reason: Reason,
        /// Since when, Unix milliseconds; 0 where it asked for a pause.
        since: i64,
    },
    /// The channel shows nothing to those who are not in it.
    NoPreview,
    /// It said, or was so often found, to be there no more: it is not asked again.
    Gone,
}

/// A source that was asked when it was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What it calls itself; may be empty.
    pub title: String,
    /// Whether it is a page that is read by its articles.
    pub is_page: bool,
    /// Feeds that it names: what each is called, and its address.
    pub feeds: Vec<(String, String)>,
}

/// In which way a digest is less than it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Less {
    /// No AI told some of its stories: their best sentences stand there.
    Extractive,
    /// Posts were grouped by their words, since nothing could compare their meaning.
    Lexical,
    /// Some sources were too late.
    Late,
}

impl Phases {
    /// Nobody listens.
    #[must_use]
    pub fn silent() -> Self {
        Self(std::sync::Arc::new(|_| true))
    }

    /// Shown as that post.
    #[must_use]
    pub fn shown(
        progress: Progress,
        post: impl Fn(Phase) -> portcullis_domain::Post + Send + Sync + 'static,
    ) -> Self {
        Self(std::sync::Arc::new(move |phase| progress.show(post(phase))))
    }
}

impl std::fmt::Debug for Phases {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Phases")
    }
}

impl Reason {
    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPreview => "no_preview",
            Self::NotFound => "not_found",
            Self::Robots => "robots",
            Self::Refused => "refused",
            Self::NotAnswering => "not_answering",
            Self::Busy => "busy",
            Self::Unreadable => "unreadable",
        }
    }

    /// Of its word; what is none is a source that does not answer.
    pub(crate) fn read(word: &str) -> Self {
        let all =
            [Self::NoPreview, Self::NotFound, Self::Robots, Self::Refused, Self::Busy, Self::Unreadable];
        all.into_iter().find(|reason| reason.as_str() == word).unwrap_or(Self::NotAnswering)
    }
}
