//! What the ledger says is what counts: counters are rebuilt from it at the start, after a reload and when a price is
//! corrected; raises made on any replica are taken up, gauges are shown, and old rows go.
//!
//! Invariant: after a recount every counter is at least what the ledger holds for its window. Source: gateway.md section 5.

use super::{Amount, Budgets, StoreError, counted, now_ms, rules::Kind, window::Span};
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often gauges, raises and windows are looked at.
const TICK: Duration = Duration::from_secs(5);
/// How often old rows are looked for.
const PURGE: Duration = Duration::from_secs(3_600);
const DAY_MS: i64 = 86_400_000;

impl Budgets {
    /// Sends settlements, tells thresholds, hears of raises and removes old rows, until `stop`.
    pub fn follow(&self, tasks: &TaskTracker, stop: CancellationToken) {
        if self.0.shared.is_some() {
            let (budgets, stopped) = (self.clone(), stop.clone());
            drop(tasks.spawn(async move { budgets.send_all(stopped).await }));
        }
        let budgets = self.clone();
        drop(tasks.spawn(async move {
            let mut purged = None;
            let pause = async || {
                tokio::select! {
                    () = tokio::time::sleep(TICK) => {}
                    () = budgets.0.renewed.notified() => {}
                }
            };
            while stop.run_until_cancelled(pause()).await.is_some() {
                budgets.read_new().await;
                if let Err(error) = budgets.load_raises().await {
                    tracing::debug!(%error, "raised budgets cannot be read");
                }
                budgets.show();
                let now = tokio::time::Instant::now();
                if purged.is_none_or(|at| now.duration_since(at) >= PURGE) {
                    purged = Some(now);
                    budgets.purge().await;
                }
            }
        }));
    }

    /// Reads the ledger for rules that a reload brought.
    pub(super) async fn read_new(&self) {
        let Some(from) = self.0.unread.lock().take() else { return };
        let read = async {
            self.0.store.ledger().flush().await?;
            self.rebuild(from).await
        };
        if let Err(error) = read.await {
            tracing::warn!(%error, "what was spent of new budgets cannot be read yet; they count from nothing");
            *self.0.unread.lock() = Some(from);
        }
    }

    async fn purge(&self) {
        let days = i64::from(self.0.rules.load().ledger_days);
        let before = now_ms() - days * DAY_MS;
        let ledger = self.0.store.ledger();
        let removed = match ledger.purge(before).await {
            Ok(removed) => removed,
            Err(error) => return tracing::warn!(%error, "old rows of the ledger cannot be removed"),
        };
        if removed > 0 {
            tracing::info!(removed, "rows of the ledger older than budgets.ledger_days are gone");
        }
        if let Err(error) = ledger.forget_raises(before).await {
            tracing::debug!(%error, "old raises cannot be removed");
        }
    }

    /// Counts as the ledger says, for rules from that number on; so does Redis, at least.
    pub(super) async fn rebuild(&self, from: u32) -> Result<(), StoreError> {
        self.rebuild_as(from, false).await
    }

    /// The same; with `exactly` Redis is corrected downwards too.
    pub(super) async fn rebuild_as(&self, from: u32, exactly: bool) -> Result<(), StoreError> {
        let rules = self.0.rules.load_full();
        for (name, subject, _, spent) in self.sums().await? {
            let Some(rule) = rules.by_name(&name).filter(|rule| rule.id >= from) else { continue };
            self.0.book.lock().rebuild(counted(rule), &subject, spent, &rules.alert_at);
        }
        self.load_raises().await?;
        if let Some(together) = &self.0.shared {
            self.seed_all(together, exactly).await?;
        }
        self.show();
        Ok(())
    }

    /// Takes up how budgets were raised, here or on another replica.
    pub(super) async fn load_raises(&self) -> Result<(), StoreError> {
        let rules = self.0.rules.load_full();
        for raise in self.0.store.ledger().raises().await? {
            let Some(rule) = rules.by_name(&raise.budget) else { continue };
            let by = Amount { tokens: raise.tokens, micros: raise.micros };
            self.0.book.lock().raise(counted(rule), &raise.subject.as_str().into(), raise.window_start, by);
        }
        Ok(())
    }

    /// Brings the gauges up to date: of each budget what is left to whoever has least.
    pub(super) fn show(&self) {
        let rules = self.0.rules.load_full();
        let shown = self.0.book.lock().shown(now_ms());
        for (rule, _) in rules.all() {
            let of_rule = shown.iter().filter(|counter| counter.rule == rule.id);
            let left = of_rule.map(super::book::Shown::left).min().unwrap_or(1_000_000);
            rule.left.set(i64::try_from(left).unwrap_or(i64::MAX));
        }
    }

    /// What the ledger says of every counter of every rule that is loaded at the start.
    pub(super) async fn sums(&self) -> Result<Vec<(Arc<str>, Arc<str>, Span, Amount)>, StoreError> {
        let (rules, now) = (self.0.rules.load_full(), now_ms());
        let mut out = Vec::new();
        for (rule, tier) in rules.all().filter(|(rule, _)| rule.kind != Kind::Own) {
            let span = self.0.book.lock().span(rule.window, now);
            let ledger = self.0.store.ledger();
            let rows = ledger.sums(rule.kind.sum_by(), span.start, tier.map(|tier| &**tier)).await?;
            for row in rows {
                // Rows without a key or team belong to nobody whom such a budget counts.
                if row.subject.is_empty() && !matches!(rule.kind, Kind::Tier | Kind::Global) {
                    continue;
                }
                let spent = Amount { tokens: row.tokens, micros: row.micros };
                if spent != Amount::NOTHING {
                    out.push((rule.name.clone(), row.subject.as_str().into(), span, spent));
                }
            }
        }
        Ok(out)
    }
}
