//! Who writes a collection in Postgres. Invariants: one writer on this machine by a lock on a file, and one among all
//! machines by a lock in the database, which ends with the connection that has it; should that break, a generation that
//! was made from another than the active one is refused, so nobody's documents are lost.

use super::{
    PgCollection,
    rows::{space_of, written},
};
use crate::{
    Contents, Index, IndexError, Space, VectorCache,
    collection::{Held, file_lock},
    index,
};
use parking_lot::Mutex;
use portcullis_store::{PassageGeneration, PassageLock, Publishing, files};
use std::sync::Arc;

/// The only writer of a collection, until dropped.
#[derive(Debug)]
pub struct PgWriter {
    collection: PgCollection,
    /// The generation that was active when this one began: what is published takes its place and no other's.
    based: Mutex<Option<i64>>,
    _here: files::Lock,
    _everywhere: PassageLock,
}

impl PgWriter {
    pub(super) async fn take(collection: &PgCollection, now: i64) -> Result<Self, Held> {
        let inner = &collection.0;
        files::private_dir(&inner.folder).map_err(IndexError::from)?;
        let here = file_lock(&inner.folder, now)?;
        let rows = collection.rows().map_err(IndexError::from)?;
        let everywhere = rows.lock().await.map_err(IndexError::from)?.ok_or(Held::Elsewhere)?;
        // What another machine published a moment ago is what is built upon.
        collection.refresh().await?;
        let based = Mutex::new(*inner.followed.lock().await);
        Ok(Self { collection: collection.clone(), based, _here: here, _everywhere: everywhere })
    }

    /// The vectors of that space that were made before on this machine.
    ///
    /// # Errors
    /// The file system.
    pub fn vectors(&self, space: &Space) -> Result<VectorCache, IndexError> {
        let inner = &self.collection.0;
        VectorCache::open(&inner.folder, space, inner.config.vector_cache_bytes)
    }

    /// Makes a generation of these contents and lets it answer. `now` in Unix seconds.
    ///
    /// # Errors
    /// Contents that contradict themselves or are too large; a database that is away. The old generation still answers.
    pub async fn publish(
        &self,
        mut contents: Contents,
        space: Option<&Space>,
        now: i64,
    ) -> Result<Arc<Index>, IndexError> {
        index::check(&contents, space)?;
        let (inner, rows) = (&self.collection.0, self.collection.rows()?);
        let based = *self.based.lock();
        let vectors = contents.vectors.take();
        let space = vectors.as_ref().and(space);
        let dimensions = space.map(|space| space.dimensions);
        let said = space.map(|space| serde_json::to_string(space).unwrap_or_default());
        let number = rows.begin(said.as_deref(), dimensions, now).await?;
        let (documents, passages, wanted) = (contents.documents.len(), contents.chunks.len(), space.cloned());
        let (grams, limit) = (inner.config.grams, inner.config.max_index_bytes);
        let made = tokio::task::spawn_blocking(move || {
            let built = index::build(&contents, wanted.as_ref(), grams, 0, now)?;
            let bytes = built.files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
            if bytes > limit {
                return Err(IndexError::TooLarge { bytes, limit });
            }
            written(&contents, wanted.map(|space| space.dimensions).zip(vectors.as_deref()))
        });
        let made = made.await.unwrap_or(Err(IndexError::Contents("the rows could not be made")))?;
        rows.add(number, &made.0, &made.1).await?;
        drop(made);
        match rows.publish(number, (documents as i64, passages as i64), based).await? {
            Publishing::Done => *self.based.lock() = Some(number),
            Publishing::Overtaken => return Err(IndexError::Overtaken),
        }
        self.collection.refresh().await?;
        if let Err(error) = self.prune().await {
            tracing::warn!(%error, "old generations could not be removed; the next to publish does it");
        }
        self.collection.current().ok_or(IndexError::Missing)
    }

    /// Lets an older generation answer: the given one, or the newest sound one before the active. Its number.
    ///
    /// # Errors
    /// [`IndexError::Missing`] when there is none; damage of the given one; a database that is away.
    pub async fn rollback(&self, to: Option<u64>) -> Result<u64, IndexError> {
        let rows = self.collection.rows()?;
        let (active, mut known) = (rows.active().await?, rows.generations().await?);
        let to = to.map(|to| i64::try_from(to).unwrap_or(i64::MAX));
        known.retain(|row| to.map_or(Some(row.generation) < active, |to| row.generation == to));
        let mut error = IndexError::Missing;
        for row in known.into_iter().rev() {
            match self.saved(&row, true).await {
                Ok(_) => {
                    if rows.activate(row.generation).await? {
                        *self.based.lock() = Some(row.generation);
                        self.collection.refresh().await?;
                        return Ok(u64::try_from(row.generation).unwrap_or_default());
                    }
                }
                Err(found) => error = found,
            }
        }
        Err(error)
    }

    /// What an index can be made from again without its documents: of the newest generation whose texts are sound. Vectors
    /// and their space where those are sound.
    ///
    /// # Errors
    /// [`IndexError::Missing`] when no texts are sound: ingest the documents again. A database that is away.
    pub async fn salvage(&self) -> Result<(Contents, Option<Space>), IndexError> {
        let rows = self.collection.rows()?;
        let (active, mut known) = (rows.active().await?, rows.generations().await?);
        known.retain(|row| Some(row.generation) <= active);
        for row in known.into_iter().rev() {
            if let Ok((contents, space)) = self.saved(&row, true).await {
                return Ok((contents, space));
            }
            if let Ok((contents, _)) = self.saved(&row, false).await {
                return Ok((contents, None));
            }
        }
        Err(IndexError::Missing)
    }

    async fn saved(
        &self,
        row: &PassageGeneration,
        with_vectors: bool,
    ) -> Result<(Contents, Option<Space>), IndexError> {
        let (contents, damages) = self.collection.read(row, with_vectors).await?;
        match damages.into_iter().next() {
            Some(damage) => Err(damage.into()),
            None => Ok((contents, space_of(row)?)),
        }
    }

    /// Removes generations beyond those to keep, and those given up while the wanted generation answers. How many.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn prune(&self) -> Result<usize, IndexError> {
        let inner = &self.collection.0;
        let state = self.collection.state();
        let sound = state.generation.is_some() && !state.is_behind();
        let given_up: Vec<i64> =
            if sound { inner.given_up.lock().keys().copied().collect() } else { Vec::new() };
        let keep = i64::try_from(inner.config.keep_generations.saturating_sub(1)).unwrap_or(i64::MAX);
        let removed = self.collection.rows()?.prune(keep, &given_up).await?;
        if sound {
            inner.given_up.lock().clear();
            inner.state.lock().quarantined.clear();
        }
        Ok(usize::try_from(removed).unwrap_or(usize::MAX))
    }
}
