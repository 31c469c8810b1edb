//! Reading the files of a trail line by line, one line ahead. Memory is bounded by the longest line; a line that is
//! longer than any we write is no record.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::digest;
use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Longest line that is read whole, in bytes; what we write stays below.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// SHA-256 of a line without its line feed, base64url.
pub(super) fn hash(line: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, line).as_ref())
}

/// The files of a trail, oldest first: their names hold the number of their first record.
pub(super) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
        .collect();
    all.sort();
    Ok(all)
}

/// The number of the first record, as the name of its file says it.
pub(super) fn first_seq(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.rsplit('-').next()?.parse().ok()
}

/// One line.
pub(super) struct Row {
    /// File name, without folder.
    pub(super) file: Arc<str>,
    /// Line in the file, from 1.
    pub(super) line: usize,
    /// The line without its line feed.
    pub(super) bytes: Vec<u8>,
    /// Whether it had a line feed.
    pub(super) ended: bool,
    /// Number of the first record of its file, by the file's name.
    pub(super) named: Option<u64>,
}

/// The file that is read from.
struct Open {
    reader: BufReader<File>,
    name: Arc<str>,
    line: usize,
    named: Option<u64>,
}

/// The lines of all files, in order.
pub(super) struct Trail {
    files: VecDeque<PathBuf>,
    open: Option<Open>,
    ahead: Option<Row>,
    /// Files begun.
    pub(super) begun: usize,
    /// Bytes read, and all there were at the beginning.
    pub(super) read: u64,
    pub(super) total: u64,
}

impl Trail {
    /// The lines of the trail in `folder`; files that hold only records older than `from` are passed over.
    pub(super) fn open(folder: &Path, from: Option<jiff::Timestamp>) -> io::Result<Self> {
        let mut files: VecDeque<PathBuf> = files(folder)?.into();
        if let Some(from) = from {
            while files.len() > 1 && begins(&files[1])?.is_some_and(|at| at <= from) {
                files.pop_front();
            }
        }
        let total = files.iter().filter_map(|path| fs::metadata(path).ok()).map(|meta| meta.len()).sum();
        let mut trail = Self { files, open: None, ahead: None, begun: 0, read: 0, total };
        trail.ahead = trail.read_one()?;
        Ok(trail)
    }

    /// The line that comes next.
    pub(super) const fn peek(&self) -> Option<&Row> {
        self.ahead.as_ref()
    }

    /// Whether no file comes behind the one that was read from last.
    pub(super) fn in_newest(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Row>> {
        let next = self.read_one()?;
        Ok(std::mem::replace(&mut self.ahead, next))
    }

    fn read_one(&mut self) -> io::Result<Option<Row>> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(path) = self.files.pop_front() else { return Ok(None) };
                let name = path.file_name().unwrap_or_default().to_string_lossy().into();
                let reader = BufReader::new(File::open(&path)?);
                self.open = Some(Open { reader, name, line: 0, named: first_seq(&path) });
                self.begun += 1;
                continue;
            };
            let mut bytes = Vec::new();
            let count = (&mut open.reader).take(MAX_LINE).read_until(b'\n', &mut bytes)?;
            if count == 0 {
                self.open = None;
                continue;
            }
            self.read += count as u64;
            open.line += 1;
            let ended = bytes.last() == Some(&b'\n');
            bytes.truncate(bytes.len() - usize::from(ended));
            return Ok(Some(Row {
                file: open.name.clone(),
                line: open.line,
                bytes,
                ended,
                named: open.named,
            }));
        }
    }
}

/// When the first record of a file was made.
fn begins(path: &Path) -> io::Result<Option<jiff::Timestamp>> {
    let mut line = Vec::new();
    BufReader::new(File::open(path)?).take(MAX_LINE).read_until(b'\n', &mut line)?;
    let value: Option<serde_json::Value> = serde_json::from_slice(&line).ok();
    Ok(value.and_then(|value| value["at"].as_str()?.parse().ok()))
}
