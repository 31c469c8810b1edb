//! How good search is on judged sets, and what it costs with 100,000 passages on one core. Quality is what `portcullis
//! index eval` and `answer eval` print. The large collection is made of real sentences: each passage is a few
//! neighbouring ones of one document and some of others, its vector the mean of their real vectors. Invariants: the same
//! passages every time; nothing of the data is written, only figures.

use crate::{machine, options::Options, report};
use anyhow::{Context, Result, ensure};
use portcullis_knowledge::{
    Chunk, Collection, Contents, Document, Hit, Index, KnowledgeConfig, Language, Query, Space,
};
use portcullis_providers::minilm::{DIMENSIONS, MiniLm};
use serde::Deserialize;
use serde_json::Value;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::AtomicBool,
};
use tokio::time::Instant;

/// Set, its figure asked for with all lists (nDCG@10 x 100), and what it is.
const SETS: [(&str, f64, &str); 6] = [
    ("cranfield", 43.7, "technical abstracts"),
    ("mtragun", 83.6, "last turns of conversations"),
    ("xquad-en", 97.7, "paragraphs, English"),
    ("xquad-ru", 95.8, "paragraphs, Russian, words and pieces"),
    ("xquad-de", 95.3, "paragraphs, German, words and pieces"),
    ("xquad-es", f64::NAN, "paragraphs, Spanish, words and pieces"),
];
/// Sets of the multilingual model: nDCG@10 x 100 asked for.
const MULTILINGUAL: [(&str, f64); 4] =
    [("xquad-en", 96.0), ("xquad-ru", 96.0), ("xquad-de", 96.0), ("xquad-es", 96.0)];
/// Passages of the large collection.
const PASSAGES: usize = 100_000;
/// Sets whose sentences it is made of and whose questions it is asked.
const SENTENCES: [&str; 3] = ["cranfield", "mtragun", "xquad-en"];
/// Most sentences that are embedded for it.
const MOST: usize = 12_000;
/// Questions asked.
const ASKED: usize = 500;

#[derive(Deserialize)]
struct Row {
    text: String,
}

/// Prints the tables and writes `retrieval.md`; says so where the data is not there.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = if options.data.join("cranfield").is_dir() {
        options.data.clone()
    } else {
        options.data.with_file_name("retrieval")
    };
    if !folder.join("cranfield/corpus.jsonl").is_file() {
        println!("skipped: no retrieval data at {} (--data)", folder.display());
        return Ok(());
    }
    let mut page = format!(
        "# Retrieval benchmark\n\nWritten by `portcullis-bench retrieval`.\n\n* {}; {}\n",
        machine::today(),
        machine::description()
    );
    quality(&mut page, &folder, &options.portcullis)?;
    multilingual(&mut page, &folder, &options.portcullis)?;
    large(&mut page, &folder)?;
    println!("{page}");
    report::write(&options.results, "retrieval.md", &page)
}

fn quality(page: &mut String, folder: &Path, program: &Path) -> Result<()> {
    page.push_str(
        "\nWhole documents, embedder `builtin`, `portcullis index eval`. nDCG@10 asked for: ask design section 6.\n\n\
         | set | nDCG@10 x 100 | asked for | recall@10 | recall@100 | MRR@10 | questions | seconds |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (set, asked, what) in SETS {
        let file = |name: &str| folder.join(set).join(name);
        let mut command = Command::new(program);
        command.args(["index", "eval", "--json", "--corpus"]).arg(file("corpus.jsonl"));
        command.arg("--queries").arg(file("queries.jsonl")).arg("--qrels").arg(file("qrels.tsv"));
        let told = told(&mut command)?;
        let number = |name: &str| told[name].as_f64().unwrap_or(f64::NAN);
        let asked = if asked.is_nan() { "-".to_owned() } else { format!("{asked:.1}") };
        writeln!(
            page,
            "| {set}: {what} | {:.1} | {asked} | {:.3} | {:.3} | {:.3} | {} | {:.1} |",
            number("ndcg@10") * 100.0,
            number("recall@10"),
            number("recall@100"),
            number("mrr@10"),
            number("queries"),
            number("seconds")
        )?;
    }
    let mut command = Command::new(program);
    command.args(["answer", "eval", "--json", "--questions"]).arg(folder.join("wikiqa/test_answered.jsonl"));
    let told = told(&mut command)?;
    let number = |name: &str| told[name].as_f64().unwrap_or(f64::NAN);
    writeln!(
        page,
        "\nQuoted answers, WikiQA, `portcullis answer eval`: P@1 {:.3} (asked for .57), MRR {:.3}, {} questions.",
        number("p@1"),
        number("mrr"),
        number("questions")
    )?;
    Ok(())
}

