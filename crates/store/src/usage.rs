//! Who used how much, summed by day, caller and model. Counting is one map entry under a lock; a flush adds what was
//! counted since the last one, in one transaction together with the batch's id.
//!
//! Invariants: two replicas sum (upserts add); a batch is added once, however often it is sent; while the store is away
//! counts stay in memory and, at every flush, on disk in `data/spool`, both bounded; what does not fit is counted,
//! logged and alerted. `kill -9` loses at most one flush interval.

use crate::{Inner, db::on, error::Result, files::FileError, spool::Spool};
use jiff::{Timestamp, tz::TimeZone};
use parking_lot::Mutex;
use portcullis_telemetry::{AlertCategory, Alerts, Gauge, Metrics};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What one caller used of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// When; only the UTC day is kept.
    pub at: Timestamp,
    /// `Caller::id`.
    pub caller: Arc<str>,
    /// Route or `provider/model`, from the configuration.
    pub model: Arc<str>,
    /// Requests.
    pub requests: u64,
    /// Tokens read.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
}

/// One sum as kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageSum {
    /// UTC day, `2026-11-21`.
    pub day: String,
    /// `Caller::id`.
    pub caller: String,
    /// Route or `provider/model`.
    pub model: String,
    /// Requests.
    pub requests: i64,
    /// Tokens read.
    pub input: i64,
    /// Tokens written.
    pub output: i64,
}

/// Requests, input, output.
type Counts = [u64; 3];
/// Days since 1970, caller, model.
type Key = (i64, Arc<str>, Arc<str>);

const DAY_MS: i64 = 86_400_000;
/// How long the ids of added batches are kept: longer than any spooled batch waits.
const BATCHES_KEPT_MS: i64 = 30 * DAY_MS;
/// Rows of one statement; six values each stay far below either database's limit of parameters.
const CHUNK: usize = 500;

/// Sums on their way to the store. Sorted, so that two replicas lock rows in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Batch {
    id: String,
    rows: BTreeMap<String, BTreeMap<String, BTreeMap<String, Counts>>>,
}

impl Batch {
    fn of(id: String, counted: &HashMap<Key, Counts, ahash::RandomState>) -> Self {
        let mut batch = Self { id, rows: BTreeMap::new() };
        for ((day, caller, model), counts) in counted {
            let callers = batch.rows.entry(day_text(*day)).or_default();
            callers.entry(caller.to_string()).or_default().insert(model.to_string(), *counts);
        }
        batch
    }

    fn flat(&self) -> Vec<(&str, &str, &str, [i64; 3])> {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let callers = self.rows.iter().flat_map(|(day, callers)| callers.iter().map(move |c| (day, c)));
        callers
            .flat_map(|(day, (caller, models))| models.iter().map(move |m| (day, caller, m)))
            .map(|(day, caller, (model, counts))| {
                (day.as_str(), caller.as_str(), model.as_str(), counts.map(signed))
            })
            .collect()
    }
}

fn day_text(day: i64) -> String {
    let at = Timestamp::from_millisecond(day.saturating_mul(DAY_MS)).unwrap_or_default();
    at.to_zoned(TimeZone::UTC).date().to_string()
}

/// Sortable by time, unique without a registry of processes.
fn new_id() -> String {
    format!("{:013}-{:016x}", Timestamp::now().as_millisecond(), rand::random::<u64>())
}

#[derive(Default)]
struct Counting {
    /// The id that the next batch will have; also the name of its copy on disk.
    id: String,
    rows: HashMap<Key, Counts, ahash::RandomState>,
    lost: u64,
}

pub(crate) struct Meter {
    counting: Mutex<Counting>,
    /// A batch that neither the store nor the spool took. Also makes flushes take turns.
    held: tokio::sync::Mutex<Option<Batch>>,
    full: Notify,
    spool: Arc<Spool>,
    max_rows: usize,
    pending: Gauge,
    alerts: Alerts,
}

impl Meter {
    pub(crate) fn new(max_rows: usize, spool: Spool, metrics: &Metrics, alerts: Alerts) -> Self {
        Self {
            counting: Mutex::new(Counting { id: new_id(), ..Counting::default() }),
            held: tokio::sync::Mutex::new(None),
            full: Notify::new(),
            spool: Arc::new(spool),
            max_rows,
            pending: metrics.usage_pending(),
            alerts,
        }
    }

