//! Delivery: each receiver has its own bounded queue and its own task, so that one that fails or hangs delays nobody
//! else. How a body is posted is handed in: this crate opens no connections.

use super::{Alert, AlertsConfig, Status};
use crate::Metrics;
use serde_json::Value;
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};
use tokio_util::task::TaskTracker;

/// Posts one body to one receiver, whose address it knows. The error is for the log.
pub type Post = Arc<dyn Fn(Value) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// Where an alert goes, ready to use.
#[derive(Clone)]
pub enum Destination {
    /// An error line in the log; an info line when it is over.
    Log,
    /// A webhook.
    Webhook(Post),
}

/// Delivers until every reporting end is gone and the queues are empty. Give up waiting for it at the end of a drain.
pub async fn deliver(
    mut alerts: Receiver<Alert>,
    config: &AlertsConfig,
    destinations: Vec<Destination>,
    tasks: &TaskTracker,
    metrics: &Metrics,
) {
    let mut log = false;
    let mut webhooks: Vec<Sender<Arc<Alert>>> = Vec::new();
    for destination in destinations {
        match destination {
            Destination::Log => log = true,
            Destination::Webhook(post) => {
                let (queue, waiting) = channel(config.queue.max(1));
                webhooks.push(queue);
                tasks.spawn(post_all(waiting, post, config.clone(), metrics.clone()));
            }
        }
    }
    while let Some(alert) = alerts.recv().await {
        let alert = Arc::new(alert);
        if log {
            tell(&alert);
        }
        for queue in &webhooks {
            if let Err(TrySendError::Full(_) | TrySendError::Closed(_)) = queue.try_send(Arc::clone(&alert)) {
                metrics.alert_undelivered("webhook");
            }
        }
    }
}

fn tell(alert: &Alert) {
    let Alert { category, subject, message, suppressed, .. } = alert;
    let category = category.as_str();
    match alert.status {
        Status::Firing => tracing::error!(category, subject, suppressed, reason = message, "alert"),
        Status::Resolved => tracing::info!(category, subject, reason = message, "alert resolved"),
    }
}

async fn post_all(mut waiting: Receiver<Arc<Alert>>, post: Post, config: AlertsConfig, metrics: Metrics) {
    let patience = Duration::from_secs(config.timeout_secs);
    while let Some(alert) = waiting.recv().await {
        let mut pauses = config.retries_secs.iter();
        loop {
            let sent = tokio::time::timeout(patience, post(alert.webhook_body())).await;
            let error = match sent {
                Ok(Ok(())) => break,
                Ok(Err(error)) => error,
                Err(_) => format!("no answer within {} s", config.timeout_secs),
            };
            let Some(pause) = pauses.next() else {
                metrics.alert_undelivered("webhook");
                let (category, subject) = (alert.category.as_str(), &alert.subject);
                tracing::error!(category, subject, error, "alert not delivered to a webhook");
                break;
            };
            tokio::time::sleep(Duration::from_secs(*pause)).await;
        }
    }
}
