//! From a model name to the targets that may answer to it. Built once from the settings and the providers that have a
//! key; resolving hands out a shared route.
//!
//! Invariants: the first match wins (route, `provider/model` with the scope pin, a bare name that exactly one provider
//! has); who may use only some routes is served by no other name; a name is echoed to the caller only cut and without control
//! characters. Source: gateway design section 2.

use super::{
    affinity,
    choose::{Chooser, Set, Share},
    config::{CacheMode, LABELS, MAX_TARGETS, RouteConfig, RoutesConfig, Sticky, TargetConfig},
};
use portcullis_domain::{Caller, Failure, InputCode, Needs, Price, Scope};
use portcullis_providers::{BUILTIN, Model, ModelKind, Provider, Providers};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Routes that exist without configuration.
pub(crate) const SHIPPED: [(&str, ModelKind); 7] = [
    ("default", ModelKind::Chat),
    ("fast", ModelKind::Chat),
    ("ask", ModelKind::Chat),
    ("summarise", ModelKind::Chat),
    ("review", ModelKind::Chat),
    ("tools", ModelKind::Chat),
    ("embed", ModelKind::Embed),
];

/// Somebody who may answer.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) provider: Arc<Provider>,
    pub(crate) model: Model,
    /// `provider/model`.
    pub(crate) name: Arc<str>,
    pub(crate) rank: u32,
    weight: u32,
}

/// Who may answer to a name, lower ranks first.
pub(crate) struct Route {
    /// Its name as metric label; `pinned` or `bare` for a model that was named directly.
    pub(crate) label: Arc<str>,
    pub(crate) kind: ModelKind,
    pub(crate) targets: Box<[Target]>,
    pub(crate) chooser: Chooser,
    pub(crate) max_hops: usize,
    pub(crate) sticky: Sticky,
    pub(crate) policy: Box<str>,
    pub(crate) cache: CacheMode,
    /// No provider that the route names has a key: the builtin one stands in.
    pub(crate) stand_in: bool,
}

/// What a request needs of its target.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) needs: Needs,
    /// Tokens to read and to write, by estimate.
    pub(crate) tokens: u64,
}

/// Every name.
pub(crate) struct Routes {
    routes: BTreeMap<String, Arc<Route>>,
    pinned: BTreeMap<String, Arc<Route>>,
    bare: BTreeMap<String, Option<Arc<Route>>>,
    pinned_label: Arc<str>,
    affinity_headers: Box<[Box<str>]>,
}

impl Routes {
    pub(crate) fn new(config: &RoutesConfig, providers: &Providers) -> Self {
        let mut routes: BTreeMap<String, Arc<Route>> = SHIPPED
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), Arc::new(shipped(name, *kind, providers))))
            .collect();
        for (name, route) in config {
            routes.insert(name.clone(), Arc::new(configured(name, route, providers)));
        }
        let [pinned_label, bare_label] = LABELS.map(Arc::<str>::from);
        let (mut pinned, mut bare) = (BTreeMap::new(), BTreeMap::new());
        for provider in providers.iter() {
            for model in provider.models() {
                let route = |label: &Arc<str>| Arc::new(alone(label, target(provider, model.clone(), 0, 1)));
                pinned.insert(format!("{}/{}", provider.name(), model.name), route(&pinned_label));
                // A name that two have is nobody's.
                bare.entry(model.name.to_string())
                    .and_modify(|other| *other = None)
                    .or_insert_with(|| Some(route(&bare_label)));
            }
        }
        let affinity_headers: BTreeSet<Box<str>> = routes
            .values()
            .filter_map(|route| match &route.sticky {
                Sticky::Header(name) => Some(name.clone()),
                Sticky::Off | Sticky::Prefix => None,
            })
            .collect();
        let affinity_headers = affinity_headers.into_iter().collect();
        Self { routes, pinned, bare, pinned_label, affinity_headers }
    }

    /// The route of a name for this caller.
    ///
    /// # Errors
    /// `ModelNotAllowed` for a name that is not among those of a key that has some; `NotFound` for what nobody has, or
    /// only who may pin. Both in words that show the name cut and cleaned.
    pub(crate) fn resolve(
        &self,
        name: &str,
        caller: &Caller,
        providers: &Providers,
    ) -> Result<Arc<Route>, Failure> {
        let route = self.find(name, caller, providers)?;
        if caller.may_use(name) { Ok(route) } else { Err(not_allowed(name)) }
    }

    fn find(&self, name: &str, caller: &Caller, providers: &Providers) -> Result<Arc<Route>, Failure> {
        if let Some(route) = self.routes.get(name) {
            return Ok(route.clone());
        }
        if caller.scopes.has(Scope::Pin) {
            if let Some(route) = self.pinned.get(name) {
                return Ok(route.clone());
            }
            if let Some((provider, model)) = name.split_once('/')
                && let Some(provider) = providers.get(provider).filter(|provider| provider.takes_any_model())
                && !model.is_empty()
            {
                let target = target(provider, provider.model(model), 0, 1);
                return Ok(Arc::new(alone(&self.pinned_label, target)));
            }
        }
        match self.bare.get(name) {
            Some(Some(route)) => Ok(route.clone()),
            Some(None) if caller.may_use(name) => {
                Err(not_found(name, "is offered by several providers; name a route instead"))
            }
            Some(None) | None => Err(not_found(name, "does not exist or is not for this key")),
        }
    }

    /// Every name this caller could use, were it among those of its key, with what it stands for: routes, then models.
    pub(crate) fn named<'a>(
        &'a self,
        caller: &'a Caller,
    ) -> impl Iterator<Item = (&'a str, &'a Route, bool)> {
        let pinned = caller.scopes.has(Scope::Pin).then_some(&self.pinned).into_iter().flatten();
        let bare = self.bare.iter().filter_map(|(name, route)| Some((name, route.as_ref()?)));
        let models = bare.filter(|(name, _)| !self.routes.contains_key(*name)).chain(pinned);
        let routes = self.routes.iter().map(|(name, route)| (name.as_str(), &**route, true));
        routes.chain(models.map(|(name, route)| (name.as_str(), &**route, false)))
    }

    /// The headers that sticky routes go by.
    pub(crate) fn affinity_headers(&self) -> &[Box<str>] {
        &self.affinity_headers
    }

    /// Every configured and shipped route, by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Arc<Route>)> {
        self.routes.iter().map(|(name, route)| (name.as_str(), route))
    }

    /// The route of that name; models named directly are none.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Route>> {
        self.routes.get(name)
    }
}

