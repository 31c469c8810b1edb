//! The providers Portcullis knows, as data: a row is all it takes to add one that speaks a known wire.
//!
//! Invariant: a row names only what works; every figure in it is the default of a key in `[providers.<name>]`.
//! Source of the figures: gateway design section 3, S0-01 and S4-BRK; each quota note carries its own date.

use crate::config::Capability;
use std::fmt::Write as _;

/// How a provider is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// `POST {base}/chat/completions` and `POST {base}/embeddings`, server-sent events.
    OpenAi,
    /// Inside the process.
    Builtin,
}

impl Wire {
    /// The stable name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Builtin => "in process",
        }
    }
}

/// Codes that providers give beside OpenAI's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's codes only.
    Plain,
    /// Moonshot's.
    Kimi,
    /// Zhipu's numbers.
    Glm,
}

/// One provider.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name in the configuration, in metrics and before the slash of `provider/model`.
    pub name: &'static str,
    /// How it is spoken to.
    pub wire: Wire,
    /// Which extra error codes it has.
    pub dialect: Dialect,
    /// Where it is; empty when the configuration must say.
    pub base_url: &'static str,
    /// Name of the secret with its key; empty when it needs none.
    pub key_secret: &'static str,
    /// Calls at once; 0 means one a processor.
    pub concurrency: u32,
    /// Calls that may wait for a place.
    pub queue: u32,
    /// Chat requests a minute; 0 means no pacing.
    pub rpm: u32,
    /// Chat tokens a minute; 0 means no pacing.
    pub tpm: u32,
    /// Embedding requests a minute; 0 means no pacing.
    pub embed_rpm: u32,
    /// Consecutive failures that open the breaker; 0 means it has none.
    pub breaker_failures: u32,
    /// Seconds until an open breaker lets a probe through.
    pub breaker_reset_secs: u64,
    /// What the OpenTelemetry conventions call it.
    pub otel_name: &'static str,
    /// Models listed without configuration: the best known of each kind first.
    pub models: &'static [ModelPreset],
    /// The largest concurrency that the provider's published quota surely allows, where it publishes one.
    pub known_concurrency: Option<u32>,
    /// What the provider publishes about its quotas, in one sentence.
    pub quota: &'static str,
    /// When that was read, ISO date.
    pub quota_read: &'static str,
}

/// A model of a row. Names are data and go stale; the configuration replaces the list.
#[derive(Clone, Copy, Debug)]
pub struct ModelPreset {
    /// The provider's own name for it.
    pub name: &'static str,
    /// What it is for.
    pub kind: ModelKind,
    /// Whether it is the one that the shipped routes use for quick work.
    pub fast: bool,
    /// Length of its vectors when the caller names none.
    pub dimensions: Option<u32>,
    /// What it cannot do.
    pub lacks: &'static [Capability],
}

/// What a model is for.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// Conversations.
    #[default]
    Chat,
    /// Vectors.
    Embed,
}

impl ModelKind {
    /// The stable name in model lists.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embed => "embed",
        }
    }

    /// What a model of that name is most likely for.
    #[must_use]
    pub fn guess(name: &str) -> Self {
        if name.contains("embed") { Self::Embed } else { Self::Chat }
    }
}

const fn chat(name: &'static str) -> ModelPreset {
    ModelPreset { name, kind: ModelKind::Chat, fast: false, dimensions: None, lacks: &[] }
}

const fn fast(name: &'static str) -> ModelPreset {
    ModelPreset { fast: true, ..chat(name) }
}

const fn embed(name: &'static str, dimensions: u32) -> ModelPreset {
    ModelPreset { kind: ModelKind::Embed, dimensions: Some(dimensions), ..chat(name) }
}

/// Words in, words out, nothing else.
const fn plain(name: &'static str) -> ModelPreset {
    ModelPreset { lacks: &Capability::ALL, ..chat(name) }
}

