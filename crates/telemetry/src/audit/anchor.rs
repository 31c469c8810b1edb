//! Anchors: checkpoints kept outside the trail. A trail that was cut off, or replaced as a whole by somebody who has
//! the signing key, no longer holds the lines that its anchors hold. Files are written here, by the trail's own thread
//! and only after the checkpoint itself is on disk; webhooks are the runtime's.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

/// A file above this begins anew, and the one before it is kept: the last anchor covers all lines before it, so old
/// ones prove little more. About 20,000 checkpoints, two weeks of a busy server.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// The default file, beside the folder of the trail.
#[must_use]
pub fn default_file(folder: &Path) -> PathBuf {
    folder.with_file_name("audit-anchors.jsonl")
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Adds a checkpoint line at the end of the file (0600).
pub(super) fn append(path: &Path, line: &str) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > MAX_BYTES) {
        // A file that may only grow (an append-only attribute) stays where it is.
        drop(fs::rename(path, older(path)));
    }
    let mut options = File::options();
    options.create(true).append(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    // A crash may have cut the last line: the next one must not join it.
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let torn = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{torn}{line}\n").as_bytes())?;
    file.sync_data()
}

/// The lines that anchor files hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anchors(pub(super) Vec<String>);

impl Anchors {
    /// Adds the lines of a file, and of the one before it. A file that is not there holds none; a last line without an
    /// end is one that a crash cut.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&mut self, path: &Path) -> io::Result<()> {
        for path in [older(path), path.to_owned()] {
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            self.0.extend(whole.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()));
        }
        Ok(())
    }
}
