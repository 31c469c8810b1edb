//! Whatever is done to the files of a trail is found, at its place. The trail has several files, several starts and
//! ends with a checkpoint that is anchored outside, as every trail does that was closed in order.

use super::*;
use proptest::prelude::*;
use std::sync::OnceLock;

/// What is done to a trail whose lines are numbered from 0.
#[derive(Clone, Debug)]
enum Harm {
    /// A line goes.
    Remove(usize),
    /// One byte of all files changes: its place, and what is added to it.
    Change(usize, u8),
    Swap(usize, usize),
    /// A line stands again, before that other one.
    Double(usize, usize),
    /// Everything behind so many bytes goes.
    Cut(usize),
    /// A whole file goes.
    Lose(usize),
}

struct Whole {
    files: Vec<(String, Vec<u8>)>,
    anchors: Anchors,
    keys: Vec<String>,
}

impl Whole {
    fn lines(&self) -> Vec<(usize, Vec<u8>)> {
        let lines = self.files.iter().enumerate().flat_map(|(file, (_, bytes))| {
            bytes.split_inclusive(|byte| *byte == b'\n').map(move |line| (file, line.to_vec()))
        });
        lines.collect()
    }
}

/// One trail for all cases.
fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("audit");
        let config = AuditConfig { max_bytes: 2_500, ..AuditConfig::default() };
        for _ in 0..3 {
            let audit = start(&folder, &config).unwrap();
            for index in 0..11 {
                let kind = if index % 3 == 0 { "key_created" } else { "limit_breach" };
                audit.record(event(kind, index));
                if index % 4 == 0 {
                    audit.flush(Duration::from_secs(30));
                }
            }
            audit.seal(Duration::from_secs(30));
            drop(audit);
            unlocked(&folder);
        }
        let mut anchors = Anchors::default();
        anchors.read(&default_file(&folder)).unwrap();
        let paths = files(&folder).unwrap();
        let read =
            |path: &PathBuf| (path.file_name().unwrap().to_string_lossy().into(), fs::read(path).unwrap());
        let files: Vec<_> = paths.iter().map(read).collect();
        assert!(files.len() > 3, "{}", files.len());
        Whole { files, anchors, keys: vec![public_key(b"a signing key of this test").unwrap()] }
    })
}

fn checked(files: &[(String, Vec<u8>)], anchors: Anchors) -> Result<AuditReport, AuditError> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    check(folder.path(), &Scope { keys: whole().keys.clone(), anchors, from: None, to: None }, &mut |_, _| {})
}

