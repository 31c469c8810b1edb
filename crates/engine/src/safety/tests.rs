//! Overrides over a real store: set with a reason, ended by the clock, the same after a restart, two records each. The
//! clock is moved by pausing and advancing tokio's; the store runs on its own threads in real time.

use super::*;
use crate::keys::tests::store;
use portcullis_store::StoreConfig;
use portcullis_telemetry::{Alert, AlertStatus, AlertsConfig, AuditConfig, AuditParts};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

const HOUR: Duration = Duration::from_secs(3600);
const MEDIUM: HarmThreshold = HarmThreshold::BlockMediumAndAbove;

/// Everything below one folder, as a process would have it.
struct House {
    desk: SafetyDesk,
    audit: Audit,
    metrics: Metrics,
    alerts: Receiver<Alert>,
}

impl House {
    async fn open(folder: &Path, clock: EndClock) -> Self {
        let metrics = Metrics::new();
        let (alerts, receiver) = Alerts::new(&AlertsConfig::default(), metrics.clone());
        // Each process of this test keeps its own trail: one folder has one writer.
        let trail = folder.join(format!("audit-{}", trails(folder).len()));
        let redact = portcullis_inspect::redact;
        let config = AuditConfig { anchors: Vec::new(), ..AuditConfig::default() };
        let audit = Audit::start(AuditParts {
            config: &config,
            folder: &trail,
            id_key: b"key",
            sign_key: b"sign key",
            redact,
            metrics: metrics.clone(),
            alerts: alerts.clone(),
        })
        .unwrap();
        let parts = SafetyParts {
            store: store(&folder.join("data"), &StoreConfig::default(), None).await,
            audit: audit.clone(),
            alerts,
            metrics: metrics.clone(),
            providers: vec!["gemini".into()],
            clock,
        };
        Self { desk: SafetyDesk::open(parts).await.unwrap(), audit, metrics, alerts: receiver }
    }

    fn counts(&self, category: HarmCategory) -> HarmThreshold {
        self.desk.view().threshold("gemini", category, MEDIUM)
    }

    fn gauge(&self) -> String {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.contains("safety_override_active{category=\"DANGEROUS"));
        line.unwrap_or_default().rsplit(' ').next().unwrap_or_default().to_owned()
    }
}

fn dangerous(time: Duration) -> NewOverride {
    NewOverride {
        provider: "gemini".into(),
        category: HarmCategory::DangerousContent,
        threshold: HarmThreshold::BlockOnlyHigh,
        time,
        reason: "incident 7: a pharmacy's questions are blocked".into(),
        i_understand: false,
        by: "key:ops".into(),
    }
}

async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

fn trails(folder: &Path) -> Vec<PathBuf> {
    inside(folder).into_iter().filter(|path| path.to_string_lossy().contains("audit-")).collect()
}

