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

fn published(contents: &Contents) -> (Place, Collection) {
    let place = place();
    let collection = open(&place);
    collection.lock(1).unwrap().publish(contents, Some(&space()), 7).unwrap();
    (place, collection)
}

/// A small generator of its own: the same trials every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

const LIMIT: u64 = 1 << 30;

// req: S2-2.6
#[test]
fn ten_thousand_flips_cuts_and_zeroed_blocks_in_any_file_are_all_found() {
    let (place, _) = published(&contents(6, 5));
    let folder = place.path.join("gen-1");
    let names = portcullis_store::files::entries(&folder).unwrap();
    assert_eq!(names.len(), 7, "{names:?}");
    let sound: Vec<Vec<u8>> = names.iter().map(|name| std::fs::read(folder.join(name)).unwrap()).collect();
    let mut dice = Dice(0x5eed_1234_abcd_0001);
    for trial in 0..10_000 {
        let which = dice.roll(names.len());
        let mut bytes = sound[which].clone();
        let at = dice.roll(bytes.len());
        match dice.roll(4) {
            0 => bytes.truncate(at),
            1 => {
                let end = (at + 1 + dice.roll(512)).min(bytes.len());
                if bytes[at..end].iter().all(|byte| *byte == 0) {
                    continue;
                }
                bytes[at..end].fill(0);
            }
            _ => bytes[at] ^= 1 << dice.roll(8),
        }
        std::fs::write(folder.join(&names[which]), &bytes).unwrap();
        let found = index::load(&folder, None, LIMIT);
        assert!(matches!(found, Err(IndexError::Damaged(_))), "trial {trial}: {} at {at}", names[which]);
        std::fs::write(folder.join(&names[which]), &sound[which]).unwrap();
    }
    index::load(&folder, None, LIMIT).unwrap();
}

// req: S2-2.6
#[test]
fn every_flip_in_current_and_every_other_manifest_is_found() {
    let (place, _) = published(&contents(2, 2));
    let path = place.path.join("CURRENT");
    let sound = std::fs::read(&path).unwrap();
    for at in 0..sound.len() {
        for bit in 0..8 {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << bit;
            std::fs::write(&path, &bytes).unwrap();
            let told = generations(&place.path, LIMIT).unwrap();
            assert!(
                told.iter().any(|found| found.current && !found.damaged.is_empty()),
                "byte {at}, bit {bit}"
            );
        }
    }
}

// req: S2-2.6
#[test]
fn files_with_right_sums_and_wrong_content_are_refused_or_answer_without_a_panic() {
    let (place, _) = published(&contents(4, 3));
    let folder = place.path.join("gen-1");
    let names = ["docs.jsonl", "chunks.zst", "words.post", "grams.post", "vec.i8", "vec.bits"];
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let mut dice = Dice(0x0dd_ba11_0000_0007);
    for _ in 0..3_000 {
        let name = names[dice.roll(names.len())];
        let sound = std::fs::read(folder.join(name)).unwrap();
        let magic = *sound.last_chunk::<8>().unwrap();
        let mut content = index::sealed::unseal(sound.clone(), magic, name).unwrap();
        for _ in 0..=dice.roll(3) {
            let at = dice.roll(content.len());
            match dice.roll(3) {
                0 => content[at] = dice.roll(256) as u8,
                1 => content[at..].iter_mut().take(8).for_each(|byte| *byte = 0xff),
                _ => content.truncate(at.max(1)),
            }
        }
        let bytes = index::sealed::seal(content, magic);
        let mut named = index::manifest::Manifest::read(&manifest).unwrap();
        for file in named.files.iter_mut().filter(|file| file.name == name) {
            file.bytes = bytes.len() as u64;
            file.blake3 = index::manifest::sum(&bytes);
        }
        std::fs::write(folder.join(name), &bytes).unwrap();
        std::fs::write(folder.join("manifest.json"), named.to_bytes()).unwrap();
        if let Ok(index) = index::load(&folder, None, LIMIT) {
            let axes = space();
            let vector = [0.5; 8];
            let query =
                Query { text: "keeper of word3", meaning: Some((&axes, &vector)), ..Query::default() };
            assert!(index.search(&query).hits.iter().all(|hit| (hit.chunk as usize) < index.len()));
        }
        std::fs::write(folder.join(name), &sound).unwrap();
    }
}