/// The files of these lines.
fn joined(lines: &[(usize, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = whole().files.iter().map(|(name, _)| (name.clone(), Vec::new())).collect();
    for (file, line) in lines {
        files[*file].1.extend_from_slice(line);
    }
    files
}

/// File and line of the line with that number, before anything was done.
fn place(number: usize) -> (String, usize) {
    let lines = whole().lines();
    let file = lines[number].0;
    let before = lines[..number].iter().filter(|line| line.0 == file).count();
    (whole().files[file].0.clone(), before + 1)
}

/// The line that holds that byte of all files together.
fn line_at(byte: usize) -> usize {
    let mut end = 0;
    whole()
        .lines()
        .iter()
        .position(|(_, line)| {
            end += line.len();
            byte < end
        })
        .unwrap()
}

#[test]
fn a_whole_trail_holds_with_its_anchors() {
    let report = checked(&whole().files, whole().anchors.clone()).unwrap();
    assert_eq!(report.records as usize, whole().lines().len());
    assert_eq!((report.signed_to, report.anchored_to), (report.last, report.last), "{report:?}");
    assert!(report.trusted && report.keys.len() == 1 && report.anchors > 5, "{report:?}");
}

/// A file: its name and what is in it.
type Named = (String, Vec<u8>);
/// File and line.
type Place = (String, usize);

/// Does it, and says where it must be found (none: anywhere) and as what.
fn harmed(harm: &Harm) -> (Vec<Named>, Option<Place>, Vec<FaultKind>) {
    use FaultKind::*;
    let mut lines = whole().lines();
    let count = lines.len();
    match *harm {
        Harm::Remove(at) => {
            let at = at % count;
            let file = lines.remove(at).0;
            let found = match lines.get(at) {
                // The line after it stands one higher, where it is in the same file.
                Some((same, _)) if *same == file => place(at),
                Some(_) => place(at + 1),
                None => place(at - 1),
            };
            (joined(&lines), Some(found), if at + 1 == count { vec![Truncated] } else { vec![Removed] })
        }
        Harm::Change(byte, by) => {
            let total: usize = lines.iter().map(|(_, line)| line.len()).sum();
            let at = line_at(byte % total);
            let start: usize = lines[..at].iter().map(|(_, line)| line.len()).sum();
            let changed = &mut lines[at].1[byte % total - start];
            *changed = changed.wrapping_add(by.max(1));
            (joined(&lines), Some(place(at)), vec![Changed, Unreadable, Signature, Truncated, Format])
        }
        Harm::Swap(one, other) => {
            let (one, other) = (one % count, other % count);
            let (one, other) = if one == other { (0, 1) } else { (one.min(other), one.max(other)) };
            let kept = std::mem::take(&mut lines[one].1);
            lines[one].1 = std::mem::replace(&mut lines[other].1, kept);
            (joined(&lines), Some(place(one)), vec![Swapped])
        }
        Harm::Double(one, before) => {
            let (one, before) = (one % count, before % count);
            let (file, line) = (lines[before].0, lines[one].1.clone());
            lines.insert(before, (file, line));
            // Before itself it is its own place: the one that is too many stands behind.
            let found = if one == before { (place(before).0, place(before).1 + 1) } else { place(before) };
            (joined(&lines), Some(found), vec![Duplicated, Swapped])
        }
        Harm::Cut(byte) => {
            let total: usize = lines.iter().map(|(_, line)| line.len()).sum();
            let at = line_at(byte % total);
            let start: usize = lines[..at].iter().map(|(_, line)| line.len()).sum();
            let keep = byte % total - start;
            lines.truncate(at + 1);
            lines[at].1.truncate(keep);
            // Cut between two lines, the one before is the last.
            let found = if keep > 0 { Some(place(at)) } else { at.checked_sub(1).map(place) };
            (joined(&lines), found, vec![Truncated])
        }
        Harm::Lose(file) => {
            let mut files = whole().files.clone();
            let at = file % files.len();
            files.remove(at);
            let (found, kind) = match files.get(at) {
                Some(next) => ((next.0.clone(), 1), Removed),
                None => (place(count - 1 - lines.iter().filter(|line| line.0 == at).count()), Truncated),
            };
            (files, Some(found), vec![kind])
        }
    }
}

fn harm() -> impl Strategy<Value = Harm> {
    let any = || 0..1_000_000_usize;
    prop_oneof![
        any().prop_map(Harm::Remove),
        (any(), 1..=255_u8).prop_map(|(at, by)| Harm::Change(at, by)),
        (any(), any()).prop_map(|(one, other)| Harm::Swap(one, other)),
        (any(), any()).prop_map(|(one, before)| Harm::Double(one, before)),
        any().prop_map(Harm::Cut),
        any().prop_map(Harm::Lose),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    // req: S2-3.3
    #[test]
    fn whatever_is_removed_changed_swapped_doubled_or_cut_is_named_with_its_place(harm in harm()) {
        let (files, found, kinds) = harmed(&harm);
        let fault = broken(checked(&files, whole().anchors.clone()));
        prop_assert!(kinds.contains(&fault.kind), "{harm:?}: {fault:?}");
        if let Some((file, line)) = found {
            prop_assert_eq!((&fault.file, fault.line), (&file, line), "{:?}: {:?}", harm, fault);
        }
    }
}

// req: S2-3.3
#[test]
fn every_single_byte_of_a_small_trail_counts() {
    let files = &whole().files;
    let last = files.len() - 1;
    for at in 0..files[last].1.len() {
        let mut files = files.clone();
        files[last].1[at] ^= 0x01;
        let fault = broken(checked(&files, whole().anchors.clone()));
        let line = files[last].1[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        assert_eq!((&fault.file, fault.line), (&files[last].0, line), "byte {at}: {fault:?}");
    }
}

/// The lines chained anew, as somebody does who can write the files; checkpoints are signed anew with that key.
fn forged(lines: &[String], sign: Option<&checkpoint::Signer>) -> Vec<u8> {
    let (mut out, mut prev) = (Vec::new(), String::new());
    for line in lines {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let mut line =
            line.replace(&format!("\"prev\":\"{}\"", text("prev")), &format!("\"prev\":\"{prev}\""));
        let start = out.len();
        if let (Some(signer), "checkpoint") = (sign, &*text("kind")) {
            line = line.replace(&text("signer"), &signer.public).split(",\"sig\"").next().unwrap().to_owned()
                + "}";
            out.extend(line.as_bytes());
            signer.sign(&mut out, start);
        } else {
            out.extend(line.as_bytes());
        }
        prev = trail::hash(&out[start..]);
        out.push(b'\n');
    }
    out
}

#[test]
fn a_trail_that_was_rewritten_whole_is_betrayed_by_its_signatures() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = trail(folder.path(), 6);
    unlocked(folder.path());
    let keys = vec![public_key(b"a signing key of this test").unwrap()];
    let scope = Scope { keys, ..Scope::default() };
    lines[3] = lines[3].replace("refused", "ok");
    let path = files(folder.path()).unwrap().pop().unwrap();
    fs::write(&path, forged(&lines, None)).unwrap();
    let fault = broken(check(folder.path(), &scope, &mut |_, _| {}));
    assert_eq!((fault.kind, fault.line), (FaultKind::Signature, 8), "{fault}");
    assert!(fault.what.contains("from 2 on"), "{fault}");
    let stranger = checkpoint::Signer::new(b"somebody else's").unwrap();
    fs::write(&path, forged(&lines, Some(&stranger))).unwrap();
    verify(folder.path()).expect("without a key to hold it against, the forger's is believed");
    let fault = broken(check(folder.path(), &scope, &mut |_, _| {}));
    assert!(fault.kind == FaultKind::Signature && fault.what.contains("not ours"), "{fault}");
    // Who has the key itself is betrayed by what was anchored before.
    let own = checkpoint::Signer::new(b"a signing key of this test").unwrap();
    let anchored = Anchors(vec![lines[0].clone(), lines[7].clone()]);
    fs::write(&path, forged(&lines, Some(&own))).unwrap();
    check(folder.path(), &scope, &mut |_, _| {}).expect("nothing else tells");
    let fault = broken(check(folder.path(), &Scope { anchors: anchored, ..scope }, &mut |_, _| {}));
    assert_eq!((fault.kind, fault.line), (FaultKind::Changed, 8), "{fault}");
}

#[test]
fn a_cut_off_end_shows_by_its_anchors_only() {
    let files = &whole().files[..2];
    let report = checked(files, Anchors::default()).expect("a shorter trail is a trail");
    assert_eq!(report.anchored_to, 0);
    let fault = broken(checked(files, whole().anchors.clone()));
    assert!(fault.kind == FaultKind::Truncated && fault.seq == Some(report.last), "{fault}");
    assert!(fault.what.contains("were cut off"), "{fault}");
    let fault = broken(checked(&[], whole().anchors.clone()));
    assert_eq!((fault.kind, fault.line, fault.seq), (FaultKind::Truncated, 0, None));
}

/// Three lines as version 0.1.0 wrote them.
fn old() -> Vec<String> {
    let mut prev = String::new();
    let line = |seq: usize| {
        let line = format!(
            r#"{{"seq":{seq},"at":"2026-01-0{seq}T00:00:00Z","kind":"auth_failure","door":"http","outcome":"missing","details":{{}},"prev":"{prev}"}}"#
        );
        prev = trail::hash(line.as_bytes());
        line
    };
    (1..=3).map(line).collect()
}

#[test]
fn a_trail_of_an_earlier_version_is_named_as_such_and_signed_as_it_was_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("audit-000000000001.jsonl"), old().join("\n") + "\n").unwrap();
    let report = verify(folder.path()).unwrap();
    assert_eq!((report.format_1, report.records, report.checkpoints, report.signed_to), (3, 3, 0, 0));
    restart(folder.path()).seal(Duration::from_secs(30));
    unlocked(folder.path());
    let report = verify(folder.path()).unwrap();
    assert_eq!((report.format_1, report.records, report.signed_to), (3, 4, 4), "{report:?}");
    let path = folder.path().join("audit-000000000001.jsonl");
    let later = fs::read_to_string(&path).unwrap().replace("{\"v\":2,", "{\"v\":3,");
    fs::write(&path, later).unwrap();
    assert_eq!(broken(verify(folder.path())).kind, FaultKind::Format);
}

#[test]
fn a_line_under_way_is_no_fault_while_its_process_lives() {
    let folder = tempfile::tempdir().unwrap();
    let audit = start(folder.path(), &config()).unwrap();
    audit.flush(Duration::from_secs(30));
    let path = files(folder.path()).unwrap().pop().unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"v\":2,").unwrap();
    assert!(verify(folder.path()).unwrap().live);
    drop(audit);
    unlocked(folder.path());
    assert_eq!(broken(verify(folder.path())).kind, FaultKind::Truncated);
}

