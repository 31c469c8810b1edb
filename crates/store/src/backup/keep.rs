//! Backups beside a running server: made soon after a change, never too often, always one after the last change; and
//! what administrators may ask of them.
//!
//! Invariant: a change is covered by a backup at most `debounce_secs` later (`large_secs` for a large database), or when
//! the server ends in order.

use super::{BackupInfo, Backups, Which, make::Made, wrong};
use crate::{
    condition::{self, beside},
    error::{Result, StoreError},
    files,
};
use jiff::Timestamp;
use portcullis_telemetry::{AlertCategory, Alerts, Metrics};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often it is looked whether anything changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest text of a wish that is read.
const WISH_BYTES: u64 = 256;

/// The keeper of a SQLite database's backups.
pub(crate) struct Keeper {
    backups: Backups,
    db: PathBuf,
    watch: AsyncMutex<Watch>,
    again: CancellationToken,
    /// Cancelled when the database turns out to be damaged: whoever copies it reads all of it.
    damaged: CancellationToken,
    metrics: Metrics,
    alerts: Alerts,
}

/// What was seen of the database.
struct Watch {
    /// A connection that writes nothing: SQLite tells it when another one did.
    connection: Option<SqliteConnection>,
    version: i64,
    /// Something changed since the last backup.
    changed: bool,
    /// When the last one was made.
    made: Option<Timestamp>,
}

impl Keeper {
    /// `covered`: a backup holds all that the database holds.
    pub(crate) fn new(
        backups: Backups,
        (db, damaged): (PathBuf, CancellationToken),
        covered: bool,
        (metrics, alerts): (Metrics, Alerts),
    ) -> Result<Self> {
        let made = backups.names()?.first().map(super::names::Name::at);
        let changed = !covered || made.is_none();
        let watch = AsyncMutex::new(Watch { connection: None, version: 0, changed, made });
        Ok(Self { backups, db, watch, again: CancellationToken::new(), damaged, metrics, alerts })
    }

    /// From here on changes are seen.
    pub(crate) async fn watch(&self) -> Result<()> {
        self.watch.lock().await.look(&self.db).await
    }

    /// Makes a backup when one is due.
    pub(crate) async fn tick(&self, now: Timestamp) -> Result<Option<Made>> {
        let mut watch = self.watch.lock().await;
        watch.look(&self.db).await?;
        let config = &self.backups.config;
        let large = condition::size(&self.db) > config.large_bytes;
        let pause = if large { config.large_secs } else { config.debounce_secs };
        let since = watch.made.map(|made| now.as_second() - made.as_second());
        // A clock that was set back must not stop backups.
        let due = since.is_none_or(|since| since < 0 || since.unsigned_abs() >= pause);
        if watch.changed && due { self.make(&mut watch, now).await.map(Some) } else { Ok(None) }
    }

    async fn make(&self, watch: &mut Watch, now: Timestamp) -> Result<Made> {
        watch.look(&self.db).await?;
        let made = match &mut watch.connection {
            Some(connection) => self.backups.make(connection, now).await,
            None => Err(wrong("the database is closed")),
        };
        self.metrics.backup(made.is_ok());
        // Also a try that failed waits its turn: a full disk is not written to every second.
        watch.made = Some(now);
        let made = made?;
        watch.changed = false;
        let rows: u64 = made.rows.values().sum();
        tracing::info!(backup = made.name, bytes = made.bytes, rows, "backup made");
        self.alerts.resolve(AlertCategory::BackupFailing, "store", "a backup was made");
        self.backups.prune(now)?;
        Ok(made)
    }

    fn tell(&self, error: &StoreError) {
        if let StoreError::Corrupt(what) = error {
            tracing::error!(event = "store_damaged", what, "the database is damaged");
            self.damaged.cancel();
            return;
        }
        tracing::error!(%error, "no backup could be made");
        self.alerts.raise(
            AlertCategory::BackupFailing,
            "store",
            "no backup of the database could be made; the log says why".to_owned(),
        );
    }