    fn take(&self) -> Option<Batch> {
        let mut counting = self.counting.lock();
        if counting.rows.is_empty() {
            return None;
        }
        let id = std::mem::replace(&mut counting.id, new_id());
        let rows = std::mem::take(&mut counting.rows);
        drop(counting);
        Some(Batch::of(id, &rows))
    }

    /// A copy of what is counted but not yet taken.
    fn copy(&self) -> Option<Batch> {
        let counting = self.counting.lock();
        (!counting.rows.is_empty()).then(|| Batch::of(counting.id.clone(), &counting.rows))
    }

    async fn on_spool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Spool) -> Result<T, FileError> + Send + 'static,
    ) -> Option<T> {
        let spool = self.spool.clone();
        let done = tokio::task::spawn_blocking(move || work(&spool)).await;
        match done {
            Ok(Ok(value)) => Some(value),
            Ok(Err(error)) => {
                tracing::error!(%error, "the spool of usage cannot be used");
                None
            }
            Err(_) => None,
        }
    }

    /// Whether the spool took it.
    async fn spool(&self, batch: &Batch) -> bool {
        let Ok(content) = serde_json::to_vec(batch) else { return false };
        let id = batch.id.clone();
        self.on_spool(move |spool| spool.put(&id, &content)).await == Some(true)
    }

    fn tell_lost(&self) {
        let lost = std::mem::take(&mut self.counting.lock().lost);
        if lost > 0 {
            tracing::error!(requests = lost, "usage was lost: the store is away and the spool is full");
            let message =
                format!("the usage of {lost} requests was lost: the store is away and the spool is full");
            self.alerts.raise(AlertCategory::StoreDown, "usage", message);
        }
    }
}

/// Who used how much.
pub struct Usage<'a>(pub(crate) &'a Inner);

