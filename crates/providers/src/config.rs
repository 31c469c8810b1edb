//! Settings of the providers: what a row of the presets says by default, an operator may say otherwise here.

mod models;

pub use models::{Capability, ModelConfig, ModelEntry, ModelsConfig, PriceConfig, model_problems};

use crate::{
    presets::{self, Preset, Wire},
    safety::SafetyConfig,
};
use portcullis_domain::Problem;
use portcullis_resilience::{GuardConfig, Learn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// `[providers.<name>]`: one section a provider, shipped or your own.
pub type ProvidersConfig = BTreeMap<String, ProviderConfig>;

/// `[providers.<name>]`: what differs from the shipped row of that name (see `docs/providers.md`); a name that is not
/// shipped needs a `base_url` and starts from the row `openai-compatible`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderConfig {
    /// Whether the provider is used at all. Default true.
    pub enabled: Option<bool>,
    /// Where it is, without a slash at the end; `https` unless it is on this machine or a private network. Default:
    /// the row's.
    pub base_url: Option<String>,
    /// Name of the secret with its key. Default: the row's; for your own sections none, and then no key is sent.
    pub key_secret: Option<String>,
    /// Names of secrets with several keys, in place of `key_secret`: calls take turns, and each key has the requests and
    /// tokens a minute of this section for itself and is left alone by itself when its credit is gone. At most 16.
    pub key_secrets: Vec<String>,
    /// Calls in flight at once; more wait in the queue. Default: the row's.
    pub concurrency: Option<u32>,
    /// Calls that may wait for a place; more are refused with 503. Default: the row's.
    pub queue: Option<u32>,
    /// What becomes of calls that find no place: `queue` lets them wait, `reject` refuses them at once, so that the next
    /// target is tried. Default `queue`.
    pub when_full: WhenFull,
    /// Whether the limits that the provider tells in its answers are heeded: `true` where they are lower than those
    /// configured, `"raise"` in place of them, `false` not at all. Default true.
    pub learn: Option<LearnConfig>,
    /// Chat requests a minute; calls are delayed to keep below. 0 means no pacing. Default: the row's.
    pub rpm: Option<u32>,
    /// Chat tokens a minute, by estimate; calls are delayed to keep below. 0 means no pacing. Default: the row's.
    pub tpm: Option<u32>,
    /// Embedding requests a minute; 0 means no pacing. Default: the row's.
    pub embed_rpm: Option<u32>,
    /// Consecutive failures that open its breaker: it is then left alone for a while. Default: the row's.
    pub breaker_failures: Option<u32>,
    /// Seconds an open breaker waits before it lets one probe through. Default: the row's.
    pub breaker_reset_secs: Option<u64>,
    /// Its models: names, or tables with `name`, `kind` and limits. Replaces the row's list.
    pub models: Option<Vec<ModelEntry>>,
    /// Longest time for a whole answer of one attempt, in seconds. Default 60.
    pub attempt_timeout_secs: Option<u64>,
    /// Most attempts at one call, the first included; repeats wait and draw on a retry budget. Default 3.
    pub attempts: Option<u32>,
    /// Whether a provider may be used without its own filters: `gemini-openai`, which cannot carry safety settings, or
    /// `gemini` with a `safety` that filters nothing. Default false.
    pub allow_without_safety: bool,
    /// From where on the provider filters by itself: `gemini` only.
    pub safety: Option<SafetyConfig>,
}

/// What becomes of calls that find no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// They wait in the queue.
    #[default]
    Queue,
    /// They are refused at once.
    Reject,
}

/// Whether the limits that a provider tells are heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LearnConfig {
    /// Where they are lower, or not at all.
    Switch(bool),
    /// In place of the configured ones.
    Word(LearnWord),
}

/// In place of the configured limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LearnWord {
    /// Also where they are higher.
    Raise,
}

impl LearnConfig {
    pub(crate) const fn learn(self) -> Learn {
        match self {
            Self::Switch(false) => Learn::Off,
            Self::Switch(true) => Learn::Lower,
            Self::Word(LearnWord::Raise) => Learn::Raise,
        }
    }
}

/// Most keys of one provider.
const MAX_LANES: usize = 16;

/// `[embed]`: the gate in front of every embedding, whoever computes it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmbedConfig {
    /// Embedding calls at once for the whole process. More wait in the queue. Default 5.
    pub concurrency: u32,
    /// Embedding calls that may wait; more are refused with 503. Default 64.
    pub queue: u32,
    /// Most bytes of one text for the builtin model; longer ones are refused. Default 1048576.
    pub max_text_bytes: usize,
    /// Calls that taking in documents may hold of those at once; questions find the others. Default 3.
    pub ingest_concurrency: u32,
    /// Texts in one call when documents are taken in. Default 50.
    pub batch: u32,
    /// Longest time of one call for a question, waiting included, in seconds. Default 20.
    pub wait_secs: u64,
    /// Longest time of one call when documents are taken in, waiting included, in seconds. Default 600.
    pub ingest_wait_secs: u64,
    /// Threads on which a builtin model reads the texts of one call when documents are taken in; 0: one for each
    /// processor. Default 0.
    pub threads: u32,
}

