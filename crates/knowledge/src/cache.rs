//! Vectors that were paid for once: by space and sum of the text, beside the collection, so that an interrupted or
//! repeated ingestion embeds only what is new. Invariants: a record with a wrong sum is not there; the files have at most
//! the configured bytes, in two halves of which the older goes whole.

use crate::{IndexError, Space, index::vectors::quantise};
use ahash::AHashMap;
use portcullis_store::files::{self, Appender, FileError};
use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// Of a record before its numbers: key, sum, scale.
const HEAD: usize = 40;
const KEY: usize = 32;

/// The vectors of one space. One writer, as of the collection.
#[derive(Debug)]
pub struct VectorCache {
    path: PathBuf,
    half: u64,
    dimensions: usize,
    new: Appender,
    old: Option<File>,
    /// Where the record of a key is: whether in the new half, and at which byte.
    places: AHashMap<[u8; 16], (bool, u64)>,
}

impl VectorCache {
    /// Opens the vectors of that space beside a collection.
    pub(crate) fn open(folder: &Path, space: &Space, limit: u64) -> Result<Self, IndexError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(space.id.as_bytes()).update(&space.version.to_le_bytes());
        hasher.update(&(space.dimensions as u64).to_le_bytes());
        let name = hasher.finalize().to_hex();
        let path = folder.join(format!("vectors-{}.cache", &name[..16]));
        let old = files::open_private(&old(&path))?;
        let mut new = files::append(&path)?;
        let mut places = AHashMap::new();
        let at = |error| FileError::Io { path: path.clone(), error };
        if let Some(old) = &old {
            read(old, space.dimensions, |key, place| {
                places.insert(key, (false, place));
            })
            .map_err(at)?;
        }
        let whole = read(new.file(), space.dimensions, |key, place| {
            places.insert(key, (true, place));
        });
        // Half a record, where a process died while it wrote.
        let whole = whole.map_err(at)?;
        if whole < new.bytes() {
            new.cut(whole).map_err(at)?;
        }
        Ok(Self { path, half: limit / 2, dimensions: space.dimensions, new, old, places })
    }

    /// How many vectors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The vector of a text, as good as an index keeps it.
    #[must_use]
    pub fn get(&self, text: &str) -> Option<Vec<f32>> {
        let key = blake3::hash(text.as_bytes());
        let (is_new, place) = *self.places.get(key.as_bytes().first_chunk()?)?;
        let file = if is_new { self.new.file() } else { self.old.as_ref()? };
        let mut record = vec![0; HEAD + self.dimensions];
        file.read_exact_at(&mut record, place).ok()?;
        let (head, row) = record.split_at(HEAD);
        if !is_whole(&record) || head[..KEY] != *key.as_bytes() {
            return None;
        }
        let scale = f32::from_le_bytes(*head[KEY + 4..].first_chunk()?);
        Some(row.iter().map(|byte| f32::from(*byte as i8) * scale).collect())
    }

    /// Keeps the vector of a text; one of another length is passed over.
    ///
    /// # Errors
    /// The file system; the vectors kept before are still there.
    pub fn put(&mut self, text: &str, vector: &[f32]) -> Result<(), IndexError> {
        if vector.len() != self.dimensions {
            return Ok(());
        }
        let key = blake3::hash(text.as_bytes());
        let mut row = Vec::with_capacity(vector.len());
        let scale = quantise(vector, &mut row);
        let mut record = Vec::with_capacity(HEAD + row.len());
        record.extend(key.as_bytes());
        record.extend([0; 4]);
        record.extend(scale.to_le_bytes());
        record.extend(row.iter().map(|value| *value as u8));
        let sum = sum(&record);
        record[KEY..KEY + 4].copy_from_slice(&sum.to_le_bytes());
        if self.new.bytes() + record.len() as u64 > self.half && self.new.bytes() > 0 {
            self.turn()?;
        }
        let place = self.new.bytes();
        self.new.push(&record).map_err(|error| FileError::Io { path: self.path.clone(), error })?;
        if let Some(key) = key.as_bytes().first_chunk() {
            self.places.insert(*key, (true, place));
        }
        Ok(())
    }

    /// Makes what was kept survive a power cut.
    ///
    /// # Errors
    /// The file system.
    pub fn sync(&self) -> Result<(), IndexError> {
        let synced = self.new.sync().map_err(|error| FileError::Io { path: self.path.clone(), error });
        Ok(synced?)
    }

    /// The new half becomes the old one.
    fn turn(&mut self) -> Result<(), IndexError> {
        files::rename(&self.path, &old(&self.path))?;
        self.old = files::open_private(&old(&self.path))?;
        self.new = files::append(&self.path)?;
        self.places.retain(|_, (is_new, _)| std::mem::replace(is_new, false));
        Ok(())
    }
}

fn old(path: &Path) -> PathBuf {
    path.with_extension("old")
}

fn sum(record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record[..KEY]);
    hasher.update(&record[KEY + 4..]);
    hasher.finalize()
}

fn is_whole(record: &[u8]) -> bool {
    record[KEY..KEY + 4] == sum(record).to_le_bytes()
}

/// Calls with the key and place of every record that is whole; says where the last one ends.
fn read(file: &File, dimensions: usize, mut call: impl FnMut([u8; 16], u64)) -> io::Result<u64> {
    let mut reader = io::BufReader::with_capacity(1 << 20, file);
    let (mut record, mut place) = (vec![0; HEAD + dimensions], 0);
    loop {
        match reader.read_exact(&mut record) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(place),
            other => other?,
        }
        if let Some(key) = record.first_chunk().filter(|_| is_whole(&record)) {
            call(*key, place);
        }
        place += record.len() as u64;
    }
}
