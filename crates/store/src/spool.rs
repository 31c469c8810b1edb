//! Usage that could not be stored yet, one file a batch in `data/spool`, bounded in bytes. Names sort by age and are
//! the batch's id, so that a batch sent twice is known by the store.
//!
//! Invariant: one process at a time reads and writes a spool. A command that opens the same data folder beside a running
//! server sees it empty and full: sending the copy of a batch that still grows would make the rest of it count as sent.

use crate::files::{self, FileError};
use parking_lot::Mutex;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

pub(crate) struct Spool {
    folder: PathBuf,
    max_bytes: u64,
    /// Held while this process owns the spool.
    lock: Mutex<Option<File>>,
}

impl Spool {
    /// Makes or checks the folder.
    pub(crate) fn open(folder: PathBuf, max_bytes: u64) -> Result<Self, FileError> {
        files::private_dir(&folder)?;
        let path = folder.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|error| FileError::Io { path, error })?;
        let lock = Mutex::new(file.try_lock().is_ok().then_some(file));
        Ok(Self { folder, max_bytes, lock })
    }

    /// Leaves the spool to the next process.
    pub(crate) fn release(&self) {
        drop(self.lock.lock().take());
    }

    fn is_ours(&self) -> bool {
        self.lock.lock().is_some()
    }

    /// Writes the batch, over an earlier one of that id. Says whether there was room.
    pub(crate) fn put(&self, id: &str, content: &[u8]) -> Result<bool, FileError> {
        if !self.is_ours() {
            return Ok(false);
        }
        let others: u64 = self.list()?.iter().filter(|(known, _)| known != id).map(|(_, bytes)| bytes).sum();
        if others + content.len() as u64 > self.max_bytes {
            return Ok(false);
        }
        files::write_private(&self.path(id), content).map(|()| true)
    }

    /// The oldest batch.
    pub(crate) fn oldest(&self) -> Result<Option<(String, Vec<u8>)>, FileError> {
        if !self.is_ours() {
            return Ok(None);
        }
        let Some((id, _)) = self.list()?.into_iter().next() else { return Ok(None) };
        Ok(files::read_private(&self.path(&id))?.map(|content| (id, content)))
    }

    pub(crate) fn remove(&self, id: &str) -> Result<(), FileError> {
        files::remove(&self.path(id))
    }

    /// Puts a batch that cannot be read out of the way, for somebody to look at.
    pub(crate) fn set_aside(&self, id: &str) -> Result<(), FileError> {
        let (from, to) = (self.path(id), self.folder.join(format!("{id}.unreadable")));
        fs::rename(&from, to).map_err(|error| FileError::Io { path: from, error })
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    /// Ids and sizes, oldest first.
    fn list(&self) -> Result<Vec<(String, u64)>, FileError> {
        let at = |error: io::Error| FileError::Io { path: self.folder.clone(), error };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(at)? {
            let path = entry.map_err(at)?.path();
            let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            if path.extension() == Some("json".as_ref()) {
                found.push((id, size(&path)));
            }
        }
        found.sort();
        Ok(found)
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_come_back_oldest_first_within_the_bound_and_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path().join("spool"), 10).unwrap();
        assert!(spool.put("002", b"bbbb").unwrap());
        assert!(spool.put("001", b"aaaa").unwrap());
        assert!(!spool.put("003", b"ccc").unwrap(), "eleven bytes do not fit into ten");
        assert!(spool.put("001", b"AAAAAA").unwrap(), "the replaced one does not count");
        assert_eq!(spool.oldest().unwrap(), Some(("001".into(), b"AAAAAA".to_vec())));
        spool.remove("001").unwrap();
        spool.set_aside("002").unwrap();
        assert_eq!(spool.oldest().unwrap(), None);
    }

    #[test]
    fn a_second_process_leaves_the_spool_of_a_running_one_alone_and_takes_it_over_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Spool::open(folder.path().join("spool"), 100).unwrap();
        let (running, command) = (open(), open());
        assert!(running.put("001", b"a").unwrap());
        assert_eq!(command.oldest().unwrap(), None);
        assert!(!command.put("002", b"b").unwrap());
        running.release();
        assert!(running.oldest().unwrap().is_none(), "it has let go");
        assert_eq!(open().oldest().unwrap(), Some(("001".into(), b"a".to_vec())));
    }
}