// req: S2-2.6
#[test]
fn publishing_that_ends_before_any_step_leaves_the_old_generation_whole_and_after_the_rename_the_new_one() {
    let (old, new) = (contents(2, 2), contents(3, 3));
    let mut steps = Vec::new();
    {
        let (_place, collection) = published(&old);
        let mut note = |step| {
            steps.push(step);
            false
        };
        collection.lock(2).unwrap().publish_until(&new, Some(&space()), 8, &mut note).unwrap();
    }
    assert_eq!(steps.len(), 14, "{steps:?}");
    for last in &steps {
        let (place, collection) = published(&old);
        let stopped =
            collection.lock(2).unwrap().publish_until(&new, Some(&space()), 8, &mut |step| step == *last);
        assert!(matches!(stopped, Err(IndexError::Stopped(_))));
        let after = open(&place);
        let index = after.current().unwrap();
        let is_new = matches!(*last, "swap" | "prune");
        assert_eq!((index.len(), after.state().trouble), (if is_new { 9 } else { 4 }, None), "{last}");
        // The next writer sweeps up and publishes.
        let writer = after.lock(3).unwrap();
        assert!(
            !portcullis_store::files::entries(&place.path)
                .unwrap()
                .iter()
                .any(|name| name.starts_with("staging"))
        );
        assert_eq!(writer.publish(&new, Some(&space()), 9).unwrap().len(), 9);
        assert_eq!(open(&place).current().unwrap().len(), 9);
    }
}

// req: S2-2.6
#[test]
fn a_damaged_generation_goes_to_quarantine_the_one_before_answers_and_a_rebuild_heals_without_the_documents()
{
    let (place, collection) = published(&contents(2, 2));
    collection.lock(2).unwrap().publish(&contents(3, 3), Some(&space()), 8).unwrap();
    let path = place.path.join("gen-2/words.post");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[10] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let told = generations(&place.path, LIMIT).unwrap();
    assert_eq!((told[1].damaged[0].file.as_str(), told[1].damaged[0].block), ("words.post", Some(0)));

    // Here it was already loaded: a scrub finds it; elsewhere loading does.
    assert_eq!(collection.scrub().unwrap().len(), 1);
    for collection in [&collection, &open(&place)] {
        let state = collection.state();
        assert_eq!((state.generation, state.wanted, state.is_behind()), (Some(1), Some(2), true));
        assert!(state.quarantined[0].starts_with("gen-2-"));
    }
    assert!(!collection.refresh().unwrap(), "nothing new to load");

    let writer = collection.lock(4).unwrap();
    let (saved, its_space) = writer.salvage().unwrap();
    assert_eq!((saved.chunks.len(), its_space), (9, Some(space())));
    let healed = writer.publish(&saved, Some(&space()), 10).unwrap();
    assert_eq!((healed.generation(), healed.len(), collection.state().is_behind()), (3, 9, false));
    writer.prune().unwrap();
    assert!(collection.state().quarantined.is_empty());
}

