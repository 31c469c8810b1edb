//! The audit trail of the real binary: killed at random moments, looked into beside it and without it, changed.

use crate::support::{BINARY, WIDE, chat, get, post};
use portcullis_testkit::process::{Options, Refused, Server, run};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

const CHAT: &str = "/v1/chat/completions";

async fn start(config: &str) -> Server {
    let options = Options::config(format!("[auth]\nfailures = 0\n{WIDE}\n{config}"));
    Server::start(BINARY, options).await.unwrap_or_else(|refused| panic!("{refused:?}"))
}

async fn audit(server: &Server, args: &[&str]) -> Refused {
    let args = [&["audit"], args].concat();
    run(BINARY, server.folder(), &args, &[("PORTCULLIS_CONFIG", "portcullis.toml")]).await
}

async fn verified(server: &Server) -> Value {
    let ended = audit(server, &["verify", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

fn files(server: &Server) -> Vec<PathBuf> {
    let folder = fs::read_dir(server.folder().join("data/audit")).unwrap();
    let mut all: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|kind| kind == "jsonl"));
    all.sort();
    all
}

/// Every record of that kind.
fn records(server: &Server, kind: &str) -> Vec<Value> {
    let text: String =
        files(server).iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect();
    let values = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    values.filter(|value| value["kind"] == kind).collect()
}

/// Makes keys and is refused without one, for a while; what was answered.
async fn offend(server: &Server, admin_key: &str) -> (BTreeSet<String>, usize) {
    let (admin, http) = (server.admin().unwrap(), server.address());
    // Any moment of the work below: the clock is the dice.
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    let until =
        tokio::time::sleep(Duration::from_millis(20) + Duration::from_micros(u64::from(nanos % 400_000)));
    let (mut made, mut refused) = (BTreeSet::new(), 0);
    let work = async {
        loop {
            let definition = json!({"name": "a test", "scopes": ["chat"]});
            let key = post(admin, "/admin/v1/keys", admin_key, &definition).await;
            if key.status == 201 {
                made.insert(key.json()["id"].as_str().unwrap().to_owned());
            }
            let bad = format!("pcl_nobody000000_{}", "0".repeat(43));
            assert_eq!(post(http, CHAT, &bad, &chat(false)).await.status, 401);
            refused += 1;
        }
    };
    tokio::select! {
        () = until => {}
        () = work => {}
    }
    (made, refused)
}

// req: S2-3.3
#[tokio::test]
async fn kill_9_at_random_moments_leaves_a_trail_that_holds_and_loses_no_security_event_that_was_answered() {
    let mut server = start("[audit]\nmax_bytes = 65536\ncheckpoint_secs = 1\n").await;
    let admin_key = server.key().expect("printed once");
    let (mut made, mut refused) = (BTreeSet::new(), 0);
    for round in 0..8 {
        let (keys, failures) = offend(&server, &admin_key).await;
        server.kill();
        made.extend(keys);
        refused += failures;
        let proved: BTreeSet<String> = records(&server, "key_created")
            .iter()
            .flat_map(|record| {
                let after: Option<Value> =
                    record["details"]["after"].as_str().and_then(|text| serde_json::from_str(text).ok());
                let target = record["details"]["target"].as_str().unwrap_or_default().to_owned();
                after.and_then(|after| after["id"].as_str().map(str::to_owned)).into_iter().chain([target])
            })
            .collect();
        let missing: Vec<_> = made.difference(&proved).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?}");
        let failures = records(&server, "auth_failure").len();
        assert!(failures >= refused, "round {round}: {refused} refused, {failures} proved");
        server = server.restart(|_| {}).await.unwrap_or_else(|refused| panic!("{refused:?}"));
        let report = verified(&server).await;
        assert_eq!(report["trusted"], true, "{report}");
        assert!(report["checkpoints"].as_u64() > Some(round), "{report}");
    }
    assert!(!made.is_empty() && refused > 0, "the killing came too early every time");
    println!("{} keys made, {refused} refusals, all of them proved", made.len());
    server.terminate();
    assert_eq!(server.wait(40).await, Some(0));
    let report = verified(&server).await;
    assert_eq!(report["signed_to"], report["last"], "a process that ends in order signs its end: {report}");
}

