//! What the new generation will hold: documents as they were, and documents taken in anew. Invariants: every document
//! stands once, by its key (absolute path or address); a new version replaces the old one whole; chunks come out by
//! document and then by place, with a vector each or none at all.

use crate::{Chunk, Contents, Document, Index, IndexError, Shelf, Space, ingest::report::IngestError};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// A document of the new generation.
pub(super) enum Entry {
    /// As it was: position in the old generation.
    Old(usize),
    /// Taken in.
    Fresh(Box<Fresh>),
}

/// Passages of a document and their vectors.
type Passages = (Vec<Chunk>, Vec<Option<Vec<f32>>>);

/// A document with its passages and their vectors, as far as there are any.
pub(super) struct Fresh {
    document: Document,
    chunks: Vec<Chunk>,
    vectors: Vec<Option<Vec<f32>>>,
}

impl Fresh {
    pub(super) fn new(document: Document, chunks: Vec<Chunk>) -> Self {
        let vectors = vec![None; chunks.len()];
        Self { document, chunks, vectors }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Gathered {
    old: Option<Arc<Index>>,
    /// Old documents by key.
    places: HashMap<String, usize>,
    entries: BTreeMap<String, Entry>,
}

/// What tells one document from another, and stays when it is found from another folder.
fn key(document: &Document) -> String {
    if document.root.starts_with('/') {
        format!("{}/{}", document.root.trim_end_matches('/'), document.source)
    } else {
        document.source.clone()
    }
}

impl Gathered {
    pub(super) fn new(collection: &Shelf) -> Self {
        let old = collection.current();
        let documents = old.as_ref().map(|index| index.documents()).unwrap_or_default();
        let places = documents.iter().enumerate().map(|(at, document)| (key(document), at)).collect();
        Self { old, places, entries: BTreeMap::new() }
    }

    fn document(&self, key: &str) -> Option<&Document> {
        self.old.as_ref()?.documents().get(*self.places.get(key)?)
    }

    /// How many documents there were.
    pub(super) fn known(&self) -> usize {
        self.places.len()
    }

    /// The space of the vectors there were.
    pub(super) fn space(&self) -> Option<&Space> {
        self.old.as_ref()?.space()
    }

    /// The generation that is built upon.
    pub(super) fn old(&self) -> Option<Arc<Index>> {
        self.old.clone()
    }

    /// Whether this run has not met it yet.
    pub(super) fn is_new(&self, key: &str) -> bool {
        !self.entries.contains_key(key)
    }

    pub(super) fn is_known(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    pub(super) fn is_unchanged(&self, key: &str, hash: &str) -> bool {
        self.document(key).is_some_and(|document| document.hash == hash)
    }

    /// Keeps the old version; whether there is one.
    pub(super) fn keep_old(&mut self, key: &str) -> bool {
        let Some(at) = self.places.get(key) else { return false };
        self.entries.entry(key.to_owned()).or_insert(Entry::Old(*at));
        true
    }

    /// Keeps everything old at and below a place that could not be looked into; whether there was anything.
    pub(super) fn keep_below(&mut self, key: &str) -> bool {
        let below =
            |other: &str| other == key || other.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'));
        let old: Vec<String> = self.places.keys().filter(|other| below(other)).cloned().collect();
        for key in &old {
            self.keep_old(key);
        }
        !old.is_empty()
    }

    pub(super) fn put(&mut self, key: String, fresh: Fresh) {
        self.entries.insert(key, Entry::Fresh(Box::new(fresh)));
    }

    pub(super) fn vector(&mut self, key: &str, chunk: usize, vector: Vec<f32>) {
        if let Some(Entry::Fresh(fresh)) = self.entries.get_mut(key)
            && let Some(place) = fresh.vectors.get_mut(chunk)
        {
            *place = Some(vector);
        }
    }

    /// Old documents of the places looked at that this run has not met.
    pub(super) fn gone(&self, covered: impl Fn(&str, &str) -> bool) -> Vec<String> {
        let mut gone: Vec<String> = self
            .old_keys()
            .filter(|(key, root)| self.is_new(key) && covered(key, root))
            .map(|(key, _)| key.to_owned())
            .collect();
        gone.sort_unstable();
        gone
    }

    /// Keeps the old documents of other places.
    pub(super) fn keep_others(&mut self, covered: impl Fn(&str, &str) -> bool) {
        let others: Vec<String> = self
            .old_keys()
            .filter(|(key, root)| !covered(key, root))
            .map(|(key, _)| key.to_owned())
            .collect();
        for key in others {
            self.keep_old(&key);
        }
    }

    fn old_keys(&self) -> impl Iterator<Item = (&str, &str)> {
        let documents = self.old.as_ref().map(|index| index.documents()).unwrap_or_default();
        self.places.iter().filter_map(|(key, at)| Some((key.as_str(), documents.get(*at)?.root.as_str())))
    }

    /// Documents and passages there would be.
    pub(super) fn counts(&self) -> Result<(usize, usize), IndexError> {
        let contents = self.old.as_ref().map(|index| index.contents()).transpose()?.unwrap_or_default();
        let mut of_old = vec![0_usize; contents.documents.len()];
        for chunk in &contents.chunks {
            if let Some(count) = of_old.get_mut(chunk.document as usize) {
                *count += 1;
            }
        }
        let chunks = self.entries.values().map(|entry| match entry {
            Entry::Fresh(fresh) => fresh.chunks.len(),
            Entry::Old(at) => of_old.get(*at).copied().unwrap_or_default(),
        });
        Ok((self.entries.len(), chunks.sum()))
    }

    /// Brings in the passages of the documents that stay, of the old generation's contents and the space of their vectors.
    /// Those without a vector of the new space are returned.
    pub(super) fn load(
        &mut self,
        old: Contents,
        old_space: Option<&Space>,
        space: Option<&Space>,
    ) -> Vec<(String, String, Vec<Chunk>)> {
        let same = space.is_some() && old_space == space;
        let Contents { documents, chunks, vectors } = old;
        let width = space.map_or(0, |space| space.dimensions);
        let mut of_document: Vec<Passages> = documents.iter().map(|_| Passages::default()).collect();
        for (n, chunk) in chunks.into_iter().enumerate() {
            let Some(place) = of_document.get_mut(chunk.document as usize) else { continue };
            let vector =
                vectors.as_ref().filter(|_| same).and_then(|all| all.get(n * width..(n + 1) * width));
            place.1.push(vector.map(<[f32]>::to_vec));
            place.0.push(chunk);
        }
        let mut wanted = Vec::new();
        for (key, entry) in &mut self.entries {
            let Entry::Old(at) = *entry else { continue };
            let (Some(document), Some((chunks, vectors))) = (documents.get(at), of_document.get_mut(at))
            else {
                continue;
            };
            let (chunks, vectors) = (std::mem::take(chunks), std::mem::take(vectors));
            if space.is_some() && vectors.iter().any(Option::is_none) {
                wanted.push((key.clone(), document.title.clone(), chunks.clone()));
            }
            *entry = Entry::Fresh(Box::new(Fresh { document: document.clone(), chunks, vectors }));
        }
        wanted
    }

    /// What the generation is made from. [`Gathered::load`] came before.
    pub(super) fn contents(self, space: Option<&Space>) -> Result<Contents, IngestError> {
        let mut out = Contents { vectors: space.map(|_| Vec::new()), ..Contents::default() };
        for (_, entry) in self.entries {
            let Entry::Fresh(fresh) = entry else { continue };
            let Fresh { document, chunks, vectors } = *fresh;
            let position = u32::try_from(out.documents.len()).unwrap_or(u32::MAX);
            out.documents.push(document);
            for (chunk, vector) in chunks.into_iter().zip(vectors) {
                out.chunks.push(Chunk { document: position, ..chunk });
                if let Some(all) = &mut out.vectors {
                    match vector {
                        Some(vector) => all.extend(vector),
                        None => return Err(IngestError::Broken("a passage has no vector".to_owned())),
                    }
                }
            }
        }
        Ok(out)
    }
}
