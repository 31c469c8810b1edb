//! One model of one provider, as routes choose it and the model list shows it.

use crate::{
    config::{Capability, ModelConfig},
    presets::{ModelKind, ModelPreset},
};
use portcullis_domain::Needs;
use std::sync::Arc;

/// A model.
#[derive(Clone, Debug)]
pub struct Model {
    /// The provider's own name for it.
    pub name: Arc<str>,
    /// What it is for.
    pub kind: ModelKind,
    /// Whether it is the provider's quick one.
    pub fast: bool,
    /// Tokens it reads and writes together, where known.
    pub context: Option<u32>,
    /// Length of its vectors, where known.
    pub dimensions: Option<u32>,
    /// What it cannot do.
    pub lacks: Arc<[Capability]>,
    /// Names the space of its vectors: only vectors of one space can be compared.
    pub space: Arc<str>,
}

impl Model {
    /// From a preset row.
    pub(crate) fn preset(preset: &ModelPreset) -> Self {
        Self {
            name: preset.name.into(),
            kind: preset.kind,
            fast: preset.fast,
            context: None,
            dimensions: preset.dimensions,
            lacks: preset.lacks.into(),
            space: preset.name.into(),
        }
    }

    /// From the settings.
    pub(crate) fn configured(config: &ModelConfig) -> Self {
        let name: Arc<str> = config.name.as_str().into();
        let space = config.space.as_deref().map_or_else(|| name.clone(), Into::into);
        Self {
            kind: config.kind,
            fast: false,
            context: config.context,
            dimensions: config.dimensions,
            lacks: config.lacks.as_slice().into(),
            space,
            name,
        }
    }

    /// A model that no list names, of a provider that may have it all the same.
    #[must_use]
    pub fn unlisted(name: &str) -> Self {
        Self::configured(&ModelConfig {
            name: name.into(),
            kind: ModelKind::guess(name),
            ..ModelConfig::default()
        })
    }

    /// The first thing that is needed and that it cannot do: the request's member, and words for it.
    #[must_use]
    pub fn missing(&self, needs: Needs) -> Option<(&'static str, &'static str)> {
        let wanted = [
            (needs.tools, Capability::Tools, "tools", "tool calls"),
            (needs.images, Capability::Images, "messages", "images"),
            (needs.json, Capability::Json, "response_format", "answers bound to JSON"),
        ];
        let lacking =
            |(needed, capability, ..): &(bool, Capability, _, _)| *needed && self.lacks.contains(capability);
        wanted.into_iter().find(lacking).map(|(_, _, param, words)| (param, words))
    }
}
