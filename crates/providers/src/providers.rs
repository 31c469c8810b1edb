//! Every provider that can be used: those of the settings and those of the shipped rows whose key is there, and the
//! builtin one always.

use crate::{
    builtin::{Builtin, Embedders, ExtractConfig, MULTILINGUAL},
    config::{
        EmbedConfig, LearnConfig, ModelsConfig, ProviderConfig, ProvidersConfig, UpstreamConfig, WhenFull,
    },
    model::Model,
    presets::{self, BUILTIN, PRESETS, Preset, Wire},
    provider::{Provider, Voice},
    safety::Safety,
    wire::remote::{Remote, RemoteParts},
};
use portcullis_domain::{Action, SafetyView};
use portcullis_resilience::{
    Dependency, DependencyPolicy, GuardConfig, Registry,
    breaker::BreakerPolicy,
    bulkhead::BulkheadPolicy,
    http::Client,
    pacing::{Learn, PacePolicy},
};
use portcullis_telemetry::{Alerts, Metrics};
use secrecy::SecretString;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::Arc,
    time::Duration,
};

/// A provider that cannot be set up as it is configured.
#[derive(Debug, thiserror::Error)]
#[error("provider {name}: {why}")]
pub struct ProvidersError {
    /// Which one.
    pub name: String,
    /// What is wrong, without its address and key.
    pub why: String,
}

/// What providers are built from.
pub struct Parts<'a> {
    /// `[providers]`.
    pub providers: &'a ProvidersConfig,
    /// `[models]`.
    pub models: &'a ModelsConfig,
    /// `[embed]`.
    pub embed: &'a EmbedConfig,
    /// `[extract]`.
    pub extract: &'a ExtractConfig,
    /// `[upstream]`.
    pub upstream: &'a UpstreamConfig,
    /// The shared client.
    pub client: Client,
    /// Where every guarded provider is entered.
    pub registry: &'a Registry,
    /// Where calls are counted.
    pub metrics: Metrics,
    /// Who hears of refused keys and empty accounts.
    pub alerts: Alerts,
    /// Calls a minute by action, over all providers; no entry is no limit.
    pub paces: BTreeMap<Action, u32>,
    /// What operators changed of safety settings for a while.
    pub overrides: SafetyView,
    /// The models of this process.
    pub embedders: Embedders,
}

/// A guard, and what it stands before: a wire and an address. Another address is another thing, whose breaker starts
/// anew.
#[derive(Clone)]
struct Guard {
    dependency: Dependency,
    kind: String,
    policy: DependencyPolicy,
}

struct Inner {
    all: Vec<Arc<Provider>>,
    guards: Vec<Guard>,
}

/// The providers. Cheap to clone.
#[derive(Clone)]
pub struct Providers(Arc<Inner>);

/// Providers that stand but are not in force yet. Dropping them changes nothing.
pub struct Staged {
    providers: Providers,
    before: Option<Providers>,
}

impl Staged {
    /// Puts them in force: their guards go by the new policies and are entered in the registry; guards that nobody
    /// needs any more leave it.
    #[must_use]
    pub fn commit(self, registry: &Registry) -> Providers {
        let guards = &self.providers.0.guards;
        let gone = |name: &str| {
            let had = |providers: &Providers| {
                providers.0.guards.iter().any(|guard| guard.dependency.name() == name)
            };
            self.before.as_ref().is_some_and(had) && !had(&self.providers)
        };
        registry.retain(|name| !gone(name));
        for guard in guards {
            if self.before.is_some() {
                guard.dependency.reconfigure(guard.policy.clone());
            }
            registry.add(guard.dependency.clone());
        }
        self.providers
    }
}

/// Our own time-outs inside an attempt come first and know better what happened.
const AFTER_OURS: Duration = Duration::from_secs(1);
/// Calls that may wait for the minute of their action; each waits no longer than `upstream.guard.pace_wait_ms`.
const MAX_PACED: usize = 1024;
/// The gate in front of embeddings is bounded by deadlines only.
const UNBOUNDED: Duration = Duration::from_secs(86_400);

impl Providers {
    /// Sets up every provider that is configured or whose key is there; `secret` finds keys by name.
    ///
    /// # Errors
    /// `ProvidersError` for a configured provider that cannot be used as it stands.
    pub fn new(
        parts: &Parts<'_>,
        secret: impl Fn(&str) -> Option<SecretString>,
    ) -> Result<Self, ProvidersError> {
        Ok(Self::stage(parts, None, secret)?.commit(parts.registry))
    }

