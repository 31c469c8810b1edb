//! The two databases behind one face. The same SQL runs on both (`$1` is understood by either; times are integers,
//! lists are text), so a query is written once and `on!` picks the pool. Every query goes through `Db::call`, which
//! bounds its time and, for Postgres, leaves a database alone that failed several times running.
//!
//! Invariant: SQLite has one writing connection in this process, so a write never meets `SQLITE_BUSY` from a sibling.
//! `synchronous = FULL`: in WAL mode `NORMAL` may lose the last commits with the power; a key that was shown or
//! revoked must stay so, and writes are rare (a key now and then, one batch of usage per interval).

use crate::{
    StoreConfig,
    condition::Hold,
    config::{Kind, engine_of},
    error::{Result, StoreError},
    files,
    guard::Guard,
    migrations,
    seal::Seal,
};
use parking_lot::Mutex;
use portcullis_telemetry::{Component, Health, HealthState, Metrics};
use sqlx::{
    ConnectOptions as _, PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::PathBuf, time::Duration};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) enum Pools {
    Sqlite { read: SqlitePool, write: SqlitePool },
    Postgres(PgPool),
}

/// Runs `$body` with `$pool` bound to the pool that reads (or writes), whichever the database is.
macro_rules! on {
    ($db:expr, read $pool:ident => $body:expr) => {
        match &$db.pools {
            $crate::db::Pools::Sqlite { read: $pool, .. } => $body,
            $crate::db::Pools::Postgres($pool) => $body,
        }
    };
    ($db:expr, write $pool:ident => $body:expr) => {
        match &$db.pools {
            $crate::db::Pools::Sqlite { write: $pool, .. } => $body,
            $crate::db::Pools::Postgres($pool) => $body,
        }
    };
}
pub(crate) use on;

pub(crate) struct Db {
    pub(crate) pools: Pools,
    /// Seals and opens texts of people; every query that writes or reads one goes through it.
    pub(crate) seal: Seal,
    /// The SQLite file's place among its users.
    hold: Mutex<Option<Hold>>,
    /// Cancelled when SQLite finds its file damaged.
    pub(crate) damaged: CancellationToken,
    guard: Option<Guard>,
    component: Component,
    call_timeout: Duration,
    reset: Duration,
}

impl Db {
    pub(crate) async fn open(
        config: &StoreConfig,
        url: &str,
        seal: Seal,
        (hold, damaged): (Option<Hold>, CancellationToken),
        (metrics, health): (&Metrics, &Health),
    ) -> Result<Self> {
        let component = health.component("store");
        let statement = Duration::from_millis(config.statement_timeout_ms);
        let connect = Duration::from_millis(config.connect_timeout_ms);
        let (pools, guard) = match engine_of(url).ok_or(StoreError::Url)? {
            Kind::Sqlite => (sqlite(config, url, statement, connect).await?, None),
            Kind::Postgres => {
                let reset = Duration::from_secs(config.breaker_reset_secs);
                let guard = Guard::new(config.breaker_failures, reset, metrics);
                (postgres(config, url, statement, connect).await?, Some(guard))
            }
        };
        component.set(HealthState::Healthy, "");
        Ok(Self {
            pools,
            seal,
            hold: Mutex::new(hold),
            damaged,
            guard,
            component,
            call_timeout: connect + statement * 2,
            reset: Duration::from_secs(1),
        })
    }

