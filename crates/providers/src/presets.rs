//! The providers Portcullis knows, as data: a row is all it takes to add one that speaks a known wire.
//!
//! Invariant: a row names only what works; every figure in it is the default of a key in `[providers.<name>]`.
//! Source of the figures: gateway design section 3, S0-01 and S4-BRK; each quota note carries its own date.

mod document;
mod rows;

pub use document::markdown;
pub use rows::PRESETS;

use crate::config::Capability;
use jiff::civil::Date;
use portcullis_domain::{Format, Price};
use rows::TEMPLATE;

/// How a provider is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// `POST {base}/chat/completions` and `POST {base}/embeddings`, server-sent events.
    OpenAi,
    /// `POST {base}/models/{model}:generateContent` and its kin.
    Gemini,
    /// `POST {base}/messages`.
    Anthropic,
    /// Inside the process.
    Builtin,
}

impl Wire {
    /// The stable name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Gemini => "gemini",
            Self::Anthropic => "anthropic",
            Self::Builtin => "in process",
        }
    }

    /// The format that is spoken over the network; none inside the process.
    #[must_use]
    pub const fn format(self) -> Option<Format> {
        match self {
            Self::OpenAi => Some(Format::OpenAi),
            Self::Gemini => Some(Format::Gemini),
            Self::Anthropic => Some(Format::Anthropic),
            Self::Builtin => None,
        }
    }

    /// Whether it goes over the network, so that a provider of it has an address.
    #[must_use]
    pub const fn is_remote(self) -> bool {
        match self {
            Self::OpenAi | Self::Gemini | Self::Anthropic => true,
            Self::Builtin => false,
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
    /// Google's status words and details.
    Gemini,
    /// Anthropic's types.
    Anthropic,
}

/// One provider.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name in the configuration, in metrics and before the slash of `provider/model`.
    pub name: &'static str,
    /// How it is spoken to.
    pub wire: Wire,
    /// Whether it offers OpenAI's responses beside.
    pub responses: bool,
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
    /// Whether no model of it costs money, listed or not.
    pub free: bool,
    /// The row whose places and limits a minute this one shares, since both count against one quota.
    pub shares: Option<&'static str>,
    /// Whether it is a way around the provider's safety settings: used only where the settings name it and say
    /// `allow_without_safety = true`.
    pub unsafe_without_word: bool,
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
    /// Tokens it reads and writes together, where known.
    pub context: Option<u32>,
    /// Most tokens it writes, where known.
    pub max_output: Option<u32>,
    /// Length of its vectors when the caller names none.
    pub dimensions: Option<u32>,
    /// What it cannot do.
    pub lacks: &'static [Capability],
    /// What its tokens cost, and the day that price was published; none where it is not surely known.
    pub price: Option<(Price, Date)>,
    /// Inputs that one call for vectors may carry, where known.
    pub batch: Option<u32>,
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

#[cfg(test)]
mod tests;
