//! What chat doors move: messages in and out, and what each messenger has of its own.

use super::{Gauge, Metrics};
use portcullis_domain::Door;

impl Metrics {
    /// Messages waiting in the `inbox` or `outbox` of a chat door.
    #[must_use]
    pub fn messages_waiting(&self, door: Door, line: &str) -> Gauge {
        self.queue_depth(&format!("{}_{line}", door.as_str()))
    }

    /// How long messages have waited to leave by a chat door, the oldest and on average, in seconds.
    pub fn messages_delayed(&self, door: Door, worst_secs: i64, average_secs: i64) {
        let queue = format!("{}_outbox", door.as_str());
        self.0.table.queue_worst_delay_seconds.with([&queue]).set(worst_secs);
        self.0.table.queue_average_delay_seconds.with([&queue]).set(average_secs);
    }

    /// One message taken in by a chat door.
    pub fn message_received(&self, door: Door) {
        self.0.table.messages_received_total.with([door.as_str()]).inc();
    }

    /// One message of a chat door worked off.
    pub fn message_processed(&self, door: Door) {
        self.0.table.messages_processed_total.with([door.as_str()]).inc();
    }

    /// One message of a chat door answered with a failure.
    pub fn message_failed(&self, door: Door, category: &'static str) {
        self.0.table.messages_failed_total.with([door.as_str(), category]).inc();
    }

    /// People and groups that a chat door answers.
    #[must_use]
    pub fn active_sessions(&self, door: Door) -> Gauge {
        self.0.table.active_sessions.with([door.as_str()])
    }

    /// One message left for a chat.
    pub fn outbox_sent(&self, door: Door, class: u8) {
        let class = ["0", "1", "2", "3"].get(usize::from(class)).copied().unwrap_or("3");
        self.0.table.outbox_sent_total.with([door.as_str(), class]).inc();
    }

    /// One message to a chat will never leave.
    pub fn outbox_dead(&self, door: Door, reason: &'static str) {
        self.0.table.outbox_dead_total.with([door.as_str(), reason]).inc();
    }

    /// Tries of unknown outcome.
    pub fn outbox_uncertain(&self, door: Door, count: u64) {
        self.0.table.outbox_uncertain_total.with([door.as_str()]).add(count);
    }

    /// The stream of Signal messages is opened anew.
    pub fn signal_reconnect(&self, reason: &'static str) {
        self.0.table.signal_reconnects_total.with([reason]).inc();
    }

    /// One event of the stream of Signal messages.
    pub fn signal_event(&self, kind: &'static str) {
        self.0.table.signal_events_total.with([kind]).inc();
    }

    /// One update of Telegram.
    pub fn telegram_update(&self, kind: &'static str) {
        self.0.table.telegram_updates_total.with([kind]).inc();
    }

    /// The door of Telegram pauses.
    pub fn telegram_backoff(&self) {
        self.0.table.telegram_backoffs_total.with([Door::Telegram.as_str()]).inc();
    }

    /// Updates that wait at Telegram.
    #[must_use]
    pub fn telegram_pending(&self) -> Gauge {
        self.0.table.telegram_pending_updates.with([Door::Telegram.as_str()])
    }
}
