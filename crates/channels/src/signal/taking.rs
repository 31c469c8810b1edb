//! What is done with what the stream brings: it is kept, changed or taken back, and nothing else. Invariant: nothing
//! here waits for anything but the store, so that the stream is read on.

use super::{
    desk::Desk,
    envelope::{self, Event, Message, Sender},
    people::{People, Standing, caller, group_caller},
};
use portcullis_domain::Door;
use portcullis_engine::{
    messages::{Inbox, now_ms},
    words::Word,
};
use portcullis_store::{Kept, NewIn, Result, Store};
use portcullis_telemetry::{AlertCategory, Alerts, Metrics};
use serde_json::Value;
use std::sync::Arc;

const DOOR: &str = Door::Signal.as_str();

/// Takes in what the stream brings.
pub(super) struct Taking {
    pub(super) account: String,
    pub(super) people: Arc<People>,
    pub(super) desk: Arc<Desk>,
    pub(super) inbox: Inbox,
    pub(super) store: Store,
    pub(super) metrics: Metrics,
    pub(super) alerts: Alerts,
}

/// What a message is known by: its sender and its moment, as on Signal itself.
fn key(from: &Sender, at: i64) -> String {
    format!("{}/{at}", from.uuid)
}

impl Taking {
    /// Takes one event.
    ///
    /// # Errors
    /// A store that is away: the event must be taken again.
    pub(super) async fn take(&self, body: &Value) -> Result<()> {
        let event = envelope::read(body, &self.account);
        self.metrics.signal_event(event.kind());
        match event {
            Event::Message(message) => self.keep(message).await,
            Event::Edit { target, message } => {
                let inbox = self.store.inbox();
                inbox.replace(DOOR, &key(&message.from, target), &payload(&message)).await.map(drop)
            }
            Event::Delete { from, target } => {
                self.store.inbox().take_back(DOOR, &key(&from, target)).await.map(drop)
            }
            Event::Trouble { kind } => {
                tracing::warn!(kind, "signal-cli could not read a message");
                let told = format!("signal-cli cannot read a message that somebody sent: {kind}");
                self.alerts.raise(AlertCategory::Signal, "receiving", told);
                Ok(())
            }
            Event::Ignored(_) => Ok(()),
        }
    }

    async fn keep(&self, message: Message) -> Result<()> {
        let now = now_ms();
        let standing = self.people.standing(&message.from, now);
        let guest = matches!(standing, Standing::Guest | Standing::Ended);
        if standing == Standing::Unwanted || guest && self.people.floods(&message.from) {
            return Ok(());
        }
        let conversation = conversation(&message);
        let new = NewIn {
            door: DOOR,
            key: key(&message.from, message.at),
            caller: caller(&message.from),
            payload: payload(&message),
            conversation,
            received_at: now,
        };
        match self.inbox.keep(&new).await? {
            Kept::New => {
                self.metrics.message_received(Door::Signal);
                if standing == Standing::Guest && message.group.is_none() {
                    self.people.guest_wrote(&message.from);
                }
                Ok(())
            }
            Kept::Known => Ok(()),
            Kept::Full => self.desk.line_is_full(&message, standing).await,
        }
    }
}

/// Where a message was written: a person, or a group as a whole.
pub(super) fn conversation(message: &Message) -> String {
    message.group.as_deref().map_or_else(|| caller(&message.from), group_caller)
}

fn payload(message: &Message) -> String {
    // A struct of texts and numbers always has a form in JSON.
    serde_json::to_string(message).unwrap_or_default()
}

impl Desk {
    /// Somebody who is answered wrote more than may wait: told once a minute.
    async fn line_is_full(&self, message: &Message, standing: Standing) -> Result<()> {
        let active = matches!(standing, Standing::Active { .. });
        if !active || message.group.is_some() || !self.tell_once(&conversation(message), "line") {
            return Ok(());
        }
        let out = self.say(message, Word::LineFull);
        self.store.outbox().add(&out, self.messages.rows()).await?;
        self.outbox.wake();
        Ok(())
    }
}
