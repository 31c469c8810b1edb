//! The ledger: one row for each call that was paid for, appended in batches, and the journal before it. Writing a row
//! is a push under a lock; a writer puts rows and open reservations into `data/spool` every `store.journal_ms`, and a
//! flush adds each batch to the database in one transaction together with its id.
//!
//! Invariants: a batch is added once, however often it is sent; a reservation that was secured before its call is
//! known after `kill -9`, and so is how it ended; while the store is away rows stay in the journal, bounded; what does
//! not fit is counted, logged and alerted. `kill -9` loses at most `store.journal_ms` of rows nobody secured.
//! Source: gateway.md sections 5 and 14, settings.md "When Postgres is away".

mod clerk;
mod folder;
mod query;
mod row;

pub(crate) use clerk::Clerk;
pub use query::{GroupBy, RaiseRow, SumBy, SumRow, UsageQuery, UsageSum};
pub use row::{LedgerId, LedgerPrice, LedgerRow, NoLedgerId};

use crate::{Inner, db::on, error::Result, files::FileError};
use clerk::{Batch, Held, Sending, reserved};
use folder::{Folder, Kind, Line};
use jiff::Timestamp;
use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const DAY_MS: i64 = 86_400_000;
/// How long the ids of added batches are kept: longer than any spooled batch waits.
const BATCHES_KEPT_MS: i64 = 30 * DAY_MS;
/// Rows of one statement; sixteen values each stay far below either database's limit of parameters.
const CHUNK: usize = 500;

/// What a reservation came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Tokens read.
    pub input: u64,
    /// Of those from the provider's cache.
    pub cached: u64,
    /// Tokens written.
    pub output: u64,
    /// Micro-dollars.
    pub micros: u64,
    /// Counted by us.
    pub estimated: bool,
}

/// A reservation of an earlier process whose end may not have reached Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Its id.
    pub id: LedgerId,
    /// Its row; of a released one the row it had reserved.
    pub row: LedgerRow,
    /// Tokens and micro-dollars it had reserved.
    pub reserved: [u64; 2],
    /// Whether it is to be charged; else it had been released.
    pub charged: bool,
}

/// Who used how much.
pub struct Ledger<'a>(pub(crate) &'a Inner);

