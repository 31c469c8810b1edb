//! How alerts reach webhooks: over the shared client, each receiver a guarded dependency of its own, so that a dead
//! one shows in health and is left alone for a while; and how they reach administrators in private, through the outbox of
//! their chat door. What is told, when and how often is telemetry's decision. Source: S2-3.7, news.md section 12.

use crate::{Secrets, start::StartError};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use portcullis_channels::{signal::SignalConfig, telegram::TelegramConfig};
use portcullis_domain::{Action, Deadline, Post as Message};
use portcullis_engine::messages::{ChatDoors, Sending, now_ms};
use portcullis_resilience::{
    CallCtx, CallError, Class, Dependency, DependencyPolicy, GuardConfig, Registry,
    breaker::BreakerPolicy,
    bulkhead::BulkheadPolicy,
    http::Client,
    pacing::{Learn, PacePolicy},
};
use portcullis_telemetry::{
    Alert, AlertReceiver, Alerts, AlertsConfig, Destination, Metrics, Post, deliver_alerts,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc::{Receiver, channel};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What delivery is built from.
pub(crate) struct Delivery<'a> {
    pub(crate) config: &'a AlertsConfig,
    pub(crate) secrets: &'a Secrets,
    pub(crate) client: &'a Client,
    pub(crate) registry: &'a Registry,
    pub(crate) metrics: &'a Metrics,
    pub(crate) alerts: &'a Alerts,
}

/// Delivers what is raised until `stop`; what is queued by then still goes out.
///
/// # Errors
/// A receiver whose address is in none of the secret sources.
pub(crate) fn deliver(
    parts: &Delivery<'_>,
    admins: Vec<Destination>,
    mut raised: Receiver<Alert>,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let receivers = parts.config.receivers.iter().enumerate();
    let mut destinations: Vec<Destination> =
        receivers.map(|(index, receiver)| destination(parts, index, receiver)).collect::<Result<_, _>>()?;
    destinations.extend(admins);
    // The reporting ends live all over the house and never all close: at the end of a drain the queue between is
    // closed instead.
    let (forward, alerts) = channel(parts.config.queue.max(1));
    drop(tasks.spawn(async move {
        while let Some(Some(alert)) = stop.run_until_cancelled(raised.recv()).await {
            if forward.send(alert).await.is_err() {
                return;
            }
        }
        while let Ok(alert) = raised.try_recv() {
            if forward.try_send(alert).is_err() {
                return;
            }
        }
    }));
    let (config, metrics, tracker) = (parts.config.clone(), parts.metrics.clone(), tasks.clone());
    drop(tasks.spawn(async move { deliver_alerts(alerts, &config, destinations, &tracker, &metrics).await }));
    Ok(())
}

fn destination(
    parts: &Delivery<'_>,
    index: usize,
    receiver: &AlertReceiver,
) -> Result<Destination, StartError> {
    let AlertReceiver::Webhook { url, url_secret } = receiver else { return Ok(Destination::Log) };
    let url =
        address(parts.secrets, url.as_deref(), url_secret.as_deref(), &format!("alerts.receivers[{index}]"))?;
    Ok(Destination::Webhook(webhook(parts, format!("alerts-{index}"), url)))
}

/// Each administrator of the chat doors, in private. A door that is not open yet, or does not come back, is no failure of the
/// others: the pauses between tries are those of every receiver.
pub(crate) fn administrators(
    telegram: &TelegramConfig,
    signal: &SignalConfig,
    chats: &ChatDoors,
) -> Vec<Destination> {
    let ids = telegram.admin_ids.iter().filter(|_| telegram.enabled).map(|id| format!("telegram:{id}"));
    let people = signal.admins.iter().filter(|_| signal.enabled).map(|one| format!("signal:{one}"));
    ids.chain(people).map(|to| administrator(to, chats.clone())).collect()
}

fn administrator(to: String, chats: ChatDoors) -> Destination {
    Destination::Webhook(Arc::new(move |body| {
        let (chats, to) = (chats.clone(), to.clone());
        Box::pin(async move {
            let how = Sending {
                caller: to.clone(),
                class: ALERT_CLASS,
                expires_at: now_ms().saturating_add(ALERT_LIFE_MS),
            };
            match chats.send(&to, &[Message::text(words(&body))], &how).await {
                Some(Ok(_)) => Ok(()),
                Some(Err(_)) => Err("the outbox does not take it".to_owned()),
                None => Err("the chat door is not open".to_owned()),
            }
        })
    }))
}

/// Of the outbox: behind replies and digests that somebody waits for, before what is scheduled.
const ALERT_CLASS: u8 = 2;
/// How long an alert is worth sending to a person, in milliseconds.
const ALERT_LIFE_MS: i64 = 6 * 3_600_000;

/// An alert as a message. Its text is for operators and was redacted where it was raised.
fn words(body: &Value) -> String {
    let text = |place: &Value| place.as_str().unwrap_or_default().to_owned();
    let (labels, notes) = (&body["commonLabels"], &body["commonAnnotations"]);
    let mark = if body["status"] == "resolved" { "✅" } else { "🚨" };
    let (name, subject, summary) =
        (text(&labels["alertname"]), text(&labels["subject"]), text(&notes["summary"]));
    let more = match text(&notes["suppressed"]).as_str() {
        "" | "0" => String::new(),
        before => format!(" (+{before})"),
    };
    portcullis_inspect::redact_outside(&format!("{mark} {name}: {subject}{more}\n{summary}")).into_owned()
}