    /// The same, not yet in force. What the guards of those that are in force know carries over where name and kind
    /// are the same.
    ///
    /// # Errors
    /// As `new`.
    pub fn stage(
        parts: &Parts<'_>,
        before: Option<&Self>,
        secret: impl Fn(&str) -> Option<SecretString>,
    ) -> Result<Staged, ProvidersError> {
        let parts = Stage { parts, before, guards: RefCell::default() };
        let gate = parts.gate();
        let mut all = Vec::new();
        let mut seen = BTreeSet::new();
        let shipped = PRESETS.iter().filter(|row| !row.base_url.is_empty()).map(|row| row.name);
        // Shipped rows first, in their order; then the operator's own.
        for name in shipped.chain(parts.providers.keys().map(String::as_str)) {
            if name == BUILTIN || !seen.insert(name) {
                continue;
            }
            let config = parts.providers.get(name);
            let row = presets::row_for(name);
            let plain = ProviderConfig::default();
            if let Some(provider) =
                parts.remote(name, row, config, config.unwrap_or(&plain), &gate, &secret)?
            {
                tracing::info!(provider = name, models = provider.models.len(), "provider ready");
                all.push(Arc::new(provider));
            }
        }
        let builtin = parts.builtin(&gate, !all.is_empty());
        all.push(Arc::new(builtin));
        let inner = Inner { all, guards: parts.guards.into_inner() };
        Ok(Staged { providers: Self(Arc::new(inner)), before: before.cloned() })
    }

    /// The one of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Provider>> {
        self.0.all.iter().find(|provider| provider.name() == name)
    }

    /// All, builtin last.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.0.all.iter()
    }

    /// Whether any provider but the builtin one is there.
    #[must_use]
    pub fn any_remote(&self) -> bool {
        self.0.all.len() > 1
    }
}

/// Providers being put together.
struct Stage<'a> {
    parts: &'a Parts<'a>,
    before: Option<&'a Providers>,
    guards: RefCell<Vec<Guard>>,
}

impl<'a> Deref for Stage<'a> {
    type Target = Parts<'a>;

    fn deref(&self) -> &Parts<'a> {
        self.parts
    }
}

impl<'a> Stage<'a> {
    fn remote(
        &self,
        name: &str,
        row: &'static Preset,
        configured: Option<&ProviderConfig>,
        config: &ProviderConfig,
        gate: &Dependency,
        secret: impl Fn(&str) -> Option<SecretString>,
    ) -> Result<Option<Provider>, ProvidersError> {
        if config.enabled == Some(false) || (row.unsafe_without_word && !config.allow_without_safety) {
            return Ok(None);
        }
        let fail = |why: &str| ProvidersError { name: name.to_owned(), why: why.to_owned() };
        let key_names = config.key_names(row);
        let keys: Vec<SecretString> = key_names.iter().filter_map(|name| secret(name)).collect();
        let active = !keys.is_empty() || (key_names.is_empty() && configured.is_some());
        if !active {
            return Ok(None);
        }
        let Some(format) = row.wire.format() else { return Ok(None) };
        let base = config.base_url.as_deref().unwrap_or(row.base_url);
        crate::config::base_url(base).map_err(fail)?;
        let mut bounds = self.upstream.clone();
        if let Some(secs) = config.attempt_timeout_secs {
            bounds.attempt_timeout_secs = secs;
        }
        let models = self.models(name, row, config);
        let slowest = models.iter().map(|model| model.timeout_factor).fold(1.0, f64::max);
        let mut policy = self.policy(self.guard_of(name, row, &key_names), row, config, &bounds, keys.len());
        policy.attempt_timeout = (policy.attempt_timeout - AFTER_OURS).mul_f64(slowest) + AFTER_OURS;
        let voice = Remote::new(RemoteParts {
            client: self.client.clone(),
            format,
            responses: row.responses,
            base,
            keys,
            dialect: row.dialect,
            bounds,
            safety: (row.wire == Wire::Gemini)
                .then(|| Safety::new(name, config.safety.unwrap_or_default(), self.overrides.clone())),
        })
        .map_err(fail)?;
        let embed = DependencyPolicy {
            name: format!("{}-embed", policy.name),
            bulkhead: BulkheadPolicy {
                concurrency: policy.bulkhead.concurrency.min(self.embed.concurrency as usize),
                ..policy.bulkhead
            },
            pace: PacePolicy {
                per_min: limit(config.embed_rpm.unwrap_or(row.embed_rpm)),
                tokens_per_min: None,
            },
            ..policy.clone()
        };
        Ok(Some(self.provider(name, row, models, Voice::Remote(Box::new(voice)), base, policy, embed, gate)))
    }

