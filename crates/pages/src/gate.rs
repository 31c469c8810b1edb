//! The line as something to wait in. Invariant: whoever goes away, waiting or under way, leaves no trace.

use crate::{
    PageError,
    line::{Line, LinePolicy, Turn},
};
use parking_lot::Mutex;
use portcullis_domain::Deadline;
use portcullis_telemetry::{Gauge, Metrics};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};

/// Longest addition by chance to a wait for the window, so that fetches do not start in step.
const JITTER_MS: u64 = 250;
/// Longest sleep of one that waits for a change: somebody must notice that a wait has become long.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The line, waited in. Shared by all fetches.
#[derive(Debug)]
pub(crate) struct Gate {
    line: Mutex<Line>,
    changed: Notify,
    depth: Gauge,
    oldest: Gauge,
}

impl Gate {
    pub(crate) fn new(policy: LinePolicy, metrics: &Metrics) -> Arc<Self> {
        // Not `pages`: under that name its dependency counts.
        let (depth, oldest) = (metrics.queue_depth("pages-line"), metrics.queue_oldest_seconds("pages-line"));
        Arc::new(Self { line: Mutex::new(Line::new(policy)), changed: Notify::new(), depth, oldest })
    }

    /// Waits for one's turn at a host.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        host: &Arc<str>,
        (urgent, open): (bool, bool),
        deadline: Deadline,
    ) -> Result<Pass, PageError> {
        let now = Instant::now();
        let place = {
            let mut line = self.line.lock();
            // It would wait in vain.
            if let Some(retry_after) = line.paused(host, now).filter(|pause| *pause > deadline.remaining()) {
                return Err(PageError::Later { retry_after });
            }
            let id = line.join(host, urgent, now).map_err(|retry_after| PageError::Busy { retry_after })?;
            if open {
                line.open(host, now);
            }
            Place { gate: self, id }
        };
        loop {
            // Made before the look, so that no change between the look and the wait is missed.
            let changed = self.changed.notified();
            let now = Instant::now();
            let turn = {
                let mut line = self.line.lock();
                let turn = line.turn(place.id, now);
                self.tell(&mut line, now);
                turn
            };
            let wake = match turn {
                Turn::Go => {
                    // Whoever stands behind may be next.
                    self.changed.notify_waiters();
                    return Ok(Pass { gate: Arc::clone(self), host: Arc::clone(host) });
                }
                Turn::Wait(Some(at)) => at + Duration::from_millis(rand::random_range(0..=JITTER_MS)),
                Turn::Wait(None) => now + LOOK_EVERY,
            };
            if deadline.passed() {
                let (waiting, _) = self.line.lock().depth(now);
                let retry_after = Duration::from_secs(u64::try_from(waiting).unwrap_or(60).clamp(1, 3_600));
                return Err(PageError::Busy { retry_after });
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(wake.min(now + LOOK_EVERY).min(deadline.instant())) => {}
            }
        }
    }

    fn tell(&self, line: &mut Line, now: Instant) {
        let (depth, oldest) = line.depth(now);
        self.depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
        self.oldest.set(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
        if let Some(backlog) = line.backlog(now) {
            let oldest_wait_ms = u64::try_from(backlog.oldest.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                event = "queue_backlog",
                queue = "pages",
                depth = backlog.depth,
                oldest_wait_ms,
                "pages wait to be fetched"
            );
        }
    }

    /// The host asks to be left alone for so long.
    pub(crate) fn pause(&self, host: &Arc<str>, time: Duration) {
        self.line.lock().pause(host, time, Instant::now());
    }

    /// The host asks for less.
    pub(crate) fn slow(&self, host: &Arc<str>) {
        self.line.lock().slow(host, Instant::now());
    }

    /// What the host's robots.txt asks for.
    pub(crate) fn delay(&self, host: &Arc<str>, delay: Duration) {
        self.line.lock().delay(host, delay, Instant::now());
    }
}

/// A place in the line; leaves it when dropped, unless it has started.
struct Place<'a> {
    gate: &'a Gate,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.gate.line.lock();
        line.leave(self.id);
        self.gate.tell(&mut line, Instant::now());
        drop(line);
        self.gate.changed.notify_waiters();
    }
}

/// A fetch under way; its place is free again when dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    host: Arc<str>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.line.lock().end(&self.host);
        self.gate.changed.notify_waiters();
    }
}
