//! What the connections of the double share. Invariant: one lock holds all of it, so that a call happens whole or not
//! at all; it is never held across a wait.

use super::{
    Options,
    fault::Live,
    people::{Chat, Person},
    queue::Queue,
    rates::Counters,
    records::{Action, Answered, Call, Deleted, Draft, Edited, Menu, Reaction, Sent},
    webhook::Webhook,
};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The double's own time: since its start, moved by tests.
pub(super) type Moment = Duration;

/// Why a call is refused.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) description: String,
    pub(super) parameters: Option<Value>,
}

impl Refusal {
    pub(super) fn new(code: u16, description: impl Into<String>) -> Self {
        Self { code, description: description.into(), parameters: None }
    }

    pub(super) fn bad(what: &str) -> Self {
        Self::new(400, format!("Bad Request: {what}"))
    }

    pub(super) fn forbidden(what: &str) -> Self {
        Self::new(403, format!("Forbidden: {what}"))
    }

    pub(super) fn too_many(secs: u64) -> Self {
        Self {
            parameters: Some(json!({ "retry_after": secs })),
            ..Self::new(429, format!("Too Many Requests: retry after {secs}"))
        }
    }

    /// The server's envelope.
    pub(super) fn body(&self) -> Value {
        let mut body = json!({"ok": false, "error_code": self.code, "description": self.description});
        if let Some(parameters) = &self.parameters {
            body["parameters"] = parameters.clone();
        }
        body
    }
}

pub(super) type Outcome = Result<Value, Refusal>;

/// One message of a chat, as the server keeps it.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) own: bool,
    pub(super) at: Moment,
    /// As the Bot API shows it.
    pub(super) body: Value,
}

/// A file that can be fetched.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) bytes: bytes::Bytes,
    /// What it is said to weigh: a big one need not be made.
    pub(super) size: u64,
    pub(super) path: String,
}

/// A press of a button.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) at: Moment,
    pub(super) answered: bool,
}

/// A long poll under way.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) number: u64,
    pub(super) end: oneshot::Sender<&'static str>,
}

/// Who asked for updates last, for the rules against abuse.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastPoll {
    pub(super) offset: i64,
    pub(super) at: Option<Moment>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) chats: BTreeMap<i64, Chat>,
    pub(super) people: BTreeMap<i64, Person>,
    pub(super) messages: BTreeMap<(i64, i64), Message>,
    pub(super) files: BTreeMap<String, Stored>,
    pub(super) queries: BTreeMap<String, Query>,
    pub(super) queue: Queue,
    pub(super) poll: Option<Poll>,
    pub(super) last_poll: LastPoll,
    pub(super) next_conflict: Moment,
    pub(super) webhook: Option<Webhook>,
    pub(super) next_set_webhook: Moment,
    /// Where HTTPS webhooks of a host go.
    pub(super) proxies: BTreeMap<String, String>,
    pub(super) counters: Counters,
    pub(super) rules: Vec<Live>,
    pub(super) calls: Vec<Call>,
    pub(super) sent: Vec<Sent>,
    pub(super) edits: Vec<Edited>,
    pub(super) deletions: Vec<Deleted>,
    pub(super) answers: Vec<Answered>,
    pub(super) actions: Vec<Action>,
    pub(super) drafts: Vec<Draft>,
    pub(super) reactions: Vec<Reaction>,
    pub(super) menus: Vec<Menu>,
    pub(super) violations: Vec<String>,
    /// How often a closed chat was written to.
    pub(super) in_vain: BTreeMap<i64, u32>,
    /// The newest message of private chats and old groups.
    pub(super) last_message: i64,
    /// Violations said once only.
    pub(super) said: BTreeSet<String>,
    /// How far tests moved the clock.
    pub(super) shift: Duration,
    numbers: u64,
}

impl State {
    /// A number that none had before.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// What a careful bot would not have done, and faults that nobody met.
    pub(super) fn all_violations(&self) -> Vec<String> {
        let unmet = self.rules.iter().filter(|live| live.unmet());
        let unmet = unmet.map(|live| format!("a fault nobody met: {:?}, {} left", live.rule, live.left));
        self.violations.iter().cloned().chain(unmet).collect()
    }

    /// A violation that would only repeat itself.
    pub(super) fn violation_once(&mut self, what: String) {
        if self.said.insert(what.clone()) {
            self.violations.push(what);
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    state: Mutex<State>,
    /// Somebody waits for whatever changed.
    pub(super) changed: Notify,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    started: Instant,
    epoch: u64,
}

impl Shared {
    pub(super) fn new(options: Options, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let state = State { queue: Queue::new(options.first_update), ..State::default() };
        Self {
            options,
            state: Mutex::new(state),
            changed: Notify::new(),
            tasks,
            stop,
            started: Instant::now(),
            epoch,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Changes the state and wakes whoever waits.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State, Moment) -> T) -> T {
        let mut state = self.state.lock();
        let now = self.started.elapsed() + state.shift;
        let done = change(&mut state, now);
        drop(state);
        self.changed.notify_waiters();
        done
    }

    pub(super) fn now(&self) -> Moment {
        self.started.elapsed() + self.state.lock().shift
    }

    /// When it started.
    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    /// Unix seconds of a moment.
    pub(super) fn unix(&self, at: Moment) -> u64 {
        self.epoch + at.as_secs()
    }

    /// The bot as a user.
    pub(super) fn bot(&self) -> Value {
        let Options { bot_id, bot_name, bot_username, .. } = &self.options;
        json!({"id": bot_id, "is_bot": true, "first_name": bot_name, "username": bot_username})
    }
}
