//! The trail proves itself. // req: S2-3.3

use super::{trail::files, *};
use portcullis_domain::{Action, Door, Tier};
use std::{
    fs::{self, OpenOptions},
    io::Write as _,
};

fn event(kind: &'static str, index: usize) -> AuditEvent {
    AuditEvent {
        action: Some(Action::Chat),
        caller: Some("key:alice".into()),
        tier: Some(Tier::Premium),
        details: vec![("index", index.to_string()), ("note", "my secret word".into())],
        ..AuditEvent::new(kind, Door::Http, "refused")
    }
}

mod tamper;

/// The defaults, with nothing written beside the folder.
fn config() -> AuditConfig {
    AuditConfig { anchors: Vec::new(), ..AuditConfig::default() }
}

fn start(folder: &Path, config: &AuditConfig) -> Result<Audit, AuditError> {
    let redact: Redact = |text| text.replace("secret", "[…]").into();
    Audit::start(AuditParts {
        config,
        folder,
        id_key: b"a key of this test",
        sign_key: b"a signing key of this test",
        redact,
        metrics: Metrics::new(),
        alerts: Alerts::silent(),
    })
}

fn trail(folder: &Path, records: usize) -> Vec<String> {
    let audit = start(folder, &config()).unwrap();
    for index in 0..records {
        audit.record(event("limit_breach", index));
    }
    audit.seal(Duration::from_secs(30));
    let path = files(folder).unwrap().pop().unwrap();
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_trail_holds_hides_the_caller_and_redacts() {
    let folder = tempfile::tempdir().unwrap();
    let lines = trail(folder.path(), 5);
    let report = verify(folder.path()).unwrap();
    assert_eq!((report.files, report.records, report.first, report.last), (1, 7, 1, 7), "{report:?}");
    assert_eq!((report.checkpoints, report.signed_to, report.trusted), (2, 7, false), "beginning and end");
    let text = lines.join("\n");
    assert!(
        !text.contains("alice") && !text.contains("secret") && text.contains("\"caller\":\"h:"),
        "{text}"
    );
}

#[test]
fn the_chain_goes_on_after_a_restart_a_torn_line_and_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditConfig { max_bytes: 1_000, ..config() };
    for round in 0..4 {
        let audit = loop {
            // The writer of the round before lets go of the lock when its thread ends.
            match start(folder.path(), &config) {
                Ok(audit) => break audit,
                Err(AuditError::Locked) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        for index in 0..5 {
            audit.record(event("limit_breach", index));
            audit.flush(Duration::from_secs(30));
        }
        drop(audit);
        if round == 1 {
            let path = files(folder.path()).unwrap().pop().unwrap();
            loop {
                let lock = OpenOptions::new().write(true).open(folder.path().join("lock")).unwrap();
                if lock.try_lock().is_ok() {
                    break;
                }
            }
            OpenOptions::new().append(true).open(path).unwrap().write_all(b"{\"seq\":99,\"half").unwrap();
        }
    }
    let report = verify(folder.path()).unwrap();
    assert!(report.files > 1, "{report:?}");
    assert_eq!(report.records - report.checkpoints, 21, "twenty, and one about the torn line");
    assert!(report.checkpoints >= 8, "beginnings, ends, full files: {report:?}");
}

#[test]
fn a_second_process_may_not_write_the_same_trail() {
    let folder = tempfile::tempdir().unwrap();
    let _first = start(folder.path(), &config()).unwrap();
    assert!(matches!(start(folder.path(), &config()), Err(AuditError::Locked)));
}

/// Starts again as soon as the writer before has let go of the lock.
fn restart(folder: &Path) -> Audit {
    loop {
        match start(folder, &config()) {
            Ok(audit) => return audit,
            Err(AuditError::Locked) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn kinds(folder: &Path) -> Vec<String> {
    let all = files(folder).unwrap();
    let text: String = all.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let kind = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].to_string();
    text.lines().map(|line| kind(line).trim_matches('"').to_owned()).collect()
}

#[test]
fn what_a_crash_tore_is_set_aside_and_becomes_a_record() {
    let folder = tempfile::tempdir().unwrap();
    trail(folder.path(), 3);
    unlocked(folder.path());
    let path = files(folder.path()).unwrap().pop().unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":6,\"half").unwrap();
    let fault = broken(verify(folder.path()));
    assert_eq!((fault.line, fault.kind, &*fault.what), (6, FaultKind::Truncated, "is cut off"));
    // An empty newest file: the process died between making it and its first record.
    fs::write(folder.path().join("audit-000000000006.jsonl"), "").unwrap();
    restart(folder.path()).flush(Duration::from_secs(30));
    assert!(
        verify(folder.path()).is_err(),
        "the torn line is not in the newest file: it is named, not hidden"
    );
    fs::remove_file(folder.path().join("audit-000000000006.jsonl")).unwrap();
    let audit = restart(folder.path());
    audit.record(event("key_created", 0));
    audit.flush(Duration::from_secs(30));
    assert_eq!(verify(folder.path()).unwrap().records, 8);
    assert_eq!(kinds(folder.path())[5..], ["audit_recovered", "checkpoint", "key_created"]);
    let aside = fs::read_dir(folder.path()).unwrap().filter_map(Result::ok);
    let aside: Vec<_> = aside.filter(|file| file.file_name().to_string_lossy().contains("torn")).collect();
    assert_eq!(fs::read(aside[0].path()).unwrap(), b"{\"seq\":6,\"half");
}

#[test]
fn a_trail_somebody_changed_goes_on_and_checking_still_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = trail(folder.path(), 3);
    unlocked(folder.path());
    let path = files(folder.path()).unwrap().pop().unwrap();
    lines[4] = "not a record".into();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let audit = restart(folder.path());
    audit.record(event("key_created", 0));
    audit.flush(Duration::from_secs(30));
    let fault = broken(verify(folder.path()));
    assert_eq!((fault.line, fault.kind), (5, FaultKind::Unreadable));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"seq\":6,") && text.contains("audit_damaged"), "{text}");
}

