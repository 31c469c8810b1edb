//! What a running process looks at in itself: the disk under its data, the share of messages that fail, and how often it
//! died. Invariants: each is told once and told to be over; looking delays no start and no message. What died without a
//! word is counted by who comes after: a start leaves its time in a file, and only an end in order takes it away.
//! Source: ask.md section 10.

use portcullis_store::files::{self, FileError};
use portcullis_telemetry::{
    AlertCategory, Alerts, AlertsConfig, Component, Failing, Health, HealthState, Metrics,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Where starts are noted, below the data folder.
const STARTS: &str = "starts";
/// Largest such file that is read, in bytes: a hundred starts and more.
const STARTS_BYTES: u64 = 4096;

/// Who looks.
pub(crate) struct Vital {
    config: AlertsConfig,
    folder: Arc<Path>,
    metrics: Metrics,
    alerts: Alerts,
    disk: Component,
    failing: Failing,
}

impl Vital {
    pub(crate) fn new(
        config: &AlertsConfig,
        folder: &Path,
        (metrics, alerts, health): (&Metrics, &Alerts, &Health),
    ) -> Self {
        Self {
            config: config.clone(),
            folder: folder.into(),
            metrics: metrics.clone(),
            alerts: alerts.clone(),
            disk: health.component("disk"),
            failing: Failing::new(Duration::from_secs(config.error_rate_secs), config.error_rate_events),
        }
    }

    /// Looks until `stop`.
    pub(crate) async fn watch(mut self, stop: CancellationToken) {
        let begun = Instant::now();
        let mut young = self.born().await;
        let mut ticks = interval(Duration::from_secs(self.config.look_secs));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let folder = self.folder.clone();
            let free = tokio::task::spawn_blocking(move || files::free(&folder)).await;
            self.disk_has(free.ok().and_then(|free| {
                free.inspect_err(|error| tracing::warn!(%error, "the disk cannot be looked at")).ok()
            }));
            let (all, failed) = self.metrics.ended();
            self.failed(Instant::now(), all, failed);
            if young && begun.elapsed().as_secs() >= self.config.restart_window_secs {
                young = false;
                self.alerts.resolve(AlertCategory::RestartLoop, "process", "The process stays up.");
            }
        }
    }

    /// Notes this start; whether the process dies again and again.
    async fn born(&self) -> bool {
        let (folder, window) = (self.folder.clone(), self.config.restart_window_secs);
        let noting = tokio::task::spawn_blocking(move || note(&folder, now_ms(), window));
        let starts = match noting.await {
            Ok(Ok(starts)) => starts,
            Ok(Err(error)) => {
                tracing::warn!(%error, "this start cannot be noted");
                return false;
            }
            Err(_) => return false,
        };
        let again = starts >= self.config.restarts as usize;
        if again {
            let words = format!(
                "{starts} starts within {window} seconds, and none of the processes before this one ended in order; the last \
                 lines of each log say why"
            );
            self.alerts.raise(AlertCategory::RestartLoop, "process", words);
        }
        again
    }

    /// So many bytes are free; none: nobody knows.
    fn disk_has(&self, free: Option<u64>) {
        let Some(free) = free else {
            return self.disk.set(HealthState::Degraded, "the disk of the data folder cannot be looked at");
        };
        if free >= self.config.min_free_bytes {
            self.disk.set(HealthState::Healthy, "");
            return self.alerts.resolve(AlertCategory::DiskLow, "disk", "There is room on the disk again.");
        }
        let (state, words) = match free {
            0 => (HealthState::Unhealthy, "the disk of the data folder is full"),
            _ => (HealthState::Degraded, "the disk of the data folder is nearly full"),
        };
        self.disk.set(state, words);
        let mebibytes = free >> 20;
        self.alerts.raise(AlertCategory::DiskLow, "disk", format!("{words}: {mebibytes} MiB are free"));
    }

    /// So many messages ended by now, and so many of them failed.
    fn failed(&mut self, now: Instant, all: u64, failed: u64) {
        let share = self.failing.look(now, all, failed);
        match share {
            Some(share) if share > self.config.error_rate => {
                let (percent, secs) = ((share * 100.0).round(), self.config.error_rate_secs);
                let words = format!(
                    "{percent} % of the messages of the last {secs} seconds failed for reasons that are ours or a provider's"
                );
                self.alerts.raise(AlertCategory::ErrorRate, "messages", words);
            }
            Some(_) | None => {
                self.alerts.resolve(AlertCategory::ErrorRate, "messages", "Messages are answered again.");
            }
        }
    }
}

/// This start, to be taken back when the process ends in order.
#[derive(Clone)]
pub(crate) struct Start(PathBuf);

