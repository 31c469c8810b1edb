//! How well the floor of evidence tells questions that the documents answer from those that they do not: both rates, for
//! each set and each floor. A question without an answer is one whose documents were left out (XQuAD: every other article),
//! one that people marked so (MT-RAG), or one that the manual says nothing about (a list of our own). Invariant: search is
//! the product's, with its defaults; nothing of the data is written, only figures. Source: ask design section 6, must
//! show 16.

use crate::{
    machine,
    options::Options,
    report,
    retrieval::{space, vectors},
};
use anyhow::{Context, Result, ensure};
use portcullis_knowledge::{
    Chunk, Contents, Document, Evidence, Grams, Index, KnowledgeConfig, Language, Query,
    ingest::{chunk, extract},
    text,
};
use portcullis_providers::minilm::EVIDENCE;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Paragraphs of an article of XQuAD.
const PARAGRAPHS: usize = 5;
/// Floors that are compared.
const FLOORS: [f32; 9] = [0.20, 0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.60, 0.65];

#[derive(Deserialize)]
struct Row {
    _id: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Asked {
    question: String,
    answerable: bool,
}

/// Documents, and questions with whether they hold the answer.
struct Set {
    name: &'static str,
    /// Whether the embedder understands its language; else words alone are looked at, as in the product.
    understood: bool,
    contents: Contents,
    asked: Vec<Asked>,
}

/// Prints the tables and writes `evidence.md`; sets that are not there are left out by name.
pub(crate) fn run(options: &Options) -> Result<()> {
    let data = if options.data.join("xquad-en").is_dir() {
        options.data.clone()
    } else {
        options.data.with_file_name("retrieval")
    };
    let floor = EVIDENCE;
    let mut page = format!(
        "# Evidence\n\nWritten by `portcullis-bench evidence`: questions that the documents answer, and questions that they \
         do not; embedder `builtin`, default settings (`ask.evidence_cosine` {floor}). A question is refused when nothing \
         speaks for an answer.\n\n* {}; {}\n",
        machine::today(),
        machine::description()
    );
    let mut sets = vec![manual()?];
    for (name, folder, understood) in [
        ("XQuAD, English", "xquad-en", true),
        ("XQuAD, Russian: words only", "xquad-ru", false),
        ("XQuAD, German: words only", "xquad-de", false),
    ] {
        let folder = data.join(folder);
        if folder.is_dir() {
            sets.push(halved(name, understood, &folder)?);
        } else {
            println!("skipped: no {}", folder.display());
        }
    }
    if data.join("mtragun/tasks.json").is_file() {
        sets.push(marked(&data.join("mtragun"))?);
    }
    page.push_str(
        "\n| set | with an answer | of them refused | without | of them refused |\n|---|---:|---:|---:|---:|\n",
    );
    let mut measured = Vec::new();
    for set in sets {
        let found = found(&set)?;
        let [kept, refused] = rates(&found, floor);
        let with = found.iter().filter(|(answerable, _)| *answerable).count();
        writeln!(
            page,
            "| {} | {with} | {:.1} % | {} | {:.1} % |",
            set.name,
            kept * 100.0,
            found.len() - with,
            refused * 100.0
        )?;
        measured.push((set.name, found));
    }
    page.push_str("\n## By floor\n\nRefused of those with an answer / without, in per cent.\n\n| set |");
    for floor in FLOORS {
        write!(page, " {floor:.2} |")?;
    }
    page.push_str("\n|---|");
    page.push_str(&"---:|".repeat(FLOORS.len()));
    for (name, found) in &measured {
        write!(page, "\n| {name} |")?;
        for floor in FLOORS {
            let [kept, refused] = rates(found, floor);
            write!(page, " {:.1} / {:.1} |", kept * 100.0, refused * 100.0)?;
        }
    }
    page.push('\n');
    println!("{page}");
    if options.json {
        for (name, found) in &measured {
            for (answerable, evidence) in found {
                println!("{}", json!([name, answerable, evidence.cosine, evidence.asked, evidence.shared]));
            }
        }
    }
    report::write(&options.results, "evidence.md", &page)
}

/// Shares that are refused: of the questions with an answer, and of those without.
fn rates(found: &[(bool, Evidence)], floor: f32) -> [f64; 2] {
    [true, false].map(|kind| {
        let of: Vec<_> = found.iter().filter(|(answerable, _)| *answerable == kind).collect();
        let refused = of.iter().filter(|(_, evidence)| !evidence.is_there(floor)).count();
        if of.is_empty() { 0.0 } else { refused as f64 / of.len() as f64 }
    })
}

/// What search says speaks for an answer, for each question.
fn found(set: &Set) -> Result<Vec<(bool, Evidence)>> {
    let texts: Vec<String> = set
        .contents
        .chunks
        .iter()
        .map(|chunk| chunk.indexed(&set.contents.documents[chunk.document as usize].title))
        .collect();
    let space = set.understood.then(space);
    let questions: Vec<String> = set.asked.iter().map(|asked| asked.question.clone()).collect();
    let (made, asked) = match &space {
        Some(_) => (Some(vectors(&texts)?.concat()), vectors(&questions)?),
        None => (None, vec![Vec::new(); questions.len()]),
    };
    let contents = Contents { vectors: made, ..set.contents.clone() };
    let index = Index::in_memory(&contents, space.as_ref(), Grams::Auto)?;
    let all = set.asked.iter().zip(&asked).map(|(asked, vector)| {
        let meaning = space.as_ref().map(|space| (space, vector.as_slice()));
        let query = Query { text: &asked.question, meaning, ..Query::default() };
        (asked.answerable, index.search(&query).evidence)
    });
    Ok(all.collect())
}

fn rows(path: PathBuf) -> Result<Vec<Row>> {
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| serde_json::from_str(line).context("a row")).collect()
}

