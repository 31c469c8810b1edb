//! The files of the repository, read once: those that git knows or would add.

use crate::sys;
use anyhow::Result;
use std::path::Path;

/// One text file.
pub(crate) struct File {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All text files, sorted by path.
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

/// Files above this are data, not text to check.
const MOST_BYTES: u64 = 2 << 20;

impl Tree {
    /// Reads the work tree. Binary files and those above 2 MiB are left out.
    pub(crate) fn read() -> Result<Self> {
        let listed = sys::output(sys::command("git").args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        let root = sys::root();
        let mut files: Vec<File> = listed.split('\0').filter_map(|path| read_text(&root, path)).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        Ok(Self { files })
    }

    /// The Rust sources.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// One file by path.
    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn read_text(root: &Path, path: &str) -> Option<File> {
    let full = root.join(path);
    let meta = std::fs::symlink_metadata(&full).ok()?;
    if path.is_empty() || !meta.is_file() || meta.len() > MOST_BYTES {
        return None;
    }
    let bytes = std::fs::read(&full).ok()?;
    (!bytes.contains(&0)).then_some(())?;
    Some(File { path: path.to_owned(), text: String::from_utf8(bytes).ok()? })
}
