//! The two sides of a matrix product: activations as u8 with a scale and a zero point for each row, weights as i8
//! with a scale for each column, packed in the order in which the instructions read them. Invariant: lengths are
//! checked when a value is made, so that the kernels need no checks inside their loops.

use crate::simd::Isa;
use std::borrow::Cow;

/// Columns that stand together in the packed order.
pub const BLOCK: usize = 16;
/// Numbers of a column that stand together in the packed order.
pub const GROUP: usize = 4;

/// Size of a layer's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Numbers that go in: a multiple of [`GROUP`].
    pub inputs: usize,
    /// Numbers that come out: a multiple of [`BLOCK`].
    pub columns: usize,
}

impl Shape {
    /// Weights of this size, or why there are none.
    fn weights(self) -> Result<usize, Misfit> {
        let whole = self.inputs.is_multiple_of(GROUP)
            && self.columns.is_multiple_of(BLOCK)
            && self.inputs > 0
            && self.columns > 0;
        let size = whole.then(|| self.inputs.checked_mul(self.columns)).flatten();
        size.ok_or(Misfit("a layer's size is no multiple of its blocks"))
    }
}

/// Numbers that do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misfit(&'static str);

impl Misfit {
    pub(crate) const HEADS: Self = Self("the heads do not divide the width into multiples of sixteen");
}

/// The weights of a linear layer: `[columns / 16][inputs / 4][16][4]`, and of each column its scale, its bias and the
/// sum of its weights.
#[derive(Clone, Debug)]
pub struct Weights<'a> {
    shape: Shape,
    packed: Cow<'a, [i8]>,
    scales: Vec<f32>,
    biases: Vec<f32>,
    sums: Vec<i32>,
}

impl<'a> Weights<'a> {
    /// From packed weights ([`pack`]) and, of each column, scale, bias and sum of weights.
    ///
    /// # Errors
    /// [`Misfit`] when lengths and shape disagree.
    pub fn new(
        shape: Shape,
        packed: Cow<'a, [i8]>,
        scales: Vec<f32>,
        biases: Vec<f32>,
        sums: Vec<i32>,
    ) -> Result<Self, Misfit> {
        let size = shape.weights()?;
        let columns = [scales.len(), biases.len(), sums.len()];
        if packed.len() != size || columns.iter().any(|len| *len != shape.columns) {
            return Err(Misfit("a layer's lists have other lengths than its size says"));
        }
        Ok(Self { shape, packed, scales, biases, sums })
    }

    /// Size.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = &[i8]> {
        self.packed.chunks_exact(self.shape.inputs * BLOCK)
    }

    /// The packed weights, a multiple of [`BLOCK`] times [`GROUP`].
    pub(crate) fn packed(&self) -> &[i8] {
        &self.packed
    }

    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub(crate) fn biases(&self) -> &[f32] {
        &self.biases
    }

    pub(crate) fn sums(&self) -> &[i32] {
        &self.sums
    }

    /// The layer's outputs for every row of `activations`, one row after the other; `out` is resized.
    ///
    /// # Errors
    /// [`Misfit`] when the rows are not as long as the layer's inputs.
    pub fn apply(&self, isa: Isa, activations: &Activations, out: &mut Vec<f32>) -> Result<(), Misfit> {
        if activations.width != self.shape.inputs {
            return Err(Misfit("the rows are not as long as the layer's inputs"));
        }
        out.resize(activations.len() * self.shape.columns, 0.0);
        isa.product(activations, self, out);
        Ok(())
    }
}

/// Packs weights given as rows, one for each output, into the order of [`Weights`], and sums each row.
///
/// # Errors
/// [`Misfit`] when lengths and shape disagree.
pub fn pack(shape: Shape, rows: &[i8]) -> Result<(Vec<i8>, Vec<i32>), Misfit> {
    if rows.len() != shape.weights()? {
        return Err(Misfit("there are more or fewer weights than the size says"));
    }
    let mut packed = Vec::with_capacity(rows.len());
    for block in rows.chunks_exact(shape.inputs * BLOCK) {
        for group in 0..shape.inputs / GROUP {
            for row in block.chunks_exact(shape.inputs) {
                packed.extend_from_slice(&row[group * GROUP..(group + 1) * GROUP]);
            }
        }
    }
    let sums = rows.chunks_exact(shape.inputs).map(|row| row.iter().map(|w| i32::from(*w)).sum()).collect();
    Ok((packed, sums))
}

/// Rows of small unsigned numbers: `value = (number - zero) * scale`. Memory is kept from use to use.
#[derive(Clone, Debug, Default)]
pub struct Activations {
    pub(crate) width: usize,
    pub(crate) values: Vec<u8>,
    pub(crate) scales: Vec<f32>,
    /// 0 to 255.
    pub(crate) zeros: Vec<i32>,
}

impl Activations {
    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scales.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scales.is_empty()
    }

    /// From numbers already small, with scale and zero point (0 to 255) of each row.
    ///
    /// # Errors
    /// [`Misfit`] when the lengths disagree.
    pub fn new(width: usize, values: Vec<u8>, scales: Vec<f32>, zeros: Vec<u8>) -> Result<Self, Misfit> {
        let fine = scales.len() == zeros.len() && scales.len().checked_mul(width) == Some(values.len());
        let zeros = zeros.into_iter().map(i32::from).collect();
        fine.then_some(Self { width, values, scales, zeros })
            .ok_or(Misfit("the rows have other lengths than said"))
    }
}