/// The first bad line.
fn broken(found: Result<AuditReport, AuditError>) -> Fault {
    match found {
        Err(AuditError::Broken(fault)) => *fault,
        found => panic!("{found:?}"),
    }
}

/// Waits until the writer before has let go of the lock.
fn unlocked(folder: &Path) {
    while fs::File::open(folder.join("lock")).unwrap().try_lock().is_err() {
        std::thread::yield_now();
    }
}

/// A trail whose folder has gone away, as a disk does, and the lines it has when the folder is back.
fn interrupted(when_full: WhenFull, records: usize) -> (Vec<bool>, Vec<String>, AuditReport) {
    let outer = tempfile::tempdir().unwrap();
    let (folder, away) = (outer.path().join("audit"), outer.path().join("away"));
    let config = AuditConfig { buffer: 10, flush_ms: 1, max_bytes: 1, when_full, ..config() };
    let audit = start(&folder, &config).unwrap();
    audit.flush(Duration::from_secs(30));
    // The file is full, and where it is no new one can be made.
    fs::rename(&folder, &away).unwrap();
    audit.record(event("key_created", 0));
    // The writer now holds one record it cannot write; what follows stays in the buffer.
    let failing = || audit.handle.0.metrics.render().contains("audit_failures_total 0");
    while failing() {
        std::thread::yield_now();
    }
    let accepts = (1..records).map(|index| {
        audit.record(event("limit_breach", index));
        audit.accepts()
    });
    let accepts = accepts.collect();
    fs::rename(&away, &folder).unwrap();
    audit.flush(Duration::from_secs(30));
    // The gap is written just behind the flush.
    audit.flush(Duration::from_secs(30));
    assert!(audit.accepts());
    let mut kinds = kinds(&folder);
    kinds.retain(|kind| kind != "checkpoint");
    (accepts, kinds, verify(&folder).unwrap())
}

#[test]
fn a_full_buffer_refuses_new_requests_and_loses_nothing_of_those_under_way() {
    let (accepts, kinds, report) = interrupted(WhenFull::Refuse, 16);
    assert_eq!(accepts.iter().position(|accepts| !accepts), Some(9), "{accepts:?}");
    assert_eq!((report.records - report.checkpoints, kinds.len()), (16, 16));
}

#[test]
fn with_continue_requests_go_on_and_the_gap_is_a_record() {
    let (accepts, kinds, report) = interrupted(WhenFull::Continue, 31);
    assert!(accepts.iter().all(|accepts| *accepts) && report.last == report.records);
    assert_eq!(kinds.len(), 12, "one held, ten buffered, one about the twenty lost");
    assert_eq!(kinds.iter().filter(|kind| *kind == "audit_gap").count(), 1);
}

#[tokio::test]
async fn a_record_that_is_waited_for_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditConfig { flush_ms: 60_000, ..config() };
    let audit = start(folder.path(), &config).unwrap();
    audit.record(event("limit_breach", 0));
    assert!(audit.record_synced(event("key_revoked", 1), Duration::from_secs(30)).await);
    assert_eq!(kinds(folder.path()), ["checkpoint", "limit_breach", "key_revoked"]);
}

#[test]
fn files_beyond_their_age_go_with_a_record_and_the_rest_still_holds() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditConfig { max_bytes: 1, ..config() };
    let audit = start(folder.path(), &config).unwrap();
    for index in 0..4 {
        audit.record(event("limit_breach", index));
        audit.flush(Duration::from_secs(30));
    }
    drop(audit);
    unlocked(folder.path());
    let all = files(folder.path()).unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(401 * 86_400);
    for path in &all[..2] {
        OpenOptions::new().write(true).open(path).unwrap().set_modified(old).unwrap();
    }
    let first = trail::first_seq(&all[2]).unwrap();
    drop(restart(folder.path()));
    unlocked(folder.path());
    let left = files(folder.path()).unwrap();
    assert!(!left.contains(&all[0]) && !left.contains(&all[1]), "{left:?}");
    assert_eq!(verify(folder.path()).unwrap().first, first);
    assert!(kinds(folder.path()).contains(&"audit_forgotten".to_owned()));
    // What somebody else removed has no record.
    fs::remove_file(&all[2]).unwrap();
    let fault = broken(verify(folder.path()));
    assert_eq!((fault.kind, fault.line), (FaultKind::Removed, 1), "{fault}");
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_the_trail_and_a_detail_is_cut() {
    use std::os::unix::fs::PermissionsExt as _;
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("audit");
    let audit = start(&folder, &config()).unwrap();
    let mut long = event("inspection", 0);
    long.details = vec![("long", "é".repeat(5_000))];
    audit.record(long);
    audit.flush(Duration::from_secs(30));
    for path in files(&folder).unwrap().iter().chain([&folder]) {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o77, 0);
        assert!(fs::metadata(path).unwrap().len() < 5_000);
    }
}
