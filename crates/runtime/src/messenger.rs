//! Opens the chat doors that the settings ask for. Invariant: they are opened last, when everything behind them stands,
//! and end with the other doors.

use crate::{Secrets, Settings, settings::Sources, start::StartError};
use portcullis_channels::signal::{self, FindEngine};
use portcullis_engine::messages::ChatDoors;
use portcullis_resilience::http::Client;
use portcullis_store::Store;
use portcullis_telemetry::{Alerts, Audit, Health, Metrics};
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
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) alerts: Alerts,
    pub(crate) audit: Audit,
}

/// Opens them.
///
/// # Errors
/// A secret that is missing or too short; a store that is away.
pub(crate) async fn open(
    ground: Ground<'_>,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let config = &ground.settings.signal;
    if !config.enabled {
        return Ok(());
    }
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
