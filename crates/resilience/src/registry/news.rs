//! What replicas tell one another about breakers, over Redis: "open until T" when one trips, "closed" when a probe
//! worked. Whoever hears `open` opens too; whoever hears `closed` may probe at once. Invariant: this is advice. Losing
//! it, or Redis, changes nothing in how each replica finds out by itself, and nothing heard holds a breaker open for
//! longer than its own reset time, however wrong the other's clock is.
//!
//! The state is also kept under a key until it expires, for replicas that start or reconnect in between.

use super::Registry;
use crate::shared::{Heard, Shared};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

/// Where replicas talk.
pub(super) const CHANNEL: &str = "portcullis:breakers";
/// News that may wait to be told; more are lost.
pub(super) const BACKLOG: usize = 64;

/// A breaker of ours changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) name: String,
    /// Open for so long; closed when absent.
    pub(crate) open_for: Option<Duration>,
}

/// The same on the wire.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    /// The replica that says so, to know one's own voice.
    from: u64,
    /// The dependency.
    name: String,
    /// Unix milliseconds until when it is open; closed when absent.
    until: Option<u64>,
}

fn key(name: &str) -> String {
    format!("portcullis:breaker:{name}")
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn remaining(until: u64) -> Duration {
    Duration::from_millis(until.saturating_sub(unix_ms()))
}

/// Tells others what changed here, until it is time to stop.
pub(super) async fn speak(
    shared: Shared,
    mut told: mpsc::Receiver<News>,
    from: u64,
    stop: CancellationToken,
) {
    loop {
        let news = tokio::select! {
            () = stop.cancelled() => return,
            news = told.recv() => news,
        };
        let Some(News { name, open_for }) = news else { return };
        let millis = open_for.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let until = millis.map(|millis| unix_ms().saturating_add(millis));
        let kept = match open_for.zip(until) {
            Some((life, until)) => shared.set_ex(&key(&name), &until.to_string(), life).await,
            None => shared.delete(&key(&name)).await,
        };
        let Ok(message) = serde_json::to_string(&Told { from, name, until }) else { continue };
        if let Err(error) = kept.and(shared.publish(CHANNEL, &message).await) {
            tracing::debug!(%error, "other replicas were not told of a breaker");
        }
    }
}

/// Follows what others say, until it is time to stop.
pub(super) async fn listen(
    registry: Registry,
    shared: Shared,
    mut heard: broadcast::Receiver<Heard>,
    from: u64,
    stop: CancellationToken,
) {
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return,
            next = heard.recv() => next,
        };
        match next {
            Ok(Heard::Message(message)) => follow(&registry, &message, from),
            Ok(Heard::Gap) | Err(broadcast::error::RecvError::Lagged(_)) => {
                catch_up(&registry, &shared).await
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// What does not parse is somebody else's, or of another version: ignored.
fn follow(registry: &Registry, message: &str, from: u64) {
    let Ok(told) = serde_json::from_str::<Told>(message) else { return };
    if told.from == from {
        return;
    }
    if let Some(dependency) = registry.get(&told.name) {
        dependency.hear(told.until.map(remaining));
    }
}

/// Reads the kept states: messages may have been missed.
async fn catch_up(registry: &Registry, shared: &Shared) {
    for dependency in registry.all() {
        let Ok(kept) = shared.get(&key(dependency.name())).await else { return };
        let until = kept.and_then(|text| text.parse::<u64>().ok());
        if let Some(time) = until.map(remaining).filter(|time| !time.is_zero()) {
            dependency.hear(Some(time));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_reads_back_and_nonsense_is_ignored() {
        let told = Told { from: 7, name: "kimi".into(), until: Some(1_700_000_000_000) };
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(text, r#"{"from":7,"name":"kimi","until":1700000000000}"#);
        assert_eq!(serde_json::from_str::<Told>(&text).unwrap(), told);
        let registry = Registry::new();
        for nonsense in
            ["", "{}", "[]", "null", "{\"from\":-1,\"name\":\"x\"}", r#"{"from":1,"name":"x","until":1e99}"#]
        {
            follow(&registry, nonsense, 1);
        }
    }
}
