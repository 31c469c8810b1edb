//! Who writes a collection. Invariant: a crash before `CURRENT` was renamed leaves the old generation current, and one
//! after it the new one; there is no state between.

use super::Collection;
use crate::{
    Contents, Index, IndexError, Space, VectorCache,
    index::{
        self,
        manifest::{CURRENT, Current, MANIFEST, sum},
    },
};
use portcullis_store::files::{self, Lock, LockError, Owner};
use std::{path::Path, sync::Arc};

/// Why a collection was not taken for writing.
#[derive(Debug, thiserror::Error)]
pub enum Held {
    /// Another writer has it.
    #[error("the collection is being written by process {} since {} (Unix seconds)", .0.pid, .0.since)]
    By(Owner),
    /// Another machine has it.
    #[error("the collection is being written by a process on another machine")]
    Elsewhere,
    /// Files of it cannot be used.
    #[error(transparent)]
    Trouble(#[from] IndexError),
}

/// The only writer of a collection, until dropped.
#[derive(Debug)]
pub struct Writer {
    collection: Collection,
    _lock: Lock,
}

/// Takes the lock among the processes of this machine.
pub(super) fn file_lock(folder: &Path, now: i64) -> Result<Lock, Held> {
    files::lock(&folder.join("LOCK"), now).map_err(|error| match error {
        LockError::Held(owner) => Held::By(owner),
        LockError::File(error) => Held::Trouble(error.into()),
    })
}

/// Where publishing can be ended, for tests; each is the moment before something happens.
pub(crate) type Stop<'a> = &'a mut dyn FnMut(&'static str) -> bool;

impl Writer {
    pub(super) fn take(collection: &Collection, now: i64) -> Result<Self, Held> {
        let folder = &collection.0.folder;
        let lock = file_lock(folder.root(), now)?;
        folder.sweep()?;
        Ok(Self { collection: collection.clone(), _lock: lock })
    }

    /// The collection.
    #[must_use]
    pub const fn collection(&self) -> &Collection {
        &self.collection
    }

    /// The vectors of that space that were made before.
    ///
    /// # Errors
    /// The file system.
    pub fn vectors(&self, space: &Space) -> Result<VectorCache, IndexError> {
        let inner = &self.collection.0;
        VectorCache::open(inner.folder.root(), space, inner.config.vector_cache_bytes)
    }

    /// Makes a generation of these contents and lets it answer. `now` in Unix seconds. Blocking.
    ///
    /// # Errors
    /// Contents that contradict themselves or are too large; the file system. The old generation still answers.
    pub fn publish(
        &self,
        contents: &Contents,
        space: Option<&Space>,
        now: i64,
    ) -> Result<Arc<Index>, IndexError> {
        self.publish_until(contents, space, now, &mut |_| false)
    }

    pub(crate) fn publish_until(
        &self,
        contents: &Contents,
        space: Option<&Space>,
        now: i64,
        stop: Stop<'_>,
    ) -> Result<Arc<Index>, IndexError> {
        let inner = &self.collection.0;
        let (folder, limit) = (&inner.folder, inner.config.max_index_bytes);
        let mut ends = |step| if stop(step) { Err(IndexError::Stopped(step)) } else { Ok(()) };
        let number = folder.highest()? + 1;
        let mut built = index::build(contents, space, inner.config.grams, number, now)?;
        let staging = folder.staging();
        files::remove_tree(&staging)?;
        files::private_dir(&staging)?;
        for (name, bytes) in std::mem::take(&mut built.files) {
            ends(name)?;
            files::create_private(&staging.join(name), &bytes)?;
        }
        ends("canaries")?;
        let mut manifest = built.manifest;
        manifest.canaries = index::canaries(&index::assemble(&staging, manifest.clone(), limit)?);
        let manifest = manifest.to_bytes();
        ends(MANIFEST)?;
        files::create_private(&staging.join(MANIFEST), &manifest)?;
        ends("verify")?;
        let named = Current { generation: number, manifest_blake3: sum(&manifest) };
        let loaded = index::load(&staging, Some(&named.manifest_blake3), limit)?;
        ends("sync")?;
        files::sync_folder(&staging)?;
        ends("rename")?;
        files::rename(&staging, &folder.generation(number))?;
        ends(CURRENT)?;
        files::write_private(&folder.path(CURRENT), &named.to_bytes())?;
        ends("swap")?;
        self.follow(loaded, named);
        ends("prune")?;
        self.prune_old()?;
        self.collection.current().ok_or(IndexError::Missing)
    }

    /// Lets an older generation answer: the given one, or the newest sound one before the current. Its number.
    ///
    /// # Errors
    /// [`IndexError::Missing`] when there is none; damage of the given one.
    pub fn rollback(&self, to: Option<u64>) -> Result<u64, IndexError> {
        let inner = &self.collection.0;
        let now = inner.folder.current().ok().flatten().map(|current| current.generation);
        let mut numbers = inner.folder.numbers()?;
        numbers.retain(|number| to.map_or(now.is_none_or(|now| *number < now), |to| *number == to));
        let mut error = IndexError::Missing;
        for number in numbers.into_iter().rev() {
            let path = inner.folder.generation(number);
            match index::load(&path, None, inner.config.max_index_bytes) {
                Ok(index) => {
                    let manifest = files::read_private(&path.join(MANIFEST))?.unwrap_or_default();
                    let named = Current { generation: number, manifest_blake3: sum(&manifest) };
                    files::write_private(&inner.folder.path(CURRENT), &named.to_bytes())?;
                    self.follow(index, named);
                    return Ok(number);
                }
                Err(found) => error = found,
            }
        }
        Err(error)
    }

    /// What an index can be made from again without its documents: of the newest generation whose texts are sound, in
    /// quarantine too. Vectors and their space where those are sound.
    ///
    /// # Errors
    /// [`IndexError::Missing`] when no texts are sound: ingest the documents again.
    pub fn salvage(&self) -> Result<(Contents, Option<Space>), IndexError> {
        let inner = &self.collection.0;
        let mut sources: Vec<(u64, std::path::PathBuf)> = inner
            .folder
            .numbers()?
            .into_iter()
            .map(|number| (number, inner.folder.generation(number)))
            .collect();
        for name in inner.folder.quarantined() {
            let number = name.strip_prefix("gen-").and_then(|rest| rest.split('-').next()?.parse().ok());
            sources.extend(number.map(|number| (number, inner.folder.quarantine_folder().join(&name))));
        }
        // What was rolled back or never named is not what somebody wants back.
        let named = inner.folder.current().ok().flatten().map(|current| current.generation);
        sources.retain(|(number, _)| named.is_none_or(|named| *number <= named));
        sources.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        let limit = inner.config.max_index_bytes;
        let mut found = sources.iter().map(|(_, path)| index::salvage(path, limit));
        found.find_map(Result::ok).ok_or(IndexError::Missing)
    }

    fn follow(&self, index: Index, named: Current) {
        let mut followed = self.collection.0.followed.lock();
        *followed = Some(named.clone());
        self.collection.serve(Some(index), Some(named), None);
    }

    /// Removes generations beyond those to keep, and what is in quarantine while the wanted generation answers. How many.
    ///
    /// # Errors
    /// The file system.
    pub fn prune(&self) -> Result<usize, IndexError> {
        let inner = &self.collection.0;
        let mut removed = self.prune_old()?;
        let state = self.collection.state();
        if state.generation.is_some() && !state.is_behind() {
            removed += state.quarantined.len();
            files::remove_tree(&inner.folder.quarantine_folder())?;
            inner.state.lock().quarantined.clear();
        }
        Ok(removed)
    }

    fn prune_old(&self) -> Result<usize, IndexError> {
        let inner = &self.collection.0;
        let Some(current) = inner.folder.current()? else { return Ok(0) };
        let mut old = inner.folder.numbers()?;
        old.retain(|number| *number != current.generation);
        old.truncate(old.len().saturating_sub(inner.config.keep_generations.saturating_sub(1)));
        for number in &old {
            files::remove_tree(&inner.folder.generation(*number))?;
        }
        Ok(old.len())
    }
}