/// The template for any server that speaks OpenAI's wire.
const TEMPLATE: Preset = Preset {
    name: "openai-compatible",
    wire: Wire::OpenAi,
    dialect: Dialect::Plain,
    base_url: "",
    key_secret: "",
    concurrency: 8,
    queue: 64,
    rpm: 0,
    tpm: 0,
    embed_rpm: 600,
    breaker_failures: 5,
    breaker_reset_secs: 60,
    otel_name: "openai_compatible",
    models: &[],
    known_concurrency: None,
    quota: "Whatever the server says; set `rpm` and `tpm` to it.",
    quota_read: "2026-11-20",
};

/// Every row. A configured provider of another name takes `openai-compatible`.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "openai",
        base_url: "https://api.openai.com/v1",
        key_secret: "openai_api_key",
        concurrency: 16,
        rpm: 500,
        tpm: 200_000,
        embed_rpm: 3000,
        otel_name: "openai",
        models: &[
            chat("gpt-4o"),
            fast("gpt-4o-mini"),
            embed("text-embedding-3-small", 1536),
            embed("text-embedding-3-large", 3072),
        ],
        quota: "By usage tier and model; told in `x-ratelimit-*` headers. The lowest paid tier starts near 500 RPM.",
        ..TEMPLATE
    },
    Preset {
        name: "kimi",
        dialect: Dialect::Kimi,
        base_url: "https://api.moonshot.ai/v1",
        key_secret: "moonshot_api_key",
        concurrency: 6,
        rpm: 200,
        tpm: 2_000_000,
        breaker_failures: 4,
        breaker_reset_secs: 120,
        otel_name: "moonshot_ai",
        models: &[chat("kimi-k2.6")],
        known_concurrency: Some(50),
        quota: "By recharge: the lowest level has 3 RPM and 1 concurrent call, the next 200 RPM and 50.",
        ..TEMPLATE
    },
    Preset {
        name: "glm",
        dialect: Dialect::Glm,
        base_url: "https://api.z.ai/api/paas/v4",
        key_secret: "zai_api_key",
        concurrency: 4,
        rpm: 60,
        tpm: 100_000,
        breaker_failures: 4,
        breaker_reset_secs: 120,
        otel_name: "z_ai",
        models: &[chat("glm-4.6"), fast("glm-4.5-air")],
        known_concurrency: Some(1),
        quota: "Concurrent calls per model, often 1; error 1302 says it was exceeded.",
        ..TEMPLATE
    },
    Preset {
        name: "ollama",
        base_url: "http://127.0.0.1:11434/v1",
        concurrency: 2,
        queue: 16,
        breaker_failures: 3,
        breaker_reset_secs: 30,
        otel_name: "ollama",
        quota: "None: the machine it runs on is the limit.",
        ..TEMPLATE
    },
    TEMPLATE,
    Preset {
        name: BUILTIN,
        wire: Wire::Builtin,
        concurrency: 0,
        embed_rpm: 0,
        breaker_failures: 0,
        breaker_reset_secs: 0,
        otel_name: "portcullis.builtin",
        models: &[plain("extractive"), embed("embed", 384), plain("echo")],
        quota: "None: this process is the limit.",
        ..TEMPLATE
    },
];

/// Name of the provider inside the process.
pub const BUILTIN: &str = "builtin";

/// The row of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|row| row.name == name)
}

/// The row a configured provider starts from: its own, or the template.
#[must_use]
pub fn row_for(name: &str) -> &'static Preset {
    find(name).unwrap_or(&TEMPLATE_ROW)
}

static TEMPLATE_ROW: Preset = TEMPLATE;