/// The same with the multilingual model, where its pack can be had: it is added by the product's own command.
fn multilingual(page: &mut String, folder: &Path, program: &Path) -> Result<()> {
    let home = tempfile::tempdir()?;
    let added = Command::new(program)
        .args(["models", "add", "multilingual"])
        .current_dir(home.path())
        .output()
        .context("portcullis; name it with --portcullis")?;
    if !added.status.success() {
        page.push_str("\nThe multilingual model could not be had here: not measured.\n");
        return Ok(());
    }
    page.push_str(
        "\nThe same, embedder `builtin-multilingual`.\n\n| set | nDCG@10 x 100 | asked for | MRR@10 | questions | seconds |\n\
         |---|---:|---:|---:|---:|---:|\n",
    );
    for (set, asked) in MULTILINGUAL {
        let file = |name: &str| folder.join(set).join(name).canonicalize();
        let mut command = Command::new(program);
        command.current_dir(home.path());
        command.args(["index", "eval", "--json", "--embedder", "builtin-multilingual", "--corpus"]);
        command.arg(file("corpus.jsonl")?).arg("--queries").arg(file("queries.jsonl")?);
        let told = told(command.arg("--qrels").arg(file("qrels.tsv")?))?;
        let number = |name: &str| told[name].as_f64().unwrap_or(f64::NAN);
        writeln!(
            page,
            "| {set} | {:.1} | {asked:.1} | {:.3} | {} | {:.1} |",
            number("ndcg@10") * 100.0,
            number("mrr@10"),
            number("queries"),
            number("seconds")
        )?;
    }
    Ok(())
}

fn told(command: &mut Command) -> Result<Value> {
    let output = command.output().context("portcullis; name it with --portcullis")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn rows(path: PathBuf) -> Result<Vec<Row>> {
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| serde_json::from_str(line).context("a row")).collect()
}

/// The same numbers every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % below.max(1) as u64) as usize
    }
}

/// The space of the builtin embedder.
pub(crate) fn space() -> Space {
    Space {
        id: "builtin/minilm-l6-v2".to_owned(),
        version: 1,
        dimensions: DIMENSIONS,
        languages: vec![Language::EN],
    }
}

/// What the builtin embedder makes of texts, on all cores.
pub(crate) fn vectors(texts: &[String]) -> Result<Vec<Vec<f32>>> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let made = MiniLm::default().embed_many(texts, threads, &AtomicBool::new(false))?;
    made.context("interrupted")
}

/// The large collection: real sentences in new company.
fn contents(folder: &Path) -> Result<Contents> {
    let mut sentences = Vec::new();
    for set in SENTENCES {
        let texts = rows(folder.join(set).join("corpus.jsonl"))?;
        let split = texts.iter().flat_map(|row| row.text.split(['.', '?', '!', '\n']).map(str::trim));
        sentences.extend(split.filter(|text| (40..400).contains(&text.len())).map(str::to_owned));
    }
    // Spread over all sets.
    let step = sentences.len().div_ceil(MOST).max(1);
    let sentences: Vec<String> = sentences.into_iter().step_by(step).collect();
    let made = vectors(&sentences)?;
    let (mut dice, mut contents) = (Dice(7), Contents::default());
    let mut all = Vec::with_capacity(PASSAGES * DIMENSIONS);
    for n in 0..PASSAGES {
        let from = dice.roll(sentences.len() - 8);
        let mut picked: Vec<usize> = (from..from + 4 + dice.roll(4)).collect();
        picked.extend((0..3).map(|_| dice.roll(sentences.len())));
        let mut vector = vec![0.0_f32; DIMENSIONS];
        for at in &picked {
            vector.iter_mut().zip(&made[*at]).for_each(|(sum, value)| *sum += value);
        }
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        all.extend(vector.iter().map(|value| value / length));
        let text = picked.iter().map(|at| sentences[*at].as_str()).collect::<Vec<_>>().join(". ");
        let (document, ordinal) = (u32::try_from(n / 10)?, u32::try_from(n % 10)?);
        if ordinal == 0 {
            contents.documents.push(Document {
                id: format!("d_{document:016x}"),
                source: format!("{document}.txt"),
                root: ".".to_owned(),
                title: String::new(),
                url: None,
                category: None,
                language: Language::EN,
                hash: String::new(),
                bytes: 0,
                ingested_at: 0,
            });
        }
        let chars = 0..u32::try_from(text.chars().count())?;
        let (pages, heading, language) = (None, Vec::new(), Language::EN);
        contents.chunks.push(Chunk {
            document,
            ordinal,
            text,
            chars,
            pages,
            heading,
            language,
            flagged: false,
        });
    }
    contents.vectors = Some(all);
    Ok(contents)
}

