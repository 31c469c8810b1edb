//! Files become a generation, or are refused with the place of the damage. The order of the checks is: manifest, sizes,
//! every sum, structure, canaries. Invariant: nothing read is used as a length or a position before its sum was right.

use super::{
    DOCS, DOCS_MAGIC, Index,
    build::Built,
    manifest::{Canary, FileSum, MANIFEST, MANIFEST_BYTES, Manifest, sum},
    postings::{GRAMS, Postings, WORDS},
    sealed::unseal,
    texts::{CHUNKS, Source, Texts},
    vectors::{ROWS, SIGNS, Vectors},
};
use crate::{Contents, Document, IndexError, Language, Query, error::Damage, text::words::each_word};
use portcullis_store::files;
use std::{collections::BTreeMap, path::Path};

/// Questions that a generation must answer as recorded.
const CANARIES: u32 = 5;
/// Words of a canary's question.
const CANARY_WORDS: usize = 12;

/// Loads a generation; `manifest_sum` is what `CURRENT` says of its manifest, where that is known.
pub(crate) fn load(folder: &Path, manifest_sum: Option<&str>, limit: u64) -> Result<Index, IndexError> {
    let (manifest, _) = manifest(folder, manifest_sum)?;
    let index = assemble(folder, manifest, limit)?;
    for canary in &index.manifest.canaries {
        if ask(&index, canary.asker).as_ref() != Some(canary) {
            return Err(Damage::of(MANIFEST, "a canary was not answered as recorded").into());
        }
    }
    Ok(index)
}

fn manifest(folder: &Path, wanted: Option<&str>) -> Result<(Manifest, Vec<u8>), IndexError> {
    let bytes = files::read_private_upto(&folder.join(MANIFEST), MANIFEST_BYTES)?;
    let bytes = bytes.ok_or_else(|| Damage::of(MANIFEST, "it is not there"))?;
    let manifest = Manifest::read(&bytes)?;
    if wanted.is_some_and(|wanted| sum(&bytes) != wanted) {
        return Err(Damage::of(MANIFEST, "it is not the one that CURRENT names").into());
    }
    Ok((manifest, bytes))
}

/// The names that a generation must have, in order.
fn names(manifest: &Manifest) -> Vec<&'static str> {
    let mut names = vec![DOCS, CHUNKS, WORDS];
    names.extend(manifest.grams.then_some(GRAMS));
    names.extend(manifest.embedder.iter().flat_map(|_| [ROWS, SIGNS]));
    names
}

/// Everything but the canaries.
pub(crate) fn assemble(folder: &Path, manifest: Manifest, limit: u64) -> Result<Index, IndexError> {
    let unlike = |what| IndexError::from(Damage::of(MANIFEST, what));
    if manifest.files.iter().map(|file| file.name.as_str()).ne(names(&manifest)) {
        return Err(unlike("it names other files"));
    }
    let bytes = manifest.files.iter().try_fold(0_u64, |all, file| all.checked_add(file.bytes));
    let bytes = bytes.ok_or_else(|| unlike("it names impossible sizes"))?;
    if bytes > limit {
        return Err(IndexError::TooLarge { bytes, limit });
    }
    for file in &manifest.files {
        let found = files::open_private(&folder.join(&file.name))?;
        let found = found.and_then(|found| found.metadata().ok()).map(|found| found.len());
        match found {
            None => return Err(Damage::of(&file.name, "it is not there").into()),
            // Where it was cut or grown, the sums of its blocks still tell more.
            Some(length) if length != file.bytes => {
                return Err(Damage::of(&file.name, "not as long as it was written").into());
            }
            Some(_) => {}
        }
    }
    let mut read = BTreeMap::new();
    for file in &manifest.files {
        read.insert(file.name.clone(), content(folder, file)?);
    }
    let source = files::open_private(&folder.join(CHUNKS))?.map(Source::File);
    let source = source.ok_or_else(|| Damage::of(CHUNKS, "it is not there"))?;
    together(manifest, read, source)
}

/// A generation that is nowhere on disk, for measuring and tests.
pub(crate) fn in_memory(built: Built) -> Result<Index, IndexError> {
    let read: BTreeMap<_, _> =
        built.files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    let source = Source::Memory(read.get(CHUNKS).cloned().unwrap_or_default());
    together(built.manifest, read, source)
}

/// Of files whose sums are right.
fn together(
    manifest: Manifest,
    mut read: BTreeMap<String, Vec<u8>>,
    source: Source,
) -> Result<Index, IndexError> {
    let bytes = read.values().map(|bytes| bytes.len() as u64).sum();
    let mut take = |name: &str| read.remove(name).unwrap_or_default();
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let (passages, wanted) = (count(manifest.chunks), count(manifest.documents));
    let documents = documents(take(DOCS), wanted)?;
    let texts = Texts::load(take(CHUNKS), source, passages, wanted)?;
    let words = Postings::load(take(WORDS), WORDS, passages)?;
    let grams = if manifest.grams { Some(Postings::load(take(GRAMS), GRAMS, passages)?) } else { None };
    let vectors = match &manifest.embedder {
        Some(space) => Some(Vectors::load(take(ROWS), take(SIGNS), passages, space.dimensions)?),
        None => None,
    };
    let languages = languages(&texts);
    Ok(Index { manifest, documents, texts, words, grams, vectors, languages, bytes })
}