    /// Whose guards it stands behind: its own, or those of the row it shares them with, where that one is in use with the
    /// same keys.
    fn guard_of<'n>(&self, name: &'n str, row: &Preset, keys: &[&str]) -> &'n str
    where
        'a: 'n,
    {
        let Some(other) = row.shares else { return name };
        let plain = ProviderConfig::default();
        let config = self.providers.get(other).unwrap_or(&plain);
        let guarded = self.guards.borrow().iter().any(|guard| guard.dependency.name() == other);
        if guarded && config.key_names(presets::row_for(other)) == keys { other } else { name }
    }

    fn models(&self, name: &str, row: &Preset, config: &ProviderConfig) -> Vec<Model> {
        listed(self.models, name, row, config)
    }

    fn builtin(&self, gate: &Dependency, others: bool) -> Provider {
        let row = presets::row_for(BUILTIN);
        let plain = ProviderConfig::default();
        let config = self.providers.get(BUILTIN).unwrap_or(&plain);
        let policy = DependencyPolicy {
            attempt_timeout: UNBOUNDED,
            guard: self.once(),
            learn: Learn::Off,
            ..self.policy(BUILTIN, row, config, self.upstream, 1)
        };
        let embed = DependencyPolicy { name: format!("{BUILTIN}-embed"), ..policy.clone() };
        let mut models = self.models(BUILTIN, row, config);
        // What can be added and was not is no offer.
        models.retain(|model| &*model.name != MULTILINGUAL || self.embedders.multilingual.is_installed());
        let (embedders, extract) = (self.embedders.clone(), self.extract.clone());
        let voice = Voice::Builtin(Builtin::new(embedders, extract, self.embed.max_text_bytes, others));
        self.provider(BUILTIN, row, models, voice, BUILTIN, policy, embed, gate)
    }

    #[expect(clippy::too_many_arguments, reason = "one place puts a provider together from what differs")]
    fn provider(
        &self,
        name: &str,
        row: &'static Preset,
        models: Vec<Model>,
        voice: Voice,
        kind: &str,
        chat: DependencyPolicy,
        embed: DependencyPolicy,
        gate: &Dependency,
    ) -> Provider {
        Provider {
            name: name.into(),
            row,
            models,
            voice,
            chat: self.dependency(kind, chat),
            embed: self.dependency(kind, embed),
            embed_gate: gate.clone(),
            paces: Action::ALL.map(|action| self.pace(action)),
            metrics: self.metrics.clone(),
            gen_ai: ["chat", "embeddings"].map(|operation| self.metrics.gen_ai(operation, row.otel_name)),
        }
    }

    /// S0-07: one gate for every embedding in the process.
    fn gate(&self) -> Dependency {
        let policy = DependencyPolicy {
            name: "embed".into(),
            breaker: BreakerPolicy { failures: 0, reset: Duration::ZERO },
            bulkhead: BulkheadPolicy {
                concurrency: self.embed.concurrency as usize,
                queue: self.embed.queue as usize,
            },
            pace: PacePolicy::default(),
            lanes: 1,
            learn: Learn::Off,
            attempt_timeout: UNBOUNDED,
            hold: Duration::ZERO,
            guard: self.once(),
        };
        self.dependency("gate", policy)
    }

    /// The limit a minute of an action, shared by all providers.
    fn pace(&self, action: Action) -> Option<Dependency> {
        let per_min = *self.paces.get(&action)?;
        let policy = DependencyPolicy {
            name: format!("action-{}", action.as_str()),
            breaker: BreakerPolicy { failures: 0, reset: Duration::ZERO },
            // A call only passes by; who waits, waits for the minute.
            bulkhead: BulkheadPolicy { concurrency: usize::MAX, queue: MAX_PACED },
            pace: PacePolicy { per_min: limit(per_min), tokens_per_min: None },
            lanes: 1,
            learn: Learn::Off,
            attempt_timeout: UNBOUNDED,
            hold: Duration::ZERO,
            guard: self.once(),
        };
        Some(self.dependency("action", policy))
    }

    /// Work inside the process is not repeated: it would fail the same way.
    fn once(&self) -> GuardConfig {
        GuardConfig { attempts: 1, ..self.upstream.guard.clone() }
    }

    /// The guard of that name and kind that is there already, or a new one.
    fn dependency(&self, kind: &str, policy: DependencyPolicy) -> Dependency {
        let shared = |guard: &&Guard| guard.dependency.name() == policy.name;
        if let Some(guard) = self.guards.borrow().iter().find(shared) {
            return guard.dependency.clone();
        }
        let same = |guard: &&Guard| guard.dependency.name() == policy.name && guard.kind == kind;
        let kept = self.before.and_then(|before| before.0.guards.iter().find(same));
        let dependency = match kept {
            Some(guard) => guard.dependency.clone(),
            None => Dependency::new(policy.clone(), &self.metrics, &self.alerts),
        };
        let guard = Guard { dependency: dependency.clone(), kind: kind.to_owned(), policy };
        self.guards.borrow_mut().push(guard);
        dependency
    }

    fn policy(
        &self,
        name: &str,
        row: &Preset,
        config: &ProviderConfig,
        bounds: &UpstreamConfig,
        keys: usize,
    ) -> DependencyPolicy {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let concurrency = match config.concurrency.unwrap_or(row.concurrency) {
            0 => processors,
            some => some as usize,
        };
        let longest = bounds.attempt_timeout_secs.max(bounds.ttft_timeout_secs);
        let (queue, pace_wait_ms) = match config.when_full {
            WhenFull::Queue => (config.queue.unwrap_or(row.queue) as usize, bounds.guard.pace_wait_ms),
            WhenFull::Reject => (0, 0),
        };
        DependencyPolicy {
            name: name.to_owned(),
            breaker: BreakerPolicy {
                failures: config.breaker_failures.unwrap_or(row.breaker_failures),
                reset: Duration::from_secs(config.breaker_reset_secs.unwrap_or(row.breaker_reset_secs)),
            },
            bulkhead: BulkheadPolicy { concurrency, queue },
            pace: PacePolicy {
                per_min: limit(config.rpm.unwrap_or(row.rpm)),
                tokens_per_min: limit(config.tpm.unwrap_or(row.tpm)),
            },
            lanes: keys.max(1),
            learn: config.learn.map_or(Learn::Lower, LearnConfig::learn),
            attempt_timeout: Duration::from_secs(longest) + AFTER_OURS,
            hold: Duration::from_secs(bounds.hold_secs),
            guard: GuardConfig {
                attempts: config.attempts.unwrap_or(bounds.guard.attempts),
                pace_wait_ms,
                ..bounds.guard.clone()
            },
        }
    }
}

