//! How a SQLite file was left, and who has it open: a small file beside it, locked while anybody uses the database.
//!
//! Invariants: whoever is the first to open the database has it alone until it was looked at; whoever is the last to
//! close it leaves its sum, so that one changed byte of a database at rest is seen; no sum stands there while anybody
//! may write. A process that is killed leaves `open`, and the database is then checked by SQLite itself.

use crate::{
    config::StoreConfig,
    error::{Result, StoreError},
    files, migrations,
};
use ring::digest;
use serde::{Deserialize, Serialize};
use sqlx::{
    ConnectOptions as _, Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{task::spawn_blocking, time::Instant};

/// Between two tries for a lock that is held.
const RETRY: Duration = Duration::from_millis(20);
/// Bytes read at once for a sum.
const BUFFER: usize = 1 << 20;
/// Longest content of the file that is read.
const STATE_BYTES: u64 = 1024;
/// SQLite's primary result codes that say nothing about the file: permission, busy, locked, memory, read-only, I/O,
/// full, cannot open, authorisation. All others, met while a file is only looked at, mean that it is damaged.
const NO_DAMAGE: [i32; 9] = [3, 5, 6, 7, 8, 10, 13, 14, 23];

/// Size and SHA-256 of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// How a database was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum Left {
    /// Somebody has it open, or was killed.
    Open,
    /// Closed by its last user.
    Closed {
        /// The file's.
        #[serde(flatten)]
        sum: Sum,
        /// Whether a backup holds all that it holds.
        covered: bool,
    },
    /// Found damaged while it was used.
    Damaged {
        /// What SQLite said.
        what: String,
    },
}

/// The database file's place among its users, until dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    file: File,
    db: PathBuf,
}

/// How a database was entered.
pub(crate) enum Entered {
    /// Nobody else has it open, and nobody gets in before [`Hold::opened`]. How it was left, where that is known.
    Alone(Hold, Option<Left>),
    /// Others have it open: it was looked at by them.
    Beside(Hold),
}

/// What a look at a database that nobody has open found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is none.
    Nothing,
    /// It can be used.
    Sound,
    /// It is gone or damaged; in words for an operator.
    Damaged(String),
}

/// A file beside the database.
pub(crate) fn beside(db: &Path, suffix: &str) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

