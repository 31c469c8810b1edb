//! Guard policies: which one a message is under, and what it does to what comes in. What it does to what goes out is in
//! `outgoing`.
//!
//! Invariants: the policy is found by route, action, tier and key, before the app runs, so that one policy holds for both
//! directions of a message; where several are named, the stricter wins check by check; who is under a policy that is
//! not configured is refused, not served without. Source: gateway.md section 11, inspect.md section 2.

use crate::hardening::Prompting;
use memchr::memmem::find;
use parking_lot::RwLock;
use portcullis_domain::{Failure, Payload, Role};
use portcullis_inspect::{CheckAction, Flagged, Mode, Placeholders, PolicyConfig, SchemaAction, Watch};
use portcullis_telemetry::{Gauge, Metrics};
use smallvec::SmallVec;
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
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
    /// The same in the answer to a message that holds what strangers wrote.
    pub(crate) untrusted_tools: Option<Arc<[String]>>,
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
    /// Several at once, made when first asked for: no more than routes, actions, tiers and keys can name together.
    together: RwLock<HashMap<Places, Arc<Policy>>>,
}

/// Places in `Known::all` of the policies that one message is under.
type Places = SmallVec<[usize; 4]>;

/// What names policies beside the route.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Named<'a> {
    /// The kind of work: it takes the place of the default one.
    pub(crate) action: Option<&'a str>,
    pub(crate) tier: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
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
        let default = names.get(DEFAULT_POLICY).copied().unwrap_or_default();
        let routes = routes
            .into_iter()
            .filter_map(|(route, policy)| Some((route.to_owned(), *names.get(policy)?)))
            .filter(|(_, place)| *place != default)
            .collect();
        Self(Arc::new(Known { names, routes, default, all, together: RwLock::default() }))
    }

    /// Whether there is a policy of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.names.contains_key(name)
    }

    /// The policy of a message.
    ///
    /// # Errors
    /// `Forbidden` when one that is named is not configured.
    pub(crate) fn of(&self, payload: &Payload, named: Named<'_>) -> Result<Arc<Policy>, Failure> {
        let known = &*self.0;
        let mut places = Places::new();
        places.extend(payload.model().and_then(|model| known.routes.get(model)).copied());
        for (name, whose) in [(named.action, "action"), (named.tier, "tier"), (named.key, "key")] {
            if whose == "tier" && places.is_empty() {
                places.push(known.default);
            }
            let Some(name) = name else { continue };
            let place = *known.names.get(name).ok_or_else(|| unknown(name, whose))?;
            if !places.contains(&place) {
                places.push(place);
            }
        }
        known.all_of(&places).ok_or_else(|| unknown(DEFAULT_POLICY, "action"))
    }
}

fn unknown(policy: &str, whose: &'static str) -> Failure {
    tracing::warn!(policy, whose, "a guard policy is named that is not configured; its messages are refused");
    let words =
        "The guard policy of this caller is not configured. Nothing was sent to an AI; ask the operator.";
    Failure::Forbidden(words.into())
}

