//! all-MiniLM-L6-v2 in int8, part of the binary: texts in, unit vectors of 384 numbers out. Its weights are used where
//! they lie in the binary: the first use reads 300 kB of small tables, nothing is unpacked. `embed` is blocking work
//! for the caller to place. Source and sums: `models/minilm-l6-v2-int8/README.md`. Invariant: the same text gives the
//! same vector, on every processor and whatever stands beside it.

use super::{
    encoder::{Encoder, Memory},
    pack::Source,
    reading::{Reader, Tokenizer},
    wordpiece::WordPiece,
};
use std::sync::{OnceLock, atomic::AtomicBool};

/// Numbers in a vector.
pub const DIMENSIONS: usize = 384;
/// Likeness of a question and a passage from which on the passage speaks for an answer, whatever its words. Measured:
/// `bench/results/evidence.md`.
pub const EVIDENCE: f32 = 0.4;
/// Tokens the model reads of a text, markers included; what follows is left out, as the model was trained.
pub const MAX_TOKENS: usize = 256;

pub(crate) static MODEL: &[u8] = include_bytes!("../../models/minilm-l6-v2-int8/minilm-l6-v2.pclmodel");
pub(crate) static VOCABULARY: &str = include_str!("../../models/minilm-l6-v2-int8/vocab.txt");

/// What may go wrong with a model; none of it is the doing of whoever wrote the text.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModelError {
    /// The model is not installed.
    #[error("the embedding model is not installed; `portcullis models add multilingual` adds it")]
    Absent,
    /// The model could not be read.
    #[error("the embedding model does not load: {0}")]
    Load(String),
    /// A run failed.
    #[error("the embedding model failed: {0}")]
    Run(String),
}

/// A text as a vector, and how many tokens were read for it.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// Unit length, [`DIMENSIONS`] numbers.
    pub vector: Vec<f32>,
    /// Tokens read, markers included.
    pub tokens: usize,
}

/// The model. Share one by `Arc`.
#[derive(Default)]
pub struct MiniLm {
    encoder: OnceLock<Result<Encoder, ModelError>>,
    words: OnceLock<WordPiece>,
}

impl MiniLm {
    /// Whether the model has been used.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.encoder.get().is_some()
    }

    /// The vector of one text's first [`MAX_TOKENS`]. Blocking: about 2 ms for a sentence, 40 ms for a full window.
    ///
    /// # Errors
    /// `ModelError`, which no input can cause.
    pub fn embed(&self, text: &str) -> Result<Embedded, ModelError> {
        self.reader()?.first_window(text, &mut Memory::default())
    }

    /// The vector of a whole text: where it is longer than [`MAX_TOKENS`], the mean of its windows, of unit length.
    /// Blocking.
    ///
    /// # Errors
    /// `ModelError`, which no input can cause.
    pub fn embed_long(&self, text: &str) -> Result<Embedded, ModelError> {
        self.reader()?.whole(text, &mut Memory::default())
    }

    /// The vectors of many whole texts, in order, on at most `threads` threads. Blocking; stops between two texts when
    /// `gone` is set, and is `None` then.
    ///
    /// # Errors
    /// `ModelError`, which no input can cause.
    pub fn embed_many(
        &self,
        texts: &[String],
        threads: usize,
        gone: &AtomicBool,
    ) -> Result<Option<Vec<Vec<f32>>>, ModelError> {
        self.reader()?.many(texts, threads, gone)
    }

    /// The token ids the model reads.
    #[cfg(test)]
    pub(crate) fn ids(&self, text: &str) -> Vec<u32> {
        self.words().encode(text, MAX_TOKENS)
    }

    /// Tokens of a text by this model's vocabulary, counting at most `most`: the measure of the builtin answers.
    #[must_use]
    pub fn count_tokens(&self, text: &str, most: usize) -> usize {
        self.words().count(text, most)
    }

    fn words(&self) -> &WordPiece {
        self.words.get_or_init(|| WordPiece::new(VOCABULARY))
    }

    fn reader(&self) -> Result<Reader<'_>, ModelError> {
        let encoder = self.encoder.get_or_init(|| Ok(Encoder::read(Source::Static(MODEL))?.0));
        let encoder = encoder.as_ref().map_err(ModelError::clone)?;
        Ok(Reader { encoder, tokenizer: Tokenizer::WordPiece(self.words()), window: MAX_TOKENS, prefix: &[] })
    }
}

/// Scales to length 1; a zero vector stays zero.
pub(crate) fn unit(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        for value in vector {
            *value /= length;
        }
    }
}

/// Cosine of two unit vectors.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
