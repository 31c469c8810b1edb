//! Which budgets count for a caller: built once from the settings, looked up by tier. Invariant: a rule keeps its number
//! as long as its name, scope and window stay the same, so that a reload keeps what was counted.

use super::config::{BudgetAction, BudgetsConfig, PriceUnknown, Scope, daily_defaults, micros};
use crate::admission::TierConfig;
use portcullis_domain::{BudgetWindow, Caller};
use portcullis_store::SumBy;
use portcullis_telemetry::{Gauge, Metrics};
use smallvec::SmallVec;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Most of each; none: not bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) tokens: Option<u64>,
    pub(crate) micros: Option<u64>,
}

impl Limit {
    /// What both allow.
    pub(crate) fn stricter(self, other: Self) -> Self {
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self { tokens: least(self.tokens, other.tokens), micros: least(self.micros, other.micros) }
    }
}

/// One budget.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Stays over reloads.
    pub(crate) id: u32,
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) window: BudgetWindow,
    pub(crate) limit: Limit,
    pub(crate) refuse: bool,
    /// Written by an operator for this purpose, unlike the daily share of a tier: its reservations are upper bounds and
    /// survive `kill -9` to the last one.
    pub(crate) strict: bool,
    /// The least that is left of it, of all its subjects, in millionths.
    pub(crate) left: Gauge,
}

/// Whose spending a rule counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Each caller of one tier.
    Daily,
    /// Each key.
    Key,
    /// Each key, by what the key itself says.
    Own,
    User,
    Team,
    Tier,
    Global,
}

impl Kind {
    const fn of(scope: &Scope) -> Self {
        match scope {
            Scope::Key => Self::Key,
            Scope::User => Self::User,
            Scope::Team => Self::Team,
            Scope::Tier(_) => Self::Tier,
            Scope::Global => Self::Global,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "caller",
            Self::Key | Self::Own => "key",
            Self::User => "user",
            Self::Team => "team",
            Self::Tier => "tier",
            Self::Global => "global",
        }
    }

    /// How the ledger sums it.
    pub(crate) const fn sum_by(self) -> SumBy {
        match self {
            Self::Daily | Self::Own => SumBy::Caller,
            Self::Key => SumBy::Key,
            Self::User => SumBy::Person,
            Self::Team => SumBy::Team,
            Self::Tier | Self::Global => SumBy::All,
        }
    }
}

/// The rules that count for callers of one tier.
#[derive(Debug)]
struct OfTier {
    tier: Arc<str>,
    rules: Vec<Arc<Rule>>,
}

/// A rule as it counts for one caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) subject: &'a Arc<str>,
    pub(crate) limit: Limit,
}

pub(crate) type Charges<'a> = SmallVec<[Charge<'a>; 4]>;

/// Numbers of rules, kept over reloads.
pub(crate) type Numbers = HashMap<(String, Kind, BudgetWindow), u32>;

/// All rules.
pub(crate) struct Rules {
    tiers: HashMap<Box<str>, OfTier, ahash::RandomState>,
    other: OfTier,
    /// Of keys that bound themselves, by window.
    own: [Arc<Rule>; 4],
    all: Vec<(Arc<Rule>, Option<Arc<str>>)>,
    nobody: Arc<str>,
    /// Rising, in millionths.
    pub(crate) alert_at: Vec<u64>,
    pub(crate) unpriced_refused: bool,
    pub(crate) default_max_tokens: u32,
    pub(crate) ledger_days: u32,
}

