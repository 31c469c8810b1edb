//! What people may have: plans, and how schedules are kept.

use crate::news::{LONGEST_WINDOW, MOST_STORIES, NewsConfig};
use portcullis_domain::{Problem, Tier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[news.plans.<name>]`: what people of a plan may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanConfig {
    /// Digests that are asked for, a day.
    pub digests: u32,
    /// Digests on schedule, a day; also how many schedules there may be.
    pub scheduled: u32,
    /// Sources in one folder.
    pub sources: u32,
    /// Folders.
    pub folders: u32,
    /// Most stories of a digest, 1 to 30.
    pub stories: u32,
    /// Farthest look back, in hours, 1 to 720.
    pub window_hours: u32,
    /// Tier of whoever has it, at every chat door: of its section in `[tiers]` the limits hold for them. Default
    /// `authenticated`.
    #[serde(default = "usual_tier")]
    pub tier: String,
}

fn usual_tier() -> String {
    Tier::Authenticated.to_string()
}

/// `[schedule]`: digests on schedule.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// Schedules begin up to this much later, each always by the same, so that not all of one minute begin at once; in
    /// seconds, 0 to 3600. Default 300.
    pub jitter_secs: u32,
    /// A digest that was missed while the server was away is still made within so many hours, 0 to 168; a later one is
    /// noted. Default 2.
    pub catch_up_hours: u32,
    /// Least time between two digests of one schedule, in hours, 1 to 168. Default 1.
    pub min_interval_hours: u32,
    /// Digests on schedule that are made at once, 1 to 1000. Default 4.
    pub at_once: u32,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { jitter_secs: 300, catch_up_hours: 2, min_interval_hours: 1, at_once: 4 }
    }
}

impl ScheduleConfig {
    /// Adds what is out of range.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value, least, most) in [
            ("jitter_secs", self.jitter_secs, 0_u32, 3600_u32),
            ("catch_up_hours", self.catch_up_hours, 0, 168),
            ("min_interval_hours", self.min_interval_hours, 1, 168),
            ("at_once", self.at_once, 1, 1000),
        ] {
            range(format!("{prefix}.{key}"), value.into(), [u64::from(least), u64::from(most)], out);
        }
    }
}

fn range(key: String, value: u64, [least, most]: [u64; 2], out: &mut Vec<Problem>) {
    if !(least..=most).contains(&value) {
        let mend = format!("Use a number from {least} to {most}.");
        out.push(Problem::new(key, format!("{value} is out of range."), mend));
    }
}

/// The plans of `[news.plans]` where none are named.
pub(in crate::news) fn default_plans() -> BTreeMap<String, PlanConfig> {
    let plan = |[digests, scheduled, sources, folders, stories, window_hours]: [u32; 6], tier: Tier| {
        let tier = tier.to_string();
        PlanConfig { digests, scheduled, sources, folders, stories, window_hours, tier }
    };
    BTreeMap::from([
        ("free".into(), plan([3, 2, 10, 2, 5, 72], Tier::Authenticated)),
        ("plus".into(), plan([10, 6, 15, 4, 10, 168], Tier::Authenticated)),
        ("pro".into(), plan([30, 24, 60, 15, 15, 720], Tier::Premium)),
        ("enterprise".into(), plan([200, 200, 500, 50, 30, 720], Tier::Premium)),
    ])
}

/// Adds plans whose tier is not there.
pub(in crate::news) fn plan_tier_problems(
    config: &NewsConfig,
    prefix: &str,
    is_tier: impl Fn(&str) -> bool,
    out: &mut Vec<Problem>,
) {
    for (name, plan) in config.plans.iter().filter(|(_, plan)| !is_tier(&plan.tier)) {
        let said = format!("there is no tier `{}`.", plan.tier);
        let mend = "Add its section to `[tiers]`, or name another.";
        out.push(Problem::new(format!("{prefix}.plans.{name}.tier"), said, mend));
    }
}

/// Adds what is wrong with plans and how digests are shown.
pub(in crate::news) fn plan_problems(config: &NewsConfig, prefix: &str, out: &mut Vec<Problem>) {
    for (name, plan) in &config.plans {
        for (key, value, least, most) in [
            ("digests", plan.digests, 0, 100_000),
            ("scheduled", plan.scheduled, 0, 100_000),
            ("sources", plan.sources, 1, 10_000),
            ("folders", plan.folders, 1, 1000),
            ("stories", plan.stories, 1, u32::try_from(MOST_STORIES).unwrap_or(u32::MAX)),
            ("window_hours", plan.window_hours, 1, LONGEST_WINDOW),
        ] {
            range(format!("{prefix}.plans.{name}.{key}"), value.into(), [least, most].map(u64::from), out);
        }
    }
    let mut one_of = |key: &str, value: &str, names: &[&str]| {
        if !names.contains(&value) {
            let mend = format!("Use one of {}.", names.join(", "));
            out.push(Problem::new(format!("{prefix}.{key}"), format!("there is no {value}."), mend));
        }
    };
    one_of("quota_day", &config.quota_day, &["utc", "user"]);
    one_of("layout", &config.layout, &["auto", "stories", "compact"]);
    let plans: Vec<&str> = config.plans.keys().map(String::as_str).collect();
    one_of("plan", &config.plan, &plans);
}

/// What is had where no plan is left: settings that name none are refused.
static LEAST: PlanConfig = PlanConfig {
    digests: 0,
    scheduled: 0,
    sources: 1,
    folders: 1,
    stories: 1,
    window_hours: 24,
    tier: String::new(),
};

/// The plan of that name, else the one of everybody.
pub(super) fn plan_of<'a>(config: &'a NewsConfig, name: &str) -> (&'a str, &'a PlanConfig) {
    let found = config.plans.get_key_value(name).or_else(|| config.plans.get_key_value(&config.plan));
    found.map_or(("", &LEAST), |(name, plan)| (name, plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_or_not_there_is_named() {
        let mut config = NewsConfig { plan: "gold".into(), layout: "wide".into(), ..NewsConfig::default() };
        if let Some(plan) = config.plans.get_mut("pro") {
            plan.sources = 0;
        }
        let mut out = Vec::new();
        plan_problems(&config, "news", &mut out);
        ScheduleConfig { at_once: 0, ..ScheduleConfig::default() }.problems("schedule", &mut out);
        let keys: Vec<_> = out.into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["news.plans.pro.sources", "news.layout", "news.plan", "schedule.at_once"]);
        assert_eq!(plan_of(&NewsConfig::default(), "none").0, "free");
    }

    #[test]
    fn a_plan_names_a_tier_that_is_there() {
        let (mut config, mut out) = (NewsConfig::default(), Vec::new());
        config.plans.get_mut("pro").unwrap().tier = "gold".into();
        plan_tier_problems(&config, "news", |tier| ["authenticated", "premium"].contains(&tier), &mut out);
        assert_eq!(out.into_iter().map(|problem| problem.key).collect::<Vec<_>>(), ["news.plans.pro.tier"]);
        let plan: PlanConfig = serde_json::from_value(serde_json::json!({
            "digests": 1, "scheduled": 1, "sources": 1, "folders": 1, "stories": 1, "window_hours": 1
        }))
        .unwrap();
        assert_eq!(plan.tier, "authenticated");
    }
}
