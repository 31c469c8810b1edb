//! Settings of the providers: what a row of the presets says by default, an operator may say otherwise here.

use crate::presets::{self, ModelKind, Preset, Wire};
use portcullis_domain::Problem;
use portcullis_resilience::GuardConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Calls in flight at once; more wait in the queue. Default: the row's.
    pub concurrency: Option<u32>,
    /// Calls that may wait for a place; more are refused with 503. Default: the row's.
    pub queue: Option<u32>,
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
}

/// A model: its name, or a table that says more.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ModelEntry {
    /// A chat model by its name (names with `embed` in them are embedding models).
    Name(String),
    /// A model with its properties.
    Row(ModelConfig),
}

/// One model of a provider.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// The provider's own name for it.
    pub name: String,
    /// `chat` or `embed`. Default `chat`.
    pub kind: ModelKind,
    /// Tokens it reads and writes together, told in the model list. Default: not told.
    pub context: Option<u32>,
    /// Length of its vectors when the caller names none, told in the model list. Default: not told.
    pub dimensions: Option<u32>,
    /// What it cannot do: requests that need it go to another target. Default: nothing.
    pub lacks: Vec<Capability>,
    /// Name of the space of its vectors; targets of one route must share it. Default: the model's name.
    pub space: Option<String>,
}

/// Something a request may need and a model may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Tool calls.
    Tools,
    /// Images.
    Images,
    /// Answers bound to JSON or to a JSON schema.
    Json,
}

impl Capability {
    /// Every capability.
    pub const ALL: [Self; 3] = [Self::Tools, Self::Images, Self::Json];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Images => "images",
            Self::Json => "json",
        }
    }
}

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
}

impl Default for EmbedConfig {
    fn default() -> Self {
        Self { concurrency: 5, queue: 64, max_text_bytes: 1_048_576 }
    }
}

impl EmbedConfig {
    /// Adds what is out of range.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        range(out, prefix, "concurrency", u64::from(self.concurrency), 1..=256);
        range(out, prefix, "queue", u64::from(self.queue), 1..=100_000);
        range(out, prefix, "max_text_bytes", self.max_text_bytes as u64, 1024..=33_554_432);
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
        for model in self.models.iter().flatten() {
            let name = model.name();
            if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
                let key = format!("{prefix}.models");
                out.push(Problem::new(key, "A model has no usable name.", "Give each 1 to 128 characters."));
            }
        }
    }

    fn url_problems(&self, row: &Preset, prefix: &str, out: &mut Vec<Problem>) {
        let key = format!("{prefix}.base_url");
        match (row.wire, self.base_url.as_deref(), row.base_url) {
            (Wire::Builtin, Some(_), _) => {
                out.push(Problem::new(key, "The builtin provider has no address.", "Remove the line."));
            }
            (Wire::Builtin, None, _) => {}
            (Wire::OpenAi, None, "") => {
                let mend = "Name where the server is, such as \"http://127.0.0.1:8080/v1\".";
                out.push(Problem::new(key, "This provider is not a shipped one and names no address.", mend));
            }
            (Wire::OpenAi, Some(url), _) => {
                if let Err(why) = base_url(url) {
                    out.push(Problem::new(key, why, "Write it like \"https://host/v1\"."));
                }
            }
            (Wire::OpenAi, None, _) => {}
        }
    }
}

impl ModelEntry {
    /// The provider's own name for it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Row(row) => &row.name,
        }
    }

    /// With everything said.
    #[must_use]
    pub fn row(&self) -> ModelConfig {
        match self {
            Self::Name(name) => {
                ModelConfig { name: name.clone(), kind: ModelKind::guess(name), ..ModelConfig::default() }
            }
            Self::Row(row) => row.clone(),
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
mod tests {
    use super::*;

    fn found(toml_like: serde_json::Value, name: &str) -> Vec<String> {
        let config: ProviderConfig = serde_json::from_value(toml_like).unwrap();
        let mut out = Vec::new();
        problems(&ProvidersConfig::from([(name.to_owned(), config)]), "providers", &mut out);
        out.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn the_shipped_figures_and_sensible_settings_are_no_problem() {
        let mut out = Vec::new();
        EmbedConfig::default().problems("embed", &mut out);
        UpstreamConfig::default().problems("upstream", &mut out);
        assert_eq!(out, vec![]);
        assert!(found(serde_json::json!({}), "openai").is_empty());
        assert!(
            found(
                serde_json::json!({ "rpm": 0, "models": ["a", { "name": "b", "lacks": ["tools"] }] }),
                "kimi"
            )
            .is_empty()
        );
        assert!(found(serde_json::json!({ "base_url": "http://10.0.0.5:8000/v1" }), "my-server").is_empty());
    }

    #[test]
    fn every_mistake_is_named_by_its_key() {
        let many = serde_json::json!({
            "concurrency": 0, "queue": 0, "breaker_failures": 5000, "breaker_reset_secs": 0, "models": [""],
        });
        let keys = ["concurrency", "queue", "breaker_failures", "breaker_reset_secs", "models"];
        assert_eq!(found(many, "openai"), keys.map(|key| format!("providers.openai.{key}")));
        for url in [
            "ftp://host/v1",
            "host/v1",
            "https://user:pw@host/v1",
            "https://host/v1/",
            "https://host/v1?x=1",
            "",
        ] {
            let config = serde_json::json!({ "base_url": url });
            assert_eq!(found(config, "openai"), ["providers.openai.base_url"], "{url}");
        }
        assert_eq!(found(serde_json::json!({}), "my-server"), ["providers.my-server.base_url"]);
        assert_eq!(
            found(serde_json::json!({ "base_url": "https://h/v1" }), "builtin"),
            ["providers.builtin.base_url"]
        );
        assert_eq!(
            found(serde_json::json!({ "base_url": "https://h/v1" }), "Bad Name"),
            ["providers.Bad Name"]
        );
        assert!(
            serde_json::from_value::<ProviderConfig>(serde_json::json!({ "key": "sk-x" })).is_err(),
            "no keys in settings"
        );
    }
}
