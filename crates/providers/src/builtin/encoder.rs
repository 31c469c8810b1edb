//! The transformer behind the builtin embeddings (BERT's encoder: all-MiniLM-L6-v2, multilingual-e5-small) on our own
//! kernels: weights in int8 by output, activations in u8 by token, sums exact. Invariant: a text is its own run
//! without padding, and every processor gives the same bits, so that the same text always gives the same vector.

use super::{
    minilm::{ModelError, unit},
    pack::{Rows, Shape, Source, Stage},
};
use portcullis_kernels::{Activations, Attention, Heads, Isa, Misfit, Weights, attend};
use std::borrow::Cow;

struct Norm {
    gain: Vec<f32>,
    offset: Vec<f32>,
}

impl Norm {
    fn read(source: &mut Source, width: usize) -> Result<Self, ModelError> {
        Ok(Self { gain: source.floats(width)?, offset: source.floats(width)? })
    }
}

struct Layer {
    joined: Weights<'static>,
    output: Weights<'static>,
    attention: Norm,
    up: Weights<'static>,
    down: Weights<'static>,
    end: Norm,
}

/// Memory of a run, kept from run to run: about 40 kB for each token of the longest text.
#[derive(Default)]
pub(crate) struct Memory {
    values: Vec<f32>,
    small: Activations,
    joined: Vec<f32>,
    context: Vec<f32>,
    out: Vec<f32>,
    inner: Vec<f32>,
    row: Vec<u8>,
    attention: Attention,
}

/// A model that turns token ids into a vector.
pub(crate) struct Encoder {
    shape: Shape,
    words: Rows,
    positions: Rows,
    norm: Norm,
    layers: Vec<Layer>,
    isa: Isa,
}

impl From<Misfit> for ModelError {
    fn from(misfit: Misfit) -> Self {
        Self::Run(misfit.to_string())
    }
}

impl Encoder {
    /// From its file, and what the file holds for the tokenizer.
    pub(crate) fn read(mut source: Source) -> Result<(Self, Cow<'static, [u8]>), ModelError> {
        let (shape, tokenizer) = source.head()?;
        let words = source.rows(shape.vocabulary, shape.row())?;
        let positions = source.kept_rows(shape.positions, shape.row())?;
        let norm = Norm::read(&mut source, shape.width)?;
        let layers = (0..shape.layers).map(|_| Layer::read(&mut source, &shape)).collect::<Result<_, _>>()?;
        let tokenizer = source.take(tokenizer)?;
        source.finish()?;
        Ok((Self { shape, words, positions, norm, layers, isa: Isa::best() }, tokenizer))
    }

    /// Sizes.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// By other instructions; for tests.
    #[cfg(test)]
    pub(crate) fn on(mut self, isa: Isa) -> Self {
        self.isa = isa;
        self
    }

    /// Mean over the tokens, unit length. At most as many ids as the model has positions.
    pub(crate) fn vector(&self, ids: &[u32], memory: &mut Memory) -> Result<Vec<f32>, ModelError> {
        let width = self.shape.width;
        let length = ids.len() * width;
        memory.values.resize(length, 0.0);
        memory.out.resize(length, 0.0);
        let lines = memory.values.chunks_exact_mut(width).zip(memory.out.chunks_exact_mut(width));
        for ((place, id), (line, position)) in ids.iter().enumerate().zip(lines) {
            self.words.get(*id as usize, &mut memory.row, line)?;
            self.positions.get(place, &mut memory.row, position)?;
        }
        self.settle(&self.norm, memory);
        for layer in &self.layers {
            self.run(layer, memory)?;
        }
        let mut sum = vec![0.0_f32; width];
        for token in memory.values.chunks_exact(width) {
            for (total, value) in sum.iter_mut().zip(token) {
                *total += value;
            }
        }
        unit(&mut sum);
        Ok(sum)
    }

    fn run(&self, layer: &Layer, memory: &mut Memory) -> Result<(), ModelError> {
        let (isa, width) = (self.isa, self.shape.width);
        isa.quantise(&memory.values, width, &mut memory.small);
        layer.joined.apply(isa, &memory.small, &mut memory.joined)?;
        let heads = Heads { width, count: self.shape.heads };
        attend(isa, &memory.joined, heads, &mut memory.attention, &mut memory.context)?;
        isa.quantise(&memory.context, width, &mut memory.small);
        layer.output.apply(isa, &memory.small, &mut memory.out)?;
        self.settle(&layer.attention, memory);
        isa.quantise(&memory.values, width, &mut memory.small);
        layer.up.apply(isa, &memory.small, &mut memory.inner)?;
        isa.gelu(&mut memory.inner);
        isa.quantise(&memory.inner, self.shape.inner, &mut memory.small);
        layer.down.apply(isa, &memory.small, &mut memory.out)?;
        self.settle(&layer.end, memory);
        Ok(())
    }

    /// Adds what a part of the model found to what went in, and brings it to measure.
    fn settle(&self, norm: &Norm, memory: &mut Memory) {
        self.isa.add_norm(&mut memory.values, &memory.out, &norm.gain, &norm.offset, self.shape.epsilon);
    }
}

impl Layer {
    fn read(source: &mut Source, shape: &Shape) -> Result<Self, ModelError> {
        let joined = source.weights(shape, Stage::Joined)?;
        let output = source.weights(shape, Stage::Output)?;
        let up = source.weights(shape, Stage::Up)?;
        let down = source.weights(shape, Stage::Down)?;
        let (attention, end) = (Norm::read(source, shape.width)?, Norm::read(source, shape.width)?);
        Ok(Self { joined, output, attention, up, down, end })
    }
}
