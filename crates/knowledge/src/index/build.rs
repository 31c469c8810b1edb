//! Contents become the files of a generation. Invariant: what contradicts itself is refused here, so that loading may
//! refuse it as damage.

use super::{
    DOCS, DOCS_MAGIC,
    manifest::{FileSum, Manifest, sum},
    postings::{Builder, GRAMS, WORDS},
    sealed::{FORMAT, seal},
    texts::{self, CHUNKS},
    vectors::{self, ROWS, SIGNS},
};
use crate::{
    Contents, Grams, IndexError, Language, Space,
    text::{grams, words::Stems},
};
use ahash::AHashMap;

/// Passages up to which pieces of words are indexed by themselves.
const GRAMS_UPTO: usize = 200_000;
/// A piece of a word in more than this share of the passages tells nothing, where there are enough passages to know.
const COMMON: f32 = 0.3;
const ENOUGH: usize = 32;

/// The files of a generation by name, and its manifest without canaries.
pub(crate) struct Built {
    pub(crate) files: Vec<(&'static str, Vec<u8>)>,
    pub(crate) manifest: Manifest,
}

/// Makes the files.
pub(crate) fn build(
    contents: &Contents,
    space: Option<&Space>,
    grams: Grams,
    generation: u64,
    created_at: i64,
) -> Result<Built, IndexError> {
    check(contents, space)?;
    let mut docs = Vec::new();
    for document in &contents.documents {
        serde_json::to_writer(&mut docs, document)
            .map_err(|_| IndexError::Contents("a document is no text"))?;
        docs.push(b'\n');
    }
    let mut files = vec![(DOCS, seal(docs, DOCS_MAGIC)), (CHUNKS, texts::write(&contents.chunks)?)];
    let with_grams = wants_grams(contents, space, grams);
    let (words, pieces) = lists(contents, with_grams)?;
    files.push((WORDS, words));
    files.extend(pieces.map(|pieces| (GRAMS, pieces)));
    let space = contents.vectors.as_ref().and(space);
    if let (Some(space), Some(numbers)) = (space, &contents.vectors) {
        let (rows, signs) = vectors::write(numbers, space.dimensions);
        files.extend([(ROWS, rows), (SIGNS, signs)]);
    }
    let sums = files.iter().map(|(name, bytes)| FileSum {
        name: (*name).to_owned(),
        bytes: bytes.len() as u64,
        blake3: sum(bytes),
    });
    let manifest = Manifest {
        format: FORMAT,
        generation,
        created_at,
        embedder: space.cloned(),
        documents: contents.documents.len() as u64,
        chunks: contents.chunks.len() as u64,
        grams: with_grams,
        files: sums.collect(),
        canaries: Vec::new(),
    };
    Ok(Built { files, manifest })
}

pub(crate) fn check(contents: &Contents, space: Option<&Space>) -> Result<(), IndexError> {
    let chunks = &contents.chunks;
    if u32::try_from(chunks.len()).is_err() || u32::try_from(contents.documents.len()).is_err() {
        return Err(IndexError::Contents("more passages than an index takes"));
    }
    let mut places = chunks.iter().map(|chunk| (chunk.document, chunk.ordinal));
    if !places.clone().is_sorted_by(|a, b| a < b)
        || places.any(|(document, _)| document as usize >= contents.documents.len())
    {
        return Err(IndexError::Contents("passages are not in the order of their documents"));
    }
    match (&contents.vectors, space) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(IndexError::Contents("vectors without a space")),
        (Some(vectors), Some(space)) => {
            let wanted = chunks.len().checked_mul(space.dimensions);
            let known = (1..=4096).contains(&space.dimensions);
            if known && wanted == Some(vectors.len()) && vectors.iter().all(|value| value.is_finite()) {
                Ok(())
            } else {
                Err(IndexError::Contents("vectors are not as many or as long as the space says"))
            }
        }
    }
}

/// Whether pieces of words are indexed.
fn wants_grams(contents: &Contents, space: Option<&Space>, grams: Grams) -> bool {
    match grams {
        Grams::Always => true,
        Grams::Never => false,
        Grams::Auto => {
            let understood = |language| space.is_some_and(|space| space.understands(language));
            contents.chunks.len() <= GRAMS_UPTO
                || contents.chunks.iter().any(|chunk| !understood(chunk.language))
        }
    }
}

/// Both files of lists.
fn lists(contents: &Contents, with_grams: bool) -> Result<(Vec<u8>, Option<Vec<u8>>), IndexError> {
    let mut stems: AHashMap<Language, Stems> = AHashMap::new();
    let (mut words, mut pieces) = (Builder::default(), Builder::default());
    for chunk in &contents.chunks {
        let title = contents.documents.get(chunk.document as usize).map_or("", |document| &document.title);
        let text = chunk.indexed(title);
        let stems = stems.entry(chunk.language).or_insert_with(|| Stems::of(chunk.language));
        let terms = stems.terms(&text);
        words.push(&mut terms.iter().map(String::as_str).collect())?;
        if with_grams {
            pieces.push(&mut grams::of(&grams::line(&text)))?;
        }
    }
    let passages = contents.chunks.len();
    let most = if passages < ENOUGH { u32::MAX } else { (passages as f32 * COMMON) as u32 };
    let pieces = if with_grams { Some(pieces.write(GRAMS, most)?) } else { None };
    Ok((words.write(WORDS, u32::MAX)?, pieces))
}
