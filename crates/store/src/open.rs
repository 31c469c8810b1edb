//! From settings to an open store. Invariants: a SQLite file is looked at before anybody reads from it; what is damaged
//! or lost is replaced by the newest valid backup or not opened at all, and never by an empty database unless the
//! settings say so.

use crate::{
    BackupConfig, BackupDesk, Seal, Store, StoreParts,
    backup::{Backups, Fate, Keeper, Mended, Mending, Restored, Which, mend, put_back, take_wish},
    condition::{Entered, Found, Hold, Left, examine},
    config::{Kind, engine_of},
    db::{Db, sqlite_path},
    error::{Result, StoreError},
    files, ledger,
};
use jiff::Timestamp;
use portcullis_telemetry::AlertCategory;
use secrecy::ExposeSecret as _;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// What happened to the database before it was opened.
#[derive(Default)]
pub(crate) struct Before {
    pub(crate) mended: Option<Mended>,
    pub(crate) restored: Option<Restored>,
    /// A backup holds all that it holds.
    covered: bool,
}

/// Opens a store; with `backup` as the server, which mends what is damaged and keeps backups.
pub(crate) async fn open(parts: StoreParts<'_>, seal: Seal, backup: Option<&BackupConfig>) -> Result<Store> {
    files::private_dir(parts.data_dir)?;
    let url = url(&parts);
    let backups = backup.map(|config| Backups::new(config, parts.data_dir));
    if let Some(backups) = &backups {
        files::private_dir(backups.folder())?;
    }
    let (mut hold, mut before, mut desk) = (None, Before::default(), None);
    let damaged = CancellationToken::new();
    if let Some(db) = sqlite_file(&url) {
        let (entered, happened) = prepare(&parts, &db, backups.as_ref()).await?;
        (hold, before) = (Some(entered), happened);
        if let Some(backups) = backups {
            let tellers = (parts.metrics.clone(), parts.alerts.clone());
            let keeper = Keeper::new(backups, (db, damaged.clone()), before.covered, tellers)?;
            desk = Some(BackupDesk(Arc::new(keeper)));
        }
    }
    let db = Db::open(parts.config, &url, seal, (hold, damaged), (parts.metrics, parts.health)).await?;
    if let Some(desk) = &desk {
        desk.0.watch().await?;
    }
    let (bytes, rows) = (parts.config.spool_max_bytes, parts.config.usage_rows);
    let spool = parts.data_dir.join("spool");
    let clerk = ledger::Clerk::open(spool, bytes, rows, parts.metrics, parts.alerts.clone())?;
    let store = Store(Arc::new(crate::Inner { db, clerk, config: parts.config.clone(), before, desk }));
    store.holds_the_key().await?;
    Ok(store)
}

/// Where the database is.
pub(crate) fn url(parts: &StoreParts<'_>) -> String {
    match (parts.url, &parts.config.url) {
        (Some(secret), _) => secret.expose_secret().to_owned(),
        (None, Some(url)) => url.clone(),
        (None, None) => format!("sqlite:{}", parts.data_dir.join("portcullis.db").display()),
    }
}

/// The file of a SQLite database; none of one in memory, or on PostgreSQL.
pub(crate) fn sqlite_file(url: &str) -> Option<PathBuf> {
    let path = (engine_of(url)? == Kind::Sqlite).then(|| sqlite_path(url))?;
    (!path.starts_with(":memory:")).then_some(path)
}

/// Looks at a database and makes it fit to be opened.
async fn prepare(parts: &StoreParts<'_>, db: &Path, backups: Option<&Backups>) -> Result<(Hold, Before)> {
    files::open_private(db)?;
    let patience = Duration::from_millis(parts.config.connect_timeout_ms);
    let (mut hold, left) = match Hold::enter(db, patience).await? {
        Entered::Beside(hold) => return Ok((hold, Before::default())),
        Entered::Alone(hold, left) => (hold, left),
    };
    let covered = matches!(left, Some(Left::Closed { covered: true, .. }));
    let found = match examine(db, left, parts.config).await? {
        // Where there are backups there was a database.
        Found::Nothing
            if backups.is_some_and(|backups| backups.names().is_ok_and(|names| !names.is_empty())) =>
        {
            Found::Damaged("the file that was there is gone".to_owned())
        }
        found @ (Found::Nothing | Found::Sound | Found::Damaged(_)) => found,
    };
    let Some(backups) = backups else {
        return match found {
            Found::Damaged(what) => Err(StoreError::Corrupt(what)),
            Found::Nothing | Found::Sound => hold.opened().await.map(|()| (hold, Before::default())),
        };
    };
    let before = match found {
        Found::Damaged(what) => {
            Before { mended: Some(replace(parts, db, backups, what).await?), ..Before::default() }
        }
        Found::Nothing | Found::Sound => {
            Before { restored: wished(parts, db, backups).await?, covered, mended: None }
        }
    };
    hold.opened().await?;
    Ok((hold, before))
}

/// Puts the newest backup in the place of a damaged database, and tells.
async fn replace(parts: &StoreParts<'_>, db: &Path, backups: &Backups, what: String) -> Result<Mended> {
    // A wish for an older backup was made of a database that was sound.
    take_wish(db)?;
    let mending = Mending { backups, db, allow_empty: parts.config.allow_empty_start, now: Timestamp::now() };
    let mended = mend(&mending, what).await?;
    let text = mended.to_string();
    tracing::error!(event = "store_mended", "{text}");
    parts.alerts.raise(AlertCategory::StoreDamaged, "store", text);
    Ok(mended)
}

/// Puts back the backup that an administrator asked for while the server ran. One that cannot be used any more changes
/// nothing.
async fn wished(parts: &StoreParts<'_>, db: &Path, backups: &Backups) -> Result<Option<Restored>> {
    let Some(name) = take_wish(db)? else { return Ok(None) };
    let name = backups.named(&Which::Named(name)).await?;
    match put_back(backups, &name, db, Fate::Backup, Timestamp::now()).await {
        Ok(restored) => {
            tracing::warn!(
                event = "backup_restored",
                backup = restored.name,
                unsent = restored.unsent,
                "a backup took the place of the database"
            );
            Ok(Some(restored))
        }
        Err(error) => {
            let text = format!("the backup {name} was not put back, and the database is as it was: {error}");
            tracing::error!(event = "backup_not_restored", "{text}");
            parts.alerts.raise(AlertCategory::StoreDamaged, "restore", text);
            Ok(None)
        }
    }
}
