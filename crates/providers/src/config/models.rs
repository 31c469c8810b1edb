//! Settings of models: what a shipped row says of one, an operator may say otherwise, with its provider or by its full
//! name.

use super::range;
use crate::presets::ModelKind;
use jiff::civil::Date;
use portcullis_domain::{Price, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A model: its name, or a table that says more.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ModelEntry {
    /// A chat model by its name (names with `embed` in them are embedding models).
    Name(String),
    /// A model with its properties.
    Row(Box<ModelConfig>),
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
            Self::Name(name) => ModelConfig { name: name.clone(), ..ModelConfig::default() },
            Self::Row(row) => (**row).clone(),
        }
    }
}

/// `[models."provider/model"]`: what differs from the row of that model, shipped or in `[providers.<name>]`; a model
/// that neither names is added.
pub type ModelsConfig = BTreeMap<String, ModelConfig>;

/// One model of a provider. What is left out is as the shipped row of that name says, or not known.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// The provider's own name for it. In `[models."provider/model"]` the section says it.
    pub name: String,
    /// `chat` or `embed`. Default: `embed` for names with `embed` in them, else `chat`.
    pub kind: Option<ModelKind>,
    /// Tokens it reads and writes together: a longer conversation goes to another target. Told in the model list.
    pub context: Option<u32>,
    /// Most tokens it writes in one answer: what is reserved for a request that names no bound.
    pub max_output: Option<u32>,
    /// Length of its vectors when the caller names none, told in the model list. Default: not told.
    pub dimensions: Option<u32>,
    /// What it cannot do: requests that need it go to another target. Default: nothing.
    pub lacks: Option<Vec<Capability>>,
    /// Name of the space of its vectors; targets of one route must share it. Default: the model's name.
    pub space: Option<String>,
    /// What its tokens cost. Without a price its use counts tokens but no money, and the ledger says `unpriced`.
    pub price: Option<PriceConfig>,
    /// How much longer than others it may take: a factor of the time-outs of one attempt, 0.1 to 20. Default 1.
    pub timeout_factor: Option<f64>,
    /// Inputs that one call for vectors may carry; larger requests are split. Default: not split.
    pub batch: Option<u32>,
}

/// What tokens cost, in micro-dollars for each 1,000,000 of them: 150000 is 0.15 dollars a million.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceConfig {
    /// Tokens read.
    pub input: u64,
    /// Tokens read that the provider had cached. Default: as `input`.
    #[serde(default)]
    pub cached_input: Option<u64>,
    /// Tokens written, reasoning included. Default 0, as for vectors.
    #[serde(default)]
    pub output: u64,
    /// Since when, as an ISO date: kept in the ledger beside what was charged. Default: not told.
    #[serde(default)]
    pub valid_from: Option<String>,
}

impl PriceConfig {
    /// As the rest of the house counts.
    #[must_use]
    pub fn price(&self) -> Price {
        let cached_input = self.cached_input.unwrap_or(self.input);
        Price { input: self.input, cached_input, output: self.output }
    }
}

impl ModelConfig {
    /// Since when its price holds, where it says so.
    #[must_use]
    pub fn valid_from(&self) -> Option<Date> {
        self.price.as_ref()?.valid_from.as_deref()?.parse().ok()
    }

    pub(super) fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value, most) in [
            ("context", self.context, 100_000_000),
            ("max_output", self.max_output, 100_000_000),
            ("dimensions", self.dimensions, 1_000_000),
            ("batch", self.batch, 100_000),
        ] {
            if let Some(value) = value {
                range(out, prefix, key, u64::from(value), 1..=most);
            }
        }
        if self.timeout_factor.is_some_and(|factor| !(0.1..=20.0).contains(&factor)) {
            let key = format!("{prefix}.timeout_factor");
            out.push(Problem::new(key, "The factor is out of range.", "Use a number from 0.1 to 20."));
        }
        let Some(price) = &self.price else { return };
        for (key, value) in [
            ("input", Some(price.input)),
            ("cached_input", price.cached_input),
            ("output", Some(price.output)),
        ] {
            if let Some(value) = value {
                range(out, prefix, &format!("price.{key}"), value, 0..=MAX_PRICE);
            }
        }
        if price.valid_from.is_some() && self.valid_from().is_none() {
            let key = format!("{prefix}.price.valid_from");
            out.push(Problem::new(key, "This is not a date.", "Write it like \"2026-01-31\"."));
        }
    }
}

/// A hundred thousand dollars a million tokens: more is a slip of the decimal point.
const MAX_PRICE: u64 = 100_000_000_000;

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
    /// Log probabilities of the answer's tokens.
    Logprobs,
}

impl Capability {
    /// Every capability.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Images, Self::Json, Self::Logprobs];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Images => "images",
            Self::Json => "json",
            Self::Logprobs => "logprobs",
        }
    }
}

/// Adds every problem of `[models]`. `known` tells which providers exist.
pub fn model_problems(
    models: &ModelsConfig,
    prefix: &str,
    known: impl Fn(&str) -> bool,
    out: &mut Vec<Problem>,
) {
    for (name, model) in models {
        let key = format!("{prefix}.\"{name}\"");
        model.problems(&key, out);
        match name.split_once('/') {
            Some((provider, model)) if known(provider) && (1..=128).contains(&model.len()) => {}
            Some(_) | None => {
                let mend = "Name it \"provider/model\", with a shipped provider or one of [providers].";
                out.push(Problem::new(&key, "This names no model of a known provider.", mend));
            }
        }
        if !model.name.is_empty() {
            let mend = "Remove the line: the section's own name says it.";
            out.push(Problem::new(format!("{key}.name"), "The name is said twice.", mend));
        }
    }
}