impl Ledger<'_> {
    /// An id that no other reservation has.
    #[must_use]
    pub fn next_id(&self) -> LedgerId {
        let clerk = &self.0.clerk;
        LedgerId { process: clerk.process, number: clerk.next.fetch_add(1, Relaxed) }
    }

    /// Notes a reservation under its id; `row` holds the most it may cost. Never waits.
    pub fn open(&self, id: LedgerId, row: LedgerRow) {
        let mut hot = self.0.clerk.hot.lock();
        hot.open.insert(id.number, Held { row, written: false });
        hot.unwritten.push(id.number);
    }

    /// Waits until the reservation is in the journal, together with all others of that moment. Says whether it is:
    /// a full or broken disk is no reason to refuse.
    pub async fn secure(&self, id: LedgerId) -> bool {
        let clerk = &self.0.clerk;
        let mut running = clerk.running.lock().await;
        if clerk.hot.lock().open.get(&id.number).is_none_or(|held| held.written) {
            return !running.torn;
        }
        clerk.write(&mut running, true).await
    }

    /// Waits until everything that has ended so far is in the journal.
    pub async fn secure_all(&self) {
        let clerk = &self.0.clerk;
        let mut running = clerk.running.lock().await;
        clerk.write(&mut running, false).await;
    }

    /// Ends a reservation with what it came to. Never waits. The row, where there was one of that id.
    pub fn settle(&self, id: LedgerId, spent: Spent) -> Option<LedgerRow> {
        let clerk = &self.0.clerk;
        let mut hot = clerk.hot.lock();
        let Held { mut row, .. } = hot.open.remove(&id.number)?;
        let held = reserved(&row);
        let Spent { input, cached, output, micros, estimated } = spent;
        row = LedgerRow { input, cached: cached.min(input), output, micros, estimated, ..row };
        clerk.take(&mut hot, id, row.clone(), held);
        Some(row)
    }

    /// Ends a reservation that cost nothing. Never waits.
    pub fn release(&self, id: LedgerId) {
        let mut hot = self.0.clerk.hot.lock();
        if let Some(held) = hot.open.remove(&id.number)
            && held.written
        {
            hot.ended.push((id, None, reserved(&held.row)));
        }
    }

    /// Adds a row that nothing was reserved for. Never waits.
    pub fn add(&self, row: LedgerRow) {
        let id = self.next_id();
        let held = reserved(&row);
        let clerk = &self.0.clerk;
        clerk.take(&mut clerk.hot.lock(), id, row, held);
    }

    /// What earlier processes left in the journal, once at the start and before anything is reserved: reservations that
    /// never ended are charged at what they had reserved. Their rows go to the store with the next flush.
    ///
    /// # Errors
    /// A journal that cannot be read.
    pub async fn recover(&self) -> Result<Vec<Recovered>> {
        let clerk = &self.0.clerk;
        let mut sending = clerk.sending.lock().await;
        let folder = clerk.folder.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            for id in folder.list()? {
                let content = folder.read(&id)?;
                all.push((id, folder::lines(&content)));
            }
            Ok::<_, FileError>(all)
        });
        let files = read.await.unwrap_or_else(|_| Ok(Vec::new()))?;
        let (mut open, mut found) = (BTreeMap::new(), Vec::new());
        for (id, (lines, broken)) in files {
            if broken > 0 {
                tracing::error!(batch = id, lines = broken, "a journal of usage holds unreadable lines");
            }
            for Line(kind, id, row, reserved) in lines {
                match (kind, row) {
                    (Kind::Open, Some(row)) => drop(open.insert(id, row)),
                    (Kind::Settled, Some(row)) => {
                        open.remove(&id);
                        found.push(Recovered { id, row, reserved, charged: true });
                    }
                    (Kind::Released, _) => {
                        let row = open.remove(&id);
                        found.extend(row.map(|row| Recovered { id, row, reserved, charged: false }));
                    }
                    (Kind::Open | Kind::Settled, None) => {}
                }
            }
            sending.ready.insert(id);
        }
        drop(sending);
        if !open.is_empty() {
            tracing::warn!(
                requests = open.len(),
                "requests that were cut off are charged at what they had reserved"
            );
        }
        for (id, row) in open {
            let (reserved, row) = (reserved(&row), LedgerRow { estimated: true, ..row });
            clerk.take(&mut clerk.hot.lock(), id, row.clone(), reserved);
            found.push(Recovered { id, row, reserved, charged: true });
        }
        Ok(found)
    }

    /// Adds everything that has ended to the store, oldest first.
    ///
    /// # Errors
    /// A database that is away; rows are then in the journal, or still in memory where it is full.
    pub async fn flush(&self) -> Result<()> {
        let clerk = &self.0.clerk;
        let mut sending = clerk.sending.lock().await;
        if let Some((batch, whole)) = clerk.rotate().await {
            if whole {
                sending.ready.insert(batch.id.clone());
            }
            sending.held.push(batch);
        }
        let result = self.send_all(&mut sending).await;
        if result.is_err() {
            // What the folder has whole need not stay in memory.
            let Sending { held, ready } = &mut *sending;
            held.retain(|batch| {
                let kept = ready.contains(&batch.id);
                if kept {
                    clerk.gone(batch.rows.len());
                }
                !kept
            });
        }
        clerk.tell_lost();
        result
    }

    async fn send_all(&self, sending: &mut Sending) -> Result<()> {
        let clerk = &self.0.clerk;
        while let Some(batch) = sending.held.first() {
            self.send(batch).await?;
            let Batch { id, rows } = sending.held.remove(0);
            clerk.gone(rows.len());
            sending.ready.remove(&id);
            clerk.on_folder(move |folder| folder.remove(&id)).await;
        }
        while let Some(id) = sending.ready.first().cloned() {
            let name = id.clone();
            let Some(content) = clerk.on_folder(move |folder| folder.read(&name)).await else {
                return Ok(());
            };
            let (lines, broken) = folder::lines(&content);
            let settled = |Line(kind, _, row, _)| if kind == Kind::Settled { row } else { None };
            let batch = Batch { id: id.clone(), rows: lines.into_iter().filter_map(settled).collect() };
            self.send(&batch).await?;
            sending.ready.remove(&id);
            let away =
                move |folder: &Folder| if broken == 0 { folder.remove(&id) } else { folder.set_aside(&id) };
            clerk.on_folder(away).await;
        }
        Ok(())
    }

    /// Adds a batch, unless it was added before.
    async fn send(&self, batch: &Batch) -> Result<()> {
        let db = &self.0.db;
        if batch.rows.is_empty() {
            return Ok(());
        }
        let now = Timestamp::now().as_millisecond();
        let mark = "INSERT INTO ledger_batches (id, added_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let marked = sqlx::query(mark).bind(&batch.id).bind(now).execute(&mut *tx).await?;
                if marked.rows_affected() == 0 {
                    return tx.rollback().await;
                }
                for chunk in batch.rows.chunks(CHUNK) {
                    let mut insert = sqlx::QueryBuilder::new(query::INSERT);
                    insert.push_values(chunk, |mut values, row| {
                        values.push_bind(row.at).push_bind(&*row.request).push_bind(&*row.caller);
                        values.push_bind(&*row.person).push_bind(row.key.as_deref().unwrap_or_default());
                        values.push_bind(row.team.as_deref().unwrap_or_default()).push_bind(&*row.tier);
                        values.push_bind(&*row.route).push_bind(&*row.provider).push_bind(&*row.model);
                        for number in [row.input, row.cached, row.output, row.micros] {
                            values.push_bind(i64::try_from(number).unwrap_or(i64::MAX));
                        }
                        values.push_bind(row.price.map_or_else(String::new, |price| price.to_string()));
                        values.push_bind(i64::from(row.estimated)).push_bind(i64::from(row.price.is_none()));
                    });
                    insert.build().execute(&mut *tx).await?;
                }
                sqlx::query("DELETE FROM ledger_batches WHERE added_at < $1")
                    .bind(now - BATCHES_KEPT_MS)
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await
            })
        })
        .await
    }

    /// The last flush: what the store does not take stays in the journal.
    pub(crate) async fn close(&self) {
        let clerk = &self.0.clerk;
        if self.flush().await.is_err() {
            let lost: usize = clerk.sending.lock().await.held.iter().map(|batch| batch.rows.len()).sum();
            clerk.hot.lock().lost += lost as u64;
            clerk.tell_lost();
        }
        clerk.folder.release();
    }
}

impl crate::Store {
    /// Writes the journal every `store.journal_ms` and flushes it every `store.usage_flush_secs`, sooner when much has
    /// gathered, until `stop`.
    pub fn flush_usage(&self, tracker: &TaskTracker, stop: CancellationToken) {
        let every = Duration::from_secs(self.0.config.usage_flush_secs.max(1));
        let (store, stopped) = (self.clone(), stop.clone());
        let flushing = async move {
            let mut away = false;
            while stopped.run_until_cancelled(store.0.clerk.pause(every, away)).await.is_some() {
                away = match store.ledger().flush().await {
                    Ok(()) => false,
                    Err(error) => {
                        if !away {
                            tracing::warn!(%error, "usage cannot be stored; it is kept in data/spool until it can");
                        }
                        true
                    }
                };
            }
        };
        drop(tracker.spawn(flushing));
        let store = self.clone();
        let every = Duration::from_millis(self.0.config.journal_ms.max(1));
        let writing = async move {
            while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
                if store.0.clerk.is_behind() {
                    store.ledger().secure_all().await;
                }
            }
        };
        drop(tracker.spawn(writing));
    }
}
