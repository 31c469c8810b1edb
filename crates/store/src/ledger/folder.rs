//! The files of the journal in `data/spool`: one a batch, appended to while the batch is being counted, removed when
//! the store has it. Names sort by age and are the batch's id, so that a batch sent twice is known by the store.
//!
//! Invariant: one process at a time reads and writes the folder. A command that opens the same data folder beside a
//! running server sees it empty and full.

use super::row::{LedgerId, LedgerRow};
use crate::files::{self, FileError};
use parking_lot::Mutex;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// One line: what happened to a reservation, its id, what it holds now, and what had been reserved.
#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Line<R = LedgerRow>(
    pub(super) Kind,
    pub(super) LedgerId,
    pub(super) Option<R>,
    pub(super) [u64; 2],
);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A call is about to be made; the row holds the most it may cost.
    Open,
    /// It cost what the row says.
    Settled,
    /// It cost nothing.
    Released,
}

impl<R: serde::Serialize> Line<R> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let before = out.len();
        if serde_json::to_writer(&mut *out, self).is_ok() {
            out.push(b'\n');
        } else {
            out.truncate(before);
        }
    }
}

/// Every line that can be read, and how many cannot. A torn last line (killed while writing) counts as none.
pub(super) fn lines(content: &[u8]) -> (Vec<Line>, usize) {
    let (mut found, mut broken) = (Vec::new(), 0);
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(line) => found.push(line),
            Err(_) if line.last() == Some(&b'\n') => broken += 1,
            Err(_) => {}
        }
    }
    (found, broken)
}

pub(super) struct Folder {
    path: PathBuf,
    max_bytes: u64,
    bytes: AtomicU64,
    /// Held while this process owns the folder.
    lock: Mutex<Option<File>>,
    /// The one that is being appended to.
    running: Mutex<Option<(String, File)>>,
}

impl Folder {
    /// Makes or checks the folder.
    pub(super) fn open(path: PathBuf, max_bytes: u64) -> Result<Self, FileError> {
        files::private_dir(&path)?;
        let lock = path.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock);
        let file = file.map_err(|error| FileError::Io { path: lock, error })?;
        let lock = Mutex::new(file.try_lock().is_ok().then_some(file));
        let folder = Self { path, max_bytes, bytes: AtomicU64::new(0), lock, running: Mutex::new(None) };
        let bytes = folder.list()?.iter().map(|id| size(&folder.path(id))).sum();
        folder.bytes.store(bytes, Relaxed);
        Ok(folder)
    }

    /// Leaves the folder to the next process.
    pub(super) fn release(&self) {
        drop(self.running.lock().take());
        drop(self.lock.lock().take());
    }

    pub(super) fn is_ours(&self) -> bool {
        self.lock.lock().is_some()
    }

    /// Adds to a batch. Says whether there was room; a batch that was partly written stays so.
    pub(super) fn append(&self, id: &str, content: &[u8]) -> Result<bool, FileError> {
        let more = content.len() as u64;
        if !self.is_ours() || self.bytes.load(Relaxed) + more > self.max_bytes {
            return Ok(false);
        }
        let path = self.path(id);
        let at = |error: io::Error| FileError::Io { path: path.clone(), error };
        let mut running = self.running.lock();
        let file = match &mut *running {
            Some((known, file)) if known == id => file,
            Some(_) | None => {
                let file =
                    OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(at)?;
                &mut running.insert((id.to_owned(), file)).1
            }
        };
        file.write_all(content).map_err(at)?;
        self.bytes.fetch_add(more, Relaxed);
        Ok(true)
    }

    pub(super) fn read(&self, id: &str) -> Result<Vec<u8>, FileError> {
        Ok(files::read_private(&self.path(id))?.unwrap_or_default())
    }

    pub(super) fn remove(&self, id: &str) -> Result<(), FileError> {
        let path = self.path(id);
        self.forget(size(&path));
        files::remove(&path)
    }

    /// Keeps a batch with lines that cannot be read, for somebody to look at.
    pub(super) fn set_aside(&self, id: &str) -> Result<(), FileError> {
        let (from, to) = (self.path(id), self.path.join(format!("{id}.unreadable")));
        self.forget(size(&from));
        fs::rename(&from, to).map_err(|error| FileError::Io { path: from, error })
    }

    fn forget(&self, bytes: u64) {
        let less = |held: u64| Some(held.saturating_sub(bytes));
        let _before = self.bytes.fetch_update(Relaxed, Relaxed, less);
    }

    fn path(&self, id: &str) -> PathBuf {
        self.path.join(format!("{id}.journal"))
    }

    /// Ids, oldest first; none where another process owns the folder.
    pub(super) fn list(&self) -> Result<Vec<String>, FileError> {
        let at = |error: io::Error| FileError::Io { path: self.path.clone(), error };
        let mut found = Vec::new();
        if !self.is_ours() {
            return Ok(found);
        }
        for entry in fs::read_dir(&self.path).map_err(at)? {
            let path = entry.map_err(at)?.path();
            if path.extension() == Some("journal".as_ref()) {
                found.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
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
    fn batches_come_back_oldest_first_within_the_bound() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(outer.path().join("spool"), 10).unwrap();
        assert!(folder.append("002", b"bbbb").unwrap());
        assert!(folder.append("001", b"aa").unwrap());
        assert!(folder.append("001", b"aa").unwrap());
        assert!(!folder.append("003", b"ccc").unwrap(), "eleven bytes do not fit into ten");
        assert_eq!(folder.list().unwrap(), ["001", "002"]);
        assert_eq!(folder.read("001").unwrap(), b"aaaa");
        folder.remove("001").unwrap();
        folder.set_aside("002").unwrap();
        assert_eq!(folder.list().unwrap(), Vec::<String>::new());
        assert!(folder.append("003", b"cccccccccc").unwrap(), "what has gone makes room");
    }

    #[test]
    fn a_second_process_leaves_the_folder_of_a_running_one_alone_and_takes_it_over_afterwards() {
        let outer = tempfile::tempdir().unwrap();
        let open = || Folder::open(outer.path().join("spool"), 100).unwrap();
        let (running, command) = (open(), open());
        assert!(running.append("001", b"a").unwrap());
        assert!(command.list().unwrap().is_empty());
        assert!(!command.append("002", b"b").unwrap());
        running.release();
        assert!(running.list().unwrap().is_empty(), "it has let go");
        assert_eq!(open().list().unwrap(), ["001"]);
    }

    #[test]
    fn a_torn_last_line_is_no_line_and_a_broken_one_in_between_is_counted() {
        let id = LedgerId { process: 1, number: 2 };
        let mut content = Vec::new();
        Line::<LedgerRow>(Kind::Released, id, None, [3, 4]).write(&mut content);
        content.extend_from_slice(b"{broken\n");
        Line::<LedgerRow>(Kind::Released, id, None, [3, 4]).write(&mut content);
        content.extend_from_slice(b"[\"settled\",\"1-2\",{\"at\":");
        let (found, broken) = lines(&content);
        assert_eq!((found.len(), broken), (2, 1));
        assert_eq!(found[0], Line(Kind::Released, id, None, [3, 4]));
    }
}
