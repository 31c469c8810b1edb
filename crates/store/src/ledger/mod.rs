//! The ledger: one row for each call that was paid for, appended in batches, and the journal before it. Writing a row
//! is a push under a lock; a writer puts rows and open reservations into `data/spool` every `store.journal_ms`, and a
//! flush adds each batch to the database in one transaction together with its id.
//!
//! Invariants: a batch is added once, however often it is sent; a reservation that was secured before its call is
//! known after `kill -9`, and so is how it ended; while the store is away rows stay in the journal, bounded; what does
//! not fit is counted, logged and alerted. `kill -9` loses at most `store.journal_ms` of rows nobody secured.
//! Source: gateway.md sections 5 and 14, settings.md "When Postgres is away".

mod folder;
mod query;
mod row;

pub use query::{GroupBy, RaiseRow, SumBy, SumRow, UsageQuery, UsageSum};
pub use row::{LedgerId, LedgerPrice, LedgerRow, NoLedgerId};

use crate::{Inner, db::on, error::Result, files::FileError};
use folder::{Folder, Kind, Line};
use jiff::Timestamp;
use parking_lot::Mutex;
use portcullis_telemetry::{AlertCategory, Alerts, Gauge, Metrics};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const DAY_MS: i64 = 86_400_000;
/// How long the ids of added batches are kept: longer than any spooled batch waits.
const BATCHES_KEPT_MS: i64 = 30 * DAY_MS;
/// Rows of one statement; sixteen values each stay far below either database's limit of parameters.
const CHUNK: usize = 500;
/// A file of the journal without rows to send is begun anew beyond this size: it holds only what has ended.
const STALE_BYTES: u64 = 1 << 20;
/// Most bytes that an async worker writes by itself.
const INLINE_BYTES: usize = 16_384;

/// Sortable by time, unique without a registry of processes.
fn new_batch_id() -> String {
    format!("{:013}-{:016x}", Timestamp::now().as_millisecond(), rand::random::<u64>())
}

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

/// A reservation under way.
struct Held {
    row: LedgerRow,
    /// Whether the running file of the journal holds it.
    written: bool,
}

/// What every request touches, under a short lock.
#[derive(Default)]
struct Hot {
    open: HashMap<u64, Held, ahash::RandomState>,
    /// Open ones that the running file may lack.
    unwritten: Vec<u64>,
    /// Ended ones that the running file lacks; without a row: released.
    ended: Vec<(LedgerId, Option<LedgerRow>, [u64; 2])>,
    lost: u64,
}

/// The running file, and the rows of its batch.
struct Running {
    id: String,
    rows: Vec<LedgerRow>,
    bytes: u64,
    /// Some rows are not in the file: it cannot be sent from there.
    torn: bool,
}

impl Running {
    fn new() -> Self {
        Self { id: new_batch_id(), rows: Vec::new(), bytes: 0, torn: false }
    }
}

struct Batch {
    id: String,
    rows: Vec<LedgerRow>,
}

/// What waits to be sent. Its lock also makes flushes take turns.
#[derive(Default)]
struct Sending {
    /// Batches of which the folder has no whole copy.
    held: Vec<Batch>,
    /// Batches in the folder that are complete: those of this process, and after recovery those of earlier ones.
    ready: BTreeSet<String>,
}

pub(crate) struct Clerk {
    hot: Mutex<Hot>,
    running: AsyncMutex<Running>,
    sending: AsyncMutex<Sending>,
    full: Notify,
    folder: Arc<Folder>,
    process: u64,
    next: AtomicU64,
    /// Rows in memory.
    waiting: AtomicUsize,
    max_rows: usize,
    pending: Gauge,
    alerts: Alerts,
}

impl Clerk {
    pub(crate) fn open(
        folder: PathBuf,
        max_bytes: u64,
        max_rows: usize,
        metrics: &Metrics,
        alerts: Alerts,
    ) -> Result<Self> {
        Ok(Self {
            hot: Mutex::default(),
            running: AsyncMutex::new(Running::new()),
            sending: AsyncMutex::default(),
            full: Notify::new(),
            folder: Arc::new(Folder::open(folder, max_bytes)?),
            process: rand::random(),
            next: AtomicU64::new(1),
            waiting: AtomicUsize::new(0),
            max_rows,
            pending: metrics.usage_pending(),
            alerts,
        })
    }

