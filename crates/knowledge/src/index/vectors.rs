//! `vec.i8` and `vec.bits`: each passage's vector as whole numbers with a scale, and its signs. Invariants: a scale is a
//! number, not negative; the signs are those of the numbers (checked at load).

use super::sealed::{Magic, seal, u64_at, unseal};
use crate::{IndexError, error::Damage};
use portcullis_kernels as kernels;

pub(crate) const ROWS: &str = "vec.i8";
pub(crate) const SIGNS: &str = "vec.bits";
const ROWS_MAGIC: Magic = *b"PCVECI8\n";
const SIGNS_MAGIC: Magic = *b"PCVBITS\n";
/// Most passages that are compared one by one; with more, the signs choose whom to compare.
pub(crate) const EXACT: usize = 50_000;

/// A vector as whole numbers; equal vectors become equal rows, also when they were rows before.
pub(crate) fn quantise(vector: &[f32], row: &mut Vec<i8>) -> f32 {
    let most = vector.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    if most > 0.0 && most.is_finite() {
        row.extend(vector.iter().map(|value| (value / most * 127.0).round() as i8));
        most / 127.0
    } else {
        row.extend(std::iter::repeat_n(0, vector.len()));
        0.0
    }
}

fn signs(row: &[i8]) -> impl Iterator<Item = u64> {
    row.chunks(64)
        .map(|part| part.iter().enumerate().fold(0, |bits, (at, value)| bits | u64::from(*value >= 0) << at))
}

/// Both files.
pub(crate) fn write(vectors: &[f32], dimensions: usize) -> (Vec<u8>, Vec<u8>) {
    let mut scales = Vec::with_capacity(vectors.len() / dimensions.max(1) * 4 + vectors.len() + 64);
    let (mut rows, mut bits) = (Vec::with_capacity(vectors.len()), Vec::new());
    for vector in vectors.chunks_exact(dimensions.max(1)) {
        let from = rows.len();
        scales.extend(quantise(vector, &mut rows).to_le_bytes());
        bits.extend(signs(&rows[from..]).flat_map(u64::to_le_bytes));
    }
    scales.extend(rows.iter().map(|value| *value as u8));
    (seal(scales, ROWS_MAGIC), seal(bits, SIGNS_MAGIC))
}

/// The vectors of a generation.
#[derive(Debug)]
pub(crate) struct Vectors {
    dimensions: usize,
    scales: Vec<f32>,
    rows: Vec<i8>,
    signs: Vec<u64>,
}

impl Vectors {
    /// From the bytes of both files.
    pub(crate) fn load(
        rows: Vec<u8>,
        bits: Vec<u8>,
        passages: usize,
        dimensions: usize,
    ) -> Result<Self, IndexError> {
        let content = unseal(rows, ROWS_MAGIC, ROWS)?;
        let bits = unseal(bits, SIGNS_MAGIC, SIGNS)?;
        let numbers = passages.checked_mul(dimensions);
        let wanted = numbers.and_then(|numbers| numbers.checked_add(passages.checked_mul(4)?));
        if wanted != Some(content.len()) || dimensions == 0 {
            return Err(Damage::of(ROWS, "the vectors are not as many as the passages").into());
        }
        let (scales, rows) = content.split_at(passages * 4);
        let scales: Vec<f32> =
            scales.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        if scales.iter().any(|scale| !scale.is_finite() || scale.is_sign_negative()) {
            return Err(Damage::of(ROWS, "a scale is no number").into());
        }
        let rows: Vec<i8> = rows.iter().map(|byte| *byte as i8).collect();
        let stored: Vec<u64> = bits.chunks(8).map(|eight| u64_at(eight, 0).unwrap_or_default()).collect();
        let derived = rows.chunks_exact(dimensions).flat_map(signs);
        if bits.len() % 8 != 0 || !derived.eq(stored.iter().copied()) {
            return Err(Damage::of(SIGNS, "the signs are not those of the vectors").into());
        }
        Ok(Self { dimensions, scales, rows, signs: stored })
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.scales.capacity() * 4 + self.rows.capacity() + self.signs.capacity() * 8
    }

    fn words(&self) -> usize {
        self.dimensions.div_ceil(64)
    }

    fn row(&self, n: usize) -> Option<(&[i8], f32)> {
        let row = self.rows.get(n * self.dimensions..(n + 1) * self.dimensions)?;
        Some((row, *self.scales.get(n)?))
    }

    /// The vector of a passage, as good as it is kept.
    pub(crate) fn vector(&self, n: usize) -> Option<Vec<f32>> {
        let (row, scale) = self.row(n)?;
        Some(row.iter().map(|value| f32::from(*value) * scale).collect())
    }

    /// CRC-32 of a passage's row.
    pub(crate) fn crc(&self, n: usize) -> Option<u32> {
        let (row, _) = self.row(n)?;
        Some(crc32fast::hash(&row.iter().map(|value| *value as u8).collect::<Vec<_>>()))
    }

    /// Calls with passages and their cosines: all of them, or with many the likeliest by sign.
    pub(crate) fn scan(&self, question: &[f32], allowed: impl Fn(u32) -> bool, call: impl FnMut(u32, f32)) {
        self.scan_from(EXACT, question, allowed, call);
    }

    /// As [`Self::scan`], by signs when there are more passages than `exact`.
    pub(crate) fn scan_from(
        &self,
        exact: usize,
        question: &[f32],
        allowed: impl Fn(u32) -> bool,
        mut call: impl FnMut(u32, f32),
    ) {
        if question.len() != self.dimensions {
            return;
        }
        let mut asked = Vec::with_capacity(self.dimensions);
        let scale = quantise(question, &mut asked);
        let mut compare = |n: u32| {
            if let Some((row, by)) = self.row(n as usize) {
                call(n, kernels::dot_i8(&asked, row) as f32 * by * scale);
            }
        };
        let passages = self.scales.len();
        if passages <= exact {
            (0..passages as u32).filter(|n| allowed(*n)).for_each(compare);
            return;
        }
        let wanted = (passages / 50).max(2000);
        let asked: Vec<u64> = signs(&asked).collect();
        let mut far = Vec::with_capacity(passages);
        kernels::hamming(&asked, &self.signs, &mut far);
        // Distances are small numbers: counting them finds the wanted nearest without sorting.
        let mut counts = vec![0_usize; self.words() * 64 + 1];
        for (n, far) in (0..).zip(&far) {
            if allowed(n)
                && let Some(count) = counts.get_mut(*far as usize)
            {
                *count += 1;
            }
        }
        let mut taken = 0;
        let limit = counts.iter().position(|count| {
            taken += count;
            taken >= wanted
        });
        let limit = limit.unwrap_or(counts.len()) as u32;
        (0..).zip(&far).filter(|(n, far)| **far <= limit && allowed(*n)).for_each(|(n, _)| compare(n));
    }
}
