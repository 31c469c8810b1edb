//! Where all collections stand: in folders below one, or in the Postgres of the store (`knowledge.backend`). Invariant: a
//! name is one folder's name, checked by who asks; nothing is made by looking.

use super::{Collection, Generation, PgCollection, Shelf, generations};
use crate::{Backend, IndexError, KnowledgeConfig};
use portcullis_store::{Store, StoreError, files};
use std::path::{Path, PathBuf};
use tokio::task::spawn_blocking;

/// All collections. Cheap to clone.
#[derive(Clone)]
pub struct Library {
    folder: PathBuf,
    config: KnowledgeConfig,
    /// Where rows are kept; none: in files.
    rows: Option<Store>,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Library").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Library {
    /// Collections in folders below that one, whatever the settings say of Postgres.
    #[must_use]
    pub const fn files(folder: PathBuf, config: KnowledgeConfig) -> Self {
        Self { folder, config, rows: None }
    }

    /// Collections where the settings have them; tables are made in the store where that is Postgres.
    ///
    /// # Errors
    /// A store that keeps no vectors, in words that say what to do; a database that is away.
    pub async fn open(
        folder: PathBuf,
        config: KnowledgeConfig,
        store: Option<&Store>,
    ) -> Result<Self, StoreError> {
        let rows = match config.backend {
            Backend::Files => None,
            Backend::Postgres => {
                let store = store.ok_or_else(|| StoreError::Vectors("there is none".to_owned()))?;
                store.passages("")?.prepare().await?;
                Some(store.clone())
            }
        };
        Ok(Self { folder, config, rows })
    }

    /// The settings of collections.
    #[must_use]
    pub const fn config(&self) -> &KnowledgeConfig {
        &self.config
    }

    /// Names of the collections that are there and are called as one may be, in order; none while they cannot be read.
    pub async fn names(&self, is_name: fn(&str) -> bool) -> Vec<String> {
        let found = match &self.rows {
            Some(store) => store.passage_collections().await.map_err(IndexError::from),
            None => {
                let folder = self.folder.clone();
                let listed = spawn_blocking(move || folders(&folder));
                listed.await.unwrap_or_else(|_| Ok(Vec::new())).map_err(IndexError::from)
            }
        };
        let mut names = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "collections cannot be listed");
            Vec::new()
        });
        names.retain(|name| is_name(name));
        names.sort_unstable();
        names
    }

    /// The collection of that name. None when there is none and none is to be made.
    ///
    /// # Errors
    /// A folder that cannot be used; a database that is away.
    pub async fn collection(&self, name: &str, make: bool) -> Result<Option<Shelf>, IndexError> {
        let folder = self.folder.join(name);
        let Some(store) = &self.rows else {
            let (name, config) = (name.to_owned(), self.config.clone());
            let opening = spawn_blocking(move || {
                if !make && !folder.is_dir() {
                    return Ok(None);
                }
                Collection::open(&folder, &name, &config).map(|files| Some(Shelf::Files(files)))
            });
            return opening.await.unwrap_or(Err(IndexError::Contents("it could not be opened")));
        };
        if !make && store.passages(name)?.active().await?.is_none() {
            return Ok(None);
        }
        let rows = Box::pin(PgCollection::open(store.clone(), &folder, name, &self.config)).await?;
        Ok(Some(Shelf::Rows(rows)))
    }

    /// Checks all generations of a collection without changing anything; none when there is no such collection.
    ///
    /// # Errors
    /// The file system or the database.
    pub async fn generations(&self, name: &str) -> Result<Option<Vec<Generation>>, IndexError> {
        if self.rows.is_none() {
            let (folder, limit) = (self.folder.join(name), self.config.max_index_bytes);
            let looking = spawn_blocking(move || {
                if folder.is_dir() { generations(&folder, limit).map(Some) } else { Ok(None) }
            });
            return looking.await.unwrap_or(Err(IndexError::Contents("it could not be looked at")));
        }
        match self.collection(name, false).await? {
            Some(Shelf::Rows(rows)) => Box::pin(rows.generations()).await.map(Some),
            Some(Shelf::Files(_)) | None => Ok(None),
        }
    }

    /// Ends what was opened for a command that ran alone.
    pub async fn close(&self) {
        if let Some(store) = &self.rows {
            store.close().await;
        }
    }
}

fn folders(folder: &Path) -> Result<Vec<String>, files::FileError> {
    let mut names = files::entries(folder)?;
    names.retain(|name| folder.join(name).is_dir());
    Ok(names)
}
