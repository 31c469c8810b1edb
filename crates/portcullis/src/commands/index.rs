//! `portcullis index …`: the indexes of collections on this machine, and how good search is. Invariant: `verify` and
//! `list` change nothing; who changes something holds the collection's lock.

use super::{Ended, block_on, evaluate, settings};
use crate::{
    cli::{self, IndexEval, IndexVerify, WhichCollection},
    output::{BAD, DIM, GOOD, Progress, Trouble, WARN, line},
};
use parking_lot::Mutex;
use portcullis_runtime::{
    ingestion,
    knowledge::{
        Chunk, Contents, Document, Grams, Index, IndexError, Language, Library, Purpose, Query, Shelf,
        ShelfWriter, Space,
        collection::{Generation, Held},
        eval::{self, Judgements},
        ingest::again::{self, Means},
        text::{of_question, of_text},
    },
    read_secrets,
    settings::Sources,
};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    process::ExitCode,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Something is damaged.
const DAMAGED: u8 = 4;

pub(super) fn run(sources: &Sources, command: &cli::Index, as_json: bool) -> Ended {
    block_on(async {
        match command {
            cli::Index::Eval(wanted) => measure(sources, wanted, as_json).await,
            cli::Index::Verify(wanted) => verify(sources, wanted, as_json).await,
            cli::Index::List(which) => list(sources, which, as_json).await,
            cli::Index::Rollback { which, to } => {
                let generation = writer(sources, which).await?.rollback(*to).await.map_err(trouble)?;
                told(as_json, json!({"generation": generation}), &format!("generation {generation} answers"))
            }
            cli::Index::Rebuild(which) => {
                let (generation, passages) = rebuild(sources, which).await?;
                let said = format!("generation {generation} answers, made anew of {passages} passages");
                told(as_json, json!({"generation": generation, "passages": passages}), &said)
            }
            cli::Index::Prune(which) => {
                let removed = writer(sources, which).await?.prune().await.map_err(trouble)?;
                told(as_json, json!({"removed": removed}), &format!("{removed} generations removed"))
            }
        }
    })
}

fn told(as_json: bool, object: serde_json::Value, words: &str) -> Ended {
    if as_json {
        line(object)
    } else {
        line(words)
    }
    Ok(ExitCode::SUCCESS)
}

/// The collections, and the embedder that their settings name.
async fn library(sources: &Sources) -> Result<(Library, String), Trouble> {
    let settings = settings(sources)?.settings;
    let secrets = read_secrets(&settings, &sources.environment).await;
    let library = ingestion::library(&settings, &secrets).await;
    let library = library
        .map_err(|error| Trouble::failed(error.to_string()).mend("`portcullis check` names what is wrong"))?;
    Ok((library, settings.knowledge.embedder))
}

fn unknown(which: &WhichCollection) -> Trouble {
    Trouble::failed(format!("there is no collection {}", which.collection))
        .mend("make it with `portcullis ingest`, or name another with --collection")
}

async fn shelf(library: &Library, which: &WhichCollection) -> Result<Shelf, Trouble> {
    let found = library.collection(&which.collection, false).await.map_err(trouble)?;
    found.ok_or_else(|| unknown(which))
}

async fn writer(sources: &Sources, which: &WhichCollection) -> Result<ShelfWriter, Trouble> {
    let (library, _) = library(sources).await?;
    lock(&shelf(&library, which).await?).await
}

async fn lock(shelf: &Shelf) -> Result<ShelfWriter, Trouble> {
    shelf.lock(jiff::Timestamp::now().as_second()).await.map_err(|held| match held {
        Held::By(_) | Held::Elsewhere => {
            Trouble::failed(held.to_string()).safe("nothing was changed").mend("wait for it, or end it")
        }
        Held::Trouble(error) => trouble(error),
    })
}