/// The document `docs/providers.md`: each row's baseline beside the provider's published quota (S0-01).
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(concat!(
        "# Providers\n\n",
        "What Portcullis knows of each AI provider, and the baseline it is run at. Every figure is the default of a key in ",
        "`[providers.<name>]`; `portcullis check` warns where a configured limit exceeds the known quota. A provider becomes ",
        "active when the secret with its key is there (`ollama` and others without a key: when the section is there). Any ",
        "other server that speaks OpenAI's wire is a section of its own name with a `base_url`; it starts from the row ",
        "`openai-compatible`.\n\n",
        "| name | wire | base URL | key secret | concurrent | queue | RPM | TPM | embeddings RPM | breaker: failures / reset |\n",
        "|---|---|---|---|---|---|---|---|---|---|\n",
    ));
    for row in PRESETS {
        let breaker = match row.breaker_failures {
            0 => "none".to_owned(),
            failures => format!("{failures} / {} s", row.breaker_reset_secs),
        };
        let concurrency =
            if row.concurrency == 0 { "one a processor".to_owned() } else { row.concurrency.to_string() };
        line(
            &mut out,
            &[
                &code(row.name),
                row.wire.as_str(),
                &if row.base_url.is_empty() && row.wire == Wire::OpenAi {
                    "required".into()
                } else {
                    code(row.base_url)
                },
                &code(row.key_secret),
                &concurrency,
                &row.queue.to_string(),
                &figure(row.rpm),
                &figure(row.tpm),
                &figure(row.embed_rpm),
                &breaker,
            ],
        );
    }
    out.push_str("\n## What they publish\n\n| name | quota | read on | models listed without configuration |\n|---|---|---|---|\n");
    for row in PRESETS {
        let models = row.models.iter().map(|model| code(model.name)).collect::<Vec<_>>().join(", ");
        line(
            &mut out,
            &[&code(row.name), row.quota, row.quota_read, if models.is_empty() { "-" } else { &models }],
        );
    }
    out
}

fn line(out: &mut String, cells: &[&str]) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn code(text: &str) -> String {
    if text.is_empty() { "-".into() } else { format!("`{text}`") }
}

fn figure(value: u32) -> String {
    if value == 0 { "none".into() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_is_complete_and_named_once() {
        let names: BTreeSet<_> = PRESETS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), PRESETS.len());
        for row in PRESETS {
            assert!(row.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", row.name);
            assert!(row.queue > 0 && !row.quota.is_empty() && !row.otel_name.is_empty(), "{}", row.name);
            assert!(row.quota_read.parse::<jiff::civil::Date>().is_ok(), "{}", row.name);
            match row.wire {
                Wire::OpenAi => assert!(row.breaker_failures > 0 && row.concurrency > 0, "{}", row.name),
                Wire::Builtin => assert_eq!((row.base_url, row.key_secret), ("", "")),
            }
            if !row.base_url.is_empty() {
                let remote = row.base_url.starts_with("https://");
                assert!(remote != row.key_secret.is_empty(), "{}: a remote provider needs a key", row.name);
                assert!(!row.base_url.ends_with('/'), "{}", row.name);
            }
        }
    }

    // req: S4-BRK
    #[test]
    fn the_figures_are_those_of_the_design() {
        let figures = |name: &str| {
            let row = find(name).unwrap();
            (row.concurrency, row.queue, row.rpm, row.tpm, row.breaker_failures, row.breaker_reset_secs)
        };
        assert_eq!(figures("openai"), (16, 64, 500, 200_000, 5, 60));
        assert_eq!(figures("kimi"), (6, 64, 200, 2_000_000, 4, 120));
        assert_eq!(figures("glm"), (4, 64, 60, 100_000, 4, 120));
        assert_eq!(figures("ollama"), (2, 16, 0, 0, 3, 30));
        assert_eq!(figures("openai-compatible"), (8, 64, 0, 0, 5, 60));
        assert_eq!(row_for("my-own-server").name, "openai-compatible");
    }

    // req: S0-01
    #[test]
    fn the_document_states_baseline_and_quota_of_every_row() {
        let text = markdown();
        for row in PRESETS {
            assert!(text.contains(&format!("`{}`", row.name)) && text.contains(row.quota), "{}", row.name);
        }
        assert!(text.lines().all(|line| !line.starts_with('|') || line.ends_with('|')));
    }
}
