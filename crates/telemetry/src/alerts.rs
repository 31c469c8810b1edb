//! Who is told when something is badly wrong. The decision is pure: the same trouble with the same subject is told
//! once per cooldown, with the number of repetitions, and told to be over when it was told at all; delivery is
//! somebody else's work behind a bounded queue. Invariant: raising an alert never blocks and never fails.
//!
//! Source: S2-3.7; body of webhooks: Alertmanager's `webhook_config`, version 4.

mod book;
mod deliver;
mod failing;
mod rules;

use crate::Metrics;
use book::Book;
pub use deliver::{Destination, Post, deliver};
pub use failing::Failing;
use parking_lot::Mutex;
use portcullis_domain::Problem;
pub use rules::prometheus_rules;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
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
    /// The database was damaged, and what took its place.
    StoreDamaged,
    /// No backup can be made.
    BackupFailing,
    /// The audit trail cannot be written.
    AuditFailing,
    /// Async workers are blocked.
    Stalled,
    /// A budget is running out.
    Budget,
    /// A provider filters less than the settings say, by an operator's override.
    SafetyOverride,
    /// Many messages do not fit their callers.
    Anomalies,
    /// The messenger Signal is not reached, or wants something of the operator.
    Signal,
    /// The messenger Telegram is not reached, or wants something of the operator.
    Telegram,
    /// Strangers guess the passphrase of a chat door.
    Guessing,
    /// An index of documents is damaged.
    Index,
    /// Pages of channels have changed so that no posts can be read in them.
    ScraperLayout,
    /// The disk of the data folder is nearly full.
    DiskLow,
    /// Many messages fail for reasons that are ours or a provider's.
    ErrorRate,
    /// The process dies again and again.
    RestartLoop,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 19] = [
        Self::KeyInvalid,
        Self::QuotaExhausted,
        Self::BreakerOpen,
        Self::StoreDown,
        Self::StoreDamaged,
        Self::BackupFailing,
        Self::AuditFailing,
        Self::Stalled,
        Self::Budget,
        Self::SafetyOverride,
        Self::Anomalies,
        Self::Signal,
        Self::Telegram,
        Self::Guessing,
        Self::Index,
        Self::ScraperLayout,
        Self::DiskLow,
        Self::ErrorRate,
        Self::RestartLoop,
    ];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyInvalid => "key_invalid",
            Self::QuotaExhausted => "quota_exhausted",
            Self::BreakerOpen => "breaker_open",
            Self::StoreDown => "store_down",
            Self::StoreDamaged => "store_damaged",
            Self::BackupFailing => "backup_failing",
            Self::AuditFailing => "audit_failing",
            Self::Stalled => "stalled",
            Self::Budget => "budget",
            Self::SafetyOverride => "safety_override",
            Self::Anomalies => "anomalies",
            Self::Signal => "signal_error",
            Self::Telegram => "telegram_error",
            Self::Guessing => "activation_guessing",
            Self::Index => "index_corrupt",
            Self::ScraperLayout => "scraper_layout_changed",
            Self::DiskLow => "disk_low",
            Self::ErrorRate => "error_rate",
            Self::RestartLoop => "restart_loop",
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
        /// Where to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
        /// Name of the secret that holds the address, where the address itself opens the receiver.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url_secret: Option<String>,
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
    /// Alerts that may wait for delivery, for each receiver. Default 100.
    pub queue: usize,
    /// Longest time of one delivery to a webhook, in seconds. Default 10.
    pub timeout_secs: u64,
    /// Pauses before a failed delivery is tried again, in seconds; after the last one the alert is given up, logged and
    /// counted. Default 1, 5, 30.
    pub retries_secs: Vec<u64>,
    /// Share of messages that may fail for reasons that are ours or a provider's before it is told, above 0, below 1.
    /// Default 0.10.
    pub error_rate: f64,
    /// Over how long that share is taken, in seconds. Default 60.
    pub error_rate_secs: u64,
    /// Fewer messages than these in that time tell nothing. Default 20.
    pub error_rate_events: u64,
    /// Free bytes on the disk of the data folder below which it is told. Default 1073741824 (1 GiB).
    pub min_free_bytes: u64,
    /// Starts within `restart_window_secs`, each after a process that did not end in order, from which on it is told.
    /// Default 3.
    pub restarts: u32,
    /// Over how long starts are counted, and how long a process must live for that to be over, in seconds. Default 600.
    pub restart_window_secs: u64,
    /// Seconds between two looks at all of these. Default 5.
    pub look_secs: u64,
    /// Share of failed calls to a provider above which Prometheus alerts, above 0, below 1. This and the three keys below
    /// only go into what `portcullis rules` writes. Default 0.05.
    pub ai_failure_ratio: f64,
    /// Calls waiting in one queue above which Prometheus alerts. Default 5000.
    pub queue_depth: u64,
    /// Seconds that the oldest call of a queue has waited above which Prometheus alerts. Default 60.
    pub worst_delay_secs: u64,
    /// Requests a minute refused by one limit above which Prometheus alerts. Default 100.
    pub breaches_per_min: u64,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            receivers: vec![AlertReceiver::Log],
            cooldown_secs: 300,
            queue: 100,
            timeout_secs: 10,
            retries_secs: vec![1, 5, 30],
            error_rate: 0.10,
            error_rate_secs: 60,
            error_rate_events: 20,
            min_free_bytes: 1 << 30,
            restarts: 3,
            restart_window_secs: 600,
            look_secs: 5,
            ai_failure_ratio: 0.05,
            queue_depth: 5_000,
            worst_delay_secs: 60,
            breaches_per_min: 100,
        }
    }
}

