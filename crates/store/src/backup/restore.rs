//! A backup takes the place of the database: because somebody asks for it, or because the database is damaged.
//!
//! Invariants: what takes the place is a copy that equals its sum and was checked; the database that was there is kept,
//! as a backup when it is sound and in the folder `quarantine` when it is not; the name of the database changes hands in
//! one step, so that a process that dies leaves either one whole. Nothing that waited to be sent is sent again, and keys
//! and tokens that were revoked stay revoked where the old database can still say so.

use super::{
    Backups, Made, make,
    names::{Kind, Name},
    wrong,
};
use crate::{
    condition::{self, beside, io_error},
    error::{Result, StoreError},
    files,
};
use jiff::Timestamp;
use serde::Serialize;
use sqlx::{SqliteConnection, sqlite::SqliteJournalMode};
use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The files of a SQLite database.
const SUFFIXES: [&str; 3] = ["-wal", "-shm", ""];

/// What becomes of the database that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is sound: a backup of it is made first.
    Backup,
    /// It is damaged: its files are moved aside.
    Quarantine,
}

/// A backup that took the place of the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Its file's name.
    pub name: String,
    /// When it was made, UTC.
    pub at: Timestamp,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
    /// Messages that waited to be sent when it was made; they are dead, with the reason `restored`.
    pub unsent: u64,
    /// Where the database is that was there before; nothing where there was none.
    pub kept_as: Option<String>,
}

/// A damaged database that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mended {
    /// What was wrong with it.
    pub what: String,
    /// What took its place; nothing: an empty database, because the settings allow that.
    pub restored: Option<Restored>,
    /// Minutes whose changes are lost, rounded up; nothing: all of them.
    pub lost_minutes: Option<u64>,
    /// Where the damaged files are; nothing where there were none.
    pub quarantine: Option<String>,
}

impl fmt::Display for Mended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the database was damaged ({}). ", self.what)?;
        match (&self.restored, self.lost_minutes) {
            (Some(restored), minutes) => write!(
                f,
                "The backup {} of {} took its place; changes of the last {} minutes before the damage are lost. Keys and \
                 tokens revoked in that time are valid again: revoke them anew",
                restored.name,
                restored.at,
                minutes.unwrap_or_default()
            )?,
            (None, _) => {
                write!(f, "There is no valid backup; it began empty, as store.allow_empty_start says")?
            }
        }
        match &self.quarantine {
            Some(folder) => write!(f, ". The damaged files are kept in {folder}"),
            None => Ok(()),
        }
    }
}

/// What mending needs to know.
pub(crate) struct Mending<'a> {
    pub(crate) backups: &'a Backups,
    pub(crate) db: &'a Path,
    pub(crate) allow_empty: bool,
    pub(crate) now: Timestamp,
}

/// Puts the newest backup that can be used in the place of a damaged or lost database. The caller has the database
/// alone.
pub(crate) async fn mend(it: &Mending<'_>, what: String) -> Result<Mended> {
    let last_change = changed_at(it.db);
    let databases = |name: &Name| name.kind() == Kind::Database;
    for name in it.backups.names()?.into_iter().filter(databases) {
        match put_back(it.backups, &name, it.db, Fate::Quarantine, it.now).await {
            Ok(restored) => {
                let lost = last_change.unwrap_or(it.now).as_second() - name.at().as_second();
                let lost_minutes = u64::try_from(lost).unwrap_or_default().div_ceil(60);
                let quarantine = restored.kept_as.clone();
                return Ok(Mended {
                    what,
                    restored: Some(restored),
                    lost_minutes: Some(lost_minutes),
                    quarantine,
                });
            }
            Err(error) => {
                tracing::warn!(backup = %name, %error, "a backup cannot be used; trying an older one")
            }
        }
    }
    if !it.allow_empty {
        return Err(StoreError::Lost { what, folder: it.backups.folder().display().to_string() });
    }
    let quarantine = set_aside(it.db, it.now)?;
    Ok(Mended { what, restored: None, lost_minutes: None, quarantine })
}

/// Puts a backup in the place of the database. The caller has the database alone.
pub(crate) async fn put_back(
    backups: &Backups,
    name: &Name,
    db: &Path,
    fate: Fate,
    now: Timestamp,
) -> Result<Restored> {
    let staged = beside(db, ".restoring");
    let put = async {
        files::remove(&staged)?;
        files::touch(&staged)?;
        let file = files::open_to_change(&staged)?;
        let mut file = backups.copy(name, file).await?;
        file.flush().and_then(|()| file.sync_all()).map_err(|error| io_error(&staged, error))?;
        super::look_into(&staged).await?;
        let there = condition::size(db) > 0;
        let keep = there && fate == Fate::Backup;
        let unsent = prepare(&staged, keep.then_some(db), now).await?;
        let rows = make::rows(&staged).await?;
        File::open(&staged).and_then(|file| file.sync_all()).map_err(|error| io_error(&staged, error))?;
        let kept_as = match fate {
            Fate::Backup if there => Some(keep_present(backups, db, now).await?.name),
            Fate::Backup => None,
            Fate::Quarantine => set_aside(db, now)?,
        };
        files::rename(&staged, db)?;
        Ok(Restored { name: name.to_string(), at: name.at(), rows, unsent, kept_as })
    };
    let put = put.await;
    for suffix in ["", "-journal", "-wal", "-shm"] {
        drop(files::remove(&beside(&staged, suffix)));
    }
    put
}

