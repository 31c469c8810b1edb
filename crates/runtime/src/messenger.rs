//! Opens the chat doors that the settings ask for. Invariant: they are opened last, when everything behind them stands,
//! and end with the other doors.

use crate::{
    Secrets, Settings,
    secrets::{OwnKeys, WEBHOOK_KEY},
    settings::Sources,
    start::StartError,
};
use portcullis_apps::news;
use portcullis_channels::{http::Hooks, signal, telegram};
use portcullis_domain::{Action, LibraryRequest, MessageRequest, Payload};
use portcullis_engine::{
    FindEngine,
    messages::{ChatDoors, Command, Commands},
};
use portcullis_resilience::{Registry, http::Client};
use portcullis_store::Store;
use portcullis_telemetry::{Alerts, Audit, Health, Metrics};
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a started signal-cli sees of our environment: what Java needs, and none of our secrets.
const PASSED_ON: [&str; 8] =
    ["PATH", "HOME", "JAVA_HOME", "JAVA_OPTS", "SIGNAL_CLI_OPTS", "LANG", "TZ", "XDG_DATA_HOME"];

/// What chat doors stand on.
pub(crate) struct Ground<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) secrets: &'a Secrets,
    pub(crate) sources: Option<&'a Sources>,
    pub(crate) engine: FindEngine,
    pub(crate) doors: ChatDoors,
    pub(crate) hooks: Hooks,
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) registry: Registry,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) alerts: Alerts,
    pub(crate) audit: Audit,
}

/// Opens them.
///
/// # Errors
/// A secret that is missing or cannot be used; a store that is away.
pub(crate) async fn open(
    ground: Ground<'_>,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), StartError> {
    if ground.settings.telegram.enabled {
        open_telegram(&ground, tasks, stop.clone())?;
    }
    if ground.settings.signal.enabled {
        open_signal(ground, tasks, stop).await?;
    }
    Ok(())
}

async fn open_signal(
    ground: Ground<'_>,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let config = &ground.settings.signal;
    let name = &config.account_secret;
    let account = ground.secrets.get(name).ok_or_else(|| {
        StartError::Settings(format!(
            "the secret `{name}` (`signal.account_secret`) is in none of the sources. Mend: give it the number that \
             signal-cli is linked to, or set `signal.enabled = false`"
        ))
    })?;
    let passphrase = match config.activation_secret.as_str() {
        "" => None,
        name => Some(ground.secrets.get(name).ok_or_else(|| {
            StartError::Settings(format!(
                "the secret `{name}` (`signal.activation_secret`) is in none of the sources, so anybody could ask. \
                 Mend: give it, or set `signal.activation_secret = \"\"` if anybody may"
            ))
        })?),
    };
    let variable = |name: &str| {
        let value = ground.sources.and_then(|sources| sources.environment.get(name))?;
        Some((name.to_owned(), value))
    };
    let parts = signal::Parts {
        config: config.clone(),
        messages: ground.settings.messages.clone(),
        account,
        passphrase,
        engine: ground.engine,
        doors: ground.doors,
        store: ground.store,
        client: ground.client,
        metrics: ground.metrics,
        health: ground.health,
        alerts: ground.alerts,
        audit: ground.audit,
        environment: PASSED_ON.into_iter().filter_map(variable).collect(),
    };
    signal::open(parts, tasks, stop)
        .await
        .map_err(|error| StartError::Settings(format!("the Signal door cannot be opened: {error}")))
}

fn open_telegram(
    ground: &Ground<'_>,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let config = &ground.settings.telegram;
    let name = &config.token_secret;
    let token = ground.secrets.get(name).ok_or_else(|| {
        StartError::Settings(format!(
            "the secret `{name}` (`telegram.token_secret`) is in none of the sources. Mend: give it the token that \
             BotFather shows, or set `telegram.enabled = false`"
        ))
    })?;
    let parts = telegram::Parts {
        config: config.clone(),
        messages: ground.settings.messages.clone(),
        webhook_secret: webhook_secret(ground, &token)?,
        token,
        engine: ground.engine.clone(),
        commands: commands(),
        doors: ground.doors.clone(),
        hooks: ground.hooks.clone(),
        store: ground.store.clone(),
        client: ground.client.clone(),
        registry: ground.registry.clone(),
        metrics: ground.metrics.clone(),
        health: ground.health.clone(),
        alerts: ground.alerts.clone(),
    };
    telegram::open(parts, tasks, stop)
        .map_err(|error| StartError::Settings(format!("the Telegram door cannot be opened: {error}")))
}

/// Given under the name that the settings say, else our own. Replicas over one database have the token in common: what
/// each of them made alone would turn away what Telegram brings to it.
fn webhook_secret(ground: &Ground<'_>, token: &SecretString) -> Result<SecretString, StartError> {
    if let Some(given) = ground.secrets.get(&ground.settings.telegram.webhook_secret) {
        return Ok(given);
    }
    if ground.store.kind() == "sqlite" {
        return Ok(OwnKeys::new(&ground.settings.data_dir).get(WEBHOOK_KEY, ground.secrets)?);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose_secret().trim().as_bytes());
    let tag = hmac::sign(&key, b"portcullis: telegram webhook secret");
    Ok(tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
}

/// Commands of other apps than news: the name, and what it does in English, Russian and Dutch.
pub(crate) const BESIDE: [(&str, [&str; 3]); 2] = [
    ("ask", ["Ask the documents", "Спросить документы", "Vraag het de documenten"]),
    ("chat", ["Ask the model", "Спросить модель", "Vraag het het model"]),
];

/// What chat doors with commands route; words that are no command are news's, as most commands are.
fn commands() -> Commands {
    let library: fn(MessageRequest) -> Payload = |message| Payload::Library(LibraryRequest::Message(message));
    let command = |name, about, payload| Command {
        name,
        about,
        admin: false,
        beside: true,
        action: Action::Message,
        payload,
    };
    let [(ask, about_ask), (chat, about_chat)] = BESIDE;
    let mut commands = news::commands();
    commands.listed.extend([command(ask, about_ask, library), command(chat, about_chat, telegram::chat)]);
    commands
}
