//! all-MiniLM-L6-v2 in int8, part of the binary: texts in, unit vectors of 384 numbers out. The model is unpacked on
//! first use (about 90 MB from then on) and never on an async worker: `embed` is blocking work for the caller to
//! place. Source and sums: `models/minilm-l6-v2-int8/README.md`. Invariant: the same text gives the same vector,
//! whatever stands beside it, because each text is its own run without padding.

use super::wordpiece::WordPiece;
use rten::{Model, NodeId, RunOptions, ThreadPool};
use rten_tensor::{AsView as _, NdTensor, prelude::*};
use std::sync::{Arc, OnceLock};

/// Numbers in a vector.
pub const DIMENSIONS: usize = 384;
/// Tokens the model reads of a text, markers included; what follows is left out, as the model was trained.
pub const MAX_TOKENS: usize = 256;

pub(crate) static MODEL: &[u8] = include_bytes!("../../models/minilm-l6-v2-int8/model.onnx");
pub(crate) static VOCABULARY: &str = include_str!("../../models/minilm-l6-v2-int8/vocab.txt");

/// What may go wrong with the model in the binary; none of it is the caller's doing.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The model could not be unpacked.
    #[error("the builtin embedding model does not load: {0}")]
    Load(String),
    /// A run failed.
    #[error("the builtin embedding model failed: {0}")]
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

struct Loaded {
    model: Model,
    inputs: [NodeId; 3],
    output: NodeId,
    options: RunOptions,
}

/// The model, unpacked when first needed. Share one by `Arc`.
pub struct MiniLm {
    loaded: OnceLock<Result<Loaded, String>>,
    words: OnceLock<WordPiece>,
}

impl Default for MiniLm {
    fn default() -> Self {
        Self { loaded: OnceLock::new(), words: OnceLock::new() }
    }
}

impl MiniLm {
    /// Whether the model has been unpacked.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.loaded.get().is_some()
    }

    /// The vector of one text. Blocking: tens of milliseconds, and about a second on first use.
    ///
    /// # Errors
    /// `ModelError`, which no input can cause.
    pub fn embed(&self, text: &str) -> Result<Embedded, ModelError> {
        let ids = self.words().encode(text, MAX_TOKENS);
        let loaded =
            self.loaded.get_or_init(load).as_ref().map_err(|error| ModelError::Load(error.clone()))?;
        let vector = loaded.run(&ids).map_err(ModelError::Run)?;
        Ok(Embedded { vector, tokens: ids.len() })
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
}

fn load() -> Result<Loaded, String> {
    let model = Model::load_static_slice(MODEL).map_err(|error| error.to_string())?;
    let node = |name: &str| model.node_id(name).map_err(|error| error.to_string());
    let inputs = [node("input_ids")?, node("attention_mask")?, node("token_type_ids")?];
    let output = node("last_hidden_state")?;
    // A pool of our own, so that no environment variable of the library decides; several runs share it side by side.
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options =
        RunOptions::default().with_thread_pool(Some(Arc::new(ThreadPool::with_num_threads(threads))));
    Ok(Loaded { model, inputs, output, options })
}

impl Loaded {
    fn run(&self, ids: &[u32]) -> Result<Vec<f32>, String> {
        let length = ids.len();
        let ids = ids.iter().map(|id| i32::try_from(*id).unwrap_or_default()).collect::<Vec<_>>();
        let row = |values: Vec<i32>| NdTensor::from_data([1, length], values);
        let [input, mask, kinds] = self.inputs;
        let feed = vec![
            (input, row(ids).into()),
            (mask, row(vec![1; length]).into()),
            (kinds, row(vec![0; length]).into()),
        ];
        let [hidden] = self
            .model
            .run_n(feed, [self.output], Some(self.options.clone()))
            .map_err(|error| error.to_string())?;
        let hidden: NdTensor<f32, 3> =
            hidden.try_into().map_err(|_| "an answer of another shape".to_owned())?;
        if hidden.shape() != [1, length, DIMENSIONS] {
            return Err("an answer of another size".into());
        }
        Ok(pooled(&hidden.to_vec()))
    }
}

/// Mean over the tokens, then unit length.
fn pooled(hidden: &[f32]) -> Vec<f32> {
    let mut sum = vec![0.0_f32; DIMENSIONS];
    for token in hidden.chunks_exact(DIMENSIONS) {
        for (total, value) in sum.iter_mut().zip(token) {
            *total += value;
        }
    }
    unit(&mut sum);
    sum
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