impl AlertsConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let mut wrong = |key: String, what: &str, mend: &str| {
            out.push(Problem::new(format!("{prefix}.{key}"), what, mend));
        };
        if self.queue == 0 {
            wrong("queue".into(), "must be at least 1", "leave the key out for 100");
        }
        if self.timeout_secs == 0 {
            wrong("timeout_secs".into(), "must be at least 1", "leave the key out for 10");
        }
        if self.retries_secs.len() > 10 || self.retries_secs.iter().any(|secs| *secs > 3600) {
            wrong("retries_secs".into(), "is too patient", "give at most 10 pauses of at most 3600 seconds");
        }
        for (key, share) in [("ai_failure_ratio", self.ai_failure_ratio), ("error_rate", self.error_rate)] {
            if !(share > 0.0 && share < 1.0) {
                wrong(key.into(), "is no share", "choose a number between 0 and 1, such as 0.05");
            }
        }
        for (key, value, least, most) in [
            ("error_rate_secs", self.error_rate_secs, 1, 3_600),
            ("error_rate_events", self.error_rate_events, 1, 1_000_000),
            ("restarts", u64::from(self.restarts), 2, 100),
            ("restart_window_secs", self.restart_window_secs, 10, 86_400),
            ("look_secs", self.look_secs, 1, 3_600),
        ] {
            if !(least..=most).contains(&value) {
                wrong(key.into(), "is out of range", &format!("choose {least} to {most}"));
            }
        }
        for (key, value) in [
            ("queue_depth", self.queue_depth),
            ("worst_delay_secs", self.worst_delay_secs),
            ("breaches_per_min", self.breaches_per_min),
        ] {
            if !(1..=1_000_000_000).contains(&value) {
                wrong(key.into(), "is out of range", "choose 1 to 1000000000");
            }
        }
        for (index, receiver) in self.receivers.iter().enumerate() {
            let AlertReceiver::Webhook { url, url_secret } = receiver else { continue };
            let at = format!("receivers[{index}]");
            match (url, url_secret) {
                (Some(url), None) if !url.starts_with("https://") && !url.starts_with("http://") => {
                    wrong(format!("{at}.url"), "is not a web address", "write it as https://host/path");
                }
                (Some(_), None) | (None, Some(_)) => {}
                (Some(_), Some(_)) | (None, None) => {
                    wrong(at, "needs one address", "give either url or url_secret");
                }
            }
        }
    }
}

/// Whether trouble begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is there.
    Firing,
    /// It is over.
    Resolved,
}

/// One alert to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Whether it begins or ends.
    pub status: Status,
    /// What is wrong.
    pub category: Category,
    /// With what: a provider, a component.
    pub subject: String,
    /// In words.
    pub message: String,
    /// The same since the last alert, not told.
    pub suppressed: u64,
    /// Since when it has been wrong.
    pub since: jiff::Timestamp,
    /// When this was decided.
    pub at: jiff::Timestamp,
}

impl Alert {
    /// The body that Alertmanager sends to its webhooks (version 4).
    #[must_use]
    pub fn webhook_body(&self) -> Value {
        let (name, subject) = (self.category.as_str(), &self.subject);
        let labels = json!({"alertname": name, "subject": subject, "service": "portcullis"});
        let annotations = json!({"summary": self.message, "suppressed": self.suppressed.to_string()});
        let (status, ends) = match self.status {
            Status::Firing => ("firing", "0001-01-01T00:00:00Z".to_owned()),
            Status::Resolved => ("resolved", self.at.to_string()),
        };
        json!({
            "version": "4",
            "status": status,
            "receiver": "portcullis",
            "groupKey": format!("{name}/{subject}"),
            "groupLabels": {"alertname": name},
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "",
            "truncatedAlerts": 0,
            "alerts": [{"status": status, "labels": labels, "annotations": annotations,
                "startsAt": self.since.to_string(), "endsAt": ends, "generatorURL": "",
                "fingerprint": format!("{name}/{subject}")}],
        })
    }
}

struct Inner {
    book: Mutex<Book>,
    queue: Sender<Alert>,
    metrics: Metrics,
}

/// Where trouble is reported. Cheap to clone.
#[derive(Clone)]
pub struct Alerts(Arc<Inner>);

impl std::fmt::Debug for Alerts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Alerts")
    }
}

impl Alerts {
    /// The reporting end, and the queue that delivery reads.
    #[must_use]
    pub fn new(config: &AlertsConfig, metrics: Metrics) -> (Self, Receiver<Alert>) {
        let (queue, alerts) = channel(config.queue.max(1));
        let book = Mutex::new(Book::new(Duration::from_secs(config.cooldown_secs)));
        (Self(Arc::new(Inner { book, queue, metrics })), alerts)
    }

    /// Nobody listens; for parts of the house that run by themselves, and for tests.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(&AlertsConfig::default(), Metrics::new()).0
    }

    /// Reports trouble. Again and again is fine: it is told once per cooldown.
    pub fn raise(&self, category: Category, subject: &str, message: impl Into<String>) {
        let alert = self.0.book.lock().raise(category, subject, message, jiff::Timestamp::now());
        self.send(alert);
    }

    /// Reports that it is over. Costs a lock and a look when nothing was wrong.
    pub fn resolve(&self, category: Category, subject: &str, message: impl Into<String>) {
        let alert = self.0.book.lock().resolve(category, subject, message, jiff::Timestamp::now());
        self.send(alert);
    }

    fn send(&self, alert: Option<Alert>) {
        let Some(alert) = alert else { return };
        let category = alert.category.as_str();
        self.0.metrics.alert(category);
        if let Err(error) = self.0.queue.try_send(alert) {
            self.0.metrics.alert_undelivered("queue");
            let alert = error.into_inner();
            tracing::error!(category, subject = alert.subject, message = alert.message, "alert nobody took");
        }
    }
}

#[cfg(test)]
mod tests;