fn inside(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Kinds of records in all trails, in order.
fn records(folder: &Path, audit: &Audit) -> Vec<String> {
    audit.flush(Duration::from_secs(30));
    let files = trails(folder).into_iter().flat_map(|trail| inside(&trail));
    let kinds = |text: String| -> Vec<String> {
        let value = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
        let kind = |line: &str| Some(value(line)?.get("kind")?.as_str()?.to_owned());
        text.lines().filter_map(kind).filter(|kind| kind.starts_with("safety")).collect()
    };
    files.filter_map(|file| std::fs::read_to_string(file).ok()).flat_map(kinds).collect()
}

const BOTH: [&str; 2] = ["safety_override_set", "safety_override_ended"];

// req: S0-04
#[tokio::test]
async fn an_override_counts_at_once_shows_and_ends_by_itself() {
    let folder = TempDir::new().unwrap();
    let mut house = House::open(folder.path(), EndClock::new()).await;
    let set = house.desk.set(dangerous(HOUR * 2)).await.unwrap();
    assert_eq!(set.until_ms - set.since_ms, 7_200_000);
    assert_eq!(house.counts(HarmCategory::DangerousContent), HarmThreshold::BlockOnlyHigh);
    assert_eq!(house.counts(HarmCategory::Harassment), MEDIUM);
    assert_eq!(house.gauge(), "1");
    let alert = house.alerts.try_recv().unwrap();
    assert_eq!((alert.category, alert.status), (AlertCategory::SafetyOverride, AlertStatus::Firing));
    later(HOUR * 2 - Duration::from_secs(1)).await;
    assert_eq!(house.desk.active().len(), 1);
    later(Duration::from_secs(1)).await;
    assert_eq!(house.counts(HarmCategory::DangerousContent), MEDIUM, "by the time alone");
    house.desk.refresh().await.unwrap();
    assert_eq!((house.gauge().as_str(), house.desk.active().len()), ("0", 0));
    assert_eq!(records(folder.path(), &house.audit), BOTH);
    let over = std::iter::from_fn(|| house.alerts.try_recv().ok()).last().unwrap();
    assert_eq!(over.status, AlertStatus::Resolved);
    house.desk.refresh().await.unwrap();
    assert_eq!(records(folder.path(), &house.audit), BOTH, "one end only");
}

// req: S0-04
#[tokio::test]
async fn a_restart_neither_ends_nor_prolongs_an_override() {
    let folder = TempDir::new().unwrap();
    let clock = EndClock::new();
    let before = House::open(folder.path(), clock).await;
    let set = before.desk.set(dangerous(HOUR * 2)).await.unwrap();
    before.audit.flush(Duration::from_secs(30));
    drop(before);
    later(HOUR).await;
    let after = House::open(folder.path(), clock).await;
    assert_eq!(after.desk.active(), [set]);
    assert_eq!(
        (after.gauge().as_str(), after.counts(HarmCategory::DangerousContent)),
        ("1", HarmThreshold::BlockOnlyHigh)
    );
    after.audit.flush(Duration::from_secs(30));
    drop(after);
    later(HOUR).await;
    let long_after = House::open(folder.path(), clock).await;
    assert_eq!(long_after.desk.active(), []);
    assert_eq!(records(folder.path(), &long_after.audit), BOTH, "it ended while nobody ran");
}

// req: S0-04
#[tokio::test]
async fn what_an_operator_may_not_want_is_refused_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let house = House::open(folder.path(), EndClock::new()).await;
    let off = |threshold| NewOverride { threshold, ..dangerous(HOUR) };
    for (new, param) in [
        (dangerous(HOUR * 24 + Duration::from_secs(1)), "for"),
        (dangerous(Duration::ZERO), "for"),
        (NewOverride { reason: " ".into(), ..dangerous(HOUR) }, "reason"),
        (NewOverride { reason: "x".repeat(501), ..dangerous(HOUR) }, "reason"),
        (NewOverride { reason: "a\nb".into(), ..dangerous(HOUR) }, "reason"),
        (NewOverride { provider: "openai".into(), ..dangerous(HOUR) }, "provider"),
        (off(HarmThreshold::BlockNone), "i_understand"),
        (off(HarmThreshold::Off), "i_understand"),
    ] {
        let refused = house.desk.set(new).await;
        let named = matches!(&refused, Err(Failure::InvalidInput { param: Some(it), .. }) if it == param);
        assert!(named, "{param}: {refused:?}");
    }
    assert_eq!((house.desk.active(), records(folder.path(), &house.audit)), (vec![], vec![]));
    let understood = NewOverride { i_understand: true, ..off(HarmThreshold::Off) };
    house.desk.set(understood).await.unwrap();
    assert_eq!(house.counts(HarmCategory::DangerousContent), HarmThreshold::Off);
}

// req: S0-04
#[tokio::test]
async fn one_that_is_replaced_or_ended_early_leaves_its_record_and_others_hear_of_it() {
    let folder = TempDir::new().unwrap();
    let clock = EndClock::new();
    let house = House::open(folder.path(), clock).await;
    house.desk.set(dangerous(HOUR)).await.unwrap();
    let again = house.desk.set(dangerous(HOUR * 3)).await.unwrap();
    assert_eq!(house.desk.active(), std::slice::from_ref(&again));
    assert!(house.desk.end("gemini", HarmCategory::DangerousContent).await.unwrap());
    assert!(!house.desk.end("gemini", HarmCategory::DangerousContent).await.unwrap());
    assert_eq!(house.counts(HarmCategory::DangerousContent), MEDIUM);
    let [set, ended] = BOTH;
    assert_eq!(records(folder.path(), &house.audit), [set, ended, set, ended]);
}

// req: S0-04
#[tokio::test]
async fn the_task_ends_an_override_on_time() {
    let folder = TempDir::new().unwrap();
    let house = House::open(folder.path(), EndClock::new()).await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    house.desk.set(dangerous(Duration::from_secs(1))).await.unwrap();
    house.desk.run(&tasks, stop.clone());
    // It counts no more at once; that it ended is recorded when the store has taken it out.
    let ended = async {
        while house.gauge() != "0" || records(folder.path(), &house.audit).len() < BOTH.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    assert_eq!(records(folder.path(), &house.audit), BOTH);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}
