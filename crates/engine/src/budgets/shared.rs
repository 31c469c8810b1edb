//! Budgets counted by all replicas together, and what a replica does alone while Redis is away: it spends its share of
//! what it last saw left, then refuses. Settlements that Redis has not taken wait here and are sent again; until they
//! are gone, Redis is not asked.
//!
//! Invariant: a settlement is in the journal before it is in Redis, so that a process that dies in between settles it
//! when it starts again.

use super::{
    Amount, BudgetRefusal, Budgets, Charges, LEASE_AFTER, StoreError,
    book::{Crossings, Entries, Entry},
    now_ms, refusal,
    rules::Limit,
    window::Span,
};
use parking_lot::Mutex;
use portcullis_domain::{BudgetWindow, Caller, KeyBudget, KeyLimits, Scopes, Tier};
use portcullis_resilience::{
    limits::StoreAway,
    spend::{Lease, Seen, Settlement, Spend, SpendCounter, SpendLimit},
};
use portcullis_store::{LedgerId, LedgerRow, Recovered};
use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio_util::sync::CancellationToken;

/// Settlements that may wait for Redis. Beyond it the oldest are dropped: the ledger has them, and so will Redis when it
/// is seeded again.
const MAX_WAITING: usize = 100_000;
/// Settlements sent in one call.
const AT_ONCE: usize = 64;
/// How soon settlements are sent again to a Redis that did not take them.
const AGAIN: Duration = Duration::from_millis(200);
/// The end of one reservation.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub(super) id: LedgerId,
    pub(super) entries: Entries,
    pub(super) epoch: u64,
    pub(super) asked: Amount,
    pub(super) spent: Amount,
}

/// Counting together.
pub(super) struct Together {
    spend: Spend,
    waiting: Mutex<VecDeque<Op>>,
    told: Mutex<Crossings>,
    wake: Notify,
    /// Some settlements could not be sent: until they are, Redis says too little.
    behind: AtomicBool,
    seeded: AtomicU64,
    seeding: AsyncMutex<()>,
}

impl Together {
    pub(super) fn new(spend: Spend) -> Self {
        Self {
            spend,
            waiting: Mutex::default(),
            told: Mutex::default(),
            wake: Notify::new(),
            behind: AtomicBool::new(false),
            seeded: AtomicU64::new(0),
            seeding: AsyncMutex::default(),
        }
    }

    /// Has the end of a reservation sent to Redis. Never waits.
    pub(super) fn push(&self, op: Op) {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(op);
        drop(waiting);
        self.wake.notify_one();
    }

    /// Has thresholds told, once by all replicas together.
    pub(super) fn tell(&self, crossings: Crossings) {
        if !crossings.is_empty() {
            self.told.lock().extend(crossings);
            self.wake.notify_one();
        }
    }

    /// Puts first what could not be sent.
    fn give_back(&self, batch: Vec<Op>) {
        let mut waiting = self.waiting.lock();
        for op in batch.into_iter().rev() {
            waiting.push_front(op);
        }
    }

    fn is_usable(&self) -> bool {
        !self.spend.is_away() && !self.behind.load(Relaxed)
    }

    pub(super) async fn seed_one(&self, budget: &str, subject: &str, span: Span, spent: Amount) {
        let row = (counter(budget, subject, span), [spent.tokens, spent.micros]);
        if self.spend.seed(&[row]).await.is_err() {
            tracing::debug!("redis did not take what a key has spent so far");
        }
    }
}

const fn counter<'a>(budget: &'a str, subject: &'a str, span: Span) -> SpendCounter<'a> {
    let end = if span.end == i64::MAX { None } else { Some(span.end) };
    SpendCounter { budget, subject, start: span.start, end }
}

fn amounts(seen: Seen) -> (Amount, Amount) {
    let amount = |[tokens, micros]: [u64; 2]| Amount { tokens, micros };
    (amount(seen.spent), amount(seen.reserved))
}

/// Who paid for a row, as far as budgets look.
fn paid_by(row: &LedgerRow) -> Caller {
    let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let own = BudgetWindow::ALL.map(|window| KeyBudget { window, tokens: None, micro_usd: None });
    let limits = KeyLimits { budgets: own.into(), ..KeyLimits::default() };
    Caller {
        key_id: row.key.clone(),
        team: row.team.clone(),
        user: Some(row.person.clone()),
        limits: row.key.is_some().then(|| Arc::new(limits)),
        ..Caller::new(row.caller.clone(), Tier::from_name(&row.tier), Scopes::NONE, nowhere)
    }
}

