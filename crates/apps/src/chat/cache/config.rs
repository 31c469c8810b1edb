//! `[cache]`: answers that are kept and given again.

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[cache]`: answers that are kept and given again. Which answers of a route are kept is said by
/// `routes.<name>.cache`. With `redis.url_secret` set, replicas share what they keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Who is given an answer that somebody else got: `"key"` (nobody), `"team"` (callers of the same team), or
    /// `"global"` (everybody who may use the route). Default `"key"`.
    pub scope: CacheScope,
    /// How long an answer is kept, in seconds, 1 to 86400. Default 600.
    pub ttl_secs: u64,
    /// Most bytes of an answer that is kept, 1024 to 16777216; a longer one is made anew each time. Default 262144.
    pub max_entry_bytes: usize,
    /// Most bytes of all answers kept in memory, 1048576 to 68719476736; those not asked for longest go first.
    /// Default 67108864.
    pub max_bytes: usize,
    /// Requests that may wait for the same answer that another is getting, 1 to 10000; more are sent themselves.
    /// Default 32.
    pub max_waiters: usize,
    /// How long an `Idempotency-Key` is remembered, in seconds, 1 to 86400: the same request is then answered as
    /// before, and another one with the same key refused with 409. Default 600.
    pub idempotency_secs: u64,
    /// Answers to questions that mean the same.
    pub semantic: SemanticConfig,
}

/// Who shares kept answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheScope {
    /// Each caller has its own.
    #[default]
    Key,
    /// Callers of one team.
    Team,
    /// Everybody.
    Global,
}

/// `[cache.semantic]`: whether a question is answered as one that means the same was. Where both differ in numbers,
/// negations, quoted words, names or named files, it never is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SemanticConfig {
    /// Whether it is. Each request that may be kept then costs one builtin embedding, some 20 ms. Default false.
    pub enabled: bool,
    /// How close two questions must be, 0.5 to 1 (cosine of their vectors). Default 0.95.
    pub similarity: f64,
    /// Longest question compared, in characters, 1 to 10000. Default 2000.
    pub max_chars: usize,
    /// Questions remembered, about 2 KiB each, 1 to 100000; the oldest go first. Default 1000.
    pub max_entries: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            scope: CacheScope::Key,
            ttl_secs: 600,
            max_entry_bytes: 262_144,
            max_bytes: 67_108_864,
            max_waiters: 32,
            idempotency_secs: 600,
            semantic: SemanticConfig::default(),
        }
    }
}

impl Default for SemanticConfig {
    fn default() -> Self {
        Self { enabled: false, similarity: 0.95, max_chars: 2000, max_entries: 1000 }
    }
}

impl CacheConfig {
    /// Adds what is out of range.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value, least, most) in [
            ("ttl_secs", self.ttl_secs, 1, 86_400),
            ("max_entry_bytes", self.max_entry_bytes as u64, 1024, 16_777_216),
            ("max_bytes", self.max_bytes as u64, 1_048_576, 68_719_476_736),
            ("max_waiters", self.max_waiters as u64, 1, 10_000),
            ("idempotency_secs", self.idempotency_secs, 1, 86_400),
            ("semantic.max_chars", self.semantic.max_chars as u64, 1, 10_000),
            ("semantic.max_entries", self.semantic.max_entries as u64, 1, 100_000),
        ] {
            if !(least..=most).contains(&value) {
                let message = format!("{value} is out of range.");
                let mend = format!("Use a number from {least} to {most}.");
                out.push(Problem::new(format!("{prefix}.{key}"), message, mend));
            }
        }
        if !(0.5..=1.0).contains(&self.semantic.similarity) {
            let message = format!("{} is out of range.", self.semantic.similarity);
            let key = format!("{prefix}.semantic.similarity");
            out.push(Problem::new(key, message, "Use a number from 0.5 to 1."));
        }
    }
}
