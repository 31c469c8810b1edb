//! Taking documents out of a collection by their ids. Invariant: a new generation without them, or the old one as it
//! was; their text stays in older generations until those go (`knowledge.keep_generations`).

use super::report::IngestError;
use crate::{Chunk, Contents, Shelf};
use std::collections::HashSet;

/// Removes these documents; how many there were. `now` in Unix seconds.
///
/// # Errors
/// [`IngestError`]: nothing was changed.
pub async fn remove(collection: &Shelf, ids: &[String], now: i64) -> Result<usize, IngestError> {
    let writer = collection.lock(now).await?;
    let Some(index) = collection.current() else { return Ok(0) };
    let gone: HashSet<&str> = ids.iter().map(String::as_str).collect();
    let old = collection.contents(&index).await?;
    let width = index.space().map_or(0, |space| space.dimensions);
    let mut places = Vec::with_capacity(old.documents.len());
    let mut new = Contents { vectors: old.vectors.as_ref().map(|_| Vec::new()), ..Contents::default() };
    for document in old.documents {
        let kept = !gone.contains(document.id.as_str());
        places.push(kept.then(|| u32::try_from(new.documents.len()).unwrap_or(u32::MAX)));
        if kept {
            new.documents.push(document);
        }
    }
    let removed = places.iter().filter(|place| place.is_none()).count();
    if removed == 0 {
        return Ok(0);
    }
    for (n, chunk) in old.chunks.into_iter().enumerate() {
        let Some(Some(document)) = places.get(chunk.document as usize).copied() else { continue };
        new.chunks.push(Chunk { document, ..chunk });
        if let (Some(all), Some(vectors)) = (&mut new.vectors, &old.vectors) {
            all.extend_from_slice(vectors.get(n * width..(n + 1) * width).unwrap_or_default());
        }
    }
    writer.publish(new, index.space(), now).await?;
    Ok(removed)
}
