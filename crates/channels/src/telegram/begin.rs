//! What is settled with Telegram before messages are read: who we are, that nobody else set a webhook, and which
//! commands are listed. Invariants: a webhook of somebody else is removed or replaced only where the settings say so;
//! waiting updates are never dropped; a wrong token closes this door and no other.
//!
//! Source: news.md section 2; Bot API, "getMe", "setWebhook", "setMyCommands".

use super::{
    api::{Api, ApiError},
    config::Mode,
    desk::Desk,
    poll::KINDS,
    post::TOKEN_REFUSED,
    update::Me,
};
use portcullis_engine::{messages::now_ms, words::Tongue};
use portcullis_telemetry::{AlertCategory, HealthState};
use ring::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How long a door waits that has a wrong token, or meets a webhook of somebody else.
const CLOSED: Duration = Duration::from_secs(300);
/// How often Telegram is asked how the webhook does.
pub(super) const LOOK: Duration = Duration::from_secs(300);
/// A webhook of somebody else is removed or replaced once within this time: two programs that both insist would go on
/// for ever.
const INSIST: Duration = Duration::from_secs(600);
/// Most commands that are listed.
const COMMANDS: usize = 100;

/// Why the door cannot open now.
pub(super) struct Trouble {
    pub(super) state: HealthState,
    pub(super) told: String,
    /// When it is tried again; none: after the usual pause.
    pub(super) wait: Option<Duration>,
}

/// Our webhook.
#[derive(Clone)]
pub(super) struct Hook {
    pub(super) url: String,
    pub(super) secret: SecretString,
}

/// Below the address of our main listener, a path that tells nothing of the bot: `/telegram/<16 hex>`.
pub(super) fn path(bot: i64) -> String {
    let hash = digest(&SHA256, format!("portcullis: telegram bot {bot}").as_bytes());
    let hex: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("/telegram/{hex}")
}

/// What is settled.
pub(super) struct Begin {
    pub(super) api: Api,
    pub(super) desk: Arc<Desk>,
    /// In webhook mode.
    pub(super) hook: Option<Hook>,
}

impl Begin {
    pub(super) async fn run(&self) -> Result<(), Trouble> {
        let told = self.ask("getMe", &json!({})).await?;
        let name = told["username"].as_str().unwrap_or_default().to_owned();
        let me = Me { id: told["id"].as_i64().unwrap_or_else(|| self.api.bot_id()), name };
        self.desk.me.store(Arc::new(me));
        self.desk.alerts.resolve(AlertCategory::Telegram, "token", "Telegram takes the token again");
        self.settle_webhook().await?;
        self.list_commands().await
    }

    /// Looks at a webhook of ours; mends what is lost.
    pub(super) async fn look(&self) -> Result<(), Trouble> {
        let info = self.ask("getWebhookInfo", &json!({})).await?;
        self.desk.metrics.telegram_pending().set(info["pending_update_count"].as_i64().unwrap_or_default());
        let url = info["url"].as_str().unwrap_or_default();
        match &self.hook {
            Some(hook) if url == hook.url => Ok(()),
            Some(_) | None => Err(Trouble {
                state: HealthState::Degraded,
                told: "the webhook is not ours any more".into(),
                wait: None,
            }),
        }
    }

    async fn settle_webhook(&self) -> Result<(), Trouble> {
        let info = self.ask("getWebhookInfo", &json!({})).await?;
        self.desk.metrics.telegram_pending().set(info["pending_update_count"].as_i64().unwrap_or_default());
        let url = info["url"].as_str().unwrap_or_default();
        let config = &self.desk.config;
        let ours = self.hook.as_ref().is_some_and(|hook| hook.url == url);
        if !url.is_empty() && !ours && !config.take_over {
            let told = "somebody else set a webhook for this bot; set telegram.take_over = true to remove it";
            self.desk.alerts.raise(AlertCategory::Telegram, "webhook", told);
            return Err(Trouble { state: HealthState::Unhealthy, told: told.into(), wait: Some(CLOSED) });
        }
        if !url.is_empty() && !ours {
            self.take_over().await?;
        }
        match (&self.hook, config.mode) {
            (Some(hook), Mode::Webhook) => {
                // Also where it is set already: its secret may be another one now.
                let params = json!({"url": hook.url, "secret_token": hook.secret.expose_secret(),
                    "max_connections": config.webhook_max_connections, "allowed_updates": KINDS});
                self.ask("setWebhook", &params).await?;
            }
            (_, Mode::Poll) | (None, Mode::Webhook) if !url.is_empty() => {
                self.ask("deleteWebhook", &json!({"drop_pending_updates": false})).await?;
            }
            (_, Mode::Poll) | (None, Mode::Webhook) => {}
        }
        for what in ["webhook", "webhook_again"] {
            self.desk.alerts.resolve(AlertCategory::Telegram, what, "the webhook of the bot is in order");
        }
        Ok(())
    }

