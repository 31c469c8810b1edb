//! `[ask]`: answers from documents. Source: ask.md section 1.

use portcullis_domain::Problem;
use portcullis_inspect::Harden;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[ask]`: answers from documents.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AskConfig {
    /// Collection that answers where none is named. Default `"default"`.
    pub collection: String,
    /// Who may read a collection, by its name: `[ask.collections.<name>]`. A collection without a section is open to
    /// everybody who may ask.
    pub collections: BTreeMap<String, CollectionAccess>,
    /// Longest question, in characters after normalisation. Default 2000.
    pub max_question_chars: usize,
    /// Seconds for a whole answer; what is not ready by then is left out. Default 30.
    pub deadline_secs: u64,
    /// Milliseconds for a search, the question's vector included; then search goes by words alone. Default 1500.
    pub search_ms: u64,
    /// Route whose targets write answers. Default `"ask"`.
    pub route: String,
    /// Longest answer, in tokens. Default 300.
    pub max_tokens: u32,
    /// How freely answers are worded, 0 to 2. Default 0.2.
    pub temperature: f64,
    /// Characters of passages in a prompt. Default 4000.
    pub context_chars: usize,
    /// Most passages in a prompt. Default 8.
    pub k_max: usize,
    /// Most passages of one document while others qualify. Default 2.
    pub per_document: usize,
    /// Earlier messages of a conversation that the next answer knows; 0: none. Default 5.
    pub memory_messages: usize,
    /// Characters of them. Default 4000.
    pub memory_chars: usize,
    /// Minutes after which an idle conversation is forgotten. Default 60.
    pub memory_idle_mins: u64,
    /// Most conversations remembered at once; the longest idle one goes first. Default 10000.
    pub memory_conversations: usize,
    /// Whether a question about which the documents say nothing is answered with that, without asking an AI. Default
    /// true.
    pub refuse_without_evidence: bool,
    /// Likeness (cosine, 0 to 1) of the best passage from which on it counts as evidence whatever its words. Default: what
    /// was measured of the embedder (0.4 of the built-in one; with others any likeness counts).
    pub evidence_cosine: Option<f32>,
    /// Whether an AI answers from its own knowledge, marked as such, while no index can be read. Default true.
    pub answer_without_index: bool,
    /// Whether an AI may answer from its own knowledge what the documents do not say; the answer is marked. Default
    /// false.
    pub allow_general: bool,
    /// Share of an answer's sentences that its sources must support, 0 to 1; below it the passages themselves replace
    /// the answer. Default 0.5.
    pub min_support: f32,
    /// How passages are marked in prompts: `"delimit"`, `"datamark"` or `"encode"`. Default `"delimit"`.
    pub spotlight: Harden,
    /// Whether passages in which inspection suspects instructions may go into prompts. Default false.
    pub allow_flagged: bool,
    /// Hours an answer is kept and given again to the same question of the same generation; 0: not. Default 24.
    pub cache_hours: u64,
    /// Most answers kept. Default 2000.
    pub cache_answers: usize,
    /// Minutes a question is kept for `/retry` after it could not be answered. Default 10.
    pub retry_mins: u64,
    /// Seconds between two looks whether another process has published a new generation. Default 2.
    pub refresh_secs: u64,
    /// Ingestions under way at once. Default 1.
    pub ingest_jobs: usize,
    /// Bytes of files sent for ingestion that are waiting or being read; what comes beyond is told to come later. Default
    /// 268435456 (256 MiB).
    pub ingest_upload_bytes: usize,
}

/// `[ask.collections.<name>]`: who may read a collection.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CollectionAccess {
    /// Tiers (`premium`) and callers (`key:<id>`, `jwt:<subject>`, `signal:<uuid>`) that may read it; empty: everybody
    /// who may ask. Others never learn that it exists.
    pub allow: Vec<String>,
}

impl Default for AskConfig {
    fn default() -> Self {
        Self {
            collection: "default".to_owned(),
            collections: BTreeMap::new(),
            max_question_chars: 2000,
            deadline_secs: 30,
            search_ms: 1500,
            route: "ask".to_owned(),
            max_tokens: 300,
            temperature: 0.2,
            context_chars: 4000,
            k_max: 8,
            per_document: 2,
            memory_messages: 5,
            memory_chars: 4000,
            memory_idle_mins: 60,
            memory_conversations: 10_000,
            refuse_without_evidence: true,
            evidence_cosine: None,
            answer_without_index: true,
            allow_general: false,
            min_support: 0.5,
            spotlight: Harden::Delimit,
            allow_flagged: false,
            cache_hours: 24,
            cache_answers: 2000,
            retry_mins: 10,
            refresh_secs: 2,
            ingest_jobs: 1,
            ingest_upload_bytes: 256 << 20,
        }
    }
}

/// Longest name of a collection, in bytes.
const MAX_NAME: usize = 64;

/// Whether a collection may be called so: it is a folder's name too.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(letters)
}

impl AskConfig {
    /// Adds what is out of range.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let mut range = |key: &str, value: f64, least: f64, most: f64| {
            if !(least..=most).contains(&value) {
                let mend = format!("Use a number from {least} to {most}.");
                out.push(Problem::new(format!("{prefix}.{key}"), format!("{value} is out of range."), mend));
            }
        };
        #[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^52")]
        let mut whole = |key: &str, value: u64, least: u64, most: u64| {
            range(key, value as f64, least as f64, most as f64);
        };
        whole("max_question_chars", self.max_question_chars as u64, 10, 100_000);
        whole("deadline_secs", self.deadline_secs, 1, 600);
        whole("search_ms", self.search_ms, 10, 60_000);
        whole("max_tokens", self.max_tokens.into(), 16, 100_000);
        whole("context_chars", self.context_chars as u64, 200, 1_000_000);
        whole("k_max", self.k_max as u64, 1, 100);
        whole("per_document", self.per_document as u64, 1, 100);
        whole("memory_messages", self.memory_messages as u64, 0, 100);
        whole("memory_chars", self.memory_chars as u64, 0, 1_000_000);
        whole("memory_idle_mins", self.memory_idle_mins, 1, 10_080);
        whole("memory_conversations", self.memory_conversations as u64, 1, 10_000_000);
        whole("cache_hours", self.cache_hours, 0, 720);
        whole("cache_answers", self.cache_answers as u64, 1, 1_000_000);
        whole("retry_mins", self.retry_mins, 1, 1440);
        whole("refresh_secs", self.refresh_secs, 1, 3600);
        whole("ingest_jobs", self.ingest_jobs as u64, 1, 16);
        whole("ingest_upload_bytes", self.ingest_upload_bytes as u64, 1 << 20, 1 << 40);
        range("temperature", self.temperature, 0.0, 2.0);
        range("evidence_cosine", self.evidence_cosine.unwrap_or(0.0).into(), 0.0, 1.0);
        range("min_support", self.min_support.into(), 0.0, 1.0);
        let names = std::iter::once(("collection".to_owned(), &self.collection))
            .chain(self.collections.keys().map(|name| (format!("collections.{name}"), name)));
        for (key, name) in names.filter(|(_, name)| !is_name(name)) {
            let mend = "Use 1 to 64 of a-z, 0-9, - and _.";
            out.push(Problem::new(
                format!("{prefix}.{key}"),
                format!("{name:?} is no name of a collection."),
                mend,
            ));
        }
        if self.spotlight == Harden::Off {
            let mend = "Use \"delimit\", \"datamark\" or \"encode\".";
            out.push(Problem::new(format!("{prefix}.spotlight"), "Passages must be marked.", mend));
        }
    }
}
