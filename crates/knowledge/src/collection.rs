//! A collection on disk: generations of which one is current, a writer at a time, readers that never wait. Invariants: a
//! generation is loaded whole and sound or not at all; `CURRENT` changes by rename, last; who reads keeps the generation
//! it began with; a damaged generation goes to `quarantine/`, and the newest sound one before it answers.
//! Source: ask design section 5.

mod folder;
mod library;
mod postgres;
mod shelf;
mod writer;

pub use folder::{Generation, generations};
pub use library::Library;
pub use postgres::{PgCollection, PgWriter};
pub use shelf::{Shelf, ShelfWriter};
pub use writer::{Held, Writer};

use writer::file_lock;

use crate::{
    Damage, Index, IndexError, KnowledgeConfig,
    index::{self, manifest::Current},
};
use folder::Folder;
use parking_lot::{Mutex, RwLock};
use std::{path::Path, sync::Arc};

/// How a collection is.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct State {
    /// The generation that answers.
    pub generation: Option<u64>,
    /// When it was made, in Unix seconds.
    pub created_at: Option<i64>,
    /// The generation that should answer; a higher one than answers means that an older index answers.
    pub wanted: Option<u64>,
    /// What is wrong, for the operator.
    pub trouble: Option<String>,
    /// Folders in quarantine.
    pub quarantined: Vec<String>,
}

impl State {
    /// Whether another generation answers than should.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.wanted.is_some() && self.wanted != self.generation
    }
}

/// A collection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Collection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    folder: Folder,
    config: KnowledgeConfig,
    current: RwLock<Option<Arc<Index>>>,
    state: Mutex<State>,
    /// What `CURRENT` said when it was last followed; held while loading, so that there is one load at a time.
    followed: Mutex<Option<Current>>,
}

impl Collection {
    /// Opens the collection of that folder and loads its newest sound generation; that there is none is fine.
    ///
    /// # Errors
    /// A folder that others may enter; the file system. Damage is no error here: [`Collection::state`] tells it.
    pub fn open(folder: &Path, name: &str, config: &KnowledgeConfig) -> Result<Self, IndexError> {
        let collection = Self(Arc::new(Inner {
            name: name.to_owned(),
            folder: Folder::open(folder)?,
            config: config.clone(),
            current: RwLock::default(),
            state: Mutex::default(),
            followed: Mutex::default(),
        }));
        collection.refresh()?;
        Ok(collection)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The generation that answers.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Index>> {
        self.0.current.read().clone()
    }

    /// How it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.state.lock().clone()
    }

    /// Looks which generation is current, as another process may have published one, and loads it. Blocking; searches go
    /// on meanwhile. Says whether another generation answers now.
    ///
    /// # Errors
    /// The file system. Damage is told by [`Collection::state`].
    pub fn refresh(&self) -> Result<bool, IndexError> {
        let mut followed = self.0.followed.lock();
        let mut tried = 0;
        loop {
            let current = self.0.folder.current();
            if self.current().is_some() && matches!(&current, Ok(named) if *named == *followed) {
                return Ok(false);
            }
            let (index, trouble) = self.load(&current)?;
            // Somebody published meanwhile and removed what was being read.
            tried += 1;
            let stale = || self.0.folder.current().ok() != current.as_ref().ok().cloned();
            if trouble.is_some() && tried < 3 && stale() {
                continue;
            }
            let current = current.ok().flatten();
            followed.clone_from(&current);
            return Ok(self.serve(index, current, trouble));
        }
    }

    fn serve(&self, index: Option<Index>, current: Option<Current>, trouble: Option<String>) -> bool {
        let (generation, created_at) =
            index.as_ref().map(|index| (index.generation(), index.created_at())).unzip();
        let wanted = current.map(|current| current.generation);
        let quarantined = self.0.folder.quarantined();
        *self.0.state.lock() = State { generation, created_at, wanted, trouble, quarantined };
        let mut answering = self.0.current.write();
        let other = answering.as_ref().map(|index| index.generation()) != generation;
        *answering = index.map(Arc::new);
        other
    }

    /// The current generation, or the newest sound one before it and what is wrong.
    fn load(
        &self,
        current: &Result<Option<Current>, IndexError>,
    ) -> Result<(Option<Index>, Option<String>), IndexError> {
        let folder = &self.0.folder;
        let mut numbers = folder.numbers()?;
        let trouble = match current {
            // Before the first generation was named: what is there was never published.
            Ok(None) => return Ok((None, None)),
            Ok(Some(current)) => {
                numbers.retain(|number| *number < current.generation);
                match self.load_one(current.generation, Some(&current.manifest_blake3)) {
                    Ok(index) => return Ok((Some(index), None)),
                    Err(error) => error,
                }
            }
            Err(error) => error.to_string(),
        };
        for number in numbers.into_iter().rev() {
            if let Ok(index) = self.load_one(number, None) {
                return Ok((Some(index), Some(trouble)));
            }
        }
        Ok((None, Some(trouble)))
    }

    /// A generation; a damaged one goes to quarantine. The error is for the operator.
    fn load_one(&self, number: u64, manifest: Option<&str>) -> Result<Index, String> {
        let path = self.0.folder.generation(number);
        index::load(&path, manifest, self.0.config.max_index_bytes).map_err(|error| {
            let said = format!("generation {number}: {error}");
            tracing::error!(collection = self.name(), generation = number, %error, "a generation cannot be used");
            if matches!(error, IndexError::Damaged(_)) && path.is_dir() {
                self.0.folder.quarantine(number);
            }
            said
        })
    }

    /// Checks every file of the generation that answers; when one is damaged, that generation goes to quarantine and the
    /// newest sound one before it answers. Blocking. The damages, none when all is sound.
    ///
    /// # Errors
    /// The file system.
    pub fn scrub(&self) -> Result<Vec<Damage>, IndexError> {
        let Some(index) = self.current() else { return Ok(Vec::new()) };
        let path = self.0.folder.generation(index.generation());
        let damages = index::verify(&path, None, self.0.config.max_index_bytes)?;
        if !damages.is_empty() {
            self.condemn(index.generation())?;
        }
        Ok(damages)
    }

    /// A passage of that generation could not be read: it goes to quarantine, another answers.
    ///
    /// # Errors
    /// The file system.
    pub fn condemn(&self, generation: u64) -> Result<(), IndexError> {
        if self.current().is_some_and(|index| index.generation() == generation) {
            self.0.folder.quarantine(generation);
            *self.0.followed.lock() = None;
            self.refresh()?;
        }
        Ok(())
    }

    /// Takes the collection for writing.
    ///
    /// # Errors
    /// [`Held`] says by whom it is held.
    pub fn lock(&self, now: i64) -> Result<Writer, Held> {
        Writer::take(self, now)
    }
}

#[cfg(test)]
pub(crate) mod tests;
