//! What leaves the process as log: redacted, one line an event, rotated.

use super::*;
use flate2::read::GzDecoder;
use proptest::prelude::*;
use serde_json::Value;
use std::{fs, io::Read as _, path::Path};

const SECRET: &str = "hunter2-\"quoted\"";

fn redact(text: &str) -> std::borrow::Cow<'_, str> {
    assert!(!text.contains("break the redactor"), "as asked");
    text.replace(SECRET, "[gone]").replace("hunter2", "[gone]").into()
}

/// Logs through the real layer into a file and reads what came out.
fn logged(format: LogFormat, log: impl FnOnce()) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.log");
    let config = LogConfig { format, file: Some(path.clone()), max_field_bytes: 100, ..LogConfig::default() };
    let target = Target::File(Box::new(Rotating::open(&path, &config).unwrap()));
    let (lines, guard) = start(&config, target, false, redact, Metrics::new()).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
    drop(guard);
    fs::read_to_string(path).unwrap()
}

#[derive(Debug, thiserror::Error)]
#[error("outer {SECRET}")]
struct Outer(#[source] io::Error);

/// The same secret in the message and in every kind of field, at every level.
fn log_secrets() {
    let error = Outer(io::Error::other(format!("inner {SECRET}")));
    let error = &error as &(dyn std::error::Error + 'static);
    tracing::error!(field = SECRET, debug = ?SECRET, display = %SECRET, error, "message {SECRET}");
    tracing::warn!(field = SECRET, list = ?[SECRET], "line one\n{SECRET}");
    tracing::info!(name: "other", target: "elsewhere", field = SECRET, message = SECRET);
    tracing::debug!(some = ?Some(SECRET), "{SECRET}{SECRET}");
    tracing::trace!(field = %format_args!("a {SECRET}"), "tab\t{SECRET}\u{1b}[31m");
}

// req: S2-2.7
// req: S3-BUG-9
// req: S2-3.2
#[test]
fn no_call_of_any_level_or_kind_gets_a_secret_into_the_log() {
    for format in [LogFormat::Json, LogFormat::Text] {
        let text = logged(format, log_secrets);
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(!text.contains("hunter2") && text.matches("[gone]").count() >= 14, "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\t'), "nothing moves the cursor: {text}");
    }
}

// req: S2-3.2
#[test]
fn a_json_line_is_one_object_with_the_documented_members() {
    let text = logged(LogFormat::Json, || {
        tracing::info!(
            request_id = "req_1",
            micros = 12_u64,
            share = 0.5,
            odd = f64::NAN,
            ok = true,
            level = "mine",
            back = "a\\b\"c\u{1}",
            "request"
        );
    });
    let line: Value = serde_json::from_str(&text).unwrap();
    let expected = [
        ("level", "INFO".into()),
        ("_level", "mine".into()),
        ("message", "request".into()),
        ("target", "portcullis_telemetry::logs::tests".into()),
        ("request_id", "req_1".into()),
        ("micros", 12.into()),
        ("share", 0.5.into()),
        ("odd", Value::Null),
        ("ok", true.into()),
        ("back", "a\\b\"c\u{1}".into()),
    ];
    for (name, value) in expected {
        assert_eq!(line[name], value, "{name}: {text}");
    }
    assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
}

#[test]
fn a_field_too_long_is_cut_on_a_character_and_one_that_cannot_be_redacted_is_dropped() {
    let text = logged(LogFormat::Json, || {
        tracing::info!(long = "é".repeat(99), bad = "break the redactor hunter2", "m");
    });
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["long"], format!("{}… (198 bytes)", "é".repeat(50)));
    assert_eq!(line["bad"], "[not redactable]");
    assert_eq!(line["message"], "m");
}

#[test]
fn a_full_queue_drops_and_counts_and_never_waits() {
    let metrics = Metrics::new();
    let style = Style { json: true, colour: false, redact, max_field_bytes: 100 };
    let lines = Lines { queue: Arc::new(Batch::new()), most: 300, style, metrics: metrics.clone() };
    let queue = Arc::clone(&lines.queue);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
        for _ in 0..50 {
            tracing::info!("a line nobody takes");
        }
    });
    let mut taken = Vec::new();
    queue.take(&mut taken, Duration::ZERO, Duration::ZERO);
    let kept = taken.iter().filter(|byte| **byte == b'\n').count();
    assert!(kept > 0 && taken.len() <= 300);
    assert!(metrics.render().contains(&format!("log_lines_dropped_total {}\n", 50 - kept)));
}

fn start_time() -> i64 {
    jiff::Timestamp::now().as_second() + 1
}

fn unpack(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut text).unwrap();
    text
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_no_plain_file_is_written_to_and_never_moved() {
    use std::os::unix::fs::FileTypeExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    // Both ends, so that opening it for writing does not wait for a reader.
    let mut reader = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let config = LogConfig { file: Some(path.clone()), max_bytes: 64, ..LogConfig::default() };
    let mut log = Rotating::open(&path, &config).unwrap();
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(72);
    let line = "a line of a log that is about half as long as a file may be\n";
    for _ in 0..4 {
        log.write(line.as_bytes(), later).unwrap();
    }
    log.wait();
    assert!(std::fs::metadata(&path).unwrap().file_type().is_fifo());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was put aside");
    let mut read = vec![0; line.len() * 4];
    reader.read_exact(&mut read).unwrap();
    assert_eq!(String::from_utf8(read).unwrap(), line.repeat(4));
}

