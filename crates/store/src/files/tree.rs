//! Folders of many private files: made aside, renamed into place, removed whole; files that only grow. Invariants as of
//! the parent module; a name that was synced is there after a power cut.

use super::{FileError, at, check, sync_parent};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Opens a private file for reading; nothing when there is none.
///
/// # Errors
/// A file that others may read; the file system.
pub fn open_private(path: &Path) -> Result<Option<File>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
    };
    let found = file.metadata().map_err(at(path))?;
    if !found.is_file() {
        return Err(FileError::WrongKind { path: path.to_owned(), wanted: "file" });
    }
    check(path, &found, 0o600)?;
    Ok(Some(file))
}

/// The file's content where it has at most so many bytes; nothing when there is none.
///
/// # Errors
/// A file that others may read or that is larger; the file system.
pub fn read_private_upto(path: &Path, most: u64) -> Result<Option<Vec<u8>>, FileError> {
    let Some(file) = open_private(path)? else { return Ok(None) };
    let bytes = file.metadata().map_err(at(path))?.len();
    if bytes > most {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
    file.take(most).read_to_end(&mut content).map_err(at(path))?;
    Ok(Some(content))
}

/// Makes a file that must not be there yet, with mode 0600, and syncs it; the name is synced with its folder.
///
/// # Errors
/// The file system.
pub fn create_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(at(path))
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The file system.
pub fn sync_folder(folder: &Path) -> Result<(), FileError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

/// Renames within one file system and makes both names durable.
///
/// # Errors
/// The file system; then the old name is still there.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(at(from))?;
    sync_parent(to)?;
    if from.parent() == to.parent() { Ok(()) } else { sync_parent(from) }
}

/// Removes a folder and everything in it; that there is none is fine. Links are removed, not followed.
///
/// # Errors
/// The file system.
pub fn remove_tree(folder: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(folder)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The names in a folder, sorted; none when there is no such folder. Names that are no UTF-8 are not ours.
///
/// # Errors
/// The file system.
pub fn entries(folder: &Path) -> Result<Vec<String>, FileError> {
    let found = match fs::read_dir(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(folder)(error)),
    };
    let mut names = Vec::new();
    for entry in found {
        names.extend(entry.map_err(at(folder))?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// A file that only grows.
#[derive(Debug)]
pub struct Appender {
    file: File,
    bytes: u64,
}

/// Opens a file for growing, made with mode 0600 where there is none.
///
/// # Errors
/// A file that others may read; the file system.
pub fn append(path: &Path) -> Result<Appender, FileError> {
    let opened = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    let file = opened.map_err(at(path))?;
    let found = file.metadata().map_err(at(path))?;
    check(path, &found, 0o600)?;
    Ok(Appender { file, bytes: found.len() })
}

impl Appender {
    /// Bytes of the file.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds to the end, in one write where the system allows it.
    ///
    /// # Errors
    /// The file system.
    pub fn push(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)?;
        self.bytes += content.len() as u64;
        Ok(())
    }

    /// Leaves only the first bytes.
    ///
    /// # Errors
    /// The file system.
    pub fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    /// Makes what was added durable.
    ///
    /// # Errors
    /// The file system.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// The file, for reading at places.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }
}
