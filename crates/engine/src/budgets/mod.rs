//! Budgets: what may be spent, by key, user, team, tier and all together, in days, weeks, months or for ever. Before a
//! call the most it may cost is reserved in every budget of its caller, in all or in none; after it what it came to is
//! settled, and its row goes to the ledger.
//!
//! Invariants: a budget that refuses cannot be overshot by concurrency; every paid call has exactly one row; after
//! `kill -9` the counters are those of the ledger. Source: gateway.md sections 5 and 14.

mod book;
mod config;
mod recount;
mod reservation;
mod rules;
mod shared;
mod status;
#[cfg(test)]
mod tests;
mod window;

pub use config::{BudgetAction, BudgetConfig, BudgetsConfig, PriceUnknown, WindowName};
pub use reservation::Reservation;
pub use status::{BudgetStatus, Repriced, usage_csv};

use crate::admission::TierConfig;
use arc_swap::ArcSwap;
use book::{Amount, Book, Crossing, Entries};
use jiff::Timestamp;
use parking_lot::Mutex;
use portcullis_domain::{BudgetWindow, Caller, Failure, Price, RequestId};
use portcullis_resilience::{shared::Shared, spend::Spend};
use portcullis_store::{LedgerId, LedgerPrice, LedgerRow, Store, StoreError};
use portcullis_telemetry::{AlertCategory, Alerts, Metrics};
use rules::{Charge, Charges, Kind, Limit, Numbers, Rules};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use window::{Span, zone};

/// What budgets are built from.
pub struct BudgetsParts<'a> {
    /// `[budgets]`.
    pub config: &'a BudgetsConfig,
    /// `[tiers]`, for the daily shares.
    pub tiers: &'a BTreeMap<String, TierConfig>,
    /// `gateway.default_max_tokens`.
    pub default_max_tokens: u32,
    /// The ledger.
    pub store: Store,
    /// Where all replicas count together.
    pub shared: Option<Shared>,
    /// `limits.fallback_share`.
    pub fallback_share: f64,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Whom it tells.
    pub alerts: Alerts,
}

/// What is about to be spent.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// For which request.
    pub request: RequestId,
    /// By whom.
    pub caller: &'a Caller,
    /// The route's name in the configuration.
    pub route: Arc<str>,
    /// At which provider.
    pub provider: Arc<str>,
    /// With which model.
    pub model: Arc<str>,
    /// What its tokens cost, where that is known.
    pub price: Option<Price>,
    /// Tokens it reads, estimated by [`Budgets::tokens_of`] or counted.
    pub input: u64,
    /// Most tokens it writes.
    pub output: u64,
    /// Until when it may take; the reservation frees itself a minute later, should this process die.
    pub expires: Instant,
}

/// A budget that has not enough left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetRefusal {
    /// Its name.
    pub budget: Arc<str>,
    /// When it begins anew; none: never.
    pub resets_in: Option<Duration>,
}

impl From<BudgetRefusal> for Failure {
    fn from(refusal: BudgetRefusal) -> Self {
        let BudgetRefusal { budget, resets_in } = refusal;
        Self::BudgetExceeded { budget: budget.to_string().into(), resets_in }
    }
}

/// How long a reservation outlives the deadline of its request where its process has died.
const LEASE_AFTER: Duration = Duration::from_secs(60);
/// Models whose estimates are corrected; more are estimated as they come.
const MAX_RATIOS: usize = 10_000;
/// How far an estimate is ever corrected, down and up.
const RATIOS: (f64, f64) = (0.25, 4.0);
/// Weight of the newest answer in the correction.
const NEWEST: f64 = 0.1;

type Ratios = HashMap<(Arc<str>, Arc<str>), f64, ahash::RandomState>;

struct Inner {
    rules: ArcSwap<Rules>,
    numbers: Mutex<Numbers>,
    book: Mutex<Book>,
    /// Real by estimated input, by provider and model.
    ratios: Mutex<Ratios>,
    store: Store,
    shared: Option<shared::Together>,
    share: f64,
    started: i64,
    /// The first rule that a reload brought and the ledger was not yet read for.
    unread: Mutex<Option<u32>>,
    renewed: Notify,
    metrics: Metrics,
    alerts: Alerts,
}

