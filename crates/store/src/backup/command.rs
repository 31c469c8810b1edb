//! What commands do with backups, beside a server that runs or without one. Invariant: a database is replaced only by
//! whoever has it alone, so a server that runs is never robbed of its file.

use super::{
    Backups, Fate, Made, Restored, Which,
    names::{Kind, Name},
    put_back, wrong,
};
use crate::{
    StoreParts, condition,
    condition::{Entered, Found, Hold, examine},
    config::{Kind as Kinds, engine_of},
    error::{Result, StoreError},
    open::{sqlite_file, url},
};
use jiff::Timestamp;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

impl Backups {
    /// Makes one now, beside a running server or without one.
    ///
    /// # Errors
    /// A database that is damaged or not there; a disk that is full.
    pub async fn make_now(&self, parts: &StoreParts<'_>) -> Result<Made> {
        let now = Timestamp::now();
        let db = match place(parts)? {
            Place::File(db) => db,
            Place::Postgres(url) => {
                let made = self.dump(parts, &url, now).await?;
                self.prune(now)?;
                return Ok(made);
            }
        };
        let (mut hold, alone) = match enter(&db, parts).await? {
            Entered::Beside(hold) => (hold, false),
            Entered::Alone(hold, left) => match examine(&db, left, parts.config).await? {
                Found::Sound => (hold, true),
                Found::Nothing => return Err(StoreError::Backup("there is no database yet".to_owned())),
                Found::Damaged(what) => return Err(StoreError::Corrupt(what)),
            },
        };
        if alone {
            hold.opened().await?;
        }
        let now = Timestamp::now();
        let made =
            condition::with(condition::plain(&db), async |connection| Ok(self.make(connection, now).await));
        let made = made.await.map_err(|error| StoreError::from_driver(&error, Duration::from_secs(1)));
        hold.closed(made.as_ref().is_ok_and(Result::is_ok)).await?;
        let made = made??;
        self.prune(now)?;
        Ok(made)
    }

    /// Puts one in the place of the database, which no server may have open; a sound one that is there is kept as a
    /// backup, a damaged one in the folder `quarantine`.
    ///
    /// # Errors
    /// A server that runs, a backup that cannot be used, tables of PostgreSQL that are not empty: nothing was changed then.
    pub async fn restore_now(&self, parts: &StoreParts<'_>, which: &Which) -> Result<Restored> {
        let db = match place(parts)? {
            Place::File(db) => db,
            Place::Postgres(url) => {
                let name = self.named(which).await?;
                self.copy(&name, io::sink()).await?;
                of_kind(&name, Kind::Dump)?;
                return self.load(parts, &url, &name, Timestamp::now()).await;
            }
        };
        let Entered::Alone(mut hold, left) = enter(&db, parts).await? else { return Err(StoreError::InUse) };
        let name = self.named(which).await?;
        of_kind(&name, Kind::Database)?;
        let fate = match examine(&db, left, parts.config).await? {
            Found::Sound | Found::Nothing => Fate::Backup,
            Found::Damaged(_) => Fate::Quarantine,
        };
        let restored = put_back(self, &name, &db, fate, Timestamp::now()).await;
        // Also when it was not put back: the look may have written into the file.
        hold.opened().await?;
        hold.closed(restored.is_ok()).await?;
        restored
    }
}

async fn enter(db: &Path, parts: &StoreParts<'_>) -> Result<Entered> {
    Hold::enter(db, Duration::from_millis(parts.config.connect_timeout_ms)).await
}

/// Where the database is.
enum Place {
    File(PathBuf),
    Postgres(String),
}

fn place(parts: &StoreParts<'_>) -> Result<Place> {
    crate::files::private_dir(parts.data_dir)?;
    let url = url(parts);
    match (engine_of(&url).ok_or(StoreError::Url)?, sqlite_file(&url)) {
        (Kinds::Postgres, _) => Ok(Place::Postgres(url)),
        (Kinds::Sqlite, Some(db)) => Ok(Place::File(db)),
        (Kinds::Sqlite, None) => Err(wrong("the database is kept in memory only")),
    }
}

fn of_kind(name: &Name, wanted: Kind) -> Result<()> {
    if name.kind() == wanted { Ok(()) } else { Err(wrong("it is of another kind of database")) }
}
