//! The trail proves itself. // req: S2-3.3

use super::{verify::files, *};
use std::{
    fs::{self, OpenOptions},
    io::Write as _,
};

fn event(kind: &'static str, index: usize) -> AuditEvent {
    AuditEvent {
        kind,
        door: Door::Http,
        action: Some(Action::Chat),
        caller: Some("key:alice".into()),
        tier: Some(Tier::Premium),
        outcome: "refused",
        request_id: None,
        incident: None,
        details: vec![("index", index.to_string()), ("note", "my secret word".into())],
    }
}

fn start(folder: &Path, config: &AuditConfig) -> Result<Audit, AuditError> {
    let redact: Redact = |text| text.replace("secret", "[…]").into();
    Audit::start(config, folder, b"a key of this test", redact, Metrics::new(), Alerts::silent())
}

fn trail(folder: &Path, records: usize) -> Vec<String> {
    let audit = start(folder, &AuditConfig::default()).unwrap();
    for index in 0..records {
        audit.record(event("limit_breach", index));
    }
    audit.flush(Duration::from_secs(30));
    let path = files(folder).unwrap().pop().unwrap();
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_trail_holds_hides_the_caller_and_redacts() {
    let folder = tempfile::tempdir().unwrap();
    let lines = trail(folder.path(), 5);
    assert_eq!(verify(folder.path()).unwrap(), AuditReport { files: 1, records: 5, first: 1, last: 5 });
    let text = lines.join("\n");
    assert!(
        !text.contains("alice") && !text.contains("secret") && text.contains("\"caller\":\"h:"),
        "{text}"
    );
}

#[test]
fn a_line_removed_changed_swapped_or_doubled_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let lines = trail(folder.path(), 6);
    let path = files(folder.path()).unwrap().pop().unwrap();
    let table: [(&str, Vec<String>, usize); 4] = [
        ("removed", [&lines[..2], &lines[3..]].concat(), 3),
        ("doubled", [&lines[..3], &lines[2..]].concat(), 4),
        (
            "swapped",
            {
                let mut l = lines.clone();
                l.swap(2, 3);
                l
            },
            3,
        ),
        (
            "changed",
            {
                let mut l = lines.clone();
                l[2] = l[2].replace("refused", "ok");
                l
            },
            4,
        ),
    ];
    for (what, changed, at) in table {
        fs::write(&path, changed.join("\n") + "\n").unwrap();
        match verify(folder.path()) {
            Err(AuditError::Broken { line, .. }) => assert_eq!(line, at, "{what}"),
            found => panic!("{what}: {found:?}"),
        }
    }
}

#[test]
fn the_chain_goes_on_after_a_restart_a_torn_line_and_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditConfig { max_bytes: 1_000, ..AuditConfig::default() };
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
    assert_eq!(report.records, 21, "twenty, and one about the torn line");
}

#[test]
fn a_second_process_may_not_write_the_same_trail() {
    let folder = tempfile::tempdir().unwrap();
    let _first = start(folder.path(), &AuditConfig::default()).unwrap();
    assert!(matches!(start(folder.path(), &AuditConfig::default()), Err(AuditError::Locked)));
}

/// Starts again as soon as the writer before has let go of the lock.
fn restart(folder: &Path) -> Audit {
    loop {
        match start(folder, &AuditConfig::default()) {
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
    let path = files(folder.path()).unwrap().pop().unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":4,\"half").unwrap();
    assert!(matches!(verify(folder.path()), Err(AuditError::Broken { line: 4, what: "is cut off", .. })));
    // An empty newest file: the process died between making it and its first record.
    fs::write(folder.path().join("audit-000000000004.jsonl"), "").unwrap();
    restart(folder.path()).flush(Duration::from_secs(30));
    assert!(
        verify(folder.path()).is_err(),
        "the torn line is not in the newest file: it is named, not hidden"
    );
    fs::remove_file(folder.path().join("audit-000000000004.jsonl")).unwrap();
    let audit = restart(folder.path());
    audit.record(event("key_created", 0));
    audit.flush(Duration::from_secs(30));
    assert_eq!(verify(folder.path()).unwrap().records, 5);
    assert_eq!(kinds(folder.path())[3..], ["audit_recovered", "key_created"]);
    let aside = fs::read_dir(folder.path()).unwrap().filter_map(Result::ok);
    let aside: Vec<_> = aside.filter(|file| file.file_name().to_string_lossy().contains("torn")).collect();
    assert_eq!(fs::read(aside[0].path()).unwrap(), b"{\"seq\":4,\"half");
}

#[test]
fn a_trail_somebody_changed_goes_on_and_checking_still_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = trail(folder.path(), 3);
    let path = files(folder.path()).unwrap().pop().unwrap();
    lines[2] = "not a record".into();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let audit = restart(folder.path());
    audit.record(event("key_created", 0));
    audit.flush(Duration::from_secs(30));
    match verify(folder.path()) {
        Err(AuditError::Broken { line: 3, what: "is not a record", .. }) => {}
        found => panic!("{found:?}"),
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"seq\":4,") && text.contains("audit_damaged"), "{text}");
}

