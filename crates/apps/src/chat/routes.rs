//! From a model name to the targets that may answer to it. Pure: built once from the settings and the providers that
//! have a key; resolving allocates nothing but a short list.
//!
//! Invariants: the first match wins (route, `provider/model` with the scope pin, a bare name that exactly one provider
//! has); a name is echoed to the caller only cut and without control characters. Source: gateway design section 2.

use super::config::{RouteConfig, RoutesConfig, TargetConfig};
use portcullis_domain::{Caller, Failure, InputCode, Needs, Scope};
use portcullis_providers::{BUILTIN, Model, ModelKind, Provider, Providers};
use std::{collections::BTreeMap, sync::Arc};

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

const MAX_HOPS: usize = 3;

/// Somebody who may answer.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) provider: Arc<Provider>,
    pub(crate) model: Model,
    /// `provider/model`.
    pub(crate) name: Arc<str>,
}

/// Who may answer to a name, best first.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) kind: ModelKind,
    pub(crate) targets: Arc<[Target]>,
    pub(crate) max_hops: usize,
    /// No provider that the route names has a key: the builtin one stands in.
    pub(crate) stand_in: bool,
}

/// Every name.
pub(crate) struct Routes {
    routes: BTreeMap<String, Route>,
    pinned: BTreeMap<String, Route>,
    bare: BTreeMap<String, Option<Route>>,
}

impl Routes {
    pub(crate) fn new(config: &RoutesConfig, providers: &Providers) -> Self {
        let mut routes: BTreeMap<String, Route> = SHIPPED
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), shipped(name, *kind, providers)))
            .collect();
        for (name, route) in config {
            routes.insert(name.clone(), configured(name, route, providers));
        }
        let (mut pinned, mut bare) = (BTreeMap::new(), BTreeMap::new());
        for provider in providers.iter() {
            for model in provider.models() {
                let route = alone(target(provider, model.clone()));
                pinned.insert(format!("{}/{}", provider.name(), model.name), route.clone());
                // A name that two have is nobody's.
                bare.entry(model.name.to_string()).and_modify(|other| *other = None).or_insert(Some(route));
            }
        }
        Self { routes, pinned, bare }
    }

    /// The route of a name for this caller.
    ///
    /// # Errors
    /// `NotFound` in words that show the name cut and cleaned.
    pub(crate) fn resolve(
        &self,
        name: &str,
        caller: &Caller,
        providers: &Providers,
    ) -> Result<Route, Failure> {
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
                return Ok(alone(target(provider, provider.model(model))));
            }
        }
        match self.bare.get(name) {
            Some(Some(route)) => Ok(route.clone()),
            Some(None) => Err(not_found(name, "is offered by several providers; name a route instead")),
            None => Err(not_found(name, "does not exist or is not for this key")),
        }
    }

    /// Every name this caller may use, with what it stands for: routes, then models.
    pub(crate) fn visible<'a>(&'a self, caller: &Caller) -> impl Iterator<Item = (&'a str, &'a Route, bool)> {
        let pinned = caller.scopes.has(Scope::Pin).then_some(&self.pinned).into_iter().flatten();
        let bare = self.bare.iter().filter_map(|(name, route)| Some((name, route.as_ref()?)));
        let models = bare.filter(|(name, _)| !self.routes.contains_key(*name)).chain(pinned);
        let routes = self.routes.iter().map(|(name, route)| (name.as_str(), route, true));
        routes.chain(models.map(|(name, route)| (name.as_str(), route, false)))
    }
}

impl Route {
    /// The targets that can do what is needed, at most `max_hops`.
    ///
    /// # Errors
    /// `InvalidInput` when the route is for other work, or no target has the capability.
    pub(crate) fn fitting(
        &self,
        kind: ModelKind,
        needs: Needs,
    ) -> Result<impl Iterator<Item = &Target>, Failure> {
        if self.kind != kind {
            let message = match self.kind {
                ModelKind::Chat => "This model holds conversations; it makes no embeddings.",
                ModelKind::Embed => "This model makes embeddings; it holds no conversations.",
            };
            return Err(Failure::invalid("model", message));
        }
        if !self.targets.iter().any(|target| target.model.missing(needs).is_none()) {
            let missing = self.targets.iter().find_map(|target| target.model.missing(needs));
            let (param, words) = missing.unwrap_or(("model", "this"));
            return Err(Failure::InvalidInput {
                code: InputCode::UnsupportedParameter,
                message: format!("This model cannot do {words}.").into(),
                param: Some(param.into()),
            });
        }
        let fits = move |target: &&Target| target.model.missing(needs).is_none();
        Ok(self.targets.iter().filter(fits).take(self.max_hops))
    }
}

fn alone(target: Target) -> Route {
    Route { kind: target.model.kind, targets: [target].into(), max_hops: 1, stand_in: false }
}

fn target(provider: &Arc<Provider>, model: Model) -> Target {
    let name = format!("{}/{}", provider.name(), model.name).into();
    Target { provider: provider.clone(), model, name }
}

/// A shipped route: of every provider with a key the model that suits it.
fn shipped(name: &str, kind: ModelKind, providers: &Providers) -> Route {
    let suits = |provider: &Arc<Provider>| {
        let fitting = || provider.models().iter().filter(|model| model.kind == kind);
        let quick = (name == "fast").then(|| fitting().find(|model| model.fast)).flatten();
        quick.or_else(|| fitting().next()).map(|model| target(provider, model.clone()))
    };
    let targets = providers.iter().filter(|provider| provider.name() != BUILTIN).filter_map(suits).collect();
    finished(kind, targets, MAX_HOPS, providers)
}

fn configured(name: &str, config: &RouteConfig, providers: &Providers) -> Route {
    let mut wanted: Vec<&TargetConfig> = config.targets.iter().collect();
    wanted.sort_by_key(|target| target.rank);
    let targets: Vec<Target> = wanted
        .into_iter()
        .filter_map(|wanted| {
            let provider = providers.get(&wanted.provider)?;
            Some(target(provider, provider.model(&wanted.model)))
        })
        .collect();
    let kind = match targets.first() {
        Some(first) => first.model.kind,
        None if name.contains("embed") => ModelKind::Embed,
        None => ModelKind::Chat,
    };
    let targets = targets.into_iter().filter(|target| target.model.kind == kind).collect();
    finished(kind, targets, config.max_hops, providers)
}

fn finished(kind: ModelKind, mut targets: Vec<Target>, max_hops: usize, providers: &Providers) -> Route {
    if kind == ModelKind::Embed
        && let Some(space) = targets.first().map(|target| target.model.space.clone())
    {
        // Vectors of different spaces never mix: whoever stands in must have the same.
        targets.retain(|target| target.model.space == space);
    }
    let stand_in = targets.is_empty();
    if let (true, Some(builtin)) = (stand_in, providers.get(BUILTIN)) {
        let model = builtin.models().iter().find(|model| model.kind == kind);
        targets.extend(model.map(|model| target(builtin, model.clone())));
    }
    Route { kind, targets: targets.into(), max_hops: max_hops.max(1), stand_in }
}

/// The caller's own word, short and plain.
pub(crate) fn not_found(name: &str, why: &str) -> Failure {
    const SHOWN: usize = 64;
    let shown: String = name.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    Failure::NotFound(format!("The model `{shown}` {why}.").into())
}
