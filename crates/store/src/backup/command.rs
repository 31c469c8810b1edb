//! What commands do with backups, beside a server that runs or without one. Invariant: a database is replaced only by
//! whoever has it alone, so a server that runs is never robbed of its file.

use super::{Backups, Fate, Made, Restored, Which, put_back};
use crate::{
    StoreParts, condition,
    condition::{Entered, Found, Hold, examine},
    error::{Result, StoreError},
    open::{sqlite_file, url},
};
use jiff::Timestamp;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

impl Backups {
    /// Makes one now, beside a running server or without one.
    ///
    /// # Errors
    /// A database that is damaged or not there; a disk that is full.
    pub async fn make_now(&self, parts: &StoreParts<'_>) -> Result<Made> {
        let db = file(parts)?;
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
    /// A server that runs, a backup that cannot be used: nothing was changed then.
    pub async fn restore_now(&self, parts: &StoreParts<'_>, which: &Which) -> Result<Restored> {
        let db = file(parts)?;
        let Entered::Alone(mut hold, left) = enter(&db, parts).await? else { return Err(StoreError::InUse) };
        let name = self.named(which).await?;
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

fn file(parts: &StoreParts<'_>) -> Result<PathBuf> {
    crate::files::private_dir(parts.data_dir)?;
    sqlite_file(&url(parts))
        .ok_or_else(|| StoreError::Backup("the database is no file of its own".to_owned()))
}
