//! Writing a model's file from weights in floats: quantised by rows, packed for the kernels, summed. Used when a
//! model is added, and once for the model in the binary.

use super::{FORMAT, MAGIC, Shape, Stage};
use portcullis_kernels::{Misfit, pack};
use std::io::Write;

/// What cannot be made a model of ours.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The weights are not those of such a model.
    #[error("these are not the weights of this model: {0}")]
    Weights(String),
    /// The file cannot be written.
    #[error("the model cannot be written: {0}")]
    Write(#[from] std::io::Error),
}

impl From<Misfit> for PackError {
    fn from(misfit: Misfit) -> Self {
        Self::Weights(misfit.to_string())
    }
}

/// A product of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linear {
    /// Attention's query.
    Query,
    /// Attention's key.
    Key,
    /// Attention's value.
    Value,
    /// What brings the heads together.
    Output,
    /// To the inner width.
    Up,
    /// And back.
    Down,
}

/// A norm of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// After attention.
    Attention,
    /// At the end.
    Output,
}

/// Of a product or a norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Weights of a product, a row for each output.
    Weights(Linear),
    /// Its biases.
    Biases(Linear),
    /// Gain of a norm.
    Gain(Norm),
    /// Its biases.
    Offset(Norm),
}

/// A list of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tensor {
    /// What is added to a token by its place; the type of the first text is added already.
    Positions,
    /// Gain of the first norm.
    Gain,
    /// Its biases.
    Offset,
    /// Of a layer.
    Layer(usize, Part),
}

/// Where weights are found, by what they are for.
pub type Find<'a, K> = &'a dyn Fn(K) -> Result<Vec<f32>, PackError>;

/// A model in floats.
pub struct Tensors<'a> {
    /// Its sizes.
    pub shape: Shape,
    /// One row of the table of words.
    pub word: Find<'a, usize>,
    /// Everything else.
    pub tensor: Find<'a, Tensor>,
    /// The tokenizer's data.
    pub tokenizer: &'a [u8],
}

struct Summed<W> {
    out: W,
    sum: ring::digest::Context,
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.sum.update(bytes);
        Ok(self.out.write_all(bytes)?)
    }

    fn floats(&mut self, values: &[f32]) -> Result<(), PackError> {
        self.put(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
    }

    fn row(&mut self, values: &[f32]) -> Result<(), PackError> {
        let (scale, numbers) = quantised(values);
        self.put(&scale.to_le_bytes())?;
        self.put(&bytes_of(&numbers))
    }
}

fn bytes_of(numbers: &[i8]) -> Vec<u8> {
    numbers.iter().map(|number| number.cast_unsigned()).collect()
}

/// Numbers as i8 with one scale for all, the largest at 127.
#[must_use]
pub fn quantised(values: &[f32]) -> (f32, Vec<i8>) {
    let most = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let scale = if most > 0.0 { most / 127.0 } else { 1.0 };
    (scale, values.iter().map(|value| (value / scale).round_ties_even() as i8).collect())
}

/// Writes the model and its sum; `progress` hears how many of how many parts are done.
///
/// # Errors
/// [`PackError`].
pub fn write(
    tensors: &Tensors<'_>,
    out: impl Write,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), PackError> {
    let shape = tensors.shape;
    if !shape.is_sound() {
        return Err(PackError::Weights("it has sizes that the kernels do not run".into()));
    }
    let mut out = Summed { out, sum: ring::digest::Context::new(&ring::digest::SHA256) };
    head(&mut out, tensors)?;
    let parts = shape.layers + 2;
    let row = |values: Vec<f32>| expect(values, shape.width);
    for word in 0..shape.vocabulary {
        out.row(&row((tensors.word)(word)?)?)?;
    }
    progress(1, parts);
    let positions = expect((tensors.tensor)(Tensor::Positions)?, shape.positions * shape.width)?;
    for position in positions.chunks_exact(shape.width) {
        out.row(position)?;
    }
    for part in [Tensor::Gain, Tensor::Offset] {
        out.floats(&row((tensors.tensor)(part)?)?)?;
    }
    for layer in 0..shape.layers {
        write_layer(&mut out, tensors, layer)?;
        progress(layer + 2, parts);
    }
    out.put(tensors.tokenizer)?;
    let sum = out.sum.finish();
    out.out.write_all(sum.as_ref())?;
    out.out.flush()?;
    progress(parts, parts);
    Ok(())
}

fn head<W: Write>(out: &mut Summed<W>, tensors: &Tensors<'_>) -> Result<(), PackError> {
    let shape = tensors.shape;
    out.put(&MAGIC)?;
    let sizes = [shape.vocabulary, shape.positions, shape.width, shape.layers, shape.heads, shape.inner];
    let number = |size: usize| u32::try_from(size).map_err(|_| PackError::Weights("it is too large".into()));
    out.put(&FORMAT.to_le_bytes())?;
    for size in sizes {
        out.put(&number(size)?.to_le_bytes())?;
    }
    out.put(&shape.epsilon.to_bits().to_le_bytes())?;
    out.put(&number(tensors.tokenizer.len())?.to_le_bytes())
}

fn write_layer<W: Write>(out: &mut Summed<W>, tensors: &Tensors<'_>, layer: usize) -> Result<(), PackError> {
    let width = tensors.shape.width;
    let part = |part: Part| (tensors.tensor)(Tensor::Layer(layer, part));
    let stages: [(Stage, &[Linear]); 4] = [
        (Stage::Joined, &[Linear::Query, Linear::Key, Linear::Value]),
        (Stage::Output, &[Linear::Output]),
        (Stage::Up, &[Linear::Up]),
        (Stage::Down, &[Linear::Down]),
    ];
    for (stage, linears) in stages {
        let shape = tensors.shape.linear(stage);
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for linear in linears {
            weights.extend(part(Part::Weights(*linear))?);
            biases.extend(part(Part::Biases(*linear))?);
        }
        let weights = expect(weights, shape.inputs * shape.columns)?;
        let (scales, rows): (Vec<f32>, Vec<Vec<i8>>) =
            weights.chunks_exact(shape.inputs).map(quantised).unzip();
        let (packed, sums) = pack(shape, &rows.concat())?;
        out.floats(&scales)?;
        out.floats(&expect(biases, shape.columns)?)?;
        out.put(&sums.iter().flat_map(|sum| sum.to_le_bytes()).collect::<Vec<_>>())?;
        out.put(&bytes_of(&packed))?;
    }
    for norm in [Norm::Attention, Norm::Output] {
        out.floats(&expect(part(Part::Gain(norm))?, width)?)?;
        out.floats(&expect(part(Part::Offset(norm))?, width)?)?;
    }
    Ok(())
}

fn expect(values: Vec<f32>, len: usize) -> Result<Vec<f32>, PackError> {
    if values.len() != len || values.iter().any(|value| !value.is_finite()) {
        return Err(PackError::Weights("a list has another length, or numbers that are none".into()));
    }
    Ok(values)
}
