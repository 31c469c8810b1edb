//! The only owner of persistent state in Portcullis: API keys, tiers, revocations, the ledger of usage and the messages of
//! chat doors, in SQLite (one process) or Postgres (several), their backups, and the private files beside them.
//!
//! Invariants: what a call acknowledged survives `kill -9` and a power cut; everything persistent lies below one folder
//! that is its owner's alone; a row of the ledger is added exactly once, however often a batch is sent.

mod backup;
mod chats;
mod condition;
mod config;
mod db;
mod definitions;
mod error;
pub mod files;
mod guard;
mod inbox;
mod keys;
mod leases;
mod ledger;
mod migrations;
mod news;
mod open;
mod outbox;
mod overrides;
mod passages;
mod pauses;
mod readers;
mod reseal;
mod revocations;
mod seal;
mod sessions;
mod unconfirmed;
mod verdicts;

pub use backup::{BackupConfig, BackupDesk, BackupInfo, Backups, Made, Mended, Restored, Which};
pub use chats::Chats;
pub use config::StoreConfig;
pub use definitions::{DefinitionRow, Definitions};
pub use error::{Result, StoreError};
pub use inbox::{Finished, InRow, Inbox, Kept, NewIn};
pub use keys::{Changes, KeyOrigin, KeyRow, Keys, NewKey};
pub use leases::Leases;
pub use ledger::{
    GroupBy, Ledger, LedgerId, LedgerPrice, LedgerRow, NoLedgerId, RaiseRow, Recovered, Spent, SumBy, SumRow,
    UsageQuery, UsageSum,
};
pub use news::{FeedRow, Feeds, PostRow};
pub use outbox::{Depth, NewOut, OutRow, OutState, Outbox, Settle};
pub use overrides::{HoldRow, Holds, SafetyOverrides};
pub use passages::{
    Nearest, PassageDocument, PassageGeneration, PassageLock, PassageRow, Passages, Publishing,
};
pub use pauses::Pauses;
pub use readers::{
    Added, Deliver, Delivered, DialogRow, Fire, FireRow, FolderRow, Follow, NewFolder, NewSchedule,
    OwnerRequest, ReaderRow, Readers, Removed, Reserve, Reserved, ScheduleRow, Setting, Traffic, Undone,
};
pub use revocations::{RevocationKind, RevocationRow, Revocations};
pub use seal::Seal;
pub use sessions::{SessionRow, Sessions};
pub use unconfirmed::{Unconfirmed, Whose};
pub use verdicts::{Confirmations, ExceptionRow, GuardExceptions};

use db::{Db, on};
use portcullis_telemetry::{Alerts, Health, Metrics};
use secrecy::SecretString;
use std::{path::Path, sync::Arc};
use tokio_util::sync::CancellationToken;

/// What a store is opened with.
pub struct StoreParts<'a> {
    /// `[store]`.
    pub config: &'a StoreConfig,
    /// Everything persistent lies below it; made with mode 0700, refused when looser.
    pub data_dir: &'a Path,
    /// The secret that `store.url_secret` names, where it names one.
    pub url: Option<&'a SecretString>,
    /// Where it is counted.
    pub metrics: &'a Metrics,
    /// Where it says how it is, as component `store`.
    pub health: &'a Health,
    /// Whom it tells of lost usage.
    pub alerts: &'a Alerts,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    db: Db,
    clerk: ledger::Clerk,
    config: StoreConfig,
    before: open::Before,
    desk: Option<BackupDesk>,
}

impl Store {
    /// Opens the store and makes or updates its tables.
    ///
    /// # Errors
    /// A data folder that others may enter, a URL of no known kind, a database that is away or refuses.
    pub async fn open(parts: StoreParts<'_>) -> Result<Self> {
        Self::open_sealed(parts, Seal::default()).await
    }

    /// The same for whoever writes and reads texts of people: they are kept sealed.
    ///
    /// # Errors
    /// As [`Store::open`]; a seal without the key under which texts are kept.
    pub async fn open_sealed(parts: StoreParts<'_>, seal: Seal) -> Result<Self> {
        open::open(parts, seal, None).await
    }

    /// The same for the server: what is damaged or lost is replaced by the newest valid backup, and backups are kept.
    ///
    /// # Errors
    /// As [`Store::open_sealed`]; a database that is damaged without a backup to take its place.
    pub async fn begin(parts: StoreParts<'_>, seal: Seal, backup: &BackupConfig) -> Result<Self> {
        open::open(parts, seal, Some(backup)).await
    }

    /// What was done to a damaged database before it was opened.
    #[must_use]
    pub fn mended(&self) -> Option<&Mended> {
        self.0.before.mended.as_ref()
    }

    /// The backup that took the database's place before it was opened, because an administrator had asked for it.
    #[must_use]
    pub fn restored(&self) -> Option<&Restored> {
        self.0.before.restored.as_ref()
    }

    /// Backups, where this is a server that keeps its state in a SQLite file.
    #[must_use]
    pub fn backups(&self) -> Option<BackupDesk> {
        self.0.desk.clone()
    }

    /// Cancelled when the database is found damaged while it is used: it is to be closed and opened again.
    #[must_use]
    pub fn damaged(&self) -> CancellationToken {
        self.0.db.damaged.clone()
    }

