//! A strict double of the Telegram Bot API on loopback. It refuses what the real server refuses, in its words, keeps
//! updates as it does, and has every fault that the real one has. It is an opponent: it notes each call that a careful
//! bot would not make. Invariant: it shares no code with the product; nothing is done for a call that is refused.
//!
//! Source: `table.txt` (Bot API 10.1) for parameters and types, the published server and its library for behaviour and
//! wording. Not imitated, and named when used: HTML and old Markdown, inline mode, business accounts, rich messages.

mod control;
mod entities;
mod fault;
mod http;
mod keyboard;
mod markdown;
mod messages;
mod methods;
mod params;
mod people;
mod poll;
mod push;
mod queue;
mod rates;
mod records;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod webhook;

pub use fault::{Fault, Reset, Rule};
pub use markdown::{MARKDOWN_VECTORS, markdown_v2};
pub use people::{Access, Group, Incoming, Kind, Person, Pushed};
pub use records::{Action, Answered, Call, Deleted, Document, Draft, Edited, Menu, Reaction, Sent};

use state::{Shared, State};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Whether its own counters count messages and edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rates {
    /// They do not.
    Off,
    /// With the slack that the real ones have: short bursts in a chat, twice the sums.
    Lenient,
    /// To the message; arrivals up to 60 ms early count as the network's doing.
    Exact,
}

/// What the counters allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages in any second, to all chats together.
    pub global_per_sec: usize,
    /// Pause between two messages of a chat.
    pub chat_interval: Duration,
    /// Messages in any minute, to one group.
    pub group_per_min: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { global_per_sec: 30, chat_interval: Duration::from_secs(1), group_per_min: 20 }
    }
}

/// How the double is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port on loopback; 0: any.
    pub port: u16,
    /// The bot's number, the first half of its token.
    pub bot_id: i64,
    /// The second half.
    pub bot_secret: String,
    /// What it calls itself.
    pub bot_name: String,
    /// Without the `@`.
    pub bot_username: String,
    /// Whether it counts.
    pub rates: Rates,
    /// What it allows.
    pub limits: Limits,
    /// How long a press of a button can be answered.
    pub answer_within: Duration,
    /// Whether a webhook may be plain HTTP on any port of loopback.
    pub loopback_webhooks: bool,
    /// The wait after the first delivery that failed; it doubles.
    pub webhook_retry: Duration,
    /// The first update's number.
    pub first_update: i64,
    /// How long each call takes beyond its own work; `getUpdates` waits by itself.
    pub latency: Duration,
    /// How long [`Telegram::until`] waits for what never comes.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            bot_id: 7_000_000_001,
            bot_secret: "made-up-token-for-tests-only-00000000".into(),
            bot_name: "Portcullis".into(),
            bot_username: "portcullis_test_bot".into(),
            rates: Rates::Lenient,
            limits: Limits::default(),
            answer_within: Duration::from_secs(15),
            loopback_webhooks: true,
            webhook_retry: Duration::from_secs(1),
            first_update: 430_000_001,
            latency: Duration::ZERO,
            patience: Duration::from_secs(20),
        }
    }
}

impl Options {
    /// The bot's token.
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}:{}", self.bot_id, self.bot_secret)
    }
}

/// The running double; it stops on `Drop`.
#[derive(Debug)]
pub struct Telegram {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// None: another one's end ends this one too.
    _ends: Option<DropGuard>,
}

impl Telegram {
    /// A double on any port, with lenient counters, that delivers webhooks on loopback.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// A double set up so.
    ///
    /// # Panics
    /// When the port is taken.
    pub async fn with(options: Options) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await.expect("loopback has the port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let ends = Some(stop.clone().drop_guard());
        let shared = Arc::new(Shared::new(options, tasks.clone(), stop));
        tasks.spawn(http::accept(listener, address, Arc::clone(&shared)));
        tasks.spawn(webhook::deliver(Arc::clone(&shared)));
        Self { shared, address, _ends: ends }
    }

    /// `http://127.0.0.1:PORT`: methods are at `{base}/bot<token>/<method>`, files at `{base}/file/bot<token>/<path>`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The token of the one bot it knows.
    #[must_use]
    pub fn token(&self) -> String {
        self.shared.options.token()
    }

    /// How it was set up.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// A proxy in front of the bot: webhooks at this host over HTTPS go to that address in plain HTTP, as behind a
    /// reverse proxy that ends TLS.
    pub fn proxy(&self, host: &str, to: SocketAddr) {
        self.shared.change(|state, _now| state.proxies.insert(host.to_owned(), to.to_string()));
    }

    /// Adds a fault; the first that matches a call is taken.
    pub fn fault(&self, rule: Rule) {
        let left = rule.times;
        self.shared.change(|state, _now| state.rules.push(fault::Live { rule, left }));
    }

    /// Takes all faults back, met or not.
    pub fn no_faults(&self) {
        self.shared.change(|state, _now| state.rules.clear());
    }

    /// Moves its clock: updates expire, waits end.
    pub fn advance(&self, by: Duration) {
        self.shared.change(|state, _now| state.shift += by);
    }