    /// Whether a webhook of somebody else may be removed now; it is noted that it is, for every replica and start.
    async fn take_over(&self) -> Result<(), Trouble> {
        let name = format!("telegram/{}/taken_over", self.api.bot_id());
        let away = |_| Trouble {
            state: HealthState::Degraded,
            told: "the store is away, so the webhook of somebody else stays".into(),
            wait: None,
        };
        let now = now_ms();
        let last =
            self.desk.store.note(&name).await.map_err(away)?.and_then(|(_, at)| at.parse::<i64>().ok());
        let passed = last.map(|at| Duration::from_millis(u64::try_from(now - at).unwrap_or_default()));
        if let Some(wait) =
            passed.and_then(|passed| INSIST.checked_sub(passed)).filter(|wait| !wait.is_zero())
        {
            let told = "somebody else set a webhook for this bot again, so another program uses its token; ours is set \
                        anew in at most ten minutes";
            self.desk.alerts.raise(AlertCategory::Telegram, "webhook_again", told);
            return Err(Trouble { state: HealthState::Unhealthy, told: told.into(), wait: Some(wait) });
        }
        tracing::warn!("a webhook that somebody else set for this bot is taken over");
        self.desk.store.note_text(&name, &now.to_string()).await.map_err(away)
    }

    /// Tells Telegram the commands of each language, where they changed.
    async fn list_commands(&self) -> Result<(), Trouble> {
        let lists = Tongue::ALL.map(|tongue| self.commands(tongue));
        let text = serde_json::to_string(&lists).unwrap_or_default();
        let hash: String =
            digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("telegram/{}/commands", self.api.bot_id());
        let known = self.desk.store.note(&name).await.ok().flatten();
        if known.is_some_and(|(_, known)| known == hash) {
            return Ok(());
        }
        for (tongue, list) in Tongue::ALL.into_iter().zip(&lists) {
            let mut params = json!({"commands": list});
            // Without a language: for all that have no list.
            if tongue != Tongue::En {
                params["language_code"] = json!(tongue.as_str());
            }
            self.ask("setMyCommands", &params).await?;
        }
        if let Err(error) = self.desk.store.note_text(&name, &hash).await {
            tracing::debug!(%error, "the commands are listed again at the next start");
        }
        Ok(())
    }

    fn commands(&self, tongue: Tongue) -> Vec<Value> {
        let listed = self.desk.commands.listed.iter().filter(|command| !command.admin);
        let named = listed.map(|command| (command.name, command.about[tongue as usize]));
        let told = named.filter(|(_, about)| !about.is_empty());
        told.map(|(name, about)| json!({"command": name, "description": about})).take(COMMANDS).collect()
    }

    async fn ask(&self, method: &str, params: &Value) -> Result<Value, Trouble> {
        match self.api.call(method, params).await {
            Ok(told) => Ok(told),
            Err(error) if error.is_token() => {
                tracing::error!("{TOKEN_REFUSED}");
                self.desk.alerts.raise(AlertCategory::Telegram, "token", TOKEN_REFUSED);
                let told = "failed: the token of the bot is refused".into();
                Err(Trouble { state: HealthState::Unhealthy, told, wait: Some(CLOSED) })
            }
            Err(ApiError::Refused { code: 429, retry_after, .. }) => Err(Trouble {
                state: HealthState::Degraded,
                told: "Telegram asks for a pause".into(),
                wait: retry_after.map(Duration::from_secs),
            }),
            Err(error) => {
                tracing::warn!(%error, method, "the door of Telegram cannot open yet");
                let told = format!("Telegram is not reached: {error}");
                Err(Trouble { state: HealthState::Degraded, told, wait: None })
            }
        }
    }
}