impl Known {
    /// All of them at once.
    fn all_of(&self, places: &Places) -> Option<Arc<Policy>> {
        let (first, more) = places.split_first()?;
        let (config, policy) = self.all.get(*first)?;
        if more.is_empty() {
            return Some(policy.clone());
        }
        if let Some(made) = self.together.read().get(places) {
            return Some(made.clone());
        }
        let (mut config, mut name) = (config.clone(), policy.name.to_string());
        for place in more {
            let (other, policy) = self.all.get(*place)?;
            config = config.with(other);
            name = format!("{name}+{}", policy.name);
        }
        let made = Arc::new(Policy::new(&name, &config));
        Some(self.together.write().entry(places.clone()).or_insert(made).clone())
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
                said: config.output.personal_said && config.output.personal != CheckAction::Off,
                cited: config.output.link_cited && config.output.links != CheckAction::Off,
                shadow,
            },
            tools: config.output.tools.as_deref().filter(|_| !shadow).map(Arc::from),
            untrusted_tools: config.output.untrusted_tools.as_deref().filter(|_| !shadow).map(Arc::from),
            flagged_tools: config.output.flagged_tools.as_slice().into(),
        }
    }

    /// What follows when a message is suspicious and not blocked.
    pub(crate) const fn flagged(&self) -> Flagged {
        self.prompting.flagged
    }

    /// Whether anything follows from a score.
    pub(crate) fn judges(&self) -> bool {
        self.injection != CheckAction::Off
    }

    /// Tools that the answer to a message may call: of every list that holds for it, those on all of them. None: all.
    pub(crate) fn tools(&self, suspicious: bool, untrusted: bool) -> Option<Arc<[String]>> {
        let flagged = (suspicious && self.prompting.hardens_flagged()).then_some(&self.flagged_tools);
        let untrusted = self.untrusted_tools.as_ref().filter(|_| untrusted);
        let mut lists = [self.tools.as_ref(), untrusted, flagged].into_iter().flatten();
        let first = lists.next()?.clone();
        Some(
            lists.fold(first, |left, list| left.iter().filter(|tool| list.contains(tool)).cloned().collect()),
        )
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

    fn key(key: &str) -> Named<'_> {
        Named { key: Some(key), ..Named::default() }
    }

    #[test]
    fn a_message_is_under_the_policy_of_its_route_and_that_of_its_key() {
        let policies = policies();
        let name = |model: &str, named| policies.of(&to(model), named).unwrap().name.to_string();
        assert_eq!(name("public", Named::default()), "careful");
        assert_eq!(name("public", key("careful")), "careful");
        assert_eq!(name("public", key("strict")), "careful+strict");
        assert_eq!(name("other", key("strict")), "default+strict");
        assert_eq!(name("other", Named::default()), "default");
        let policy = policies.of(&to("public"), key("strict")).unwrap();
        assert!(policy.input.is_some(), "from the key's");
        let (said, _, blocked) =
            policy.output.as_ref().unwrap().whole("key sk-abcdefghijklmnopqrstuvwxyz0123456789");
        assert!(said.contains("[openai_key]") && !blocked, "the route's is stricter here: {said}");
        let again = policies.of(&to("public"), key("strict")).unwrap();
        assert!(Arc::ptr_eq(&policy, &again), "made once");
    }

    #[test]
    fn an_action_takes_the_place_of_the_default_policy_and_a_tier_can_only_be_stricter() {
        let policies = policies();
        let name = |model: &str, named| policies.of(&to(model), named).unwrap().name.to_string();
        let (action, tier) = (Some("careful"), Some("strict"));
        assert_eq!(name("other", Named { action, ..Named::default() }), "careful");
        assert_eq!(name("other", Named { tier, ..Named::default() }), "default+strict");
        assert_eq!(name("other", Named { action, tier, ..Named::default() }), "careful+strict");
        assert_eq!(
            name("public", Named { action: Some("strict"), tier, key: Some("default") }),
            "careful+strict+default"
        );
    }

    #[test]
    fn what_strangers_wrote_narrows_the_tools_and_so_does_suspicion() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let policy = |tools: Option<&[&str]>, untrusted: Option<&[&str]>| {
            let output = OutputPolicy {
                tools: tools.map(list),
                untrusted_tools: untrusted.map(list),
                flagged_tools: list(&["search"]),
                ..OutputPolicy::default()
            };
            let flagged = portcullis_inspect::Flagged::Harden;
            Policy::new("p", &PolicyConfig { output, flagged, ..PolicyConfig::default() })
        };
        let may = |policy: &Policy, suspicious, untrusted| {
            policy.tools(suspicious, untrusted).map(|tools| tools.join(","))
        };
        let some = |names: &str| Some(names.to_owned());
        let both = policy(Some(&["send", "read", "search"]), Some(&["read", "search", "other"]));
        assert_eq!(may(&both, false, false), some("send,read,search"));
        assert_eq!(may(&both, false, true), some("read,search"), "only what is on both lists");
        assert_eq!(may(&both, true, true), some("search"));
        let untrusted = policy(None, Some(&["read"]));
        assert_eq!(may(&untrusted, false, false), None, "a person's own words may lead to any tool");
        assert_eq!(may(&untrusted, false, true), some("read"));
        assert_eq!(may(&untrusted, true, true), some(""));
    }

    #[test]
    fn who_is_under_a_policy_that_is_gone_is_refused_and_never_served_without_it() {
        let policies = policies();
        for named in [
            key("gone"),
            Named { tier: Some("gone"), ..Named::default() },
            Named { action: Some("gone"), ..Named::default() },
        ] {
            assert!(matches!(policies.of(&to("public"), named), Err(Failure::Forbidden(_))), "{named:?}");
        }
        let list = Payload::Models(ModelsRequest { id: None, format: Format::OpenAi });
        assert!(policies.of(&list, key("strict")).is_ok());
        assert!(policies.has("default") && policies.has("strict") && !policies.has("gone"));
    }
}