/// A file whose sum is the recorded one.
fn content(folder: &Path, file: &FileSum) -> Result<Vec<u8>, IndexError> {
    let damage = |what| IndexError::from(Damage::of(&file.name, what));
    let bytes = files::read_private_upto(&folder.join(&file.name), file.bytes)
        .map_err(|_| damage("cannot be read"))?
        .ok_or_else(|| damage("it is not there"))?;
    if bytes.len() as u64 == file.bytes && sum(&bytes) == file.blake3 {
        return Ok(bytes);
    }
    // The sums of its blocks say where.
    let magic = bytes.last_chunk().copied().unwrap_or_default();
    unseal(bytes, magic, &file.name)?;
    Err(damage("its sum is not the recorded one"))
}

fn documents(bytes: Vec<u8>, wanted: usize) -> Result<Vec<Document>, IndexError> {
    let damage = |what| IndexError::from(Damage::of(DOCS, what));
    let content = unseal(bytes, DOCS_MAGIC, DOCS)?;
    let rows = serde_json::Deserializer::from_slice(&content).into_iter::<Document>();
    let documents = rows.collect::<Result<Vec<_>, _>>().map_err(|_| damage("a document cannot be read"))?;
    if documents.len() == wanted {
        Ok(documents)
    } else {
        Err(damage("the documents are not as many as recorded"))
    }
}

fn languages(texts: &Texts) -> Vec<Language> {
    let mut counts = BTreeMap::<Language, usize>::new();
    for mark in texts.marks.iter().filter(|mark| mark.language != Language::UNKNOWN) {
        *counts.entry(mark.language).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(language, count)| (std::cmp::Reverse(*count), *language));
    counts.into_iter().map(|(language, _)| language).collect()
}

/// The canaries of a generation, spread over it.
pub(crate) fn canaries(index: &Index) -> Vec<Canary> {
    let count = u32::try_from(index.len()).unwrap_or(u32::MAX);
    let mut askers: Vec<u32> =
        (0..CANARIES).map(|n| (u64::from(count) * u64::from(n) / u64::from(CANARIES)) as u32).collect();
    askers.dedup();
    askers.into_iter().filter(|_| count > 0).filter_map(|asker| ask(index, asker)).collect()
}

/// Asks with a passage's own first words and vector.
fn ask(index: &Index, asker: u32) -> Option<Canary> {
    let chunk = index.chunk(asker).ok()?;
    let mut words = Vec::new();
    each_word(&chunk.text, |word| words.push(word.to_owned()));
    words.truncate(CANARY_WORDS);
    let query = words.join(" ");
    let vector = index.vectors.as_ref().and_then(|vectors| vectors.vector(asker as usize));
    let asked = Query {
        text: &query,
        language: chunk.language,
        meaning: index.space().zip(vector.as_deref()),
        ..Query::default()
    };
    let top_chunk = index.search_for_canary(&asked).hits.first()?.chunk;
    let query_vector_crc =
        index.vectors.as_ref().and_then(|vectors| vectors.crc(asker as usize)).unwrap_or_default();
    Some(Canary { query, asker, query_vector_crc, top_chunk })
}

/// Every damage of a generation, file by file; empty when it is sound.
pub(crate) fn verify(
    folder: &Path,
    manifest_sum: Option<&str>,
    limit: u64,
) -> Result<Vec<Damage>, IndexError> {
    let damage_of = |error| if let IndexError::Damaged(damage) = error { Ok(damage) } else { Err(error) };
    let manifest = match manifest(folder, manifest_sum) {
        Ok((manifest, _)) => manifest,
        Err(error) => return damage_of(error).map(|damage| vec![damage]),
    };
    let mut found = Vec::new();
    for file in &manifest.files {
        if names(&manifest).contains(&file.name.as_str())
            && let Err(error) = content(folder, file)
        {
            found.push(damage_of(error)?);
        }
    }
    if found.is_empty() {
        match load(folder, manifest_sum, limit).and_then(|index| index.texts.all().map(drop)) {
            Ok(()) => {}
            Err(error) => found.push(damage_of(error)?),
        }
    }
    Ok(found)
}

/// What can be saved of a damaged generation: documents and passages when their files are sound, vectors when theirs are.
pub(crate) fn salvage(folder: &Path, limit: u64) -> Result<(Contents, Option<crate::Space>), IndexError> {
    let (manifest, _) = manifest(folder, None)?;
    let read = |name: &str| {
        let file = manifest.files.iter().find(|file| file.name == name);
        content(folder, file.filter(|file| file.bytes <= limit).ok_or(IndexError::Missing)?)
    };
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let (passages, wanted) = (count(manifest.chunks), count(manifest.documents));
    let documents = documents(read(DOCS)?, wanted)?;
    let packed = read(CHUNKS)?;
    let chunks = Texts::load(packed.clone(), Source::Memory(packed), passages, wanted)?.all()?;
    let vectors = manifest.embedder.as_ref().and_then(|space| {
        let vectors = Vectors::load(read(ROWS).ok()?, read(SIGNS).ok()?, passages, space.dimensions).ok()?;
        (0..passages).map(|n| vectors.vector(n)).collect::<Option<Vec<_>>>().map(|rows| rows.concat())
    });
    let space = manifest.embedder.filter(|_| vectors.is_some());
    Ok((Contents { documents, chunks, vectors }, space))
}
