//! What can go wrong with the store. Causes stay inside: whoever meets an error logs it once and shows a `Failure`.

use crate::files::FileError;
use std::time::Duration;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder or file below the data folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The URL cannot be understood. Never shows it: it may hold a password.
    #[error("the store's URL is not understood; write sqlite:PATH or postgres://USER@HOST/DATABASE")]
    Url,
    /// The database is not the one this program knows.
    #[error("the store's tables cannot be brought up to date: {0}")]
    Migration(String),
    /// The database is away or does not answer in time. Nothing is known to have been done.
    #[error("the store is away: {reason}")]
    Away {
        /// When it is worth trying again.
        retry_after: Duration,
        /// What was seen, for the log.
        reason: String,
    },
    /// There is one of that name already.
    #[error("there is one of that name already")]
    Exists,
    /// The database cannot keep vectors, which collections of documents need there. In words for an operator.
    #[error(
        "the store's database cannot keep vectors: {0}; collections that are kept in files need no database"
    )]
    Vectors(String),
    /// A row holds what this program never wrote.
    #[error("a row of {0} holds something unreadable")]
    Damaged(&'static str),
    /// A row is sealed by a key that is not here.
    #[error(
        "texts are sealed by the data key {0}, which is not here. Mend: give the secret `data_key` (or put its file back \
         into data/keys), or name an earlier one in `store.retired_data_key_secrets`"
    )]
    Sealed(String),
    /// The database file is damaged or gone, and whoever opened it may not mend it.
    #[error(
        "the database is damaged: {0}. Mend: start the server, which puts the newest valid backup in its place, or run \
         `portcullis restore`"
    )]
    Corrupt(String),
    /// The database file is damaged or gone, and nothing can take its place.
    #[error(
        "the database is damaged ({what}) and there is no valid backup in {folder}. Nothing was changed. Mend: put a backup \
         with its .sha256 into that folder, or name the folder that has one in `backup.dir`; to begin with an empty database \
         set `store.allow_empty_start = true` (the damaged files are then kept in the folder quarantine)"
    )]
    Lost {
        /// What was found.
        what: String,
        /// Where backups were looked for.
        folder: String,
    },
    /// Others have the database open.
    #[error("another process has the database open. Mend: stop the server first")]
    InUse,
    /// A backup that cannot be made or used. In words for an operator.
    #[error("{0}")]
    Backup(String),
    /// The database refused a statement.
    #[error("the database refused: {0}")]
    Refused(String),
}

/// A result of the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// SQLite's primary result codes that mean "somebody else writes", "the disk is full", "the disk is broken".
const SQLITE_AWAY: [i32; 5] = [5, 6, 10, 13, 14];

impl StoreError {
    /// An error of the driver; `retry_after` for those that mean the database is away.
    pub(crate) fn from_driver(error: &sqlx::Error, retry_after: Duration) -> Self {
        let away = |reason: String| Self::Away { retry_after, reason };
        if let sqlx::Error::Database(refused) = error {
            if refused.is_unique_violation() {
                return Self::Exists;
            }
            let code = refused.code().unwrap_or_default();
            let text = refused.message().to_owned();
            if is_corrupt(&code) {
                return Self::Corrupt(text);
            }
            return if is_away(&code) { away(text) } else { Self::Refused(format!("{text} ({code})")) };
        }
        let ours = matches!(
            error,
            sqlx::Error::RowNotFound
                | sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::Encode(_)
        );
        if ours { Self::Refused(error.to_string()) } else { away(error.to_string()) }
    }

    /// Whether the database itself is to blame: what the breaker counts.
    pub(crate) const fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}

/// SQLite found its file damaged, or not its own, or shorter than it says (`SQLITE_IOERR_SHORT_READ`).
fn is_corrupt(code: &str) -> bool {
    code.len() != 5 && code.parse::<i32>().is_ok_and(|code| code == 522 || matches!(code & 0xff, 11 | 26))
}

/// Postgres: connection exceptions (08), out of resources (53), operator intervention (57, which includes statement
/// time-outs), system errors (58), lock and serialisation trouble (40, 55P03), read-only after a fail-over (25006).
/// SQLite: the primary code is the low byte.
fn is_away(code: &str) -> bool {
    if code.len() == 5 {
        return ["08", "53", "57", "58", "40"].iter().any(|class| code.starts_with(class))
            || matches!(code, "55P03" | "25006");
    }
    code.parse::<i32>().is_ok_and(|code| SQLITE_AWAY.contains(&(code & 0xff)))
}
