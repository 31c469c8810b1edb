//! Copies of the database, so that damage and mistakes can be undone: `portcullis-YYYYMMDDTHHMMSSZ.db` (of SQLite) or
//! `.dump` (of PostgreSQL), and beside each its SHA-256 in a file that `sha256sum -c` reads.
//!
//! Invariants: a file under such a name is whole (written under another name, checked, synced, renamed); only what has
//! such a name, lies in the folder itself, is no link and equals its sum is ever put back; of the valid ones the newest
//! is never removed. Source: news.md section 11, S1-10.

mod command;
mod config;
mod dump;
mod keep;
mod make;
mod names;
mod restore;

pub use config::BackupConfig;
pub use keep::BackupDesk;
pub(crate) use keep::{Keeper, take_wish};
pub use make::Made;
pub use names::Which;
pub(crate) use restore::{Fate, Mending, mend, put_back};
pub use restore::{Mended, Restored};

use crate::{
    condition::{self, copy_summed, io_error},
    error::{Result, StoreError},
    files, migrations,
};
use jiff::Timestamp;
use names::{Kind, Name};
use serde::Serialize;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};
use tokio::task::spawn_blocking;

/// The folder of backups.
#[derive(Clone, Debug)]
pub struct Backups {
    folder: PathBuf,
    config: BackupConfig,
}

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupInfo {
    /// Its file's name, which names it in commands.
    pub name: String,
    /// When it was made, UTC.
    pub at: Timestamp,
    /// Size in bytes.
    pub bytes: u64,
    /// People in it, where it has such a table and can be read.
    pub users: Option<u64>,
    /// Folders of people in it, likewise.
    pub folders: Option<u64>,
    /// Why it cannot be put back; nothing: it can.
    pub problem: Option<String>,
}

impl Backups {
    /// The folder that these settings name.
    #[must_use]
    pub fn new(config: &BackupConfig, data_dir: &Path) -> Self {
        Self { folder: config.folder(data_dir), config: config.clone() }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names of what may be backups, newest first.
    pub(crate) fn names(&self) -> Result<Vec<Name>> {
        let mut names: Vec<Name> =
            files::entries(&self.folder)?.iter().filter_map(|name| Name::read(name)).collect();
        names.retain(|name| name.is_ours() && self.is_file(name));
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    /// A file of the folder itself and no link.
    fn is_file(&self, name: &Name) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok_and(|found| found.is_file())
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(name.to_string())
    }

    fn sum_path(&self, name: &Name) -> PathBuf {
        self.folder.join(format!("{name}.sha256"))
    }

    /// All of them, newest first, each looked into. What cannot be put back says why.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub async fn list(&self) -> Result<Vec<BackupInfo>> {
        let mut list = Vec::new();
        for name in self.names()? {
            list.push(self.info(&name).await);
        }
        Ok(list)
    }

    /// The one that is meant: the newest valid one, the n-th of the list, or the one of that name.
    ///
    /// # Errors
    /// None such.
    pub async fn find(&self, which: &Which) -> Result<BackupInfo> {
        let name = self.named(which).await?;
        let info = self.info(&name).await;
        match &info.problem {
            Some(problem) => Err(StoreError::Backup(format!("{name} cannot be put back: {problem}"))),
            None => Ok(info),
        }
    }

    pub(crate) async fn named(&self, which: &Which) -> Result<Name> {
        let name = match which {
            Which::Latest => {
                for name in self.names()? {
                    if self.check(&name).await.is_ok() {
                        return Ok(name);
                    }
                }
                return Err(wrong("there is no valid backup"));
            }
            Which::Number(number) => {
                let index = number.checked_sub(1).unwrap_or(usize::MAX);
                self.names()?.into_iter().nth(index)
            }
            Which::Named(name) => Name::read(name).filter(|name| self.is_file(name)),
        };
        name.ok_or_else(|| {
            wrong("there is no such backup. `portcullis restore` without a name lists those there are")
        })
    }