impl Target {
    /// Its share as the settings have it.
    pub(crate) fn configured_weight(&self) -> u32 {
        self.weight.max(1)
    }
}

impl Route {
    fn new(
        label: Arc<str>,
        kind: ModelKind,
        mut targets: Vec<Target>,
        config: &RouteConfig,
        stand_in: bool,
    ) -> Self {
        targets.truncate(MAX_TARGETS);
        let share = |target: &Target| Share {
            weight: target.configured_weight(),
            rank: target.rank,
            seed: affinity::of([target.name.as_bytes()]),
        };
        Self {
            label,
            kind,
            chooser: Chooser::new(targets.iter().map(share)),
            targets: targets.into(),
            max_hops: config.max_hops.max(1),
            sticky: config.sticky.clone(),
            policy: config.policy.as_str().into(),
            cache: config.cache,
            stand_in,
        }
    }

    /// The targets that can do what is wanted.
    ///
    /// # Errors
    /// `InvalidInput` when the route is for other work, or no target can do it: naming the capability, or the context
    /// when that is all that is missing.
    pub(crate) fn fitting(&self, kind: ModelKind, wanted: Wanted) -> Result<Set, Failure> {
        if self.kind != kind {
            let message = match self.kind {
                ModelKind::Chat => "This model holds conversations; it makes no embeddings.",
                ModelKind::Embed => "This model makes embeddings; it holds no conversations.",
            };
            return Err(Failure::invalid("model", message));
        }
        let model = |index: usize| self.targets.get(index).map(|target| &target.model);
        let able = Set::first(self.targets.len())
            .filter(|index| model(index).is_some_and(|model| model.missing(wanted.needs).is_none()));
        if able.is_empty() {
            let missing = self.targets.iter().find_map(|target| target.model.missing(wanted.needs));
            let (param, words) = missing.unwrap_or(("model", "this"));
            return Err(Failure::InvalidInput {
                code: InputCode::UnsupportedParameter,
                message: format!("This model cannot do {words}.").into(),
                param: Some(param.into()),
            });
        }
        let reads = |index: usize| {
            model(index)
                .is_some_and(|model| model.context.is_none_or(|context| wanted.tokens <= u64::from(context)))
        };
        let fits = able.filter(reads);
        if fits.is_empty() {
            let most = able.iter().filter_map(|index| model(index)?.context).max().unwrap_or_default();
            return Err(Failure::InvalidInput {
                code: InputCode::ContextTooLong,
                message: format!(
                    "Conversation and answer together are about {} tokens; this model takes {most}. Shorten it, or ask \
                     for a shorter answer.",
                    wanted.tokens
                )
                .into(),
                param: Some("messages".into()),
            });
        }
        Ok(fits)
    }

    /// How long this target will refuse at least; zero when it may be asked now.
    pub(crate) fn readiness(&self, index: usize, now: Instant) -> Duration {
        self.targets.get(index).map_or(Duration::MAX, |target| target.provider.readiness(self.kind, now))
    }

    /// The one to ask next, and whether another is ready to take over. Ready ones first, lower ranks first; when none
    /// is ready the soonest, which is then asked all the same: a held account or a pause is only an opinion.
    pub(crate) fn choose(&self, left: Set, affinity: Option<u64>, now: Instant) -> Option<(usize, bool)> {
        if left.len() < 2 {
            return left.iter().next().map(|index| (index, false));
        }
        let ready = left.filter(|index| self.readiness(index, now).is_zero());
        match self.chooser.next(ready, affinity) {
            Some(index) => Some((index, ready.len() > 1)),
            None => left.iter().min_by_key(|index| self.readiness(*index, now)).map(|index| (index, false)),
        }
    }