// req: S2-3.3
#[tokio::test]
async fn the_trail_is_checked_shown_exported_and_read_beside_the_server_and_without_it() {
    let mut server = start("").await;
    let admin_key = server.key().expect("printed once");
    for _ in 0..3 {
        assert_eq!(post(server.address(), CHAT, "pcl_wrong", &chat(false)).await.status, 401);
    }
    let made =
        post(server.admin().unwrap(), "/admin/v1/keys", &admin_key, &json!({"name": "a"})).await.json();
    let subject = format!("key:{}", made["id"].as_str().unwrap());
    let key = made["key"].as_str().unwrap().to_owned();
    assert_eq!(post(server.address(), CHAT, &key, &chat(false)).await.status, 200);
    let beside = audit(&server, &["verify"]).await;
    assert_eq!(beside.code, Some(0), "{beside:?}");
    assert!(beside.stdout.contains("unbroken") && beside.stdout.contains("anchors fit"), "{}", beside.stdout);

    let shown = audit(&server, &["show", "--kind", "auth_failure", "--last", "2"]).await;
    assert_eq!((shown.code, shown.stdout.lines().count()), (Some(0), 2), "{shown:?}");
    let name = audit(&server, &["who", &subject]).await.stdout.trim().to_owned();
    assert!(name.starts_with("h:"), "{name}");
    let who = audit(&server, &["who", &name]).await;
    assert_eq!((who.code, who.stdout.trim()), (Some(0), &*subject), "{who:?}");
    let nobody = name.replace(|letter: char| letter.is_ascii_digit(), "x");
    assert_eq!(audit(&server, &["who", &format!("{nobody}x")]).await.code, Some(1));
    server.terminate();
    assert_eq!(server.wait(40).await, Some(0));
    let mine = audit(&server, &["show", "--caller", &subject, "--json"]).await;
    let mine: Value = serde_json::from_str(&mine.stdout).unwrap();
    assert_eq!(mine["data"][0]["kind"], "sign_in", "{mine}");

    let exported = audit(&server, &["export", "--jsonl", "--output", "trail.jsonl"]).await;
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let lines = fs::read_to_string(server.folder().join("trail.jsonl")).unwrap();
    let whole = fs::read_to_string(&files(&server)[0]).unwrap();
    assert!(lines.lines().count() > 4 && lines.lines().all(|line| whole.contains(line)));
    assert_eq!(
        audit(&server, &["export", "--output", "trail.jsonl"]).await.code,
        Some(2),
        "never written over"
    );
}

// req: S2-3.3
#[tokio::test]
async fn what_was_done_to_the_files_is_named_with_file_line_and_record() {
    let mut server = start("").await;
    for _ in 0..3 {
        assert_eq!(post(server.address(), CHAT, "pcl_wrong", &chat(false)).await.status, 401);
    }
    server.terminate();
    assert_eq!(server.wait(40).await, Some(0));
    let path = files(&server).pop().unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let at = lines.iter().position(|line| line.contains("auth_failure")).unwrap();
    let without: Vec<&str> = [&lines[..at], &lines[at + 1..]].concat();
    let cut = &lines[..lines.len() - 2];
    let changed = whole.replacen("\"auth_failure\"", "\"auth_feilure\"", 1);
    for (text, kind, line) in [
        (without.join("\n") + "\n", "removed", at + 1),
        (cut.join("\n") + "\n", "truncated", cut.len()),
        (changed, "changed", at + 1),
    ] {
        fs::write(&path, text).unwrap();
        let ended = audit(&server, &["verify", "--json"]).await;
        assert_eq!(ended.code, Some(1), "{kind}: {ended:?}");
        let bad: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(
            (&bad["first_bad"]["kind"], &bad["first_bad"]["line"]),
            (&json!(kind), &json!(line)),
            "{bad}"
        );
        let ended = audit(&server, &["verify"]).await;
        assert!(ended.code == Some(1) && ended.stderr.contains(&format!("line {line}")), "{ended:?}");
    }
    fs::write(&path, whole).unwrap();
    assert_eq!(verified(&server).await["ok"], true);
    let nowhere = run(BINARY, server.folder(), &["audit", "verify", "--data-dir", "nowhere"], &[]).await;
    assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
}

