//! Private folders and files. Invariants: a folder of ours is 0700 and a secret file 0600, and looser ones are
//! refused instead of used; a file is replaced whole or not at all, also when the power fails in the middle
//! (temporary file, fsync, rename, fsync of the folder). Source: S1-10, settings.md "Secrets and keys".

mod lock;
mod tree;

pub use lock::{Lock, LockError, Owner, lock};
pub use tree::{
    Appender, append, create_private, entries, open_private, read_private_upto, remove_tree, rename,
    sync_folder,
};

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Largest file that [`read_private`] reads, in bytes: a larger one is not ours.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Why a private folder or file cannot be used. The messages are for the operator: they name paths.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Others may look into it.
    #[error("{path} is open to other users (mode {mode:04o}). Mend: chmod {wanted:o} {path}")]
    TooOpen {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// Something else is where the folder or file should be.
    #[error("{path} is not a {wanted}. Mend: move it away, or choose another data_dir")]
    WrongKind {
        /// Which.
        path: PathBuf,
        /// `folder` or `file`.
        wanted: &'static str,
    },
    /// Larger than anything we write.
    #[error("{path} is larger than anything Portcullis writes there. Mend: move it away")]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// The file system.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError + '_ {
    move |error| FileError::Io { path: path.to_owned(), error }
}

/// Makes the folder with mode 0700, parents included, or checks the one that is there.
///
/// # Errors
/// A folder that others may enter, that is not ours, or is no folder; the file system.
pub fn private_dir(path: &Path) -> Result<(), FileError> {
    match fs::symlink_metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
        }
        Err(error) => return Err(at(path)(error)),
    }
    // Follows a link: an operator may keep the data on another disk; what counts is what is written to.
    let found = fs::metadata(path).map_err(at(path))?;
    if !found.is_dir() {
        return Err(FileError::WrongKind { path: path.to_owned(), wanted: "folder" });
    }
    check(path, &found, 0o700)
}

/// Bytes that this user may still write on the disk of that folder.
///
/// # Errors
/// The file system.
pub fn free(folder: &Path) -> Result<u64, FileError> {
    let disk = rustix::fs::statvfs(folder).map_err(|error| at(folder)(error.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn check(path: &Path, found: &fs::Metadata, wanted: u32) -> Result<(), FileError> {
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::TooOpen { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

/// Replaces the file's content; the file ends up with mode 0600. Its folder must be there.
///
/// # Errors
/// The file system; the old content is then still whole.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let temporary = write_beside(path, content)?;
    let renamed = fs::rename(&temporary, path).map_err(at(path));
    if renamed.is_err() {
        drop(fs::remove_file(&temporary));
    }
    renamed.and_then(|()| sync_parent(path))
}

/// Makes the file with that content, unless there is one already: of two processes that start at the same time
/// exactly one makes it. Says whether it was us.
///
/// # Errors
/// The file system.
pub fn make_private(path: &Path, content: &[u8]) -> Result<bool, FileError> {
    let temporary = write_beside(path, content)?;
    let linked = fs::hard_link(&temporary, path);
    drop(fs::remove_file(&temporary));
    match linked {
        Ok(()) => sync_parent(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(at(path)(error)),
    }
}

/// The file's content; nothing when there is none.
///
/// # Errors
/// A file that others may read; the file system.
pub fn read_private(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    read_private_upto(path, MAX_BYTES)
}

/// Removes the file; that there is none is fine.
///
/// # Errors
/// The file system.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes an empty file that only its owner can read, where there is none; one that is there stays as it is.
pub(crate) fn touch(path: &Path) -> Result<(), FileError> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    opened.map(drop).map_err(at(path))
}

/// Opens a file that is there for reading and writing in place.
pub(crate) fn open_to_change(path: &Path) -> Result<fs::File, FileError> {
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(at(path))?;
    check(path, &file.metadata().map_err(at(path))?, 0o600)?;
    Ok(file)
}

/// A synced temporary file in the same folder, so that a rename stays within the file system.
fn write_beside(path: &Path, content: &[u8]) -> Result<PathBuf, FileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{:016x}.tmp", rand::random::<u64>()));
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()
    };
    let result = written().map_err(at(path));
    if result.is_err() {
        drop(fs::remove_file(&temporary));
    }
    result.map(|()| temporary)
}

/// Until the folder is synced, the new name itself may be lost with the power.
fn sync_parent(path: &Path) -> Result<(), FileError> {
    sync_folder(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    // req: S1-10
    #[test]
    fn a_data_folder_is_made_for_its_owner_alone_and_a_looser_one_is_refused_with_the_mend() {
        let outer = tempfile::tempdir().unwrap();
        for name in ["data", "backups"] {
            let folder = outer.path().join(name);
            private_dir(&folder).unwrap();
            assert_eq!(mode(&folder), 0o700);
            private_dir(&folder).unwrap();
            for loose in [0o755, 0o750, 0o701, 0o770] {
                set(&folder, loose);
                let said = private_dir(&folder).unwrap_err().to_string();
                assert!(said.contains(&format!("{loose:04o}")) && said.contains("chmod 700"), "{said}");
            }
        }
        let file = outer.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(private_dir(&file), Err(FileError::WrongKind { .. })));
    }

    // req: S1-10
    #[test]
    fn a_secret_file_is_its_owners_alone_and_a_looser_one_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert_eq!(read_private(&path).unwrap(), None);
        write_private(&path, b"one").unwrap();
        assert_eq!((mode(&path), read_private(&path).unwrap()), (0o600, Some(b"one".to_vec())));
        write_private(&path, b"two").unwrap();
        assert_eq!(read_private(&path).unwrap(), Some(b"two".to_vec()));
        set(&path, 0o644);
        assert!(read_private(&path).unwrap_err().to_string().contains("chmod 600"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing temporary is left");
    }

    #[test]
    fn of_several_that_make_a_file_at_once_exactly_one_makes_it_and_all_read_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pepper");
        let made: Vec<(bool, Vec<u8>)> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8_u8)
                .map(|n| {
                    let path = &path;
                    scope.spawn(move || {
                        let made = make_private(path, &[n; 64]).unwrap();
                        (made, read_private(path).unwrap().unwrap())
                    })
                })
                .collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert_eq!(made.iter().filter(|(us, _)| *us).count(), 1);
        assert!(made.iter().all(|(_, content)| *content == made[0].1));
    }
}
