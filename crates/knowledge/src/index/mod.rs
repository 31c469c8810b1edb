//! A generation of a collection: everything search needs, in memory and checked. Invariants: an [`Index`] exists only
//! when every byte of its files was as written, its tables agree with each other and its canaries answered as recorded;
//! it never changes. Source: ask design section 5.

mod build;
mod load;
pub(crate) mod manifest;
pub(crate) mod postings;
pub(crate) mod sealed;
pub(crate) mod texts;
pub(crate) mod vectors;

pub(crate) use build::{build, check};
pub(crate) use load::{assemble, canaries, in_memory, load, salvage, verify};

use crate::{Chunk, Contents, Document, IndexError, Language, Space};
use manifest::Manifest;
use postings::Postings;
use texts::{Mark, Texts};
use vectors::Vectors;

/// Name of the file of documents.
pub(crate) const DOCS: &str = "docs.jsonl";
const DOCS_MAGIC: sealed::Magic = *b"PCDOCS1\n";

/// A generation, ready to be searched.
#[derive(Debug)]
pub struct Index {
    manifest: Manifest,
    documents: Vec<Document>,
    texts: Texts,
    words: Postings,
    grams: Option<Postings>,
    vectors: Option<Vectors>,
    languages: Vec<Language>,
    bytes: u64,
}

impl Index {
    /// An index of these contents that is nowhere on disk, for measuring.
    ///
    /// # Errors
    /// [`IndexError::Contents`] when they contradict themselves.
    pub fn in_memory(
        contents: &Contents,
        space: Option<&Space>,
        grams: crate::Grams,
    ) -> Result<Self, IndexError> {
        load::in_memory(build(contents, space, grams, 0, 0)?)
    }

    /// Its number.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.manifest.generation
    }

    /// When it was made, in Unix seconds.
    #[must_use]
    pub const fn created_at(&self) -> i64 {
        self.manifest.created_at
    }

    /// Its documents; passages name them by position.
    #[must_use]
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// How many passages it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.marks.len()
    }

    /// Whether it has no passage.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Space of its vectors; none when it is searched by words alone.
    #[must_use]
    pub const fn space(&self) -> Option<&Space> {
        self.manifest.embedder.as_ref()
    }

    /// Languages of its passages, commonest first; unknown ones are not named.
    #[must_use]
    pub fn languages(&self) -> &[Language] {
        &self.languages
    }

    /// Bytes of its files.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes it holds in memory; texts are read when they are shown.
    #[must_use]
    pub fn memory(&self) -> usize {
        let documents =
            self.documents.iter().map(|document| size_of::<Document>() + document.source.len() + 200);
        self.words.bytes()
            + self.grams.as_ref().map_or(0, Postings::bytes)
            + self.vectors.as_ref().map_or(0, Vectors::bytes)
            + self.texts.marks.capacity() * size_of::<Mark>()
            + documents.sum::<usize>()
    }

    /// A passage.
    ///
    /// # Errors
    /// [`IndexError::Damaged`]: the file changed after it was loaded, or there is no such passage.
    pub fn chunk(&self, n: u32) -> Result<Chunk, IndexError> {
        self.texts.chunk(n)
    }

    /// Everything it was made from; vectors as good as they are kept.
    ///
    /// # Errors
    /// [`IndexError::Damaged`]: the file changed after it was loaded.
    pub fn contents(&self) -> Result<Contents, IndexError> {
        let vectors = self.vectors.as_ref().map(|vectors| {
            (0..self.len()).flat_map(|n| vectors.vector(n).unwrap_or_default()).collect::<Vec<f32>>()
        });
        Ok(Contents { documents: self.documents.clone(), chunks: self.texts.all()?, vectors })
    }

    /// The same, with vectors of that space that are kept elsewhere.
    pub(crate) fn with_space(mut self, space: Option<Space>) -> Self {
        self.manifest.embedder = space;
        self
    }

    pub(crate) fn mark(&self, n: u32) -> Option<&Mark> {
        self.texts.marks.get(n as usize)
    }

    pub(crate) const fn words(&self) -> &Postings {
        &self.words
    }

    pub(crate) const fn grams(&self) -> Option<&Postings> {
        self.grams.as_ref()
    }

    pub(crate) const fn vectors(&self) -> Option<&Vectors> {
        self.vectors.as_ref()
    }
}
