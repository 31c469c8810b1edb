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

/// A caller's own requests, of `batchEmbedContents` or `embedContent`, for another model: what they are for (`taskType`,
/// `title`) stays. None when they are no such requests.
#[must_use]
pub fn redirect_embed(body: &[u8], model: &str) -> Option<Bytes> {
    let Value::Object(mut whole) = serde_json::from_slice(body).ok()? else { return None };
    let all = match whole.remove("requests") {
        Some(Value::Array(all)) => all,
        Some(_) => return None,
        None => vec![whole.into()],
    };
    let requests: Option<Vec<Value>> = all
        .into_iter()
        .map(|request| {
            let Value::Object(mut request) = request else { return None };
            request.insert("model".into(), format!("models/{model}").into());
            Some(request.into())
        })
        .collect();
    Some(json!({"requests": requests?}).to_string().into())
}

/// What a caller's own requests say that no other format has words for.
#[must_use]
pub fn unheld_of_embed(body: &[u8]) -> Vec<String> {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let all = value["requests"].as_array().map_or(std::slice::from_ref(&value), Vec::as_slice);
    let said = |name: &str, other: &str| all.iter().any(|one| !one[name].is_null() || !one[other].is_null());
    [("taskType", "task_type"), ("title", "title")]
        .into_iter()
        .filter(|(name, other)| said(name, other))
        .map(|(name, _)| format!("requests.{name}"))
        .collect()
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

/// Writes vectors, as `batchEmbedContents` answers.
#[must_use]
pub fn write_vectors(vectors: &Vectors) -> Bytes {
    let embeddings = vectors.vectors.iter().map(|values| Values { values }).collect();
    serde_json::to_vec(&Many { embeddings }).unwrap_or_default().into()
}