/// A new generation of the passages that are sound, with vectors of the embedder in the settings where it can be asked:
/// those that are kept, and new ones for the rest.
async fn rebuild(sources: &Sources, which: &WhichCollection) -> Result<(u64, usize), Trouble> {
    let (library, name) = library(sources).await?;
    let writer = lock(&shelf(&library, which).await?).await?;
    let (mut contents, mut space) = writer.salvage().await.map_err(trouble)?;
    if let Some(embedder) = evaluate::embedder(sources, &name).await?
        && space.as_ref() != Some(&embedder.space)
    {
        let progress = Mutex::new(Progress::new("passages"));
        let means = Means {
            embedder: &embedder,
            at_once: 1,
            cancel: &CancellationToken::new(),
            told: &|done, of| progress.lock().tell(done, of),
        };
        again::embed(&mut contents, &writer, means).await.map_err(|error| {
            Trouble::failed(error.to_string())
                .safe("the index that answers now goes on answering; vectors made so far are kept")
                .mend("portcullis check")
        })?;
        space = Some(embedder.space.clone());
    }
    let now = jiff::Timestamp::now().as_second();
    let index = writer.publish(contents, space.as_ref(), now).await.map_err(trouble)?;
    Ok((index.generation(), index.len()))
}

/// What is embedded of a passage.
fn indexed(contents: &Contents, n: usize) -> String {
    let chunk = &contents.chunks[n];
    let title = contents.documents.get(chunk.document as usize).map_or("", |document| &document.title);
    chunk.indexed(title)
}

fn trouble(error: IndexError) -> Trouble {
    let mend = match &error {
        IndexError::Damaged(_) => "portcullis index rebuild",
        IndexError::Missing => "portcullis index list; or ingest the documents again",
        IndexError::TooLarge { .. } => "raise knowledge.max_index_bytes",
        IndexError::Store(_) => "look at the database",
        IndexError::Overtaken => "do it again",
        IndexError::Format { .. }
        | IndexError::File(_)
        | IndexError::Contents(_)
        | IndexError::Stopped(_) => "",
    };
    Trouble::failed(error.to_string()).safe("the index that answers now goes on answering").mend(mend)
}

async fn generations(library: &Library, which: &WhichCollection) -> Result<Vec<Generation>, Trouble> {
    let found = library.generations(&which.collection).await.map_err(trouble)?;
    found.ok_or_else(|| unknown(which))
}

async fn list(sources: &Sources, which: &WhichCollection, as_json: bool) -> Ended {
    let (library, _) = library(sources).await?;
    let all = generations(&library, which).await?;
    if as_json {
        line(json!({"collection": which.collection, "generations": all}));
        return Ok(ExitCode::SUCCESS);
    }
    for found in &all {
        line(one(found));
    }
    if all.is_empty() {
        line("no generation yet");
    }
    Ok(ExitCode::SUCCESS)
}

fn one(found: &Generation) -> String {
    let mut out = match found.generation {
        0 => "CURRENT".to_owned(),
        number => format!("generation {number}{}", if found.current { ", current" } else { "" }),
    };
    let _fits = match (&found.unread, found.damaged.is_empty()) {
        (Some(why), _) => write!(out, ": {WARN}not looked at{WARN:#} ({why})"),
        (None, true) => write!(out, ": {GOOD}sound{GOOD:#}"),
        (None, false) => write!(out, ": {BAD}damaged{BAD:#}"),
    };
    for damage in &found.damaged {
        let _fits = write!(out, "\n  {damage}");
    }
    out
}

async fn verify(sources: &Sources, wanted: &IndexVerify, as_json: bool) -> Ended {
    let (library, embedder) = library(sources).await?;
    let all = generations(&library, &wanted.which).await?;
    let sound = all.iter().all(|found| found.damaged.is_empty() && found.unread.is_none());
    let deep = match wanted.deep && sound {
        true => Some(deep(sources, &shelf(&library, &wanted.which).await?, &embedder).await?),
        false => None,
    };
    let alike = deep.is_none_or(|(least, _)| least >= ALIKE);
    let damaged = all.iter().any(|found| !found.damaged.is_empty()) || !alike;
    let code = if damaged { DAMAGED } else { u8::from(!sound) };
    if as_json {
        let deep = deep.map(|(least, passages)| json!({"least_cosine": least, "passages": passages}));
        line(json!({
            "collection": wanted.which.collection, "sound": sound && alike, "generations": all, "deep": deep,
        }));
        return Ok(ExitCode::from(code));
    }
    for found in &all {
        line(one(found));
    }
    if let Some((least, passages)) = deep {
        let style = if alike { GOOD } else { BAD };
        line(format_args!("{style}{passages} passages embedded again{style:#}: cosine {least:.4} or more"));
    }
    if damaged {
        line(format_args!("{DIM}mend:{DIM:#} portcullis index rebuild"));
    }
    Ok(ExitCode::from(code))
}