    pub(crate) const fn kind(&self) -> &'static str {
        match self.pools {
            Pools::Sqlite { .. } => "sqlite",
            Pools::Postgres(_) => "postgres",
        }
    }

    /// One bounded use of the database.
    pub(crate) async fn call<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T> {
        let leave = match &self.guard {
            Some(guard) => Some(guard.enter().map_err(|retry_after| StoreError::Away {
                retry_after,
                reason: "it failed several times running and is left alone for a while".into(),
            })?),
            None => None,
        };
        let result = match timeout(self.call_timeout, work).await {
            Ok(result) => result.map_err(|error| StoreError::from_driver(&error, self.reset)),
            Err(_) => {
                Err(StoreError::Away { retry_after: self.reset, reason: "it does not answer in time".into() })
            }
        };
        let away = result.as_ref().is_err_and(StoreError::is_away);
        if let Some(leave) = leave {
            leave.finish(!away);
        }
        match &result {
            Err(StoreError::Corrupt(what)) => self.is_damaged(what),
            Ok(_) | Err(_) => self.tell(away),
        }
        result
    }

    /// From here on nothing that is read can be trusted: said once, and remembered for the next start.
    fn is_damaged(&self, what: &str) {
        self.component.set(HealthState::Unhealthy, "the database is damaged");
        if self.damaged.is_cancelled() {
            return;
        }
        self.damaged.cancel();
        tracing::error!(event = "store_damaged", what, "the database is damaged");
        if let Some(Err(error)) = self.hold.lock().as_mut().map(|hold| hold.damaged(what)) {
            tracing::error!(%error, "that the database is damaged could not be written down");
        }
    }

    fn tell(&self, away: bool) {
        if away {
            // Known callers go on from memory and usage is spooled: the whole is degraded, not down.
            self.component.set(HealthState::Degraded, "away; known keys go on, changes are refused");
        } else {
            self.component.set(HealthState::Healthy, "");
        }
    }

    /// Closes the connections; `covered`: a backup holds everything.
    pub(crate) async fn close(&self, covered: bool) {
        match &self.pools {
            Pools::Sqlite { read, write } => {
                read.close().await;
                // So that the last connection finds an empty log and leaves one file.
                let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(write).await;
                write.close().await;
                let hold = self.hold.lock().take();
                let said = match (hold, emptied) {
                    (Some(mut hold), _) if self.damaged.is_cancelled() => {
                        hold.damaged("it could not be read")
                    }
                    (Some(hold), Ok(_)) => hold.closed(covered).await,
                    (Some(_), Err(_)) | (None, _) => Ok(()),
                };
                if let Err(error) = said {
                    tracing::warn!(%error, "how the database was left was not written; the next start checks it");
                }
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

async fn sqlite(config: &StoreConfig, url: &str, busy: Duration, connect: Duration) -> Result<Pools> {
    let path = sqlite_path(url);
    // SQLite would make it readable for all, and the files beside it like it. What it cannot open, it names itself.
    if !path.starts_with(":memory:") {
        files::touch(&path).ok();
    }
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(busy)
        .disable_statement_logging();
    let refused = |error: sqlx::Error| StoreError::from_driver(&error, Duration::from_secs(1));
    // The writer first: it creates the file, the WAL and the tables, which readers then find.
    let write = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(connect)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.clone())
        .await
        .map_err(refused)?;
    // A step that power takes away is made again at the next start; waiting for the disk after each of them is half of
    // the time that a first start takes.
    sqlx::query("PRAGMA synchronous = NORMAL").execute(&write).await.map_err(refused)?;
    migrations::sqlite(&write).await?;
    sqlx::query("PRAGMA synchronous = FULL").execute(&write).await.map_err(refused)?;
    // What the migrations read, the writer does not need again.
    sqlx::query("PRAGMA shrink_memory").execute(&write).await.map_err(refused)?;
    let cores = std::thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    let read = SqlitePoolOptions::new()
        .max_connections(config.connections.min(cores.max(2)))
        .acquire_timeout(connect)
        .connect_with(options.create_if_missing(false).read_only(true))
        .await
        .map_err(refused)?;
    Ok(Pools::Sqlite { read, write })
}

/// `sqlite:PATH` or `sqlite://PATH`.
pub(crate) fn sqlite_path(url: &str) -> PathBuf {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    PathBuf::from(path.strip_prefix("//").unwrap_or(path))
}

async fn postgres(config: &StoreConfig, url: &str, statement: Duration, connect: Duration) -> Result<Pools> {
    let pool = postgres_pool(config, url, statement, connect).await?;
    migrations::postgres(&pool).await?;
    Ok(Pools::Postgres(pool))
}

/// Connections to Postgres; a statement may take that long, or as long as it takes when that is zero.
pub(crate) async fn postgres_pool(
    config: &StoreConfig,
    url: &str,
    statement: Duration,
    connect: Duration,
) -> Result<PgPool> {
    let options = url
        .parse::<PgConnectOptions>()
        .map_err(|_| StoreError::Url)?
        .application_name("portcullis")
        .options([("statement_timeout", statement.as_millis().to_string())])
        .disable_statement_logging();
    PgPoolOptions::new()
        .max_connections(config.connections)
        .acquire_timeout(connect)
        .connect_with(options)
        .await
        .map_err(|error| StoreError::from_driver(&error, Duration::from_secs(1)))
}
