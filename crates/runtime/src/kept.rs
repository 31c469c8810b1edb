//! What is kept, and how: the key that seals texts of people, backups, and what replaces a damaged database.
//! Invariant: a database is replaced at a start or while no server runs, never under a server: what that keeps in memory
//! would not fit.

use crate::{
    Secrets, Settings,
    running::Parts,
    secrets::OwnKeys,
    start::{Base, StartError, proof, wanted},
    trail,
};
pub use portcullis_store::{BackupInfo, Made, Restored, Which};
use portcullis_store::{Backups, Mended, Seal, Store, StoreParts};
use portcullis_telemetry::{AlertCategory, Alerts, Health, Metrics};
use secrecy::SecretString;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Name of the key that seals texts of people in the database.
const DATA_KEY: &str = "data_key";
/// Between the wish for a backup and the end of the server.
const ANSWER_FIRST: Duration = Duration::from_secs(5);
/// How long the record of a restored backup may take to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// The seal of these settings. With `store.encrypt` off it only opens, and no key is made for that. Nor is one for a
/// database that replicas share: each would make its own, and none could read what another wrote.
fn seal(settings: &Settings, secrets: &Secrets) -> Result<Seal, StartError> {
    let mut retired = Vec::new();
    for name in &settings.store.retired_data_key_secrets {
        retired.extend(wanted(Some(name), "store.retired_data_key_secrets", secrets)?);
    }
    let own = OwnKeys::new(&settings.data_dir);
    let shared = settings.store.url_secret.is_some() && secrets.get(DATA_KEY).is_none();
    if settings.store.encrypt && !shared {
        return Ok(Seal::new(own.get(DATA_KEY, secrets)?, retired));
    }
    if settings.store.encrypt {
        tracing::warn!("texts of people are not sealed: give every replica the same secret `{DATA_KEY}`");
    }
    let present = own.find(DATA_KEY, secrets)?;
    Ok(present.map_or_else(Seal::default, |key| Seal::opening(key, retired)))
}

/// The server's store: mended where it was damaged, backed up from here on.
pub(crate) async fn store(settings: &Settings, secrets: &Secrets, base: &Base) -> Result<Store, StartError> {
    let url = wanted(settings.store.url_secret.as_deref(), "store.url_secret", secrets)?;
    let parts = StoreParts {
        config: &settings.store,
        data_dir: &settings.data_dir,
        url: url.as_ref(),
        metrics: &base.metrics,
        health: &base.health,
        alerts: &base.alerts,
    };
    let store = Store::begin(parts, seal(settings, secrets)?, &settings.backup).await?;
    if let Some(mended) = store.mended() {
        base.audit.record(proof("store_mended", told(mended)));
    }
    if let Some(restored) = store.restored() {
        base.audit.record(proof("backup_restored", details(restored, "administrator")));
    }
    store.reseal(&base.background, base.tokens.background.clone());
    if let Some(desk) = store.backups() {
        desk.keep(&base.background, base.tokens.background.clone());
    }
    Ok(store)
}

fn told(mended: &Mended) -> Vec<(&'static str, String)> {
    let mut told = vec![("what", mended.what.clone())];
    if let Some(restored) = &mended.restored {
        told.extend(details(restored, "start"));
    }
    told.extend(mended.lost_minutes.map(|minutes| ("lost_minutes", minutes.to_string())));
    told
}

fn details(restored: &Restored, by: &str) -> Vec<(&'static str, String)> {
    let rows: u64 = restored.rows.values().sum();
    let mut details = vec![
        ("backup", restored.name.clone()),
        ("rows", rows.to_string()),
        ("unsent", restored.unsent.to_string()),
        ("by", by.to_owned()),
    ];
    details.extend(restored.kept_as.clone().map(|kept| ("kept_as", kept)));
    details
}

/// Ends the server in order when its database is to be replaced. What is returned is cancelled then: it is to be started
/// again.
pub(crate) fn again(running: &Parts) -> CancellationToken {
    let again = CancellationToken::new();
    let (damaged, alerts) = (running.store.damaged(), running.alerts.clone());
    let (stop, ends) = (running.tokens.background.clone(), running.asked_to_end.clone());
    let asked = running.store.backups().map_or_else(CancellationToken::new, |desk| desk.again());
    let begin = again.clone();
    drop(running.background.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => return,
            () = asked.cancelled() => {
                tracing::warn!("a backup was asked for: the server ends and starts again");
                // Whoever asked at a chat door is told first; afterwards its outbox is another one.
                tokio::time::sleep(ANSWER_FIRST).await;
            }
            () = damaged.cancelled() => alerts.raise(
                AlertCategory::StoreDamaged,
                "store",
                "the database is damaged; the server ends in order, puts the newest valid backup in its place and starts \
                 again"
                    .to_owned(),
            ),
        }
        begin.cancel();
        ends.cancel();
    }));
    again
}

/// What a command opens the store with.
struct Alone {
    url: Option<SecretString>,
    metrics: Metrics,
    health: Health,
    alerts: Alerts,
}

impl Alone {
    fn new(settings: &Settings, secrets: &Secrets) -> Result<Self, StartError> {
        let url = wanted(settings.store.url_secret.as_deref(), "store.url_secret", secrets)?;
        Ok(Self { url, metrics: Metrics::new(), health: Health::new(), alerts: Alerts::silent() })
    }

    fn parts<'a>(&'a self, settings: &'a Settings) -> StoreParts<'a> {
        StoreParts {
            config: &settings.store,
            data_dir: &settings.data_dir,
            url: self.url.as_ref(),
            metrics: &self.metrics,
            health: &self.health,
            alerts: &self.alerts,
        }
    }
}

/// The store for a command that works beside a server or without one. It keeps no texts of people from here, so no seal is
/// asked for.
pub(crate) async fn alone(settings: &Settings, secrets: &Secrets) -> Result<Store, StartError> {
    let alone = Alone::new(settings, secrets)?;
    Ok(Store::open(alone.parts(settings)).await?)
}

fn backups(settings: &Settings) -> Backups {
    Backups::new(&settings.backup, &settings.data_dir)
}

/// All backups, newest first, each looked into.
///
/// # Errors
/// A folder that cannot be read.
pub async fn list(settings: &Settings) -> Result<Vec<BackupInfo>, StartError> {
    Ok(backups(settings).list().await?)
}

/// Makes a backup, beside a running server or without one.
///
/// # Errors
/// A database that is damaged or away; a disk that is full.
pub async fn make(settings: &Settings, secrets: &Secrets) -> Result<Made, StartError> {
    let alone = Alone::new(settings, secrets)?;
    Ok(backups(settings).make_now(&alone.parts(settings)).await?)
}

/// Puts a backup in the place of the database while no server runs, and records it in the audit trail.
///
/// # Errors
/// A server that runs; a backup that cannot be used: nothing was changed then.
pub async fn restore(settings: &Settings, secrets: &Secrets, which: &Which) -> Result<Restored, StartError> {
    let alone = Alone::new(settings, secrets)?;
    let restored = backups(settings).restore_now(&alone.parts(settings), which).await?;
    // A server that runs has the trail to itself; that there is none is known only now.
    let audit = trail::begin(settings, secrets, &alone.metrics, &alone.alerts)?;
    audit.record(proof("backup_restored", details(&restored, "command")));
    let _sealed = tokio::task::spawn_blocking(move || audit.seal(PATIENCE)).await;
    Ok(restored)
}
