//! The queue of updates. Invariant: an update stays until an offset above it comes, or until it expires. Source: the
//! published server's queue.

use super::state::Moment;
use serde_json::{Value, json};
use std::{collections::VecDeque, time::Duration};

/// Life of a message.
const MESSAGE_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Life of a press of a button.
const PRESS_LIFE: Duration = Duration::from_secs(150);
/// Kinds that have to be asked for by name.
const UNASKED: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];
/// How far above the newest an offset may lie and still be one.
const FUTURE: i64 = 10;

/// One update that waits.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub(super) id: i64,
    pub(super) body: Value,
    pub(super) expires: Moment,
    /// Webhooks deliver in order per chat.
    pub(super) chat: i64,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Queued>,
    next: i64,
    allowed: Vec<String>,
}

impl Queue {
    pub(super) fn new(first: i64) -> Self {
        Self { next: first, ..Self::default() }
    }

    /// Puts one in; none: the bot did not ask for that kind.
    pub(super) fn push(&mut self, kind: &str, payload: &Value, chat: i64, now: Moment) -> Option<i64> {
        let asked = if self.allowed.is_empty() {
            !UNASKED.contains(&kind)
        } else {
            self.allowed.iter().any(|allowed| allowed == kind)
        };
        if !asked {
            return None;
        }
        let id = self.next;
        self.next += 1;
        let life = if kind == "callback_query" { PRESS_LIFE } else { MESSAGE_LIFE };
        let body = json!({"update_id": id, kind: payload});
        self.items.push_back(Queued { id, body, expires: now + life, chat });
        Some(id)
    }

    /// What `getUpdates` gives.
    pub(super) fn get(&mut self, offset: i64, limit: usize, now: Moment) -> Vec<Value> {
        self.expire(now);
        if offset < 0 {
            let keep = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
            let surplus = self.items.len().saturating_sub(keep);
            self.items.drain(..surplus);
        }
        if offset > 0 && offset <= self.next + FUTURE {
            self.items.retain(|item| item.id >= offset);
        }
        self.items.iter().take(limit).map(|item| item.body.clone()).collect()
    }

    pub(super) fn expire(&mut self, now: Moment) {
        self.items.retain(|item| item.expires > now);
    }

    pub(super) fn remove(&mut self, id: i64) {
        self.items.retain(|item| item.id != id);
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.items.iter()
    }

    /// Which kinds from now on; empty: the usual ones.
    pub(super) fn allow(&mut self, kinds: Vec<String>) {
        self.allowed = kinds;
    }

    pub(super) fn allowed(&self) -> &[String] {
        &self.allowed
    }

    /// The next update has that number.
    pub(super) const fn restart(&mut self, next: i64) {
        self.next = next;
    }
}