/// The budgets of one running Portcullis. Cheap to clone.
#[derive(Clone)]
pub struct Budgets(Arc<Inner>);

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

impl Budgets {
    /// Takes up what an earlier process left, and counts as the ledger says.
    ///
    /// # Errors
    /// A journal or a database that cannot be read.
    pub async fn open(parts: BudgetsParts<'_>) -> Result<Self, StoreError> {
        let zone = zone(&parts.config.timezone).unwrap_or(jiff::tz::TimeZone::UTC);
        let mut numbers = Numbers::new();
        let rules =
            Rules::new(parts.config, parts.tiers, parts.default_max_tokens, &mut numbers, &parts.metrics);
        let started = now_ms();
        let budgets = Self(Arc::new(Inner {
            rules: ArcSwap::from_pointee(rules),
            numbers: Mutex::new(numbers),
            book: Mutex::new(Book::new(zone, parts.config.max_counters, started)),
            ratios: Mutex::default(),
            store: parts.store,
            shared: parts.shared.map(|shared| shared::Together::new(Spend::new(shared))),
            share: parts.fallback_share,
            started,
            unread: Mutex::new(None),
            renewed: Notify::new(),
            metrics: parts.metrics,
            alerts: parts.alerts,
        }));
        let left = budgets.0.store.ledger().recover().await?;
        // A database that is away takes the rows later; what they spent is then missing from the counters until the
        // next start, like everything else in a ledger that cannot be read.
        if let Err(error) = budgets.0.store.ledger().flush().await {
            tracing::warn!(%error, "usage of an earlier run cannot be stored yet");
        }
        budgets.settle_recovered(&left).await;
        budgets.rebuild(0).await?;
        Ok(budgets)
    }

    /// Other rules from now on; what was counted under a name, scope and window that stay is kept. What the ledger says
    /// of new ones is read in the background.
    pub fn apply(
        &self,
        config: &BudgetsConfig,
        tiers: &BTreeMap<String, TierConfig>,
        default_max_tokens: u32,
    ) {
        let inner = &*self.0;
        let known = u32::try_from(inner.numbers.lock().len()).unwrap_or(u32::MAX);
        let rules = Rules::new(config, tiers, default_max_tokens, &mut inner.numbers.lock(), &inner.metrics);
        let zone = zone(&config.timezone).unwrap_or(jiff::tz::TimeZone::UTC);
        inner.book.lock().rezone(zone, config.max_counters);
        inner.rules.store(Arc::new(rules));
        if inner.numbers.lock().len() > known as usize {
            let mut unread = inner.unread.lock();
            *unread = Some(unread.map_or(known, |earlier| earlier.min(known)));
            inner.renewed.notify_one();
        }
    }

    /// Whether this caller may spend anything at all, before it is known on what: refused only where no token is left,
    /// since a target may cost no money. Touches nothing but memory.
    ///
    /// # Errors
    /// `BudgetExceeded`.
    pub fn precheck(&self, caller: &Caller) -> Result<(), Failure> {
        let rules = self.0.rules.load();
        let charges = rules.charges(caller);
        let now = now_ms();
        match self.0.book.lock().exhausted(&charges, now) {
            None => Ok(()),
            Some((place, span)) => Err(refusal(&charges, place, span, now).into()),
        }
    }

    /// The most tokens that a request of this caller may write where it does not say itself, if a budget needs to
    /// know: it is sent upstream, so that reservations are upper bounds.
    #[must_use]
    pub fn output_cap(&self, caller: &Caller) -> Option<u32> {
        let rules = self.0.rules.load();
        let bound = rules.charges(caller).iter().any(|charge| charge.rule.refuse && charge.rule.strict);
        bound.then_some(rules.default_max_tokens)
    }

    /// Tokens that a request is taken to write where nobody says how many.
    #[must_use]
    pub fn default_max_tokens(&self) -> u32 {
        self.0.rules.load().default_max_tokens
    }