    /// Whether this target is of a higher rank than the best of the set.
    pub(crate) fn is_second_choice(&self, index: usize, of: Set) -> bool {
        let rank = |index: usize| self.targets.get(index).map(|target| target.rank);
        of.iter().filter_map(rank).min() < rank(index)
    }

    /// Whether this target's vectors are of another space than the route's own.
    pub(crate) fn is_other_space(&self, index: usize) -> bool {
        let space = |index: usize| self.targets.get(index).map(|target| &target.model.space);
        self.kind == ModelKind::Embed && space(index) != space(0)
    }
}

fn alone(label: &Arc<str>, target: Target) -> Route {
    let config = RouteConfig { max_hops: 1, ..RouteConfig::default() };
    let kind = target.model.kind;
    Route::new(label.clone(), kind, vec![target], &config, false)
}

fn target(provider: &Arc<Provider>, model: Model, rank: u32, weight: u32) -> Target {
    let name = format!("{}/{}", provider.name(), model.name).into();
    Target { provider: provider.clone(), model, name, rank, weight }
}

/// A shipped route: of every provider with a key the model that suits it, one after the other.
fn shipped(name: &str, kind: ModelKind, providers: &Providers) -> Route {
    let suits = |(rank, provider): (u32, &Arc<Provider>)| {
        let fitting = || provider.models().iter().filter(|model| model.kind == kind);
        let quick = (name == "fast").then(|| fitting().find(|model| model.fast)).flatten();
        quick.or_else(|| fitting().next()).map(|model| target(provider, model.clone(), rank, 1))
    };
    let remote = providers.iter().filter(|provider| provider.name() != BUILTIN);
    let targets = (0..).zip(remote).filter_map(suits).collect();
    finished(name, kind, targets, &RouteConfig::default(), providers)
}

fn configured(name: &str, config: &RouteConfig, providers: &Providers) -> Route {
    let mut wanted: Vec<&TargetConfig> = config.targets.iter().collect();
    wanted.sort_by_key(|target| target.rank);
    let targets: Vec<Target> = wanted
        .into_iter()
        .filter_map(|wanted| {
            let provider = providers.get(&wanted.provider)?;
            Some(target(provider, provider.model(&wanted.model), wanted.rank, wanted.weight))
        })
        .filter(|target| {
            let affordable = within(config, target.model.price);
            if !affordable {
                let target = &*target.name;
                tracing::warn!(
                    route = name,
                    target,
                    "left out: dearer than the route allows, or its price is not known"
                );
            }
            affordable
        })
        .collect();
    let kind = match targets.first() {
        Some(first) => first.model.kind,
        None if name.contains("embed") => ModelKind::Embed,
        None => ModelKind::Chat,
    };
    let targets = targets.into_iter().filter(|target| target.model.kind == kind).collect();
    finished(name, kind, targets, config, providers)
}

/// Whether a price is under the route's ceiling; an unknown one is under none.
fn within(config: &RouteConfig, price: Option<Price>) -> bool {
    let under = |most: Option<u64>, price: Option<u64>| {
        most.is_none_or(|most| price.is_some_and(|price| price <= most))
    };
    under(config.max_input_price, price.map(|price| price.input))
        && under(config.max_output_price, price.map(|price| price.output))
}

/// Ranks of targets with vectors of another space begin here: behind all others.
const OTHER_SPACE: u32 = 1 << 31;

fn finished(
    name: &str,
    kind: ModelKind,
    mut targets: Vec<Target>,
    config: &RouteConfig,
    providers: &Providers,
) -> Route {
    if kind == ModelKind::Embed
        && let Some(space) = targets.first().map(|target| target.model.space.clone())
    {
        // Vectors of different spaces never mix: whoever stands in must have the same, or say so.
        targets.retain(|target| target.model.space == space || config.fallback_space_change);
        for target in targets.iter_mut().filter(|target| target.model.space != space) {
            target.rank |= OTHER_SPACE;
        }
        targets.sort_by_key(|target| target.rank);
    }
    let stand_in = targets.is_empty();
    if let (true, Some(builtin)) = (stand_in, providers.get(BUILTIN)) {
        let model = builtin.models().iter().find(|model| model.kind == kind);
        targets.extend(model.map(|model| target(builtin, model.clone(), 0, 1)));
    }
    Route::new(name.into(), kind, targets, config, stand_in)
}

pub(crate) fn not_found(name: &str, why: &str) -> Failure {
    Failure::NotFound(format!("The model `{}` {why}.", shown(name)).into())
}

pub(crate) fn not_allowed(name: &str) -> Failure {
    let name = shown(name);
    let words = format!(
        "This key may not use the model `{name}`. Its other models are not affected; use one of the model list, or ask \
         the operator to allow this one."
    );
    Failure::ModelNotAllowed(words.into())
}

/// The caller's own word, short and plain.
fn shown(name: &str) -> String {
    const SHOWN: usize = 64;
    name.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}
