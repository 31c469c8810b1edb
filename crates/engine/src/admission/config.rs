//! The limits as the settings say them, and their defaults. Figures: tools.md 4.2, S4-RATE, S3-PERF-7, S0-06.

use portcullis_domain::{Action, Problem};
use portcullis_resilience::limits::Quota;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A token bucket of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// Requests that may come at once.
    pub capacity: u32,
    /// Requests per second that come back.
    pub refill_per_sec: f64,
}

impl BucketConfig {
    const fn new(capacity: u32, refill_per_sec: f64) -> Self {
        Self { capacity, refill_per_sec }
    }

    pub(super) fn quota(self) -> Quota {
        Quota::bucket(self.capacity, self.refill_per_sec)
    }

    fn problems(self, key: &str, out: &mut Vec<Problem>) {
        if self.capacity == 0 {
            out.push(Problem::new(
                format!("{key}.capacity"),
                "must be at least 1",
                "a bucket of 0 would refuse everything",
            ));
        }
        if !(self.refill_per_sec > 0.0 && self.refill_per_sec <= 1e6) {
            out.push(Problem::new(
                format!("{key}.refill_per_sec"),
                "must be above 0 and at most 1000000",
                "write how many requests come back each second, such as 10 or 0.5",
            ));
        }
    }
}

/// `[tiers.<name>]`: what a service level may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TierConfig {
    /// Requests of one caller in any 60 seconds.
    pub per_min: u32,
    /// Bucket of one caller; none: callers of this tier have no bucket of their own.
    #[serde(default)]
    pub user: Option<BucketConfig>,
    /// Bucket of one address for callers of this tier; none: they share the address's common bucket `limits.ip`.
    #[serde(default)]
    pub ip: Option<BucketConfig>,
    /// Places in a provider's queue that callers of this tier get for each one of weight 1. Default 2 for
    /// `authenticated`, 4 for `premium`, else 1.
    #[serde(default = "one")]
    pub weight: u32,
    /// Tokens of one caller in a day, input and output together; 0: not bounded. Default 20000 for `anonymous`,
    /// 1000000 for `authenticated`, 20000000 for `premium`, else not bounded.
    #[serde(default)]
    pub daily_tokens: Option<u64>,
    /// Money of one caller in a day, in US dollars; 0: not bounded. Default 0.1 for `anonymous`, 5 for `authenticated`,
    /// 100 for `premium`, else not bounded.
    #[serde(default)]
    pub daily_usd: Option<f64>,
    /// Guard policy of this tier's callers, beside those of route, action and key; the stricter wins. Default none.
    #[serde(default)]
    pub policy: Option<String>,
}

const fn one() -> u32 {
    1
}

/// `[actions.<name>]`: limits of one kind of work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActionConfig {
    /// Requests of one caller for this action in any 60 seconds; none or 0: only the tier's window counts.
    pub per_user_per_min: Option<u32>,
    /// Requests of one caller for this action in any hour; none or 0: not counted.
    pub per_user_per_hour: Option<u32>,
    /// Calls to providers for this action in any 60 seconds, over all callers and providers: further ones are delayed for
    /// at most `upstream.guard.pace_wait_ms`, then refused with 429; 0: not counted. Default none.
    pub rpm: Option<u32>,
    /// Guard policy of this kind of work where no route names one, in place of `default`. Default none.
    pub policy: Option<String>,
}

/// The limits of the way in: the buckets of `[limits]`, `[tiers]` and `[actions]`.
#[derive(Clone, Debug)]
pub struct AdmissionConfig {
    /// Everybody together.
    pub global: BucketConfig,
    /// One address.
    pub ip: BucketConfig,
    /// One caller, where the tier names no bucket of its own.
    pub user: BucketConfig,
    /// By tier name.
    pub tiers: BTreeMap<String, TierConfig>,
    /// By action name.
    pub actions: BTreeMap<String, ActionConfig>,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            global: BucketConfig::new(1000, 100.0),
            ip: BucketConfig::new(100, 10.0),
            user: BucketConfig::new(50, 5.0),
            tiers: default_tiers(),
            actions: default_actions(),
        }
    }
}

/// The three built-in tiers.
#[must_use]
pub fn default_tiers() -> BTreeMap<String, TierConfig> {
    let tier = |per_min, user, ip, weight, (tokens, usd)| TierConfig {
        per_min,
        user,
        ip,
        weight,
        daily_tokens: Some(tokens),
        daily_usd: Some(usd),
        policy: None,
    };
    let premium = Some(BucketConfig::new(200, 20.0));
    BTreeMap::from([
        ("anonymous".into(), tier(10, None, None, 1, (20_000, 0.1))),
        ("authenticated".into(), tier(100, Some(BucketConfig::new(50, 5.0)), None, 2, (1_000_000, 5.0))),
        ("premium".into(), tier(1000, premium, premium, 4, (20_000_000, 100.0))),
    ])
}

/// The actions that have limits of their own.
#[must_use]
pub fn default_actions() -> BTreeMap<String, ActionConfig> {
    let row = |per_min, per_hour| ActionConfig {
        per_user_per_min: per_min,
        per_user_per_hour: per_hour,
        ..ActionConfig::default()
    };
    BTreeMap::from([
        ("embed".into(), row(Some(100), None)),
        ("message".into(), row(Some(10), Some(100))),
        ("menu".into(), row(Some(60), None)),
        ("add_source".into(), row(Some(10), None)),
        ("news".into(), row(None, Some(12))),
        ("summarise".into(), ActionConfig { rpm: Some(240), ..ActionConfig::default() }),
    ])
}

impl AdmissionConfig {
    /// Policies that tiers and actions name, each with its key.
    pub fn policies(&self) -> impl Iterator<Item = (String, &str)> {
        let tiers = self.tiers.iter().map(|(name, row)| ("tiers", name, &row.policy));
        let actions = self.actions.iter().map(|(name, row)| ("actions", name, &row.policy));
        let named = tiers.chain(actions);
        named.filter_map(|(part, name, policy)| Some((format!("{part}.{name}.policy"), policy.as_deref()?)))
    }

    /// Range checks over the three sections.
    pub fn problems(&self, out: &mut Vec<Problem>) {
        self.global.problems("limits.global", out);
        self.ip.problems("limits.ip", out);
        self.user.problems("limits.user", out);
        for (name, tier) in &self.tiers {
            let key = format!("tiers.{name}");
            for (part, bucket) in [("user", tier.user), ("ip", tier.ip)] {
                if let Some(bucket) = bucket {
                    bucket.problems(&format!("{key}.{part}"), out);
                }
            }
            if tier.daily_usd.is_some_and(|usd| !(0.0..=1e9).contains(&usd)) {
                let mend = "choose 0 (not bounded) to 1000000000";
                out.push(Problem::new(format!("{key}.daily_usd"), "is out of range", mend));
            }
            for (part, value) in [("per_min", tier.per_min), ("weight", tier.weight)] {
                if value == 0 {
                    out.push(Problem::new(
                        format!("{key}.{part}"),
                        "must be at least 1",
                        "revoke keys to shut callers out",
                    ));
                }
            }
        }
        for name in self.actions.keys() {
            if !Action::ALL.iter().any(|known| known.as_str() == name) {
                let names = Action::ALL.map(Action::as_str).join(", ");
                out.push(Problem::new(
                    format!("actions.{name}"),
                    "is no action",
                    format!("use one of {names}"),
                ));
            }
        }
    }
}
