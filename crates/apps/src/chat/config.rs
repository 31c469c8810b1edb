//! `[routes]`: the model names callers use, and who answers to them.

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[routes.<name>]`: one section a name. The names `default`, `fast`, `ask`, `summarise`, `review`, `tools` and
/// `embed` exist without a section and then use whatever providers have a key.
pub type RoutesConfig = BTreeMap<String, RouteConfig>;

/// `[routes.<name>]`: the targets tried for one model name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteConfig {
    /// Who answers, best first. Targets whose provider has no key are left out; with none left the builtin provider
    /// answers and says so.
    pub targets: Vec<TargetConfig>,
    /// Targets tried for one request, 1 to 16. Default 3.
    pub max_hops: usize,
}

impl Default for RouteConfig {
    fn default() -> Self {
        Self { targets: Vec::new(), max_hops: 3 }
    }
}

/// One target of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetConfig {
    /// A provider by its name.
    pub provider: String,
    /// A model by the provider's own name.
    pub model: String,
    /// Targets of a higher rank are tried only after all of a lower one; within a rank in the order written. Default 0.
    pub rank: u32,
}

/// Adds what is wrong with the routes. `known` tells which providers exist.
pub fn problems(routes: &RoutesConfig, prefix: &str, known: impl Fn(&str) -> bool, out: &mut Vec<Problem>) {
    for (name, route) in routes {
        let key = format!("{prefix}.{name}");
        if name.is_empty() || name.len() > 128 || name.contains('/') || name.chars().any(char::is_control) {
            let mend = "Use 1 to 128 characters without a slash.";
            out.push(Problem::new(&key, "The route's name is not usable as a model name.", mend));
        }
        if route.targets.is_empty() {
            let mend = "Name at least one: targets = [{ provider = \"…\", model = \"…\" }].";
            out.push(Problem::new(format!("{key}.targets"), "The route has no target.", mend));
        }
        if !(1..=16).contains(&route.max_hops) {
            let message = format!("{} is out of range.", route.max_hops);
            out.push(Problem::new(format!("{key}.max_hops"), message, "Use a number from 1 to 16."));
        }
        for target in &route.targets {
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
