//! The file in which a model is kept: sizes, tables and layers in the order in which they are used, weights packed as
//! the kernels read them, the tokenizer's data, and a SHA-256 of all that. Invariants: reading unpacks nothing that
//! is large (of a file only the layers are brought into memory, the words' rows stay where they are); no number read
//! from a file is used as a length before it was checked; a file that was changed is refused.
//!
//! `magic, format, sizes | words | positions | norm | layers | tokenizer | SHA-256`, little-endian; a row of a table
//! is its scale and its numbers as i8.

mod read;
mod write;

pub(crate) use read::{Rows, Source};
pub use write::{Find, Linear, Norm, PackError, Part, Tensor, Tensors, quantised, write};

/// How such a file begins.
pub(crate) const MAGIC: [u8; 8] = *b"PCLMODEL";
/// Of the layout below; another one is refused by name.
pub(crate) const FORMAT: u32 = 1;
/// Bytes before the first table.
pub(crate) const HEAD: usize = 8 + 9 * 4;
/// Bytes of the sum at the end.
pub(crate) const SUM: usize = 32;

/// Sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Tokens it knows.
    pub vocabulary: usize,
    /// Tokens it reads at once.
    pub positions: usize,
    /// Numbers of a token, and of a vector.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Numbers inside a layer's second half.
    pub inner: usize,
    /// What keeps a norm from dividing by zero.
    pub epsilon: f32,
}

impl Shape {
    /// Whether the kernels can run a model of these sizes, and no size is absurd.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        (1..=4_000_000).contains(&self.vocabulary)
            && (8..=8192).contains(&self.positions)
            && (16..=4096).contains(&self.width)
            && (1..=96).contains(&self.layers)
            && (1..=256).contains(&self.heads)
            && (16..=65_536).contains(&self.inner)
            && self.inner.is_multiple_of(16)
            && self.width.is_multiple_of(self.heads * 16)
            && self.epsilon > 0.0
            && self.epsilon < 0.1
    }

    /// Bytes of a row of a table.
    pub(crate) fn row(&self) -> usize {
        4 + self.width
    }

    /// Inputs and columns of a linear layer.
    pub(crate) fn linear(&self, which: Stage) -> portcullis_kernels::Shape {
        let (inputs, columns) = match which {
            Stage::Joined => (self.width, 3 * self.width),
            Stage::Output => (self.width, self.width),
            Stage::Up => (self.width, self.inner),
            Stage::Down => (self.inner, self.width),
        };
        portcullis_kernels::Shape { inputs, columns }
    }
}

/// The products of a layer as they are kept: query, key and value are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Joined,
    Output,
    Up,
    Down,
}
