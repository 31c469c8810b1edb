//! Guard policies: which one a message is under, and what it does to what comes in. What it does to what goes out is in
//! `outgoing`.
//!
//! Invariants: the policy is found by the route's name and the caller's key, before the app runs, so that one policy
//! holds for both directions of a message; where both name one, the stricter wins check by check; a key whose policy is
//! not configured is refused, not served without. Source: gateway.md section 11.

use crate::hardening::Prompting;
use memchr::memmem::find;
use portcullis_domain::{Failure, Payload, Role};
use portcullis_inspect::{CheckAction, Mode, Placeholders, PolicyConfig, SchemaAction, Watch};
use portcullis_telemetry::{Gauge, Metrics};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// One policy, ready to be used.
#[derive(Debug)]
pub struct Policy {
    /// Its name.
    pub name: Arc<str>,
    /// Whether findings are only recorded.
    pub(crate) shadow: bool,
    pub(crate) injection: CheckAction,
    /// Whether suspicious messages count against the next one.
    pub(crate) turns: bool,
    pub(crate) input: Option<Watch>,
    pub(crate) output: Option<Arc<Watch>>,
    pub(crate) schema: SchemaAction,
    pub(crate) prompting: Prompting,
    /// Tools that may be called; all where there is no list.
    pub(crate) tools: Option<Arc<[String]>>,
    /// The same in the answer to a suspicious message, where those are hardened.
    pub(crate) flagged_tools: Arc<[String]>,
}

/// Every policy, and which route wants which. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policies(Arc<Known>);

#[derive(Debug)]
struct Known {
    /// Places in `all`.
    names: BTreeMap<String, usize>,
    routes: BTreeMap<String, usize>,
    default: usize,
    all: Box<[(PolicyConfig, Arc<Policy>)]>,
    /// A route's policy and a key's, when first asked for: one row of `all`'s length for each of `all`.
    both: Box<[OnceLock<Arc<Policy>>]>,
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
        let mut configs = configs.clone();
        configs.entry(DEFAULT_POLICY.to_owned()).or_default();
        let names: BTreeMap<String, usize> = configs.keys().cloned().zip(0..).collect();
        let ready = |(name, config): (String, PolicyConfig)| {
            let policy = Arc::new(Policy::new(&name, &config));
            (config, policy)
        };
        let all: Box<[_]> = configs.into_iter().map(ready).collect();
        let routes = routes
            .into_iter()
            .filter_map(|(route, policy)| Some((route.to_owned(), *names.get(policy)?)))
            .collect();
        let default = names.get(DEFAULT_POLICY).copied().unwrap_or_default();
        let both = (0..all.len() * all.len()).map(|_| OnceLock::new()).collect();
        Self(Arc::new(Known { names, routes, default, all, both }))
    }

    /// Whether there is a policy of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.names.contains_key(name)
    }

    /// The policy of a message whose caller's key names that one.
    ///
    /// # Errors
    /// `Forbidden` when the key's is not configured.
    pub(crate) fn of(&self, payload: &Payload, key: Option<&str>) -> Result<&Arc<Policy>, Failure> {
        let known = &*self.0;
        let route = payload.model().and_then(|model| known.routes.get(model)).unwrap_or(&known.default);
        let found = match key {
            None => known.all.get(*route).map(|(_, policy)| policy),
            Some(name) => known.names.get(name).and_then(|key| known.both(*route, *key)),
        };
        found.ok_or_else(|| {
            tracing::warn!(policy = key, "a key names a guard policy that is not configured; it is refused");
            Failure::Forbidden(
                "The guard policy of this key is not configured. Nothing was sent to an AI; ask the operator.".into(),
            )
        })
    }
}

impl Known {
    fn both(&self, route: usize, key: usize) -> Option<&Arc<Policy>> {
        let (config, policy) = self.all.get(route)?;
        if route == key {
            return Some(policy);
        }
        let (other, keys) = self.all.get(key)?;
        let made = self.both.get(route * self.all.len() + key)?.get_or_init(|| {
            let name = format!("{}+{}", policy.name, keys.name);
            Arc::new(Policy::new(&name, &config.with(other)))
        });
        Some(made)
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
            turns: config.input.turns,
            input: Watch::input(&config.input).map(quiet),
            output: Watch::output(&config.output).map(quiet).map(Arc::new),
            schema: if shadow { config.output.schema.min(SchemaAction::Flag) } else { config.output.schema },
            prompting: Prompting {
                harden: config.harden,
                flagged: config.flagged,
                canary: config.canary,
                leak: config.output.leak,
                cited: config.output.link_cited && config.output.links != CheckAction::Off,
                shadow,
            },
            tools: config.output.tools.as_deref().filter(|_| !shadow).map(Arc::from),
            flagged_tools: config.output.flagged_tools.as_slice().into(),
        }
    }

    /// Whether anything follows from a score.
    pub(crate) fn judges(&self) -> bool {
        self.injection != CheckAction::Off
    }

    /// Tools that the answer to a message may call.
    pub(crate) fn tools(&self, suspicious: bool) -> Option<Arc<[String]>> {
        let Some(tools) = &self.tools else {
            return (suspicious && self.prompting.hardens_flagged()).then(|| self.flagged_tools.clone());
        };
        if !suspicious || !self.prompting.hardens_flagged() {
            return Some(tools.clone());
        }
        Some(self.flagged_tools.iter().filter(|tool| tools.contains(tool)).cloned().collect())
    }
}

/// What was found in a message, by check and action.
pub(crate) type Findings = Vec<(&'static str, CheckAction)>;

/// What was hidden in a prompt, for as long as its request runs.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) names: Arc<Placeholders>,
    running: Gauge,
}

