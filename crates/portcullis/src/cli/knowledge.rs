//! The words of `portcullis index` and `portcullis answer`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `index …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Index {
    /// Measure search on judged questions: nDCG@10, recall@10, recall@100, MRR@10.
    #[command(after_help = "\
corpus.jsonl has lines {\"_id\", \"title\", \"text\"}, queries.jsonl {\"_id\", \"text\"}, qrels.tsv a header and query-id, \
corpus-id, score. Documents are cut, indexed and searched as those of a collection; a document counts as its best \
passage. Needs no settings, no server and, with a builtin embedder, no network.

Examples:
  portcullis index eval --corpus corpus.jsonl --queries queries.jsonl --qrels qrels.tsv
  portcullis index eval --corpus corpus.jsonl --queries queries.jsonl --qrels qrels.tsv --run out.trec --json
Exit codes: 0 measured, 1 the measuring failed, 2 wrong use or a file cannot be read.")]
    Eval(IndexEval),
    /// Check every byte of every generation and name what is damaged: file and block.
    #[command(after_help = "\
Changes nothing and works beside a running server. --deep also unpacks every passage and embeds 100 of them again: \
their vectors must be those of the index (cosine 0.99 or more).

Examples:
  portcullis index verify
  portcullis index verify --collection handbook --deep --json
Exit codes: 0 sound, 1 it could not be checked, 2 wrong use, 4 damaged.")]
    Verify(IndexVerify),
    /// List the generations of a collection.
    #[command(after_help = "Exit codes: 0 listed, 1 the folder cannot be read, 2 wrong use.")]
    List(WhichCollection),
    /// Let the generation before the current one answer again.
    #[command(after_help = "\
A running server takes it over by itself.

Example: portcullis index rollback --to 41
Exit codes: 0 done, 1 there is none, or another process is writing, 2 wrong use.")]
    Rollback {
        #[command(flatten)]
        which: WhichCollection,
        /// This generation instead of the one before.
        #[arg(long, value_name = "GENERATION")]
        to: Option<u64>,
    },
    /// Make the index anew from the passages it holds, a damaged one too.
    #[command(after_help = "\
Without the documents. Where no passages are sound any more, `portcullis ingest` them again.

Exit codes: 0 done, 1 no sound passages, or another process is writing, 2 wrong use.")]
    Rebuild(WhichCollection),
    /// Remove old generations beyond knowledge.keep_generations and what lies in quarantine.
    #[command(after_help = "Exit codes: 0 done, 1 another process is writing, 2 wrong use.")]
    Prune(WhichCollection),
}

/// Which collection.
#[derive(Debug, Args)]
pub(crate) struct WhichCollection {
    /// Its name.
    #[arg(long, default_value = "default", value_parser = collection)]
    pub(crate) collection: String,
}

/// `index eval`.
#[derive(Debug, Args)]
pub(crate) struct IndexEval {
    /// Documents.
    #[arg(long, value_name = "FILE")]
    pub(crate) corpus: PathBuf,
    /// Questions.
    #[arg(long, value_name = "FILE")]
    pub(crate) queries: PathBuf,
    /// Judgements.
    #[arg(long, value_name = "FILE")]
    pub(crate) qrels: PathBuf,
    /// Write the ranking there, in the format of TREC.
    #[arg(long, value_name = "FILE")]
    pub(crate) run: Option<PathBuf>,
    /// Who embeds, as `knowledge.embedder`; `none`: words and pieces of words alone.
    #[arg(long, value_name = "NAME", default_value = "builtin")]
    pub(crate) embedder: String,
}

/// `index verify`.
#[derive(Debug, Args)]
pub(crate) struct IndexVerify {
    #[command(flatten)]
    pub(crate) which: WhichCollection,
    /// Also embed some passages again and compare.
    #[arg(long)]
    pub(crate) deep: bool,
}

/// `answer …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Answer {
    /// Measure which sentence is quoted first: P@1 and MRR over the questions that have an answer.
    #[command(after_help = "\
Lines are {\"question\", \"sentences\": [...], \"labels\": [0 or 1, ...]}; instead of labels, \"gold\" may name the \
sentences that answer, from 0. Needs no settings, no server and, with a builtin \
embedder, no network.

Example: portcullis answer eval --questions questions.jsonl --json
Exit codes: 0 measured, 1 the measuring failed, 2 wrong use or the file cannot be read.")]
    Eval(AnswerEval),
}

/// `answer eval`.
#[derive(Debug, Args)]
pub(crate) struct AnswerEval {
    /// Questions with their sentences.
    #[arg(long, value_name = "FILE")]
    pub(crate) questions: PathBuf,
    /// Who embeds, as `knowledge.embedder`; `none`: words and pieces of words alone.
    #[arg(long, value_name = "NAME", default_value = "builtin")]
    pub(crate) embedder: String,
}

/// Longest name of a collection, in bytes.
const LONGEST: usize = 64;

fn collection(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !text.is_empty() && text.len() <= LONGEST && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("a name has up to 64 small letters, digits, - and _".to_owned())
}
