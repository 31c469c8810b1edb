//! The door of the messenger Signal, through a running signal-cli. What comes is kept before anything else, worked off
//! in order, and answered through an outbox: a daemon that dies, a stream that freezes and a process that is killed
//! lose nothing and double nothing. This module wires; `stream` reads, `taking` keeps, `desk` answers and sends.
//!
//! Source: ask.md sections 1 to 3, 9 and 10; S2-2.5.

mod config;
mod daemon;
mod desk;
mod envelope;
mod guests;
mod letter;
mod people;
mod post;
mod probe;
mod read;
mod send;
mod stream;
mod taking;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

pub use config::{Daemon, ReceiveMode, SignalConfig, Transport};
pub use probe::{Probe, ProbeError, Status};

use desk::Desk;
use people::People;
use portcullis_domain::Door;
use portcullis_engine::{
    FindEngine,
    messages::{ChatDoors, Inbox, MessagesConfig, Notices, Outbox, Pace, Unconfirmed},
    words::Words,
};
use portcullis_resilience::http::Client;
use portcullis_store::{Store, StoreError};
use portcullis_telemetry::{Alerts, Audit, Health, Metrics};
use secrecy::{ExposeSecret as _, SecretString};
use std::{sync::Arc, time::Duration};
use stream::{Stream, Timing};
use taking::Taking;
use tokio::time::interval;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wire::{Target, Wire};

/// Shortest passphrase, in characters.
const PASSPHRASE_CHARS: usize = 8;
/// How often the moments of last messages are kept.
const FLUSH: Duration = Duration::from_secs(30);

/// What the door is built from.
pub struct Parts {
    /// `[signal]`.
    pub config: SignalConfig,
    /// `[messages]`.
    pub messages: MessagesConfig,
    /// Our own number.
    pub account: SecretString,
    /// The passphrase; none or empty: everybody may ask.
    pub passphrase: Option<SecretString>,
    /// The way in, as it is when a message comes.
    pub engine: FindEngine,
    /// Where it says that it is open.
    pub doors: ChatDoors,
    /// Where messages are kept.
    pub store: Store,
    /// The client for calls.
    pub client: Client,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Where it says how it is, as component `signal_cli`.
    pub health: Health,
    /// Whom it tells.
    pub alerts: Alerts,
    /// Where it is proved.
    pub audit: Audit,
    /// What a started daemon sees of the environment.
    pub environment: Vec<(String, String)>,
}

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// Secrets that cannot be used.
    #[error("{0}")]
    Secret(String),
    /// The address does not fit the transport.
    #[error("signal.url does not fit signal.transport")]
    Url,
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the door: from now on messages are answered, until `stop`. What is under way then is ended.
///
/// # Errors
/// [`SignalError`]; nothing runs.
pub async fn open(parts: Parts, tasks: &TaskTracker, stop: CancellationToken) -> Result<(), SignalError> {
    let Parts {
        config,
        messages,
        account,
        passphrase,
        engine,
        doors,
        store,
        client,
        metrics,
        health,
        alerts,
        audit,
        environment,
    } = parts;
    let target = Target::parse(config.transport, &config.url).ok_or(SignalError::Url)?;
    check_passphrase(&config, passphrase.as_ref())?;
    let account = account.expose_secret().trim().to_owned();
    let patience = Duration::from_secs(config.rpc_secs);
    let wire = Wire::new(target, account.clone(), client, patience, tasks.clone());
    let people =
        People::open(&config, passphrase.as_ref(), store.clone(), metrics.clone(), alerts.clone()).await?;
    let people = Arc::new(people);
    let pace = Pace::even(Duration::from_millis(config.send_interval_ms), config.send_per_sec);
    let outbox = Outbox::new(Door::Signal, store.clone(), messages.clone(), metrics.clone(), pace);
    let desk = Arc::new(Desk {
        wire: wire.clone(),
        people: people.clone(),
        engine,
        words: Words::new(),
        config: config.clone(),
        messages: messages.clone(),
        store: store.clone(),
        outbox: outbox.clone(),
        metrics: metrics.clone(),
        alerts: alerts.clone(),
        audit,
        memory: parking_lot::Mutex::default(),
        notices: Notices::default(),
        unconfirmed: Unconfirmed::new(store.clone(), Door::Signal, messages.unconfirmed),
    });
    doors.add(desk.clone(), outbox.clone());
    let inbox = Inbox::new(desk.clone(), store.clone(), messages, metrics.clone(), outbox.clone());
    let taking = Arc::new(Taking {
        account,
        people: people.clone(),
        desk: desk.clone(),
        inbox: inbox.clone(),
        store,
        metrics: metrics.clone(),
        alerts: alerts.clone(),
    });
    let stream = Stream {
        wire,
        timing: Timing::of(&config),
        receive_mode: config.receive_mode,
        taking,
        metrics,
        health: health.component("signal_cli"),
        alerts: alerts.clone(),
        tasks: tasks.clone(),
    };
    // Streams carry the answers of calls: they end after the last call.
    let last = CancellationToken::new();
    if config.daemon == Daemon::Spawn {
        tasks.spawn(daemon::supervise(config.command, environment, alerts, last.clone()));
    }
    tasks.spawn(stream.run(last.clone()));
    tasks.spawn(async move {
        tokio::join!(inbox.run(stop.clone()), outbox.run(desk, stop.clone()), keep(&people, &stop));
        people.flush().await;
        last.cancel();
    });
    Ok(())
}

/// Writes down again and again who was heard of, until `stop`.
async fn keep(people: &People, stop: &CancellationToken) {
    let mut tick = interval(FLUSH);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        people.flush().await;
    }
}

/// A passphrase that can be guessed is worse than none that is known to be none.
fn check_passphrase(config: &SignalConfig, passphrase: Option<&SecretString>) -> Result<(), SignalError> {
    let length = passphrase.map_or(0, |secret| secret.expose_secret().trim().chars().count());
    if (1..PASSPHRASE_CHARS).contains(&length) {
        let name = &config.activation_secret;
        let told =
            format!("the secret {name} has {length} characters; a passphrase needs {PASSPHRASE_CHARS}");
        return Err(SignalError::Secret(told));
    }
    Ok(())
}
