//! Spans on their way to the collector: gathered for a while, sent in batches, by a task of its own. How a batch is sent is
//! handed in: this crate opens no connections. Invariant: whatever the collector does, spans wait here within their bound, and
//! each that does not arrive is counted.

use super::{OtlpConfig, Resource, Waiting, span::Ended};
use crate::Metrics;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio_util::sync::CancellationToken;

/// What a collector answers to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shipped {
    /// It took the batch, but for so many of its items.
    Taken {
        /// Items it did not want.
        rejected: u64,
    },
    /// It took nothing; why, for the log.
    Lost(String),
}

/// Sends one batch to that path of the collector, such as `/v1/traces`.
pub type Ship =
    Arc<dyn Fn(&'static str, String) -> Pin<Box<dyn Future<Output = Shipped> + Send>> + Send + Sync>;

/// Exports until `stop`, then what waits by then, as long as the collector takes it.
pub async fn export_traces(
    mut waiting: Waiting,
    config: OtlpConfig,
    resource: Resource,
    ship: Ship,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let patience = Duration::from_secs(config.timeout_secs);
    let work = export(&mut waiting, &config, Exporter { resource, ship, metrics }, &stop);
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(patience).await;
    };
    // A collector that is away at the end is away; the end does not wait for it.
    tokio::select! {
        () = work => {}
        () = late => tracing::warn!(spans = waiting.0.len(), "the last spans did not reach the collector in time"),
    }
}

/// Sends all metrics as often as the settings say, and once more at `stop`. Nothing is sent where they say never.
pub async fn export_metrics(
    config: OtlpConfig,
    resource: Resource,
    ship: Ship,
    metrics: Metrics,
    stop: CancellationToken,
) {
    if config.metrics_secs == 0 {
        return;
    }
    let begun = SystemTime::now();
    let send = async || {
        let body = metrics.otlp(&resource, begun, SystemTime::now());
        match ship("/v1/metrics", body).await {
            Shipped::Taken { rejected: 0 } => {}
            Shipped::Taken { rejected } => {
                tracing::warn!(points = rejected, "the collector did not want some metrics")
            }
            Shipped::Lost(why) => {
                tracing::warn!(why, "metrics did not reach the collector; the next time tells all of them")
            }
        }
    };
    let every = Duration::from_secs(config.metrics_secs);
    while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        send().await;
    }
    let _late = tokio::time::timeout(Duration::from_secs(config.timeout_secs), send()).await;
}

async fn export(waiting: &mut Waiting, config: &OtlpConfig, exporter: Exporter, stop: &CancellationToken) {
    let most = config.batch.max(1);
    let every = Duration::from_millis(config.every_ms);
    let mut batch = Vec::new();
    while let Some(Some(first)) = stop.run_until_cancelled(waiting.0.recv()).await {
        batch.push(first);
        let gather = async {
            loop {
                let room = most - batch.len();
                if room == 0 || waiting.0.recv_many(&mut batch, room).await == 0 {
                    return;
                }
            }
        };
        let _full = tokio::time::timeout(every, stop.run_until_cancelled(gather)).await;
        exporter.send(&mut batch).await;
    }
    waiting.0.close();
    loop {
        while batch.len() < most
            && let Ok(span) = waiting.0.try_recv()
        {
            batch.push(span);
        }
        if batch.is_empty() {
            return;
        }
        if !exporter.send(&mut batch).await {
            break;
        }
    }
    let mut left = 0;
    while waiting.0.try_recv().is_ok() {
        left += 1;
    }
    exporter.metrics.spans("failed", left);
}

struct Exporter {
    resource: Resource,
    ship: Ship,
    metrics: Metrics,
}

impl Exporter {
    /// Whether the collector took it.
    async fn send(&self, batch: &mut Vec<Ended>) -> bool {
        let count = batch.len() as u64;
        let body = self.resource.spans(batch);
        batch.clear();
        match (self.ship)("/v1/traces", body).await {
            Shipped::Taken { rejected } => {
                let rejected = rejected.min(count);
                self.metrics.spans("exported", count - rejected);
                self.metrics.spans("rejected", rejected);
                true
            }
            Shipped::Lost(why) => {
                self.metrics.spans("failed", count);
                tracing::warn!(
                    spans = count,
                    why,
                    "spans did not reach the collector; requests were not affected"
                );
                false
            }
        }
    }
}
