//! The audit trail as this installation keeps it: with which keys, anchored where, and how commands look at it without
//! a running server, or beside one. Invariant: looking makes no key and writes nothing.
//!
//! Source: inspect.md section 7.

use crate::{
    Secrets, Settings,
    alerting::{self, Delivery},
    secrets::OwnKeys,
    start::StartError,
};
use portcullis_engine::Breaches;
use portcullis_store::{GroupBy, Store, StoreParts, UsageQuery, files};
pub use portcullis_telemetry::audit::Pseudonyms;
use portcullis_telemetry::{
    Alerts, Audit, AuditAnchor, AuditConfig, AuditParts, Health, Metrics,
    audit::{Anchors, Scope, default_file, public_key},
};
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Pauses before an anchor that was not taken is sent again; after the last one the next checkpoint is waited for,
/// which covers it.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];
/// How often refusals that wait for their record are looked for.
const SETTLE_EVERY: Duration = Duration::from_secs(10);
/// Most callers of the ledger that are tried for a name.
const MAX_CALLERS: u32 = 1_000_000;

/// Where the trail of these settings is.
#[must_use]
pub fn folder(settings: &Settings) -> PathBuf {
    settings.data_dir.join("audit")
}

/// Starts the trail.
pub(crate) fn begin(
    settings: &Settings,
    secrets: &Secrets,
    metrics: &Metrics,
    alerts: &Alerts,
) -> Result<Audit, StartError> {
    let folder = folder(settings);
    files::private_dir(&folder)?;
    let own = OwnKeys::new(&settings.data_dir);
    let (id_key, sign_key) = (own.get("audit_id_key", secrets)?, own.get("audit_sign_key", secrets)?);
    Ok(Audit::start(AuditParts {
        config: &settings.audit,
        folder: &folder,
        id_key: id_key.expose_secret().as_bytes(),
        sign_key: sign_key.expose_secret().as_bytes(),
        redact: portcullis_inspect::redact,
        metrics: metrics.clone(),
        alerts: alerts.clone(),
    })?)
}

/// Sends every checkpoint to the webhooks among `audit.anchors`, each a guarded dependency of its own. Of checkpoints
/// that come faster than a receiver takes them the newest counts: it covers the others.
pub(crate) fn anchor(
    parts: &Delivery<'_>,
    config: &AuditConfig,
    audit: &Audit,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    for (index, anchor) in config.anchors.iter().enumerate() {
        let AuditAnchor::Webhook { url, url_secret } = anchor else { continue };
        let key = format!("audit.anchors[{index}]");
        let url = alerting::address(parts.secrets, url.as_deref(), url_secret.as_deref(), &key)?;
        let post = alerting::webhook(parts, format!("audit-anchor-{index}"), url);
        let (mut checkpoints, stop, metrics) = (audit.checkpoints(), stop.clone(), parts.metrics.clone());
        drop(tasks.spawn(async move {
            loop {
                let ends = !matches!(stop.run_until_cancelled(checkpoints.changed()).await, Some(Ok(())));
                // What was signed at the end is still sent.
                if ends && !checkpoints.has_changed().unwrap_or(false) {
                    return;
                }
                let line = checkpoints.borrow_and_update().clone();
                let Some(line) = line else { continue };
                let body = json!({"service": "portcullis", "kind": "audit_checkpoint", "checkpoint": &*line});
                let mut pauses = PAUSES.iter();
                while let Err(error) = post(body.clone()).await {
                    metrics.audit_failed();
                    tracing::warn!(error, "an anchor of the audit trail was not taken");
                    let Some(pause) = pauses.next() else { break };
                    if stop.run_until_cancelled(tokio::time::sleep(*pause)).await.is_none() {
                        break;
                    }
                }
            }
        }));
    }
    Ok(())
}

/// Proves refusals by limits that were counted and not yet written, until `stop`, and then the rest.
pub(crate) fn settle(breaches: Arc<Breaches>, tasks: &TaskTracker, stop: CancellationToken) {
    drop(tasks.spawn(async move {
        while stop.run_until_cancelled(tokio::time::sleep(SETTLE_EVERY)).await.is_some() {
            breaches.settle(false);
        }
        breaches.settle(true);
    }));
}

/// Against what a check holds the trail: our public key and retired ones, and the file anchors that can be read here.
/// Anchors in `more` come on top, and so do keys.
///
/// # Errors
/// A key or a file that is there and cannot be read.
pub fn scope(
    settings: &Settings,
    secrets: &Secrets,
    more_keys: &[String],
    more: &[PathBuf],
) -> Result<Scope, StartError> {
    let mut keys = settings.audit.retired_sign_keys.clone();
    keys.extend_from_slice(more_keys);
    if let Some(key) = OwnKeys::new(&settings.data_dir).find("audit_sign_key", secrets)? {
        keys.push(public_key(key.expose_secret().as_bytes())?);
    }
    let mut anchors = Anchors::default();
    let folder = folder(settings);
    let configured = settings.audit.anchors.iter().filter_map(|anchor| match anchor {
        AuditAnchor::File { path } => Some(path.clone().unwrap_or_else(|| default_file(&folder))),
        AuditAnchor::Webhook { .. } => None,
    });
    for path in configured.chain(more.iter().cloned()) {
        anchors.read(&path).map_err(|error| {
            StartError::Settings(format!(
                "the anchors in {} cannot be read: {error}. Mend: run it as the user that owns them",
                path.display()
            ))
        })?;
    }
    Ok(Scope { keys, anchors, from: None, to: None })
}

/// The keys by which callers were named, the present one first; none where there is none yet.
///
/// # Errors
/// A key that is there and cannot be read, or a retired one that is in none of the sources.
pub fn pseudonyms(settings: &Settings, secrets: &Secrets) -> Result<Vec<Pseudonyms>, StartError> {
    let present = OwnKeys::new(&settings.data_dir).find("audit_id_key", secrets)?;
    let mut keys: Vec<_> = present.into_iter().collect();
    for name in &settings.audit.retired_id_key_secrets {
        keys.push(secrets.get(name).ok_or_else(|| {
            StartError::Settings(format!(
                "the secret `{name}` (`audit.retired_id_key_secrets`) is in none of the sources. Mend: give it"
            ))
        })?);
    }
    Ok(keys.iter().map(|key| Pseudonyms::new(key.expose_secret().as_bytes())).collect())
}

/// Every caller that this installation can know of: its keys, and whoever stands in the ledger.
///
/// # Errors
/// A store that cannot be used.
pub async fn known_callers(settings: &Settings, secrets: &Secrets) -> Result<BTreeSet<String>, StartError> {
    let url = crate::start::wanted(settings.store.url_secret.as_deref(), "store.url_secret", secrets)?;
    let parts = StoreParts {
        config: &settings.store,
        data_dir: &settings.data_dir,
        url: url.as_ref(),
        metrics: &Metrics::new(),
        health: &Health::new(),
        alerts: &Alerts::silent(),
    };
    let store = Store::open(parts).await?;
    let (keys, ledger) = (store.keys(), store.ledger());
    let query = UsageQuery { by: vec![GroupBy::Caller], from: 0, to: i64::MAX, limit: MAX_CALLERS };
    let found = (keys.list(MAX_CALLERS).await, ledger.usage(&query).await);
    store.close().await;
    let mut all = BTreeSet::from(["local".to_owned()]);
    all.extend(found.0?.into_iter().map(|row| format!("key:{}", row.key.id)));
    all.extend(found.1?.into_iter().flat_map(|sum| sum.group));
    Ok(all)
}
