//! Reading a model's file from the binary itself, where it stays, or from disk, in one pass that also sums it.

use super::{FORMAT, HEAD, MAGIC, SUM, Shape, Stage};
use crate::builtin::minilm::ModelError;
use portcullis_kernels::{Weights, signed};
use std::{borrow::Cow, fs::File, io::Read, os::unix::fs::FileExt as _, path::Path, sync::Arc};

/// Where a model's bytes come from, read from front to end.
pub(crate) enum Source {
    /// Bytes in the binary, which were summed when it was built (a test compares).
    Static(&'static [u8]),
    /// A file on disk.
    File(Box<FileSource>),
}

pub(crate) struct FileSource {
    file: Arc<File>,
    sum: ring::digest::Context,
    at: u64,
    /// Bytes before the sum at the end.
    end: u64,
}

fn broken(what: &str) -> ModelError {
    ModelError::Load(what.to_owned())
}

impl Source {
    /// A file, whose length is known and whose sum is checked at the end.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let unreadable = |_| broken("the file cannot be read");
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let end = length.checked_sub(SUM as u64).ok_or_else(|| broken("the file is cut short"))?;
        let sum = ring::digest::Context::new(&ring::digest::SHA256);
        Ok(Self::File(Box::new(FileSource { file: Arc::new(file), sum, at: 0, end })))
    }

    /// The next bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<Cow<'static, [u8]>, ModelError> {
        match self {
            Self::Static(bytes) => {
                let (taken, rest) =
                    bytes.split_at_checked(len).ok_or_else(|| broken("the model is cut short"))?;
                *bytes = rest;
                Ok(Cow::Borrowed(taken))
            }
            Self::File(source) => {
                source.room(len)?;
                let mut taken = vec![0; len];
                source.fill(&mut taken)?;
                Ok(Cow::Owned(taken))
            }
        }
    }

    /// Sizes, and the bytes of the tokenizer.
    pub(crate) fn head(&mut self) -> Result<(Shape, usize), ModelError> {
        let head = self.take(HEAD)?;
        let (magic, numbers) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(broken("this is no model of ours"));
        }
        let numbers: Vec<u32> =
            numbers.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect();
        let [format, vocabulary, positions, width, layers, heads, inner, epsilon, tokenizer] = numbers[..]
        else {
            return Err(broken("the model is cut short"));
        };
        if format != FORMAT {
            return Err(broken("the model is in a format of another version; add it again"));
        }
        let size = |number: u32| number as usize;
        let shape = Shape {
            vocabulary: size(vocabulary),
            positions: size(positions),
            width: size(width),
            layers: size(layers),
            heads: size(heads),
            inner: size(inner),
            epsilon: f32::from_bits(epsilon),
        };
        if !shape.is_sound() || tokenizer > 1 << 28 {
            return Err(broken("the model names sizes that cannot be"));
        }
        Ok((shape, size(tokenizer)))
    }

    /// A table of rows that stays where it is.
    pub(crate) fn rows(&mut self, count: usize, row: usize) -> Result<Rows, ModelError> {
        let len = count.checked_mul(row).ok_or_else(|| broken("a table is too large"))?;
        match self {
            Self::Static(_) => Ok(Rows { row, place: Place::Memory(self.take(len)?) }),
            Self::File(source) => {
                source.room(len)?;
                let place = Place::File { file: source.file.clone(), from: source.at };
                let mut block = vec![0; (1 << 20).min(len)];
                let mut left = len;
                while left > 0 {
                    let next = left.min(block.len());
                    source.fill(&mut block[..next])?;
                    left -= next;
                }
                Ok(Rows { row, place })
            }
        }
    }

    /// A table of rows in memory.
    pub(crate) fn kept_rows(&mut self, count: usize, row: usize) -> Result<Rows, ModelError> {
        let len = count.checked_mul(row).ok_or_else(|| broken("a table is too large"))?;
        Ok(Rows { row, place: Place::Memory(self.take(len)?) })
    }

    pub(crate) fn floats(&mut self, count: usize) -> Result<Vec<f32>, ModelError> {
        let bytes = self.take(count * 4)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect())
    }

    fn integers(&mut self, count: usize) -> Result<Vec<i32>, ModelError> {
        let bytes = self.take(count * 4)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|four| i32::from_le_bytes(*four)).collect())
    }

    /// The weights of one linear layer.
    pub(crate) fn weights(&mut self, shape: &Shape, which: Stage) -> Result<Weights<'static>, ModelError> {
        let shape = shape.linear(which);
        let (scales, biases) = (self.floats(shape.columns)?, self.floats(shape.columns)?);
        let sums = self.integers(shape.columns)?;
        let packed = match self.take(shape.inputs * shape.columns)? {
            Cow::Borrowed(bytes) => Cow::Borrowed(signed(bytes)),
            Cow::Owned(bytes) => Cow::Owned(bytes.into_iter().map(u8::cast_signed).collect()),
        };
        Weights::new(shape, packed, scales, biases, sums).map_err(|error| broken(&error.to_string()))
    }

    /// The end: nothing is left but the sum, and it is right.
    pub(crate) fn finish(self) -> Result<(), ModelError> {
        match self {
            Self::Static(rest) if rest.len() == SUM => Ok(()),
            Self::Static(_) => Err(broken("the model is longer than its sizes say")),
            Self::File(source) => {
                let mut written = [0; SUM];
                let read = source.file.read_exact_at(&mut written, source.end);
                let whole =
                    source.at == source.end && read.is_ok() && source.sum.finish().as_ref() == written;
                whole.then_some(()).ok_or_else(|| broken("the file was changed or is damaged; add it again"))
            }
        }
    }
}

impl FileSource {
    fn room(&self, len: usize) -> Result<(), ModelError> {
        let fits = len as u64 <= self.end.saturating_sub(self.at);
        fits.then_some(()).ok_or_else(|| broken("the file is cut short"))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ModelError> {
        (&*self.file).read_exact(bytes).map_err(|_| broken("the file cannot be read"))?;
        self.sum.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Rows of small numbers, each with its scale.
pub(crate) struct Rows {
    row: usize,
    place: Place,
}

enum Place {
    Memory(Cow<'static, [u8]>),
    File { file: Arc<File>, from: u64 },
}

impl Rows {
    /// Writes row `index` to `out`; `buffer` is memory kept from use to use.
    pub(crate) fn get(&self, index: usize, buffer: &mut Vec<u8>, out: &mut [f32]) -> Result<(), ModelError> {
        let gone = || ModelError::Run("a row of the model's table cannot be read".to_owned());
        let at = index.checked_mul(self.row).ok_or_else(gone)?;
        let bytes = match &self.place {
            Place::Memory(bytes) => bytes.get(at..at + self.row).ok_or_else(gone)?,
            Place::File { file, from } => {
                buffer.resize(self.row, 0);
                file.read_exact_at(buffer, from + at as u64).map_err(|_| gone())?;
                buffer
            }
        };
        let (scale, numbers) = bytes.split_first_chunk::<4>().ok_or_else(gone)?;
        let scale = f32::from_le_bytes(*scale);
        for (value, number) in out.iter_mut().zip(signed(numbers)) {
            *value = f32::from(*number) * scale;
        }
        Ok(())
    }
}
