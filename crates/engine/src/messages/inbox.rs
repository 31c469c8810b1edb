//! Works off what a door took in: conversations side by side, one message of each at a time. Invariant: a message ends
//! with its answers kept, or is given back.

use super::{AWAY, Channel, IDLE, MessagesConfig, Outbox, TEND, ms, now_ms};
use portcullis_domain::Door;
use portcullis_store::{Finished, InRow, Kept, NewIn, NewOut, Result, Store};
use portcullis_telemetry::Metrics;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

struct Inner {
    channel: Arc<dyn Channel>,
    store: Store,
    config: MessagesConfig,
    metrics: Metrics,
    outbox: Outbox,
    owner: String,
    wake: Notify,
}

/// The inbox of one door. Cheap to clone.
#[derive(Clone)]
pub struct Inbox(Arc<Inner>);

/// Tries to keep an answer while the store is away; then the message is worked off anew when the lease has lapsed.
const FINISH_TRIES: u32 = 5;

impl Inbox {
    /// The inbox of that door; `outbox` takes the answers.
    #[must_use]
    pub fn new(
        channel: Arc<dyn Channel>,
        store: Store,
        config: MessagesConfig,
        metrics: Metrics,
        outbox: Outbox,
    ) -> Self {
        let owner = format!("in-{:016x}", rand::random::<u64>());
        Self(Arc::new(Inner { channel, store, config, metrics, outbox, owner, wake: Notify::new() }))
    }

    /// Keeps a message; it is worked off from then on.
    ///
    /// # Errors
    /// A store that is away: the message was not kept.
    pub async fn keep(&self, new: &NewIn) -> Result<Kept> {
        let kept = self.0.store.inbox().keep(new, self.0.config.waiting).await?;
        if kept == Kept::New {
            self.0.wake.notify_one();
        }
        Ok(kept)
    }

    /// Keeps messages, and with them how far the door has read (see [`portcullis_store::Inbox::keep_all`]).
    ///
    /// # Errors
    /// A store that is away: nothing was kept.
    pub async fn keep_all(&self, batch: &[NewIn], mark: Option<(&str, i64)>) -> Result<Vec<Kept>> {
        let kept = self.0.store.inbox().keep_all(batch, self.0.config.waiting, mark).await?;
        if kept.contains(&Kept::New) {
            self.0.wake.notify_one();
        }
        Ok(kept)
    }

    /// Works until `stop`; what is under way is ended before it returns.
    pub async fn run(&self, stop: CancellationToken) {
        let inner = &self.0;
        let (kind, door) = (inner.channel.door(), inner.channel.door().as_str());
        let (places, tasks) =
            (Arc::new(Semaphore::new(inner.config.conversations as usize)), TaskTracker::new());
        let (mut tended, mut turn): (Option<Instant>, _) = (None, None);
        while let Some(number) = inner.outbox.turn().ours(&stop).await {
            if turn != Some(number) {
                if let Err(error) = self.take_up().await {
                    tracing::warn!(door, %error, "what others began is taken up later");
                    stop.run_until_cancelled(sleep(AWAY)).await;
                    continue;
                }
                turn = Some(number);
            }
            if tended.is_none_or(|at| at.elapsed() >= TEND) {
                tended = Some(Instant::now());
                self.tend(kind).await;
            }
            let free = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
            let now = now_ms();
            let lease = now.saturating_add(ms(Duration::from_secs(inner.config.lease_secs)));
            let pause = match inner.store.inbox().take(door, &inner.owner, now, lease, free).await {
                Ok(rows) if rows.is_empty() => IDLE,
                Ok(rows) => {
                    for row in rows {
                        let Ok(place) = places.clone().try_acquire_owned() else { break };
                        tasks.spawn(self.clone().work(row, place));
                    }
                    continue;
                }
                Err(error) => {
                    tracing::warn!(door, %error, "the inbox cannot be read");
                    AWAY
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                _woken = timeout(pause, inner.wake.notified()) => {}
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// What others worked on who are gone waits again.
    async fn take_up(&self) -> Result<()> {
        let inner = &self.0;
        if inner.outbox.turn().is_alone() {
            let door = inner.channel.door().as_str();
            inner.store.inbox().inherit(door, &inner.owner).await?;
        }
        Ok(())
    }

    async fn tend(&self, kind: Door) {
        let (inner, door) = (&self.0, kind.as_str());
        let before = now_ms().saturating_sub(i64::from(inner.config.known_days) * 86_400_000);
        if let Err(error) = inner.store.inbox().sweep(before).await {
            tracing::debug!(door, %error, "old messages stay for now");
        }
        if let Err(error) = inner.store.unconfirmed().sweep(now_ms()).await {
            tracing::debug!(door, %error, "messages that nobody meant stay for now");
        }
        if let Ok(open) = inner.store.inbox().open(door).await {
            inner.metrics.messages_waiting(kind, "inbox").set(open);
        }
    }

    async fn work(self, row: InRow, place: OwnedSemaphorePermit) {
        let inner = &self.0;
        let (channel, out) = (&inner.channel, &inner.outbox);
        let answers = if row.attempts > i64::from(inner.config.attempts) {
            tracing::error!(door = channel.door().as_str(), attempts = row.attempts, "a message is given up");
            channel.give_up(&row)
        } else {
            channel.answer(&row).await
        };
        self.finish(&row, &answers).await;
        drop(place);
        inner.wake.notify_one();
        if !answers.is_empty() {
            out.wake();
        }
    }

    async fn finish(&self, row: &InRow, answers: &[NewOut]) {
        let inner = &self.0;
        let (kind, door) = (inner.channel.door(), inner.channel.door().as_str());
        for attempt in 0..FINISH_TRIES {
            match inner.store.inbox().finish(row.id, &inner.owner, answers, inner.config.rows()).await {
                Ok(Finished::Done) => return inner.metrics.message_processed(kind),
                Ok(Finished::Gone) => return,
                Ok(Finished::Full) => tracing::error!(door, "the outbox is full; an answer waits for room"),
                Err(error) => tracing::warn!(door, %error, "an answer cannot be kept yet"),
            }
            sleep(AWAY * (attempt + 1)).await;
        }
        if let Err(error) = inner.store.inbox().give_back(row.id, &inner.owner).await {
            tracing::warn!(door, %error, "a message is worked off anew when its lease has lapsed");
        }
    }
}