    /// The one of that name, looked into; none: there is no such.
    pub(crate) async fn of_name(&self, name: &str) -> Option<BackupInfo> {
        let name = Name::read(name).filter(|name| name.is_ours() && self.is_file(name))?;
        Some(self.info(&name).await)
    }

    async fn info(&self, name: &Name) -> BackupInfo {
        let path = self.path(name);
        let checked = self.check(name).await;
        let counts = checked.as_ref().ok().copied().unwrap_or_default();
        BackupInfo {
            name: name.to_string(),
            at: name.at(),
            bytes: condition::size(&path),
            users: counts.users,
            folders: counts.folders,
            problem: checked.err().map(|error| error.to_string()),
        }
    }

    /// Looks into one without changing anything.
    async fn check(&self, name: &Name) -> Result<Counts> {
        let path = self.path(name);
        self.copy(name, io::sink()).await?;
        match name.kind() {
            Kind::Database => look_into(&path).await,
            Kind::Dump => Ok(Counts::default()),
        }
    }

    /// Copies one to somewhere, held against its sum on the way: what was copied is what was checked.
    async fn copy<W: Write + Send + 'static>(&self, name: &Name, mut to: W) -> Result<W> {
        let path = self.path(name);
        let wanted = self.sum(name)?;
        let mut file = files::open_private(&path)?.filter(|_| self.is_file(name)).ok_or_else(gone)?;
        let copied = spawn_blocking(move || copy_summed(&mut file, &mut to).map(|sum| (sum, to)));
        let (sum, to) =
            copied.await.map_err(io::Error::other).flatten().map_err(|error| io_error(&path, error))?;
        if sum.sha256 == wanted { Ok(to) } else { Err(wrong("it is not what its .sha256 says")) }
    }

    /// The sum that stands beside it.
    fn sum(&self, name: &Name) -> Result<String> {
        let text = files::read_private_upto(&self.sum_path(name), 1024)?;
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
        let sum = text.as_deref().and_then(|text| text.split_whitespace().next()).map(str::to_owned);
        sum.ok_or_else(|| wrong("its .sha256 is missing"))
    }
}

/// What a backup holds that people count by.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    users: Option<u64>,
    folders: Option<u64>,
}

fn wrong(why: &str) -> StoreError {
    StoreError::Backup(why.to_owned())
}

fn gone() -> StoreError {
    wrong("it is gone")
}

/// Checks a SQLite file that nobody writes: whole, ours, and not of a newer program.
async fn look_into(path: &Path) -> Result<Counts> {
    let looked =
        condition::with(condition::plain(path).immutable(true).read_only(true), async |connection| {
            let (said,): (String,) =
                sqlx::query_as("PRAGMA integrity_check(1)").fetch_one(&mut *connection).await?;
            if said != "ok" {
                return Ok(Err(format!("it is damaged: {said}")));
            }
            if migrations::known(connection).await?.is_none() {
                return Ok(Err("it was made by a newer Portcullis. Mend: install that".to_owned()));
            }
            if let Some(table) = migrations::strange(connection).await? {
                return Ok(Err(format!("it is damaged: `{table}` is not as it was made")));
            }
            let mut counts = Counts::default();
            for (table, count) in [("news_people", &mut counts.users), ("news_folders", &mut counts.folders)]
            {
                let sql = "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = $1";
                let (there,): (i64,) = sqlx::query_as(sql).bind(table).fetch_one(&mut *connection).await?;
                if there == 1 {
                    let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
                    let (rows,): (i64,) = sqlx::query_as(sql).fetch_one(&mut *connection).await?;
                    *count = u64::try_from(rows).ok();
                }
            }
            Ok(Ok(counts))
        });
    match looked.await {
        Ok(said) => said.map_err(StoreError::Backup),
        Err(error) => Err(StoreError::Backup(format!("it is damaged: {error}"))),
    }
}
