//! The trail proves itself. // req: S2-3.3

use super::*;

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
    assert_eq!(verify(folder.path()).unwrap(), AuditReport { files: 1, records: 5 });
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
    assert_eq!(report.records, 20);
}

#[test]
fn a_second_process_may_not_write_the_same_trail() {
    let folder = tempfile::tempdir().unwrap();
    let _first = start(folder.path(), &AuditConfig::default()).unwrap();
    assert!(matches!(start(folder.path(), &AuditConfig::default()), Err(AuditError::Locked)));
}