/// Makes a copy fit for use: nothing old is sent, no lease is held, what was revoked since stays revoked. How many
/// messages waited.
async fn prepare(staged: &Path, present: Option<&Path>, now: Timestamp) -> Result<u64> {
    let options = condition::plain(staged).journal_mode(SqliteJournalMode::Delete);
    let prepared = condition::with(options, async |connection| {
        let dead = "UPDATE outbox SET state = 'dead', reason = 'restored', settled_at = $1 \
                    WHERE state IN ('queued', 'sending')";
        let dead = sqlx::query(dead).bind(now.as_millisecond()).execute(&mut *connection).await?;
        if has(connection, "leases").await? {
            sqlx::query("DELETE FROM leases").execute(&mut *connection).await?;
        }
        if let Some(present) = present.and_then(Path::to_str) {
            keep_revoked(connection, present).await?;
        }
        Ok(dead.rows_affected())
    });
    prepared.await.map_err(|error| StoreError::Backup(format!("it cannot be made fit for use: {error}")))
}

async fn has(connection: &mut SqliteConnection, table: &str) -> sqlx::Result<bool> {
    let sql = "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = $1";
    let (count,): (i64,) = sqlx::query_as(sql).bind(table).fetch_one(connection).await?;
    Ok(count > 0)
}

/// Keys and tokens that the present database knows as revoked.
async fn keep_revoked(connection: &mut SqliteConnection, present: &str) -> sqlx::Result<()> {
    sqlx::query("ATTACH DATABASE $1 AS present").bind(present).execute(&mut *connection).await?;
    for sql in [
        "UPDATE main.api_keys SET revoked_at = (SELECT old.revoked_at FROM present.api_keys AS old \
         WHERE old.id = main.api_keys.id) WHERE revoked_at IS NULL AND id IN \
         (SELECT id FROM present.api_keys WHERE revoked_at IS NOT NULL)",
        "INSERT INTO main.revocations (kind, value, until, changed_seq) \
         SELECT kind, value, until, changed_seq FROM present.revocations WHERE true \
         ON CONFLICT (kind, value) DO UPDATE SET until = max(until, excluded.until)",
        "UPDATE main.meta SET value = max(value, (SELECT value FROM present.meta WHERE name = 'changes')) \
         WHERE name = 'changes'",
    ] {
        sqlx::query(sql).execute(&mut *connection).await?;
    }
    sqlx::query("DETACH DATABASE present").execute(&mut *connection).await?;
    Ok(())
}

/// Makes a backup of the database that is about to be replaced; its log is empty afterwards and gone.
async fn keep_present(backups: &Backups, db: &Path, now: Timestamp) -> Result<Made> {
    let kept = condition::with(condition::plain(db), async |connection| {
        let made = backups.copy_of(connection, |at| Name::replaced(at, Kind::Database), now).await;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(connection).await?;
        Ok(made)
    });
    let made = kept.await.map_err(|error| StoreError::from_driver(&error, Duration::from_secs(1)))??;
    if condition::size(&beside(db, "-wal")) > 0 {
        return Err(wrong("the database's log cannot be emptied; is another program reading the file?"));
    }
    Ok(made)
}

/// Moves the files of a database to `quarantine/<time>` beside it; where to, when there were any. The log goes first: a
/// process that dies in between leaves a database that is looked at again.
fn set_aside(db: &Path, now: Timestamp) -> Result<Option<String>> {
    if SUFFIXES.iter().all(|suffix| !beside(db, suffix).exists()) {
        return Ok(None);
    }
    let outer = db.parent().unwrap_or(Path::new(".")).join("quarantine");
    files::private_dir(&outer)?;
    let mut folder = outer.join(now.strftime("%Y%m%dT%H%M%SZ").to_string());
    if folder.exists() {
        folder = outer.join(format!("{}-{:08x}", now.strftime("%Y%m%dT%H%M%SZ"), rand::random::<u32>()));
    }
    files::private_dir(&folder)?;
    for suffix in SUFFIXES {
        let from = beside(db, suffix);
        if let Some(name) = from.file_name().filter(|_| from.exists()) {
            files::rename(&from, &folder.join(name))?;
        }
    }
    Ok(Some(relative(&folder)))
}

/// The last two parts of a path: what an operator needs to find it.
fn relative(folder: &Path) -> String {
    let mut parts: Vec<_> = folder.iter().rev().take(2).collect();
    parts.reverse();
    parts.iter().collect::<PathBuf>().display().to_string()
}

/// When a database was last written to, as its files say.
fn changed_at(db: &Path) -> Option<Timestamp> {
    let changed = |suffix: &str| fs::metadata(beside(db, suffix)).and_then(|found| found.modified()).ok();
    let latest: SystemTime = ["", "-wal"].into_iter().filter_map(changed).max()?;
    let since = latest.duration_since(UNIX_EPOCH).ok()?;
    Timestamp::from_second(i64::try_from(since.as_secs()).ok()?).ok()
}