/// Least likeness of a passage embedded again.
const ALIKE: f32 = 0.99;
/// Passages embedded again.
const DEEP: usize = 100;

/// Embeds passages again, spread over the index; the least likeness, and of how many.
async fn deep(sources: &Sources, shelf: &Shelf, name: &str) -> Result<(f32, usize), Trouble> {
    let embedder = evaluate::embedder(sources, name).await?;
    let made_by =
        |index: &Index| embedder.as_ref().is_some_and(|embedder| index.space() == Some(&embedder.space));
    let index = shelf.current().filter(|index| made_by(index));
    let Some((index, embedder)) = index.zip(embedder.as_ref()) else {
        return Err(Trouble::failed(format!("the index has no vectors of {name}"))
            .safe("every byte of it is sound")
            .mend("verify it without --deep"));
    };
    let mut contents = shelf.contents(&index).await.map_err(trouble)?;
    let vectors = contents.vectors.take().unwrap_or_default();
    let step = contents.chunks.len().div_ceil(DEEP).max(1);
    let picked: Vec<usize> = (0..contents.chunks.len()).step_by(step).collect();
    let texts: Vec<String> = picked.iter().map(|n| indexed(&contents, *n)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut progress = Progress::new("passages");
    let again = evaluate::vectors(embedder, &texts, Purpose::Passage, &mut progress).await?;
    let width = embedder.space.dimensions;
    let cosine = |(n, again): (&usize, &Vec<f32>)| {
        let kept = &vectors[n * width..(n + 1) * width];
        let length = kept.iter().map(|value| value * value).sum::<f32>().sqrt();
        kept.iter().zip(again).map(|(a, b)| a * b).sum::<f32>() / length.max(f32::MIN_POSITIVE)
    };
    Ok((picked.iter().zip(&again).map(cosine).fold(1.0, f32::min), picked.len()))
}

#[derive(Deserialize)]
struct Row {
    _id: String,
    #[serde(default)]
    title: String,
    text: String,
}

/// Length of each list when whole documents are ranked: a hundred documents must come out of it.
const DEPTH: usize = 400;
/// Documents in a ranking.
const RANKED: usize = 100;

async fn measure(sources: &Sources, wanted: &IndexEval, as_json: bool) -> Ended {
    let started = Instant::now();
    let corpus: Vec<Row> = evaluate::rows(&wanted.corpus)?;
    let questions: Vec<Row> = evaluate::rows(&wanted.queries)?;
    let judged = judgements(&wanted.qrels)?;
    let run = ranking(sources, &corpus, &questions, &wanted.embedder).await?;
    if let Some(path) = &wanted.run {
        fs::write(path, trec(&run))
            .map_err(|error| Trouble::usage(format!("{}: {error}", path.display())))?;
    }
    let measured = eval::measure(&run, &judged);
    let seconds = started.elapsed().as_secs_f64();
    let eval::Measures { ndcg_10, recall_10, recall_100, mrr_10, questions } = measured;
    if as_json {
        line(json!({
            "ndcg@10": ndcg_10, "recall@10": recall_10, "recall@100": recall_100, "mrr@10": mrr_10,
            "queries": questions, "seconds": seconds,
        }));
    } else {
        line(format_args!(
            "nDCG@10 {ndcg_10:.4}  recall@10 {recall_10:.4}  recall@100 {recall_100:.4}  MRR@10 {mrr_10:.4}  \
             ({questions} questions, {} documents, {seconds:.1} s)",
            corpus.len()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn judgements(path: &Path) -> Result<BTreeMap<String, Judgements>, Trouble> {
    let unreadable = |said: String| Trouble::usage(format!("{}: {said}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let mut out = BTreeMap::<String, Judgements>::new();
    for (row, number) in text.lines().zip(1..) {
        let mut cells = row.split('\t');
        let (Some(question), Some(document), Some(score)) = (cells.next(), cells.next(), cells.next()) else {
            if row.trim().is_empty() {
                continue;
            }
            return Err(unreadable(format!(
                "line {number}: query-id, corpus-id and score, with tabs between"
            )));
        };
        match score.trim().parse() {
            Ok(score) => {
                out.entry(question.to_owned()).or_default().insert(document.to_owned(), score);
            }
            Err(_) if number == 1 => {}
            Err(_) => return Err(unreadable(format!("line {number}: {score} is no score"))),
        }
    }
    Ok(out)
}

/// The best documents of each question.
async fn ranking(
    sources: &Sources,
    corpus: &[Row],
    questions: &[Row],
    embedder: &str,
) -> Result<BTreeMap<String, Vec<String>>, Trouble> {
    let mut contents = contents(corpus);
    let embedder = evaluate::embedder(sources, embedder).await?;
    // Where it understands no question, no vector would be compared.
    let languages = spoken(&contents);
    let understands = |space: &Space| {
        questions.iter().any(|question| space.understands(of_question(&question.text, &languages)))
    };
    let embedder = embedder.filter(|embedder| understands(&embedder.space));
    let mut asked: Vec<Option<Vec<f32>>> = vec![None; questions.len()];
    if let Some(embedder) = &embedder {
        let texts: Vec<String> = contents
            .chunks
            .iter()
            .map(|chunk| chunk.indexed(&corpus[chunk.document as usize].title))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut progress = Progress::new("passages");
        contents.vectors =
            Some(evaluate::vectors(embedder, &texts, Purpose::Passage, &mut progress).await?.concat());
        let texts: Vec<&str> = questions.iter().map(|question| question.text.as_str()).collect();
        let mut progress = Progress::new("questions");
        let vectors = evaluate::vectors(embedder, &texts, Purpose::Question, &mut progress).await?;
        asked = vectors.into_iter().map(Some).collect();
    }
    let space = embedder.as_ref().map(|embedder| &embedder.space);
    let index = Index::in_memory(&contents, space, Grams::Auto).map_err(trouble)?;
    drop(contents);
    let mut run = BTreeMap::new();
    for (question, vector) in questions.iter().zip(&asked) {
        let query = Query {
            text: &question.text,
            meaning: space.zip(vector.as_deref()),
            k: usize::MAX,
            per_document: 0,
            join: false,
            depth: DEPTH,
            ..Query::default()
        };
        let mut seen = BTreeSet::new();
        let hits = index.search(&query).hits.into_iter();
        let documents = hits.map(|hit| hit.document).filter(|document| seen.insert(*document)).take(RANKED);
        run.insert(
            question._id.clone(),
            documents.map(|document| corpus[document as usize]._id.clone()).collect(),
        );
    }
    Ok(run)
}

/// Languages of the passages, commonest first.
fn spoken(contents: &Contents) -> Vec<Language> {
    let mut counts = BTreeMap::<Language, usize>::new();
    for chunk in contents.chunks.iter().filter(|chunk| chunk.language != Language::UNKNOWN) {
        *counts.entry(chunk.language).or_default() += 1;
    }
    let mut languages: Vec<Language> = counts.keys().copied().collect();
    languages.sort_by_key(|language| std::cmp::Reverse(counts[language]));
    languages
}

/// Documents as a collection has them.
fn contents(corpus: &[Row]) -> Contents {
    let mut contents = Contents::default();
    for (row, document) in corpus.iter().zip(0_u32..) {
        let language = of_text(&row.text);
        contents.documents.push(Document {
            id: row._id.clone(),
            source: row._id.clone(),
            root: String::new(),
            title: row.title.clone(),
            url: None,
            category: None,
            language,
            hash: String::new(),
            bytes: row.text.len() as u64,
            ingested_at: 0,
        });
        contents.chunks.push(whole(&row.text, document, language));
    }
    contents
}

fn whole(text: &str, document: u32, language: Language) -> Chunk {
    Chunk {
        document,
        ordinal: 0,
        text: text.to_owned(),
        chars: 0..u32::try_from(text.chars().count()).unwrap_or(u32::MAX),
        pages: None,
        heading: Vec::new(),
        language,
        flagged: false,
    }
}

fn trec(run: &BTreeMap<String, Vec<String>>) -> String {
    let mut out = String::new();
    let word = |id: &str| id.split_whitespace().collect::<Vec<_>>().join("_");
    for (question, documents) in run {
        for (document, place) in documents.iter().zip(1..) {
            let score = 1.0 / f64::from(place);
            let _fits =
                writeln!(out, "{} Q0 {} {place} {score:.6} portcullis", word(question), word(document));
        }
    }
    out
}
