//! The door of the messenger Telegram, through its Bot API. What comes is kept before anything else and before Telegram
//! is told to forget it, worked off in order, and answered through an outbox that paces: a connection that breaks, a
//! server that repeats itself and a process that is killed lose nothing and double nothing. This module wires; `poll`
//! reads, `taking` keeps, `desk` answers, `post` sends.
//!
//! Source: news.md sections 1, 2, 8, 9 and 13; Bot API 10.1.

mod api;
mod begin;
mod config;
mod desk;
mod groups;
mod letter;
mod marks;
mod markup;
mod meant;
mod parts;
mod poll;
mod post;
mod progress;
mod send;
mod sights;
mod stream;
mod taking;
#[cfg(test)]
mod tests;
mod update;
mod webhook;

pub use config::{Allow, Everybody, Mode, SendConfig, TelegramConfig, TextFormat};
pub use stream::chat;
pub(crate) use webhook::Webhook;

use crate::http::Hooks;
use api::Api;
use arc_swap::ArcSwap;
use begin::{Begin, Hook};
use desk::Desk;
use parking_lot::Mutex;
use poll::Poller;
use portcullis_domain::Door;
use portcullis_engine::{
    FindEngine,
    messages::{ChatDoors, Commands, Inbox, MessagesConfig, Notices, Outbox, Pace, Unconfirmed},
    words::Words,
};
use portcullis_resilience::{Registry, http::Client};
use portcullis_store::Store;
use portcullis_telemetry::{Alerts, Health, Metrics};
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};
use taking::Taking;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the door is built from.
pub struct Parts {
    /// `[telegram]`.
    pub config: TelegramConfig,
    /// `[messages]`.
    pub messages: MessagesConfig,
    /// The token of the bot.
    pub token: SecretString,
    /// By what Telegram is recognised when it brings messages.
    pub webhook_secret: SecretString,
    /// The way in, as it is when a message comes.
    pub engine: FindEngine,
    /// What the apps behind this door understand.
    pub commands: Commands,
    /// Where it says that it is open.
    pub doors: ChatDoors,
    /// Where it says that updates are brought to it.
    pub hooks: Hooks,
    /// Where messages are kept.
    pub store: Store,
    /// The client for calls.
    pub client: Client,
    /// Where the guarded dependency `telegram` is registered.
    pub registry: Registry,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Where it says how it is, as component `telegram`.
    pub health: Health,
    /// Whom it tells.
    pub alerts: Alerts,
}

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TelegramError {
    /// The address of the Bot API is none.
    #[error("telegram.api_base is no http or https address")]
    Base,
    /// The token has not the form of one.
    #[error(
        "the secret {0} does not look like the token of a bot, which is a number, a colon and 30 or more characters"
    )]
    Token(String),
    /// The secret for webhooks has characters that Telegram does not take.
    #[error("the secret {0} must have 1 to 256 of A-Z a-z 0-9 _ -")]
    Secret(String),
}

/// Opens the door: from now on messages are answered, until `stop`. What is under way then is ended.
///
/// # Errors
/// [`TelegramError`]; nothing runs.
pub fn open(parts: Parts, tasks: &TaskTracker, stop: CancellationToken) -> Result<(), TelegramError> {
    let Parts {
        config,
        messages,
        token,
        webhook_secret,
        engine,
        commands,
        doors,
        hooks,
        store,
        client,
        registry,
        metrics,
        health,
        alerts,
    } = parts;
    check(&config, &token, &webhook_secret)?;
    let api = Api::new(&config, token, client, (&registry, &metrics, &alerts)).ok_or(TelegramError::Base)?;
    let bot = api.bot_id();
    let mark = format!("telegram/{bot}");
    let turn = (pace(&config), mark.clone());
    let outbox = Outbox::of_one(Door::Telegram, store.clone(), messages.clone(), metrics.clone(), turn);
    let component = health.component("telegram");
    let desk = Arc::new(Desk {
        api: api.clone(),
        me: ArcSwap::default(),
        engine,
        commands,
        words: Words::new(),
        config: config.clone(),
        messages: messages.clone(),
        store: store.clone(),
        outbox: outbox.clone(),
        metrics: metrics.clone(),
        alerts,
        tasks: tasks.clone(),
        groups: groups::Groups::default(),
        running: progress::Running::default(),
        crowd: Mutex::default(),
        presses: Mutex::default(),
        notices: Notices::default(),
        unconfirmed: Unconfirmed::new(store.clone(), Door::Telegram, messages.unconfirmed),
    });
    doors.add(desk.clone(), outbox.clone());
    let inbox = Inbox::new(desk.clone(), store, messages, metrics, outbox.clone());
    let taking = Arc::new(Taking { desk: desk.clone(), inbox: inbox.clone() });
    let hook = (config.mode == Mode::Webhook).then(|| {
        let path = begin::path(bot);
        hooks.open_telegram(Webhook {
            path: path.clone(),
            secret: webhook_secret.clone(),
            taking: taking.clone(),
        });
        Hook { url: format!("{}{path}", config.webhook_url.trim_end_matches('/')), secret: webhook_secret }
    });
    let poller = Poller {
        begin: Begin { api: api.clone(), desk: desk.clone(), hook },
        api,
        desk: desk.clone(),
        taking,
        health: component,
        mark,
    };
    tasks.spawn(work(poller, (inbox, outbox), desk, stop));
    Ok(())
}

/// Whether the secrets have the form that Telegram's have.
fn check(config: &TelegramConfig, token: &SecretString, webhook: &SecretString) -> Result<(), TelegramError> {
    use secrecy::ExposeSecret as _;
    if !is_token(token.expose_secret().trim()) {
        return Err(TelegramError::Token(config.token_secret.clone()));
    }
    if config.mode == Mode::Webhook && !is_secret(webhook.expose_secret()) {
        return Err(TelegramError::Secret(config.webhook_secret.clone()));
    }
    Ok(())
}

/// Reads, works and sends until `stop`, each in its turn, which is given back at the end.
async fn work(poller: Poller, (inbox, outbox): (Inbox, Outbox), desk: Arc<Desk>, stop: CancellationToken) {
    let (turn, end, sights) = (outbox.turn().clone(), CancellationToken::new(), desk.sights());
    let work = async {
        tokio::join!(
            poller.run(stop.clone()),
            inbox.run(stop.clone()),
            outbox.run(desk, stop.clone()),
            sights.tidy(&stop)
        );
        end.cancel();
    };
    tokio::join!(work, turn.keep(end.clone()));
}

fn pace(config: &TelegramConfig) -> Pace {
    Pace {
        chat_interval: Duration::from_millis(config.send.chat_interval_ms),
        per_sec: config.send.global_per_sec,
        reserve_per_sec: config.send.interactive_reserve_per_sec,
        group_per_min: Some(config.send.group_per_min),
        is_group: |chat| chat.starts_with("telegram:-"),
        warn_delay: Duration::from_secs(config.send.warn_delay_secs),
    }
}

/// A number, a colon, and 30 or more characters.
fn is_token(token: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    token.split_once(':').is_some_and(|(id, rest)| {
        id.parse::<i64>().is_ok_and(|id| id > 0) && rest.len() >= 30 && rest.chars().all(plain)
    })
}

fn is_secret(secret: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=256).contains(&secret.len()) && secret.bytes().all(plain)
}