/// 0 means none.
const fn limit(per_min: u32) -> Option<u32> {
    if per_min == 0 { None } else { Some(per_min) }
}

/// The models a provider lists: its own list or its row's, each as `[models]` corrects it, and those that only
/// `[models]` names.
fn listed(corrections: &ModelsConfig, name: &str, row: &Preset, config: &ProviderConfig) -> Vec<Model> {
    let mut models: Vec<Model> = match &config.models {
        Some(models) => models.iter().map(|entry| Model::configured(&entry.row(), row)).collect(),
        None => row.models.iter().map(|model| Model::preset(model, row)).collect(),
    };
    for (full, said) in corrections {
        let Some((_, model)) = full.split_once('/').filter(|(provider, _)| *provider == name) else {
            continue;
        };
        match models.iter_mut().find(|known| &*known.name == model) {
            Some(known) => *known = known.clone().with(said),
            None => models.push(Model::unlisted(model, row).with(said)),
        }
    }
    models
}

/// The models that a provider of that name would list under these settings, whether it has a key or not.
#[must_use]
pub fn listed_models(providers: &ProvidersConfig, corrections: &ModelsConfig, name: &str) -> Vec<Model> {
    let plain = ProviderConfig::default();
    listed(corrections, name, presets::row_for(name), providers.get(name).unwrap_or(&plain))
}
