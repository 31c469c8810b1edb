//! Sends what waits: chats side by side, each in order, at the door's pace. Invariants: a chat that waits holds up only
//! itself; a try whose outcome nobody knows is made once more and no oftener; nothing ends without a reason.

use super::{AWAY, Channel, Delivery, IDLE, MessagesConfig, Pace, TEND, Trouble, ms, now_ms, pace::Pacer};
use parking_lot::Mutex;
use portcullis_domain::Door;
use portcullis_store::{OutRow, Settle, Store};
use portcullis_telemetry::Metrics;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

struct Inner {
    kind: Door,
    door: &'static str,
    store: Store,
    config: MessagesConfig,
    metrics: Metrics,
    owner: String,
    pacer: Mutex<Pacer>,
    paused_until: Mutex<Option<Instant>>,
    wake: Notify,
}

/// The outbox of one door. Cheap to clone.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

/// Tries to say how a message ended while the store is away; then its outcome counts as unknown.
const SETTLE_TRIES: u32 = 5;
/// How long rows that wait for an operator are left alone between two tries.
const HELD: Duration = Duration::from_secs(60);

impl Outbox {
    /// The outbox of that door, which sends at that pace.
    #[must_use]
    pub fn new(door: Door, store: Store, config: MessagesConfig, metrics: Metrics, pace: Pace) -> Self {
        Self(Arc::new(Inner {
            kind: door,
            door: door.as_str(),
            store,
            config,
            metrics,
            owner: format!("out-{:016x}", rand::random::<u64>()),
            pacer: Mutex::new(Pacer::new(pace)),
            paused_until: Mutex::new(None),
            wake: Notify::new(),
        }))
    }

    /// Something was added.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Ends a pause of everything.
    pub fn resume(&self) {
        *self.0.paused_until.lock() = None;
        self.wake();
    }