fn large(page: &mut String, folder: &Path) -> Result<()> {
    let contents = contents(folder)?;
    let text: usize = contents.chunks.iter().map(|chunk| chunk.text.len()).sum();
    let place = tempfile::tempdir()?;
    let (path, config) = (place.path().join("default"), KnowledgeConfig::default());
    let start = Instant::now();
    let collection = Collection::open(&path, "default", &config)?;
    let index = collection.lock(0).map_err(anyhow::Error::from)?.publish(&contents, Some(&space()), 0)?;
    let published = start.elapsed().as_secs_f64();
    drop(collection);
    let mut loads = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let opened = Collection::open(&path, "default", &config)?;
        loads.push(start.elapsed().as_secs_f64());
        ensure!(opened.current().is_some(), "the index does not load: {:?}", opened.state());
    }
    writeln!(
        page,
        "\n## {PASSAGES} passages\n\nOf {} characters on average; one core; questions of the sets, their vectors made before, the best of five times each.\n\n\
         | | measured | asked for |\n|---|---:|---:|\n\
         | published, checked and synced | {published:.1} s | - |\n\
         | loaded with every check, best of 3 | {:.2} s | 1 s |\n\
         | files | {:.0} MiB | - |\n\
         | memory for each passage (texts stay on disk) | {} bytes | its text and 1024 |",
        text / PASSAGES,
        loads.iter().copied().fold(f64::MAX, f64::min),
        index.bytes() as f64 / f64::from(1 << 20),
        index.memory() / PASSAGES,
    )?;
    searches(page, folder, &contents, &index)
}

fn searches(page: &mut String, folder: &Path, contents: &Contents, index: &Index) -> Result<()> {
    let mut questions = Vec::new();
    for set in SENTENCES {
        questions.extend(rows(folder.join(set).join("queries.jsonl"))?.into_iter().map(|row| row.text));
    }
    let step = questions.len().div_ceil(ASKED).max(1);
    let questions: Vec<String> = questions.into_iter().step_by(step).collect();
    let made = vectors(&questions)?;
    let space = space();
    let query = |text, vector, language| Query {
        text,
        meaning: Some((&space, vector)),
        language,
        k: 10,
        per_document: 0,
        join: false,
        ..Query::default()
    };
    let (mut all, mut meaning, mut words) = (Vec::new(), Vec::new(), Vec::new());
    let mut answers: Vec<Vec<Hit>> = Vec::new();
    for (text, vector) in questions.iter().zip(&made) {
        all.push(milliseconds(|| index.search(&query(text, vector, Language::EN))).0);
        words.push(
            milliseconds(|| index.search(&Query { meaning: None, ..query(text, vector, Language::EN) })).0,
        );
        let (time, hits) = milliseconds(|| index.search(&query("", vector, Language::EN)));
        meaning.push(time);
        answers.push(hits.hits);
    }
    let mut found = 0;
    // Apart, as it reads so much that nothing else would stay in the processor's caches.
    for (hits, vector) in answers.iter().zip(&made) {
        let exact = exact(contents, vector);
        found += hits.iter().filter(|hit| exact.contains(&hit.chunk)).count();
    }
    for (what, mut times, asked) in [
        ("search, all three lists", all, "p95 5 ms"),
        ("search by words and pieces of words", words, "-"),
        ("search by meaning (signs, then int8)", meaning, "-"),
    ] {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        writeln!(page, "| {what} | p50 {:.2} ms, p95 {:.2} ms | {asked} |", at(0.5), at(0.95))?;
    }
    let recall = found as f64 / (10 * questions.len()) as f64;
    writeln!(page, "| recall@10 of the exact cosines | {recall:.3} | 0.97 |")?;
    Ok(())
}

/// Times each question is asked; the shortest counts.
const ROUNDS: usize = 5;

fn milliseconds<T>(work: impl Fn() -> T) -> (f64, T) {
    let once = || {
        let start = Instant::now();
        let done = work();
        (start.elapsed().as_secs_f64() * 1e3, done)
    };
    let (mut least, mut done) = once();
    for _ in 1..ROUNDS {
        let (time, again) = once();
        least = least.min(time);
        done = again;
    }
    (least, done)
}

/// The ten nearest, by the vectors as they were before they became whole numbers.
fn exact(contents: &Contents, vector: &[f32]) -> Vec<u32> {
    let rows = contents.vectors.as_deref().unwrap_or_default().chunks_exact(DIMENSIONS);
    let cosine = |row: &[f32]| row.iter().zip(vector).map(|(a, b)| a * b).sum::<f32>();
    let mut all: Vec<(u32, f32)> = (0..).zip(rows.map(cosine)).collect();
    all.select_nth_unstable_by(9, |a, b| b.1.total_cmp(&a.1));
    all.truncate(10);
    all.into_iter().map(|(n, _)| n).collect()
}
