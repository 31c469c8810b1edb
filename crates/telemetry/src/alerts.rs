//! Who is told when something is badly wrong. The decision is pure: the same trouble with the same subject is told
//! once per cooldown, with the number of repetitions; delivery is somebody else's work behind a bounded queue.
//! Invariant: raising an alert never blocks and never fails. Source: S2-3.7.

use crate::Metrics;
use parking_lot::Mutex;
use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// A provider refuses our key.
    KeyInvalid,
    /// A provider's account is out of credit or quota.
    QuotaExhausted,
    /// A circuit breaker opened.
    BreakerOpen,
    /// The store is away.
    StoreDown,
    /// The audit trail cannot be written.
    AuditFailing,
    /// Async workers are blocked.
    Stalled,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 6] = [
        Self::KeyInvalid,
        Self::QuotaExhausted,
        Self::BreakerOpen,
        Self::StoreDown,
        Self::AuditFailing,
        Self::Stalled,
    ];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyInvalid => "key_invalid",
            Self::QuotaExhausted => "quota_exhausted",
            Self::BreakerOpen => "breaker_open",
            Self::StoreDown => "store_down",
            Self::AuditFailing => "audit_failing",
            Self::Stalled => "stalled",
        }
    }
}

/// Where alerts go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum AlertReceiver {
    /// An error line in the log.
    Log,
    /// A POST with the body that Alertmanager sends to its webhooks.
    Webhook {
        /// Where to; `https`, or loopback.
        url: String,
    },
}

/// `[alerts]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsConfig {
    /// Who is told. Default: the log.
    pub receivers: Vec<AlertReceiver>,
    /// Shortest time between two alerts of the same category and subject, in seconds. Default 300.
    pub cooldown_secs: u64,
    /// Alerts that may wait for delivery. Default 100.
    pub queue: usize,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self { receivers: vec![AlertReceiver::Log], cooldown_secs: 300, queue: 100 }
    }
}

impl AlertsConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        if self.queue == 0 {
            out.push(Problem::new(
                format!("{prefix}.queue"),
                "must be at least 1",
                "leave the key out for 100",
            ));
        }
        for (index, receiver) in self.receivers.iter().enumerate() {
            if let AlertReceiver::Webhook { url } = receiver
                && !url.starts_with("https://")
                && !url.starts_with("http://")
            {
                let key = format!("{prefix}.receivers[{index}].url");
                out.push(Problem::new(key, "is not a web address", "write it as https://host/path"));
            }
        }
    }
}

/// One alert to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What is wrong.
    pub category: Category,
    /// With what: a provider, a component.
    pub subject: String,
    /// In words.
    pub message: String,
    /// The same since the last alert, not told.
    pub suppressed: u64,
}

impl Alert {
    /// The body that Alertmanager sends to its webhooks (version 4).
    #[must_use]
    pub fn webhook_body(&self, at: jiff::Timestamp) -> serde_json::Value {
        let labels =
            json!({"alertname": self.category.as_str(), "subject": self.subject, "service": "portcullis"});
        let annotations = json!({"summary": self.message, "suppressed": self.suppressed.to_string()});
        json!({
            "version": "4",
            "status": "firing",
            "receiver": "portcullis",
            "groupKey": format!("{}/{}", self.category.as_str(), self.subject),
            "groupLabels": {"alertname": self.category.as_str()},
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "",
            "truncatedAlerts": 0,
            "alerts": [{"status": "firing", "labels": labels, "annotations": annotations,
                "startsAt": at.to_string(), "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "",
                "fingerprint": format!("{}/{}", self.category.as_str(), self.subject)}],
        })
    }
}

struct Told {
    at: jiff::Timestamp,
    suppressed: u64,
}

/// Subjects remembered at once; providers and components are few.
const MAX_SUBJECTS: usize = 1_000;

struct Inner {
    cooldown: Duration,
    told: Mutex<HashMap<(Category, String), Told>>,
    queue: Sender<Alert>,
    metrics: Metrics,
}

/// Where trouble is reported. Cheap to clone.
#[derive(Clone)]
pub struct Alerts(Arc<Inner>);

impl Alerts {
    /// The reporting end, and the queue that delivery reads.
    #[must_use]
    pub fn new(config: &AlertsConfig, metrics: Metrics) -> (Self, Receiver<Alert>) {
        let (queue, deliver) = channel(config.queue.max(1));
        let cooldown = Duration::from_secs(config.cooldown_secs);
        (Self(Arc::new(Inner { cooldown, told: Mutex::default(), queue, metrics })), deliver)
    }

    /// Nobody listens; for parts of the house that run by themselves, and for tests.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(&AlertsConfig::default(), Metrics::new()).0
    }

    /// Reports trouble.
    pub fn raise(&self, category: Category, subject: &str, message: impl Into<String>) {
        if let Some(alert) = self.decide(category, subject, message.into(), jiff::Timestamp::now()) {
            self.0.metrics.alert(category.as_str());
            if self.0.queue.try_send(alert).is_err() {
                tracing::error!(
                    category = category.as_str(),
                    subject,
                    "alert not delivered: nobody takes them"
                );
            }
        }
    }

    fn decide(
        &self,
        category: Category,
        subject: &str,
        message: String,
        now: jiff::Timestamp,
    ) -> Option<Alert> {
        let mut told = self.0.told.lock();
        let key = (category, subject.to_owned());
        if let Some(last) = told.get_mut(&key) {
            if now.duration_since(last.at).unsigned_abs() < self.0.cooldown {
                last.suppressed += 1;
                return None;
            }
            let suppressed = std::mem::take(&mut last.suppressed);
            last.at = now;
            return Some(Alert { category, subject: subject.into(), message, suppressed });
        }
        if told.len() >= MAX_SUBJECTS {
            told.clear();
        }
        told.insert(key, Told { at: now, suppressed: 0 });
        Some(Alert { category, subject: subject.into(), message, suppressed: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S2-3.7
    #[test]
    fn the_same_trouble_is_told_once_per_cooldown_with_its_repetitions() {
        let (alerts, _queue) = Alerts::new(&AlertsConfig::default(), Metrics::new());
        let at = |secs: i64| jiff::Timestamp::from_second(1_700_000_000 + secs).unwrap();
        let raise = |subject, secs| alerts.decide(Category::KeyInvalid, subject, "refused".into(), at(secs));
        assert_eq!(raise("openai", 0).map(|alert| alert.suppressed), Some(0));
        assert_eq!(raise("openai", 1), None);
        assert_eq!(raise("openai", 299), None);
        assert!(raise("kimi", 2).is_some(), "another subject is other trouble");
        assert_eq!(raise("openai", 301).map(|alert| alert.suppressed), Some(2));
    }

    #[test]
    fn the_webhook_body_is_alertmanagers() {
        let alert = Alert {
            category: Category::QuotaExhausted,
            subject: "glm".into(),
            message: "no credit".into(),
            suppressed: 3,
        };
        let body = alert.webhook_body(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(body["alerts"][0]["labels"]["alertname"], "quota_exhausted");
        assert_eq!((&body["version"], &body["status"]), (&"4".into(), &"firing".into()));
    }
}