    /// Sends through `channel` until `stop`; what is under way is ended before it returns.
    pub async fn run(&self, channel: Arc<dyn Channel>, stop: CancellationToken) {
        let inner = &self.0;
        let door = inner.door;
        if inner.store.kind() == "sqlite" {
            // One process: whoever was sending is gone, and what came of it is not known.
            match inner.store.outbox().reclaim(door, i64::MAX).await {
                Ok(count) => inner.metrics.outbox_uncertain(inner.kind, count),
                Err(error) => tracing::warn!(door, %error, "unknown outcomes are looked at later"),
            }
        }
        let (places, tasks) = (Arc::new(Semaphore::new(inner.config.sending as usize)), TaskTracker::new());
        let mut tended: Option<Instant> = None;
        while !stop.is_cancelled() {
            if tended.is_none_or(|at| at.elapsed() >= TEND) {
                tended = Some(Instant::now());
                self.tend().await;
            }
            let pause = match self.next(&places).await {
                Ok(rows) if rows.is_empty() => self.idle(),
                Ok(rows) => {
                    for row in rows {
                        let Ok(place) = places.clone().try_acquire_owned() else { break };
                        let at = inner.pacer.lock().next(&row.chat, Instant::now());
                        tasks.spawn(self.clone().send(channel.clone(), row, at, place));
                    }
                    continue;
                }
                Err(error) => {
                    tracing::warn!(door, %error, "the outbox cannot be read");
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

    /// How long a loop waits that has nothing to do.
    fn idle(&self) -> Duration {
        let until = *self.0.paused_until.lock();
        until.map_or(IDLE, |until| {
            until.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), IDLE)
        })
    }

    async fn next(&self, places: &Semaphore) -> portcullis_store::Result<Vec<OutRow>> {
        let inner = &self.0;
        if inner.paused_until.lock().is_some_and(|until| until > Instant::now()) {
            return Ok(Vec::new());
        }
        let now = now_ms();
        let lease = now.saturating_add(ms(Duration::from_secs(inner.config.lease_secs)));
        let free = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
        inner.store.outbox().take(inner.door, &inner.owner, now, lease, free).await
    }

    async fn tend(&self) {
        let inner = &self.0;
        let (door, now, outbox) = (inner.door, now_ms(), inner.store.outbox());
        let before = now.saturating_sub(i64::from(inner.config.dead_days) * 86_400_000);
        let tended = async {
            let unknown = outbox.reclaim(door, now).await?;
            inner.metrics.outbox_uncertain(inner.kind, unknown);
            let late = outbox.expire(door, now).await?;
            if late > 0 {
                tracing::warn!(door, late, "answers that nobody needs any more were not sent");
            }
            outbox.sweep(before).await?;
            let depth = outbox.depth(door).await?;
            let average = if depth.rows == 0 { 0 } else { now - depth.sum / depth.rows };
            let worst = depth.oldest.map_or(0, |oldest| now - oldest);
            inner.metrics.messages_waiting(inner.kind, "outbox").set(depth.rows);
            inner.metrics.messages_delayed(inner.kind, worst / 1000, average / 1000);
            Ok::<_, portcullis_store::StoreError>(())
        };
        if let Err(error) = tended.await {
            tracing::warn!(door, %error, "the outbox cannot be tended");
        }
    }

    async fn send(self, channel: Arc<dyn Channel>, row: OutRow, at: Instant, place: OwnedSemaphorePermit) {
        let inner = &self.0;
        sleep_until(at).await;
        let delivery = channel.deliver(&row).await;
        let now = now_ms();
        let later = |wait: Duration| now.saturating_add(ms(wait));
        let dead = |trouble: Trouble| Settle::Dead { reason: trouble.as_str() };
        let how = match &delivery {
            Delivery::Sent(id) => Settle::Sent { message_id: id },
            Delivery::Failed(_) if row.attempts + 1 >= i64::from(inner.config.tries) => dead(Trouble::Tries),
            Delivery::Failed(trouble) => {
                let not_before = later(self.backoff(row.attempts));
                Settle::Later { not_before, failed: true, reason: trouble.as_str() }
            }
            Delivery::Wait(trouble, wait) => {
                Settle::Later { not_before: later(*wait), failed: false, reason: trouble.as_str() }
            }
            Delivery::Pause(trouble, wait) => {
                *inner.paused_until.lock() = Some(Instant::now() + *wait);
                Settle::Later {
                    not_before: later((*wait).min(HELD)),
                    failed: false,
                    reason: trouble.as_str(),
                }
            }
            Delivery::Unknown => Settle::Uncertain { not_before: later(self.backoff(row.attempts)) },
            Delivery::Dead(trouble) | Delivery::Unreachable(trouble) => dead(*trouble),
        };
        // Before this row ends: the next one of the chat would be taken up at once.
        if let Delivery::Unreachable(trouble) = &delivery {
            let ended = inner.store.outbox().end_chat(inner.door, &row.chat, trouble.as_str(), now).await;
            if let Err(error) = ended {
                tracing::warn!(door = inner.door, %error, "rows of an unreachable chat end one by one");
            }
        }
        self.settle(&row, &how).await;
        self.count(&row, &delivery, &how);
        drop(place);
        inner.wake.notify_one();
    }

    /// 1, 2, 4 … seconds, at most the longest, less up to a quarter.
    fn backoff(&self, attempts: i64) -> Duration {
        let [least, most] = self.0.config.retry_secs;
        let doubled = least
            .saturating_mul(1_u64.checked_shl(u32::try_from(attempts).unwrap_or(63)).unwrap_or(u64::MAX));
        Duration::from_secs(doubled.min(most)).mul_f64(1.0 - 0.25 * rand::random::<f64>())
    }

    fn count(&self, row: &OutRow, delivery: &Delivery, how: &Settle<'_>) {
        let (door, metrics) = (self.0.door, &self.0.metrics);
        match how {
            Settle::Sent { .. } => metrics.outbox_sent(self.0.kind, row.class),
            Settle::Dead { reason } => {
                let trouble = match delivery {
                    Delivery::Dead(trouble) | Delivery::Unreachable(trouble) => *trouble,
                    Delivery::Sent(_)
                    | Delivery::Failed(_)
                    | Delivery::Wait(..)
                    | Delivery::Pause(..)
                    | Delivery::Unknown => Trouble::Tries,
                };
                tracing::error!(door, id = row.id, reason, "an answer cannot be delivered");
                metrics.outbox_dead(self.0.kind, trouble.as_str());
            }
            Settle::Uncertain { .. } => {
                metrics.outbox_uncertain(self.0.kind, 1);
                if row.uncertain > 0 {
                    tracing::error!(
                        door,
                        id = row.id,
                        "twice nobody knows whether an answer left; it is not tried again"
                    );
                    metrics.outbox_dead(self.0.kind, Trouble::Unknown.as_str());
                }
            }
            Settle::Later { .. } => {}
        }
    }

    async fn settle(&self, row: &OutRow, how: &Settle<'_>) {
        let inner = &self.0;
        for attempt in 0..SETTLE_TRIES {
            match inner.store.outbox().settle(row.id, &inner.owner, how, now_ms()).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!(door = inner.door, id = row.id, "an answer took longer than its lease");
                    return;
                }
                Err(error) => tracing::warn!(door = inner.door, %error, "an outcome cannot be kept yet"),
            }
            sleep(AWAY * (attempt + 1)).await;
        }
    }
}
