//! One writer at a time, across processes. Invariants: the lock is the kernel's (`flock`), so that it ends with its
//! owner however that ends, and a lock file that a dead process left behind keeps nobody out; what stands in the file
//! only says who holds it.

use super::{FileError, at};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Who holds a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id; 0 where the holder has not said it yet.
    pub pid: u32,
    /// Unix seconds since when.
    pub since: i64,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error("process {} holds it", .0.pid)]
    Held(Owner),
    /// The file system.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as its open file")] File);

/// Takes the lock of that file, made where there is none.
///
/// # Errors
/// [`LockError::Held`] when a living process has it, this one included; the file system.
pub fn lock(path: &Path, now: i64) -> Result<Lock, LockError> {
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = opened.map_err(at(path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LockError::Held(owner(&mut file))),
        Err(TryLockError::Error(error)) => return Err(at(path)(error).into()),
    }
    let said = serde_json::to_vec(&Owner { pid: std::process::id(), since: now }).unwrap_or_default();
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&said));
    written.map_err(at(path))?;
    Ok(Lock(file))
}

/// Longest note of an owner that is read, in bytes.
const NOTE_BYTES: u64 = 256;

fn owner(file: &mut File) -> Owner {
    let mut said = Vec::new();
    let read = file.take(NOTE_BYTES).read_to_end(&mut said);
    read.ok().and_then(|_| serde_json::from_slice(&said).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_who_holds_the_lock_and_a_dead_ones_note_keeps_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("LOCK");
        std::fs::write(&path, r#"{"pid":4194999,"since":1}"#).unwrap();
        let held = lock(&path, 7).unwrap();
        let Err(LockError::Held(owner)) = lock(&path, 8) else { panic!("taken twice") };
        assert_eq!(owner, Owner { pid: std::process::id(), since: 7 });
        drop(held);
        lock(&path, 9).unwrap();
    }
}
