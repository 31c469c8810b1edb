//! `[budgets]`: what may be spent, by whom, in which time; and the daily shares of the tiers.

use super::window::zone;
use portcullis_domain::{BudgetWindow, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[budgets]`: what may be spent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BudgetsConfig {
    /// Time zone whose days, weeks (from Monday) and months budgets are counted in, such as `Europe/Amsterdam`.
    /// Default `"UTC"`.
    pub timezone: String,
    /// Shares of a budget at which an alert is raised, each once in a window, rising. Default 0.5, 0.8 and 1.
    pub alert_at: Vec<f64>,
    /// Whether a model without a known price may answer callers under a budget of money: `allow` (its tokens are
    /// counted, its money is not) or `refuse`. Default `allow`.
    pub price_unknown: PriceUnknown,
    /// How long rows of the ledger are kept, in days. Shorter than a window, its budget forgets. Default 400.
    pub ledger_days: u32,
    /// Most counters kept in memory, one for each budget of each caller, about 200 bytes each; beyond it those least
    /// used are forgotten first. Default 100000.
    pub max_counters: usize,
    /// `[budgets.<name>]`: one section a budget.
    #[serde(flatten)]
    pub named: BTreeMap<String, BudgetConfig>,
}

impl Default for BudgetsConfig {
    fn default() -> Self {
        Self {
            timezone: "UTC".into(),
            alert_at: vec![0.5, 0.8, 1.0],
            price_unknown: PriceUnknown::Allow,
            ledger_days: 400,
            max_counters: 100_000,
            named: BTreeMap::new(),
        }
    }
}

/// What becomes of targets without a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PriceUnknown {
    /// Only their tokens count.
    #[default]
    Allow,
    /// They do not answer callers under a budget of money.
    Refuse,
}

/// `[budgets.<name>]`: what may be spent by one of a kind, or by all together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// Whose spending counts together: `key` (each API key), `user` (each user a key names, else each caller), `team`
    /// (each team a key names), `tier:<name>` (all callers of that tier) or `global` (everybody).
    pub scope: String,
    /// Over which time: `day`, `week`, `month` or `total`. Default `day`.
    pub window: WindowName,
    /// Most tokens, input and output together. Default: not bounded.
    pub tokens: Option<u64>,
    /// Most money, in US dollars. Default: not bounded.
    pub money_usd: Option<f64>,
    /// What happens beyond it: `refuse` (429 before anything is spent) or `alert` (told, never refused). Default
    /// `refuse`.
    pub action: BudgetAction,
}

/// Over which time a budget counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WindowName {
    /// A calendar day.
    #[default]
    Day,
    /// A calendar week, from Monday.
    Week,
    /// A calendar month.
    Month,
    /// For ever.
    Total,
}

impl From<WindowName> for BudgetWindow {
    fn from(name: WindowName) -> Self {
        match name {
            WindowName::Day => Self::Day,
            WindowName::Week => Self::Week,
            WindowName::Month => Self::Month,
            WindowName::Total => Self::Total,
        }
    }
}

/// What happens beyond a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BudgetAction {
    /// Requests are refused.
    #[default]
    Refuse,
    /// Somebody is told.
    Alert,
}

/// Whose spending counts together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Key,
    User,
    Team,
    Tier(String),
    Global,
}

impl Scope {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "key" => Some(Self::Key),
            "user" => Some(Self::User),
            "team" => Some(Self::Team),
            "global" => Some(Self::Global),
            other => {
                let tier = other.strip_prefix("tier:").filter(|tier| !tier.is_empty())?;
                Some(Self::Tier(tier.to_owned()))
            }
        }
    }
}

/// Dollars as micro-dollars, rounded to the nearest; what is no sensible amount is none.
pub(crate) fn micros(usd: f64) -> Option<u64> {
    const MOST: f64 = 1e9;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within range")]
    (0.0..=MOST).contains(&usd).then(|| (usd * 1e6).round() as u64)
}

impl BudgetConfig {
    /// Range checks; `tiers` are those that exist.
    pub fn problems(&self, key: &str, known_tier: impl Fn(&str) -> bool, out: &mut Vec<Problem>) {
        let mut wrong = |part: &str, what: String, mend: &str| {
            out.push(Problem::new(format!("{key}.{part}"), what, mend));
        };
        let scopes = "use key, user, team, tier:<name> or global";
        match Scope::from_name(&self.scope) {
            None => wrong("scope", format!("{:?} is no scope", self.scope), scopes),
            Some(Scope::Tier(tier)) if !known_tier(&tier) => {
                wrong("scope", format!("no tier is called {tier:?}"), "name a tier of [tiers]");
            }
            Some(Scope::Tier(_) | Scope::Key | Scope::User | Scope::Team | Scope::Global) => {}
        }
        if self.tokens.is_none() && self.money_usd.is_none() {
            wrong("tokens", "bounds nothing".into(), "give tokens, money_usd or both");
        }
        if self.tokens.is_some_and(|tokens| tokens > MOST_TOKENS) {
            wrong("tokens", "is more than can be counted".into(), "leave it out for no bound");
        }
        if let Some(usd) = self.money_usd
            && micros(usd).is_none()
        {
            wrong("money_usd", format!("{usd} is out of range"), "choose 0 to 1000000000");
        }
    }
}

/// Sums stay exact in Redis, whose scripts count in doubles.
const MOST_TOKENS: u64 = 1_000_000_000_000_000;

impl BudgetsConfig {
    /// Range checks; `known_tier` tells which tiers exist.
    pub fn problems(&self, prefix: &str, known_tier: impl Fn(&str) -> bool, out: &mut Vec<Problem>) {
        let mut wrong = |part: &str, what: String, mend: &str| {
            out.push(Problem::new(format!("{prefix}.{part}"), what, mend));
        };
        if zone(&self.timezone).is_none() {
            let what = format!("no time zone is called {:?}", self.timezone);
            wrong("timezone", what, "use a name such as UTC or Europe/Amsterdam");
        }
        let rising = self.alert_at.windows(2).all(|pair| pair[0] < pair[1]);
        let sound = self.alert_at.iter().all(|share| *share > 0.0 && *share <= 10.0);
        if !rising || !sound || self.alert_at.len() > 8 {
            let mend = "give at most 8 rising shares above 0, such as [0.5, 0.8, 1.0]";
            wrong("alert_at", "is no list of rising shares".into(), mend);
        }
        if !(32..=36_500).contains(&self.ledger_days) {
            wrong("ledger_days", format!("{} is out of range", self.ledger_days), "choose 32 to 36500");
        }
        if self.max_counters < 1_000 {
            wrong("max_counters", "must be at least 1000".into(), "leave the key out for 100000");
        }
        for (name, budget) in &self.named {
            let key = format!("{prefix}.{name}");
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
                out.push(Problem::new(&key, "is no usable name", "use 1 to 64 letters, digits, - and _"));
            }
            budget.problems(&key, &known_tier, out);
        }
    }
}

/// Daily shares of one caller: tokens, and micro-dollars.
pub(crate) fn daily_defaults(tier: &str) -> (Option<u64>, Option<u64>) {
    match tier {
        "anonymous" => (Some(20_000), Some(100_000)),
        "authenticated" => (Some(1_000_000), Some(5_000_000)),
        "premium" => (Some(20_000_000), Some(100_000_000)),
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(config: &BudgetsConfig) -> Vec<String> {
        let mut out = vec![];
        config.problems("budgets", |tier| tier == "premium", &mut out);
        out.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn the_section_is_written_as_the_design_writes_it() {
        let text = r#"{"timezone":"Europe/Amsterdam","spring":{"scope":"tier:premium","window":"month",
                       "money_usd":12.5,"action":"alert"},"each":{"scope":"key","tokens":10}}"#;
        let config: BudgetsConfig = serde_json::from_str(text).unwrap();
        assert_eq!(problems(&config), Vec::<String>::new());
        assert_eq!(config.named["spring"].action, BudgetAction::Alert);
        assert_eq!(config.named["each"].window, WindowName::Day);
        let back: BudgetsConfig = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
        assert_eq!(back, config);
        assert_eq!(problems(&BudgetsConfig::default()), Vec::<String>::new());
    }

    #[test]
    fn every_setting_out_of_range_is_named() {
        let text = r#"{"timezone":"Mars/Olympus","alert_at":[0.8,0.5],"ledger_days":3,"max_counters":1,
                       "a b":{"scope":"tier:gold"},"c":{"money_usd":-1},"d":{"scope":"key","tokens":18446744073709551615}}"#;
        let config: BudgetsConfig = serde_json::from_str(text).unwrap();
        let expected = [
            "timezone",
            "alert_at",
            "ledger_days",
            "max_counters",
            "a b",
            "a b.scope",
            "a b.tokens",
            "c.scope",
            "c.money_usd",
            "d.tokens",
        ];
        assert_eq!(problems(&config), expected.map(|key| format!("budgets.{key}")));
    }

    #[test]
    fn dollars_become_whole_micro_dollars() {
        assert_eq!([micros(0.1), micros(5.0), micros(1e-7)], [Some(100_000), Some(5_000_000), Some(0)]);
        assert_eq!([micros(-0.1), micros(f64::NAN), micros(1e12)], [None, None, None]);
    }
}
