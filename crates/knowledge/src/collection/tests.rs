//! Generations on disk: published, replaced, damaged, healed.

use super::*;
use crate::{Chunk, Contents, Document, Language, Query, Space};
use std::path::PathBuf;

pub(crate) fn space() -> Space {
    Space { id: "test/axes".to_owned(), version: 1, dimensions: 8, languages: vec![Language::EN] }
}

/// Some documents of some passages each; every passage has a word of its own and leans to an axis of its own.
pub(crate) fn contents(documents: u32, each: u32) -> Contents {
    let mut contents = Contents { vectors: Some(Vec::new()), ..Contents::default() };
    for document in 0..documents {
        contents.documents.push(Document {
            id: format!("d_{document:016x}"),
            source: format!("notes/{document}.md"),
            root: "notes".to_owned(),
            title: format!("Notes {document}"),
            url: None,
            category: Some(if document % 2 == 0 { "even" } else { "odd" }.to_owned()),
            language: Language::EN,
            hash: format!("{document:064x}"),
            bytes: 10,
            ingested_at: 5,
        });
        for ordinal in 0..each {
            let n = document * each + ordinal;
            contents.chunks.push(Chunk {
                document,
                ordinal,
                text: format!(
                    "The keeper of gate number{n} watches the river. Word{n} is only here.\nline \"two\" — ё"
                ),
                chars: 0..60,
                pages: (ordinal % 2 == 0).then_some((1, 2)),
                heading: vec!["Gates".to_owned()],
                language: Language::EN,
                flagged: false,
            });
            let mut vector: Vec<f32> = (0..8).map(|axis| ((n * 7 + axis * 3) % 11) as f32 - 5.0).collect();
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|value| *value /= length);
            contents.vectors.as_mut().unwrap().extend(vector);
        }
    }
    contents
}

pub(crate) struct Place {
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

pub(crate) fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("default");
    Place { _folder: folder, path }
}

fn open(place: &Place) -> Collection {
    Collection::open(&place.path, "default", &KnowledgeConfig::default()).unwrap()
}

fn first(index: &Index, text: &str) -> u32 {
    index.search(&Query { text, ..Query::default() }).hits[0].chunk
}

#[test]
fn what_was_published_is_found_here_and_by_the_next_process_and_gives_back_its_contents() {
    let place = place();
    let collection = open(&place);
    assert!(collection.current().is_none() && collection.state() == State::default());
    let contents = contents(5, 4);
    let writer = collection.lock(1).unwrap();
    let index = writer.publish(&contents, Some(&space()), 7).unwrap();
    assert_eq!((index.generation(), index.created_at(), index.len()), (1, 7, 20));
    assert_eq!(first(&index, "word7"), 7);
    let again = open(&place).current().unwrap();
    assert_eq!(first(&again, "word13"), 13);
    let back = again.contents().unwrap();
    assert_eq!((back.documents, &back.chunks), (contents.documents.clone(), &contents.chunks));
    assert_eq!(again.chunk(7).unwrap(), contents.chunks[7]);
    assert!(again.chunk(20).is_err());
    let off =
        back.vectors.unwrap().into_iter().zip(contents.vectors.as_ref().unwrap()).map(|(a, b)| (a - b).abs());
    assert!(off.fold(0.0, f32::max) < 0.01);
}
