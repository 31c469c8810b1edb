//! The vectors of passages that are there already, made anew: after another embedding model was chosen, or where vectors
//! were damaged. Invariants: texts stay as they are; a vector that is kept beside the collection is not paid for again;
//! what answered before answers until all of them are there.

use super::{report::IngestError, vectors::Vectors};
use crate::{Contents, Embedder, Shelf, ShelfWriter};
use tokio_util::sync::CancellationToken;

/// With what vectors are made.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Who makes them.
    pub embedder: &'a Embedder,
    /// Calls that are under way at once.
    pub at_once: usize,
    /// Ends it: nothing is published then, and what was made is kept.
    pub cancel: &'a CancellationToken,
    /// Told how many of how many are there.
    pub told: &'a (dyn Fn(usize, usize) + Sync),
}

/// Gives contents the vectors of that embedder.
///
/// # Errors
/// [`IngestError`]: a model that refuses, a folder that cannot be used, an interruption.
pub async fn embed(
    contents: &mut Contents,
    writer: &ShelfWriter,
    means: Means<'_>,
) -> Result<(), IngestError> {
    let cache = writer.vectors(&means.embedder.space)?;
    let mut vectors = Vectors::new(means.embedder, Some(cache), means.at_once, means.cancel);
    let (of, worth) = (contents.chunks.len(), vectors.worth());
    let mut all = Vec::with_capacity(of * means.embedder.space.dimensions);
    for (done, chunks) in contents.chunks.chunks(worth).enumerate() {
        let text = |chunk: &crate::Chunk| {
            let document = contents.documents.get(chunk.document as usize);
            chunk.indexed(document.map_or("", |document| &document.title))
        };
        let texts: Vec<String> = chunks.iter().map(text).collect();
        let mut known: Vec<Option<Vec<f32>>> = texts.iter().map(|text| vectors.known(text)).collect();
        let missing: Vec<String> = texts
            .into_iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none())
            .map(|(text, _)| text)
            .collect();
        if !missing.is_empty() {
            let made = vectors.embed(missing, &|_| ()).await;
            if matches!(made, Err(IngestError::Cancelled)) {
                vectors.sync()?;
            }
            let places = known.iter_mut().filter(|place| place.is_none());
            places.zip(made?).for_each(|(place, vector)| *place = Some(vector));
        }
        all.extend(known.into_iter().flatten().flatten());
        (means.told)(done * worth + chunks.len(), of);
    }
    vectors.sync()?;
    contents.vectors = Some(all);
    Ok(())
}

/// Publishes the collection with vectors of that embedder, where the ones it has are of another; the generation that
/// answers then, none when there was nothing to do. `now` in Unix seconds.
///
/// # Errors
/// [`IngestError`]: nothing was changed.
pub async fn again(shelf: &Shelf, means: Means<'_>, now: i64) -> Result<Option<u64>, IngestError> {
    let writer = shelf.lock(now).await?;
    let space = &means.embedder.space;
    let Some(index) = shelf.current().filter(|index| index.space() != Some(space)) else { return Ok(None) };
    let mut contents = shelf.contents(&index).await?;
    embed(&mut contents, &writer, means).await?;
    Ok(Some(writer.publish(contents, Some(space), now).await?.generation()))
}

#[cfg(test)]
mod tests;