// req: S2-3.3
#[tokio::test]
async fn checkpoints_reach_a_webhook_and_the_trail_is_held_against_them() {
    let (url, mut bodies, _tasks) = crate::support::receiver().await;
    let anchors =
        format!("[audit]\ncheckpoint_secs = 1\nanchors = [{{ kind = \"webhook\", url = \"{url}\" }}]\n");
    let mut server = start(&anchors).await;
    let first = tokio::time::timeout(crate::support::PATIENCE, bodies.recv()).await.unwrap().unwrap();
    assert_eq!(post(server.address(), CHAT, "pcl_wrong", &chat(false)).await.status, 401);
    server.terminate();
    assert_eq!(server.wait(40).await, Some(0));
    let mut told = vec![first];
    while let Ok(more) = bodies.try_recv() {
        told.push(more);
    }
    let line = |text: &String| {
        let body: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["kind"], "audit_checkpoint", "{body}");
        body["checkpoint"].as_str().unwrap().to_owned()
    };
    let kept: Vec<String> = told.iter().map(line).collect();
    fs::write(server.folder().join("kept.jsonl"), kept.join("\n") + "\n").unwrap();
    let fits = audit(&server, &["verify", "--anchors", "kept.jsonl", "--json"]).await;
    let report: Value = serde_json::from_str(&fits.stdout).unwrap();
    assert!(fits.code == Some(0) && report["anchors"].as_u64() >= Some(1), "{fits:?}");
    let path = files(&server).pop().unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.lines().next().unwrap().to_owned() + "\n").unwrap();
    let newest: Value = serde_json::from_str(kept.last().unwrap()).unwrap();
    let ended = audit(&server, &["verify", "--anchors", "kept.jsonl", "--json"]).await;
    assert!(newest["seq"].as_u64() > Some(1) && ended.code == Some(1), "{newest} {ended:?}");
}

// req: S2-3.4
#[tokio::test]
async fn a_burst_is_listed_counted_and_proved_and_blocks_nobody() {
    let server = start("[anomaly]\nhours = [0, 0]\n").await;
    let admin_key = server.key().expect("printed once");
    let made =
        post(server.admin().unwrap(), "/admin/v1/keys", &admin_key, &json!({"name": "a"})).await.json();
    let key = made["key"].as_str().unwrap();
    for _ in 0..25 {
        assert_eq!(post(server.address(), CHAT, key, &chat(false)).await.status, 200);
    }
    let listed = get(server.admin().unwrap(), "/admin/v1/anomalies", &admin_key).await.json();
    assert_eq!(
        (&listed["data"][0]["kind"], listed["data"].as_array().unwrap().len()),
        (&json!("burst"), 1),
        "{listed}"
    );
    assert!(listed["callers"].as_u64() >= Some(2), "{listed}");
    let metrics = get(server.address(), "/metrics", "").await.text();
    assert!(metrics.contains("anomalies_total{kind=\"burst\"} 1"), "{metrics}");
    let proved = records(&server, "anomaly");
    assert_eq!((proved.len(), &proved[0]["outcome"]), (1, &json!("burst")), "{proved:?}");
    assert_eq!(proved[0]["caller"], listed["data"][0]["caller"]);
}
