//! `[knowledge]`: what is taken in, how it is cut, how much an index may hold. Source: ask design section 1.

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `[knowledge]`: collections of documents.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KnowledgeConfig {
    /// Folder of the collections, made with mode 0700. Default: `knowledge` in `data_dir`.
    pub dir: Option<PathBuf>,
    /// Where the indexes stand: `files` below `dir`, or `postgres`: rows of the store with pgvector, for several servers
    /// that answer from the same documents (the store must be Postgres with the extension `vector` from 0.8). What is in
    /// one is not in the other: ingest again after a change. Default `files`.
    pub backend: Backend,
    /// Who embeds: `builtin` (English, works without network), `builtin-multilingual` (after `portcullis models add
    /// multilingual`), or `provider/model` of an embedding model. Another embedder than a collection was made with
    /// leaves its vectors unused until it is rebuilt. Default `builtin`.
    pub embedder: String,
    /// Characters of one passage, 200 to 8000: paragraphs are packed up to it. Default 1000.
    pub chunk_chars: usize,
    /// Sentences that two pieces of one long paragraph share, 0 to 5. Default 1.
    pub overlap_sentences: usize,
    /// Characters up to which a table row or a block of code stays whole, 200 to 20000. Default 2000.
    pub block_chars: usize,
    /// Generations of an index that are kept, the current one included, 1 to 100. Default 2.
    pub keep_generations: usize,
    /// Hours between two full checks of every index in use; 0: never. Default 24.
    pub scrub_hours: u64,
    /// Seconds between two looks of a server at its collections: published by others, damaged, mended. Default 15.
    pub watch_secs: u64,
    /// Largest file that is taken in, in bytes. Default 52428800 (50 MiB).
    pub max_file_bytes: u64,
    /// Most text taken of one file, in bytes; more is refused. Default 20971520 (20 MiB).
    pub max_text_bytes: u64,
    /// Bytes that one packed file (DOCX) may unpack to; more is refused. Default 268435456 (256 MiB).
    pub max_unpacked_bytes: u64,
    /// Most pages of one PDF. Default 5000.
    pub max_pdf_pages: u32,
    /// Memory that reading one file may take, in bytes: the reading process ends at it. Default 1073741824 (1 GiB).
    pub extract_memory_bytes: u64,
    /// Seconds that reading one file may take. Default 60.
    pub extract_secs: u64,
    /// Largest index that is loaded, in bytes; a larger one is refused with the figures. Default 1073741824 (1 GiB).
    pub max_index_bytes: u64,
    /// Vectors of passages that are kept beside a collection, so that unchanged text is not embedded again, in bytes on
    /// disk; the oldest half goes first. Default 536870912 (512 MiB).
    pub vector_cache_bytes: u64,
    /// Whether pieces of words are searched too: `auto` up to 200000 passages, and always when a collection has a
    /// language that the embedder lacks; `always`; `never`. Default `auto`.
    pub grams: Grams,
    /// Most files of one ingestion; more are refused as a whole. Default 200000.
    pub max_files: usize,
}

/// Where the indexes stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// In files below `dir`.
    #[default]
    Files,
    /// In rows of the store.
    Postgres,
}

/// Whether pieces of words are searched too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grams {
    /// Where they help and are affordable.
    #[default]
    Auto,
    /// In every collection.
    Always,
    /// In none.
    Never,
}

impl Default for KnowledgeConfig {
    fn default() -> Self {
        Self {
            dir: None,
            backend: Backend::Files,
            embedder: "builtin".to_owned(),
            chunk_chars: 1000,
            overlap_sentences: 1,
            block_chars: 2000,
            keep_generations: 2,
            scrub_hours: 24,
            watch_secs: 15,
            max_file_bytes: 50 << 20,
            max_text_bytes: 20 << 20,
            max_unpacked_bytes: 256 << 20,
            max_pdf_pages: 5000,
            extract_memory_bytes: 1 << 30,
            extract_secs: 60,
            max_index_bytes: 1 << 30,
            vector_cache_bytes: 512 << 20,
            grams: Grams::Auto,
            max_files: 200_000,
        }
    }
}

impl KnowledgeConfig {
    /// Where the collections lie.
    #[must_use]
    pub fn folder(&self, data_dir: &Path) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| data_dir.join("knowledge"))
    }

    /// Adds what is out of range.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let mut range = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                let mend = format!("Use a number from {least} to {most}.");
                out.push(Problem::new(format!("{prefix}.{key}"), format!("{value} is out of range."), mend));
            }
        };
        range("chunk_chars", self.chunk_chars as u64, 200, 8000);
        range("overlap_sentences", self.overlap_sentences as u64, 0, 5);
        range("block_chars", self.block_chars as u64, 200, 20_000);
        range("keep_generations", self.keep_generations as u64, 1, 100);
        range("watch_secs", self.watch_secs, 1, 86_400);
        range("scrub_hours", self.scrub_hours, 0, 8760);
        range("max_file_bytes", self.max_file_bytes, 1024, 1 << 32);
        range("max_text_bytes", self.max_text_bytes, 1024, 1 << 30);
        range("max_unpacked_bytes", self.max_unpacked_bytes, 1024, 1 << 34);
        range("max_pdf_pages", u64::from(self.max_pdf_pages), 1, 100_000);
        range("extract_memory_bytes", self.extract_memory_bytes, 64 << 20, 1 << 36);
        range("extract_secs", self.extract_secs, 1, 3600);
        range("max_index_bytes", self.max_index_bytes, 1 << 20, 1 << 36);
        range("vector_cache_bytes", self.vector_cache_bytes, 1 << 20, 1 << 40);
        range("max_files", self.max_files as u64, 1, 10_000_000);
    }
}
