//! `[routes]`: the model names callers use, and who answers to them.

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Targets a route can hold: one bit each in the sets that choosing works with.
pub(crate) const MAX_TARGETS: usize = 64;
/// Route names that are metric labels of their own: models named directly.
pub(crate) const LABELS: [&str; 2] = ["pinned", "bare"];

/// `[routes.<name>]`: one section a name. The names `default`, `fast`, `ask`, `summarise`, `review`, `tools` and
/// `embed` exist without a section and then use whatever providers have a key.
pub type RoutesConfig = BTreeMap<String, RouteConfig>;

/// `[routes.<name>]`: the targets of one model name, and how one of them is chosen.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteConfig {
    /// Who answers. Targets whose provider has no key are left out; with none left the builtin provider answers and
    /// says so.
    pub targets: Vec<TargetConfig>,
    /// Targets tried for one request, 1 to 16. Default 3.
    pub max_hops: usize,
    /// Whether requests that belong together go to the same target while it is well: `"off"`, `"prefix"` (by system
    /// prompt and tools, which keeps providers' prompt caches warm), or `"header:<name>"` (by that header of the
    /// request). Default `"off"`.
    #[schemars(with = "String")]
    pub sticky: Sticky,
    /// Name of the guard policy. Default `"default"`.
    pub policy: String,
    /// Which answers are kept and given again: `"off"`, `"deterministic"` (requests with `temperature` 0 or a `seed`)
    /// or `"all"`. Default `"deterministic"`.
    pub cache: CacheMode,
    /// Dearest input that a target may have, in micro-dollars a million tokens; dearer targets, and those whose price
    /// is not known, are left out. Default: no ceiling.
    pub max_input_price: Option<u64>,
    /// Dearest output that a target may have, in micro-dollars a million tokens; dearer targets, and those whose price
    /// is not known, are left out. Default: no ceiling.
    pub max_output_price: Option<u64>,
    /// For embeddings: whether targets with vectors of another space than the first target's may stand in. The answer
    /// then says `x-portcullis-degraded: embedding-space` and its vectors can be compared only with others of its
    /// model. Default false: 503 instead.
    pub fallback_space_change: bool,
}

impl Default for RouteConfig {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            max_hops: 3,
            sticky: Sticky::Off,
            policy: "default".into(),
            cache: CacheMode::Deterministic,
            max_input_price: None,
            max_output_price: None,
            fallback_space_change: false,
        }
    }
}

/// One target of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetConfig {
    /// A provider by its name.
    pub provider: String,
    /// A model by the provider's own name.
    pub model: String,
    /// Its share among targets of the same rank, 1 to 1000: 8 beside 2 gets exactly 8 of 10 requests. Default 1.
    pub weight: u32,
    /// Targets of a higher rank are used only while none of a lower one is left. Default 0.
    pub rank: u32,
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self { provider: String::new(), model: String::new(), weight: 1, rank: 0 }
    }
}

/// What keeps requests at one target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Sticky {
    /// Nothing.
    #[default]
    Off,
    /// Their system prompt and tools.
    Prefix,
    /// The value of this header, its name in lower case.
    Header(Box<str>),
}

impl TryFrom<String> for Sticky {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const ALLOWED: &str = "expected \"off\", \"prefix\" or \"header:<name>\"";
        match text.split_once(':') {
            None if text == "off" => Ok(Self::Off),
            None if text == "prefix" => Ok(Self::Prefix),
            Some(("header", name))
                if (1..=64).contains(&name.len())
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') =>
            {
                Ok(Self::Header(name.to_ascii_lowercase().into()))
            }
            Some(_) | None => Err(ALLOWED),
        }
    }
}

impl From<Sticky> for String {
    fn from(sticky: Sticky) -> Self {
        match sticky {
            Sticky::Off => "off".into(),
            Sticky::Prefix => "prefix".into(),
            Sticky::Header(name) => format!("header:{name}"),
        }
    }
}

/// Which answers of a route are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// None.
    Off,
    /// Those of requests with `temperature` 0 or a `seed`, which ask for the same answer again.
    #[default]
    Deterministic,
    /// All.
    All,
}

/// Adds what is wrong with the routes. `known` tells which providers exist.
pub fn problems(routes: &RoutesConfig, prefix: &str, known: impl Fn(&str) -> bool, out: &mut Vec<Problem>) {
    for (name, route) in routes {
        let key = format!("{prefix}.{name}");
        if name.is_empty() || name.len() > 128 || name.contains('/') || name.chars().any(char::is_control) {
            let mend = "Use 1 to 128 characters without a slash.";
            out.push(Problem::new(&key, "The route's name is not usable as a model name.", mend));
        }
        if LABELS.contains(&name.as_str()) {
            let mend = "Choose another name.";
            out.push(Problem::new(&key, "In metrics this name means models that are named directly.", mend));
        }
        if route.targets.is_empty() {
            let mend = "Name at least one: targets = [{ provider = \"…\", model = \"…\" }].";
            out.push(Problem::new(format!("{key}.targets"), "The route has no target.", mend));
        }
        if !(1..=16).contains(&route.max_hops) {
            let message = format!("{} is out of range.", route.max_hops);
            out.push(Problem::new(format!("{key}.max_hops"), message, "Use a number from 1 to 16."));
        }
        if route.targets.len() > MAX_TARGETS {
            let mend = format!("Name at most {MAX_TARGETS}.");
            out.push(Problem::new(format!("{key}.targets"), "The route has too many targets.", mend));
        }
        if route.policy.is_empty() || route.policy.len() > 64 {
            let mend = "Name a policy, or leave the line out.";
            out.push(Problem::new(format!("{key}.policy"), "The policy has no usable name.", mend));
        }
        for target in &route.targets {
            if !(1..=1000).contains(&target.weight) {
                let message = format!("A weight of {} is out of range.", target.weight);
                let mend = "Use a number from 1 to 1000, or leave the target out.";
                out.push(Problem::new(format!("{key}.targets"), message, mend));
            }
            if !known(&target.provider) {
                let message = format!("No provider is called {:?}.", target.provider);
                let mend = "Use a shipped one (docs/providers.md) or add a section [providers.<name>].";
                out.push(Problem::new(format!("{key}.targets"), message, mend));
            }
            if target.model.is_empty() || target.model.len() > 128 {
                let mend = "Give each target its provider's own name of a model.";
                out.push(Problem::new(format!("{key}.targets"), "A target names no usable model.", mend));
            }
        }
    }
}