impl Rules {
    pub(crate) fn new(
        config: &BudgetsConfig,
        tiers: &BTreeMap<String, TierConfig>,
        default_max_tokens: u32,
        numbers: &mut Numbers,
        metrics: &Metrics,
    ) -> Self {
        let mut rule = |name: String, kind, window, limit, refuse, strict| {
            let fresh = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            let id = *numbers.entry((name.clone(), kind, window)).or_insert(fresh);
            let left = metrics.budget_remaining(&name);
            Arc::new(Rule { id, name: name.into(), kind, window, limit, refuse, strict, left })
        };
        let mut all = Vec::new();
        let mut daily = BTreeMap::new();
        for (tier, config) in tiers {
            let (tokens, money) = daily_defaults(tier);
            // 0 is how an operator says "no bound".
            let said = |said: Option<u64>, default: Option<u64>| said.or(default).filter(|most| *most > 0);
            let limit = Limit {
                tokens: said(config.daily_tokens, tokens),
                micros: said(config.daily_usd.and_then(micros), money),
            };
            if limit != Limit::default() {
                let made = rule(format!("tiers.{tier}"), Kind::Daily, BudgetWindow::Day, limit, true, false);
                all.push((made.clone(), Some(tier.as_str().into())));
                daily.insert(tier.as_str(), made);
            }
        }
        let mut common = Vec::new();
        let mut of_tier: BTreeMap<String, Vec<Arc<Rule>>> = BTreeMap::new();
        for (name, budget) in &config.named {
            let Some(scope) = Scope::from_name(&budget.scope) else { continue };
            let limit = Limit { tokens: budget.tokens, micros: budget.money_usd.and_then(micros) };
            let (window, refuse) = (budget.window.into(), budget.action == BudgetAction::Refuse);
            let kind = Kind::of(&scope);
            let made = rule(name.clone(), kind, window, limit, refuse, refuse);
            match scope {
                Scope::Tier(tier) => {
                    all.push((made.clone(), Some(tier.as_str().into())));
                    of_tier.entry(tier).or_default().push(made);
                }
                Scope::Key | Scope::User | Scope::Team | Scope::Global => {
                    all.push((made.clone(), None));
                    common.push(made);
                }
            }
        }
        let own = BudgetWindow::ALL.map(|window| {
            let made =
                rule(format!("key.{}", window.as_str()), Kind::Own, window, Limit::default(), true, true);
            all.push((made.clone(), None));
            made
        });
        let row = |tier: &str| OfTier {
            tier: tier.into(),
            rules: daily
                .get(tier)
                .cloned()
                .into_iter()
                .chain(of_tier.get(tier).cloned().unwrap_or_default())
                .chain(common.iter().cloned())
                .collect(),
        };
        let millionths = |share: &f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be 0 to 10"
            )]
            {
                (share.clamp(0.0, 10.0) * 1e6).round() as u64
            }
        };
        Self {
            other: row("authenticated"),
            tiers: tiers.keys().map(|tier| (tier.as_str().into(), row(tier))).collect(),
            own,
            all,
            nobody: "".into(),
            alert_at: config.alert_at.iter().map(millionths).collect(),
            unpriced_refused: config.price_unknown == PriceUnknown::Refuse,
            default_max_tokens,
            ledger_days: config.ledger_days,
        }
    }

    fn of(&self, caller: &Caller) -> &OfTier {
        // Tiers that no row names are treated as `authenticated`.
        self.tiers.get(caller.tier.as_str()).unwrap_or(&self.other)
    }

    /// The tier's name, shared.
    pub(crate) fn tier(&self, caller: &Caller) -> Arc<str> {
        self.of(caller).tier.clone()
    }

    /// Every budget that counts for this caller.
    pub(crate) fn charges<'a>(&'a self, caller: &'a Caller) -> Charges<'a> {
        let subject = |rule: &Rule| match rule.kind {
            Kind::Daily | Kind::Own => Some(&caller.id),
            Kind::Key => caller.key_id.as_ref(),
            Kind::User => Some(caller.user.as_ref().unwrap_or(&caller.id)),
            Kind::Team => caller.team.as_ref(),
            Kind::Tier | Kind::Global => Some(&self.nobody),
        };
        let rules = self.of(caller).rules.iter();
        let mut charges: Charges<'_> = rules
            .filter_map(|rule| Some(Charge { rule, subject: subject(rule)?, limit: rule.limit }))
            .collect();
        let own = caller.limits.as_ref().map(|limits| limits.budgets.as_slice()).unwrap_or_default();
        for budget in own {
            let (rule, limit) = (
                &*self.own[budget.window as usize],
                Limit { tokens: budget.tokens, micros: budget.micro_usd },
            );
            // Two of one window are one: the stricter.
            match charges.iter_mut().find(|charge| charge.rule.id == rule.id) {
                Some(known) => known.limit = known.limit.stricter(limit),
                None => charges.push(Charge { rule, subject: &caller.id, limit }),
            }
        }
        charges
    }

    /// Every rule, with the tier whose callers it counts.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Arc<Rule>, Option<&Arc<str>>)> {
        self.all.iter().map(|(rule, tier)| (rule, tier.as_ref()))
    }

    /// The rule of that number.
    pub(crate) fn by_id(&self, id: u32) -> Option<&Arc<Rule>> {
        self.all.iter().map(|(rule, _)| rule).find(|rule| rule.id == id)
    }

    /// The rule of that name.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<Rule>> {
        self.all.iter().map(|(rule, _)| rule).find(|rule| *rule.name == *name)
    }
}