#[test]
fn checkpoints_come_by_time_and_anchors_hold_them_line_by_line() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("audit");
    let kept = outer.path().join("elsewhere.jsonl");
    fs::write(&kept, "{\"torn").unwrap();
    let anchors = vec![AuditAnchor::File { path: Some(kept.clone()) }];
    let config = AuditConfig { anchors, checkpoint_secs: 1, ..AuditConfig::default() };
    let audit = start(&folder, &config).unwrap();
    audit.flush(Duration::from_secs(30));
    let mut checkpoints = audit.checkpoints();
    checkpoints.mark_unchanged();
    audit.record(event("limit_breach", 0));
    while !checkpoints.has_changed().unwrap() {
        std::thread::yield_now();
    }
    let newest = checkpoints.borrow().clone().unwrap();
    assert!(newest.contains("\"reason\":\"time\""), "{newest}");
    let mut anchors = Anchors::default();
    anchors.read(&kept).unwrap();
    assert_eq!(anchors.0.len(), 3, "the torn one, the start, the time: {anchors:?}");
    assert_eq!(*anchors.0[2], *newest);
    assert_eq!(check(&folder, &Scope { anchors, ..Scope::default() }, &mut |_, _| {}).unwrap().anchors, 2);
}

#[test]
fn what_is_shown_and_exported_is_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let lines = trail(folder.path(), 5);
    let all = show(folder.path(), &Wanted::default(), 100).unwrap();
    assert_eq!(all.len(), 5, "no checkpoints");
    assert_eq!(show(folder.path(), &Wanted::default(), 2).unwrap()[1]["details"]["index"], "4");
    let name = Pseudonyms::new(b"a key of this test").of("key:alice");
    let wanted =
        |callers: Vec<String>| Wanted { callers, kinds: vec!["limit_breach".into()], ..Wanted::default() };
    assert_eq!(show(folder.path(), &wanted(vec![name]), 100).unwrap().len(), 5);
    assert_eq!(show(folder.path(), &wanted(vec!["h:another".into()]), 100).unwrap().len(), 0);
    let later = Wanted { from: Some(jiff::Timestamp::MAX), ..Wanted::default() };
    assert_eq!(show(folder.path(), &later, 100).unwrap().len(), 0);
    let mut out = Vec::new();
    assert_eq!(export(folder.path(), &Wanted::default(), &mut out).unwrap(), 5);
    assert_eq!(String::from_utf8(out).unwrap().lines().collect::<Vec<_>>(), lines[1..6]);
}
