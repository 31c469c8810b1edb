//! What `portcullis index eval` and `answer eval` measure with: the embedders of the binary, without server or settings.

use portcullis_knowledge::{EmbedFailure, Embedder, Language, Space};
use portcullis_providers::minilm;
use std::{sync::Arc, thread::available_parallelism};

/// Texts in one call: progress is told between calls.
const BATCH: usize = 64;

/// The English embedder.
#[must_use]
pub fn builtin() -> Embedder {
    let model = Arc::new(minilm::MiniLm::default());
    let space = Space {
        id: "builtin/minilm-l6-v2".to_owned(),
        version: 1,
        dimensions: minilm::DIMENSIONS,
        languages: vec![Language::EN],
    };
    Embedder::new(space, BATCH, move |texts, _| {
        let model = model.clone();
        blocking(move |threads| model.embed_many(&texts, threads, &false.into()))
    })
}

fn blocking(
    work: impl FnOnce(usize) -> Result<Option<Vec<Vec<f32>>>, minilm::ModelError> + Send + 'static,
) -> portcullis_knowledge::embedder::Embedding {
    Box::pin(async move {
        let threads = available_parallelism().map_or(1, std::num::NonZero::get);
        let done = tokio::task::spawn_blocking(move || work(threads)).await;
        let refused = |error: String| EmbedFailure::Refused(error);
        let vectors =
            done.map_err(|error| refused(error.to_string()))?.map_err(|error| refused(error.to_string()))?;
        vectors.ok_or_else(|| refused("interrupted".to_owned()))
    })
}