/// The address of a receiver: said, or in a secret.
pub(crate) fn address(
    secrets: &Secrets,
    url: Option<&str>,
    url_secret: Option<&str>,
    key: &str,
) -> Result<SecretString, StartError> {
    match (url_secret, url) {
        (Some(name), _) => secrets.get(name).ok_or_else(|| {
            StartError::Settings(format!(
                "the secret `{name}` (`{key}.url_secret`) is in none of the sources. Mend: give it"
            ))
        }),
        (None, Some(url)) => Ok(SecretString::from(url)),
        (None, None) => {
            let what = format!("`{key}` has no address. Mend: give it `url` or `url_secret`");
            Err(StartError::Settings(what))
        }
    }
}

/// How bodies reach one receiver, which is a guarded dependency of that name.
pub(crate) fn webhook(parts: &Delivery<'_>, name: String, url: SecretString) -> Post {
    let dependency = Dependency::new(policy(parts.config, name), parts.metrics, parts.alerts);
    parts.registry.add(dependency.clone());
    post(dependency, parts.client.clone(), url)
}

/// One attempt a call: the retries, with their pauses, are telemetry's.
fn policy(config: &AlertsConfig, name: String) -> DependencyPolicy {
    let timeout = Duration::from_secs(config.timeout_secs);
    DependencyPolicy {
        name,
        breaker: BreakerPolicy { failures: 5, reset: Duration::from_secs(30) },
        bulkhead: BulkheadPolicy { concurrency: 1, queue: 8 },
        pace: PacePolicy { per_min: Some(60), tokens_per_min: None },
        lanes: 1,
        learn: Learn::Off,
        attempt_timeout: timeout,
        hold: Duration::from_secs(60),
        guard: GuardConfig {
            attempts: 1,
            pace_wait_ms: config.timeout_secs.saturating_mul(1_000),
            ..GuardConfig::default()
        },
    }
}

fn post(dependency: Dependency, client: Client, url: SecretString) -> Post {
    Arc::new(move |body| {
        let (dependency, client, url) = (dependency.clone(), client.clone(), url.clone());
        Box::pin(async move {
            let body = Bytes::from(body.to_string());
            let context = CallCtx {
                deadline: Deadline::after(Duration::from_secs(60)),
                caller: "alerts".into(),
                weight: 1,
                action: Action::Admin,
                tokens: 0,
                tried: 0,
                others: false,
            };
            let sent = dependency.call(&context, |_| send(&client, &url, body.clone())).await;
            match sent {
                Ok(guarded) => {
                    guarded.permit.finish(Class::Ok);
                    Ok(())
                }
                Err(CallError::Failed { error: Some(why), .. }) => Err(why),
                Err(_) => Err("the receiver does not answer".to_owned()),
            }
        })
    })
}

/// The reasons go to the log: they never hold the address, which may be what opens the receiver.
async fn send(client: &Client, url: &SecretString, body: Bytes) -> Result<(), (Class, String)> {
    let request = Request::post(url.expose_secret())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|_| (Class::CallerFault, "the receiver's address is no URL".to_owned()))?;
    let response = client.send(request).await.map_err(|error| (Class::HardFailure, error.to_string()))?;
    let status = response.status().as_u16();
    let why = format!("the receiver answered {status}");
    match status {
        200..300 => Ok(()),
        429 => Err((Class::RateLimited { retry_after: None }, why)),
        400..500 => Err((Class::CallerFault, why)),
        _ => Err((Class::HardFailure, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(status: &str, suppressed: &str) -> Value {
        json!({
            "status": status,
            "commonLabels": {"alertname": "backup_failing", "subject": "store"},
            "commonAnnotations": {"summary": "no backup could be made", "suppressed": suppressed},
        })
    }

    // req: S0-19
    #[test]
    fn an_alert_is_told_to_people_in_two_lines_with_how_often_it_was_held_back() {
        assert_eq!(words(&body("firing", "0")), "🚨 backup_failing: store\nno backup could be made");
        assert_eq!(words(&body("resolved", "3")), "✅ backup_failing: store (+3)\nno backup could be made");
    }

    #[tokio::test]
    async fn each_administrator_is_told_and_a_door_that_is_not_open_is_waited_for() {
        let mut telegram = TelegramConfig { admin_ids: vec![7, 9], ..TelegramConfig::default() };
        let mut signal = SignalConfig { admins: vec!["+15550009999".into()], ..SignalConfig::default() };
        assert!(administrators(&telegram, &signal, &ChatDoors::default()).is_empty(), "the doors are off");
        (telegram.enabled, signal.enabled) = (true, true);
        let told = administrators(&telegram, &signal, &ChatDoors::default());
        assert_eq!(told.len(), 3);
        for destination in told {
            let Destination::Webhook(post) = destination else { panic!("a door is no log") };
            assert_eq!(post(body("firing", "0")).await, Err("the chat door is not open".to_owned()));
        }
    }
}