impl Remembered {
    /// None when nothing was hidden.
    pub(crate) fn new(names: Placeholders, metrics: &Metrics) -> Option<Arc<Self>> {
        let running = metrics.prompts_remembered();
        (!names.is_empty()).then(|| {
            running.inc();
            Arc::new(Self { names: Arc::new(names), running })
        })
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        self.running.dec();
    }
}

/// What a message came to under a policy.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    pub(crate) findings: Findings,
    /// Whether it must not go on.
    pub(crate) blocked: bool,
    /// What is to be put back into the answer.
    pub(crate) remembered: Option<Arc<Remembered>>,
}

/// Looks at the untrusted texts of a message and replaces what is to be replaced; what is to be put back later, in every
/// text.
pub(crate) fn incoming(watch: &Watch, payload: &mut Payload, metrics: &Metrics) -> Incoming {
    let (mut found, mut names) = (Incoming::default(), Placeholders::default());
    let mut edits = Vec::new();
    let texts: Vec<(bool, Cow<'_, str>)> = match &*payload {
        Payload::Chat(request) | Payload::Count(request) => request
            .texts()
            .map(|(role, text)| match role {
                Role::User | Role::Tool => (true, text),
                Role::System | Role::Assistant => (false, text),
            })
            .collect(),
        Payload::Embed(request) => request.texts().map(|text| (true, text)).collect(),
        Payload::Library(request) => one(request.text()),
        Payload::News(request) => one(request.text()),
        Payload::Models(_) => Vec::new(),
    };
    let body: &[u8] = match &*payload {
        Payload::Chat(request) | Payload::Count(request) => &request.body,
        Payload::Embed(request) => &request.body,
        Payload::Library(request) => request.text().map_or(&[], str::as_bytes),
        Payload::News(request) => request.text().map_or(&[], str::as_bytes),
        Payload::Models(_) => &[],
    };
    // However a name is written there, its letters are.
    let taken = |name: &str| find(body, name.trim_matches(['<', '>']).as_bytes()).is_some();
    for (index, (untrusted, text)) in texts.iter().enumerate() {
        let named = watch.reversible().then(|| watch.named(text, &mut names, taken));
        let mut passed = named.as_deref().unwrap_or(text);
        let looked;
        if *untrusted {
            // Looked at as it came: what was named is a finding too.
            let (kinds, more, stop) = watch.whole(text);
            found.blocked |= stop;
            found.findings.extend(more);
            looked = if named.is_some() { watch.whole(passed).0 } else { kinds };
            passed = &looked;
        }
        if passed != *text {
            edits.push((index, passed.to_owned()));
        }
    }
    drop(texts);
    if !found.blocked && !edits.is_empty() {
        match payload {
            Payload::Chat(request) | Payload::Count(request) => request.replace(edits),
            Payload::Embed(request) => request.replace(edits),
            Payload::Library(request) => replace(request.text_mut(), edits.pop()),
            Payload::News(request) => replace(request.text_mut(), edits.pop()),
            Payload::Models(_) => {}
        }
        found.remembered = Remembered::new(names, metrics);
    }
    found
}

/// The one text of a person.
fn one(text: Option<&str>) -> Vec<(bool, Cow<'_, str>)> {
    text.map(|text| (true, Cow::Borrowed(text))).into_iter().collect()
}

fn replace(text: Option<&mut String>, edit: Option<(usize, String)>) {
    if let (Some(text), Some((_, edited))) = (text, edit) {
        *text = edited;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::{Format, ModelsRequest};
    use portcullis_inspect::{InputPolicy, OutputPolicy};

    fn policies() -> Policies {
        let secrets = |secrets| OutputPolicy { secrets, ..OutputPolicy::default() };
        let careful = PolicyConfig { output: secrets(CheckAction::Redact), ..PolicyConfig::default() };
        let strict = PolicyConfig {
            input: InputPolicy { personal: CheckAction::Block, ..InputPolicy::default() },
            output: secrets(CheckAction::Flag),
            ..PolicyConfig::default()
        };
        let configs = [("careful".to_owned(), careful), ("strict".to_owned(), strict)].into();
        Policies::new(&configs, [("public", "careful")])
    }

    fn to(model: &str) -> Payload {
        let mut request = crate::pipeline::tests::chat("hello");
        request.model = model.into();
        Payload::Chat(request)
    }

    #[test]
    fn a_message_is_under_the_policy_of_its_route_and_that_of_its_key() {
        let policies = policies();
        let name = |model: &str, key| policies.of(&to(model), key).unwrap().name.to_string();
        assert_eq!(name("public", None), "careful");
        assert_eq!(name("public", Some("careful")), "careful");
        assert_eq!(name("public", Some("strict")), "careful+strict");
        assert_eq!(name("other", Some("strict")), "default+strict");
        assert_eq!(name("other", None), "default");
        let policy = policies.of(&to("public"), Some("strict")).unwrap();
        assert!(policy.input.is_some(), "from the key's");
        let (said, _, blocked) =
            policy.output.as_ref().unwrap().whole("key sk-abcdefghijklmnopqrstuvwxyz0123456789");
        assert!(said.contains("[openai_key]") && !blocked, "the route's is stricter here: {said}");
        let again = policies.of(&to("public"), Some("strict")).unwrap();
        assert!(Arc::ptr_eq(policy, again), "made once");
    }

    #[test]
    fn a_key_whose_policy_is_gone_is_refused_and_never_served_without_it() {
        let policies = policies();
        assert!(matches!(policies.of(&to("public"), Some("gone")), Err(Failure::Forbidden(_))));
        let list = Payload::Models(ModelsRequest { id: None, format: Format::OpenAi });
        assert!(policies.of(&list, Some("strict")).is_ok());
        assert!(policies.has("default") && policies.has("strict") && !policies.has("gone"));
    }
}