impl Default for EmbedConfig {
    fn default() -> Self {
        Self {
            concurrency: 5,
            queue: 64,
            max_text_bytes: 1_048_576,
            ingest_concurrency: 3,
            batch: 50,
            wait_secs: 20,
            ingest_wait_secs: 600,
            threads: 0,
        }
    }
}

impl EmbedConfig {
    /// Adds what is out of range.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        range(out, prefix, "concurrency", u64::from(self.concurrency), 1..=256);
        range(out, prefix, "queue", u64::from(self.queue), 1..=100_000);
        range(out, prefix, "max_text_bytes", self.max_text_bytes as u64, 1024..=33_554_432);
        range(out, prefix, "ingest_concurrency", u64::from(self.ingest_concurrency), 1..=256);
        range(out, prefix, "batch", u64::from(self.batch), 1..=2048);
        range(out, prefix, "wait_secs", self.wait_secs, 1..=600);
        range(out, prefix, "ingest_wait_secs", self.ingest_wait_secs, 1..=86_400);
        range(out, prefix, "threads", u64::from(self.threads), 0..=1024);
    }
}

/// `[upstream]`: bounds of every call to a provider.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamConfig {
    /// Longest wait for the first event of a streamed answer, in seconds; then the next target is tried. Default 30.
    pub ttft_timeout_secs: u64,
    /// Longest silence within a streamed answer, in seconds; then it counts as broken off. Default 30.
    pub idle_timeout_secs: u64,
    /// Longest time of one attempt at a whole answer, in seconds. Default 60.
    pub attempt_timeout_secs: u64,
    /// Longest time of a whole streamed answer, in seconds; then it counts as broken off. Default 600.
    pub stream_timeout_secs: u64,
    /// Most bytes of a whole answer; a longer one counts as broken. Default 33554432.
    pub max_answer_bytes: usize,
    /// Most bytes of one event of a streamed answer; a longer one counts as broken off. Default 1048576.
    pub max_event_bytes: usize,
    /// Most bytes read of a provider's error. Default 65536.
    pub max_error_bytes: usize,
    /// Seconds without use of an account whose credit is gone or whose key is refused. Default 900.
    pub hold_secs: u64,
    /// How calls are retried, paced and broken off.
    pub guard: GuardConfig,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            ttft_timeout_secs: 30,
            idle_timeout_secs: 30,
            attempt_timeout_secs: 60,
            stream_timeout_secs: 600,
            max_answer_bytes: 33_554_432,
            max_event_bytes: 1_048_576,
            max_error_bytes: 65_536,
            hold_secs: 900,
            guard: GuardConfig::default(),
        }
    }
}

impl UpstreamConfig {
    /// Adds what is out of range.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value) in [
            ("ttft_timeout_secs", self.ttft_timeout_secs),
            ("idle_timeout_secs", self.idle_timeout_secs),
            ("attempt_timeout_secs", self.attempt_timeout_secs),
            ("stream_timeout_secs", self.stream_timeout_secs),
            ("hold_secs", self.hold_secs),
        ] {
            range(out, prefix, key, value, 1..=86_400);
        }
        self.guard.problems(&format!("{prefix}.guard"), out);
        range(out, prefix, "max_answer_bytes", self.max_answer_bytes as u64, 65_536..=1_073_741_824);
        range(out, prefix, "max_event_bytes", self.max_event_bytes as u64, 4096..=67_108_864);
        range(out, prefix, "max_error_bytes", self.max_error_bytes as u64, 1024..=1_048_576);
    }
}

