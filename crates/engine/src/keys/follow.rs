//! Hearing of what other replicas change: over Redis at once, by asking the store every `auth.keys.poll_secs`
//! regardless. Redis only says *that* something changed (or which key must stop at once); what is true is always read
//! from the store, so a lost message costs a poll and never an error.

use super::Keys;
use jiff::Timestamp;
use portcullis_resilience::shared::Heard;
use portcullis_store::Result;
use std::{sync::atomic::Ordering, time::Duration};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The channel of changes to keys.
const CHANNEL: &str = "portcullis:keys";
/// How often expired revocations are forgotten.
const SWEEP: Duration = Duration::from_secs(3600);

impl Keys {
    /// Follows what other replicas change, until `stop`.
    pub fn follow(&self, tracker: &TaskTracker, stop: CancellationToken) {
        let keys = self.clone();
        drop(tracker.spawn(async move {
            stop.run_until_cancelled(keys.follow_on()).await;
        }));
    }

    async fn follow_on(self) {
        let mut heard = self.0.shared.as_ref().map(|shared| shared.subscribe(CHANNEL));
        let every = Duration::from_secs(self.0.config.poll_secs);
        let (mut away, mut swept) = (false, Instant::now());
        loop {
            if let Ok(Some(news)) = tokio::time::timeout(every, listen(&mut heard)).await
                && let Some(id) = news.strip_prefix("revoked ")
            {
                self.0.known.revoke(id);
            }
            match self.refresh().await {
                Ok(()) => away = false,
                Err(error) if !away => {
                    tracing::warn!(%error, "changes to keys cannot be read; known keys go on for a while");
                    away = true;
                }
                Err(_) => {}
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.sweep().await;
            }
        }
    }

    async fn sweep(&self) {
        let now = Timestamp::now();
        self.0.known.forget_revocations(now.as_millisecond());
        if let Err(error) = self.0.store.revocations().purge(now).await {
            tracing::warn!(%error, "expired revocations cannot be removed; tried again in an hour");
        }
    }

    /// Takes in everything that changed since the last time.
    ///
    /// # Errors
    /// A store that is away.
    pub async fn refresh(&self) -> Result<()> {
        let inner = &*self.0;
        let mut cursor = inner.cursor.lock().await;
        loop {
            let asked = Instant::now();
            let changes = inner.store.keys().changed_since(*cursor).await?;
            inner.known.apply(&changes);
            if !changes.keys.is_empty() && !inner.closed.load(Ordering::Acquire) {
                inner.closed.store(inner.store.keys().any_made().await?, Ordering::Release);
            }
            *cursor = changes.cursor;
            if !changes.more {
                *inner.fresh.lock() = asked;
                return Ok(());
            }
        }
    }

    /// After a change of our own: what fails now is read by the next poll.
    pub(super) async fn refresh_soon(&self) {
        if let Err(error) = self.refresh().await {
            tracing::warn!(%error, "changes to keys cannot be read just now; the next poll will");
        }
    }

    /// Tells other replicas. Without Redis, or when it is away, they find out by polling.
    pub(super) async fn tell(&self, news: &str) {
        let Some(shared) = &self.0.shared else { return };
        if let Err(error) = shared.publish(CHANNEL, news).await {
            tracing::warn!(%error, "other replicas hear of a change to keys by polling only");
        }
    }
}

/// The next piece of news; nothing for a gap. Without Redis it waits for ever, and the poll goes on.
async fn listen(heard: &mut Option<broadcast::Receiver<Heard>>) -> Option<String> {
    let Some(receiver) = heard else { return std::future::pending().await };
    match receiver.recv().await {
        Ok(Heard::Message(news)) => Some(news),
        Ok(Heard::Gap) | Err(RecvError::Lagged(_)) => None,
        Err(RecvError::Closed) => {
            *heard = None;
            None
        }
    }
}