// req: S2-3.2
#[test]
fn files_rotate_by_size_and_by_age_are_packed_and_only_so_many_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.log");
    let config = LogConfig { max_bytes: 100, keep: 2, ..LogConfig::default() };
    let mut file = Rotating::open(&path, &config).unwrap();
    let at = |secs: i64| jiff::Timestamp::from_second(start_time() + secs).unwrap();
    let line = |c: char| format!("{}\n", c.to_string().repeat(59));
    for (second, c) in "abcde".chars().enumerate() {
        file.write(line(c).as_bytes(), at(i64::try_from(second).unwrap())).unwrap();
    }
    file.wait();
    assert_eq!(fs::read_to_string(&path).unwrap(), line('e'));
    let packed = rotate::old_files(&path).unwrap();
    assert_eq!(
        packed.iter().map(|file| unpack(file)).collect::<Vec<_>>(),
        [line('c'), line('d')].map(String::into_bytes)
    );
    file.write(b"short\n", at(86_500)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"short\n", "a day later a new file begins");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.wait();
        for file in rotate::old_files(&path).unwrap().iter().chain([&path]) {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o77, 0, "{}", file.display());
        }
    }
}

#[test]
fn what_a_crash_left_unpacked_is_packed_at_the_next_start_and_other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.log");
    fs::write(folder.path().join("p.log.20261121T000000000000Z"), "old\n").unwrap();
    fs::write(folder.path().join("p.log.20261121T000000000000Z.part"), "half").unwrap();
    fs::write(folder.path().join("p.log.txt"), "not ours").unwrap();
    Rotating::open(&path, &LogConfig::default()).unwrap().wait();
    let old = rotate::old_files(&path).unwrap();
    assert_eq!(old, [folder.path().join("p.log.20261121T000000000000Z.gz")]);
    assert_eq!(unpack(&old[0]), b"old\n");
    assert_eq!(fs::read(folder.path().join("p.log.txt")).unwrap(), b"not ours");
}

proptest! {
    // Each case syncs files.
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn batches_of_lines_are_never_cut_nor_lost_and_files_keep_to_their_size(
        batches in prop::collection::vec(prop::collection::vec(1_usize..80, 1..6), 1..8),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.log");
        let config = LogConfig { max_bytes: 100, keep: 1000, ..LogConfig::default() };
        let mut file = Rotating::open(&path, &config).unwrap();
        let mut expected = String::new();
        for batch in &batches {
            let lines: String = batch.iter().map(|length| "x".repeat(*length - 1) + "\n").collect();
            expected.push_str(&lines);
            file.write(lines.as_bytes(), jiff::Timestamp::now()).unwrap();
        }
        file.wait();
        let mut found = Vec::new();
        for old in rotate::old_files(&path).unwrap() {
            let part = unpack(&old);
            prop_assert!(part.len() <= 100 && part.ends_with(b"\n"));
            found.extend(part);
        }
        found.extend(fs::read(&path).unwrap());
        prop_assert_eq!(String::from_utf8(found).unwrap(), expected);
    }

}

proptest! {
    #[test]
    fn any_text_is_escaped_to_json_that_reads_back_the_same(text in "[\\PC\u{0}-\u{1f}\"\\\\]{0,40}") {
        let mut out = String::new();
        line::escape_json(&mut out, &text);
        prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
    }
}

#[test]
fn only_short_plain_words_and_our_own_ids_are_written_unseen() {
    let id = portcullis_domain::RequestId::from_parts(1, u128::MAX);
    for text in ["chat", "ok", "http_2", "", id.as_str(), "authenticated", "key:ab12cd34ef56"] {
        assert!(line::harmless(text), "{text}");
    }
    for text in
        ["key:ab", "a@b.co", "536-22-1234", "12345", "a\"b", "req_01arz3NDEKTSV4RRFFQ69G5FAV", "pwd=abcd"]
    {
        assert!(!line::harmless(text), "{text}");
    }
}

#[test]
fn a_moment_is_written_as_the_calendar_has_it() {
    // Steps that meet every month, leap days and the ends of centuries; and a day on each side of each year's end.
    let years = (0..8_030).map(|year: i64| year * 31_556_952);
    let days = (-400_i64..1_200_000).step_by(97).map(|day| day * 86_400 - 1);
    for (step, second) in
        years.chain(days).chain([0, -1, 253_402_207_200, 951_782_400, 4_107_542_399]).enumerate()
    {
        let Ok(now) = jiff::Timestamp::new(second, (step as i32 * 7_919) % 1_000_000_000) else { continue };
        let mut text = String::new();
        line::time(&mut text, now);
        assert_eq!(text, format!("{now:.6}"));
    }
}
