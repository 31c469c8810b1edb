//! OpenAI's embeddings. Source: the API reference, "Create embeddings".

use super::usage;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use portcullis_domain::{Encoding, Vectors};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default)]
    model: Option<String>,
    data: Vec<One>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct One {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vector,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    Text(String),
}

impl Vector {
    /// Numbers, or little-endian f32 in base64.
    fn numbers(self) -> Option<Vec<f32>> {
        match self {
            Self::Numbers(numbers) => Some(numbers),
            Self::Text(text) => {
                let bytes = STANDARD.decode(text).ok()?;
                let (numbers, rest) = bytes.as_chunks::<4>();
                rest.is_empty().then(|| numbers.iter().map(|four| f32::from_le_bytes(*four)).collect())
            }
        }
    }
}

/// Writes texts to embed.
#[must_use]
pub fn write_embed(texts: &[impl AsRef<str>], model: &str, dimensions: Option<u32>) -> Bytes {
    let mut out = Map::new();
    out.insert("model".into(), model.into());
    out.insert("input".into(), texts.iter().map(AsRef::as_ref).collect());
    if let Some(dimensions) = dimensions {
        out.insert("dimensions".into(), dimensions.into());
    }
    Value::Object(out).to_string().into()
}

/// Reads vectors, in whichever encoding; none unless they are in the order of their texts.
#[must_use]
pub fn read_vectors(body: &[u8]) -> Option<Vectors> {
    let read: Body<'_> = serde_json::from_slice(body).ok()?;
    let ordered = |(at, one): (usize, One)| match one.index {
        Some(index) if index != at => None,
        Some(_) | None => one.embedding.numbers(),
    };
    let vectors = read.data.into_iter().enumerate().map(ordered).collect::<Option<Vec<_>>>()?;
    Some(Vectors { model: read.model.unwrap_or_default(), vectors, usage: read.usage.and_then(usage) })
}

/// Writes vectors.
#[must_use]
pub fn write_vectors(vectors: &Vectors, encoding: Encoding) -> Bytes {
    let written = |vector: &Vec<f32>| match encoding {
        Encoding::Float => json!(vector),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            STANDARD.encode(bytes).into()
        }
    };
    let data = vectors.vectors.iter().enumerate();
    let data = data
        .map(|(index, vector)| json!({"object": "embedding", "index": index, "embedding": written(vector)}));
    let input = vectors.usage.map_or(0, |usage| usage.input);
    json!({
        "object": "list",
        "data": data.collect::<Value>(),
        "model": vectors.model,
        "usage": {"prompt_tokens": input, "total_tokens": input},
    })
    .to_string()
    .into()
}