impl Budgets {
    /// Reserves in Redis, or by this process alone while it is away.
    pub(super) async fn reserve_together(
        &self,
        together: &Together,
        charges: &Charges<'_>,
        asked: Amount,
        id: LedgerId,
        life: Duration,
    ) -> Result<(i64, Entries, u64), BudgetRefusal> {
        if together.is_usable() {
            for _ in 0..2 {
                let seeded = together.seeded.load(Relaxed);
                match self.ask_redis(together, charges, asked, id, life).await {
                    Ok(Some(answer)) => return answer,
                    Ok(None) => {
                        if let Err(error) = self.seed(together, seeded).await {
                            tracing::warn!(%error, "budgets in redis cannot be seeded from the ledger");
                            break;
                        }
                    }
                    Err(StoreAway) => break,
                }
            }
        }
        let now = now_ms();
        let reserved = self.0.book.lock().reserve(charges, asked, Some(self.0.share), now);
        let (at, entries) = reserved.map_err(|(place, span)| refusal(charges, place, span, now))?;
        Ok((at, entries, 0))
    }

    /// One call of the script. None: Redis has lost its data.
    async fn ask_redis(
        &self,
        together: &Together,
        charges: &Charges<'_>,
        asked: Amount,
        id: LedgerId,
        life: Duration,
    ) -> Result<Option<Result<(i64, Entries, u64), BudgetRefusal>>, StoreAway> {
        let now = now_ms();
        let (at, entries, raises) = {
            let mut book = self.0.book.lock();
            let (at, entries) = book.entries(charges, now);
            let raises: Vec<Amount> = entries.iter().map(|entry| book.raised(entry)).collect();
            (at, entries, raises)
        };
        let budgets: Vec<(SpendCounter<'_>, SpendLimit)> = charges
            .iter()
            .zip(&entries)
            .zip(&raises)
            .map(|((charge, entry), raise)| {
                let limit = SpendLimit {
                    tokens: charge.limit.tokens.map(|most| most.saturating_add(raise.tokens)),
                    micros: charge.limit.micros.map(|most| most.saturating_add(raise.micros)),
                    refuse: charge.rule.refuse,
                };
                (counter(&charge.rule.name, charge.subject, entry.span), limit)
            })
            .collect();
        let text = id.to_string();
        let lease = Lease { id: &text, reserved: [asked.tokens, asked.micros] };
        let Some(answer) = together.spend.reserve(lease, life, &budgets).await? else { return Ok(None) };
        let crossings: Crossings = {
            let rules = self.0.rules.load();
            let mut book = self.0.book.lock();
            let seen = charges.iter().zip(&entries).zip(&answer.seen);
            seen.filter_map(|((charge, entry), seen)| {
                book.seen(entry, Some(charge.limit), amounts(*seen), &rules.alert_at)
            })
            .collect()
        };
        together.tell(crossings);
        Ok(Some(match answer.refused {
            None => Ok((at, entries, answer.epoch)),
            Some(place) => {
                let span = entries.get(place).map_or(Span { start: now, end: now }, |entry| entry.span);
                Err(refusal(charges, place, span, now))
            }
        }))
    }

    /// What earlier processes ended, or did not end: told to Redis as well.
    pub(super) async fn settle_recovered(&self, left: &[Recovered]) {
        let Some(together) = &self.0.shared else { return };
        let rules = self.0.rules.load_full();
        let mut ops = Vec::new();
        for Recovered { id, row, reserved, charged } in left {
            let caller = paid_by(row);
            let entries = self.0.book.lock().entries_at(&rules.charges(&caller), row.at);
            let [tokens, micros] = *reserved;
            let spent =
                if *charged { Amount { tokens: row.tokens(), micros: row.micros } } else { Amount::NOTHING };
            ops.push(Op { id: *id, entries, epoch: u64::MAX, asked: Amount { tokens, micros }, spent });
        }
        // In the epoch of now: what has no lease any more was settled, or is found by the sums of the ledger.
        let Ok(epoch) = together.spend.begin().await else { return };
        for op in &mut ops {
            op.epoch = epoch;
        }
        for chunk in ops.chunks(AT_ONCE) {
            if self.send(together, chunk).await.is_err() {
                tracing::warn!("redis is away: what an earlier run had reserved there frees itself");
                return;
            }
        }
    }

    /// Sends ends of reservations. Whether Redis knew its data.
    async fn send(&self, together: &Together, ops: &[Op]) -> Result<bool, StoreAway> {
        let rules = self.0.rules.load_full();
        let ids: Vec<String> = ops.iter().map(|op| op.id.to_string()).collect();
        let mut entries: Vec<&Entry> = Vec::new();
        let mut rows = Vec::new();
        for (op, id) in ops.iter().zip(&ids) {
            for entry in &op.entries {
                let Some(rule) = rules.by_id(entry.rule) else { continue };
                rows.push(Settlement {
                    counter: counter(&rule.name, &entry.subject, entry.span),
                    lease: Lease { id, reserved: [op.asked.tokens, op.asked.micros] },
                    epoch: op.epoch,
                    spent: [op.spent.tokens, op.spent.micros],
                });
                entries.push(entry);
            }
        }
        if rows.is_empty() {
            return Ok(true);
        }
        let Some(seen) = together.spend.settle(&rows).await? else { return Ok(false) };
        let crossings: Crossings = {
            let mut book = self.0.book.lock();
            let seen = entries.into_iter().zip(seen);
            seen.filter_map(|(entry, seen)| book.seen(entry, None, amounts(seen), &rules.alert_at)).collect()
        };
        together.tell(crossings);
        Ok(true)
    }

    /// Has Redis hold what the ledger says, unless somebody did since `seeded` was read.
    async fn seed(&self, together: &Together, seeded: u64) -> Result<(), StoreError> {
        let _one = together.seeding.lock().await;
        if together.seeded.load(Relaxed) != seeded {
            return Ok(());
        }
        tracing::warn!("redis has lost what was spent: its budgets are seeded from the ledger");
        // What has ended so far is in the ledger then, and is not to be counted a second time.
        together.waiting.lock().clear();
        self.0.store.ledger().flush().await?;
        self.seed_all(together, false).await
    }

    pub(super) async fn seed_all(&self, together: &Together, exactly: bool) -> Result<(), StoreError> {
        let sums = self.sums().await?;
        let rows: Vec<(SpendCounter<'_>, [u64; 2])> = sums
            .iter()
            .map(|(name, subject, span, spent)| (counter(name, subject, *span), [spent.tokens, spent.micros]))
            .collect();
        let put =
            if exactly { together.spend.correct(&rows).await } else { together.spend.seed(&rows).await };
        if put.is_ok() && together.spend.begin().await.is_ok() {
            together.seeded.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// Sends settlements and tells thresholds, until `stop`.
    pub(super) async fn send_all(&self, stop: CancellationToken) {
        let Some(together) = &self.0.shared else { return };
        loop {
            let ended = stop.run_until_cancelled(together.wake.notified()).await.is_none();
            // At the end what waits is still sent once.
            while self.send_some(together).await {}
            if ended {
                return;
            }
        }
    }

    /// Sends what waits, some of it; whether to go on at once.
    async fn send_some(&self, together: &Together) -> bool {
        let told = std::mem::take(&mut *together.told.lock());
        for crossing in told {
            self.tell_once(together, &crossing).await;
        }
        let batch: Vec<Op> = {
            let mut waiting = together.waiting.lock();
            let count = waiting.len().min(AT_ONCE);
            waiting.drain(..count).collect()
        };
        if batch.is_empty() {
            if together.behind.swap(false, Relaxed) {
                tracing::info!("redis has every settlement again: budgets are shared");
            }
            return !together.told.lock().is_empty();
        }
        self.0.store.ledger().secure_all().await;
        let seeded = together.seeded.load(Relaxed);
        match self.send(together, &batch).await {
            Ok(true) => true,
            // Lost its data: seeding takes these from the ledger.
            Ok(false) => self.seed(together, seeded).await.is_ok(),
            Err(StoreAway) => {
                if !together.behind.swap(true, Relaxed) {
                    let share = self.0.share;
                    tracing::warn!(
                        share,
                        "redis is away: this process spends its share of what was left of budgets"
                    );
                }
                together.give_back(batch);
                tokio::time::sleep(AGAIN).await;
                together.wake.notify_one();
                false
            }
        }
    }

    async fn tell_once(&self, together: &Together, crossing: &super::Crossing) {
        let rules = self.0.rules.load_full();
        let Some(rule) = rules.by_id(crossing.rule) else { return };
        let counter = counter(&rule.name, &crossing.subject, crossing.span);
        // Told twice is better than not at all.
        if together.spend.once(counter, crossing.at).await.unwrap_or(true) {
            self.alert(crossing);
        }
    }

    /// How long a lease outlives its request; shown to operators.
    #[must_use]
    pub const fn lease_after() -> Duration {
        LEASE_AFTER
    }
}

impl Limit {
    /// Whether it bounds anything.
    pub(super) const fn bounds(self) -> bool {
        self.tokens.is_some() || self.micros.is_some()
    }
}
