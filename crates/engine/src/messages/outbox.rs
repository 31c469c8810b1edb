//! Sends what waits: chats side by side, each in order, at the door's pace. Invariants: a chat that waits holds up only
//! itself; a try whose outcome nobody knows is made once more and no oftener; nothing ends without a reason.

use super::{
    AWAY, Channel, Delivery, IDLE, MessagesConfig, Pace, TEND, Trouble, Turn, ms, now_ms,
    pace::{PATIENT, Pacer, REMEMBERED},
};
use parking_lot::Mutex;
use portcullis_domain::Door;
use portcullis_store::{NewOut, OutRow, Settle, Store};
use portcullis_telemetry::Metrics;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

struct Inner {
    kind: Door,
    door: &'static str,
    store: Store,
    config: MessagesConfig,
    metrics: Metrics,
    owner: String,
    turn: Turn,
    pacer: Mutex<Pacer>,
    warn_delay: Duration,
    paused_until: Mutex<Option<Instant>>,
    wake: Notify,
}

/// What the loop does next.
enum Next {
    /// These are to be sent; perhaps none, because their chats must wait.
    Rows(Vec<OutRow>),
    /// Nothing until something changes.
    Nothing,
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
        let turn = Turn::of_all(&store);
        Self::with(door, store, config, metrics, (pace, turn))
    }

    /// The same where one replica works at a time, under that name.
    #[must_use]
    pub fn of_one(
        door: Door,
        store: Store,
        config: MessagesConfig,
        metrics: Metrics,
        (pace, name): (Pace, String),
    ) -> Self {
        let turn = Turn::of_one(&store, name, Duration::from_secs(config.take_over_secs));
        Self::with(door, store, config, metrics, (pace, turn))
    }

    fn with(
        door: Door,
        store: Store,
        config: MessagesConfig,
        metrics: Metrics,
        (pace, turn): (Pace, Turn),
    ) -> Self {
        Self(Arc::new(Inner {
            kind: door,
            door: door.as_str(),
            store,
            config,
            metrics,
            owner: format!("out-{:016x}", rand::random::<u64>()),
            turn,
            warn_delay: pace.warn_delay,
            pacer: Mutex::new(Pacer::new(pace)),
            paused_until: Mutex::new(None),
            wake: Notify::new(),
        }))
    }

    /// Which replica works for this door.
    #[must_use]
    pub fn turn(&self) -> &Turn {
        &self.0.turn
    }

    /// What this process is called among those that send.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.0.owner
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

    /// Adds rows that answer no message of the inbox, all or none, and hurries them; says whether there was room.
    ///
    /// # Errors
    /// A store that is away: nothing was added.
    pub async fn add(&self, out: &[NewOut]) -> portcullis_store::Result<bool> {
        let added = self.0.store.outbox().add(out, self.0.config.rows()).await?;
        self.wake();
        Ok(added)
    }

    /// For what a door sends beside the outbox, such as how far some work is: whether it may go now. It counts as a
    /// message of that chat, or of none. Who is told no leaves it, or comes back with something newer.
    #[must_use]
    pub fn may_pass(&self, chat: Option<&str>) -> bool {
        let now = Instant::now();
        let paused = self.0.paused_until.lock().is_some_and(|until| until > now);
        self.0.turn.is_ours() && !paused && self.0.pacer.lock().admit(chat, false, now).is_ok()
    }

    /// Something that passed beside the outbox has arrived: the chat's pause begins.
    pub fn has_passed(&self, chat: &str) {
        self.0.pacer.lock().arrived(chat, Instant::now());
    }

    /// Nothing goes to that chat for so long, whatever becomes of this process.
    pub async fn hold(&self, chat: &str, wait: Duration) {
        self.0.pacer.lock().hold(chat, Instant::now() + wait);
        self.keep_pause(Some(chat), wait).await;
    }

    async fn keep_pause(&self, chat: Option<&str>, wait: Duration) {
        let (inner, until) = (&self.0, now_ms().saturating_add(ms(wait)));
        if let Err(error) = inner.store.pauses().hold(inner.door, chat, until).await {
            tracing::warn!(door = inner.door, %error, "a restart will not know that a chat waits");
        }
    }

    /// Begins where others ended: what they were sending is of unknown outcome, what left lately counts, and who was told
    /// to wait waits on.
    async fn take_up(&self) -> portcullis_store::Result<()> {
        let inner = &self.0;
        let (door, wall, now) = (inner.door, now_ms(), Instant::now());
        if !inner.turn.is_alone() {
            return Ok(());
        }
        let unknown = inner.store.outbox().inherit(door, &inner.owner, wall).await?;
        inner.metrics.outbox_uncertain(inner.kind, u64::try_from(unknown.len()).unwrap_or(u64::MAX));
        let recent = inner.store.outbox().recent(door, wall.saturating_sub(ms(REMEMBERED))).await?;
        let held = inner.store.pauses().held(door, wall).await?;
        let span = |from: i64, to: i64| Duration::from_millis(u64::try_from(to - from).unwrap_or_default());
        let mut pacer = inner.pacer.lock();
        pacer.forget();
        let known = unknown.into_iter().map(|(chat, class)| (chat, class, wall));
        for (chat, class, at) in recent.into_iter().chain(known) {
            let at = now.checked_sub(span(at, wall)).unwrap_or(now);
            pacer.recall(&chat, class >= i64::from(PATIENT), at, now);
        }
        for (chat, until) in held {
            let until = now + span(wall, until);
            match chat {
                Some(chat) => pacer.hold(&chat, until),
                None => *inner.paused_until.lock() = Some(until),
            }
        }
        Ok(())
    }

    /// Sends through `channel` until `stop`; what is under way is ended before it returns.
    pub async fn run(&self, channel: Arc<dyn Channel>, stop: CancellationToken) {
        let inner = &self.0;
        let door = inner.door;
        let (places, tasks) = (Arc::new(Semaphore::new(inner.config.sending as usize)), TaskTracker::new());
        let (mut tended, mut turn): (Option<Instant>, _) = (None, None);
        while let Some(number) = inner.turn.ours(&stop).await {
            if turn != Some(number) {
                if let Err(error) = self.take_up().await {
                    tracing::warn!(door, %error, "unknown outcomes are looked at later");
                    stop.run_until_cancelled(sleep(AWAY)).await;
                    continue;
                }
                turn = Some(number);
            }
            if tended.is_none_or(|at| at.elapsed() >= TEND) {
                tended = Some(Instant::now());
                self.tend().await;
            }
            let pause = match self.next(&places).await {
                Ok(Next::Nothing) => self.idle(),
                Ok(Next::Rows(rows)) => {
                    for row in rows {
                        let Ok(place) = places.clone().try_acquire_owned() else { break };
                        tasks.spawn(self.clone().send(channel.clone(), row, place));
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
        let now = Instant::now();
        let (until, wakes) = (*self.0.paused_until.lock(), self.0.pacer.lock().wakes_at(now));
        let soonest = until.filter(|until| *until > now).or(wakes).unwrap_or(now + IDLE);
        soonest.saturating_duration_since(now).clamp(Duration::from_millis(1), IDLE)
    }

    /// What may be sent now. Rows whose chat must wait go back, so that they hold no place.
    async fn next(&self, places: &Semaphore) -> portcullis_store::Result<Next> {
        let inner = &self.0;
        if inner.paused_until.lock().is_some_and(|until| until > Instant::now()) {
            return Ok(Next::Nothing);
        }
        let [room, share] = inner.pacer.lock().room(Instant::now());
        let free = u32::try_from(places.available_permits()).unwrap_or(u32::MAX).min(room);
        let mut taken: Vec<_> = self.take(free, PATIENT).await?.into_iter().map(|row| (false, row)).collect();
        let left = free.saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX)).min(share);
        // With nothing urgent left, what is found in addition is in no hurry.
        let patient = |row: OutRow| (row.class >= PATIENT, row);
        taken.extend(self.take(left, u8::MAX).await?.into_iter().map(patient));
        if taken.is_empty() {
            return Ok(Next::Nothing);
        }
        let (now, wall) = (Instant::now(), now_ms());
        let (mut rows, mut back) = (Vec::new(), Vec::new());
        // A pause may have begun while these were fetched, or our turn ended.
        let ours = inner.turn.is_ours();
        let paused = !ours || inner.paused_until.lock().is_some_and(|until| until > now);
        {
            let mut pacer = inner.pacer.lock();
            for (patient, row) in taken {
                let admitted = match paused {
                    // Back at once: while the pause lasts nothing is fetched, and whoever ends it waits for nothing more.
                    true => Err(now),
                    false => pacer.admit(Some(&row.chat), patient, now),
                };
                match admitted {
                    Ok(()) => rows.push(row),
                    Err(at) => back.push((row.id, wall.saturating_add(ms(at - now)).saturating_add(1))),
                }
            }
        }
        if !back.is_empty() {
            inner.store.outbox().defer(&back, &inner.owner).await?;
        }
        Ok(Next::Rows(rows))
    }

    async fn take(&self, most: u32, below: u8) -> portcullis_store::Result<Vec<OutRow>> {
        let inner = &self.0;
        let now = now_ms();
        let lease = now.saturating_add(ms(Duration::from_secs(inner.config.lease_secs)));
        inner.store.outbox().take(inner.door, &inner.owner, now, lease, most, below).await
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
            inner.store.pauses().sweep(now).await?;
            let depth = outbox.depth(door).await?;
            let average = if depth.rows == 0 { 0 } else { now - depth.sum / depth.rows };
            let worst = depth.oldest.map_or(0, |oldest| now - oldest);
            if worst > ms(inner.warn_delay) {
                tracing::warn!(event = "queue_backlog", queue = %format!("{door}_outbox"), depth = depth.rows,
                    oldest_wait_ms = worst, "messages wait long to be sent");
            }
            inner.metrics.messages_waiting(inner.kind, "outbox").set(depth.rows);
            inner.metrics.messages_delayed(inner.kind, worst / 1000, average / 1000);
            Ok::<_, portcullis_store::StoreError>(())
        };
        if let Err(error) = tended.await {
            tracing::warn!(door, %error, "the outbox cannot be tended");
        }
    }

    async fn send(self, channel: Arc<dyn Channel>, row: OutRow, place: OwnedSemaphorePermit) {
        let inner = &self.0;
        let delivery = channel.deliver(&row).await;
        self.has_passed(&row.chat);
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
                if *trouble == Trouble::RateLimited {
                    self.hold(&row.chat, *wait).await;
                }
                Settle::Later { not_before: later(*wait), failed: false, reason: trouble.as_str() }
            }
            Delivery::Pause(trouble, wait) => {
                *inner.paused_until.lock() = Some(Instant::now() + *wait);
                // Other troubles end by what an operator does, not by time.
                if *trouble == Trouble::RateLimited {
                    self.keep_pause(None, *wait).await;
                }
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
            let lost = inner.store.chats().lost(&row.chat, trouble.as_str(), now).await;
            if let Err(error) = ended.and(lost) {
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
