//! From texts to vectors, for any model here: tokens, windows, many texts at once. Invariants: a text longer than the
//! model's window is either cut (as the model was trained) or becomes the mean of its windows; work is bounded by
//! [`LONGEST_WINDOWS`], and stops between two texts when nobody waits any more.

use super::{
    encoder::{Encoder, Memory},
    minilm::{Embedded, ModelError, unit},
    unigram::Unigram,
    wordpiece::WordPiece,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Windows of one text that are read; what follows is left out.
const LONGEST_WINDOWS: usize = 64;

/// What a text is for: some models read questions and passages differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A question.
    Question,
    /// A passage that may answer one.
    Passage,
}

/// How a model cuts text into tokens.
#[derive(Clone, Copy)]
pub(crate) enum Tokenizer<'a> {
    WordPiece(&'a WordPiece),
    Unigram(&'a Unigram),
}

impl Tokenizer<'_> {
    /// Tokens without markers, at most `most`.
    pub(crate) fn content(self, text: &str, most: usize) -> Vec<u32> {
        match self {
            Self::WordPiece(words) => words.content(text, most),
            Self::Unigram(pieces) => pieces.content(text, most),
        }
    }

    /// What stands before and after a text.
    fn markers(self) -> (u32, u32) {
        match self {
            Self::WordPiece(_) => (WordPiece::FIRST, WordPiece::LAST),
            Self::Unigram(_) => (Unigram::FIRST, Unigram::LAST),
        }
    }
}

/// A model that is ready to read.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) encoder: &'a Encoder,
    pub(crate) tokenizer: Tokenizer<'a>,
    /// Tokens of a window, markers included.
    pub(crate) window: usize,
    /// Tokens before every text.
    pub(crate) prefix: &'a [u32],
}

impl Reader<'_> {
    /// Tokens of a window that are the text's own.
    fn room(&self) -> usize {
        self.window.saturating_sub(self.prefix.len() + 2).max(1)
    }

    fn framed(&self, content: &[u32]) -> Vec<u32> {
        let (first, last) = self.tokenizer.markers();
        [&[first], self.prefix, content, &[last]].concat()
    }

    /// The vector of a text's first window.
    pub(crate) fn first_window(&self, text: &str, memory: &mut Memory) -> Result<Embedded, ModelError> {
        let ids = self.framed(&self.tokenizer.content(text, self.room()));
        Ok(Embedded { vector: self.encoder.vector(&ids, memory)?, tokens: ids.len() })
    }

    /// The vector of a whole text: the mean of its windows, of which none is much shorter than the others.
    pub(crate) fn whole(&self, text: &str, memory: &mut Memory) -> Result<Embedded, ModelError> {
        let content = self.tokenizer.content(text, self.room() * LONGEST_WINDOWS);
        let windows = content.len().div_ceil(self.room()).max(1);
        let size = content.len().div_ceil(windows).max(1);
        if windows == 1 {
            let ids = self.framed(&content);
            return Ok(Embedded { vector: self.encoder.vector(&ids, memory)?, tokens: ids.len() });
        }
        let (mut sum, mut tokens) = (vec![0.0; self.encoder.shape().width], 0);
        for window in content.chunks(size) {
            let ids = self.framed(window);
            tokens += ids.len();
            for (total, value) in sum.iter_mut().zip(self.encoder.vector(&ids, memory)?) {
                *total += value;
            }
        }
        unit(&mut sum);
        Ok(Embedded { vector: sum, tokens })
    }

    /// The vectors of many whole texts, in order, by at most `threads` threads of our own. `None` when nobody waits
    /// any more.
    pub(crate) fn many(
        &self,
        texts: &[String],
        threads: usize,
        gone: &AtomicBool,
    ) -> Result<Option<Vec<Vec<f32>>>, ModelError> {
        let next = AtomicUsize::new(0);
        let work = || {
            let (mut memory, mut done) = (Memory::default(), Vec::new());
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(text) = texts.get(at).filter(|_| !gone.load(Ordering::Relaxed)) else {
                    return Ok(done);
                };
                done.push((at, self.whole(text, &mut memory)?.vector));
            }
        };
        let parts = std::thread::scope(|scope| {
            // This thread is one of them.
            let others: Vec<_> = (1..threads.min(texts.len())).map(|_| scope.spawn(work)).collect();
            let mut parts = vec![work()];
            for other in others {
                parts.push(
                    other.join().unwrap_or_else(|_| Err(ModelError::Run("a thread ended early".into()))),
                );
            }
            parts
        });
        let mut vectors = vec![Vec::new(); texts.len()];
        let mut done = 0;
        for part in parts {
            for (at, vector) in part? {
                vectors[at] = vector;
                done += 1;
            }
        }
        Ok((done == texts.len()).then_some(vectors))
    }
}
