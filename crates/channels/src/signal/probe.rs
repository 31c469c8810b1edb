//! Asks signal-cli something from the command line, beside a door that may be running. Invariant: never listens, so
//! that no message comes to a process that would not answer it.

use super::{
    config::{SignalConfig, Transport},
    wire::{RpcError, Target, Wire},
};
use portcullis_resilience::http::Client;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// Why signal-cli was not asked, or did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A socket would take messages from the running door.
    #[error(
        "this works over HTTP only: on a socket signal-cli would hand waiting messages to this command. Run signal-cli with --http too, and set signal.transport = \"http\" for this command"
    )]
    Socket,
    /// It is not there.
    #[error("signal-cli is not reached: {0}")]
    Away(String),
    /// It refused.
    #[error("signal-cli refused: {0}")]
    Refused(String),
}

/// How signal-cli is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Whether it has our account.
    pub linked: bool,
}

/// Asks signal-cli.
pub struct Probe(Wire);

impl Probe {
    /// Ready to ask.
    ///
    /// # Errors
    /// [`ProbeError::Socket`].
    pub fn new(config: &SignalConfig, account: &str, client: Client) -> Result<Self, ProbeError> {
        if config.transport != Transport::Http {
            return Err(ProbeError::Socket);
        }
        let target = Target::parse(config.transport, &config.url).ok_or(ProbeError::Socket)?;
        let patience = Duration::from_secs(config.rpc_secs);
        Ok(Self(Wire::new(target, account.trim().to_owned(), client, patience, TaskTracker::new())))
    }

    /// How it is.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub async fn status(&self) -> Result<Status, ProbeError> {
        let version = self.0.call("version", json!({})).await.map_err(told)?;
        let accounts = self.0.call("listAccounts", json!({})).await.map_err(told)?;
        let own = self.0.account();
        let linked = accounts.as_array().is_some_and(|all| all.iter().any(|one| one["number"] == own));
        Ok(Status { version: version["version"].as_str().unwrap_or_default().into(), linked })
    }

    /// Proves to Signal that a human is here.
    ///
    /// # Errors
    /// [`ProbeError`]; a captcha that Signal rejects is [`ProbeError::Refused`].
    pub async fn challenge(&self, token: &str, captcha: &str) -> Result<(), ProbeError> {
        let params = json!({"challenge": token, "captcha": captcha});
        self.0.call_for_account("submitRateLimitChallenge", params).await.map(drop).map_err(told)
    }
}

fn told(error: RpcError) -> ProbeError {
    match error {
        RpcError::NotSent(why) => ProbeError::Away(why),
        RpcError::Unknown => ProbeError::Away("it does not answer".into()),
        RpcError::Daemon { code: -6, .. } => {
            ProbeError::Refused("the captcha was rejected; solve a new one and try again at once".into())
        }
        RpcError::Daemon { message, code, .. } => ProbeError::Refused(format!("{message} ({code})")),
    }
}