    async fn on_folder<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, FileError> + Send + 'static,
    ) -> Option<T> {
        let folder = self.folder.clone();
        match tokio::task::spawn_blocking(move || work(&folder)).await {
            Ok(Ok(value)) => Some(value),
            Ok(Err(error)) => {
                tracing::error!(%error, "the journal of the ledger cannot be used");
                None
            }
            Err(_) => None,
        }
    }

    /// Puts what has happened since the last time into the running file, `now` for somebody who waits. Says whether all
    /// of it is there.
    async fn write(&self, running: &mut Running, now: bool) -> bool {
        let mut bytes = Vec::new();
        let ended = {
            let mut hot = self.hot.lock();
            let Hot { open, unwritten, ended, .. } = &mut *hot;
            for number in unwritten.drain(..) {
                let Some(held) = open.get_mut(&number) else { continue };
                held.written = true;
                let id = LedgerId { process: self.process, number };
                Line(Kind::Open, id, Some(&held.row), reserved(&held.row)).write(&mut bytes);
            }
            std::mem::take(ended)
        };
        for (id, row, reserved) in &ended {
            let kind = if row.is_some() { Kind::Settled } else { Kind::Released };
            Line(kind, *id, row.as_ref(), *reserved).write(&mut bytes);
        }
        running.rows.extend(ended.into_iter().filter_map(|(_, row, _)| row));
        if bytes.is_empty() {
            return true;
        }
        running.bytes += bytes.len() as u64;
        let whole = if now && bytes.len() <= INLINE_BYTES {
            // A caller waits, and a few bytes into the page cache take less than another thread does.
            self.folder.append(&running.id, &bytes).is_ok_and(|whole| whole)
        } else {
            let id = running.id.clone();
            self.on_folder(move |folder| folder.append(&id, &bytes)).await == Some(true)
        };
        running.torn |= !whole;
        whole
    }

    /// Ends the running batch and begins the next one, which takes over what is still open. Says what was ended.
    async fn rotate(&self) -> Option<(Batch, bool)> {
        let mut running = self.running.lock().await;
        self.write(&mut running, false).await;
        if running.rows.is_empty() && running.bytes < STALE_BYTES {
            return None;
        }
        let ended = std::mem::replace(&mut *running, Running::new());
        {
            let mut hot = self.hot.lock();
            let Hot { open, unwritten, .. } = &mut *hot;
            unwritten.clear();
            unwritten.extend(open.iter_mut().map(|(number, held)| {
                held.written = false;
                *number
            }));
        }
        self.write(&mut running, false).await;
        Some((Batch { id: ended.id, rows: ended.rows }, !ended.torn))
    }

    fn tell_lost(&self) {
        let lost = std::mem::take(&mut self.hot.lock().lost);
        if lost > 0 {
            tracing::error!(requests = lost, "usage was lost: the store is away and the spool is full");
            let message =
                format!("the usage of {lost} requests was lost: the store is away and the spool is full");
            self.alerts.raise(AlertCategory::StoreDown, "usage", message);
        }
    }

    fn count(&self, waiting: usize) {
        self.pending.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    fn gone(&self, rows: usize) {
        let before = self.waiting.fetch_sub(rows, Relaxed);
        self.count(before.saturating_sub(rows));
    }

    /// Takes a row into the running batch, where there is room.
    fn take(&self, hot: &mut Hot, id: LedgerId, row: LedgerRow, reserved: [u64; 2]) {
        // Above the bound a flush is on its way; twice the bound means that it gets nowhere.
        if self.waiting.load(Relaxed) >= self.max_rows * 2 {
            hot.lost += 1;
            return;
        }
        hot.ended.push((id, Some(row), reserved));
        let waiting = self.waiting.fetch_add(1, Relaxed) + 1;
        self.count(waiting);
        if waiting == self.max_rows {
            self.full.notify_one();
        }
    }
}

/// Tokens and micro-dollars of a row, as a reservation holds them.
const fn reserved(row: &LedgerRow) -> [u64; 2] {
    [row.tokens(), row.micros]
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

impl Clerk {
    /// Leaves the spool as a process leaves it that is killed.
    pub(crate) fn let_go(&self) {
        self.folder.release();
    }

    fn is_behind(&self) -> bool {
        let hot = self.hot.lock();
        !hot.unwritten.is_empty() || !hot.ended.is_empty()
    }

    /// Until the next flush. While the store is away a full memory does not hurry: it would only spin.
    async fn pause(&self, every: Duration, away: bool) {
        let tick = tokio::time::sleep(every);
        if away {
            tick.await;
        } else {
            tokio::select! {
                () = tick => {}
                () = self.full.notified() => {}
            }
        }
    }
}
