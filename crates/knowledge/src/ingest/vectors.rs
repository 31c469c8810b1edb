//! Vectors for passages: those that were made before from the cache, the rest in batches, some at once. A model that is
//! away is waited for, never replaced: another one's vectors would not compare. Invariant: a vector that was paid for
//! is in the cache before the next batch begins, so an interrupted job pays for nothing twice.

use super::report::IngestError;
use crate::{EmbedFailure, Embedder, Purpose, VectorCache};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Waits for a model that is away are between these.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Makes vectors for one job.
pub(super) struct Vectors<'a> {
    embedder: &'a Embedder,
    cache: Option<VectorCache>,
    at_once: usize,
    cancel: &'a CancellationToken,
    /// Texts embedded, calls, and characters.
    pub(super) embedded: usize,
    pub(super) calls: usize,
    pub(super) characters: usize,
}

impl<'a> Vectors<'a> {
    pub(super) fn new(
        embedder: &'a Embedder,
        cache: Option<VectorCache>,
        at_once: usize,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self { embedder, cache, at_once: at_once.max(1), cancel, embedded: 0, calls: 0, characters: 0 }
    }

    /// How many texts are worth embedding together.
    pub(super) const fn worth(&self) -> usize {
        self.embedder.batch * self.at_once
    }

    /// The vector of a text that was embedded before.
    pub(super) fn known(&self, text: &str) -> Option<Vec<f32>> {
        self.cache.as_ref()?.get(text).filter(|vector| vector.len() == self.embedder.space.dimensions)
    }

    /// One vector for each text, in order. `waits` is called with whether the model is being waited for.
    pub(super) async fn embed(
        &mut self,
        texts: Vec<String>,
        waits: &(dyn Fn(bool) + Sync),
    ) -> Result<Vec<Vec<f32>>, IngestError> {
        let mut out = Vec::with_capacity(texts.len());
        for together in texts.chunks(self.worth()) {
            let batches: Vec<&[String]> = together.chunks(self.embedder.batch).collect();
            let done = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(IngestError::Cancelled),
                done = join_all(batches.iter().map(|texts| batch(self.embedder, texts, waits))) => done,
            };
            self.calls += batches.len();
            for (texts, vectors) in batches.iter().zip(done) {
                let vectors = vectors?;
                if vectors.len() != texts.len()
                    || vectors.iter().any(|vector| vector.len() != self.embedder.space.dimensions)
                {
                    return Err(IngestError::Embedder(
                        "the embedding model gave vectors of another size".to_owned(),
                    ));
                }
                for (text, vector) in texts.iter().zip(&vectors) {
                    if let Some(cache) = &mut self.cache {
                        cache.put(text, vector)?;
                    }
                    self.embedded += 1;
                    self.characters += text.chars().count();
                }
                out.extend(vectors);
            }
        }
        Ok(out)
    }

    /// Makes what was paid for survive a power cut.
    pub(super) fn sync(&self) -> Result<(), IngestError> {
        Ok(self.cache.as_ref().map_or(Ok(()), VectorCache::sync)?)
    }
}

/// One batch, however long its model is away.
async fn batch(
    embedder: &Embedder,
    texts: &[String],
    waits: &(dyn Fn(bool) + Sync),
) -> Result<Vec<Vec<f32>>, IngestError> {
    loop {
        match embedder.embed(texts.to_vec(), Purpose::Passage).await {
            Ok(vectors) => return Ok(vectors),
            Err(EmbedFailure::Refused(why)) => return Err(IngestError::Embedder(why)),
            Err(EmbedFailure::Away { retry_after }) => {
                waits(true);
                sleep(retry_after.clamp(SHORTEST_WAIT, LONGEST_WAIT)).await;
                waits(false);
            }
        }
    }
}