/// Which document judges name for a question.
fn judged(folder: &Path) -> Result<HashMap<String, String>> {
    let text = fs::read_to_string(folder.join("qrels.tsv"))?;
    let rows = text.lines().skip(1).filter_map(|line| {
        let mut cells = line.split('\t');
        Some((cells.next()?.to_owned(), cells.next()?.to_owned()))
    });
    Ok(rows.collect())
}

/// The product's own manual, read and cut as the product does.
fn manual() -> Result<Set> {
    let bench = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let config = KnowledgeConfig::default();
    let mut files: Vec<PathBuf> = fs::read_dir(bench.join("../docs/manual"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    files.sort();
    let mut contents = Contents::default();
    for file in files {
        let hint = extract::Hint { extension: "md".to_owned(), charset: None };
        let read = extract::extract(&fs::read(&file)?, &hint, &extract::Limits::from(&config))?;
        let (chunks, language) = chunk::chunk(&read, chunk::Bounds::from(&config));
        let document = u32::try_from(contents.documents.len())?;
        contents.chunks.extend(chunks.into_iter().map(|chunk| Chunk { document, ..chunk }));
        contents.documents.push(document_of(
            &file.display().to_string(),
            read.title.unwrap_or_default(),
            language,
        ));
    }
    let text = fs::read_to_string(bench.join("data/manual-questions.jsonl"))?;
    let asked: Result<Vec<Asked>> = text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect();
    Ok(Set { name: "the manual of this product", understood: true, contents, asked: asked? })
}

/// Every other article is left out, and with it the answers to its questions.
fn halved(name: &'static str, understood: bool, folder: &Path) -> Result<Set> {
    let rows_of = |name: &str| rows(folder.join(name));
    let (corpus, questions, judged) = (rows_of("corpus.jsonl")?, rows_of("queries.jsonl")?, judged(folder)?);
    let kept: Vec<Row> = corpus
        .into_iter()
        .enumerate()
        .filter(|(n, _)| (n / PARAGRAPHS).is_multiple_of(2))
        .map(|(_, row)| row)
        .collect();
    let there: HashSet<&str> = kept.iter().map(|row| row._id.as_str()).collect();
    let asked = questions
        .into_iter()
        .filter_map(|row| {
            Some(Asked { answerable: there.contains(judged.get(&row._id)?.as_str()), question: row.text })
        })
        .collect();
    Ok(Set { name, understood, contents: whole(&kept), asked })
}

/// Last turns of conversations, marked by people; partial answers and unclear questions are left out.
fn marked(folder: &Path) -> Result<Set> {
    let tasks: Vec<Value> = serde_json::from_str(&fs::read_to_string(folder.join("tasks.json"))?)?;
    let asked: Vec<Asked> = tasks
        .iter()
        .filter_map(|task| {
            let answerable = match task["keys"]["answerability"][0].as_str()? {
                "ANSWERABLE" => true,
                "UNANSWERABLE" => false,
                _ => return None,
            };
            Some(Asked { question: task["question"].as_str()?.to_owned(), answerable })
        })
        .collect();
    ensure!(!asked.is_empty(), "no marked questions");
    let contents = whole(&rows(folder.join("corpus.jsonl"))?);
    Ok(Set { name: "MT-RAG, last turns", understood: true, contents, asked })
}

/// Documents of one passage each.
fn whole(rows: &[Row]) -> Contents {
    let mut contents = Contents::default();
    for (row, document) in rows.iter().zip(0_u32..) {
        let language = text::of_text(&row.text);
        contents.documents.push(document_of(&row._id, row.title.clone(), language));
        contents.chunks.push(Chunk {
            document,
            ordinal: 0,
            text: row.text.clone(),
            chars: 0..u32::try_from(row.text.chars().count()).unwrap_or(u32::MAX),
            pages: None,
            heading: Vec::new(),
            language,
            flagged: false,
        });
    }
    contents
}

fn document_of(id: &str, title: String, language: Language) -> Document {
    Document {
        id: id.to_owned(),
        source: id.to_owned(),
        root: String::new(),
        title,
        url: None,
        category: None,
        language,
        hash: String::new(),
        bytes: 0,
        ingested_at: 0,
    }
}
