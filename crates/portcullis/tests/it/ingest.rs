//! Taking in documents with the real binary: hostile files, a reading process that is confined, interruption, and death
//! at any moment. The models, the index and the processes are the product's own.

use portcullis_runtime::{Settings, knowledge::Collection};
use portcullis_testkit::process::{Refused, run};
use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    time::Instant,
};

const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");
/// How often the process is killed.
const KILLS: u32 = 50;

async fn ingest(folder: &Path, args: &[&str]) -> (i32, serde_json::Value, Refused) {
    let all: Vec<&str> = ["ingest", "docs", "--json"].iter().chain(args).copied().collect();
    let ended = run(BINARY, folder, &all, &[]).await;
    let report = serde_json::from_str(&ended.stdout).unwrap_or_default();
    (ended.code.unwrap_or(-1), report, ended)
}

fn collection(folder: &Path) -> Collection {
    let settings = Settings { data_dir: folder.join("data"), ..Settings::default() };
    let folder = settings.knowledge.folder(&settings.data_dir).join("default");
    Collection::open(&folder, "default", &settings.knowledge).expect("a collection")
}

fn home() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("docs")).unwrap();
    folder
}

/// A PDF of one page with this content stream.
fn pdf(content: &str) -> Vec<u8> {
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [4 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
    ];
    let mut out = "%PDF-1.4\n".to_owned();
    let mut places = Vec::new();
    for (n, object) in objects.iter().enumerate() {
        places.push(out.len());
        out.push_str(&format!("{} 0 obj\n{object}\nendobj\n", n + 1));
    }
    let start = out.len();
    out.push_str("xref\n0 6\n0000000000 65535 f \n");
    for place in places {
        out.push_str(&format!("{place:010} 00000 n \n"));
    }
    out.push_str(&format!("trailer << /Size 6 /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"));
    out.into_bytes()
}