    /// `sqlite` or `postgres`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.0.db.kind()
    }

    /// API keys.
    #[must_use]
    pub fn keys(&self) -> Keys<'_> {
        Keys(&self.0.db)
    }

    /// Tiers changed at run time.
    #[must_use]
    pub fn tiers(&self) -> Definitions<'_> {
        Definitions::tiers(&self.0.db)
    }

    /// Budgets redefined at run time.
    #[must_use]
    pub fn budgets(&self) -> Definitions<'_> {
        Definitions::budgets(&self.0.db)
    }

    /// Revoked tokens.
    #[must_use]
    pub fn revocations(&self) -> Revocations<'_> {
        Revocations(&self.0.db)
    }

    /// Overrides of safety settings.
    #[must_use]
    pub fn safety_overrides(&self) -> SafetyOverrides<'_> {
        SafetyOverrides(&self.0.db)
    }

    /// Exceptions from inspection.
    #[must_use]
    pub fn guard_exceptions(&self) -> GuardExceptions<'_> {
        GuardExceptions(&self.0.db)
    }

    /// Confirmations that were used.
    #[must_use]
    pub fn confirmations(&self) -> Confirmations<'_> {
        Confirmations(&self.0.db)
    }

    /// Held accounts.
    #[must_use]
    pub fn holds(&self) -> Holds<'_> {
        Holds(&self.0.db)
    }

    /// Messages that chat doors took in.
    #[must_use]
    pub fn inbox(&self) -> Inbox<'_> {
        Inbox(&self.0.db)
    }

    /// Messages that go out to chats.
    #[must_use]
    pub fn outbox(&self) -> Outbox<'_> {
        Outbox(&self.0.db)
    }

    /// Conversations that nothing reaches.
    #[must_use]
    pub fn chats(&self) -> Chats<'_> {
        Chats(&self.0.db)
    }

    /// Chats that were told to wait, and messages that show how far some work is.
    #[must_use]
    pub fn pauses(&self) -> Pauses<'_> {
        Pauses(&self.0.db)
    }

    /// Messages that wait for their senders to say that they are meant.
    #[must_use]
    pub fn unconfirmed(&self) -> Unconfirmed<'_> {
        Unconfirmed(&self.0.db)
    }

    /// Sources of news and their posts.
    #[must_use]
    pub fn feeds(&self) -> Feeds<'_> {
        Feeds(&self.0.db)
    }

    /// Who was let in through chat doors.
    #[must_use]
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions(&self.0.db)
    }

    /// What one replica at a time does.
    #[must_use]
    pub fn leases(&self) -> Leases<'_> {
        Leases(&self.0.db)
    }

    /// People who read news.
    #[must_use]
    pub fn readers(&self) -> Readers<'_> {
        Readers(&self.0.db)
    }

    /// Who used how much.
    #[must_use]
    pub fn ledger(&self) -> Ledger<'_> {
        Ledger(&self.0)
    }

    /// The number of the newest change that other replicas must hear of.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn newest_change(&self) -> Result<i64> {
        self.note("changes").await.map(|found| found.map_or(0, |(value, _)| value))
    }

    /// A small fact kept under a name: a number and a text.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn note(&self, name: &str) -> Result<Option<(i64, String)>> {
        let db = &self.0.db;
        let sql = "SELECT value, note FROM meta WHERE name = $1";
        db.call(async { on!(db, read pool => sqlx::query_as(sql).bind(name).fetch_optional(pool).await) })
            .await
    }

    /// Keeps a small fact, unless there is one of that name; says what is kept now.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn note_once(&self, name: &str, text: &str) -> Result<String> {
        let db = &self.0.db;
        let sql = "INSERT INTO meta (name, value, note) VALUES ($1, 0, $2) ON CONFLICT (name) DO NOTHING";
        db.call(async {
            on!(db, write pool => sqlx::query(sql).bind(name).bind(text).execute(pool).await.map(drop))
        })
        .await?;
        self.note(name).await?.map(|(_, note)| note).ok_or(StoreError::Damaged("meta"))
    }

    /// Keeps a small text under a name, in the place of what was there; its number stays.
    ///
    /// # Errors
    /// A database that is away.
    pub async fn note_text(&self, name: &str, text: &str) -> Result<()> {
        let db = &self.0.db;
        let sql = "INSERT INTO meta (name, value, note) VALUES ($1, 0, $2) \
                   ON CONFLICT (name) DO UPDATE SET note = excluded.note";
        db.call(async {
            on!(db, write pool => sqlx::query(sql).bind(name).bind(text).execute(pool).await.map(drop))
        })
        .await
    }

    /// Adds what usage is left, or spools it, and closes the connections.
    pub async fn close(&self) {
        self.ledger().close().await;
        let covered = match &self.0.desk {
            Some(desk) => desk.0.finish().await,
            None => false,
        };
        self.0.db.close(covered).await;
    }

    /// Leaves the data folder to the next process without ending anything: what `kill -9` does. For tests of what is
    /// found afterwards.
    pub fn forget(&self) {
        self.0.clerk.let_go();
    }

    /// How long known keys go on while the store is away.
    #[must_use]
    pub fn stale(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0.config.stale_secs)
    }
}

/// Rows of one page when all changes are read.
pub(crate) const PAGE: i64 = 1000;

/// Takes the next number of change, inside the transaction `$tx`. The row stays locked until that commits.
macro_rules! next_change {
    ($tx:expr) => {
        sqlx::query_scalar::<_, i64>(
            "UPDATE meta SET value = value + 1 WHERE name = 'changes' RETURNING value",
        )
        .fetch_one(&mut *$tx)
        .await?
    };
}
pub(crate) use next_change;

#[cfg(test)]
mod tests;