impl Start {
    /// Of a process over that data folder.
    pub(crate) fn of(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The process ends in order. Blocking.
    pub(crate) fn ended(&self) {
        let path = self.0.join(STARTS);
        let taken = noted(&path).and_then(|mut starts| {
            starts.pop();
            write(&path, &starts)
        });
        if let Err(error) = taken {
            tracing::warn!(%error, "the end of this process cannot be noted; the next start takes it for a death");
        }
    }
}

/// Starts of processes that did not end in order, in Unix milliseconds, oldest first.
fn noted(path: &Path) -> Result<Vec<u64>, FileError> {
    let bytes = match files::read_private_upto(path, STARTS_BYTES) {
        Err(FileError::TooLarge { .. }) => None,
        other => other?,
    };
    let text = String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default();
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn write(path: &Path, starts: &[u64]) -> Result<(), FileError> {
    if starts.is_empty() {
        return files::remove(path);
    }
    let lines: Vec<String> = starts.iter().map(u64::to_string).collect();
    files::write_private(path, lines.join("\n").as_bytes())
}

/// Notes a start; how many there were within the window, this one included.
fn note(folder: &Path, now: u64, window_secs: u64) -> Result<usize, FileError> {
    let path = folder.join(STARTS);
    let mut starts = noted(&path)?;
    starts.retain(|start| now.saturating_sub(*start) <= window_secs.saturating_mul(1000));
    // A process that dies at once, for days, leaves no more than this.
    let over = starts.len().saturating_sub(MOST_STARTS - 1);
    starts.drain(..over);
    starts.push(now);
    write(&path, &starts)?;
    Ok(starts.len())
}

/// Most starts that are remembered; the setting goes up to this.
const MOST_STARTS: usize = 100;

fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_telemetry::{Alert, AlertStatus};
    use tokio::sync::mpsc::Receiver;

    fn vital(config: AlertsConfig) -> (Vital, Receiver<Alert>, Health) {
        let (metrics, health) = (Metrics::new(), Health::new());
        let (alerts, told) = Alerts::new(&config, metrics.clone());
        (Vital::new(&config, Path::new("unused"), (&metrics, &alerts, &health)), told, health)
    }

    fn next(told: &mut Receiver<Alert>) -> Option<(&'static str, AlertStatus)> {
        told.try_recv().ok().map(|alert| (alert.category.as_str(), alert.status))
    }

    // req: S2-3.7
    #[test]
    fn a_disk_that_fills_is_told_once_named_by_health_and_told_to_have_room_again() {
        let (vital, mut told, health) =
            vital(AlertsConfig { min_free_bytes: 1_000, ..AlertsConfig::default() });
        let seen = || health.snapshot().remove(0);
        vital.disk_has(Some(1_000));
        assert_eq!((next(&mut told), seen().state), (None, HealthState::Healthy));
        vital.disk_has(Some(999));
        vital.disk_has(Some(10));
        assert_eq!(next(&mut told), Some(("disk_low", AlertStatus::Firing)));
        assert_eq!((next(&mut told), seen().state), (None, HealthState::Degraded));
        vital.disk_has(Some(0));
        assert_eq!((seen().state, health.is_ready()), (HealthState::Unhealthy, true));
        vital.disk_has(Some(5_000));
        assert_eq!(next(&mut told), Some(("disk_low", AlertStatus::Resolved)));
        assert!(seen().last_success.is_some());
    }

    // req: S2-3.7
    #[test]
    fn messages_that_fail_by_our_fault_are_told_from_a_share_on_and_until_it_is_over() {
        let (mut vital, mut told, _) = vital(AlertsConfig::default());
        let begun = Instant::now();
        let mut look = |secs, all, failed| {
            vital.failed(begun + Duration::from_secs(secs), all, failed);
            next(&mut told)
        };
        assert_eq!(look(0, 0, 0), None);
        assert_eq!(look(5, 100, 10), None, "a tenth is not above a tenth");
        assert_eq!(look(10, 100, 11), Some(("error_rate", AlertStatus::Firing)));
        assert_eq!(look(15, 110, 21), None, "told already");
        assert_eq!(look(80, 300, 21), Some(("error_rate", AlertStatus::Resolved)));
        assert_eq!(look(90, 300, 21), None);
    }

    #[test]
    fn what_callers_do_wrong_is_no_failure_of_ours() {
        use portcullis_domain::{Action, Door};
        let metrics = Metrics::new();
        for outcome in
            ["ok", "invalid_input", "rate_limited", "blocked", "cancelled", "unavailable", "internal"]
        {
            metrics.request_done(Door::Http, Action::Chat, outcome, Duration::from_millis(1));
        }
        assert_eq!(metrics.ended(), (7, 2));
    }

    // req: S2-3.7
    #[test]
    fn starts_after_deaths_are_counted_within_the_window_and_an_end_in_order_counts_for_nothing() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("data");
        files::private_dir(&folder).unwrap();
        let start = Start::of(&folder);
        assert_eq!(note(&folder, 1_000, 600).unwrap(), 1);
        assert_eq!(note(&folder, 2_000, 600).unwrap(), 2);
        start.ended();
        assert_eq!(note(&folder, 3_000, 600).unwrap(), 2, "the first one died");
        assert_eq!(note(&folder, 602_000, 600).unwrap(), 2, "it is too long ago by now");
        start.ended();
        start.ended();
        assert!(!folder.join(STARTS).exists());
        for n in 0..300 {
            note(&folder, n, 600).unwrap();
        }
        assert_eq!(note(&folder, 300, 600).unwrap(), MOST_STARTS);
        std::fs::write(folder.join(STARTS), "not a number\n\u{ff}").unwrap();
        assert_eq!(note(&folder, 301, 600).unwrap(), 1, "what is unreadable counts for nothing");
    }
}