// req: S2-2.6
#[tokio::test(flavor = "multi_thread")]
async fn hostile_files_end_their_reader_and_not_the_ingestion() {
    let home = home();
    let write = |name: &str, bytes: &[u8]| fs::write(home.path().join("docs").join(name), bytes).unwrap();
    write("good.md", b"# Notice\n\nThe notice period is two months.");
    write("sound.pdf", &pdf("BT /F1 11 Tf 72 700 Td (Overtime is paid double.) Tj ET"));
    write("endless.pdf", &pdf(&format!("BT /F1 9 Tf {} ET", "0 0 Td (x) Tj ".repeat(1_000_000))));
    write("deep.html", format!("<html>{}", "<div>".repeat(2_000_000)).as_bytes());
    write("broken.pdf", b"%PDF-1.7\n1 0 obj << /Type /Catalog");
    write("empty.pdf", b"");
    write("bad.txt", b"\xd0\xa1\xd1\x80\xd0\xbe\xff\xd0\xba");
    // A hundred megabytes in one line, of which no byte is on the disk.
    File::create(home.path().join("docs/line.txt")).unwrap().set_len(100 << 20).unwrap();
    // Two gigabytes, likewise.
    File::create(home.path().join("docs/film.md")).unwrap().set_len(2 << 30).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", home.path().join("docs/link.txt")).unwrap();
    let bounds = ["--set", "knowledge.extract_memory_bytes=67108864"];
    let (code, report, ended) = ingest(home.path(), &bounds).await;
    assert_eq!((code, report["added"].as_u64()), (3, Some(2)), "{} {}", ended.stdout, ended.stderr);
    let mut refused: Vec<(&str, &str)> = report["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refused| (refused["source"].as_str().unwrap(), refused["reason"].as_str().unwrap()))
        .collect();
    refused.sort_unstable();
    assert_eq!(
        refused,
        [
            ("bad.txt", "unreadable"),
            ("broken.pdf", "unreadable"),
            ("deep.html", "unreadable"),
            ("empty.pdf", "empty"),
            ("endless.pdf", "broke"),
            ("film.md", "too_large"),
            ("line.txt", "too_large"),
            ("link.txt", "outside"),
        ]
    );
    let index = collection(home.path()).current().expect("a generation");
    assert_eq!((index.documents().len(), index.len()), (2, 2));
    assert_eq!(index.chunk(1).unwrap().pages, Some((1, 1)));
}

/// A reading process that has its bounds and waits for a file.
async fn reader() -> Child {
    let mut child = Command::new(BINARY)
        .arg("extract")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let setup =
        br#"{"limits":{"text_bytes":1000,"unpacked_bytes":1000,"pages":9},"memory_bytes":67108864,"secs":5}"#;
    let mut frame = u32::try_from(setup.len()).unwrap().to_le_bytes().to_vec();
    frame.extend_from_slice(setup);
    frame.extend_from_slice(&0_u64.to_le_bytes());
    child.stdin.as_mut().expect("a pipe").write_all(&frame).await.unwrap();
    child
}

#[tokio::test]
async fn the_process_that_reads_files_may_open_nothing_and_write_nothing() {
    let child = reader().await;
    let id = child.id().expect("it runs");
    let begun = Instant::now();
    let limits = loop {
        let limits = fs::read_to_string(format!("/proc/{id}/limits")).expect("it runs");
        let row = |name: &str| {
            limits.lines().find(|row| row.starts_with(name)).map(str::to_owned).expect("a limit")
        };
        if row("Max open files").split_whitespace().nth(3) == Some("0") {
            break limits;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{limits}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    for row in ["Max file size", "Max core file size"] {
        let row = limits.lines().find(|limit| limit.starts_with(row)).unwrap();
        assert!(row.split_whitespace().any(|word| word == "0"), "{row}");
    }
    let space = limits.lines().find(|row| row.starts_with("Max address space")).unwrap();
    assert!(!space.contains("unlimited"), "{space}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingestion_says_what_went_wrong_by_its_exit_code() {
    let home = home();
    let code = |ended: &Refused| ended.code.unwrap_or(-1);
    assert_eq!(code(&run(BINARY, home.path(), &["ingest"], &[]).await), 2);
    let gone = run(BINARY, home.path(), &["ingest", "nowhere"], &[]).await;
    assert_eq!(code(&gone), 1);
    assert!(gone.stderr.contains("not affected:") && gone.stderr.contains("what to do:"), "{}", gone.stderr);
    fs::write(home.path().join("docs/a.md"), "Two months.").unwrap();
    let dry = run(BINARY, home.path(), &["ingest", "docs", "--dry-run"], &[]).await;
    assert_eq!(code(&dry), 0, "{}", dry.stderr);
    assert!(
        dry.stdout.contains("1 added") && dry.stdout.contains("would hold 1 documents"),
        "{}",
        dry.stdout
    );
    assert!(collection(home.path()).current().is_none());
    let inside = run(BINARY, home.path(), &["ingest", "http://127.0.0.1:1/"], &[]).await;
    assert_eq!(code(&inside), 3, "{}", inside.stderr);
    assert!(inside.stdout.contains("not reachable from here"), "{}", inside.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_ingestion_ends_with_130_and_publishes_nothing() {
    let home = home();
    for n in 0..400 {
        fs::write(
            home.path().join(format!("docs/{n}.md")),
            format!("Rule {n} is that it comes after {}.", n + 1),
        )
        .unwrap();
    }
    let mut child = Command::new(BINARY)
        .args(["ingest", "docs"])
        .current_dir(home.path())
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    // The collection's lock is there once signals are caught and work has begun.
    while !home.path().join("data/knowledge/default/LOCK").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let id = child.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ended = child.wait().await.unwrap();
    assert_eq!(ended.code(), Some(130));
    assert!(collection(home.path()).current().is_none());
}

/// Which version each passage of the current generation is of.
fn versions(folder: &Path) -> (usize, Vec<u32>) {
    let index = collection(folder).current().expect("a generation");
    let contents = index.contents().expect("sound passages");
    let of = |text: &str| text.split_whitespace().find_map(|word| word.parse().ok()).expect("a version");
    let mut versions: Vec<u32> = contents.chunks.iter().map(|chunk| of(&chunk.text)).collect();
    versions.dedup();
    (contents.documents.len(), versions)
}

// req: S2-2.6
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_fifty_moments_of_an_ingestion_the_last_good_generation_answers_whole() {
    let home = home();
    let write = |version: u32| {
        for n in 0..4 {
            let text = format!("Version {version} of rule number {}.", ["one", "two", "three", "four"][n]);
            fs::write(home.path().join(format!("docs/{n}.md")), text).unwrap();
        }
    };
    write(1);
    let begun = Instant::now();
    assert_eq!(ingest(home.path(), &[]).await.0, 0);
    let whole = begun.elapsed();
    let (mut last, mut published, mut random) = (1, 0, 42_u64);
    for kill in 0..KILLS {
        let next = kill + 2;
        write(next);
        let mut child = Command::new(BINARY)
            .args(["ingest", "docs"])
            .current_dir(home.path())
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = f64::from(u32::try_from(random >> 40).unwrap()) / f64::from(1_u32 << 24);
        tokio::time::sleep(whole.mul_f64(share * 1.1)).await;
        child.kill().await.unwrap();
        let (documents, versions) = versions(home.path());
        assert_eq!((documents, versions.len()), (4, 1), "kill {kill}: {versions:?}");
        assert!(versions[0] == last || versions[0] == next, "kill {kill}: {versions:?} after {last}");
        published += u32::from(versions[0] == next);
        last = versions[0];
    }
    assert!(published < KILLS, "some came too early");
    // Nobody holds the collection any more, and nothing half written is in the way.
    write(1000);
    let (code, report, ended) = ingest(home.path(), &[]).await;
    assert_eq!((code, report["documents"].as_u64()), (0, Some(4)), "{}", ended.stderr);
    assert_eq!(versions(home.path()), (4, vec![1000]));
}