impl Usage<'_> {
    /// Counts. Never waits for the store.
    pub fn add(&self, row: &UsageRow) {
        let meter = &self.0.usage;
        let key = (row.at.as_millisecond().div_euclid(DAY_MS), row.caller.clone(), row.model.clone());
        let mut counting = meter.counting.lock();
        let full = counting.rows.len() >= meter.max_rows;
        // Above the bound a flush is on its way; twice the bound means that it gets nowhere.
        if counting.rows.len() >= meter.max_rows * 2 && !counting.rows.contains_key(&key) {
            counting.lost += row.requests;
            return;
        }
        let counts = counting.rows.entry(key).or_default();
        for (sum, more) in counts.iter_mut().zip([row.requests, row.input, row.output]) {
            *sum = sum.saturating_add(more);
        }
        meter.pending.set(i64::try_from(counting.rows.len()).unwrap_or(i64::MAX));
        drop(counting);
        if full {
            meter.full.notify_one();
        }
    }

    /// Adds everything counted to the store: spooled batches first, oldest first.
    ///
    /// # Errors
    /// A database that is away; what was counted is then on disk, or still in memory where the spool is full.
    pub async fn flush(&self) -> Result<()> {
        let meter = &self.0.usage;
        let mut held = meter.held.lock().await;
        let result = self.send_all(&mut held).await;
        if result.is_err() {
            self.keep(&mut held).await;
        }
        meter.tell_lost();
        let left = meter.counting.lock().rows.len();
        meter.pending.set(i64::try_from(left).unwrap_or(i64::MAX));
        result
    }

    async fn send_all(&self, held: &mut Option<Batch>) -> Result<()> {
        let meter = &self.0.usage;
        while let Some((id, content)) = meter.on_spool(Spool::oldest).await.flatten() {
            if *id == *meter.counting.lock().id {
                // A copy of what is still being counted; it is sent below, whole.
                break;
            }
            match serde_json::from_slice::<Batch>(&content) {
                Ok(batch) => self.send(&batch).await?,
                Err(error) => {
                    tracing::error!(batch = id, %error, "a spooled batch of usage is unreadable and is set aside");
                    meter.on_spool(move |spool| spool.set_aside(&id)).await;
                    continue;
                }
            }
            if meter.on_spool(move |spool| spool.remove(&id)).await.is_none() {
                break;
            }
        }
        while let Some(batch) = held.take().or_else(|| meter.take()) {
            let sent = self.send(&batch).await;
            if let Err(error) = sent {
                *held = Some(batch);
                return Err(error);
            }
            let id = batch.id;
            meter.on_spool(move |spool| spool.remove(&id)).await;
        }
        Ok(())
    }

    /// After a failure: what was taken and what is being counted is put on disk.
    async fn keep(&self, held: &mut Option<Batch>) {
        let meter = &self.0.usage;
        if let Some(batch) = held.take()
            && !meter.spool(&batch).await
        {
            *held = Some(batch);
        }
        if meter.counting.lock().rows.len() >= meter.max_rows && held.is_none() {
            if let Some(batch) = meter.take()
                && !meter.spool(&batch).await
            {
                *held = Some(batch);
            }
        } else if let Some(copy) = meter.copy() {
            meter.spool(&copy).await;
        }
    }

    /// Adds a batch, unless it was added before.
    async fn send(&self, batch: &Batch) -> Result<()> {
        let db = &self.0.db;
        let now = Timestamp::now().as_millisecond();
        let rows = batch.flat();
        let mark = "INSERT INTO usage_batches (id, added_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
        db.call(async {
            on!(db, write pool => {
                let mut tx = pool.begin().await?;
                let marked = sqlx::query(mark).bind(&batch.id).bind(now).execute(&mut *tx).await?;
                if marked.rows_affected() == 0 {
                    return tx.rollback().await;
                }
                for chunk in rows.chunks(CHUNK) {
                    let mut insert =
                        sqlx::QueryBuilder::new("INSERT INTO usage (day, caller, model, requests, input, output) ");
                    insert.push_values(chunk, |mut values, (day, caller, model, counts)| {
                        values.push_bind(*day).push_bind(*caller).push_bind(*model);
                        for count in counts {
                            values.push_bind(*count);
                        }
                    });
                    insert.push(
                        " ON CONFLICT (day, caller, model) DO UPDATE SET requests = usage.requests + \
                         excluded.requests, input = usage.input + excluded.input, \
                         output = usage.output + excluded.output",
                    );
                    insert.build().execute(&mut *tx).await?;
                }
                sqlx::query("DELETE FROM usage_batches WHERE added_at < $1")
                    .bind(now - BATCHES_KEPT_MS)
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await
            })
        })
        .await
    }

    /// Sums from one UTC day to another, both included, at most `limit`, newest day first. Usage not yet flushed is not
    /// in them.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn report(&self, from_day: &str, to_day: &str, limit: u32) -> Result<Vec<UsageSum>> {
        let db = &self.0.db;
        let sql = "SELECT day, caller, model, requests, input, output FROM usage WHERE day >= $1 AND day <= $2 \
                   ORDER BY day DESC, caller, model LIMIT $3";
        let rows: Vec<(String, String, String, i64, i64, i64)> = db
            .call(async {
                on!(db, read pool => {
                    sqlx::query_as(sql)
                        .bind(from_day)
                        .bind(to_day)
                        .bind(i64::from(limit))
                        .fetch_all(pool)
                        .await
                })
            })
            .await?;
        let sum = |(day, caller, model, requests, input, output)| UsageSum {
            day,
            caller,
            model,
            requests,
            input,
            output,
        };
        Ok(rows.into_iter().map(sum).collect())
    }

    /// The last flush: what the store does not take is put on disk whole.
    pub(crate) async fn close(&self) {
        let meter = &self.0.usage;
        if self.flush().await.is_err() {
            let held = meter.held.lock().await.take();
            for batch in held.into_iter().chain(meter.take()) {
                if !meter.spool(&batch).await {
                    let requests: i64 = batch.flat().iter().map(|(_, _, _, counts)| counts[0]).sum();
                    meter.counting.lock().lost += requests.unsigned_abs();
                }
            }
            meter.tell_lost();
        }
        meter.spool.release();
    }
}

impl crate::Store {
    /// Flushes usage every `store.usage_flush_secs`, and sooner when much has gathered, until `stop`.
    pub fn flush_usage(&self, tracker: &TaskTracker, stop: CancellationToken) {
        let store = self.clone();
        let every = Duration::from_secs(self.0.config.usage_flush_secs.max(1));
        let work = async move {
            let mut away = false;
            while stop.run_until_cancelled(store.0.usage.pause(every, away)).await.is_some() {
                away = match store.usage().flush().await {
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
        drop(tracker.spawn(work));
    }
}

impl Meter {
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
