//! Who turns texts into vectors, as a function that is handed in, so that search and ingestion know no provider.
//! Invariant: vectors have unit length and as many numbers as the space says; a batch gives one vector for each text,
//! in order, or fails as a whole.

use crate::Language;
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

/// The space of vectors: two vectors can be compared only when their spaces are equal.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Space {
    /// Stable name of the model, such as `builtin/minilm-l6-v2`, at most 128 bytes.
    pub id: String,
    /// Of weights and preprocessing; another version is another space.
    pub version: u32,
    /// Numbers in a vector, 1 to 4096.
    pub dimensions: usize,
    /// Languages whose questions it understands; empty: all of them.
    pub languages: Vec<Language>,
}

impl Space {
    /// Whether questions in that language may be compared by meaning (the language guard of search).
    #[must_use]
    pub fn understands(&self, language: Language) -> bool {
        self.languages.is_empty() || self.languages.contains(&language)
    }
}

/// What the texts are for: some models read questions and passages differently, and questions overtake passages in
/// the queue in front of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A question: somebody waits.
    Question,
    /// Passages of an ingestion: the call may wait long.
    Passage,
}

/// Why texts were not embedded.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EmbedFailure {
    /// Later it may work.
    #[error("the embedding model is not available at the moment")]
    Away {
        /// When to ask again.
        retry_after: Duration,
    },
    /// It will not work until somebody changes something.
    #[error("the embedding model refuses: {0}")]
    Refused(String),
}

/// The future of a batch.
pub type Embedding = Pin<Box<dyn Future<Output = Result<Vec<Vec<f32>>, EmbedFailure>> + Send>>;

/// Who turns texts into vectors. Cheap to clone.
#[derive(Clone)]
pub struct Embedder {
    /// The space of its vectors.
    pub space: Space,
    /// Most texts in one call, at least 1.
    pub batch: usize,
    /// Likeness from which on a passage speaks for an answer whatever its words, where that was measured.
    pub evidence: Option<f32>,
    /// Whether a call would be made now, as far as that can be known without making it.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
    embed: Arc<dyn Fn(Vec<String>, Purpose) -> Embedding + Send + Sync>,
}

impl Embedder {
    /// By this function.
    pub fn new<F>(space: Space, batch: usize, embed: F) -> Self
    where
        F: Fn(Vec<String>, Purpose) -> Embedding + Send + Sync + 'static,
    {
        Self { space, batch: batch.max(1), evidence: None, ready: Arc::new(|| true), embed: Arc::new(embed) }
    }

    /// One vector for each text, in order; at most [`Embedder::batch`] texts.
    ///
    /// # Errors
    /// [`EmbedFailure`].
    pub async fn embed(&self, texts: Vec<String>, purpose: Purpose) -> Result<Vec<Vec<f32>>, EmbedFailure> {
        (self.embed)(texts, purpose).await
    }
}