    /// The last one, before the database is closed. Whether a backup holds everything now.
    pub(crate) async fn finish(&self) -> bool {
        let mut watch = self.watch.lock().await;
        if self.backups.config.enabled {
            let last = async {
                watch.look(&self.db).await?;
                if watch.changed { self.make(&mut watch, Timestamp::now()).await.map(drop) } else { Ok(()) }
            };
            if let Err(error) = last.await {
                self.tell(&error);
            }
        }
        if let Some(connection) = watch.connection.take() {
            drop(connection.close().await);
        }
        !watch.changed
    }
}

impl Watch {
    /// Whether anybody wrote since the last look.
    async fn look(&mut self, db: &Path) -> Result<()> {
        let refused = |error: sqlx::Error| StoreError::from_driver(&error, Duration::from_secs(1));
        let first = self.connection.is_none();
        if first {
            let options = condition::plain(db).read_only(true);
            self.connection = Some(options.connect().await.map_err(refused)?);
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let (version,): (i64,) =
            sqlx::query_as("PRAGMA data_version").fetch_one(connection).await.map_err(refused)?;
        self.changed |= !first && version != self.version;
        self.version = version;
        Ok(())
    }
}

/// What administrators may ask of backups while the server runs. Cheap to clone.
#[derive(Clone)]
pub struct BackupDesk(pub(crate) Arc<Keeper>);

impl BackupDesk {
    /// All backups, newest first, each looked into; their numbers count from 1.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub async fn list(&self) -> Result<Vec<BackupInfo>> {
        self.0.backups.list().await
    }

    /// The one of that name, held against its sum and read through; none: there is no such.
    pub async fn verify(&self, name: &str) -> Option<BackupInfo> {
        self.0.backups.of_name(name).await
    }

    /// Makes one now.
    ///
    /// # Errors
    /// A disk that is full, a database that is damaged.
    pub async fn make(&self) -> Result<Made> {
        let mut watch = self.0.watch.lock().await;
        let made = self.0.make(&mut watch, Timestamp::now()).await;
        made.inspect_err(|error| self.0.tell(error))
    }

    /// Has the server end in order, put that backup in the place of the database, and start again: what it keeps in
    /// memory of the present database would not fit the other one. Returns at once; the caller has until the end of the
    /// drain to say so to whoever asked.
    ///
    /// # Errors
    /// A backup that is not there or cannot be used: nothing happens then.
    pub async fn restore(&self, which: &Which) -> Result<BackupInfo> {
        let found = self.0.backups.find(which).await?;
        files::write_private(&wish_path(&self.0.db), found.name.as_bytes())?;
        self.0.again.cancel();
        Ok(found)
    }

    /// Cancelled when the server is to end and start again.
    #[must_use]
    pub fn again(&self) -> CancellationToken {
        self.0.again.clone()
    }

    /// Makes backups until `stop`.
    pub fn keep(&self, tasks: &TaskTracker, stop: CancellationToken) {
        if !self.0.backups.config.enabled {
            return;
        }
        let keeper = Arc::clone(&self.0);
        drop(tasks.spawn(async move {
            let patience = Duration::from_secs(keeper.backups.config.debounce_secs);
            let mut pause = LOOK_EVERY;
            while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
                pause = LOOK_EVERY;
                if let Err(error) = keeper.tick(Timestamp::now()).await {
                    keeper.tell(&error);
                    pause = patience.max(LOOK_EVERY);
                }
            }
        }));
    }
}

fn wish_path(db: &Path) -> PathBuf {
    beside(db, ".restore")
}

/// Which backup the next start is to put back, as an administrator asked while the server ran. Asked once.
pub(crate) fn take_wish(db: &Path) -> Result<Option<String>> {
    let path = wish_path(db);
    let wish = files::read_private_upto(&path, WISH_BYTES)?.and_then(|bytes| String::from_utf8(bytes).ok());
    files::remove(&path)?;
    Ok(wish)
}