/// A trail whose folder has gone away, as a disk does, and the lines it has when the folder is back.
fn interrupted(when_full: WhenFull, records: usize) -> (Vec<bool>, Vec<String>, AuditReport) {
    let outer = tempfile::tempdir().unwrap();
    let (folder, away) = (outer.path().join("audit"), outer.path().join("away"));
    let config = AuditConfig { buffer: 10, flush_ms: 1, when_full, ..AuditConfig::default() };
    let audit = start(&folder, &config).unwrap();
    fs::rename(&folder, &away).unwrap();
    audit.record(event("key_created", 0));
    // The writer now holds one record it cannot write; what follows stays in the buffer.
    let failing = || audit.0.0.metrics.render().contains("audit_failures_total 0");
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
    (accepts, kinds(&folder), verify(&folder).unwrap())
}

#[test]
fn a_full_buffer_refuses_new_requests_and_loses_nothing_of_those_under_way() {
    let (accepts, kinds, report) = interrupted(WhenFull::Refuse, 16);
    assert_eq!(accepts.iter().position(|accepts| !accepts), Some(9), "{accepts:?}");
    assert_eq!((report.records, kinds.len()), (16, 16));
}

#[test]
fn with_continue_requests_go_on_and_the_gap_is_a_record() {
    let (accepts, kinds, report) = interrupted(WhenFull::Continue, 31);
    assert!(accepts.iter().all(|accepts| *accepts));
    assert_eq!(report.records, 12, "one held, ten buffered, one about the twenty lost");
    assert_eq!(kinds.iter().filter(|kind| *kind == "audit_gap").count(), 1);
}

#[tokio::test]
async fn a_record_that_is_waited_for_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditConfig { flush_ms: 60_000, ..AuditConfig::default() };
    let audit = start(folder.path(), &config).unwrap();
    audit.record(event("limit_breach", 0));
    assert!(audit.record_synced(event("key_revoked", 1), Duration::from_secs(30)).await);
    assert_eq!(kinds(folder.path()), ["limit_breach", "key_revoked"]);
}

#[test]
fn files_beyond_their_age_go_and_the_rest_still_holds() {
    let folder = tempfile::tempdir().unwrap();
    let config = AuditConfig { max_bytes: 1, ..AuditConfig::default() };
    let audit = start(folder.path(), &config).unwrap();
    for index in 0..4 {
        audit.record(event("limit_breach", index));
        audit.flush(Duration::from_secs(30));
    }
    drop(audit);
    let old = std::time::SystemTime::now() - Duration::from_secs(401 * 86_400);
    for path in &files(folder.path()).unwrap()[..2] {
        OpenOptions::new().write(true).open(path).unwrap().set_modified(old).unwrap();
    }
    drop(restart(folder.path()));
    let report = verify(folder.path()).unwrap();
    assert_eq!(report, AuditReport { files: 2, records: 2, first: 3, last: 4 });
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_the_trail_and_a_detail_is_cut() {
    use std::os::unix::fs::PermissionsExt as _;
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("audit");
    let audit = start(&folder, &AuditConfig::default()).unwrap();
    let mut long = event("inspection", 0);
    long.details = vec![("long", "é".repeat(5_000))];
    audit.record(long);
    audit.flush(Duration::from_secs(30));
    for path in files(&folder).unwrap().iter().chain([&folder]) {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o77, 0);
        assert!(fs::metadata(path).unwrap().len() < 5_000);
    }
}
