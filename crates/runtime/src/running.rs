//! A running Portcullis and its end: readiness first, then listeners, then running answers, then what is to be
//! flushed. Source: gateway.md section 14.

use crate::{kept, stall::Watchdog, vital::Start};
use portcullis_channels::http::{
    ServingThreads,
    control::{Call, Control, Unusable},
};
use portcullis_resilience::Registry;
use portcullis_store::Store;
use portcullis_telemetry::{Alerts, Audit, Health, LogGuard, Metrics};
use secrecy::SecretString;
use serde_json::Value;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long cancelled answers have to say that they were cut.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// The three signals of the end, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    /// Accept nothing new.
    pub(crate) stop: CancellationToken,
    /// The drain time is over.
    pub(crate) cut: CancellationToken,
    /// Background work ends.
    pub(crate) background: CancellationToken,
}

/// What a running Portcullis consists of.
pub(crate) struct Parts {
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) first_key: Option<SecretString>,
    pub(crate) tokens: Tokens,
    pub(crate) serving: TaskTracker,
    pub(crate) background: TaskTracker,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    pub(crate) registry: Registry,
    pub(crate) audit: Audit,
    pub(crate) store: Store,
    pub(crate) drain: Duration,
    pub(crate) flush: Duration,
    pub(crate) control: Control,
    pub(crate) asked_to_end: CancellationToken,
    pub(crate) start: Start,
    pub(crate) alerts: Alerts,
    pub(crate) watchdog: Option<Watchdog>,
    /// They end with it, after what runs on them has been waited for.
    pub(crate) threads: Option<Arc<ServingThreads>>,
    pub(crate) logs: LogGuard,
}

/// A running Portcullis. Dropping it without [`Running::drain`] cancels everything at once.
pub struct Running {
    parts: Parts,
    /// Cancelled when it is to be started again after its end.
    again: CancellationToken,
}

impl Running {
    pub(crate) fn new(parts: Parts) -> Self {
        let again = kept::again(&parts);
        Self { parts, again }
    }

    /// Where the main listener listens.
    #[must_use]
    pub const fn http(&self) -> SocketAddr {
        self.parts.http
    }

    /// Where the admin listener listens.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.parts.admin
    }

    /// The first admin key, if this start made it. Shown once.
    #[must_use]
    pub const fn first_key(&self) -> Option<&SecretString> {
        self.parts.first_key.as_ref()
    }

    /// What is counted.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    /// What is well and what is not.
    #[must_use]
    pub const fn health(&self) -> &Health {
        &self.parts.health
    }

    /// Every guarded dependency.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.parts.registry
    }

    /// Reads the settings again and puts them in force; when anything is wrong with them, everything stays as it is.
    /// The outcome is in the log and the audit trail.
    ///
    /// # Errors
    /// All problems, as `portcullis check --json` says them; or nothing, when it is ending or asked too often.
    pub async fn reload(&self, by: &str) -> Result<Value, Option<Value>> {
        let by = by.to_owned();
        match self.parts.control.ask(|reply| Call::Reload { by, reply }).await {
            Ok(Ok(told)) => Ok(told),
            Ok(Err(Unusable(report))) => Err(Some(report)),
            Err(_) => Err(None),
        }
    }

    /// Waits until somebody asks for the end through the admin API.
    pub async fn asked_to_end(&self) {
        self.parts.asked_to_end.cancelled().await;
    }

    /// Whether it is to be started again once it has ended: its database is to be replaced.
    #[must_use]
    pub fn begins_again(&self) -> bool {
        self.again.is_cancelled()
    }

    /// Ends it: readiness 503 and no new connections at once; running answers get `server.drain_secs`, then are
    /// cancelled with the error event; usage, audit and logs are flushed.
    pub async fn drain(mut self) {
        let parts = &mut self.parts;
        tracing::info!(
            drain_secs = parts.drain.as_secs(),
            "draining: nothing new is taken, running answers go on"
        );
        parts.health.set_draining();
        parts.tokens.stop.cancel();
        parts.serving.close();
        if tokio::time::timeout(parts.drain, parts.serving.wait()).await.is_err() {
            tracing::warn!(
                running = parts.serving.len(),
                "the drain time is over; running answers are cancelled"
            );
            parts.tokens.cut.cancel();
            let _cut = tokio::time::timeout(CUT_GRACE, parts.serving.wait()).await;
        }
        // Signed before the background ends, so that receivers outside hear of it.
        let (audit, patience) = (parts.audit.clone(), parts.flush);
        let _sealed = tokio::task::spawn_blocking(move || audit.seal(patience)).await;
        parts.tokens.background.cancel();
        parts.background.close();
        parts.watchdog.take();
        let flushed = async {
            parts.background.wait().await;
            parts.store.close().await;
        };
        if tokio::time::timeout(parts.flush, flushed).await.is_err() {
            tracing::warn!("background work did not end in time; unsettled usage stays in the spool");
        }
        let (audit, patience, start) = (parts.audit.clone(), parts.flush, parts.start.clone());
        let _flushed = tokio::task::spawn_blocking(move || {
            audit.seal(patience);
            start.ended();
        })
        .await;
        tracing::info!("drained");
        drop(parts.threads.take());
        // The guard writes what is queued when it is dropped, which is now, after the last line.
        let _ = &parts.logs;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.parts.tokens.stop.cancel();
        self.parts.tokens.cut.cancel();
        self.parts.tokens.background.cancel();
    }
}
