//! News for people: the wiring of the app for chat doors, what administrators can do there, the keeper of schedules.
//! Invariant: what the app is asked for on schedule is made by the app that is in force. Source: news.md sections 10 to 12.

use crate::{Settings, messenger, snapshot::Ground};
use parking_lot::RwLock;
use portcullis_apps::news::{
    Current, FindQuotas, NewsApp, Operation, Operations, People, PeopleParts, PeopleState, keep_schedules,
};
use portcullis_domain::{HarmCategory, HarmThreshold};
use portcullis_engine::{
    FindEngine, Quotas,
    identity::FindTier,
    safety::{NewOverride, SafetyDesk},
};
use portcullis_resilience::{Registry, breaker::BreakerState};
use portcullis_store::{BackupDesk, BackupInfo, Store, Which};
use portcullis_telemetry::{Audit, Metrics};
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What stays while settings change. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Readers {
    state: PeopleState,
    /// The app in force, for schedules.
    current: Arc<RwLock<Option<People>>>,
    /// The engine in force, once there is one.
    engine: Arc<RwLock<Option<FindEngine>>>,
    audit: Option<Audit>,
    operations: Operations,
}

/// Records of the trail in which an incident is looked for.
const RECORDS: usize = 2000;

impl Readers {
    /// With what administrators can do.
    pub(crate) fn new(
        audit: &Audit,
        safety: &SafetyDesk,
        registry: &Registry,
        metrics: &Metrics,
        store: &Store,
    ) -> Self {
        let mut operations = Operations::new();
        operations.insert("incident", incident(audit.clone()));
        operations.insert("safety", overridden(safety.clone()));
        operations.insert("stats", machine(registry.clone(), metrics.clone()));
        if let Some(desk) = store.backups() {
            operations.insert("backup", backup(desk.clone()));
            operations.insert("restore_backup", restored(desk));
        }
        Self { audit: Some(audit.clone()), operations, ..Self::default() }
    }

    /// The app for people, over that one.
    pub(crate) fn serve(&self, ground: &Ground, settings: &Settings, news: NewsApp) -> NewsApp {
        let people = People::new(PeopleParts {
            config: Arc::new(settings.news.clone()),
            schedule: settings.schedule.clone(),
            cook: news.cook(),
            looker: news.looker(),
            doctor: news.doctor(),
            store: ground.store.clone(),
            doors: ground.chat_doors.clone(),
            rows: settings.messages.rows(),
            admins: settings.telegram.admin_ids.iter().map(|id| format!("telegram:{id}")).collect(),
            operations: self.operations.clone(),
            quotas: self.quotas(),
            audit: self.audit.clone(),
            backup_days: u32::try_from(settings.backup.max_age_days).unwrap_or(u32::MAX),
            beside: messenger::BESIDE.to_vec(),
            metrics: ground.metrics.clone(),
            state: self.state.clone(),
        });
        *self.current.write() = Some(people.clone());
        news.serving(people)
    }

    /// The limits that digests on schedule are held to: those of the engine in force.
    fn quotas(&self) -> FindQuotas {
        let engine = self.engine.clone();
        Arc::new(move || engine.read().as_ref().map_or(Quotas::OPEN, |find| find().quotas()))
    }

    /// The tier that people have by their plans.
    pub(crate) fn standing(&self) -> FindTier {
        let app = self.current.clone();
        Arc::new(move |caller| {
            let people = app.read().clone();
            Box::pin(async move { people?.tier(&caller).await })
        })
    }

    /// Keeps schedules until `stop`.
    pub(crate) fn keep(&self, engine: FindEngine, tasks: &TaskTracker, stop: CancellationToken) {
        *self.engine.write() = Some(engine);
        let app = self.current.clone();
        let current: Current = Arc::new(move || app.read().clone());
        drop(tasks.spawn(keep_schedules(current, stop)));
    }
}

/// Backups that are listed.
const LISTED: usize = 30;

/// `/backup`.
fn backup(desk: BackupDesk) -> Operation {
    Arc::new(move |_| {
        let desk = desk.clone();
        Box::pin(async move {
            match desk.make().await {
                Ok(made) => format!("{} ({} KiB)", made.name, made.bytes.div_ceil(1024)),
                Err(error) => {
                    tracing::error!(%error, "a backup that an administrator asked for was not made");
                    "The backup was not made; nothing was changed. The log says why.".to_owned()
                }
            }
        })
    })
}

/// `/restore_backup [latest|N]`; without an argument a numbered list.
fn restored(desk: BackupDesk) -> Operation {
    Arc::new(move |wish| {
        let desk = desk.clone();
        Box::pin(async move {
            let done = if wish.is_empty() {
                desk.list().await.map(|all| {
                    let line = |(number, it): (usize, &BackupInfo)| {
                        let count = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
                        let (people, folders) = (count(it.users), count(it.folders));
                        let problem =
                            it.problem.as_ref().map_or_else(String::new, |why| format!(" ✖️ {why}"));
                        let kib = it.bytes.div_ceil(1024);
                        format!("{number}. {} · {kib} KiB · {people} / {folders}{problem}", it.at)
                    };
                    let lines: Vec<String> = (1..).zip(all.iter().take(LISTED)).map(line).collect();
                    if lines.is_empty() { "—".to_owned() } else { lines.join("\n") }
                })
            } else {
                // Whatever is written is one of the three.
                let which = wish.parse().unwrap_or(Which::Latest);
                desk.restore(&which)
                    .await
                    .map(|found| format!("{}: the server ends and starts with it.", found.name))
            };
            done.unwrap_or_else(|error| {
                tracing::error!(%error, "a backup that an administrator asked for was not put back");
                "There is no such backup, or it cannot be used; nothing was changed.".to_owned()
            })
        })
    })
}