#[test]
fn readers_keep_their_generation_while_another_process_publishes_and_old_ones_go() {
    let (place, collection) = published(&contents(2, 2));
    let other = open(&place);
    let before = collection.current().unwrap();
    for round in 0..4 {
        other.lock(2).unwrap().publish(&contents(3, 3 + round), Some(&space()), 8).unwrap();
        // The first generation's folder is gone by now; who holds it still reads its passages.
        assert_eq!(before.chunk(3).unwrap().ordinal, 1);
        assert_eq!(first(&before, "word2"), 2);
    }
    assert!(collection.refresh().unwrap());
    assert_eq!(collection.current().unwrap().generation(), 5);
    let kept: Vec<u64> =
        generations(&place.path, LIMIT).unwrap().iter().map(|found| found.generation).collect();
    assert_eq!(kept, [4, 5]);
    assert_eq!(other.lock(3).unwrap().rollback(None).unwrap(), 4);
    collection.refresh().unwrap();
    assert_eq!(collection.current().unwrap().generation(), 4);
    let words = Contents { vectors: None, ..contents(1, 1) };
    assert_eq!(other.lock(3).unwrap().publish(&words, None, 9).unwrap().generation(), 6);
}

#[test]
fn one_writes_at_a_time_and_the_second_is_told_who() {
    let (place, collection) = published(&contents(1, 1));
    let writer = collection.lock(77).unwrap();
    let Err(Held::By(owner)) = open(&place).lock(78) else { panic!("two writers") };
    assert_eq!((owner.pid, owner.since), (std::process::id(), 77));
    drop(writer);
    open(&place).lock(79).unwrap();
}

#[test]
fn another_version_and_an_index_too_large_are_refused_by_name_and_stay_where_they_are() {
    let (place, _) = published(&contents(2, 2));
    let path = place.path.join("gen-1/manifest.json");
    let mut manifest = index::manifest::Manifest::read(&std::fs::read(&path).unwrap()).unwrap();
    manifest.format += 1;
    std::fs::write(&path, manifest.to_bytes()).unwrap();
    let state = open(&place).state();
    assert!(state.generation.is_none() && state.trouble.unwrap().contains("format 2"));
    assert!(path.is_file());
    manifest.format -= 1;
    std::fs::write(&path, manifest.to_bytes()).unwrap();
    let config = KnowledgeConfig { max_index_bytes: 100, ..KnowledgeConfig::default() };
    let state = Collection::open(&place.path, "default", &config).unwrap().state();
    assert!(state.trouble.unwrap().contains("allows 100"));
    assert!(open(&place).current().is_some());
}

#[test]
fn vectors_that_were_made_once_are_kept_within_their_bytes_and_half_a_record_is_forgotten() {
    let place = place();
    let config = KnowledgeConfig { vector_cache_bytes: 40 * 48, ..KnowledgeConfig::default() };
    let collection = Collection::open(&place.path, "default", &config).unwrap();
    let writer = collection.lock(1).unwrap();
    let vector = |n: usize| (0..8).map(|axis| ((n + axis) % 5) as f32 / 10.0).collect::<Vec<f32>>();
    let mut cache = writer.vectors(&space()).unwrap();
    for n in 0..30 {
        cache.put(&format!("text {n}"), &vector(n)).unwrap();
    }
    cache.sync().unwrap();
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.01);
    assert!(
        near(&cache.get("text 29").unwrap(), &vector(29))
            && near(&cache.get("text 12").unwrap(), &vector(12))
    );
    assert!(cache.get("text 30").is_none());
    for n in 30..60 {
        cache.put(&format!("text {n}"), &vector(n)).unwrap();
    }
    assert!(cache.get("text 12").is_none() && cache.get("text 45").is_some());
    drop(cache);
    let names = portcullis_store::files::entries(&place.path).unwrap();
    let name = names.iter().find(|name| name.ends_with(".cache")).unwrap();
    let bytes = std::fs::read(place.path.join(name)).unwrap();
    std::fs::write(place.path.join(name), &bytes[..bytes.len() - 5]).unwrap();
    let mut cache = writer.vectors(&space()).unwrap();
    assert!(cache.get("text 59").is_none() && cache.get("text 58").is_some());
    cache.put("text 59", &vector(59)).unwrap();
    assert!(near(&cache.get("text 59").unwrap(), &vector(59)));
    let other = Space { version: 2, ..space() };
    assert!(writer.vectors(&other).unwrap().is_empty());
}