impl ProviderConfig {
    /// Adds what is out of range or missing in `[providers.<name>]`.
    pub fn problems(&self, name: &str, prefix: &str, out: &mut Vec<Problem>) {
        let row = presets::row_for(name);
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
            || name.is_empty()
            || name.len() > 64
        {
            let mend = "Use 1 to 64 of the characters a-z, 0-9, - and _.";
            out.push(Problem::new(prefix, "The provider's name is not usable as a name.", mend));
        }
        for (key, value, most) in [
            ("concurrency", self.concurrency, 10_000),
            ("queue", self.queue, 100_000),
            ("breaker_failures", self.breaker_failures, 1000),
            ("attempts", self.attempts, 10),
        ] {
            if let Some(value) = value {
                range(out, prefix, key, u64::from(value), 1..=most);
            }
        }
        for (key, value) in [
            ("breaker_reset_secs", self.breaker_reset_secs),
            ("attempt_timeout_secs", self.attempt_timeout_secs),
        ] {
            if let Some(value) = value {
                range(out, prefix, key, value, 1..=86_400);
            }
        }
        self.url_problems(row, prefix, out);
        self.key_problems(prefix, out);
        if row.unsafe_without_word && self.enabled != Some(false) && !self.allow_without_safety {
            let key = format!("{prefix}.allow_without_safety");
            let message = "This endpoint takes no safety settings, so the provider filters nothing.";
            let mend = "Use the provider `gemini`, or set allow_without_safety = true if you mean it.";
            out.push(Problem::new(key, message, mend));
        }
        self.safety_problems(row, prefix, out);
        if self.allow_without_safety && !row.unsafe_without_word && row.wire != Wire::Gemini {
            let key = format!("{prefix}.allow_without_safety");
            out.push(Problem::new(key, "This says nothing of this provider.", "Remove the line."));
        }
        for model in self.models.iter().flatten() {
            let name = model.name();
            if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
                let key = format!("{prefix}.models");
                out.push(Problem::new(key, "A model has no usable name.", "Give each 1 to 128 characters."));
            }
            if let ModelEntry::Row(row) = model {
                row.problems(&format!("{prefix}.models"), out);
            }
        }
    }

    /// The names of the secrets with its keys, in the order of their lanes; none where it needs no key.
    #[must_use]
    pub fn key_names<'a>(&'a self, row: &'a Preset) -> Vec<&'a str> {
        if self.key_secrets.is_empty() {
            let one = self.key_secret.as_deref().unwrap_or(row.key_secret);
            return Some(one).filter(|name| !name.is_empty()).into_iter().collect();
        }
        self.key_secrets.iter().map(String::as_str).collect()
    }

    fn safety_problems(&self, row: &Preset, prefix: &str, out: &mut Vec<Problem>) {
        let Some(safety) = &self.safety else { return };
        let key = format!("{prefix}.safety");
        if row.wire != Wire::Gemini {
            out.push(Problem::new(key, "This provider takes no safety settings.", "Remove the section."));
        } else if safety.filters_nothing() && !self.allow_without_safety {
            let mend = "Use an override for the hours it is needed, or set allow_without_safety = true if you mean it.";
            out.push(Problem::new(key, "This filters nothing at all in some category.", mend));
        }
    }

    fn key_problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let key = format!("{prefix}.key_secrets");
        if self.key_secrets.len() > MAX_LANES {
            let message = format!("{} keys are too many.", self.key_secrets.len());
            out.push(Problem::new(&key, message, format!("Name at most {MAX_LANES}.")));
        }
        let distinct: BTreeSet<&String> = self.key_secrets.iter().collect();
        if distinct.len() < self.key_secrets.len() || self.key_secrets.iter().any(String::is_empty) {
            let mend = "Name each secret once; one key is one account's quota.";
            out.push(Problem::new(&key, "A name is empty or said twice.", mend));
        }
        if self.key_secret.is_some() && !self.key_secrets.is_empty() {
            let mend = "Put that name into `key_secrets` and remove `key_secret`.";
            out.push(Problem::new(key, "There is a `key_secret` beside it.", mend));
        }
    }

    fn url_problems(&self, row: &Preset, prefix: &str, out: &mut Vec<Problem>) {
        let key = format!("{prefix}.base_url");
        match (row.wire.is_remote(), self.base_url.as_deref(), row.base_url) {
            (false, Some(_), _) => {
                out.push(Problem::new(key, "The builtin provider has no address.", "Remove the line."));
            }
            (true, None, "") => {
                let mend = "Name where the server is, such as \"http://127.0.0.1:8080/v1\".";
                out.push(Problem::new(key, "This provider is not a shipped one and names no address.", mend));
            }
            (true, Some(url), _) => {
                if let Err(why) = base_url(url) {
                    out.push(Problem::new(key, why, "Write it like \"https://host/v1\"."));
                }
            }
            (true | false, None, _) => {}
        }
    }
}

/// Adds every problem of `[providers]`.
pub fn problems(providers: &ProvidersConfig, prefix: &str, out: &mut Vec<Problem>) {
    for (name, provider) in providers {
        provider.problems(name, &format!("{prefix}.{name}"), out);
    }
}

/// Checks a base URL: http or https, a host, no credentials, no query.
///
/// # Errors
/// What is wrong, in one sentence.
pub(crate) fn base_url(url: &str) -> Result<http::Uri, &'static str> {
    let uri: http::Uri = url.parse().map_err(|_| "This is not an address.")?;
    let authority = uri.authority().ok_or("The address names no host.")?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("The address must begin with http:// or https://.");
    }
    if authority.as_str().contains('@') {
        return Err("The address holds credentials; name the key with `key_secret` instead.");
    }
    if uri.query().is_some() {
        return Err("The address must not have a query.");
    }
    if url.ends_with('/') {
        return Err("The address must not end with a slash.");
    }
    Ok(uri)
}

fn range(
    out: &mut Vec<Problem>,
    prefix: &str,
    key: &str,
    value: u64,
    allowed: std::ops::RangeInclusive<u64>,
) {
    if !allowed.contains(&value) {
        let (least, most) = (allowed.start(), allowed.end());
        out.push(Problem::new(
            format!("{prefix}.{key}"),
            format!("{value} is out of range."),
            format!("Use a number from {least} to {most}."),
        ));
    }
}

#[cfg(test)]
mod tests;