/// `/incident ID`.
fn incident(audit: Audit) -> Operation {
    Arc::new(move |id| {
        let audit = audit.clone();
        Box::pin(async move {
            if id.is_empty() {
                return "/incident ID".to_owned();
            }
            let looked = tokio::task::spawn_blocking(move || {
                let records = audit.last(RECORDS).unwrap_or_default();
                let found = records.into_iter().map(|record| record.to_string());
                found.filter(|record| record.contains(&id)).take(5).collect::<Vec<_>>()
            });
            match looked.await {
                Ok(found) if !found.is_empty() => found.join("\n\n"),
                Ok(_) | Err(_) => "—".to_owned(),
            }
        })
    })
}

/// `/safety off MINUTES REASON`, `/safety on`, `/safety`.
fn overridden(desk: SafetyDesk) -> Operation {
    const HOW: &str = "/safety off MINUTES REASON (1 to 240) · /safety on";
    const PROVIDER: &str = "gemini";
    Arc::new(move |wish| {
        let desk = desk.clone();
        Box::pin(async move {
            let mut words = wish.splitn(3, char::is_whitespace);
            match (words.next(), words.next(), words.next()) {
                (Some(""), None, None) => {
                    let active = desk.active();
                    let lines = active.iter().map(|it| format!("{}: {}", it.category.as_str(), it.reason));
                    let lines: Vec<String> = lines.collect();
                    if lines.is_empty() { HOW.to_owned() } else { lines.join("\n") }
                }
                (Some("on"), None, None) => {
                    for category in HarmCategory::ALL {
                        if let Err(failure) = desk.end(PROVIDER, category).await {
                            return failure.to_string();
                        }
                    }
                    "on".to_owned()
                }
                (Some("off"), Some(minutes), Some(reason)) => {
                    let Some(minutes) = minutes.parse().ok().filter(|n: &u64| (1..=240).contains(n)) else {
                        return HOW.to_owned();
                    };
                    for category in HarmCategory::ALL {
                        let new = NewOverride {
                            provider: PROVIDER.to_owned(),
                            category,
                            threshold: HarmThreshold::BlockOnlyHigh,
                            time: Duration::from_secs(minutes * 60),
                            reason: reason.to_owned(),
                            i_understand: false,
                            by: "an administrator at a chat door".to_owned(),
                        };
                        if let Err(failure) = desk.set(new).await {
                            return failure.to_string();
                        }
                    }
                    format!("off, {minutes} min")
                }
                _ => HOW.to_owned(),
            }
        })
    })
}

/// `/stats`: the machine, calls of an AI that failed, breakers that are not closed.
fn machine(registry: Registry, metrics: Metrics) -> Operation {
    Arc::new(move |_| {
        let (registry, metrics) = (registry.clone(), metrics.clone());
        Box::pin(async move {
            let before = read("/proc/stat").await;
            tokio::time::sleep(BUSY).await;
            let busy = busy(&before, &read("/proc/stat").await);
            let (memory, load) = (read("/proc/meminfo").await, read("/proc/loadavg").await);
            let kept = ["MemTotal", "MemAvailable", "SwapTotal", "SwapFree"];
            let memory = memory.lines().filter(|line| kept.iter().any(|key| line.starts_with(key)));
            let load = load.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
            let mut out = format!("load: {load}\n");
            if let Some(busy) = busy {
                out.push_str(&format!("cpu: {busy} %\n"));
            }
            out.push_str(&memory.collect::<Vec<_>>().join("\n"));
            let failures = failures(&metrics.render());
            out.push_str(&format!("\nfailed calls of an AI since the start: {failures}"));
            for dependency in registry.all() {
                let state = dependency.status().breaker;
                if state != BreakerState::Closed {
                    out.push_str(&format!("\n{}: {}", dependency.name(), state.as_str()));
                }
            }
            out
        })
    })
}

/// How long it is looked how busy the machine is.
const BUSY: Duration = Duration::from_millis(300);

async fn read(path: &'static str) -> String {
    let file = tokio::task::spawn_blocking(move || std::fs::read_to_string(path).unwrap_or_default());
    file.await.unwrap_or_default()
}

/// Share of the time between two looks at `/proc/stat` in which processors worked, in percent.
fn busy(before: &str, after: &str) -> Option<u64> {
    let times = |text: &str| -> Option<(u64, u64)> {
        let numbers: Vec<u64> =
            text.lines().next()?.split_whitespace().skip(1).filter_map(|part| part.parse().ok()).collect();
        let idle = numbers.get(3)? + numbers.get(4)?;
        Some((idle, numbers.iter().take(8).sum()))
    };
    let ((idle, all), (idle_then, all_then)) = (times(after)?, times(before)?);
    let passed = all.checked_sub(all_then).filter(|passed| *passed > 0)?;
    Some(100 - 100 * idle.saturating_sub(idle_then).min(passed) / passed)
}

/// The sum of a metric's series, as they are shown.
fn failures(shown: &str) -> u64 {
    let series = shown.lines().filter(|line| line.starts_with("ai_failures{"));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_busy_the_machine_is_and_what_failed_are_read_from_what_is_shown() {
        let (before, after) = ("cpu  100 0 100 700 100 0 0 0 0 0\n", "cpu  130 0 120 740 110 0 0 0 0 0\n");
        assert_eq!(busy(before, after), Some(50));
        assert_eq!((busy(before, before), busy("", after)), (None, None));
        let shown = "ai_failures{provider=\"a\",code=\"500\"} 2\nai_failures_other 9\nai_failures{provider=\"b\",code=\"429\"} 3\n";
        assert_eq!(failures(shown), 5);
    }
}
