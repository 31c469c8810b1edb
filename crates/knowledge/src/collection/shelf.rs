//! A collection wherever it stands: in files or in rows of Postgres. Invariant: what holds for one holds for the other:
//! whoever searches keeps the generation it began with, one writes at a time, and what is damaged never answers. Work that
//! blocks runs off the async workers here, so callers need not know where a collection stands; the room that a database's
//! future takes is on the heap, and nobody pays for it who keeps files.

use super::{Collection, Held, PgCollection, PgWriter, State, Writer};
use crate::{Contents, Damage, Found, Index, IndexError, Space, VectorCache, search::Question};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// A collection. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Shelf {
    /// In a folder.
    Files(Collection),
    /// In Postgres.
    Rows(PgCollection),
}

impl From<Collection> for Shelf {
    fn from(collection: Collection) -> Self {
        Self::Files(collection)
    }
}

impl From<PgCollection> for Shelf {
    fn from(collection: PgCollection) -> Self {
        Self::Rows(collection)
    }
}

/// Runs what blocks.
async fn off<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IndexError> + Send + 'static,
) -> Result<T, IndexError> {
    spawn_blocking(work).await.unwrap_or(Err(IndexError::Contents("a part of the work ended unexpectedly")))
}

impl Shelf {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Files(files) => files.name(),
            Self::Rows(rows) => rows.name(),
        }
    }

    /// The generation that answers.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Index>> {
        match self {
            Self::Files(files) => files.current(),
            Self::Rows(rows) => rows.current(),
        }
    }

    /// How it is.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Files(files) => files.state(),
            Self::Rows(rows) => rows.state(),
        }
    }

    /// Looks which generation is current, as another process may have published one, and loads it. Says whether another
    /// generation answers now.
    ///
    /// # Errors
    /// The file system or the database; what is loaded answers on. Damage is told by [`Shelf::state`].
    pub async fn refresh(&self) -> Result<bool, IndexError> {
        match self {
            Self::Files(files) => {
                let files = files.clone();
                off(move || files.refresh()).await
            }
            Self::Rows(rows) => Box::pin(rows.refresh()).await,
        }
    }

    /// Finds passages in that generation; nothing when the search itself broke.
    pub async fn search(&self, index: &Arc<Index>, question: Question) -> Option<Found> {
        let index = index.clone();
        let searching = match self {
            Self::Files(_) => spawn_blocking(move || index.search(&question.query())),
            Self::Rows(rows) => {
                let nearest = Box::pin(rows.nearest(&index, &question.query())).await;
                spawn_blocking(move || {
                    let query = question.query();
                    index.answered(&query, &index.asked(&query), nearest)
                })
            }
        };
        searching.await.ok()
    }

    /// Everything that generation was made from, vectors included.
    ///
    /// # Errors
    /// Damage; a generation that others removed; the database.
    pub async fn contents(&self, index: &Arc<Index>) -> Result<Contents, IndexError> {
        match self {
            Self::Files(_) => {
                let index = index.clone();
                off(move || index.contents()).await
            }
            Self::Rows(rows) => Box::pin(rows.contents(index)).await,
        }
    }

    /// Checks every byte of the generation that answers; when something is damaged, the newest sound one before it
    /// answers. The damages, none when all is sound.
    ///
    /// # Errors
    /// The file system or the database.
    pub async fn scrub(&self) -> Result<Vec<Damage>, IndexError> {
        match self {
            Self::Files(files) => {
                let files = files.clone();
                off(move || files.scrub()).await
            }
            Self::Rows(rows) => Box::pin(rows.scrub()).await,
        }
    }

    /// A passage of that generation could not be read: where it is damaged, another answers.
    ///
    /// # Errors
    /// The file system or the database.
    pub async fn condemn(&self, generation: u64) -> Result<(), IndexError> {
        match self {
            Self::Files(files) => {
                let files = files.clone();
                off(move || files.condemn(generation)).await
            }
            // Texts in memory do not change below us.
            Self::Rows(rows) => Box::pin(rows.scrub()).await.map(drop),
        }
    }

    /// Takes the collection for writing. `now` in Unix seconds.
    ///
    /// # Errors
    /// [`Held`] says by whom it is held.
    pub async fn lock(&self, now: i64) -> Result<ShelfWriter, Held> {
        Ok(match self {
            Self::Files(files) => ShelfWriter::Files(Arc::new(files.lock(now)?)),
            Self::Rows(rows) => ShelfWriter::Rows(Box::pin(rows.lock(now)).await?),
        })
    }
}

/// The only writer of a collection, until dropped.
#[derive(Debug)]
pub enum ShelfWriter {
    /// Of files.
    Files(Arc<Writer>),
    /// Of rows.
    Rows(PgWriter),
}

impl ShelfWriter {
    /// The vectors of that space that were made before. Blocking for as long as a folder of them is read.
    ///
    /// # Errors
    /// The file system.
    pub fn vectors(&self, space: &Space) -> Result<VectorCache, IndexError> {
        match self {
            Self::Files(files) => files.vectors(space),
            Self::Rows(rows) => rows.vectors(space),
        }
    }

    /// Makes a generation of these contents and lets it answer. `now` in Unix seconds.
    ///
    /// # Errors
    /// Contents that contradict themselves or are too large; the file system or the database. The old generation still
    /// answers.
    pub async fn publish(
        &self,
        contents: Contents,
        space: Option<&Space>,
        now: i64,
    ) -> Result<Arc<Index>, IndexError> {
        match self {
            Self::Files(files) => {
                let (files, space) = (files.clone(), space.cloned());
                off(move || files.publish(&contents, space.as_ref(), now)).await
            }
            Self::Rows(rows) => Box::pin(rows.publish(contents, space, now)).await,
        }
    }

    /// Lets an older generation answer: the given one, or the newest sound one before the current. Its number.
    ///
    /// # Errors
    /// [`IndexError::Missing`] when there is none; damage of the given one; the file system or the database.
    pub async fn rollback(&self, to: Option<u64>) -> Result<u64, IndexError> {
        match self {
            Self::Files(files) => {
                let files = files.clone();
                off(move || files.rollback(to)).await
            }
            Self::Rows(rows) => Box::pin(rows.rollback(to)).await,
        }
    }

    /// What an index can be made from again without its documents. Vectors and their space where those are sound.
    ///
    /// # Errors
    /// [`IndexError::Missing`] when no texts are sound: ingest the documents again.
    pub async fn salvage(&self) -> Result<(Contents, Option<Space>), IndexError> {
        match self {
            Self::Files(files) => {
                let files = files.clone();
                off(move || files.salvage()).await
            }
            Self::Rows(rows) => Box::pin(rows.salvage()).await,
        }
    }

    /// Removes generations beyond those to keep, and what was put aside while the wanted generation answers. How many.
    ///
    /// # Errors
    /// The file system or the database.
    pub async fn prune(&self) -> Result<usize, IndexError> {
        match self {
            Self::Files(files) => {
                let files = files.clone();
                off(move || files.prune()).await
            }
            Self::Rows(rows) => Box::pin(rows.prune()).await,
        }
    }
}

#[cfg(test)]
mod tests;