    /// The next update has that number, as after a week of silence.
    pub fn restart_updates_at(&self, next: i64) {
        self.shared.change(|state, _now| state.queue.restart(next));
    }

    /// Another instance of the bot asks for updates: the poll that waits ends with 409. False: none waited.
    #[must_use]
    pub fn rival_polls(&self) -> bool {
        self.shared.change(|state, _now| poll::end(state, poll::OTHER))
    }

    /// Somebody sets another webhook for this bot, behind its back.
    pub fn rival_sets_webhook(&self, url: &str) {
        let mut values = serde_json::Map::new();
        values.insert("url".into(), url.into());
        values.insert("drop_pending_updates".into(), false.into());
        self.shared.change(|state, now| {
            state.next_set_webhook = now;
            let files = std::collections::BTreeMap::new();
            let mut work = methods::Work {
                shared: &self.shared,
                state,
                now,
                values: &values,
                files: &files,
                rival: true,
            };
            if let Err(refusal) = webhook::set(&mut work) {
                panic!("the rival's webhook is refused: {}", refusal.description);
            }
        });
    }

    /// The same double for those who serve it.
    const fn handle(shared: Arc<Shared>, address: SocketAddr) -> Self {
        Self { shared, address, _ends: None }
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.shared.lock())
    }

    /// The bot's messages, oldest first, each with its edits and its end.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.read(|state| state.sent.clone())
    }

    /// How many there are, without a copy of them.
    #[must_use]
    pub fn sent_so_far(&self) -> usize {
        self.read(|state| state.sent.len())
    }

    /// Those of one chat.
    #[must_use]
    pub fn sent_to(&self, chat: i64) -> Vec<Sent> {
        self.read(|state| state.sent.iter().filter(|sent| sent.chat == chat).cloned().collect())
    }

    /// All edits, oldest first.
    #[must_use]
    pub fn edits(&self) -> Vec<Edited> {
        self.read(|state| state.edits.clone())
    }

    /// All deletions, oldest first.
    #[must_use]
    pub fn deletions(&self) -> Vec<Deleted> {
        self.read(|state| state.deletions.clone())
    }

    /// All answers to presses, oldest first.
    #[must_use]
    pub fn answers(&self) -> Vec<Answered> {
        self.read(|state| state.answers.clone())
    }

    /// All chat actions, oldest first.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        self.read(|state| state.actions.clone())
    }

    /// All drafts, oldest first.
    #[must_use]
    pub fn drafts(&self) -> Vec<Draft> {
        self.read(|state| state.drafts.clone())
    }

    /// All reactions, oldest first.
    #[must_use]
    pub fn reactions(&self) -> Vec<Reaction> {
        self.read(|state| state.reactions.clone())
    }

    /// All lists of commands that were set, oldest first.
    #[must_use]
    pub fn menus(&self) -> Vec<Menu> {
        self.read(|state| state.menus.clone())
    }

    /// Every call, oldest first, also refused ones.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.read(|state| state.calls.clone())
    }

    /// The calls of one method.
    #[must_use]
    pub fn calls_of(&self, method: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.method == method).collect()
    }

    /// Updates that are not confirmed.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.read(|state| state.queue.len())
    }

    /// Whether a long poll waits now.
    #[must_use]
    pub fn polled(&self) -> bool {
        self.read(|state| state.poll.is_some())
    }

    /// The address of the webhook.
    #[must_use]
    pub fn webhook(&self) -> Option<String> {
        self.read(|state| state.webhook.as_ref().map(|webhook| webhook.url().to_owned()))
    }

    /// What a careful bot would not have done, and faults that nobody met.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.read(State::all_violations)
    }

    /// Forgets the violations so far; gives them.
    pub fn forgive(&self) -> Vec<String> {
        self.shared.change(|state, _now| {
            state.said.clear();
            std::mem::take(&mut state.violations)
        })
    }

    /// Waits until something holds of the double; looks again after each change.
    ///
    /// # Panics
    /// When it does not come to hold within the patience of its options; says what was sent and called.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        let patience = self.shared.options.patience;
        if tokio::time::timeout(patience, waiting).await.is_err() {
            let texts: Vec<String> = self.sent().iter().map(|sent| sent.shown().to_owned()).collect();
            let calls: Vec<String> =
                self.calls().iter().rev().take(20).map(|call| format!("{call:?}")).collect();
            panic!("{what}: not within {patience:?}.\nsent: {texts:#?}\nlast calls: {calls:#?}");
        }
    }

    /// Waits until so many messages arrived in a chat; gives them all.
    ///
    /// # Panics
    /// When they do not come within the patience of its options.
    pub async fn sent_count(&self, chat: i64, count: usize) -> Vec<Sent> {
        let what = format!("{count} messages in chat {chat}");
        let so_far = |state: &State| state.sent.iter().filter(|sent| sent.chat == chat).count();
        self.until(&what, |double| double.read(so_far) >= count).await;
        self.sent_to(chat)
    }
}
