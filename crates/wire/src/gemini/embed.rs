//! Google's embeddings. Source: the API reference, "models.batchEmbedContents" and "models.embedContent".

use super::look::usage;
use bytes::Bytes;
use portcullis_domain::Vectors;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(default)]
    embeddings: Option<Vec<One>>,
    #[serde(default)]
    embedding: Option<One>,
    #[serde(borrow, default)]
    usage_metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct One {
    values: Vec<f32>,
}

/// Writes texts to embed, for `batchEmbedContents`.
#[must_use]
pub fn write_embed(texts: &[impl AsRef<str>], model: &str, dimensions: Option<u32>) -> Bytes {
    let request = |text: &str| {
        let mut out = Map::new();
        out.insert("model".into(), format!("models/{model}").into());
        out.insert("content".into(), json!({"parts": [{"text": text}]}));
        if let Some(dimensions) = dimensions {
            out.insert("outputDimensionality".into(), dimensions.into());
        }
        Value::from(out)
    };
    let requests: Value = texts.iter().map(|text| request(text.as_ref())).collect();
    json!({"requests": requests}).to_string().into()
}

/// Reads vectors, of `batchEmbedContents` or `embedContent`.
#[must_use]
pub fn read_vectors(body: &[u8]) -> Option<Vectors> {
    let read: Body<'_> = serde_json::from_slice(body).ok()?;
    let all = read.embeddings.or_else(|| read.embedding.map(|one| vec![one]))?;
    let vectors = all.into_iter().map(|one| one.values).collect();
    Some(Vectors { model: String::new(), vectors, usage: read.usage_metadata.and_then(usage) })
}

#[derive(Serialize)]
struct Values<'a> {
    values: &'a [f32],
}

#[derive(Serialize)]
struct Many<'a> {
    embeddings: Vec<Values<'a>>,
}

#[derive(Serialize)]
struct Single<'a> {
    embedding: Values<'a>,
}

/// Writes vectors, as `batchEmbedContents` answers.
#[must_use]
pub fn write_vectors(vectors: &Vectors) -> Bytes {
    let embeddings = vectors.vectors.iter().map(|values| Values { values }).collect();
    serde_json::to_vec(&Many { embeddings }).unwrap_or_default().into()
}

/// Writes the first vector alone, as `embedContent` answers.
#[must_use]
pub fn write_vector(vectors: &Vectors) -> Bytes {
    let values = vectors.vectors.first().map(Vec::as_slice).unwrap_or_default();
    serde_json::to_vec(&Single { embedding: Values { values } }).unwrap_or_default().into()
}
