//! A running Portcullis and its end: readiness first, then listeners, then running answers, then what is to be
//! flushed. Source: gateway.md section 14.

use crate::stall::Watchdog;
use portcullis_channels::http::control::{Call, Control, Unusable};
use portcullis_resilience::Registry;
use portcullis_store::Store;
use portcullis_telemetry::{Audit, Health, LogGuard, Metrics};
use secrecy::SecretString;
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
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
    pub(crate) watchdog: Option<Watchdog>,
    pub(crate) logs: LogGuard,
}

/// A running Portcullis. Dropping it without [`Running::drain`] cancels everything at once.
pub struct Running(Parts);

impl Running {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(parts)
    }

    /// Where the main listener listens.
    #[must_use]
    pub const fn http(&self) -> SocketAddr {
        self.0.http
    }

    /// Where the admin listener listens.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.0.admin
    }

    /// The first admin key, if this start made it. Shown once.
    #[must_use]
    pub const fn first_key(&self) -> Option<&SecretString> {
        self.0.first_key.as_ref()
    }

    /// What is counted.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// What is well and what is not.
    #[must_use]
    pub const fn health(&self) -> &Health {
        &self.0.health
    }

    /// Every guarded dependency.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Reads the settings again and puts them in force; when anything is wrong with them, everything stays as it is.
    /// The outcome is in the log and the audit trail.
    ///
    /// # Errors
    /// All problems, as `portcullis check --json` says them; or nothing, when it is ending or asked too often.
    pub async fn reload(&self, by: &str) -> Result<Value, Option<Value>> {
        let by = by.to_owned();
        match self.0.control.ask(|reply| Call::Reload { by, reply }).await {
            Ok(Ok(told)) => Ok(told),
            Ok(Err(Unusable(report))) => Err(Some(report)),
            Err(_) => Err(None),
        }
    }

    /// Waits until somebody asks for the end through the admin API.
    pub async fn asked_to_end(&self) {
        self.0.asked_to_end.cancelled().await;
    }

    /// Ends it: readiness 503 and no new connections at once; running answers get `server.drain_secs`, then are
    /// cancelled with the error event; usage, audit and logs are flushed.
    pub async fn drain(mut self) {
        let parts = &mut self.0;
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
        let (audit, patience) = (parts.audit.clone(), parts.flush);
        let _flushed = tokio::task::spawn_blocking(move || audit.seal(patience)).await;
        tracing::info!("drained");
        // The guard writes what is queued when it is dropped, which is now, after the last line.
        let _ = &parts.logs;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.tokens.stop.cancel();
        self.0.tokens.cut.cancel();
        self.0.tokens.background.cancel();
    }
}
