//! AI providers: presets as data rows, wires as code, and the builtin one that needs no network.
//!
//! Invariants: every call goes through `Dependency::call`; nothing of a provider but its answer's bytes (and, of a
//! request it finds wrong, one redacted sentence) reaches a caller; no name a caller writes becomes part of a URL or
//! a metric label.

mod builtin;
pub mod config;
mod learn;
mod model;
pub mod presets;
mod provider;
mod providers;
mod refusal;
mod report;
mod safety;
mod vectors;
mod wire;

pub use builtin::{Embedders, ExtractConfig, MULTILINGUAL, Reading, e5, minilm, pack};
pub use config::{
    Capability, EmbedConfig, LearnConfig, ModelConfig, ModelEntry, ModelsConfig, PriceConfig, ProviderConfig,
    ProvidersConfig, UpstreamConfig, WhenFull,
};
pub use model::Model;
pub use presets::{BUILTIN, ModelKind};
pub use provider::{Call, Provider};
pub use providers::{Parts, Providers, ProvidersError, Staged, listed_models};
pub use refusal::Refusal;
pub use safety::{SafetyConfig, SafetyLevel};

#[cfg(test)]
mod tests;
