//! multilingual-e5-small: questions and passages in a hundred languages, unit vectors of 384 numbers. It is no part of
//! the binary: `portcullis models add multilingual` puts its file into the data folder. Invariants: without the file
//! everything else works; the file is read, and its sum checked, when it is first used (an added file is found without
//! a restart); the table of words, four fifths of the file, stays on disk.

mod nano;
#[cfg(test)]
mod tests;

pub use nano::convert;

use super::{
    encoder::{Encoder, Memory},
    minilm::{Embedded, ModelError},
    pack::Source,
    reading::{Reader, Reading, Tokenizer},
    unigram::Unigram,
};
use parking_lot::Mutex;
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

/// Tokens the model reads of a text, markers and prefix included; what follows is left out.
pub const MAX_TOKENS: usize = 512;

struct Loaded {
    encoder: Encoder,
    pieces: Unigram,
    question: Vec<u32>,
    passage: Vec<u32>,
}

/// The model. Share one by `Arc`.
pub struct Multilingual {
    path: PathBuf,
    loaded: Mutex<Option<Arc<Loaded>>>,
}

impl Multilingual {
    /// Kept in that file, which need not be there.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, loaded: Mutex::new(None) }
    }

    /// Whether its file is there.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        self.path.is_file()
    }

    /// Reads the model now instead of at its first use. Blocking: a quarter of a second.
    ///
    /// # Errors
    /// `ModelError::Absent` without a file, `ModelError::Load` where it is damaged.
    pub fn load(&self) -> Result<(), ModelError> {
        self.loaded().map(|_| ())
    }

    /// The vector of one text's first [`MAX_TOKENS`]. Blocking: about 3 ms for a sentence.
    ///
    /// # Errors
    /// `ModelError`, which no text can cause.
    pub fn embed(&self, text: &str, reading: Reading) -> Result<Embedded, ModelError> {
        self.loaded()?.reader(reading).first_window(text, &mut Memory::default())
    }

    /// The vectors of many whole texts, in order, on at most `threads` threads. Blocking; stops between two texts when
    /// `gone` is set, and is `None` then.
    ///
    /// # Errors
    /// `ModelError`, which no text can cause.
    pub fn embed_many(
        &self,
        texts: &[String],
        reading: Reading,
        threads: usize,
        gone: &AtomicBool,
    ) -> Result<Option<Vec<Vec<f32>>>, ModelError> {
        self.loaded()?.reader(reading).many(texts, threads, gone)
    }

    fn loaded(&self) -> Result<Arc<Loaded>, ModelError> {
        // Under the lock, so that two first users do not read the file twice.
        let mut place = self.loaded.lock();
        if let Some(loaded) = &*place {
            return Ok(loaded.clone());
        }
        if !self.is_installed() {
            return Err(ModelError::Absent);
        }
        let (encoder, data) = Encoder::read(Source::open(&self.path)?)?;
        let pieces = Unigram::new(data)?;
        // The space that follows a prefix belongs to the text's first word.
        let (question, passage) = (pieces.content("query:", 8), pieces.content("passage:", 8));
        let loaded = Arc::new(Loaded { encoder, pieces, question, passage });
        *place = Some(loaded.clone());
        Ok(loaded)
    }
}

impl Loaded {
    fn reader(&self, reading: Reading) -> Reader<'_> {
        let prefix = match reading {
            Reading::Question => &self.question,
            Reading::Passage => &self.passage,
        };
        let window = MAX_TOKENS.min(self.encoder.shape().positions);
        Reader { encoder: &self.encoder, tokenizer: Tokenizer::Unigram(&self.pieces), window, prefix }
    }
}
