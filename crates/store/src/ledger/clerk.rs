//! The clerk of the ledger: what is under way and what has ended, in memory and in the running file of the journal.
//! Invariants as of the parent module; nothing here waits for the database.

use super::{
    LedgerId, LedgerRow,
    folder::{Folder, Kind, Line},
};
use crate::{error::Result, files::FileError};
use jiff::Timestamp;
use parking_lot::Mutex;
use portcullis_telemetry::{AlertCategory, Alerts, Gauge, Metrics};
use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::{Mutex as AsyncMutex, Notify};

/// A file of the journal without rows to send is begun anew beyond this size: it holds only what has ended.
const STALE_BYTES: u64 = 1 << 20;

/// Most bytes that an async worker writes by itself.
const INLINE_BYTES: usize = 16_384;

/// Sortable by time, unique without a registry of processes.
fn new_batch_id() -> String {
    format!("{:013}-{:016x}", Timestamp::now().as_millisecond(), rand::random::<u64>())
}

/// A reservation under way.
pub(super) struct Held {
    pub(super) row: LedgerRow,
    /// Whether the running file of the journal holds it.
    pub(super) written: bool,
}

/// What every request touches, under a short lock.
#[derive(Default)]
pub(super) struct Hot {
    pub(super) open: HashMap<u64, Held, ahash::RandomState>,
    /// Open ones that the running file may lack.
    pub(super) unwritten: Vec<u64>,
    /// Ended ones that the running file lacks; without a row: released.
    pub(super) ended: Vec<(LedgerId, Option<LedgerRow>, [u64; 2])>,
    pub(super) lost: u64,
}

/// The running file, and the rows of its batch.
pub(super) struct Running {
    pub(super) id: String,
    pub(super) rows: Vec<LedgerRow>,
    pub(super) bytes: u64,
    /// Some rows are not in the file: it cannot be sent from there.
    pub(super) torn: bool,
}

impl Running {
    pub(super) fn new() -> Self {
        Self { id: new_batch_id(), rows: Vec::new(), bytes: 0, torn: false }
    }
}

pub(super) struct Batch {
    pub(super) id: String,
    pub(super) rows: Vec<LedgerRow>,
}

/// What waits to be sent. Its lock also makes flushes take turns.
#[derive(Default)]
pub(super) struct Sending {
    /// Batches of which the folder has no whole copy.
    pub(super) held: Vec<Batch>,
    /// Batches in the folder that are complete: those of this process, and after recovery those of earlier ones.
    pub(super) ready: BTreeSet<String>,
}

pub(crate) struct Clerk {
    pub(super) hot: Mutex<Hot>,
    pub(super) running: AsyncMutex<Running>,
    pub(super) sending: AsyncMutex<Sending>,
    pub(super) full: Notify,
    pub(super) folder: Arc<Folder>,
    pub(super) process: u64,
    pub(super) next: AtomicU64,
    /// Rows in memory.
    pub(super) waiting: AtomicUsize,
    pub(super) max_rows: usize,
    pub(super) pending: Gauge,
    pub(super) alerts: Alerts,
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

    pub(super) async fn on_folder<T: Send + 'static>(
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
    pub(super) async fn write(&self, running: &mut Running, now: bool) -> bool {
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
    pub(super) async fn rotate(&self) -> Option<(Batch, bool)> {
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

    pub(super) fn tell_lost(&self) {
        let lost = std::mem::take(&mut self.hot.lock().lost);
        if lost > 0 {
            tracing::error!(requests = lost, "usage was lost: the store is away and the spool is full");
            let message =
                format!("the usage of {lost} requests was lost: the store is away and the spool is full");
            self.alerts.raise(AlertCategory::StoreDown, "usage", message);
        }
    }

    pub(super) fn count(&self, waiting: usize) {
        self.pending.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    pub(super) fn gone(&self, rows: usize) {
        let before = self.waiting.fetch_sub(rows, Relaxed);
        self.count(before.saturating_sub(rows));
    }

    /// Takes a row into the running batch, where there is room.
    pub(super) fn take(&self, hot: &mut Hot, id: LedgerId, row: LedgerRow, reserved: [u64; 2]) {
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

    /// Leaves the spool as a process leaves it that is killed.
    pub(crate) fn let_go(&self) {
        self.folder.release();
    }

    pub(super) fn is_behind(&self) -> bool {
        let hot = self.hot.lock();
        !hot.unwritten.is_empty() || !hot.ended.is_empty()
    }

    /// Until the next flush. While the store is away a full memory does not hurry: it would only spin.
    pub(super) async fn pause(&self, every: Duration, away: bool) {
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

/// Tokens and micro-dollars of a row, as a reservation holds them.
pub(super) const fn reserved(row: &LedgerRow) -> [u64; 2] {
    [row.tokens(), row.micros]
}
