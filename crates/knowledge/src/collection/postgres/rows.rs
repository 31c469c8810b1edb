//! Contents as rows of Postgres and back, and the sums that lie beside them. Pure. Invariant: what was written reads back
//! to the last bit, and another text or vector has another sum.

use crate::{Chunk, Contents, Damage, Document, IndexError, Language, Space};
use portcullis_store::{PassageDocument, PassageGeneration, PassageRow};
use serde::{Deserialize, Serialize};

/// A passage as its row keeps it, beside its position and that of its document.
#[derive(Serialize, Deserialize)]
struct Body {
    ordinal: u32,
    text: String,
    chars: (u32, u32),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pages: Option<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heading: Vec<String>,
    #[serde(default)]
    language: Language,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    flagged: bool,
}

pub(super) fn space_of(row: &PassageGeneration) -> Result<Option<Space>, IndexError> {
    let read = row.space.as_deref().map(serde_json::from_str).transpose();
    read.map_err(|_| Damage::of("knowledge_generations", "the space of the vectors cannot be read").into())
}

/// The sums of a document, as its passages are added in order.
#[derive(Default)]
pub(super) struct Sums {
    text: blake3::Hasher,
    vectors: blake3::Hasher,
}

pub(super) fn sums(count: usize) -> Vec<Sums> {
    std::iter::repeat_with(Sums::default).take(count).collect()
}

impl Sums {
    pub(super) fn add(&mut self, body: &str, vector: Option<&[f32]>) {
        // With its length, so that no two lists of passages have one sum.
        self.text.update(&(body.len() as u64).to_le_bytes()).update(body.as_bytes());
        for number in vector.unwrap_or_default() {
            self.vectors.update(&number.to_le_bytes());
        }
    }

    pub(super) fn text(&self, document: &str) -> String {
        self.text.clone().update(document.as_bytes()).finalize().to_hex().to_string()
    }

    pub(super) fn vectors(&self) -> String {
        self.vectors.finalize().to_hex().to_string()
    }
}

/// Contents as rows; their vectors stand beside them.
pub(super) fn written(
    contents: &Contents,
    vectors: Option<(usize, &[f32])>,
) -> Result<(Vec<PassageDocument>, Vec<PassageRow>), IndexError> {
    let many = |_| IndexError::Contents("more passages than an index takes");
    let no_text = |_| IndexError::Contents("a passage or document is no text");
    let mut sums = sums(contents.documents.len());
    let mut vectors = vectors.map(|(long, all)| all.chunks_exact(long));
    let mut passages = Vec::with_capacity(contents.chunks.len());
    for (n, chunk) in contents.chunks.iter().enumerate() {
        let body = Body {
            ordinal: chunk.ordinal,
            text: chunk.text.clone(),
            chars: (chunk.chars.start, chunk.chars.end),
            pages: chunk.pages,
            heading: chunk.heading.clone(),
            language: chunk.language,
            flagged: chunk.flagged,
        };
        // Postgres keeps no zero byte in a text; as JSON writes it, it is none.
        let body = serde_json::to_string(&body).map_err(no_text)?;
        let vector = vectors.as_mut().and_then(Iterator::next).map(<[f32]>::to_vec);
        if let Some(sum) = sums.get_mut(chunk.document as usize) {
            sum.add(&body, vector.as_deref());
        }
        let document = i32::try_from(chunk.document).map_err(many)?;
        passages.push(PassageRow { n: i32::try_from(n).map_err(many)?, document, body, vector });
    }
    let mut documents = Vec::with_capacity(contents.documents.len());
    for (n, (document, sum)) in contents.documents.iter().zip(&sums).enumerate() {
        let body = serde_json::to_string(document).map_err(no_text)?;
        let (hash, vectors_hash) = (sum.text(&body), sum.vectors());
        documents.push(PassageDocument { n: i32::try_from(n).map_err(many)?, body, hash, vectors_hash });
    }
    Ok((documents, passages))
}

/// Rows as contents; none where they are not what we write.
pub(super) fn contents(documents: &[PassageDocument], passages: &[PassageRow]) -> Option<Contents> {
    let documents: Vec<Document> =
        documents.iter().map(|row| serde_json::from_str(&row.body).ok()).collect::<Option<_>>()?;
    let chunk = |row: &PassageRow| {
        let body: Body = serde_json::from_str(&row.body).ok()?;
        Some(Chunk {
            document: u32::try_from(row.document).ok()?,
            ordinal: body.ordinal,
            text: body.text,
            chars: body.chars.0..body.chars.1,
            pages: body.pages,
            heading: body.heading,
            language: body.language,
            flagged: body.flagged,
        })
    };
    let chunks: Vec<Chunk> = passages.iter().map(chunk).collect::<Option<_>>()?;
    let with_vectors = !passages.is_empty() && passages.iter().all(|row| row.vector.is_some());
    let vectors =
        with_vectors.then(|| passages.iter().flat_map(|row| row.vector.iter().flatten()).copied().collect());
    Some(Contents { documents, chunks, vectors })
}
