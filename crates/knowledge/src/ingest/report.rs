//! What an ingestion says: progress while it runs, a report at its end, or why nothing was published. The words are for
//! operators. Invariant: every file that was found is in exactly one count of the report.

use super::{extract::Refusal, find::FindError, reader::NoProcess};
use crate::{IndexError, collection::Held};
use serde::Serialize;

/// How far an ingestion is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Files that are done.
    pub files: usize,
    /// Files that were found so far.
    pub of_files: usize,
    /// Bytes of those that are done.
    pub bytes: u64,
    /// Bytes of all of them, where the sizes are known.
    pub of_bytes: u64,
    /// Passages cut so far.
    pub chunks: usize,
    /// What happens now.
    pub phase: Phase,
}

/// What an ingestion is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Looking for files.
    #[default]
    Finding,
    /// Reading and embedding.
    Reading,
    /// The embedding model is away; the job waits for it.
    Waiting,
    /// Writing and checking the new generation.
    Publishing,
}

/// A file or page that was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Which.
    pub source: String,
    /// Stable word.
    pub reason: &'static str,
    /// In words.
    pub detail: String,
    /// Whether its last version that could be read still answers.
    pub kept: bool,
}

impl Refused {
    /// Of that source.
    #[must_use]
    pub fn new(source: String, refusal: &Refusal, kept: bool) -> Self {
        Self { source, reason: refusal.code(), detail: refusal.to_string(), kept }
    }
}

/// A document with passages that look like instructions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flagged {
    /// Which.
    pub source: String,
    /// How many of its passages.
    pub chunks: usize,
}

/// A document of which some pages could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partial {
    /// Which.
    pub source: String,
    /// Pages that are missing, from 1.
    pub pages: Vec<u32>,
}

/// The end of an ingestion.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Which collection.
    pub collection: String,
    /// The generation that answers now; none when there is none yet.
    pub generation: Option<u64>,
    /// Whether a new generation was published: not when nothing changed, and not in a dry run.
    pub published: bool,
    /// New documents.
    pub added: usize,
    /// Documents whose file changed.
    pub updated: usize,
    /// Documents that cost one sum.
    pub unchanged: usize,
    /// Documents that went because their files are gone.
    pub removed: usize,
    /// Documents whose files are gone and that stay, for want of `--prune`.
    pub gone: usize,
    /// What was not taken in.
    pub refused: Vec<Refused>,
    /// What was taken in and never becomes part of a prompt.
    pub flagged: Vec<Flagged>,
    /// What was taken in without some of its pages.
    pub partial: Vec<Partial>,
    /// Invisible characters that were removed.
    pub invisible_characters: u64,
    /// Documents of the collection.
    pub documents: usize,
    /// Passages of the collection.
    pub chunks: usize,
    /// Passages that were embedded; the others had their vectors already.
    pub embedded: usize,
    /// Calls of the embedding model.
    pub embedding_calls: usize,
    /// Characters that were embedded.
    pub embedded_characters: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// Seconds it took.
    pub seconds: f64,
}

/// Why nothing was published. What was published before answers as before.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A place that was named cannot be looked into.
    #[error(transparent)]
    Find(#[from] FindError),
    /// Somebody else writes the collection.
    #[error(transparent)]
    Held(#[from] Held),
    /// The index could not be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Files cannot be read at all.
    #[error(transparent)]
    Reader(#[from] NoProcess),
    /// The embedding model refuses.
    #[error("{0}")]
    Embedder(String),
    /// Too much would go.
    #[error("{gone} of {of} documents are gone: removing more than half of a collection needs --force")]
    TooManyGone {
        /// How many.
        gone: usize,
        /// Of how many.
        of: usize,
    },
    /// The mapping file of a folder.
    #[error("{path}: {why}")]
    Sources {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Pages cannot be fetched here.
    #[error("pages cannot be fetched here: name files or folders")]
    NoPages,
    /// It was interrupted; vectors made so far are kept.
    #[error("interrupted")]
    Cancelled,
    /// A part of the work ended unexpectedly.
    #[error("a part of the work ended unexpectedly: {0}")]
    Broken(String),
}
