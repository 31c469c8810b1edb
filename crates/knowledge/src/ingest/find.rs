//! Finding files: folders recursively, without hidden files and what `.portcullisignore` names (gitignore syntax).
//! Invariants: nothing outside the root is ever read, whatever links say; the order is that of the paths and does not
//! depend on the file system; a file that somebody writes to while it is read is named, not taken half.

use super::extract::Refusal;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::{
    collections::HashSet,
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The file that names what is skipped.
const IGNORE: &str = ".portcullisignore";
/// Folders inside one another.
const DEEPEST: usize = 64;

/// A file that is to be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Relative to the root, with `/`.
    pub source: String,
    /// Bytes when it was found.
    pub bytes: u64,
}

/// What was found under a root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finds {
    /// Files in the order of their sources.
    pub files: Vec<Found>,
    /// What could not be looked at, with the reason.
    pub refused: Vec<(String, Refusal)>,
}

/// Why nothing can be taken from a place.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// It cannot be opened.
    #[error("{path}: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// More files than one ingestion may take.
    #[error("{path} holds more than {most} files (knowledge.max_files)")]
    TooMany {
        /// Which.
        path: PathBuf,
        /// The bound.
        most: usize,
    },
}

/// Everything under a folder, or the one file. The second value is the root that documents carry.
///
/// # Errors
/// The place itself cannot be read, or holds too many files.
pub fn find(path: &Path, most: usize) -> Result<(Finds, PathBuf), FindError> {
    let unreadable = |error| FindError::Unreadable { path: path.to_owned(), error };
    let root = fs::canonicalize(path).map_err(unreadable)?;
    let about = fs::metadata(&root).map_err(unreadable)?;
    if about.is_file() {
        let source = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parent = root.parent().unwrap_or(Path::new("/")).to_owned();
        let files = vec![Found { path: root, source, bytes: about.len() }];
        return Ok((Finds { files, refused: Vec::new() }, parent));
    }
    let mut walk =
        Walk { root: root.clone(), out: Finds::default(), seen: HashSet::new(), most, ignores: Vec::new() };
    walk.folder(&root, "", 0).map_err(unreadable)?;
    if walk.out.files.len() > most {
        return Err(FindError::TooMany { path: path.to_owned(), most });
    }
    walk.out.files.sort_by(|a, b| a.source.cmp(&b.source));
    walk.out.refused.sort_by(|a, b| a.0.cmp(&b.0));
    Ok((walk.out, root))
}

struct Walk {
    root: PathBuf,
    out: Finds,
    /// Folders that were entered, by device and inode: a link to one above would never end.
    seen: HashSet<(u64, u64)>,
    most: usize,
    /// The rules of each folder on the way, outermost first.
    ignores: Vec<Gitignore>,
}

impl Walk {
    fn folder(&mut self, folder: &Path, source: &str, depth: usize) -> io::Result<()> {
        let about = fs::metadata(folder)?;
        if !self.seen.insert((about.dev(), about.ino())) {
            return Ok(());
        }
        if depth > DEEPEST {
            let why = format!("folders are nested deeper than {DEEPEST}");
            self.out.refused.push((source.to_owned(), Refusal::Unreadable(why)));
            return Ok(());
        }
        let mut names: Vec<_> =
            fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        names.sort();
        let ignores = self.ignores.len();
        if names.iter().any(|name| name == IGNORE) {
            let mut rules = GitignoreBuilder::new(folder);
            // A rule that cannot be read is left out; the others hold.
            let _broken = rules.add(folder.join(IGNORE));
            self.ignores.extend(rules.build().ok());
        }
        for name in names {
            if self.out.files.len() > self.most {
                break;
            }
            let name_shown = name.to_string_lossy();
            if name_shown.starts_with('.') {
                continue;
            }
            let source =
                if source.is_empty() { name_shown.into_owned() } else { format!("{source}/{name_shown}") };
            self.entry(&folder.join(&name), source, depth);
        }
        self.ignores.truncate(ignores);
        Ok(())
    }

    fn entry(&mut self, path: &Path, source: String, depth: usize) {
        let looked = fs::symlink_metadata(path).and_then(|own| {
            let link = own.is_symlink();
            let about = if link { fs::metadata(path)? } else { own };
            Ok((link, about))
        });
        let (link, about) = match looked {
            Ok(looked) => looked,
            Err(error) => return self.refuse(source, &error),
        };
        if self.ignored(path, about.is_dir()) {
            return;
        }
        let real = if link {
            match fs::canonicalize(path) {
                Ok(real) if real.starts_with(&self.root) => real,
                Ok(_) => return self.out.refused.push((source, Refusal::Outside)),
                Err(error) => return self.refuse(source, &error),
            }
        } else {
            path.to_owned()
        };
        if about.is_dir() {
            if let Err(error) = self.folder(&real, &source, depth + 1) {
                self.refuse(source, &error);
            }
        } else if about.is_file() {
            self.out.files.push(Found { path: real, source, bytes: about.len() });
        }
        // Sockets, pipes and devices are no documents.
    }

    fn ignored(&self, path: &Path, folder: bool) -> bool {
        let verdicts = self.ignores.iter().rev().map(|rules| rules.matched(path, folder));
        verdicts.into_iter().find(|verdict| !verdict.is_none()).is_some_and(|verdict| verdict.is_ignore())
    }

    fn refuse(&mut self, source: String, error: &io::Error) {
        self.out.refused.push((source, Refusal::Unreadable(said(error))));
    }
}

fn said(error: &io::Error) -> String {
    error.to_string()
}

/// The bytes of a file that was found, at most `most`.
///
/// # Errors
/// Too large; changed since it was found or while it was read; led outside meanwhile; unreadable.
pub fn read(found: &Found, root: &Path, most: u64) -> Result<Vec<u8>, Refusal> {
    read_while(found, root, most, || ())
}

/// As [`read`]; tests let something happen meanwhile.
fn read_while(found: &Found, root: &Path, most: u64, meanwhile: impl FnOnce()) -> Result<Vec<u8>, Refusal> {
    let unreadable = |error: io::Error| Refusal::Unreadable(said(&error));
    // Between finding and reading somebody may have put a link there.
    let real = fs::canonicalize(&found.path).map_err(unreadable)?;
    if !real.starts_with(root) {
        return Err(Refusal::Outside);
    }
    let file = File::open(&real).map_err(unreadable)?;
    let before = file.metadata().map_err(unreadable)?;
    if !before.is_file() {
        return Err(Refusal::Changed);
    }
    if before.len() > most {
        return Err(Refusal::TooLarge(format!("{} bytes; at most {most} are read", before.len())));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or_default());
    (&file).take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    meanwhile();
    let after = fs::metadata(&real).map_err(|_| Refusal::Changed)?;
    if state(&before) != state(&after) || bytes.len() as u64 != before.len() {
        return Err(Refusal::Changed);
    }
    Ok(bytes)
}

/// Equal when nobody wrote to the file or put another in its place.
fn state(about: &Metadata) -> (u64, u64, u64, i64, i64) {
    (about.dev(), about.ino(), about.len(), about.mtime(), about.mtime_nsec())
}

/// What watching compares: which files there are, how long, written when.
#[must_use]
pub fn fingerprint(finds: &Finds) -> blake3::Hash {
    let mut sum = blake3::Hasher::new();
    for found in &finds.files {
        sum.update(found.source.as_bytes());
        if let Ok(about) = fs::metadata(&found.path) {
            sum.update(format!("\0{:?}\0", state(&about)).as_bytes());
        }
    }
    sum.finalize()
}

#[cfg(test)]
mod tests;
