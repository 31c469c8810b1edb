//! Guard policies: which one a message is under, and what it does to what comes in. What it does to what goes out is in
//! `outgoing`.
//!
//! Invariant: the policy is found by the route's name alone, before the app runs, so that one policy holds for both
//! directions of a message. Source: gateway.md section 11.

use portcullis_domain::{Payload, Role};
use portcullis_inspect::{CheckAction, Mode, PolicyConfig, Watch};
use std::{collections::BTreeMap, sync::Arc};

/// One policy, ready to be used.
#[derive(Debug)]
pub struct Policy {
    /// Its name.
    pub name: Arc<str>,
    /// Whether findings are only recorded.
    pub(crate) shadow: bool,
    pub(crate) injection: CheckAction,
    pub(crate) input: Option<Watch>,
    pub(crate) output: Option<Arc<Watch>>,
}

/// Every policy, and which route wants which.
#[derive(Clone, Debug)]
pub struct Policies {
    routes: BTreeMap<String, Arc<Policy>>,
    default: Arc<Policy>,
}

/// Name of the policy of routes that name none.
pub const DEFAULT_POLICY: &str = "default";

impl Policies {
    /// From the settings, and the policy each route names. A route whose policy does not exist gets the default one;
    /// the settings are checked for that before.
    #[must_use]
    pub fn new<'a>(
        configs: &BTreeMap<String, PolicyConfig>,
        routes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let named: BTreeMap<String, Arc<Policy>> = configs
            .iter()
            .map(|(name, config)| (name.clone(), Arc::new(Policy::new(name, config))))
            .collect();
        let default = named
            .get(DEFAULT_POLICY)
            .cloned()
            .unwrap_or_else(|| Arc::new(Policy::new(DEFAULT_POLICY, &PolicyConfig::default())));
        let routes = routes
            .into_iter()
            .filter_map(|(route, policy)| Some((route.to_owned(), named.get(policy)?.clone())))
            .collect();
        Self { routes, default }
    }

    /// The policy of a message.
    pub(crate) fn of(&self, payload: &Payload) -> &Arc<Policy> {
        payload.model().and_then(|model| self.routes.get(model)).unwrap_or(&self.default)
    }
}

impl Policy {
    fn new(name: &str, config: &PolicyConfig) -> Self {
        let shadow = config.mode == Mode::Shadow;
        let quiet = |watch: Watch| if shadow { watch.shadow() } else { watch };
        Self {
            name: name.into(),
            shadow,
            injection: config.input.injection,
            input: Watch::input(&config.input).map(quiet),
            output: Watch::output(&config.output).map(quiet).map(Arc::new),
        }
    }
}

/// What was found in a message, by check and action.
pub(crate) type Findings = Vec<(&'static str, CheckAction)>;

/// Looks at the untrusted texts of a message, replaces what is to be replaced, and tells what was found and whether the
/// message must not go on.
pub(crate) fn incoming(watch: &Watch, payload: &mut Payload) -> (Findings, bool) {
    let (mut findings, mut blocked) = (Findings::new(), false);
    let mut edits = Vec::new();
    let mut look = |index: usize, text: &str| {
        let (passed, found, stop) = watch.whole(text);
        blocked |= stop;
        if !found.is_empty() {
            if passed != text {
                edits.push((index, passed.into_owned()));
            }
            findings.extend(found);
        }
    };
    match payload {
        Payload::Chat(request) | Payload::Count(request) => {
            for (index, (role, text)) in request.texts().enumerate() {
                match role {
                    Role::User | Role::Tool => look(index, &text),
                    Role::System | Role::Assistant => {}
                }
            }
        }
        Payload::Embed(request) => {
            for (index, text) in request.texts().enumerate() {
                look(index, &text);
            }
        }
        Payload::Models(_) => {}
    }
    if !blocked && !edits.is_empty() {
        match payload {
            Payload::Chat(request) | Payload::Count(request) => request.replace(edits),
            Payload::Embed(request) => request.replace(edits),
            Payload::Models(_) => {}
        }
    }
    (findings, blocked)
}