    /// Tokens of so many bytes for that model: a quarter, corrected by what its provider has counted so far.
    #[must_use]
    pub fn tokens_of(&self, bytes: u64, provider: &Arc<str>, model: &Arc<str>) -> u64 {
        let plain = bytes.div_ceil(4);
        let ratio = self.0.ratios.lock().get(&(provider.clone(), model.clone())).copied();
        match ratio {
            None => plain,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an estimate; bytes of a body are far below 2^53"
            )]
            Some(ratio) => (plain as f64 * ratio).ceil() as u64,
        }
    }

    /// Learns from what a provider counted.
    fn learn(&self, provider: &Arc<str>, model: &Arc<str>, estimated: u64, real: u64) {
        if estimated == 0 || real == 0 {
            return;
        }
        let mut ratios = self.0.ratios.lock();
        let key = (provider.clone(), model.clone());
        if ratios.len() >= MAX_RATIOS && !ratios.contains_key(&key) {
            return;
        }
        let ratio = ratios.entry(key).or_insert(1.0);
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
        let off = real as f64 / estimated as f64;
        // The estimate was corrected already: what it is off by now corrects the correction.
        *ratio = (*ratio * (1.0 + NEWEST * (off.clamp(RATIOS.0, RATIOS.1) - 1.0))).clamp(RATIOS.0, RATIOS.1);
    }

    /// Reserves the most that a call may cost in every budget of its caller, in all or in none.
    ///
    /// # Errors
    /// The first budget that has not enough left; then nothing was reserved.
    pub async fn reserve(&self, ask: Ask<'_>) -> Result<Reservation, BudgetRefusal> {
        let inner = &*self.0;
        let rules = inner.rules.load_full();
        let charges = rules.charges(ask.caller);
        let now = now_ms();
        let price = ask.price.map(ledger_price);
        let refuses_money = |charge: &Charge<'_>| charge.rule.refuse && charge.limit.micros.is_some();
        if price.is_none()
            && rules.unpriced_refused
            && let Some(place) = charges.iter().position(refuses_money)
        {
            let span = inner.book.lock().span(charges[place].rule.window, now);
            return Err(refusal(&charges, place, span, now));
        }
        let micros = price.map_or(0, |price| price.cost(ask.input, 0, ask.output));
        let asked = Amount { tokens: ask.input.saturating_add(ask.output), micros };
        if charges.iter().any(|charge| charge.rule.kind == Kind::Own) {
            // Boxed, as below: the way that is seldom gone must not make every request's future ten times as large.
            Box::pin(self.know_own(&charges, now)).await;
        }
        let id = inner.store.ledger().next_id();
        let life = ask.expires.saturating_duration_since(Instant::now()) + LEASE_AFTER;
        let (at, entries, epoch) = match &inner.shared {
            None => {
                let reserved = inner.book.lock().reserve(&charges, asked, None, now);
                let (at, entries) = reserved.map_err(|(place, span)| refusal(&charges, place, span, now))?;
                (at, entries, 0)
            }
            Some(together) => Box::pin(self.reserve_together(together, &charges, asked, id, life)).await?,
        };
        let reservation = self.enter(&rules, &ask, Entered { id, at, entries, epoch, asked, price });
        if charges.iter().any(|charge| charge.rule.refuse && charge.rule.strict) {
            // What is not in the journal when its call begins would be forgotten by `kill -9`.
            inner.store.ledger().secure(id).await;
        }
        Ok(reservation)
    }

    fn enter(&self, rules: &Rules, ask: &Ask<'_>, entered: Entered) -> Reservation {
        let Entered { id, at, entries, epoch, asked, price } = entered;
        let caller = ask.caller;
        self.0.store.ledger().open(
            id,
            LedgerRow {
                at,
                request: ask.request.as_str().into(),
                caller: caller.id.clone(),
                person: caller.user.as_ref().unwrap_or(&caller.id).clone(),
                key: caller.key_id.clone(),
                team: caller.team.clone(),
                tier: rules.tier(caller),
                route: ask.route.clone(),
                provider: ask.provider.clone(),
                model: ask.model.clone(),
                input: ask.input,
                cached: 0,
                output: ask.output,
                micros: asked.micros,
                price,
                estimated: false,
            },
        );
        Reservation::new(self.clone(), id, entries, epoch, asked, price, ask)
    }

    /// Puts an end to a reservation: in the counters, in Redis and in the ledger.
    fn settled(&self, id: LedgerId, entries: Entries, epoch: u64, asked: Amount, spent: Amount) {
        let inner = &*self.0;
        let rules = inner.rules.load();
        let crossings = inner.book.lock().settle(&entries, asked, spent, &rules.alert_at);
        if let Some(together) = &inner.shared {
            together.push(shared::Op { id, entries, epoch, asked, spent });
            together.tell(crossings);
        } else {
            for crossing in crossings {
                self.alert(&crossing);
            }
        }
    }

    fn alert(&self, crossing: &Crossing) {
        let rules = self.0.rules.load();
        let Some(rule) = rules.by_id(crossing.rule) else { return };
        let percent = crossing.at / 10_000;
        let (name, kind) = (&*rule.name, rule.kind.as_str());
        let whose = if crossing.subject.is_empty() {
            String::new()
        } else {
            format!(" of {kind} {}", crossing.subject)
        };
        let message = format!("the budget {name}{whose} is used to {percent} %");
        tracing::warn!(
            event = "budget",
            budget = name,
            subject = &*crossing.subject,
            percent,
            "a budget is running out"
        );
        let subject = format!("{name}/{}/{}/{percent}", crossing.subject, crossing.span.start);
        self.0.alerts.raise(AlertCategory::Budget, &subject, message);
    }

    /// Loads what keys with budgets of their own have spent, where this process does not know it yet: not every key has
    /// such budgets, so that they are not loaded at the start.
    async fn know_own(&self, charges: &Charges<'_>, now: i64) {
        for charge in charges.iter().filter(|charge| charge.rule.kind == Kind::Own) {
            let wanted = {
                let mut book = self.0.book.lock();
                let span = book.span(charge.rule.window, now);
                (span.start <= self.0.started && !book.knows(charge.rule, charge.subject)).then_some(span)
            };
            let Some(span) = wanted else { continue };
            let sum = self.0.store.ledger().sum_of_caller(charge.subject, span.start).await;
            match sum {
                Ok((tokens, micros)) => self.know(charge, span, Amount { tokens, micros }).await,
                Err(error) => {
                    tracing::warn!(%error, "what a key has spent so far cannot be read; it counts from nothing")
                }
            }
        }
    }

    async fn know(&self, charge: &Charge<'_>, span: Span, spent: Amount) {
        let (rule, subject) = (charge.rule, charge.subject);
        {
            let mut book = self.0.book.lock();
            if !book.knows(rule, subject) {
                let alert_at = &self.0.rules.load().alert_at;
                book.rebuild((rule.id, rule.window, charge.limit), subject, spent, alert_at);
            }
        }
        if let Some(together) = &self.0.shared {
            together.seed_one(&rule.name, subject, span, spent).await;
        }
    }
}

/// What was reserved, before it is a [`Reservation`].
struct Entered {
    id: LedgerId,
    at: i64,
    entries: Entries,
    epoch: u64,
    asked: Amount,
    price: Option<LedgerPrice>,
}

const fn ledger_price(price: Price) -> LedgerPrice {
    LedgerPrice { input: price.input, cached: price.cached_input, output: price.output }
}

fn refusal(charges: &Charges<'_>, place: usize, span: Span, now: i64) -> BudgetRefusal {
    let budget = charges.get(place).map_or_else(|| "".into(), |charge| charge.rule.name.clone());
    let left = u64::try_from(span.end.saturating_sub(now)).unwrap_or(0);
    BudgetRefusal { budget, resets_in: (span.end < i64::MAX).then(|| Duration::from_millis(left)) }
}

/// A rule as counters are rebuilt for it.
const fn counted(rule: &rules::Rule) -> (u32, BudgetWindow, Limit) {
    (rule.id, rule.window, rule.limit)
}
