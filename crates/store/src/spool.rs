//! Usage that could not be stored yet, one file a batch in `data/spool`, bounded in bytes. Names sort by age and are
//! the batch's id, so that a batch sent twice is known by the store.

use crate::files::{self, FileError};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub(crate) struct Spool {
    folder: PathBuf,
    max_bytes: u64,
}

impl Spool {
    /// Makes or checks the folder.
    pub(crate) fn open(folder: PathBuf, max_bytes: u64) -> Result<Self, FileError> {
        files::private_dir(&folder)?;
        Ok(Self { folder, max_bytes })
    }

    /// Writes the batch, over an earlier one of that id. Says whether there was room.
    pub(crate) fn put(&self, id: &str, content: &[u8]) -> Result<bool, FileError> {
        let others: u64 = self.list()?.iter().filter(|(known, _)| known != id).map(|(_, bytes)| bytes).sum();
        if others + content.len() as u64 > self.max_bytes {
            return Ok(false);
        }
        files::write_private(&self.path(id), content).map(|()| true)
    }

    /// The oldest batch.
    pub(crate) fn oldest(&self) -> Result<Option<(String, Vec<u8>)>, FileError> {
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
}
