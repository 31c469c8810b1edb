//! Making one backup of a SQLite database, while others read and write it.
//!
//! Invariant: the name of a backup appears when its file is whole, checked, summed and on the disk, not before; what a
//! process that died left behind has another name, and goes later.

use super::{
    Backups, look_into,
    names::{Kind, Name, surplus},
    wrong,
};
use crate::{
    condition::{self, io_error, sum},
    error::{Result, StoreError},
    files,
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sqlx::{AssertSqlSafe, SqliteConnection};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// An unfinished file of that age is nobody's.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Its file's name.
    pub name: String,
    /// When it was made, UTC.
    pub at: Timestamp,
    /// Size in bytes.
    pub bytes: u64,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
}

impl Backups {
    /// Copies the database that this connection reads.
    pub(crate) async fn make(&self, connection: &mut SqliteConnection, now: Timestamp) -> Result<Made> {
        self.copy_of(connection, |at| Name::new(at, Kind::Database), now).await
    }

    pub(super) async fn copy_of(
        &self,
        connection: &mut SqliteConnection,
        name: impl Fn(Timestamp) -> Name,
        now: Timestamp,
    ) -> Result<Made> {
        let (name, temporary) = self.begin(name, now)?;
        let made = async {
            // An empty file of ours, because SQLite would make one that others may read.
            files::touch(&temporary)?;
            let path = temporary.to_str().ok_or_else(|| wrong("the backup folder's name is no UTF-8"))?;
            let copied = sqlx::query("VACUUM INTO $1").bind(path).execute(connection).await;
            copied.map_err(|error| StoreError::from_driver(&error, Duration::from_secs(1)))?;
            look_into(&temporary).await?;
            let rows = rows(&temporary).await?;
            self.finish(name, &temporary).await.map(|made| Made { rows, ..made })
        };
        let made = made.await;
        drop(fs::remove_file(&temporary));
        made
    }

    /// A name that is free, and where to write until it is whole.
    pub(super) fn begin(&self, name: impl Fn(Timestamp) -> Name, now: Timestamp) -> Result<(Name, PathBuf)> {
        files::private_dir(&self.folder)?;
        self.sweep();
        let mut at = Timestamp::from_second(now.as_second()).unwrap_or(now);
        while self.path(&name(at)).exists() {
            at = at.checked_add(SignedDuration::from_secs(1)).map_err(|_| wrong("no name is free"))?;
        }
        let name = name(at);
        Ok((name, self.folder.join(format!(".{name}.{:016x}.tmp", rand::random::<u64>()))))
    }

    /// Gives a whole file its name.
    pub(super) async fn finish(&self, name: Name, temporary: &Path) -> Result<Made> {
        let sum = sum(temporary).await?;
        File::open(temporary).and_then(|file| file.sync_all()).map_err(|error| io_error(temporary, error))?;
        files::write_private(&self.sum_path(&name), format!("{}  {name}\n", sum.sha256).as_bytes())?;
        files::rename(temporary, &self.path(&name))?;
        Ok(Made { name: name.to_string(), at: name.at(), bytes: sum.bytes, rows: BTreeMap::new() })
    }

    /// Removes what is too old or too many; how many. Only to be called after one was made: that one is the newest valid
    /// one, and stays.
    pub(crate) fn prune(&self, now: Timestamp) -> Result<usize> {
        let names = self.names()?;
        let times: Vec<Timestamp> = names.iter().map(Name::at).collect();
        let days = i64::try_from(self.config.max_age_days).unwrap_or(i64::MAX);
        let age = days.saturating_mul(86_400);
        let going = surplus(&times, now, self.config.keep, age);
        for name in names.iter().filter(|name| going.contains(&name.at())) {
            self.remove(name)?;
        }
        // Databases that were replaced go by their age alone.
        for name in files::entries(&self.folder)?.iter().filter_map(|name| Name::read(name)) {
            if !name.is_ours() && now.as_second() - name.at().as_second() > age {
                self.remove(&name)?;
            }
        }
        Ok(going.len())
    }

    fn remove(&self, name: &Name) -> Result<()> {
        files::remove(&self.path(name))?;
        files::remove(&self.sum_path(name))?;
        Ok(())
    }

    /// Removes what dead processes did not finish.
    fn sweep(&self) {
        let abandoned = |path: &Path| {
            let changed = fs::symlink_metadata(path).and_then(|found| found.modified()).ok();
            changed
                .and_then(|at| SystemTime::now().duration_since(at).ok())
                .is_some_and(|age| age > ABANDONED)
        };
        for name in files::entries(&self.folder).unwrap_or_default() {
            let path = self.folder.join(&name);
            if name.starts_with('.') && name.ends_with(".tmp") && abandoned(&path) {
                drop(files::remove(&path));
            }
        }
    }
}

/// Rows of each table of a file that nobody writes.
pub(super) async fn rows(path: &Path) -> Result<BTreeMap<String, u64>> {
    let counted =
        condition::with(condition::plain(path).immutable(true).read_only(true), async |connection| {
            let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
                   AND name NOT LIKE '_sqlx_%'";
            let tables: Vec<(String,)> = sqlx::query_as(sql).fetch_all(&mut *connection).await?;
            let mut rows = BTreeMap::new();
            for (table,) in tables {
                let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM \"{table}\""));
                let (count,): (i64,) = sqlx::query_as(sql).fetch_one(&mut *connection).await?;
                rows.insert(table, u64::try_from(count).unwrap_or_default());
            }
            Ok(rows)
        });
    counted.await.map_err(|error| StoreError::Backup(format!("the copy cannot be read: {error}")))
}