impl Hold {
    /// Enters the database, waiting for whoever opens or closes it just now.
    pub(crate) async fn enter(db: &Path, patience: Duration) -> Result<Entered> {
        let path = beside(db, ".state");
        files::touch(&path)?;
        let file = files::open_to_change(&path)?;
        let mut hold = Self { file, db: db.to_owned() };
        let end = Instant::now() + patience;
        loop {
            if hold.file.try_lock().is_ok() {
                let left = hold.read();
                return Ok(Entered::Alone(hold, left));
            }
            if hold.file.try_lock_shared().is_ok() {
                match hold.read() {
                    Some(Left::Open) => return Ok(Entered::Beside(hold)),
                    Some(Left::Damaged { what }) => return Err(StoreError::Corrupt(what)),
                    Some(Left::Closed { .. }) | None => {}
                }
                // Its last user closed it between the two tries.
                hold.file.unlock().map_err(|error| io_error(&path, error))?;
            }
            if Instant::now() >= end {
                return Err(StoreError::InUse);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn read(&mut self) -> Option<Left> {
        let mut text = String::new();
        self.file.rewind().ok()?;
        (&mut self.file).take(STATE_BYTES).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// In place: the lock is of this very file. What a power cut leaves of it reads as "not known".
    fn write(&mut self, left: &Left) -> Result<()> {
        let text = serde_json::to_vec(left).unwrap_or_default();
        let mut written = || -> io::Result<()> {
            self.file.rewind()?;
            self.file.set_len(0)?;
            self.file.write_all(&text)?;
            self.file.sync_all()
        };
        written().map_err(|error| io_error(&beside(&self.db, ".state"), error))
    }

    /// Says that the database may be written from now on, and lets others in.
    pub(crate) async fn opened(&mut self) -> Result<()> {
        self.write(&Left::Open)?;
        while self.file.try_lock_shared().is_err() {
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }

    /// Remembers that SQLite found the file damaged, so that the next start does not trust it.
    pub(crate) fn damaged(&mut self, what: &str) -> Result<()> {
        if matches!(self.read(), Some(Left::Damaged { .. })) {
            return Ok(());
        }
        self.write(&Left::Damaged { what: what.chars().take(200).collect() })
    }

    /// After the last connection of this process was closed: leaves the sum, unless somebody else has it open. Says
    /// whether a backup covers everything.
    pub(crate) async fn closed(mut self, covered: bool) -> Result<()> {
        let unsure = size(&beside(&self.db, "-wal")) > 0 || self.read() != Some(Left::Open);
        if unsure || self.file.try_lock().is_err() {
            return Ok(());
        }
        let sum = sum(&self.db).await?;
        self.write(&Left::Closed { sum, covered })
    }
}

/// Looks at a database that this process has alone. Up to `config.check_bytes` every index is compared with its table.
pub(crate) async fn examine(db: &Path, left: Option<Left>, config: &StoreConfig) -> Result<Found> {
    let bytes = size(db);
    if bytes == 0 {
        let lost = || Found::Damaged("the file that was there is gone or empty".to_owned());
        return Ok(left.map_or(Found::Nothing, |_| lost()));
    }
    let kept = match left {
        Some(Left::Closed { sum, .. }) => sum,
        Some(Left::Damaged { what }) => return Ok(Found::Damaged(what)),
        Some(Left::Open) | None => return integrity(db, bytes <= config.check_bytes).await,
    };
    if size(&beside(db, "-wal")) > 0 || sum(db).await? != kept {
        return Ok(Found::Damaged("the file is not as it was when it was closed".to_owned()));
    }
    Ok(Found::Sound)
}

/// What SQLite says about a file.
async fn integrity(db: &Path, whole: bool) -> Result<Found> {
    let check = async {
        let mut connection = plain(db).connect().await?;
        let pragma = if whole { "PRAGMA integrity_check(1)" } else { "PRAGMA quick_check(1)" };
        let (said,): (String,) = sqlx::query_as(pragma).fetch_one(&mut connection).await?;
        let strange = if said == "ok" { migrations::strange(&mut connection).await? } else { None };
        connection.close().await?;
        Ok::<_, sqlx::Error>((said, strange))
    };
    match check.await {
        Ok((said, _)) if said != "ok" => Ok(Found::Damaged(said)),
        Ok((_, Some(table))) => Ok(Found::Damaged(format!("`{table}` is not as it was made"))),
        Ok(_) => Ok(Found::Sound),
        Err(error) if is_damage(&error) => Ok(Found::Damaged(error.to_string())),
        Err(error) => Err(StoreError::from_driver(&error, Duration::from_secs(1))),
    }
}

/// Whether an error, met while a file was only looked at, means that the file is damaged.
pub(crate) fn is_damage(error: &sqlx::Error) -> bool {
    if let sqlx::Error::Database(said) = error {
        let code = said.code().and_then(|code| code.parse::<i32>().ok());
        return code.is_some_and(|code| !NO_DAMAGE.contains(&(code & 0xff)));
    }
    // A column that does not hold what the table says.
    matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
}

/// A connection of its own to a file that is there.
pub(crate) fn plain(db: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(db)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging()
}

/// Opens, uses and closes a connection of its own.
pub(crate) async fn with<T>(
    options: SqliteConnectOptions,
    work: impl AsyncFnOnce(&mut SqliteConnection) -> sqlx::Result<T>,
) -> sqlx::Result<T> {
    let mut connection = options.connect().await?;
    let result = work(&mut connection).await;
    connection.close().await?;
    result
}

/// Bytes of a file; 0 where there is none.
pub(crate) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// The sum of a file.
pub(crate) async fn sum(path: &Path) -> Result<Sum> {
    let owned = path.to_owned();
    let read = spawn_blocking(move || {
        let mut file = File::open(&owned)?;
        copy_summed(&mut file, &mut io::sink())
    });
    read.await.map_err(io::Error::other).flatten().map_err(|error| io_error(path, error))
}

/// Copies and says the sum of what was copied.
pub(crate) fn copy_summed(from: &mut impl io::Read, to: &mut impl io::Write) -> io::Result<Sum> {
    let (mut digest, mut buffer, mut bytes) = (digest::Context::new(&digest::SHA256), vec![0; BUFFER], 0);
    loop {
        let read = from.read(&mut buffer)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        digest.update(piece);
        to.write_all(piece)?;
        bytes += read as u64;
    }
    let sha256 = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Sum { bytes, sha256 })
}

pub(crate) fn io_error(path: &Path, error: io::Error) -> StoreError {
    StoreError::File(files::FileError::Io { path: path.to_owned(), error })
}
