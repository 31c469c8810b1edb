//! One model of one provider, as routes choose it and the model list shows it.

use crate::{
    config::{Capability, ModelConfig},
    presets::{ModelKind, ModelPreset, Preset},
};
use jiff::civil::Date;
use portcullis_domain::{Needs, Price};
use std::sync::Arc;

/// A model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The provider's own name for it.
    pub name: Arc<str>,
    /// What it is for.
    pub kind: ModelKind,
    /// Whether it is the provider's quick one.
    pub fast: bool,
    /// Tokens it reads and writes together, where known.
    pub context: Option<u32>,
    /// Most tokens it writes, where known.
    pub max_output: Option<u32>,
    /// Length of its vectors, where known.
    pub dimensions: Option<u32>,
    /// What it cannot do.
    pub lacks: Arc<[Capability]>,
    /// Names the space of its vectors: only vectors of one space can be compared.
    pub space: Arc<str>,
    /// What its tokens cost, where known.
    pub price: Option<Price>,
    /// Since when they cost that, where known.
    pub price_valid_from: Option<Date>,
    /// How much longer than other models it may take: a factor of the time-outs of one attempt, above 0.
    pub timeout_factor: f64,
    /// Inputs that one call for vectors may carry, where known.
    pub batch: Option<u32>,
}

impl Model {
    /// From a preset row.
    pub(crate) fn preset(preset: &ModelPreset, of: &Preset) -> Self {
        let mut model = Self::bare(preset.name, preset.kind, of);
        model.fast = preset.fast;
        model.context = preset.context;
        model.max_output = preset.max_output;
        model.dimensions = preset.dimensions;
        model.lacks = preset.lacks.into();
        model.batch = preset.batch;
        if let Some((price, since)) = preset.price {
            model.price = Some(price);
            model.price_valid_from = Some(since);
        }
        model
    }

    /// From the settings of its provider. What they do not say and the shipped row of that name does, stays.
    pub(crate) fn configured(config: &ModelConfig, of: &Preset) -> Self {
        let known = of.models.iter().find(|known| known.name == config.name);
        let guessed = || Self::bare(&config.name, ModelKind::guess(&config.name), of);
        known.map_or_else(guessed, |known| Self::preset(known, of)).with(config)
    }

    /// A model that no list names, of a provider that may have it all the same.
    pub(crate) fn unlisted(name: &str, of: &Preset) -> Self {
        Self::bare(name, ModelKind::guess(name), of)
    }

    /// With what a section of the settings says otherwise.
    pub(crate) fn with(mut self, config: &ModelConfig) -> Self {
        self.kind = config.kind.unwrap_or(self.kind);
        self.context = config.context.or(self.context);
        self.max_output = config.max_output.or(self.max_output);
        self.dimensions = config.dimensions.or(self.dimensions);
        self.timeout_factor = config.timeout_factor.unwrap_or(self.timeout_factor);
        self.batch = config.batch.or(self.batch);
        if let Some(lacks) = &config.lacks {
            self.lacks = lacks.as_slice().into();
        }
        if let Some(space) = &config.space {
            self.space = space.as_str().into();
        }
        if let Some(price) = &config.price {
            self.price = Some(price.price());
            self.price_valid_from = config.valid_from();
        }
        self
    }

    fn bare(name: &str, kind: ModelKind, of: &Preset) -> Self {
        let name: Arc<str> = name.into();
        Self {
            kind,
            fast: false,
            context: None,
            max_output: None,
            dimensions: None,
            lacks: [].into(),
            space: name.clone(),
            price: of.free.then(Price::default),
            price_valid_from: None,
            timeout_factor: 1.0,
            batch: None,
            name,
        }
    }

    /// The first thing that is needed and that it cannot do: the request's member, and words for it.
    #[must_use]
    pub fn missing(&self, needs: Needs) -> Option<(&'static str, &'static str)> {
        let wanted = [
            (needs.tools, Capability::Tools, "tools", "tool calls"),
            (needs.images, Capability::Images, "messages", "images"),
            (needs.json, Capability::Json, "response_format", "answers bound to JSON"),
            (needs.logprobs, Capability::Logprobs, "logprobs", "log probabilities"),
        ];
        let lacking =
            |(needed, capability, ..): &(bool, Capability, _, _)| *needed && self.lacks.contains(capability);
        wanted.into_iter().find(lacking).map(|(_, _, param, words)| (param, words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::{find, row_for};

    fn config(value: serde_json::Value) -> ModelConfig {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_the_settings_do_not_say_of_a_known_model_its_row_does() {
        let row = find("openai").unwrap();
        let plain = Model::configured(&config(serde_json::json!({ "name": "gpt-4o-mini" })), row);
        assert_eq!((plain.context, plain.max_output, plain.fast), (Some(128_000), Some(16_384), true));
        assert_eq!(plain.price, Some(Price { input: 150_000, cached_input: 75_000, output: 600_000 }));
        let said = config(serde_json::json!({
            "name": "gpt-4o-mini", "context": 1000, "lacks": ["tools", "logprobs"], "timeout_factor": 2.5,
            "price": { "input": 1, "output": 2, "valid_from": "2026-01-31" },
        }));
        let model = Model::configured(&said, row);
        assert_eq!((model.context, model.max_output), (Some(1000), Some(16_384)));
        assert_eq!(model.price, Some(Price { input: 1, cached_input: 1, output: 2 }));
        assert_eq!(model.price_valid_from, Some(jiff::civil::date(2026, 1, 31)));
        assert!((model.timeout_factor - 2.5).abs() < f64::EPSILON);
        let wants = |needs: Needs| model.missing(needs).map(|(param, _)| param);
        assert_eq!(wants(Needs { logprobs: true, ..Needs::default() }), Some("logprobs"));
        assert_eq!(wants(Needs { json: true, ..Needs::default() }), None);
    }

    #[test]
    fn a_model_nobody_lists_has_no_price_unless_its_provider_is_free() {
        assert_eq!(Model::unlisted("anything", row_for("openai")).price, None);
        assert_eq!(Model::unlisted("anything", row_for("my-server")).price, None);
        assert_eq!(Model::unlisted("anything", row_for("ollama")).price, Some(Price::default()));
        assert_eq!(Model::unlisted("my-embedder", row_for("ollama")).kind, ModelKind::Embed);
    }
}
